"""``edgeleuk convert`` and ``calibrate``: what they do, and how they say it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgeleuk.bundle.writing import require_bundle_place, write_bundle
from edgeleuk.io.console import progress_bar
from edgeleuk_convert.bundling import calibrate as calibrating
from edgeleuk_convert.bundling.calibrate import prove
from edgeleuk_convert.bundling.pack import require_of_record
from edgeleuk_convert.bundling.repair_report import repair_text
from edgeleuk_convert.commands.conversion_steps import (
    choose_images,
    pack,
    quantize,
    read_source,
    repair_networks,
    validate_networks,
)
from edgeleuk_convert.commands.evaluate import validation_facts_text
from edgeleuk_convert.commands.options import ConvertOptions, calibration_choice, plan_conversion
from edgeleuk_convert.commands.read_cells import CNMC, read_cells
from edgeleuk_convert.commands.results import CalibrationResult, ConversionResult
from edgeleuk_convert.dataset.leakage import with_training_stamp
from edgeleuk_convert.environment import quiet_tensorflow, replace_file, require_writable
from edgeleuk_convert.networks.loading import load_network
from edgeleuk_convert.quantization.agreement import correlation_text
from edgeleuk_convert.quantization.audit import audit_text
from edgeleuk_convert.quantization.calibration_data import read_calibration
from edgeleuk_convert.training.forest import read_forest
from edgeleuk_convert.training.record import read_record

if TYPE_CHECKING:
    from edgeleuk_convert.commands.read_cells import DataOptions

USUAL = ConvertOptions()


def convert(model: Path, calibration: Path, out: Path, options: ConvertOptions = USUAL) -> ConversionResult:
    """Make the networks, mend them where asked to, compare them on what was held out, pack them.

    Parameters
    ----------
    model, calibration, out : Path
        The network's file, the folder of labelled images, and the bundle to write.
    options : ConvertOptions

    Returns
    -------
    ConversionResult

    Raises
    ------
    UsageError, DataRefusedError, IntegrityError, GateFailedError
        See `plan_conversion` and the six steps.
    """
    plan = plan_conversion(model, options)
    require_writable(out)
    require_bundle_place(out)
    with quiet_tensorflow():
        source = read_source(model, calibration, plan)
        images = choose_images(source, plan)
        with (
            progress_bar("preparing") as bar,
            read_calibration(images.chosen.images, source.record.input, progress=bar) as tensors,
        ):
            card = prove(images.chosen, source.record.input, tensors)
            converted = quantize(source, tensors, plan)
            converted, repaired = repair_networks(converted, source, images, tensors, plan)
        validated = validate_networks(converted, source, images, repaired, plan)
        manifest, members = pack(out.stem, source, converted, card, validated, plan)
    if validated.facts["verdict"] == "fail":
        out = rejected_path(out)
    write_bundle(out, manifest, members)
    beside = {kind: out.with_suffix(f".{kind}.tflite") for kind in converted.also}
    for kind, path in beside.items():
        replace_file(path, converted.also[kind])
    return ConversionResult(
        bundle=str(out),
        stamp=with_training_stamp(source.cells.stamp, source.record.stamp),
        size_bytes=out.stat().st_size,
        calibration_images=len(images.chosen.images),
        networks=converted.agreements,
        float_onnx_bytes=converted.float_onnx_bytes,
        onnx_calibration=options.onnx_calibration,
        also={kind: str(path) for kind, path in beside.items()},
        audit=validated.facts["audit"],
        validation=validated.facts,
    )


def conversion_text(result: ConversionResult) -> str:
    """Say what a conversion gave."""
    lines = [result.stamp] if result.stamp else []
    lines += [
        f"{result.bundle}: {result.size_bytes / 1e6:.2f} MB,"
        f" calibrated with {result.calibration_images} images"
    ]
    lines += [
        f"  {network.member:<24} {network.size_bytes / 1000:>7,.0f} kB   correlation with float32"
        f" {correlation_text(network.correlation)}, largest difference {network.largest_difference:.3f}"
        for network in result.networks
    ]
    lines += [audit_text(result.audit)]
    lines += [f"  {kind:<24} {path}" for kind, path in result.also.items()]
    if "repair" in result.validation:
        lines.append(repair_text(result.validation["repair"]))
    lines.append(validation_facts_text(result.validation | {"stamp": None}))
    if result.verdict == "fail":
        lines.append(f"rejected: {Path(result.bundle).name} is there to be looked at; the device refuses it")
    return "\n".join(lines)


def rejected_path(out: Path) -> Path:
    """Return where a bundle goes that failed its gate: ``x.edgeleuk`` -> ``x.rejected.edgeleuk``."""
    return out.with_name(out.name.removesuffix(".edgeleuk") + ".rejected.edgeleuk")


def calibrate(
    model: Path,
    data: Path,
    out: Path,
    *,
    images: int | None = None,
    seed: int | None = None,
    strategy: str | None = None,
    curve: bool = False,
    options: DataOptions = CNMC,
) -> CalibrationResult:
    """Choose a calibration set, check its ranges on held-out cells, and find how many images are enough."""
    choice = calibration_choice(images=images, seed=seed, strategy=strategy)
    require_writable(out)
    record = read_record(model)
    forest = read_forest(model, record.output.forest_weight)
    with quiet_tensorflow():
        loaded = load_network(model)
        require_of_record(loaded.model, model.name, record)
        cells = read_cells(data, options.with_contract(record.input, record.output))
        result = calibrating.calibrate(
            loaded.model,
            record,
            cells,
            out,
            choice,
            model_sha256=loaded.sha256,
            forest=forest,
            curve=curve,
        )
    stamp = with_training_stamp(cells.stamp, record.stamp)
    return msgspec.convert(result | {"stamp": stamp}, CalibrationResult)


def calibration_text(result: CalibrationResult) -> str:
    """Say what a calibration set is worth."""
    stamp = f"{result.stamp}\n" if result.stamp else ""
    return stamp + calibrating.calibration_text(result.to_json())
