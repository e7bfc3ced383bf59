"""A reasoning for models that draw no masks: without [SEG], in sentences that still read well (paper, Appendix F.2)."""

from __future__ import annotations

import re

from terrascope import trace

SPECIAL = re.compile(r" ?(?:</?(?:think|answer|caption|p|vp)>|\[SEG\]|<REGION>|<\|end\|>)")
"""The special tokens of grounded reasoning, the authors' included."""

_SEG = re.compile(r"(?:(?<!\w)Image:\s*([0-9]{1,6})\s*)?\[SEG\]", re.I)
_THINK = re.compile(r"<think>(.*?)(?:</think>|(?=<answer>)|\Z)", re.S)
_CONCLUSION = re.compile(r"(?:So|Therefore|Thus|Hence|Overall)\b")
_NO_NAME = re.compile(
    r"(?:It|Its|They|Their|There|This|That|These|Those|None|No|Nothing|Most|Some|All|Both|Each|Here|In|On|At|The|A|An|"
    r"About|Around|Roughly|Only|Nearly|Almost|Together|From|To|As)\b"
)
"""Words that begin a sentence with a capital for no other reason."""

_EMPTY_BRACKETS = re.compile(r"\s*(?:\(\s*\)|\[\s*\])")
_SPACE_BEFORE_MARK = re.compile(r"\s+([,.;:!?)])")


def think_without_masks(reasoning: str) -> str:
    """`<think>...</think><answer>...</answer>` without [SEG] and "Image: t"; the images are named in words.

    "The water: Image: 2 [SEG] It covers 34% of the image." becomes "The water in image 2: it covers 34% of the image."
    """
    thought = _THINK.search(reasoning)
    said, *parts = _SEG.split(thought[1] if thought else "")
    for number, gap in zip(parts[::2], parts[1::2], strict=True):
        said = _join(said.rstrip(), f" in image {number}" if number else "", gap)
    said = _SPACE_BEFORE_MARK.sub(r"\1", _EMPTY_BRACKETS.sub("", SPECIAL.sub("", said))).strip()
    return f"<think>{said}</think><answer>{answer_alone(reasoning)}</answer>"


def answer_alone(reasoning: str) -> str:
    """The answer as plain text, without a special token."""
    return SPECIAL.sub("", trace.parse(reasoning).answer).strip()


def _join(before: str, place: str, gap: str) -> str:
    """What stands before a [SEG] and what stands after it, up to the next, as one text.

    `place` says on which image the [SEG] points: " in image 2", or nothing.
    """
    after = gap.lstrip()
    if before.endswith(":"):
        named = before[:-1].rstrip() + place
        return f"{named}: {_lowered(after)}" if _is_finding(after) else f"{_looked_at(named)}. {after}"
    if before and before[-1] not in ".!?":
        begins_sentence = after[:1].isupper() or not after
        return f"{before}{place}{'.' if begins_sentence else ''} {after}"
    if after[:1].islower():
        # The [SEG] itself was the subject: "[SEG] covers 34%".
        return f"{before} {f'In{place[3:]}, this' if place else 'This'} region {after}".lstrip()
    if before:
        return f"{before[:-1]}{place}{before[-1]} {after}"
    return f"In{place[3:]}, {_lowered(after)}" if place and after else after


def _is_finding(after: str) -> bool:
    """True unless nothing is said of the mask: the next thing is named, or all is concluded."""
    leads_on = after.rstrip().endswith(":") and not re.search(r"[.!?]\s", after)
    return bool(after) and not leads_on and not _CONCLUSION.match(after)


def _looked_at(text: str) -> str:
    """The text with its last sentence, which only names a thing, made a full one."""
    start = max((match.end() for match in re.finditer(r"[.!?]\s+", text)), default=0)
    named = text[start:]
    return f"{text[:start]}Look at {_lowered(named)}" if named.startswith(("The ", "All ", "Both ")) else text


def _lowered(text: str) -> str:
    """The text going on in a sentence: its first letter small, where it is no name's."""
    return text[0].lower() + text[1:] if _NO_NAME.match(text) else text
