"""A score on the terminal: accuracy by task, what could not be read, and how well the masks lie."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from terrascope.bench.external.labels import LabelScores
from terrascope.bench.grounding import Grounding
from terrascope.bench.score import Score, Summary, TaskScore
from terrascope.bench.statistics import Interval
from terrascope.bench.tables import asked, correlation_text, plain_percent, share, share_titles, task_title


def print_score(score: Score, console: Console | None = None) -> None:
    """Print a score for people.

    Args:
        console: where to print; standard output when None.
    """
    console = console or Console(highlight=False, markup=False)
    console.print(Text(score.run, style="bold"))
    console.print(Text(f"{asked(score)} questions · rule of reading: {score.rule} · in brackets: 95 %", style="dim"))
    if score.is_partial:
        told = "Not all questions have been asked; the score is over those that were, and is not ranked."
        console.print(Text(told, style="yellow"))
    console.print(_task_table(score))
    if len(score.by_shown) > 1:
        console.print(_summary_table("images shown", score.by_shown.items()))
    if score.disagreeing:
        console.print(_summary_table("rule of reading", score.by_rule.items()))
        console.print(Text(f"{len(score.disagreeing):,} replies are read differently by the three rules."))
    if score.num_cut_off:
        console.print(Text(f"Cut off at the limit of their length: {score.num_cut_off:,} replies", style="yellow"))
    for reason, num in score.reasons.items():
        console.print(Text(f"Without an answer: {num:,}, {reason}", style="yellow"))
    if score.labels is not None:
        _print_labels(console, score.labels)
    if score.grounding is not None:
        _print_grounding(console, score.grounding)


def _task_table(score: Score) -> Table:
    ious = score.grounding.tasks if score.grounding else {}
    rows = _bare_table("task", score.earns, "guess", "unparsable", "failed", "IoU", "number")
    for name, task in score.overall.tasks.items():
        iou = ious.get(name)
        accuracy = _between(task.accuracy) if task.can_do else "cannot do"
        cells = [accuracy, _chance(task.chance), *_lost(task), _iou(iou), f"{task.accuracy.num:,}"]
        rows.add_row(task_title(name), *cells)
    rows.add_section()
    overall = score.overall
    iou = score.grounding.iou if score.grounding else None
    lost = _lost(overall.together)
    title = Text(f"average ({overall.num_tasks} task{'s' * (overall.num_tasks != 1)})", style="bold")
    rows.add_row(title, _between(overall.macro), _chance(overall.chance), *lost, _iou(iou), f"{overall.macro.num:,}")
    rows.add_row("over questions", _between(overall.micro), "", "", "", "", f"{overall.micro.num:,}")
    return rows


def _print_labels(console: Console, found: LabelScores) -> None:
    told = {"F1 over images": found.f1, "micro F1": found.micro_f1, "macro F1 over classes": found.macro_f1}
    told |= {"recall": found.recall, "just the right classes": found.exact}
    console.print(Text(", ".join(f"{name} {share(value)}" for name, value in told.items())))
    rows = _bare_table("class", "F1")
    for name, value in found.by_label.items():
        rows.add_row(name, share(value))
    console.print(rows)


def _between(interval: Interval) -> str:
    if not interval.num:
        return "-"
    return f"{100 * interval.mean:.1f} % ({100 * interval.low:.0f}–{100 * interval.high:.0f})"


def _lost(task: TaskScore) -> list[str]:
    return [share(task.unparsable), share(task.failed)]


def _chance(chance: float | None) -> str:
    return "-" if chance is None else f"{100 * chance:.0f} %"


def _iou(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.mean:.2f}"


def _summary_table(title: str, summaries: Iterable[tuple[str, Summary]]) -> Table:
    rows = _bare_table(title, "average", "over questions", "unparsable")
    for name, summary in summaries:
        unparsable = share(summary.together.unparsable)
        rows.add_row(name, _between(summary.macro), plain_percent(summary.micro), unparsable)
    return rows


def _print_grounding(console: Console, found: Grounding) -> None:
    console.print(
        Text(f"IoU {found.iou:.3f} over {found.num_questions:,} questions with {found.num_masks:,} true masks")
    )
    console.print(Text(f"right answers {found.right_iou:.3f}, wrong answers {found.wrong_iou:.3f}"))
    console.print(Text(f"Pearson r of IoU and rightness: {correlation_text(found.correlation)}"))
    parts = [(f"{found.num_missing:,} true masks have none", found.num_missing)]
    parts += [(f"{found.num_fitted:,} go to one of another name", found.num_fitted)]
    parts += [(f"{found.num_surplus:,} masks belong to no true one", found.num_surplus)]
    parts += [(f"{found.num_damaged:,} masks are damaged", found.num_damaged)]
    told = "; ".join(text for text, num in parts if num)
    if told:
        console.print(Text(told, style="dim"))
    shares = ", ".join(f"{t}: {one.mean:.2f}" for t, one in zip(share_titles(), found.by_share, strict=True) if one.num)
    console.print(Text(f"by the part of the scene that a true mask covers: {shares}", style="dim"))


def _bare_table(first: str, *others: str) -> Table:
    rows = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False, collapse_padding=True)
    rows.add_column(first, no_wrap=True)
    for title in others:
        rows.add_column(title, justify="right", no_wrap=True)
    return rows
