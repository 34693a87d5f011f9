"""``edgeleuk convert`` and ``calibrate``: what they do, and how they say it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from edgeleuk.bundle.writing import require_bundle_place, write_bundle
from edgeleuk.classifier.classifier import open_networks
from edgeleuk.classifier.decision import Rules
from edgeleuk.errors import UsageError
from edgeleuk.io.console import progress_bar, say
from edgeleuk_calibration.calibration_record import read_calibration_record
from edgeleuk_calibration.selection import LEAST_IMAGES, STRATEGIES, select_balanced
from edgeleuk_convert.bundling import calibrate as calibrating
from edgeleuk_convert.bundling.calibrate import Choice, choose, prove
from edgeleuk_convert.bundling.contract_search.inversion import refuse_inverted
from edgeleuk_convert.bundling.contract_search.search import find_contract
from edgeleuk_convert.bundling.contract_search.writing import INFERRED, found_facts, found_text
from edgeleuk_convert.bundling.converted import Also, Recipe
from edgeleuk_convert.bundling.foreign import FOLDS, divided, foreign_record, read_contract
from edgeleuk_convert.bundling.out_of_distribution import train_out_of_distribution
from edgeleuk_convert.bundling.pack import convert_networks, make_manifest_and_members, require_of_record
from edgeleuk_convert.bundling.repair import AcceptanceVerdict, repair_text, without_times
from edgeleuk_convert.bundling.repair import repair as repair_networks
from edgeleuk_convert.commands.evaluate import judged_on, seen_with_progress, validation_text
from edgeleuk_convert.commands.read_cells import DataOptions, read_cells
from edgeleuk_convert.dataset.cnmc import require_both_classes
from edgeleuk_convert.dataset.leakage import joined_stamps, with_training_stamp
from edgeleuk_convert.dataset.seen_cells import SEEN_CELLS, see_cells
from edgeleuk_convert.environment import quiet_tensorflow, replace_file, require_writable
from edgeleuk_convert.evaluation.evaluate import unseen
from edgeleuk_convert.evaluation.int8_vs_float import compare
from edgeleuk_convert.metrics.acceptance import load_limits
from edgeleuk_convert.networks.loading import load_network
from edgeleuk_convert.quantization.agreement import correlation_text
from edgeleuk_convert.quantization.audit import audit_text
from edgeleuk_convert.quantization.calibration_data import read_calibration
from edgeleuk_convert.quantization.onnx import OnnxCalibration
from edgeleuk_convert.training.forest import read_forest
from edgeleuk_convert.training.record import read_record, record_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk_convert.bundling.contract_search.search import FoundContract
    from edgeleuk_convert.dataset.cells import CellSet
    from edgeleuk_convert.dataset.seen_cells import SeenCells
    from edgeleuk_convert.metrics.acceptance import AcceptanceLimits
    from edgeleuk_convert.training.record import TrainingRecord


LARGEST_SIDE = 4096


def convert(
    model: Path,
    calibration: Path,
    out: Path,
    *,
    images: int | None = None,
    seed: int | None = None,
    strategy: str | None = None,
    calibration_card: Path | None = None,
    contract: Path | None = None,
    size: str | None = None,
    output: str | None = None,
    onnx_calibration: str = "minmax",
    tensorrt: bool = False,
    also: Sequence[str] = (),
    repair: bool = False,
    limits_file: Path | None = None,
    classes: str | None = None,
    subjects: Path | None = None,
    px_per_um: float | None = None,
    folds: int | None = None,
) -> dict[str, Any]:
    """Make the networks, compare them on what was held out, mend them where asked to, pack them.

    Parameters
    ----------
    model, calibration, out : Path
    images, seed, strategy : optional
        How to choose calibration images; 100, 0 and ``balanced``.
    calibration_card : Path, optional
        Names them instead.
    contract : Path, optional
        Says of a network without a training record how its input is made and what its output means.
    size : str, optional
        ``224`` or ``224x320``, in pixels, for a network that takes pictures of any size.
    output : str, optional
        Which output, for a network with several.
    onnx_calibration : str
        How ranges of the ONNX networks come from values.
    tensorrt : bool
        Add a network for TensorRT.
    also : sequence of str
        Further TFLite files, beside the bundle.
    repair : bool
        Mend int8 networks that fail.
    limits_file : Path, optional
        TOML with a table ``[gate]``. What fails it becomes ``NAME.rejected.edgeleuk``; a ``NAME.edgeleuk``
        that was there stays.
    classes, subjects, px_per_um : optional
        How the user's own pictures are read: see `DataOptions`.
    folds : int, optional
        Parts that the groups are divided into for a network without a training record; 3.
    """
    limits = load_limits(limits_file)
    recipe = _recipe(onnx_calibration, tensorrt, also)
    choice = _choice(images=images, seed=seed, strategy=strategy, card=calibration_card)
    options = DataOptions.parse(classes, subjects, px_per_um)
    require_writable(out)
    require_bundle_place(out)
    _require_record_or_contract(model, contract, folds)
    pixels = parse_size(size)
    with quiet_tensorflow():
        loaded = load_network(model, size=pixels, output=output)
        for note in loaded.notes:
            say(f"{model.name}: {note}")
        record, cells, found = _record_and_cells(
            model, loaded.model, contract, calibration, choice.seed, options=options, folds=folds or FOLDS
        )
        forest = read_forest(model, record.output.forest_weight)
        fresh, seen = unseen(cells.cells, record)
        chosen = choose(cells, seen, fresh, choice)
        if repair:
            require_both_classes(fresh, "repair")
        # Once for repair and for the gate: conversion changes what the bytes stand for, not the bytes.
        held_out = seen_with_progress(fresh, record.input)
        refuse_inverted(loaded.model, model.name, record, held_out)
        with (
            progress_bar("preparing") as report,
            read_calibration(chosen.images, record.input, progress=report) as tensors,
        ):
            card = prove(chosen, record.input, tensors)
            converted = convert_networks(
                loaded.model, record, tensors, progress=_tell, recipe=recipe, strict=not repair
            )
            repaired: dict[str, Any] | None = None
            if repair:
                rules = Rules(converted.output, record.envelope, forest=forest)
                judge = _judge(converted.input, rules, held_out, limits)
                converted, repaired = repair_networks(
                    tensors,
                    converted,
                    judge,
                    progress=_tell,
                    onnx_calibration=recipe.onnx_calibration,
                )
        threads = os.cpu_count() or 1
        with open_networks(converted.networks, converted.input, threads=threads) as networks:
            with progress_bar("looking") as report:
                known = see_cells(
                    select_balanced(seen, SEEN_CELLS, seed=card.seed).images, record.input, progress=report
                )
            gate = train_out_of_distribution(networks["tflite_int8"], known, seed=card.seed)
            rules = Rules(converted.output, record.envelope, gate.contract, gate.statistics, forest=forest)
            validation = judged_on(networks, rules, held_out, cells.folder, limits=limits)
        if repaired is not None:
            validation |= after_repair(validation, repaired)
        if cells.stamp is not None:
            validation["stamp"] = cells.stamp
        validation |= {"loading": list(loaded.notes)} if loaded.notes else {}
        validation |= {"contract": found_facts(found)} if found else {}
        validation["audit"] = [found.to_json() for found in converted.audits]
        manifest, members = make_manifest_and_members(
            out.stem,
            loaded.sha256,
            record,
            converted,
            card,
            gate=gate,
            forest=forest,
            validation=(validation if repaired is None else validation | {"repair": without_times(repaired)}),
            card_notes={
                **(
                    {"images": choice.images, "seed": choice.seed, "strategy": strategy}
                    if choice.card is None
                    else {"calibration_card": "FILE"}
                ),
                "contract": None if contract is None else contract.name,
                "size": size,
                "output": output,
                "onnx_calibration": None if onnx_calibration == "minmax" else onnx_calibration,
                "tensorrt": tensorrt,
                "repair": repair,
                "classes": classes,
                "subjects": None if subjects is None else "FILE",
                "px_per_um": px_per_um,
                "folds": folds,
            },
        )
    if validation["verdict"] == "fail":
        out = rejected_path(out)
    write_bundle(out, manifest, members)
    beside = {kind: out.with_suffix(f".{kind}.tflite") for kind in converted.also}
    for kind, path in beside.items():
        replace_file(path, converted.also[kind])
    return {
        "schema_version": 1,
        "bundle": str(out),
        "stamp": with_training_stamp(cells.stamp, record.stamp),
        "size_bytes": out.stat().st_size,
        "calibration_images": len(chosen.images),
        "networks": [
            {
                "member": agreement.member,
                "size_bytes": agreement.size_bytes,
                "largest_difference": agreement.largest_difference,
                "correlation": agreement.correlation,
            }
            for agreement in converted.agreements
        ],
        "float_onnx_bytes": converted.float_onnx_bytes,
        "onnx_calibration": onnx_calibration,
        "also": {kind: str(path) for kind, path in beside.items()},
        "audit": validation["audit"],
        "validation": validation,
    }


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Read height and width from ``224`` or ``224x320``.

    Raises
    ------
    UsageError
        It is neither.

    Examples
    --------
    >>> parse_size("96"), parse_size("96x128"), parse_size(None)
    ((96, 96), (96, 128), None)
    """
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and 0 < int(part) <= LARGEST_SIDE for part in parts):
        raise UsageError("--size is no size", got=text, allowed=f"224 or 224x320, 1 to {LARGEST_SIDE} px")
    return int(parts[0]), int(parts[-1])


