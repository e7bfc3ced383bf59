"""A predictor that needs no model: it knows one scene of known geometry, and states what it was told to state."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_origin

from terrascope.answer import Answer, Grounding
from terrascope.errors import QuestionError
from terrascope.georeference import Georeference
from terrascope.question import check_question
from terrascope.scene import Observation, Scene

HEIGHT, WIDTH = 40, 50
WATER = np.zeros((HEIGHT, WIDTH), bool)
WATER[:20, :10] = True
"""200 of 2,000 pixels in the north-western corner: 10 %, and 20,000 m2 where a pixel is 10 m."""
TREE = np.zeros((HEIGHT, WIDTH), bool)
TREE[30:, 25:] = True
"""250 of 2,000 pixels: 12.5 %."""


def draw_picture() -> np.ndarray:
    """uint8 `[3, H, W]`: blue water, green trees, gray elsewhere."""
    picture = np.full((3, HEIGHT, WIDTH), 120, np.uint8)
    picture[:, WATER] = np.array([[10], [20], [200]])
    picture[:, TREE] = np.array([[10], [150], [20]])
    return picture


def write_picture(path: Path, *, located: bool = False) -> Path:
    """Write the picture; with a CRS, it lies in UTM zone 33 N and a pixel is 10 m of the map."""
    profile: dict[str, Any] = {"count": 3, "height": HEIGHT, "width": WIDTH, "dtype": "uint8", "driver": "PNG"}
    if path.suffix == ".tif":
        profile |= {"driver": "GTiff", "photometric": "RGB"}
    if located:
        profile |= {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_000_000, 10, 10)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **profile) as dataset:
            dataset.write(draw_picture())
    return path


def make_scene(*, gsd_m: float | None = None, num_dates: int = 1) -> Scene:
    """The scene in memory, the same image at every date."""
    image = Observation(
        pixels=draw_picture().astype(np.float32),
        bands=("red", "green", "blue"),
        modality="optical",
        sensor="rgb",
        valid=np.ones((HEIGHT, WIDTH), bool),
        georeference=Georeference(gsd_m=gsd_m),
        source="scene.png",
    )
    return Scene.of(optical=[image] * num_dates)


def ground(mask: np.ndarray, *, image: int = 1) -> Grounding:
    """A mask with 7 optical and 2 SAR tokens and a confidence of 0.75."""
    return Grounding(mask=mask, image=image, confidence=0.75, num_optical_tokens=7, num_sar_tokens=2)


class Oracle:
    """Segments water and trees by their colour; states a coverage of `stated_percent` for the water.

    Whatever else it is asked with (limits, progress) changes nothing.
    """

    def __init__(self, stated_percent: float = 10.0) -> None:
        self.stated_percent = stated_percent

    def ask(self, scene: Scene, question: str, *, options: Sequence[str] = (), **how: object) -> Answer:
        question, texts = check_question(scene, question, options)
        pixels = scene.observations[0].pixels
        water, tree = (pixels[2] > 150), (pixels[1] > 140)
        letter = "B" if texts else f"{self.stated_percent:g}%"
        return Answer.from_reasoning(
            scene=scene,
            question=question,
            options=texts,
            reasoning=(
                f"<think>The water: [SEG] It covers {self.stated_percent:g}% of the image. "
                f"The trees: [SEG] They cover 12.5% of the image. So the answer is {letter}.</think>"
                f"<answer>{letter}</answer>"
            ),
            groundings=[ground(water), ground(tree)],
            model="oracle",
        )

    def segment(self, scene: Scene, class_name: str, **how: object) -> Answer:
        if class_name != "water":
            raise QuestionError(f"unknown class {class_name!r}: choose one of water")
        water = scene.observations[0].pixels[2] > 150
        return Answer.from_reasoning(
            scene=scene,
            question="Segment the water.",
            reasoning="<think>The water: [SEG]</think><answer>water</answer>",
            groundings=[ground(water)],
            model="oracle",
        )
