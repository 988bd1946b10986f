"""Replay runs as values: which spacecraft, unit and pace a run means, and the link that plays its file. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.errors import UsageError
from gateway_config import LinkConfig, Mission, Spacecraft

LINK = "replay"
REPLAYED = ("file", "size_octets", "mission", "support_mode", "spacecraft", "unit", "container")
"""What a run plays: the same for as long as its id is."""
PACE = ("frames_per_s", "rate_bps")
KEYS = ("run", "instance", *REPLAYED, *PACE)
MAY_BE_NONE = ("spacecraft", "unit", "container", *PACE)
Run = dict[str, Any]


def kept_run(stored: Mapping[str, Any]) -> Run:
    """Return a run as it was stored. Raises KeyError, TypeError for what is none."""
    return {key: stored.get(key) if key in MAY_BE_NONE else stored[key] for key in KEYS}


def settled(mission: Mission, wish: Mapping[str, Any]) -> Run:
    """Return the run with the spacecraft and unit that it means. Raises UsageError for what cannot be played."""
    craft = _spacecraft(mission, wish["spacecraft"])
    if wish["frames_per_s"] and wish["rate_bps"]:
        raise UsageError("frames per second and bits per second are two paces", "give one")
    if wish.get("container") == "kiss":
        return _settled_kiss(wish, craft)
    unit = wish["unit"] or ("packets" if craft.frames is None else "frames")
    if unit == "cadus" and craft.coding is None:
        raise UsageError(
            f"{mission.name} does not say how frames of {craft.name} are coded", "unit frames plays frames"
        )
    if wish.get("container") not in {None, "none"} and unit != "cadus":
        raise UsageError(f"a file of {wish['container']} holds CADUs, not {unit}", "unit cadus plays CADUs")
    if unit == "frames" and craft.frames is None:
        raise UsageError(f"{mission.name} says nothing of frames of {craft.name}", "unit packets plays packets")
    if wish["frames_per_s"] and unit == "packets":
        raise UsageError("packets have no pace in frames per second", "give the bits per second: rate_bps")
    if wish["frames_per_s"] and craft.frames is not None and craft.frames.variable_length:
        raise UsageError(f"frames of {craft.name} vary in length", "give the bits per second: rate_bps")
    return {**wish, "spacecraft": craft.name, "unit": unit, "container": wish.get("container") or "none"}


def _settled_kiss(wish: Mapping[str, Any], craft: Spacecraft) -> Run:
    if wish["unit"] == "packets":
        raise UsageError("KISS frames are played as they are, they are no packets", "leave the unit out")
    if wish["frames_per_s"]:
        raise UsageError("KISS frames have no common length", "give the bits per second: rate_bps")
    return {**wish, "spacecraft": craft.name, "unit": "frames", "container": "kiss"}


def _spacecraft(mission: Mission, name: str | None) -> Spacecraft:
    known = {craft.name: craft for craft in mission.spacecraft}
    if name is None and len(known) == 1:
        return mission.spacecraft[0]
    if name is None:
        raise UsageError(f"which spacecraft of {mission.name} is it?", f"there are {', '.join(known)}")
    if name not in known:
        raise UsageError(f"{mission.name} has no spacecraft {name!r}", f"there are {', '.join(known)}")
    return known[name]


def differing(known: Mapping[str, Any], wanted: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    """Return what a known run has otherwise, for people; what it never said is no difference. Empty when nothing."""
    other = [key for key in keys if known[key] != wanted[key] and (known[key] is not None or key in PACE)]
    return ", ".join(f"{key} {known[key]}, not {wanted[key]}" for key in other)


def link_of(run: Mapping[str, Any]) -> LinkConfig:
    """Return the link that plays a settled run."""
    held = {"container": run["container"]} if run["container"] != "none" else {}
    held |= {"unit": run["unit"]} if run["container"] != "kiss" else {}
    return LinkConfig(
        name=LINK, mission=run["mission"], support_mode=run["support_mode"], spacecraft=run["spacecraft"], type="file",
        path=run["file"], data_mode="playback", frames_per_s=run["frames_per_s"], rate_bps=run["rate_bps"], **held,
    )  # fmt: skip


def progress(run: Mapping[str, Any], finished: bool, read: Mapping[str, int]) -> dict[str, int]:
    """Return how far a run is: a finished one has played all, also when its file was not opened in this start."""
    size = int(run["size_octets"])
    return {"octets": size if finished else min(size, read["octets"]), "of_octets": size}
