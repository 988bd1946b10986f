"""What a configuration may not say: each mistake is refused with file, line, key, value and the way out."""

from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from gateway_config import ConfigError, load

from .test_config import LINK, MISSION, problems, write

SERVER = LINK.replace("tcp_client", "tcp_server").replace("port: 1", "port: 45131")
FILE = "name: l\nmission: m\nspacecraft: s\ntype: file\npath: pass.bin\n"
FRAMES = "    frames: {version: tm, frame_length_octets: 100}\n"
CONTACT = "      - {{peer: a, aos_utc: {}, los_utc: {}}}\n"


def mission(frames: str = "", rest: str = "", version: str = "tm") -> str:
    """The mission with other settings of its frames, and what follows them."""
    changed = MISSION.replace("frame_length_octets: 100", f"frame_length_octets: 100, {frames}")
    return changed.replace("version: tm", f"version: {version}") + rest


def contacts(*times: tuple[str, str]) -> str:
    """The mission with planned contacts."""
    return MISSION + "    contacts:\n" + "".join(CONTACT.format(*pair) for pair in times)


UDP = SERVER.replace("tcp_server", "udp")
PEER = "name: l\nmission: m\nspacecraft: s\ntype: gateway\n"


def upstream(keys: str = "", url: str = "https://gateway.example:8440") -> str:
    """A link whose peer is another gateway."""
    return f"{PEER}upstream: {{url: '{url}', instance: m.flight, home: site-b{keys}}}\n"


def coded(coding: str, link: str = "", octets: int = 100) -> dict[str, str]:
    """A mission whose frames are coded, and a link of its CADUs."""
    craft = MISSION.replace("frame_length_octets: 100", f"frame_length_octets: {octets}")
    return {"missions__m": f"{craft}    coding: {{{coding}}}\n", "links__l": f"{link or LINK}unit: cadus\n"}


SHORT = "randomiser: short"

