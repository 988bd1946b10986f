"""R9: what a reload makes of a running gateway is what a fresh start of the new configuration makes."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gateway.service import Gateway
from gateway_config import load
from gateway_config.differences import revision
from gateway_routes.link_state import LinkStatus

EXAMPLES = 200 if os.environ.get("GATEWAY_SOAK") else 12
DATABASE = """mission_database: 1
name: D
header: {pus_c: {time: cuc}}
packets:
  HK: {apid: 1, parameters: [{A: 8}]}
"""
CONTACTS = [
    {"peer": "p", "aos_utc": f"2090-01-0{day}T00:00:00Z", "los_utc": f"2090-01-0{day}T00:1{minute}:00Z"}
    for day, minute in ((1, 0), (1, 5), (2, 0))
]


def link(name: str) -> st.SearchStrategy[dict[str, Any] | None]:
    """A link that opens nothing that this test would have to play, or none."""
    kinds = st.sampled_from([
        {"type": "file", "path": "not-there.bin"},
        {"type": "tcp_server", "port": 0},
        {"type": "udp", "port": 0},
        {"type": "tcp_client", "port": 1},
    ])  # fmt: skip
    common = st.fixed_dictionaries({
        "support_mode": st.sampled_from(["flight", "test"]), "spacecraft": st.sampled_from(["s", "t"]),
        "enabled": st.booleans(), "watchdog_s": st.sampled_from([3, 10]),
    })  # fmt: skip
    about = st.builds(
        lambda one, other: {"name": name, "mission": "m", "unit": "packets", **one, **other}, kinds, common
    )
    return st.none() | about


GRANT = st.fixed_dictionaries({
    "mission": st.just("m"), "support_modes": st.sampled_from([["flight"], ["test"], ["flight", "test"]]),
    "apids": st.sampled_from([[1], [1, 2]]),
})  # fmt: skip
HOME = st.none() | st.builds(
    lambda grants, bps: {"grants": grants, "quotas": {} if bps is None else {"rate_limit_bps": bps}},
    st.lists(GRANT, max_size=2), st.sampled_from([None, 2000, 3000]),
)  # fmt: skip
CRAFT = st.builds(
    lambda versions, database, contacts: {
        "packets": {"packet_versions": versions}, "contacts": contacts,
        **({"database": {"file": "d.yaml"}} if database else {}),
    },
    st.sampled_from([[0], [0, 7]]), st.booleans(), st.sampled_from([[], CONTACTS[:1], CONTACTS[1:]]),
)  # fmt: skip
CONFIGURATIONS = st.fixed_dictionaries({
    "modes": st.sampled_from([["flight", "test"], ["test", "flight"]]),
    "silence": st.sampled_from([30, 60]), "keep": st.sampled_from([0, 3]), "crafts": st.tuples(CRAFT, CRAFT),
    "links": st.tuples(link("one"), link("two"), link("three")), "prime": st.sampled_from(["one", "two", ""]),
    "homes": st.tuples(HOME, HOME), "only_flight": st.booleans(),
})  # fmt: skip


def write(folder: Path, told: dict[str, Any]) -> None:
    """Write a configuration over what is there."""
    modes = ["flight"] if told["only_flight"] else told["modes"]
    crafts = [{"name": name, **craft} for name, craft in zip("st", told["crafts"], strict=True)]
    mission = {"name": "m", "support_modes": modes, "contact_silence_s": told["silence"], "spacecraft": crafts}
    files: dict[str, Any] = {"missions/m": mission, "gateway": {"journal": {"keep_days": told["keep"]}}}
    for one in told["links"]:
        if one is not None and one["support_mode"] in modes:
            files[f"links/{one['name']}"] = {**one, "prime": one["name"] == told["prime"]}
    for name, home in zip("ab", told["homes"], strict=True):
        if home is not None:
            grants = [
                {**grant, "support_modes": [m for m in grant["support_modes"] if m in modes]}
                for grant in home["grants"]
            ]
            files[f"homes/{name}"] = {**home, "name": name, "grants": [one for one in grants if one["support_modes"]]}
    for old in folder.glob("*/*.yaml"):
        old.unlink()
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))


def seen(service: Gateway) -> dict[str, Any]:
    """What a gateway is by its configuration, without what has happened to it."""
    return {
        "revision": service.state()["configuration"]["revision"],
        "rights": service.policy.rights,
        "lines": {home: line.bucket and line.bucket.rate_bps for home, line in service.lines.homes.items()},
        "instances": {name: _instance(instance) for name, instance in service.instances.items()},
    }


def differing(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two of them differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [*one, *(key for key in other if key not in one)]
        return [line for key in keys for line in differing(one.get(key), other.get(key), f"{where}/{key}")]
    return [] if one == other else [f"{where}: {one} != {other}"]


def _instance(instance: Any) -> dict[str, Any]:
    links = {name: (one.settings, one.status is LinkStatus.DISABLED) for name, one in instance.links.items()}
    plans = [row for row in instance.contacts() if row["state"] == "planned"]
    return {
        "mission": instance.mission,
        "links": links,
        "order": list(links),
        "prime": instance.registry.prime_links,
        "settings": instance.journal.settings,
        "silence": instance._book._silence_s,
        "plans": sorted((row["spacecraft"], row["planned_aos_utc"], row["planned_los_utc"]) for row in plans),
        "databases": dict(instance.values.around.databases),
        "values_prime": instance.values.around.prime,
        "values_for_sessions": instance.registry.values is instance.values,
        "spacecraft": set(instance.journal.names("spacecraft").values()),
    }


@given(CONFIGURATIONS, CONFIGURATIONS)
@settings(max_examples=EXAMPLES, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_a_reload_makes_what_a_start_makes(before: dict[str, Any], after: dict[str, Any]) -> None:
    """From any configuration to any other: links, instances, rights, limits, plans, databases are those of a start."""
    asyncio.run(_compare(before, after))


async def _compare(before: dict[str, Any], after: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "d.yaml").write_text(DATABASE)
        write(folder, before)
        running = Gateway(load(folder))
        await running.start()
        kept = {(i, n): link for i, instance in running.instances.items() for n, link in instance.links.items()}
        try:
            write(folder, after)
            report = await running.reloader.reload("a test")
            assert report["after"] == revision(load(folder))
            fresh = Gateway(load(folder), folder / "other")
            await fresh.start()
            try:
                assert differing(seen(running), seen(fresh)) == []
            finally:
                await fresh.drain()
                await fresh.stop()
            untouched = {row["name"] for row in report["untouched"] if row["what"] == "link"}
            for instance in running.instances.values():
                for link_name, one in instance.links.items():
                    assert (kept.get((instance.name, link_name)) is one) == (link_name in untouched)
        finally:
            await running.drain()
            await running.stop()
