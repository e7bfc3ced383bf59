"""Released checkpoints to ours and back, tensor by tensor: never more than one shard is in memory."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from terrascope.errors import ModelError
from terrascope.model.checkpoint import make_processor
from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.fields import first_of
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.nano_tokenizer import CHAT_TEMPLATE
from terrascope.model.processing import TerraScopeProcessor
from terrascope.model.profiles import profile_named
from terrascope.model.release.files import Stored, first_rows, list_tensors, plan_shards, read_json, write_shards
from terrascope.model.release.folders import new_folder
from terrascope.model.release.names import Source, is_dropped, released_sources
from terrascope.model.release.settings import CONFIG_FILE, HIERA_FILE, our_configuration
from terrascope.model.tokenizer_files import open_tokenizer

Progress = Callable[[int, int], None]
"""Called with the tensors that are written, and with all."""

NumberFormat = Literal["float32", "bfloat16", "float16"]

MAX_SHARD_BYTES = 2 * 2**30
NEEDED_TOKENS = ("<img>", "</img>", "<IMG_CONTEXT>", "[SEG]", "<think>", "</think>", "<answer>", "</answer>")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
REPORT = "conversion.json"
"""What an import did, and what the release says that no configuration of ours has a place for."""

_LAYERS = {
    f"{CONFIG_FILE}: vision_config.num_hidden_layers": re.compile(r"vision_model\.encoder\.layers\.(\d+)\."),
    f"{CONFIG_FILE}: llm_config.num_hidden_layers": re.compile(r"language_model\.model\.layers\.(\d+)\."),
    f"{HIERA_FILE}: stages (without the file, of Hiera-L)": re.compile(
        r"grounding_encoder\.\S+\.trunk\.blocks\.(\d+)\."
    ),
}
"""Names of the tensors of layers, by the field that states how many there are."""


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What a conversion did: tensors written, released tensors that were left out, tensors that the release lacks."""

    num_tensors: int
    dropped: tuple[str, ...]
    added: tuple[str, ...]


