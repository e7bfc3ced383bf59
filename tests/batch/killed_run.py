"""A batch in a process of its own, to be killed: `python -m tests.batch.killed_run FOLDER OUT SECONDS`."""

from __future__ import annotations

import sys
from pathlib import Path

from terrascope.batch.asking import ask_scenes
from terrascope.batch.manifest import read_manifest
from terrascope.batch.run import run
from tests.batch.made_manifests import Slow

if __name__ == "__main__":
    folder, out, seconds = sys.argv[1:]
    run(
        read_manifest(Path(folder) / "manifest.csv"),
        lambda scenes: ask_scenes(Slow(float(seconds)), scenes),
        out,
        model="oracle",
        again=True,
        progress=lambda done, total: print(done, flush=True),
    )
