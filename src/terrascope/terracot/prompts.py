"""The prompts of the paper's Appendix E.2, and the schemas of their replies.

They stand as printed there, completed only by what structured output and references to masks need: the list of regions
with their marks, how to point at one, and which field takes what.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from terrascope.sources.chips import Chip
from terrascope.tasks.question import Question
from terrascope.terracot.captions.setting import setting_of
from terrascope.terracot.marks import Marks

NO_RULE = "judgement"
"""The rule of an answer that no number gives."""

Rule = Literal[
    "combined_share", "combined_area", "ratio", "distance", "adjacency_chain", "largest", "smallest", "ranking",
    "nearest", "farthest", "change", "judgement",
]  # fmt: skip

RULES: Mapping[Rule, str] = {
    "combined_share": "the percentage of the image that the regions cover together, all of one image",
    "combined_area": "the area of the regions together",
    "ratio": "how many times as large the first region is as the second",
    "distance": "the smallest distance of two regions",
    "adjacency_chain": "whether each region borders the next; the answer begins with Yes or No",
    "largest": "which of the regions is the largest; the answer is the name of its class alone",
    "smallest": "which of the regions is the smallest; the answer is the name of its class alone",
    "ranking": "the classes of the regions from the largest to the smallest, separated by commas",
    "nearest": "which of the other regions is nearest to the first; the answer is the name of its class alone",
    "farthest": "which of the other regions is farthest from the first; the answer is the name of its class alone",
    "change": "by how many percentage points the share of a class differs between two images; the answer is a number",
    "judgement": "none of these: a judgement that follows from the findings, for semantic questions",
}
"""The rules that a model may choose from, by the names of `terracot.recompute`, and how it is told of them."""

assert set(RULES) == set(get_args(Rule))

CAPTION_SYSTEM = (
    "You are an expert in remote sensing image analysis. Your task is to generate a detailed caption with step-by-step "
    "reasoning for the given satellite image."
)

CAPTION_PROMPT = """\
Input:
- Satellite image with mask overlay
- Segmentation labels: {{{labels}}}
- Metadata: [{metadata}]

Regions, each with its mark, and what its mask measures:
{regions}

Instructions:
1. Analyze the spatial distribution of each land cover type shown in the segmentation masks
2. Generate a chain-of-thought reasoning process that:
- Explicitly mentions each segmented region
- Describes spatial relationships between different land cover types
- Estimates approximate coverage or area for major land cover classes
- Notes any significant patterns or features
3. Provide a final comprehensive caption summarizing the image

{pointing}

Output Format, in the field "think":
First, I observe [description of dominant land cover] [SEG for region 1] It covers approximately [percentage/area]. \
Next, I notice [another land cover type] [SEG for region 2] It appears in [location/pattern]. The spatial relationship \
between these regions shows [description]. Overall, [other observations]...

and in the field "caption":
This satellite image shows [comprehensive summary including all major land cover types, their spatial distribution, \
and key characteristics].
"""

DEEP_SYSTEM = "You are an expert in designing complex spatial reasoning questions for satellite imagery analysis."

DEEP_PROMPT = """\
Input:
- Image caption with spatial information: {caption}
- L1-level QA pairs (simple questions and answers):
{pairs}
- Available land cover classes: {{{labels}}}

Metadata: [{metadata}]
Regions, each with its mark, and what its mask measures:
{regions}

Task: Generate 2-3 complex reasoning questions from two categories:

Category 1: Spatial Reasoning Questions
These questions focus on geometric and spatial properties requiring pixel-level analysis, such as area comparison, \
distance measurement, boundary relationships, coverage quantification, and spatial distribution patterns.

Category 2: Semantic Reasoning Questions
These questions focus on understanding land cover semantics, ecological patterns, temporal changes, functional \
relationships, and overall landscape composition.

Requirements:
1. Generate at least one question from each category
2. Questions must require multi-step reasoning
3. Answers should be deterministic and verifiable
4. Spatial reasoning questions must involve precise geometric analysis
5. Semantic reasoning questions must demonstrate understanding of land cover semantics

{pointing}

