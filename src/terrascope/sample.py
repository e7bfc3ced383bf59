"""One record of Terra-CoT or of the benchmark, and its form in Parquet.

A sample says where its scene is read again (source and key), what is asked of it, and how it is answered: the whole
reasoning as text, with one run-length mask for every [SEG], in order. It holds no pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from terrascope import masks, trace
from terrascope.errors import SampleError
from terrascope.trace import Trace

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA = "terrascope-sample/1"
"""Name and version of the form of a row, as it stands in the metadata of every Parquet file."""

Level = Literal["referring", "caption", "L1", "L2", "bench"]
LEVELS: tuple[Level, ...] = ("referring", "caption", "L1", "L2")
"""The levels of training data. A question of a benchmark is of the level `bench`."""

Labels = Literal["annotated", "predicted", "refined"]
"""Where masks come from: the data set's labels, a model, or the intersection of the two."""


@dataclass(frozen=True, kw_only=True)
class SampleMask:
    """The mask of one [SEG]: COCO's run-length `counts`, the image that it lies on (from 1), and the class it shows."""

    counts: str
    image: int
    class_name: str


@dataclass(frozen=True, kw_only=True)
class SampleImage:
    """One image of a sample's scene.

    Attributes:
        number: of its date, from 1; the optical and the SAR image of a date have the same.
        modality, sensor: what took it.
        day: `YYYY-MM-DD`, where it is known.
        file: the file or generator that it came from.
    """

    number: int
    modality: str
    sensor: str
    day: str | None = None
    file: str = ""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A question about a scene with its grounded reasoning.

    Attributes:
        id: unique within a data set, and the same whenever the data set is built again.
        level: `referring` (stage 1), `caption` (Cap-CoT), `L1`, `L2`, or `bench` for a question of a benchmark.
        task: the kind of question within its level.
        source, key: where the scene is read again: `open_source(...).read(key)`.
        place: what the scene shows; training and test are separated by it.
        split: `train`, `val` or `test`.
        images: the images of the scene.
        height, width: of its grid, in pixels, and of all masks.
        gsd_m: ground size of a pixel in the scene's middle; None where the scale is unknown.
        lon, lat: of its centre in degrees; None where its place is unknown.
        question: without options.
        options: texts to choose from, without letters; empty for a free question.
        reasoning: `<think>...[SEG]...</think><answer>...</answer>`, in the grammar of `terrascope.trace`.
        masks: one for every [SEG] of the reasoning, in order.
        truth: the right answer as a short phrase; with options, the text of the right one.
        value, unit: the right answer as an unrounded number (`%`, `m2`, `m`, `count`), where it is one.
        writer: what worded it: `templates`, `composer`, or the name of a language model.
        labels: where its masks come from.
    """

    id: str
    level: Level
    task: str
    source: str
    key: str
    place: str
    split: str
    images: tuple[SampleImage, ...]
    height: int
    width: int
    gsd_m: float | None = None
    lon: float | None = None
    lat: float | None = None
    country: str | None = None
    question: str
    options: tuple[str, ...] = ()
    reasoning: str
    masks: tuple[SampleMask, ...] = ()
    truth: str = ""
    value: float | None = None
    unit: str | None = None
    writer: str = "templates"
    labels: Labels = "annotated"

    @property
    def answer(self) -> str:
        """What stands in the answer tag of the reasoning: with options, the letter of the right one."""
        return trace.parse(self.reasoning).answer

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of its masks, each once, in the order of their first mask."""
        return tuple(dict.fromkeys(mask.class_name for mask in self.masks))

    @property
    def num_dates(self) -> int:
        return max(image.number for image in self.images)

    def mask(self, index: int) -> NDArray[np.bool_]:
        """The mask of the [SEG] number `index` (from 0), bool `[height, width]`.

        Raises:
            SceneError: the run-length code does not fill the grid.
        """
        return masks.decode_rle({"size": (self.height, self.width), "counts": self.masks[index].counts})

    def trace(self) -> Trace:
        """The reasoning, parsed, with its masks at their steps.

        Raises:
            SampleError: there are not as many masks as [SEG]s.
        """
        parsed = trace.parse(self.reasoning)
        num_steps = len(parsed.grounded_steps)
        if num_steps != len(self.masks):
            raise SampleError(f"sample {self.id}: {num_steps} [SEG]s but {len(self.masks)} masks; give one for each")
        number = iter(range(num_steps))
        steps = tuple(replace(step, mask=self.mask(next(number))) if step.grounded else step for step in parsed.steps)
        return replace(parsed, steps=steps)

    def to_row(self) -> dict[str, Any]:
        """The sample as a row of `arrow_schema()`."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Sample:
        """The sample of a row, as Parquet and `datasets` give it.

        Raises:
            SampleError: a column is missing or unknown.
        """
        try:
            values = dict(row)
            values["images"] = tuple(SampleImage(**image) for image in values["images"])
            values["masks"] = tuple(SampleMask(**mask) for mask in values["masks"])
            values["options"] = tuple(values["options"])
            return cls(**values)
        except (KeyError, TypeError) as error:
            raise SampleError(f"not a sample of the form {SCHEMA}: {error}") from None


def arrow_schema() -> pa.Schema:
    """The columns of a Parquet file of samples; its metadata names the form."""
    import pyarrow as pa

    text, whole, number = pa.string(), pa.int32(), pa.float64()
    image = pa.struct([("number", whole), ("modality", text), ("sensor", text), ("day", text), ("file", text)])
    mask = pa.struct([("counts", text), ("image", whole), ("class_name", text)])
    columns = {
        **dict.fromkeys(("id", "level", "task", "source", "key", "place", "split"), text),
        "images": pa.list_(image),
        **dict.fromkeys(("height", "width"), whole),
        **dict.fromkeys(("gsd_m", "lon", "lat"), number),
        **dict.fromkeys(("country", "question"), text),
        "options": pa.list_(text),
        "reasoning": text,
        "masks": pa.list_(mask),
        "truth": text,
        "value": number,
        **dict.fromkeys(("unit", "writer", "labels"), text),
    }
    return pa.schema(list(columns.items()), metadata={"terrascope": SCHEMA})
