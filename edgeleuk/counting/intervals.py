"""A differential count: shares with exact intervals, a correction for known error, how many cells to go.

Counts and intervals, never what they mean for anybody.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from edgeleuk.counting.confusion import KnownKinds, corrected_shares, corrected_text
from edgeleuk.counting.differential import LEAST_CELLS, differential, differential_text, final_counts
from edgeleuk.results import DECISIONS, FOREIGN, Check, Counted, Proportion, check_of, clopper_pearson
from edgeleuk.results.structs import CorrectedWhiteCells, DifferentialCount

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Half width of the interval, in points of a percentage, that "cells needed" is told for.
DEFAULT_POINTS = 5.0
Z_95 = 1.959963984540054
# What can be done about cells that are uncertain, by why they are.
WAYS_ON: Mapping[Check, str] = {
    Check.SCALE: "pass the pixels per micrometre as --px-per-um, from a stage micrometer",
    Check.AREA: "check the scale with --px-per-um; cells of other sizes need a network that was taught them",
    Check.COLOUR: "set lamp and white balance, use --flat-field; another stain needs a network of its own",
    Check.SHARPNESS: "focus on the cells, check --px-per-um and the camera's sharpening and compression",
    Check.FEATURES: "these cells look unlike the training cells: teach a network with some of them",
    Check.PROBABILITY: "the network cannot decide: look at these cells, or set --abstain",
}
MOST_CELLS = 1_000_000_000
# Which cells a share of blasts is of.
ShareOf = Literal["white", "lymphoid"]
_NO_KINDS = KnownKinds()


@dataclass(frozen=True, slots=True)
class Rate:
    """A share measured on held-out cells.

    Attributes
    ----------
    share : float
    cells : float
        That it was measured on.
    effective : float
        How many independent cells they are worth: cells of one subject are alike.
    """

    share: float
    cells: float
    effective: float


@dataclass(frozen=True, slots=True)
class KnownError:
    """How often a network's call was right on held-out cells.

    Attributes
    ----------
    threshold : float
        Probability at and above which a cell was called a blast there, doubted or not.
    sensitivity, specificity : Rate
    """

    threshold: float
    sensitivity: Rate
    specificity: Rate

    def to_json(self) -> dict[str, object]:
        """Return the object that a session records."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Called:
    """Cells like the training cells, called by the threshold alone, as in the validation.

    Attributes
    ----------
    positive, total : int
    """

    positive: int
    total: int


def called_of(cells: Iterable[tuple[float | None, str | None]], threshold: float) -> Called:
    """Call cells by a threshold: those that have a probability and are not foreign.

    Parameters
    ----------
    cells : iterable of (float or None, str or None)
        Probability of each, and why it is uncertain.
    threshold : float
    """
    like = [
        probability for probability, reason in cells if probability is not None and not _is_foreign(reason)
    ]
    return Called(sum(probability >= threshold for probability in like), len(like))


def known_error_of(recorded: object) -> KnownError | str:
    """Read what a session recorded; the reason where it has none."""
    if not isinstance(recorded, dict):
        return "the session was recorded without the model's known error"
    if "reason" in recorded:
        return str(recorded["reason"])
    try:
        rates = [Rate(**recorded[name]) for name in ("sensitivity", "specificity")]
        if all(0 <= rate.share <= 1 and 0 <= rate.effective <= rate.cells < math.inf for rate in rates):
            return KnownError(float(recorded["threshold"]), *rates)
    except (KeyError, TypeError, ValueError):
        pass
    return "what the session recorded of the model's known error cannot be read"


def effective_cells(share: float, cells: float, groups: int, interval: tuple[float, float] | None) -> float:
    """Return how many independent cells have the interval that groups of cells have.

    Parameters
    ----------
    share : float
        0 to 1.
    cells : float
        Never more than these.
    groups : int
        What counts where the interval tells nothing: each as one cell.
    interval : (low, high), optional
        95 %, by bootstrap over groups.

    Examples
    --------
    >>> round(effective_cells(0.9, 1000, 10, (0.8, 1.0)), 1)
    34.6
    >>> effective_cells(1.0, 1000, 10, (1.0, 1.0))
    10
    """
    if interval is None or not 0 < share < 1 or interval[1] <= interval[0]:
        return min(groups, cells)
    deviation = (interval[1] - interval[0]) / (2 * Z_95)
    return max(1.0, min(cells, share * (1 - share) / deviation**2))


