"""Public parts on disk -> a model for training: what arrives unchanged, what is new, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    InternVLConfig,
    InternVLForConditionalGeneration,
    PreTrainedTokenizerFast,
    Sam2VideoConfig,
    Sam2VideoModel,
)
from typer.testing import CliRunner

from terrascope.cli import app
from terrascope.errors import ModelError, TerraScopeError
from terrascope.model import hub
from terrascope.model.backbones import backbone_named
from terrascope.model.compose import PRESETS, choose_parts
from terrascope.model.decoders import MASK_MODELS
from terrascope.model.nano_tokenizer import CHAT_TEMPLATE, train_tokenizer
from terrascope.model.terrascope import TerraScope
from terrascope.model.vocabulary import NEW_ROW_NOISE, REASONING_TOKENS, _row_statistics
from tests.model.families import SAMS, VLMS, spread

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def public_tokenizer(marks: tuple[str, ...], known: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """A small tokenizer like Qwen's: chat and image tokens, none of those of the reasoning beyond `known`."""
    trained = train_tokenizer(["The water: It covers % of the image. user assistant"] * 4, 320)
    state = json.loads(trained.backend_tokenizer.to_str())
    gone = {token for token in (*REASONING_TOKENS, "<img>", "</img>", "<IMG_CONTEXT>") if token not in known}
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] not in gone]
    kept = sorted((i, token) for token, i in state["model"]["vocab"].items() if token not in gone)
    state["model"]["vocab"] = {token: number for number, (_, token) in enumerate(kept)}
    for token in state["added_tokens"]:
        token["id"] = state["model"]["vocab"][token["content"]]
    backend = type(trained.backend_tokenizer).from_str(json.dumps(state))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.add_tokens(list(marks), special_tokens=True)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def write_vlm(
    folder: Path, kind: str = "internvl3", *, tied: bool = True, padding: int = 0, dtype: torch.dtype = torch.float32,
    known: tuple[str, ...] = (), state: str | None = None,
) -> Path:  # fmt: skip
    """A public vision-language model of random weights; `padding` rows of its matrices belong to no token."""
    marks = backbone_named(VLMS[kind](64).model_type).image_marks
    tokenizer = public_tokenizer(marks, known)
    config = VLMS[kind](len(tokenizer) + padding)
    config.image_token_id = tokenizer.convert_tokens_to_ids(marks[1])
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = tied
    model = backbone_named(config.model_type).model_class(config)
    spread(model)
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5, 0.4, 0.3], "image_std": STD}))
    if state is not None:
        raw = json.loads((folder / "config.json").read_text())
        del raw["tie_word_embeddings"], raw["text_config"]["tie_word_embeddings"]
        (folder / "config.json").write_text(json.dumps(raw))
    return folder


