"""What the package promises to pip, make and people."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_names_licence_and_entry_point() -> None:
    assert PROJECT["name"] == "terrascope-eo"
    assert PROJECT["requires-python"] == ">=3.11"
    assert PROJECT["license"] == "Apache-2.0"
    assert PROJECT["scripts"] == {"terrascope": "terrascope.cli:main"}
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "END OF TERMS AND CONDITIONS" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_installed_version_is_the_one_in_the_code() -> None:
    import terrascope

    assert distribution("terrascope-eo").version == terrascope.__version__


def test_torchvision_is_neither_required_nor_imported() -> None:
    required = [*PROJECT["dependencies"], *(r for extra in PROJECT["optional-dependencies"].values() for r in extra)]
    assert not [r for r in required if r.startswith("torchvision")]
    importing = re.compile(r"^\s*(?:import|from)\s+torchvision", re.MULTILINE)
    found = [p for p in (ROOT / "src").rglob("*.py") if importing.search(p.read_text(encoding="utf-8"))]
    assert found == []


def test_every_import_is_declared() -> None:
    """What `src` imports at the head of a file is a dependency; what it imports within a function may be an extra."""
    provided = {
        "odc-stac": "odc",
        "opencv-python-headless": "cv2",
        "pillow": "PIL",
        "pyyaml": "yaml",
        "scikit-learn": "sklearn",
    }

    def modules(requirements: Iterable[str]) -> set[str]:
        names = {re.split(r"[<>=\[;, ]", requirement)[0] for requirement in requirements}
        return {provided.get(name, name).replace("-", "_") for name in names}

    always = modules(PROJECT["dependencies"]) | {"terrascope"} | set(sys.stdlib_module_names)
    extras = modules(
        word for name, words in PROJECT["optional-dependencies"].items() if name != "dev" for word in words
    )
    # The room of an extra is entered by those alone who have it; starlette is what fastapi is made of.
    rooms = {ROOT / "src" / "terrascope" / "serve": modules(PROJECT["optional-dependencies"]["serve"]) | {"starlette"}}
    importing = re.compile(r"^( *)(?:import|from)\s+([A-Za-z_]\w*)", re.MULTILINE)
    for path in (ROOT / "src").rglob("*.py"):
        code = re.sub(r'"""(?s:.*?)"""', "", path.read_text(encoding="utf-8"))
        for indent, module in importing.findall(code):
            here = always | rooms.get(path.parent, set()) | (extras if indent else set())
            assert module in here, f"{path.name}: {module}"


def test_readme_shows_the_two_commands_that_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for command in ("demo", "test"):
        assert f"make {command}" in readme
        assert f"make {command}" in script
        assert command in targets


def test_links_of_the_documents_lead_somewhere() -> None:
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#]+)", document.read_text(encoding="utf-8")):
            if "://" not in link:
                assert (document.parent / link).exists(), f"{document.name}: {link}"
