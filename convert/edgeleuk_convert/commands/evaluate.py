"""``edgeleuk validate`` and ``compare``: what they do, and how they say it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec

from edgeleuk.bundle.manifest import CALIBRATION
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.classifier.classifier import bundle_rules, open_networks
from edgeleuk.errors import UsageError
from edgeleuk.io.console import progress_bar, say
from edgeleuk_calibration.calibration_record import decode_calibration_record, require_disjoint
from edgeleuk_convert.commands.read_cells import CNMC, read_cells
from edgeleuk_convert.commands.results import BundleComparison, ValidationResult
from edgeleuk_convert.dataset.cnmc import require_both_classes
from edgeleuk_convert.dataset.leakage import with_training_stamp
from edgeleuk_convert.dataset.seen_cells import see_cells
from edgeleuk_convert.evaluation.evaluate import require_unseen, unseen
from edgeleuk_convert.evaluation.int8_vs_float import (
    REFERENCE,
    judge_networks,
    not_validated,
    validation_facts,
)
from edgeleuk_convert.evaluation.replacement import compare_bundles
from edgeleuk_convert.metrics.acceptance import load_limits, verdict_text
from edgeleuk_convert.quantization.prepare import REFERENCE_MEMBER
from edgeleuk_convert.reports.layer_noise import layers_text, rank_bundle
from edgeleuk_convert.reports.report import make_folder
from edgeleuk_convert.training.record import bundle_record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgeleuk.bundle.manifest import InputContract
    from edgeleuk.classifier.decision import Rules
    from edgeleuk.inference import ModelRuntime
    from edgeleuk_convert.commands.read_cells import DataOptions
    from edgeleuk_convert.dataset.cells import LabelledCell
    from edgeleuk_convert.dataset.seen_cells import SeenCells
    from edgeleuk_convert.evaluation.int8_vs_float import Answers
    from edgeleuk_convert.metrics.acceptance import AcceptanceLimits

    Facts = dict[str, Any]

METRICS = (
    ("weighted_f1", "weighted F1"),
    ("accuracy", "accuracy"),
    ("auroc", "AUROC"),
    ("sensitivity", "sensitivity"),
    ("specificity", "specificity"),
)


def validate(
    bundle: str,
    data: Path,
    *,
    report: Path | None = None,
    limits_file: Path | None = None,
    layers: bool = False,
    out: Path | None = None,
    options: DataOptions = CNMC,
) -> ValidationResult:
    """Compare a bundle's networks on what none of them has seen, and rank their layers where asked to.

    Parameters
    ----------
    bundle : str
    data : Path
    report : Path, optional
        Folder for a page, and the same numbers as JSON.
    limits_file : Path, optional
        TOML with a table ``[gate]``.
    layers : bool
        Rank the layers of the int8 networks.
    out : Path, optional
        Folder for their plot; `report` where it is not given.
    options : DataOptions
        How the user's own pictures are read.
    """
    from edgeleuk_convert.reports.validation_report import write_validation_report

    limits = load_limits(limits_file)
    if out is not None and not layers:
        raise UsageError("--out is for the plot of the layers", cure="pass --layers as well")
    opened = read_bundle(bundle)
    if REFERENCE_MEMBER not in opened.members:
        raise UsageError(f"{opened.path.name} carries no float network to compare with")
    record = bundle_record(opened)
    for folder in (report, out):
        if folder is not None:
            make_folder(folder)
    cells = read_cells(data, options.with_contract(opened.manifest.input, opened.manifest.output))
    fresh, seen = unseen(cells.cells, record)
    require_unseen(fresh, seen, record)
    require_disjoint(decode_calibration_record(opened.members[CALIBRATION]), fresh)
    require_both_classes(fresh, "validation")
    held_out = seen_with_progress(fresh, opened.manifest.input)
    threads = os.cpu_count() or 1
    with open_networks(opened.members, opened.manifest.input, threads=threads) as networks:
        answers = _answers(networks, bundle_rules(opened), held_out, cells.folder)
    facts = validation_facts(answers, limits=limits)
    facts["stamp"] = with_training_stamp(cells.stamp, record.stamp)
    if layers:
        with progress_bar("measuring layers") as bar:
            facts |= rank_bundle(opened.members, opened.manifest.input, fresh, out or report, progress=bar)
    if report is not None:
        page = write_validation_report(report, facts, answers, bundle=opened, data=cells.folder)
        facts["report"] = str(page)
    return msgspec.convert(facts, ValidationResult)


def judged_on(
    networks: Mapping[str, ModelRuntime],
    rules: Rules,
    held_out: SeenCells,
    folder: Path,
    *,
    limits: AcceptanceLimits,
) -> Facts:
    """Hold networks that are not packed yet to the limits, on held-out cells; undecided without any."""
    if len({cell.label for cell in held_out.cells}) < 2:
        return not_validated(held_out.cells, limits)
    return validation_facts(_answers(networks, rules, held_out, folder), limits=limits)


def seen_with_progress(cells: Sequence[LabelledCell], contract: InputContract) -> SeenCells:
    """Read cells and bring them to the network's form, and show how far it is."""
    with progress_bar("preparing") as report:
        return see_cells(cells, contract, progress=report)


