"""What the workstation's commands return, and print with ``--json``."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, UnsetType

from edgeleuk.bundle.manifest import InputContract, OutputContract  # noqa: TC001 - msgspec looks at them
from edgeleuk.results.structs import Printed
from edgeleuk_convert.evaluation.fold_scores import Difference, Scores  # noqa: TC001 - msgspec looks at it
from edgeleuk_convert.quantization.agreement import Agreement  # noqa: TC001 - msgspec looks at it
from edgeleuk_convert.training.record import CrossValidated  # noqa: TC001 - msgspec looks at it


class ConversionResult(Printed, frozen=True, kw_only=True):
    """What a conversion wrote, and what it is worth.

    Attributes
    ----------
    bundle : str
        The file; ``NAME.rejected.edgeleuk`` where the networks fail the limits.
    stamp : str or None
        What has to be said wherever its figures stand.
    size_bytes, calibration_images : int
    networks : tuple of Agreement
    float_onnx_bytes : int
        Of the float network as ONNX, which is not in the bundle.
    onnx_calibration : str
    also : dict of str to str
        Further TFLite files, by their kind.
    audit : list of dict
        What each file was found to hold.
    validation : dict
        As ``edgeleuk validate --json`` prints it, and what the conversion adds.
    """

    schema_version: int = 1
    bundle: str
    stamp: str | None
    size_bytes: int
    calibration_images: int
    networks: tuple[Agreement, ...]
    float_onnx_bytes: int
    onnx_calibration: str
    also: dict[str, str]
    audit: list[dict[str, Any]]
    validation: dict[str, Any]

    @property
    def verdict(self) -> str:
        """``pass``, ``fail`` or ``undecided``."""
        return str(self.validation["verdict"])


class EvaluationResult(Printed, frozen=True, kw_only=True):
    """What a network is worth on cells that it has not seen; see `edgeleuk_convert.metrics.classification`.

    Attributes
    ----------
    cells, subjects, groups : int
        That were judged.
    interval_95 : dict of str to (low, high)
        Of each metric.
    baseline_area_weighted_f1 : float or None
        Weighted F1 of the area alone; None where it could not be fitted.
    threshold : float
        Probability at and above which a cell was called a blast.
    left_out : int
        Cells that share a subject, a group or an image with the training.
    stamp : str or None
        What has to be said wherever its figures stand; left out inside of a `TrainingResult`.
    report : str
        The page, where one was asked for.
    split_gaps : list of dict
        With ``--random-split``: what a random split would have claimed.
    """

    schema_version: int = 1
    cells: int
    subjects: int
    groups: int
    weighted_f1: float
    accuracy: float
    auroc: float
    sensitivity: float
    specificity: float
    subject_sensitivity_mean: float
    subject_specificity_mean: float
    ece: float
    baseline_area_auroc: float
    interval_95: dict[str, tuple[float, float]]
    baseline_area_weighted_f1: float | None
    threshold: float
    left_out: int
    stamp: str | UnsetType | None = UNSET
    report: str | UnsetType = UNSET
    split_gaps: list[dict[str, Any]] | UnsetType = UNSET


class TrainingResult(Printed, frozen=True, kw_only=True):
    """What was trained, and what it is worth on what was held out.

    Attributes
    ----------
    model, settings : str
        The files.
    stamp : str or None
        What has to be said wherever its figures stand.
    architecture : str
    parameters, training_subjects : int
        How many.
    held_out_subjects : tuple of str
    held_out : EvaluationResult or None
        None where nobody is held out.
    cross_validated : CrossValidated or None
        What it is worth then.
    """

    schema_version: int = 1
    model: str
    settings: str
    stamp: str | None
    architecture: str
    parameters: int
    training_subjects: int
    held_out_subjects: tuple[str, ...]
    held_out: EvaluationResult | None
    cross_validated: CrossValidated | None = None


class Judgement(Printed, frozen=True, kw_only=True):
    """A verdict by limits; see `edgeleuk_convert.metrics.acceptance.settle`.

    Attributes
    ----------
    verdict : str
    reasons : tuple of str
        Of a verdict that is not ``pass``.
    images_needed : int or None
        About how many more images would decide it; None unless it is undecided.
    limits : dict of str to float
        What may be lost, by its name.
    """

    verdict: Literal["pass", "fail", "undecided"]
    reasons: tuple[str, ...]
    images_needed: int | None
    limits: dict[str, float]


class ValidationResult(Judgement, frozen=True, kw_only=True):
    """How a bundle's int8 networks agree with its float network on cells that none of them has seen.

    Attributes
    ----------
    models : tuple of str
        Keys of the int8 networks that were compared.
    threshold : float
        Probability at and above which a cell was called a blast.
    reference, tflite_int8, onnx_int8, tensorrt_int8 : dict
        Of each network that the bundle has: its metrics, and what changes from float to int8; see
        `edgeleuk_convert.evaluation.int8_vs_float.validation_facts`.
    stamp : str or None
        What has to be said wherever its figures stand.
    layers, layers_unmatched, layers_images, layers_plot
        With ``--layers``: every layer with the noise that it adds, the worst first; layers without a
        counterpart, by network; how many images were looked at; the plot.
    report : str
        The page, where one was asked for.
    """

    schema_version: int = 1
    models: tuple[str, ...]
    threshold: float
    reference: dict[str, Any]
    tflite_int8: dict[str, Any] | UnsetType = UNSET
    onnx_int8: dict[str, Any] | UnsetType = UNSET
    tensorrt_int8: dict[str, Any] | UnsetType = UNSET
    stamp: str | None
    layers: list[dict[str, Any]] | UnsetType = UNSET
    layers_unmatched: dict[str, int] | UnsetType = UNSET
    layers_images: int | UnsetType = UNSET
    layers_plot: str | UnsetType = UNSET
    report: str | UnsetType = UNSET


class ComparedBundle(Printed, frozen=True, kw_only=True):
    """One of two bundles: its file, name and hash, and the stamp that it carries."""

    path: str
    name: str
    sha256: str
    stamp: str | None


class BundleComparison(Judgement, frozen=True, kw_only=True):
    """Whether bundle B may take the place of A.

    Attributes
    ----------
    a, b : ComparedBundle
    cells, subjects, groups : int
        That neither has seen.
    models : tuple of str
        Keys of the int8 networks that both have.
    differences : tuple of str
        Of their contracts, in words.
    tflite_int8, onnx_int8, tensorrt_int8 : dict
        Of each network that both have: the metrics of each, and what changes; see
        `edgeleuk_convert.evaluation.replacement.compare_bundles`.
    answer : str
        The verdict in words.
    stamp : str or None
        What has to be said wherever its figures stand.
    """

    schema_version: int = 1
    a: ComparedBundle
    b: ComparedBundle
    cells: int
    subjects: int
    groups: int
    models: tuple[str, ...]
    differences: tuple[str, ...]
    tflite_int8: dict[str, Any] | UnsetType = UNSET
    onnx_int8: dict[str, Any] | UnsetType = UNSET
    tensorrt_int8: dict[str, Any] | UnsetType = UNSET
    answer: str
    stamp: str | None


class RunnerUp(Printed, frozen=True, kw_only=True):
    """Another way to feed a network, and what tells it apart from the best; None where nothing does."""

    way: str
    auroc: float
    told_apart_by: str | None


class ContractResult(Printed, frozen=True, kw_only=True):
    """What a network is fed, as labelled images show it.

    Attributes
    ----------
    way : str
        In words.
    input, output
        As in a bundle's manifest.
    classes : tuple of str
        By the network's numbers.
    rescales_itself : bool
    auroc, interval_95 : float, (low, high)
    cells, groups : int
        That it was tried on.
    told_apart : bool
        Whether no other way does as well.
    runners_up : tuple of RunnerUp
    model : str
        The file.
    stamp : str or None
        What has to be said wherever its figures stand.
    notes : tuple of str
        What was odd about the file.
    contract : str
        The ``contract.toml``, where one was asked for.
    """

    schema_version: int = 1
    way: str
    input: InputContract
    output: OutputContract
    classes: tuple[str, ...]
    rescales_itself: bool
    auroc: float
    interval_95: tuple[float, float]
    cells: int
    groups: int
    told_apart: bool
    runners_up: tuple[RunnerUp, ...]
    model: str
    stamp: str | None
    notes: tuple[str, ...]
    contract: str | UnsetType = UNSET


class CalibrationResult(Printed, frozen=True, kw_only=True):
    """A calibration set, and what checks of its ranges found on held-out cells.

    Attributes
    ----------
    strategy, seed
        How it was chosen.
    images, subjects, groups : int
        That it holds.
    tensors_sha256 : str
        Of what the network is fed.
    files : tuple of str
        That were written, the record first.
    ranges : dict
        What the checks found; each tensor stands in the file of the checks.
    curve : list of dict
        With ``--curve``: for each number of images how int8 agrees with float; else empty.
    recommended_images : int or None
    recommendation : str or None
        The same in words.
    text : str
        What the checks and the curve found, for people.
    stamp : str or None
        What has to be said wherever its figures stand.
    """

    schema_version: int = 1
    strategy: str
    seed: int
    images: int
    subjects: int
    groups: int
    tensors_sha256: str
    files: tuple[str, ...]
    ranges: dict[str, Any]
    curve: list[dict[str, Any]]
    recommended_images: int | None
    recommendation: str | None
    text: str
    stamp: str | None


class CrossValidationResult(Printed, frozen=True, kw_only=True):
    """All methods on the same folds, as ``comparison.json`` holds them.

    Attributes
    ----------
    cells, subjects, groups : int
    scores : dict of str to Scores
        Baselines first, then architectures.
    differences : list of Difference
        Of each further architecture from the first one, on the same draws of groups.
    curve : tuple of (int, float, float)
        Training groups, and the forest's mean AUROC and weighted F1 with so many.
    """

    schema_version: int = 1
    cells: int
    subjects: int
    groups: int
    scores: dict[str, Scores]
    curve: tuple[tuple[int, float, float], ...]
    differences: tuple[Difference, ...]
