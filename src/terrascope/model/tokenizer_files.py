"""The tokenizer in a folder, read without any code of its own; what is wrong with it, in one sentence."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from terrascope.errors import ModelError

_VOCABULARIES = ("tokenizer.json", "vocab.json", "tokenizer.model")


def open_tokenizer(folder: Path, name: Path | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer whose files lie in `folder`, called `name` in messages.

    Raises:
        ModelError: its files are missing or damaged.
    """
    name = name or folder
    if not any((folder / file).is_file() for file in _VOCABULARIES):
        raise ModelError(f"{name}: has no {_VOCABULARIES[0]}; fetch the tokenizer too")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # A damaged tokenizer.json ends in an Exception of no further kind.
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ModelError(f"{name}: its tokenizer cannot be read ({said})") from None
    length = tokenizer.model_max_length
    if isinstance(length, bool) or not isinstance(length, int | float) or not length > 0:
        raise ModelError(f"{name / 'tokenizer_config.json'}: model_max_length must be a number, but is {length!r}")
    return tokenizer
