"""The plots of a data card, after the paper's Fig. D: where on the globe, from which sources, how many of each tier."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from terrascope.errors import OutputError
from terrascope.landcover import TERRASCOPE
from terrascope.output import written_whole
from terrascope.terracot.stats import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TIERS = {"referring": "Referring pairs", "caption": "Cap-CoT", "L1": "L1 (basic)", "L2": "L2 (multi-step)"}
"""The levels as the paper calls them."""

PLOTS = {
    "places.png": "Where the chips lie",
    "sources.png": "Sources of each subset",
    "tiers.png": "Samples of each tier",
    "classes.png": "Masks of each class",
}
"""The plots by their files. That of the places is made only if some are known."""

_INK, _PALE, _LINE, _BLUE = "#1a1c20", "#5c6068", "#dcdcd6", "#0b62a8"
_PALETTE = ("#0b62a8", "#d1580f", "#2f8f4e", "#8a4fb0", "#a3820a", "#cc2b63", "#5c6068", "#128a8a", "#8c564b")
_REST = "#a9b0b8"
_OTHER_COLOR = "#8a93a0"
_MOST_CLASSES, _MOST_DOTS = 20, 2000
_SHADES = ((0.62, 0.79, 0.88, 1.0), (0.26, 0.57, 0.78, 1.0), (0.03, 0.32, 0.61, 1.0), (0.03, 0.19, 0.42, 1.0))
"""Colours of cells with at least one, ten, a hundred and a thousand chips."""

_DPI, _NUM_COLORS = 110, 128


def write_plots(summary: Summary, directory: Path) -> dict[str, str]:
    """Write the plots as PNG files into a folder that exists.

    Returns:
        file name -> title, of those that were made.

    Raises:
        OutputError: matplotlib is not installed, or the folder cannot be written.
    """
    makers = {
        "places.png": _plot_places if summary.num_located else None,
        "sources.png": _plot_sources if summary.sources_of_subsets else None,
        "tiers.png": _plot_tiers if summary.levels else None,
        "classes.png": _plot_classes if summary.classes else None,
    }
    for name, make in makers.items():
        if make is None:
            (directory / name).unlink(missing_ok=True)
            continue
        with written_whole(directory / name) as unfinished:
            _drawn(make(summary)).save(unfinished, format="PNG", optimize=True)
    return {name: PLOTS[name] for name, make in makers.items() if make is not None}


def _drawn(figure: Figure) -> Image.Image:
    """The figure in few colours, as it then takes a third of the room."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    with Image.open(buffer) as image:
        return image.convert("RGB").quantize(_NUM_COLORS, dither=Image.Dither.NONE)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure that draws without a display, whatever the user's settings are."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise OutputError("plots need the package matplotlib: pip install matplotlib") from None
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _bare(axes: Axes) -> None:
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, colors=_INK, labelsize=9)


def _plot_places(summary: Summary) -> Figure:
    figure, axes = _figure(8, 4.2)
    rows, columns = np.nonzero(summary.located)
    numbers = summary.located[rows, columns]
    is_dense = len(rows) > _MOST_DOTS
    if is_dense:
        # Where dots would hide each other, each cell has a colour.
        cells = np.full((*summary.located.shape, 4), 0.0)
        cells[rows, columns] = np.array(_SHADES)[np.minimum(np.log10(numbers).astype(int), len(_SHADES) - 1)]
        axes.imshow(cells, extent=(-180, 180, -90, 90), origin="lower", interpolation="nearest", zorder=2)
    else:
        areas = _dot_area(numbers)
        axes.scatter(columns - 179.5, rows - 89.5, s=areas, color=_BLUE, alpha=0.65, linewidths=0.4, edgecolors="white")
    axes.set(xlim=(-180, 180), ylim=(-90, 90), aspect="equal")
    axes.set_xticks(range(-150, 151, 30), [_degrees(value, "W", "E") for value in range(-150, 151, 30)])
    axes.set_yticks(range(-60, 61, 30), [_degrees(value, "S", "N") for value in range(-60, 61, 30)])
    axes.grid(color=_LINE, linewidth=0.7)
    axes.axhline(0, color=_PALE, linewidth=0.8, zorder=1)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=_PALE, labelsize=8)
    axes.spines[:].set_color(_LINE)
    for power in range(len(_SHADES)):
        number = 10**power
        if power and number > numbers.max():
            break
        if is_dense:
            axes.scatter([], [], s=50, marker="s", color=_SHADES[power], label=f"from {number:,}")
        else:
            axes.scatter([], [], s=_dot_area(number), color=_BLUE, alpha=0.65, linewidths=0, label=f"{number:,}")
    legend = axes.legend(
        loc="lower left", fontsize=8, title="chips in a\ncell of 1°", title_fontsize=8, framealpha=0.9, edgecolor=_LINE
    )
    legend.get_title().set_color(_PALE)
    _title(axes, f"{summary.num_located:,} of {summary.num_chips:,} chips have a known place")
    return figure


