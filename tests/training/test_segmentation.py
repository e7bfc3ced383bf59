"""The pieces of L_seg: fusion as in use, shares of a grid, zero that reaches what moves."""

from __future__ import annotations

import torch
from torch import nn

from terrascope.training.segmentation import fuse, idle
from tests.model.conftest import make_tiny


def test_fusion_is_that_of_inference_and_differentiable() -> None:
    model, _ = make_tiny()
    nn.init.normal_(model.mask_fusion.correction.weight)
    torch.manual_seed(2)
    logits = torch.randn(2, 3, 8, 8, requires_grad=True)
    valid = torch.rand(2, 3, 8, 8) > 0.4
    fused = fuse(model, logits, valid)
    with torch.no_grad():
        for mask in range(3):
            expected = model.fuse_logits(logits[:, mask], valid[:, mask])
            assert torch.equal(fused[mask], expected)
    fused.sum().backward()
    assert logits.grad is not None
    # Where one image was measured, it alone decides; where neither was, the second stands for both as in inference.
    only_optical, only_sar = valid[0] & ~valid[1], ~valid[0] & valid[1]
    assert (logits.grad[0][only_optical] == 1).all() and (logits.grad[1][only_optical] == 0).all()
    assert (logits.grad[0][only_sar] == 0).all() and (logits.grad[1][only_sar] == 1).all()
    assert (logits.grad[0][valid.all(0)] != 0).all() and model.mask_fusion.correction.weight.grad.any()


def test_what_idles_gets_a_gradient_of_zero_and_what_is_frozen_none() -> None:
    moving, frozen = nn.Linear(3, 2), nn.Linear(2, 2).requires_grad_(False)
    nothing = idle(moving, frozen)
    assert float(nothing.detach()) == 0.0
    nothing.backward()
    assert moving.weight.grad is not None and not moving.weight.grad.any()
    assert frozen.weight.grad is None
    assert not idle(frozen).requires_grad
