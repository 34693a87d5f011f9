"""What the workstation's commands return, and print with ``--json``."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType

from edgeleuk.results.structs import Printed


class ConvertedMember(Printed, frozen=True, kw_only=True):
    """A network of a bundle, and how it agrees with the float network on the calibration images.

    Attributes
    ----------
    member : str
        Its name in the bundle.
    size_bytes : int
    largest_difference : float
        In units of the output.
    correlation : float
        Pearson's, of the outputs.
    """

    member: str
    size_bytes: int
    largest_difference: float
    correlation: float


class ConversionResult(Printed, frozen=True, kw_only=True):
    """What a conversion wrote, and what it is worth.

    Attributes
    ----------
    bundle : str
        The file; ``NAME.rejected.edgeleuk`` where the networks fail the limits.
    stamp : str or None
        What has to be said wherever its figures stand.
    size_bytes, calibration_images : int
    networks : tuple of ConvertedMember
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
    networks: tuple[ConvertedMember, ...]
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
    held_out : EvaluationResult
    """

    schema_version: int = 1
    model: str
    settings: str
    stamp: str | None
    architecture: str
    parameters: int
    training_subjects: int
    held_out_subjects: tuple[str, ...]
    held_out: EvaluationResult
