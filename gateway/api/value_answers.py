"""What is told of engineering values: the shape of answers, with examples."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from gateway.api.answers import Answer, example

Value = float | int | bool | str | list[Any] | None
Data = dict[str, Any]
DIGEST = "3f1c0f7e7d0b4b398f5e5d1a4c1f2a1170c3a1f6f1f0f2f8a9f4f3b0c1d2e3f4"
WHEN = "2026-11-24T10:03:09.480000000Z"
NAME = "/PICARD/TEMP_1"
SUMMARY: Data = {
    "parameter": NAME, "kind": "float", "source": "telemetered", "description": "detector temperature",
    "aliases": ["T1"], "unit": "degC", "labels": [], "decimals": 2,
}  # fmt: skip
VERSION: Data = {
    "digest": DIGEST, "spacecraft": "picard", "name": "PICARD", "version": "3.1", "file": "databases/solar.yaml",
    "first_used_utc": WHEN, "in_use": True,
}  # fmt: skip
IN_USE: Data = {
    "spacecraft": "picard", "name": "PICARD", "version": "3.1", "digest": DIGEST, "parameters": 312, "containers": 24,
}  # fmt: skip
LATEST: Data = {
    "parameter": NAME, "spacecraft": "picard", "value": 21.5, "raw": 2048, "unit": "degC", "decimals": 2,
    "validity": "valid", "limit": "ok", "time_utc": WHEN, "generated": True, "receive_time_utc": WHEN, "position": 2467,
    "packet_type": "/PICARD/TEMPERATURES", "database": DIGEST, "age_s": 0.4, "stale": False,
}  # fmt: skip
SAMPLE: Data = {
    "time_utc": WHEN, "value": 21.5, "validity": "valid", "limit": "high warning", "position": 2467,
    "receive_time_utc": WHEN, "link": "station", "data_mode": "real_time", "generated": True, "raw": 2048,
    "also": [{"position": 91_022, "link": "dump", "data_mode": "dump"}],
}  # fmt: skip
ABOUT: Data = {
    "spacecraft": "picard", "parameter": NAME, "unit": "degC", "decimals": 2, "database": DIGEST, "head": 91_200,
    "damaged": [],
}  # fmt: skip
BUCKET: Data = {
    "from_utc": "2026-11-24T10:00:00.000000000Z", "count": 600, "unusable": 0, "min": 20.9, "max": 21.5, "mean": 21.2,
    "min_time_utc": "2026-11-24T10:00:07.000000000Z", "max_time_utc": WHEN, "limit": "ok",
}  # fmt: skip
COUNTS: Data = {
    "spacecraft": "picard", "packet_type": "/PICARD/TEMPERATURES", "packets": 2467, "late": 0, "ambiguous": 0,
    "out_of_limit": 3, "invalid": 0, "given_up": 0,
}  # fmt: skip
VALUES: Data = {
    "position": 2467, "behind": 0, "databases": [IN_USE], "packet_types": [COUNTS], "unidentified": {"picard": 0},
    "out_of_limits": 1, "cache": {"octets": 20_000_000, "hits": 40, "misses": 4, "damaged": 0},
}  # fmt: skip


class DatabaseVersion(Answer):
    """A version of a mission database that was used once. What is null was lost; the database itself is whole."""

    digest: str = Field(description="SHA-256 over its canonical text")
    spacecraft: str | None
    name: str | None
    version: str | None = Field(description="as the database says itself")
    file: str | None
    first_used_utc: str | None
    in_use: bool

    model_config = example(VERSION)


class DatabaseInUse(Answer):
    """The mission database that a spacecraft's packets are decoded with now."""

    spacecraft: str
    name: str
    version: str
    digest: str
    parameters: int
    containers: int

    model_config = example(IN_USE)


class ContainerRow(Answer):
    """A container: entries of packets, after those of its base."""

    container: str
    base: str = Field(description="the container that it continues, or empty")
    abstract: bool
    root: bool = Field(description="the identification of packets begins here")
    description: str
    entries: list[str] = Field(description="parameters and included containers, in order")

    model_config = example(
        {
            "container": "/PICARD/TEMPERATURES", "base": "/PICARD/PUS", "abstract": False, "root": False,
            "description": "thermistors", "entries": [NAME, "/PICARD/TEMP_2"],
        }
    )  # fmt: skip


class Containers(Answer):
    """The containers of a database."""

    spacecraft: str
    database: str
    containers: list[ContainerRow]

    model_config = example(
        {
            "spacecraft": "picard", "database": DIGEST,
            "containers": [
                {
                    "container": "/PICARD/TEMPERATURES", "base": "/PICARD/PUS", "abstract": False, "root": False,
                    "description": "thermistors", "entries": [NAME, "/PICARD/TEMP_2"],
                }
            ],
        }
    )  # fmt: skip


class ParameterRow(Answer):
    """A parameter, or a member of one."""

    parameter: str
    kind: str | None = Field(description="of its values: integer, float, enumerated, string, absolute_time and others")
    source: str = Field(description="telemetered, derived, constant, local or ground")
    description: str
    aliases: list[str]
    unit: str
    labels: list[str] = Field(description="of its states")
    decimals: int | None = Field(default=None, description="how many to show, as the database says; null = as needed")

    model_config = example(SUMMARY)


class Parameters(Answer):
    """Parameters of a database."""

    spacecraft: str
    database: str
    total: int = Field(description="how many there are, beside those in this answer")
    parameters: list[ParameterRow]

    model_config = example({"spacecraft": "picard", "database": DIGEST, "total": 1, "parameters": [SUMMARY]})


