"""A report as one page for a browser or a printer: nothing is loaded from anywhere, no script. Pure."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway.console.harmless import harmless
from gateway.console.report_tables import REASONS, beside, duration, missing, name_of, noted, span, timely, title
from gateway.console.tables import number

Row = Mapping[str, Any]
STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --quiet: #59636e; --paper: #fff; --line: #d1d9e0; --track: #eaeef2;
  --warn: #8a4600; --bad: #b3001b; --good: #116329; --acknowledged: #2da44e; --sent: #bf8700; --waiting: #8c959f;
  --lost: #cf222e; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --quiet: #9198a1; --paper: #0d1117;
  --line: #3d444d; --track: #262c36; --warn: #e3a44c; --bad: #ff8182; --good: #56d364; --acknowledged: #3fb950;
  --sent: #d29922; --waiting: #7d8590; --lost: #f85149; } }
body { font: 14px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 78rem; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0; line-height: 1.25; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; } p { margin: .25rem 0; }
.quiet { color: var(--quiet); } .warn { color: var(--warn); } .bad { color: var(--bad); font-weight: 600; }
.good { color: var(--good); } code { font: .9em/1.4 ui-monospace, monospace; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 600; border-bottom: 2px solid var(--ink); }
th, td { padding: .3rem .6rem; vertical-align: top; min-width: 5.5rem; } td { border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { padding-left: 0; min-width: 8rem; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; min-width: 0; }
.bar { display: flex; height: .6rem; min-width: 6rem; margin-top: .35rem; background: var(--track); }
.bar i { display: block; height: 100%; }
.key i { display: inline-block; width: .7em; height: .7em; margin: 0 .3em 0 1em; }
.a { background: var(--acknowledged); } .s { background: var(--sent); } .w { background: var(--waiting); }
.x { background: var(--lost); }
@media screen and (max-width: 44rem) { table, tbody, tr { display: block; } thead { display: none; }
  tr { border-bottom: 1px solid var(--line); padding: .5rem 0; }
  td { display: flex; justify-content: space-between; gap: 1rem; border: 0; padding: .1rem 0; text-align: right; }
  td::before { content: attr(data-label); color: var(--quiet); text-align: left; white-space: nowrap; }
  td:first-child { display: block; font-weight: 600; text-align: left; } td:empty { display: none; } .bar { flex: 1; } }
@media print { body { margin: 0; padding: 0; max-width: none; font-size: 10px; } .wide { overflow: visible; }
  h2, h3 { break-after: avoid; } tr, p { break-inside: avoid; } thead { display: table-header-group; }
  th, td { padding: .2rem .4rem; min-width: 4.2rem; } .bar { min-width: 5rem; } .bar i, .bar, .key i {
  print-color-adjust: exact; -webkit-print-color-adjust: exact; } @page { margin: 12mm; size: A4 landscape; } }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
BAR = (("a", "acknowledged"), ("s", "sent"), ("w", "waiting"), ("x", "expired or damaged"))
STATES = {"confirmed": "good", "differs": "bad", "cannot be compared": "warn"}


def escape(text: str) -> str:
    """Return a text of somebody else as HTML: no tag, no attribute, no control character, no turned direction."""
    return html.escape(harmless(text))


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
        parts.append(_subscriptions(home["subscriptions"]))
        for row in home["subscriptions"]:
            parts += _subscription(row)
    parts += _foot(report)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{head}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n<body>\n'
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _foot(report: Row) -> list[str]:
    """Return what a reader must know of all of it."""
    lines = [] if report["homes"] else ['<p class="quiet">no home base has a subscription</p>']
    lines += [f"<p>{escape(line)}</p>" for line in timely(report["timely"])]
    if report["homes"]:
        key = "".join(f'<i class="{kind}"></i>{name}' for kind, name in BAR)
        lines.append(f'<p class="quiet key">Bars:{key}</p>')
    lines.append(f'<p class="quiet">Reconciled: {escape(report["scope"])}.</p>')
    lines.append(f'<p class="quiet">Reasons: {escape(", ".join(REASONS.values()))}. docs/homes.md explains all.</p>')
    return lines


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a column that begins with > holds numbers. Cells are HTML already."""
    kinds = [' class="n"' if column.startswith(">") else "" for column in columns]
    names = [escape(column.lstrip(">")) for column in columns]
    head = "".join(f"<th{kind}>{name}</th>" for kind, name in zip(kinds, names, strict=True))
    marks = [
        f'{kind} data-label="{name}"' if k else kind for k, (kind, name) in enumerate(zip(kinds, names, strict=True))
    ]
    body = "\n".join(
        "<tr>" + "".join(f"<td{mark}>{cell}</td>" for mark, cell in zip(marks, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _streams(rows: Sequence[Row]) -> str:
    if not rows:
        return '<p class="quiet">nothing</p>'
    return _table(
        ("stream", "counting", ">expected", ">received", ">octets", "missing"),
        [
            (
                escape(name_of(row)), escape(row["counting"] or "not known"), _expected(row),
                number(row["received"]), number(row["octets"]), _missing(row),
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
                _missing(row),
            )
            for row in rows
        ],
    )  # fmt: skip


def _expected(row: Row) -> str:
    if row["expected"] is not None:
        return number(row["expected"])
    return '<span class="quiet">with others</span>' if _shares(row) else '<span class="quiet">not known</span>'


def _shares(row: Row) -> bool:
    return str(row.get("counting")).startswith("shared:")


def _missing(row: Row) -> str:
    text = missing(row)
    quiet = '<span class="quiet">in its shared count</span>' if _shares(row) else ""
    return f'<span class="warn">{escape(text)}</span>' if text else quiet


def _subscriptions(rows: Iterable[Row]) -> str:
    columns = (
        "subscription", "", ">entitled", ">delivered", ">acknowledged", ">in flight", ">expired", ">damaged",
        ">not selected", ">not granted", ">before",
    )  # fmt: skip
    return _table(
        columns,
        [
            (
                escape(row["subscription"]), _bar(row), *_became(row), number(row["not_selected"]),
                number(row["not_granted"]), number(row["of_before"]),
            )
            for row in rows
        ],
    )  # fmt: skip


def _became(row: Row) -> list[str]:
    """Return what became of what somebody is entitled to, as cells."""
    flight = row["sent"] + row["waiting"]
    cells = [number(value) for value in (row["entitled"], row["delivered"], row["acknowledged"], flight)]
    return cells + [
        f'<span class="bad">{number(row[name])}</span>' if row[name] else "0" for name in ("expired", "damaged")
    ]


def _subscription(row: Row) -> list[str]:
    """Return the streams of one subscription, its versions before, its digest."""
    parts = [f"<h3>{escape(row['subscription'])}</h3>"]
    if row["streams"]:
        columns = ("stream", "", ">entitled", ">delivered", ">acknowledged", ">in flight", ">expired", ">damaged")
        parts.append(_table(columns, [(escape(name_of(one)), _bar(one), *_became(one)) for one in row["streams"]]))
    parts += [f"<p>{escape(line)}</p>" for line in beside(row)]
    return [*parts, _latency(row), _digest(row)]


def _latency(row: Row) -> str:
    """Return the latency in words; nothing when nothing was measured."""
    told = row["latency"]
    parts = [
        f"{name} {duration(of[key])}"
        for name, of, key in (
            ("live median", told["live"], "p50_s"), ("live 99 %", told["live"], "p99_s"),
            ("worst of all", told, "p100_s"),
        )
        if of.get(key) is not None
    ]  # fmt: skip
    return f"<p>Latency to the acknowledgement, bounds: {', '.join(parts)}</p>" if parts else ""


def _bar(row: Row) -> str:
    """Return how much of what it is entitled to is acknowledged, sent, waiting, lost."""
    whole = row["entitled"] or 1
    lost = row["expired"] + row["damaged"]
    counts = (("a", row["acknowledged"]), ("s", row["sent"]), ("w", row["waiting"]), ("x", lost))
    pieces = "".join(
        f'<i class="{kind}" style="width:{100 * count / whole:.1f}%"></i>' for kind, count in counts if count
    )
    return f'<div class="bar">{pieces}</div>'


def _digest(row: Row) -> str:
    digest = row["digest"]
    state = f'<span class="{STATES.get(digest["state"], "quiet")}">{escape(digest["state"])}</span>'
    when = f", {escape(digest['confirmed_utc'][:19])} UTC" if digest["confirmed_utc"] else ""
    told = f" (the home base has {number(digest.get('home_items'))} items)" if digest["state"] == "differs" else ""
    return (
        f"<p>Digest: {state}{when}{told}; {number(digest['items'])} items of positions "
        f"{digest['first']}..{digest['end']}, SHA-256 <code>{escape(digest['sha256'])}</code></p>"
    )
