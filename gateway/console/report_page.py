"""A report as one page for a browser or a printer: nothing is loaded from anywhere, no script. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from gateway.console.report_tables import REASONS, duration, missing, name_of, noted, span, title
from gateway.console.tables import number

Row = Mapping[str, Any]
STYLE = """
:root { color-scheme: light; }
body { font: 14px/1.45 system-ui, sans-serif; color: #1b1f24; margin: 2rem auto; max-width: 68rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { margin: .25rem 0; } .quiet { color: #59636e; } .warn { color: #8a4600; } .bad { color: #b3001b; font-weight: 600; }
.good { color: #116329; } code { font: 12px/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 600; border-bottom: 2px solid #1b1f24; }
th, td { padding: .3rem .6rem; vertical-align: top; } td { border-bottom: 1px solid #d1d9e0; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bar { display: flex; height: .6rem; width: 12rem; background: #eaeef2; } .bar i { display: block; height: 100%; }
.a { background: #2da44e; } .s { background: #bf8700; } .w { background: #cf222e; }
@media print { body { margin: 0; max-width: none; font-size: 11px; } h2, tr { break-inside: avoid; } .bar i, .bar {
  print-color-adjust: exact; -webkit-print-color-adjust: exact; } @page { margin: 15mm; size: A4; } }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STATES = {"confirmed": "good", "differs": "bad", "cannot be compared": "warn"}


def page(report: Row) -> str:
    """Return the page."""
    head = escape(title(report))
    parts = [f"<h1>{head}</h1>", f'<p class="quiet">{escape(span(report))}</p>']
    if report["range"]["under_way"]:
        parts.append('<p class="warn">under way: more may come</p>')
    parts += [f'<p class="warn">{escape(remark)}</p>' for remark in report["remarks"]]
    parts += ["<h2>Received</h2>", _streams(report["streams"])]
    if report["shared_counts"]:
        parts += ["<h2>Shared counts</h2>", _shared(report["shared_counts"])]
    parts += [f'<p class="quiet">{escape(line)}</p>' for line in noted(report)]
    for home in report["homes"]:
        parts.append(f"<h2>Home base {escape(home['home'])}</h2>")
        parts += [_subscriptions(home["subscriptions"]), _digests(home["subscriptions"])]
    parts.append(f'<p class="quiet">Reasons: {escape(", ".join(REASONS.values()))}. docs/homes.md explains all.</p>')
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{head}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n<body>\n'
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a column that begins with > holds numbers. Cells are HTML already."""
    kinds = [' class="n"' if column.startswith(">") else "" for column in columns]
    head = "".join(f"<th{kind}>{escape(name.lstrip('>'))}</th>" for kind, name in zip(kinds, columns, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _streams(rows: Sequence[Row]) -> str:
    if not rows:
        return '<p class="quiet">nothing</p>'
    return _table(
        ("stream", "counting", ">expected", ">received", ">octets", "missing"),
        [
            (
                escape(name_of(row)), escape(row["counting"] or "not known"), number(row["expected"]) or "not known",
                number(row["received"]), number(row["octets"]), f'<span class="warn">{escape(missing(row))}</span>',
            )
            for row in rows
        ],
    )  # fmt: skip


def _shared(rows: Iterable[Row]) -> str:
    return _table(
        ("link", "count", "APIDs", ">expected", ">received", "missing"),
        [
            (
                escape(row["link"] or ""), escape(f"VC{row['vcid']} {row['group']}"),
                escape(", ".join(map(str, row["apids"]))), number(row["expected"]), number(row["received"]),
                escape(missing(row)),
            )
            for row in rows
        ],
    )  # fmt: skip


def _subscriptions(rows: Iterable[Row]) -> str:
    columns = (
        "subscription", ">entitled", "acknowledged, sent, waiting", ">acknowledged", ">sent", ">waiting",
        ">not selected", ">not granted", ">live p50", ">live p99", ">worst",
    )  # fmt: skip
    return _table(
        columns,
        [
            (
                escape(row["subscription"]), number(row["entitled"]), _bar(row), number(row["acknowledged"]),
                number(row["sent"]), number(row["waiting"]), number(row["not_selected"]), number(row["not_granted"]),
                *(_time(row["latency"][which].get(key)) for which, key in (("live", "p50_s"), ("live", "p99_s"))),
                _time(row["latency"].get("p100_s")),
            )
            for row in rows
        ],
    )  # fmt: skip


def _time(seconds: float | None) -> str:
    return "" if seconds is None else duration(seconds)


def _bar(row: Row) -> str:
    """Return how much of what it is entitled to is acknowledged, sent, waiting."""
    whole = row["entitled"] or 1
    parts = ((kind, 100 * row[name] / whole) for kind, name in (("a", "acknowledged"), ("s", "sent"), ("w", "waiting")))
    pieces = "".join(f'<i class="{kind}" style="width:{part:.1f}%"></i>' for kind, part in parts)
    return f'<div class="bar">{pieces}</div>'


def _digests(rows: Iterable[Row]) -> str:
    lines = []
    for row in rows:
        digest = row["digest"]
        state = f'<span class="{STATES.get(digest["state"], "quiet")}">{escape(digest["state"])}</span>'
        when = f", {escape(digest['confirmed_utc'][:19])} UTC" if digest["confirmed_utc"] else ""
        told = f" (the home base has {number(digest.get('home_items'))} items)" if digest["state"] == "differs" else ""
        lines.append(
            f"<p>{escape(row['subscription'])}: {state}{when}{told}; {number(digest['items'])} items of positions "
            f"{digest['first']}..{digest['end']}, SHA-256 <code>{escape(digest['sha256'])}</code></p>"
        )
    return "\n".join(lines)
