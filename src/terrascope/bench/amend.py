"""The answer of a question from corrected masks, by the rule and the thresholds of its task (paper, Appendix D)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from terrascope import masks, spatial, trace
from terrascope.bench.distractors import DEFAULT, Spacing, distractor_faults
from terrascope.bench.recipe import TASKS
from terrascope.bench.rephrase import with_options
from terrascope.masks import Mask
from terrascope.quantities import format_area, format_distance, format_share
from terrascope.sample import Sample
from terrascope.sources.chips import Chip
from terrascope.tasks import Question, Task, area, boundary, building_change, distance, ranking
from terrascope.tasks.area import Area
from terrascope.tasks.boundary import Boundary
from terrascope.tasks.building_change import BuildingChange
from terrascope.tasks.coverage import Coverage
from terrascope.tasks.distance import Distance
from terrascope.tasks.question import free_question
from terrascope.tasks.ranking import Ranking
from terrascope.tasks.regions import Region

NO_RULE = "a task whose answer cannot be computed again"
NO_CLASS = "a class that the scene's labels do not know"
NOT_ASKABLE = "corrected masks that the task does not ask about"
NO_OPTION = "no option fits the corrected masks"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the masks of a question say: a finding for each, a conclusion, and the right answer."""

    findings: tuple[str, ...]
    truth: str
    conclusion: str = ""
    value: float | None = None


def amend(
    sample: Sample,
    corrected: Mapping[int, Mask],
    chip: Chip,
    *,
    tasks: Mapping[str, Task] = TASKS,
    spacing: Spacing = DEFAULT,
) -> Sample | str:
    """A sample with corrected masks, and all that follows from them: findings, answer, and the option that is right.

    If the new answer is one of the options, that one is right. Otherwise it takes the place of the old answer among
    them, as long as the wrong options still can be told from it.

    Args:
        corrected: for each [SEG] (from 0) whose mask is another one, its mask bool `[H, W]`. What is not measured or
            labelled does not count.
        chip: the scene of the sample.
        tasks: with the thresholds that the sample was asked by.

    Returns:
        the sample; or, in fixed words, why the question cannot be asked of these masks.
    """
    regions = []
    for place, mask in enumerate(sample.masks):
        date = mask.image - 1
        known = chip.labelled.surveys[date].regions if date < chip.labelled.num_dates else ()
        region = next((region for region in known if region.name == mask.class_name), None)
        if region is None:
            return NO_CLASS
        pixels = corrected.get(place, sample.mask(place)) & chip.labelled.measured(date)
        num = masks.count(pixels)
        regions.append(replace(region, pixels=pixels if num else None, num_pixels=num))
    task, rule = tasks.get(sample.task), _RULES.get(sample.task)
    if task is None or rule is None:
        return NO_RULE
    found = rule(task, sample, regions)
    if found is None:
        return NOT_ASKABLE
    question = free_question(
        task=sample.task,
        text=sample.question,
        num_dates=chip.labelled.num_dates,
        steps=list(zip(regions, found.findings, strict=True)),
        conclusion=found.conclusion,
        truth=found.truth,
        value=found.value,
        unit=sample.unit,
    )
    return _settle(_record(sample, question), sample.options, sample.truth, spacing)


def _record(sample: Sample, question: Question) -> Sample:
    """The sample as a free question with the masks, reasoning and answer of another."""
    pointed = []
    for mask, step in zip(sample.masks, question.trace.grounded_steps, strict=True):
        assert step.mask is not None
        pointed.append(replace(mask, counts=masks.encode_rle(step.mask)["counts"]))
    return replace(
        sample,
        options=(),
        reasoning=trace.render(question.trace),
        masks=tuple(pointed),
        truth=question.truth,
        value=question.value,
    )


def _settle(sample: Sample, options: Sequence[str], truth_before: str, spacing: Spacing) -> Sample | str:
    """A free sample with the options that it had before, the right one among them."""
    if not options:
        return sample
    if sample.truth not in options:
        wrong = [option for option in options if option != truth_before]
        if distractor_faults(sample, wrong, spacing):
            return NO_OPTION
        options = [sample.truth if option == truth_before else option for option in options]
    return with_options(sample, options)


# ---------------------------------------------------------------------------------------------------------------------
# The rules: as the tasks find and refuse, but of given masks. None where the task would not ask about them.


def _coverage(task: Task, _: Sample, regions: Sequence[Region]) -> Found | None:
    assert isinstance(task, Coverage)
    [region] = regions
    if region.coverage < task.min_coverage:
        return None
    return Found(findings=(region.coverage_finding,), truth=format_share(region.coverage), value=100 * region.coverage)


def _area(task: Task, _: Sample, regions: Sequence[Region]) -> Found | None:
    assert isinstance(task, Area)
    [region] = regions
    if region.coverage < task.min_coverage or region.survey.pixel_size is None:
        return None
    truth = format_area(region.area_m2)
    return Found(findings=(area.word_finding(region),), truth=truth, value=region.area_m2)


def _distance(task: Task, _: Sample, regions: Sequence[Region]) -> Found | None:
    assert isinstance(task, Distance)
    first, second = regions
    pixel_size = first.survey.pixel_size
    clear = all(one.coverage >= task.min_coverage and one.num_objects <= task.max_objects for one in regions)
    if not clear or pixel_size is None or spatial.distance_px(first.mask, second.mask) < task.min_distance_px:
        return None
    distance_m = spatial.distance_m(first.mask, second.mask, pixel_size)
    findings = distance.word_findings(first, second, distance_m)
    return Found(findings=findings, truth=format_distance(distance_m), value=distance_m)


def _ranking(task: Task, _: Sample, regions: Sequence[Region]) -> Found | None:
    assert isinstance(task, Ranking)
    smaller, larger = sorted(regions, key=lambda region: region.coverage)
    if smaller.coverage < task.min_coverage or not task.can_tell(smaller, larger):
        return None
    findings = tuple(region.coverage_finding for region in regions)
    return Found(findings=findings, truth=larger.name, conclusion=ranking.word_conclusion(larger))


def _boundary(task: Task, _: Sample, regions: Sequence[Region]) -> Found | None:
    assert isinstance(task, Boundary)
    first, second = regions
    if any(one.coverage < task.min_coverage or one.num_objects > task.max_objects for one in regions):
        return None
    touching = spatial.are_adjacent(first.mask, second.mask)
    findings = boundary.word_findings(first, second, touching=touching)
    return Found(findings=findings, truth="Yes" if touching else "No")


def _building_change(task: Task, sample: Sample, regions: Sequence[Region]) -> Found | None:
    """Corrected masks have no numbered buildings any more: their components count."""
    assert isinstance(task, BuildingChange)
    total, destroyed = (region.num_objects for region in regions)
    if total < task.min_buildings or not task.min_destroyed <= destroyed <= total:
        return None
    asks_count = sample.unit == "count"
    return Found(
        findings=building_change.word_findings(total, destroyed),
        conclusion=building_change.word_conclusion(total, destroyed),
        truth=str(destroyed) if asks_count else format_share(destroyed / total),
        value=float(destroyed) if asks_count else 100 * destroyed / total,
    )


_RULES: Mapping[str, Callable[[Task, Sample, Sequence[Region]], Found | None]] = {
    "coverage": _coverage,
    "area": _area,
    "distance": _distance,
    "ranking": _ranking,
    "boundary": _boundary,
    "building_change": _building_change,
}