def validation_text(result: ValidationResult) -> str:
    """Say how much int8 lost, and the verdict."""
    return validation_facts_text(result.to_json())


def validation_facts_text(result: Mapping[str, Any]) -> str:
    """Say the same of what `validation_facts` returns."""
    lines = [result["stamp"]] if result.get("stamp") else []
    if REFERENCE in result:
        lines += _drops(result)
    if "layers" in result:
        lines.append(layers_text(result))
    lines.append(verdict_text(result))
    if result["verdict"] == "undecided":
        lines.append("warning: it is not shown that int8 keeps to the limits: hold out more subjects")
    if result.get("report"):
        lines.append(f"report    {result['report']}")
    return "\n".join(lines)


def compare(
    a: str,
    b: str,
    data: Path,
    *,
    limits_file: Path | None = None,
    options: DataOptions = CNMC,
) -> BundleComparison:
    """Ask whether bundle `b` may take the place of `a`; own pictures are read as A's contract says."""
    limits = load_limits(limits_file)
    one, other = read_bundle(a), read_bundle(b)
    cells = read_cells(data, options.with_contract(one.manifest.input, one.manifest.output))
    say("  comparing the bundles ...")
    with progress_bar("preparing") as bar:
        result = compare_bundles(one, other, cells, limits, threads=os.cpu_count() or 1, progress=bar)
    return msgspec.convert(result | {"stamp": cells.stamp}, BundleComparison)


def comparison_text(result: BundleComparison) -> str:
    """Say what changes from A to B."""
    return comparison_facts_text(result.to_json())


def comparison_facts_text(result: Mapping[str, Any]) -> str:
    """Say the same of what `compare_bundles` returns."""
    lines = [result["stamp"]] if result.get("stamp") else []
    lines += [f"{name.upper()} {result[name]['stamp']}" for name in ("a", "b") if result[name]["stamp"]]
    lines += [f"{name.upper()}  {result[name]['path']}  ({result[name]['name']})" for name in ("a", "b")]
    lines += [f"  {one}" for one in result["differences"]] or ["  their contracts are the same"]
    lines.append(
        f"on {result['cells']:,} cells of {result['subjects']} subjects in {result['groups']} groups"
        " that neither has seen:"
    )
    for key in result["models"]:
        of = result[key]
        lines.append(f"  {key:<21} {'A':>7} {'B':>7}    drop  at most")
        lines += [
            f"    {title:<19} {of['a'][metric]:>7.4f} {of['b'][metric]:>7.4f} {of[f'{metric}_drop']:>7.4f}"
            f" {of[f'{metric}_drop_upper_95']:>8.4f}"
            for metric, title in METRICS
        ]
        lines.append(
            f"    the same decision on {of['agreement']:.1%} of the cells, another on {of['flips']};"
            f" uncertain {of['a']['uncertain']:.1%} in A, {of['b']['uncertain']:.1%} in B"
        )
    return "\n".join([*lines, result["answer"], *(f"  {reason}" for reason in result["reasons"])])


def _drops(result: Mapping[str, Any]) -> list[str]:
    reference = result[REFERENCE]
    lines = [
        f"on {reference['cells']:,} cells of {reference['subjects']} subjects in {reference['groups']} groups"
        " that were held out:",
        "  network      weighted F1   AUROC   F1 drop  at most   sensitivity drop  at most",
        f"  {'float32':<12} {reference['weighted_f1']:>11.4f} {reference['auroc']:>7.4f}",
    ]
    for key in result["models"]:
        of = result[key]
        lines.append(
            f"  {key:<12} {of['weighted_f1']:>11.4f} {of['auroc']:>7.4f} {of['weighted_f1_drop']:>9.4f}"
            f" {of['weighted_f1_drop_upper_95']:>8.4f} {of['sensitivity_drop']:>18.4f}"
            f" {of['sensitivity_drop_upper_95']:>8.4f}"
        )
    lines += [f"  {key}: {_changes(result[key])}" for key in result["models"]]
    doubts = (result.get("tflite_int8") or reference)["uncertain_by_reason"]
    lines.append(
        f"{sum(doubts.values()):.1%} of the cells are uncertain: "
        + ", ".join(f"{reason} {share:.1%}" for reason, share in doubts.items())
    )
    return lines


def _changes(of: Mapping[str, Any]) -> str:
    """Say in a line what changed besides the metrics."""
    worst, exact = of["worst_subject"], of["mcnemar"]
    text = (
        f"{of['flips']} decisions flip ({of['flip_rate']:.2%}), {exact['lost']} to wrong and"
        f" {exact['gained']} to right (McNemar p {exact['p']:.2f}); a probability moves by"
        f" {of['mean_probability_change']:.3f} on average and {of['max_probability_change']:.3f} at most"
    )
    if worst is None:
        return f"{text}; no subject loses"
    return f"{text}; subject {worst['subject']} loses most, {worst['drop']:.1%} of its {worst['cells']} cells"


def _answers(
    networks: Mapping[str, ModelRuntime], rules: Rules, held_out: SeenCells, folder: Path
) -> Answers:
    say("  comparing int8 with float ...")
    return judge_networks(networks, rules, held_out, folder=folder)
