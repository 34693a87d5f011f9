"""JSON schemas, made from the structs and dataclasses that commands print."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(printed: type) -> dict[str, Any]:
    """Return the JSON schema of what a command prints.

    Examples
    --------
    >>> from edgeleuk.results.structs import RunSummary
    >>> schema_of(RunSummary)["$ref"]
    '#/$defs/RunSummary'
    """
    return {"$schema": DIALECT, **_described(msgspec.json.schema(printed))}


def _described(schema: Any) -> Any:
    """Return a schema whose descriptions are indented alike: msgspec before 0.23 leaves them as they are."""
    if isinstance(schema, dict):
        return {
            key: inspect.cleandoc(value)
            if key == "description" and isinstance(value, str)
            else _described(value)
            for key, value in schema.items()
        }
    return [_described(value) for value in schema] if isinstance(schema, list) else schema


def schema_text(printed: type) -> str:
    """Return the schema as it stands in its file."""
    encoded = msgspec.json.encode(schema_of(printed), order="sorted")
    return msgspec.json.format(encoded, indent=1).decode() + "\n"


def write_schemas(printed: Mapping[str, type], folder: Path) -> list[Path]:
    """Write ``NAME.json`` for each; return what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, struct in printed.items():
        path = folder / f"{name}.json"
        path.write_text(schema_text(struct), encoding="utf-8")
        written.append(path)
    return written
