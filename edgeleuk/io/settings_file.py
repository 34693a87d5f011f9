"""Settings as a TOML file that edgeleuk wrote itself, and may write again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from edgeleuk.io.atomic import bears, replace_file, require_replaceable, write_errors_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


# How a file of settings begins that was written here.
_HEAD = b"# Written by edgeleuk.\n"


def to_toml(settings: object) -> str:
    """Write a struct or a dataclass as TOML that reads back to an equal one; see `settings.load_settings`.

    What is None is left out, and so has to be None by default. Fields that are structs themselves
    become tables, after the rest.

    Examples
    --------
    >>> from edgeleuk.io.settings import RunSettings
    >>> print(to_toml(RunSettings(px_per_um=13.2)), end="")
    runtime = "auto"
    precision = "int8"
    threads = 1
    px_per_um = 13.2
    abstain = "band"
    reconnects = 60
    quality_check = true
    most_megapixels = 100.0
    lock = true
    every_frame = false
    pictures = "all"
    durability = "second"
    """
    values: dict[str, Any] = msgspec.to_builtins(settings)
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
    parts = [_toml_lines({key: value for key, value in values.items() if key not in tables})]
    parts += [f"\n[{key}]\n{_toml_lines(table)}" for key, table in tables.items()]
    return "".join(parts)


def require_settings_place(path: Path) -> None:
    """Refuse to write settings over what edgeleuk did not make; see `require_replaceable`.

    Raises
    ------
    UsageError
    """
    require_replaceable(path, bears(_HEAD))


def save_settings(path: Path, settings: object) -> None:
    """Write settings as a TOML file; see `to_toml`.

    Raises
    ------
    UsageError
        It cannot be written, or edgeleuk did not make what is there.
    """
    require_settings_place(path)
    with write_errors_of(path):
        replace_file(path, _HEAD + to_toml(settings).encode())


def _toml_lines(values: Mapping[str, object]) -> str:
    return "".join(f"{key} = {_toml_value(value)}\n" for key, value in values.items() if value is not None)


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # JSON's escapes are TOML's; but TOML wants DEL escaped too, and no surrogates.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return repr(value)