REFUSED = [
    # -- grants
    ({"homes__a": "name: a\ngrants: [{mission: m, parameters: [V_BUS]}]\n"},
     "homes/a.yaml:2: grants.0.parameters.0 = 'V_BUS': "
     "expected a whole name, which begins with /, or a pattern such as */V_BUS"),
    # -- CADUs
    ({"links__l": LINK + "unit: cadus\n"},
     "links/l.yaml:6: unit = 'cadus': s has no coding settings: add them, or use unit: frames"),
    (coded("marker: 1ACFFC1D"), "spacecraft.0.coding.randomiser = missing: this key is required"),
    (coded(f"marker: 1ACF, {SHORT}"), "coding.marker = '1ACF': expected 6 to 48 hex digits, such as 1ACFFC1D, or none"),
    (coded(f"marker: 12345678, {SHORT}"), "coding.marker = 12345678: expected text: quote it"),
    ({"missions__m": "name: m\nspacecraft:\n  - name: s\n    coding: {randomiser: none}\n",
      "links__l": LINK + "unit: packets\n"}, "code blocks hold frames: describe them under frames, or leave"),
    (coded(f"{SHORT}, reed_solomon: {{interleave: 3}}"),
     "missions/m.yaml:7: spacecraft.0.coding.reed_solomon.interleave = 3: "
     "frame_length_octets (100) must be a multiple of interleave"),
    (coded(f"{SHORT}, reed_solomon: {{interleave: 2}}", octets=1116),
     "interleave = 2: 2 code words hold 446 octets of frame: a frame of 1116 needs interleave 6"),
    (coded(f"{SHORT}, reed_solomon: {{}}", octets=1115),
     "interleave = 1: 1 code words hold 223 octets of frame: a frame of 1115 needs interleave 5"),
    (coded(f"{SHORT}, reed_solomon: {{e: 8}}", octets=2000), "no frame of 2000 fits e 8"),
    (coded(f"{SHORT}, reed_solomon: {{e: 4}}"), "reed_solomon.e = 4: expected 16 or 8"),
    (coded(SHORT, LINK + "sync: {search_errors: 4}\n"),
     "links/l.yaml:6: sync.search_errors = 4: must not be above lock_errors (3): a marker that is found must hold"),
    (coded(SHORT, LINK + "sync: {alignment: octet, slip_bits: 1}\n"),
     "sync.slip_bits = 1: octets do not slip by bits: leave it out, or alignment: bit"),
    (coded(SHORT, LINK + "sync: {lock_errors: 9}\n"),
     "sync.lock_errors = 9: the marker of s has 32 bits: at most 8 may be wrong, or anything is one"),
    (coded(f"marker: none, {SHORT}", LINK + "sync: {flywheel: 5}\n"),
     "sync.flywheel = 5: coding of s says marker: none, so nothing is searched for: leave it out"),
    (coded(f"marker: 1ACFFC1, {SHORT}", LINK + "sync: {alignment: octet}\n"),
     "sync.alignment = 'octet': the marker of s has 28 bits: its CADUs do not begin at octets"),
    (coded(f"marker: 1ACFFC1, {SHORT}", UDP), "type = 'udp': the marker of s has 28 bits: its CADUs do not begin at"),
    (coded(SHORT, UDP + "sync: {verify: 2}\n"),
     "sync.verify = 2: a datagram holds whole CADUs, nothing is searched for: leave it out"),
    (coded(SHORT, UDP, octets=65535), "a datagram holds at most 65507 octets, and a CADU of s has 65539"),
    ({"links__l": LINK + "sync: {verify: 2}\n"}, "only CADUs are searched for, this is unit: frames: leave it out"),
    ({"links__l": LINK + "unit: cadus\ncontainer: unpacked_bits\n"},
     "container = 'unpacked_bits': a file holds one bit per octet, no tcp_client link: leave it out"),
    ({"missions__m": MISSION.replace("version: tm", "version: uslp, variable_length: true")
      + "    coding: {randomiser: none}\n"},
     "coding = 'given': code blocks hold frames of one length: leave variable_length or coding out"),
    ({"links__l": FILE + "container: unpacked_bits\n"},
     "container = 'unpacked_bits': bits hold CADUs: needs unit: cadus, not frames"),
    # -- the same thing twice
    ({"missions__m": MISSION.replace("[simulation]", "[simulation, test, test]")},
     "missions/m.yaml:2: support_modes = ['simulation', 'test', 'test']: test stands twice"),
    ({"missions__m": MISSION + "  - {name: t, scids: [2, 1]}\n"},
     "missions/m.yaml:7: spacecraft.1.scids = [2, 1]: spacecraft id 1 is used by s already"),
    ({"links__a": SERVER, "links__b": SERVER.replace("name: l", "name: b") + "prime: false\n"},
     "links/b.yaml:5: port = 45131: l listens there already: give each its own port"),
    ({"links__a": SERVER, "links__b": SERVER.replace("name: l", "name: b") + "prime: false\nhost: 0.0.0.0\n"},
     "l listens there already"),
    ({"gateway": "api: {port: 45131}\n", "links__l": SERVER + "host: localhost\n"},
     "links/l.yaml:5: port = 45131: the control plane listens there (api.port)"),
    ({"links__l": SERVER.replace("45131", "8440")}, "the control plane listens there (api.port)"),
    # -- numbers that are none, or absurd
    ({"gateway": "journal:\n  keep_days: .inf\n"}, "gateway.yaml:2: journal.keep_days = inf: expected a finite number"),
    ({"gateway": "journal: {keep_days: .nan}\n"}, "finite"),
    ({"gateway": "journal: {keep_days: 1.0e+9}\n"}, "at most 36500"),
    ({"gateway": "recording: {keep_days: .inf}\n"}, "finite"),
    ({"gateway": "journal: {keep_octets: 99999999999999999999999999}\n"}, "at most"),
    ({"gateway": "journal: {segment_octets: 99999999999999999}\n"}, "at most"),
    ({"gateway": "journal: {reserve_octets: 99999999999999999999}\n"}, "at most"),
    ({"gateway": "journal: {memory_octets: 99999999999999999}\n"}, "at most"),
    ({"missions__m": MISSION + "contact_silence_s: .inf\n"}, "finite"),
    ({"missions__m": mission("prefix_octets: 99999999999")}, "at most 65536"),
    ({"missions__m": mission("suffix_octets: 99999999999")}, "at most 65536"),
    ({"missions__m": MISSION + "    packets: {prefix_octets: 99999999999}\n"}, "at most 65536"),
    ({"links__l": LINK + "watchdog_s: 1.0e-300\n"}, "links/l.yaml:6: watchdog_s = 1e-300: expected 0.05 or more"),
    ({"links__l": LINK + "watchdog_s: .inf\n"}, "finite"),
    ({"links__l": LINK + "watchdog_s: yes\n"}, "watchdog_s = True: expected a number"),
    ({"links__l": LINK + "retry_min_s: 0.001\n"}, "expected 0.01 or more"),
    ({"links__l": LINK + "retry_min_s: .inf\nretry_max_s: .inf\n"}, "finite"),
    ({"links__l": FILE + "rate_bps: .inf\n"}, "finite"),
    ({"links__l": FILE + "frames_per_s: .inf\n"}, "finite"),
    ({"links__l": FILE + "rate_bps: 10\nspeed: .inf\n"}, "finite"),
    ({"links__l": FILE + "rate_bps: 10\nspeed: 1.0e+99\n"}, "at most"),
    ({"gateway": "api: {port: " + "9" * 5000 + "}\n"}, "gateway.yaml:1: (file) = no YAML: a number of 5000 digits"),
    # -- frames without room
    ({"missions__m": mission("vcs: {0: {packet_start: 94}}")},
     "missions/m.yaml:6: spacecraft.0.frames.vcs.0.packet_start = 94: the data field has 92 octets"),
    ({"missions__m": mission("vcs: {0: {packet_start: 92}, 1: {packet_start: 91}}")}, "vcs.0.packet_start"),
    ({"missions__m": mission("secondary_header: 92")}, "0.frames.frame_length_octets = 100: no room for data"),
    ({"missions__m": mission("secondary_header: 88, ocf: present")}, "no room for data"),
    ({"missions__m": mission("secondary_header: 88, ocf: by_flag")}, "no room for data"),
    ({"missions__m": mission("insert_zone_octets: 92", version="aos")}, "no room for data"),
    ({"missions__m": mission("insert_zone_octets: 91, vcs: {1: {}}", version="aos")},
     "no room for data"),
    # -- what the other version has
    ({"missions__m": mission("insert_zone_octets: 20")},
     "spacecraft.0.frames.insert_zone_octets = 20: TM frames have no insert zone"),
    ({"missions__m": mission("secondary_header: 4", version="aos")},
     "spacecraft.0.frames.secondary_header = 4: AOS frames have no secondary header"),
    ({"missions__m": mission("ocf: by_flag", version="aos")},
     "spacecraft.0.frames.ocf = 'by_flag': the AOS header has no OCF flag: present or absent"),
    ({"missions__m": mission(version="aos").replace("[1]", "[256]")}, "0 to 255"),
    ({"missions__m": mission("secondary_header: 4", version="uslp")},
     "frames.secondary_header = 4: USLP frames have no secondary header"),
    ({"missions__m": mission("mc_counting: true", version="uslp")},
     "frames.mc_counting = True: USLP frames have no master channel frame count: leave it out"),
    ({"missions__m": mission("ocf: by_flag", version="uslp")},
     "frames.ocf = 'by_flag': each USLP frame says whether it has one: leave it out"),
    ({"missions__m": mission("fecf: crc32")}, "frames.fecf = 'crc32': the field of TM frames has 16 bits: true, or"),
    ({"missions__m": mission("fecf: crc16")}, "frames.fecf = 'crc16': expected true or false, or 'crc32'"),
    ({"missions__m": mission("header_error_control: true")},
     "frames.header_error_control = True: TM frames have no header error control: leave it out"),
    ({"missions__m": mission("header_error_control: true", version="uslp")},
     "USLP frames have no header error control"),
    ({"missions__m": mission("variable_length: true")},
     "frames.variable_length = True: TM frames of a link have one length: leave it out"),
    ({"missions__m": mission("variable_length: true, prefix_octets: 4", version="uslp")},
     "frames.prefix_octets = 4: frames of varying length are delimited by their length field alone: leave it out"),
    ({"missions__m": mission("vcs: {0: {service: bitstream}}")},
     "vcs.0.service = 'bitstream': TM frames carry no bitstreams: packets, opaque or idle"),
    ({"missions__m": mission("vcs: {0: {maps: {1: opaque}}}", version="aos")},
     "vcs.0.maps = {1: 'opaque'}: AOS frames have no MAPs: leave it out"),
    ({"missions__m": mission("vcs: {0: {maps: {16: opaque}}}", version="uslp")},
     "vcs.0.maps.16 = 16: expected at most 15"),
    ({"missions__m": mission("vcs: {0: {packet_start: 4}}", version="uslp")},
     "vcs.0.packet_start = 4: USLP frames say where packets start: leave it out"),
    ({"missions__m": mission("vcs: {0: {truncated_frame_octets: 9}}", version="uslp")},
     "vcs.0.truncated_frame_octets = 9: only USLP frames with variable_length: true can be truncated: leave it out"),
    ({"missions__m": mission("variable_length: true, fecf: crc32, vcs: {0: {truncated_frame_octets: 9}}",
                             version="uslp")},
     "vcs.0.truncated_frame_octets = 9: expected 10 to frame_length_octets (100)"),
    ({"missions__m": mission("insert_zone_octets: 90", version="uslp")}, "no room for data"),
    ({"missions__m": mission().replace("[1]", "[1024]")}, "scids.0 = 1024: TM frames: 0 to 1023"),
    ({"missions__m": mission("variable_length: true", version="uslp"),
      "links__l": FILE + "frames_per_s: 5\n"},
     "links/l.yaml:6: frames_per_s = 5: frames of s vary in length: give the pace in rate_bps"),
    # -- another gateway as the peer
    ({"links__l": PEER}, "links/l.yaml:1: upstream = None: a gateway link needs upstream: url, instance, home"),
    ({"links__l": LINK + "upstream: {url: 'http://a:1', instance: m.flight, home: b}\n"},
     "a tcp_client link does not use it (gateway links do)"),
    ({"links__l": upstream() + "unit: packets\n"}, "links/l.yaml:6: unit = 'packets': a gateway link does not use it"),
    ({"links__l": upstream() + "record: true\n"}, "links/l.yaml:6: record = True: a gateway link does not use it"),
    ({"links__l": upstream() + "data_mode: dump\n"}, "links/l.yaml:6: data_mode = 'dump': a gateway link does not"),
    ({"links__l": upstream() + "port: 5\n"}, "links/l.yaml:6: port = 5: a gateway link does not use it"),
    ({"links__l": upstream(url="gateway.example:8440")}, "expected http://HOST:PORT or https://HOST:PORT"),
    ({"links__l": upstream(url="https://gateway.example/api/v1")}, "https://HOST:PORT, without a path"),
    ({"links__l": upstream(url="https://a:99999")}, "expected http://HOST:PORT or https://HOST:PORT"),
    ({"links__l": upstream(url="https://me:secret@a:1")}, "expected no user or password in it: a token is in token"),
    ({"links__l": upstream(", token_file: t", "http://10.0.0.1:8440")},
     "upstream.url = 'http://10.0.0.1:8440': a token over http could be read on the way: use https"),
    ({"links__l": upstream(", selection: {vcid: [1]}")}, "upstream.selection.vcid"),
    ({"links__l": upstream(", selection: {apids: [2048]}")}, "selection.apids.0 = 2048: expected at most 2047"),
    ({"links__l": upstream(", selection: {kinds: [tc]}")}, "upstream.selection.kinds.0 = 'tc'"),
    # -- what would do nothing
    ({"links__l": FILE + "speed: 2\n"}, "links/l.yaml:6: speed = 2.0: a factor on a pace: give frames_per_s or"),
    ({"links__l": FILE + "host: 10.0.0.1\n"},
     "links/l.yaml:6: host = '10.0.0.1': a file link does not use it (tcp_client, tcp_server, udp links do)"),
    ({"links__l": FILE + "port: 5\n"}, "links/l.yaml:6: port = 5: a file link does not use it"),
    ({"links__l": FILE + "allowed_peers: [10.0.0.1]\n"}, "allowed_peers = ['10.0.0.1']: a file link does not use it"),
    ({"links__l": LINK + "allowed_peers: [10.0.0.1]\n"},
     "links/l.yaml:6: allowed_peers = ['10.0.0.1']: a tcp_client link does not use it (tcp_server, udp links do)"),
    ({"links__l": LINK + "path: pass.bin\n"}, "path = 'pass.bin': a tcp_client link does not use it (file links do)"),
    ({"links__l": SERVER + "frames_per_s: 5\n"}, "frames_per_s = 5.0: a tcp_server link does not use it"),
    ({"links__l": SERVER + "rate_bps: 5\n"}, "rate_bps = 5.0: a tcp_server link does not use it"),
    ({"links__l": LINK + "speed: 5\n"}, "speed = 5.0: a tcp_client link does not use it"),
    ({"links__l": FILE + "record: true\n"},
     "links/l.yaml:6: record = True: only frames and CADUs of tcp_client, tcp_server and udp links are recorded"),
    ({"links__l": UDP + "container: kiss\n"},
     "container = 'kiss': a udp link does not use it (file, tcp_client, tcp_server links do)"),
    ({"links__l": FILE + "container: kiss\nunit: packets\n"},
     "links/l.yaml:7: unit = 'packets': KISS frames are items as they are: leave it out"),
    ({"links__l": FILE + "container: kiss\nframes_per_s: 5\n"}, "KISS frames have no common length: use rate_bps"),
    ({"links__l": LINK + "container: kiss\nrecord: true\n"}, "record = True: only frames and CADUs of tcp_client"),
    ({"links__l": UDP + "path: pass.bin\n"}, "path = 'pass.bin': a udp link does not use it (file links do)"),
    ({"links__l": LINK + "receive_buffer_octets: 65536\n"},
     "links/l.yaml:6: receive_buffer_octets = 65536: a tcp_client link does not use it (udp links do): leave it out"),
    ({"links__l": UDP + "receive_buffer_octets: 1\n"}, "receive_buffer_octets = 1: expected 4096 or more"),
    ({"links__a": UDP, "links__b": UDP.replace("name: l", "name: b") + "prime: false\nhost: 0.0.0.0\n"},
     "links/b.yaml:5: port = 45131: l listens there already: give each its own port"),
    ({"missions__m": mission("prefix_octets: 65408"), "links__l": UDP},
     "links/l.yaml:4: type = 'udp': a datagram holds at most 65507 octets, and a stored frame of s has 65508"),
    ({"links__l": LINK + "unit: packets\nrecord: true\n"}, "links/l.yaml:7: record = True: only frames and CADUs"),
    ({"missions__m": mission("vcs: {0: {service: opaque, packet_start: 4}}")},
     "vcs.0.packet_start = 4: packets of a channel with service: opaque are not looked at: leave it out, or use"),
    ({"missions__m": mission("vcs: {0: {service: idle, packet_zone_padding: none}}")}, "zone_padding = 'none': "),
    ({"missions__m": mission("vcs: {0: {service: opaque, max_packet_octets: 99}}")}, "vcs.0.max_packet_octets = 99: "),
    ({"missions__m": mission("vcs: {0: {service: opaque, apids: {5: {name: x}}}}")}, "0.apids = {5: {'name': 'x'}}: "),
    ({"missions__m": mission("vcs: {0: {service: opaque, default_counting: none}}")}, "0.default_counting = 'none': "),
    ({"missions__m": mission("vcs: {0: {service: opaque, default_time: {code: cuc}}}")},
     "vcs.0.default_time = {'code': 'cuc'}: packets of a channel with service: opaque"),
    ({"missions__m": mission("vcs: {0: {service: idle, packet_versions: [0]}}")}, "vcs.0.packet_versions = [0]: "),
    ({"missions__m": mission("vcs: {0: {default_time: {code: cds, coarse_octets: 4}}}")},
     "vcs.0.default_time.coarse_octets = 4: a width of cuc codes, this is cds: leave it out"),
    ({"missions__m": mission("vcs: {0: {default_time: {code: cds, fine_octets: 2}}}")}, "default_time.fine_octets = 2"),
    ({"missions__m": mission("vcs: {0: {default_time: {code: cuc, day_octets: 2}}}")}, "default_time.day_octets = 2"),
    ({"missions__m": mission("vcs: {0: {apids: {1: {time: {code: cuc, submillisecond: us}}}}}")},
     "vcs.0.apids.1.time.submillisecond = 'us': a width of cds codes, this is cuc: leave it out"),
    ({"missions__m": mission("vcs: {0: {default_time: {code: cuc, p_field: present, fine_octets: 3}}}")},
     "vcs.0.default_time.fine_octets = 3: each P-field says it: leave it out, or use p_field: implied"),
    ({"missions__m": mission("mc_counting: false", version="aos")},
     "spacecraft.0.frames.mc_counting = False: AOS frames have no master channel frame count: leave it out"),
    ({"missions__m": mission("secondary_header: by_flag", version="aos")},
     "spacecraft.0.frames.secondary_header = 'by_flag': AOS frames have no secondary header: leave it out"),
    ({"homes__h": "name: h\norganisation: x\n"}, "homes/h.yaml:2: organisation = 'x': unknown key"),
    # -- contacts
    ({"missions__m": contacts(("2026-11-24T12:00:00Z", "2026-11-24T12:10:00Z"),
                              ("2026-11-24T12:09:00Z", "2026-11-24T12:20:00Z"))},
     "missions/m.yaml:9: spacecraft.0.contacts.1.aos_utc = '2026-11-24T12:09:00Z': overlaps the contact with a"),
    ({"missions__m": contacts(("2026-11-24T12:00:00Z", "2026-11-24T11:00:00Z"))},
     "contacts.0.los_utc = '2026-11-24T11:00:00Z': must be after aos_utc"),
    ({"missions__m": contacts(("9998-01-01T00:00:00Z", "9999-01-01T00:00:00Z"))},
     "contacts.0.aos_utc = '9998-01-01T00:00:00Z': expected a year from 1958 to 2249"),
    ({"missions__m": contacts(("1000-01-01T00:00:00Z", "2026-01-01T00:00:00Z"))}, "a year from 1958 to 2249"),
    ({"missions__m": contacts(("2026-02-30T00:00:00Z", "2026-03-01T00:00:00Z"))}, "contacts.0.aos_utc"),
    ({"missions__m": contacts(("2026-02-20T24:00:00Z", "2026-03-01T00:00:00Z"))}, "contacts.0.aos_utc"),
    # -- addresses
    ({"links__l": LINK + "host: a b\n"}, "links/l.yaml:6: host = 'a b': expected a host name or an IP address"),
    ({"links__l": LINK + "host: 300.1.1.1\n"}, "expected a host name or an IP address"),
    ({"links__l": LINK + "host: '[::1]'\n"}, "expected a host name or an IP address"),
    ({"links__l": LINK + "host: ''\n"}, "expected a host name or an IP address"),
    ({"links__l": SERVER + "allowed_peers: [10.0.0.1, 10.0.0.0/8]\n"},
     "allowed_peers.1 = '10.0.0.0/8': expected an IP address of one peer: networks are not known here"),
    ({"links__l": SERVER + "allowed_peers: [localhost]\n"},
     "expected an IP address of one peer: names are not looked up"),
    ({"gateway": "api:\n  names: [gw, 'gw:8440']\n"},
     "gateway.yaml:2: api.names.1 = 'gw:8440': expected a host name or an IP address"),
    ({"gateway": "foo: 1\napi:\n  host: 1.2.3.4\n"}, "gateway.yaml:1: foo"),
    ({"gateway": "api:\n  host: 1.2.3.4\n"}, "gateway.yaml:2: api.host = '1.2.3.4': not loopback"),
    # -- MQTT
    ({"gateway": "mqtt: {enabled: true, host: 10.0.0.1}\n"}, "gateway.yaml:1: mqtt.host = '10.0.0.1': not loopback"),
    ({"gateway": "mqtt: {enabled: true, host: gw}\n"}, "mqtt.host = 'gw': give an IP address"),
    ({"gateway": "mqtt: {expose: true}\n"}, "mqtt.expose = True: nobody listens unnamed beyond loopback"),
    ({"gateway": "mqtt: {broker: external, expose: true}\n"}, "an external broker exposes itself"),
    ({"gateway": "mqtt: {broker: external, port: 0}\n"}, "an external broker has a port"),
    ({"gateway": "mqtt: {broker: external, tls_ca: a.pem}\n"}, "mqtt.tls_ca = 'a.pem': needs tls: true"),
    ({"gateway": "mqtt: {tls: true}\n"}, "the gateway's own broker has no TLS yet"),
    ({"gateway": "mqtt: {username: u}\n"}, "mqtt.username = 'u': needs password_file or password_env"),
    ({"gateway": "mqtt: {password_env: P}\n"}, "mqtt.password_env = 'P': needs a username"),
    ({"gateway": "mqtt: {username: u, password_file: f, password_env: P}\n"}, "password_env, not both"),
    ({"gateway": "mqtt: {name: 'a b'}\n"}, "mqtt.name = 'a b': expected letters, digits"),
    ({"gateway": "mqtt: {name: 'a/#'}\n"}, "expected letters, digits, - and _"),
    ({"gateway": "mqtt: {enabled: true, port: 45131}\n", "links__l": SERVER},
     "the MQTT broker listens there (mqtt.port): give each its own port"),
    ({"gateway": "mqtt: {enabled: true, port: 8440}"},
     "gateway.yaml:1: mqtt.port = 8440: the control plane listens there (api.port): give each its own port"),
    ({"gateway": "mqtt: {enabled: true}\n", "missions__m": MISSION.replace("name: s\n", "name: home\n")},
     "spacecraft.0.name = 'home': with mqtt.enabled, contacts, home, links, streams are levels of topics"),
    ({"missions__m": MISSION.replace("name: s\n", "name: 's+'\n")}, "expected letters, digits, - and _"),
    ({"missions__m": MISSION.replace("name: s\n", "name: 's *'\n")}, "expected letters, digits, - and _"),
    # -- paths
    ({"gateway": 'data_dir: "a\\0b"\n'}, "data_dir = 'a\\x00b': expected a path without NUL"),
    ({"gateway": 'replay_folders: ["a\\0b"]\n'}, "replay_folders.0"),
    ({"gateway": "data_dir: gateway.yaml\n"}, "gateway.yaml:1: data_dir = 'gateway.yaml': a file is there"),
    ({"gateway": "data_dir: gateway.yaml/var\n"}, "gateway.yaml:1: data_dir = 'gateway.yaml/var': a file is there"),
    ({"links__l": FILE.replace("pass.bin", '"a\\0b"')}, "expected a path without NUL"),
    # -- what YAML makes of it
    ({"gateway": "api:\n  port: 1:30\n"},
     "gateway.yaml:2: api.port = 1:30: YAML reads this as 90 (base 60): write 90, or quote it if it is text"),
    ({"gateway": "api: {port: 010}\n"}, "api.port = 010: YAML reads this as 8 (octal): write 8, or quote"),
    ({"links__l": LINK + "watchdog_s: 1:30.5\n"}, "YAML reads this as 90.5 (base 60)"),
    ({"missions__m": mission("vcs: {0: {}, 00: {}}")}, "spacecraft.0.frames.vcs.0 = 00: the key stands twice"),
    ({"missions__m": mission("vcs: {0: {}, 0x0: {}}")}, "the key stands twice"),
    ({"missions__m": mission('vcs: {0: {}, "0": {}}')}, "the key stands twice"),
    ({"missions__m": mission('vcs: {"1": {}}')}, "vcs.1 = '1': expected a whole number"),
    ({"missions__m": mission("vcs: {\n      yes: {}}")},
     "missions/m.yaml:7: spacecraft.0.frames.vcs.True = yes: a key is"),
    ({"missions__m": MISSION + "~: 1\n"}, "missions/m.yaml:7: None = ~: a key is text or a whole number"),
    ({"missions__m": MISSION + "5: 1\n"}, "missions/m.yaml:7: 5 = 5: unknown key"),
    ({"missions__m": "<<: {bogus: 1}\n" + MISSION}, "bogus = 1: unknown key"),
    ({"missions__m": MISSION + "2.5: 1\n"}, "missions/m.yaml:7: 2.5 = 2.5: a key is text or a whole number"),
    ({"missions__m": mission("vcs: {\n      99: {}}")},
     "missions/m.yaml:7: spacecraft.0.frames.vcs.99 = 99: expected at most 63"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "wanted"), REFUSED, ids=[wanted[-60:] for _, wanted in REFUSED])
