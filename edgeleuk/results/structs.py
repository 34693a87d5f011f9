"""The objects that commands print as JSON, and what is common to them.

Each is a struct with ``to_json``; its JSON schema stands in ``docs/schema``; see `edgeleuk.cli.schemas`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from edgeleuk.results.cells import Decision  # noqa: TC001 - msgspec looks at it
from edgeleuk.results.kinds import Kind  # noqa: TC001 - as above
from edgeleuk.version import RESEARCH_USE


class Printed(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what is printed as JSON, and of its parts."""

    def to_json(self) -> dict[str, Any]:
        """Return it as dictionaries, tuples and plain values, with the keys in their order."""
        value: dict[str, Any] = msgspec.to_builtins(self)
        return value


class CalledCell(Printed, frozen=True, kw_only=True):
    """What is said of a cell.

    Attributes
    ----------
    decision : Decision
    probability : float or None
        Of the positive class; None where nothing was judged.
    reason : str or None
        Why the cell is ``uncertain``.
    kind : Kind or None
        None where the bundle knows no kinds, or cannot tell this cell's.
    kind_probability : float or None
        Of that kind.
    """

    decision: Decision
    probability: float | None
    reason: str | None
    kind: Kind | None = None
    kind_probability: float | None = None


class CellCounts(Printed, frozen=True, kw_only=True):
    """How many cells were called what: other ones by their `Kind`, the uncertain ones by `Check`."""

    blast: int
    normal: int
    other: int
    uncertain: int
    other_by_kind: dict[str, int]
    uncertain_by_reason: dict[str, int]


class Sightings(Printed, frozen=True, kw_only=True):
    """The cells of a session: ``detected = unique + seen_before + excluded``."""

    detected: int
    unique: int
    blast: int
    normal: int
    other: int
    uncertain: int
    other_by_kind: dict[str, int]
    uncertain_by_reason: dict[str, int]
    seen_before: int
    excluded: int
    excluded_by_reason: dict[str, int] | UnsetType = UNSET


class Interval(Printed, frozen=True, kw_only=True):
    """A share with its 95 % interval; None where none may be told."""

    share: float | None
    low: float | None
    high: float | None


class BlastShare(Interval, frozen=True, kw_only=True):
    """The share of blasts among `n` cells called blast or normal, or the reason why it is not told."""

    n: int
    reason: str | None


class CountedShare(Printed, frozen=True, kw_only=True):
    """A share, and how many cells it counts; see `Interval`."""

    count: int
    share: float | None
    low: float | None
    high: float | None


class Differential(Printed, frozen=True, kw_only=True):
    """The share of each decision among `n` cells, or the reason why it is not told."""

    n: int
    reason: str | None
    blast: CountedShare
    normal: CountedShare
    other: CountedShare
    uncertain: CountedShare


class ErrorRate(Printed, frozen=True, kw_only=True):
    """A share of right calls on held-out cells; see `edgeleuk.counting.intervals.Rate`."""

    share: float
    cells: float
    effective: float


class CorrectedShare(Interval, frozen=True, kw_only=True, omit_defaults=True):
    """The share of blasts, corrected for the known error; that error where there is a share."""

    n: int
    positive: int | None = None
    reason: str | None
    threshold: float | None = None
    sensitivity: ErrorRate | None = None
    specificity: ErrorRate | None = None


class CountPrecision(Printed, frozen=True, kw_only=True):
    """How well the share of blasts is known, in points, and how many more cells it takes.

    `of` says which cells the share is of, and which cells are needed.
    """

    until_points: float | None
    points: float
    of: Literal["white", "lymphoid"] = "lymphoid"
    half_width_points: float | None
    cells_needed: int | None
    reason: str | None


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
    """Erythroblasts, which are in no denominator, and per 100 white cells; None of no white cell.

    `low` and `high` are the exact 95 % interval of that ratio.
    """

    count: int
    per_100_white_cells: float | None
    low: float | None = None
    high: float | None = None


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


class FrameCounts(Printed, frozen=True, kw_only=True):
    """The frames of a session; None where it was cut off before they were counted."""

    captured: int | None
    processed: int
    dropped: int | None
    rejected: int
    in_flight: int | UnsetType = UNSET
    rejected_by_reason: dict[str, int]


