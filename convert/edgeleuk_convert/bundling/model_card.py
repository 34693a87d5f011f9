"""``card.md``: what a reader should know of a bundle before using it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from edgeleuk.version import RESEARCH_USE
from edgeleuk_convert.dataset.cnmc import PICTURE
from edgeleuk_convert.dataset.leakage import with_training_stamp
from edgeleuk_convert.metrics.acceptance import verdict_words
from edgeleuk_convert.training.settings import load_training_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeleuk_convert.bundling.converted import Converted
    from edgeleuk_convert.training.record import TrainingRecord

LICENCE = "Apache-2.0; trained on images under Creative Commons Attribution 3.0"
# Of a network that was trained elsewhere nobody knows.
UNTOLD = "not told: the network was trained elsewhere"
DATA_CITATION = (
    "Gupta, A. and Gupta, R.: ISBI 2019 C-NMC Challenge: Classification in Cancer Cell Imaging. "
    "The Cancer Imaging Archive, doi:10.7937/tcia.2019.dc64i46r"
)
CONVERT = "convert MODEL.keras --int8 --calibration DIR --out FILE.edgeleuk"
# Those of a training's settings that are flags; the others are the program's own.
TRAIN_FLAGS = ("architecture", "epochs", "seed", "folds", "fold")
METRICS = (
    ("weighted_f1", "weighted F1"),
    ("auroc", "AUROC"),
    ("sensitivity", "sensitivity (blasts)"),
    ("specificity", "specificity (normal cells)"),
    ("subject_specificity_mean", "specificity, mean over subjects"),
    ("ece", "expected calibration error"),
)


def command_line(command: str, settings: Mapping[str, object]) -> str:
    """Return the command that has these settings: flags in kebab case, what is None left out."""
    words = ["edgeleuk", *shlex.split(command)]
    for key, value in settings.items():
        flag = "--" + key.replace("_", "-")
        if value is True:
            words.append(flag)
        elif value is not None and value is not False:
            words += [flag, str(value)]
    return shlex.join(words)


# Others open the file, too.
EXACT_SUMS = """Whoever opens `model.int8.onnx` in another program: on x86 processors without VNNI, its sums
saturate unless ONNX Runtime's session entry `session.x64quantprecision` is "1". edgeleuk sets it."""


def model_card(
    name: str,
    record: TrainingRecord,
    converted: Converted,
    validation: Mapping[str, Any],
    calibration_images: int,
    notes: Mapping[str, object],
) -> str:
    """Write the card."""
    sizes = "\n".join(
        f"| {a.member} | {a.size_bytes:,} | {a.largest_difference:.3f} | {a.correlation:.4f} |"
        for a in converted.agreements
    )
    settings: dict[str, object] = {flag: record.settings.get(flag) for flag in TRAIN_FLAGS}
    if record.settings.get("held_out"):
        del settings["folds"], settings["fold"]
        settings["held_out"] = "FILE"
    if record.cross_validated is not None:
        del settings["folds"], settings["fold"]
        settings["all_subjects"] = True
    settings["answers"] = "DIR" if record.calibrated_by == "cross-validation" else None
    settings["allow_leakage"] = record.stamp is not None
    return f"""# {name}
{_stamped(record, validation)}
{RESEARCH_USE}

A network ({record.architecture}, {record.parameters:,} parameters){_joined(record)} that tells
leukemic blasts (acute lymphoblastic leukemia) from normal lymphoid cells, one white cell at a time. It gives
a probability for each cell; it says nothing about a patient.

## Data

{data_of(record)}
{_subjects(record)}

## How it was made

{_trained(record, settings)}    {command_line(CONVERT, notes)}
{_other_settings(record)}{_loaded(validation)}
Calibrated with {calibration_images} images of {_calibrating(record)}; `calibration.json` names them.

| member | bytes | largest difference from float32 | correlation |
|---|---|---|---|
{sizes}

The float32 ONNX network that was quantized has {converted.float_onnx_bytes:,} bytes.
{EXACT_SUMS}

## Accuracy on {_judged_on(record)}

{_accuracy(validation)}
{_by_folds(record)}
## Limits

A cell whose area, colour, sharpness or features lie outside the training cells' is called `uncertain`: so are
the cells of another stain or of a camera that sees colours otherwise.
Trained on one laboratory's stain and camera, on cells already cut out. Size and chromatin are what it
goes by, so the scale of the picture (px/um) must be right. Normal cells of subjects it has never seen are its
weak spot. Cells other than lymphoid ones (granulocytes, monocytes) were not in the training set.
"""


def _subjects(record: TrainingRecord) -> str:
    if record.cross_validated is not None:
        return (
            f"Trained on all {len(record.training_subjects)} subjects: nobody is held out. What it is worth\n"
            "on others was found by cross-validation, below."
        )
    held_out = _named(record.held_out_subjects)
    if record.training_known:
        subjects = f"Trained on {len(record.training_subjects)} subjects."
        return f"{subjects} Held out, by group, and never seen:\n{held_out}."
    return (
        "**The subjects that it was trained on are unknown.** It came without a training record, so the\n"
        "accuracy below may be that of cells that it was trained on. Not used to calibrate it, by group:\n"
        f"{held_out}."
    )


