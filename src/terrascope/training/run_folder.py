"""The folder of a run: which run lies there, on which data, and how a new one begins without losing another's work."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from terrascope.errors import OutputError, RecipeError
from terrascope.output import written_whole
from terrascope.terracot.store import Store
from terrascope.training.checkpoints import list_checkpoints
from terrascope.training.recipe import Recipe, load_recipe, write_recipe
from terrascope.training.run_log import LOG, TENSORBOARD

RECIPE, CHECKPOINTS, MODEL, DATA = "recipe.yaml", "checkpoints", "model", "data.json"


def fingerprint(store: Store) -> str:
    """What tells the samples of a data set from others, wherever they lie: one sum over those of its shards."""
    if store.manifest is not None:
        sums = "\n".join(shard["sha256"] for shard in store.manifest["shards"])
        return hashlib.sha256(sums.encode()).hexdigest()
    with store.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_earlier(recipe: Recipe, folder: Path, *, resume: bool) -> None:
    """Refuse a folder whose contents are another's, or would be lost.

    Raises:
        RecipeError: it holds a run of another recipe, a finished one that cannot go on, or the model to begin with,
            and that would be removed.
        OutputError: what it holds is no run.
    """
    path = folder / RECIPE
    held = [name for name in (MODEL, CHECKPOINTS, TENSORBOARD, LOG) if (folder / name).exists()]
    if held and not path.is_file():
        raise OutputError(f"{folder}: holds {held[0]}, but no {RECIPE} of a run; give another --out")
    if not resume:
        model = recipe.model
        starts = [model] if isinstance(model, str) else [one for one in (model.vlm, model.sam) if one is not None]
        for start in starts:
            if any(Path(start).resolve().is_relative_to((folder / name).resolve()) for name in (MODEL, CHECKPOINTS)):
                raise RecipeError(f"model: {start} lies in the run that --no-resume removes; give another --out")
        return
    is_begun = bool(list_checkpoints(folder / CHECKPOINTS))
    if not is_begun and MODEL not in held:
        return
    earlier, wanted = load_recipe(str(path)).deciding(), recipe.deciding()
    field = next((name for name in wanted if wanted[name] != earlier[name]), None)
    if field is not None:
        raise RecipeError(
            f"{path}: the run there has {field} {earlier[field]!r}, not {wanted[field]!r}; give another --out, or "
            "--no-resume to begin anew"
        )
    if not is_begun:
        raise RecipeError(
            f"{folder}: the run there has ended and its checkpoints are gone; give another --out, or --no-resume to "
            "begin anew"
        )


def check_same(path: Path, wanted: dict[str, Any], told: Callable[[str, Any, Any], str]) -> None:
    """Refuse what differs from the record that a run has left.

    Args:
        path: of the record; where there is none, nothing is refused.
        wanted: what the record would be now.
        told: the sentence, from a name, its value in the record, and the one that is wanted.

    Raises:
        RecipeError: something differs, or the record cannot be read.
    """
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
        name = next((name for name in wanted if wanted[name] != earlier[name]), None)
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError):
        raise RecipeError(f"{path}: cannot be read; give another --out") from None
    if name is not None:
        raise RecipeError(told(name, earlier[name], wanted[name]))


def check_data(folder: Path, store: Store) -> None:
    """Refuse to go on with other samples than a run has begun with.

    Raises:
        RecipeError: they are others.
    """
    check_same(
        folder / DATA,
        {"samples": fingerprint(store)},
        lambda *_: (
            f"{store.path}: other samples than the run in {folder} has begun with; give those, another --out, or "
            "--no-resume to begin anew"
        ),
    )


def begin_folder(recipe: Recipe, folder: Path, store: Store, *, keep: bool) -> None:
    """Write what a run begins with; what an earlier one has left is removed first, unless it goes on.

    Raises:
        OutputError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not keep:
            for name in (CHECKPOINTS, MODEL, TENSORBOARD):
                if (folder / name).exists():
                    shutil.rmtree(folder / name)
            (folder / LOG).unlink(missing_ok=True)
        with written_whole(folder / RECIPE) as unfinished:
            write_recipe(recipe, unfinished)
        with written_whole(folder / DATA) as unfinished:
            unfinished.write_text(json.dumps({"samples": fingerprint(store)}) + "\n", encoding="utf-8")
        (folder / CHECKPOINTS).mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}); give another --out") from None
