"""The folder of a batch while it runs: what it is a batch of, a line for every question done, and finished scenes.

`batch.json` says what is asked of whom; `journal.jsonl` is appended to. The files of a question appear under
`.unfinished` before its line is written; once all questions of a scene are done, its folder appears whole in `scenes`.
So a process may be killed between any two of these steps, and the next one goes on.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import terrascope
from terrascope.batch.plan import AskedQuestion, AskedScene, Plan
from terrascope.batch.result import Result
from terrascope.batch.scene_folder import write_scene
from terrascope.errors import OutputError
from terrascope.output import append_line, appending, check_folder, held, written_whole

ABOUT, JOURNAL, SCENES = "batch.json", "journal.jsonl", "scenes"
FORM = "terrascope-batch/1"

_UNFINISHED = ".unfinished"


@contextmanager
def open_batch(
    folder: str | os.PathLike[str], plan: Plan, *, model: str, settings: Mapping[str, Any], again: bool = False
) -> Iterator[BatchFolder]:
    """The folder of a batch, held by this process while the block runs; made where there is none.

    Args:
        again: also ask again what failed before.

    Raises:
        OutputError: it cannot be written, another process is writing there, or it holds another batch.
    """
    target = check_folder(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{target}: cannot be made ({error.strerror}); give another --out") from None
    with held(target):
        about = _describe(plan, model, settings)
        _check_same(target, about, plan)
        with ExitStack() as opened:
            yield BatchFolder(target, plan, about, _take_up(target, plan, again), opened)


class BatchFolder:
    """What is done of a batch, and the writing of what comes. `rows` are those of the questions done, by id."""

    def __init__(
        self, folder: Path, plan: Plan, about: dict[str, Any], rows: dict[str, dict[str, Any]], opened: ExitStack
    ) -> None:
        self.folder, self.plan, self.rows = folder, plan, rows
        self._about, self._opened = about, opened
        self._journal: BinaryIO | None = None
        self._scenes = {scene.name: scene for scene in plan.scenes}

    def pending(self) -> tuple[AskedScene, ...]:
        """The scenes with the questions that are still to be asked; scenes without any are left out."""
        left = (
            replace(scene, questions=tuple(question for question in scene.questions if question.id not in self.rows))
            for scene in self.plan.scenes
        )
        return tuple(scene for scene in left if scene.questions)

    def add(self, result: Result) -> None:
        """Keep what came of a question: its files first, then its line.

        Raises:
            OutputError: it cannot be written.
        """
        scene = self._scenes[result.scene]
        question = next(question for question in scene.questions if question.id == result.id)
        place = _rows_of(self.folder, scene)
        try:
            if result.files:
                place.mkdir(parents=True, exist_ok=True)
            # What is looked for when the batch goes on is the `.json`.
            for suffix in sorted(result.files, key=lambda suffix: suffix == ".json"):
                with written_whole(place / f"{question.file_name}{suffix}") as unfinished:
                    unfinished.write_bytes(result.files[suffix])
        except OSError as error:
            raise OutputError(f"{place}: cannot be written ({error.strerror}); free some space") from None
        row = dict(result.row)
        append_line(self._begun(), self.folder / JOURNAL, json.dumps(row, ensure_ascii=False, allow_nan=False))
        self.rows[result.id] = row
        if all(question.id in self.rows for question in scene.questions):
            self.finish(scene)

    def _begun(self) -> BinaryIO:
        """The journal. What cannot even begin (a model that is not there) leaves no note of what it was."""
        if self._journal is None:
            path = self.folder / ABOUT
            if not path.exists():
                with written_whole(path) as unfinished:
                    content = json.dumps(self._about, indent=1, ensure_ascii=False)
                    unfinished.write_text(content + "\n", encoding="utf-8")
            self._journal = self._opened.enter_context(appending(self.folder / JOURNAL))
        return self._journal

    def finish_all(self) -> None:
        """Finish the scenes that a killed process has left with all questions done.

        Raises:
            OutputError: one cannot be written.
        """
        for scene in self.plan.scenes:
            if all(question.id in self.rows for question in scene.questions):
                self.finish(scene)

    def finish(self, scene: AskedScene) -> None:
        """Let the folder of a scene appear, or that with further answers in place of the one that is there.

        Raises:
            OutputError: it cannot be written.
        """
        rows, final = _rows_of(self.folder, scene), self.folder / SCENES / scene.name
        if not rows.is_dir():
            return
        whole, old = (self.folder / _UNFINISHED / part / scene.name for part in ("whole", "old"))
        try:
            whole.mkdir(parents=True)
            for question in self.answered(scene):
                for suffix in (".json", ".tif"):
                    name = f"{question.file_name}{suffix}"
                    found = next((place / name for place in (rows, final) if (place / name).exists()), None)
                    if found is not None:
                        _link(found, whole / name)
            write_scene(whole, replace(scene, questions=tuple(self.answered(scene))))
            final.parent.mkdir(exist_ok=True)
            if final.exists():
                old.parent.mkdir(parents=True, exist_ok=True)
                final.rename(old)
            whole.rename(final)
            shutil.rmtree(old, ignore_errors=True)
            shutil.rmtree(rows)
        except OSError as error:
            raise OutputError(f"{final}: cannot be written ({error.strerror or error}); free some space") from None

    def answered(self, scene: AskedScene) -> Iterator[AskedQuestion]:
        """The questions of a scene that have an answer by now."""
        return (q for q in scene.questions if q.id in self.rows and self.rows[q.id].get("reason") is None)

    def tidy(self) -> None:
        """Remove what killed runs left half written, and the folder of what is unfinished, when nothing is."""
        for path in self.folder.glob(".*"):
            # The folder is held: no other process is writing under such a name (`output.written_whole`).
            if _HALF_WRITTEN.fullmatch(path.name):
                path.unlink()
        if not any((self.folder / _UNFINISHED).glob("rows/*")):
            shutil.rmtree(self.folder / _UNFINISHED, ignore_errors=True)


_HALF_WRITTEN = re.compile(r"\.\w+\.\d+\.\w+")


def _rows_of(folder: Path, scene: AskedScene) -> Path:
    return folder / _UNFINISHED / "rows" / scene.name


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # not on every file system
        shutil.copyfile(source, target)


def _describe(plan: Plan, model: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "form": FORM,
        "asks": {"source": plan.source, "digest": plan.digest, "questions": plan.num_questions},
        "model": model,
        "settings": json.loads(json.dumps(dict(settings))),
        "terrascope_version": terrascope.__version__,
    }


def _check_same(folder: Path, about: Mapping[str, Any], plan: Plan) -> None:
    """Refuse a folder that holds another batch."""
    path = folder / ABOUT
    if not path.exists():
        if (folder / JOURNAL).exists() or (folder / SCENES).exists():
            raise OutputError(f"{folder}: holds results but no {ABOUT}; give another --out")
        return
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
        form, asks, its_model, its_settings = (there[name] for name in ("form", "asks", "model", "settings"))
        digest, source = asks["digest"], asks["source"]
    except (OSError, ValueError, KeyError, TypeError):
        raise OutputError(f"{path}: not readable as the note of a batch; give another --out") from None
    if form != FORM:
        other = f"of the form {form}, and this program writes {FORM}"
    elif digest != plan.digest:
        other = f"of other questions ({source})" if source != plan.source else f"of {source} as it was before"
    elif its_model != about["model"]:
        other = f"of the model {its_model}"
    elif its_settings != about["settings"]:
        other = f"with other settings ({json.dumps(its_settings)})"
    else:
        return
    raise OutputError(f"{folder}: holds a batch {other}; give another --out, or remove that batch")


def _take_up(folder: Path, plan: Plan, again: bool) -> dict[str, dict[str, Any]]:
    """The rows of the questions that are done, by id; what killed processes have left is put in order."""
    for old in (folder / _UNFINISHED).glob("old/*"):
        final = folder / SCENES / old.name
        if final.exists():
            shutil.rmtree(old)
        else:
            old.rename(final)
    shutil.rmtree(folder / _UNFINISHED / "whole", ignore_errors=True)
    lines, is_torn = _read_journal(folder / JOURNAL)
    rows = {row["id"]: row for row in lines}
    known = {question.id: (scene, question) for scene in plan.scenes for question in scene.questions}

    def holds(row: dict[str, Any]) -> bool:
        if row["id"] not in known:
            return False
        if row.get("reason") is not None:
            return not again
        scene, question = known[row["id"]]
        places = (_rows_of(folder, scene), folder / SCENES / scene.name)
        return any((place / f"{question.file_name}.json").exists() for place in places)

    kept = {key: row for key, row in rows.items() if holds(row)}
    if is_torn or len(kept) < len(lines):
        with written_whole(folder / JOURNAL) as unfinished, unfinished.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in kept.values())
    return kept


def _read_journal(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """The rows of a journal in order, and whether its last line was torn."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return [], False
    except OSError as error:
        raise OutputError(f"{path}: cannot be read ({error.strerror}); give another --out") from None
    *lines, last = content.split(b"\n")
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line.decode("utf-8"))
            if not (isinstance(row, dict) and isinstance(row["id"], str)):
                raise ValueError("no row")
        except (ValueError, KeyError):
            raise OutputError(f"{path}: line {number} is no row of a batch; remove that line") from None
        rows.append(row)
    return rows, bool(last)