def test_it_is_refused(tmp_path: Path, files: dict[str, str], wanted: str) -> None:
    """Every mistake is refused with the way out, and told once."""
    text = problems(write(tmp_path, **{"missions__m": MISSION, **files}))
    assert wanted in text, text
    assert len(text.splitlines()) == len(set(text.splitlines()))


ACCEPTED = [
    {"missions__m": mission("fecf: crc32, vcs: {0: {service: opaque, apids: {5: {}}, maps: {15: packets}}}",
                            version="uslp").replace("[1]", "[65535]")},
    {"missions__m": mission("variable_length: true, vcs: {0: {truncated_frame_octets: 8}}", version="uslp")},
    {"missions__m": mission("header_error_control: true, vcs: {0: {service: bitstream}}", version="aos")},
    {"links__l": LINK + "host: station-1.example_net.org\n"},
    {"links__l": LINK + 'host: "2001:db8::1"\n'},
    {"links__l": SERVER + 'allowed_peers: [10.0.0.1, "::1"]\n'},
    {"links__a": SERVER.replace("45131", "0"), "links__b": SERVER.replace("name: l", "name: b").replace("45131", "0")
     + "prime: false\n", "gateway": "api: {port: 0}\n"},
    {"links__a": SERVER, "links__b": SERVER.replace("name: l", "name: b") + "prime: false\nhost: 10.0.0.9\n"},
    {"links__l": LINK.replace("port: 1", "port: 8440")},
    {"links__l": UDP.replace("45131", "8440") + "allowed_peers: [10.0.0.1]\nreceive_buffer_octets: 4096\n"},
    {"missions__m": MISSION.replace(FRAMES, ""), "links__l": LINK + "container: kiss\n"},
    {"links__a": SERVER, "links__b": UDP.replace("name: l", "name: b") + "prime: false\n"},
    {"gateway": "mqtt: {enabled: true, broker: external, host: broker.example, port: 8883, tls: true, tls_ca: ca.pem,"
     " username: u, password_env: P}\n"},
    {"gateway": "mqtt: {enabled: true, host: 10.0.0.1, expose: true, username: u, password_file: f}\n"},
    {"missions__m": MISSION.replace("name: s\n", "name: home\n")},
    {"missions__m": mission("vcs: {0: {packet_start: 91}, 0x1: {}}")},
    {"missions__m": mission("secondary_header: 91")},
    {"missions__m": contacts(("2026-11-24T12:00:00Z", "2026-11-24T12:10:00Z"),
                             ("2026-11-24T12:10:00Z", "2026-11-24T12:20:00Z"))},
    {"links__l": LINK + "watchdog_s: 5\nretry_min_s: 1_0\n"},
    {"gateway": "data_dir: not/there/yet\n", "notes": "what: ever\n"},
    {"links__l": FILE + "rate_bps: 8\nspeed: 2\nrecord: false\n"},
    {"links__l": FILE + "frames_per_s: 8\nspeed: 2\n"},
    {"links__l": LINK + "unit: packets\nrecord: false\n"},
    {"missions__m": mission("vcs: {0: {service: idle, counting: none}, 1: {service: opaque, counting: vc_count}}")},
]  # fmt: skip


