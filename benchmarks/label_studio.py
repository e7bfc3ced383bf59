"""The review of a benchmark beside Label Studio's own SDK: brushes, labelling configuration, tasks and exports.

    python -m venv sdk && sdk/bin/pip install label-studio-sdk opencv-python-headless
    python benchmarks/label_studio.py --sdk sdk/bin/python

The SDK has an environment of its own, as it brings a great many packages and the program needs none of them. It is
asked through this same file, which then imports nothing of the program: one writes what the other reads, in a folder
that is removed afterwards. Compared are

- brushes of random masks, and of masks in colours with single values as a page writes them, each way: the masks that
  are read, and the bytes that are written. Where its last byte is full, the SDK adds an empty one;
- the labelling configuration, the tasks and the masks on them, by the SDK's own validation;
- an export with corrected masks, as the SDK's converter and the program read it.

It ends with exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SEED = 0
SHAPES = ((1, 1), (1, 7), (96, 96), (120, 130), (256, 256), (512, 512), (3, 70_000))
MASKS, SDK, EXPORT = "masks.json", "sdk.json", "export.json"
COLOR = (250, 100, 3, 128)


def random_masks() -> list[np.ndarray]:
    """Noise of several densities, boxes, and masks of one value, in every shape."""
    rng = np.random.default_rng(SEED)
    found = []
    for shape in SHAPES:
        found += [rng.random(shape) < density for density in (0.0, 0.01, 0.5, 1.0)]
        box = np.zeros(shape, bool)
        box[shape[0] // 4 : 3 * shape[0] // 4 + 1, shape[1] // 3 : 2 * shape[1] // 3 + 1] = True
        found.append(box)
    return found


def ask_sdk(folder: Path) -> None:
    """What the SDK makes of the files of the program; run by its own interpreter."""
    from importlib.metadata import version

    from label_studio_sdk.converter import Converter, brush
    from label_studio_sdk.label_interface import LabelInterface

    answer: dict[str, Any] = {"version": version("label-studio-sdk"), "wrong": [], "codes": [], "seconds": 0.0}
    for number, entry in enumerate(json.loads((folder / MASKS).read_text())):
        shape = entry["shape"]
        mask = np.array(entry["pixels"], np.uint8).reshape(shape)
        started = time.perf_counter()
        read = brush.decode_rle(entry["code"]).reshape(*shape, 4)[..., 3]
        plain = brush.mask2rle(255 * mask)
        answer["seconds"] += time.perf_counter() - started
        if not np.array_equal(read != 0, mask != 0):
            answer["wrong"].append(f"the SDK reads another mask {number}")
        colored = mask[..., None] * np.array(COLOR, np.uint8)
        answer["codes"].append({"plain": plain, "colored": brush.encode_rle(colored.ravel())})
    answer["num_tasks"], answer["exported"] = 0, []
    for project in sorted(path for path in folder.iterdir() if path.is_dir()):
        config = (project / "labels.xml").read_text()
        interface = LabelInterface(config)
        interface.validate()
        for task in json.loads((project / "tasks.json").read_text()):
            answer["num_tasks"] += 1
            faults = interface.validate_prediction(task["predictions"][0], return_errors=True)
            if faults or not interface.validate_task({"data": task["data"]}):
                answer["wrong"].append(f"the SDK refuses {task['data']['question_id']}: {faults}")
        converter = Converter(config, project_dir=None)
        for item in converter.iter_from_json_file(str(project / EXPORT)):
            for name, results in item["output"].items():
                for key, layer in brush.decode_from_annotation(name, results).items():
                    runs = np.flatnonzero(np.diff(layer.ravel() != 0, prepend=False, append=False))
                    place = [item["input"]["question_id"], item["completed_by"], key.rsplit("-", 1)[0]]
                    answer["exported"].append([*place, runs.tolist()])
    (folder / SDK).write_text(json.dumps(answer))


def compare(sdk: str) -> list[str]:
    """What differs, one sentence each."""
    from terrascope.bench.brush import decode_brush, encode_brush

    found = random_masks()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.perf_counter()
        codes = [encode_brush(mask) for mask in found]
        read = [decode_brush(code, mask.shape) for code, mask in zip(codes, found, strict=True)]
        seconds = time.perf_counter() - started
        entries = [
            {"shape": mask.shape, "pixels": mask.astype(int).ravel().tolist(), "code": code}
            for mask, code in zip(found, codes, strict=True)
        ]
        (folder / MASKS).write_text(json.dumps(entries))
        ours = write_projects(folder)
        subprocess.run([sdk, __file__, "--as-sdk", str(folder)], check=True)
        answer = json.loads((folder / SDK).read_text())
    wrong = list(answer["wrong"])
    wrong += [f"mask {n} is not read back" for n, mask in enumerate(found) if not np.array_equal(read[n], mask)]
    for number, (mask, code, theirs) in enumerate(zip(found, codes, answer["codes"], strict=True)):
        if theirs["plain"] not in (code, [*code, 0]):
            wrong.append(f"the SDK writes other bytes for mask {number}")
        for form, other in theirs.items():
            if not np.array_equal(decode_brush(other, mask.shape), mask):
                wrong.append(f"mask {number} of the SDK, {form}, is read otherwise")
    theirs_by_place = {(q, who, key): runs for q, who, key, runs in answer["exported"]}
    for place, mask in ours.items():
        runs = np.flatnonzero(np.diff(mask.ravel(), prepend=False, append=False)).tolist()
        if theirs_by_place.pop(place, None) != runs:
            wrong.append(f"the SDK exports another mask of {place}")
    wrong += [f"the SDK exports a mask more: {place}" for place in theirs_by_place]
    print(
        f"python {platform.python_version()}, numpy {np.__version__}, label-studio-sdk {answer['version']}, seed {SEED}"
    )
    print(f"{len(found)} masks, {sum(mask.size for mask in found):,} pixels: written and read in {seconds:.2f} s,")
    print(f"by the SDK in {answer['seconds']:.2f} s")
    print(f"{answer['num_tasks']} tasks and their masks validated, {len(ours)} masks of an export compared")
    return wrong


def write_projects(folder: Path) -> dict[tuple[str, int, str], np.ndarray]:
    """Projects of a generated benchmark and exports of them, in which one of two experts has drawn; what was drawn."""
    from terrascope.bench.brush import encode_brush
    from terrascope.bench.build import build
    from terrascope.bench.derived import question_id
    from terrascope.bench.label_studio import read_export
    from terrascope.bench.recipe import BenchRecipe
    from terrascope.bench.review_export import export_review
    from terrascope.bench.store import open_bench
    from terrascope.sources.generated import Generated

    rng = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory() as name:
        bench = Path(name) / "bench"
        build(BenchRecipe.of({"sources": [{"name": "synthetic", "root": "40", "options": {"size": 96}}]}), bench)
        source = Generated(num=40, size=96)
        export_review(bench, folder, lambda _, key: source.read(key))
        opened = open_bench(bench)
    samples = {question_id(sample): sample for sample in opened.samples}
    drawn: dict[tuple[str, int, str], np.ndarray] = {}
    for project in sorted(path for path in folder.iterdir() if path.is_dir()):
        tasks = json.loads((project / "tasks.json").read_text())
        for number, task in enumerate(tasks, 1):
            sample = samples[task["data"]["question_id"]]
            task["id"], task["annotations"] = number, []
            for who in (1, 2):
                results = json.loads(json.dumps(task["predictions"][0]["result"]))
                for place, result in enumerate(results):
                    mask = sample.mask(place)
                    if who == 2:
                        mask = mask ^ (rng.random(mask.shape) < 0.02)
                        result["value"]["rle"] = encode_brush(mask)
                results.append(
                    {"type": "choices", "from_name": "quality", "to_name": "optical1", "value": {"choices": ["high"]}}
                )
                task["annotations"].append({"id": 10 * number + who, "completed_by": who, "result": results})
        (project / EXPORT).write_text(json.dumps(tasks))
        for question, annotation in read_export(project / EXPORT, samples, opened.digest):
            who = int(annotation.expert.rpartition(" ")[2])
            for (image, class_name), mask in annotation.masks.items():
                drawn[question, who, f"masks{image}-{class_name}"] = mask
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sdk", metavar="PYTHON", help="the interpreter of the environment that has the SDK")
    parser.add_argument("--as-sdk", metavar="DIR", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.as_sdk is not None:
        ask_sdk(given.as_sdk)
        return
    if given.sdk is None:
        parser.error("name the interpreter of the SDK's environment with --sdk")
    wrong = compare(given.sdk)
    print("\n".join(wrong) or "no difference")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
