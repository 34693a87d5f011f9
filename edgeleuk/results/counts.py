"""Cells counted: how many are called what, and the share of blasts among them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from edgeleuk.results.binomial import clopper_pearson
from edgeleuk.results.cells import Decision
from edgeleuk.results.kinds import NOT_WHITE, Kind
from edgeleuk.results.reasons import FOREIGN, NOT_JUDGED, Check, check_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


# Of foreign cells among all, the share above which no share of blasts is told.
MOST_FOREIGN = 0.2
_Named = TypeVar("_Named", Check, Kind)


@dataclass(frozen=True, slots=True)
class Proportion:
    """A share of counted things, with its exact binomial (Clopper-Pearson) 95 % interval.

    Source: Clopper and Pearson, "The use of confidence or fiducial limits", Biometrika 26 (1934).

    Attributes
    ----------
    count, total : int
        0 <= count <= total.

    Examples
    --------
    >>> share = Proportion(20, 100)
    >>> share.share, round(share.low, 3), round(share.high, 3)
    (0.2, 0.127, 0.292)
    """

    count: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.count <= self.total:
            msg = f"expected 0 <= count <= total, got {self.count} of {self.total}"
            raise ValueError(msg)

    @property
    def share(self) -> float | None:
        """The estimate; None of nothing."""
        return self.count / self.total if self.total else None

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return clopper_pearson(self.count, self.total)[0]

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return clopper_pearson(self.count, self.total)[1]


@dataclass(frozen=True, slots=True)
class Counted:
    """Cells, each counted once.

    Attributes
    ----------
    blast, normal, uncertain : int
        Of the cells that may be blasts, and of those that nothing is known of.
    doubts : mapping of Check to int
        Why the uncertain ones are.
    kinds : mapping of Kind to int
        The cells of other kinds.
    """

    blast: int = 0
    normal: int = 0
    uncertain: int = 0
    doubts: Mapping[Check, int] = field(default_factory=dict)
    kinds: Mapping[Kind, int] = field(default_factory=dict)

    @property
    def other(self) -> int:
        """Cells of other kinds."""
        return sum(self.kinds.values())

    @property
    def total(self) -> int:
        """All of them."""
        return self.blast + self.normal + self.other + self.uncertain

    @property
    def white(self) -> int:
        """Nucleated white cells whose kind is known."""
        return self.blast + self.normal + sum(n for kind, n in self.kinds.items() if kind not in NOT_WHITE)

    @property
    def foreign(self) -> int:
        """Those unlike the cells that the network was trained with."""
        return sum(self.doubts.get(check, 0) for check in FOREIGN)

    @property
    def no_share(self) -> str | None:
        """Why no share of blasts among the lymphoid cells may be told; None where one may."""
        return self._too_foreign(self.total - self.other)

    @property
    def no_white_share(self) -> str | None:
        """Why no share of all white cells may be told; None where one may."""
        return self._too_foreign(self.total)

    def _too_foreign(self, cells: int) -> str | None:
        judged = cells - sum(self.doubts.get(check, 0) for check in NOT_JUDGED)
        if self.foreign <= MOST_FOREIGN * judged:
            return None
        why = doubts_text({check: n for check, n in self.doubts.items() if check in FOREIGN})
        return (
            f"{self.foreign} of {judged} cells are unlike the training cells ({why}), more than"
            f" {MOST_FOREIGN:.0%}"
        )

    def share_facts(self) -> dict[str, object]:
        """Return the share of blasts among the cells called blast or normal, as JSON.

        Uncertain cells are in neither number. ``share``, ``low`` and ``high`` are None where `no_share` tells
        a reason, or where no cell was called either.
        """
        of = Proportion(self.blast, self.blast + self.normal)
        reason = self.no_share or (None if of.total else "no cell was called blast or normal")
        if reason is not None:
            return {"share": None, "low": None, "high": None, "n": of.total, "reason": reason}
        return {"share": of.share, "low": of.low, "high": of.high, "n": of.total, "reason": None}

    def text(self) -> str:
        """Say the counts in words."""
        return cells_text(self.to_json())

    def to_json(self) -> dict[str, object]:
        """Return how many of each there are, and why the uncertain ones are."""
        return {
            "blast": self.blast,
            "normal": self.normal,
            "other": self.other,
            "uncertain": self.uncertain,
            "other_by_kind": {kind.value: n for kind, n in _frequent_first(self.kinds)},
            "uncertain_by_reason": {check.value: n for check, n in _frequent_first(self.doubts)},
        }


def counted_of(cells: Iterable[tuple[str, str | None, str | None]]) -> Counted:
    """Count cells by what they were called: the uncertain ones by why, the others by their kind.

    Parameters
    ----------
    cells : iterable of (decision, reason, kind)

    Examples
    --------
    >>> cells = [("blast", None, None), ("other", None, "band"), ("uncertain", "area 9 um2 is outside", None)]
    >>> counted_of(cells).text()
    '1 blast, 0 normal, 1 other (band 1), 1 uncertain (area 1)'
    """
    decisions: Counter[str] = Counter()
    doubts: Counter[Check] = Counter()
    kinds: Counter[Kind] = Counter()
    for decision, reason, kind in cells:
        decisions[decision] += 1
        if decision == Decision.UNCERTAIN:
            doubts[check_of(reason)] += 1
        elif decision == Decision.OTHER:
            kinds[Kind(kind)] += 1
    return Counted(
        decisions[Decision.BLAST], decisions[Decision.NORMAL], decisions[Decision.UNCERTAIN], doubts, kinds
    )


def cells_text(counts: Mapping[str, Any]) -> str:
    """Say how many cells were called what, and why the uncertain ones are; of `Counted.to_json`'s numbers.

    Examples
    --------
    >>> cells_text({"blast": 3, "normal": 9, "uncertain": 4, "uncertain_by_reason": {"area": 4}})
    '3 blast, 9 normal, 4 uncertain (area 4)'
    """
    why = _in_brackets(counts["uncertain_by_reason"])
    kinds = _in_brackets(counts.get("other_by_kind", {}))
    of_kinds = f", {counts['other']} other{kinds}" if kinds else ""
    return (
        f"{counts['blast']} blast, {counts['normal']} normal{of_kinds}, {counts['uncertain']} uncertain{why}"
    )


def _in_brackets(counts: Mapping[str, int]) -> str:
    return f" ({', '.join(f'{name} {n}' for name, n in counts.items())})" if counts else ""


def doubts_text(doubts: Mapping[Check, int]) -> str:
    """List reasons with their counts, the most frequent first.

    Examples
    --------
    >>> doubts_text({Check.AREA: 12, Check.COLOUR: 21})
    'colour 21, area 12'
    """
    return ", ".join(f"{check.value} {n}" for check, n in _frequent_first(doubts))


def _frequent_first(counts: Mapping[_Named, int]) -> list[tuple[_Named, int]]:
    """Sort by count; of equal ones the first in the order of their class comes first."""
    order = [*Check, *Kind]
    found = [(name, n) for name, n in counts.items() if n]
    return sorted(found, key=lambda item: (-item[1], order.index(item[0])))
