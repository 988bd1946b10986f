"""The shipped examples load, and say what other people's tools found in the recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway_config import FrameSettings, Mission, example_directory, example_mission, example_names, load
from gateway_config.examples import EXAMPLES

FRAMES = Path(__file__).parents[3] / "shared" / "data" / "frames" / "expected_frames.json"
RECORDINGS = {
    "hera_tm_1113_lowrate.bin": "hera",
    "lucy_aos_1113.bin": "lucy",
    "integral_tm_890.bin": "integral",
    "emm_hope_aos_223_crc.bin": "emm-hope",
    "change5_aos_220_insert8.bin": "chang-e-5",
    "dart_tm_1113_sechdr.bin": "dart",
    "equuleus_aos_444_ocf.bin": "equuleus",
    "queqiao2_aos_220.bin": "queqiao-2",
    "bgm1_tm_892_crc_interleaved.bin": "blue-ghost",
}
PACKETS_ONLY = {"jpss1", "idex", "suda", "europa-clipper", "ssat1", "generic-packets"}


def frames_of(mission: Mission) -> FrameSettings:
    frames = mission.spacecraft[0].frames
    assert frames is not None
    return frames


def test_every_recording_has_its_mission() -> None:
    """There is an example for each recording, frames and packets, and no other."""
    assert set(example_names()) == {*RECORDINGS.values(), *PACKETS_ONLY}


@pytest.mark.parametrize("name", example_names())
def test_every_mission_loads(name: str) -> None:
    """Each example is valid, is called as its file, and tells in its first lines what is special."""
    mission = example_mission(name)
    assert mission.name == name
    assert (mission.spacecraft[0].frames is None) == (name in PACKETS_ONLY)
    assert "# Special: " in (EXAMPLES / "missions" / f"{name}.yaml").read_text()


def expected(recording: str) -> dict[str, Any]:
    if not FRAMES.exists():
        pytest.skip("the recordings are not here (../shared/data)")
    files = json.loads(FRAMES.read_text())["files"]
    return next(f for f in files if f["file"] == recording)


@pytest.mark.parametrize("recording", RECORDINGS)
def test_missions_say_what_the_recordings_are(recording: str) -> None:
    """Version, length, ids, FECF, OCF, insert zone and channels equal what was found in the recording."""
    known, mission = expected(recording), example_mission(RECORDINGS[recording])
    frames = frames_of(mission)
    assert (frames.version, frames.frame_length_octets) == (known["protocol"].lower(), known["frame_length"])
    assert frames.fecf == known["fecf_present"]
    assert frames.insert_zone_octets == known["insert_zone_bytes"]
    assert (frames.ocf != "absent") >= (known["ocf_bytes"] == 4)
    if frames.version == "aos":
        assert (frames.ocf == "present") == (known["ocf_bytes"] == 4)
    commonest = max(known["scid_counts"], key=lambda scid: known["scid_counts"][scid])
    assert mission.spacecraft[0].scids == (int(commonest),)
    assert {str(vcid) for vcid in frames.vcs} == set(known["virtual_channels"])


@pytest.mark.parametrize("recording", RECORDINGS)
def test_channels_are_used_as_found(recording: str) -> None:
    """Channels with a packet digest are packets of the right versions; only-idle ones idle; all others opaque."""
    known, frames = expected(recording), frames_of(example_mission(RECORDINGS[recording]))
    for vcid, vc in known["virtual_channels"].items():
        settings = frames.vcs[int(vcid)]
        only_idle = vc.get("pointer_7fe_only_idle", 0) == vc["frames"]
        service = "packets" if "packets" in vc else "idle" if only_idle else "opaque"
        assert settings.service == service
        versions = {int(v) for apid in vc.get("apids", {}).values() for v in apid["version"]}
        assert versions <= set(settings.packet_versions)
        assert (settings.counting == "none") == (vc["repeated_counts"] > 0)


def test_special_settings() -> None:
    """What the recordings' notes say: two do not count APIDs, one is interleaved, one prefixed."""
    assert frames_of(example_mission("chang-e-5")).vcs[1].default_apid_counting == "none"
    assert frames_of(example_mission("equuleus")).vcs[1].default_apid_counting == "none"
    assert frames_of(example_mission("blue-ghost")).octet_interleave == 4
    assert frames_of(example_mission("dart")).secondary_header == "by_flag"
    assert frames_of(example_mission("integral")).vcs[0].packet_versions == (4,)
    assert example_mission("suda").spacecraft[0].packets.packet_prefix_octets == 4
    assert set(example_mission("generic-packets").spacecraft[0].packets.packet_versions) >= {0, 1}


@pytest.mark.parametrize("name", ["demo", "minimal"])
def test_whole_directories_load(name: str) -> None:
    """`demo` and `minimal` are whole configurations with one station, two home bases and the same mission."""
    found = load(example_directory(name))
    assert set(found.links) == {"station"}
    assert set(found.homes) == {"laboratory-a", "laboratory-b"}
    assert found.missions["demo"].support_modes == ("simulation",)
    assert found.data_dir == example_directory(name) / "var"
    craft = found.missions["demo"].spacecraft[0]
    assert craft.scids == (0x2A,)
    assert craft.frames is not None
    services = {vcid: vc.service for vcid, vc in craft.frames.vcs.items()}
    assert services == {0: "packets", 1: "packets", 3: "opaque", 7: "idle"}
    assert sorted([*craft.frames.vcs[0].apids, *craft.frames.vcs[1].apids]) == [100, 101, 102, 200, 201]
    assert (craft.frames.frame_length_octets, craft.frames.fecf, craft.frames.ocf) == (1115, True, "by_flag")


def test_demo_and_minimal_have_one_mission() -> None:
    """A user who copies `minimal` gets the mission that the demo showed."""
    missions = [load(example_directory(name)).missions["demo"] for name in ("demo", "minimal")]
    assert missions[0] == missions[1]
    assert load(example_directory("demo")).links["station"].watchdog_s == 2
