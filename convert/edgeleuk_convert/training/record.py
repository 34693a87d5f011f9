"""What a training leaves beside its network: ``NAME.training.json``.

Whatever comes after (evaluation, conversion, the bundle) learns from it how crops become tensors and
which subjects and images the network has seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from edgeleuk.bundle.manifest import TRAINING, Envelope, InputContract, OutputContract, Struct
from edgeleuk.errors import DataRefusedError, IntegrityError
from edgeleuk_convert.environment import replace_file

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.bundle.contents import Bundle


CalibratedBy = Literal["inner groups", "cross-validation", "nothing"]


class CrossValidated(Struct, frozen=True):
    """What a training is worth on subjects it has not seen, where the network itself has seen them all.

    Attributes
    ----------
    folds : int
        Outer folds, by group; each was judged by a training on the others.
    seeds : tuple of int
        Of the trainings; figures are means over them.
    inner_folds : int or None
        Within which temperature, bias, forest's weight and threshold of a fold were fitted. None where they
        come from the other folds' answers, whose networks had learned from this fold's cells.
    cells, subjects, groups : int
        That were judged.
    mean, interval_95 : dict
        Metric to its mean over the folds, and to the bootstrap over the groups of every fold.
    pooled, pooled_interval_95 : dict
        The same of all folds' cells together.
    specificity_at_90 : float
        Mean over subjects, where each fold's threshold is set for a mean sensitivity of .90; mean of folds.
    """

    folds: int
    seeds: tuple[int, ...]
    inner_folds: int | None
    cells: int
    subjects: int
    groups: int
    mean: dict[str, float]
    interval_95: dict[str, tuple[float, float]]
    pooled: dict[str, float]
    pooled_interval_95: dict[str, tuple[float, float]]
    specificity_at_90: float


class TrainingRecord(Struct, frozen=True):
    """How a network was trained.

    Attributes
    ----------
    architecture : str
    parameters : int
    input, output, envelope
        What the bundle's manifest will say.
    settings : dict
        Every setting of the training, the seed among them.
    training_subjects, held_out_subjects : tuple of str
        Seen in training (early stopping and temperature included), and never seen.
    training_hashes : tuple of str
        First 16 hex digits of the sha256 of each seen image's decoded pixels.
    tools : dict
        Package name to version.
    calibrated_by : str
        Where temperature, bias, threshold and band come from: groups kept out of a first training, a
        cross-validation's answers on the training cells, or nowhere.
    stamp : str or None
        Of a training that was allowed to leak: whatever is said of the network has to carry it.
    training_known : bool
        False for a network that was trained elsewhere: then the training subjects are those that may
        calibrate it.
    contract_inferred : bool
        `input` and `output` were found out by the labels, and not told by who trained the network.
    cross_validated : CrossValidated or None
        Of a network that has seen every subject: what stands in for figures on held-out ones.
    unlabelled_cells : int
        Further cells that a student looked at, whose labels were not used.
    unlabelled_sha256 : str or None
        Of what is said of them.
    """

    architecture: str
    parameters: int
    input: InputContract
    output: OutputContract
    envelope: Envelope
    settings: dict[str, str | int | float | bool | tuple[str, ...] | None]
    training_subjects: tuple[str, ...]
    held_out_subjects: tuple[str, ...]
    training_hashes: tuple[str, ...]
    tools: dict[str, str]
    stamp: str | None = None
    schema_version: int = 1
    calibrated_by: CalibratedBy = "inner groups"
    training_known: bool = True
    contract_inferred: bool = False
    cross_validated: CrossValidated | None = None
    unlabelled_cells: int = 0
    unlabelled_sha256: str | None = None


def record_path(model: Path) -> Path:
    """Return where the record of a network lies: ``resnet.keras`` -> ``resnet.training.json``."""
    return model.with_suffix(".training.json")


def write_record(record: TrainingRecord, model: Path) -> None:
    """Write the record beside `model`, first under another name, then renamed."""
    replace_file(record_path(model), msgspec.json.format(msgspec.json.encode(record), indent=1))


def read_record(model: Path) -> TrainingRecord:
    """Read the record beside `model`.

    Raises
    ------
    DataRefusedError
        There is none, so nobody knows what the network has seen.
    IntegrityError
        It cannot be decoded.
    """
    path = record_path(model)
    try:
        return decode_record(path.read_bytes())
    except FileNotFoundError:
        raise DataRefusedError(
            f"{model.name} has no training record",
            got=f"no {path.name} beside it",
            cure="train it with `edgeleuk train`, or copy the record beside it",
        ) from None


def bundle_record(bundle: Bundle) -> TrainingRecord:
    """Read the record that was packed into a bundle."""
    return decode_record(bundle.members[TRAINING])


def decode_record(data: bytes) -> TrainingRecord:
    """Decode a record, with an `IntegrityError` where it is damaged."""
    try:
        return msgspec.json.decode(data, type=TrainingRecord)
    except (msgspec.DecodeError, ValueError) as error:
        raise IntegrityError("the training record is damaged", got=str(error)) from error
