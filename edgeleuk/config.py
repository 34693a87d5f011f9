"""Settings: defaults, then a TOML file, then ``EDGELEUK_*`` variables, then flags; the later wins."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from edgeleuk.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PREFIX = "EDGELEUK_"
# Not settings: where the tests' images are, and which file to read.
RESERVED = ("EDGELEUK_DATA", "EDGELEUK_CONFIG")


class RunSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ``edgeleuk run`` needs besides its camera and its files.

    Attributes
    ----------
    runtime : str
        ``litert`` or ``onnxruntime``.
    precision : str
        ``int8`` or ``float32``.
    threads : int
        Of the network; 1 leaves a core to the camera on a two-core board.
    px_per_um : float or None
        Scale of the camera's picture; None estimates it from the red cells.
    abstain : str
        What makes a cell uncertain by its probability: the bundle's ``band`` around the threshold, its
        ``conformal`` sets, or nothing (``off``). Foreign cells stay uncertain in any case.
    """

    runtime: Literal["litert", "onnxruntime"] = "litert"
    precision: Literal["int8", "float32"] = "int8"
    threads: int = 1
    px_per_um: float | None = None
    abstain: Literal["band", "conformal", "off"] = "band"

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= 64:
            msg = f"expected threads from 1 to 64, got {self.threads}"
            raise ValueError(msg)
        if self.px_per_um is not None and not 0.1 <= self.px_per_um <= 200:
            msg = f"expected px_per_um from 0.1 to 200, got {self.px_per_um}"
            raise ValueError(msg)


SettingsT = TypeVar("SettingsT", bound=msgspec.Struct)


def load_settings(
    settings: type[SettingsT],
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> SettingsT:
    """Merge the layers and check the result.

    Parameters
    ----------
    settings : type
        A struct such as `RunSettings`.
    file : Path, optional
        TOML with the struct's fields at the top level.
    environ : mapping, optional
        ``EDGELEUK_THREADS=2`` sets ``threads``; by default the process's own environment.
    flags : mapping, optional
        Command-line values; None means that the flag was not given.

    Raises
    ------
    UsageError
        An unknown key (with its line in the file), a value of the wrong kind or out of range, or a file
        that is missing or no TOML.
    """
    names = [field.name for field in msgspec.structs.fields(settings)]
    values: dict[str, Any] = {}
    if file is not None:
        values.update(_from_file(file, names))
    for key, text in (os.environ if environ is None else environ).items():
        name = key.removeprefix(PREFIX).lower()
        if key.startswith(PREFIX) and key not in RESERVED:
            if name not in names:
                raise UsageError(
                    f"unknown variable {key}", allowed=", ".join(PREFIX + name.upper() for name in names)
                )
            values[name] = text
    values.update({name: value for name, value in (flags or {}).items() if value is not None})
    try:
        # strict=False lets a variable's text become the field's number.
        return msgspec.convert(values, settings, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"bad setting: {error}", cure="see `edgeleuk run --help`") from error


def _from_file(file: Path, names: list[str]) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        values: dict[str, Any] = tomllib.loads(text)
    except FileNotFoundError:
        raise UsageError("there is no such configuration file", got=file) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is no TOML", got=str(error)) from error
    for key in values:
        if key not in names:
            raise UsageError(
                f"unknown key in {file}, line {_line_of(key, text)}", got=key, allowed=", ".join(names)
            )
    return values


def _line_of(key: str, text: str) -> int:
    pattern = re.compile(rf"\s*\[*\s*[\"']?{re.escape(key)}\b")
    return next((number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line)), 1)
