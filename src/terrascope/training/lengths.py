"""How many positions a sample takes in the sequence of the language model, without reading its scene."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.injection import num_cells
from terrascope.model.processing import SceneFacts, TerraScopeProcessor
from terrascope.output import written_whole
from terrascope.sample import Sample
from terrascope.terracot.store import Store
from terrascope.trace import parse, resolve_images
from terrascope.training.examples import Reasoning, Shown, decode_masks, written_text

FORM = "terrascope-lengths/1"

_log = logging.getLogger(__name__)


class Lengths:
    """Counts positions: of the prompt, of the text, and of the visual tokens that the true masks feed back.

    The prompt states dates and scale as the sample knows them. Where a scene has unmeasured pixels or pixels that are
    not square, its own prompt may write these numbers with a token more or less.

    Args:
        processor: of the model.
        config: of the model; its rules choose visual tokens.
        reasoning: how much of a reasoning is written.
        shown: the images that the model sees.
    """

    def __init__(
        self, processor: TerraScopeProcessor, config: TerraScopeConfig, reasoning: Reasoning, shown: Shown
    ) -> None:
        self.processor, self.config, self.reasoning, self.shown = processor, config, reasoning, shown

    def read_or_count(self, store: Store, rows: NDArray[np.int64], folder: Path | None) -> NDArray[np.int32]:
        """Positions int32 `[n]` of the samples in these rows of a store; kept in a folder, if one is given.

        Raises:
            SampleError: a shard is damaged, or a mask does not fill its grid.
            OutputError: the folder cannot be written.
        """
        if folder is None:
            return self._count(store, rows)
        path = folder / f"lengths-{self._digest(store, rows)}.npy"
        if path.is_file():
            try:
                kept: NDArray[np.int32] = np.load(path)
                if kept.shape == rows.shape and kept.dtype == np.int32:
                    return kept
                raise ValueError(f"{kept.shape} numbers of the type {kept.dtype}")
            except (OSError, ValueError, EOFError) as error:
                _log.warning("%s: not the lengths of %d samples (%s); they are counted anew", path, len(rows), error)
        lengths = self._count(store, rows)
        with written_whole(path) as unfinished:
            np.save(unfinished, lengths)
        return lengths

    def num_positions(self, sample: Sample) -> int:
        """Positions of a sample."""
        facts = facts_of(self.processor, sample, self.shown)
        prompt = self.processor.prepare_prompt(facts, sample.question, sample.options)
        text = written_text(sample, self.reasoning) + self.processor.tokenizer.eos_token
        num_text = len(self.processor.tokenizer(text, add_special_tokens=False)["input_ids"])
        num = len(prompt.input_ids) + num_text
        return num + self._num_injected(sample, facts) if self.reasoning == "grounded" else num

    def _num_injected(self, sample: Sample, facts: SceneFacts) -> int:
        config = self.config
        if config.interleave == "none":
            return 0
        num_pairs = len(facts.modalities)
        grid = self.processor.image_processor.layout_of((sample.height, sample.width), num_pairs).token_grid
        images = resolve_images(parse(sample.reasoning), num_pairs)
        num = 0
        for image, mask in zip(images, decode_masks(sample), strict=True):
            tokens_per_cell = len(facts.modalities[image - 1]) if config.modalities == "concatenate" else 1
            num += tokens_per_cell * num_cells(config, mask, grid)
        return num

    def _count(self, store: Store, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        return np.array([self.num_positions(store[int(row)]) for row in rows], dtype=np.int32)

    def _digest(self, store: Store, rows: NDArray[np.int64]) -> str:
        """What the lengths depend on."""
        shards = [(footer.path.name, footer.num_rows, footer.path.stat().st_size) for footer in store.footers]
        written = [shard["sha256"] for shard in store.manifest["shards"]] if store.manifest else []
        processor, config = self.processor, self.config
        told = [
            FORM,
            shards,
            written,
            self.reasoning,
            self.shown,
            processor.image_processor.to_dict(),
            [processor.system_prompt, processor.prompt_style, processor.image_marks, processor.prompt_modalities],
            [processor.chat_template, processor.tokenizer.chat_template, processor.tokenizer.eos_token],
            [config.interleave, config.random_tokens, config.modalities, config.token_rule, config.coverage_threshold],
            [config.max_masked_tokens, config.merged_side, config.thinning],
            [config.keep_best_token, config.first_token_if_empty],
        ]
        digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode())
        digest.update(processor.tokenizer.backend_tokenizer.to_str().encode())
        digest.update(rows.tobytes())
        return digest.hexdigest()[:16]


def facts_of(processor: TerraScopeProcessor, sample: Sample, shown: Shown) -> SceneFacts:
    """The facts of a scene as far as a sample tells them: all pixels measured, and square."""
    images = [image for image in sample.images if shown in ("all", image.modality)]
    numbers = sorted({image.number for image in images})
    dates: Sequence[str | None] = [
        next((image.day for image in images if image.number == number and image.day), None) for number in numbers
    ]
    layout = processor.image_processor.layout_of((sample.height, sample.width), len(numbers))
    gsd_m = sample.gsd_m
    return SceneFacts(
        modalities=tuple(tuple(image.modality for image in images if image.number == number) for number in numbers),
        num_tokens=layout.num_tiles * layout.grid**2,
        dates=tuple(dates),
        one_percent_m2=None if gsd_m is None else gsd_m**2 * sample.height * sample.width / 100,
        width_m=None if gsd_m is None else gsd_m * sample.width,
    )
