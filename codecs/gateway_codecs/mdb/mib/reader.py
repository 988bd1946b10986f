"""Reads the tables of a MIB into a database."""

from __future__ import annotations

from collections.abc import Mapping

from gateway_codecs.mdb.headers import HeaderForm, header
from gateway_codecs.mdb.mib import schema
from gateway_codecs.mdb.mib.form import MibForm
from gateway_codecs.mdb.mib.names import Names
from gateway_codecs.mdb.mib.packets import Packets, read_rows
from gateway_codecs.mdb.mib.parameters import Parameters
from gateway_codecs.mdb.mib.tables import TableSet
from gateway_codecs.mdb.mib.variable import Structures
from gateway_codecs.mdb.model import Database, Where
from gateway_codecs.mdb.remarks import RemarkList
from gateway_codecs.mdb.report import Budget, DatabaseError, Reading

READ = (
    schema.VDF, schema.PID, schema.PIC, schema.TPCF, schema.PCF, schema.PLF, schema.VPD, schema.CUR, schema.CAF,
    schema.CAP, schema.MCF, schema.LGF, schema.TXF, schema.TXP, schema.OCF, schema.OCP,
)  # fmt: skip

HEADER = HeaderForm("pus_a")
"""Service type and subtype stand at the same place in PUS-A and PUS-C; nothing behind them is read."""


def read_mib(
    tables: Mapping[str, bytes],
    folder: str,
    budget: Budget = Budget(),  # noqa: B008 (frozen)
    form: MibForm = MibForm(),  # noqa: B008 (frozen)
) -> Reading:
    """Read the telemetry tables of a MIB; `tables` by name, in lower case and without `.dat`.

    Parameters are `/NAME/PARAMETER` and packets `/NAME/PACKET`, NAME from `vdf` (else from `folder`) and PACKET from
    `tpcf` (else `SPID_n`). Defects are told with their file and line, and the rest is read. Counts are rows per table.

    Raises:
        DatabaseError: no table of parameters or packets, or more than the budget allows.
    """
    if not {"pcf", "pid"} & tables.keys():
        hint = "a MIB is a folder with pid.dat, pcf.dat and other tables"
        raise DatabaseError("neither pcf.dat nor pid.dat: no MIB", Where(folder), hint)
    remarks = RemarkList(budget)
    found = TableSet(tables, folder, budget, remarks)
    about = next(iter(found.rows(schema.VDF)), None)
    base = folder.replace("\\", "/").rstrip("/").rpartition("/")[2]
    names = Names(about.text("NAME") if about is not None else base)
    top = header(names.system, HEADER)
    for name in (*top.parameters, *(f"{names.system}/PI{n}_{bits}" for n in (1, 2) for bits in range(1, 65))):
        names.reserve(name)
    containers = Names(names.system.removeprefix("/"))
    for name in top.containers:
        containers.reserve(name)
    rows = read_rows(found, remarks)
    parameters = Parameters(found, names, form, rows.packets_of(), remarks)
    structures = Structures(rows.variable, parameters, containers, budget, remarks)
    packets = Packets(found, rows, parameters, structures, top, names, remarks)
    structures.unused({row.whole("TPSD") for row in rows.packets})
    _others(found, tables, remarks)
    version = ".".join(filter(None, (about.text("RELEASE"), about.text("ISSUE")))) if about is not None else ""
    database = Database(
        names.system.removeprefix("/"),
        version,
        about.text("COMMENT") if about is not None else "",
        {**top.types, **packets.types, **parameters.types},
        {**top.parameters, **packets.parameters, **parameters.parameters},
        {**top.containers, **packets.containers, **structures.containers},
        (top.root,),
    )
    return Reading(database, {table: found.counts[table] for table in sorted(found.counts)}, remarks.told())


def _others(found: TableSet, tables: Mapping[str, bytes], remarks: RemarkList) -> None:
    """Count the tables that nothing is made of, and tell of those that have rows."""
    reasons = {
        **dict.fromkeys(schema.COMMANDS, "telecommands are not read"),
        **dict.fromkeys(schema.DISPLAYS, "displays are not read"),
        **dict.fromkeys(schema.GROUPS, "groups of parameters and packets are not read"),
    }
    read = {table.name for table in READ}
    for name in sorted(tables):
        if name not in read and found.count(name):
            why = reasons.get(name, "is no table of the ICD that is known")
            remarks.ignored(f"{name}: {found.counts[name]:,} rows", why, found.where(name))
    for name in found.counts.keys() - tables.keys():
        del found.counts[name]
