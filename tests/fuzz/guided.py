"""The bytes of one raster, guided by the coverage of TerraScope's own code: `benchmarks/fuzz.py --engine atheris`.

GDAL is not instrumented, so that what guides is how far its files come within TerraScope. The first defect ends the
run; its file is kept. Run as `python -m tests.fuzz.guided SECONDS FOLDER [SEEDS]`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["terrascope"]):
    from tests.fuzz import invariants, mutations, rasters

NUM_STARTS = 200
"""Rasters of random kind that the run starts from."""

_INPUT = Path(tempfile.mkdtemp(prefix="terrascope-fuzz-")) / "scene.tif"


def read_bytes(data: bytes) -> None:
    """One input. GDAL tells the format by the content, whatever the name."""
    _INPUT.write_bytes(data)
    invariants.read([_INPUT], Random(data))


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Half blindly, by libFuzzer; half by the mutations that know the formats."""
    random = Random(seed)
    changed = mutations.damage(random, data) if random.random() < 0.5 else bytes(atheris.Mutate(data, max_size))
    return changed[:max_size]


def main(seconds: str, folder: str, seeds: str = "") -> None:
    corpus = Path(folder) / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(NUM_STARTS):
            made = Path(scratch) / str(number)
            made.mkdir()
            path = rasters.write_raster(Random(number), made)
            (corpus / f"made-{number}").write_bytes(path.read_bytes())
    options = [f"-max_total_time={seconds}", f"-artifact_prefix={folder}/", "-timeout=10", "-rss_limit_mb=3072"]
    options += ["-max_len=65536", "-print_final_stats=1", "-verbosity=1"]
    atheris.Setup([sys.argv[0], *options, str(corpus), *([seeds] if seeds else [])], read_bytes, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
