"""The rooms import downwards only, and what needs no torch starts without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_imports_point_downwards_only() -> None:
    from importlinter.cli import lint_imports

    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


CALL = "import sys; from terrascope.cli import main; sys.argv = ['terrascope', {}]; main()"


@pytest.mark.parametrize(
    "code",
    [
        CALL.format("'--help'"),
        CALL.format("'ask', '--help'"),
        CALL.format("'ask', 'x', '--optical', 'missing.tif'"),
        "import terrascope; terrascope.Scene; terrascope.Answer; terrascope.TerraScopeError",
        "import terrascope.predictor, terrascope.printout, terrascope.tasks, terrascope.sources.synthetic",
    ],
)
def test_torch_is_not_imported(code: str) -> None:
    loaded = "print('LOADED', *{'torch', 'transformers'} & set(sys.modules))"
    report = f"import atexit, sys; atexit.register(lambda: {loaded})\n"
    done = subprocess.run([sys.executable, "-c", report + code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1:] == ["LOADED"], done.stdout + done.stderr


def test_help_needs_no_raster_library_either() -> None:
    code = "import sys, terrascope.cli; print(*{'numpy', 'rasterio', 'cv2', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "")


def test_every_public_name_is_found() -> None:
    code = (
        "import terrascope; "
        "assert set(terrascope.__all__) <= set(dir(terrascope)); "
        "print([n for n in terrascope.__all__ if n != 'TerraScope' and getattr(terrascope, n) is None])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "[]")


def test_unknown_name_is_an_attribute_error() -> None:
    import terrascope

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = terrascope.nothing