def conversion_text(result: dict[str, Any]) -> str:
    """Say what a conversion gave."""
    lines = [result["stamp"]] if result["stamp"] else []
    lines += [
        f"{result['bundle']}: {result['size_bytes'] / 1e6:.2f} MB,"
        f" calibrated with {result['calibration_images']} images"
    ]
    lines += [
        f"  {network['member']:<24} {network['size_bytes'] / 1000:>7,.0f} kB   correlation with float32"
        f" {correlation_text(network['correlation'])}, largest difference {network['largest_difference']:.3f}"
        for network in result["networks"]
    ]
    lines += [audit_text(result["audit"])]
    lines += [f"  {kind:<24} {path}" for kind, path in result["also"].items()]
    if "repair" in result["validation"]:
        lines.append(repair_text(result["validation"]["repair"]))
    lines.append(validation_text(result["validation"] | {"stamp": None}))
    if result["validation"]["verdict"] == "fail":
        lines.append(
            f"rejected: {Path(result['bundle']).name} is there to be looked at; the device refuses it"
        )
    return "\n".join(lines)


def rejected_path(out: Path) -> Path:
    """Return where a bundle goes that failed its gate: ``x.edgeleuk`` -> ``x.rejected.edgeleuk``."""
    return out.with_name(out.name.removesuffix(".edgeleuk") + ".rejected.edgeleuk")


