"""A line chart of one series as a file: matplotlib where it is installed, else SVG by hand.

The demo draws its loss curve with it. Nothing else in gradgen draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

__all__ = ["line_chart"]


def line_chart(stem: Path, values: Sequence[float], title: str, x: str, y: str) -> Path:
    """Draw `values` (positive, at least two) against 1, 2, 3, ... on a logarithmic axis.

    Writes `stem` + ".png" with matplotlib, `stem` + ".svg" without; returns the path written.
    """
    if len(values) < 2 or min(values) <= 0.0:
        raise ValueError("line_chart needs at least two values, all positive")
    try:
        # Not pyplot: it would choose a window system, and keep every figure alive.
        from matplotlib.figure import Figure
    except ImportError:
        path = stem.with_suffix(".svg")
        path.write_text(svg_line_chart(values, title, x, y), encoding="utf-8")
        return path
    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    axes = figure.add_subplot()
    axes.semilogy(range(1, len(values) + 1), values)
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    path = stem.with_suffix(".png")
    figure.savefig(path, dpi=120)
    return path


def svg_line_chart(values: Sequence[float], title: str, x: str, y: str) -> str:
    """The same chart as the text of an SVG file of 700 x 400 pixels."""
    left, right, top, bottom = 70.0, 680.0, 40.0, 350.0
    logs = [math.log10(v) for v in values]
    low, high = min(logs), max(logs)
    span = high - low or 1.0  # a flat series is a flat line, at the bottom

    def across(i: float) -> float:
        return left + (right - left) * i / (len(values) - 1)

    def up(log: float) -> float:
        return bottom - (bottom - top) * (log - low) / span

    def text(at_x: float, at_y: float, anchor: str, words: str) -> str:
        return f'<text x="{at_x:.1f}" y="{at_y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 400" width="700" height="400" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="700" height="400" fill="white"/>',
        f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="black"/>',
    ]
    for quarter in range(5):
        log = low + span * quarter / 4
        i = (len(values) - 1) * quarter / 4
        parts.append(f'<path d="M{left} {up(log):.1f}H{right}" stroke="#ddd"/>')
        parts.append(text(left - 6, up(log) + 4, "end", f"{10.0**log:.3g}"))
        parts.append(text(across(i), bottom + 18, "middle", f"{i + 1:.0f}"))
    points = " ".join(f"{across(i):.1f},{up(log):.1f}" for i, log in enumerate(logs))
    parts.append(f'<polyline points="{points}" fill="none" stroke="#1f77b4" stroke-width="1.5"/>')
    parts.append(text((left + right) / 2, 24, "middle", title))
    parts.append(text((left + right) / 2, 390, "middle", x))
    parts.append(f'<text transform="translate(16 195) rotate(-90)">{escape(y)}</text>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"
