"""The libraries: their versions against the package's own metadata, and whether they work."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from importlib.util import find_spec

import terrascope
from terrascope.doctor.finding import GIB, Finding, ProbeError, probe

DISTRIBUTION = "terrascope-eo"
REINSTALL = "pip install --force-reinstall {}"

READ_DRIVERS = ("GTiff", "JP2OpenJPEG", "PNG", "JPEG")
WRITE_DRIVERS = ("GTiff", "COG")
PROJ_VARIABLES = ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH")

_TORCH = """
import json, torch
cuda = torch.cuda
gpus = [cuda.get_device_properties(i) for i in range(cuda.device_count())] if cuda.is_available() else []
print(json.dumps({"version": torch.__version__, "threads": torch.get_num_threads(),
                  "gpus": [[gpu.name, gpu.total_memory] for gpu in gpus]}))
"""
_MODEL_CLASSES = "import terrascope.model, transformers; print('\"' + transformers.__version__ + '\"')"
_OPENCV = "import cv2; print('\"' + cv2.__version__ + '\"')"
_RASTERIO = """
import json, rasterio
with rasterio.Env() as env:
    print(json.dumps([rasterio.__version__, rasterio.__gdal_version__, sorted(env.drivers())]))
"""
_PROJECTIONS = """
import json, pyproj, rasterio.crs, rasterio.warp
east, north = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32633", always_xy=True).transform(15, 0)
xs, ys = rasterio.warp.transform(rasterio.crs.CRS.from_epsg(4326), rasterio.crs.CRS.from_epsg(32633), [15], [0])
for library, place in (("pyproj", (east, north)), ("rasterio", (xs[0], ys[0]))):
    if abs(place[0] - 500_000) > 1 or abs(place[1]) > 1:
        raise SystemExit(f"{library} puts 15 E 0 N at {place} of EPSG:32633")
print(json.dumps([pyproj.__version__, pyproj.proj_version_str, pyproj.datadir.get_data_dir()]))
"""


def check_python() -> Sequence[Finding]:
    """Python and this package, against what the package asks for."""
    from packaging.specifiers import SpecifierSet

    about = f"{platform.python_version()} ({sys.executable}), terrascope {terrascope.__version__}"
    try:
        installed = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        advice = "pip install the package, so that its requirements are known"
        return [Finding(name="python", status="WARN", found=f"{about}, not installed", advice=advice)]
    wanted = installed.metadata["Requires-Python"] or ""
    if not SpecifierSet(wanted).contains(platform.python_version(), prereleases=True):
        return [Finding(name="python", status="FAIL", found=about, advice=f"use a Python {wanted}")]
    if installed.version != terrascope.__version__:
        found = f"{about}, but {installed.version} is what pip installed"
        return [Finding(name="python", status="WARN", found=found, advice="pip install the package again")]
    return [Finding(name="python", found=about)]


def check_requirements() -> Sequence[Finding]:
    """One finding per library that is missing or outside of its range; one if there is none."""
    from packaging.requirements import Requirement

    wanted = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or ()]
    wanted = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    findings = []
    for requirement in wanted:
        advice = f"pip install '{requirement}'"
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            findings.append(Finding(name=requirement.name, status="FAIL", found="not installed", advice=advice))
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            found = f"{version} is not {requirement.specifier}"
            findings.append(Finding(name=requirement.name, status="FAIL", found=found, advice=advice))
    return findings or [Finding(name="requirements", found=f"all {len(wanted)} libraries are in their ranges")]


def check_torch() -> Sequence[Finding]:
    """Whether torch starts, and which GPUs it sees."""
    try:
        told = probe(_TORCH)
    except ProbeError as error:
        return [_broken("torch", error)]
    torch = Finding(name="torch", found=f"{told['version']}, {told['threads']} threads")
    gpus = [f"{name}, {memory / GIB:.0f} GiB" for name, memory in told["gpus"]]
    if not gpus and os.path.exists("/dev/nvidia0"):
        found = f"there is one, but torch {told['version']} does not see it"
        advice = "install a CUDA build of torch that fits the driver, or go on with the processor"
        return [torch, Finding(name="gpu", status="WARN", found=found, advice=advice)]
    return [torch, Finding(name="gpu", found="; ".join(gpus) or "none, the processor computes")]


def check_torchvision() -> Sequence[Finding]:
    """Whether the model's classes can be imported: a torchvision that does not fit torch keeps transformers from it."""
    beside = find_spec("torchvision") is not None
    version = _version("torchvision") if beside else ""
    try:
        transformers = probe(_MODEL_CLASSES)
    except ProbeError as error:
        if beside:
            pair = f"torchvision {version} lies beside torch {_version('torch')}"
            found = f"{pair}, and the model cannot be imported ({error})"
            advice = "pip uninstall torchvision; nothing here needs it"
            return [Finding(name="torchvision", status="FAIL", found=found, advice=advice)]
        return [_broken("transformers", error)]
    findings = [Finding(name="transformers", found=f"{transformers}, the model's classes can be imported")]
    if beside:
        found = f"{version} lies beside torch {_version('torch')} and happens to fit"
        advice = "pip uninstall torchvision if transformers ever stops importing; nothing here needs it"
        findings.append(Finding(name="torchvision", status="WARN", found=found, advice=advice))
    return findings


def check_rasterio() -> Sequence[Finding]:
    """Whether GDAL starts and knows the formats that are read and written."""
    try:
        version, gdal, drivers = probe(_RASTERIO)
    except ProbeError as error:
        return [_broken("rasterio", error)]
    found = f"{version}, GDAL {gdal}"
    lacking = [name for name in dict.fromkeys(READ_DRIVERS + WRITE_DRIVERS) if name not in drivers]
    if lacking:
        found = f"{found} without {', '.join(lacking)}"
        needed = set(lacking) & {*WRITE_DRIVERS, "PNG"}
        advice = f"{REINSTALL.format('rasterio')} (its wheel has them)"
        return [Finding(name="rasterio", status="FAIL" if needed else "WARN", found=found, advice=advice)]
    return [Finding(name="rasterio", found=f"{found} with {', '.join(dict.fromkeys(READ_DRIVERS + WRITE_DRIVERS))}")]


def check_opencv() -> Sequence[Finding]:
    try:
        return [Finding(name="opencv", found=probe(_OPENCV))]
    except ProbeError as error:
        return [_broken("opencv-python-headless", error)]


def check_projections() -> Sequence[Finding]:
    """Whether pyproj and GDAL find a database of coordinate systems that they understand, and agree on a place."""
    named = [f"{name}={os.environ[name]}" for name in PROJ_VARIABLES if name in os.environ]
    advice = f"unset {' '.join(one.partition('=')[0] for one in named)}: it leads to another installation's files"
    try:
        version, proj, folder = probe(_PROJECTIONS)
    except ProbeError as error:
        if named:
            found = f"coordinate systems do not work ({error}) with {', '.join(named)}"
            return [Finding(name="pyproj", status="FAIL", found=found, advice=advice)]
        return [_broken("pyproj", error)]
    if named:
        found = f"{version}, PROJ {proj} works, with {', '.join(named)}"
        return [Finding(name="pyproj", status="WARN", found=found, advice=f"{advice}, unless that is meant")]
    return [Finding(name="pyproj", found=f"{version}, PROJ {proj}, data in {folder}")]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "of unknown version"


def _broken(name: str, error: ProbeError) -> Finding:
    return Finding(name=name, status="FAIL", found=f"does not work ({error})", advice=REINSTALL.format(name))