@pytest.mark.parametrize("files", ACCEPTED)
def test_it_is_accepted(tmp_path: Path, files: dict[str, str]) -> None:
    """What is unusual but right stays right; files that are not ours are left alone."""
    load(write(tmp_path, **{"missions__m": MISSION, **files}))


def test_peers_are_compared_as_they_are_shown(tmp_path: Path) -> None:
    """A peer's address may be written in any way; it is kept as a connection shows it."""
    found = load(write(tmp_path, missions__m=MISSION, links__l=SERVER + 'allowed_peers: ["0:0::0001", FE80::1]\n'))
    assert found.links["l"].allowed_peers == ["::1", "fe80::1"]


@pytest.mark.parametrize("name", ["gateway.yml", "links/l.yml", "missions/x.YAML", "homes/h.yml"])
def test_a_file_that_would_be_ignored(tmp_path: Path, name: str) -> None:
    """A file with another ending is not passed over in silence."""
    write(tmp_path, missions__m=MISSION)
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("zzz: 1\n")
    assert f"{name}:1: (file) = {path.suffix}: not read: rename it to {path.stem}.yaml" in problems(tmp_path)


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    """Something that is no file does not make the gateway wait."""
    write(tmp_path, missions__m=MISSION)
    os.mkfifo(tmp_path / "missions/p.yaml")
    assert "missions/p.yaml:1: (file) = cannot be read: not a regular file" in problems(tmp_path)


