"""The part of a report that is about one run: what could not be read, and the worst failures with their pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from terrascope.bench.failures import Failure
from terrascope.bench.leaderboard import OpenRun
from terrascope.bench.replies import Reply
from terrascope.bench.score import Score, Scored
from terrascope.bench.tables import task_title
from terrascope.rasters.named_mask import NamedMask, printable
from terrascope.sample import Sample
from terrascope.terracot.show import SHARP_SIDE, layer_uri, picture_uri
from terrascope.trace import LETTERS

_NUM_EXAMPLES, _LONGEST_TEXT = 8, 300


def tell_run(
    entry: Score, run: OpenRun, failures: Sequence[Failure], samples: Mapping[str, Sample], *, is_open: bool
) -> dict[str, Any]:
    """What the page says of a run: its settings, why questions failed, what cannot be read, its worst failures."""
    replies = {reply.id: reply for reply in run.replies}
    unread = [q for q in entry.questions if q.failed is None and q.readings[entry.rule].choice is None]
    return {
        "name": entry.run,
        "is_open": is_open,
        "about": _settings(run.about),
        "reasons": _lost(entry),
        "failures": [_failure(failure, entry) for failure in failures],
        "num_unread": len(unread),
        "unread": [_example(question, replies, samples) for question in unread[:_NUM_EXAMPLES]],
        "differing": [_example(question, replies, samples) for question in entry.disagreeing[:_NUM_EXAMPLES]],
    }


def _settings(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = []
    for key in ("settings", "versions", "machine"):
        values = about.get(key)
        if isinstance(values, Mapping) and values:
            facts.append((key, ", ".join(f"{name} {value}" for name, value in values.items())))
    return [*facts, ("started", str(about["started"]))] if "started" in about else facts


def _lost(entry: Score) -> dict[str, int]:
    """Why questions have no answer, or less of one than was written, and how many."""
    cut_off = {"cut off at the limit of its length, and read as far as it goes": entry.num_cut_off}
    return {**entry.reasons, **(cut_off if entry.num_cut_off else {})}


def _example(question: Scored, replies: Mapping[str, Reply], samples: Mapping[str, Sample]) -> dict[str, Any]:
    sample = samples[question.id]
    return {
        "id": question.id,
        "question": sample.question,
        "truth": f"{sample.answer}. {sample.truth}" if sample.options else sample.truth,
        "said": shorten(replies[question.id].text),
        "readings": {rule: reading.choice or "-" for rule, reading in question.readings.items()},
    }


def _failure(failure: Failure, entry: Score) -> dict[str, Any]:
    sample, drawn = failure.sample, failure.drawn
    choice = failure.scored.readings[entry.rule].choice
    grounded = failure.scored.grounded
    matched = grounded.masks if grounded else ()
    pictures = drawn.pictures if drawn else ()
    found = {int(mask.properties["step"]) - 1: mask for mask in failure.found}
    masks = []
    for place, mask in enumerate(drawn.masks if drawn else ()):
        own = matched[place].found
        masks.append(_panel(mask, pictures, f"true {mask.name}"))
        if own is not None:
            answered = found.pop(own)
            masks.append(_panel(answered, pictures, f"found {answered.name}, IoU {matched[place].iou:.2f}"))
    masks += [_panel(mask, pictures, f"found {mask.name}, belongs to no true mask") for mask in found.values()]
    height, width = drawn.size if drawn else (1, 1)
    return {
        "id": sample.id,
        "task": task_title(sample.task),
        "question": sample.question,
        "options": [
            {
                "letter": letter,
                "text": text,
                "right": letter == sample.answer,
                "chosen": letter == choice,
            }
            for letter, text in zip(LETTERS, sample.options, strict=False)
        ],
        "truth": sample.truth or sample.answer,
        "choice": choice,
        "iou": f"{grounded.iou:.2f}" if grounded else None,
        "said": shorten(failure.reply.raw),
        "note": drawn.note if drawn else "",
        "ratio": f"{width} / {height}",
        "is_small": max(height, width) <= SHARP_SIDE,
        "pictures": [{"label": picture.label, "data": picture_uri(picture.pixels)} for picture in pictures],
        "masks": masks,
    }


def _panel(mask: NamedMask, pictures: Sequence[Any], label: str) -> dict[str, Any]:
    image = int(mask.properties["image"])
    return {
        "layer": layer_uri(mask),
        "color": "#{:02x}{:02x}{:02x}".format(*mask.color),
        "label": label,
        "picture": next((place for place, picture in enumerate(pictures) if picture.image == image), None),
    }


def shorten(text: str) -> str:
    """The text on one line, its end cut where it is long."""
    line = " ".join(printable(text).split())
    return line if len(line) <= _LONGEST_TEXT else f"{line[: _LONGEST_TEXT - 1]}…"