How an answer is computed: the field "rule" names how it follows from the regions that the reasoning points at, in the \
order in which it first does. Point at those regions and at no others.
{rules}
A spatial question needs a rule other than "judgement", and its answer is checked against what the rule gives.

Output Format:
For each question, provide:
- Question text, without marks
- Category: [Spatial Reasoning] or [Semantic Reasoning]
- Ground-truth answer, as a short phrase
- Reasoning steps required, with a mark in every step, ending with a sentence that begins with "So"
- Classes involved
"""

POINTING = """\
How to point at a region: write its mark exactly as it stands in the list, such as {mark}; it stands for the mask of \
the region. Name the region in the words right before the mark, and say what you find after it: \
"The {name}: {mark} It covers about {share} of the image." Each finding is checked against the mask: percentages are \
shares of the image, areas and numbers of patches those of the region. Write plain sentences, no lists or headings.\
"""


MAX_GIVEN, MAX_GIVEN_LENGTH = 3, 600
"""Captions, and questions, of a data set that a prompt repeats, and characters of each."""


class _Draft(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CaptionDraft(_Draft):
    """A reply to the prompt for a caption."""

    think: str = Field(description="The reasoning, with the mark of a region wherever it points at one.")
    caption: str = Field(description="The final comprehensive caption, two to five sentences, without marks.")


class DeepDraft(_Draft):
    """One composed question."""

    question: str = Field(description="The question, without marks and without its answer.")
    category: Literal["Spatial Reasoning", "Semantic Reasoning"]
    reasoning: str = Field(
        description="The steps, with the mark of a region in each, and a last one that begins with So."
    )
    answer: str = Field(description="The ground-truth answer, as a short phrase.")
    classes: list[str] = Field(description="The land cover classes involved.")
    rule: Rule = Field(description="How the answer follows from the regions of the reasoning.")


class DeepDrafts(_Draft):
    """A reply to the prompt for composed questions."""

    questions: list[DeepDraft] = Field(description="Two or three questions, at least one of each category.")


def word_caption_prompt(chip: Chip, marks: Marks) -> str:
    """The user's part of the prompt for a caption."""
    return CAPTION_PROMPT.format(
        labels=_labels(marks), metadata=word_metadata(chip), regions=marks.describe(), pointing=_pointing(marks)
    )


def word_deep_prompt(chip: Chip, marks: Marks, caption: str, pairs: Sequence[Question]) -> str:
    """The user's part of the prompt for composed questions, from a caption and simple questions with their answers."""
    asked = "\n".join(f"  Q: {pair.text} A: {pair.truth}" for pair in pairs)
    return DEEP_PROMPT.format(
        caption=caption or "(none)",
        pairs=asked or "  (none)",
        labels=_labels(marks),
        metadata=word_metadata(chip),
        regions=marks.describe(),
        pointing=_pointing(marks),
        rules="\n".join(f'- "{name}": {meaning}' for name, meaning in RULES.items()),
    )


def word_metadata(chip: Chip) -> str:
    """Resolution, sensor, place and dates, as far as they are known, and what the data set itself says of the scene."""
    setting = setting_of(chip)
    days = ", ".join(day.isoformat() if day else "unknown" for day in setting.days)
    words = [
        f"resolution: {setting.resolution or 'unknown'}",
        f"sensor type: {setting.sensor}",
        f"location: {setting.place or 'unknown'}",
        f"date: {days}",
    ]
    words += [f"described as: {_shortened(caption)}" for caption in chip.captions[:MAX_GIVEN]]
    words += [f"known: {_shortened(f'{given.text} {given.answer}')}" for given in chip.questions[:MAX_GIVEN]]
    return ", ".join(words)


def _shortened(text: str) -> str:
    return " ".join(text.split())[:MAX_GIVEN_LENGTH]


def _labels(marks: Marks) -> str:
    return ", ".join(dict.fromkeys(region.name for region in marks.regions))


def _pointing(marks: Marks) -> str:
    first = marks.regions[0]
    return POINTING.format(mark=marks.mark(1), name=first.name, share=f"{round(100 * first.coverage)}%")
