"""The folder of a run: what it is a run of, and the replies so far, one line each.

`run.json` says which benchmark is asked of whom, with which program on which machine; `replies.jsonl` is appended to.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

import terrascope
from terrascope.bench.items import Benchmark
from terrascope.bench.replies import Reply
from terrascope.errors import OutputError, SampleError
from terrascope.output import append_line, appending, held, written_whole
from terrascope.terracot.shard import hash_file
from terrascope.terracot.store import MANIFEST

__all__ = [
    "REPLIES",
    "RUN",
    "append",
    "appending",
    "begin",
    "data_digest",
    "describe_run",
    "held",
    "read_run",
    "take_up",
]

RUN, REPLIES = "run.json", "replies.jsonl"
FORM = "terrascope-run/1"

_LIBRARIES = ("torch", "transformers", "numpy", "scikit-learn")


def read_run(folder: str | os.PathLike[str]) -> tuple[dict[str, Any], tuple[Reply, ...]]:
    """What `run.json` says, and the replies so far, one an item; a last line that was torn is left out.

    Raises:
        SampleError: there is no run, it is damaged, or it is of an earlier version that kept too little.
    """
    about = _read_about(Path(folder) / RUN)
    replies, _ = _read_replies(Path(folder) / REPLIES)
    _check_words(Path(folder), about["predictor"], replies)
    return about, tuple({reply.id: reply for reply in replies}.values())


def describe_run(benchmark: Benchmark, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What `run.json` says of a run that begins now."""
    return {
        "form": FORM,
        "benchmark": {"name": benchmark.name, "digest": benchmark.digest, "items": len(benchmark.samples)},
        "predictor": name,
        "settings": dict(settings),
        "versions": {"terrascope": terrascope.__version__, "python": platform.python_version(), **_versions()},
        "machine": {"system": platform.platform(), "processor": platform.machine(), "cpus": os.cpu_count()},
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def data_digest(path: Path) -> str:
    """By which two data sets are told apart where the folder itself is not kept: its manifest, or its one file.

    Raises:
        SampleError: there is none.
    """
    file = path if path.is_file() else path / MANIFEST
    if not file.is_file():
        raise SampleError(f"{file}: not found; give the folder of a data set")
    return hash_file(file)[:12]


def _versions() -> dict[str, str]:
    found = {}
    for library in _LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


def begin(folder: Path, about: dict[str, Any]) -> None:
    """Write `run.json`, or see that the one that is there speaks of the same run.

    Raises:
        OutputError: it speaks of another benchmark, predictor or settings, or cannot be written.
        SampleError: it cannot be read.
    """
    path = folder / RUN
    if not path.exists():
        if (folder / REPLIES).exists():
            raise OutputError(f"{folder}: holds replies but no {RUN}; give another --out")
        with written_whole(path) as unfinished:
            unfinished.write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return
    there = _read_about(path)
    if there["benchmark"]["digest"] != about["benchmark"]["digest"]:
        other = f"of the benchmark {there['benchmark']['name']} (digest {there['benchmark']['digest'][:12]})"
    elif there["predictor"] != about["predictor"]:
        other = f"of {there['predictor']}"
    elif there["settings"] != json.loads(json.dumps(about["settings"])):
        other = f"with other settings ({json.dumps(there['settings'])})"
    else:
        return
    raise OutputError(f"{folder}: holds a run {other}; give another --out, or remove that run")


def _read_about(path: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        form, asked = about["form"], about["benchmark"]
        texts = form, asked["name"], asked["digest"], about["predictor"]
        if not (all(isinstance(text, str) for text in texts) and isinstance(about["settings"], dict)):
            raise ValueError("a field is of another kind")
    except FileNotFoundError:
        raise SampleError(f"{path}: not found; give the folder of a run") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise SampleError(f"{path}: not readable as the note of a run; give the folder of a run") from None
    if form != FORM:
        raise SampleError(f"{path}: a run of the form {form}, and this program reads {FORM}")
    return about


def _check_words(folder: Path, predictor: str, replies: Sequence[Reply]) -> None:
    """Refuse replies of models that answer in words alone, of which a letter was kept instead of their words.

    Earlier versions did so, and no rule of reading can be held against a letter that another rule has read.

    Raises:
        SampleError: there is one.
    """
    if not {"endpoint", "vlm"}.isdisjoint(predictor.split(":")[:-1]) and any(one.text != one.raw for one in replies):
        raise SampleError(
            f"{folder}: a run of an earlier version, which kept letters instead of the words of {predictor}; "
            "remove it and run the benchmark again"
        )


def take_up(path: Path, ids: Sequence[str], again: bool, predictor: str) -> dict[str, Reply]:
    """The replies that hold, by id; from the file everything else is removed.

    A torn last line goes; so do failures at the end of an unfinished run, as whatever ended it may be mended by now;
    and with `again` all failures.

    Args:
        ids: of all samples of the benchmark.
        predictor: its name.

    Raises:
        SampleError: the file is damaged other than at its end, is of an earlier version that kept too little, or has a
            reply to another benchmark's question.
    """
    replies, is_torn = _read_replies(path)
    _check_words(path.parent, predictor, replies)
    kept = list({reply.id: reply for reply in replies}.values())
    known = frozenset(ids)
    strange = next((reply.id for reply in kept if reply.id not in known), None)
    if strange is not None:
        raise SampleError(f"{path}: a reply to {strange!r}, which the benchmark does not ask; remove this run")
    if again:
        kept = [reply for reply in kept if reply.failed is None]
    while kept and len(kept) < len(ids) and kept[-1].failed is not None:
        kept.pop()
    if is_torn or len(kept) < len(replies):
        with written_whole(path) as unfinished:
            unfinished.write_text("".join(f"{reply.to_line()}\n" for reply in kept), encoding="utf-8")
    return {reply.id: reply for reply in kept}


def _read_replies(path: Path) -> tuple[list[Reply], bool]:
    """The replies of a file in order, and whether its last line was torn.

    Raises:
        SampleError: another line is no reply.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return [], False
    except OSError as error:
        raise SampleError(f"{path}: cannot be read ({error.strerror}); give the folder of a run") from None
    *lines, last = content.split(b"\n")
    replies = []
    for number, line in enumerate(lines, 1):
        try:
            replies.append(Reply.from_line(line.decode("utf-8")))
        except UnicodeDecodeError:
            raise SampleError(f"{path}: line {number} is not a reply of a run: no UTF-8; remove that line") from None
        except SampleError as error:
            raise SampleError(f"{path}: line {number} is {error}; remove that line") from None
    return replies, bool(last)


def append(file: BinaryIO, path: Path, reply: Reply) -> None:
    """Write a reply so that it stays, whatever happens to this process.

    Raises:
        OutputError: it cannot be written.
    """
    append_line(file, path, reply.to_line())
