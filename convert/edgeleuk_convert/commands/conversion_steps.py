"""The six steps of a conversion, in their order: read, choose, quantize, repair, validate, pack.

::

    read_source -> choose_images -> quantize -> repair_networks -> validate_networks -> pack
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from edgeleuk.classifier.classifier import open_networks
from edgeleuk.classifier.decision import Rules
from edgeleuk.errors import UsageError
from edgeleuk.io.console import progress_bar, say
from edgeleuk_calibration.selection import select_balanced
from edgeleuk_convert.bundling.calibrate import choose
from edgeleuk_convert.bundling.contract_search.inversion import refuse_inverted
from edgeleuk_convert.bundling.contract_search.search import find_contract
from edgeleuk_convert.bundling.contract_search.writing import INFERRED, found_facts, found_text
from edgeleuk_convert.bundling.converted import ParentNetwork
from edgeleuk_convert.bundling.foreign import divided, foreign_record, read_contract
from edgeleuk_convert.bundling.out_of_distribution import train_out_of_distribution
from edgeleuk_convert.bundling.pack import convert_networks, make_manifest_and_members, require_of_record
from edgeleuk_convert.bundling.repair import AcceptanceVerdict, repair
from edgeleuk_convert.bundling.repair_report import without_times
from edgeleuk_convert.commands.evaluate import judged_on, seen_with_progress
from edgeleuk_convert.commands.read_cells import read_cells
from edgeleuk_convert.dataset.cnmc import require_both_classes
from edgeleuk_convert.dataset.leakage import joined_stamps
from edgeleuk_convert.dataset.seen_cells import SEEN_CELLS, see_cells
from edgeleuk_convert.evaluation.evaluate import require_unseen, unseen
from edgeleuk_convert.evaluation.fold_heads import judge_all_by_folds, judge_by_folds, read_fold_heads
from edgeleuk_convert.evaluation.int8_vs_float import compare, validation_facts
from edgeleuk_convert.networks.loading import load_network
from edgeleuk_convert.training.forest import read_forest
from edgeleuk_convert.training.record import read_record, record_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgeleuk.bundle.manifest import Manifest
    from edgeleuk_calibration.calibration_record import CalibrationRecord, CalibrationSet
    from edgeleuk_convert.bundling.contract_search.search import FoundContract
    from edgeleuk_convert.bundling.converted import Converted
    from edgeleuk_convert.bundling.out_of_distribution import TrainedOutOfDistribution
    from edgeleuk_convert.commands.options import ConversionPlan
    from edgeleuk_convert.dataset.cells import CellSet, LabelledCell
    from edgeleuk_convert.dataset.seen_cells import SeenCells
    from edgeleuk_convert.evaluation.fold_heads import FoldHead
    from edgeleuk_convert.networks.loading import LoadedNetwork
    from edgeleuk_convert.quantization.calibration_data import Tensors
    from edgeleuk_convert.training.record import TrainingRecord

    Facts = dict[str, Any]

# Cells that tell whether a repair helped; the validation takes all.
JUDGED_IN_REPAIR = 1500
ANSWERS_CURE = "pass --answers DIR, the folder of the cross-validation that it was trained by"


@dataclass(frozen=True, slots=True)
class Source:
    """What a conversion begins with.

    Attributes
    ----------
    name : str
        Of the network's file.
    loaded : LoadedNetwork
    parent : ParentNetwork
        What is known of it.
    cells : CellSet
    found : FoundContract or None
        Where its contract was found out by the labels.
    """

    name: str
    loaded: LoadedNetwork
    parent: ParentNetwork
    cells: CellSet
    found: FoundContract | None

    @property
    def record(self) -> TrainingRecord:
        """The network's own, or what stands for it."""
        return self.parent.record


@dataclass(frozen=True, slots=True)
class ChosenImages:
    """Which cells serve for what.

    Attributes
    ----------
    seen : sequence of LabelledCell
        What the network may have been trained on.
    chosen : CalibrationSet
        Of those, what calibrates.
    held_out : SeenCells
        What judges, in the network's form.
    heads : tuple of FoldHead
        Of a network that has seen every subject: `held_out` are then some of all cells, each judged by the
        head of the fold that has not seen it.
    """

    seen: Sequence[LabelledCell]
    chosen: CalibrationSet[LabelledCell]
    held_out: SeenCells
    heads: tuple[FoldHead, ...] = ()