def write_sam(folder: Path, kind: str = "sam2", *, dtype: torch.dtype = torch.float32) -> Path:
    config = SAMS[kind]()
    config.mask_decoder_config.dynamic_multimask_via_stability = True
    model = MASK_MODELS[config.model_type].model_class(config)
    spread(model)
    model.to(dtype).save_pretrained(folder)
    normalization = (
        {"image_mean": MEAN, "image_std": STD} if kind != "sam3" else {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    )
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": normalization}))
    return folder


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("parts")
    return write_vlm(folder / "vlm"), write_sam(folder / "sam")


@pytest.fixture
def broken(parts: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """Copies that a test may break."""
    return Path(copytree(parts[0], tmp_path / "vlm")), Path(copytree(parts[1], tmp_path / "sam"))


def compose(vlm: Path, sam: Path, **how: Any) -> TerraScope:
    return TerraScope.compose(str(vlm), str(sam), **how)


@pytest.mark.parametrize("vlm_kind", list(VLMS))
@pytest.mark.parametrize("sam_kind", list(SAMS))
def test_all_weights_arrive_as_they_are(tmp_path: Path, vlm_kind: str, sam_kind: str) -> None:
    vlm = write_vlm(tmp_path / "vlm", vlm_kind, tied=vlm_kind == "internvl3")
    sam = write_sam(tmp_path / "sam", sam_kind)
    model = compose(vlm, sam).model
    for part, folder, before in ((model.vlm, vlm, 5), (model.sam, sam, 0)):
        original = type(part).from_pretrained(folder).state_dict()
        ours = part.state_dict()
        assert set(ours) == set(original)
        for name, value in original.items():
            grown = len(ours[name]) - len(value) if value.dim() else 0
            assert grown == (before if name.endswith(("embed_tokens.weight", "lm_head.weight")) else 0), name
            assert torch.equal(ours[name][: len(value)] if value.dim() else ours[name], value), name
    assert not any(p.is_meta for p in (*model.parameters(), *model.buffers()))
    assert not model.training and not model.sam.mask_decoder.dynamic_multimask_via_stability


def test_a_composed_model_asks_segments_and_survives_the_disk(
    parts: tuple[Path, Path], two_dates: Any, tmp_path: Path
) -> None:
    first = compose(*parts)
    first.save_pretrained(str(tmp_path))
    again = TerraScope.from_pretrained(str(tmp_path))
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    assert again.processor.tokenizer.get_vocab() == first.processor.tokenizer.get_vocab()
    assert again.processor.tokenizer.chat_template == CHAT_TEMPLATE
    answers = [m.ask(two_dates.scene, "How much is water?").reasoning for m in (first, again)]
    masks = [m.segment(two_dates.scene, "water").masks for m in (first, again)]
    assert answers[0] == answers[1] and len(masks[0]) == 2
    assert all(np.array_equal(a, b) for a, b in zip(*masks, strict=True))


def test_what_the_checkpoints_say_is_carried(parts: tuple[Path, Path]) -> None:
    made = compose(*parts)
    config, images, tokenizer = made.model.config, made.processor.image_processor, made.processor.tokenizer
    assert config.vlm_config.vision_config.attention_bias and config.vlm_config.tie_word_embeddings
    assert config.vlm_config is made.model.vlm.config and config.sam_config is made.model.sam.config
    assert config.vlm_config.text_config.vocab_size == len(tokenizer)
    assert config.seg_token_id == tokenizer.convert_tokens_to_ids("[SEG]") == len(tokenizer) - 1
    assert (images.image_mean, images.image_std) == ([0.5, 0.4, 0.3], STD)
    assert (images.sam_mean, images.sam_std) == (MEAN, STD)
    assert (images.tile_size, images.token_grid, images.sam_size) == (32, 4, 64)
    assert not torch.equal(
        images.normalize_pixels(torch.zeros(3, 64, 64)), images.view_for_masks(torch.zeros(3, 64, 64))
    )
    text = "<think>The water: [SEG] It</think><answer>9%</answer>"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert [ids.count(tokenizer.convert_tokens_to_ids(token)) for token in REASONING_TOKENS] == [1] * 5
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("tied", [True, False])
def test_new_rows_lie_around_the_mean_row(tmp_path: Path, tied: bool) -> None:
    vlm, sam = write_vlm(tmp_path / "vlm", tied=tied, padding=3), write_sam(tmp_path / "sam")
    made = compose(vlm, sam)
    known = len(made.processor.tokenizer) - 5
    head, inputs = made.model.vlm.lm_head.weight, made.model.get_input_embeddings().weight
    assert (head is inputs) is tied
    head, inputs = head.detach(), inputs.detach()
    assert len(head) == len(inputs) == known + 5, "three of the five rows were there, unused"
    for weight in (head, inputs):
        mean, std = weight[:known].mean(0), weight[:known].std(0, correction=0)
        away = (weight[known:] - mean) / (NEW_ROW_NOISE * std)
        assert 0.7 < float(away.std()) < 1.3 and float(away.abs().max()) < 5
        assert len({tuple(row.tolist()) for row in weight[known:]}) == 5
    again = compose(vlm, sam).model
    assert torch.equal(again.get_input_embeddings().weight, inputs), "the same each time"
    assert torch.equal(again.seg_projection[0].weight, made.model.seg_projection[0].weight)


def test_a_new_token_is_about_as_likely_as_any(tmp_path: Path) -> None:
    """What the mean row is for: the probability of the old tokens hardly changes."""
    vlm, sam = write_vlm(tmp_path / "vlm", tied=False), write_sam(tmp_path / "sam")
    made = compose(vlm, sam)
    known = len(made.processor.tokenizer) - 5
    with torch.no_grad():
        lost = made.model(input_ids=torch.arange(40, 90)[None]).logits.softmax(-1)[..., known:].sum(-1)
    assert float(lost.max()) < 0.05


def test_rows_that_were_trained_are_kept(tmp_path: Path) -> None:
    """Qwen3 knows <think> already."""
    vlm = write_vlm(tmp_path / "vlm", known=("<think>", "</think>"))
    made = compose(vlm, write_sam(tmp_path / "sam"))
    inputs = made.model.get_input_embeddings().weight
    stored = load_file(vlm / "model.safetensors")
    original = next(value for name, value in stored.items() if name.endswith("embed_tokens.weight"))
    assert len(inputs) == len(original) + 3
    assert torch.equal(inputs[: len(original)], original)
    assert "<think>" in made.processor.tokenizer.all_special_tokens


def test_statistics_of_rows_in_pieces() -> None:
    rows = torch.randn(1000, 7, generator=torch.Generator().manual_seed(0)) * 3 + 2
    mean, deviation = _row_statistics(rows.bfloat16(), num=64)
    assert torch.allclose(mean, rows.bfloat16().float().mean(0), atol=1e-5)
    assert torch.allclose(deviation, rows.bfloat16().float().std(0, correction=0), atol=1e-4)


@pytest.mark.parametrize("tied", [True, False])
def test_a_tie_that_no_configuration_states_is_read_off_the_weights(tmp_path: Path, tied: bool) -> None:
    """The library's default is tied: the output matrix of the 8B would be thrown away."""
    model = compose(write_vlm(tmp_path / "vlm", tied=tied, state="none"), write_sam(tmp_path / "sam")).model
    assert model.config.vlm_config.tie_word_embeddings is tied
    assert model.config.tie_word_embeddings is tied
    assert (model.vlm.lm_head.weight is model.get_input_embeddings().weight) is tied


@pytest.mark.parametrize(
    ("asked", "made"), [(None, torch.bfloat16), (torch.float32, torch.float32), ("float16", torch.float16)]
)
def test_one_number_format(tmp_path: Path, two_dates: Any, asked: Any, made: torch.dtype) -> None:
    vlm, sam = write_vlm(tmp_path / "vlm", dtype=torch.bfloat16), write_sam(tmp_path / "sam")
    predictor = compose(vlm, sam, dtype=asked)
    assert {p.dtype for p in predictor.model.parameters()} == {made}
    assert len(predictor.segment(two_dates.scene, "water").masks) == 2
    predictor.save_pretrained(str(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == str(made).removeprefix("torch.")


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("asked", ["auto", "float32", "bfloat16", "float16"])
def test_a_composed_model_answers_in_any_format(
    tmp_path: Path, two_dates: Any, stored: torch.dtype, asked: str
) -> None:
    """Whatever its parts were stored in: the library builds a part of a part in the format that its part states."""
    compose(write_vlm(tmp_path / "vlm", dtype=stored), write_sam(tmp_path / "sam")).save_pretrained(str(tmp_path / "x"))
    stated = json.loads((tmp_path / "x" / "config.json").read_text())["vlm_config"]["text_config"]["dtype"]
    assert stated == str(stored).removeprefix("torch.")
    model = TerraScope.from_pretrained(str(tmp_path / "x"), dtype=asked)
    wanted = torch.float32 if asked == "auto" else getattr(torch, asked)
    assert {p.dtype for n, p in model.model.named_parameters() if not n.startswith("mask_fusion")} == {wanted}
    answer = model.ground(two_dates.scene, "Q?", "The lake: Image: 1 [SEG] The sea: Image: 2 [SEG]").answer
    assert [step.image for step in answer.steps] == [1, 2]
    assert all(0 <= step.confidence <= 1 for step in answer.steps)


def test_a_model_turned_into_another_format_is_saved_and_read(parts: tuple[Path, Path], tmp_path: Path) -> None:
    made = compose(*parts, dtype="bfloat16")
    made.model.float()
    made.save_pretrained(str(tmp_path))
    again = TerraScope.from_pretrained(str(tmp_path))
    assert {p.dtype for p in again.model.parameters()} == {torch.float32}
    with torch.inference_mode():
        assert again.model(input_ids=torch.tensor([[40, 41]])).logits.dtype == torch.float32


def test_what_does_not_fit_is_said_in_one_sentence_alone(broken: tuple[Path, Path], tmp_path: Path) -> None:
    """The library would print a table before it."""
    reweigh(lambda t: t.update({Q_BIAS: torch.zeros(3)}))(broken[0])
    done = subprocess.run(
        [sys.executable, "-m", "terrascope", "compose", *map(str, broken), str(tmp_path / "made")],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    said = f"error: {broken[0]}: model.{Q_BIAS} is [3], but config.json asks for [16]"
    assert done.stderr.splitlines() == [said]


def test_a_composed_model_trains(parts: tuple[Path, Path]) -> None:
    model = compose(*parts).model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    tokens = torch.tensor([[40, 41, model.config.seg_token_id]])
    output = model(input_ids=tokens)
    logits, _ = model.decode_masks(model.encode_for_masks(torch.randn(1, 3, 64, 64)), output.last_hidden_state[:, 2:])
    loss = output.logits.logsumexp(-1).mean() + logits.square().mean()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    loss.backward()
    optimizer.step()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    for name in ("seg_projection.0.weight", "vlm.model.language_model.layers.0.mlp.up_proj.weight",
                 "sam.mask_decoder.conv_s0.weight", "vlm.lm_head.weight"):  # fmt: skip
        assert name in moved
    with torch.no_grad():
        logits = torch.randn(2, 8, 8)
        assert torch.allclose(model.mask_fusion(logits[0], logits[1]), logits.mean(0)), "untrained, a plain mean"


def test_a_video_checkpoint_gives_its_model_for_still_images(parts: tuple[Path, Path], tmp_path: Path) -> None:
    """What the repositories of SAM-2.1 hold: the video model, whose memory no still image needs."""
    still = SAMS["sam2"]()
    config = Sam2VideoConfig(
        vision_config=still.vision_config, prompt_encoder_config=still.prompt_encoder_config.to_dict(),
        mask_decoder_config=still.mask_decoder_config.to_dict(), image_size=64, memory_attention_hidden_size=32,
        memory_attention_feed_forward_hidden_size=32, memory_attention_num_layers=1, memory_encoder_hidden_size=32,
        memory_encoder_output_channels=16, mask_downsampler_embed_dim=32, memory_fuser_embed_dim=32,
        memory_fuser_intermediate_dim=32, memory_fuser_num_layers=1,
    )  # fmt: skip
    video = Sam2VideoModel(config)
    spread(video)
    video.save_pretrained(tmp_path / "video")
    (tmp_path / "video" / "preprocessor_config.json").write_text(json.dumps({"image_mean": MEAN, "image_std": STD}))
    assert json.loads((tmp_path / "video" / "config.json").read_text())["model_type"] == "sam2_video"
    model = compose(parts[0], tmp_path / "video").model
    whole, ours = video.state_dict(), model.sam.state_dict()
    assert len(whole) > len(ours)
    for name, value in ours.items():
        assert torch.equal(value, whole[name]), name
    assert model.config.sam_config.model_type == "sam2"
    assert model.config.sam_config.mask_decoder_config.hidden_size == 32


WATCHED = """
import sys, threading
import torch
from terrascope.model import TerraScope

def own():
    with open("/proc/self/status") as status:
        return 1024 * int(next(line for line in status if line.startswith("RssAnon")).split()[1])

peak, done = [own()], threading.Event()
def watch():
    while not done.wait(0.002):
        peak.append(own())
before = own()
watcher = threading.Thread(target=watch)
watcher.start()
model = TerraScope.compose(sys.argv[1], sys.argv[2], dtype=torch.float32).model
done.set()
watcher.join()
print((max(peak) - before) / sum(4 * p.numel() for p in {id(p): p for p in model.parameters()}.values()))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")
def test_there_is_never_a_second_copy_of_the_weights(parts: tuple[Path, Path], tmp_path: Path) -> None:
    """A wide model, stored in half precision, so that every number must be written anew (180 MB)."""
    vlm = Path(copytree(parts[0], tmp_path / "vlm"))
    config = InternVLConfig.from_pretrained(vlm)
    config.text_config.intermediate_size = 230_000
    model = InternVLForConditionalGeneration(config).bfloat16()
    model.save_pretrained(vlm)
    run = subprocess.run(
        [sys.executable, "-c", WATCHED, str(vlm), str(parts[1])], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert 0.9 < float(run.stdout) < 1.35


LACKING = object()
"""In place of an entry that is taken out."""


def remove(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def edit(name: str, **entries: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        content = {**json.loads(path.read_text()), **entries}
        path.write_text(json.dumps({name: value for name, value in content.items() if value is not LACKING}))

    return change


def within(name: str, part: str, **entries: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        edit(name, **{part: json.loads((folder / name).read_text())[part] | entries})(folder)

    return change


def forget_mark(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text((folder / name).read_text().replace("<IMG_CONTEXT>", "<IMG_OTHER>"))


def reweigh(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return rewrite


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


Q_BIAS = "vision_tower.encoder.layer.0.attention.q_proj.bias"


@pytest.mark.parametrize(
    ("which", "change", "said"),
    [
        (0, remove("config.json"), "vlm/config.json: no such file; a checkpoint needs it"),
        (0, edit("config.json", model_type="llava"), "'llava' is no vision-language model known here: give one of int"),
        (0, edit("config.json", model_type="internvl_chat"), "needs remote code; give the repository .* ends in -hf"),
        (0, edit("config.json", image_token_id=3), r"the tokenizer's <IMG_CONTEXT> is \d+, .*says image_token_id 3$"),
        (0, edit("config.json", vision_config=7), "vlm/config.json: vision_config must be an object, but is 7$"),
        (0, edit("config.json", text_config=None), "vlm/config.json: text_config must be an object, but is None$"),
        (0, within("config.json", "text_config", num_hidden_layers=999, layer_types=None), "is 999, but the weights"),
        (0, within("config.json", "text_config", num_hidden_layers=10**30), "layers must be less than or equal"),
        (0, within("config.json", "vision_config", num_hidden_layers=2), "is 2, but the weights have 1 layers$"),
        (0, within("config.json", "text_config", rope_parameters={"rope_type": "x"}), "loaded .KeyError: 'x'.$"),
        (0, edit("config.json", model_type=LACKING), "vlm/config.json: lacks model_type"),
        (0, edit("preprocessor_config.json", image_mean=7), "vlm/pre.*: image_mean must be a list, but is 7$"),
        (0, edit("preprocessor_config.json", image_std=None), "image_std must be a list, but is null$"),
        (0, edit("preprocessor_config.json", image_std=[1, 0, 1]), "image_std.1 must be greater than 0, but is 0$"),
        (0, edit("preprocessor_config.json", image_mean=[1, 1]), "image_mean must be a list of at least 3, but is"),
        (0, edit("tokenizer_config.json", model_max_length="x"), "r_config.json: model_max_length must be a num"),
        (0, lambda f: (f / "tokenizer.json").write_text("{"), "vlm: its tokenizer cannot be read .Expecting"),
        (0, forget_mark, "vlm: its tokenizer lacks <IMG_CONTEXT>; fetch"),
        (0, remove("tokenizer.json"), "vlm: has no tokenizer.json; fetch the tokenizer too$"),
        (0, remove("chat_template.jinja"), "vlm: has no chat template"),
        (0, remove("preprocessor_config.json"), "vlm: no preprocessor_config.json that states image_mean"),
        (0, remove("model.safetensors"), "vlm: holds no .safetensors file"),
        (0, pickled, "pytorch_model.bin is a pickle, which may run code"),
        (0, cut_short, "vlm/model.safetensors: is damaged or cut short"),
        (0, reweigh(lambda t: t.pop(Q_BIAS)), "its weights lack model.vision_tower.*q_proj.bias"),
        (0, reweigh(lambda t: t.update(extra=torch.zeros(3))), "config.json has no place for extra$"),
        (0, reweigh(lambda t: t.update({Q_BIAS: torch.zeros(3)})), r"bias is \[3\], but config.json asks for \[16\]"),
        (1, edit("config.json", model_type="sam"), "'sam' is no mask decoder known here: give one of sam2, edgetam"),
        (1, remove("processor_config.json"), "sam: no preprocessor_config.json that states image_mean"),
        (1, pickled, "pytorch_model.bin is a pickle"),
        (1, reweigh(lambda t: t.pop("no_memory_embedding")), "its weights lack no_memory_embedding$"),
        (1, reweigh(lambda t: t.update(extra=torch.zeros(3))), "config.json has no place for extra$"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(
    broken: tuple[Path, Path], which: int, change: Callable[[Path], None], said: str
) -> None:
    change(broken[which])
    began = time.monotonic()
    with pytest.raises(ModelError, match=said) as caught:
        compose(*broken)
    assert "\n" not in str(caught.value), "one sentence"
    assert time.monotonic() - began < 20, "before a model of the library's own size is built"


def test_a_vision_bias_that_the_configuration_forgets_is_not_dropped(broken: tuple[Path, Path]) -> None:
    """The library's default is no bias, and it would leave the stored ones out without a word."""
    raw = json.loads((broken[0] / "config.json").read_text())
    del raw["vision_config"]["attention_bias"]
    (broken[0] / "config.json").write_text(json.dumps(raw))
    with pytest.raises(ModelError, match=r"config\.json has no place for .*(q|k|v)_proj\.bias and 2 more tensors"):
        compose(*broken)


def test_a_tokenizer_of_another_model(broken: tuple[Path, Path]) -> None:
    tokenizer = public_tokenizer(backbone_named("internvl").image_marks)
    tokenizer.add_tokens([f"<{i}>" for i in range(9)])
    tokenizer.save_pretrained(broken[0])
    with pytest.raises(ModelError, match=r"vlm: the tokenizer has \d+ tokens, but the weights only \d+ rows"):
        compose(*broken)


def test_presets_and_names() -> None:
    assert set(PRESETS) == {"1b", "2b", "8b", "14b"}
    assert PRESETS["8b"].vlm == "OpenGVLab/InternVL3-8B-hf" and PRESETS["8b"].sam == "facebook/sam2.1-hiera-large"
    assert choose_parts(None, None, "2b") is PRESETS["2b"]
    for given in ((None, None, "3b"), ("a/b", None, None), (None, "a/b", None), ("a/b", "c/d", "8b"), (None,) * 3):
        with pytest.raises(ModelError):
            choose_parts(*given)


def test_a_preset_is_fetched_part_by_part(parts: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetch(name: str) -> Path:
        asked.append(name)
        return parts[len(asked) - 1]

    monkeypatch.setattr(hub, "fetch", fetch)
    made = TerraScope.compose(preset="1b")
    assert asked == ["OpenGVLab/InternVL3-1B-hf", "facebook/sam2.1-hiera-small"]
    assert made.name == "OpenGVLab/InternVL3-1B-hf + facebook/sam2.1-hiera-small"


def test_without_the_hub_one_sentence_is_said(tmp_path: Path) -> None:
    """In a process of its own: the library reads its settings once."""
    target = tmp_path / "out"
    run = subprocess.run(
        [sys.executable, "-m", "terrascope", "compose", "--preset", "8b", str(target)],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == 2 and not target.exists()
    assert "OpenGVLab/InternVL3-8B-hf: the hub cannot be reached" in run.stderr and "Traceback" not in run.stderr


def test_what_does_not_fit_into_memory_is_refused_before_it_is_read(
    parts: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("terrascope.model.memory.memory_limits", lambda: [("of a test", 1_000_000)])
    with pytest.raises(ModelError, match=r"of weights.*but 1 MB are free \(of a test\); give --dtype bfloat16"):
        compose(*parts)


def test_stages_are_told(parts: tuple[Path, Path]) -> None:
    stages: list[str] = []
    TerraScope.compose(*map(str, parts), stage=stages.append)
    assert stages == [
        "looking for the parts",
        "reading the vision-language model",
        "reading the mask decoder",
        "joining",
    ]


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_command(parts: tuple[Path, Path], tmp_path: Path) -> None:
    target = tmp_path / "made"
    words = ["compose", *map(str, parts), str(target), "--dtype", "bfloat16"]
    result = CliRunner().invoke(app, words, standalone_mode=False)
    assert json.loads((target / "config.json").read_text())["dtype"] == "bfloat16"
    assert result.exception is None and str(target) in result.output
    assert isinstance(TerraScope.from_pretrained(str(target)), TerraScope)
    assert {path.stat().st_mode & 0o777 for path in target.iterdir()} == {0o666 & ~current_umask()}
    for words, expected in (
        (["a"], "1 place was given (a): give VLM SAM DST, or a --preset and DST"),
        (["a", "b", "c", "d"], "4 places were given (a b c d): give VLM SAM DST, or a --preset and DST"),
        (["--preset", "8b", "a", "b"], "2 places were given (a b): give DST alone, since the preset names both parts"),
        (["--preset", "9b", "x"], "unknown preset '9b': choose one of 1b, 2b, 8b, 14b"),
    ):
        said = CliRunner().invoke(app, ["compose", *words], standalone_mode=False)
        assert isinstance(said.exception, TerraScopeError) and str(said.exception) == expected
    again = CliRunner().invoke(app, ["compose", *map(str, parts), str(target)], standalone_mode=False)
    assert isinstance(again.exception, TerraScopeError) and "exists already" in str(again.exception)
