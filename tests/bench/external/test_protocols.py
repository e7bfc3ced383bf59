"""Protocols give the averages that the papers print: their own tables are the oracle."""

from __future__ import annotations

import dataclasses

import pytest

from terrascope.bench.external import EXTERNAL
from terrascope.bench.external.labels import LabelScores
from terrascope.bench.external.protocols import OWN, PROTOCOLS, Average, Protocol

NUM_LANDSAT = {"DLC": 372, "MOP": 363, "SRI": 363, "NUM": 337, "COA": 319, "APR": 315, "FOD": 300, "USR": 290}
NUM_RSVQA = {"presence": 2955, "comp": 4002, "rural_urban": 100}


def counts(percent: dict[str, float], asked: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Right and asked, where a task of so many questions has this accuracy."""
    return {task: (round(value / 100 * asked[task]), asked[task]) for task, value in percent.items()}


def average(name: str, number: int, taken: dict[str, tuple[int, int]]) -> float | None:
    protocol = PROTOCOLS[name]
    return protocol.average(protocol.averages[number], taken)


def test_every_benchmark_of_others_has_a_protocol_with_averages() -> None:
    assert set(PROTOCOLS) == set(EXTERNAL)
    fields = {field.name for field in dataclasses.fields(LabelScores)} - {"by_label"}
    for protocol in PROTOCOLS.values():
        allowed = fields if protocol.metric == "labels" else {"macro", "micro"}
        assert protocol.averages and {average.kind for average in protocol.averages} <= allowed


# Table F, column by column as in `LANDSAT_COLUMNS`, and its overall.
LANDSAT_COLUMNS = ("APR", "COA", "DLC", "FOD", "MOP", "NUM", "SRI", "USR")
TERRASCOPE = (69.84, 98.12, 83.06, 87.67, 61.98, 60.82, 91.12, 85.52)


def landsat(row: tuple[float, ...]) -> dict[str, tuple[int, int]]:
    return counts(dict(zip(LANDSAT_COLUMNS, row, strict=True)), NUM_LANDSAT)


def test_landsat30_au_averages_three_tasks_as_in_table_1() -> None:
    assert average("landsat30-au", 0, landsat(TERRASCOPE)) == pytest.approx(0.739, abs=6e-4)
    earth_dial = (23.49, 10.34, 75.27, 99.00, 61.16, 43.62, 51.24, 15.52)
    assert average("landsat30-au", 0, landsat(earth_dial)) == pytest.approx(0.394, abs=6e-4)


@pytest.mark.parametrize(
    ("row", "overall"),
    [
        ((23.49, 10.34, 75.27, 99.00, 61.16, 43.62, 51.24, 15.52), 48.29),
        ((68.57, 80.88, 71.24, 87.00, 63.09, 49.85, 26.17, 10.34), 57.24),
        ((40.00, 45.77, 92.47, 93.33, 84.30, 61.42, 94.21, 88.97), 75.55),
        ((45.71, 36.36, 72.85, 62.67, 67.49, 58.63, 69.97, 88.28), 62.87),
        ((29.84, 89.66, 94.09, 71.67, 76.03, 53.12, 92.84, 82.07), 74.28),
        ((39.37, 79.00, 83.06, 59.00, 72.45, 46.59, 85.12, 10.34), 60.96),
    ],
)
def test_landsat30_au_overall_is_over_all_questions_as_in_table_f(row: tuple[float, ...], overall: float) -> None:
    assert average("landsat30-au", 1, landsat(row)) == pytest.approx(overall / 100, abs=6e-4)


def test_terrascopes_own_overall_in_table_f_is_not_that_of_its_columns() -> None:
    # It is printed as 79.36: neither the average over questions, as in the six other rows, nor that over columns.
    assert average("landsat30-au", 1, landsat(TERRASCOPE)) == pytest.approx(0.7950, abs=1e-4)
    assert sum(TERRASCOPE) / 800 == pytest.approx(0.7977, abs=1e-4)


def test_rsvqa_lr_leaves_counts_out_as_table_g_does() -> None:
    # GeoChat's own table: 91.09, 90.33 and 94.00, whose average it gives as 90.70.
    taken = counts({"presence": 91.09, "comp": 90.33, "rural_urban": 94.0}, NUM_RSVQA) | {"count": (1, 3000)}
    assert average("rsvqa-lr", 0, taken) == pytest.approx(0.907, abs=6e-4)
    assert average("rsvqa-lr", 1, taken) == pytest.approx((0.9109 + 0.9033 + 0.94 + 1 / 3000) / 4, abs=6e-4)


def test_disasterm3_pools_the_tasks_of_a_column() -> None:
    # Table 1: TerraScope has 54.1 and 38.9, whose average is 46.5.
    taken = {"building_damage_counting": (541, 1000), "Road_Damage_Area": (89, 200), "road_damage_length": (300, 800)}
    taken |= {"disaster_type": (0, 50)}
    assert average("disasterm3", 0, taken) == pytest.approx(0.465, abs=3e-4)
    assert PROTOCOLS["disasterm3"].column_of("Damaged Building Counting") == "BDC"
    assert PROTOCOLS["disasterm3"].column_of("disaster_type") == "disaster_type"
    assert average("disasterm3", 0, {"building_damage_counting": (1, 2)}) is None


def test_terrascope_bench_by_paper_and_by_script() -> None:
    # Table 1: TerraScope; with the paper's numbers of questions.
    row, asked = (73.2, 70.2, 71.8, 80.0, 65.9, 52.1), (855, 855, 855, 855, 129, 288)
    tasks = ("CA", "AQ", "CR", "BRD", "DM", "BCE")
    taken = counts(dict(zip(tasks, row, strict=True)), dict(zip(tasks, asked, strict=True)))
    assert average("terrascope-bench", 0, taken) == pytest.approx(0.689, abs=6e-4)
    assert average("terrascope-bench", 1, taken) == pytest.approx(
        sum(n * value for n, value in zip(asked, row, strict=True)) / sum(asked) / 100, abs=6e-4
    )
    five = {task: taken[task] for task in tasks[:5]}
    assert OWN.average(OWN.averages[0], five) == pytest.approx(sum(row[:5]) / 500, abs=6e-4)


def test_an_average_of_nothing_is_none() -> None:
    protocol = Protocol(averages=(Average(name="a", kind="micro", where="here"),))
    assert protocol.average(protocol.averages[0], {}) is None
    assert protocol.average(protocol.averages[0], {"x": (0, 0)}) is None
