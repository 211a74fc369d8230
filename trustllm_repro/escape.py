"""Names and messages can hold anything; each place they are shown in has its own hazards.

HTML is escaped by jinja2 and pandas' styler, LaTeX by scoring.results.latex_escape.
"""

import re

# C0 and C1 control characters but for tab and line feed: terminal codes, and no XML has them.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def without_controls(text: object) -> str:
    return _CONTROL.sub("\ufffd", str(text))


def for_figure(text: object) -> str:
    """Text that matplotlib draws as it is: a dollar sign would start mathematics."""
    return without_controls(text).replace("$", r"\$")


def for_macro(name: str) -> str:
    """A result's name as LaTeX can carry it inside \\csname: no character that acts there."""
    return re.sub(r"[\\{}%#$&~^\x00-\x1f\x7f-\x9f]", "-", name)