@dataclass(frozen=True, slots=True)
class Validated:
    """What networks are worth on cells that were held out.

    Attributes
    ----------
    out_of_distribution : TrainedOutOfDistribution
        The check for foreign cells, fitted on the networks' own features.
    facts : dict
        As ``edgeleuk validate --json`` prints them, and what the conversion adds.
    """

    out_of_distribution: TrainedOutOfDistribution
    facts: Facts


def read_source(model: Path, data: Path, plan: ConversionPlan) -> Source:
    """Load the network and the cells; read the network's record, or make one of its contract and the cells.

    Raises
    ------
    UsageError, DataRefusedError, IntegrityError
        See `load_network`, `read_record` and `read_cells`.
    """
    loaded = load_network(model, size=plan.pixels, output=plan.options.output)
    for note in loaded.notes:
        say(f"{model.name}: {note}")
    if record_path(model).exists():
        record = read_record(model)
        require_of_record(loaded.model, model.name, record)
        cells = read_cells(data, plan.data.with_contract(record.input, record.output))
        found = None
    else:
        record, cells, found = _foreign(loaded.model, model.name, data, plan)
    forest = read_forest(model, record.output.forest_weight)
    return Source(model.name, loaded, ParentNetwork(loaded.sha256, record, forest), cells, found)


def _foreign(
    network: Any, name: str, data: Path, plan: ConversionPlan
) -> tuple[TrainingRecord, CellSet, FoundContract | None]:
    """Make a record for a network that has none, of its contract and of the cells at hand."""
    options = plan.data
    if plan.options.contract is not None:
        contracts = read_contract(network, name, plan.options.contract)
        options = options.with_contract(*contracts)
    cells = read_cells(data, options)
    require_both_classes(cells.labelled, "converting a network without a training record")
    seen, held_out = divided(cells.cells, seed=plan.choice.seed, folds=plan.folds)
    found, stamp = None, cells.stamp
    if plan.options.contract is None:
        say(f"{name} has neither a training record nor a contract: finding out how it is fed")
        # What judges the network is not what its contract is found by.
        with progress_bar("trying") as bar:
            found = find_contract(network, name, seen, seed=plan.choice.seed, progress=bar)
        say(found_text(found_facts(found)))
        contracts, stamp = (found.input, found.output), joined_stamps(INFERRED, stamp)
    say(
        f"{name} has no training record: one of {plan.folds} parts of the groups judges it, the rest may"
        " calibrate it, and nobody knows which of them it was trained on"
    )
    record = foreign_record(network, contracts, seen, held_out, inferred=found is not None)
    return msgspec.structs.replace(record, stamp=stamp), cells, found


def choose_images(source: Source, plan: ConversionPlan) -> ChosenImages:
    """Part the cells: those that calibrate from those that judge.

    Raises
    ------
    DataRefusedError
        Too few cells, or of one class alone; or the network calls them the other way round.
    """
    fresh, seen = unseen(source.cells.cells, source.record)
    chosen = choose(source.cells, seen, fresh, plan.choice)
    if plan.options.answers is not None:
        _require_every_subject(source)
        heads = read_fold_heads(plan.options.answers, source.record, source.cells.labelled)
        rest = _not_calibrating(source.cells.labelled, chosen)
        some = select_balanced(rest, min(JUDGED_IN_REPAIR, len(rest)), seed=plan.choice.seed).images
        return ChosenImages(seen, chosen, seen_with_progress(some, source.record.input), heads)
    if source.record.cross_validated is not None:
        require_unseen(fresh, seen, source.record, cure=ANSWERS_CURE)
    if plan.options.repair:
        require_both_classes(fresh, "repair")
    # Once for repair and for the validation: conversion changes what the bytes stand for, not the bytes.
    held_out = seen_with_progress(fresh, source.record.input)
    refuse_inverted(source.loaded.model, source.name, source.record, held_out)
    return ChosenImages(seen, chosen, held_out)


def _require_every_subject(source: Source) -> None:
    if source.record.cross_validated is None:
        raise UsageError(
            "--answers judges a network that has seen every subject",
            got=f"{source.name}, which holds {len(source.record.held_out_subjects)} subjects out",
            cure="leave out --answers, or train with --all-subjects",
        )


