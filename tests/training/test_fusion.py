"""The fusion of optical and SAR logits, fitted alone: it follows SAR where the optical image is undecided."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from terrascope.landcover import TERRASCOPE
from terrascope.masks import drop_specks
from terrascope.model.grounding import MaskFusion
from terrascope.model.terrascope import TerraScope
from terrascope.sources.synthetic import make_sample
from terrascope.training.fusion import FusionRecipe, collect, fit, fit_on

QUICK = FusionRecipe(num_scenes=2, pixels_per_mask=500, num_steps=300, batch_size=1024)


def test_it_learns_to_follow_sar_where_the_optical_image_mildly_denies() -> None:
    rng = torch.Generator().manual_seed(0)
    truth = (torch.rand(4000, generator=rng) < 0.5).float()
    sure = 4 * (2 * truth - 1)
    # Half of the pixels lie under clouds: there the optical logit says "rather not" of everything.
    cloudy = torch.arange(4000) % 2 == 0
    logits = torch.stack([torch.where(cloudy, torch.tensor(-3.0), sure), torch.where(cloudy, sure / 2, sure * 0)], -1)
    fusion = MaskFusion()
    fusion.reset()
    assert ((logits.mean(-1) > 0).float() == truth)[cloudy].float().mean() < 0.6
    before, after = fit_on(fusion, logits, truth, QUICK)
    with torch.no_grad():
        found = (fusion(logits[:, 0], logits[:, 1]) > 0).float()
    assert after < 0.2 * before
    assert (found == truth).float().mean() > 0.95
    assert not any(parameter.requires_grad for parameter in fusion.parameters())


@pytest.mark.weights
def test_it_learns_from_the_logits_that_masks_are_fused_of() -> None:
    front = TerraScope.from_pretrained("nano", device="cpu", dtype="float32")
    sample = make_sample(3, size=96, kind="country", num_dates=1, cloudy=True)
    labels = sample.labels[0]
    present = [number for number in labels.class_ids_known if labels.mask(number).mean() > 0.01][:4]
    logits, truth = collect(front, [(sample.scene, labels)], 96 * 96, np.random.default_rng(0))
    assert logits.shape == (len(present) * 96 * 96, 2) and truth.shape == logits.shape[:1]
    with torch.no_grad():
        masks = (front.model.mask_fusion(logits[:, 0], logits[:, 1]) > 0).reshape(len(present), 96, 96).numpy()
    for class_id, mask, true in zip(present, masks, truth.reshape(masks.shape).numpy(), strict=True):
        mask = drop_specks(mask, front.model.config.min_object_pixels(mask.shape))
        np.testing.assert_array_equal(mask, front.segment(sample.scene, TERRASCOPE[class_id].name).masks[0])
        np.testing.assert_array_equal(true > 0, labels.mask(class_id))


@pytest.mark.weights
def test_only_the_fusion_moves_and_the_same_comes_out_again() -> None:
    found = []
    for _ in range(2):
        front = TerraScope.from_pretrained("nano", device="cpu", dtype="float32")
        kept = {name: value.clone() for name, value in front.model.state_dict().items()}
        losses = fit(front, QUICK)
        moved = {n for n, value in front.model.state_dict().items() if not torch.equal(value, kept[n])}
        assert moved == {f"mask_fusion.{n}" for n in front.model.mask_fusion.state_dict()}
        found.append((losses, front.model.mask_fusion.correction.weight.clone()))
    assert found[0][0] == found[1][0] and torch.equal(found[0][1], found[1][1])
