"""`gateway params plot`: a range of a parameter, summed up by the gateway, in the terminal or as a picture."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from gateway.console.braille import Canvas, Span, margins, nice_steps
from gateway.console.harmless import harmless
from gateway.console.params import Place, limit_style, value_text
from gateway.console.tables import many
from gateway.console.terminal import Terminal
from gateway.errors import UsageError
from gateway_codecs.time_scales import SECOND_NS, format_utc, parse_utc

FOLLOW_S = 2.0
MARGIN, MARGIN_NARROW, NARROW = 14, 9, 50
"""Characters for labels, in terminals that are not as wide as `NARROW` too."""
LAST_HOUR, EMPTY_SHARE = "-1h", 0.1
"""What is plotted when no first time is asked for; so much of it may be empty at its beginning."""
JOINED_SHARE = 0.1
"""Means so far apart, as a share of the width, are joined by a line."""
PICTURE_BUCKETS = 2000
YEAR_NS = 300 * 86_400 * SECOND_NS
FONTS = [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path.home() / ".fonts", Path("/Library/Fonts")]
LEFT, RIGHT, TOP, BOTTOM = 90, 20, 40, 40
COLOURS = {"": "#1f4e9c", "cyan": "#0a8a8a", "yellow": "#c98a00", "bold red": "#c21f1f"}


@dataclass(frozen=True, slots=True)
class PlotOptions:
    """What is plotted, and where to."""

    name: str
    from_time: str
    to_time: str
    svg: Path | None
    png: Path | None
    width: int
    height: int
    follow: bool
    as_json: bool


@dataclass(frozen=True, slots=True)
class Curve:
    """What the gateway tells of a range: its answer, its ends in ns TAI."""

    told: dict[str, Any]
    from_ns: int
    to_ns: int
    count: int

    @property
    def width_ns(self) -> int:
        """How long it is."""
        return self.to_ns - self.from_ns

    def spans(self) -> list[Span | None]:
        """Return one span for each bucket."""
        found: list[Span | None] = [None] * self.count
        for row in self.told["buckets"]:
            if row["min"] is None or row["max"] is None:
                continue
            share = (parse_utc(row["from_utc"]) - self.from_ns) / (self.to_ns - self.from_ns)
            mean = row["mean"] if row["mean"] is not None else row["min"]
            found[min(self.count - 1, round(share * self.count))] = Span(
                row["min"], row["max"], mean, limit_style(row["limit"])
            )
        return found

    def range(self) -> tuple[float, float] | None:
        """Return the lowest and the highest value; None without any."""
        rows = [row for row in self.told["buckets"] if row["min"] is not None and row["max"] is not None]
        return (min(row["min"] for row in rows), max(row["max"] for row in rows)) if rows else None

    def title(self) -> str:
        """Return what it is of."""
        told, samples = self.told, sum(row["count"] for row in self.told["buckets"])
        unit = told["unit"] or ("UTC" if self.of_times else "")
        named = told["parameter"] + (f" [{unit}]" if unit else "")
        return harmless(f"{named}  {told['spacecraft']}, {many(samples, 'sample')}, database {told['database'][:12]}")

    @property
    def of_times(self) -> bool:
        """Whether the values are absolute times, in ns TAI."""
        return bool(self.told["kind"] == "absolute_time")


def plot(place: Place, options: PlotOptions) -> None:
    """Plot once, or follow."""
    if options.svg is not None or options.png is not None:
        if options.follow:
            raise UsageError("a picture does not follow", "leave --follow out")
        _write_pictures(place, options)
    elif options.as_json:
        print(json.dumps(_curve(place, options, 500).told, indent=2))
    elif options.follow:
        with Live(console=Terminal(), auto_refresh=False, screen=sys.stdout.isatty()) as live:
            while True:  # the size is looked at each time: the plot follows the window
                live.update(_in_terminal(place, options, live.console), refresh=True)
                time.sleep(FOLLOW_S)
    else:
        console = Terminal()
        console.print(_in_terminal(place, options, console))


def _curve(place: Place, options: PlotOptions, count: int) -> Curve:
    """Return what is to be drawn; where no first time is asked for, what there is of the last hour."""
    first, last = place.time(options.from_time or LAST_HOUR), place.time(options.to_time)
    curve = _asked(place, options.name, first, last, count)
    rows = [row for row in curve.told["buckets"] if row["count"]]
    if options.from_time or not rows or parse_utc(rows[0]["from_utc"]) - curve.from_ns < curve.width_ns * EMPTY_SHARE:
        return curve
    return _asked(place, options.name, rows[0]["from_utc"], last, count)


def _asked(place: Place, name: str, first: str, last: str, count: int) -> Curve:
    wish = {"parameter": name, "from": first, "to": last, "count": count, "mdb": place.mdb}
    return Curve(place.get("/parameters/buckets", **wish), parse_utc(first), parse_utc(last), count)


def _in_terminal(place: Place, options: PlotOptions, console: Console) -> Group:
    """Return the plot in the size of the terminal."""
    margin = MARGIN if console.width >= NARROW else MARGIN_NARROW
    width, height = max(4, console.width - margin - 3), max(6, min(console.height - 5, 40))
    curve = _curve(place, options, 2 * width)
    head = Text(curve.title(), style="bold", no_wrap=True, overflow="ellipsis")
    span = curve.range()
    if span is None:
        return Group(head, Text("no numbers in this range", style="yellow"))
    low, high = margins(*span)
    canvas = Canvas(width, height, low, high)
    canvas.draw(curve.spans(), max(2, int(2 * width * JOINED_SHARE)))
    lines = canvas.lines(_labels(curve, low, high, height, margin))
    foot = Text(" " * (margin + 1) + "\u2514" + "\u2500" * width, style="dim")
    first, last = (format_utc(ns)[:19].replace("T", " ") for ns in (curve.from_ns, curve.to_ns))
    between = width - len(first) - len(last)
    if between < 1:
        return Group(head, *lines, foot, Text(f"{first} to", style="dim"), Text(last, style="dim"))
    return Group(head, *lines, foot, Text(" " * (margin + 2) + first + " " * between + last, style="dim"))


def _labels(curve: Curve, low: float, high: float, height: int, margin: int) -> list[str]:
    """Return a label for each row of characters, most of them empty."""
    found = [" " * margin] * height
    for value in _steps(curve, low, high, height // 4):
        row = height - 1 - round((value - low) / (high - low) * (height - 1))
        found[max(0, min(height - 1, row))] = _label(curve, value)[:margin].rjust(margin)
    return found


def _steps(curve: Curve, low: float, high: float, count: int) -> list[float]:
    if curve.told["labels"]:
        return [float(k) for k in range(len(curve.told["labels"])) if low <= k <= high]
    return nice_steps(low, high, max(2, count))


def _label(curve: Curve, value: float) -> str:
    labels = curve.told["labels"]
    if curve.of_times:
        return _time_label(value, curve.range() or (value, value))
    return harmless(labels[int(value)]) if labels else value_text(round(value, 12))


def _time_label(ns: float, span: tuple[float, float]) -> str:
    """Return an absolute time for an axis: as much of it in UTC as tells it from others of the range."""
    first, last, here = (format_utc(int(one)) for one in (*span, ns))
    if first[:10] == last[:10] == here[:10]:
        return here[11:19]
    return here[5:16].replace("T", " ") if span[1] - span[0] < YEAR_NS else here[:10]


# ---- pictures ----


def _write_pictures(place: Place, options: PlotOptions) -> None:
    curve = _curve(place, options, min(PICTURE_BUCKETS, max(1, options.width - LEFT - RIGHT)))
    picture = svg(curve, options.width, options.height)
    if options.svg is not None:
        options.svg.write_text(picture, encoding="utf-8")
        print(f"written: {options.svg}")
    if options.png is not None:
        options.png.write_bytes(_png(picture))
        if not any(any(folder.rglob("*.[to]t[fc]")) for folder in FONTS):
            print("no fonts are installed here: the PNG has no text (on Debian: fonts-dejavu-core)", file=sys.stderr)
        print(f"written: {options.png}")


def _png(picture: str) -> bytes:
    try:
        import resvg_py  # an extra: most do not need it
    except ImportError:
        hint = "install it with `pip install 'usoc-gateway[plot]'`, or write --svg"
        raise UsageError("PNG needs the library resvg-py", hint) from None
    return bytes(resvg_py.svg_to_bytes(svg_string=picture))


def svg(curve: Curve, width: int, height: int) -> str:
    """Return a picture: the area between lowest and highest, the means as a line, what is beyond limits in colour."""
    inner_width, inner_height = width - LEFT - RIGHT, height - TOP - BOTTOM
    low, high = margins(*(curve.range() or (0.0, 1.0)))
    spans = curve.spans()

    def x_of(k: float) -> float:
        return LEFT + (k + 0.5) / len(spans) * inner_width

    def y_of(value: float) -> float:
        return TOP + inner_height * (1 - (value - low) / (high - low))

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="14">{escape(curve.title())}</text>',
    ]
    for value in _steps(curve, low, high, inner_height // 60):
        y = y_of(value)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{width - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>')
        label = escape(_label(curve, value))
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    parts += _time_axis(curve, width, height)
    for run in _runs(spans, max(2, int(len(spans) * JOINED_SHARE))):
        means = " ".join(f"{x_of(k):.1f},{y_of(span.mean):.1f}" for k, span in run)
        parts.append(f'<polyline points="{means}" fill="none" stroke="{COLOURS[""]}"/>')
    for k, span in enumerate(spans):
        if span is not None:
            x, top, bottom = x_of(k), y_of(span.high), y_of(span.low)
            colour = COLOURS.get(span.style, COLOURS["bold red"])
            size = max(bottom - top, 1.5)
            parts.append(f'<rect x="{x - 0.75:.1f}" y="{top:.1f}" width="1.5" height="{size:.1f}" fill="{colour}"/>')
    return "".join([*parts, "</svg>"])


def _time_axis(curve: Curve, width: int, height: int) -> list[str]:
    first, last = (format_utc(ns)[:19].replace("T", " ") + " UTC" for ns in (curve.from_ns, curve.to_ns))
    y = height - BOTTOM
    return [
        f'<line x1="{LEFT}" y1="{y}" x2="{width - RIGHT}" y2="{y}" stroke="#888"/>',
        f'<text x="{LEFT}" y="{y + 20}">{first}</text>',
        f'<text x="{width - RIGHT}" y="{y + 20}" text-anchor="end">{last}</text>',
    ]


def _runs(spans: list[Span | None], reach: int) -> list[list[tuple[int, Span]]]:
    """Return what is to be joined by lines."""
    runs: list[list[tuple[int, Span]]] = []
    for k, span in enumerate(spans):
        if span is None:
            continue
        if runs and k - runs[-1][-1][0] <= reach:
            runs[-1].append((k, span))
        else:
            runs.append([(k, span)])
    return runs
