"""Small plots as inline SVG: rows of seeds with intervals, curves, a scatter. Colours and type come from the page's CSS.

A row plot exists at two widths, because text in a scaled-down drawing cannot be read on a phone; the page shows one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

from counterpoint.study.wording import number, signed

WIDE, NARROW = 760, 330


@dataclass(frozen=True)
class Row:
    """One arm in a row plot.

    Attributes:
        dots: (tooltip, value) of each seed. low, high: the interval, or None.
        color: a CSS colour. note: text at the right, or below the label on a phone.
    """

    label: str
    mean: float
    low: float | None
    high: float | None
    dots: Sequence[tuple[str, float]]
    color: str
    note: str = ""


@dataclass(frozen=True)
class Series:
    """A named line or cloud of points."""

    label: str
    color: str
    points: Sequence[tuple[float, float]]
    thin: Sequence[Sequence[tuple[float, float]]] = field(default_factory=list)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that cover a range.

    >>> ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> ticks(0.93, 0.98, 3)
    [0.94, 0.96, 0.98]
    """
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    digits = max(0, 1 - math.floor(math.log10(step)))
    return [round(i * step, digits) + 0.0 for i in range(first, last + 1)]


def tick_labels(marks: Sequence[float], *, plus: bool = False) -> list[str]:
    """What stands beside an axis: as many digits as tell each mark from the next, and no more.

    >>> tick_labels([0.8345, 0.835, 0.8355])
    ['0.8345', '0.8350', '0.8355']
    >>> tick_labels([-2e-7, 0.0, 2e-7], plus=True)
    ['−2e-07', '0e+00', '+2e-07']
    >>> tick_labels([0.83])
    ['0.83']
    """
    largest = max((abs(mark) for mark in marks), default=0.0)
    step = min((b - a for a, b in itertools.pairwise(marks)), default=largest / 100)
    digits = max(0, -math.floor(math.log10(step) + 1e-6)) if step > 0 else 0
    if len(marks) == 1:
        written = [f"{largest:,.4g}"]
    elif digits > 5 and largest < 1e-3:
        places = math.floor(math.log10(largest)) + digits
        written = [f"{abs(mark):.{places}e}" for mark in marks]
    else:
        written = [f"{abs(mark):,.{digits}f}" for mark in marks]
    signs = ["−" if mark < 0 else "+" if plus and mark > 0 else "" for mark in marks]
    return [sign + text for sign, text in zip(signs, written, strict=True)]


def rows(given: Sequence[Row], *, zero: bool = False, start: float | None = None, title: str = "") -> str:
    """Every arm's seeds as dots, its mean and its 95 % interval, at both widths.

    Args:
        zero: for differences: draw the line of no difference, and signs on the axis.
        start: a figure to mark, such as the untrained model's.
    """
    return _rows(given, zero, start, title, WIDE, False) + _rows(given, zero, start, title, NARROW, True)


