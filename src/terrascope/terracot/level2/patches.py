"""Spatial rules about where a class is concentrated: its largest patch, the quarter with most of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from terrascope import masks, spatial
from terrascope.quantities import format_area, format_share
from terrascope.tasks.options import even_integers, even_values
from terrascope.terracot.level2.drafting import Desk, Draft, Pointed
from terrascope.terracot.nouns import capital

UNITS = {"m2": "square meters", "ha": "hectares", "km2": "square kilometers"}

QUARTERS = ("northwestern quarter", "northeastern quarter", "southwestern quarter", "southeastern quarter")


@dataclass(frozen=True, kw_only=True)
class LargestPatch:
    """Asks how large the largest patch of a class is: on the ground, or as a share of the image.

    Attributes:
        min_patch: least share of the image of that patch.
        max_part: classes of which it is a larger part are hardly in patches.
        min_lead: it is at least so many times as large as the next patch.
        area_share: how often the area is asked for where there is a scale.
        gap_points: distance between options in percentage points; down to two for it to have any rank.
        option_ratios: neighbouring options for areas differ by a factor within these bounds, down to 1.2 likewise.
    """

    task: str = "spatial/largest_patch"
    min_patch: float = 0.03
    max_part: float = 0.93
    min_lead: float = 1.2
    area_share: float = 0.5
    gap_points: int = 7
    option_ratios: tuple[float, float] = (1.4, 2.0)

    def draft(self, desk: Desk) -> Draft | None:
        date = desk.draw_date()
        for cover in desk.shuffle(desk.large(date)):
            patches = cover.patches
            part = cover.largest_patch_share
            if len(patches) < 2 or part > self.max_part or patches[0] < self.min_lead * patches[1]:
                continue
            share = cover.share * part
            if share < self.min_patch:
                continue
            mask, noun = cover.largest_patch(), desk.noun(cover)
            size = desk.layout.labelled.pixel_size
            area_m2 = spatial.area_m2(mask, size) if size is not None and desk.wording.chance(self.area_share) else None
            if area_m2 is not None:
                whole_m2 = cover.region.survey.area_m2
                wrong_m2 = even_values(
                    area_m2, desk.rng, num=3, ratios=self.option_ratios, min_ratio=1.2, high=whole_m2
                )
                truth, wrong = format_area(area_m2), [format_area(value) for value in wrong_m2 or ()]
                texts = (
                    f"what is the area in {UNITS[truth.split()[1]]} of the largest single patch of {noun.text}"
                    f"{desk.in_image(date)}?",
                    f"how many {UNITS[truth.split()[1]]} does the biggest connected patch of {noun.text} measure"
                    f"{desk.in_image(date)}?",
                )
                finding = f"The area is {truth}, {format_share(part)} of {noun.the}."
                conclusion = f"So the largest patch measures {truth}."
            else:
                percent = round(100 * share)
                values = even_integers(percent, desk.rng, num=3, gap=self.gap_points, min_gap=2, low=1, high=100)
                truth, wrong = format_share(share), [f"{value}%" for value in values or ()]
                texts = (
                    f"what percentage of {desk.image(date)} does the largest single patch of {noun.text} cover?",
                    f"how much of {desk.image(date)} is covered by the biggest connected patch of {noun.text}?",
                )
                finding = f"It covers {truth} of the image, which is {format_share(part)} of {noun.the}."
                conclusion = f"So the largest patch covers {truth} of the image."
            return desk.draft(
                task=self.task,
                text=desk.pick_text(*texts),
                steps=[
                    desk.point(
                        cover, desk.say_share(cover), f"{capital(noun.it)} {noun.verb('form')} {len(patches)} patches."
                    ),
                    Pointed(
                        mask=mask,
                        class_name=cover.name,
                        date=date,
                        lead=f"The largest patch of {noun.text}:",
                        finding=finding,
                    ),
                ],
                conclusion=conclusion,
                truth=truth,
                wrong=wrong,
                value=100 * share if area_m2 is None else area_m2,
                unit="%" if area_m2 is None else "m2",
            )
        return None


@dataclass(frozen=True, kw_only=True)
class DensestQuarter:
    """Asks which quarter of the image has most of a class.

    Attributes:
        min_part: least part of the class that lies there.
        min_lead: it is at least so many times as much as in the next quarter.
    """

    task: str = "spatial/densest_quarter"
    min_share: float = 0.01
    min_part: float = 0.35
    min_lead: float = 1.3

    def draft(self, desk: Desk) -> Draft | None:
        date = desk.draw_date()
        for cover in desk.shuffle(desk.large(date, self.min_share)):
            parts = cover.cells(2).ravel()
            order = np.argsort(-parts)
            best, second = float(parts[order[0]]), float(parts[order[1]])
            if best < self.min_part or best < self.min_lead * second:
                continue
            quarter, noun = QUARTERS[int(order[0])], desk.noun(cover)
            image = desk.image(date)
            mask = self._inside(desk, cover.mask, int(order[0]))
            return desk.draft(
                task=self.task,
                text=desk.pick_text(
                    f"which quarter of {image} contains the most {noun.text}?",
                    f"in which quarter of {image} {noun.is_} {noun.the} most common?",
                    f"cut {image} into four quarters: which one has the most {noun.text}?",
                ),
                steps=[
                    desk.point(cover, desk.say_share(cover)),
                    Pointed(
                        mask=mask,
                        class_name=cover.name,
                        date=date,
                        lead=f"{capital(noun.the)} in the {quarter}:",
                        finding=f"That is {format_share(best)} of {noun.the}, "
                        f"against {format_share(second)} of {noun.the} in the next.",
                    ),
                ],
                conclusion=f"So most of {noun.the} {noun.verb('lie')} in the {quarter}."
                if best > 0.5
                else f"So the {quarter} has the largest part of {noun.the}.",
                truth=quarter,
                wrong=[other for other in QUARTERS if other != quarter],
            )
        return None

    def _inside(self, desk: Desk, mask: masks.Mask, quarter: int) -> masks.Mask:
        """The part of a mask in one of the four quarters."""
        rows, columns = desk.layout.frame.cuts(2)
        row, column = divmod(quarter, 2)
        inside = np.zeros_like(mask)
        window = np.s_[rows[row] : rows[row + 1], columns[column] : columns[column + 1]]
        inside[window] = mask[window]
        return inside