def _named(subjects: Sequence[str]) -> str:
    """Name subjects; pictures whose subjects nobody knows are counted."""
    pictures = sum(subject.startswith(PICTURE) for subject in subjects)
    named = [subject for subject in subjects if not subject.startswith(PICTURE)]
    counted = [f"{pictures} pictures whose subjects nobody knows"] if pictures else []
    return ", ".join(named + counted) or "none"


def _trained(record: TrainingRecord, settings: Mapping[str, object]) -> str:
    if not record.training_known:
        return ""
    return f"    {command_line('train --data DIR --out MODEL.keras', settings)}\n"


def _calibrating(record: TrainingRecord) -> str:
    return "training subjects" if record.training_known else "subjects that do not judge it"


def _joined(record: TrainingRecord) -> str:
    return (
        ", joined by a random forest on 14 plain numbers of the cell," if record.output.forest_weight else ""
    )


def data_of(record: TrainingRecord) -> str:
    """Say what the network was trained on; what nobody told is not made up."""
    if record.training_known:
        return f"{DATA_CITATION}. Creative Commons Attribution 3.0."
    return "Trained elsewhere; nobody told on which images."


def _stamped(record: TrainingRecord, validation: Mapping[str, Any]) -> str:
    stamp = with_training_stamp(validation.get("stamp"), record.stamp)
    return f"\n**{stamp}**\n" if stamp else ""


def _other_settings(record: TrainingRecord) -> str:
    """Name what the flags do not say, where it is not the default."""
    if not record.training_known:
        return ""
    recipe = load_training_settings(None, {"architecture": record.architecture})
    defaults = recipe.flat()
    others = [
        f"`{key} = {value}`"
        for key, value in record.settings.items()
        if key not in TRAIN_FLAGS and value != defaults.get(key) and key not in ("held_out", "architecture")
    ]
    return f"\nOther settings of the training: {', '.join(others)}.\n" if others else ""


def _loaded(validation: Mapping[str, Any]) -> str:
    """Say what was done to a network to bring it to the form that is converted."""
    notes = validation.get("loading", [])
    return "\nAs it was loaded: " + "; ".join(notes) + ".\n" if notes else ""


def _accuracy(validation: Mapping[str, Any]) -> str:
    if "reference" not in validation:
        return f"Not measured: no held-out subject was among the images at hand.{_verdict(validation)}"
    models = [key for key in ("reference", "tflite_int8", "onnx_int8", "tensorrt_int8") if key in validation]
    head = "| metric | " + " | ".join("float32" if key == "reference" else key for key in models) + " |"
    lines = [head, "|---" * (len(models) + 1) + "|"]
    for key, title in METRICS:
        cells = []
        for model in models:
            value, interval = validation[model][key], validation[model]["interval_95"].get(key)
            if value is None:
                cells.append("-")
                continue
            cells.append(f"{value:.3f}" + (f" ({interval[0]:.3f}-{interval[1]:.3f})" if interval else ""))
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    reference = validation["reference"]
    lines.append("")
    lines.append(
        f"{reference['cells']} cells of {reference['subjects']} subjects in {reference['groups']} groups;"
        " 95 % intervals from a bootstrap over groups. Area alone reaches an AUROC of"
        f" {reference['baseline_area_auroc']:.3f}.{_verdict(validation)}"
    )
    return "\n".join(lines)


def _judged_on(record: TrainingRecord) -> str:
    return (
        "the held-out subjects" if record.cross_validated is None else "subjects that did not teach the judge"
    )


def _by_folds(record: TrainingRecord) -> str:
    """Say how the figures of a network came about that has seen every subject."""
    of = record.cross_validated
    if of is None:
        return ""
    nested = (
        f"Temperature, bias, forest's weight and threshold come from {of.inner_folds} folds within the rest."
        if of.inner_folds
        else "Temperature, bias, forest's weight and threshold come from the answers on the other folds."
    )
    figures = "\n".join(
        f"| {title} | {of.mean[key]:.3f} ({of.interval_95[key][0]:.3f}-{of.interval_95[key][1]:.3f}) |"
        for key, title in (*METRICS, ("hard_auroc", "AUROC, hard subjects"))
        if key in of.mean
    )
    return f"""
Each cell was judged by a head that had seen nobody of its group: {of.folds} folds by group.
{nested}
The networks, and what their trunk sees, are those of this bundle; the heads differ from fold to fold.
Float32, mean of the folds ({of.cells} cells, {of.subjects} subjects, {of.groups} groups):

| metric | float32 |
|---|---|
{figures}
| specificity at a sensitivity of .90, mean over subjects | {of.specificity_at_90:.3f} |
"""


def _verdict(validation: Mapping[str, Any]) -> str:
    """Say what the gate said, where it was asked."""
    if "reasons" not in validation:
        return ""
    reasons = "".join(f"\n- {reason}" for reason in validation["reasons"])
    return f"\n\nVerdict of the gate: {verdict_words(validation)}" + (f"\n{reasons}" if reasons else "")
