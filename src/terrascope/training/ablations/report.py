"""What an ablation found, as a table in Markdown, as JSON, and as a chart, with the paper's numbers beside."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from terrascope.bench.score import json_values
from terrascope.bench.statistics import MIN_GROUPS, Interval
from terrascope.bench.tables import correlation_text, percent, plain_percent, table, task_title
from terrascope.output import written_together
from terrascope.training.ablations.chart import draw_chart
from terrascope.training.ablations.compare import Order, Row, has_interval
from terrascope.training.ablations.tables import Table

MARKDOWN, JSON, CHART = "table.md", "table.json", "chart.png"

PAPER_SEPARATION = (
    "IoU is in percent; the paper has 63 and 44, r = 0.61 (p < 0.001), and r = 0.70 to 0.80 within a task (Fig. 6)."
)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A run that came to nothing: what was done, under which seed, and why it ended."""

    what: str
    seed: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Means over the answers of a variant: positions of the whole sequence, and visual tokens fed back among them."""

    positions: float
    injected: float


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A finished table.

    Attributes:
        name: of the table.
        rows: of the variants of which a run was judged, in the table's order.
        order: how they stand to the paper's order.
        costs: by variant.
        failures: runs that are missing.
        num_places: that the questions are about.
        digest: of the questions.
        settings: everything that decides it, as JSON values.
    """

    name: str
    table: Table
    rows: tuple[Row, ...]
    order: Order
    costs: Mapping[str, Cost]
    failures: tuple[Failure, ...]
    num_places: int
    digest: str
    settings: Mapping[str, Any]

    @property
    def has_few_places(self) -> bool:
        """True where there are too few places for intervals and verdicts."""
        return self.num_places < MIN_GROUPS

    @property
    def extent(self) -> str:
        """`212 questions about 40 places, seeds 0, 1, 2`; not without rows."""
        seeds = ", ".join(map(str, self.settings["seeds"]))
        one = len(self.settings["seeds"]) == 1
        places = f"{self.num_places:,} {'place' if self.num_places == 1 else 'places'}"
        return f"{self.rows[0].num_questions:,} questions about {places}, {'seed' if one else 'seeds'} {seeds}"

    def to_dict(self) -> dict[str, Any]:
        """All numbers and settings as JSON values; None where there is no number."""
        paper = {variant.name: dict(variant.paper) for variant in self.table.variants}
        rows = [
            {
                **json_values(asdict(row)),
                "paper": paper[row.name],
                "cost": asdict(self.costs[row.name]) if row.name in self.costs else None,
            }
            for row in self.rows
        ]
        return {
            "form": "terrascope-ablation/1",
            "table": self.name,
            "title": self.table.title,
            "origin": self.table.origin,
            "reference": self.table.reference,
            "questions": {
                "digest": self.digest,
                "number": self.rows[0].num_questions if self.rows else None,
                "places": self.num_places,
            },
            "rows": rows,
            "order": {**asdict(self.order), "verdict": self.order.verdict},
            "failures": [asdict(failure) for failure in self.failures],
            "settings": dict(self.settings),
        }


