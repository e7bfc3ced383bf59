"""The front door: load a model, ask a scene."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from terrascope.landcover import TERRASCOPE
from terrascope.model.checkpoint import load
from terrascope.model.generation import GenerationSettings, Reasoning, encode_scene, reason
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.processing import TerraScopeProcessor
from terrascope.predictor import Answer
from terrascope.question import check_question
from terrascope.scene import Scene
from terrascope.trace import Step, Trace, render

FINISH_NOTES = {
    "length": "The reasoning was cut off at the limit of new tokens.",
    "masks": "The reasoning was cut off at the limit of masks.",
}


class TerraScope:
    """A model with its processor, as a `terrascope.predictor.Predictor`.

    Example:
        >>> scene = Scene.open(optical=["scene.tif"])
        >>> answer = TerraScope.from_pretrained("nano").ask(scene, "How much of the image is water?")
        >>> answer.text, answer.masks[0].sum()
    """

    def __init__(self, model: TerraScopeForConditionalGeneration, processor: TerraScopeProcessor, name: str) -> None:
        self.model = model
        self.processor = processor
        self.name = name

    @classmethod
    def from_pretrained(
        cls, name: str = "nano", *, device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> TerraScope:
        """Load `nano`, a folder, or a hub repository.

        Raises:
            ModelError: there is no such model, or it does not fit this program.
        """
        model, processor = load(name, device=device, dtype=dtype)
        return cls(model, processor, name)

    def save_pretrained(self, folder: str) -> None:
        """Write configuration, weights, tokenizer, chat template and image settings into a folder."""
        self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)

    def ask(
        self, scene: Scene, question: str, *, options: Sequence[str] = (), settings: GenerationSettings | None = None
    ) -> Answer:
        """Answer a question by Algorithm 1.

        Args:
            scene: one or several dates, optical, SAR or both.
            question: in words.
            options: the texts to choose from, with or without letters; none for a short phrase.
            settings: limits of the generation.

        Raises:
            QuestionError: the question is empty, or its options cannot be used.
            ScaleError: the answer is a length or an area, and the scene does not know its scale.
        """
        question, options = check_question(scene, question, options)
        return self._answer(scene, question, options, settings or GenerationSettings(), None)

    def segment(self, scene: Scene, class_name: str) -> Answer:
        """Segment one class on every date of a scene.

        Raises:
            QuestionError: the class is not one of those that the model knows.
        """
        name = TERRASCOPE[TERRASCOPE.id_of(class_name)].name
        dates = range(1, len(scene.pairs) + 1)
        steps = tuple(Step(text=f"The {name}:", image=date if len(dates) > 1 else None) for date in dates)
        text = render(Trace(steps=steps, answer=name))
        forced = self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        # Every date may inject up to the cap; nothing of what is forced may be cut off.
        budget = len(forced) + len(scene.pairs) * self.model.config.max_masked_tokens
        settings = GenerationSettings(max_new_tokens=budget)
        return self._answer(scene, f"Where is the {name}?", (), settings, forced)

    def _answer(
        self,
        scene: Scene,
        question: str,
        options: tuple[str, ...],
        settings: GenerationSettings,
        forced_ids: Sequence[int] | None,
    ) -> Answer:
        prompt = self.processor.prepare_prompt(self.processor.describe(scene), question, options)
        with torch.inference_mode():
            encoded = encode_scene(self.model, self.processor.image_processor.prepare_scene(scene))
        reasoning = reason(self.model, self.processor, encoded, prompt, settings, forced_ids=forced_ids)
        return to_answer(scene, question, options, reasoning, self.name)


def to_answer(scene: Scene, question: str, options: tuple[str, ...], reasoning: Reasoning, model: str) -> Answer:
    """Measure and check a reasoning."""
    notes = [FINISH_NOTES[reasoning.finish_reason]] if reasoning.finish_reason in FINISH_NOTES else []
    return Answer.from_reasoning(
        scene=scene,
        question=question,
        options=options,
        reasoning=reasoning.text,
        groundings=reasoning.groundings,
        model=model,
        notes=notes,
    )
