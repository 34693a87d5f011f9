"""What a network may lose before it is refused, and what is said when nobody can know yet."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeleuk.bundle.manifest import Struct
from edgeleuk.io.settings import load_settings
from edgeleuk.results import Proportion

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import Literal

    import numpy.typing as npt

    Word = Literal["pass", "fail", "undecided"]

# On fewer cells than this, a single one is more than the point that a metric may drop.
LEAST_CELLS = 100
# Of each class: how subjects differ cannot be told from fewer.
LEAST_GROUPS = 3
DROPS = {"weighted_f1": "weighted F1", "sensitivity": "sensitivity"}
# Closer to its limit than this a drop would need more images than there are.
LEAST_ROOM = 1e-4


class AcceptanceLimits(Struct, frozen=True):
    """What an int8 network may lose, all as shares: 0.01 is one point, or one cell in a hundred.

    Attributes
    ----------
    weighted_f1_drop, sensitivity_drop : float
        For the drop itself and for its upper 95 % bound.
    flips : float
        Share of cells whose decision differs.
    probability_change : float
        Of any single cell.
    """

    weighted_f1_drop: float = 0.01
    sensitivity_drop: float = 0.01
    flips: float = 0.01
    probability_change: float = 0.15

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if not 0 <= value <= 1:
                msg = f"expected {name} from 0 to 1, got {value}"
                raise ValueError(msg)


class _File(Struct, frozen=True):
    limits: AcceptanceLimits = AcceptanceLimits()


@dataclass(frozen=True, slots=True)
class Finding:
    """One limit that is not kept.

    Attributes
    ----------
    fails : bool
        Else it is undecided.
    reason : str
        Which limit, got, allowed, of which network.
    images_needed : int
        About how many more images would decide it; 0 where it fails.
    """

    fails: bool
    reason: str
    images_needed: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """How much there is to judge by.

    Attributes
    ----------
    cells, groups : (normal, blast)
        Groups with cells of both classes count in both.
    """

    cells: tuple[int, int]
    groups: tuple[int, int]

    @classmethod
    def of(cls, truth: npt.NDArray[np.bool_], group: npt.NDArray[np.str_]) -> Held:
        """Count cells; `truth` is True for a blast."""
        sides = (~truth, truth)
        cells = [int(np.count_nonzero(side)) for side in sides]
        groups = [len(np.unique(group[side])) for side in sides]
        return cls((cells[0], cells[1]), (groups[0], groups[1]))

    @property
    def enough(self) -> bool:
        """Whether a share of one in a hundred, and its bound, mean anything."""
        return min(self.cells) >= LEAST_CELLS and min(self.groups) >= LEAST_GROUPS


def load_limits(file: Path | None) -> AcceptanceLimits:
    """Read the table ``[limits]`` of a TOML file; what it does not set is as `AcceptanceLimits` has it.

    The table was called ``[gate]`` before, and still may be.
    ``EDGELEUK_*`` variables are settings of the device and mean nothing here.

    Raises
    ------
    UsageError
        An unknown key (with its line), a value of the wrong kind or out of range, no TOML.
    """
    renamed = {"gate": "limits"}
    return load_settings(_File, file=file, environ={}, command="validate", renamed=renamed).limits


def quantization_findings(
    models: Mapping[str, Mapping[str, Any]], limits: AcceptanceLimits, held: Held
) -> list[Finding]:
    """Hold every int8 network to the limits.

    A drop over its limit fails; a drop within it whose upper 95 % bound is over it is undecided. The share of
    flips is compared as it was measured, and so is the largest change of a probability: over its limit it
    fails. Where the cells are too few for shares of one in a hundred, drops over their limit are undecided
    too, and flips fail only when the lower end of their exact 95 % interval is over the limit.

    Parameters
    ----------
    models : mapping
        Key of each int8 network to its `paired_facts`.
    limits : AcceptanceLimits
    held : Held
    """
    findings = few_findings(held)
    for key, facts in models.items():
        findings += drop_findings(key, facts, limits, held)
        flips, rate, allowed = facts["flips"], facts["flip_rate"], limits.flips
        if not rate <= allowed:
            certain = held.enough or Proportion(flips, sum(held.cells)).low > allowed
            reason = f"{key}: {flips} of {sum(held.cells):,} decisions flip, {_percent(rate)}"
            findings.append(Finding(certain, f"{reason}, allowed {_percent(allowed)}"))
        change, allowed = facts["max_probability_change"], limits.probability_change
        if not change <= allowed:
            reason = f"{key}: the probability of {facts['most_changed']['file']} moves by {change:.3f}"
            findings.append(Finding(True, f"{reason}, allowed {allowed:g}"))
    return findings


def drop_findings(key: str, facts: Mapping[str, Any], limits: AcceptanceLimits, held: Held) -> list[Finding]:
    """Hold the drops of weighted F1 and sensitivity, and their bounds, to their limits.

    Parameters
    ----------
    key : str
        The network, as reasons name it.
    facts : mapping
        From `paired_facts`.
    """
    findings = []
    for metric, title in DROPS.items():
        limit = getattr(limits, f"{metric}_drop")
        drop, bound = facts[f"{metric}_drop"], facts[f"{metric}_drop_upper_95"]
        allowed = f"allowed {_points(limit)}"
        # `not <=` also catches NaN.
        if not drop <= limit:
            reason = f"{key}: {title} drops by {_points(drop)} points, {allowed}"
            findings.append(Finding(held.enough, reason))
        elif not bound <= limit:
            needed = images_needed(sum(held.cells), drop, bound, limit)
            reason = f"{key}: {title} drops by {_points(drop)} points, but it may be {_points(bound)}"
            findings.append(Finding(False, f"{reason} (upper 95 % bound), {allowed}", needed))
    return findings


def few_findings(held: Held) -> list[Finding]:
    """Say where there are too few cells, or too few groups, to judge by."""
    if held.enough:
        return []
    needed = 0
    for cells, groups in zip(held.cells, held.groups, strict=True):
        of_groups = (LEAST_GROUPS - groups) * (cells / groups if groups else LEAST_CELLS / LEAST_GROUPS)
        needed += max(0, LEAST_CELLS - cells, ceil(of_groups))
    normal, blast = (
        f"{cells} {label} cells of {groups} groups"
        for cells, groups, label in zip(held.cells, held.groups, ("normal", "blast"), strict=True)
    )
    reason = (
        f"too few held-out cells to judge by: got {normal} and {blast},"
        f" allowed {LEAST_CELLS} of {LEAST_GROUPS} groups or more for each class"
    )
    return [Finding(False, reason, needed)]


def images_needed(cells: int, drop: float, bound: float, limit: float) -> int:
    """Estimate how many more held-out images would bring a drop's bound within its limit.

    The distance of the bound from the drop is what chance leaves of groups like these, and shrinks as
    ``1 / sqrt(cells)`` as long as new cells come in new groups of the present size. It has to shrink from
    ``bound - drop`` to ``limit - drop``, so that ``cells * ((bound - drop) / (limit - drop))**2`` are needed
    in all. The drop is taken to stay what it is, so this tells the order of magnitude alone.

    Parameters
    ----------
    cells : int
        Judged now.
    drop, bound, limit : float
        ``drop <= limit < bound``.

    Examples
    --------
    >>> images_needed(1000, 0.0, 0.02, 0.01)
    3000
    """
    ratio = (bound - drop) / max(limit - drop, LEAST_ROOM)
    return max(1, ceil(cells * (ratio * ratio - 1)))


def settle(findings: Iterable[Finding], limits: AcceptanceLimits) -> dict[str, Any]:
    """Turn findings into the keys ``verdict reasons images_needed limits``.

    One that fails decides; else one that is undecided does, and as many images are needed as the one that
    needs the most (to two digits, upwards; null unless undecided).
    """
    found: Sequence[Finding] = list(findings)
    verdict: Word = "fail" if any(one.fails for one in found) else "undecided" if found else "pass"
    needed = max((one.images_needed for one in found), default=0)
    return {
        "verdict": verdict,
        "reasons": [one.reason for one in sorted(found, key=lambda one: not one.fails)],
        "images_needed": _two_digits(needed) if verdict == "undecided" and needed else None,
        "limits": msgspec.structs.asdict(limits),
    }


def verdict_text(result: Mapping[str, Any]) -> str:
    """Say the verdict in a line, its reasons below."""
    return "\n".join([f"verdict: {verdict_words(result)}", *(f"  {one}" for one in result["reasons"])])


def verdict_words(result: Mapping[str, Any]) -> str:
    """Return ``pass``, ``fail``, or ``undecided: about N more images needed``."""
    needed = result["images_needed"]
    words: str = result["verdict"]
    return words + (f": about {needed:,} more images needed" if needed else "")


def _points(share: float) -> str:
    return f"{100 * share:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _two_digits(number: int) -> int:
    step: int = 10 ** max(0, floor(log10(number)) - 1)
    return ceil(number / step) * step
