"""The report says what was found, with the paper's numbers beside it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from terrascope.training.ablations import report
from terrascope.training.ablations.compare import compare
from terrascope.training.ablations.report import Cost, Failure, Finding, to_markdown, write_report
from terrascope.training.ablations.tables import TABLES
from tests.training.ablations.made_scores import made_variant

SETTINGS = {"seeds": [0, 1], "split": "val", "choice": "letter"}


def made_finding(name: str = "I", *, failures: tuple[Failure, ...] = ()) -> Finding:
    """Sixty questions: captions are right nowhere, L1 in every second place, all levels everywhere."""
    table, num = TABLES[name], 60
    halves = [number // 6 % 2 for number in range(num)]
    bits = dict(zip([variant.name for variant in table.variants], ([0] * num, halves, [1] * num), strict=False))
    judged = [made_variant(variant, {0: found, 1: found}) for variant, found in bits.items()]
    paper = {variant.name: variant.paper["macro"] for variant in table.variants if "macro" in variant.paper}
    rows, order = compare(judged, table.reference, paper)
    costs = {row.name: Cost(positions=512.4, injected=40.0) for row in rows}
    return Finding(
        name=name, table=table, rows=rows, order=order, costs=costs, failures=failures, num_places=40,
        digest="ab" * 32, settings=SETTINGS,
    )  # fmt: skip


def lines_with(page: str, start: str) -> list[str]:
    return [line for line in page.splitlines() if line.startswith(start)]


def test_a_row_has_ours_the_papers_and_the_verdict() -> None:
    page = to_markdown(made_finding())
    (row,) = lines_with(page, "| captions + L1 |")[:1]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:2] == ["captions + L1", "66.7 %"]
    assert cells[2].startswith("50.0 % (")
    assert cells[3].startswith("-50.0 (")
    assert cells[4] == "yes"
    assert cells[-3:] == ["512", "40", "2"]
    (reference,) = lines_with(page, "| captions + L1 + L2 |")[:1]
    assert [cell.strip() for cell in reference.strip("|").split("|")][3:5] == ["-", "reference"]


def test_the_verdict_on_the_whole_table_is_said_in_words() -> None:
    assert (
        "The paper's order (captions + L1 + L2 > captions + L1 > captions) is reproduced: yes. "
        "Of its pairs (3) 3 stand as in the paper, 0 the other way round, and 0 are not told apart."
    ) in to_markdown(made_finding())


def test_a_table_of_ours_has_directions_instead() -> None:
    page = to_markdown(made_finding("exposure"))
    assert "Not in the paper." in page
    assert "The paper has no numbers for this." in page
    # The reference is right nowhere here.
    assert [line.split("|")[5].strip() for line in lines_with(page, "| perturbed masks |")[:1]] == ["better"]


def test_accuracies_of_tasks_stand_beside_the_papers() -> None:
    page = to_markdown(made_finding("3"))
    assert "100.0 % (paper 69.0)" in lines_with(page, "| adaptive at test only |")[0]


def test_with_few_places_the_reason_stands_beside_the_verdict() -> None:
    table = TABLES["A"]
    judged = [made_variant("similarity", {0: [0] * 6}), made_variant("mask", {0: [1] * 6})]
    rows, order = compare(judged, "mask", {"similarity": 54.6, "mask": 68.9})
    finding = Finding(
        **{**vars(made_finding()), "table": table, "name": "A", "rows": rows, "order": order, "costs": {},
           "num_places": 4, "settings": {**SETTINGS, "seeds": [0]}}
    )  # fmt: skip
    page = to_markdown(finding)
    assert "6 questions about 4 places, seed 0;" in page
    assert "Of fewer than 10 places there are no intervals, and no variants are told apart." in page
    assert "is reproduced: not told apart (fewer than 10 places)." in page
    (row,) = lines_with(page, "| similarity |")[:1]
    assert [cell.strip() for cell in row.strip("|").split("|")][2:5] == ["0.0 % (-)", "-100.0 (-)", "not told apart"]


def test_what_failed_is_not_what_the_paper_does_not_have() -> None:
    judged = [made_variant("captions", {0: [1] * 60})]
    rows, order = compare(judged, "captions + L1 + L2", {"captions": 42.8})
    page = to_markdown(Finding(**{**vars(made_finding()), "rows": rows, "order": order}))
    assert "What is needed to compare with the paper was not judged." in page
    assert "The paper has no numbers" not in page


def test_an_order_of_some_variants_is_not_that_of_all() -> None:
    judged = [made_variant("captions", {0: [0] * 60}), made_variant("captions + L1", {0: [1] * 60})]
    rows, order = compare(judged, "captions + L1 + L2", {"captions": 42.8, "captions + L1": 66.7})
    page = to_markdown(Finding(**{**vars(made_finding()), "rows": rows, "order": order}))
    assert (
        "The paper's order of those judged (captions + L1 > captions) is reproduced: yes. Of its pairs (1) 1 stand"
        in page
    )


def test_failures_are_listed_and_one_seed_is_warned_of() -> None:
    finding = made_finding(failures=(Failure(what="training box", seed=1, reason="memory | ran out"),))
    page = to_markdown(finding)
    assert "| training box | 1 | memory \\| ran out |" in page
    assert "there is but one seed" not in page
    alone = Finding(**{**vars(finding), "settings": {**SETTINGS, "seeds": [0]}})
    assert "there is but one seed" in to_markdown(alone)


def test_good_masks_and_right_answers_have_a_table() -> None:
    page = to_markdown(made_finding("6"))
    assert "## Good masks and right answers" in page
    assert "Right answers have the better masks, as in the paper: not told apart." in page
    assert "IoU is in percent; the paper has 63 and 44," in page


def test_nothing_judged_is_said() -> None:
    finding = Finding(**{**vars(made_finding()), "rows": ()})
    assert "No run was judged." in to_markdown(finding)


def test_the_json_has_all_numbers(tmp_path: Path) -> None:
    write_report(made_finding(), tmp_path / "I")
    told = json.loads((tmp_path / "I" / "table.json").read_text())
    assert [row["name"] for row in told["rows"]] == ["captions", "captions + L1", "captions + L1 + L2"]
    assert told["rows"][1]["macro"]["mean"] == 0.5
    assert told["rows"][1]["by_seed"] == [0.5, 0.5]
    assert told["rows"][1]["tasks"]["area"]["mean"] == 0.5
    assert told["rows"][1]["cost"] == {"positions": 512.4, "injected": 40.0}
    assert told["rows"][0]["separation"]["right_iou"]["mean"] is None
    assert told["order"] == {"num_same": 3, "num_reversed": 0, "num_open": 0, "verdict": "yes"}
    assert told["settings"] == SETTINGS
    assert told["questions"] == {"digest": "ab" * 32, "number": 60, "places": 40}
    page = (tmp_path / "I" / "table.md").read_text()
    assert "60 questions about 40 places, seeds 0, 1; split val" in page
    assert "```json" not in page


def test_the_chart_shows_ours_and_the_papers(tmp_path: Path) -> None:
    """Orange diamonds for the paper are there only where it has numbers."""
    pytest.importorskip("matplotlib")
    orange = []
    for name in ("I", "exposure"):
        write_report(made_finding(name), tmp_path / name)
        with Image.open(tmp_path / name / "chart.png") as chart:
            pixels = np.asarray(chart.convert("RGB"))
            orange.append(int((pixels == (0xD1, 0x58, 0x0F)).all(-1).sum()))
    assert orange[0] > 50
    assert orange[1] == 0


def test_the_chart_says_what_it_is_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = pytest.importorskip("matplotlib.figure")
    labels = []
    monkeypatch.setattr(
        figure.Figure, "savefig", lambda self, path, **how: labels.append(self.axes[0].get_xlabel()) or path.touch()
    )
    write_report(made_finding(), tmp_path / "I")
    assert labels == ["average accuracy, %\n60 questions about 40 places, seeds 0, 1"]


def test_without_matplotlib_there_is_no_chart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "I").mkdir()
    (tmp_path / "I" / "chart.png").write_bytes(b"of an earlier report")
    monkeypatch.setattr(report.importlib.util, "find_spec", lambda name: None)
    write_report(made_finding(), tmp_path / "I")
    assert sorted(path.name for path in (tmp_path / "I").iterdir()) == ["table.json", "table.md"]
    assert "chart.png" not in (tmp_path / "I" / "table.md").read_text()
    assert importlib.util.find_spec("matplotlib") is None