def test_a_typo_in_a_key(tmp_path: Path) -> None:
    """The nearest known key is suggested, and those of the same part are listed."""
    write(
        tmp_path,
        gateway="api: {prot: 1}\n",
        missions__m=mission("vcs: {0: {servce: packets, apids: {5: {tme: none}}}}"),
        links__l=LINK + "hots: 10.0.0.1\nzzzzz: 1\n",
        homes__h="nme: h\n",
    )
    text = problems(tmp_path)
    for wanted in (
        "api.prot = 1: unknown key: did you mean port? known here: ",
        "vcs.0.servce = 'packets': unknown key: did you mean service?",
        "apids.5.tme = 'none': unknown key: did you mean time? known here: counting, name, time",
        "links/l.yaml:6: hots = '10.0.0.1': unknown key: did you mean host?",
        "links/l.yaml:7: zzzzz = 1: unknown key; known here: allowed_peers,",
        "homes/h.yaml:1: nme = 'h': unknown key: did you mean name?",
        "homes/h.yaml:1: name = missing: this key is required",
    ):
        assert wanted in text, text


@pytest.mark.parametrize(
    ("broken", "hidden"),
    [("name: mm\nzz: 1\n", True), ("name: mm\nname: [unclosed\n", True), ("name: other\nzz: 1\n", False)],
)
def test_a_broken_mission_breaks_no_link(tmp_path: Path, broken: str, hidden: bool) -> None:
    """A link is not blamed for a mission whose own file is broken; for one that is nowhere it is."""
    files = {"missions__m": MISSION, "missions__x": broken, "links__l": LINK.replace("mission: m", "mission: mm")}
    assert ("no such mission" not in problems(write(tmp_path, **files))) is hidden


