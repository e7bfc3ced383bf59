"""The page, the table and the numbers of runs, read back."""

from __future__ import annotations

import base64
import io
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from terrascope.bench.charts import draw_bars, draw_histogram
from terrascope.bench.external.protocols import PROTOCOLS
from terrascope.bench.failures import choose_failures, draw_failures
from terrascope.bench.report import NUMBERS, PAGE, TABLE, write_report
from terrascope.bench.report_run import shorten
from terrascope.bench.score import score
from terrascope.bench.score_printout import print_score
from terrascope.bench.statistics import NOTHING, Interval
from terrascope.errors import OutputError, SampleError
from terrascope.sample import SampleMask
from tests.bench.made_runs import HEIGHT, WIDTH, MadeBenchmark, columns, make_question, mask_of, say, write_run

WATER = mask_of(0, 4)
SAMPLES = tuple(
    make_question(n, task=("coverage", "building_change")[n % 2], shown=("optical", "sar")[n % 2], true_masks=[WATER])
    for n in range(12)
)
BENCH = MadeBenchmark(samples=SAMPLES)
NASTY = "<script>alert(1)</script> A lake\x00\ud800"


def write(folder: Path, *, bench: MadeBenchmark = BENCH, **options: object) -> str:
    good = [say(s, "B" if n > 2 else "A", found=[mask_of(0, 2 + n % 3)]) for n, s in enumerate(bench.samples)]
    words = [say(s, NASTY if n % 2 else "", found=[]) for n, s in enumerate(bench.samples[:6])]
    runs = [
        write_run(folder / "good", bench, good),
        write_run(folder / "words", bench, words, predictor="<b>words</b>"),
    ]
    write_report(folder / "out", bench, runs, **options)  # type: ignore[arg-type]
    return (folder / "out" / PAGE).read_text(encoding="utf-8")


