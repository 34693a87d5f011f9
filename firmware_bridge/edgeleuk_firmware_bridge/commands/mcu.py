"""What `edgeleuk mcu` calls, and what it says to people."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from edgeleuk_firmware_bridge.commands.results import (
    FITS,
    TOO_LARGE,
    BoardCheck,
    ExportedNetwork,
    Flash,
    FlashPart,
    GoldenVectors,
    LimitedFlash,
    LimitedRam,
    NetworkSize,
    PeakOperation,
    Ram,
    TensorSize,
)
from edgeleuk_firmware_bridge.mcu import export as mcu
from edgeleuk_firmware_bridge.mcu.memory import parse_size
from edgeleuk_firmware_bridge.mcu.vela import vela_report

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.deploy.deployment import Beside, Deployment
    from edgeleuk_firmware_bridge.mcu.export import Footprint
    from edgeleuk_firmware_bridge.mcu.memory import NamedSize
    from edgeleuk_firmware_bridge.mcu.vela import VelaReport

SHOWN = 3


def check(model: bytes, beside: Beside, *, flash: str, ram: str, vela: str | None = None) -> BoardCheck:
    """Say whether a network fits, and what makes it too large.

    Parameters
    ----------
    model : bytes
    beside : Beside
        What else a firmware needs to make a call.
    flash, ram : str
        What the board has, such as ``1M``.
    vela : str or None
        An Ethos-U to compile it for.

    Raises
    ------
    UsageError
        A size or the Ethos-U is none.
    BundleError, GateFailedError, MissingDependencyError
        As `mcu.footprint_of` and `vela_report`.
    """
    flash_limit, ram_limit = parse_size(flash, "--flash"), parse_size(ram, "--ram")
    footprint = mcu.footprint_of(model, beside)
    in_flash, in_ram = footprint.flash_bytes, footprint.ram_bytes
    return BoardCheck(
        **_of_both(model, footprint),
        flash=LimitedFlash(**_flash(footprint), **_limited(in_flash, flash_limit)),
        ram=LimitedRam(**_ram(footprint), **_limited(in_ram, ram_limit)),
        vela=None if vela is None else vela_report(model, vela),
        verdict=FITS if in_flash <= flash_limit and in_ram <= ram_limit else TOO_LARGE,
    )


def check_text(facts: BoardCheck) -> str:
    """Return what `check` found, for people."""
    lines = _text(facts)
    parts: tuple[tuple[str, LimitedFlash | LimitedRam, str], ...] = (
        ("flash", facts.flash, "for code"),
        ("ram", facts.ram, "for the rest of the program"),
    )
    for kind, part, rest in parts:
        used = part.limit_bytes - part.left_bytes
        left = f"{part.left_bytes:,} are left {rest}" if part.fits else f"{-part.left_bytes:,} too many"
        lines.append(f"{kind:<10}{used:>11,} of {part.limit_bytes:,}: {left}")
    if facts.vela is not None:
        lines += _vela_text(facts.vela)
    lines.append(f"verdict   {facts.verdict}")
    return "\n".join(lines)


def export(network: Deployment, folder: Path) -> ExportedNetwork:
    """Write a network as C.

    Raises
    ------
    UsageError, BundleError, GateFailedError
        As `mcu.export`.
    """
    done = mcu.export(network, folder)
    return ExportedNetwork(
        **_of_both(network.model, done.footprint),
        flash=Flash(**_flash(done.footprint)),
        ram=Ram(**_ram(done.footprint)),
        folder=str(folder),
        bundle_sha256=network.bundle_sha256,
        golden=GoldenVectors(
            cells=done.golden_cells,
            bytes=done.golden_bytes,
            by=network.golden_by,
            tflite_micro_steps=done.steps,
            fast_kernels_steps=network.fast_steps,
            fast_kernels_log_odds=network.fast_log_odds,
        ),
        outputs=network.output_meanings,
        left_to_firmware=network.left_to_firmware,
        files=done.files,
    )


def export_text(facts: ExportedNetwork) -> str:
    """Return what `export` wrote, for people."""
    golden = facts.golden
    steps = golden.tflite_micro_steps
    compared = (
        "not run: tflite-micro is not installed" if steps is None else f"{steps} steps off in TFLite Micro"
    )
    lines = _text(facts)
    lines += [
        f"golden    {golden.bytes:>11,} bytes more in main.cc: {golden.cells} cells by {golden.by}",
        f"{'':<10}{compared}; fast kernels are up to {golden.fast_kernels_steps} steps off,"
        f" {golden.fast_kernels_log_odds:.3f} in log odds",
        *(f"output {index}  {meaning}" for index, meaning in enumerate(facts.outputs)),
        "left to the firmware",
        *(f"  {number}. {step}" for number, step in enumerate(facts.left_to_firmware, 1)),
        f"files     {facts.folder}: {' '.join(facts.files)} SHA256SUMS",
    ]
    return "\n".join(lines)


def _of_both(model: bytes, footprint: Footprint) -> dict[str, Any]:
    peak = footprint.peak
    return {
        "schema_version": 1,
        "network_sha256": hashlib.sha256(model).hexdigest(),
        "operators": footprint.methods,
        "not_carried": tuple(FlashPart(name=name, bytes=size) for name, size in footprint.beside.not_carried),
        "largest_weights": _named(footprint.weights),
        "peak": None
        if peak is None
        else PeakOperation(
            index=peak.index, operator=peak.operator, bytes=peak.size_bytes, tensors=_named(peak.tensors)
        ),
    }


def _flash(footprint: Footprint) -> dict[str, Any]:
    sizes = (("network", footprint.model_bytes), *footprint.beside.parts)
    return {
        "bytes": footprint.flash_bytes,
        "parts": tuple(FlashPart(name=name, bytes=size) for name, size in sizes),
    }


def _ram(footprint: Footprint) -> dict[str, Any]:
    arena = footprint.arena
    return {
        "bytes": arena.size_bytes,
        "reserved_bytes": arena.with_margin,
        "activations_bytes": arena.head_bytes,
        "input_bytes": footprint.input_bytes,
        "cell_bytes": footprint.beside.cell_bytes,
        "known": "measured" if arena.measured_by else "bounded",
        "by": arena.measured_by,
    }


def _limited(used: int, limit: int) -> dict[str, Any]:
    return {"limit_bytes": limit, "left_bytes": limit - used, "fits": used <= limit}


def _named(tensors: tuple[NamedSize, ...]) -> tuple[TensorSize, ...]:
    return tuple(TensorSize(name=one.name, shape=one.shape, bytes=one.size_bytes) for one in tensors)


def _text(facts: NetworkSize) -> list[str]:
    flash, ram, peak = facts.flash, facts.ram, facts.peak
    how = f"measured by {ram.by}" if ram.by else "bounded: install tflite-micro to measure it"
    lines = [f"flash     {flash.bytes:>11,} bytes, without code"]
    lines += [f"{'':<10}{part.bytes:>11,} {part.name}" for part in flash.parts]
    lines += [
        f"{'':<10}{part.bytes:>11,} {part.name}, not carried and not counted" for part in facts.not_carried
    ]
    if facts.largest_weights:
        lines += ["          of the network, most are", *map(_row, facts.largest_weights[:SHOWN])]
    lines.append(f"arena     {ram.bytes:>11,} bytes of RAM, {how}; {ram.reserved_bytes:,} to reserve")
    lines.append(
        f"{'':<10}{ram.input_bytes:>11,} of it are the input; {ram.cell_bytes:,} beside it, of a cell"
    )
    if peak is not None:
        lines += [
            f"          most is alive in operation {peak.index}, {peak.operator}",
            *map(_row, peak.tensors[:SHOWN]),
        ]
    lines.append(f"resolver  {' '.join(facts.operators)}")
    return lines


def _row(tensor: TensorSize) -> str:
    shape = "x".join(map(str, tensor.shape)) or "scalar"
    return f"{'':<10}{tensor.bytes:>11,} {tensor.name} {shape}"


def _vela_text(report: VelaReport) -> list[str]:
    reasons = f"; of the file it does not take {' '.join(report.cpu_reasons)}" if report.cpu_reasons else ""
    return [
        f"{report.accelerator}: {report.sram_bytes:,} bytes of SRAM, {report.flash_bytes:,} of flash",
        f"{'':<10}{1000 * report.inference_s:.1f} ms a cell, estimated"
        f" ({report.system}, {report.memory_mode})",
        f"{'':<10}{report.npu_operators} operations on the NPU,"
        f" {report.cpu_operators} on the processor{reasons}",
    ]
