"""Runs on a benchmark as one page that needs nothing else, as Markdown, and as numbers."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from terrascope.bench.charts import draw_bars, draw_histogram
from terrascope.bench.failures import Failure, draw_failures
from terrascope.bench.items import Benchmark
from terrascope.bench.leaderboard import Leaderboard, OpenRun, open_runs, rank, score_run
from terrascope.bench.parsing import Rule
from terrascope.bench.report_run import tell_run
from terrascope.bench.score import Score
from terrascope.bench.statistics import NOTHING
from terrascope.bench.tables import (
    accuracy_in,
    averages_by_shown,
    correlation_text,
    notes_on,
    other_tables,
    percent,
    plain_percent,
    share,
    share_titles,
    task_title,
    to_markdown,
)
from terrascope.output import check_folder, written_together
from terrascope.sample import Sample

PAGE, TABLE, NUMBERS = "report.html", "leaderboard.md", "scores.json"

_MOST_PICTURED = 24
"""Failures on a page, of all runs together, so that it stays of a size that opens; each run has at least one."""


def write_report(
    out: str | os.PathLike[str],
    benchmark: Benchmark,
    folders: Sequence[str | os.PathLike[str]],
    *,
    rule: Rule = "paper",
    num_failures: int = 6,
    with_scenes: bool = True,
    seed: int = 0,
) -> Leaderboard:
    """Score runs, and write `report.html`, `leaderboard.md` and `scores.json` into a folder.

    Args:
        out: the folder; it is made where there is none.
        folders: of the runs.
        num_failures: shown of each run, fewer where there are many runs.
        with_scenes: whether scenes are read again for the pictures of failures; what cannot be read is told there.

    Raises:
        SampleError: a run is damaged or one of another benchmark, or the benchmark is damaged.
        OutputError: the folder cannot be written.
    """
    check_folder(out)
    runs = {run.name: run for run in open_runs(benchmark, folders)}
    board = rank(benchmark, [score_run(benchmark, run, rule=rule, seed=seed) for run in runs.values()], seed=seed)
    num = min(num_failures, max(1, _MOST_PICTURED // len(runs))) if num_failures else 0
    failures = {
        entry.run: draw_failures(benchmark, entry, runs[entry.run].replies, num, with_scenes=with_scenes)
        for entry in board.scores
    }
    page = render_page(board, runs, failures, {sample.id: sample for sample in benchmark.samples})
    with written_together(out, (PAGE, TABLE, NUMBERS)) as folder:
        (folder / PAGE).write_text(page, encoding="utf-8", errors="replace")
        (folder / TABLE).write_text(to_markdown(board), encoding="utf-8", errors="replace")
        (folder / NUMBERS).write_text(json.dumps(board.to_dict(), indent=1) + "\n", encoding="utf-8")
    return board


def render_page(
    board: Leaderboard,
    runs: Mapping[str, OpenRun],
    failures: Mapping[str, Sequence[Failure]],
    samples: Mapping[str, Sample],
) -> str:
    """The page. It loads nothing and runs nothing, and a policy in it forbids both: texts in it are models'.

    Args:
        runs, failures: by the name of the run.
        samples: of the benchmark, by their ids.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template, *styles = (_asset(name) for name in ("bench.html.jinja", "report.css", "samples.css", "bench.css"))
    # The best run that has something to show.
    shown_open = next((entry for entry in board.scores if failures.get(entry.run)), board.scores[0])
    return environment.from_string(template).render(
        board=board,
        style="\n".join(styles),
        notes=notes_on(board),
        earns=board.scores[0].earns,
        titles={name: task_title(name) for name in board.tasks},
        rows=[_row(board, place) for place in range(len(board.scores))],
        has_masks=any(entry.grounding for entry in board.scores),
        partial=board.scores[board.num_ranked :],
        overall_chart=draw_bars(
            [(entry.run, entry.overall.macro) for entry in board.scores],
            title="Average over tasks by run",
            chance=board.scores[0].overall.chance,
        ),
        task_charts=[_task_chart(board, name) for name in board.tasks],
        grounding=_grounding(board) if any(entry.grounding for entry in board.scores) else None,
        others=other_tables(board),
        shown=_shown(board),
        rules=_rules(board),
        comparisons=_comparisons(board),
        runs=[
            tell_run(entry, runs[entry.run], failures.get(entry.run, ()), samples, is_open=entry is shown_open)
            for entry in board.scores
        ],
    )


def _asset(name: str) -> str:
    return (resources.files("terrascope") / "assets" / name).read_text(encoding="utf-8")


