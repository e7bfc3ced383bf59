"""The data card: `README.md` of a data set as the hub shows it, with its plots; `load_dataset` goes by it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from terrascope import __version__
from terrascope.output import check_folder, written_whole
from terrascope.sample import SCHEMA
from terrascope.terracot.plots import write_plots
from terrascope.terracot.stats import Summary, headline, shown_rows, tables

CARD = "README.md"
PLOT_FOLDER = "card"

_MOST_ROWS = 40


class Licence(NamedTuple):
    """Under what a source may be used, in a few words, and whether that excludes commercial use."""

    dataset: str
    terms: str
    non_commercial: bool = False


LICENCES: Mapping[str, Licence] = {
    "bigearthnet": Licence("BigEarthNet v2.0 (reBEN)", "CDLA-Permissive-1.0; holds CORINE Land Cover"),
    "chatearthnet": Licence("ChatEarthNet", "CC BY 4.0; masks from ESA WorldCover (CC BY 4.0)"),
    "xbd": Licence("xBD", "CC BY-NC-SA 4.0", non_commercial=True),
    "teochat": Licence("TEOChatlas", "Apache-2.0 for its texts; images as xBD, fMoW, S2Looking and QFabric say", True),
    "hls-worldcover": Licence("HLS with ESA WorldCover", "NASA HLS without restriction; ESA WorldCover CC BY 4.0"),
    "ombria": Licence("OMBRIA", "Copernicus Sentinel data; masks from the Copernicus Emergency Management Service"),
    "synthetic": Licence("generated scenes", "made by this program; no rights of others"),
}
"""What is known of the licences of sources, by their names; the owners' own words decide."""

_UNKNOWN = "not known to this program; ask the owner of the data before you pass them on"

_SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"), (1e7, "1M<n<10M"))

_SPLITS = {"val": "validation"}
"""Our splits by the names that the hub knows; others are called the same."""

_LIMITS = (
    "A mask is as right as the labels that it comes from: land-cover maps are made by classifiers, are older or newer "
    "than the image, and are coarse at edges.",
    "Shares, areas and distances in the texts are measured on these masks, so they inherit their errors.",
    "Questions and reasonings follow templates and rules, or a language model that was checked against the masks; they "
    "are less varied than what people ask.",
    "Class names are English words for broad classes; a class that a source does not label is never asked about.",
    "The rows hold no pixels: the scenes are read again from their sources, under the licences of these.",
)


@dataclass(frozen=True, kw_only=True)
class Making:
    """How a data set was made, as far as its samples do not tell.

    Attributes:
        name: of the data set.
        seed: everything drawn depends on it.
        data_files: pattern of the shards of each split: `{"train": "train-*.parquet"}`.
        settings: other settings of the build, each in words.
        skipped: for each source, chips that its index left out, by reason.
        failed: chips that could not be used, by reason.
        rejected: drafts that failed a check, by reason.
        held_out: what was kept apart from it for tests, in words; empty for nothing.
        version: of the program.
    """

    name: str
    seed: int
    data_files: Mapping[str, str]
    settings: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    held_out: str = ""
    version: str = __version__


def write_card(directory: Path, summary: Summary, making: Making) -> dict[str, Path]:
    """Write `README.md` and the plots that it shows into the folder of a data set.

    Returns:
        name -> path of the files.

    Raises:
        OutputError: the folder cannot be written, or matplotlib is not installed.
    """
    folder = check_folder(directory)
    (folder / PLOT_FOLDER).mkdir(parents=True, exist_ok=True)
    plots = {f"{PLOT_FOLDER}/{name}": title for name, title in write_plots(summary, folder / PLOT_FOLDER).items()}
    with written_whole(folder / CARD) as unfinished:
        unfinished.write_text(draw_up(summary, making, plots), encoding="utf-8", errors="replace", newline="\n")
    return {name: folder / name for name in (CARD, *plots)}


