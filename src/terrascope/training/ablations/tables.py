"""What the ablations compare, as data: trainings that differ from the paper's in one thing, and tables of them.

A training is a set of overrides of one base recipe and of the model's settings; everything else (start weights, steps,
batch size, seeds, the order of samples) is the same for all. Tables that need the same training share it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from terrascope.errors import RecipeError

Asked = Literal["all", "pairs"]
"""Which questions judge a table: each with all images of its scene, or only those about optical and SAR pairs."""

PAPER_RECIPE: Mapping[str, Any] = {
    "data.levels": ["caption", "L1", "L2"],
    "data.reasoning": "grounded",
    "data.shown": "all",
    "data.mask_noise": 0.0,
    "objective.injected": "truth",
    "objective.modality_alignment": 0.0,
    "objective.loss.seg_loss_weight": 0.5,
    "objective.loss.cross_entropy": 2.0,
    "objective.loss.dice": 0.5,
    "objective.loss.focal": 0.0,
    "objective.loss.boundary": 0.0,
    "settings.interleave": "mask",
    "settings.merged_side": 1,
    "settings.modalities": "adaptive",
    "settings.prompt_modalities": "all",
}
"""Fields of the recipe in which trainings differ, as the paper has them; the base recipe says the rest."""

RANDOM_TOKENS = 64
"""Random tokens after every [SEG], whatever its mask: as many as the mask has would tell how large it is. The paper
selects them "without mask prediction" (Sec. 5.2) and gives no number."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """One way to train.

    Attributes:
        says: what it does, in a few words.
        recipe: what differs from `PAPER_RECIPE`, by dotted names of fields.
        fresh_projection: the projection of [SEG] states is drawn anew first, so that grounding has to be learned.
        grounding_first: stage 1 goes before.
    """

    says: str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    fresh_projection: bool = False
    grounding_first: bool = False

    @property
    def fields(self) -> dict[str, Any]:
        """All fields of the recipe that it sets."""
        return {**PAPER_RECIPE, **self.recipe}


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of a table: a training, and how what came of it is asked.

    Attributes:
        name: within its table.
        training: name of the training; None for the start weights as they are.
        test: settings of the model that differ when it is asked.
        optical_only: it is shown the optical images alone when it is asked.
        paper: what the paper has, in percent: `macro`, `iou`, or the accuracy of a task.
    """

    name: str
    training: str | None
    test: Mapping[str, Any] = field(default_factory=dict)
    optical_only: bool = False
    paper: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Variants side by side.

    Attributes:
        title: what is compared.
        origin: where it stands in the paper; empty for one of ours.
        reference: name of the variant that the others are compared with: the paper's.
        asked: which questions judge it.
    """

    title: str
    origin: str
    variants: tuple[Variant, ...]
    reference: str
    asked: Asked = "all"

    @property
    def trainings(self) -> tuple[str, ...]:
        """Names of the trainings that it needs, each once."""
        return tuple(dict.fromkeys(variant.training for variant in self.variants if variant.training is not None))

    @property
    def paper_order(self) -> tuple[str, ...]:
        """The variants of which the paper has an average, the best first."""
        known = [variant for variant in self.variants if "macro" in variant.paper]
        return tuple(variant.name for variant in sorted(known, key=lambda variant: -variant.paper["macro"]))


TRAININGS: Mapping[str, Training] = {
    "full": Training(says="as the paper trains"),
    "textual": Training(
        says="the reasoning without any [SEG]; no mask is learned",
        recipe={"data.reasoning": "textual", "objective.loss.seg_loss_weight": 0.0, "settings.interleave": "none"},
    ),
    "answer": Training(
        says="the answer tag alone",
        recipe={"data.reasoning": "answer", "objective.loss.seg_loss_weight": 0.0, "settings.interleave": "none"},
    ),
    "segmentation": Training(says="masks are learned, but nothing is fed back", recipe={"settings.interleave": "none"}),
    "random": Training(
        says=f"{RANDOM_TOKENS} random visual tokens are fed back; no mask is learned",
        recipe={
            "objective.loss.seg_loss_weight": 0.0,
            "settings.interleave": "random",
            "settings.random_tokens": RANDOM_TOKENS,
        },
    ),
    "box": Training(says="the visual tokens in the mask's box are fed back", recipe={"settings.interleave": "box"}),
    "similar": Training(
        says="the visual tokens most similar to the words of the step are fed back",
        recipe={"settings.interleave": "similar"},
    ),
    "optical": Training(says="only optical images are shown", recipe={"data.shown": "optical"}),
    "concatenate": Training(
        says="optical and SAR tokens are both fed back", recipe={"settings.modalities": "concatenate"}
    ),
    "tokens-optical": Training(says="only optical tokens are fed back", recipe={"settings.modalities": "optical"}),
    "prompt-optical": Training(
        says="the prompt holds the optical image; optical tokens are fed back",
        recipe={"settings.prompt_modalities": "optical", "settings.modalities": "optical"},
    ),
    "prompt-optical-concatenate": Training(
        says="the prompt holds the optical image; both are fed back",
        recipe={"settings.prompt_modalities": "optical", "settings.modalities": "concatenate"},
    ),
    "prompt-optical-adaptive": Training(
        says="the prompt holds the optical image; optical or SAR tokens are fed back",
        recipe={"settings.prompt_modalities": "optical"},
    ),
    "captions": Training(says="captions alone", recipe={"data.levels": ["caption"]}),
    "captions-L1": Training(says="captions and L1", recipe={"data.levels": ["caption", "L1"]}),
    "ungrounded": Training(says="stage 2 on a [SEG] projection drawn anew", fresh_projection=True),
    "grounded-first": Training(
        says="stage 1, then stage 2, on a [SEG] projection drawn anew", fresh_projection=True, grounding_first=True
    ),
    "noisy": Training(
        says="tokens of perturbed true masks are fed back",
        recipe={"objective.injected": "noisy", "data.mask_noise": 0.5},
    ),
    "predicted": Training(
        says="tokens of the model's own masks are fed back", recipe={"objective.injected": "predicted"}
    ),
    "overlap-first": Training(
        says="Dice weighs more than cross-entropy",
        recipe={"objective.loss.cross_entropy": 1.0, "objective.loss.dice": 1.5},
    ),
    "focal": Training(
        says="focal loss instead of cross-entropy",
        recipe={"objective.loss.cross_entropy": 0.0, "objective.loss.focal": 2.0},
    ),
    "boundary": Training(says="a term for the mask's edge is added", recipe={"objective.loss.boundary": 0.5}),
    "merged-2": Training(says="tokens of 2 x 2 cells are fed back as one", recipe={"settings.merged_side": 2}),
    "merged-3": Training(says="tokens of 3 x 3 cells are fed back as one", recipe={"settings.merged_side": 3}),
    "merged-6": Training(says="tokens of 6 x 6 cells are fed back as one", recipe={"settings.merged_side": 6}),
    "aligned": Training(
        says="optical and SAR tokens of one place are drawn together",
        recipe={"objective.modality_alignment": 0.1},
    ),
}  # fmt: skip
"""All trainings that tables are made of."""


def _tasks(coverage: float, area: float, ranking: float, boundary: float, distance: float) -> dict[str, float]:
    """Accuracies as the paper's tables list them, and their mean."""
    found = {"coverage": coverage, "area": area, "ranking": ranking, "boundary": boundary, "distance": distance}
    return {"macro": round(sum(found.values()) / len(found), 2), **found}


