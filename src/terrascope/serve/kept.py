"""Answers that can be fetched after they were given: the last ones, on the disk; files are written when asked for."""

from __future__ import annotations

import json
import pickle
import shutil
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from terrascope.answer import Answer
from terrascope.serve.metrics import Metrics
from terrascope.serve.settings import MB
from terrascope.serve.slim import slim

ARCHIVE = "all.zip"


@dataclass(kw_only=True)
class _Kept:
    folder: Path
    names: tuple[str, ...]
    num_bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class KeptAnswers:
    """The last answers. Its methods belong into threads, and threads may share it.

    Args:
        folder: for their files; it exists.
        max_answers, max_mb: what is kept at most; the one that was asked for longest ago is forgotten first.
    """

    def __init__(self, folder: Path, metrics: Metrics, *, max_answers: int, max_mb: int) -> None:
        self._folder, self._metrics = folder, metrics
        self._max_answers, self._max_bytes = max_answers, max_mb * MB
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, answer_id: str, answer: Answer, told: Mapping[str, Any]) -> None:
        """Keep an answer and the reply that told of it.

        Raises:
            OSError: there is no room for it; nothing of it is left.
        """
        if self._max_answers < 1:
            return
        kept = _Kept(folder=self._folder / answer_id, names=tuple(told["files"]))
        try:
            kept.folder.mkdir()
            with (kept.folder / "answer.pickle").open("wb") as file:
                pickle.dump(slim(answer), file, protocol=pickle.HIGHEST_PROTOCOL)
            (kept.folder / "reply.json").write_text(json.dumps(told, allow_nan=False), encoding="utf-8")
        except OSError:
            self._remove(kept)
            raise
        with self._lock:
            self._kept[answer_id] = kept
        self._weigh(kept)

    def reply(self, answer_id: str) -> bytes | None:
        """The reply as JSON; None where it is not known any more."""
        kept = self._find(answer_id)
        try:
            return None if kept is None else (kept.folder / "reply.json").read_bytes()
        except FileNotFoundError:
            return None

    def file(self, answer_id: str, name: str) -> Path | None:
        """One of its files, or `all.zip` with all of them; None where there is none.

        Raises:
            OutputError: it cannot be written.
        """
        kept = self._find(answer_id)
        if kept is None or name not in (*kept.names, ARCHIVE):
            return None
        files = kept.folder / "files"
        with kept.lock:
            path = files / name
            if not path.exists():
                try:
                    self._write(kept, files, name)
                except FileNotFoundError:
                    return None
                self._weigh(kept)
        return path if path.exists() else None

    def forget(self, answer_id: str) -> bool:
        """Remove an answer; False where there is none."""
        with self._lock:
            kept = self._kept.pop(answer_id, None)
        if kept is None:
            return False
        self._remove(kept)
        self._count()
        return True

    def _find(self, answer_id: str) -> _Kept | None:
        with self._lock:
            kept = self._kept.get(answer_id)
            if kept is not None:
                self._kept.move_to_end(answer_id)
            return kept

    def _write(self, kept: _Kept, files: Path, name: str) -> None:
        if not (files / kept.names[0]).exists():
            with (kept.folder / "answer.pickle").open("rb") as file:
                answer: Answer = pickle.load(file)
            answer.save(files)
        if name == ARCHIVE:
            unfinished = files / f".{ARCHIVE}"
            with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as archive:
                for each in kept.names:
                    archive.write(files / each, each)
            unfinished.replace(files / ARCHIVE)

    def _weigh(self, kept: _Kept) -> None:
        """Note what an answer takes, and forget others where all take too much."""
        num_bytes = sum(path.stat().st_size for path in kept.folder.rglob("*") if path.is_file())
        forgotten = []
        with self._lock:
            kept.num_bytes = num_bytes
            total = sum(each.num_bytes for each in self._kept.values())
            while self._kept and (len(self._kept) > self._max_answers or total > self._max_bytes):
                _, oldest = self._kept.popitem(last=False)
                total -= oldest.num_bytes
                forgotten.append(oldest)
        for each in forgotten:
            self._remove(each)
        self._count()

    def _remove(self, kept: _Kept) -> None:
        shutil.rmtree(kept.folder, ignore_errors=True)

    def _count(self) -> None:
        with self._lock:
            self._metrics.kept_answers.set(len(self._kept))
            self._metrics.kept_bytes.set(sum(each.num_bytes for each in self._kept.values()))