def _rows(
    given: Sequence[Row], zero: bool, start: float | None, title: str, width: int, compact: bool
) -> str:
    low, high = _domain(given, zero, start)
    longest = max(len(row.label) for row in given)
    left = 8 if compact else min(230, max(96, 12 + 8.4 * longest))
    notes = max(len(row.note) for row in given)
    right = width - (8 if compact else 24 + 6.9 * notes)
    # On a phone label and figures share a line above their row, or each has its own where one of them is too long for that.
    stacked = compact and any(7.6 * len(_short(r.label, 26)) + 6.9 * len(r.note) > width - 24 for r in given)
    height_row = (76 if stacked else 58) if compact else 42
    top = 22 if start is not None else 8
    bottom = top + height_row * len(given)
    x = _scale(low, high, left + 8, right - 8)
    marks = next(m for n in (4 if compact else 6, 6, 8, 10) if len(m := ticks(low, high, n)) > 2 or n == 10)
    parts = [
        f'<line class="axis" x1="{x(m):.1f}" x2="{x(m):.1f}" y1="{top}" y2="{bottom}"/>'
        f'<text class="tick" x="{x(m):.1f}" y="{bottom + 17}" text-anchor="middle">{text}</text>'
        for m, text in zip(marks, tick_labels(marks, plus=zero), strict=True)
    ]
    if zero:
        parts.append(f'<line class="zero" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="{top - 4}" y2="{bottom + 3}"/>')
    if start is not None:
        anchor = "start" if x(start) < (left + right) / 2 else "end"
        parts.append(
            f'<line class="start" x1="{x(start):.1f}" x2="{x(start):.1f}" y1="{top - 6}" y2="{bottom}"/>'
            f'<text class="tick" x="{x(start):.1f}" y="{top - 9}" text-anchor="{anchor}">before training {number(start)}</text>'
        )
    for i, row in enumerate(given):
        y = top + height_row * i + (height_row - 18 if compact else height_row / 2)
        parts.append(_row(row, x, y, low, high))
        if compact:
            parts.append(
                f'<text class="label" x="{left}" y="{y - (40 if stacked else 22):.1f}">{escape(_short(row.label, 26))}</text>'
            )
            if row.note:
                across, anchor = (left, "start") if stacked else (width - 8, "end")
                parts.append(
                    f'<text class="minor" x="{across}" y="{y - 22:.1f}" text-anchor="{anchor}">{escape(row.note)}</text>'
                )
        else:
            parts.append(
                f'<text class="label" x="{left - 6:.1f}" y="{y + 4.5:.1f}" text-anchor="end">{escape(_short(row.label, 30))}</text>'
            )
            if row.note:
                parts.append(
                    f'<text class="minor" x="{right + 10:.1f}" y="{y + 4:.1f}">{escape(row.note)}</text>'
                )
    return _svg(width, bottom + 26, "".join(parts), title, "narrow" if compact else "wide")


def _row(row: Row, x: Callable[[float], float], y: float, low: float, high: float) -> str:
    parts = []
    if row.low is not None and row.high is not None:
        a, b = x(max(row.low, low)), x(min(row.high, high))
        parts.append(
            f'<line x1="{a:.1f}" x2="{b:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{row.color}" stroke-width="2.4"/>'
        )
        for edge, inside, way in ((a, row.low >= low, -1), (b, row.high <= high, 1)):
            shape = (
                f'<line x1="{edge:.1f}" x2="{edge:.1f}" y1="{y - 6:.1f}" y2="{y + 6:.1f}" stroke="{row.color}" stroke-width="2.4"/>'
                if inside
                else f'<path d="M{edge + 7 * way:.1f} {y:.1f}l{-8 * way} -5v10z" fill="{row.color}"/>'
            )
            parts.append(shape)
    for i, (tip, value) in enumerate(row.dots):
        shift = ((i * 7) % 5 - 2) * 2.6
        parts.append(
            f'<circle cx="{x(value):.1f}" cy="{y + shift:.1f}" r="4" fill="{row.color}" fill-opacity=".38">'
            f"<title>{escape(tip)}</title></circle>"
        )
    if not math.isnan(row.mean):
        m = x(row.mean)
        parts.append(
            f'<path d="M{m:.1f} {y - 8:.1f}l7 8l-7 8l-7 -8z" fill="{row.color}" stroke="var(--sheet)" stroke-width="1.5">'
            f"<title>{escape(row.label)}: mean {number(row.mean)}</title></path>"
        )
    return "".join(parts)


def _domain(given: Sequence[Row], zero: bool, start: float | None) -> tuple[float, float]:
    """The range to draw: all dots whole; a very long interval is cut, and its end becomes an arrow."""
    dots = [value for row in given for _, value in row.dots if math.isfinite(value)] or [0.0]
    dots += [0.0] if zero else []
    dots += [start] if start is not None and math.isfinite(start) else []
    low, high = min(dots), max(dots)
    room = (high - low) or abs(high) * 0.1 or 1.0
    ends = [end for row in given for end in (row.low, row.high) if end is not None and math.isfinite(end)]
    low, high = max(min([low, *ends]), low - 0.9 * room), min(max([high, *ends]), high + 0.9 * room)
    pad = 0.05 * ((high - low) or 1.0)
    return low - pad, high + pad


