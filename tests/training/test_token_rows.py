"""Rows of a few tokens beside a frozen matrix: what they give, what they learn, and that they fold in."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from terrascope.training.token_rows import add_token_rows, fold_token_rows

TOKENS = (7, 2)


def make_matrices(tied: bool) -> tuple[nn.Embedding, nn.Linear]:
    torch.manual_seed(0)
    embedding, head = nn.Embedding(9, 4), nn.Linear(4, 9, bias=False)
    if tied:
        head.weight = embedding.weight
    embedding.requires_grad_(False)
    head.requires_grad_(False)
    return embedding, head


@pytest.mark.parametrize("tied", [True, False])
def test_rows_stand_in_for_those_of_the_matrix(tied: bool) -> None:
    embedding, head = make_matrices(tied)
    plain = copy.deepcopy(embedding), copy.deepcopy(head)
    add_token_rows(embedding, head, TOKENS)
    ids, hidden = torch.arange(9).view(3, 3), torch.randn(2, 5, 4)
    assert torch.equal(embedding(ids), plain[0](ids)) and torch.allclose(head(hidden), plain[1](hidden))
    with torch.no_grad():
        embedding.token_rows.rows.copy_(torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]]))
    embedded = embedding(ids).view(9, 4)
    assert embedded[7].tolist() == [1, 2, 3, 4] and embedded[2].tolist() == [5, 6, 7, 8]
    others = [0, 1, 3, 4, 5, 6, 8]
    assert torch.equal(embedded[others], plain[0].weight[others])
    expected = hidden @ plain[1].weight.T
    if tied:
        expected[..., 7] = hidden @ torch.tensor([1.0, 2, 3, 4])
        expected[..., 2] = hidden @ torch.tensor([5.0, 6, 7, 8])
    assert torch.allclose(head(hidden), expected, atol=1e-5)
    assert (head.token_rows is embedding.token_rows) == tied


@pytest.mark.parametrize("tied", [True, False])
def test_gradients_of_the_rows_equal_those_of_the_matrix(tied: bool) -> None:
    embedding, head = make_matrices(tied)
    whole = copy.deepcopy((embedding, head))
    ids, labels = torch.tensor([1, 7, 2, 7, 0]), torch.tensor([7, 2, 4, 3, 7])
    for part in whole:
        part.requires_grad_(True)
    nn.functional.cross_entropy(whole[1](whole[0](ids)), labels).backward()
    add_token_rows(embedding, head, TOKENS)
    nn.functional.cross_entropy(head(embedding(ids)), labels).backward()
    for part, reference in zip((embedding, head), whole, strict=True):
        assert part.weight.grad is None
        assert torch.allclose(part.token_rows.rows.grad, reference.weight.grad[list(TOKENS)], atol=1e-6)


@pytest.mark.parametrize("tied", [True, False])
def test_folding_gives_plain_matrices_with_the_same_output(tied: bool) -> None:
    embedding, head = make_matrices(tied)
    add_token_rows(embedding, head, TOKENS)
    for rows in {embedding.token_rows, head.token_rows}:
        nn.init.normal_(rows.rows)
    ids, hidden = torch.arange(9), torch.randn(3, 4)
    before = embedding(ids), head(hidden)
    fold_token_rows(embedding, head)
    assert list(embedding.state_dict()) == list(head.state_dict()) == ["weight"]
    assert not embedding._forward_hooks and not head._forward_hooks
    assert torch.equal(embedding(ids), before[0]) and torch.allclose(head(hidden), before[1], atol=1e-6)
    assert (head.weight is embedding.weight) == tied
    fold_token_rows(embedding, head)
    assert torch.equal(embedding(ids), before[0])


def test_a_copy_has_rows_of_its_own() -> None:
    pair = nn.ModuleList(make_matrices(tied=True))
    add_token_rows(pair[0], pair[1], TOKENS)
    other = copy.deepcopy(pair)
    with torch.no_grad():
        other[0].token_rows.rows.fill_(0)
    assert other[0](torch.tensor(7)).tolist() == [0] * 4 and other[1](torch.ones(4))[7] == 0
    assert pair[0](torch.tensor(7)).any() and pair[1](torch.ones(4))[7] != 0