def after_repair(validation: Mapping[str, Any], repaired: Mapping[str, Any]) -> dict[str, Any]:
    """Return what repair adds to a validation: where nothing helped, few cells do not make it undecided."""
    added: dict[str, Any] = {"repair": repaired}
    if repaired["needed"] and repaired["step"] is None and validation["verdict"] != "fail":
        added |= {"verdict": "fail", "reasons": ["repair: nothing helped", *repaired["reasons"]]}
    return added


def calibrate(
    model: Path,
    data: Path,
    out: Path,
    *,
    images: int | None = None,
    seed: int | None = None,
    strategy: str | None = None,
    curve: bool = False,
    classes: str | None = None,
    subjects: Path | None = None,
    px_per_um: float | None = None,
) -> dict[str, Any]:
    """Choose a calibration set, check its ranges on held-out cells, and find how many images are enough."""
    choice = _choice(images=images, seed=seed, strategy=strategy)
    options = DataOptions.parse(classes, subjects, px_per_um)
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
    return result | {"stamp": with_training_stamp(cells.stamp, record.stamp)}


def calibration_text(result: dict[str, Any]) -> str:
    """Say what a calibration set is worth."""
    stamp = f"{result['stamp']}\n" if result["stamp"] else ""
    return stamp + calibrating.calibration_text(result)


