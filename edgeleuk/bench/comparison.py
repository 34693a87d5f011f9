"""One result against an older one: what became faster, as far as the two can be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from edgeleuk.bench.results import ComparedRow, Comparison
from edgeleuk.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.bench.results import BenchResult

SCHEMA_VERSION = 1
# Two measurements are never closer than this.
LEAST_NOISE = 0.03
_SAME_MACHINE = ("cpu", "board", "architecture", "cores", "power_mode", "kernel", "python")


class Row(msgspec.Struct, frozen=True):
    """What a comparison wants of a row; more keys are welcome."""

    runtime: str
    precision: str
    threads: int
    p50_ms: float
    p95_ms: float
    cells_per_s: float
    spread: float = 0.0
    self_test: str = "ok"

    def __post_init__(self) -> None:
        for name in ("p50_ms", "p95_ms", "cells_per_s"):
            if not getattr(self, name) > 0:
                msg = f"expected {name} above 0, got {getattr(self, name)}"
                raise ValueError(msg)


class BundleFacts(msgspec.Struct, frozen=True):
    """Which bundle was measured."""

    name: str
    sha256: str


class Stored(msgspec.Struct, frozen=True):
    """A result that was stored with ``--out``."""

    schema_version: int
    results: tuple[Row, ...]
    machine: dict[str, Any]
    verdict: str
    reasons: tuple[str, ...]
    bundle: BundleFacts


def read_result(path: Path) -> Stored:
    """Read a stored result.

    Raises
    ------
    UsageError
        There is no such file, it is no result of `edgeleuk bench`, or one of another schema.
    """
    cure = "pass a file that `edgeleuk bench --out FILE` wrote"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UsageError("there is no such result", got=path, cure=cure) from None
    except OSError as error:
        raise UsageError(f"the result {path} cannot be read", got=error.strerror, cure=cure) from error
    try:
        stored = msgspec.json.decode(data, type=Stored)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no result of edgeleuk bench", got=str(error), cure=cure) from error
    if stored.schema_version != SCHEMA_VERSION:
        raise UsageError(
            f"{path} has another schema version",
            got=stored.schema_version,
            allowed=SCHEMA_VERSION,
            cure="measure again",
        )
    return stored


def compared(new: BenchResult, old: Stored, against: str) -> Comparison:
    """Compare the rows that both results have, by new / old.

    Parameters
    ----------
    new : BenchResult
    old : Stored
    against : str
        Name of the old one's file.

    A row is ``noise`` where it differs by less than the rounds of either measurement did.
    """
    rows = []
    before = {(row.runtime, row.precision, row.threads): row for row in old.results}
    keys = [(row.runtime, row.precision, row.threads) for row in new.results]
    for key, row in zip(keys, new.results, strict=True):
        was = before.get(key)
        if was is None:
            continue
        ratio = row.p50_ms / was.p50_ms
        noise = max(row.spread, was.spread, LEAST_NOISE)
        rows.append(
            ComparedRow(
                runtime=row.runtime,
                precision=row.precision,
                threads=row.threads,
                p50_ratio=round(ratio, 4),
                p95_ratio=round(row.p95_ms / was.p95_ms, 4),
                cells_per_s_ratio=round(row.cells_per_s / was.cells_per_s, 4),
                noise=round(noise, 4),
                change="noise" if abs(ratio - 1) <= noise else "faster" if ratio < 1 else "slower",
            )
        )
    return Comparison(
        against=against,
        mismatches=tuple(_mismatches(new, old)),
        suspect=tuple(
            f"{which}: {', '.join(reasons)}"
            for which, reasons in (("old", old.reasons), ("new", new.reasons))
            if reasons
        ),
        rows=tuple(rows),
        only_old=tuple(" ".join(map(str, key)) for key in before if key not in keys),
        only_new=tuple(" ".join(map(str, key)) for key in keys if key not in before),
    )


def comparison_text(comparison: Comparison) -> str:
    """Say what a comparison found."""
    lines = [f"compared  with {comparison.against}, new / old"]
    lines += [f"          MISMATCH: {mismatch}" for mismatch in comparison.mismatches]
    lines += [f"          suspect: {reason}" for reason in comparison.suspect]
    lines += [
        f"  {row.runtime:<12} {row.precision:<8} {row.threads:>3}   p50 {row.p50_ratio:.2f}"
        f"  p95 {row.p95_ratio:.2f}   {row.change} (+-{row.noise * 100:.0f} %)"
        for row in comparison.rows
    ]
    lines += [
        f"          measured only in the {which} one: {', '.join(only)}"
        for which, only in (("old", comparison.only_old), ("new", comparison.only_new))
        if only
    ]
    if not comparison.rows:
        lines.append("          nothing was measured in both")
    return "\n".join(lines)


def _mismatches(new: BenchResult, old: Stored) -> list[str]:
    machine, was = new.machine.to_json(), old.machine
    found = [
        f"{name} is {machine.get(name)}, was {was.get(name)}"
        for name in _SAME_MACHINE
        if machine.get(name) != was.get(name)
    ]
    packages, before = new.machine.packages, was.get("packages", {})
    if isinstance(before, dict):
        found += [
            f"{name} is {packages.get(name, 'not there')}, was {before.get(name, 'not there')}"
            for name in sorted({*packages, *before})
            if packages.get(name) != before.get(name)
        ]
    if new.bundle.sha256 != old.bundle.sha256:
        found.append(f"the bundle is {new.bundle.name}, was {old.bundle.name}, another file")
    return found
