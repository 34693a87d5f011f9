"""Conversion and evaluation in Python: they need the extra ``workstation``."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeleuk.errors import MissingDependencyError, UsageError, extra_cure

if TYPE_CHECKING:
    from types import ModuleType

# Options that name files; Python may hand them in as text.
_FILES = ("calibration_record", "contract", "limits_file", "subjects")
_CURE = extra_cure("workstation")


def convert(model: str | Path, calibration: str | Path, out: str | Path, **options: Any) -> dict[str, Any]:
    """Convert a Keras network to a bundle, as ``edgeleuk convert`` does.

    Parameters
    ----------
    model : str or Path
        A ``.keras`` or ``.h5`` file.
    calibration : str or Path
        Folder of labelled pictures.
    out : str or Path
        The bundle to write.
    **options
        Attributes of `edgeleuk_convert.commands.options.ConvertOptions`, such as ``repair=True``.

    Returns
    -------
    dict
        As ``edgeleuk convert --json`` prints it.

    Raises
    ------
    MissingDependencyError
        The extra is not installed.
    UsageError
        There is no such option, or as ``edgeleuk convert``.

    Examples
    --------
    >>> import edgeleuk
    >>> edgeleuk.convert("lab.keras", "cells", "lab.edgeleuk", colour="red")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    edgeleuk.errors.UsageError: convert has no such option: got colour, allowed ...
    """
    made_of = _workstation("edgeleuk_convert.commands.options").ConvertOptions
    _require_known("convert", options, made_of.__dataclass_fields__)
    run = _workstation("edgeleuk_convert.commands.convert").convert
    return _plain(run(Path(model), Path(calibration), Path(out), made_of(**_with_paths(options))))


def evaluate(
    bundle: str | Path,
    data: str | Path,
    *,
    report: str | Path | None = None,
    limits: str | Path | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Compare a bundle's networks on labelled cells that none of them has seen.

    Parameters
    ----------
    bundle : str or Path
    data : str or Path
        Folder of labelled pictures.
    report : str or Path, optional
        Folder for a page, and the same numbers as JSON.
    limits : str or Path, optional
        TOML file of acceptance limits.
    **options
        Attributes of `edgeleuk_convert.commands.read_cells.DataOptions`: how your own pictures are read.

    Returns
    -------
    dict
        As ``edgeleuk validate --json`` prints it.

    Raises
    ------
    MissingDependencyError
        The extra is not installed.
    UsageError, DataRefusedError, BundleError
        As ``edgeleuk validate``.

    Examples
    --------
    >>> import edgeleuk
    >>> edgeleuk.evaluate("default", "cells", colour="red")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    edgeleuk.errors.UsageError: evaluate has no such option: got colour, allowed ...
    """
    made_of = _workstation("edgeleuk_convert.commands.read_cells").DataOptions
    fields = getattr(made_of, "__dataclass_fields__", None) or made_of._fields
    _require_known("evaluate", options, fields)
    run = _workstation("edgeleuk_convert.commands.evaluate").validate
    facts = run(
        str(bundle),
        Path(data),
        report=None if report is None else Path(report),
        limits_file=None if limits is None else Path(limits),
        options=made_of(**_with_paths(options)),
    )
    return _plain(facts)


def _plain(facts: Any) -> dict[str, Any]:
    """Return what is printed as JSON, from a struct or a mapping."""
    return facts.to_json() if hasattr(facts, "to_json") else dict(facts)


def _with_paths(options: dict[str, Any]) -> dict[str, Any]:
    return {
        name: Path(value) if name in _FILES and isinstance(value, str) else value
        for name, value in options.items()
    }


def _require_known(what: str, options: dict[str, Any], known: Any) -> None:
    for name in options:
        if name not in known:
            raise UsageError(f"{what} has no such option", got=name, allowed=", ".join(known))


def _workstation(module: str) -> ModuleType:
    """Import a module of the workstation; TensorFlow itself is imported later, when it is needed."""
    if importlib.util.find_spec("tensorflow") is None:
        raise MissingDependencyError(
            "this needs the workstation's packages: TensorFlow is missing", cure=_CURE
        )
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"this needs the workstation's packages: {error.name} is missing", cure=_CURE
        ) from error
