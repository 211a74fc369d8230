"""Decode and validate JSON lists with pydantic, with errors that name file, row and field."""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter, ValidationError

from trustllm_repro.errors import SchemaError, SourceCorrupt


def parse_rows(
    data: bytes, adapter: TypeAdapter[list[Any]], file: str, *, remedy: str = ""
) -> list[Any]:
    """Rows of a JSON list after validation.

    Args:
        remedy: for a file that is no copy of a published one.

    Raises:
        SourceCorrupt: the bytes are not UTF-8 JSON.
        SchemaError: a row lacks a field or has one of the wrong type (row counts from 0).
    """
    try:
        raw = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as e:  # not UTF-8, not JSON, or nested beyond all sense
        raise SourceCorrupt(
            f"{file} is not UTF-8 JSON: {e}",
            remedy=remedy or "fetch the file again; it is cut or altered",
        ) from e
    try:
        return adapter.validate_python(raw)
    except ValidationError as e:
        first, *more = e.errors(include_url=False, include_input=False)
        row = first["loc"][0] if first["loc"] and isinstance(first["loc"][0], int) else None
        names = [str(x) for x in first["loc"][1:] if isinstance(x, str)]
        also = f" ({len(more)} further problem(s) in this file)" if more else ""
        name = names[0] if names else ""
        raise SchemaError(file, row, name, first["msg"] + also, remedy=remedy) from e
