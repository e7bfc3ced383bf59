"""The documents: links resolve, commands exist, how-tos do what they say, and the site stands alone."""

from __future__ import annotations

import ast
import html.parser
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import typer
from typer.main import get_command

from terrascope.cli import app

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md")))
HOW_TOS = tuple(sorted((DOCS / "how-to").glob("*.md")))
NOT_RUN = re.compile(r"<!-- not run: .+ -->")

COMMANDS = """
import json, sys
from terrascope.cli import app
for words in json.loads(sys.argv[1]):
    assert words[0] == "terrascope", words
    try:
        app(words[1:], prog_name="terrascope")
    except SystemExit as ended:
        assert not ended.code, (words, ended.code)
"""
"""Runs commands of the program that are given as JSON, and stops at the first that fails."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page: its language, its title (the file that it is, or belongs to), its text, where it is."""

    language: str
    title: str
    text: str
    line: int
    is_run: bool


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> Iterator[Block]:
    opened, before, start = None, "", 0
    lines: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = re.fullmatch(r"\s*```(\w*)(?: title=\"(.+)\")?\s*", line)
        if opened is None and fence:
            opened, start, lines = fence, number, []
        elif opened is not None and fence and not fence[1]:
            is_run = not NOT_RUN.fullmatch(before)
            yield Block(
                language=opened[1], title=opened[2] or "", text="\n".join(lines) + "\n", line=start, is_run=is_run
            )
            opened = None
        elif opened is not None:
            lines.append(line)
        before = line.strip() or before if opened is None else before
    assert opened is None, f"{name_of(page)}:{start}: a block without end"


def prose_of(page: Path) -> str:
    """The text of a page without what stands in code."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "`code`", text)


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings: as GitHub makes them and, of the site's pages, as the site does, too."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    anchors: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", text, flags=re.M):
        bare = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", bare).strip().replace(" ", "-")
        if not page.is_relative_to(DOCS) or slug == re.sub("-+", "-", slug):
            anchors.add(slug)
    return anchors


def commands_of(text: str) -> Iterator[list[str]]:
    """The command lines of a block, their continuations joined and their comments cut off."""
    for line in text.replace("\\\n", " ").splitlines():
        if re.match(r"\s*(\$ )?(terrascope|python|torchrun) ", line):
            yield shlex.split(line.strip().removeprefix("$ "), comments=True)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        address = urlsplit(target)
        if address.scheme:
            continue
        file = page if not address.path else (page.parent / unquote(address.path)).resolve()
        assert file.exists(), f"{name_of(page)}: no file {target}"
        if address.fragment:
            assert address.fragment in anchors_of(file), (
                f"{name_of(page)}: no heading #{address.fragment} in {file.name}"
            )


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_exist_and_take_these_options(page: Path) -> None:
    if page.name == "commands.md":
        pytest.skip("says how commands are called, not what is typed; it is written from the commands themselves")
    for block in blocks_of(page):
        for words in commands_of(block.text):
            if "terrascope" in words:
                where = f"{name_of(page)}:{block.line}"
                check_command(words[words.index("terrascope") + 1 :], where)


def check_command(words: list[str], where: str) -> None:
    """The words name a command, options that it has, and as many arguments as it takes.

    What stands for more (`...`, `SRC`) is taken as it is; nothing is opened and no value is checked beyond its form.
    """
    command, path = get_command(app), ["terrascope"]
    while hasattr(command, "commands"):
        if words[:1] in (["--version"], ["--list"], ["--help"]) and words[0] in names_of(command):
            return
        try:
            name, found, words = command.resolve_command(typer.Context(command), words)
        except Exception as error:
            raise AssertionError(f"{where}: no command {' '.join([*path, *words[:1]])}") from error
        command, path = found, [*path, name]
    if "--help" in words or ("--list" in words and "--list" in names_of(command)):
        return
    is_abridged = "..." in words or not words
    try:
        command.make_context(" ".join(path), [word for word in words if word != "..."])
    except Exception as error:
        if not (is_abridged and type(error).__name__ in ("MissingParameter", "NoArgsIsHelpError")):
            said = getattr(error, "message", str(error))
            raise AssertionError(f"{where}: {' '.join([*path, *words])}: {said}") from error


def names_of(command: Any) -> set[str]:
    """The options that a command has."""
    return {"--help"}.union(*(one.opts for one in command.params if one.param_type_name == "option"))


def test_a_wrong_command_is_found() -> None:
    for words in (
        ["asks", "q"],
        ["ask", "q", "--optic", "x.tif"],
        ["ask", "q", "more"],
        ["data", "make"],
        ["ask", "q", "--gsd", "x"],
    ):
        with pytest.raises(AssertionError):
            check_command(words, "here")
    check_command(["ask", "q", "--optical", "x.tif"], "here")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_blocks_compile(page: Path) -> None:
    for block in blocks_of(page):
        if block.language == "python":
            compile(block.text, f"{name_of(page)}:{block.line}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_reference_pages_are_what_the_code_says() -> None:
    path = DOCS / "reference" / "make.py"
    spec = importlib.util.spec_from_file_location("reference_make", path)
    assert spec is not None and spec.loader is not None
    make: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    for page, write in make.PAGES.items():
        committed = (path.parent / page).read_text(encoding="utf-8")
        assert committed == write(), f"docs/reference/{page} is out of date: python docs/reference/make.py"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the repository that a how-to may change; weights are linked."""
    weights = ROOT / "src" / "terrascope" / "weights"
    for folder in ("src", "tests", "docs"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=lambda at, _: {"weights", "__pycache__"} & set(os.listdir(at))
        )
    (tmp_path / weights.relative_to(ROOT)).symlink_to(weights)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize("page", HOW_TOS, ids=name_of)
