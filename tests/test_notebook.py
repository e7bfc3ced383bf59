"""The example notebook: it runs from scratch, and what is stored of its outputs is fit to be published.

`PYTHONWARNINGS="ignore:IProgress not found" jupyter execute --inplace docs/notebook.ipynb` refreshes it, and leaves the
folder `docs/notebook-demo`.
"""

from __future__ import annotations

import re
from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "notebook.ipynb"


def kinds(notebook: nbformat.NotebookNode) -> dict[str, list[str]]:
    """What every cell gave, each kind once: a stream by its name, or the richest form in which a value came."""
    order = ("text/html", "image/png", "text/plain")
    return {
        cell.id: list(
            dict.fromkeys(
                output["name"]
                if output.output_type == "stream"
                else next(kind for kind in order if kind in output.data)
                for output in cell.outputs
                if output.get("name") != "stderr"
            )
        )
        for cell in notebook.cells
        if cell.cell_type == "code"
    }


@pytest.fixture
def stored() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_what_is_stored_is_whole_and_small(stored: nbformat.NotebookNode) -> None:
    nbformat.validate(stored)
    assert NOTEBOOK.stat().st_size < 900_000
    cells = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert "stderr" not in {output.get("name") for output in outputs}
    shown = "".join(output.data.get("text/html", "") for output in outputs if "data" in output)
    assert shown.count("<img") >= 6 and "<script" not in shown
    for name in ("xarray.Dataset", "geometry", "refused: "):
        assert name in shown


def test_nothing_stored_tells_of_the_machine_that_ran_it(stored: nbformat.NotebookNode) -> None:
    absolute = re.compile(r"""(?:^|[\s"'(=>\[])(?:/[\w.~-]+/[\w.~-]|file:|[A-Za-z]:\\\\?\w)""")
    assert absolute.search("see '/abc/def.py'") and absolute.search("C:\\Users") and not absolute.search("</a/b>")
    for cell in stored.cells:
        for output in cell.get("outputs", ()):
            for text in (output.get("text", ""), *output.get("data", {}).values()):
                found = absolute.search(text)
                assert found is None, f"{cell.id}: {text[found.start() : found.start() + 80]}"
    assert set(stored.metadata) == {"kernelspec", "language_info"}


def test_its_links_lead_somewhere(stored: nbformat.NotebookNode) -> None:
    texts = [cell.source for cell in stored.cells if cell.cell_type == "markdown"]
    links = [link for text in texts for link in re.findall(r"\]\(([^)#]+)", text)]
    assert links and all((NOTEBOOK.parent / link).exists() for link in links if "://" not in link)


@pytest.mark.slow
@pytest.mark.weights
def test_every_cell_runs(stored: nbformat.NotebookNode, tmp_path: Path) -> None:
    before = kinds(stored)
    client = nbclient.NotebookClient(
        stored, timeout=600, coalesce_streams=True, resources={"metadata": {"path": str(tmp_path)}}
    )
    after = kinds(client.execute())
    assert after == before
    assert (tmp_path / "notebook-demo" / "answer" / "report.html").stat().st_size > 10_000
    # What the notebook shows of an answer is made by this program, not kept from an older one.
    assert [name for name, given in after.items() if "text/html" in given] == [
        "cell-05", "cell-09", "cell-12", "cell-15", "cell-19",
    ]  # fmt: skip