def _row(board: Leaderboard, place: int) -> dict[str, Any]:
    entry = board.scores[place]
    together, macro = entry.overall.together, entry.overall.macro
    return {
        "rank": board.rank(place),
        "run": entry.run,
        "macro": plain_percent(macro),
        "between": f"{100 * macro.low:.1f} to {100 * macro.high:.1f}" if macro.num else "",
        "mark": board.mark(place),
        "num_tasks": entry.overall.num_tasks,
        "micro": plain_percent(entry.overall.micro),
        "tasks": [plain_percent(accuracy_in(entry, name)) for name in board.tasks],
        "iou": f"{entry.grounding.iou.mean:.2f}" if entry.grounding else "-",
        "unparsable": share(together.unparsable),
        "failed": share(together.failed),
    }


def _task_chart(board: Leaderboard, name: str) -> dict[str, str]:
    scores = [entry.overall.tasks[name] for entry in board.scores if name in entry.overall.tasks]
    chance, num = scores[0].chance, max(task.accuracy.num for task in scores)
    title = f"{task_title(name)}: {board.scores[0].earns} by run"
    rows = [(entry.run, accuracy_in(entry, name)) for entry in board.scores]
    return {
        "title": task_title(name),
        "about": f"{num:,} questions" + (f", guessing gives {100 * chance:.0f} %" if chance is not None else ""),
        "svg": draw_bars(rows, title=title, chance=chance),
    }


def _grounding(board: Leaderboard) -> dict[str, Any]:
    found = [(entry, entry.grounding) for entry in board.scores if entry.grounding]
    return {
        "bars": draw_bars([(e.run, g.iou) for e, g in found], title="Mean IoU by run", percent=False),
        "tasks": [
            {
                "title": task_title(name),
                "svg": draw_bars(
                    [(e.run, g.tasks.get(name, NOTHING)) for e, g in found],
                    title=f"{task_title(name)}: mean IoU by run",
                    percent=False,
                ),
            }
            for name in board.tasks
            if any(name in g.tasks for _, g in found)
        ],
        "histograms": [
            {
                "run": entry.run,
                "right": f"{grounding.right_iou:.2f}",
                "wrong": f"{grounding.wrong_iou:.2f}",
                "r": correlation_text(grounding.correlation),
                "svg": draw_histogram(
                    *(_ious(entry, right) for right in (True, False)),
                    title=f"{entry.run}: IoU of right and wrong answers",
                ),
            }
            for entry, grounding in found
        ],
        "masks": {
            "heads": ["missing masks", "of another name", "surplus", *share_titles()],
            "rows": [
                [
                    entry.run,
                    share(g.num_missing / g.num_masks),
                    share(g.num_fitted / g.num_masks),
                    f"{g.num_surplus:,}",
                    *(f"{one.mean:.2f}" if one.num else "-" for one in g.by_share),
                ]
                for entry, g in found
            ],
        },
        "within": {
            "heads": [task_title(name) for name in board.tasks],
            "rows": [
                [entry.run, *(correlation_text(g.by_task[n]) if n in g.by_task else "-" for n in board.tasks)]
                for entry, g in found
            ],
        },
    }


def _ious(entry: Score, right: bool) -> list[float]:
    """IoU of the questions that count in the grounding and are right, or wrong."""
    return [
        question.grounded.iou
        for question in entry.questions
        if question.grounded and entry.overall.tasks[question.task].can_do and entry.is_right(question) == right
    ]


def _shown(board: Leaderboard) -> dict[str, Any] | None:
    kinds, rows = averages_by_shown(board)
    return {"kinds": kinds, "rows": rows} if len(kinds) > 1 else None


def _rules(board: Leaderboard) -> dict[str, Any] | None:
    entries = [entry for entry in board.scores if entry.disagreeing]
    if not entries:
        return None
    return {
        "names": list(entries[0].by_rule),
        "rows": [
            {
                "run": entry.run,
                "cells": [
                    f"{plain_percent(summary.macro)}, {share(summary.together.unparsable)} unparsable"
                    for summary in entry.by_rule.values()
                ],
                "num": len(entry.disagreeing),
            }
            for entry in entries
        ],
    }


def _comparisons(board: Leaderboard) -> list[dict[str, Any]]:
    return [
        {
            "first": first.run,
            "second": second.run,
            "macro": percent(one.macro),
            "p": f"{one.p:.3f}",
            "mark": one.mark,
            "only": f"{one.only_first:,} / {one.only_second:,}",
            "mcnemar": f"{one.mcnemar_p:.3g}",
            "num": f"{one.num_questions:,}",
        }
        for first, second, one in zip(board.scores, board.scores[1:], board.comparisons, strict=False)
    ]
