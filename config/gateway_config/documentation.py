"""Writes the reference of all configuration keys from the models: `python -m gateway_config.documentation`."""

from __future__ import annotations

import json
from typing import Any

from gateway_config.loader import schemas

HEAD = """# Configuration

A directory of YAML files. `gateway check DIR` reports every error at once (file, line, key, value, what would be
right); `gateway check --schema` prints the JSON Schemas. Unknown keys are errors. Start from the built-in
`examples/minimal` directory (README).
Made from the models by `python -m gateway_config.documentation`; a test keeps it so.
"""
NOTES = """
## Notes

- Channels, packets and counts of real spacecraft differ in everything; the built-in missions
  (`gateway replay --missions`) show how some of them are described. VC 63 of AOS and USLP frames is idle without being
  listed.
- `frames` of a USLP spacecraft: `{version: uslp, frame_length_octets: 1115, fecf: crc32, vcs: {0: {}, 1: {maps: {2:
  bitstream}}, 3: {service: opaque}}}`. Each frame says what it holds: of `service: packets` the packets are taken
  (rules 000 and 111), of `bitstream` the octet streams (rule 011); what a frame holds beside that is kept whole, and
  idle frames are idle in any MAP. Frames are counted by channel and quality of service, packets belong to a MAP; a
  missing frame breaks the packets under way of all MAPs of its channel.
- `variable_length: true` (TCP, files, datagrams): where no good frame begins, every octet is tried in turn, so that a
  length that lies costs no frame that is good by its FECF. Without an FECF a plausible header is believed. Keep
  `frame_length_octets` as small as the longest frame allows: so much is waited for behind a header that lies.
- `header_error_control: true` corrects up to two symbols of four bits of an AOS header. A wrong header may be taken for
  another one, and the frame count is not protected: without FECF or Reed-Solomon only the data tell.
- `service: bitstream` gives the valid octets of each frame as one item (unit `octets`, quality good), with how many
  bits are not valid in its last octet.
- `unit: cadus`: markers are searched at every bit, upright and inverted, and followed as `sync` says. A CADU comes
  out when the marker behind it has come (at a cut or the end of a file at once), so that slips are noticed. A frame
  whose Reed-Solomon code is uncorrectable is kept as bad, though its FECF may fit; bits outside are kept as octets.
  What is stored around frames on other links (`prefix_octets`, `suffix_octets`, `octet_interleave`) is not looked at.
  Turbo and LDPC codes are not decoded: their markers are for streams that a station has decoded.
- `type: udp`: one datagram holds one or more whole frames, packets or CADUs. One of the wrong size is kept and shifts
  nothing. Nobody connects, so a link is `connected` as soon as it is bound; silence in a contact makes it unavailable
  until data come, or the contact is over. The kernel drops what does not fit into `receive_buffer_octets` (a datagram
  of 1115 octets takes some 2300 of twice that): that is counted as `datagrams_lost`, told, and journalled as a gap. To
  allow a buffer that large without privileges: `sysctl -w net.core.rmem_max=33554432`.
- `type: gateway`: another gateway is the peer, `upstream` says which (docs/chaining.md). Items come as they are there,
  so `unit`, `sync`, `data_mode` and `record` do nothing. A token is sent over https only, or to this machine.
- `container: kiss`: KISS frames (files, or a modem over TCP) are items as they are, AX.25 or CSP headers included.
  Frames of command 9 (gr-satellites) give the earth receive time. Everything else between is kept as rejected.
  Space packets or transfer frames *inside* them are not taken out: missions differ in what stands before (digipeaters,
  CSP options, segments of their own), and no setting says it. Home bases get the whole frame and unpack it.
- A link belongs to one mission in one support mode. One link per spacecraft and support mode is *prime*: its items
  are delivered, those of the others are journalled only, unless a home base names the link. Without a prime link
  events alone are delivered.
- Several missions, support modes and spacecraft live in one gateway; each (mission, support mode) is a
  *mission instance* with a journal of its own.
- Times are text in UTC, such as `2026-11-24T12:00:00Z`, quoted or not. Contacts of one spacecraft do not overlap.
  What good data or the operator opened before a planned contact goes on as that one from its AOS on.
- Names are letters, digits, `-` and `_`, so that they can be levels of MQTT topics; where MQTT is on, no spacecraft is
  named `home`, `streams`, `links` or `contacts`. Passwords stand in files or in the environment, never here.
- Files end in `.yaml`. Numbers are decimal (or `0x..`): `010` and `1:30`, which YAML reads as 8 and 90, are refused.
- Two links never listen on the same address and port, nor where the control plane does; port 0 is any free one.
- A key that would do nothing where it stands is refused, such as `path` on a TCP link or `apids` of an opaque channel.
- `gateway check` warns of a recording or a replay folder that is not there yet; that is no error.
"""
FILES = {
    "gateway": "`gateway.yaml` (optional)",
    "missions": "`missions/NAME.yaml`",
    "links": "`links/NAME.yaml`",
    "homes": "`homes/NAME.yaml`",
    "home": "`home.yaml` of a home base's agent (`gateway home`, [home-base.md](home-base.md))",
}
TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true/false", "null": "none"}


def documentation() -> str:
    """Return docs/configuration.md."""
    parts = [HEAD]
    for kind, schema in schemas().items():
        parts += [f"\n## {FILES[kind]}\n", _table(schema)]
        for name, part in sorted(schema.get("$defs", {}).items()):
            parts += [f"\n### [{name}] {part.get('description', '').splitlines()[0]}\n", _table(part)]
    return "\n".join([*parts, NOTES])


def _table(schema: dict[str, Any]) -> str:
    rows = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    required = schema.get("required", [])
    for key, field in schema.get("properties", {}).items():
        default = "required" if key in required else _default(field.get("default"))
        rows.append(f"| `{key}` | {_type(field)} | {default} | {field.get('description', '')} |")
    return "\n".join(rows)


def _default(value: Any) -> str:
    return "" if value in (None, "", [], {}) else f"`{json.dumps(value) if not isinstance(value, str) else value}`"


def _type(field: dict[str, Any]) -> str:
    choices = [str(value) for value in field.get("enum", [])] + [_type(part) for part in field.get("anyOf", [])]
    if choices:
        return r" \| ".join(choices)
    if "$ref" in field:
        return f"[{field['$ref'].rsplit('/', 1)[1]}]"
    kind = str(field.get("type", ""))
    if kind == "array":
        return f"list of {_type(field['items'])}"
    if kind == "object":
        named = field.get("patternProperties", {})
        return f"by key: {_type(next(iter(named.values())) if named else field['additionalProperties'])}"
    return str(field["const"]) if "const" in field else TYPES[kind] + _range(field)


def _range(field: dict[str, Any]) -> str:
    low = field.get("minimum", field.get("exclusiveMinimum"))
    high = field.get("maximum", field.get("exclusiveMaximum"))
    if low is None and high is None:
        return ""
    above = "above " if "exclusiveMinimum" in field else ""
    if high is None:
        return f", {above}{low}" + ("" if above else " or more")
    return f", {above}{low} to {high}" if low is not None else f", up to {high}"


if __name__ == "__main__":
    print(documentation(), end="")
