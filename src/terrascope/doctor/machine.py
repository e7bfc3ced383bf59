"""The machine: memory that this process may have, and what its processor can do."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

from terrascope.doctor.finding import GIB, Finding

WANTED_GIB, NEEDED_GIB = 4.0, 1.0
"""Memory for the largest scene that is promised, and for a small one with the embedded model."""

_FEATURES = {
    "amx_bf16": "AMX bf16",
    "avx512_bf16": "AVX-512 bf16",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
    "bf16": "bf16",
}


def check_memory(root: Path = Path("/")) -> Sequence[Finding]:
    """Memory that is free for this process: the least of the machine's and of every limit set on it."""
    limits = dict(memory_limits(root))
    if not limits:
        return [Finding(name="memory", found="this system does not tell how much is free")]
    name = min(limits, key=limits.__getitem__)
    gib = limits[name] / GIB
    found = f"{gib:.1f} GiB free ({name})"
    advice = f"close other programs or raise the limit; large scenes want {WANTED_GIB:g} GiB"
    if gib < NEEDED_GIB:
        return [Finding(name="memory", status="FAIL", found=found, advice=f"{advice}, any scene {NEEDED_GIB:g} GiB")]
    if gib < WANTED_GIB:
        return [Finding(name="memory", status="WARN", found=found, advice=advice)]
    return [Finding(name="memory", found=found)]


def check_processor(root: Path = Path("/")) -> Sequence[Finding]:
    """Threads that may run, and the instructions that make the model fast."""
    num_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    described = root / "proc/cpuinfo"
    words = set(described.read_text(encoding="utf-8", errors="replace").split()) if described.exists() else set()
    features = [name for flag, name in _FEATURES.items() if flag in words]
    found = f"{platform.machine()}, {num_cpus} usable CPUs, {', '.join(features) or 'no known vector instructions'}"
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > num_cpus:
        advice = f"set OMP_NUM_THREADS to {num_cpus} at most; more threads than CPUs wait for each other"
        return [Finding(name="processor", status="WARN", found=f"{found}, OMP_NUM_THREADS={asked}", advice=advice)]
    if words and platform.machine() in ("x86_64", "AMD64") and "avx2" not in words:
        advice = "expect slow answers, or use a machine with AVX2"
        return [Finding(name="processor", status="WARN", found=found, advice=advice)]
    return [Finding(name="processor", found=found + (f", OMP_NUM_THREADS={asked}" if asked else ""))]


def memory_limits(root: Path = Path("/")) -> Iterator[tuple[str, int]]:
    """What says how much memory is free, and how many bytes by it."""
    meminfo = root / "proc/meminfo"
    if meminfo.exists():
        rows = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        if "MemAvailable" in rows:
            yield "of the machine", int(rows["MemAvailable"].split()[0]) * 1024
    groups = root / "proc/self/cgroup"
    for line in groups.read_text().splitlines() if groups.exists() else ():
        _, controllers, place = line.split(":", 2)
        if controllers == "":
            base, most, used = root / "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            base, most, used = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        folder = base / place.lstrip("/")
        # A limit of any group above holds as well; within a container the group's own path may not be visible.
        for group in (folder, *folder.parents):
            if group.is_relative_to(base):
                limit, current = _number(group / most), _number(group / used)
                if limit is not None and current is not None:
                    yield f"limit of the control group {group}", max(limit - current, 0)
    if os.name == "posix":
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            yield "limit of the address space, ulimit -v", limit


def _number(path: Path) -> int | None:
    """The number in a file; None where there is no file or no limit (`max`)."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