def import_release(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    dtype: NumberFormat | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    progress: Progress | None = None,
) -> Conversion:
    """Write a released checkpoint as one of ours; nothing of its remote code is run.

    Args:
        source: its folder: `config.json`, tokenizer files, safetensors.
        target: the folder to make; it appears when all is written.
        dtype: number format of the weights; None for those of the source.
        max_shard_bytes: size of the files; about so much memory is needed.

    Raises:
        ModelError: a file is missing or damaged; a tensor is missing, unknown or of another shape; the tokenizer lacks
            a token.
        OutputError: the target exists already or cannot be written.
    """
    source = Path(source)
    config, tokenizer, stored, plan, added = read_release(source)
    wanted = None if dtype is None else getattr(torch, dtype)
    dropped = tuple(sorted(name for name in stored if is_dropped(name)))
    formats = Counter(stored[name].dtype for sources in plan.values() for name in {s.name for s in sources})
    config.dtype = wanted or formats.most_common(1)[0][0]

    def load(name: str) -> Tensor:
        if name in added:
            return added[name].to(config.dtype)
        tensor = read_tensor(stored, plan[name])
        return tensor if wanted is None else tensor.to(wanted)

    sizes = {name: sum(num_bytes(stored[s.name], s) for s in sources) for name, sources in plan.items()}
    if wanted is not None:
        sizes = {
            name: size * wanted.itemsize // stored[plan[name][0].name].dtype.itemsize for name, size in sizes.items()
        }
    all_sizes = sizes | {name: t.numel() * 4 for name, t in added.items()}
    shards = plan_shards(all_sizes, max_shard_bytes)
    with new_folder(target, sum(all_sizes.values())) as folder:
        write_shards(folder, shards, load, count_tensors(progress, len(sizes) + len(added)))
        config.architectures = [TerraScopeForConditionalGeneration.__name__]
        config.save_pretrained(folder)
        finish_processor(config, tokenizer).save_pretrained(folder)
        report = {
            "from": RELEASED,
            "num_tensors": len(sizes) + len(added),
            "dropped": dropped,
            "added": sorted(added),
            "released_config": read_json(source / CONFIG_FILE),
            "released_tokenizer_class": _tokenizer_class(source),
        }
        (folder / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return Conversion(num_tensors=len(sizes) + len(added), dropped=dropped, added=tuple(sorted(added)))


RELEASED = "a released TerraScope checkpoint (sa2va_chat)"


def read_release(
    source: Path,
) -> tuple[
    TerraScopeConfig, PreTrainedTokenizerBase, dict[str, Stored], dict[str, tuple[Source, ...]], dict[str, Tensor]
]:
    """All of a released checkpoint but its numbers: the configuration that it fits, its tokenizer, its tensors by the
    headers of their files, and the plan of `plan_import`.

    Raises:
        ModelError: it cannot be imported.
    """
    released = read_json(source / CONFIG_FILE)
    hiera = read_json(source / HIERA_FILE) if (source / HIERA_FILE).exists() else None
    tokenizer = read_tokenizer(source)
    token_ids = {token: int(tokenizer.convert_tokens_to_ids(token)) for token in ("<IMG_CONTEXT>", "[SEG]")}
    stored = list_tensors(source)
    try:
        config = our_configuration(released, hiera, token_ids)
        plan, added = plan_import(config, stored)
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from None
    return config, tokenizer, stored, plan, added


def read_tokenizer(source: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a released checkpoint, read without its configuration, which asks for remote code.

    Raises:
        ModelError: it is missing or damaged, or lacks a token that reasoning needs.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name in TOKENIZER_FILES:
            if (source / name).is_file():
                shutil.copy(source / name, folder)
        tokenizer = open_tokenizer(Path(folder), source)
    unknown = tokenizer.convert_tokens_to_ids("never a token of any vocabulary")
    lost = [token for token in NEEDED_TOKENS if tokenizer.convert_tokens_to_ids(token) in (None, unknown)]
    if lost:
        raise ModelError(f"{source}: its tokenizer lacks {', '.join(lost)}; give the tokenizer of the released weights")
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def finish_processor(config: TerraScopeConfig, tokenizer: PreTrainedTokenizerBase) -> TerraScopeProcessor:
    """The processor of an imported checkpoint: it cuts, resizes and asks as the released code does."""
    profile = profile_named("release")
    processor = make_processor(config, tokenizer, **profile.image_processor)
    processor.prompt_style = profile.processor["prompt_style"]
    return processor


def plan_import(
    config: TerraScopeConfig, stored: Mapping[str, Stored]
) -> tuple[dict[str, tuple[Source, ...]], dict[str, Tensor]]:
    """For each tensor of ours the released ones that make it, and the tensors that no release has, with their values.

    Raises:
        ModelError: a tensor is missing, unknown, or of another shape than the configuration says.
    """
    _count_layers(config, stored)
    try:
        with torch.device("meta"):
            shapes = {
                name: tensor.shape for name, tensor in TerraScopeForConditionalGeneration(config).state_dict().items()
            }
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, OverflowError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ModelError(f"{CONFIG_FILE}: no model can be made of it ({said})") from None
    plan = {name: sources for name in shapes if (sources := released_sources(name))}
    wanted = {source.name for sources in plan.values() for source in sources}
    lost = sorted(wanted - set(stored))
    if lost:
        raise ModelError(f"its weights lack {first_of(lost, f'of its {len(wanted)} tensors')}")
    unknown = sorted(name for name in stored if name not in wanted and not is_dropped(name))
    if unknown:
        file = stored[unknown[0]].path.name
        raise ModelError(f"{file}: holds {first_of(unknown, 'tensors')}, which no release has")
    whole = next((stored[name] for name in sorted(wanted) if not stored[name].dtype.is_floating_point), None)
    if whole is not None:
        raise ModelError(f"{whole.path.name}: {whole.name} holds {str(whole.dtype).removeprefix('torch.')}, no weights")
    for name, sources in plan.items():
        found = sum(_num_values(stored[source.name], source) for source in sources)
        if found != shapes[name].numel() or _inner(stored[sources[0].name].shape) != _inner(tuple(shapes[name])):
            theirs = " + ".join(f"{source.name} {list(stored[source.name].shape)}" for source in sources)
            raise ModelError(
                f"{stored[sources[0].name].path.name}: {theirs} does not make {name} {list(shapes[name])}, which the "
                "configuration asks for"
            )
    heads, inputs = (stored[f"language_model.{name}.weight"] for name in ("lm_head", "model.embed_tokens"))
    if config.tie_word_embeddings and not torch.equal(*(first_rows(matrix) for matrix in (heads, inputs))):
        raise ModelError(f"{CONFIG_FILE}: tie_word_embeddings is true, but {heads.name} is another than {inputs.name}")
    return plan, fusion_weights(config)


def _count_layers(config: TerraScopeConfig, stored: Mapping[str, Stored]) -> None:
    """Refuse numbers of layers that the tensors contradict, before a model of so many is built."""
    vlm, hiera = config.vlm_config, config.sam_config.vision_config.backbone_config
    stated = (vlm.vision_config.num_hidden_layers, vlm.text_config.num_hidden_layers, sum(hiera.blocks_per_stage))
    for (field, pattern), number in zip(_LAYERS.items(), stated, strict=True):
        found = len({match[1] for match in map(pattern.match, stored) if match})
        if found != number:
            raise ModelError(f"{field} makes {number} layers, but the weights have {found}")


def fusion_weights(config: TerraScopeConfig) -> dict[str, Tensor]:
    """The weights of the fusion of optical and SAR masks, which the release has none of: untrained, so a plain mean."""
    from terrascope.model.grounding import MaskFusion

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fusion = MaskFusion()
    fusion.reset()
    return {f"mask_fusion.{name}": tensor.detach() for name, tensor in fusion.state_dict().items()}


def read_tensor(stored: Mapping[str, Stored], sources: Sequence[Source]) -> Tensor:
    """The rows of one or several stored tensors, one after the other."""
    parts = []
    for source in sources:
        found = stored[source.name]
        with safe_open(found.path, framework="pt") as file:
            tensor = file.get_tensor(found.name)
        parts.append(tensor if source.rows is None else tensor.chunk(source.rows[1])[source.rows[0]].clone())
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _tokenizer_class(source: Path) -> str | None:
    path = source / "tokenizer_config.json"
    stated = read_json(path).get("tokenizer_class") if path.is_file() else None
    return stated if isinstance(stated, str) else None


def _num_values(stored: Stored, source: Source) -> int:
    return torch.Size(stored.shape).numel() // (source.rows[1] if source.rows else 1)


def num_bytes(stored: Stored, source: Source) -> int:
    return _num_values(stored, source) * stored.dtype.itemsize


def _inner(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[1:]


def count_tensors(progress: Progress | None, total: int) -> Callable[[int], None]:
    done = 0

    def count(num: int) -> None:
        nonlocal done
        done += num
        if progress is not None:
            progress(done, total)

    return count
