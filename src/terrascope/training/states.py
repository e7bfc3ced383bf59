"""Stage 1 with a frozen language model: [SEG] states are constants, so they are computed once and kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from terrascope.errors import SampleError
from terrascope.output import check_folder, written_whole
from terrascope.training.batch import Batch
from terrascope.training.encoders import is_frozen
from terrascope.training.examples import Example
from terrascope.training.objective import Objective

_KEY_BYTES = 16
_SHARD_STATES = 8192
"""States of one file: some 60 MB for an 8B model in half precision."""

_NO_MATTER = {
    "sam_config", "mask_choice", "mask_resize", "mask_images", "mask_temperature", "min_object_cells",
    "max_masks", "view_size", "choice_rule", "stop_tokens", "routing", "transformers_version",
    "_name_or_path", "architectures", "dtype",
}  # fmt: skip
"""What a configuration states beside that on which [SEG] states depend."""


class SegStateCache:
    """The states `[P, D]` of the [SEG]s of every example, in a folder named after what they were computed with.

    An example is known by what the language model sees of it: its scene's id, its prompt, its text, and the masks that
    are injected. Another model, another setting or another sample so never meets states that are not its own.

    Args:
        folder: for all caches; this one is a folder in it.
        objective: whose states are kept. Its language model and what comes before it must be frozen, and what is
            injected must not depend on what moves.

    Raises:
        ValueError: something that the states depend on moves.
        SampleError: a file of the cache is cut or damaged.
    """

    def __init__(self, folder: Path, objective: Objective) -> None:
        self.objective = objective
        self.folder = check_folder(folder) / digest_frozen(objective)
        self._places: dict[bytes, tuple[Path, int, int]] = {}
        self._files: dict[Path, Any] = {}
        for path in sorted(self.folder.glob("states-*.safetensors")):
            self._add(path)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, example: Example) -> bool:
        return self._key(example) in self._places

    def collect(self, batches: Iterable[Batch]) -> int:
        """Compute the states of examples that are not there yet, and write them; the number of those examples.

        An interrupted collection keeps every file that it has finished.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        keys: list[bytes] = []
        states: list[Tensor] = []
        waiting: set[bytes] = set()
        num_new = 0
        for batch in batches:
            wanted = [self._key(example) if example.target.masks else None for example in batch.examples]
            missing = {key for key in wanted if key is not None and key not in self._places and key not in waiting}
            if not missing:
                continue
            for key, found in zip(wanted, self.objective.read_states(batch), strict=True):
                if key is not None and key in missing:
                    missing.remove(key)
                    waiting.add(key)
                    keys.append(key)
                    states.append(found.cpu())
            if sum(map(len, states)) >= _SHARD_STATES:
                num_new += self._write(keys, states)
                waiting.clear()
        return num_new + self._write(keys, states)

    def states(self, example: Example) -> Tensor:
        """The states `[P, D]` of an example, one per [SEG].

        Raises:
            SampleError: they were never computed.
        """
        key = self._key(example)
        if key not in self._places:
            raise SampleError(
                f"sample {example.sample_id}: its [SEG] states are not in {self.folder}; collect them with the same "
                "model and settings first"
            )
        path, start, stop = self._places[key]
        return self._files[path].get_slice("states")[start:stop]

    def _key(self, example: Example) -> bytes:
        """What the states of an example depend on beside the model."""
        target, digest = example.target, hashlib.blake2b(digest_size=_KEY_BYTES)
        digest.update(example.scene_id.encode())
        injected = target.masks
        if self.objective.settings.injected == "noisy" and target.injected is not None:
            injected = target.injected
        for part in (example.prompt.input_ids, example.prompt.question, target.token_ids, *injected):
            digest.update(repr(tuple(part.shape)).encode())
            digest.update(part.contiguous().numpy().tobytes())
        digest.update(repr(target.pairs).encode())
        return digest.digest()

    def _write(self, keys: list[bytes], states: list[Tensor]) -> int:
        """One more file of what has gathered; both lists are empty afterwards."""
        if not keys:
            return 0
        path = self.folder / f"states-{len(self._files):05d}.safetensors"
        tensors = {
            "states": torch.cat(states),
            "keys": torch.frombuffer(bytearray(b"".join(keys)), dtype=torch.uint8).view(-1, _KEY_BYTES),
            "counts": torch.tensor([len(found) for found in states]),
        }
        with written_whole(path) as unfinished:
            save_file(tensors, unfinished)
        self._add(path)
        num = len(keys)
        keys.clear()
        states.clear()
        return num

    def _add(self, path: Path) -> None:
        try:
            file = safe_open(path, framework="pt")
            keys, counts = file.get_tensor("keys").numpy(), file.get_tensor("counts").tolist()
        except (SafetensorError, OSError) as error:
            raise SampleError(f"{path}: not a file of [SEG] states ({error}); delete it and collect again") from None
        self._files[path] = file
        start = 0
        for key, count in zip(keys, counts, strict=True):
            self._places[key.tobytes()] = (path, start, start + count)
            start += count


def digest_frozen(objective: Objective) -> str:
    """A name for what [SEG] states depend on: the weights and the configuration of the vision-language model, the rules
    by which masked tokens are chosen, and what is injected.

    Raises:
        ValueError: one of these weights moves, or the model injects masks of its own.
    """
    model, settings = objective.model, objective.settings
    if settings.injected == "predicted":
        raise ValueError("states with predicted masks change with the mask decoder: inject the truth, or noisy masks")
    if not is_frozen(model.vlm):
        raise ValueError("states are constants only while the vision-language model is frozen (stage grounding)")
    digest = hashlib.blake2b(digest_size=_KEY_BYTES)
    config = _what_matters(model.config.to_dict())
    digest.update(json.dumps([config, settings.injected], sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.vlm.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _what_matters(config: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _what_matters(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in _NO_MATTER
    }