def test_how_tos_do_what_they_say(page: Path, copy: Path) -> None:
    """Every block of a how-to in order: files are written, differences applied, Python and commands run."""
    printed, commands = "", []
    for block in blocks_of(page):
        if not block.is_run:
            continue
        where = f"{name_of(page)}:{block.line}"
        found = [] if block.language or block.title else list(commands_of(block.text))
        if commands and (block.language not in ("", "text") or any(words[0] != "terrascope" for words in found)):
            run_commands(commands, copy, where)
            commands = []
        if block.language == "diff":
            apply_difference(copy / block.title, block.text, where)
        elif block.title:
            file = copy / block.title
            assert not file.exists(), f"{where}: {block.title} is there already"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            printed = run([sys.executable, "-c", block.text], copy, where)
        elif block.language == "text" and printed:
            assert printed == block.text, f"{where}: it prints\n{printed}"
        elif found and found[0][0] == "python":
            for words in found:
                run([sys.executable, *words[1:]], copy, where)
        else:
            commands += found
    if commands:
        run_commands(commands, copy, name_of(page))


def run_commands(commands: list[list[str]], folder: Path, where: str) -> None:
    """Run `terrascope` commands in one process, as importing the model takes longer than most of them."""
    run([sys.executable, "-c", COMMANDS, json.dumps(commands)], folder, f"{where} or before it")


def apply_difference(file: Path, text: str, where: str) -> None:
    """Replace the lines of a file that stand there without + by those that stand there without -."""
    old = "\n".join(line[1:] for line in text.splitlines() if not line.startswith("+"))
    new = "\n".join(line[1:] for line in text.splitlines() if not line.startswith("-"))
    before = f"\n{file.read_text(encoding='utf-8')}"
    assert before.count(f"\n{old}\n") == 1, f"{where}: these lines stand {before.count(old)} times in {file.name}"
    file.write_text(before.replace(f"\n{old}\n", f"\n{new}\n")[1:], encoding="utf-8")


def run(command: list[str], folder: Path, where: str) -> str:
    """What the command prints."""
    paths = os.pathsep.join((str(folder / "src"), str(folder)))
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{where}: {' '.join(command[1:])[:200]}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built from a copy of the documents; a warning of the generator fails."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(DOCS, folder / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("zensical.toml", "CHANGELOG.md", "src/terrascope/weights/nano/README.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    run([str(Path(sys.executable).with_name("zensical")), "build", "--strict"], folder, "zensical.toml")
    return folder / "site"


class Page(html.parser.HTMLParser):
    """What a built page has: addresses that it leads to, addresses that it loads, and its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif "src" in values or tag == "link":
            self.loaded.append(values.get("src", values.get("href", "")))


def test_the_site_stands_alone(site: Path) -> None:
    """No link leads to what is missing, and nothing is loaded from another server."""
    pages = {path: Page(path) for path in site.rglob("*.html")}
    assert len(pages) > len(list(DOCS.rglob("*.md")))
    for path, page in pages.items():
        if path.name == "404.html":  # its addresses start at the root of a server
            continue
        for address in page.loaded:
            assert not urlsplit(address).netloc, f"{path.name} loads {address}"
        for address in (*page.links, *page.loaded):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file() and target.is_relative_to(site), f"{path.relative_to(site)}: no {address}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].anchors, f"{path.relative_to(site)}: no {address}"
    for path in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?https?:|@import", path.read_text(encoding="utf-8")), path.name


def test_included_pages_begin_with_their_title(site: Path) -> None:
    for name, title in (("model-card", "nano"), ("changelog", "Changelog"), ("reference/results", "Results")):
        text = (site / f"{name}.html").read_text(encoding="utf-8")
        body = text[text.index("<article") :]
        first = re.search(r"<(h\d|p|hr)\b[^>]*>(\w*)", body)
        assert first is not None and first.groups() == ("h1", title)


def test_every_page_stands_in_the_navigation() -> None:
    listed = re.findall(r'"([\w/-]+\.md)"', (ROOT / "zensical.toml").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def test_the_search_index_has_every_page(site: Path) -> None:
    index = json.loads((site / "search.json").read_text(encoding="utf-8"))
    found = {item["location"].partition("#")[0] for item in index["items"]}
    built = {path.relative_to(site).as_posix() for path in site.rglob("*.html")} - {"404.html"}
    assert found == built


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_code_in_a_table_holds_a_pipe(page: Path) -> None:
    """GitHub wants it with a backslash, and the site would show the backslash; <code>&#124;</code> is read by both."""
    for line in page.read_text(encoding="utf-8").splitlines():
        assert not (line.startswith("|") and re.search(r"`[^`]*\\\|[^`]*`", line)), f"{name_of(page)}: {line}"