def corrected_share(called: Called, error: KnownError) -> tuple[float, float, float] | str:
    """Correct a share of blasts for cells that are called wrongly.

    The estimate is Rogan and Gladen's, "Estimating prevalence from the results of a screening test", American
    Journal of Epidemiology 107 (1978). The 95 % interval is Lang and Reiczigel's, "Confidence limits for
    prevalence of disease adjusted for estimated sensitivity and specificity", Preventive Veterinary Medicine
    113 (2014): Agresti and Coull's additions to all three counts, and a shift that makes up for the
    skewness. It carries the uncertainty of sensitivity and specificity; its coverage is tested by simulation.

    Returns
    -------
    (share, low, high), or the reason why there is none
    """
    se, sp = error.sensitivity, error.specificity
    if called.total == 0:
        return "no cell like the training cells has a probability"
    if se.share + sp.share - 1 < 0.05:
        return "on held-out cells the model is hardly better than chance"
    share = (called.positive / called.total + sp.share - 1) / (se.share + sp.share - 1)
    n, n_se, n_sp = called.total + Z_95**2, se.effective + 2, sp.effective + 2
    p = (called.positive + Z_95**2 / 2) / n
    a, b = (se.share * se.effective + 1) / n_se, (sp.share * sp.effective + 1) / n_sp
    youden = a + b - 1
    if youden <= 0:
        return "too few held-out cells tell how often the model is right"
    middle = (p + b - 1) / youden
    of_se, of_sp = a * (1 - a) / n_se, b * (1 - b) / n_sp
    variance = p * (1 - p) / n + middle**2 * of_se + (1 - middle) ** 2 * of_sp
    shifted = middle + 2 * Z_95**2 * (middle * of_se - (1 - middle) * of_sp)
    half = Z_95 * math.sqrt(variance) / youden
    if shifted + half <= 0 or shifted - half >= 1:
        return "the known error does not hold for these cells: no share of blasts explains the count"
    low, high = _clipped(shifted - half), _clipped(shifted + half)
    # The shift must not leave the estimate outside.
    share = _clipped(share)
    return share, min(low, share), max(high, share)


def half_width_points(share: Proportion) -> float:
    """Half the width of the exact 95 % interval, in points."""
    return 50 * (share.high - share.low)


def cells_needed(share: Proportion, points: float = DEFAULT_POINTS) -> int:
    """Return how many more cells bring the exact 95 % interval to plus or minus so many points.

    Assumes that the share stays; of no cells, that it is one half, for which most are needed.

    Examples
    --------
    >>> cells_needed(Proportion(20, 100), 5.0), cells_needed(Proportion(0, 0), 5.0)
    (164, 402)
    """
    estimate = 0.5 if share.share is None else share.share

    def fits(total: int) -> bool:
        low, high = clopper_pearson(estimate * total, total)
        return 50 * (high - low) <= points

    if share.total and fits(share.total):
        return 0
    few, enough = share.total, max(share.total, 1)
    while not fits(enough):
        few, enough = enough, enough * 2
        if enough > MOST_CELLS:
            return MOST_CELLS
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if fits(middle) else (middle, enough)
    return enough - share.total