def test_a_broken_gateway_file_breaks_no_link(tmp_path: Path) -> None:
    """A link is not blamed for a port that only the defaults of a broken gateway.yaml have."""
    write(tmp_path, gateway="api: {port: 1}\nfoo: 1\n", missions__m=MISSION, links__l=SERVER.replace("45131", "8440"))
    assert "control plane" not in problems(tmp_path)


TWO_CONTACTS = "contacts:\n" + CONTACT.format("2026-11-24T12:00:00Z", "2026-11-24T12:10:00Z") * 2
SPOILT = [
    ({"gateway": "api: {host: 0.0.0.0}\njournal:\n  keep_days: -1\nbogus: 1\n"},
     ["gateway.yaml:1: api.host = '0.0.0.0': not loopback", "gateway.yaml:3: journal.keep_days = -1: expected 0",
      "gateway.yaml:4: bogus = 1: unknown key"]),
    ({"gateway": "api: {host: 0.0.0.0, prot: 1}\ndata_dir: gateway.yaml\n"},
     ["api.host = '0.0.0.0': not loopback", "unknown key: did you mean port?", "data_dir = 'gateway.yaml': a file is"]),
    ({"gateway": "api: {host: nowhere}\ndata_dir: gateway.yaml\n"},
     ["api.host = 'nowhere': give an IP address", "data_dir = 'gateway.yaml': a file is there"]),
    ({"links__l": LINK.replace("mission: m", "mission: x").replace("tcp_client", "sctp")},
     ["links/l.yaml:2: mission = 'x': no such mission; known: m", "links/l.yaml:4: type = 'sctp': expected"]),
    ({"links__l": LINK.replace(": s", ": x") + "watchdog_s: -1\nsupport_mode: flight\nretry_min_s: 60\n"},
     ["spacecraft = 'x': m has s", "watchdog_s = -1:", "support_mode = 'flight': m has", "retry_max_s = 30.0: must"]),
    ({"links__l": LINK + "bogus: 1\n", "links__k": LINK},
     ["bogus = 1: unknown key", "links/l.yaml:1: name = l: already used in links/k.yaml"]),
    ({"links__a": LINK + "bogus: 1\n", "links__b": LINK.replace("name: l", "name: b")},
     ["bogus = 1: unknown key", "links/b.yaml:1: prime = True: l is the prime link of s already"]),
    ({"links__l": SERVER + "watchdog_s: -1\n", "gateway": "api: {port: 45131}\nbogus: 1\n"},
     ["watchdog_s = -1", "bogus = 1", "links/l.yaml:5: port = 45131: the control plane listens there"]),
    ({"missions__m": MISSION + "bogus: 1\n", "links__l": LINK.replace("spacecraft: s", "spacecraft: x")},
     ["bogus = 1: unknown key", "links/l.yaml:3: spacecraft = 'x': m has s"]),
    ({"missions__m": mission("insert_zone_octets: 5, vcs: {0: {servce: idle}, 9: {}}") + "  - {name: s, scids: [-1]}"},
     ["vcs.0.servce = 'idle'", "vcs.9 = 9: virtual channels of tm", "insert_zone_octets = 5: TM frames", "scids.0 = -1",
      "missions/m.yaml:7: spacecraft.1.name = s: stands twice"]),
    ({"missions__m": MISSION + "    " + TWO_CONTACTS + "    bogus: 1\nsupport_modes: [test, test]\n"},
     ["spacecraft.0.bogus = 1: unknown", "contacts.1.aos_utc = '2026-11-24T12:00:00Z': overlaps", "stands twice"]),
]  # fmt: skip