TABLES: Mapping[str, Table] = {
    "1": Table(
        title="The same questions learned with and without grounding",
        origin="Table 1, fine-tuned models (InternVL3 and TerraScope)",
        variants=(
            Variant(name="answer alone", training="answer"),
            Variant(
                name="textual reasoning",
                training="textual",
                paper={**_tasks(67.1, 63.2, 60.0, 67.8, 40.0), "building_change": 31.0, "macro": 54.9},
            ),
            Variant(
                name="grounded reasoning",
                training="full",
                paper={**_tasks(73.2, 70.2, 71.8, 80.0, 65.9), "building_change": 52.1, "macro": 68.9},
            ),
        ),
        reference="grounded reasoning",
    ),
    "2": Table(
        title="What is interleaved with the reasoning",
        origin="Table 2",
        variants=(
            Variant(name="original", training=None, paper={"macro": 33.8}),
            Variant(name="textual CoT without segmentation", training="textual", paper={"macro": 58.7}),
            Variant(name="textual CoT with segmentation", training="segmentation", paper={"macro": 60.6}),
            Variant(name="random mask", training="random", paper={"macro": 43.2}),
            Variant(name="box", training="box", paper={"macro": 62.8}),
            Variant(name="mask", training="full", paper={"macro": 68.9}),
        ),
        reference="mask",
    ),
    "3": Table(
        title="Optical and SAR: when their tokens are selected",
        origin="Table 3; its averages are ours, over its five tasks",
        variants=(
            Variant(
                name="no fusion", training="optical", optical_only=True, paper=_tasks(73.2, 70.2, 71.8, 80.0, 65.9)
            ),
            Variant(name="concatenation", training="concatenate", paper=_tasks(74.5, 71.6, 73.0, 81.2, 67.4)),
            Variant(name="adaptive at test only", training="optical", paper=_tasks(72.3, 69.0, 66.7, 78.8, 63.6)),
            Variant(name="adaptive in training and test", training="full", paper=_tasks(74.3, 70.9, 72.7, 80.7, 68.2)),
        ),
        reference="adaptive in training and test",
        asked="pairs",
    ),
    "6": Table(
        title="Do good masks go with right answers",
        origin="Fig. 6",
        variants=(Variant(name="mask", training="full", paper={"macro": 68.9}),),
        reference="mask",
    ),
    "A": Table(
        title="Tokens chosen by similarity instead of by a mask",
        origin="Table A (Mint-CoT with SFT)",
        variants=(
            Variant(name="similarity", training="similar", paper={"macro": 54.6}),
            Variant(name="mask", training="full", paper={"macro": 68.9}),
        ),
        reference="mask",
    ),
    "I": Table(
        title="Which levels of data",
        origin="Table I",
        variants=(
            Variant(name="captions", training="captions", paper={"macro": 42.8}),
            Variant(name="captions + L1", training="captions-L1", paper={"macro": 66.7}),
            Variant(name="captions + L1 + L2", training="full", paper={"macro": 68.9}),
        ),
        reference="captions + L1 + L2",
    ),
    "J": Table(
        title="Grounded pre-training before stage 2",
        origin="Table J",
        variants=(
            Variant(name="without stage 1", training="ungrounded", paper={"macro": 65.4}),
            Variant(name="with stage 1", training="grounded-first", paper={"macro": 68.9}),
        ),
        reference="with stage 1",
    ),
    "K": Table(
        title="Optical and SAR: what is encoded, and what is fed back",
        origin="Table K",
        variants=(
            Variant(name="optical, optical", training="prompt-optical", paper={"macro": 65.0, "iou": 53.4}),
            Variant(
                name="optical, concatenated",
                training="prompt-optical-concatenate",
                paper={"macro": 67.6, "iou": 53.5},
            ),
            Variant(name="optical, adaptive", training="prompt-optical-adaptive", paper={"macro": 67.4, "iou": 53.1}),
            Variant(name="both, optical", training="tokens-optical", paper={"macro": 69.2, "iou": 56.8}),
            Variant(name="both, concatenated", training="concatenate", paper={"macro": 73.0, "iou": 57.2}),
            Variant(name="both, adaptive", training="full", paper={"macro": 72.6, "iou": 57.2}),
        ),
        reference="both, adaptive",
        asked="pairs",
    ),
    "exposure": Table(
        title="Whose masks choose the tokens in training",
        origin="",
        variants=(
            Variant(name="true masks", training="full"),
            Variant(name="perturbed masks", training="noisy"),
            Variant(name="predicted masks", training="predicted"),
        ),
        reference="true masks",
    ),
    "loss": Table(
        title="Terms of the mask loss",
        origin="",
        variants=(
            Variant(name="cross-entropy first", training="full"),
            Variant(name="Dice first", training="overlap-first"),
            Variant(name="focal", training="focal"),
            Variant(name="with boundary", training="boundary"),
        ),
        reference="cross-entropy first",
    ),
    "tokens": Table(
        title="Fewer tokens for a mask",
        origin="",
        variants=(
            Variant(name="every cell", training="full"),
            Variant(name="2 x 2 cells", training="merged-2"),
            Variant(name="3 x 3 cells", training="merged-3"),
            Variant(name="6 x 6 cells", training="merged-6"),
        ),
        reference="every cell",
    ),
    "alignment": Table(
        title="Drawing optical and SAR tokens of one place together",
        origin="",
        variants=(
            Variant(name="off", training="full"),
            Variant(name="on", training="aligned"),
        ),
        reference="off",
        asked="pairs",
    ),
}
"""The tables by name: the paper's number or letter, or our word."""


def table_named(name: str) -> Table:
    """The table of a name.

    Raises:
        RecipeError: there is none.
    """
    if name not in TABLES:
        raise RecipeError(f"there is no table {name!r}; choose one of {', '.join(TABLES)}")
    return TABLES[name]


def list_tables(num_seeds: int = 3) -> str:
    """What every table compares and what it costs, for people."""
    lines = []
    for name, table in TABLES.items():
        num_trainings = len(table.trainings) * num_seeds
        num_asked = sum(1 if variant.training is None else num_seeds for variant in table.variants)
        where = f" ({table.origin})" if table.origin else " (not in the paper)"
        lines.append(f"{name}: {table.title}{where}")
        lines.append(f"  {'; '.join(variant.name for variant in table.variants)}")
        questions = "optical and SAR pairs" if table.asked == "pairs" else "all questions"
        lines.append(f"  costs {num_trainings} trainings and {num_asked} times {questions}, with {num_seeds} seeds")
    lines.append("Tables that need the same training share it: in one --out folder it is made once.")
    return "\n".join(lines)
