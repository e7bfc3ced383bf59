"""The number formats of a model side by side: time of an answer, and how far its masks agree with those in float32.

    python benchmarks/formats.py --model nano --scenes 6

Asks the same questions about generated scenes in each format; 8bit and 4bit where bitsandbytes is installed. On a CPU
with one thread, so that the times are comparable.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
import torch
from alone import cpu_name
from rich.console import Console
from rich.table import Table

from terrascope.answer import Answer
from terrascope.masks import iou
from terrascope.model import TerraScope
from terrascope.scene import Scene
from terrascope.sources.generated import FIRST_SEED
from terrascope.sources.synthetic import make_sample

CLASSES = ("water", "tree", "developed area")
REPEATS = 3


def scenes(num: int) -> Iterator[Scene]:
    """Validation scenes of one date, optical and SAR."""
    for seed in range(FIRST_SEED["val"], FIRST_SEED["val"] + num):
        yield make_sample(seed, kind="country", num_dates=1, cloudy=False).scene


def answer_all(model: TerraScope, asked: list[Scene]) -> tuple[list[Answer], float]:
    """The masks of every class on every scene, and the seconds of an answer: the median of the best of some runs."""
    answers, seconds = [], []
    for scene in asked:
        for name in CLASSES:
            took = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                answer = model.segment(scene, name)
                took.append(time.perf_counter() - start)
            answers.append(answer)
            seconds.append(min(took))
    return answers, float(np.median(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--scenes", type=int, default=6)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    asked = list(scenes(arguments.scenes))
    forms: list[dict[str, str]] = [{"dtype": name} for name in ("float32", "bfloat16", "float16")]
    if find_spec("bitsandbytes"):
        forms += [{"dtype": "float32", "quantization": bits} for bits in ("8bit", "4bit")]
    table = Table("format", "ms an answer", "IoU with float32: mean", "lowest")
    exact: list[Answer] = []
    for form in forms:
        model = TerraScope.from_pretrained(arguments.model, device="cpu", **form)
        answers, seconds = answer_all(model, asked)
        exact = exact or answers
        agreement = [iou(a.masks[0], b.masks[0]) for a, b in zip(answers, exact, strict=True)]
        name = form.get("quantization", form["dtype"])
        table.add_row(name, f"{1000 * seconds:.0f}", f"{np.mean(agreement):.4f}", f"{min(agreement):.4f}")
    console = Console()
    console.print(f"{arguments.model}, one core of {cpu_name()}, torch {torch.__version__}; {len(exact)} masks")
    console.print(table)


if __name__ == "__main__":
    main()
