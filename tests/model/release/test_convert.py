"""Released checkpoints in and out: names, shards, and everything that is refused."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from terrascope.errors import ModelError, OutputError
from terrascope.model.checkpoint import load
from terrascope.model.profiles import PROFILES, profile_named
from terrascope.model.release.convert import import_release
from terrascope.model.release.export import export_release
from terrascope.model.release.files import list_tensors, plan_shards
from terrascope.model.release.names import Source, is_dropped, our_names, our_sources, released_sources
from tests.model.conftest import Loaded
from tests.model.release.conftest import HIERA, Checkpoint

SAM = "grounding_encoder.sam2_model"


@pytest.mark.parametrize(
    ("released", "ours"),
    [
        ("vision_model.encoder.layers.11.ls2", "vlm.model.vision_tower.encoder.layer.11.lambda_2"),
        ("vision_model.encoder.layers.0.norm1.bias", "vlm.model.vision_tower.encoder.layer.0.layernorm_before.bias"),
        ("mlp1.3.weight", "vlm.model.multi_modal_projector.linear_2.weight"),
        ("language_model.model.layers.3.mlp.up_proj.weight", "vlm.model.language_model.layers.3.mlp.up_proj.weight"),
        ("text_hidden_fcs.2.bias", "seg_projection.2.bias"),
        (
            f"{SAM}.image_encoder.trunk.blocks.7.mlp.layers.1.bias",
            "sam.vision_encoder.backbone.blocks.7.mlp.proj_out.bias",
        ),
        (f"{SAM}.image_encoder.neck.convs.2.conv.weight", "sam.vision_encoder.neck.convs.2.weight"),
        (f"{SAM}.sam_mask_decoder.output_upscaling.1.weight", "sam.mask_decoder.upscale_layer_norm.weight"),
        (
            f"{SAM}.sam_mask_decoder.output_hypernetworks_mlps.2.layers.1.weight",
            "sam.mask_decoder.output_hypernetworks_mlps.2.layers.0.weight",
        ),
        (
            f"{SAM}.sam_mask_decoder.transformer.layers.1.norm4.bias",
            "sam.mask_decoder.transformer.layers.1.layer_norm4.bias",
        ),
        (f"{SAM}.sam_prompt_encoder.mask_downscaling.4.bias", "sam.prompt_encoder.mask_embed.layer_norm2.bias"),
        (f"{SAM}.no_mem_embed", "sam.no_memory_embedding"),
    ],
)
def test_names_both_ways(released: str, ours: str) -> None:
    assert our_names(released) == (ours,)
    assert released_sources(ours) == (Source(released),)
    assert our_sources(released) == (Source(ours),)


def test_tensors_that_are_cut_joined_or_doubled() -> None:
    attention = "vlm.model.vision_tower.encoder.layer.4.attention"
    qkv = "vision_model.encoder.layers.4.attn.qkv.weight"
    assert our_names(qkv) == tuple(f"{attention}.{part}_proj.weight" for part in "qkv")
    assert released_sources(f"{attention}.k_proj.weight") == (Source(qkv, (1, 3)),)
    points = [f"{SAM}.sam_prompt_encoder.point_embeddings.{n}.weight" for n in range(4)]
    assert released_sources("sam.prompt_encoder.point_embed.weight") == tuple(Source(name) for name in points)
    assert our_sources(points[2]) == (Source("sam.prompt_encoder.point_embed.weight", (2, 4)),)
    position = f"{SAM}.sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
    assert our_names(position) == (
        "sam.shared_image_embedding.positional_embedding",
        "sam.prompt_encoder.shared_embedding.positional_embedding",
    )


def test_the_video_memory_is_dropped_and_nothing_else() -> None:
    dropped = ["memory_attention.norm.bias", "memory_encoder.out_proj.weight", "maskmem_tpos_enc", "no_mem_pos_enc"]
    assert all(is_dropped(f"{SAM}.{name}") for name in [*dropped, "mask_downsample.bias", "no_obj_ptr"])
    assert not is_dropped(f"{SAM}.no_mem_embed") and not is_dropped("memory_attention.norm.bias")


def test_import_of_the_export_is_the_same_model(checkpoint: Checkpoint, tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    report = import_release(
        checkpoint.released, tmp_path / "ours", max_shard_bytes=2**20, progress=lambda *n: done.append(n)
    )
    assert done[-1] == (report.num_tensors, report.num_tensors) and len(done) > 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours"]
    index = json.loads((tmp_path / "ours" / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) == len(done)
    model, processor = load(str(tmp_path / "ours"))
    expected = checkpoint.model.state_dict()
    found = model.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        if not name.startswith("mask_fusion"):
            assert torch.equal(found[name], tensor), name
    assert processor.prompt_style == "plain" and processor.image_processor.resampling == "pillow"
    for setting, value in PROFILES["release"].model.items():
        assert getattr(model.config, setting) == (list(value) if isinstance(value, tuple) else value)
    text = "<|im_start|>user\n[SEG] water 12%"
    assert processor.tokenizer(text)["input_ids"] == checkpoint.processor.tokenizer(text)["input_ids"]
    # The fusion is not trained: what it gives is the plain mean.
    with torch.inference_mode():
        assert float(model.mask_fusion(torch.tensor(3.0), torch.tensor(-1.0))) == pytest.approx(1.0)


def test_export_of_the_import_is_the_same_checkpoint(checkpoint: Checkpoint, tmp_path: Path) -> None:
    import_release(checkpoint.released, tmp_path / "ours")
    export_release(tmp_path / "ours", tmp_path / "released")
    for name in ("config.json", "grounding_encoder.json"):
        assert (tmp_path / "released" / name).read_text() == (checkpoint.released / name).read_text()
    theirs, again = list_tensors(checkpoint.released), list_tensors(tmp_path / "released")
    assert theirs.keys() == again.keys()
    assert json.loads((tmp_path / "released" / "grounding_encoder.json").read_text()) == HIERA
    loaded = [load_file(folder / "model.safetensors") for folder in (checkpoint.released, tmp_path / "released")]
    assert all(torch.equal(loaded[0][name], loaded[1][name]) for name in theirs)


def test_an_export_is_written_in_the_words_of_the_authors_library(checkpoint: Checkpoint) -> None:
    """transformers 4 looks up the class of the language model in a list, and knows no `rope_parameters`."""
    stated = json.loads((checkpoint.released / "config.json").read_text())
    language = stated["llm_config"]
    assert language["architectures"] == ["Qwen2ForCausalLM"]
    assert (language["rope_theta"], language["rope_scaling"]) == (1000000.0, None)
    assert stated["torch_dtype"] == language["torch_dtype"] == "float32"
    assert not {"rope_parameters", "dtype", "id2label", "label2id"} & language.keys()
    tokens = json.loads((checkpoint.released / "tokenizer_config.json").read_text())
    assert tokens["tokenizer_class"] == "Qwen2Tokenizer"
    ids = {entry["content"]: int(number) for number, entry in tokens["added_tokens_decoder"].items()}
    tokenizer = checkpoint.processor.tokenizer
    assert ids["[SEG]"] == tokenizer.convert_tokens_to_ids("[SEG]") and ids == tokenizer.get_added_vocab()
    special = json.loads((checkpoint.released / "special_tokens_map.json").read_text())
    assert special["eos_token"] == tokens["eos_token"] == tokenizer.eos_token
    assert {*special["additional_special_tokens"]} | {special["eos_token"], special["pad_token"]} == {
        *tokenizer.all_special_tokens
    }
    known = json.loads((checkpoint.released / "vocab.json").read_text())
    assert known | ids == tokenizer.get_vocab() and not known.keys() & ids.keys()
    merges = (checkpoint.released / "merges.txt").read_text().splitlines()
    assert merges[0] == "#version: 0.2" and all(len(pair.split(" ")) == 2 for pair in merges[1:])


def test_what_a_release_says_beside_is_said_again(checkpoint: Checkpoint, tmp_path: Path) -> None:
    source = shutil.copytree(checkpoint.released, tmp_path / "source")
    remote = {"AutoModel": "modeling_sa2va_chat.Sa2VAChatModel"}
    content = json.loads((source / "config.json").read_text())
    content["llm_config"]["use_bfloat16"] = True
    change_config(source, auto_map=remote, torch_dtype="bfloat16", llm_config=content["llm_config"])
    tokens = json.loads((source / "tokenizer_config.json").read_text()) | {"tokenizer_class": "Qwen2TokenizerFast"}
    (source / "tokenizer_config.json").write_text(json.dumps(tokens))
    import_release(source, tmp_path / "ours")
    export_release(tmp_path / "ours", tmp_path / "back")
    stated = json.loads((tmp_path / "back" / "config.json").read_text())
    assert stated["auto_map"] == remote and stated["llm_config"]["use_bfloat16"] is True
    assert stated["torch_dtype"] == "float32", "that of the weights"
    again = json.loads((tmp_path / "back" / "tokenizer_config.json").read_text())
    assert again["tokenizer_class"] == "Qwen2TokenizerFast"
    import_release(tmp_path / "back", tmp_path / "again")
    for name in ("config.json", "tokenizer.json", "processor_config.json"):
        assert (tmp_path / "again" / name).read_text() == (tmp_path / "ours" / name).read_text(), name
    first, second = (load_file(tmp_path / folder / "model.safetensors") for folder in ("ours", "again"))
    assert all(torch.equal(first[name], second[name]) for name in first.keys() | second.keys())


def test_an_export_takes_no_hub_id(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"owner/name: no such folder; export takes a folder .*, not a hub id"):
        export_release("owner/name", tmp_path / "back")


def test_mixed_formats_are_kept_or_made_one(checkpoint: Checkpoint, tmp_path: Path) -> None:
    source = shutil.copytree(checkpoint.released, tmp_path / "mixed")
    tensors = load_file(source / "model.safetensors")
    half = {n: t.to(torch.bfloat16) if n.startswith("language_model") else t for n, t in tensors.items()}
    save_file(half, source / "model.safetensors")
    import_release(source, tmp_path / "kept")
    stored = list_tensors(tmp_path / "kept")
    assert (
        stored["vlm.lm_head.weight"].dtype == torch.bfloat16 and stored["seg_projection.0.bias"].dtype == torch.float32
    )
    import_release(source, tmp_path / "one", dtype="float16")
    assert {tensor.dtype for tensor in list_tensors(tmp_path / "one").values()} == {torch.float16}


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def change_config(folder: Path, **fields: object) -> None:
    path = folder / "config.json"
    content = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def rename_seg(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text((folder / name).read_text().replace("[SEG]", "[GES]"))


HEAD = "language_model.lm_head.weight"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: change_tensors(f, lambda t: t.pop(HEAD)), rf"source: its weights lack {HEAD}$"),
        (
            lambda f: change_tensors(f, lambda t: t.update(extra=torch.zeros(2))),
            "source: model.safetensors: holds extra, which no release has$",
        ),
        (
            lambda f: change_tensors(f, lambda t: t.update({HEAD: torch.zeros(3, 32)})),
            rf"{HEAD} \[3, 32\] does not make vlm.lm_head.weight \[340, 32\]",
        ),
        (lambda f: change_config(f, model_type="internvl_chat"), "model_type is 'internvl_chat', but a released"),
        (lambda f: change_config(f, force_image_size=None), "source: config.json: lacks force_image_size$"),
        (lambda f: (f / "config.json").write_text("{"), "config.json: cannot be read as JSON"),
        (lambda f: (f / "config.json").unlink(), "config.json: no such file; a checkpoint needs it"),
        (
            lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-100]),
            "model.safetensors: is damaged or cut short",
        ),
        (
            lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
            "holds no .safetensors file; pytorch_model.bin is a pickle, which may run code",
        ),
        (rename_seg, r"its tokenizer lacks \[SEG\]; give the tokenizer of the released weights"),
        (lambda f: (f / "tokenizer.json").write_text("no json"), "its tokenizer cannot be read"),
        (
            lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "b.safetensors"}}'),
            "b.safetensors: no such file; the checkpoint lacks a shard",
        ),
        (lambda f: (f / "model.safetensors.index.json").write_text("{}"), "has no weight_map from tensors to files"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(
    checkpoint: Checkpoint, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    source = shutil.copytree(checkpoint.released, tmp_path / "source")
    damage(source)
    with pytest.raises(ModelError, match=message):
        import_release(source, tmp_path / "ours")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_folder_that_exists_is_not_overwritten(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists already; give a new folder"):
        import_release(checkpoint.released, tmp_path)
    with pytest.raises(OutputError, match="exists already; give a new folder"):
        export_release(checkpoint.ours, tmp_path)


def test_shards_hold_what_fits() -> None:
    assert plan_shards({"a": 4, "b": 4, "c": 9, "d": 1}, 8) == [["a", "b"], ["c"], ["d"]]


def test_profiles_differ_in_every_setting_and_are_known_by_name() -> None:
    paper, release = profile_named("paper"), profile_named("release")
    for one, other in (
        (paper.model, release.model),
        (paper.processor, release.processor),
        (paper.image_processor, release.image_processor),
    ):
        assert one.keys() == other.keys() and all(one[key] != other[key] for key in one)
    with pytest.raises(ModelError, match="unknown profile 'best': choose one of paper, release"):
        profile_named("best")


def test_sizes_that_the_layout_cannot_state_are_not_exported(tiny: Loaded, tmp_path: Path) -> None:
    model, processor = tiny
    model.save_pretrained(tmp_path / "tiny")
    processor.save_pretrained(tmp_path / "tiny")
    with pytest.raises(ModelError, match=r"layout cannot state sam_config\.\S+ = .*; it stands for"):
        export_release(tmp_path / "tiny", tmp_path / "released")
    assert not (tmp_path / "released").exists()


def test_a_disk_without_room_is_named_before_anything_is_written(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=10**6))
    for make, source in ((import_release, checkpoint.released), (export_release, checkpoint.ours)):
        with pytest.raises(OutputError, match=r"copy: needs \d\d MB, but 1 MB are free on its disk; give a folder"):
            make(source, tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="sets a limit of Linux")
def test_a_disk_that_fills_up_is_one_sentence(checkpoint: Checkpoint, tmp_path: Path) -> None:
    import resource

    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, before[1]))
    try:
        with pytest.raises(OutputError, match=r"copy: cannot be written \(File too large"):
            import_release(checkpoint.released, tmp_path / "copy")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []
