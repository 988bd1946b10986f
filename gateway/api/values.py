"""Engineering values: databases to browse and search, newest values, history with paging, decimation and CSV."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator

from gateway.api.access import ServiceDep
from gateway.api.described import described, refusals
from gateway.api.parameters import InstanceName
from gateway.api.requests import utc_text
from gateway.errors import UsageError
from gateway_codecs.time_scales import parse_utc

router = APIRouter(tags=["values"])
CSV_EXAMPLE = (
    "time_utc,parameter,value,unit,raw,validity,limit,position,element,receive_time_utc,link,data_mode,database,also\r\n"
    "2026-11-24T10:03:09.480000000Z,/PICARD/TEMP_1,21.5,degC,2048,valid,ok,1200,,2026-11-24T10:03:09.600000000Z,station,"
    "real_time,3f1c9e,\r\n"
)
CSV = {
    "description": "rows, with a line of names",
    "content": {"text/csv": {"schema": {"type": "string", "examples": [CSV_EXAMPLE]}}},
}
PAGE_MAX, CSV_PAGE = 10_000, 32_768

SpacecraftName = Annotated[
    str | None, Query(max_length=64, description="whose database; default the only one that has one")
]
Digest = Annotated[
    str | None,
    Query(
        pattern=r"^[0-9a-fA-F]{4,64}$",
        description="version of the database by its digest, or the beginning of it; default the one in use",
    ),
]
ParameterName = Annotated[
    str,
    Query(min_length=1, max_length=1024, description="whole name such as /PICARD/TEMP_1, or its end, or an alias"),
]
NAMES_MAX = 50
"""So many of the longest names fit a request line: the server refuses one of more than 64 KiB."""
UtcText = Annotated[str, Query(max_length=40), AfterValidator(utc_text)]
From = Annotated[UtcText, Query(alias="from", description="first time, UTC, such as 2026-11-24T10:00:00Z")]
To = Annotated[UtcText, Query(alias="to", description="time behind the last, UTC")]
OrderName = Annotated[
    Literal["generation", "reception", "journal"],
    Query(description="order of the samples; but for generation, from and to are times of reception"),
]


class Span:
    """From when to when, from the query. Raises UsageError."""

    def __init__(self, from_utc: From, to_utc: To) -> None:
        self.ns = (parse_utc(from_utc), parse_utc(to_utc))
        if self.ns[0] >= self.ns[1]:
            raise UsageError("the range ends before it begins", "give `from` before `to`")


SpanDep = Annotated[Span, Depends()]


@router.get("/instances/{instance}/databases", **described("DatabaseVersion", 404, 422, 503, many=True))
async def databases(instance: InstanceName, service: ServiceDep) -> list[dict[str, Any]]:
    """Return every version of a mission database that this gateway ever used: history can be asked for with each."""
    return await (await service.instance(instance).values.open()).databases()


@router.post("/instances/{instance}/databases/{spacecraft}/reload", **described("DatabaseInUse", 404, 409, 422, 503))
async def reload(
    instance: InstanceName,
    spacecraft: Annotated[str, Path(max_length=64, description="a spacecraft with a database")],
    service: ServiceDep,
) -> dict[str, Any]:
    """Read a spacecraft's database anew and use it from now on; a database that cannot be used changes nothing."""
    return await service.instance(instance).values.reload(spacecraft)


@router.get("/instances/{instance}/containers", **described("Containers", 404, 409, 422, 503))
async def containers(
    instance: InstanceName, service: ServiceDep, spacecraft: SpacecraftName = None, mdb: Digest = None
) -> dict[str, Any]:
    """Return the containers of a database: what packets hold, bases before heirs."""
    return await (await service.instance(instance).values.open()).containers(spacecraft, mdb)


@router.get("/instances/{instance}/parameters", **described("Parameters", 404, 409, 422, 503))
async def parameters(
    instance: InstanceName,
    service: ServiceDep,
    search: Annotated[str, Query(max_length=256, description="words in name, alias or description")] = "",
    spacecraft: SpacecraftName = None,
    mdb: Digest = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX, description="how many at most")] = 1000,
    offset: Annotated[int, Query(ge=0, le=10_000_000, description="how many to leave out before")] = 0,
) -> dict[str, Any]:
    """Return the parameters of a database, all or those with some words."""
    return await (await service.instance(instance).values.open()).names(spacecraft, search, mdb, limit, offset)


