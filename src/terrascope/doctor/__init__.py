"""Whether this installation can answer: its libraries, this machine, its folders and the files of a model.

Nothing that may be broken is imported here: a library is tried in a process of its own, whose death is a finding too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from terrascope.doctor import folders, libraries, machine, model_files
from terrascope.doctor.finding import Finding, Status, in_words

__all__ = ["Finding", "Status", "examine", "in_words"]

Check = Callable[[], Sequence[Finding]]


def examine(model: str, out: str) -> Iterator[Finding]:
    """Every finding, in a fixed order, as soon as it is known.

    Args:
        model: `nano`, a folder, or a hub id; a model of the hub is looked for in the cache, and never fetched.
        out: the folder that answers would be written to.
    """
    checks: dict[str, Check] = {
        "python": libraries.check_python,
        "requirements": libraries.check_requirements,
        "torch": libraries.check_torch,
        "torchvision": libraries.check_torchvision,
        "rasterio": libraries.check_rasterio,
        "opencv": libraries.check_opencv,
        "pyproj": libraries.check_projections,
        "memory": machine.check_memory,
        "processor": machine.check_processor,
        "output folder": lambda: folders.check_output(out),
        "temporary folder": folders.check_temporary,
        "cache folder": folders.check_cache,
        "model": lambda: model_files.check_model(model),
    }
    with ThreadPoolExecutor(max_workers=2) as pool:
        for found in [pool.submit(_isolated, name, check) for name, check in checks.items()]:
            yield from found.result()


def _isolated(name: str, check: Check) -> Sequence[Finding]:
    """The findings of a check; one that fails itself is a finding, so that the others are still made."""
    try:
        return check()
    except Exception as error:
        said = f"could not be checked: {type(error).__name__}: {in_words(error)}"
        return [
            Finding(name=name, status="FAIL", found=said, advice="reinstall the package, and report this if it stays")
        ]
