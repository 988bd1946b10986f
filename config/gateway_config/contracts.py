"""Whether the contracts of the home bases fit the disk and the line: a reckoning, with what is not known said so.

What a mission instance brings is taken from what its links say (`expected_bps`, else the pace of a file), else from
what its journal has taken until now. Warnings name the file, the key, the value and what would be right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from gateway_config.checks import unit_octets
from gateway_config.differences import instance_of, instances_of
from gateway_config.documents import Problem
from gateway_config.home_models import Grant, Home
from gateway_config.link_models import LinkConfig
from gateway_config.loader import Configuration
from gateway_config.models import Spacecraft

JOURNAL_SHARE = 1.2
"""Octets of a journal for one received octet, at most (DESIGN 4)."""
DAY_S = 86_400
NOT_KNOWN = "not known"


@dataclass(frozen=True, slots=True)
class Past:
    """What a journal has taken: octets on the disk, over how long (s)."""

    octets: int
    over_s: float


@dataclass(frozen=True, slots=True)
class Found:
    """What there is: journals by instance, octets of all recordings, free octets of the device (None = not known)."""

    journals: Mapping[str, Past]
    recorded_octets: int = 0
    free_octets: int | None = None


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """What a mission instance brings, and what of it is to be kept. None = not known."""

    instance: str
    octets_per_s: float | None
    journal_octets_per_s: float | None  # of that on the disk
    source: str
    backlog_days: float  # the longest of the home bases that it delivers to
    journal_octets: float | None  # for so many days
    recording_octets: float | None  # for recording.keep_days; also None where that is for ever
    held_octets: int
    prime_octets_per_s: float | None  # of what is delivered


@dataclass(frozen=True, slots=True)
class HomeRow:
    """What a home base is promised. `streams_bps`: what it may get on average; `at_most`: its filters leave less."""

    home: str
    instances: tuple[str, ...]
    backlog_days: float | None
    rate_limit_bps: int | None
    streams_bps: float | None
    at_most: bool
    catch_up_days: float | None  # after the whole backlog, at its rate limit


@dataclass(frozen=True, slots=True)
class Contract:
    """The whole reckoning. Octets; None = not known."""

    instances: tuple[InstanceRow, ...]
    homes: tuple[HomeRow, ...]
    needed_octets: float | None
    available_octets: float | None  # free, without the reserve, with what journals and recordings hold already
    line_bps: float | None
    promised_bps: float | None
    warnings: tuple[Problem, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def contract(configuration: Configuration, found: Found) -> Contract:
    """Reckon."""
    instances = tuple(_instance(configuration, name, found) for name in instances_of(configuration))
    by_name = {row.instance: row for row in instances}
    homes = tuple(_home(home, by_name) for home in configuration.homes.values())
    needs = [octets for row in instances for octets in (row.journal_octets, row.recording_octets)]
    needed = _sum(needs)
    available = None
    if found.free_octets is not None:
        held = sum(row.held_octets for row in instances) + found.recorded_octets
        available = max(0, found.free_octets - configuration.gateway.journal.reserve_octets) + held
    promised = _sum(_promised(row) for row in homes)
    line = configuration.gateway.api.line_bps
    reckoned = Contract(instances, homes, needed, available, line, promised)
    problems = (rule(configuration, reckoned) for rule in (_kept_too_short, _never_catches_up, _disk, _line))
    return replace(reckoned, warnings=tuple(problem for of_rule in problems for problem in of_rule))


def amount(octets: float) -> str:
    """Return an amount of octets for people."""
    for unit in ("B", "kB", "MB"):
        if octets < 1000:
            return f"{octets:.3g} {unit}"
        octets /= 1000
    return f"{octets:.1f} GB"


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum; what is not known makes all of it unknown."""
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


# ---- what comes in ----


def link_rate(link: LinkConfig, craft: Spacecraft) -> tuple[float | None, str]:
    """Return octets/s of a link, and which key says it; None = none does."""
    if link.expected_bps is not None:
        return link.expected_bps / 8, "expected_bps"
    if link.rate_bps is not None:
        return link.rate_bps / 8 * link.speed, "rate_bps"
    if link.frames_per_s is not None and craft.frames is not None:
        return link.frames_per_s * unit_octets(link, craft)[0] * link.speed, "frames_per_s"
    return None, NOT_KNOWN


def _rates(configuration: Configuration, instance: str) -> list[tuple[LinkConfig, float | None, str]]:
    found = []
    for link in configuration.links.values():
        if instance_of(link) == instance:
            crafts = configuration.missions[link.mission].spacecraft
            found.append((link, *link_rate(link, next(c for c in crafts if c.name == link.spacecraft))))
    return found


def _instance(configuration: Configuration, name: str, found: Found) -> InstanceRow:
    rates, past = _rates(configuration, name), found.journals.get(name)
    total = _sum(rate for _, rate, _ in rates)
    prime = _sum(rate for link, rate, _ in rates if link.prime)
    share = JOURNAL_SHARE
    unknown = sorted(link.name for link, rate, _ in rates if rate is None)
    if total is not None:
        source = ", ".join(f"{key} of {link.name}" for link, _, key in rates) or "it has no links"
    elif past is not None and past.over_s > 0:
        total, share = past.octets / past.over_s, 1.0
        prime = total if prime is None else prime
        source = f"its journal: {past.over_s / DAY_S:.1f} days until now"
    else:
        source = f"{NOT_KNOWN}: give expected_bps in links/{', '.join(unknown)}"
    backlog = max(
        (home.quotas.backlog_days or 0 for home in configuration.homes.values() if _reaches(home, name)), default=0
    )
    recorded = _sum(rate for link, rate, _ in rates if _is_recorded(link))
    keep_s = configuration.gateway.recording.keep_days * DAY_S
    return InstanceRow(
        name, total, _times(total, share), source, backlog,
        0.0 if not backlog else _times(total, share * backlog * DAY_S),
        None if recorded and not keep_s else _times(recorded, keep_s), past.octets if past is not None else 0, prime,
    )  # fmt: skip


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _is_recorded(link: LinkConfig) -> bool:
    return link.record and link.unit != "packets" and link.container == "none" and link.type not in {"file", "gateway"}


