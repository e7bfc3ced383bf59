"""A manifest of two scenes of known geometry and a missing one, and a predictor for them that needs no model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from terrascope.answer import Answer
from terrascope.batch.manifest import read_manifest
from terrascope.batch.plan import Plan
from terrascope.scene import Scene
from tests.oracle import Oracle, write_picture

WATER = "What percentage of the image is water?"
HEADER = "id,optical,question,options,user:site"
ROWS = (
    f"a,east.tif,{WATER},,Elbe",
    "b,east.tif,Which covers more?,A. water|B. trees,",
    f"c,missing.tif,{WATER},,",
    f"d,west.tif,{WATER},,Elbe",
    f"e,plain.png,{WATER},,nowhere",
)
NUM_ROWS = len(ROWS)


def write_manifest(folder: Path, rows: Sequence[str] = ROWS) -> Path:
    """A manifest beside its images: `east.tif` and `west.tif` in UTM, `plain.png` without a place."""
    folder.mkdir(parents=True, exist_ok=True)
    write_picture(folder / "east.tif", located=True)
    write_picture(folder / "west.tif", located=True)
    write_picture(folder / "plain.png")
    path = folder / "manifest.csv"
    path.write_text("\n".join((HEADER, *rows)) + "\n", encoding="utf-8")
    return path


def make_plan(folder: Path) -> Plan:
    return read_manifest(write_manifest(folder))


class Slow(Oracle):
    """The oracle, with a pause, so that there is time to be killed."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds, self.asked = seconds, []

    def ask(self, scene: Scene, question: str, *, options: Sequence[str] = (), **how: object) -> Answer:
        import time

        time.sleep(self.seconds)
        self.asked.append(question)
        return super().ask(scene, question, options=options, **how)


def load_oracle() -> Oracle:
    """Called in the actors of Ray."""
    return Oracle()
