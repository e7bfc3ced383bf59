"""Composing a model from two public parts: seconds and memory, on random parts in the shape of the 1B preset.

    python benchmarks/compose.py DIR

Writes a vision-language model shaped like InternVL3-1B (1.9 GB) and a SAM-2.1 with Hiera-S (0.2 GB) below DIR, composes
them in a process of its own, and removes them. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from alone import cpu_name
from release import GB, cost_of
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLVisionConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2Model,
    Sam2VisionConfig,
)

NUM_TOKENS = 151_674
"""Of InternVL3's vocabulary, and rows of its matrices: every token of the reasoning needs a new row."""


def write_tokenizer(folder: Path) -> int:
    """A vocabulary of the right size, in which only bytes are ever used; the id of the image token."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [f"w{number}" for number in range(NUM_TOKENS - len(letters) - len(special))]
    vocabulary = {token: number for number, token in enumerate([*letters, *words, *special])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.chat_template = "{% for m in messages %}{{ m['role'] + '\\n' + m['content'] }}{% endfor %}"
    fast.save_pretrained(folder)
    return vocabulary["<IMG_CONTEXT>"]


def write_parts(folder: Path) -> tuple[Path, Path]:
    """Both parts: the language model in bfloat16, SAM-2 in float32, as the repositories hold them."""
    vlm, sam = folder / "vlm", folder / "sam"
    normalization = json.dumps({"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]})
    for part in (vlm, sam):
        part.mkdir(parents=True)
        (part / "preprocessor_config.json").write_text(normalization)
    config = InternVLConfig(
        vision_config=InternVLVisionConfig(attention_bias=True),
        text_config=Qwen2Config(
            vocab_size=NUM_TOKENS, hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
            num_attention_heads=14, num_key_value_heads=2, tie_word_embeddings=False,
        ),
        image_token_id=write_tokenizer(vlm), tie_word_embeddings=False,
    )  # fmt: skip
    torch.set_default_dtype(torch.bfloat16)
    InternVLForConditionalGeneration(config).save_pretrained(vlm)
    torch.set_default_dtype(torch.float32)
    hiera = Sam2HieraDetConfig(blocks_per_stage=[1, 2, 11, 2], global_attention_blocks=[7, 10, 13])
    Sam2Model(Sam2Config(vision_config=Sam2VisionConfig(backbone_config=hiera))).save_pretrained(sam)
    return vlm, sam


def compose_parts(vlm: str, sam: str, dtype: str) -> str:
    """The bytes of the composed model's weights."""
    from terrascope.model import TerraScope

    model = TerraScope.compose(vlm, sam, dtype=getattr(torch, dtype)).model
    return str(sum(p.numel() * p.element_size() for p in {id(p): p for p in model.parameters()}.values()))


def main() -> None:
    """Write, compose, print, remove."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR", help="a new folder for about 2.1 GB")
    folder = parser.parse_args().folder
    try:
        parts = write_parts(folder)
        nothing = cost_of(str, "")
        costs = {dtype: cost_of(compose_parts, *map(str, parts), dtype) for dtype in ("bfloat16", "float32")}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{cpu_name()}; memory at the peak less that of the imports, without and with pages of files")
    for dtype, cost in costs.items():
        own, resident = cost.own_bytes - nothing.own_bytes, cost.resident_bytes - nothing.resident_bytes
        weights = int(cost.said)
        print(
            f"{dtype}: {cost.seconds:.1f} s; weights {weights / GB:.2f} GB; own memory {own / GB:.2f} GB "
            f"({own / weights:.2f} x), resident {resident / GB:.2f} GB ({resident / weights:.2f} x)"
        )


if __name__ == "__main__":
    main()
