"""What was packed comes back: shapes, types, and what is one tensor stays one."""

from __future__ import annotations

import torch

from terrascope.training.packing import pack, unpack


def test_tensors_of_every_kind_come_back() -> None:
    one = torch.arange(6).view(2, 3)
    value = {
        "twice": (one, one),
        "turned": one.T,
        "bool": torch.tensor([True, False, True]),
        "half": torch.tensor([[0.5], [-2.0]], dtype=torch.float16),
        "single": torch.tensor(7),
        "none": torch.zeros(0, 4),
        "text": "kept",
    }
    packed = pack(value)
    assert packed.buffer.dtype == torch.uint8 and b"kept" in packed.told
    found = unpack(packed)
    assert found.keys() == value.keys() and found["text"] == "kept"
    assert found["twice"][0] is found["twice"][1] and torch.equal(found["twice"][0], one)
    for name in ("turned", "bool", "half", "single", "none"):
        assert found[name].dtype == value[name].dtype and found[name].shape == value[name].shape
        assert torch.equal(found[name], value[name])


def test_without_tensors_there_is_an_empty_buffer() -> None:
    packed = pack([1, "a"])
    assert packed.buffer.shape == (0,) and unpack(packed) == [1, "a"]
