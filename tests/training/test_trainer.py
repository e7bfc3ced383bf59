"""The loop: the mean over a step, exact resumption, and how it stops."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from terrascope.errors import OutputError, RecipeError, SampleError, TrainingError
from terrascope.training.checkpoints import TRAINED
from terrascope.training.process_batches import ProcessBatches
from tests.training.fake_training import (
    FakeObjective,
    InOrder,
    Items,
    gather,
    make_recipe,
    make_trainer,
    weights_of,
)

ROOT = Path(__file__).parents[2]


class StopAfter(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


def losses_of(trainer: Any) -> list[float]:
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], atol: float) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=atol, msg=name)


def test_a_step_in_parts_is_the_step_at_once(tmp_path: Path) -> None:
    # Batches of 4 in the same order: two of 2 hold the same samples, with unequal numbers of tokens and masks.
    whole = make_trainer(tmp_path / "a", batch_size=4, max_steps=6)
    parts = make_trainer(tmp_path / "b", batch_size=2, accumulation=2, max_steps=6)
    for trainer in (whole, parts):
        trainer.train()
    assert_same(weights_of(whole), weights_of(parts), atol=1e-6)
    assert losses_of(whole) == pytest.approx(losses_of(parts), abs=1e-6)


def test_the_logged_loss_is_the_mean_over_all_tokens_and_masks_of_the_step(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, batch_size=2, accumulation=3, max_steps=1, optimizer={"warmup": 0.0})
    first = [index for batch in list(InOrder(2))[:3] for index in batch]
    with torch.no_grad():
        losses = FakeObjective()(gather([Items()[index] for index in first]))
    trainer.train()
    line = trainer.state.log_history[0]
    assert line["language_loss"] == pytest.approx(float(losses.language) / losses.num_tokens)
    assert line["segmentation_loss"] == pytest.approx(float(losses.segmentation) / losses.num_masks)
    assert line["loss"] == pytest.approx(line["language_loss"] + 0.5 * line["segmentation_loss"])
    assert {"learning_rate", "grad_norm", "samples_per_s", "tokens_per_s", "waited_share"} <= line.keys()


def test_two_processes_learn_what_one_learns_with_two_batches_a_step(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--standalone",
         str(ROOT / "tests/training/fake_training.py"), str(tmp_path)],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    result = torch.load(tmp_path / "result.pt")
    alone = make_trainer(tmp_path / "alone", batch_size=2, accumulation=2, max_steps=3)
    alone.train()
    assert_same(result["weights"], weights_of(alone), atol=1e-5)
    assert result["losses"] == pytest.approx(losses_of(alone), abs=1e-5)


@pytest.mark.parametrize("stop", [3, 6, 7])
def test_a_run_that_was_stopped_goes_on_exactly(tmp_path: Path, stop: int) -> None:
    # Six steps are an epoch, so that the run goes on within one, at its end and at the first step of the next.
    settings: dict[str, Any] = {"max_steps": 9, "save_every": stop, "batch_size": 4}
    unbroken = make_trainer(tmp_path / "a", objective=FakeObjective(dropout=0.5), **settings)
    unbroken.train()
    stopped = make_trainer(
        tmp_path / "b", objective=FakeObjective(dropout=0.5), callbacks=[StopAfter(stop + 1)], **settings
    )
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    # What the process has drawn meanwhile must not matter.
    torch.manual_seed(99)
    resumed = make_trainer(tmp_path / "b", objective=FakeObjective(dropout=0.5), **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "b" / f"checkpoint-{stop}"))
    assert losses_of(resumed) == losses_of(unbroken)
    assert_same(weights_of(resumed), weights_of(unbroken), atol=0)
    # Without the optimizer's state the run would end elsewhere.
    assert len(losses_of(resumed)) == 9


def test_a_checkpoint_holds_what_moves_and_nothing_else(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, max_steps=4, save_every=2, keep=1)
    trainer.train()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-4"]
    stored = load_file(tmp_path / "checkpoint-4" / TRAINED)
    moving = {name for name, weight in trainer.model.named_parameters() if weight.requires_grad}
    assert stored.keys() == moving and not any("frozen" in name for name in stored)
    for name, value in stored.items():
        assert torch.equal(value, trainer.model.state_dict()[name])


def test_a_checkpoint_of_other_parameters_is_refused(tmp_path: Path) -> None:
    make_trainer(tmp_path, max_steps=1, save_every=1).train()
    other = FakeObjective()
    other.seg_projection.requires_grad_(False)
    with pytest.raises(TrainingError, match=r"trained\.safetensors: holds other parameters .*seg_projection\.bias"):
        make_trainer(tmp_path, objective=other, max_steps=2).train(
            resume_from_checkpoint=str(tmp_path / "checkpoint-1")
        )


def test_a_loss_that_is_not_finite_stops_the_run_and_is_named(tmp_path: Path) -> None:
    order = [index for batch in InOrder(4) for index in batch]
    poison = next(index for index in order[12:16] if index % 3)
    trainer = make_trainer(tmp_path, objective=FakeObjective(poison=poison), max_steps=6, save_every=2)
    with pytest.raises(TrainingError) as caught:
        trainer.train()
    said = str(caught.value)
    assert said.startswith("step 4: the segmentation loss is not finite, on the samples ")
    assert f"sample-{poison}" in said and "checkpoint-2" in said and "precision=fp32" in said
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    objective = FakeObjective()
    objective.seg_projection.weight.register_hook(lambda gradient: gradient * float("nan"))
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    trainer = make_trainer(tmp_path, objective=objective, max_steps=2)
    with pytest.raises(TrainingError, match=r"^step 1: the gradient is not finite, on the samples sample-\d+"):
        trainer.train()
    assert_same(weights_of(trainer), before, atol=0)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_shard_is_named_as_it_is(tmp_path: Path, workers: int) -> None:
    trainer = make_trainer(tmp_path, broken=(5,), max_steps=6, num_workers=workers)
    with pytest.raises(SampleError) as caught:
        trainer.train()
    assert str(caught.value) == "part-5.parquet: damaged (cut off); build it again"


def test_batches_that_are_only_looked_at_tell_their_errors_too(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    assert sum(len(batch.examples) for batch in trainer.placed(Items(), InOrder(5))) == len(Items())
    with pytest.raises(SampleError, match=r"^part-5\.parquet: damaged"):
        list(trainer.placed(Items(broken=(5,)), InOrder(5)))


def test_the_rate_rises_over_the_warm_up_and_falls_by_a_cosine(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, batch_size=2, max_steps=10, optimizer={"learning_rate": 1.0e-3, "warmup": 0.3})
    trainer.train()
    rates = [line["learning_rate"] for line in trainer.state.log_history]
    assert rates[:4] == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3, 1e-3])
    # Half way down, 3.5 of 7 steps after the warm-up, lies between these two.
    assert rates[6] > 0.5e-3 > rates[7]
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_gradients_are_clipped(tmp_path: Path) -> None:
    seen: list[float] = []

    class Watch(TrainerCallback):
        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            moving = [weight for weight in kwargs["model"].parameters() if weight.grad is not None]
            seen.append(float(torch.stack([weight.grad.norm() for weight in moving]).norm()))

    trainer = make_trainer(tmp_path, max_steps=2, optimizer={"clip": 0.01}, callbacks=[Watch()])
    trainer.train()
    assert seen == pytest.approx([0.01, 0.01], rel=1e-3)
    assert all(line["grad_norm"] > 0.05 for line in trainer.state.log_history)


def test_the_loss_on_other_samples_is_looked_at_without_learning_from_them(tmp_path: Path) -> None:
    looks = {"every": 2, "max_samples": 24}
    trainer = make_trainer(tmp_path / "a", max_steps=4, evaluate=looks, others=(Items(), InOrder(5)))
    trainer.train()
    alone = make_trainer(tmp_path / "b", max_steps=4)
    alone.train()
    assert_same(weights_of(trainer), weights_of(alone), atol=0)
    lines = [line for line in trainer.state.log_history if "others_language_loss" in line]
    assert [line["step"] for line in lines] == [2, 4]
    with torch.no_grad():
        losses = trainer.model(gather([Items()[index] for index in range(24)]))
    assert lines[-1]["others_language_loss"] == pytest.approx(float(losses.language) / losses.num_tokens, rel=1e-5)
    assert lines[-1]["others_segmentation_loss"] == pytest.approx(
        float(losses.segmentation) / losses.num_masks, rel=1e-5
    )


def test_an_overall_batch_is_divided_among_processes() -> None:
    recipe = make_recipe(batch_size=2, overall_batch=32)
    assert [recipe.accumulation_on(num) for num in (1, 4, 16)] == [16, 4, 1]
    with pytest.raises(RecipeError, match="overall_batch is 32, but 3 processes take 6 samples at a time"):
        recipe.accumulation_on(3)


@pytest.mark.parametrize("num", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("num_items", [1, 5, 12])
def test_processes_share_the_batches_of_an_epoch(num: int, num_items: int) -> None:
    batches = list(InOrder(2, num_items))
    shares = [ProcessBatches(InOrder(2, num_items), process, num) for process in range(num)]
    taken = [list(share) for share in shares]
    assert {len(one) for one in taken} == {len(shares[0])} == {-(-len(batches) // num)}
    dealt = [taken[number % num][number // num] for number in range(num * len(shares[0]))]
    assert dealt[: len(batches)] == batches
    # The last round is filled from the front.
    assert all(one in batches[:num] for one in dealt[len(batches) :])


def test_the_data_set_is_told_the_epoch_also_where_a_run_goes_on(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, max_steps=8, save_every=7)
    trainer.train()
    resumed = make_trainer(tmp_path, max_steps=8)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-7"))
    assert (trainer.train_dataset.epochs, resumed.train_dataset.epochs) == ([0, 1], [1])


def test_one_step_moves_the_weights(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, max_steps=1)
    before = weights_of(trainer)
    trainer.train()
    assert trainer.state.log_history[0]["learning_rate"] == 0.05
    assert not torch.equal(before["seg_projection.weight"], weights_of(trainer)["seg_projection.weight"])


def test_what_the_last_step_has_spoilt_is_not_kept(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, max_steps=1, optimizer={"learning_rate": 1e30, "clip": 0})
    with pytest.raises(TrainingError) as caught:
        trainer.train()
    assert str(caught.value) == (
        "step 1: the language loss after it is not finite; give a lower learning rate or precision=fp32 "
        "(there is no checkpoint yet)"
    )
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_finite_are_not_kept(tmp_path: Path) -> None:
    class Spoil(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 4:
                kwargs["model"].seg_projection.bias.data.fill_(float("nan"))

    trainer = make_trainer(tmp_path, max_steps=6, save_every=2, callbacks=[Spoil()])
    with pytest.raises(
        TrainingError, match=r"^step 4: the weights seg_projection\.bias are not finite; .*checkpoint-2"
    ):
        trainer.train()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]


# The weights, which safetensors writes, need 700 bytes; the optimizer's state, which torch writes, some thousands.
@pytest.mark.parametrize("num_bytes", [500, 1500])
def test_a_checkpoint_that_cannot_be_written_leaves_nothing(tmp_path: Path, num_bytes: int) -> None:
    trainer = make_trainer(tmp_path, max_steps=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        with pytest.raises(OutputError) as caught:
            trainer.train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value).startswith(f"{tmp_path}: a checkpoint cannot be written (")
    assert "; make room, and run it again to go on" in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