class Balanced(HTMLParser):
    """Fails where a tag is closed that is not the last one open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_is_well_formed(tmp_path: Path) -> None:
    page = write(tmp_path)
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page
    assert "<b>words</b>" not in page and "&lt;b&gt;words&lt;/b&gt;" in page
    assert not re.search(r"(?:src|href)=\"(?!data:)", page) and "http:" not in page and "https:" not in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    for svg in re.findall(r"<svg.*?</svg>", page, re.S):
        ET.fromstring(svg)


def test_the_page_tells_the_numbers(tmp_path: Path) -> None:
    page = write(tmp_path)
    assert "asked 6 of 12 questions" in page
    # The other run was asked half of the questions: it has no rank, and nobody is marked as better.
    assert "<strong>75.0 %</strong>" in page and "it is scored over these, and not ranked" in page
    assert [row[1] for row in re.findall(r'<tr>(<td class="n">([1-9-])</td><th class="run")', page)] == ["1", "-"]
    assert "Answers that cannot be read (3)" in page
    assert "building change" in page and "building_change<" not in page
    numbers = json.loads((tmp_path / "out" / NUMBERS).read_text())
    assert numbers["runs"][0]["overall"]["macro"]["mean"] == 0.75
    assert numbers["comparisons"][0]["first"] == "model"
    assert (tmp_path / "out" / TABLE).read_text().startswith("# made-bench")


def test_replies_that_were_cut_off_are_told(tmp_path: Path) -> None:
    cut = [replace(say(s, "<think>A or B hmm" if n else "B"), cut_off=n < 3) for n, s in enumerate(SAMPLES)]
    found = score(SAMPLES, cut)
    assert (found.num_cut_off, found.to_dict()["num_cut_off"], found.overall.together.unparsable) == (3, 3, 11 / 12)
    assert found.overall.together.failed == 0
    console = Console(width=120, record=True, file=io.StringIO())
    print_score(found, console)
    assert "Cut off at the limit of their length: 3 replies" in console.export_text()
    write_report(tmp_path / "out", BENCH, [write_run(tmp_path / "run", BENCH, cut)])
    page = (tmp_path / "out" / PAGE).read_text()
    assert "3: cut off at the limit of its length, and read as far as it goes" in page


def test_failures_show_the_scene_the_true_mask_and_the_found_one(tmp_path: Path) -> None:
    page = write(tmp_path, num_failures=1)
    article = page[page.index("<article") : page.index("</article>")]
    assert "true water" in article and "found water, IoU 0.50" in article
    assert 'class="wrong"><b>A</b>' in article and 'class="chosen"><b>B</b>' in article
    layers = [np.array(_image(data).convert("RGBA"))[..., 3] > 0 for data in re.findall(r'src="data:([^"]+)"', article)]
    assert np.array_equal(layers[0], columns(0, 4)) and np.array_equal(layers[1], columns(0, 2))
    (scene,) = (_image(data) for data in re.findall(r"url\(data:([^)]+)\)", article))
    assert scene.size == (WIDTH, HEIGHT)


def _image(data: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(data.split("base64,")[1])))


def test_without_images_the_masks_stand_alone(tmp_path: Path) -> None:
    page = write(tmp_path, bench=replace(BENCH, blind=True))
    assert "The scene cannot be read: k0.tif: not found" in page and "url(data" not in page and 'class="layer"' in page
    page = write(tmp_path / "again", with_scenes=False)
    assert "url(data" not in page and 'class="layer"' in page


def test_questions_of_others_have_no_masks_and_no_size(tmp_path: Path) -> None:
    samples = tuple(replace(s, masks=(), reasoning="<answer>B</answer>", height=0, width=0) for s in SAMPLES)
    page = write(tmp_path, bench=MadeBenchmark(samples=samples))
    assert "url(data" in page and "true water" not in page
    page = write(tmp_path / "again", bench=MadeBenchmark(samples=samples, blind=True))
    assert "url(data" not in page and "<article" in page


def test_the_worst_of_each_task_in_turn() -> None:
    found = {0: 4, 1: 1, 2: 0, 3: 2, 4: 1}
    replies = [say(SAMPLES[n], "A", found=[mask_of(0, last)]) for n, last in found.items()]
    replies += [say(SAMPLES[5]), say(SAMPLES[6], failed="no scale")]
    chosen = choose_failures(score(SAMPLES, replies), 4)
    # Of the tasks in turn, the lowest IoU first: 0, 1/4 and 1 of coverage, 1/4 and 2/4 of building change.
    assert [question.id for question in chosen] == ["q2", "q1", "q4", "q3"]


def test_damaged_and_surplus_masks_are_survived() -> None:
    damaged = SampleMask(counts="9", image=1, class_name="water")
    replies = [say(SAMPLES[0], "A", found=[damaged, mask_of(0, 4), mask_of(5, 6), mask_of(0, 1, image=7)])]
    (failure,) = draw_failures(BENCH, score(SAMPLES, replies), replies, 3)
    assert [mask.properties["step"] for mask in failure.found] == [2, 3, 4]
    assert failure.scored.grounded is not None and failure.scored.grounded.masks[0].found == 1


def test_nothing_is_written_where_a_run_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", MadeBenchmark(samples=SAMPLES, digest="00"), [say(SAMPLES[0])])
    with pytest.raises(SampleError, match="digest"):
        write_report(tmp_path / "out", BENCH, [run])
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="a file stands"):
        write_report(tmp_path / "file", BENCH, [run])


def test_bars_are_as_long_as_their_values() -> None:
    rows = [("one <&> two", Interval(mean=0.5, low=0.25, high=0.75, num=4)), ("none", NOTHING)]
    root = ET.fromstring(draw_bars(rows, title='a "title"', chance=0.25))
    width = float(root.findall("rect[@class='track']")[0].attrib["width"])
    (bar,) = root.findall("rect[@class='bar']")
    assert float(bar.attrib["width"]) == pytest.approx(width / 2)
    whisker = root.findall("path[@class='whisker']")[0].attrib["d"]
    assert whisker.startswith(f"M{width / 4:.1f} ") and f"H{width * 0.75:.1f}" in whisker
    assert [text.text for text in root.findall("text[@class='value']")] == ["50.0 % (25–75)", "–"]
    assert root.findall("text[@class='name']")[0].text == "one <&> two"


def test_the_histogram_counts_tenths_of_each_kind() -> None:
    root = ET.fromstring(draw_histogram([0.05, 0.95, 1.0, 0.92], [0.0], title="t"))
    right = [float(bar.attrib["height"]) for bar in root.findall("rect[@class='right-bar']")]
    wrong = [float(bar.attrib["height"]) for bar in root.findall("rect[@class='wrong-bar']")]
    assert wrong[0] == max(wrong) and sum(wrong) == wrong[0]
    assert [height / wrong[0] for height in right] == pytest.approx([0.25, *[0.0] * 8, 0.75], abs=0.01)
    assert len(root.findall("path[@class='wrong-mean']")) == 1
    ET.fromstring(draw_histogram([], [], title="t"))


def test_long_texts_are_cut() -> None:
    assert shorten("a\n b\x00") == "a b"
    assert len(shorten("word " * 1000)) <= 300 and shorten("word " * 1000).endswith("…")


def test_a_score_is_printed() -> None:
    replies = [say(s, "B" if n > 2 else "The answer is A") for n, s in enumerate(SAMPLES[:6])]
    replies += [say(s, failed="out of memory") for s in SAMPLES[6:8]]
    console = Console(width=120, record=True, file=io.StringIO(), highlight=False, markup=False)
    print_score(score(SAMPLES, replies, run="[bold]mine"), console)
    text = console.export_text()
    for wanted in (
        "[bold]mine", "8 of 12 questions", "the score is over those that were", "building change",
        "average (2 tasks)", "Without an answer: 2, out of memory", "3 replies are read differently", "IoU 0.750",
        "2 true masks have none", "over 30 %: 0.75",
    ):  # fmt: skip
        assert wanted in text, wanted


def test_the_protocol_of_anothers_benchmark_is_told(tmp_path: Path) -> None:
    labelled = tuple(make_question(n, options=(), answer="Pastures") for n in range(2))
    bench = MadeBenchmark(samples=labelled, name="bigearthnet")
    run = write_run(tmp_path / "run", bench, [say(labelled[0]), say(labelled[1], "no idea")])
    write_report(tmp_path / "out", bench, [run])
    page, table = ((tmp_path / "out" / name).read_text() for name in (PAGE, TABLE))
    assert "<h2>F1 by task</h2>" in page and "<h2>F1 of each class</h2>" in page
    for text in (page, table):
        assert "An answer earns the F1 of the classes that it names" in text
    # Recall, F1 over images, micro F1, macro F1, exact.
    assert "## Averages of its own tables" in table
    assert "| model | 50.0 % | 50.0 % | 66.7 % | 66.7 % | 50.0 % |" in table
    assert "## F1 of each class\n\n| class | model |\n| --- | --- |\n| Pastures | 66.7 % |\n" in table
    console = Console(width=120, record=True, file=io.StringIO(), highlight=False, markup=False)
    print_score(score(labelled, [say(labelled[0])], protocol=PROTOCOLS["bigearthnet"]), console)
    printed = console.export_text()
    assert re.search(r"task +F1 +guess", printed) and re.search(r"Pastures +100\.0 %", printed)
    assert "F1 over images 100.0 %, micro F1 100.0 %, macro F1 over classes 100.0 %, recall 100.0 %" in printed


def test_a_run_that_can_do_nothing_has_dashes(tmp_path: Path) -> None:
    for name in ("bigearthnet", "rsvqa-lr", "made-bench"):
        asked = tuple(make_question(n, options=(), answer="Pastures") for n in range(2))
        bench = MadeBenchmark(samples=asked, name=name)
        run = write_run(tmp_path / name, bench, [say(sample, failed="out of memory") for sample in asked])
        write_report(tmp_path / "out", bench, [run])
        for file in (PAGE, TABLE):
            assert not re.search(r"\bnan\b", (tmp_path / "out" / file).read_text())
        table = (tmp_path / "out" / TABLE).read_text()
        assert "| 1 | model | 2 | - | 0 | - | - | 0.0 % | 100.0 % |" in table
        # Its own averages are five, three, and none.
        dashes = {"bigearthnet": 5, "rsvqa-lr": 3, "made-bench": 0}[name]
        assert ("## Averages of its own tables" in table) == (dashes > 0)
        assert not dashes or f"\n| model |{' - |' * dashes}\n" in table
