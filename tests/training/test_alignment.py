"""The terms beyond Eq. 6, against loops over [SEG]s and cells."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from terrascope.landcover import TERRASCOPE
from terrascope.model.encoding import encode_scene
from terrascope.training.alignment import modality_gaps, state_gaps
from terrascope.training.objective import Objective, ObjectiveSettings
from tests.model.conftest import Loaded, make_tiny
from tests.training.batches_by_hand import make_batch


@pytest.fixture(scope="module")
def tiny() -> Loaded:
    return make_tiny()


def test_states_are_drawn_to_the_prompts_of_their_classes(tiny: Loaded) -> None:
    model, _ = tiny
    batch = make_batch(tiny)
    torch.manual_seed(1)
    prompts, states = torch.randn(len(TERRASCOPE), 32), torch.randn(6, 32)
    names = ["water", "tree", "water", "water", "tree", "water"]
    with torch.no_grad():
        total, count = state_gaps(model, batch, states, prompts)
        expected = [
            float((model.seg_projection(state) - prompts[TERRASCOPE.id_of(name)]).square().mean())
            for state, name in zip(states, names, strict=True)
        ]
    assert count == 6 and float(total) == pytest.approx(sum(expected), rel=1e-5)
    examples = tuple(replace(e, class_names=("volcano",) * len(e.class_names)) for e in batch.examples)
    total, count = state_gaps(model, replace(batch, examples=examples), states, prompts)
    assert count == 0 and float(total.detach()) == 0.0


@pytest.mark.parametrize("distance", ["cosine", "mse"])
def test_tokens_of_both_modalities_are_compared_cell_by_cell_where_both_are_seen(tiny: Loaded, distance: str) -> None:
    model, _ = tiny
    batch = make_batch(tiny, (0, 1, 3, 1))
    # Of the pair alone, the optical image was measured in the right half and a little more, the SAR image above.
    pair = batch.scenes[1]
    optical, sar = torch.zeros(64, 64, dtype=torch.bool), torch.zeros(64, 64, dtype=torch.bool)
    optical[:, 26:] = True
    sar[:40] = True
    scenes = (batch.scenes[0], replace(pair, valid=(optical, sar)), batch.scenes[2])
    batch = replace(batch, scenes=scenes)
    with torch.no_grad():
        tokens = [model.encode_tiles(scene.tiles) for scene in scenes]
        total, count = modality_gaps(batch, tokens, distance)  # type: ignore[arg-type]
        expected, cells = 0.0, 0
        for owner in batch.owners:
            encoded = encode_scene(model, scenes[owner])
            for places in encoded.pairs:
                if len(places) < 2:
                    continue
                valid = scenes[owner].valid[places["optical"]] & scenes[owner].valid[places["sar"]]
                for cell in range(16):
                    top, left = cell // 4 * 16, cell % 4 * 16
                    if valid[top : top + 16, left : left + 16].float().mean() <= 0.5:
                        continue
                    a, b = encoded.context[places["optical"]][cell], encoded.context[places["sar"]][cell]
                    cells += 1
                    if distance == "mse":
                        expected += float(((a - b) ** 2).mean())
                    else:
                        expected += 1 - float(a @ b / (a.norm() * b.norm()))
    # Twice the pair with 2 x 2 cells to the right and above (the second column is seen for less than a half), and two
    # dates of which clouds hide nothing that `valid` tells.
    assert count == cells and count >= 2 * 4
    assert float(total) == pytest.approx(expected, rel=1e-4)


def test_the_objective_adds_both_with_their_weights(tiny: Loaded) -> None:
    model, _ = tiny
    batch = make_batch(tiny)
    prompts = torch.randn(len(TERRASCOPE), 32)
    settings = ObjectiveSettings(loss_size=64, alignment=0.5, modality_alignment=0.25)
    with torch.no_grad():
        objective = Objective(model, settings, class_prompts=prompts)
        losses = objective(batch)
        states = torch.cat(objective.read_states(batch))
        plain = Objective(model, ObjectiveSettings(loss_size=64))(batch).mean()
        gaps, num_states = state_gaps(model, batch, states, prompts)
        apart, num_cells = modality_gaps(batch, objective.encoders.look(batch.scenes, batch.scene_ids), "cosine")
    assert {name: count for name, (_, count) in losses.extra.items()} == {
        "alignment": num_states,
        "modality_alignment": num_cells,
    }
    expected = float(plain) + 0.5 * float(gaps) / num_states + 0.25 * float(apart) / num_cells
    assert float(losses.mean()) == pytest.approx(expected, rel=1e-5)
    half = losses.mean(num_extra={"alignment": 2 * num_states, "modality_alignment": num_cells})
    assert float(losses.mean() - half) == pytest.approx(0.25 * float(gaps) / num_states, rel=1e-3)