class Latency(Printed, frozen=True, kw_only=True):
    """Percentiles of the milliseconds from a frame's arrival until its results were on the disk."""

    p50: float | None
    p95: float | None
    p99: float | None


class Truth(Printed, frozen=True, kw_only=True):
    """Of a simulated slide: whole cells by their label, and what each label was called."""

    cells: dict[str, int]
    called: dict[str, dict[str, int]]
    not_a_cell: int


class OutOfRange(Printed, frozen=True, kw_only=True):
    """A measure of a run's first fields that has left the laboratory's range.

    Attributes
    ----------
    measure, subject : str
        Its name, and what it points to: light, focus, stain or scale.
    mean : float
        Of the control sessions.
    distance : float
        From it, in standard deviations.
    """

    measure: str
    subject: str
    mean: float
    distance: float


class ControlOfRun(Printed, frozen=True, kw_only=True):
    """How a run's first fields stood to the laboratory's control sessions.

    Attributes
    ----------
    file : str
    slide : str or None
        The control slide, where there is one of the run's bundle and scale.
    sessions : int
        Of that slide.
    last_session : str or None
        How the newest of them was judged.
    state : str
        ``no limits yet``, ``not reached``, ``in range`` or ``out of range``.
    out_of_range : list
    """

    file: str
    slide: str | None
    sessions: int
    last_session: str | None
    state: str
    out_of_range: list[OutOfRange]


class LostSteps(Printed, frozen=True, kw_only=True):
    """A field of a scan where the stage was elsewhere than it said: by so far along the picture's axes."""

    field: int
    x_um: float
    y_um: float


class SlideWritten(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk slide --json`` prints, and ``scan --slide`` with its summary.

    Attributes
    ----------
    slide, geojson : str
        The picture, and the cells on it.
    width, height : int
        Of the picture, px.
    px_per_um : float
        Of the picture.
    compression : str
        How its tiles are kept; those of OME-Zarr are always lossless.
    shrink : int
        1, or how many pixels of a field are one of the picture, where the disk had no room for all.
    fields, missing : int
        That are on the picture, and that the scan did not come to.
    by_stage_alone : int
        Fields whose place no overlap confirms.
    steps_measured, steps_by_stage, steps_refused : int
        Between neighbours.
    residual_px : float
        Root mean square of what the measured steps leave unexplained.
    lost_steps : list
        Fields that are marked, as the stage had lost steps there.
    cells, cells_left_out : int
        On the picture; and those without, as the session keeps no pixels of them.
    light : str
        How the lamp's light was taken out.
    planes : int
        On the picture.
    plane_step_um : float or None
        From one plane of the stack to the next, where one was taken.
    is_extended_focus : bool
        The planes were joined, and the picture has a map of heights.
    """

    schema_version: int = 1
    slide: str
    geojson: str
    width: int
    height: int
    px_per_um: float
    compression: Literal["jpeg", "lossless"]
    shrink: int
    fields: int
    missing: int
    by_stage_alone: int
    steps_measured: int
    steps_by_stage: int
    steps_refused: int
    residual_px: float
    lost_steps: list[LostSteps]
    cells: int
    cells_left_out: int
    light: str
    planes: int = 1
    plane_step_um: float | None = None
    is_extended_focus: bool = False


class RunSummary(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk run --json`` and ``scan --json`` print, and what a session records at its end.

    The last ones, before the research-use sentence, are there once the run has ended; `control` where the run
    was controlled, `slide` where a scan wrote one.
    """

    schema_version: int
    session: str
    camera: str
    simulated: bool
    ended: str
    started_at: float
    duration_s: float
    fps: float
    frames: FrameCounts
    cells: Sightings
    blast_share: BlastShare
    latency_ms: Latency
    px_per_um: float | None
    events: int
    truth: Truth | None
    differential: Differential | UnsetType = UNSET
    corrected_blast_share: CorrectedShare | UnsetType = UNSET
    precision: CountPrecision | UnsetType = UNSET
    white_cells: DifferentialCount | UnsetType | None = UNSET
    corrected_white_cells: CorrectedWhiteCells | UnsetType | None = UNSET
    control: ControlOfRun | UnsetType = UNSET
    slide: SlideWritten | UnsetType = UNSET
    research_use: str = RESEARCH_USE