def counting_facts(
    counted: Counted,
    called: Called | None,
    error: KnownError | str,
    *,
    until_points: float | None = None,
    until_of: ShareOf | None = None,
    kinds: KnownKinds = _NO_KINDS,
) -> dict[str, Any]:
    """Return all of these as JSON.

    Parameters
    ----------
    counted : Counted
    called : Called or None
        By the threshold of `error`; None where that is not known.
    error : KnownError or str
        Or why it is not known.
    until_points : float, optional
        The half width that was asked for.
    until_of : str, optional
        The share whose precision is told; see `share_to_know`.
    kinds : KnownKinds
        What the bundle tells of them.
    """
    counts = {name: getattr(counted, name) for name in DECISIONS}
    reason = counted.no_white_share
    return {
        "differential": {
            "n": counted.total,
            "reason": reason,
            **{
                name: {"count": count, **_share_facts(Proportion(count, counted.total), reason)}
                for name, count in counts.items()
            },
        },
        "corrected_blast_share": _corrected_facts(counted, called, error),
        "precision": _precision_facts(counted, until_points, share_to_know(until_of, kinds)),
        **_white_facts(counted, kinds),
    }


def _white_facts(counted: Counted, kinds: KnownKinds) -> dict[str, Any]:
    """Return the differential of the white cells, raw and corrected; None where no kinds are told apart."""
    if not counted.kinds and not kinds.asked:
        return {"white_cells": None, "corrected_white_cells": None}
    counts, reason = final_counts(counted), counted.no_white_share
    raw = differential(counts, asked=kinds.asked, no_white_share=reason, no_lymphoid_share=counted.no_share)
    corrected = corrected_shares(counts, reason or kinds.confusion)
    return {"white_cells": raw.to_json(), "corrected_white_cells": corrected.to_json()}


def share_to_know(until_of: ShareOf | None, kinds: KnownKinds) -> ShareOf:
    """Return which share of blasts a count is to know well: what was asked for, or what laboratories use.

    That is the share of all nucleated white cells, where the bundle names their kinds.

    Examples
    --------
    >>> share_to_know(None, KnownKinds(("band",))), share_to_know(None, KnownKinds())
    ('white', 'lymphoid')
    """
    return until_of or ("white" if kinds.asked else "lymphoid")


def precise_enough(counted: Counted, points: float, of: ShareOf = "lymphoid") -> bool:
    """Whether the share of blasts is known to plus or minus so many points.

    Parameters
    ----------
    counted : Counted
    points : float
        Half the width of the exact 95 % interval.
    of : str
        Blasts of the ``lymphoid`` cells, or of all nucleated ``white`` cells.
    """
    blasts, reason = _blasts_of(counted, of)
    return reason is None and half_width_points(blasts) <= points


def _blasts_of(counted: Counted, of: ShareOf) -> tuple[Proportion, str | None]:
    """Return a share of blasts, and why it may not be told."""
    if of == "white":
        return Proportion(counted.blast, counted.white), counted.no_white_share
    return Proportion(counted.blast, counted.blast + counted.normal), counted.no_share


def sightings_text(cells: Mapping[str, Any]) -> str:
    """Say how many sightings there were of the cells, and how many are in no count.

    Examples
    --------
    >>> sightings_text({"detected": 45, "unique": 30, "seen_before": 3, "excluded": 12})
    '45: 30 of new cells, 3 of cells seen before, 12 not judged (cut, or dust)'
    """
    return (
        f"{cells['detected']}: {cells['unique']} of new cells, {cells['seen_before']} of cells seen before,"
        f" {cells['excluded']} not judged (cut, or dust)"
    )


def way_on_text(by_reason: Mapping[str, int]) -> list[str]:
    """Say what can be done about the two most frequent reasons for uncertain cells; nothing without any."""
    known = {Check(name): n for name, n in by_reason.items() if n and Check(name) in WAYS_ON}
    most = sorted(known, key=lambda check: -known[check])[:2]
    return [f"way on    {check.value}: {WAYS_ON[check]}" for check in most]


def share_text(share: Mapping[str, Any]) -> list[str]:
    """Say the share of blasts, as `Counted.share_facts` gives it, in a line; none of no cells."""
    if share["share"] is None:
        return [f"blasts    no share: {share['reason']}"] if share["n"] else []
    return [
        f"blasts    {share['share']:.1%} of {share['n']} cells called blast or normal, exact 95 % interval"
        f" {share['low']:.1%} to {share['high']:.1%}"
    ]


