"""A measurement as a picture: what a cell takes, and where a frame's time goes. Drawn by OpenCV alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.bench.report import network_name
from edgeleuk.io.images import write_png
from edgeleuk.vision.annotate import text_width, write_fitting

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeleuk.bench.results import BenchResult, NetworkRow
    from edgeleuk.frames import RgbImage

    Colour = tuple[int, int, int]

WIDTH = 1200
MARGIN, ROW, LETTER = 30, 34, 11.0
LABEL_WIDTH = 300
INK: Colour = (30, 30, 30)
PALE: Colour = (210, 210, 210)
WHITE: Colour = (255, 255, 255)
RUNTIME_COLOURS: dict[str, Colour] = {"litert": (0, 114, 178), "onnxruntime": (213, 94, 0)}
# Okabe and Ito's palette, and two greys.
STAGE_COLOURS: tuple[Colour, ...] = (
    *((86, 180, 233), (0, 114, 178), (0, 158, 115), (240, 228, 66), (230, 159, 0)),
    *((213, 94, 0), (204, 121, 167), (120, 60, 140), (70, 70, 70), (170, 170, 170)),
)


def save_plot(path: Path, result: BenchResult) -> None:
    """Write the picture as a PNG.

    Raises
    ------
    UsageError
        It cannot be written.
    """
    write_png(path, draw(result), "--plot")


def draw(result: BenchResult) -> RgbImage:
    """Draw a measurement.

    Parameters
    ----------
    result : BenchResult

    Returns
    -------
    (H, 1200, 3) uint8, RGB
    """
    rows = result.results
    stages = result.stages
    legend = -(-len(stages) // 4)
    height = 2 * MARGIN + ROW * (len(rows) + legend + 10)
    picture = np.full((height, WIDTH, 3), 255, np.uint8)
    y = MARGIN + ROW // 2
    machine = result.machine
    _write(picture, f"{machine.cpu}, {machine.cores} cores", MARGIN, y, 1.4 * LETTER)
    y += ROW
    reasons = f": {'; '.join(result.reasons)}" if result.reasons else ""
    _write(picture, f"{result.bundle.name} - {result.verdict.value.upper()}{reasons}", MARGIN, y)
    y = _latencies(picture, rows, y + 2 * ROW, result.fastest)
    y = _stages(picture, result, y + 2 * ROW)
    return picture[: y + MARGIN]


def _latencies(picture: RgbImage, rows: Sequence[NetworkRow], y: int, fastest: NetworkRow) -> int:
    """Draw a bar to the p50 of each row, a line on to its p95 and a tick at its p99."""
    _write(picture, "ms for a cell through the network: bar to p50, line to p95, tick at p99", MARGIN, y)
    left, right = MARGIN + LABEL_WIDTH, WIDTH - MARGIN - 80
    top = y + ROW // 2
    bottom = top + ROW * len(rows)
    step = nice_step(max(row.p99_ms for row in rows))
    most = step * math.ceil(max(row.p99_ms for row in rows) / step)
    for tick in range(round(most / step) + 1):
        x = left + round((right - left) * tick * step / most)
        cv2.line(picture, (x, top), (x, bottom), PALE, 1)
        label = f"{tick * step:g}"
        _write(picture, label, x - text_width(label, LETTER) // 2, bottom + ROW // 2)
    for number, row in enumerate(rows):
        middle = top + ROW * number + ROW // 2
        p50, p95, p99 = (
            left + round((right - left) * ms / most) for ms in (row.p50_ms, row.p95_ms, row.p99_ms)
        )
        colour = RUNTIME_COLOURS.get(row.runtime, INK)
        half = ROW // 3
        cv2.rectangle(picture, (left, middle - half), (p50, middle + half), colour, cv2.FILLED)
        cv2.line(picture, (p50, middle), (p95, middle), INK, 2)
        cv2.line(picture, (p99, middle - half), (p99, middle + half), INK, 2)
        _write(picture, network_name(row), MARGIN, middle + round(LETTER / 2))
        fast = " fastest" if network_name(row) == network_name(fastest) else ""
        _write(picture, f"{row.p50_ms:.1f}{fast}", p99 + 8, middle + round(LETTER / 2))
    return bottom + ROW


def _stages(picture: RgbImage, result: BenchResult, y: int) -> int:
    """Draw one bar of all stages, and what its colours mean."""
    pipeline, stages = result.pipeline, result.stages
    title = f"a frame of {pipeline.camera}: {pipeline.fps:.1f} a second"
    _write(picture, f"{title} ({pipeline.frames} frames, cells: {pipeline.cells})", MARGIN, y)
    left, right = MARGIN, WIDTH - MARGIN
    top = y + ROW // 2
    total, edge = 0.0, left
    for stage, colour in zip(stages.values(), STAGE_COLOURS, strict=False):
        total += stage.share
        end = left + round((right - left) * total)
        cv2.rectangle(picture, (edge, top), (end, top + ROW), colour, cv2.FILLED)
        edge = end
    y = top + 2 * ROW
    column = (right - left) // 4
    for number, ((name, stage), colour) in enumerate(zip(stages.items(), STAGE_COLOURS, strict=False)):
        x, base = left + column * (number % 4), y + ROW * (number // 4)
        side = round(1.2 * LETTER)
        cv2.rectangle(picture, (x, base - side), (x + side, base), colour, cv2.FILLED)
        _write(picture, f"{name} {stage.mean_ms:.1f} ms, {stage.share * 100:.0f} %", x + 2 * side, base)
    return y + ROW * ((len(stages) - 1) // 4)


def nice_step(most: float) -> float:
    """Return a step of 1, 2 or 5 times a power of ten that parts 0 to `most` in at most ten.

    Examples
    --------
    >>> nice_step(43.0), nice_step(0.7)
    (5.0, 0.1)
    """
    power = 10.0 ** math.floor(math.log10(max(most, 1e-3)))
    return next(part * power for part in (0.1, 0.2, 0.5, 1.0) if most <= 10 * part * power)


def _write(picture: RgbImage, text: str, x: int, base: int, letter: float = LETTER) -> None:
    write_fitting(picture, text, (x, base), letter, INK)
