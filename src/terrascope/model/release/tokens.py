"""A tokenizer as transformers 4 reads it, which the authors' code runs on: it knows no class of the library here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_CLASS = "Qwen2Tokenizer"
_HERE_ONLY = ("TokenizersBackend", "PythonBackend", "PreTrainedTokenizer")
"""What files may state that transformers 4 cannot make a tokenizer of."""


def write_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path, kind: str | None = None) -> None:
    """Write a tokenizer as the released checkpoints have it: with and without the fast library, readable by both.

    Args:
        tokenizer: a fast one with byte-pair encoding.
        folder: that exists.
        kind: the class that the release stated; that of Qwen's tokenizer if it is not known.
    """
    backend: Any = tokenizer.backend_tokenizer
    state = json.loads(backend.to_str())
    added = sorted(state["added_tokens"], key=lambda token: token["id"])
    special = {name: str(token) for name in _SPECIAL if (token := getattr(tokenizer, name)) is not None}
    further = [token for token in tokenizer.all_special_tokens if token not in special.values()]
    entries = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
    words = {token["content"] for token in added}
    known = {word: number for word, number in state["model"]["vocab"].items() if word not in words}
    pairs = [pair.split() if isinstance(pair, str) else pair for pair in state["model"].get("merges", [])]
    stated = {
        "added_tokens_decoder": {str(t["id"]): {name: t[name] for name in entries} for t in added},
        "additional_special_tokens": further,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "errors": "replace",
        "model_max_length": int(tokenizer.model_max_length),
        "split_special_tokens": False,
        "tokenizer_class": _CLASS if kind is None or kind in _HERE_ONLY else kind,
        **{name: special.get(name) for name in ("bos_token", "eos_token", "pad_token", "unk_token")},
    }
    backend.save(str(folder / "tokenizer.json"))
    _write(folder / "tokenizer_config.json", stated)
    _write(folder / "special_tokens_map.json", special | {"additional_special_tokens": further})
    _write(folder / "added_tokens.json", {token["content"]: token["id"] for token in added})
    _write(folder / "vocab.json", known)
    merges = "".join(f"{first} {second}\n" for first, second in pairs)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}", encoding="utf-8")


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
