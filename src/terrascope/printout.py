"""An answer on the terminal: every step with its numbers, its doubts in plain sight, then the answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from terrascope.errors import ScaleError
from terrascope.quantities import format_area, format_coverage, format_distance, format_objects
from terrascope.question import LETTERS

if TYPE_CHECKING:
    from terrascope.answer import Answer, GroundedStep
    from terrascope.scene import Scene


def print_answer(answer: Answer, files: Mapping[str, Path], console: Console | None = None) -> None:
    """Print an answer for people.

    Args:
        files: what `Answer.save` wrote; empty if the answer was not saved.
        console: where to print; standard output when None.
    """
    # No highlighting and no markup: "[SEG]" and numbers are to be printed as they are.
    console = console or Console(highlight=False, markup=False)
    console.print(Text(answer.question, style="bold"))
    for letter, option in zip(LETTERS, answer.options, strict=False):
        console.print(Padding(Text(f"{letter}. {option}"), (0, 0, 0, 2)))
    console.print(Text(_scene_line(answer.scene), style="dim"))
    console.print()
    for step in answer.trace.steps:
        if not step.grounded:
            console.print(Text(step.text))
    for number, grounded in enumerate(answer.steps, 1):
        _print_step(console, number, grounded, answer.scene)
    if answer.trace.conclusion:
        console.print(Text(answer.trace.conclusion))
    shown = answer.text if answer.option is None else f"{answer.text}. {answer.option}"
    console.print()
    console.print(Text.assemble(("Answer: ", "bold"), (shown or "none", "bold green" if shown else "bold red")))
    if answer.measured is not None and answer.measured != shown:
        console.print(Text.assemble(("Measured: ", "bold"), (answer.measured, "bold")))
    if answer.num_disagreements:
        console.print(
            Text(f"Warning: {answer.num_disagreements} stated number(s) disagree with their mask.", "bold yellow")
        )
    for note in answer.notes:
        console.print(Text(f"Note: {note}", style="yellow"))
    assumptions = dict.fromkeys(sentence for image in answer.scene.observations for sentence in image.assumptions)
    for sentence in assumptions:
        console.print(Text(f"Assumed: {sentence}", style="yellow"))
    if files:
        console.print()
        for name, path in files.items():
            # One line each, however long the path: it is there to be copied.
            console.print(Text(f"{name:18} {path}"), soft_wrap=True)


def _print_step(console: Console, number: int, step: GroundedStep, scene: Scene) -> None:
    console.print(Text.assemble((f"{number}. ", "bold cyan"), step.text or "(no words)"))
    console.print(Padding(Text(_numbers_line(step, scene), style="dim"), (0, 0, 0, 3)))
    if step.finding:
        console.print(Padding(Text(step.finding), (0, 0, 0, 3)))
    for disagreement in step.disagreements:
        console.print(Padding(Text(f"! {disagreement}", style="bold yellow"), (0, 0, 0, 3)))


def _numbers_line(step: GroundedStep, scene: Scene) -> str:
    measurement = step.measurement
    date = scene.dates[step.image - 1]
    parts = [f"image {step.image}" + (f" ({date.isoformat()})" if date else "")]
    parts.append(f"coverage {format_coverage(measurement.coverage)}")
    if measurement.area_m2 is not None:
        parts.append(f"area {format_area(measurement.area_m2)}")
    parts.append(format_objects(measurement.num_objects))
    if measurement.position is not None:
        parts.append(measurement.position)
    if step.distance_m is not None:
        parts.append(f"{format_distance(step.distance_m)} from step before")
    tokens = "1 token" if step.num_tokens == 1 else f"{step.num_tokens} tokens"
    parts.append(f"{tokens} ({step.num_optical_tokens} optical, {step.num_sar_tokens} SAR)")
    parts.append(f"confidence {step.confidence:.2f}")
    return " · ".join(parts)


def _scene_line(scene: Scene) -> str:
    height, width = scene.shape
    pair = scene.pairs[0]
    kinds = " + ".join(
        f"{name} ({image.sensor})"
        for name, image in (("optical", pair.optical), ("SAR", pair.sar))
        if image is not None
    )
    dates = f"{len(scene.pairs)} dates" if len(scene.pairs) > 1 else "1 date"
    return f"{width} x {height} pixels, {kinds}, {dates}, {_scale(scene)}"


def _scale(scene: Scene) -> str:
    try:
        return f"scale: {scene.georeference.pixel_size(*scene.shape).basis}"
    except ScaleError:
        return "no ground scale (areas and distances need --gsd METRES)"
