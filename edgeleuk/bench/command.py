"""``edgeleuk bench``: check what is asked for, measure, store, compare, hold to limits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from edgeleuk.bench.comparison import compared, comparison_text, read_result
from edgeleuk.bench.limits import hold, parse_limits
from edgeleuk.bench.measuring import MeasureOptions, measure
from edgeleuk.bench.plot import save_plot
from edgeleuk.bench.report import bench_text
from edgeleuk.bench.store import write_result
from edgeleuk.bundle.trusted import read_trusted_bundle
from edgeleuk.capture.discovery import find_camera
from edgeleuk.errors import CheckFailedError, EdgeleukError, UsageError
from edgeleuk.io.atomic import bears, require_replaceable
from edgeleuk.io.images import require_picture

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.bench.results import BenchResult


@dataclass(frozen=True, slots=True)
class Request(MeasureOptions):
    """What ``edgeleuk bench`` is asked for; see its flags."""

    limits: tuple[str, ...] = ()
    compare: Path | None = None
    plot: Path | None = None
    out: Path | None = None


def bench(bundle: str, request: Request) -> tuple[BenchResult, EdgeleukError | None]:
    """Measure this device.

    Returns
    -------
    result : BenchResult
    error : EdgeleukError or None
        A limit that was not kept; the result stands all the same.

    Raises
    ------
    UsageError, BundleError, MissingDependencyError, GateFailedError, CameraError
        Before anything is measured, wherever that can be known before.
    """
    limits = parse_limits(request.limits)
    old = None if request.compare is None else read_result(request.compare)
    for path in (request.out, request.plot):
        _require_folder(path)
    if request.out is not None:
        require_replaceable(request.out, bears(b'"schema_version"'))
    if request.plot is not None:
        require_picture(request.plot, "--plot")
    # An empty camera means the only one that is found.
    camera = None if request.camera is None else find_camera(request.camera)
    result = measure(read_trusted_bundle(bundle), replace(request, camera=camera))
    if request.out is not None:
        write_result(request.out, result)
    if request.plot is not None:
        save_plot(request.plot, result)
    if old is not None:
        result = msgspec.structs.replace(result, comparison=compared(result, old, str(request.compare)))
    try:
        hold(result, limits)
    except CheckFailedError as error:
        return result, error
    return result, None


def result_text(result: BenchResult) -> str:
    """Say what was found, and how it compares."""
    comparison = result.comparison
    return bench_text(result) + ("" if comparison is UNSET else "\n" + comparison_text(comparison))


def _require_folder(path: Path | None) -> None:
    """Refuse before half a minute is spent on what cannot be kept."""
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        what = "a result is a file" if path.is_dir() else "there is no such folder"
        raise UsageError(what, got=path if path.is_dir() else path.parent)
