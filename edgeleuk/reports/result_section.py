"""The first page: whose session it is, what was counted, and how good light, focus and stain were."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from edgeleuk.io.console import printable
from edgeleuk.io.page import described, row, section, table
from edgeleuk.reports.charts import SharedBar, interval_bars
from edgeleuk.results import DECISIONS
from edgeleuk.results.kinds import NORMAL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeleuk.reports.beside import Estimate, MeasureRow, Quality, Reviewed
    from edgeleuk.reports.facts import SessionFacts
    from edgeleuk.results.structs import (
        BlastShare,
        CorrectedShare,
        CountedShare,
        Differential,
        DifferentialCount,
        Interval,
        ShareOfCells,
    )

NOT_RECORDED = "not recorded"


def result(facts: SessionFacts, quality: Quality, reviewed: Reviewed | str) -> str:
    """Return the section of the result."""
    return section(
        "Result",
        _whose(facts),
        _differential(facts, reviewed),
        _blasts(facts, reviewed),
        _conditions(facts, quality),
    )


def _whose(facts: SessionFacts) -> str:
    report, settings = facts.report, facts.settings
    times = f"{_second(report.first_frame)} to {_second(report.last_frame, report.first_frame)} UTC"
    scale = facts.summary.get("px_per_um") or settings.get("px_per_um")
    device = [
        f"edgeleuk {report.edgeleuk or 'of an unknown version'}",
        *(f"{settings[name]}" for name in ("runtime", "precision") if settings.get(name)),
    ]
    lines = {
        "Sample": facts.sample or NOT_RECORDED,
        "Operator": facts.operator or NOT_RECORDED,
        "Recorded": times if report.first_frame else "no frame was recorded",
        "Camera": report.camera or NOT_RECORDED,
        "Device": ", ".join(device),
        "Scale": f"{scale:.2f} px/um" if isinstance(scale, float) else "by the red cells, or unknown",
        "Bundle": f"{report.bundle}, sha256 {str(report.bundle_sha256)[:16]}",
        "Record": _chain(facts),
    }
    if facts.notes:
        lines["Notes"] = f"{len(facts.notes)}, at the end of the evidence"
    return described({name: escape(printable(text)) for name, text in lines.items()}, css="two")


def _chain(facts: SessionFacts) -> str:
    chain = facts.report.chain
    if chain is None:
        return "without a hash chain: an earlier version recorded it"
    if chain.broken is not None:
        return f"CHANGED after {chain.links} links: {chain.broken}"
    return f"{chain.links} links, all sound; the last is {chain.head[:16]}"


def _differential(facts: SessionFacts, reviewed: Reviewed | str) -> str:
    report = facts.report
    white: DifferentialCount | None = report.white_cells
    if white is not None:
        shares: Mapping[str, CountedShare] = white.white_cells.kinds
        n, reason = white.white_cells.n, white.white_cells.reason
        what, intervals = "white cells by kind", "simultaneous 95 % intervals"
    else:
        shares = _of_decisions(report.differential)
        n, reason = report.differential.n, report.differential.reason
        what, intervals = "cells by what they were called", "exact 95 % intervals, each by itself"
    shares = {name: share for name, share in shares.items() if share.count or name in {"blast", "lymphocyte"}}
    told = reason is None and n > 0
    caption = f"{n:,} {what}" + (f"; {intervals}" if told else "")
    corrected = report.corrected_white_cells
    counts = _counts_table(shares, caption, reviewed, {} if corrected is None else corrected.kinds)
    if told:
        parts = [f'<div class="pair">{counts}\n{_bars(shares, what)}</div>']
    else:
        parts = [counts, f"<p><strong>No shares:</strong> {escape(reason or 'no cell was counted')}.</p>"]
    parts.append(f'<p class="note">{escape(_review_text(reviewed))} {escape(_in_no_share(facts))}</p>')
    if corrected is not None and corrected.reason is not None and told:
        why = escape(printable(corrected.reason))
        parts.append(f'<p class="note">Not corrected for confusions of kinds: {why}.</p>')
    return "<h3>Differential</h3>\n" + "\n".join(parts)


def _of_decisions(of: Differential) -> dict[str, CountedShare]:
    return {name: getattr(of, name) for name in DECISIONS}


def _counts_table(
    shares: Mapping[str, CountedShare],
    caption: str,
    reviewed: Reviewed | str,
    corrected: Mapping[str, Interval],
) -> str:
    head = ["", "machine", "share", "95 % interval", *(["corrected"] if corrected else [])]
    after: dict[str, tuple[int, Estimate]] = {}
    if not isinstance(reviewed, str):
        head += ["after review", "95 % interval"]
        caption = f"{caption}. After review: cells of this session"
        # Of a bundle that tells no kinds, a lymphocyte is called normal.
        renamed = {"lymphocyte": NORMAL} if NORMAL in shares else {}
        after = {renamed.get(name, name): of for name, of in reviewed.counts.items()}
    rows = []
    # A person may have found what the machine did not call.
    for name in (*shares, *(name for name in after if name not in shares)):
        of = shares.get(name)
        cells = [f"{after[name][0]:,}", "", ""] if of is None else _counted(of)
        if corrected:
            cells.append(_corrected(corrected.get(name)))
        more = [] if isinstance(reviewed, str) else _estimated(after[name][1] if name in after else None)
        rows.append(row([escape(name), *cells, *more]))
    return table(head, rows, caption=caption)


def _corrected(of: Interval | None) -> str:
    if of is None or of.share is None or of.low is None or of.high is None:
        return ""
    return f"{of.share:.1%} ({of.low:.1%} to {of.high:.1%})"


def _counted(of: CountedShare) -> list[str]:
    return [f"{of.count:,}", *_written(of.share, of.low, of.high)]


def _estimated(of: Estimate | None) -> list[str]:
    if of is None or of.value is None or of.low is None or of.high is None:
        return ["", ""]
    return [f"{of.value:,.0f}", f"{of.low:,.0f} to {of.high:,.0f}"]


def _written(share: float | None, low: float | None, high: float | None) -> list[str]:
    if share is None or low is None or high is None:
        return ["", ""]
    return [f"{share:.1%}", f"{low:.1%} to {high:.1%}"]


def _bars(shares: Mapping[str, CountedShare], what: str) -> str:
    bars = [
        SharedBar(name, of.share, of.low, of.high)
        for name, of in shares.items()
        if of.share is not None and of.low is not None and of.high is not None
    ]
    return interval_bars(bars, f"Shares of {what} with their intervals; the table above has the numbers")


def _review_text(reviewed: Reviewed | str) -> str:
    if isinstance(reviewed, str):
        return printable(f"These are the machine's counts: {reviewed}.")
    readers = ", ".join(reviewed.readers) or "nobody named"
    looked = f"Reviewed: {reviewed.looked_at:,} of {reviewed.cells:,} cells, by {readers}."
    return printable(" ".join([looked, *reviewed.notes]))


def _in_no_share(facts: SessionFacts) -> str:
    """Say which cells are in no share of the table."""
    cells, white = facts.report.cells, facts.report.white_cells
    parts = []
    if white is not None:
        if white.uncertain:
            parts.append(f"{white.uncertain:,} uncertain")
        if white.erythroblasts.count:
            per = white.erythroblasts.per_100_white_cells
            parts.append(
                f"{white.erythroblasts.count:,} erythroblasts"
                + ("" if per is None else f" ({per:.1f} per 100 white cells)")
            )
        parts += [f"{count:,} {name}" for name, count in white.beside.items()]
    in_no_share = f"In no share: {', '.join(parts)}." if parts else ""
    return (
        f"{in_no_share} Cells were counted once each: {cells.detected:,} sightings, {cells.seen_before:,} of"
        f" cells seen before, {cells.excluded:,} not judged (cut, or dust)."
    ).strip()


def _blasts(facts: SessionFacts, reviewed: Reviewed | str) -> str:
    report = facts.report
    told = None if isinstance(reviewed, str) else reviewed
    rows: list[tuple[str, ShareOfCells | BlastShare | CorrectedShare, Estimate | None]] = []
    if (white := report.white_cells) is not None:
        rows.append(("of white cells", white.blasts_of_white_cells, told and told.of_white))
    of_called = "of cells called blast or normal"
    rows.append((of_called, report.blast_share, told and told.of_lymphoid))
    corrected = "the same, corrected for known error"
    rows.append((corrected, report.corrected_blast_share, None))
    cells: list[str] = []
    reasons: dict[str, None] = {}
    for title, of, after in rows:
        said = _written(of.share, of.low, of.high) if of.reason is None else ["no share", ""]
        if of.reason is not None:
            reasons[of.reason] = None
        more = [] if told is None else _written(*(after or (None, None, None)))
        cells.append(row([title, f"{of.n:,}", *said, *more]))
    head = ["blasts", "n", "share", "95 % interval"]
    head += [] if told is None else ["after review", "95 % interval"]
    return "\n".join(
        [
            table(head, cells, caption="Share of blasts, each by itself"),
            *(f'<p class="note">No share: {escape(printable(reason))}.</p>' for reason in reasons),
        ]
    )


def stopping_rule(facts: SessionFacts) -> str:
    """Say which rule was to end the run, and how it stands."""
    report = facts.report
    precision, counted = report.precision, report.cells.unique
    white = precision.of == "white"
    share, cells = ("share of blasts" + " among white cells" * white), "white cells" if white else "cells"
    parts = []
    if precision.until_points is not None:
        if precision.half_width_points is None:
            parts.append(f"Asked for +-{precision.until_points:g} points: no {share} may be told")
        else:
            met = "reached" if precision.half_width_points <= precision.until_points else "NOT reached"
            parts.append(
                f"Asked for +-{precision.until_points:g} points of the {share}: {met}, it is"
                f" +-{precision.half_width_points:.1f}"
            )
    until_cells = facts.settings.get("until_cells")
    if isinstance(until_cells, int):
        met = "reached" if counted >= until_cells else "NOT reached"
        parts.append(f"Asked for {until_cells:,} cells: {met}, there are {counted:,}")
    if not parts:
        known = precision.half_width_points
        reached = "" if known is None else f"; the {share} is known to +-{known:.1f} points"
        parts.append(f"None was set{reached}")
    if precision.cells_needed:
        parts.append(
            f"About {precision.cells_needed:,} more {cells} would give +-{precision.points:g} points"
        )
    return ". ".join([*parts, f"Ended: {report.ended}"]) + "."


def _conditions(facts: SessionFacts, quality: Quality) -> str:
    """Say how the run ended, and how good light, focus and stain were."""
    frames = facts.report.frames
    dropped = "" if frames.dropped is None else f", {frames.dropped:,} dropped"
    said = (
        f"{frames.processed:,} frames processed, {frames.rejected:,} rejected{dropped};"
        f" {len(facts.report.gaps):,} gaps. {quality.verdict}"
    )
    controlled = any(one.control or one.said for one in quality.rows)
    head = ["", "this session", *(["control sessions", "verdict"] if controlled else [])]
    rows = [
        row([escape(text) for text in (_measure(one), *(one[2:] if controlled else one[2:3]))])
        for one in quality.rows
    ]
    words = (
        f"<h3>Stopping rule</h3>\n<p>{escape(stopping_rule(facts))}</p>\n"
        f"<h3>Quality</h3>\n<p>{escape(printable(said))}</p>"
    )
    measures = table(head, rows, caption="Medians of the first fields, and of the cells") if rows else ""
    return f'<div class="pair"><div class="words">{words}</div>\n{measures}</div>'


def _measure(of: MeasureRow) -> str:
    """Name a measure, and what it tells of where its name does not."""
    return of.title if of.subject in of.title else f"{of.title} ({of.subject})"


def _second(at: str | None, before: str | None = None) -> str:
    """Say a time to the second, without its day where that is another time's."""
    if at is None:
        return NOT_RECORDED
    of_day = at[11:19]
    return of_day if before is not None and before[:10] == at[:10] else f"{at[:10]} {of_day}"
