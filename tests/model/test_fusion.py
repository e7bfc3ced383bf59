"""Eq. 4-5: the softmax axis, and the choice between optical and SAR."""

from __future__ import annotations

import math

import torch

from terrascope.model.fusion import relevance, weigh_modalities


def literal_relevance(visual: torch.Tensor, question: torch.Tensor) -> torch.Tensor:
    beta = torch.zeros(len(visual))
    for word in question:
        weights = [math.exp(float(token @ word) / math.sqrt(len(word))) for token in visual]
        beta += torch.tensor(weights) / sum(weights)
    return beta / len(question)


def test_relevance_equals_the_formula_and_is_not_constant() -> None:
    generator = torch.Generator().manual_seed(0)
    visual, question = torch.randn(12, 8, generator=generator), torch.randn(5, 8, generator=generator)
    beta = relevance(visual, question)
    assert torch.allclose(beta, literal_relevance(visual, question), atol=1e-6)
    assert math.isclose(float(beta.sum()), 1.0, rel_tol=1e-5)
    assert float(beta.max() - beta.min()) > 0.01
    # The other axis would make every beta 1 / L: the reading that docs/decisions.md rejects.
    scores = visual @ question.T / math.sqrt(8)
    assert torch.allclose(scores.softmax(dim=1).mean(dim=1), torch.full((12,), 1 / 5))


def test_relevance_is_the_same_where_products_are_short() -> None:
    generator = torch.Generator().manual_seed(0)
    visual, question = torch.randn(12, 8, generator=generator), torch.randn(5, 8, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        assert (visual @ question.T).dtype == torch.bfloat16
        short = relevance(visual, question)
    assert torch.equal(short, relevance(visual, question))


def test_each_position_takes_its_more_relevant_modality_and_swapping_swaps() -> None:
    generator = torch.Generator().manual_seed(1)
    optical, sar = torch.randn(9, 8, generator=generator), torch.randn(9, 8, generator=generator)
    question = torch.randn(4, 8, generator=generator)
    beta_optical, beta_sar = literal_relevance(optical, question), literal_relevance(sar, question)
    indices = torch.tensor([0, 2, 3, 5, 8])
    features, is_optical = weigh_modalities(optical, sar, question, (3, 3)).gather(indices)
    assert is_optical.any() and not is_optical.all()
    for place, index in enumerate(indices.tolist()):
        wins = bool(beta_optical[index] > beta_sar[index])
        assert bool(is_optical[place]) == wins
        assert torch.equal(features[place], (optical if wins else sar)[index])
    swapped, swapped_optical = weigh_modalities(sar, optical, question, (3, 3)).gather(indices)
    assert torch.equal(swapped, features)
    assert torch.equal(swapped_optical, ~is_optical)


def test_a_single_modality_is_taken_as_it_is() -> None:
    tokens, question = torch.arange(12.0).reshape(4, 3), torch.ones(1, 3)
    for name in ("optical", "sar"):
        given = {"optical": None, "sar": None, name: tokens}
        features, is_optical = weigh_modalities(given["optical"], given["sar"], question, (2, 2)).gather(
            torch.tensor([3, 1])
        )
        assert torch.equal(features, tokens[[3, 1]])
        assert is_optical.tolist() == [name == "optical"] * 2
