"""Line charts as SVG, one above the other, with one legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, TOP, GAP = 860, 210, 64, 34, 40
COLOURS = ("#1f77b4", "#d95f02", "#7f7f7f", "#2ca02c")

Line = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Chart:
    """Named lines over one axis; ``ticks`` are where that axis is labelled."""

    title: str
    lines: Mapping[str, Line]
    ticks: Mapping[float, str]


def drawn(charts: Sequence[Chart]) -> str:
    """Return the charts as one SVG."""
    names = list(dict.fromkeys(name for chart in charts for name in chart.lines))
    colours = dict(zip(names, COLOURS, strict=False))
    parts = [_chart(chart, TOP + place * (HEIGHT + GAP), colours) for place, chart in enumerate(charts)]
    height = TOP + len(charts) * (HEIGHT + GAP)
    legend = "".join(
        f'<text x="{LEFT + 210 * place}" y="16" fill="{colours[name]}" font-weight="bold">{escape(name)}</text>'
        for place, name in enumerate(names)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/>{legend}{"".join(parts)}</svg>\n'
    )


def _chart(chart: Chart, top: float, colours: Mapping[str, str]) -> str:
    xs = [x for line in chart.lines.values() for x, _ in line]
    ys = [y for line in chart.lines.values() for _, y in line]
    low, high = min(ys), max(ys)
    first, last = min(xs), max(xs)

    def x_of(x: float) -> float:
        return LEFT + (WIDTH - LEFT - 20) * (x - first) / (last - first)

    def y_of(y: float) -> float:
        return top + 20 + (HEIGHT - 40) * (high - y) / (high - low)

    rulers = "".join(
        f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{y_of(y):.1f}" y2="{y_of(y):.1f}" stroke="#ddd"/>'
        f'<text x="{LEFT - 8}" y="{y_of(y) + 4:.1f}" text-anchor="end" fill="#444">{y:.2f}</text>'
        for y in (low + (high - low) * step / 4 for step in range(5))
    )
    ticks = "".join(
        f'<text x="{x_of(x):.1f}" y="{top + HEIGHT}" text-anchor="middle" fill="#444">{escape(text)}</text>'
        for x, text in chart.ticks.items()
    )
    lines = "".join(
        f'<polyline fill="none" stroke="{colours[name]}" stroke-width="2" points="'
        + " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in line)
        + '"/>'
        for name, line in chart.lines.items()
    )
    return f'<text x="{LEFT}" y="{top + 8}" fill="#222">{escape(chart.title)}</text>{rulers}{ticks}{lines}'
