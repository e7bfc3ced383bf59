"""The tokenizer of `nano`: special tokens are one token, digits stand alone, and any text comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from terrascope.model.nano_tokenizer import SPECIAL_TOKENS, train_tokenizer

TEXTS = ["The water: covers 12% of the image.", "<think>The tree: [SEG] It covers 40%.</think><answer>A</answer>"] * 5
TOKENIZER = train_tokenizer(TEXTS, 330)


def tokens(text: str) -> list[str]:
    return TOKENIZER.convert_ids_to_tokens(TOKENIZER(text, add_special_tokens=False)["input_ids"])


def test_special_tokens_come_first_and_are_one_token_each() -> None:
    assert TOKENIZER.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == list(range(11))
    for token in SPECIAL_TOKENS:
        assert tokens(f"a{token}b") == ["a", token, "b"]


def test_the_vocabulary_has_the_size_asked_for() -> None:
    small = train_tokenizer(TEXTS, 290)
    assert len(small) == small.vocab_size == 290
    # 11 special tokens and 256 bytes are always there; the merges end where the texts have no more pairs.
    assert 11 + 256 < len(TOKENIZER) <= 330
    assert TOKENIZER.eos_token == "<|im_end|>" and TOKENIZER.pad_token == "<|endoftext|>"


def test_digits_stand_alone() -> None:
    assert [t for t in tokens("covers 12345.67 m2") if any(c.isdigit() for c in t)] == list("1234567") + ["2"]


def test_words_of_the_training_texts_are_one_token() -> None:
    assert tokens("The water: covers") == ["The", "Ġwater", ":", "Ġcovers"]


@pytest.mark.parametrize("letter", "ABCDE")
def test_letters_of_options_are_one_token_after_the_tag(letter: str) -> None:
    assert tokens(f"<answer>{letter}</answer>") == ["<answer>", letter, "</answer>"]


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_comes_back(text: str) -> None:
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert TOKENIZER.decode(ids) == text


def test_chats_are_written_in_qwens_format() -> None:
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}]
    assert TOKENIZER.apply_chat_template(messages, tokenize=False) == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n"
    )
    assert TOKENIZER.apply_chat_template(messages, tokenize=False, add_generation_prompt=True).endswith(
        "Q<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_same_texts_give_the_same_vocabulary_and_it_survives_the_disk(tmp_path: Path) -> None:
    assert train_tokenizer(TEXTS, 330).get_vocab() == TOKENIZER.get_vocab()
    TOKENIZER.save_pretrained(tmp_path)
    for again in (PreTrainedTokenizerFast.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)):
        assert again.get_vocab() == TOKENIZER.get_vocab()
        assert again.chat_template == TOKENIZER.chat_template
        assert (again.eos_token, again.pad_token) == (TOKENIZER.eos_token, TOKENIZER.pad_token)
        text = "<think>Größe: [SEG] 40 %.\n</think>"
        ids = again(text, add_special_tokens=False)["input_ids"]
        assert ids == TOKENIZER(text, add_special_tokens=False)["input_ids"]
        assert again.decode(ids) == text
