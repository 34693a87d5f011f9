"""What the frame gate rejects: BCCD's fields as they are and with faults, and fields of the virtual slide.

Half of the fields (every second) served to choose the limits; the figures are those of the other half.
Prints each bar on standard error and JSON on standard output; exits 3 when one is missed.

    python tests/bench/frame_gate.py
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from edgeleuk.virtual.render import VirtualSlide  # noqa: E402
from edgeleuk.vision.quality import measure_quality, quality_check  # noqa: E402
from edgeleuk.vision.segmentation import segment  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

Image = Any


def moved(pixels: Image, length: int, degrees: float) -> Image:
    """Blur along a line of so many pixels."""
    big = np.zeros((8 * length + 8, 8 * length + 8), np.float32)
    centre = 4 * length + 4
    x = np.cos(np.radians(degrees)) * 4 * length
    y = np.sin(np.radians(degrees)) * 4 * length
    cv2.line(big, (round(centre - x), round(centre - y)), (round(centre + x), round(centre + y)), 1.0, 8)
    kernel = cv2.resize(big, (length + 1 | 1, length + 1 | 1), interpolation=cv2.INTER_AREA)
    return cv2.filter2D(pixels, -1, kernel / kernel.sum())


def scaled(pixels: Image, *gains: float) -> Image:
    """Multiply the channels, clipped as a camera does."""
    return np.clip(pixels * np.array(gains, np.float32) + 0.5, 0, 255).astype(np.uint8)


def grainy(pixels: Image) -> Image:
    """Add the noise of a sensor, which no blur in front of it takes away."""
    return np.clip(pixels + np.random.default_rng(0).normal(0, 1.5, pixels.shape), 0, 255).astype(np.uint8)


def packed(pixels: Image) -> Image:
    """Pack as a JPEG, grain and all, as a camera on USB does that is short of room."""
    jpeg = cv2.imencode(".jpg", grainy(pixels), [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
    return cv2.imdecode(jpeg, cv2.IMREAD_COLOR)


FAULTS: dict[str, Callable[[Image, float], Image]] = {
    **{
        f"blur sigma {sigma}": (lambda p, _, s=sigma: cv2.GaussianBlur(p, (0, 0), s))  # type: ignore[misc]
        for sigma in (2, 4, 8, 16)
    },
    **{
        f"blur sigma {sigma}, grain": (lambda p, _, s=sigma: grainy(cv2.GaussianBlur(p, (0, 0), s)))  # type: ignore[misc]
        for sigma in (2, 4, 8, 16)
    },
    **{
        f"motion {n} px": (lambda p, u, n=n: moved(p, n, 180 * u))  # type: ignore[misc]
        for n in (9, 12, 15, 21, 31)
    },
    "motion 15 px, grain": lambda p, u: grainy(moved(p, 15, 180 * u)),
    **{
        f"blur sigma {sigma}, JPEG": (lambda p, _, s=sigma: packed(cv2.GaussianBlur(p, (0, 0), s)))  # type: ignore[misc]
        for sigma in (2, 4, 8, 16)
    },
    "motion 15 px, JPEG": lambda p, u: packed(moved(p, 15, 180 * u)),
    "over x1.4": lambda p, _: scaled(p, 1.4),
    "over x1.8": lambda p, _: scaled(p, 1.8),
    "under x0.5": lambda p, _: scaled(p, 0.5),
    "under x0.25": lambda p, _: scaled(p, 0.25),
    "red x1.3": lambda p, _: scaled(p, 1.3, 1, 1),
    "red x0.7": lambda p, _: scaled(p, 0.7, 1, 1),
    "green x0.75": lambda p, _: scaled(p, 1, 0.75, 1),
    "blue x1.3": lambda p, _: scaled(p, 1, 1, 1.3),
    "blue x0.7": lambda p, _: scaled(p, 1, 1, 0.7),
    "warm 1.25 1 0.75": lambda p, _: scaled(p, 1.25, 1, 0.75),
    "cold 0.75 1 1.25": lambda p, _: scaled(p, 0.75, 1, 1.25),
}


def auroc(low: list[float], high: list[float]) -> float:
    """Chance that one of `high` lies above one of `low`."""
    a, b = np.array(low), np.array(high)
    return float((b[:, None] > a).mean() + 0.5 * (b[:, None] == a).mean())


def median_ms(work: Callable[[], object]) -> float:
    """Time one call."""
    spent = []
    for _ in range(7):
        started = time.perf_counter()
        work()
        spent.append(time.perf_counter() - started)
    return 1000 * statistics.median(spent)


def speeds(fields: list[Image], width: int) -> dict[str, float]:
    """Medians over fields in ms, one thread."""
    rows = []
    for field in fields:
        size = (width, width * 3 // 4)
        pixels = cv2.resize(field, size, interpolation=cv2.INTER_CUBIC)
        png = cv2.imencode(".png", pixels)[1]
        scale = 12.0 * width / 640
        rows.append(
            (
                median_ms(lambda png=png: cv2.imdecode(png, cv2.IMREAD_COLOR)),  # type: ignore[misc]
                median_ms(lambda p=pixels: quality_check(p)),  # type: ignore[misc]
                median_ms(lambda p=pixels, s=scale: segment(p, px_per_um=s)),  # type: ignore[misc]
                median_ms(lambda p=pixels: segment(p)),  # type: ignore[misc]
            )
        )
    decode, gated, known, unknown = np.median(rows, axis=0)
    return {
        "decode_ms": round(decode, 2),
        "gate_ms": round(gated, 2),
        "segment_ms_scale_known": round(known, 2),
        "segment_ms": round(unknown, 2),
        "times_decode_scale_known": round((gated + known) / decode, 2),
        "times_decode": round((gated + unknown) / decode, 2),
    }


def main() -> int:
    """Measure, print, and judge."""
    cv2.setNumThreads(1)
    folder = Path(os.environ.get("EDGELEUK_DATA", ROOT.parent / "shared" / "data")) / "fields_bccd"
    paths = sorted(folder.glob("*.jpg"))[1::2]
    if not paths:
        print(f"no fields in {folder}: set EDGELEUK_DATA", file=sys.stderr)
        return 4
    fields = [np.ascontiguousarray(cv2.imread(str(path))[..., ::-1]) for path in paths]
    clean = [quality_check(pixels) for pixels in fields]
    with_grain = [quality_check(grainy(pixels)) for pixels in fields]
    as_jpegs = [quality_check(packed(pixels)) for pixels in fields]
    sharp = [measure_quality(pixels).sharpness for pixels in fields]
    soft = [measure_quality(cv2.GaussianBlur(pixels, (0, 0), 2)).sharpness for pixels in fields]
    rng = np.random.default_rng(0)
    caught = {}
    for name, apply in FAULTS.items():
        reasons = [quality_check(apply(pixels, rng.uniform())) for pixels in fields]
        counts = {reason: reasons.count(reason) for reason in sorted(set(filter(None, reasons)))}
        caught[name] = {"share": sum(counts.values()) / len(fields), "reasons": counts}
    drawn = [
        quality_check(
            VirtualSlide(seed=seed, px_per_um=scale)
            .field(90 * x, 0, width=width, height=width * 3 // 4)
            .pixels
        )
        for seed in range(6)
        for x in range(2)
        for width, scale in ((640, 13.0), (640, 6.5), (1280, 13.0))
    ]
    false_rejects = sum(reason is not None for reason in clean) / len(clean)
    grainy_rejects = sum(reason is not None for reason in with_grain) / len(with_grain)
    jpeg_rejects = sum(reason is not None for reason in as_jpegs) / len(as_jpegs)
    virtual_rejects = sum(reason is not None for reason in drawn) / len(drawn)
    bars = {
        "defocus auroc >= 0.995": (focus := auroc(soft, sharp), focus >= 0.995),
        "false rejects <= 0.01": (false_rejects, false_rejects <= 0.01),
        "false rejects with grain <= 0.01": (grainy_rejects, grainy_rejects <= 0.01),
        "false rejects of JPEGs <= 0.01": (jpeg_rejects, jpeg_rejects <= 0.01),
        "virtual false rejects <= 0.01": (virtual_rejects, virtual_rejects <= 0.01),
        **{f"{name} >= 0.95": (row["share"], row["share"] >= 0.95) for name, row in caught.items()},
    }
    result = {
        "schema_version": 1,
        "fields": len(fields),
        "clean": {reason: clean.count(reason) for reason in sorted(set(filter(None, clean)))},
        "virtual": {reason: drawn.count(reason) for reason in sorted(set(filter(None, drawn)))},
        "bars": {
            name: {"measured": round(value, 4), "met": bool(met)} for name, (value, met) in bars.items()
        },
        "caught": caught,
        "speed": {str(width): speeds(fields[::10], width) for width in (640, 1280)},
    }
    print(json.dumps(result))
    for name, (value, met) in bars.items():
        print(f"{'met   ' if met else 'MISSED'} {value:.4f}  {name}", file=sys.stderr)
    for width, row in result["speed"].items():  # type: ignore[attr-defined]
        print(f"{width} px wide: {row}", file=sys.stderr)
    return 0 if all(met for _, met in bars.values()) else 3


if __name__ == "__main__":
    sys.exit(main())