@router.get("/instances/{instance}/parameters/definition", **described("Definition", 404, 409, 422, 503))
async def definition(
    instance: InstanceName,
    service: ServiceDep,
    parameter: ParameterName,
    spacecraft: SpacecraftName = None,
    mdb: Digest = None,
) -> dict[str, Any]:
    """Return what a database says of a parameter: how it is coded, calibrated, checked, and which APIDs hold it."""
    return await (await service.instance(instance).values.open()).definition(spacecraft, parameter, mdb)


@router.get("/instances/{instance}/parameters/latest", **described("LatestValue", 404, 422, many=True))
async def latest(
    instance: InstanceName,
    service: ServiceDep,
    parameter: Annotated[
        list[Annotated[str, Query(max_length=1024)]] | None,
        Query(max_length=NAMES_MAX, description="names; default all"),
    ] = None,
    spacecraft: SpacecraftName = None,
) -> list[dict[str, Any]]:
    """Return the newest live values: of real-time, good packets of the prime links, with age and staleness.

    Late, dumped and replayed data are in the history, never here; what was not seen yet has no row.
    """
    return (await service.instance(instance).values.open()).latest(spacecraft, parameter)


@router.get("/instances/{instance}/parameters/history", **described("HistoryPage", 404, 409, 422, 503))
async def history(
    instance: InstanceName,
    service: ServiceDep,
    parameter: ParameterName,
    span: SpanDep,
    order: OrderName = "generation",
    spacecraft: SpacecraftName = None,
    mdb: Digest = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX, description="samples in the page at most")] = 1000,
    after: Annotated[str | None, Query(max_length=96, description="`after` of the page before")] = None,
    raw: Annotated[bool, Query(description="raw values too")] = False,
) -> dict[str, Any]:
    """Return samples of a parameter, computed from the journalled packets with the database asked for.

    Each sample has the position of its packet; one that was received several times is there once, `also` has the
    others. Pages follow each other by `after`.
    """
    from gateway.values.service import parse_after  # late: a start needs none of it
    from gateway_codecs.mdb.samples import Order

    values = await service.instance(instance).values.open()
    begin = None if after is None else parse_after(after)
    return await values.history(spacecraft, parameter, span.ns, Order(order), mdb, limit, begin, raw)


@router.get("/instances/{instance}/parameters/buckets", **described("BucketPage", 404, 409, 422, 503))
async def buckets(
    instance: InstanceName,
    service: ServiceDep,
    parameter: ParameterName,
    span: SpanDep,
    count: Annotated[int, Query(ge=1, le=10_000, description="spans of equal length")] = 500,
    spacecraft: SpacecraftName = None,
    mdb: Digest = None,
) -> dict[str, Any]:
    """Return a range of a number summed up for a plot: of each span the extremes with their times, mean, count, worst
    limit. Spans without samples are left out; the index of a state is its number."""
    return await (await service.instance(instance).values.open()).buckets(spacecraft, parameter, span.ns, mdb, count)


@router.get(
    "/instances/{instance}/parameters/history.csv",
    response_class=StreamingResponse,
    responses={200: CSV, **refusals(404, 409, 422, 503)},
)
async def history_csv(
    instance: InstanceName,
    service: ServiceDep,
    parameter: ParameterName,
    span: SpanDep,
    spacecraft: SpacecraftName = None,
    mdb: Digest = None,
) -> StreamingResponse:
    """Stream the samples of a parameter in generation-time order as CSV, each row with the database's digest."""
    from gateway.values.as_csv import pages  # late: a start needs none of it

    values = await service.instance(instance).values.open()
    found: AsyncIterator[str] = await pages(values, spacecraft, parameter, span.ns, mdb, CSV_PAGE)
    return StreamingResponse(found, media_type="text/csv; charset=utf-8")