@pytest.mark.parametrize(("files", "wanted"), SPOILT)
def test_one_error_hides_no_other(tmp_path: Path, files: dict[str, str], wanted: list[str]) -> None:
    """All errors in one round: what can be judged in a file that has other errors is judged, and told once."""
    text = problems(write(tmp_path, **{"missions__m": MISSION, **files}))
    assert [one for one in wanted if one not in text] == [], text
    assert len(text.splitlines()) == len(wanted), text


BLAMELESS = [
    {"gateway": "api: {host: 0.0.0.0, expose: 1}\n"},
    {"gateway": "api: {host: 0.0.0.0, expos: true}\n"},
    {"gateway": "api: {port: 99999}\n", "links__l": SERVER.replace("45131", "8440")},
    {"gateway": "api: {prot: 5}\n", "links__l": SERVER.replace("45131", "8440")},
    {"gateway": "ap: {port: 5}\n", "links__l": SERVER.replace("45131", "8440")},
    {"links__l": LINK.replace("port: 1", "port: '1'")},
    {"links__l": FILE.replace("path: pass.bin", "pth: pass.bin")},
    {"links__l": LINK + "retry_min_s: 60\nretry_mx_s: 90\n"},
    {"missions__m": MISSION.replace("[simulation]", "[flight, mission]"), "links__l": LINK + "support_mode: test\n"},
    {"missions__m": MISSION.replace("support_modes: [sim", "support_mode: [test, sim"),
     "links__l": LINK + "support_mode: test\n"},
    {"missions__m": MISSION.replace("name: s", "name: s s"), "links__l": LINK},
    {"missions__m": MISSION.replace("  frames: {", "  frame: {"), "links__l": LINK},
    {"missions__m": MISSION.replace("scids: [1]", "scids: [-1]"), "links__l": LINK},
    {"missions__m": MISSION.replace("length_octets: 100", "length_octets: 1"), "links__l": LINK},
    {"missions__m": MISSION + "    contacts:\n" + CONTACT.format("2026-02-30T12:00:00Z", "2026-03-01T00:00:00Z") * 1},
]  # fmt: skip


@pytest.mark.parametrize("files", BLAMELESS)
def test_nothing_is_blamed_for_what_could_not_be_read(tmp_path: Path, files: dict[str, str]) -> None:
    """One mistake is one problem: no value is measured against a default whose key was meant to say otherwise."""
    text = problems(write(tmp_path, **{"missions__m": MISSION, **files}))
    assert len(text.splitlines()) == 1, text