# ---- what is promised ----


def _given(home: Home, instance: str) -> list[Grant]:
    mission, mode = instance.rsplit(".", 1)
    return [grant for grant in home.grants if grant.mission == mission and mode in grant.support_modes]


def _reaches(home: Home, instance: str) -> bool:
    return any(set(grant.modes) - {"values"} for grant in _given(home, instance))


def _home(home: Home, instances: Mapping[str, InstanceRow]) -> HomeRow:
    reached = [row for name, row in instances.items() if _reaches(home, name)]
    streams = _times(_sum(row.prime_octets_per_s for row in reached), 8)
    narrow = any(not any(map(_is_all, _given(home, row.instance))) for row in reached)
    limit, days = home.quotas.rate_limit_bps, home.quotas.backlog_days
    catch_up = None
    if limit is not None and days is not None and streams is not None and limit > streams:
        catch_up = days * streams / (limit - streams)
    return HomeRow(
        home.name, tuple(row.instance for row in reached), days, limit, streams, narrow and streams != 0, catch_up
    )


def _is_all(grant: Grant) -> bool:
    """Whether a grant gives all telemetry of its instances."""
    filters = (grant.spacecraft, grant.vcids, grant.apids, grant.data_modes)
    return "tm" in grant.kinds and all(one is None for one in filters)


def _promised(row: HomeRow) -> float | None:
    """Return bits/s that the line must carry for a home base: what it is limited to, or less if less comes."""
    if row.streams_bps is None:
        return None if row.rate_limit_bps is None else float(row.rate_limit_bps)
    return row.streams_bps if row.rate_limit_bps is None else min(row.streams_bps, row.rate_limit_bps)


# ---- what does not fit ----


def _kept_too_short(configuration: Configuration, reckoned: Contract) -> Iterator[Problem]:
    keep_days, keep_octets = configuration.gateway.journal.keep_days, configuration.gateway.journal.keep_octets
    for row in reckoned.homes:
        if row.backlog_days is None:
            continue
        if keep_days and keep_days < row.backlog_days:
            remedy = (
                f"journal.keep_days is {keep_days:g}, older items are removed: make that {row.backlog_days:g} at least"
            )
            yield _of_home(configuration, row, remedy)
        for one in reckoned.instances:
            needs = (one.journal_octets_per_s or 0.0) * row.backlog_days * DAY_S
            if one.instance in row.instances and keep_octets and needs > keep_octets:
                told = f"journal.keep_octets is {amount(keep_octets)}: raise it, or promise fewer days"
                yield _of_home(configuration, row, f"{one.instance} brings {amount(needs)} in that time, {told}")


def _never_catches_up(configuration: Configuration, reckoned: Contract) -> Iterator[Problem]:
    for row in reckoned.homes:
        limit, streams = row.rate_limit_bps, row.streams_bps
        if limit is not None and streams is not None and limit <= streams and not row.at_most:
            remedy = f"its streams bring {streams:.0f} bits/s: behind once, it never catches up; raise it"
            yield configuration.wrong("homes", row.home, ("quotas", "rate_limit_bps"), str(limit), remedy)


def _of_home(configuration: Configuration, row: HomeRow, remedy: str) -> Problem:
    return configuration.wrong("homes", row.home, ("quotas", "backlog_days"), f"{row.backlog_days:g}", remedy)


def _disk(configuration: Configuration, reckoned: Contract) -> Iterator[Problem]:
    """Whether the disk holds what is promised; the home base with the longest backlog is named."""
    needs = [o for row in reckoned.instances for o in (row.journal_octets, row.recording_octets) if o is not None]
    needed, there = sum(needs), reckoned.available_octets
    if there is None or needed <= there:
        return
    least = "at least " if len(needs) < 2 * len(reckoned.instances) else ""
    text = f"the device has room for {amount(there)}, what is promised needs {least}{amount(needed)}"
    longest = max(reckoned.homes, key=lambda row: row.backlog_days or 0, default=None)
    if longest is not None and longest.backlog_days is not None:
        yield _of_home(configuration, longest, f"{text}: a larger disk, fewer days, or a lower recording.keep_days")
    else:
        days = configuration.gateway.recording.keep_days
        yield configuration.wrong("gateway", "", ("recording", "keep_days"), f"{days:g}", f"{text}: keep fewer days")


def _line(configuration: Configuration, reckoned: Contract) -> Iterator[Problem]:
    line, known = reckoned.line_bps, [bps for row in reckoned.homes if (bps := _promised(row)) is not None]
    if line is None or sum(known) <= line:
        return
    words = "up to " if any(row.at_most for row in reckoned.homes) else ""
    words += "at least " if len(known) < len(reckoned.homes) else ""
    remedy = (
        f"the home bases together get {words}{sum(known):.0f} bits/s: a faster line, or lower quotas.rate_limit_bps"
    )
    yield configuration.wrong("gateway", "", ("api", "line_bps"), f"{line:.15g}", remedy)