def counting_text(facts: Mapping[str, Any]) -> list[str]:
    """Say the same in lines."""
    counted, corrected, precision = (
        facts[name] for name in ("differential", "corrected_blast_share", "precision")
    )
    lines = []
    if counted["reason"] is not None:
        lines.append(f"shares    none: {counted['reason']}")
    elif counted["n"]:
        shares = (
            f"{counted[name]['share']:.1%} {name} ({counted[name]['low']:.1%} to {counted[name]['high']:.1%})"
            for name in DECISIONS
            # Without a head for kinds there are no others.
            if name != "other" or counted[name]["count"]
        )
        lines.append(f"shares    of {counted['n']} cells: " + ", ".join(shares) + ", exact 95 % intervals")
    if corrected["share"] is None:
        lines.append(f"corrected none: {corrected['reason']}")
    else:
        rates = [
            f"{name} {corrected[name]['share']:.1%}, known as from {corrected[name]['effective']:.0f} cells"
            for name in ("sensitivity", "specificity")
        ]
        lines.append(
            f"corrected {corrected['share']:.1%} blasts of {corrected['n']} cells like the training cells,"
            f" 95 % interval {corrected['low']:.1%} to {corrected['high']:.1%}, if held-out cells are like"
            f" these ({'; '.join(rates)})"
        )
    if precision["half_width_points"] is not None:
        lines.append(_precision_text(precision))
    if facts.get("white_cells") is not None:
        lines += differential_text(msgspec.convert(facts["white_cells"], DifferentialCount))
    if facts.get("corrected_white_cells") is not None:
        lines += corrected_text(msgspec.convert(facts["corrected_white_cells"], CorrectedWhiteCells))
    return lines


def _precision_text(precision: Mapping[str, Any]) -> str:
    """Say how well a share of blasts is known, and how many more cells it takes."""
    needed, white = precision["cells_needed"], precision.get("of") == "white"
    cells, of_white = ("white cells", " of blasts among white cells") if white else ("cells", "")
    more = f"about {needed:,} more {cells}" if needed else f"no more {cells} are needed"
    half_width, points = precision["half_width_points"], precision["points"]
    return f"precision +-{half_width:.1f} points{of_white}; {more} for +-{points:g}"


def _corrected_facts(counted: Counted, called: Called | None, error: KnownError | str) -> dict[str, Any]:
    found: tuple[float, float, float] | str
    if isinstance(error, str):
        found = error
    elif called is None:
        found = "no cell like the training cells has a probability"
    else:
        found = counted.no_share or _too_few(called) or corrected_share(called, error)
    if isinstance(found, str) or called is None or isinstance(error, str):
        n = 0 if called is None else called.total
        return {"share": None, "low": None, "high": None, "n": n, "reason": found}
    share, low, high = found
    return {
        "share": share,
        "low": low,
        "high": high,
        "n": called.total,
        "positive": called.positive,
        "reason": None,
        **error.to_json(),
    }


def _precision_facts(counted: Counted, until_points: float | None, of: ShareOf) -> dict[str, Any]:
    points = DEFAULT_POINTS if until_points is None else until_points
    facts = {"until_points": until_points, "points": points, "of": of}
    blasts, reason = _blasts_of(counted, of)
    if reason is not None:
        return facts | {"half_width_points": None, "cells_needed": None, "reason": reason}
    needed = cells_needed(blasts, points)
    return facts | {"half_width_points": half_width_points(blasts), "cells_needed": needed, "reason": None}


def _share_facts(share: Proportion, reason: str | None) -> dict[str, object]:
    if reason is not None:
        return {"share": None, "low": None, "high": None}
    return {"share": share.share, "low": share.low, "high": share.high}


def _too_few(called: Called) -> str | None:
    if called.total == 0:
        return "no cell like the training cells has a probability"
    if called.total >= LEAST_CELLS:
        return None
    return f"only {called.total} cells are like the training cells, {LEAST_CELLS} or more are needed"


def _is_foreign(reason: str | None) -> bool:
    return reason is not None and check_of(reason) in FOREIGN


def _clipped(share: float) -> float:
    return min(1.0, max(0.0, share))
