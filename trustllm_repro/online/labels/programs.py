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


# A line of a program's head, or an indented line, with blank lines before it.
_CODE = re.compile(
    r"(?:[ \t]*\n)*(?:(?:def|async def|class|import|from \S+ import|@)[ \w]|[ \t]+\S)"
)


def code_of(text: str) -> str:
    """The Python code in an answer: what stands in the first fence, or before it, else all of it.

    Before it, because some models open with the code and put a fence only behind it.
    """
    return _parts(text)[0]


def _parts(text: str) -> tuple[str, bool, bool]:
    """The code; whether it has begun, and whether it is over, whatever text follows."""
    before, *fenced = text.split(FENCE)
    if not fenced or _CODE.match(before):
        return before, bool(_CODE.match(before)), bool(fenced)
    language, newline, rest = fenced[0].partition("\n")
    return (rest if newline else language), bool(newline), len(fenced) > 1


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

    Only whole lines count: the last one may still change. Text that neither opens like code nor
    stands in a fence is taken for talk before the program, of which nothing can be said.
    """
    code, begun, over = _parts(text)
    if over:
        return not parses(written(text, problem))
    lines = code.splitlines(keepends=True)
    whole = "".join(lines if not lines or lines[-1].endswith("\n") else lines[:-1])
    return begun and not _begins(_joined(whole, problem))


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
    return _joined(code_of(text), problem)


def _joined(code: str, problem: Mapping[str, str]) -> str:
    if re.search(rf"^(?:async )?def {re.escape(problem['entry_point'])}\b", code, re.MULTILINE):
        return f"{problem['prompt']}\n{code}"
    return problem["prompt"] + (_body(code) or code)


def with_tests(text: str, problem: Mapping[str, str]) -> str:
    """The same with the problem's tests behind it; run, it raises unless they are passed."""
    return f"{written(text, problem)}\n{problem['test']}\ncheck({problem['entry_point']})\n"


def _body(code: str) -> str:
    """The first lines that are blank or indented."""
    found = re.match(r"(?:[ \t]*\n|[ \t]+[^\n]*(?:\n|$))*", code)
    return found[0] if found else ""
