"""What the tables of a MIB leave open, because every SCOS-2000 has it in its configuration."""

from __future__ import annotations

from dataclasses import dataclass

from gateway_codecs.time_codes import TimeCode


@dataclass(frozen=True, slots=True)
class MibForm:
    """How packets of the mission are built, beyond what its MIB says.

    `cuc` and `cds` give epoch and time scale of absolute times (PTC 9), their widths come from the
    PFC; a P-field in the packet (PFC 0) is one of CUC. `length_bits`: the length field in front of strings of variable
    length (PFC 0 of PTC 6, 7 and 8); it counts bits for PTC 6, octets for the others.
    """

    cuc: TimeCode = TimeCode("cuc")
    cds: TimeCode = TimeCode("cds")
    length_bits: int = 8
