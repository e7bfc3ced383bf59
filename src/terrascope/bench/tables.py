"""A leaderboard as Markdown, and numbers as tables show them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from terrascope.bench.external.labels import LABELS
from terrascope.bench.external.protocols import PROTOCOLS, Average, Protocol
from terrascope.bench.grounding import SHARES
from terrascope.bench.items import Shown
from terrascope.bench.leaderboard import Leaderboard
from terrascope.bench.score import Score
from terrascope.bench.statistics import NOTHING, Correlation, Interval

NOTES = (
    "The average is the mean over the tasks that a run can do, with 95 % intervals from drawing places anew. "
    "* (**): better than the next at p < 0.05 (0.01), paired over places, not corrected for the number of runs."
)

NOT_RANKED = "A run that was asked only some of the questions stands last, without a rank: its average is over others."

NAMED = "An answer earns the F1 of the classes that it names: 1 for just the right ones."


def notes_on(board: Leaderboard) -> str:
    """What has to be known to read the main table."""
    told = [NOTES]
    told += [NOT_RANKED] if board.num_ranked < len(board.scores) else []
    told += [NAMED] if any(entry.metric == "labels" for entry in board.scores) else []
    return " ".join(told)


def to_markdown(board: Leaderboard) -> str:
    """All tables of a leaderboard."""
    total = board.scores[0].num_questions
    setting = f"{total:,} questions, digest `{board.digest[:12]}`, rule of reading: {board.rule}."
    parts = [f"# {board.benchmark}", setting, _main_table(board), notes_on(board).replace("*", "\\*")]
    for title, titles, rows in other_tables(board):
        parts += [
            f"## {title}",
            table([_escape(head) for head in titles], [[_escape(row[0]), *row[1:]] for row in rows]),
        ]
    if any(entry.grounding for entry in board.scores):
        parts += ["## Grounding", _grounding_table(board)]
    if any(len(entry.by_shown) > 1 for entry in board.scores):
        parts += ["## Average by the images that are shown", _shown_table(board)]
    if any(entry.disagreeing for entry in board.scores):
        parts += ["## Average by rule of reading, and what it cannot read", _rules_table(board)]
    return "\n\n".join(parts) + "\n"


def _main_table(board: Leaderboard) -> str:
    has_grounding = any(entry.grounding for entry in board.scores)
    rows = []
    for place, entry in enumerate(board.scores):
        overall = entry.overall
        mark = board.mark(place).replace("*", "\\*")
        average = [f"{percent(overall.macro)} {mark}".strip(), overall.num_tasks, percent(overall.micro)]
        ious = [f"{entry.grounding.iou:.2f}" if entry.grounding else "-"] if has_grounding else []
        lost = [share(overall.together.unparsable), share(overall.together.failed)]
        tasks = [plain_percent(accuracy_in(entry, name)) for name in board.tasks]
        rows.append([board.rank(place), _escape(entry.run), asked(entry), *average, *tasks, *ious, *lost])
    titles = ["#", "run", "questions", "average", "tasks", "over questions"]
    titles += [task_title(name) for name in board.tasks] + ["IoU"] * has_grounding + ["unparsable", "failed"]
    return table(titles, rows)


def other_tables(board: Leaderboard) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, column titles and rows of what the protocol of another's benchmark tells beside accuracy by task."""
    tables = [
        ("Averages of its own tables", *_protocol_table(board, PROTOCOLS.get(board.benchmark))),
        ("F1 of each class", *_label_table(board)),
    ]
    return [(title, titles, rows) for title, titles, rows in tables if rows and len(titles) > 1]


def _protocol_table(board: Leaderboard, protocol: Protocol | None) -> tuple[list[str], list[list[str]]]:
    if protocol is None:
        return [], []
    rows = []
    for entry in board.scores:
        found = [_average(entry, protocol, average) for average in protocol.averages]
        rows.append([entry.run, *("-" if value is None else share(value) for value in found)])
    return ["run", *(f"{average.name} ({average.where})" for average in protocol.averages)], rows


def _average(entry: Score, protocol: Protocol, average: Average) -> float | None:
    """An average of a benchmark's own tables (0-1); None where a run can do nothing, or was not asked for it."""
    if not entry.overall.num_tasks:
        return None
    if entry.labels is not None:
        value: float = getattr(entry.labels, average.kind)
        return value
    done = {name: task.accuracy for name, task in entry.overall.tasks.items()}
    counts = {name: (round(accuracy.mean * accuracy.num), accuracy.num) for name, accuracy in done.items()}
    return protocol.average(average, counts)


