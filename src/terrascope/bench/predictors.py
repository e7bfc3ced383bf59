"""Who answers, by the name that is typed: a model, a model behind an endpoint, a baseline, or one robbed of something.

nano, FOLDER, OWNER/NAME     a model of ours, or a released checkpoint
vlm:OWNER/NAME               any vision-language model of the hub, or its folder
endpoint:NAME                a model behind an OpenAI-compatible endpoint
random, majority, forest, oracle
box:WHO, random-mask:WHO, random-box:WHO, blank:WHO, blank-optical:WHO, blank-sar:WHO
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from terrascope.bench.baselines import (
    Blanked,
    ChangedMasks,
    Forest,
    Majority,
    OracleMasks,
    RandomGuess,
    box_of,
    random_box,
    shifted,
)
from terrascope.bench.baselines.blank import MODALITIES
from terrascope.bench.baselines.changed_masks import Change
from terrascope.errors import ModelError
from terrascope.predictor import Predictor
from terrascope.scene import Modality
from terrascope.sources.chips import Chip
from terrascope.terracot.store import open_store

BASELINES = ("random", "majority", "forest", "oracle")

_CHANGES: Mapping[str, Change] = {"box": box_of, "random-mask": shifted, "random-box": random_box}
_BLANKS: Mapping[str, tuple[Modality, ...]] = {
    "blank": MODALITIES,
    "blank-optical": ("optical",),
    "blank-sar": ("sar",),
}
WRAPPERS = (*_CHANGES, *_BLANKS)
"""What may stand before a name and a colon."""

Load = Callable[[str], Predictor]


@dataclass(frozen=True, kw_only=True)
class Means:
    """What predictors are opened with; each is used only by those that need it.

    Attributes:
        load_model: opens `nano`, a folder or a hub id.
        load_vlm: opens the vision-language model of a hub id or folder.
        load_endpoint: opens the model of a name behind an endpoint.
        training: folder of a training data set, for `majority`.
        chips: gives labelled training chips, for `forest`.
        seed: of all that is drawn.
    """

    load_model: Load | None = None
    load_vlm: Load | None = None
    load_endpoint: Load | None = None
    training: Path | None = None
    chips: Callable[[], Iterable[Chip]] | None = None
    seed: int = 0


def open_predictor(name: str, means: Means) -> Predictor:
    """The predictor of a name.

    Raises:
        ModelError: there is none of this name, or what it needs was not given.
        SampleError: the training data set cannot be used.
    """
    before, colon, rest = name.partition(":")
    if colon and before in WRAPPERS:
        inner = open_predictor(rest, means)
        if before in _BLANKS:
            return Blanked(inner, _BLANKS[before], name)
        return ChangedMasks(inner, _CHANGES[before], name, means.seed)
    if name == "random":
        return RandomGuess(means.seed)
    if name == "majority":
        if means.training is None:
            raise ModelError("the baseline majority needs a training data set; give its folder with --training")
        return Majority.of(open_store(means.training).select(level="L1"))
    if name == "forest":
        if means.chips is None:
            raise ModelError("the baseline forest needs labelled training chips; give a data set with --learn-from")
        return Forest(means.chips(), seed=means.seed)
    if name == "oracle":
        return OracleMasks()
    if colon and before == "vlm":
        return _load(means.load_vlm, rest, name)
    if colon and before == "endpoint":
        return _load(means.load_endpoint, rest, name)
    return _load(means.load_model, name, name)


def _load(load: Load | None, what: str, name: str) -> Predictor:
    if not what:
        where = " after the colon" if name else f", such as nano, or one of {', '.join(BASELINES)}"
        raise ModelError(f"{name!r} names no model; write the model's name{where}")
    if load is None:
        raise ModelError(f"{name!r} cannot be opened here; choose one of {', '.join(BASELINES)}")
    return load(what)
