"""How a command ends when it cannot do what was typed: one sentence on standard error, and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import typer

from terrascope.errors import TerraScopeError

INTERRUPTED = 130
"""What a shell reports of a program that Ctrl-C ended."""

_WANTED = {
    "float_parsing": "a number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "bool_parsing": "yes or no",
}
"""What an option of a type wants, by the name that pydantic gives to the failure."""

_OF_LIBRARY = {": Value error, ": ": ", ": Input should be ": ": it must be "}
"""How the library that checks values begins its complaints, and how a sentence of ours goes on."""

_UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Base of all complaints about arguments. Typer exports its subclass alone, and which package it is from varies."""


def end_command(command: Callable[[], Any]) -> int:
    """Run a command and return its exit code: 2 with one sentence where the user can mend it, 130 after Ctrl-C.

    A reader of standard output that goes away (`| head -1`) is no error worth a word; the code is 1.
    """
    try:
        result = command()
        sys.stdout.flush()
        code = result if isinstance(result, int) else 0
    except BrokenPipeError:
        # Python flushes once more as it exits, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except TerraScopeError as error:
        typer.echo(f"error: {error}", err=True)
        return 2
    except _UsageError as error:
        # The help has been printed in its place.
        if type(error).__name__ != "NoArgsIsHelpError":
            typer.echo(f"error: {describe_usage_error(error)}", err=True)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:
        typer.echo("interrupted", err=True)
    return code


def describe_usage_error(error: Any) -> str:
    """One sentence, without a full stop, for a complaint of typer's about the arguments of a command."""
    wrong_value = _describe_wrong_value(error)
    if wrong_value:
        return wrong_value
    option = getattr(error, "option_name", None)
    alternatives = getattr(error, "possibilities", None) or ()
    if option and hasattr(error, "possibilities"):
        near = get_close_matches(option, alternatives, n=1, cutoff=0.5)
        return f"no such option {option}; " + (f"did you mean {near[0]}?" if near else _where_to_look(error))
    # Typer's own words, as the one sentence that all our errors are.
    text = " ".join(error.format_message().split()).rstrip(".")
    for of_library, ours in _OF_LIBRARY.items():
        text = text.replace(of_library, ours)
    text = (text[:1].lower() + text[1:]).replace(". Did you mean", "; did you mean")
    return text if text.endswith("?") else f"{text}; {_where_to_look(error)}"


def _describe_wrong_value(error: Any) -> str | None:
    parameter, cause = getattr(error, "param", None), error.__cause__
    failures = cause.errors() if hasattr(cause, "errors") else ()
    if parameter is None or not failures or failures[0]["type"] not in _WANTED:
        return None
    name = parameter.opts[0] if parameter.param_type_name == "option" else parameter.name.upper()
    return f"{name} must be {_WANTED[failures[0]['type']]}, got {failures[0]['input']!r}"


def _where_to_look(error: Any) -> str:
    context = getattr(error, "ctx", None)
    return f"see {context.command_path if context else 'terrascope'} --help"
