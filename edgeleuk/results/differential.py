"""The objects of a differential count that commands print as JSON."""

from __future__ import annotations

from edgeleuk.results.structs import CountedShare, Interval, Printed


class WhiteCells(Printed, frozen=True, kw_only=True):
    """The nucleated white cells by kind: shares of all `n` that were called, or why none is told.

    The intervals are simultaneous: in 95 of 100 counts all shares are inside.
    """

    n: int
    reason: str | None
    kinds: dict[str, CountedShare]


class ShareOfCells(CountedShare, frozen=True, kw_only=True):
    """A share of `n` cells with its exact 95 % interval, or why it is not told."""

    n: int
    reason: str | None


class Erythroblasts(Printed, frozen=True, kw_only=True):
    """Erythroblasts, which are in no denominator, and per 100 white cells; None of no white cell."""

    count: int
    per_100_white_cells: float | None


class DifferentialCount(Printed, frozen=True, kw_only=True):
    """A differential count, and blasts in per cent of the white cells, beside those of lymphoid cells.

    `uncertain` cells, `erythroblasts` and what is `beside` are in no denominator.
    """

    white_cells: WhiteCells
    blasts_of_white_cells: ShareOfCells
    blasts_of_lymphoid_cells: ShareOfCells
    uncertain: int
    erythroblasts: Erythroblasts
    beside: dict[str, int]


class CorrectedWhiteCells(Printed, frozen=True, kw_only=True):
    """The shares of `n` white cells, corrected for known confusions, or why they are not.

    `effective` tells for each true kind how many independent held-out cells the confusions are known from.
    """

    n: int
    reason: str | None
    kinds: dict[str, Interval]
    effective: dict[str, float]