class Definition(ParameterRow):
    """Everything a database says of a parameter."""

    spacecraft: str
    database: str
    long_description: str
    derivation: str = Field(description="expression of a derived parameter")
    apids: list[int] | None = Field(description="of the packets that can hold it; null = any")
    definition: dict[str, Any] = Field(description="the parameter as in the canonical text of the database")
    type: dict[str, Any] | None = Field(description="its type, likewise: encoding, calibration, limits")
    defined_at: str = Field(description="file and line, where the database was read from a file in this start")

    model_config = example(
        {
            **SUMMARY, "spacecraft": "picard", "database": DIGEST, "long_description": "", "derivation": "",
            "apids": [102], "definition": {"$is": "Parameter", "name": NAME, "type_name": "/PICARD/temperature"},
            "type": {"$is": "ParameterType", "name": "/PICARD/temperature", "kind": "float", "unit": "degC"},
            "defined_at": "databases/solar.yaml:41",
        }
    )  # fmt: skip


class LatestValue(Answer):
    """The newest live value of a parameter."""

    parameter: str
    spacecraft: str
    value: Value = Field(description="in engineering units; null = no number")
    raw: Value
    unit: str
    decimals: int | None = Field(default=None, description="how many to show, as the database says; null = as needed")
    validity: Literal[
        "valid", "invalid", "out_of_range", "uncalibrated", "absent", "truncated", "undecodable"
    ]  # fmt: skip
    limit: str = Field(description="`ok`, or side and severity, such as `high warning`")
    time_utc: str | None = Field(description="generation time, else reception")
    generated: bool = Field(description="whether time_utc is a generation time")
    receive_time_utc: str | None
    position: int = Field(description="of its packet in the journal")
    packet_type: str
    database: str = Field(description="digest of the database that it was decoded with")
    age_s: float = Field(description="since its reception")
    stale: bool = Field(description="older than ten seconds and than five times the usual time between its packets")

    model_config = example(LATEST)


class SampleSource(Answer):
    """Another reception of the packet of a sample."""

    position: int
    link: str | None
    data_mode: Literal["real_time", "dump", "playback"]


class Sample(Answer):
    """A sample of a parameter, with its provenance."""

    time_utc: str | None = Field(description="generation time, else reception")
    value: Value = Field(description="in engineering units; null = no number; octets in hexadecimal digits")
    validity: str
    limit: str
    position: int = Field(description="of its packet in the journal")
    receive_time_utc: str | None
    link: str | None
    data_mode: Literal["real_time", "dump", "playback"]
    generated: bool
    raw: Value = Field(default=None, description="if asked for")
    element: int = Field(default=0, description="which occurrence in the packet, of a parameter that it holds often")
    also: list[SampleSource] = Field(default_factory=list, description="the same packet, received again")

    model_config = example(SAMPLE)


class _HistoryAnswer(Answer):
    """What a history is of."""

    spacecraft: str
    parameter: str
    unit: str
    decimals: int | None = Field(default=None, description="how many to show, as the database says; null = as needed")
    database: str = Field(description="digest of the database that it was decoded with")
    head: int = Field(description="packets at positions below this one are in it")
    damaged: list[list[int]] = Field(description="position ranges [first, end) that cannot be read")


class HistoryPage(_HistoryAnswer):
    """Samples in the order asked for."""

    samples: list[Sample]
    after: str | None = Field(description="to be given for the next page; null = this is the last")

    model_config = example({**ABOUT, "samples": [SAMPLE], "after": None})


class Bucket(Answer):
    """A span of time with samples."""

    from_utc: str
    count: int = Field(description="usable samples")
    unusable: int = Field(description="samples that are not valid, or no numbers")
    min: float | None
    max: float | None
    mean: float | None
    min_time_utc: str | None
    max_time_utc: str | None
    limit: str = Field(description="the worst of all")

    model_config = example(BUCKET)


class BucketPage(_HistoryAnswer):
    """A range of time summed up."""

    kind: str | None = Field(description="of its values; absolute times are numbers of ns TAI since 1958-01-01 here")
    labels: list[str]
    buckets: list[Bucket]

    model_config = example({**ABOUT, "kind": "float", "labels": [], "buckets": [BUCKET]})


class PacketTypeCounts(Answer):
    """What was counted of one packet type since the start: real-time packets of the prime links."""

    spacecraft: str
    packet_type: str
    packets: int
    late: int = Field(description="of these, older than one before: in the history, not live")
    ambiguous: int = Field(description="of these, of another packet type too: the first in the database was taken")
    out_of_limit: int = Field(description="samples beyond a limit")
    invalid: int = Field(description="samples with limits that could not be checked: not valid")
    given_up: int = Field(description="packets of variable layouts left undecodable: their batch took too much work")

    model_config = example(COUNTS)


class ValuesState(Answer):
    """Live values of an instance; the lists are empty until somebody, or a first packet, needs the database."""

    position: int = Field(description="everything below is decoded")
    behind: int = Field(description="positions between it and the head")
    databases: list[DatabaseInUse]
    packet_types: list[PacketTypeCounts]
    unidentified: dict[str, int] = Field(description="packets that no container describes, by spacecraft")
    out_of_limits: int = Field(description="parameters beyond a limit now")
    cache: dict[str, int] | None = Field(description="of history: octets on disk, hits, misses, damaged files")

    model_config = example(VALUES)
