"""The whole recipe of `nano`, a few thousand parameters small: every stage, its result, and a checkpoint that loads."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from terrascope.errors import OutputError, SceneError
from terrascope.landcover import TERRASCOPE
from terrascope.model import nano as sizes
from terrascope.model.checkpoint import load
from terrascope.model.terrascope import TerraScope
from terrascope.sources.synthetic import make_sample
from terrascope.training import nano
from terrascope.training import pool as pool_module
from terrascope.training.dense import MEAN, STD, DenseRecipe
from terrascope.training.grounding import GroundingRecipe
from terrascope.training.instruct import InstructRecipe
from terrascope.training.nano import NanoRecipe, load_encoders, main, make_tokenizer, train
from terrascope.training.pool import Pool
from tests.model.conftest import tiny_config
from tests.training.conftest import SerialExecutor, tiny_sam_config

RECIPE = NanoRecipe(
    num_scenes=4,
    num_validation_scenes=1,
    sam_steps=1,
    sam_polish_steps=1,
    vision_steps=1,
    instruct_steps=1,
    grounding_steps=1,
    num_states=8,
)


@pytest.fixture(scope="module")
def patch():  # type: ignore[no-untyped-def]
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def run(patch: pytest.MonkeyPatch, chips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    patch.setattr(pool_module, "ProcessPoolExecutor", SerialExecutor)
    patch.setattr(nano, "ProcessPoolExecutor", SerialExecutor)
    patch.setattr(torch, "set_num_threads", lambda num: None)
    patch.setattr(sizes, "sam2_config", tiny_sam_config)
    for name, value in (("SAM_WIDTH", 32), ("VISION_SIZE", 32), ("TOKEN_GRID", 4)):
        patch.setattr(sizes, name, value)
    patch.setattr(
        sizes,
        "internvl_config",
        lambda vocab_size, image_token_id: tiny_config(vocab_size, image_token_id, 0).vlm_config,
    )
    patch.setattr(nano, "make_tokenizer", partial(make_tokenizer, num_texts=30))
    for recipe in (DenseRecipe, InstructRecipe, GroundingRecipe):
        patch.setattr(nano, recipe.__name__, partial(recipe, batch_size=2))
    folder = tmp_path_factory.mktemp("runs") / "nano"
    assert train(folder, chips, RECIPE) == folder / "nano"
    return folder


def test_every_stage_leaves_its_result(run: Path) -> None:
    assert {path.name for path in run.iterdir()} == {
        "pool", "sam.pt", "vision.pt", "tokenizer", "features.npy", "instruct.pt", "grounding.pt", "nano",
    }  # fmt: skip


def test_the_checkpoint_loads_and_answers(run: Path) -> None:
    model, processor = load(str(run / "nano"))
    assert processor.system_prompt == "" and processor.image_processor.image_mean == [MEAN] * 3
    assert processor.image_processor.image_std == [STD] * 3 and processor.image_processor.sam_size == 256
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    scene = make_sample(0, size=64, num_dates=1).scene
    answer = TerraScope(model, processor, "nano").segment(scene, "water")
    assert len(answer.masks) == 1 and answer.masks[0].shape == (64, 64)


def test_the_checkpoint_holds_what_the_stages_learned(run: Path) -> None:
    model, _ = load(str(run / "nano"))
    state = model.state_dict()
    for stage in ("instruct", "grounding"):
        learned = torch.load(run / f"{stage}.pt", weights_only=True)
        learned = learned.get("model", learned)
        for name, value in learned.items():
            # The grounding stage comes last and moves the projection once more; weights are stored in bfloat16.
            if stage == "grounding" or not name.startswith("seg_projection."):
                assert torch.equal(state[name], value.bfloat16().float()), name
    vision = torch.load(run / "vision.pt", weights_only=True)["model"]
    name = "encoder.layer.0.attention.q_proj.weight"
    assert torch.equal(state[f"vlm.model.vision_tower.{name}"], vision[f"tower.{name}"].bfloat16().float())
    sam = torch.load(run / "sam.pt", weights_only=True)["model"]
    for name in ("vision_encoder.backbone.patch_embed.projection.weight", "no_memory_embedding"):
        assert torch.equal(state[f"sam.{name}"], sam[f"sam.{name}"].bfloat16().float())


def test_encoders_are_put_where_they_belong(run: Path) -> None:
    model, _ = nano.prepare_language(run, Pool.open(run / "pool"))
    prompts = load_encoders(model, run, kinds=("sam", "vision"))
    sam = torch.load(run / "sam.pt", weights_only=True)["model"]
    assert prompts is not None and torch.equal(prompts, sam["class_prompts"]) and prompts.shape == (len(TERRASCOPE), 32)
    for name, value in model.sam.state_dict().items():
        assert torch.equal(value, sam[f"sam.{name}"]), name
    assert load_encoders(model, run, kinds=("vision",)) is None


def test_a_second_call_trains_nothing_again(run: Path, chips: Path) -> None:
    names = ("pool/frames.json", "sam.pt", "vision.pt", "features.npy", "instruct.pt", "tokenizer/tokenizer.json")
    before = {name: (run / name).stat().st_mtime_ns for name in names}
    train(run, chips, RECIPE)
    assert {name: (run / name).stat().st_mtime_ns for name in names} == before


def test_a_second_call_does_not_repeat_the_grounding(run: Path, chips: Path) -> None:
    before = (run / "grounding.pt").stat().st_mtime_ns
    train(run, chips, RECIPE)
    assert (run / "grounding.pt").stat().st_mtime_ns == before


def test_encoders_are_not_trained_in_forked_processes(run: Path, chips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[SerialExecutor] = []

    def record(*settings: object, **named: object) -> SerialExecutor:
        made.append(SerialExecutor(*settings, **named))
        return made[-1]

    monkeypatch.setattr(nano, "ProcessPoolExecutor", record)
    train(run, chips, RECIPE)
    context = made[0].settings[1].get("mp_context")
    assert context is not None and context.get_start_method() in ("spawn", "forkserver")


def test_the_vocabulary_covers_the_projects_wording(run: Path) -> None:
    tokenizer = make_tokenizer(Pool.open(run / "pool"), 60)
    assert len(tokenizer) <= nano.VOCABULARY
    for text in ("How much of the image is covered by water?", "<think>The water: [SEG] It covers 12% of the image."):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert len(ids) <= 2 * len(text.split()), "words are tokens, not letters"


def test_the_tokenizer_is_the_same_each_time(run: Path) -> None:
    pool = Pool.open(run / "pool")
    one, two = (make_tokenizer(pool, 10) for _ in range(2))
    assert one.get_vocab() == two.get_vocab()


def test_arguments_become_the_recipe(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    called: list[tuple[object, ...]] = []
    monkeypatch.setattr(nano, "train", lambda *arguments: (called.append(arguments), tmp_path / "nano")[1])
    main(["--out", str(tmp_path / "run"), "--num-scenes", "7", "--sam-steps", "3"])
    main(["--out", str(tmp_path / "run"), "--data", str(tmp_path)])
    assert called == [
        (tmp_path / "run", None, NanoRecipe(num_scenes=7, sam_steps=3)), (tmp_path / "run", tmp_path, NanoRecipe()),
    ]  # fmt: skip
    assert str(tmp_path / "nano") in capsys.readouterr().out


def test_folders_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"nowhere: not a folder; --data names the folder that holds hls-worldcover"):
        main(["--out", str(tmp_path), "--data", str(tmp_path / "nowhere")])
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file: cannot be made \(.+\); give --out a folder that can be written"):
        main(["--out", str(tmp_path / "file")])