def draw_up(summary: Summary, making: Making, plots: Mapping[str, str]) -> str:
    """The text of the card; `plots` are files with their titles."""
    parts = [
        _front_matter(summary, making),
        f"# {_plain(making.name)}",
        "Questions about satellite scenes with reasoning in which every step is a mask on the scene: Terra-CoT, made "
        f"by TerraScope {making.version}.",
        _bullets(f"{name}: {value}" for name, value in headline(summary).items()),
        _use(making),
        "## What is in it",
        *(f"![{title}]({name})" for name, title in plots.items()),
        *(_counts(title, head, counts) for title, head, counts in tables(summary)),
        "## How it was made",
        _how(summary, making),
        *_left_out(making),
        "## Licences",
        "The texts and numbers of this data set were made by a program. What they describe belongs to others; "
        "the terms of each source hold for what is derived from it:",
        _licences(summary),
        "## Limits",
        _bullets(_LIMITS),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(summary: Summary, making: Making) -> str:
    import yaml

    files = [{"split": _SPLITS.get(split, split), "path": path} for split, path in making.data_files.items()]
    matter = {
        "pretty_name": making.name,
        "license": "other",
        "license_name": "terms-of-its-sources",
        "language": ["en"],
        "task_categories": ["visual-question-answering", "image-segmentation"],
        "tags": ["earth-observation", "remote-sensing", "chain-of-thought", "grounded-reasoning", "terrascope"],
        "size_categories": [next((name for size, name in _SIZES if summary.num_samples < size), "n>10M")],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    return f"---\n{yaml.safe_dump(matter, sort_keys=False, allow_unicode=True)}---"


def _use(making: Making) -> str:
    split = _SPLITS.get(next(iter(making.data_files), "train"), next(iter(making.data_files), "train"))
    return f"""```python
from datasets import load_dataset

rows = load_dataset("folder/or/repository", split="{split}")
```

A row (`{SCHEMA}`) holds the question, its options, the reasoning in the grammar
`<think>... [SEG] ...</think><answer>...</answer>`, one COCO run-length code for every `[SEG]` in order with its image
and class, the right answer as text and as an unrounded number, and `source` and `key`, under which the scene is read
again."""


def _how(summary: Summary, making: Making) -> str:
    writers = ", ".join(summary.writers)
    told = {
        "Program": f"TerraScope {making.version}",
        "Seed": str(making.seed),
        "Worded by": writers,
        "Masks from": ", ".join(summary.labels),
        "Sources": ", ".join(summary.sources),
        "Kept apart for tests": making.held_out or "nothing",
        **making.settings,
    }
    return _bullets(f"{name}: {_plain(value)}" for name, value in told.items() if value)


def _left_out(making: Making) -> list[str]:
    skipped = {f"{name}: {why}": number for name, reasons in making.skipped.items() for why, number in reasons.items()}
    kinds = (
        ("Chips that a source left out", "source and reason", skipped),
        ("Chips that could not be used", "reason", making.failed),
        ("Drafts that failed a check", "reason", making.rejected),
    )
    found = [_counts(title, head, counts) for title, head, counts in kinds if counts]
    return ["## What was left out, and why", *(found or ["Nothing."])]


def _licences(summary: Summary) -> str:
    rows = ["| source | data set | terms |", "|---|---|---|"]
    for source in summary.sources:
        licence = LICENCES.get(source)
        dataset, terms = (licence.dataset, licence.terms) if licence else (source, _UNKNOWN)
        rows.append(f"| {_cell(source)} | {_cell(dataset)} | {_cell(terms)} |")
    bound = [source for source in summary.sources if source in LICENCES and LICENCES[source].non_commercial]
    note = f"\n\nNot for commercial use, because of: {', '.join(bound)}." if bound else ""
    return "\n".join(rows) + note


def _counts(title: str, head: str, counts: Mapping[str, int]) -> str:
    rows = [f"### {title}", "", f"| {head} | number | share |", "|---|---:|---:|"]
    rows += [f"| {_cell(name)} | {number} | {share} |" for name, number, share in shown_rows(counts, _MOST_ROWS)]
    return "\n".join(rows)


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _plain(text: str) -> str:
    """The text on one line of Markdown, without a tag."""
    return " ".join(text.split()).replace("<", "&lt;")


def _cell(text: str) -> str:
    """The text as a cell of a table in Markdown."""
    return _plain(text).replace("\\", "\\\\").replace("|", "\\|")
