"""The front door: load a model, ask a scene."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from terrascope.answer import Answer
from terrascope.errors import TerraScopeError
from terrascope.events import Event, Listener, Looked
from terrascope.landcover import TERRASCOPE
from terrascope.model import hub
from terrascope.model.answers import MEASURED_NOTE, NEAREST_NOTE, choose_nearest, to_answer
from terrascope.model.checkpoint import EMBEDDED, load, locate, take_profile
from terrascope.model.compose import choose_parts, compose
from terrascope.model.devices import Quantization
from terrascope.model.encoding import EncodedScenes
from terrascope.model.engine.engine import Engine
from terrascope.model.engine.requests import Program
from terrascope.model.engine.story import Story
from terrascope.model.generation import GenerationSettings, Reasoning
from terrascope.model.memory import memory_errors_in_words
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.processing import TerraScopeProcessor
from terrascope.model.profiles import profile_named
from terrascope.model.reasoner import SceneReasoner
from terrascope.model.release.arrival import imported, is_released
from terrascope.model.replay import Replay, to_arrays, without_regions
from terrascope.model.sweep import Progress
from terrascope.predictor import Ask, check_text
from terrascope.question import check_question
from terrascope.scene import Scene
from terrascope.trace import SEG, Step, Trace, render

T = TypeVar("T")

_RECENT_SCENES = 4
"""Scenes that stay encoded while others are asked about in one call."""


class TerraScope:
    """A model with its processor, as a `terrascope.predictor.Predictor`.

    Example:
        >>> scene = Scene.open(optical=["scene.tif"])
        >>> answer = TerraScope.from_pretrained("nano").ask(scene, "How much of the image is water?")
        >>> answer.text, answer.masks[0].sum()

    Attributes:
        engine: runs the reasonings.
        encoded: scenes that stay encoded between calls of `ask`, `stream` and `segment`, so that the next question
            about one (the same object) costs less. None do unless `encoded.max_scenes` is set: neither weights nor
            settings of the model may change meanwhile. Where memory runs out, none are kept any more.
    """

    def __init__(
        self,
        model: TerraScopeForConditionalGeneration,
        processor: TerraScopeProcessor,
        name: str,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.model = model
        self.processor = processor
        self.name = name
        self.encoded = EncodedScenes()
        self.engine = Engine(model, tell=tell, make_room=self.encoded.give_up)

    @classmethod
    def from_pretrained(
        cls,
        name: str = "nano",
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        device_map: str | None = None,
        quantization: Quantization | None = None,
        profile: str | None = None,
        progress: Progress | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> TerraScope:
        """Load `nano`, a folder, or a hub repository. A checkpoint in the released layout is imported into the cache.

        Args:
            name: of the model.
            device: `auto` (the first CUDA device, else the CPU), `cpu`, `cuda`, `cuda:1`, `mps`.
            dtype: `auto` (on a GPU the checkpoint's own; on a CPU float32 up to a billion parameters, and the
                checkpoint's own above), `float32`, `bfloat16`, `float16`, or a dtype of torch.
            device_map: `auto` spreads the model over all GPUs and the CPU; needs the package accelerate.
            quantization: `8bit` or `4bit` for the language model's matrices; needs bitsandbytes and accelerate.
            profile: `paper` or `release`: behave by the settings of that profile instead of the checkpoint's own.
            progress: called with the tensors that are imported, and with all.
            tell: called with a sentence on what is imported where, on the memory that a large model needs, and where
                memory runs out later and fewer questions are answered at once.

        Raises:
            ModelError: there is no such model, it does not fit this program or the memory, or a setting is unknown.
        """
        if profile is not None:
            profile_named(profile)
        folder = None
        if name not in EMBEDDED:
            place = Path(name) if is_released(Path(name)) else Path(locate(name))
            found = place if place.is_dir() else hub.fetch(name)
            folder = imported(found, progress, tell) if is_released(found) else Path(locate(str(found)))
        model, processor = load(
            name, folder=folder, device=device, dtype=dtype, device_map=device_map, quantization=quantization, tell=tell
        )
        if profile is not None:
            take_profile(model.config, processor, profile)
        return cls(model, processor, name, tell)

    @classmethod
    def compose(
        cls,
        vlm: str | None = None,
        sam: str | None = None,
        *,
        preset: str | None = None,
        dtype: str | torch.dtype | None = None,
        tell: Callable[[str], None] | None = None,
        stage: Callable[[str], None] | None = None,
    ) -> TerraScope:
        """Join public parts to an untrained model, for training (`terrascope.model.compose`).

        Args:
            vlm, sam: folders or hub ids, such as "OpenGVLab/InternVL3-8B-hf" and "facebook/sam2.1-hiera-large".
            preset: `1b`, `2b`, `8b` or `14b` names both instead.
            dtype: number format of the weights (`bfloat16`, ...); that of the vision-language model if None.
            tell, stage: called with the memory that a large model takes, and with what is done next.

        Raises:
            ModelError: a part cannot be found, fetched or read, or does not fit; or not both are named.
        """
        parts = choose_parts(vlm, sam, preset)
        model, processor = compose(parts, dtype=dtype, tell=tell, stage=stage)
        return cls(model, processor, f"{parts.vlm} + {parts.sam}")

    def save_pretrained(self, folder: str) -> None:
        """Write configuration, weights, tokenizer, chat template and image settings into a folder."""
        self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)

    def ask(
        self,
        scene: Scene,
        question: str,
        *,
        options: Sequence[str] = (),
        settings: GenerationSettings | None = None,
        masks: Sequence[NDArray[np.bool_]] | None = None,
        progress: Progress | None = None,
    ) -> Answer:
        """Answer a question by Algorithm 1.

        A scene larger than the model's view is looked at as a whole first, then by overlapping views at full
        resolution (`terrascope.model.reasoner`); killed meanwhile, the same question goes on where it stopped.

        Args:
            scene: one or several dates, optical, SAR or both.
            question: in words.
            options: the texts to choose from, with or without letters; none for a short phrase.
            settings: limits of the generation.
            masks: bool `[H, W]`, used instead of the model's own for the first [SEG]s in order: an oracle.
            progress: called with the views done, and all views of a large scene.

        Raises:
            QuestionError: the question is empty, or its options cannot be used.
            ScaleError: the answer is a length or an area, and the scene does not know its scale.
        """
        question, options = check_question(scene, question, options)
        settings = settings or GenerationSettings()
        return self._run(lambda: self._answer(scene, question, options, settings, masks=masks, progress=progress))

    def stream(
        self,
        scene: Scene,
        question: str,
        *,
        options: Sequence[str] = (),
        settings: GenerationSettings | None = None,
        progress: Progress | None = None,
    ) -> Iterator[Event | Answer]:
        """Answer a question, and tell of it as it is reasoned.

        Args:
            scene, question, options, settings, progress: as in `ask`.

        Yields:
            `Wrote` after every token, `Drew` after every mask, `Looked` after every row of views of a large scene,
            and the answer at last. Whoever stops listening cancels the reasoning.

        Raises:
            QuestionError, ScaleError: as `ask`.
        """
        question, options = check_question(scene, question, options)
        limits = settings or GenerationSettings()
        story: Story[Event] = Story()

        def look(num_done: int, num_views: int) -> None:
            story.mention(Looked(num_done, num_views))
            if progress is not None:
                progress(num_done, num_views)

        ticket = self.engine.submit(
            story.told_by(lambda tell: self._answer(scene, question, options, limits, progress=look, tell=tell))
        )
        with memory_errors_in_words(self.model.device):
            yield from story.follow(self.engine, ticket)
            yield ticket.result()

    def ask_many(
        self, asks: Iterable[Ask | TerraScopeError], *, settings: GenerationSettings | None = None
    ) -> Iterator[Answer | TerraScopeError]:
        """Answer many questions, several at once (`terrascope.predictor.ManyPredictor`).

        Each answer is the one that `ask` gives, up to the rounding of sums that are added in another order.
        """
        limits = settings or GenerationSettings()
        recent = EncodedScenes(_RECENT_SCENES)

        def begin(ask: Ask | TerraScopeError) -> Program[Answer]:
            if isinstance(ask, TerraScopeError):
                raise ask
            question, options = check_question(ask.scene, ask.question, ask.options)
            return (yield from self._answer(ask.scene, question, options, limits, masks=ask.masks, known=recent))

        return self._results(partial(begin, ask) for ask in asks)

    def segment(
        self,
        scene: Scene,
        class_name: str,
        *,
        settings: GenerationSettings | None = None,
        progress: Progress | None = None,
    ) -> Answer:
        """Segment one class on every date of a scene; `settings` and `progress` as in `ask`, the budget excepted.

        Raises:
            QuestionError: the class is not one of those that the model knows.
        """
        question, forced, limits = self._to_segment(scene, class_name, settings)
        return self._run(lambda: self._answer(scene, question, (), limits, forced_ids=forced, progress=progress))

    def segment_many(
        self, scene: Scene, class_names: Iterable[str], *, settings: GenerationSettings | None = None
    ) -> Iterator[Answer | TerraScopeError]:
        """Segment several classes of a scene, which both encoders see once (`terrascope.predictor.ManySegmenter`)."""
        known = EncodedScenes(1)

        def begin(class_name: str) -> Program[Answer]:
            question, forced, limits = self._to_segment(scene, class_name, settings)
            return (yield from self._answer(scene, question, (), limits, forced_ids=forced, known=known))

        return self._results(partial(begin, name) for name in class_names)

    def _to_segment(
        self, scene: Scene, class_name: str, settings: GenerationSettings | None
    ) -> tuple[str, list[int], GenerationSettings]:
        """The question that stands for a class, the text that is forced, and limits with room for its masks."""
        name = TERRASCOPE[TERRASCOPE.id_of(class_name)].name
        dates = range(1, len(scene.pairs) + 1)
        steps = tuple(Step(text=f"The {name}:", image=date if len(dates) > 1 else None) for date in dates)
        text = render(Trace(steps=steps, answer=name))
        forced = self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        # Every date may inject up to the cap; nothing of what is forced may be cut off.
        budget = len(forced) + len(scene.pairs) * self.model.config.max_injected_tokens
        return f"Where is the {name}?", forced, replace(settings or GenerationSettings(), max_new_tokens=budget)

    def ground(
        self,
        scene: Scene,
        question: str,
        text: str,
        *,
        options: Sequence[str] = (),
        settings: GenerationSettings | None = None,
        progress: Progress | None = None,
        keep_record: bool = False,
    ) -> Replay:
        """Make the mask of each [SEG] in a given reasoning or caption, as if the model had written it.

        Args:
            scene, question, options, settings, progress: as in `ask`; the budget is that of the text.
            text: in the grammar of `terrascope.trace`, with a [SEG] wherever a mask is wanted.
            keep_record: keep the logits and the [SEG] states.

        Raises:
            QuestionError: the question is empty, or the text has no [SEG].
        """
        question, options = check_question(scene, question, options)
        text = without_regions(text)
        check_text(text)
        forced = self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        budget = len(forced) + (text.count(SEG) + 1) * self.model.config.max_injected_tokens
        limits = replace(settings or GenerationSettings(), max_new_tokens=budget)

        def write() -> Program[tuple[Reasoning, Sequence[str]]]:
            reasoner = SceneReasoner(self.model, self.processor, scene, limits, progress)
            reasoning = yield from reasoner.write(question, options, forced_ids=forced, keep_record=True)
            return reasoning, reasoner.notes

        reasoning, notes = self._run(write)
        record = reasoning.record
        assert record is not None
        return Replay(
            answer=to_answer(scene, question, options, reasoning, self.name, notes),
            token_ids=reasoning.token_ids,
            injected=to_arrays(record),
            logits=torch.stack(record.logits) if keep_record else None,
            seg_states=torch.stack(record.seg_states) if keep_record else None,
        )

    def _run(self, begin: Callable[[], Program[T]]) -> T:
        with memory_errors_in_words(self.model.device):
            return self.engine.run(begin)

    def _results(self, begins: Iterable[Callable[[], Program[Answer]]]) -> Iterator[Answer | TerraScopeError]:
        for ticket in self.engine.run_all(begins):
            try:
                with memory_errors_in_words(self.model.device):
                    yield ticket.result()
            except TerraScopeError as error:
                # What it was raised from holds on to the memory of the pass that failed.
                error.__cause__ = error.__context__ = None
                yield error.with_traceback(None)

    def _answer(
        self,
        scene: Scene,
        question: str,
        options: tuple[str, ...],
        settings: GenerationSettings,
        *,
        forced_ids: Sequence[int] | None = None,
        masks: Sequence[NDArray[np.bool_]] | None = None,
        progress: Progress | None = None,
        tell: Listener | None = None,
        known: EncodedScenes | None = None,
    ) -> Program[Answer]:
        known = self.encoded if known is None else known
        reasoner = SceneReasoner(self.model, self.processor, scene, settings, progress, known.find(scene))
        known.keep(scene, reasoner.encoded)
        if options and (settings.choice_rule or self.model.config.choice_rule) == "nearest":
            free = yield from reasoner.write(question, forced_ids=forced_ids, masks=masks, tell=tell)
            said = to_answer(scene, question, (), free, self.name)
            measured = said.measured
            chosen = choose_nearest(free, options, measured)
            if chosen is not None:
                note = NEAREST_NOTE.format(said.text) if measured is None else MEASURED_NOTE.format(said.text, measured)
                return to_answer(scene, question, options, chosen, self.name, [*reasoner.notes, note])
        reasoning = yield from reasoner.write(question, options, forced_ids=forced_ids, masks=masks, tell=tell)
        return to_answer(scene, question, options, reasoning, self.name, reasoner.notes)