def curve(series: Series, *, title: str) -> str:
    """One panel: thin lines for seeds, a thick one for their mean."""
    width, height, bottom = 320, 196, 160
    every = [p for line in [series.points, *series.thin] for p in line if math.isfinite(p[1])]
    if not every:
        return ""
    xs, ys = [p[0] for p in every], sorted(p[1] for p in every)
    low, high = ys[0], ys[min(len(ys) - 1, int(0.995 * len(ys)))]
    pad = 0.06 * ((high - low) or abs(high) or 1.0)
    # What differs by less than a figure's rounding is drawn as level, not as noise across the panel.
    pad = max(pad, 1e-4 * max(abs(low), abs(high)))
    marks = ticks(low - pad, high + pad, 4)
    texts = tick_labels(marks)
    left = max(46.0, 12 + 7.2 * max(len(text) for text in texts))
    x = _scale(0, max(xs), left, width - 16)
    y = _scale(low - pad, high + pad, bottom, 10)
    parts = [
        f'<line class="axis" x1="{left:g}" x2="{width - 10}" y1="{y(m):.1f}" y2="{y(m):.1f}"/>'
        f'<text class="tick" x="{left - 6:g}" y="{y(m) + 4:.1f}" text-anchor="end">{text}</text>'
        for m, text in zip(marks, texts, strict=True)
    ]
    for m in (mark for mark in ticks(0, max(xs), 4) if mark.is_integer()):
        parts.append(
            f'<text class="tick" x="{x(m):.1f}" y="{bottom + 16}" text-anchor="middle">{m:,.0f}</text>'
        )
    parts.append(f'<text class="tick" x="{width - 10}" y="{bottom + 29}" text-anchor="end">step</text>')
    clip = high + pad
    for line in series.thin:
        parts.append(
            _line(line, x, y, clip, f'stroke="{series.color}" stroke-opacity=".28" stroke-width="1"')
        )
    parts.append(_line(series.points, x, y, clip, f'stroke="{series.color}" stroke-width="2.2"'))
    return _svg(width, height, "".join(parts), title, "")


def _line(
    points: Sequence[tuple[float, float]],
    x: Callable[[float], float],
    y: Callable[[float], float],
    top: float,
    style: str,
) -> str:
    visible = [f"{x(a):.1f},{y(min(b, top)):.1f}" for a, b in points if math.isfinite(b)]
    return f'<polyline points="{" ".join(visible)}" fill="none" stroke-linejoin="round" {style}/>'


def scatter(series: Sequence[Series], *, x_label: str, y_label: str, title: str) -> str:
    """Clouds with their means labelled, at both widths: cheaper to the left, better above."""
    return _scatter(series, x_label, y_label, title, WIDE, 300, "wide") + _scatter(
        series, x_label, y_label, title, NARROW, 290, "narrow"
    )