def _not_calibrating(
    cells: Sequence[LabelledCell], chosen: CalibrationSet[LabelledCell]
) -> list[LabelledCell]:
    """Return the cells but those that choose the int8 ranges."""
    calibrating = {cell.sha256 for cell in chosen.images}
    return [cell for cell in cells if cell.sha256 not in calibrating]


def quantize(source: Source, tensors: Tensors, plan: ConversionPlan) -> Converted:
    """Make every network of the bundle.

    Raises
    ------
    GateFailedError
        See `convert_networks`; what repair may mend is not refused.
    """
    return convert_networks(
        source.loaded.model,
        source.record,
        tensors,
        progress=_tell,
        recipe=plan.recipe,
        strict=not plan.options.repair,
    )


def repair_networks(
    converted: Converted, source: Source, images: ChosenImages, tensors: Tensors, plan: ConversionPlan
) -> tuple[Converted, Facts | None]:
    """Mend the int8 networks where that is asked for, and say what was done."""
    if not plan.options.repair:
        return converted, None
    rules = Rules(converted.output, source.record.envelope, forest=source.parent.forest)

    def judge(members: Mapping[str, bytes]) -> AcceptanceVerdict:
        with open_networks(members, converted.input, threads=os.cpu_count() or 1) as networks:
            if images.heads:
                said = judge_by_folds(networks, rules, images.held_out, images.heads)
                verdict = validation_facts(said, limits=plan.limits)
            else:
                verdict = compare(networks, rules, images.held_out, limits=plan.limits)
        return AcceptanceVerdict(verdict["verdict"], tuple(verdict["reasons"]))

    return repair(tensors, converted, judge, progress=_tell, onnx_calibration=plan.recipe.onnx_calibration)


def validate_networks(
    converted: Converted, source: Source, images: ChosenImages, repaired: Facts | None, plan: ConversionPlan
) -> Validated:
    """Fit the check for foreign cells, and hold the networks to the limits on the cells held out."""
    record, forest, seed = source.record, source.parent.forest, images.chosen.card.seed
    with open_networks(converted.networks, converted.input, threads=os.cpu_count() or 1) as networks:
        with progress_bar("looking") as report:
            known = see_cells(
                select_balanced(images.seen, SEEN_CELLS, seed=seed).images, record.input, progress=report
            )
        fitted = train_out_of_distribution(networks["tflite_int8"], known, seed=seed)
        rules = Rules(converted.output, record.envelope, fitted.contract, fitted.statistics, forest=forest)
        if images.heads:
            cells = _not_calibrating(source.cells.labelled, images.chosen)
            with progress_bar("judging by folds") as report:
                said = judge_all_by_folds(
                    networks, rules, cells, images.heads, record.input,
                    folder=source.cells.folder, progress=report,
                )  # fmt: skip
            facts = validation_facts(said, limits=plan.limits)
            facts["cross_validated"] = msgspec.to_builtins(record.cross_validated)
        else:
            facts = judged_on(networks, rules, images.held_out, source.cells.folder, limits=plan.limits)
    if repaired is not None:
        facts |= after_repair(facts, repaired)
    if source.cells.stamp is not None:
        facts["stamp"] = source.cells.stamp
    facts |= {"loading": list(source.loaded.notes)} if source.loaded.notes else {}
    facts |= {"contract": found_facts(source.found)} if source.found else {}
    facts["audit"] = [found.to_json() for found in converted.audits]
    return Validated(fitted, facts)


def pack(
    name: str,
    source: Source,
    converted: Converted,
    card: CalibrationRecord,
    validated: Validated,
    plan: ConversionPlan,
) -> tuple[Manifest, dict[str, bytes]]:
    """Put together what the bundle `name` holds."""
    facts = validated.facts
    return make_manifest_and_members(
        name,
        source.parent,
        converted,
        card,
        gate=validated.out_of_distribution,
        validation=facts | {"repair": without_times(facts["repair"])} if "repair" in facts else facts,
        card_notes=plan.card_notes(),
    )


def after_repair(validation: Mapping[str, Any], repaired: Mapping[str, Any]) -> Facts:
    """Return what repair adds to a validation: where nothing helped, few cells do not make it undecided."""
    added: Facts = {"repair": repaired}
    if repaired["needed"] and repaired["step"] is None and validation["verdict"] != "fail":
        added |= {"verdict": "fail", "reasons": ["repair: nothing helped", *repaired["reasons"]]}
    return added


def _tell(what: str) -> None:
    say(f"  {what} ...")
