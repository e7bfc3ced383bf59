"""Write the reference pages that follow the code: commands.md, api.md and results.md.

    python docs/reference/make.py

A test compares the committed pages with what is written here.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.main import get_command

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SOURCE = ROOT / "src" / "terrascope"

MODULES = {
    "scene": "Scenes and images",
    "model.terrascope": "The model",
    "model.generation": "How a reasoning is written",
    "answer": "Answers",
    "events": "What is told while an answer is reasoned",
    "predictor": "Whatever gives answers",
    "trace": "The reasoning",
    "spatial": "Measures of masks",
    "masks": "Masks",
    "georeference": "Places and sizes on the ground",
    "landcover.nomenclature": "Classes",
    "rasters.registry": "Sensors",
    "tasks.question": "Tasks",
    "tasks.regions": "Choosing what to ask of",
    "tasks.survey": "Regions and what they measure",
    "sources.chips": "Sources",
    "sources": "Sources by name",
    "sample": "Samples of a data set",
    "terracot.store": "Data sets on disk",
    "batch.manifest": "Manifests of a batch",
    "batch.run": "Batches",
    "errors": "Errors",
}
"""The modules whose public names stand in api.md, in order, each with a heading."""

HIDDEN_METHODS = ("__init__", "__post_init__", "__reduce__")
SECTIONS = {"Args": "Arguments"}
WIDTH = 80
NOTE = "<!-- Written by docs/reference/make.py; do not edit. -->"


def commands_page() -> str:
    """Every command with its arguments and options, as typer knows them."""
    from terrascope.cli import app

    lines = [
        "# Commands",
        "",
        NOTE,
        "",
        "`terrascope COMMAND --help` prints the same. What a command cannot do ends with one sentence and exit code 2.",
        "Options marked *repeatable* may be given several times; values between slashes are those to choose from.",
    ]
    for path, command in _walk(get_command(app), ("terrascope",)):
        lines += ["", *_command(path, command)]
    return _joined(lines)


def api_page() -> str:
    """The public names of `MODULES` with their docstrings, read from the source."""
    lines = [
        "# Python API",
        "",
        NOTE,
        "",
        "`from terrascope import Scene, TerraScope` is what most programs need.",
        "Names that begin with an underscore, and modules that are not listed here, may change without notice.",
    ]
    for module, title in MODULES.items():
        lines += ["", *_module(module, title)]
    return _joined(lines)


def results_page() -> str:
    """The measured figures of the README, where its links lead to the pages of this site."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    start, end = readme.index("## The model that comes with it"), readme.index("## Where things are")
    text = readme[start:end].replace("](src/terrascope/weights/nano/README.md)", "](../model-card.md)")
    text = text.replace("](docs/", "](../")
    heading = [
        "# Results",
        "",
        NOTE,
        "",
        "Figures of `nano`, measured by the scripts in `benchmarks/`. Benchmarks of the",
    ]
    heading += [
        "engine, of the data sets and of large scenes stand beside what they measure: [engine](../engine.md#figures),"
    ]
    heading += ["[Terra-CoT](../terra-cot.md#figures), [scenes](../scenes.md#scenes-larger-than-the-models-view),"]
    heading += ["[models](../models.md#figures), [ablations](../ablations.md).", "", ""]
    return "\n".join(heading) + text.rstrip() + "\n"


