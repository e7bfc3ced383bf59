"""The kinds of question that can be asked of a label map, each with its truth and its reasoning.

The data set and the benchmark are made by the same tasks. A new one is a file beside these and a line below.
"""

from __future__ import annotations

from terrascope.tasks.area import Area
from terrascope.tasks.boundary import Boundary
from terrascope.tasks.building_change import BuildingChange
from terrascope.tasks.counting import Counting
from terrascope.tasks.coverage import FLOOD, Coverage
from terrascope.tasks.distance import Distance
from terrascope.tasks.existence import Existence
from terrascope.tasks.localization import Localization
from terrascope.tasks.question import LabelledScene, Question, Task
from terrascope.tasks.ranking import Ranking

__all__ = ["TASKS", "LabelledScene", "Question", "Task"]

_ALL: tuple[Task, ...] = (
    Existence(),
    Counting(),
    Localization(),
    Coverage(),
    Area(),
    Distance(),
    Ranking(),
    Boundary(),
    BuildingChange(),
    FLOOD,
)

TASKS: dict[str, Task] = {task.name: task for task in _ALL}
"""All tasks with their default thresholds, by name."""
