"""``validation.json``: how the networks did on held-out cells, every number of it in its range.

What later versions add is not an error: fields that are not known here are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from edgeleuk.bundle.manifest import MODEL_FILES, VALIDATION
from edgeleuk.bundle.numbers import (
    Amount,
    Change,
    Count,
    Name,
    Number,
    Share,
    Text,
    decode_json,
    require_ordered,
    require_range,
)
from edgeleuk.counting.confusion import Confusion

if TYPE_CHECKING:
    from edgeleuk.bundle.contents import Bundle

# Of figures that are computed twice, in other orders.
ROUNDING = 1e-6
# Of correlations, which rounding takes past 1.
_LEAST_CORRELATION, _LARGEST_CORRELATION = -1.0001, 1.0001
# Whose interval holds the value itself: not so the calibration error's, which grows when groups are drawn.
_WITHIN_INTERVAL = ("accuracy", "sensitivity", "specificity")
Correlation = Number | None
Verdict = Literal["pass", "fail", "undecided"]


class CellAnswers(msgspec.Struct, frozen=True):
    """What two networks said of one cell."""

    probability_float: Share | None = None
    probability_int8: Share | None = None
    margin: Share | None = None


class WorstSubject(msgspec.Struct, frozen=True):
    """The subject whose cells lose the most."""

    cells: Count = 0
    accuracy_float: Share | None = None
    accuracy_int8: Share | None = None
    drop: Change | None = None
    flipped: tuple[Text, ...] = ()

    def __post_init__(self) -> None:
        require_range("the worst subject's flipped cells", len(self.flipped), 0, self.cells)
        if self.drop is not None and self.accuracy_float is not None and self.accuracy_int8 is not None:
            _require_equal("drop", self.drop, self.accuracy_float - self.accuracy_int8)


class McNemar(msgspec.Struct, frozen=True):
    """Cells that only one of two networks called right."""

    lost: Count = 0
    gained: Count = 0
    p: Share | None = None


class Network(msgspec.Struct, frozen=True):
    """One network's part: its metrics, and what int8 lost of the float network's.

    Attributes
    ----------
    cells, subjects, groups : int
        That were judged.
    accuracy, sensitivity, specificity : float
    interval_95 : dict
        Metric to (low, high).
    """

    cells: Count
    groups: Count
    accuracy: Share
    sensitivity: Share
    specificity: Share
    subjects: Count | None = None
    weighted_f1: Share | None = None
    auroc: Share | None = None
    subject_sensitivity_mean: Share | None = None
    subject_specificity_mean: Share | None = None
    ece: Share | None = None
    baseline_area_auroc: Share | None = None
    interval_95: dict[str, tuple[Share | None, Share | None]] = {}
    uncertain: Share | None = None
    uncertain_by_reason: dict[str, Share] = {}
    weighted_f1_drop: Change | None = None
    weighted_f1_drop_upper_95: Change | None = None
    accuracy_drop: Change | None = None
    accuracy_drop_upper_95: Change | None = None
    auroc_drop: Change | None = None
    auroc_drop_upper_95: Change | None = None
    sensitivity_drop: Change | None = None
    sensitivity_drop_upper_95: Change | None = None
    specificity_drop: Change | None = None
    specificity_drop_upper_95: Change | None = None
    subject_sensitivity_mean_drop: Change | None = None
    subject_sensitivity_mean_drop_upper_95: Change | None = None
    subject_specificity_mean_drop: Change | None = None
    subject_specificity_mean_drop_upper_95: Change | None = None
    ece_change: Change | None = None
    ece_change_upper_95: Change | None = None
    mcnemar: McNemar | None = None
    flips: Count | None = None
    flip_rate: Share | None = None
    flipped: tuple[CellAnswers, ...] = ()
    max_probability_change: Share | None = None
    mean_probability_change: Share | None = None
    most_changed: CellAnswers | None = None
    worst_subject: WorstSubject | None = None

    def __post_init__(self) -> None:
        require_range("cells", self.cells, 1, float("inf"))
        require_range("groups", self.groups, 1, self.cells)
        if self.subjects is not None:
            require_range("subjects", self.subjects, 1, self.cells)
        low, high = sorted((self.sensitivity, self.specificity))
        require_range("accuracy", self.accuracy, low - ROUNDING, high + ROUNDING)
        self._require_counts()
        self._require_intervals()
        self._require_flips()
        if self.uncertain is not None and self.uncertain_by_reason:
            _require_equal("uncertain", self.uncertain, sum(self.uncertain_by_reason.values()))

    @property
    def positives(self) -> float:
        """How many of the cells were positive; half of them where that follows from nothing."""
        se, sp = self.sensitivity, self.specificity
        # Of correct = se * positives + sp * (cells - positives); where both are equal, that tells nothing.
        share = (self.accuracy - sp) / (se - sp) if se != sp else 0.5
        return self.cells * min(1.0, max(0.0, share))

    def _require_counts(self) -> None:
        """Each share is one of whole cells."""
        _require_whole("accuracy", self.accuracy, self.cells)
        # From rates that are nearly equal, rounding makes many cells.
        if abs(self.sensitivity - self.specificity) > 0.01 and self.cells < 1_000_000:
            positives = self.positives
            _require_whole("the positive cells", positives / self.cells, self.cells)
            _require_whole("sensitivity", self.sensitivity, round(positives))
            _require_whole("specificity", self.specificity, self.cells - round(positives))

    def _require_intervals(self) -> None:
        for name, (low, high) in self.interval_95.items():
            if low is None or high is None:
                continue
            require_ordered(f"the interval of {name}", (low, high), 0, 1)
            if name in _WITHIN_INTERVAL:
                require_range(name, getattr(self, name), low - ROUNDING, high + ROUNDING)

    def _require_flips(self) -> None:
        if self.flips is not None:
            require_range("flips", self.flips, 0, self.cells)
            if self.flip_rate is not None:
                _require_equal("flip_rate", self.flip_rate, self.flips / self.cells)
            if self.flipped:
                _require_equal("flips", self.flips, len(self.flipped))
        if self.mcnemar is not None:
            require_range("lost and gained", self.mcnemar.lost + self.mcnemar.gained, 0, self.cells)
        if self.max_probability_change is not None and self.mean_probability_change is not None:
            require_range(
                "mean_probability_change", self.mean_probability_change, 0, self.max_probability_change
            )


class Limits(msgspec.Struct, frozen=True):
    """What int8 was allowed to lose."""

    weighted_f1_drop: Share | None = None
    sensitivity_drop: Share | None = None
    flips: Share | None = None
    probability_change: Share | None = None


class TriedNetwork(msgspec.Struct, frozen=True):
    """One network that a repair made."""

    correlation: Correlation = None
    rms_difference: Amount | None = None
    size_bytes: Count | None = None

    def __post_init__(self) -> None:
        if self.correlation is not None:
            require_range("correlation", self.correlation, _LEAST_CORRELATION, _LARGEST_CORRELATION)


class Tried(msgspec.Struct, frozen=True):
    """One step of a repair."""

    networks: dict[str, TriedNetwork] = {}


class Cost(msgspec.Struct, frozen=True):
    """What a repair did to a network's size."""

    size_bytes: Count | None = None
    size_bytes_before: Count | None = None
    size_ratio: Amount | None = None