def _scatter(
    series: Sequence[Series], x_label: str, y_label: str, title: str, width: int, height: int, name: str
) -> str:
    every = [p for s in series for p in s.points if math.isfinite(p[1])]
    if not every:
        return ""
    left, right, bottom, top = 58, width - (110 if name == "wide" else 16), height - 46, 24
    xs, ys = [p[0] for p in every], [p[1] for p in every]
    pad_y = 0.12 * ((max(ys) - min(ys)) or abs(max(ys)) or 1.0)
    x_high = 1.08 * max(xs) or 1.0
    x, y = _scale(0, x_high, left, right), _scale(min(ys) - pad_y, max(ys) + pad_y, bottom, top)
    marks = ticks(min(ys) - pad_y, max(ys) + pad_y, 4)
    parts = [f'<text class="tick" x="4" y="12">{escape(y_label)}</text>']
    for m, text in zip(marks, tick_labels(marks), strict=True):
        parts.append(
            f'<line class="axis" x1="{left}" x2="{right}" y1="{y(m):.1f}" y2="{y(m):.1f}"/>'
            f'<text class="tick" x="{left - 7}" y="{y(m) + 4:.1f}" text-anchor="end">{text}</text>'
        )
    across = ticks(0, x_high, 4 if name == "narrow" else 6)
    for m, text in zip(across, tick_labels(across), strict=True):
        parts.append(
            f'<text class="tick" x="{x(m):.1f}" y="{bottom + 18}" text-anchor="middle">{text}</text>'
        )
    parts.append(
        f'<text class="tick" x="{right}" y="{bottom + 36}" text-anchor="end">{escape(x_label)}</text>'
    )
    labels = []
    for s in series:
        finite = [p for p in s.points if math.isfinite(p[1])]
        for a, b in finite:
            tip = escape(f"{s.label}: {number(b)} at {number(a)}")
            parts.append(
                f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="4" fill="{s.color}" fill-opacity=".35"><title>{tip}</title></circle>'
            )
        if finite:
            a, b = sum(p[0] for p in finite) / len(finite), sum(p[1] for p in finite) / len(finite)
            parts.append(
                f'<path d="M{x(a):.1f} {y(b) - 8:.1f}l7 8l-7 8l-7 -8z" fill="{s.color}" stroke="var(--sheet)" stroke-width="1.5"/>'
            )
            labels.append((y(b), x(a), s))
    taken: list[tuple[float, float, float]] = []
    for at, across_at, s in sorted(labels, key=lambda item: item[0]):
        end = across_at > left + 0.62 * (right - left) and name == "narrow"
        shift, anchor = (-12, "end") if end else (12, "start")
        width_of = 8.0 * len(_short(s.label, 22))
        begin = across_at + shift - (width_of if end else 0.0)
        placed = at
        # Below labels and other arms' marks that it would touch; at the same height far apart, labels stay beside their marks.
        others = [(other_x - 8, other_x + 8, y0) for y0, other_x, other in labels if other is not s]
        while any(
            begin < b and a < begin + width_of and abs(placed - y0) < 15 for a, b, y0 in taken + others
        ):
            placed += 1.0
        taken.append((begin, begin + width_of, placed))
        parts.append(
            f'<text class="label" x="{across_at + shift:.1f}" y="{placed + 4:.1f}" text-anchor="{anchor}" '
            f'fill="{s.color}">{escape(_short(s.label, 22))}</text>'
        )
    return _svg(width, height, "".join(parts), title, name)


def bars(given: Sequence[tuple[str, float]], *, title: str) -> str:
    """Shares of a whole as horizontal bars, at both widths."""
    return _bars(given, title, WIDE, "wide") + _bars(given, title, NARROW, "narrow")


def _bars(given: Sequence[tuple[str, float]], title: str, width: int, name: str) -> str:
    narrow = name == "narrow"
    longest = max(len(_short(label, 26)) for label, _ in given)
    left = 8.0 if narrow else min(230.0, 12 + 8.4 * longest)
    height, thick = (46 if narrow else 34), 14
    x = _scale(0, max(max(share for _, share in given), 1e-9), left, width - 64)
    parts = []
    for i, (label, share) in enumerate(given):
        y = height * i + (height - 20 if narrow else height / 2 - thick / 2)
        text = f'<text class="label" x="{left - 6:.1f}" y="{y + 11.5:.1f}" text-anchor="end">'
        if narrow:
            text = f'<text class="label" x="{left}" y="{y - 6:.1f}">'
        parts.append(f"{text}{escape(_short(label, 26))}</text>")
        parts.append(
            f'<rect x="{left:.1f}" y="{y:.1f}" width="{max(x(share) - left, 1):.1f}" height="{thick}" rx="3" fill="var(--c0)"/>'
            f'<text class="minor" x="{max(x(share), left + 1) + 8:.1f}" y="{y + 11.5:.1f}">{100 * share:.1f}%</text>'
        )
    return _svg(width, height * len(given) + 6, "".join(parts), title, name)


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _svg(width: float, height: float, body: str, title: str, name: str) -> str:
    return (
        f'<svg class="{name}" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title, quote=True)}">'
        f"<title>{escape(title)}</title>{body}</svg>"
    )


def difference_note(mean: float | None, low: float | None, high: float | None) -> str:
    """``+0.012 [+0.003, +0.021]`` for the right margin of a row."""
    if low is None or high is None:
        return signed(mean)
    return f"{signed(mean)} [{signed(low)}, {signed(high)}]"
