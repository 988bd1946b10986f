"""The telemetry tables as they are read: columns in the order of the ICD, up to the last one that matters.

Columns that nothing is made of are declared as text, to keep the order.
"""

from __future__ import annotations

from gateway_codecs.mdb.mib.tables import Table, code, count, key, need, text

YES_NO = "YN"

VDF = Table("vdf", (key("NAME"), text("COMMENT"), text("DOMAINID"), text("RELEASE"), text("ISSUE")))
PID = Table(
    "pid",
    (
        need("TYPE"), need("STYPE"), need("APID"), count("PI1_VAL", "0"), count("PI2_VAL", "0"), need("SPID"),
        text("DESCR"), text("UNIT"), count("TPSD", "-1"), need("DFHSIZE"), text("TIME"), text("INTER"),
        code("VALID", YES_NO, "Y"), text("CHECK"), code("EVENT", "NIWAE", "N"), text("EVID"),
    ),
    ("SPID",),
)  # fmt: skip
PIC = Table(
    "pic",
    (
        need("TYPE"), need("STYPE"), need("PI1_OFF"), need("PI1_WID"), need("PI2_OFF"), need("PI2_WID"),
        count("APID", "99999"),
    ),
    ("TYPE", "STYPE", "APID"),
)  # fmt: skip
ANY_APID = 2048
"""APIDs from here on mean any (99999 by default): a packet has none of them."""
TPCF = Table("tpcf", (need("SPID"), text("NAME"), count("SIZE")), ("SPID",))
PCF = Table(
    "pcf",
    (
        key("NAME"), text("DESCR"), count("PID"), text("UNIT"), need("PTC"), need("PFC"), count("WIDTH"),
        text("VALID"), text("RELATED"), code("CATEG", "NST"), code("NATUR", "RDPHSC"), text("CURTX"), text("INTER"),
        text("USCON"), count("DECIM"), text("PARVAL"), text("SUBSYS"), count("VALPAR", "1"), text("SPTYPE"),
        text("CORR"), text("OBTID"), text("DARC"), code("ENDIAN", "BL", "B"), text("DESCR2"),
    ),
    ("NAME",),
)  # fmt: skip
PLF = Table(
    "plf",
    (
        key("NAME"), need("SPID"), need("OFFBY"), need("OFFBI"), count("NBOCC", "1"), count("LGOCC", "0"),
        count("TIME", "0"), count("TDOCC", "1"),
    ),
    ("NAME", "SPID"),
)  # fmt: skip
VPD = Table(
    "vpd",
    (
        need("TPSD"), need("POS"), key("NAME"), count("GRPSIZE", "0"), count("FIXREP", "0"),
        code("CHOICE", YES_NO, "N"), code("PIDREF", YES_NO, "N"), text("DISDESC"), text("WIDTH"), text("JUSTIFY"),
        text("NEWLINE"), text("DCHAR"), text("FORM"), count("OFFSET", "0"),
    ),
    ("TPSD", "POS"),
)  # fmt: skip
CUR = Table("cur", (key("PNAME"), need("POS"), key("RLCHK"), need("VALPAR"), key("SELECT")), ("PNAME", "POS"))
CAF = Table(
    "caf",
    (
        key("NUMBR"), text("DESCR"), code("ENGFMT", "IUR"), code("RAWFMT", "IUR"), code("RADIX", "DHO", "D"),
        text("UNIT"), count("NCURVE"), code("INTER", "PF", "F"),
    ),
    ("NUMBR",),
)  # fmt: skip
CAP = Table("cap", (key("NUMBR"), key("XVALS"), key("YVALS")), ("NUMBR", "XVALS"))
POLYNOMIAL = ("POL1", "POL2", "POL3", "POL4", "POL5")
MCF = Table(
    "mcf", (key("IDENT"), text("DESCR"), key("POL1"), *(text(name, "0") for name in POLYNOMIAL[1:])), ("IDENT",)
)
LGF = Table("lgf", MCF.columns, ("IDENT",))
TXF = Table("txf", (key("NUMBR"), text("DESCR"), code("RAWFMT", "IUR"), count("NALIAS")), ("NUMBR",))
TXP = Table("txp", (key("NUMBR"), key("FROM"), key("TO"), key("ALTXT")), ("NUMBR", "FROM"))
OCF = Table("ocf", (key("NAME"), need("NBCHCK"), need("NBOOL"), code("INTER", "UC"), code("CODIN", "RAI")), ("NAME",))
OCP = Table(
    "ocp",
    (
        key("NAME"), need("POS"), code("TYPE", "SHDCE"), text("LVALU"), text("HVALU"), text("RLCHK"),
        count("VALPAR", "1"),
    ),
    ("NAME", "POS"),
)  # fmt: skip

COMMANDS = (
    "tcp", "pcpc", "pcdf", "ccf", "dst", "cpc", "cdf", "cca", "ccs", "paf", "pas", "prf", "prv", "ptv", "cvs", "cve",
    "cvp", "csf", "css", "sdf", "csp", "pst", "psv", "cps", "pvs", "psm",
)  # fmt: skip
DISPLAYS = ("dpf", "dpc", "gpf", "gpc", "spf", "spc", "ppf", "ppc")
GROUPS = ("grp", "grpa", "grpk")
