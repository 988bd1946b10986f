"""Every kind of mistake is told with file, line, key, value and what would be right; and all of them at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway_config import ConfigError, load

from .directories import GATEWAY, HOME, LINK, MISSION, changed, write

G, M, L, H = "gateway.yaml", "missions/demo.yaml", "links/station.yaml", "homes/laboratory-a.yaml"
AOS = """\
name: demo
spacecraft:
  - name: picard
    scids: [42]
    frames:
      version: aos
      frame_length_octets: 220
      vcs:
        63: {service: idle}
"""
FILE = "name: station\nmission: demo\nspacecraft: picard\ntype: file\npath: pass.bin\n"
SERVER = "name: station\nmission: demo\nspacecraft: picard\ntype: tcp_server\n"


def m(old: str, new: str) -> dict[str, str | bytes | None]:
    return {M: changed(MISSION, old, new)}


def a(old: str, new: str) -> dict[str, str | bytes | None]:
    return {M: changed(AOS, old, new), L: None}


def k(old: str, new: str) -> dict[str, str | bytes | None]:
    return {L: changed(LINK, old, new)}


CONTACT = "  - name: probe\n    contacts:\n      - peer: {}\n        aos: {}\n        los: {}\n"


def contact(peer: str, aos: str, los: str) -> dict[str, str | bytes | None]:
    return m("  - name: probe\n", CONTACT.format(peer, aos, los))


T1, T2 = "2024-02-29T12:00:00Z", "2024-02-29T12:10:00Z"
NAME_REMEDY = "write 1 to 64 letters, digits, '-' and '_', beginning with a letter or digit"
CASES: list[tuple[str, dict[str, str | bytes | None], str]] = [
    # values that are wrong by themselves
    ("unknown key", m("      ocf: by_flag", "      ofc: by_flag"),
     f"{M}:9: spacecraft.0.frames.ofc = 'by_flag': unknown key; did you mean ocf?"),
    ("unknown key, unlike any", {H: HOME + "zzz: 1\n"},
     f"{H}:2: zzz = 1: unknown key; known here: name, description, organisation"),
    ("missing key", k("mission: demo\n", ""), f"{L}:1: mission = (missing): add this key: the mission it serves"),
    ("missing key inside", m("      version: tm\n", ""),
     f"{M}:6: spacecraft.0.frames.version = (missing): add this key: `tm` (CCSDS 132.0-B) or `aos` (CCSDS 732.0-B)"),
    ("no such word", m("version: tm", "version: uslp"),
     f"{M}:7: spacecraft.0.frames.version = 'uslp': write tm or aos"),
    ("no such word in a list", m("[flight, simulation]", "[flight, party]"),
     f"{M}:2: support_modes.1 = 'party': write flight, simulation, test or training"),
    ("text for a number", m("1115", '"1115"'),
     f"{M}:8: spacecraft.0.frames.frame_length_octets = '1115': write a whole number"),
    ("fraction for a whole number", m("1115", "1115.5"),
     f"{M}:8: spacecraft.0.frames.frame_length_octets = 1115.5: write a whole number"),
    ("truth value for a number", m("1115", "true"),
     f"{M}:8: spacecraft.0.frames.frame_length_octets = True: write a whole number"),
    ("text for a truth value", k("port: 5500", "port: 5500\nprime: yes"), f"{L}:8: prime = 'yes': write true or false"),
    ("text for a duration", k("port: 5500", "port: 5500\nwatchdog_s: 2s"), f"{L}:8: watchdog_s = '2s': write a number"),
    ("endless duration", k("port: 5500", "port: 5500\nwatchdog_s: .inf"),
     f"{L}:8: watchdog_s = inf: write a finite number"),
    ("no duration", k("port: 5500", "port: 5500\nwatchdog_s: 0"), f"{L}:8: watchdog_s = 0: write more than 0"),
    ("number for text", k("name: station", "name: 7"),
     f"{L}:1: name = 7: write text (in quotes if it looks like a number)"),
    ("nothing for text", k("name: station", "name:"),
     f"{L}:1: name = None: write text (in quotes if it looks like a number)"),
    ("port too high", k("5500", "65536"), f"{L}:7: port = 65536: write at most 65535"),
    ("length below zero", m("ocf: by_flag", "prefix_octets: -1"),
     f"{M}:9: spacecraft.0.frames.prefix_octets = -1: write at least 0"),
    ("mapping for text", k("host: 127.0.0.1", "host: {a: 1}"),
     f"{L}:6: host = keys and values (1): write text (in quotes if it looks like a number)"),
    ("list for keys", m("0: {service: packets}", "0: [packets]"),
     f"{M}:11: spacecraft.0.frames.vcs.0 = ['packets']: write keys and values here"),
    ("text for a list", m("scids: [42]", "scids: 42"), f"{M}:5: spacecraft.0.scids = 42: write a list"),
    ("text for a file", {H: "laboratory\n"}, f"{H}:1: (whole file) = 'laboratory': write keys and values here"),
    ("empty file", {H: "# nothing\n"}, f"{H}:1: name = (missing): add this key: its name; unique among all home bases"),
    ("empty list", m("[flight, simulation]", "[]"), f"{M}:2: support_modes = []: give at least one"),
    ("scid", m("[42]", "[1024]"), f"{M}:5: spacecraft.0.scids.0 = 1024: write at most 1023"),
    ("packet version", m("[0]}", "[8]}"), f"{M}:14: spacecraft.1.packets.packet_versions.0 = 8: write at most 7"),
    ("channel that is no number", m("0: {service: packets}", "zero: {service: packets}"),
     f"{M}:11: spacecraft.0.frames.vcs.zero = 'zero': write a whole number"),
    ("apid", m("0: {service: packets}", "0: {apids: {2048: {name: x}}}"),
     f"{M}:11: spacecraft.0.frames.vcs.0.apids.2048 = 2048: write at most 2047"),
    ("counting rule", m("0: {service: packets}", "0: {default_apid_counting: some}"),
     f"{M}:11: spacecraft.0.frames.vcs.0.default_apid_counting = 'some': write apid, none or shared:GROUP"),
    ("packet start", m("0: {service: packets}", "0: {packet_start: here}"),
     f"{M}:11: spacecraft.0.frames.vcs.0.packet_start = 'here': write pointer, or a number of octets from 0 to 65535"),
    ("secondary header", m("ocf: by_flag", "secondary_header: 65"),
     f"{M}:9: spacecraft.0.frames.secondary_header = 65: write absent, by_flag, or a number of octets from 1 to 64"),
    ("host", k("127.0.0.1", "a b"), f"{L}:6: host = 'a b': write a host name or an IP address, for example 127.0.0.1"),
    ("peer", {L: SERVER + "allowed_peers: [10.0.0.0/8]\n"},
     f"{L}:5: allowed_peers.0 = '10.0.0.0/8': write an IP address, for example 192.0.2.7"),
    ("time", contact("station", "2024-02-30T12:00:00Z", T2),
     f"{M}:16: spacecraft.1.contacts.0.aos = '2024-02-30T12:00:00Z': "
     "write UTC as 2024-02-29T12:34:56Z; this day or time of day does not exist"),
    ("time without Z", contact("station", T1, "2024-02-29T12:10:00"),
     f"{M}:17: spacecraft.1.contacts.0.los = '2024-02-29T12:10:00': write UTC as 2024-02-29T12:34:56Z"),
    *[
        (f"name {bad!r}", {H: f'name: "{bad}"\n'}, f"{H}:1: name = '{bad}': {NAME_REMEDY}")
        for bad in ("", "a b", "a*", "a>", "a/b", "a+", "a#", "-a", "..", "x" * 65)
    ],
    # values that do not go together
    ("frame too short", m("1115", "8"),
     f"{M}:8: spacecraft.0.frames.frame_length_octets = 8: headers, OCF and FECF take 8 octets: write at least 9"),
    ("TM frame too long", m("1115", "2049"),
     f"{M}:8: spacecraft.0.frames.frame_length_octets = 2049: TM frames have at most 2048 octets"),
    ("insert zone in TM", m("ocf: by_flag", "insert_zone_octets: 8"),
     f"{M}:9: spacecraft.0.frames.insert_zone_octets = 8: TM frames have none: write 0"),
    ("interleave", m("ocf: by_flag", "octet_interleave: 4"),
     f"{M}:9: spacecraft.0.frames.octet_interleave = 4: must divide the frame length of 1115 octets"),
    ("TM channel", m("7: {service: idle}", "8: {service: idle}"),
     f"{M}:12: spacecraft.0.frames.vcs.8 = 8: virtual channels of tm frames go from 0 to 7"),
    ("apids without packets", m("{service: idle}", "{service: idle, apids: {5: {}}}"),
     f"{M}:12: spacecraft.0.frames.vcs.7.apids = [5]: a channel with service: idle has no packets"),
    ("padding without start", m("{service: packets}", "{padding: true}"),
     f"{M}:11: spacecraft.0.frames.vcs.0.padding = True: "
     "give packet_start as a number of octets, or leave padding out"),
    ("packet start beyond", m("{service: packets}", "{packet_start: 1107}"),
     f"{M}:11: spacecraft.0.frames.vcs.0.packet_start = 1107: the data field ends at octet 1107: write less"),
    ("AOS flag", a("version: aos", "version: aos\n      ocf: by_flag"),
     f"{M}:7: spacecraft.0.frames.ocf = 'by_flag': AOS frames have no OCF flag: write absent or present"),
    ("AOS secondary header", a("version: aos", "version: aos\n      secondary_header: 8"),
     f"{M}:7: spacecraft.0.frames.secondary_header = 8: "
     "AOS frames have no secondary header: leave it out (an insert zone is insert_zone_octets)"),
    ("AOS idle channel", a("service: idle", "service: packets"),
     f"{M}:9: spacecraft.0.frames.vcs.63.service = 'packets': AOS channel 63 carries only idle data: write idle"),
    ("AOS without room", a("220\n      vcs:\n        63: {service: idle}", "10\n      vcs:\n        1: {}"),
     f"{M}:9: spacecraft.0.frames.vcs.1.service = 'packets': "
     "no room for packets in a data field of 2 octets: make frame_length_octets longer"),
    ("AOS scid", a("[42]", "[256]"), f"{M}:4: spacecraft.0.scids.0 = 256: AOS spacecraft ids go from 0 to 255"),
    ("no scid", m("[42]", "[]"),
     f"{M}:5: spacecraft.0.scids = []: frames are told by their spacecraft id: list at least one"),
    ("scid twice", m("[42]", "[42, 42]"), f"{M}:5: spacecraft.0.scids.1 = 42: stands twice: remove one"),
    ("mode twice", m("[flight, simulation]", "[flight, flight]"),
     f"{M}:2: support_modes.1 = 'flight': stands twice: remove one"),
    ("spacecraft twice", m("name: probe", "name: picard"),
     f"{M}:13: spacecraft.1.name = 'picard': another spacecraft has this name: change one"),
    ("scid of another", m("    packets: {packet_versions: [0]}\n",
                          "    scids: [42]\n    frames: {version: tm, frame_length_octets: 100}\n"),
     f"{M}:14: spacecraft.1.scids = 42: picard has this spacecraft id already"),
    ("contact ends first", contact("station", T2, T1),
     f"{M}:17: spacecraft.1.contacts.0.los = '{T1}': must be after aos, {T2}"),
    ("contact with nobody", contact("nobody", T1, T2),
     f"{M}:15: spacecraft.1.contacts.0.peer = 'nobody': no such link; the mission has: station"),
    ("client without port", k("port: 5500\n", ""), f"{L}:1: port = 0: write the port to call, 1 to 65535"),
    ("path of a client", k("5500", "5500\npath: x.bin"),
     f"{L}:8: path = 'x.bin': a tcp_client link does not use it: remove it"),
    ("peers of a client", k("5500", "5500\nallowed_peers: [127.0.0.1]"),
     f"{L}:8: allowed_peers = ['127.0.0.1']: a tcp_client link does not use it: remove it"),
    ("port of a file", {L: FILE + "port: 1\n"}, f"{L}:6: port = 1: a file link does not use it: remove it"),
    ("file without path", {L: FILE.replace("path: pass.bin\n", "")},
     f"{L}:1: path = '': write the file, relative to the configuration directory"),
    ("two paces", {L: FILE + "frames_per_s: 1\nrate_bps: 8\n"},
     f"{L}:7: rate_bps = 8.0: frames_per_s gives the pace already: remove one of the two"),
    ("frames of packets", {L: FILE.replace("picard", "probe") + "unit: packets\nframes_per_s: 1\n"},
     f"{L}:7: frames_per_s = 1.0: packets have no frames: use rate_bps"),
    ("speed of nothing", {L: FILE + "speed: 2\n"},
     f"{L}:6: speed = 2.0: there is no pace to change: add rate_bps or frames_per_s"),
    ("retries", k("5500", "5500\nretry_min_s: 9\nretry_max_s: 8"),
     f"{L}:9: retry_max_s = 8.0: write at least retry_min_s, 9.0"),
    ("server by name", {L: SERVER + "host: station.example\n"},
     f"{L}:5: host = 'station.example': a server listens on an IP address, for example 127.0.0.1"),
    ("server for everybody", {L: SERVER + "host: 0.0.0.0\n"},
     f"{L}:1: allowed_peers = []: beyond loopback a server takes only known peers: list their addresses"),
    ("api by name", {G: "api: {host: gateway.example}\n"},
     f"{G}:1: api.host = 'gateway.example': write an IP address, for example 127.0.0.1"),
    ("api for everybody", {G: "api:\n  host: 0.0.0.0\n"},
     f"{G}:2: api.host = '0.0.0.0': everybody who reaches this address may do everything: "
     "add expose: true if you want that"),
    # names that lead nowhere, or to two places
    ("no such mission", k("mission: demo", "mission: nowhere"),
     f"{L}:2: mission = 'nowhere': no such mission; there are: demo"),
    ("no such mode", k("support_mode: flight", "support_mode: test"),
     f"{L}:3: support_mode = 'test': mission demo has the support modes: flight, simulation"),
    ("no such spacecraft", k("spacecraft: picard", "spacecraft: riker"),
     f"{L}:4: spacecraft = 'riker': mission demo has the spacecraft: picard, probe"),
    ("no frames", k("spacecraft: picard", "spacecraft: probe"),
     f"{L}:1: unit = 'frames': spacecraft probe has no frames: add them to the mission, or write unit: packets"),
    ("link twice", {"links/two.yaml": changed(LINK, "5500", "5501") + "prime: false\n"},
     "links/two.yaml:1: name = 'station': links/station.yaml has this name already: change one"),
    ("home twice", {"homes/b.yaml": HOME},
     f"{H}:1: name = 'laboratory-a': homes/b.yaml has this name already: change one"),
    ("mission twice", {"missions/z.yaml": MISSION},
     f"missions/z.yaml:1: name = 'demo': {M} has this name already: change one"),
    ("two prime links", {"links/two.yaml": changed(LINK, "name: station", "name: two") + "prime: true\n"},
     "links/two.yaml:8: prime = True: station is the prime link of picard in flight: write prime: false"),
    # files that are no configuration
    ("key twice", k("port: 5500", "port: 5500\nport: 5501"),
     f"{L}:8: port = '5501': this key stands in line 7 already: remove one of the two"),
    ("channel twice", m("7: {service: idle}", "0x0: {service: idle}"),
     f"{M}:12: spacecraft.0.frames.vcs.0 = '(a list or keys)': "
     "this key stands in line 11 already: remove one of the two"),
    ("alias", k("mission: demo", "mission: &x demo\nhost: *x"),
     f"{L}:3: (whole file) = no YAML: aliases are not used here: write the value"),
    ("tag", k("port: 5500", "port: !!python/name:os.system 5500"),
     f"{L}:7: port = 'tag:yaml.org,2002:python/name:os.system': remove the tag: tags are not used here"),
    ("key that is a list", k("port: 5500", "port: 5500\n? [a]\n: 1"),
     f"{L}:8: (whole file) = 'a list or mapping as key': write a name or a number as key"),
    ("no YAML", k("port: 5500", "port: [5500"),
     f"{L}:8: (whole file) = no YAML: expected ',' or ']', but got '<stream end>'"),
    ("tab", k("port: 5500", "port:\n\t- 1"),
     f"{L}:8: (whole file) = no YAML: found character '\\t' that cannot start any token"),
    ("two documents", {H: HOME + "---\n" + HOME}, f"{H}:2: (whole file) = no YAML: but found another document"),
    ("control character", {H: "name: a\n\x07\n"}, f"{H}:2: (whole file) = no YAML: remove the character #x0007"),
    ("no UTF-8", {H: b"name: \xff\n"},
     f"{H}:1: (whole file) = cannot be read: octet 6 is not UTF-8: save the file as UTF-8"),
    ("too large", {H: HOME + "#" * (1 << 18)},
     f"{H}:1: (whole file) = cannot be read: larger than 262144 octets: split it"),
    ("too deep", {H: "name: " + "[" * 40 + "]" * 40},
     f"{H}:1: (whole file) = no YAML: too deep or too large: at most 16 levels and 20000 values"),
    ("too many", {H: "name: [" + "1," * 20001 + "]"},
     f"{H}:1: (whole file) = no YAML: too deep or too large: at most 16 levels and 20000 values"),
    ("other ending", {"links/b.yml": LINK}, "links/b.yml:1: (whole file) = not read: call it b.yaml"),
    ("other file", {"gatway.yaml": GATEWAY},
     "gatway.yaml:1: (whole file) = not read: the file is called gateway.yaml, others stand in folders"),
    ("other folder", {"mission/demo.yaml": MISSION}, "mission/:1: (whole file) = not read: did you mean missions/?"),
    ("no mission", {M: None, L: None},
     "missions/:1: (whole file) = no files: add a file for each mission: missions/NAME.yaml"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "line"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_mistake_is_told(tmp_path: Path, files: dict[str, str | bytes | None], line: str) -> None:
    """One mistake, one line: file, line, key, value, and what would be right."""
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, files))
    assert str(caught.value).splitlines() == [line]


def test_no_directory(tmp_path: Path) -> None:
    """A directory that is not there is told with what would be one."""
    with pytest.raises(ConfigError, match=r"no directory: give a directory with gateway.yaml, missions/"):
        load(tmp_path / "nothing")


def test_everything_is_told_at_once(tmp_path: Path) -> None:
    """Mistakes of all kinds, in all files, are told together, in the order of files and lines."""
    files: dict[str, str | bytes | None] = {
        G: "api:\n  host: 0.0.0.0\n  prot: 1\ndata_dir: 7\n",
        M: changed(changed(MISSION, "version: tm", "version: tm\n      ofc: 1"), "        7:", "        9:")
        .replace("[flight, simulation]", "[flight, flight]")
        .replace("name: probe", "name: picard"),
        L: changed(LINK, "mission: demo", "mission: nowhere") + "port: 1\nwatchdog_s: soon\nspeed: 2\n",
        H: "organisation: [\n",
        "homes/b.yaml": "name: a b\n",
    }
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, files))
    told = [(problem.file, problem.line, problem.key) for problem in caught.value.problems]
    assert told == [
        (G, 2, "api.host"),
        (G, 3, "api.prot"),
        (G, 4, "data_dir"),
        ("homes/b.yaml", 1, "name"),
        (H, 2, ""),
        (L, 2, "mission"),
        (L, 8, "port"),
        (L, 9, "watchdog_s"),
        (L, 10, "speed"),
        (M, 2, "support_modes.1"),
        (M, 8, "spacecraft.0.frames.ofc"),
        (M, 13, "spacecraft.0.frames.vcs.9"),
        (M, 14, "spacecraft.1.name"),
    ]


def test_what_rests_on_a_wrong_key_is_not_told(tmp_path: Path) -> None:
    """A key that is wrong by itself makes no second complaint out of its default."""
    files = {L: FILE + "speed: 2\nrate_bps: fast\n", G: "api: {host: 0.0.0.0, expose: 1}\n"}
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, dict(files)))
    assert [(p.file, p.key) for p in caught.value.problems] == [(G, "api.expose"), (L, "rate_bps")]


def test_a_mission_that_is_wrong_is_still_there(tmp_path: Path) -> None:
    """A mistake inside a mission does not make its links say that it is missing."""
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, m("version: tm", "version: uslp")))
    assert len(caught.value.problems) == 1
