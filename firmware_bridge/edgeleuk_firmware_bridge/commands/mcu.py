"""What `edgeleuk mcu` calls: facts for JSON, and the same for people."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING, Any

from edgeleuk_firmware_bridge.mcu import export as mcu
from edgeleuk_firmware_bridge.mcu.memory import parse_size
from edgeleuk_firmware_bridge.mcu.vela import vela_report

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.deploy.deployment import Deployment
    from edgeleuk_firmware_bridge.mcu.export import Footprint
    from edgeleuk_firmware_bridge.mcu.memory import NamedSize

FITS, TOO_LARGE = "fits", "too large"
SHOWN = 3


def check(
    model: bytes, beside: tuple[tuple[str, int], ...], *, flash: str, ram: str, vela: str | None = None
) -> dict[str, Any]:
    """Say whether a network fits, and what makes it too large.

    Parameters
    ----------
    model : bytes
    beside : tuple of (str, int)
        What else a firmware needs in flash to make a call.
    flash, ram : str
        What the board has, such as ``1M``.
    vela : str or None
        An Ethos-U to compile it for.

    Returns
    -------
    dict
        ``schema_version verdict flash ram operators largest_weights peak vela``.

    Raises
    ------
    UsageError
        A size or the Ethos-U is none.
    BundleError, GateFailedError, MissingDependencyError
        As `mcu.footprint_of` and `vela_report`.
    """
    limits = {"flash": parse_size(flash, "--flash"), "ram": parse_size(ram, "--ram")}
    footprint = mcu.footprint_of(model, beside)
    facts = {"schema_version": 1, "network_sha256": hashlib.sha256(model).hexdigest(), **_facts(footprint)}
    for kind, limit in limits.items():
        used = facts[kind]["bytes" if kind == "flash" else "reserved_bytes"]
        facts[kind] |= {"limit_bytes": limit, "left_bytes": limit - used, "fits": used <= limit}
    fits = all(facts[kind]["fits"] for kind in limits)
    report = None if vela is None else dataclasses.asdict(vela_report(model, vela))
    return {**facts, "vela": report, "verdict": FITS if fits else TOO_LARGE}


def check_text(facts: dict[str, Any]) -> str:
    """Return what `check` found, for people."""
    lines = _text(facts)
    for kind in ("flash", "ram"):
        part = facts[kind]
        used = part["limit_bytes"] - part["left_bytes"]
        left = "for code" if kind == "flash" else "for the rest of the program"
        lines.append(
            f"{kind:<10}{used:>11,} of {part['limit_bytes']:,}: "
            + (
                f"{part['left_bytes']:,} are left {left}"
                if part["fits"]
                else f"{-part['left_bytes']:,} too many"
            )
        )
    if facts["vela"] is not None:
        lines += _vela_text(facts["vela"])
    lines.append(f"verdict   {facts['verdict']}")
    return "\n".join(lines)


def export(network: Deployment, folder: Path) -> dict[str, Any]:
    """Write a network as C.

    Returns
    -------
    dict
        ``schema_version folder flash ram operators golden outputs left_to_firmware files ...``.

    Raises
    ------
    UsageError, BundleError, GateFailedError
        As `mcu.export`.
    """
    done = mcu.export(network, folder)
    return {
        "schema_version": 1,
        "folder": str(folder),
        "bundle_sha256": network.bundle_sha256,
        "network_sha256": hashlib.sha256(network.model).hexdigest(),
        **_facts(done.footprint),
        "golden": {
            "cells": done.golden_cells,
            "bytes": done.golden_bytes,
            "by": network.golden_by,
            "tflite_micro_steps": done.steps,
            "fast_kernels_steps": network.fast_steps,
            "fast_kernels_log_odds": network.fast_log_odds,
        },
        "outputs": list(network.output_meanings),
        "left_to_firmware": list(network.left_to_firmware),
        "files": done.files,
    }


def export_text(facts: dict[str, Any]) -> str:
    """Return what `export` wrote, for people."""
    golden = facts["golden"]
    steps = golden["tflite_micro_steps"]
    compared = (
        "not run: tflite-micro is not installed" if steps is None else f"{steps} steps off in TFLite Micro"
    )
    lines = _text(facts)
    lines += [
        f"golden    {golden['bytes']:>11,} bytes more in main.cc: {golden['cells']} cells by {golden['by']}",
        f"{'':<10}{compared}; fast kernels are up to {golden['fast_kernels_steps']} steps off,"
        f" {golden['fast_kernels_log_odds']:.3f} in log odds",
        *(f"output {index}  {meaning}" for index, meaning in enumerate(facts["outputs"])),
        "left to the firmware",
        *(f"  {number}. {step}" for number, step in enumerate(facts["left_to_firmware"], 1)),
        f"files     {facts['folder']}: {' '.join(facts['files'])} SHA256SUMS",
    ]
    return "\n".join(lines)


def _facts(footprint: Footprint) -> dict[str, Any]:
    arena, peak = footprint.arena, footprint.peak
    return {
        "flash": {
            "bytes": footprint.flash_bytes,
            "parts": [
                {"name": name, "bytes": size}
                for name, size in (("network", footprint.model_bytes), *footprint.beside)
            ],
        },
        "ram": {
            "bytes": arena.size_bytes,
            "reserved_bytes": arena.with_margin,
            "activations_bytes": arena.head_bytes,
            "known": "measured" if arena.measured_by else "bounded",
            "by": arena.measured_by,
        },
        "operators": list(footprint.methods),
        "largest_weights": [_named(weight) for weight in footprint.weights],
        "peak": None
        if peak is None
        else {
            "index": peak.index,
            "operator": peak.operator,
            "bytes": peak.size_bytes,
            "tensors": [_named(tensor) for tensor in peak.tensors],
        },
    }


def _named(tensor: NamedSize) -> dict[str, Any]:
    return {"name": tensor.name, "shape": list(tensor.shape), "bytes": tensor.size_bytes}


def _text(facts: dict[str, Any]) -> list[str]:
    flash, ram, peak = facts["flash"], facts["ram"], facts["peak"]
    how = f"measured by {ram['by']}" if ram["by"] else "bounded: install tflite-micro to measure it"
    lines = [f"flash     {flash['bytes']:>11,} bytes, without code"]
    lines += [f"{'':<10}{part['bytes']:>11,} {part['name']}" for part in flash["parts"]]
    if facts["largest_weights"]:
        lines += ["          of the network, most are", *map(_row, facts["largest_weights"][:SHOWN])]
    lines.append(f"arena     {ram['bytes']:>11,} bytes of RAM, {how}; {ram['reserved_bytes']:,} to reserve")
    if peak is not None:
        lines += [
            f"          most is alive in operation {peak['index']}, {peak['operator']}",
            *map(_row, peak["tensors"][:SHOWN]),
        ]
    lines.append(f"resolver  {' '.join(facts['operators'])}")
    return lines


def _row(tensor: dict[str, Any]) -> str:
    return f"{'':<10}{tensor['bytes']:>11,} {tensor['name']} {_shape(tensor)}"


def _shape(tensor: dict[str, Any]) -> str:
    return "x".join(map(str, tensor["shape"])) or "scalar"


def _vela_text(report: dict[str, Any]) -> list[str]:
    reasons = (
        f"; of the file it does not take {' '.join(report['cpu_reasons'])}" if report["cpu_reasons"] else ""
    )
    return [
        f"{report['accelerator']}: {report['sram_bytes']:,} bytes of SRAM, {report['flash_bytes']:,} of"
        " flash",
        f"{'':<10}{1000 * report['inference_s']:.1f} ms a cell, estimated"
        f" ({report['system']}, {report['memory_mode']})",
        f"{'':<10}{report['npu_operators']} operations on the NPU,"
        f" {report['cpu_operators']} on the processor{reasons}",
    ]
