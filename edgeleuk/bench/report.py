"""A measurement as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk.bench.machine import SLOW_INT8, UNAVAILABLE
from edgeleuk.io.kernel import NO_DOT_PRODUCT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeleuk.bench.results import (
        BenchResult,
        MachineFacts,
        MeasuredNetwork,
        NetworkRow,
        NetworkTime,
        StateFacts,
    )

_FIGURES = ("p50", "p90", "p95", "p99")
_ALSO = ("spread", "load", "first", "memory", "self-test")


def bench_text(result: BenchResult) -> str:
    """Say what a measurement found, the verdict last."""
    return "\n".join(
        [
            *_machine_lines(result),
            "",
            "a cell through the network",
            *_table(
                ("runtime", "precision", "threads", *_FIGURES, "cells/s", *_ALSO),
                [_network_row(row) for row in result.results],
            ),
            f"fastest   {network_name(result.fastest)}",
            *(f"not run   {runtime}: {reason}" for runtime, reason in result.not_run.items()),
            "",
            "a crop to its prediction",
            *_table(
                ("runtime", "precision", "threads", *_FIGURES, "cells/s"),
                [_row(row) for row in result.classify],
            ),
            "",
            "cells at once",
            *_table(
                ("runtime", "precision", "cells", "ms a cell", "cells/s"),
                [
                    (
                        row.runtime,
                        row.precision,
                        str(row.cells),
                        f"{row.p50_ms / row.cells:.2f}",
                        f"{row.cells_per_s:.1f}",
                    )
                    for row in result.batches
                ],
            ),
            "",
            *_stage_lines(result),
            *_operator_lines(result),
            "",
            *_command_lines(result),
            f"verdict   {result.verdict.value.upper()}"
            + (f": {'; '.join(result.reasons)}" * bool(result.reasons)),
        ]
    )


def network_name(row: MeasuredNetwork) -> str:
    """Name a row's network as people say it."""
    threads = row.threads
    return f"{row.runtime} {row.precision}, {threads} thread{'s' * (threads > 1)}"


def _machine_lines(result: BenchResult) -> list[str]:
    machine = result.machine
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    return [
        f"machine   {machine.cpu}, {machine.cores} cores, {machine.memory_mb} MB, {machine.system}",
        f"board     {machine.board}" + _power(machine),
        f"packages  {packages}",
        *([f"int8      {SLOW_INT8}"] if machine.int8_dot_product == NO_DOT_PRODUCT else []),
        f"bundle    {result.bundle.name}",
        *(
            f"{when:<9} {_state_text(state)}"
            for when, state in (("before", result.before), ("after", result.after))
        ),
    ]


def _power(machine: MachineFacts) -> str:
    mode = machine.power_mode
    return "" if mode == UNAVAILABLE else f", power mode {mode}"


def _state_text(state: StateFacts) -> str:
    units = (
        ("temperature", state.temperature_c, " C"),
        ("clock", state.clock_mhz, " MHz"),
        ("governor", state.governor, ""),
        ("load", state.load_1min, ""),
    )
    parts = [f"{title} {value}{'' if value == UNAVAILABLE else unit}" for title, value, unit in units]
    bits = state.throttled_bits
    parts.append(f"throttled {bits if isinstance(bits, str) else ', '.join(bits) or 'no'}")
    return ", ".join(parts)


def _row(row: NetworkTime) -> tuple[str, ...]:
    return (
        row.runtime,
        row.precision,
        str(row.threads),
        *(f"{ms:.2f}" for ms in (row.p50_ms, row.p90_ms, row.p95_ms, row.p99_ms)),
        f"{row.cells_per_s:.1f}",
    )


def _network_row(row: NetworkRow) -> tuple[str, ...]:
    return (
        *_row(row),
        f"{row.spread * 100:.0f} %",
        _ms(row.load_ms),
        _ms(row.first_inference_ms),
        UNAVAILABLE if row.peak_rss_mb is None else f"{row.peak_rss_mb:.0f} MB",
        row.self_test,
    )


def _ms(value: float | None) -> str:
    return UNAVAILABLE if value is None else f"{value:.0f} ms"


def _stage_lines(result: BenchResult) -> list[str]:
    pipeline = result.pipeline
    return [
        f"the pipeline on {pipeline.camera} with {network_name(pipeline)}:"
        f" {pipeline.frames} frames, cells: {pipeline.cells}",
        *_table(
            ("stage", "mean", "p50", "p95", "share"),
            [
                (
                    name,
                    *(f"{ms:.2f}" for ms in (stage.mean_ms, stage.p50_ms, stage.p95_ms)),
                    f"{stage.share * 100:.1f} %",
                )
                for name, stage in result.stages.items()
            ],
        ),
        f"a frame   {pipeline.work_ms:.1f} ms of work on two threads,"
        f" done every {pipeline.frame_ms:.1f} ms: {pipeline.fps:.1f} a second",
    ]


def _operator_lines(result: BenchResult) -> list[str]:
    lines = []
    for name, rows in (result.operators or {}).items():
        lines += [
            "",
            f"operations of {name}, 1 thread",
            *_table(
                ("operation", "calls", "ms", "share"),
                [(row.op, f"{row.calls:.0f}", f"{row.ms:.3f}", f"{row.share * 100:.1f} %") for row in rows],
            ),
        ]
    return lines


def _command_lines(result: BenchResult) -> list[str]:
    peak = result.peak_rss_mb
    return [
        f"start     {_ms(result.start_ms)} for `edgeleuk --version`,"
        f" {_ms(result.cold_start_ms)} from `edgeleuk run` to its first cell",
        f"memory    {UNAVAILABLE if peak is None else f'{peak:.0f} MB'} at most, of such a run",
    ]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay out columns: words to the left, figures to the right."""
    columns = list(zip(header, *rows, strict=True))
    figures = [all(cell[:1].isdigit() for cell in column[1:]) for column in columns]
    widths = [max(map(len, column)) for column in columns]
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if figure else cell.ljust(width)
            for cell, width, figure in zip(line, widths, figures, strict=True)
        ).rstrip()
        for line in (header, *rows)
    ]
