"""SCOS-2000 MIB: the telemetry tables of a mission information base (EGOS-MCS-S2K-ICD-0001, issues 6.9 and 7.2).

`read_mib` takes the tables as octets, so that nothing in here touches a file. What they leave open is in `MibForm`.
"""

from gateway_codecs.mdb.mib.form import MibForm
from gateway_codecs.mdb.mib.reader import read_mib

__all__ = ["MibForm", "read_mib"]