def test_a_key_that_stands_twice_hides_nothing(tmp_path: Path) -> None:
    """Other errors of the same file, and all those of one part, are told as well."""
    text = problems(
        write(
            tmp_path,
            missions__m=mission("insert_zone_octets: 5, octet_interleave: 3, vcs: {9: {}}") + "name: n\nbogus: 1\n",
            links__l="name: l\nmission: m\nspacecraft: s\ntype: tcp_client\nretry_min_s: 9\nretry_max_s: 1\n",
        )
    )
    for wanted in (
        "missions/m.yaml:7: name = n: the key stands twice",
        "bogus = 1: unknown key",
        "port = 0: a tcp_client link needs a port",
        "retry_max_s = 1.0: must not be below retry_min_s",
    ):
        assert wanted in text, text
    text = problems(write(tmp_path, missions__m=mission("insert_zone_octets: 5, octet_interleave: 3, vcs: {9: {}}")))
    for wanted in ("insert_zone_octets = 5: TM", "octet_interleave = 3: ", "frames.vcs.9 = "):
        assert wanted in text, text


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"homes__h": "name: h\ndescription: no\n"}, "description = False: expected text: quote it"),
        ({"homes__h": "name: ../x\n"}, "expected letters, digits, - and _"),
        ({"homes__h": "- a\n"}, "expected a dictionary of keys and values"),
        ({"gateway": "api:\n"}, "gateway.yaml:1: api = None: expected a dictionary of keys and values"),
        ({"missions__m": MISSION.replace("[simulation]", "[]")}, "support_modes = []: expected at least one"),
        ({"missions__m": "name: m\nspacecraft: x\n"}, "spacecraft = 'x': expected a list"),
        ({"links__l": LINK + "prime: 1\n"}, "prime = 1: expected true or false"),
        ({"links__l": LINK.replace("port: 1", "port: '1'")}, "port = '1': expected a whole number"),
        ({"links__l": LINK.replace("port: 1", "port: 1.5")}, "port = 1.5: expected a whole number"),
        ({"missions__m": mission("secondary_header: abent")},
         "secondary_header = 'abent': expected 'absent' or 'by_flag', or a whole number"),
        ({"missions__m": MISSION + "    packets: {apids: {1: {time: {code: cuc, epok: x}}}}\n"},
         "packets.apids.1.time.epok = 'x': unknown key: did you mean epoch?"),
        ({"missions__m": MISSION + "    packets: {apids: {1: {time: never}}}\n"},
         "packets.apids.1.time = 'never': expected a dictionary of keys and values, or 'none' or 'default'"),
        ({"missions__m": b"name: \xff\xfe\n"}, "missions/m.yaml:1: (file) = cannot be read: expected UTF-8 text"),
        ({"homes__h": "name:\th\n\tx: 1\n"}, "use spaces instead of tabs"),
        ({"homes__h": "name: h\n---\nname: i\n"}, "one file holds one document"),
        ({"homes__h": "name: !foo h\n"}, "tags such as !foo are not known here"),
    ],
)  # fmt: skip
def test_words_for_people(tmp_path: Path, files: dict[str, str | bytes], wanted: str) -> None:
    """Messages speak of the configuration, not of the program that reads it; each mistake is told once."""
    write(tmp_path, missions__m=MISSION)
    for name, text in files.items():
        path = tmp_path / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    told = problems(tmp_path)
    assert wanted in told, told
    assert "Input should" not in told
    assert len(told.splitlines()) == 1, told


def test_what_is_not_there_yet(tmp_path: Path) -> None:
    """A recording or a replay folder may come later: a warning with its line, no error."""
    write(
        tmp_path,
        gateway="replay_folders:\n  - missions\n  - /no/where\n",
        missions__m=MISSION,
        links__l=FILE,
    )
    found = [str(warning) for warning in load(tmp_path).warnings]
    assert found == [
        "gateway.yaml:3: replay_folders.1 = '/no/where': no such folder yet",
        "links/l.yaml:5: path = 'pass.bin': no such file yet; the link will wait for it",
    ]
    (tmp_path / "pass.bin").touch()
    assert len(load(tmp_path).warnings) == 1


def test_check_prints_warnings_and_errors(tmp_path: Path) -> None:
    """`gateway check`: warnings and exit 0, errors and exit 2."""
    from typer.testing import CliRunner

    from gateway.console.app import app

    write(tmp_path, missions__m=MISSION, links__l=FILE)
    well = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert (well.exit_code, "warning: links/l.yaml:5: path" in well.output, "well" in well.output) == (0, True, True)
    write(tmp_path, homes__h="nme: h\n")
    ill = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert ill.exit_code == 2
    assert "did you mean name?" in ill.output


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1:7"), ("::1", "[::1]:7")])
def test_an_address_can_be_copied_into_a_browser(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, host: str, shown: str
) -> None:
    """`gateway run` and `gateway check` print an IPv6 address in brackets, as it stands in a URL."""
    from gateway import daemon
    from gateway.console import run

    write(tmp_path, missions__m=MISSION, gateway=f"api: {{host: '{host}', port: 7}}\n")
    monkeypatch.setattr("gateway.patient_log.set_up_logging", lambda as_json: None)
    monkeypatch.setattr("gateway.service.Gateway", lambda *configured: MagicMock())
    monkeypatch.setattr(daemon, "run", lambda service, host, port, ready: ready(port))
    monkeypatch.setattr("gateway.blocking.run_blocking", lambda done: None)
    run.run_gateway(tmp_path, tmp_path / "var", None, log_json=False)
    assert f"ready: http://{shown} " in capsys.readouterr().out
    run.check_configuration(tmp_path, schema=False)
    assert f"API on {shown}," in capsys.readouterr().out


def test_a_configuration_error_is_one(tmp_path: Path) -> None:
    """Every problem is a value with its place."""
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, missions__m=MISSION, homes__h="name: h\n\ndescription: 5\n"))
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.key, problem.value) == ("homes/h.yaml", 3, "description", "5")


def test_check_reads_mission_databases(tmp_path: Path) -> None:
    """`gateway check`: a database that is not there yet is a warning, one that cannot be used an error."""
    from typer.testing import CliRunner

    from gateway.console.app import app

    mission = "name: m\nspacecraft:\n  - name: s\n    database: {file: x.json}\n"
    write(tmp_path, missions__m=mission)
    done = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert (done.exit_code, "no such file yet" in done.output) == (0, True)
    (tmp_path / "x.json").write_text("{}")
    done = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert done.exit_code == 2
    assert "spacecraft s, database.file" in done.output


def test_an_apid_without_effect(tmp_path: Path) -> None:
    """A key that would do nothing is refused."""
    mission = "name: m\nspacecraft:\n  - name: s\n    database: {file: x.xml, format: xtce, apid: 3}\n"
    write(tmp_path, missions__m=mission)
    with pytest.raises(ConfigError, match="says it itself"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ("format: xtce, mib: {length_bits: 16}", "says it itself"),
        ("mib: {cds_epoch: 2000-01-01T12:00:00Z}", "midnight"),
        ("mib: {cuc_epoch: 1900-01-01T00:00:00Z}", "1958 to 2103"),
        ("mib: {cuc_epoch: 2000-13-01T00:00:00Z}", "expected a time"),
        ("mib: {length_bits: 9}", "8"),
    ],
)
def test_what_a_mib_cannot_be_told(keys: str, why: str, tmp_path: Path) -> None:
    """Epochs and lengths that cannot be, or that would do nothing, are refused."""
    write(tmp_path, missions__m=f"name: m\nspacecraft:\n  - name: s\n    database: {{file: x, {keys}}}\n")
    with pytest.raises(ConfigError, match=why):
        load(tmp_path)
