"""Dense pre-training of both encoders: prompts that can be answered, checkpoints, and a run that goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from terrascope.landcover import TERRASCOPE
from terrascope.model import nano
from terrascope.model.terrascope import TerraScope
from terrascope.sources.synthetic import make_sample
from terrascope.training import dense
from terrascope.training.batches import DenseBatch, DenseSampler
from terrascope.training.dense import (
    DenseRecipe,
    SamPretrainer,
    VisionPretrainer,
    draw_prompts,
    evaluate_hls,
    initialize_narrow,
    pretrain,
)
from terrascope.training.losses import LossWeights, segmentation_loss
from terrascope.training.pool import Pool
from tests.model.conftest import tiny_config
from tests.training.conftest import tiny_sam_config


@pytest.fixture
def tiny_nano(monkeypatch: pytest.MonkeyPatch) -> None:
    """`nano` a few thousand parameters small."""
    monkeypatch.setattr(nano, "sam2_config", tiny_sam_config)
    monkeypatch.setattr(nano, "SAM_WIDTH", 32)
    monkeypatch.setattr(nano, "VISION_SIZE", 32)
    monkeypatch.setattr(nano, "TOKEN_GRID", 4)
    monkeypatch.setattr(
        nano,
        "internvl_config",
        lambda vocab_size, image_token_id: tiny_config(vocab_size, image_token_id, 0).vlm_config,
    )


def make_batch(known: list[list[int]], shares: list[dict[int, float]]) -> DenseBatch:
    num, size = len(known), 16
    targets = torch.zeros(num, len(TERRASCOPE), size, size)
    vouched = torch.zeros(num, len(TERRASCOPE), dtype=torch.bool)
    for row, classes in enumerate(known):
        vouched[row, classes] = True
        for class_id, share in shares[row].items():
            targets[row, class_id].view(-1)[: round(share * size * size)] = 1
    return DenseBatch(torch.rand(num, 3, 256, 256), targets, vouched, torch.ones(num, len(TERRASCOPE), size, size))


def test_prompts_are_mostly_classes_that_are_there_and_always_known_ones() -> None:
    batch = make_batch([[0, 1, 2, 3], [5, 6], [4], [7]], [{1: 0.5, 3: 0.1, 9: 0.3}, {}, {4: 1.0}, {7: 0.003}])
    rng = np.random.default_rng(0)
    drawn = torch.stack([draw_prompts(batch, 4, rng) for _ in range(200)])
    assert drawn.shape == (200, 4, 4)
    first = drawn[:, 0].flatten().tolist()
    assert set(first) == {0, 1, 2, 3}, "class 9 is there, but the frame does not vouch for it"
    assert np.mean([c in (0, 2) for c in first]) == pytest.approx(0.25, abs=0.05)
    assert set(drawn[:, 1].flatten().tolist()) == {5, 6}, "nothing is there: absent classes"
    assert set(drawn[:, 2].flatten().tolist()) == {4}, "nothing is absent"
    assert set(drawn[:, 3].flatten().tolist()) == {7}, "one pixel in 256 counts as absent"


def test_layers_are_initialised_for_narrow_models() -> None:
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(16, 400), torch.nn.Embedding(50, 40), torch.nn.LayerNorm(16))
    torch.nn.init.constant_(layers[0].weight, 9.0)
    torch.nn.init.constant_(layers[2].weight, 9.0)
    initialize_narrow(layers)
    assert layers[0].weight.abs().max().item() <= 1 / 16**0.5
    assert layers[1].weight.std().item() == pytest.approx(1.0, abs=0.05)
    assert (layers[2].weight == 9.0).all(), "norms are left alone"


@pytest.mark.usefixtures("tiny_nano")
def test_the_sam_loss_is_that_of_the_prompted_masks_and_the_dense_map() -> None:
    torch.manual_seed(0)
    model = SamPretrainer().eval()
    batch = make_batch([[0, 1, 2], [3, 4]], [{0: 0.4, 1: 0.6}, {3: 0.9}])
    batch.weights[0, :, :4] = 0
    recipe = DenseRecipe(num_steps=1, num_prompts=3)
    with torch.no_grad():
        loss = dense._sam_loss(model, batch, recipe, np.random.default_rng(5), LossWeights())
        prompts = draw_prompts(batch, 3, np.random.default_rng(5))
        logits, shares = model(batch.images, prompts)
        assert logits.shape == (2, 3, 64, 64) and shares.shape == (2, len(TERRASCOPE), 64, 64)
        resized = [functional.interpolate(x, size=(16, 16), mode="bilinear") for x in (logits, shares)]
        masks = torch.stack([batch.targets[row, prompts[row]] for row in range(2)])
        weights = batch.weights[:, :3]
        prompted = segmentation_loss(
            resized[0].flatten(0, 1), masks.flatten(0, 1), weights.flatten(0, 1), LossWeights()
        )
        counted = batch.weights * batch.known[:, :, None, None].float()
        entropy = functional.binary_cross_entropy_with_logits(resized[1], batch.targets, reduction="none")
        mean = (entropy * counted).sum() / counted.sum()
    assert float(loss) == pytest.approx(float(prompted + 4 * mean), rel=1e-5)


@pytest.mark.usefixtures("tiny_nano")
def test_the_vision_loss_is_that_of_the_class_shares_of_patches() -> None:
    torch.manual_seed(0)
    model = VisionPretrainer().eval()
    batch = make_batch([[0, 1]], [{0: 0.53}])
    with torch.no_grad():
        loss = dense._vision_loss(model, batch)
        logits = model(batch.images)
    assert logits.shape == (1, len(TERRASCOPE), 8, 8)
    shares = batch.targets.unflatten(2, (8, 2)).unflatten(4, (8, 2)).mean((3, 5))
    entropy = functional.binary_cross_entropy_with_logits(logits[:, :2], shares[:, :2])
    assert float(loss) == pytest.approx(4 * float(entropy), rel=1e-5)


@pytest.mark.usefixtures("tiny_nano")
@pytest.mark.parametrize("kind", ["sam", "vision"])
def test_a_killed_run_goes_on_where_it_was(
    kind: str, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn: list[DenseBatch] = []
    plain = DenseSampler.draw
    monkeypatch.setattr(DenseSampler, "draw", lambda self, size: (drawn.append(plain(self, size)), drawn[-1])[1])
    pretrain(kind, pool, tmp_path, DenseRecipe(num_steps=2, batch_size=2, evaluate_every=1))
    assert len(drawn) == 2 and len(drawn[0].images) == 2
    assert [path.name for path in tmp_path.iterdir()] == [f"{kind}.pt"]
    first = torch.load(tmp_path / f"{kind}.pt", weights_only=True)
    assert first["step"] == 2 and first["schedule"]["last_epoch"] == 2
    assert f"{kind} 2: hls val:" in capsys.readouterr().out
    pretrain(kind, pool, tmp_path, DenseRecipe(num_steps=3, batch_size=2))
    assert len(drawn) == 3, "two steps are done"
    second = torch.load(tmp_path / f"{kind}.pt", weights_only=True)
    assert second["step"] == 3 and second["schedule"]["last_epoch"] == 3
    moments = [state["optimizer"]["state"][0] for state in (first, second)]
    assert [float(moment["step"]) for moment in moments] == [2.0, 3.0], "the optimizer goes on too"
    name = next(n for n, v in first["model"].items() if v.dim() > 1)
    moved = (second["model"][name] - first["model"][name]).abs().max()
    assert 0 < moved < 1e-2, "one step from the checkpoint, not a new start"
    pretrain(kind, pool, tmp_path, DenseRecipe(num_steps=3, batch_size=2))
    assert len(drawn) == 3, "a finished stage does nothing"


@pytest.mark.usefixtures("tiny_nano")
def test_what_is_kept_is_the_moving_average(pool: Pool, tmp_path: Path) -> None:
    pretrain("vision", pool, tmp_path, DenseRecipe(num_steps=1, batch_size=2, ema_decay=0.75))
    first = torch.load(tmp_path / "vision.pt", weights_only=True)
    pretrain("vision", pool, tmp_path, DenseRecipe(num_steps=2, batch_size=2, ema_decay=0.75))
    second = torch.load(tmp_path / "vision.pt", weights_only=True)
    for name, value in first["trained"].items():
        assert torch.equal(first["model"][name], value), "after one step the average is that step"
        assert torch.allclose(second["model"][name], 0.75 * value + 0.25 * second["trained"][name], atol=1e-6)


def test_a_trained_model_is_where_a_start_begins(pool: Pool, tmp_path: Path) -> None:
    start = TerraScope.from_pretrained("nano")
    for kind in ("sam", "vision"):
        pretrain(kind, pool, tmp_path, DenseRecipe(num_steps=1, batch_size=1, learning_rate=1e-9), start)
    sam = torch.load(tmp_path / "sam.pt", weights_only=True)["model"]
    for name, value in start.model.sam.state_dict().items():
        assert torch.allclose(sam[f"sam.{name}"], value, atol=1e-6), name
    tower = torch.load(tmp_path / "vision.pt", weights_only=True)["model"]
    for name, value in start.model.vlm.model.vision_tower.state_dict().items():
        assert torch.allclose(tower[f"tower.{name}"], value, atol=1e-6), name
    # What it asks for water is not what it asks for trees, and both are what its [SEG] states are projected to.
    asked = []
    hook = start.model.seg_projection.register_forward_hook(lambda module, inputs, output: asked.append(output))
    for seed in range(3):
        start.segment(make_sample(seed, size=256).scene, "water")
    hook.remove()
    expected = torch.cat([states.flatten(0, -2) for states in asked]).mean(0)
    prompts = sam["class_prompts"]
    assert torch.allclose(prompts[TERRASCOPE.id_of("water")], expected, atol=1e-5)
    assert not torch.allclose(prompts[TERRASCOPE.id_of("tree")], expected, atol=1e-2)


@pytest.mark.usefixtures("tiny_nano")
def test_a_resumed_run_draws_new_batches(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[DenseBatch] = []
    plain = DenseSampler.draw
    monkeypatch.setattr(DenseSampler, "draw", lambda self, size: (drawn.append(plain(self, size)), drawn[-1])[1])
    for num_steps in (1, 2):
        pretrain("vision", pool, tmp_path, DenseRecipe(num_steps=num_steps, batch_size=2))
    assert not torch.equal(drawn[0].images, drawn[1].images)


@pytest.mark.usefixtures("tiny_nano")
def test_evaluation_counts_the_validation_chips(pool: Pool) -> None:
    """A model that says yes everywhere: crop 120/256, tree 84/256 and water 36/256 of the labelled northern rows."""

    class Yes(VisionPretrainer):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(images), len(TERRASCOPE), 8, 8)

    model = Yes()
    ids = np.array(pool.ids[pool.select("val", "hls")[0]])
    shares = [float((ids == TERRASCOPE.id_of(name)).mean()) for name in ("crop", "tree", "water")]
    assert shares == pytest.approx([0.46875, 0.328125, 0.140625])
    iou, error = np.mean(shares), 100 * (1 - np.mean(shares))
    assert evaluate_hls(model, pool) == f"dense: IoU {iou:.3f} coverage error {error:.1f}"
    assert model.training


@pytest.mark.usefixtures("tiny_nano")
def test_the_learning_rate_warms_up_falls_and_falls_again_from_a_lower_peak(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Found(Exception):
        pass

    def catch(optimizer: object, rate: object) -> None:
        raise Found(rate)

    monkeypatch.setattr(torch.optim.lr_scheduler, "LambdaLR", catch)
    recipe = DenseRecipe(num_steps=100, polish_steps=50, polish_rate=0.4, warmup_steps=10)
    with pytest.raises(Found) as found:
        pretrain("vision", pool, tmp_path, recipe)
    rate = found.value.args[0]
    # A cosine that ends at a fiftieth: 0.51 half way.
    expected = {0: 0.1, 50: 0.51, 100: 0.4, 125: 0.4 * 0.51, 150: 0.4 * 0.02}
    assert {step: rate(step) for step in expected} == pytest.approx(expected)
    assert rate(9) == pytest.approx(1.0, abs=0.03) and rate(99) == pytest.approx(0.02, abs=0.001)
