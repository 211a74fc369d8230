"""The program in an answer: where it stands, whether it parses, and how it is tested. Nothing is run."""

from __future__ import annotations

import ast
import codeop
import re
import warnings
from collections.abc import Mapping

FENCE = "```"
# What the compiler raises on text that is no program; the last two on absurdly nested text.
NO_PROGRAM = (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError)


def code_of(text: str) -> str:
    """The Python code in an answer: what stands in the first fence, else all of it."""
    parts = text.split(FENCE)
    if len(parts) < 2:
        return text
    first = parts[1]
    return first.split("\n", 1)[1] if "\n" in first else first


def parses(code: str) -> bool:
    """Whether it is Python."""
    try:
        with warnings.catch_warnings(action="ignore"):
            ast.parse(code)
    except NO_PROGRAM:
        return False
    return True


def past_mending(text: str, problem: Mapping[str, str]) -> bool:
    """Whether an answer that begins like this holds no program, however it goes on.

    Only whole lines count: the last one may still change. Without a fence, a text that opens like
    a function is taken for the program, one that opens indented for the function's body, and any
    other for talk before the program, of which nothing can be said.
    """
    if text.count(FENCE) > 1:
        return not parses(code_of(text))
    if FENCE in text and "\n" not in text.split(FENCE)[1]:
        return False  # the language's name, perhaps
    lines = code_of(text).splitlines(keepends=True)
    whole = "".join(lines if not lines or lines[-1].endswith("\n") else lines[:-1])
    if FENCE in text or _OPENS.match(text):
        return not _begins(whole)
    return not _begins(problem["prompt"] + _body(whole))


_OPENS = re.compile(r"\s*(?:def|async def|class|import|from \S+ import|@)[ \w]")


def _begins(code: str) -> bool:
    """Whether a Python program begins like this."""
    try:
        with warnings.catch_warnings(action="ignore"):
            codeop.compile_command(code, symbol="exec")
    except NO_PROGRAM:
        return False
    return True


def written(text: str, problem: Mapping[str, str]) -> str:
    """The program an answer makes of a HumanEval problem.

    The prompt stands before the answer: its imports and helpers are needed, and a model that
    writes the whole function redefines it. An answer that does not is the function's body, up to
    the first line that is not indented.
    """
    code, name = code_of(text), problem["entry_point"]
    if re.search(rf"^(?:async )?def {re.escape(name)}\b", code, re.MULTILINE):
        return f"{problem['prompt']}\n{code}"
    return problem["prompt"] + (_body(code) or code)


def tested(text: str, problem: Mapping[str, str]) -> str:
    """The same with the problem's tests behind it; run, it raises unless they are passed."""
    return f"{written(text, problem)}\n{problem['test']}\ncheck({problem['entry_point']})\n"


def _body(code: str) -> str:
    """The first lines that are blank or indented."""
    found = re.match(r"(?:[ \t]*\n|[ \t]+[^\n]*(?:\n|$))*", code)
    return found[0] if found else ""