def write_report(finding: Finding, folder: Path) -> None:
    """Write `table.md`, `table.json`, and, where matplotlib is installed, `chart.png`.

    Raises:
        OutputError: the folder cannot be written.
    """
    has_chart = bool(finding.rows) and importlib.util.find_spec("matplotlib") is not None
    with written_together(folder, [MARKDOWN, JSON, CHART]) as unfinished:
        (unfinished / MARKDOWN).write_text(to_markdown(finding, has_chart=has_chart), encoding="utf-8")
        text = json.dumps(finding.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        (unfinished / JSON).write_text(text + "\n", encoding="utf-8")
        if has_chart:
            draw_chart(finding.table, finding.rows, finding.extent, unfinished / CHART)


def to_markdown(finding: Finding, *, has_chart: bool = False) -> str:
    """The whole report as Markdown."""
    compared, rows = finding.table, finding.rows
    settings, origin = finding.settings, compared.origin or "not in the paper"
    parts = [f"# {finding.name}: {compared.title}", f"{origin[:1].upper()}{origin[1:]}."]
    if rows:
        parts.append(
            f"{finding.extent}; split {settings['split']}, digest `{finding.digest[:12]}`. Each answer is the model's "
            f"own ({'the letter that' if settings['choice'] == 'letter' else 'the option nearest to what'} it wrote). "
            f"{_explain_intervals(finding)}"
        )
        parts += [_main_table(finding), _conclude(finding)]
        if any(row.separation is not None for row in rows):
            parts += ["## Good masks and right answers", _separation_table(rows), PAPER_SEPARATION]
    else:
        parts.append("No run was judged.")
    if has_chart:
        parts.append(f"![{compared.title}]({CHART})")
    if finding.failures:
        lines = [[failure.what, failure.seed, failure.reason.replace("|", "\\|")] for failure in finding.failures]
        parts += ["## Runs that failed", table(["what", "seed", "why"], lines)]
    parts.append(f"All settings and numbers are in `{JSON}`.")
    return "\n\n".join(parts) + "\n"


def _explain_intervals(finding: Finding) -> str:
    if finding.has_few_places:
        return f"Of fewer than {MIN_GROUPS} places there are no intervals, and no variants are told apart."
    alone = "; there is but one seed, so that chance in training is not part of them"
    return (
        "Intervals are 95 %, from drawing places and seeds anew; differences are paired over both"
        f"{alone if len(finding.settings['seeds']) == 1 else ''}."
    )


def _main_table(finding: Finding) -> str:
    paper = {variant.name: variant.paper for variant in finding.table.variants}
    tasks = tuple(dict.fromkeys(name for row in finding.rows for name in row.tasks))
    has_iou = any("iou" in known for known in paper.values())
    verdict = "as in the paper" if finding.table.origin else "against the first"
    if not finding.table.origin:
        verdict = f"against {finding.table.reference}"
    titles = ["variant", "paper", "average", f"less {finding.table.reference}", verdict, "IoU"]
    titles += ["paper's IoU"] * has_iou + [task_title(name) for name in tasks]
    titles += ["positions an answer", "fed back", "seeds"]
    lines = []
    for row in finding.rows:
        cost, known = finding.costs.get(row.name), paper[row.name]
        cells = [
            row.name,
            _paper(known, "macro"),
            percent_or_mean(row.macro),
            _points(row.difference),
            _verdict(row, finding),
        ]
        cells += [percent_or_mean(row.iou)] + [_paper(known, "iou")] * has_iou
        cells += [_task(row, name, known) for name in tasks]
        cells += ["-", "-"] if cost is None else [f"{cost.positions:,.0f}", f"{cost.injected:,.0f}"]
        lines.append([*cells, len(row.seeds) or "none"])
    return table(titles, lines)


def _verdict(row: Row, finding: Finding) -> str:
    if row.name == finding.table.reference:
        return "reference"
    return (row.verdict if finding.table.origin else row.direction) or "-"


def _conclude(finding: Finding) -> str:
    """The verdict in words."""
    order = finding.order
    reason = f" (fewer than {MIN_GROUPS} places)" if finding.has_few_places else ""
    if order.verdict is None:
        separations = [row.separation for row in finding.rows if row.separation is not None]
        if finding.name == "6" and separations:
            return f"Right answers have the better masks, as in the paper: {separations[0].verdict}{reason}."
        if finding.name == "6" or len(finding.table.paper_order) > 1:
            return "What is needed to compare with the paper was not judged."
        return "The paper has no numbers for this."
    judged = {row.name for row in finding.rows}
    ranked = [name for name in finding.table.paper_order if name in judged]
    part = "" if len(ranked) == len(finding.table.paper_order) else " of those judged"
    return (
        f"The paper's order{part} ({' > '.join(ranked)}) is reproduced: {order.verdict}{reason}. "
        f"Of its pairs ({order.num_pairs}) {order.num_same} stand as in the paper, {order.num_reversed} the other way "
        f"round, and {order.num_open} are not told apart."
    )


def _separation_table(rows: Sequence[Row]) -> str:
    tasks = tuple(dict.fromkeys(name for row in rows if row.separation for name in row.separation.by_task))
    lines = []
    for row in rows:
        found = row.separation
        if found is not None:
            cells = [row.name, percent_or_mean(found.right_iou), percent_or_mean(found.wrong_iou), _points(found.gap)]
            cells += [correlation_text(found.correlation)]
            cells += [correlation_text(found.by_task[name]) if name in found.by_task else "-" for name in tasks]
            lines.append([*cells, found.verdict])
    titles = ["variant", "IoU of right answers", "of wrong answers", "more", "Pearson r"]
    return table([*titles, *(f"r, {task_title(name)}" for name in tasks), "right ones better"], lines)


def _paper(known: Mapping[str, float], name: str) -> str:
    return f"{known[name]:.1f} %" if name in known else "-"


def _task(row: Row, name: str, known: Mapping[str, float]) -> str:
    found = row.tasks.get(name)
    text = "-" if found is None else plain_percent(found)
    return f"{text} (paper {known[name]:.1f})" if name in known else text


def percent_or_mean(interval: Interval) -> str:
    """`71.2 % (68.0 to 74.1)`, or `71.2 % (-)` without an interval."""
    return percent(interval) if has_interval(interval) or not interval.num else f"{plain_percent(interval)} (-)"


def _points(interval: Interval) -> str:
    """`+3.1 (-0.4 to +6.2)`, in percentage points."""
    if not interval.num:
        return "-"
    if not has_interval(interval):
        return f"{100 * interval.mean:+.1f} (-)"
    return f"{100 * interval.mean:+.1f} ({100 * interval.low:+.1f} to {100 * interval.high:+.1f})"
