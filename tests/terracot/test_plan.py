"""Recipes and plans: which chips, in which shards; what may be continued, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stripes import Stripes, recipe
from terrascope.errors import SampleError
from terrascope.terracot import plan as plans
from terrascope.terracot.plan import ClassCount, PlannedChip, list_chips, load_plan, spread
from terrascope.terracot.recipe import Recipe

A = {"name": "a", "root": "data/a"}


@pytest.mark.parametrize(
    ("num", "limit", "expected"),
    [(5, None, [0, 1, 2, 3, 4]), (5, 9, [0, 1, 2, 3, 4]), (10, 1, [5]), (10, 2, [2, 7]), (7, 3, [1, 3, 5])],
)
def test_a_limit_is_spread_evenly(num: int, limit: int | None, expected: list[int]) -> None:
    assert list(spread(range(num), limit)) == expected


def test_shards_follow_the_order_of_the_sources_and_hold_chips_of_one() -> None:
    wanted = Recipe.of(
        {
            "sources": [A, A | {"name": "b", "limit": 2}],
            "chips_per_shard": 2,
            "limit": 3,
        }
    )
    plan = list_chips(wanted, {"a": Stripes(name="a", num=6), "b": Stripes(name="b", num=4)})
    assert plan.shards == (
        (PlannedChip("a", "1", "place 0"), PlannedChip("a", "3", "place 1")),
        (PlannedChip("a", "5", "place 2"),),
        (PlannedChip("b", "1", "place 0"), PlannedChip("b", "3", "place 1")),
    )
    assert plan.num_chips == 5
    assert plan.skipped == {"a": {"cloudy": 3}, "b": {"cloudy": 3}}
    assert plan.shard_name(2) == "train-00002-of-00003.parquet"


def test_no_chip_at_all_is_refused() -> None:
    with pytest.raises(SampleError, match="stripes: no chip in the split val; choose another one with --split"):
        list_chips(recipe(split="val"), {"stripes": Stripes()})


def test_a_plan_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    wanted = recipe(seed=7)
    assert load_plan(tmp_path, wanted) is None
    listed = list_chips(wanted, {"stripes": Stripes()})
    plan = plans.Plan(
        recipe=wanted,
        shards=listed.shards,
        skipped=listed.skipped,
        classes={"water": ClassCount(shown=3, known=4)},
        presence={"stripes": ({"water": 0.75}, {})},
    )
    plan.save(tmp_path)
    read = load_plan(tmp_path, wanted)
    assert read is not None
    assert (read.recipe, read.shards, read.skipped, read.classes, read.presence) == (
        plan.recipe,
        plan.shards,
        plan.skipped,
        plan.classes,
        plan.presence,
    )
    assert read.digest == plan.digest != listed.digest


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"levels": ["L1"]}, "levels"),
        ({"limit": 3}, "limit"),
        ({"options": {"num": 11}}, "sources"),
        ({"seed": 1, "level1": {"options_share": 0.0}}, "seed, level1"),
    ],
)
def test_another_recipe_is_not_continued(tmp_path: Path, changes: dict[str, object], named: str) -> None:
    list_chips(recipe(), {"stripes": Stripes()}).save(tmp_path)
    with pytest.raises(SampleError, match=rf"another recipe was begun here \({named} differ\); give the same one"):
        load_plan(tmp_path, recipe(**changes))


def test_what_may_fail_and_where_data_lie_may_change(tmp_path: Path) -> None:
    def of(root: str, share: float) -> Recipe:
        return Recipe.of({"sources": [{"name": "stripes", "root": root}], "max_failed_share": share})

    plan = list_chips(of("/here/stripes-v2", 0.1), {"stripes": Stripes()})
    plan.save(tmp_path)
    assert "/here" not in (tmp_path / "plan.json").read_text(), "folders of this machine are nobody's business"
    read = load_plan(tmp_path, of("/there/stripes-v2", 0.5))
    assert read is not None and read.digest == plan.digest
    with pytest.raises(SampleError, match="sources differ"):
        load_plan(tmp_path, of("/there/stripes-v3", 0.1))


def test_the_plan_of_another_version_is_not_continued(tmp_path: Path) -> None:
    list_chips(recipe(), {"stripes": Stripes()}).save(tmp_path)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": "0.0.1"}))
    with pytest.raises(SampleError, match=r"plan\.json: begun by terrascope 0\.0\.1, and this is .*new folder"):
        load_plan(tmp_path, recipe())
    path.write_text("{")
    with pytest.raises(SampleError, match=r"plan\.json: not a readable plan .*; give a new folder with --out"):
        load_plan(tmp_path, recipe())


def test_plans_differ_by_anything_that_decides_samples() -> None:
    sources = {"stripes": Stripes()}
    digests = [list_chips(r, sources).digest for r in (recipe(), recipe(seed=1), recipe(level1={"options_share": 0.1}))]
    assert len(set(digests)) == 3
    assert digests[0] == list_chips(recipe(), sources).digest


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "r.yaml: sources: is missing"),
        ({"sources": []}, "r.yaml: sources: give at least 1"),
        ({"sources": [A, A]}, "r.yaml: sources: a is given twice"),
        ({"sources": [A], "sede": 3}, "r.yaml: sede: there is no such field; choose among sources, split"),
        ({"sources": [A], "levels": ["L3"]}, "r.yaml: levels.0: choose 'referring', 'caption', 'L1' or 'L2', got 'L3'"),
        ({"sources": [A | {"limit": 0}]}, "r.yaml: sources.0.limit: give at least 1, got 0"),
        ({"sources": [A], "levels": "L1"}, "r.yaml: levels: give a list, such as [a, b], got 'L1'"),
        ({"sources": [A], "level1": {"options_share": 7}}, "r.yaml: level1: options_share"),
        (
            {"sources": [A], "level1": {"kinds": 3}},
            "r.yaml: level1: no setting kinds; choose among min_labelled, ",
        ),
        ({"sources": [A], "level1": {"options_share": "x"}}, "r.yaml: level1.options_share: give a number, got 'x'"),
        ({"sources": [A], "referring": {"weights": {}}}, "r.yaml: referring: no setting weights; choose"),
    ],
)
def test_a_wrong_field_is_named(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(SampleError) as caught:
        Recipe.of(values, "r.yaml")
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_a_recipe_is_read_from_yaml(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("sources:\n  - {name: stripes, root: data/x, options: {num: 3}}\nlevels: [L2, L1]\nseed: 5\n")
    read = Recipe.read(path)
    assert read.sources[0].root == Path("data/x") and read.sources[0].options == {"num": 3}
    assert (read.levels, read.seed, read.split) == (("L1", "L2"), 5, "train"), "levels in the order of the paper"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [(None, "cannot be read (No such file"), ("a: [", "not YAML ("), ("- a\n", "not a recipe; write one field")],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, text: str | None, sentence: str) -> None:
    path = tmp_path / "recipe.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SampleError) as caught:
        Recipe.read(path)
    assert str(caught.value).startswith(f"{path}: {sentence}") and "\n" not in str(caught.value)


def test_counted_classes_settle_weights_and_presence() -> None:
    presence = {"stripes": ({"water": 0.25}, {"water": 1.0})}
    plan = plans.Plan(
        presence=presence,
        recipe=recipe(referring={"per_image": 2}, level1={"num_kinds": [3, 3], "options_share": 0.25}),
        shards=(),
        classes={"water": ClassCount(shown=4, known=16), "tree": ClassCount(shown=16, known=16)},
    )
    assert plan.referring.per_image == 2
    assert dict(plan.referring.weights) == {"water": 2.0, "tree": 1.0}
    assert plan.level1.num_kinds == (3, 3) and plan.level1.options_share == 0.25
    assert plan.level1.presence == presence
    assert plan.level1.weights == plan.referring.weights
