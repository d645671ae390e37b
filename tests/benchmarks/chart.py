"""What `bench.py --json` measured as the README shows it: a table in Markdown on standard output, and a chart.

    python tests/benchmarks/chart.py out/bench.json [-o tests/benchmarks/bench.svg]

The chart has a line for each workload and a mark for each contender: its time over that of the hand-written C (of the fastest
contender where nobody wrote C), on a logarithmic axis.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

Table = dict[str, dict[str, dict[str, Any]]]

COLUMNS = {
    "gradgen-c": "gradgen C",
    "hand-c": "C by hand",
    "gradgen-numpy": "gradgen NumPy",
    "gradgen-numpy-fast": "`fast`",
    "gradgen-python": "`python`",
    "hand-numpy": "NumPy by hand",
    "casadi-c": "CasADi C",
    "jax": "JAX",
    "torch": "PyTorch",
    "numba": "numba",
    "autograd": "autograd",
}
MARKS = dict(zip(COLUMNS, "osD^vPXd*ph", strict=True))
OURS = "gradgen"


def least(rows: dict[str, dict[str, Any]], contender: str) -> float | None:
    """Microseconds, None where it was not measured."""
    return rows.get(contender, {}).get("least")


def number(value: float | None) -> str:
    """Two or three digits, thousands with commas; nothing for None."""
    if value is None:
        return ""
    digits = 2 if value < 10 else 1 if value < 20 else 0
    return f"{value:,.{digits}f}"


def markdown(table: Table) -> str:
    """The least time of each contender, microseconds a call."""
    shown = [c for c in COLUMNS if any(least(rows, c) is not None for rows in table.values())]
    lines = [
        "| | " + " | ".join(COLUMNS[c] for c in shown) + " |",
        "|---|" + "---:|" * len(shown),
    ]
    for name, rows in table.items():
        lines.append(f"| {name} | " + " | ".join(number(least(rows, c)) for c in shown) + " |")
    return "\n".join(lines)


def draw(table: Table, path: Path, title: str) -> None:
    """The chart as a file; the same bytes for the same figures. Needs matplotlib."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.hashsalt"] = "gradgen"
    names = list(table)
    figure = Figure(figsize=(9, 1.2 + 0.42 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    for contender, label in COLUMNS.items():
        points = []
        for k, rows in enumerate(table.values()):
            times = [t for c in rows if (t := least(rows, c)) is not None]
            value = least(rows, contender)
            if value is not None:
                points.append((value / (least(rows, "hand-c") or min(times)), k))
        if points:
            ours = contender.startswith(OURS)
            axes.scatter(
                *zip(*points, strict=True),
                marker=MARKS[contender],
                s=60 if ours else 36,
                alpha=1.0 if ours else 0.7,
                zorder=3 if ours else 2,
                label=label.strip("`"),
            )
    axes.axvline(1.0, color="grey", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel(
        "time of a value and gradient, hand-written C = 1 (fastest = 1 where there is none)"
    )
    axes.set_title(title, fontsize=10)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("figures", type=Path, help="what bench.py --json wrote")
    parser.add_argument("-o", type=Path, help="draw the chart into this file: .svg or .png")
    options = parser.parse_args()
    found = json.loads(options.figures.read_text(encoding="utf-8"))
    print(markdown(found["table"]))
    if options.o:
        m = found["manifest"]
        draw(
            found["table"],
            options.o,
            f"{m['cpu']}, {m['compiler']}, Python {m['python']}, one thread",
        )


if __name__ == "__main__":
    main()