def _choice(
    *, images: int | None, seed: int | None, strategy: str | None, card: Path | None = None
) -> Choice:
    """Check how calibration images are asked for, before anything is read."""
    if card is not None:
        if (images, seed, strategy) != (None, None, None):
            raise UsageError(
                "a calibration card names the images", cure="leave out --images, --seed and --strategy"
            )
        read = read_calibration_record(card)
        return Choice(len(read.images), read.strategy, read.seed, read)
    if images is not None and images < LEAST_IMAGES:
        raise UsageError(
            "the number of calibration images is out of range", got=images, allowed=f"{LEAST_IMAGES} or more"
        )
    if strategy is not None and strategy not in STRATEGIES:
        raise UsageError("unknown calibration strategy", got=strategy, allowed=", ".join(STRATEGIES))
    default = Choice()
    return Choice(
        default.images if images is None else images,
        strategy or default.strategy,
        default.seed if seed is None else seed,
    )


def _tell(what: str) -> None:
    say(f"  {what} ...")


def _judge(
    contract: InputContract, rules: Rules, held_out: SeenCells, limits: AcceptanceLimits
) -> Callable[[Mapping[str, bytes]], AcceptanceVerdict]:
    """Return the gate on the held-out cells, for repair to ask."""

    def judge(members: Mapping[str, bytes]) -> AcceptanceVerdict:
        with open_networks(members, contract, threads=os.cpu_count() or 1) as networks:
            verdict = compare(networks, rules, held_out, limits=limits)
        return AcceptanceVerdict(verdict["verdict"], tuple(verdict["reasons"]))

    return judge


def _recipe(onnx_calibration: str, tensorrt: bool, also: Sequence[str]) -> Recipe:
    """Check what was asked for, and warn of what is slow."""
    for flag, given, allowed in (
        ("--onnx-calibration", (onnx_calibration,), get_args(OnnxCalibration)),
        ("--also", also, get_args(Also)),
    ):
        if unknown := [word for word in given if word not in allowed]:
            raise UsageError(
                f"{flag} has a value that nobody knows", got=unknown[0], allowed=", ".join(allowed)
            )
    if "int16x8" in also:
        say("warning: XNNPACK has no kernels for int16x8: expect it to be about 20 times as slow as int8")
    return Recipe(onnx_calibration, tensorrt, tuple(also))  # type: ignore[arg-type]


def _require_record_or_contract(model: Path, contract: Path | None, folds: int | None) -> None:
    if folds is not None and record_path(model).exists():
        raise UsageError(
            "--folds divides the groups for a network without a training record",
            got=record_path(model).name,
            cure="leave out --folds",
        )
    if contract is not None and record_path(model).exists():
        raise UsageError(
            "the network has a training record, and a contract is given as well",
            got=f"{record_path(model).name} and {contract.name}",
            cure="leave out --contract, or move the record away",
        )


def _record_and_cells(
    model: Path,
    network: Any,
    contract: Path | None,
    calibration: Path,
    seed: int,
    *,
    options: DataOptions,
    folds: int,
) -> tuple[TrainingRecord, CellSet, FoundContract | None]:
    """Read the network's record, or make one of its contract and of the cells at hand."""
    if record_path(model).exists():
        record = read_record(model)
        require_of_record(network, model.name, record)
        return record, read_cells(calibration, options.with_contract(record.input, record.output)), None
    if contract is not None:
        contracts = read_contract(network, model.name, contract)
        options = options.with_contract(*contracts)
    cells = read_cells(calibration, options)
    require_both_classes(cells.labelled, "converting a network without a training record")
    seen, held_out = divided(cells.cells, seed=seed, folds=folds)
    found, stamp = None, cells.stamp
    if contract is None:
        say(f"{model.name} has neither a training record nor a contract: finding out how it is fed")
        # What judges the network is not what its contract is found by.
        with progress_bar("trying") as bar:
            found = find_contract(network, model.name, seen, seed=seed, progress=bar)
        say(found_text(found_facts(found)))
        contracts, stamp = (found.input, found.output), joined_stamps(INFERRED, stamp)
    say(
        f"{model.name} has no training record: one of {folds} parts of the groups judges it, the rest may"
        " calibrate it, and nobody knows which of them it was trained on"
    )
    record = foreign_record(network, contracts, seen, held_out, inferred=found is not None)
    return msgspec.structs.replace(record, stamp=stamp), cells, found
