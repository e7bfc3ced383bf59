"""The chart of an ablation: average accuracy of each variant with its interval, every seed, and the paper's number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from terrascope.errors import OutputError
from terrascope.training.ablations.compare import Row, has_interval
from terrascope.training.ablations.tables import Table

_INK, _PALE, _LINE, _BLUE, _ORANGE = "#1a1c20", "#5c6068", "#dcdcd6", "#0b62a8", "#d1580f"
_DPI = 110


def draw_chart(table: Table, rows: Sequence[Row], extent: str, path: Path) -> None:
    """Draw it as a PNG file.

    Args:
        extent: how many questions, places and seeds it is about.

    Raises:
        OutputError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise OutputError("charts need the package matplotlib: pip install matplotlib") from None
    paper = {variant.name: variant.paper["macro"] for variant in table.variants if "macro" in variant.paper}
    figure = Figure(figsize=(7.5, 1.3 + 0.45 * len(rows)), layout=ConstrainedLayoutEngine(), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        mean, low, high = (100 * value for value in (row.macro.mean, row.macro.low, row.macro.high))
        if has_interval(row.macro):
            axes.plot([low, high], [place, place], color=_BLUE, linewidth=6, alpha=0.25, solid_capstyle="butt")
        axes.plot([100 * mean for mean in row.by_seed], [place] * len(row.by_seed), "|", color=_BLUE, markersize=9)
        label = "here, 95 %" if has_interval(row.macro) else "here"
        axes.plot([mean], [place], "o", color=_BLUE, label=label if place == 0 else None)
    known = [(paper[row.name], place) for place, row in enumerate(rows) if row.name in paper]
    if known:
        axes.plot(*zip(*known, strict=True), "D", color=_ORANGE, markersize=5, label="paper")
    axes.set_yticks(range(len(rows)), [row.name for row in rows], color=_INK)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(f"average accuracy, %\n{extent}", color=_PALE)
    axes.set_title(table.title, loc="left", color=_INK, fontsize=11)
    axes.grid(axis="x", color=_LINE)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False, colors=_INK)
    axes.legend(frameon=False, fontsize=8, loc="best")
    # Without the day and the program in it, the same numbers give the same file.
    figure.savefig(path, dpi=_DPI, metadata={"Software": None})
