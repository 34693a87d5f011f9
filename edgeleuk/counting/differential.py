"""The differential count: white cells by kind, and blasts in per cent of them.

Counts and intervals, never what they mean for anybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk.counting.multinomial import simultaneous_intervals
from edgeleuk.results import Proportion
from edgeleuk.results.kinds import BLAST, NORMAL, NOT_WHITE, Kind
from edgeleuk.results.structs import CountedShare, DifferentialCount, Erythroblasts, ShareOfCells, WhiteCells

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgeleuk.results import Counted

UNCERTAIN = "uncertain"
# Of fewer cells no share is corrected: the known error would be most of what it tells.
LEAST_CELLS = 20
# The white cells as a laboratory's sheet lists them.
WHITE_KINDS = (
    BLAST,
    Kind.IMMATURE_GRANULOCYTE.value,
    Kind.BAND.value,
    Kind.NEUTROPHIL.value,
    Kind.EOSINOPHIL.value,
    Kind.BASOPHIL.value,
    Kind.MONOCYTE.value,
    Kind.LYMPHOCYTE.value,
)
# Names under which a cell may be counted, and what it is counted as.
_COUNTED_AS = {
    **{name: name for name in WHITE_KINDS},
    **{kind.value: kind.value for kind in NOT_WHITE},
    NORMAL: Kind.LYMPHOCYTE.value,
    # It is lymphoid, but nobody knows whether it is a blast.
    Kind.BLAST_LIKE.value: UNCERTAIN,
    UNCERTAIN: UNCERTAIN,
}
_NO_WHITE_CELL = "no white cell was called"
_NO_LYMPHOID_CELL = "no cell was called blast or lymphocyte"


def final_counts(counted: Counted) -> dict[str, int]:
    """Return a session's counts by final name: a normal lymphoid cell is a lymphocyte.

    Examples
    --------
    >>> from edgeleuk.results import Counted
    >>> final_counts(Counted(blast=3, normal=9, uncertain=4, kinds={Kind.BAND: 2}))
    {'blast': 3, 'lymphocyte': 9, 'uncertain': 4, 'band': 2}
    """
    return {
        BLAST: counted.blast,
        Kind.LYMPHOCYTE.value: counted.normal,
        UNCERTAIN: counted.uncertain,
        **{kind.value: count for kind, count in counted.kinds.items()},
    }


def differential(
    counts: Mapping[str, int],
    *,
    asked: Iterable[str] = (),
    no_white_share: str | None = None,
    no_lymphoid_share: str | None = None,
) -> DifferentialCount:
    """Make a differential count from counts by final name.

    Parameters
    ----------
    counts : mapping of str to int
        By ``blast``, a kind, or ``uncertain``. ``normal`` is counted as ``lymphocyte``, and ``blast-like`` as
        ``uncertain``: as long as nobody knows whether it is a blast it is in no share.
    asked : iterable of str
        Kinds that could have been called: they are listed without a cell too, and the intervals reckon with
        them. Those of the counts are always asked for; so are ``blast`` and ``lymphocyte``.
    no_white_share, no_lymphoid_share : str, optional
        Why no share of the white cells, or of the lymphoid cells, may be told; see `Counted.no_white_share`
        and `Counted.no_share`.

    Returns
    -------
    DifferentialCount

    Raises
    ------
    ValueError
        If a name is unknown, or a count is below 0.

    Examples
    --------
    >>> facts = differential({"blast": 5, "lymphocyte": 45, "neutrophil": 50, "erythroblast": 4})
    >>> facts.blasts_of_white_cells.share, facts.blasts_of_lymphoid_cells.share
    (0.05, 0.1)
    >>> facts.erythroblasts.per_100_white_cells
    4.0
    """
    of_name = by_final_name(counts)
    known = {_counted_as(name) for name in asked} | set(of_name) | {BLAST, Kind.LYMPHOCYTE.value}
    white = {name: of_name.get(name, 0) for name in WHITE_KINDS if name in known}
    n = sum(white.values())
    blasts = of_name.get(BLAST, 0)
    lymphoid = blasts + of_name.get(Kind.LYMPHOCYTE.value, 0)
    reason = no_white_share or (None if n else _NO_WHITE_CELL)
    no_lymphoid = no_lymphoid_share or (None if lymphoid else _NO_LYMPHOID_CELL)
    erythroblasts = of_name.get(Kind.ERYTHROBLAST.value, 0)
    return DifferentialCount(
        white_cells=WhiteCells(n=n, reason=reason, kinds=_shares(white, told=reason is None)),
        blasts_of_white_cells=_share(Proportion(blasts, n), reason),
        blasts_of_lymphoid_cells=_share(Proportion(blasts, lymphoid), no_lymphoid),
        uncertain=of_name.get(UNCERTAIN, 0),
        erythroblasts=_erythroblasts(erythroblasts, n, reason),
        beside={
            kind.value: of_name[kind.value]
            for kind in Kind
            if kind in NOT_WHITE and kind is not Kind.ERYTHROBLAST and of_name.get(kind.value)
        },
    )


def differential_text(facts: DifferentialCount) -> list[str]:
    """Say a differential count in lines: a table of the white cells, then what is in no share.

    Examples
    --------
    >>> for line in differential_text(differential({"blast": 5, "lymphocyte": 45, "neutrophil": 50})):
    ...     print(line)
    white     100 cells; their shares with simultaneous 95 % intervals
              blast        5   5.0%   1.2% to 12.8%
              neutrophil  50  50.0%  37.7% to 62.3%
              lymphocyte  45  45.0%  33.0% to 57.4%
    blasts    5.0% of 100 white cells, exact 95 % interval 1.6% to 11.3%
    blasts    10.0% of 50 lymphoid cells, exact 95 % interval 3.3% to 21.8%
    """
    white = facts.white_cells
    if white.reason is not None:
        lines = [f"white     {white.n} cells; no shares: {white.reason}"]
    else:
        lines = [f"white     {white.n} cells; their shares with simultaneous 95 % intervals"]
    lines += _table([(name, *_cells_of(of)) for name, of in white.kinds.items() if white.n])
    for share, of in ((facts.blasts_of_white_cells, "white"), (facts.blasts_of_lymphoid_cells, "lymphoid")):
        lines.append(_share_line(share, of))
    if facts.uncertain:
        lines.append(f"uncertain {facts.uncertain} cells, in no share")
    beside = [f"{count} {name}" for name, count in facts.beside.items()]
    erythroblasts = facts.erythroblasts
    if erythroblasts.count:
        per_100 = erythroblasts.per_100_white_cells
        in_brackets = "" if per_100 is None else f" ({per_100:.1f} per 100 white cells)"
        beside.insert(0, f"{erythroblasts.count} {Kind.ERYTHROBLAST.value}{in_brackets}")
    if beside:
        lines.append(f"beside    {', '.join(beside)}; in no share")
    return lines


def by_final_name(counts: Mapping[str, int]) -> dict[str, int]:
    """Add up what is counted under one name: see `differential`.

    Raises
    ------
    ValueError
        If a name is unknown, or a count is below 0.

    Examples
    --------
    >>> by_final_name({"normal": 4, "lymphocyte": 5, "blast-like": 1})
    {'lymphocyte': 9, 'uncertain': 1}
    """
    found: dict[str, int] = {}
    for name, count in counts.items():
        if count < 0:
            msg = f"expected counts of 0 or more, got {count} of {name}"
            raise ValueError(msg)
        counted_as = _counted_as(name)
        found[counted_as] = found.get(counted_as, 0) + count
    return found


def _counted_as(name: str) -> str:
    try:
        # A kind is a string, whose own name is its value.
        return _COUNTED_AS[name]
    except KeyError:
        msg = f"expected one of {', '.join(_COUNTED_AS)}, got {name}"
        raise ValueError(msg) from None


def _shares(counts: Mapping[str, int], *, told: bool) -> dict[str, CountedShare]:
    if not told:
        return {
            name: CountedShare(count=count, share=None, low=None, high=None) for name, count in counts.items()
        }
    total = sum(counts.values())
    intervals = simultaneous_intervals(list(counts.values()))
    return {
        name: CountedShare(count=count, share=count / total, low=low, high=high)
        for (name, count), (low, high) in zip(counts.items(), intervals, strict=True)
    }


def _erythroblasts(count: int, white_cells: int, reason: str | None) -> Erythroblasts:
    """Return their ratio to white cells; it is the odds of a share, and so is its interval."""
    if reason is not None:
        return Erythroblasts(count=count, per_100_white_cells=None)
    share = Proportion(count, count + white_cells)
    low, high = (100 * end / (1 - end) for end in (share.low, share.high))
    return Erythroblasts(count=count, per_100_white_cells=100 * count / white_cells, low=low, high=high)


def _share(of: Proportion, reason: str | None) -> ShareOfCells:
    if reason is not None:
        return ShareOfCells(count=of.count, n=of.total, share=None, low=None, high=None, reason=reason)
    return ShareOfCells(count=of.count, n=of.total, share=of.share, low=of.low, high=of.high, reason=None)


def _cells_of(of: CountedShare) -> tuple[str, str, str, str]:
    if of.share is None:
        return str(of.count), "", "", ""
    return str(of.count), f"{of.share:.1%}", f"{of.low:.1%}", f"to {of.high:.1%}"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Align rows: the name to the left, figures to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for name, count, share, low, high in rows:
        text = f"{name:<{widths[0]}}  {count:>{widths[1]}}"
        if share:
            text += f"  {share:>{widths[2]}}  {low:>{widths[3]}} {high}"
        lines.append(" " * 10 + text)
    return lines


def _share_line(share: ShareOfCells, of: str) -> str:
    if share.share is None:
        return f"blasts    no share of {of} cells: {share.reason}"
    return (
        f"blasts    {share.share:.1%} of {share.n} {of} cells, exact 95 % interval {share.low:.1%} to"
        f" {share.high:.1%}"
    )
