"""Released checkpoints to ours and back, tensor by tensor: never more than one shard is in memory."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from terrascope.errors import ModelError, OutputError
from terrascope.model.checkpoint import make_processor
from terrascope.model.configuration import TerraScopeConfig
from terrascope.model.modeling import TerraScopeForConditionalGeneration
from terrascope.model.nano_tokenizer import CHAT_TEMPLATE
from terrascope.model.processing import TerraScopeProcessor
from terrascope.model.profiles import profile_named
from terrascope.model.release.files import Stored, list_tensors, plan_shards, read_json, write_shards
from terrascope.model.release.names import Source, is_dropped, released_sources
from terrascope.model.release.settings import our_configuration

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
HIERA_FILE = "grounding_encoder.json"
REPORT = "conversion.json"


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
    released = read_json(source / "config.json")
    tokenizer = read_tokenizer(source)
    config = read_configuration(source, released, tokenizer)
    wanted = None if dtype is None else getattr(torch, dtype)
    stored = list_tensors(source)
    plan, added = plan_import(config, stored)
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
    with new_folder(Path(target), sum(all_sizes.values())) as folder:
        write_shards(folder, shards, load, count_tensors(progress, len(sizes) + len(added)))
        config.architectures = [TerraScopeForConditionalGeneration.__name__]
        config.save_pretrained(folder)
        finish_processor(config, tokenizer).save_pretrained(folder)
        report = {"from": RELEASED, "num_tensors": len(sizes) + len(added), "dropped": dropped, "added": sorted(added)}
        (folder / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return Conversion(num_tensors=len(sizes) + len(added), dropped=dropped, added=tuple(sorted(added)))


RELEASED = "a released TerraScope checkpoint (sa2va_chat)"


def read_tokenizer(source: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a released checkpoint, read without its configuration, which asks for remote code.

    Raises:
        ModelError: it is missing or damaged, or lacks a token that reasoning needs.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name in TOKENIZER_FILES:
            if (source / name).is_file():
                shutil.copy(source / name, folder)
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            raise ModelError(f"{source}: its tokenizer cannot be read ({reason})") from None
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


def read_configuration(
    source: Path, released: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase
) -> TerraScopeConfig:
    """The configuration of ours that a released checkpoint with this `config.json` fits."""
    hiera = read_json(source / HIERA_FILE) if (source / HIERA_FILE).exists() else None
    token_ids = {token: int(tokenizer.convert_tokens_to_ids(token)) for token in ("<IMG_CONTEXT>", "[SEG]")}
    try:
        return our_configuration(released, hiera, token_ids)
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from None


def plan_import(
    config: TerraScopeConfig, stored: Mapping[str, Stored]
) -> tuple[dict[str, tuple[Source, ...]], dict[str, Tensor]]:
    """For each tensor of ours the released ones that make it, and the tensors that no release has, with their values.

    Raises:
        ModelError: a tensor is missing, unknown, or of another shape than the configuration says.
    """
    with torch.device("meta"):
        shapes = {
            name: tensor.shape for name, tensor in TerraScopeForConditionalGeneration(config).state_dict().items()
        }
    plan = {name: sources for name in shapes if (sources := released_sources(name))}
    wanted = {source.name for sources in plan.values() for source in sources}
    lost = sorted(wanted - set(stored))
    if lost:
        raise ModelError(f"the checkpoint lacks {lost[0]} and {len(lost) - 1} more of its {len(wanted)} tensors")
    unknown = sorted(name for name in stored if name not in wanted and not is_dropped(name))
    if unknown:
        raise ModelError(f"the checkpoint holds {unknown[0]} and {len(unknown) - 1} more tensors that no release has")
    for name, sources in plan.items():
        found = sum(_num_values(stored[source.name], source) for source in sources)
        if found != shapes[name].numel() or _inner(stored[sources[0].name].shape) != _inner(tuple(shapes[name])):
            theirs = " + ".join(f"{source.name} {list(stored[source.name].shape)}" for source in sources)
            raise ModelError(f"{theirs} does not make {name} {list(shapes[name])}, which the configuration asks for")
    return plan, fusion_weights(config)


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


@contextmanager
def new_folder(target: Path, num_bytes: int = 0) -> Iterator[Path]:
    """A folder beside `target` that takes its place when the block ends well, and is removed otherwise.

    Raises:
        OutputError: the target exists already, cannot be written, or its disk has no room for `num_bytes`.
    """
    if target.exists():
        raise OutputError(f"{target}: exists already; give a new folder")
    try:
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.absolute().parent))
        free = shutil.disk_usage(unfinished).free
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror}); give another folder") from None
    try:
        if num_bytes > free:
            raise OutputError(
                f"{target}: needs {num_bytes / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free on its disk; "
                "give a folder on another one"
            )
        yield unfinished
        os.chmod(unfinished, 0o755)
        os.rename(unfinished, target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror or error}); give another folder") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