def _joined(lines: list[str]) -> str:
    """The lines of a page, with no more than one of them empty in a row."""
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """A command and those below it, in the order of the help."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield from _walk(inner, (*path, name))


def _command(path: tuple[str, ...], command: Any) -> Iterator[str]:
    context = typer.Context(command, info_name=path[-1])
    shown = [one for one in command.params if not getattr(one, "hidden", False)]
    arguments = [one for one in shown if one.param_type_name == "argument"]
    options = [one for one in shown if one.param_type_name == "option" and one.name != "help"]
    inner = getattr(command, "commands", {})
    usage = [*path, "COMMAND" if inner else "", *map(_argument, arguments), "[OPTIONS]" if options else ""]
    yield "#" * min(len(path) + 1, 3) + f" {' '.join(path)}"
    yield ""
    yield " ".join((command.help or "").split())
    yield ""
    yield from ("```", " ".join(part for part in usage if part), "```")
    if inner:
        yield from ("", "| command | what it does |", "|---|---|")
        for name, one in inner.items():
            anchor = "-".join((*path, name))
            yield f"| [`{' '.join((*path, name))}`](#{anchor}) | {_sentence(one.help)} |"
    if arguments:
        yield from ("", "| argument | what it is |", "|---|---|")
        for one in arguments:
            yield f"| `{_cell(_argument(one))}` | {_sentence(one.help)} |"
    if options:
        yield from ("", "| option | what it does | default |", "|---|---|---|")
        for one in options:
            yield f"| `{_cell(_option(one, context))}` | {_sentence(one.help)}{_remarks(one)} | {_default(one)} |"


def _argument(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    name = name if argument.required or name.startswith("[") else f"[{name}]"
    return name if argument.nargs == 1 or name.startswith("[") else f"{name}..."


def _option(option: Any, context: Any) -> str:
    names = ", ".join((*option.opts, *option.secondary_opts))
    if option.is_flag:
        return names
    # typer puts values to choose from into brackets, of another kind from version to version.
    choices = option.get_help_record(context)[0].split()[-1].strip("<>[]{}")
    return f"{names} {option.metavar or choices.lower().replace('|', '/')}"


def _remarks(option: Any) -> str:
    said = [word for word, is_so in (("repeatable", option.multiple), ("required", option.required)) if is_so]
    return f" *({', '.join(said)})*" if said else ""


def _default(option: Any) -> str:
    if option.default in (None, False, (), [], "") or callable(option.default):
        return ""
    return f"`{_cell(str(option.default))}`"


def _sentence(text: str | None) -> str:
    return _cell(" ".join((text or "").split()))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _module(module: str, title: str) -> Iterator[str]:
    file = SOURCE.joinpath(*module.split("."))
    path = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield f"## {title}"
    yield ""
    yield f"`terrascope.{module}`"
    yield ""
    yield from _prose(ast.get_docstring(tree) or "")
    for node, told in _documented(tree.body):
        if isinstance(node, ast.ClassDef):
            yield from _class(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _function(node, f"### {node.name}")
        elif told:
            yield from ("", f"### {_name_of(node)}", "", *_prose(told))


def _documented(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, str]]:
    """The public statements of a module or class, each with the text that stands below it."""
    for node, after in zip(body, [*body[1:], None], strict=True):
        name = _name_of(node)
        if not name or (name.startswith("_") and not name.startswith("__")) or name in (*HIDDEN_METHODS, "__all__"):
            continue
        is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        yield node, after.value.value if is_text and isinstance(after.value.value, str) else ""  # type: ignore[union-attr]


def _name_of(node: ast.stmt) -> str:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return node.name
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return ""


def _class(node: ast.ClassDef) -> Iterator[str]:
    fields = [_text(one) for one, _ in _documented(node.body) if isinstance(one, ast.AnnAssign)]
    bases = f"({', '.join(map(_text, node.bases))})" if node.bases else ""
    decorators = [f"@{_text(one)}" for one in node.decorator_list]
    head = [f"class {node.name}{bases}:", *(f"    {one}" for one in fields)] if fields else []
    yield from ("", f"### {node.name}", "")
    yield from ("```python", *decorators, *(head or [f"class {node.name}{bases}: ..."]), "```", "")
    yield from _prose(ast.get_docstring(node) or "")
    for one, _ in _documented(node.body):
        # A method without a docstring is either told with the class, or by the face that the class implements.
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(one):
            yield from _function(one, f"#### {node.name}.{one.name}")


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef, heading: str) -> Iterator[str]:
    decorators = [_text(one) for one in node.decorator_list]
    shown = [f"@{one}" for one in decorators if one in ("property", "cached_property", "classmethod", "staticmethod")]
    yield from ("", heading, "", "```python", *shown, *_signature(node), "```", "")
    yield from _prose(ast.get_docstring(node) or "")


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    result = f" -> {_text(node.returns)}" if node.returns else ""
    arguments = list(_arguments(node.args))
    line = f"def {node.name}({', '.join(arguments)}){result}: ..."
    if len(line) <= WIDTH:
        return [line]
    return [f"def {node.name}(", *(f"    {one}," for one in arguments), f"){result}: ..."]


def _arguments(arguments: ast.arguments) -> Iterator[str]:
    """The parameters one by one, as they are written in a definition."""
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
    for one, default in zip(plain, defaults, strict=True):
        yield _argument_text(one, default)
    if arguments.vararg:
        yield f"*{_text(arguments.vararg)}"
    elif arguments.kwonlyargs:
        yield "*"
    for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield _argument_text(one, default)
    if arguments.kwarg:
        yield f"**{_text(arguments.kwarg)}"


def _argument_text(argument: ast.arg, default: ast.expr | None) -> str:
    equals = " = " if argument.annotation else "="
    return _text(argument) + (f"{equals}{_text(default)}" if default is not None else "")


def _prose(docstring: str) -> Iterator[str]:
    """A docstring as Markdown: sections of arguments, results and errors become lists."""
    section: list[str] = []
    title = ""
    for line in [*docstring.splitlines(), "End:"]:
        header = re.fullmatch(r"(Args|Attributes|Returns|Yields|Raises|Example|End):", line)
        if title and (header or (line and not line.startswith(" "))):
            yield from (
                f"**{SECTIONS.get(title, title)}**",
                "",
                *_entries(section, title),
                "",
            )
            section, title = [], ""
        if header:
            title = header[1] if header[1] != "End" else ""
        elif title:
            section.append(line)
        else:
            yield _escaped(line)


def _entries(lines: list[str], title: str) -> Iterator[str]:
    """The entries of a section, each a line of a list with its name in code; results are plain text."""
    text = textwrap.dedent("\n".join(lines)).strip().splitlines()
    if title == "Example":
        yield from ("```python", *(line.removeprefix(">>> ") for line in text), "```")
        return
    if title in ("Returns", "Yields"):
        yield from map(_escaped, text)
        return
    for line in text:
        named = re.match(r"([\w.*]+(?:, [\w.*]+)*): (.*)", line)
        if named:
            names = ", ".join(f"`{name}`" for name in named[1].split(", "))
            yield f"- {names}: {_escaped(named[2])}"
        elif line.strip():
            yield f"  {_escaped(line.strip())}"


def _text(node: ast.AST) -> str:
    """A node as it would be written here: texts in double quotes."""
    return re.sub(r"'([^'\"]*)'", r'"\1"', ast.unparse(node))


def _escaped(line: str) -> str:
    """A line whose brackets and angles outside of code are not taken for links and tags."""
    parts = re.split(r"(`[^`]*`)", line)
    return "".join(part if part.startswith("`") else re.sub(r"([\[\]<>*])", r"\\\1", part) for part in parts)


PAGES = {"commands.md": commands_page, "api.md": api_page, "results.md": results_page}
"""The pages that are written here."""

if __name__ == "__main__":
    for page, write in PAGES.items():
        (HERE / page).write_text(write(), encoding="utf-8")