class Repair(msgspec.Struct, frozen=True):
    """What was tried to mend int8."""

    tried: tuple[Tried, ...] = ()
    cost: dict[str, Cost] = {}


class KnownConfusion(msgspec.Struct, frozen=True):
    """How often held-out cells of a laboratory were called which kind; see `Confusion`.

    Attributes
    ----------
    kinds, counts, effective : tuple
        Empty where there is a `reason` why it is not known.
    """

    kinds: tuple[Text, ...] = ()
    counts: tuple[tuple[Amount, ...], ...] = ()
    effective: tuple[Amount, ...] = ()
    reason: Name | None = None

    def __post_init__(self) -> None:
        self.known()

    def known(self) -> Confusion | str:
        """Return the matrix, or the reason why there is none."""
        return self.reason or Confusion(self.kinds, self.counts, self.effective)


class Audit(msgspec.Struct, frozen=True):
    """What a network's file was found to hold."""

    operations: dict[str, Count] = {}
    input_error_bytes: Amount | None = None


class Validation(msgspec.Struct, frozen=True):
    """All of ``validation.json``.

    Attributes
    ----------
    verdict : str
        ``pass``, ``fail``, or ``undecided`` where too few cells were held out.
    reasons : tuple of str
        Which limits were not kept; none in a bundle of an earlier version.
    threshold : float or None
        Probability at and above which a cell was called positive.
    tflite_int8, onnx_int8, tensorrt_int8, reference : Network or None
    confusion : KnownConfusion or None
        Of the kinds of cells, in a bundle that a laboratory taught.
    """

    verdict: Verdict
    reasons: tuple[Text, ...] = ()
    threshold: Share | None = None
    tflite_int8: Network | None = None
    onnx_int8: Network | None = None
    tensorrt_int8: Network | None = None
    reference: Network | None = None
    images_needed: Count | None = None
    limits: Limits | None = None
    repair: Repair | None = None
    audit: tuple[Audit, ...] = ()
    confusion: KnownConfusion | None = None

    def __post_init__(self) -> None:
        networks = self.networks()
        for name in ("cells", "groups", "subjects"):
            if len(found := {getattr(network, name) for network in networks} - {None}) > 1:
                msg = f"expected the same {name} of all networks, got {' and '.join(map(str, sorted(found)))}"
                raise ValueError(msg)
        positives = [network.positives for network in networks if _tells_positives(network)]
        if positives and max(positives) - min(positives) > 1:
            msg = "expected the same positive cells of all networks"
            raise ValueError(msg)

    def networks(self) -> list[Network]:
        """Return those that were judged."""
        keys = (model.key for model in MODEL_FILES.values())
        return [network for key in keys if (network := getattr(self, key)) is not None]


def read_validation(bundle: Bundle) -> Validation:
    """Read a bundle's validation.

    Raises
    ------
    BundleError
        It cannot be read, or a number in it cannot be.
    """
    return decode_validation(bundle.members[VALIDATION], bundle.path.name)


def decode_validation(data: bytes, bundle: str) -> Validation:
    """Decode ``validation.json`` of the bundle that is called so; see `read_validation`."""
    return decode_json(data, Validation, f"the validation in {bundle}", "convert the network again")


def _tells_positives(network: Network) -> bool:
    return abs(network.sensitivity - network.specificity) > 0.01


def _require_equal(name: str, value: float, expected: float) -> None:
    require_range(name, value, expected - ROUNDING, expected + ROUNDING)


def _require_whole(name: str, share: float, cells: int) -> None:
    """Refuse a share that no whole number of cells comes to."""
    of_cells = share * cells
    if abs(of_cells - round(of_cells)) > max(1e-4, ROUNDING * cells):
        msg = f"expected {name} as a share of {cells} whole cells, got {share}"
        raise ValueError(msg)