def _dot_area(number: Any) -> Any:
    """The area of a dot that stands for a number of chips."""
    return 12 + 30 * np.log10(number)


def _plot_sources(summary: Summary) -> Figure:
    subsets = [name for name in ("Referring", "Cap-CoT", "VQA-CoT") if name in summary.sources_of_subsets]
    shown = list(summary.sources)[: len(_PALETTE)]
    is_cut = len(summary.sources) > len(shown)
    figure, axes = _figure(8, 1.5 + 0.55 * len(subsets) + 0.22 * ((len(shown) + is_cut + 2) // 3))
    for row, subset in enumerate(subsets):
        counts, left = summary.sources_of_subsets[subset], 0.0
        total = sum(counts.values())
        parts = [(name, counts.get(name, 0)) for name in shown]
        parts += [("others", total - sum(number for _, number in parts))] if is_cut else []
        for place, (name, number) in enumerate(parts):
            share = 100 * number / total
            color = (*_PALETTE, _REST)[place]
            axes.barh(row, share, left=left, height=0.62, color=color, label=name if not row else None, linewidth=0)
            if share >= 6:
                _write_inside(axes, left + share / 2, row, f"{share:.0f} %")
            left += share
    axes.set_yticks(
        range(len(subsets)), [f"{name}\n{sum(summary.sources_of_subsets[name].values()):,}" for name in subsets]
    )
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xticks=[])
    _bare(axes)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9, handlelength=1, handleheight=1)
    _title(axes, "Samples of each subset by source")
    return figure


def _write_inside(axes: Axes, x: float, y: float, text: str) -> None:
    axes.text(x, y, text, ha="center", va="center", color="white", fontsize=8.5)


def _plot_tiers(summary: Summary) -> Figure:
    counts = {TIERS[level]: number for level, number in summary.levels.items()}
    return _bars(counts, dict.fromkeys(counts, _BLUE), f"{summary.num_samples:,} samples by tier")


def _plot_classes(summary: Summary) -> Figure:
    shown = dict(list(summary.classes.items())[:_MOST_CLASSES])
    rest = summary.num_masks - sum(shown.values())
    if rest:
        shown[f"{len(summary.classes) - len(shown)} others"] = rest
    known = {land_class.name: land_class.color for land_class in TERRASCOPE.classes}
    colors = {name: "#{:02x}{:02x}{:02x}".format(*known[name]) if name in known else _OTHER_COLOR for name in shown}
    return _bars(shown, colors, f"{summary.num_masks:,} masks by class")


def _bars(counts: Mapping[str, int], colors: Mapping[str, str], title: str) -> Figure:
    """One bar a name, its number at its end."""
    figure, axes = _figure(8, 0.9 + 0.32 * len(counts))
    total, largest = sum(counts.values()), max(counts.values())
    for row, (name, number) in enumerate(counts.items()):
        axes.barh(row, number, height=0.68, color=colors[name], edgecolor=_PALE, linewidth=0.5)
        share = f"{number:,} · {100 * number / total:.1f} %"
        axes.text(number + largest / 100, row, share, va="center", fontsize=9, color=_PALE)
    axes.set_yticks(range(len(counts)), list(counts))
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.22 * largest), xticks=[])
    _bare(axes)
    axes.axvline(0, color=_PALE, linewidth=0.8)
    _title(axes, title)
    return figure


def _title(axes: Any, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=11, color=_INK, pad=10)


def _degrees(value: int, negative: str, positive: str) -> str:
    return f"{abs(value)}°{negative if value < 0 else positive if value > 0 else ''}"