def _label_table(board: Leaderboard) -> tuple[list[str], list[list[str]]]:
    """Class by class, as there are more of them than runs: those that are in any truth."""
    found = {entry.run: entry.labels.by_label for entry in board.scores if entry.labels is not None}
    rows = [
        [name, *(share(by_label[name]) if name in by_label else "-" for by_label in found.values())]
        for name in LABELS
        if any(name in by_label for by_label in found.values())
    ]
    return ["class", *found], rows


def _grounding_table(board: Leaderboard) -> str:
    rows = []
    for entry in board.scores:
        found = entry.grounding
        if found is not None:
            means = [f"{mean:.2f}" for mean in (found.iou, found.right_iou, found.wrong_iou)]
            masks = [share(num / found.num_masks) for num in (found.num_missing, found.num_fitted)]
            shares = [f"{one.mean:.2f}" if one.num else "-" for one in found.by_share]
            rows.append([_escape(entry.run), *means, correlation_text(found.correlation), *masks, *shares])
    titles = ["run", "IoU", "of right answers", "of wrong answers", "Pearson r", "missing masks", "of another name"]
    return table([*titles, *share_titles()], rows)


def averages_by_shown(board: Leaderboard) -> tuple[tuple[Shown, ...], list[list[str]]]:
    """The kinds of images that are shown, and for each run its name and its average of each kind."""
    kinds = tuple(dict.fromkeys(kind for entry in board.scores for kind in entry.by_shown))
    rows = [
        [entry.run, *(percent(entry.by_shown[kind].macro) if kind in entry.by_shown else "-" for kind in kinds)]
        for entry in board.scores
    ]
    return kinds, rows


def _shown_table(board: Leaderboard) -> str:
    kinds, rows = averages_by_shown(board)
    return table(["run", *kinds], [[_escape(row[0]), *row[1:]] for row in rows])


def _rules_table(board: Leaderboard) -> str:
    rows = []
    for entry in board.scores:
        if entry.disagreeing:
            read = [f"{plain_percent(s.macro)} / {share(s.together.unparsable)}" for s in entry.by_rule.values()]
            rows.append([_escape(entry.run), *read, len(entry.disagreeing)])
    return table(["run", *board.scores[0].by_rule, "questions read differently"], rows)


def table(titles: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def percent(interval: Interval) -> str:
    """`71.2 % (68.0 to 74.1)`."""
    if not interval.num:
        return "-"
    return f"{100 * interval.mean:.1f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def share(value: float) -> str:
    """`71.2 %`, of a share from 0 to 1."""
    return f"{100 * value:.1f} %"


def plain_percent(interval: Interval) -> str:
    """`71.2 %`."""
    return share(interval.mean) if interval.num else "-"


def accuracy_in(entry: Score, name: str) -> Interval:
    """Accuracy in a task; nothing where it was not asked or cannot be done."""
    found = entry.overall.tasks.get(name)
    return found.accuracy if found is not None and found.can_do else NOTHING


def asked(entry: Score) -> str:
    """How many questions were asked; of how many, where it was not all of them."""
    part = f" of {entry.num_questions:,}" if entry.is_partial else ""
    return f"{entry.num_asked:,}{part}"


def task_title(name: str) -> str:
    return name.replace("_", " ")


def share_titles() -> list[str]:
    """`under 1 %`, `1 to 3 %` ...: of the part of the scene that a true mask covers."""
    bounds = [f"{100 * share:g}" for share in SHARES]
    middle = [f"{low} to {high} %" for low, high in pairwise(bounds[1:-1])]
    return [f"under {bounds[1]} %", *middle, f"over {bounds[-2]} %"]


def correlation_text(correlation: Correlation) -> str:
    """`0.61 (p < 0.001)`; without a p, r alone."""
    r, p = correlation.r, correlation.p
    if r is None:
        return "-"
    if p is None:
        return f"{r:.2f}"
    return f"{r:.2f} (p < 0.001)" if p < 0.001 else f"{r:.2f} (p = {p:.3f})"


def _escape(name: str) -> str:
    return " ".join(name.split()).replace("|", "\\|")
