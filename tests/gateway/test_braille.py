"""The plot in the terminal: dots where the values are, extremes never left out, labels that are round."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.console.braille import EMPTY, Canvas, Span, margins, nice_steps


def picture(canvas: Canvas) -> list[str]:
    return [line.plain[2:] for line in canvas.lines([""] * canvas.height)]


def test_a_ramp() -> None:
    """A rising line goes from the bottom left to the top right, a constant stays in the middle."""
    canvas = Canvas(4, 2, 0.0, 7.0)
    canvas.draw([Span(k, k, k) for k in range(8)], 2)
    top, bottom = picture(canvas)
    assert (top[:2], bottom[3:]) == ("  ", " ")
    assert " " not in top[2:] + bottom[:2]
    flat = Canvas(2, 2, *margins(5.0, 5.0))
    flat.draw([Span(5.0, 5.0, 5.0)] * 4, 2)
    assert all(char != " " for char in "".join(picture(flat)).strip())


def test_a_spike_is_drawn_to_its_end() -> None:
    """The extremes of a column are drawn whatever its mean; what is beyond a limit has its colour."""
    canvas = Canvas(3, 4, 0.0, 100.0)
    canvas.draw([Span(0, 0, 0), Span(0, 100, 1, "red"), Span(0, 0, 0), None, None, Span(0, 0, 0)], 2)
    lines = canvas.lines([""] * 4)
    assert all(line.plain[2] != " " for line in lines)
    assert any(span.style == "red" for span in lines[0].spans)


def test_gaps_are_not_drawn_over() -> None:
    """Means far apart are not joined, near ones are."""
    spans: list[Span | None] = [None] * 20
    spans[0] = spans[19] = Span(1, 1, 1)
    apart, joined = Canvas(10, 1, 0, 2), Canvas(10, 1, 0, 2)
    apart.draw(spans, 2)
    joined.draw(spans, 19)
    assert picture(apart)[0][1:-1] == " " * 8
    assert " " not in picture(joined)[0]


@given(
    st.lists(
        st.one_of(
            st.none(),
            st.tuples(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300)).map(
                lambda ends: Span(min(ends), max(ends), min(ends))
            ),
        ),
        max_size=30,
    ),
    st.integers(1, 10),
    st.integers(1, 6),
)
def test_any_values_fit(spans: list[Span | None], width: int, height: int) -> None:
    """Whatever is drawn, lines have the width and the height asked for, and only dots."""
    there = [span for span in spans if span is not None]
    low, high = margins(min((s.low for s in there), default=0.0), max((s.high for s in there), default=1.0))
    canvas = Canvas(width, height, low, high)
    canvas.draw(spans, 3)
    lines = picture(canvas)
    assert [len(line) for line in lines] == [width] * height
    assert all(char == " " or EMPTY < ord(char) <= EMPTY + 255 for line in lines for char in line)


def test_labels_are_round() -> None:
    """Steps of 1, 2, 5 times a power of ten, within the range."""
    assert nice_steps(0.0, 10.0, 5) == [0, 2, 4, 6, 8, 10]
    assert nice_steps(-0.3, 0.3, 3) == [-0.2, 0.0, 0.2]
    assert nice_steps(3.0, 3.0, 4) == [3.0]
    assert nice_steps(float("-inf"), 1.0, 4) == [float("-inf")]
