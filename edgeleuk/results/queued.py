"""What is said of the cells that should be labelled next."""

from __future__ import annotations

from edgeleuk.results.cells import Decision  # noqa: TC001 - msgspec looks at it
from edgeleuk.results.kinds import Kind  # noqa: TC001 - as above
from edgeleuk.results.structs import Printed
from edgeleuk.version import RESEARCH_USE


class QueuedCell(Printed, frozen=True, kw_only=True):
    """A cell that should be labelled.

    Attributes
    ----------
    session : str
        Its file, as it was given.
    cell : int
        Its number there, as `labels set --cell` wants it.
    frame, x, y, w, h : int
        Where it lies, in pixels.
    doubt : float
        0 sure, 1 undecided between two.
    distance : float or None
        From the nearest cell that taught the head for kinds; None where the bundle has none.
    decision : Decision
        What the bundle calls it.
    kind, second : Kind or None
        The most probable kinds; None where the bundle knows none.
    kind_probability, second_probability : float or None
    blast_probability : float or None
        None where it is not asked.
    reason : str or None
        Why it is ``uncertain``.
    """

    session: str
    cell: int
    frame: int
    x: int
    y: int
    w: int
    h: int
    doubt: float
    distance: float | None
    decision: Decision
    kind: Kind | None
    kind_probability: float | None
    second: Kind | None
    second_probability: float | None
    blast_probability: float | None
    reason: str | None


class SessionInQueue(Printed, frozen=True, kw_only=True):
    """Cells of a session: looked at, labelled already, and without pixels or a scale; how many are queued."""

    session: str
    cells: int
    labelled: int
    without_pixels: int
    queued: int


class Queue(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk labels next --json`` prints.

    Attributes
    ----------
    bundle : str
        Which bundle is in doubt.
    bundle_sha256, runtime : str
    sessions : tuple of SessionInQueue
    cells : tuple of QueuedCell
        The most telling first.
    """

    schema_version: int = 1
    bundle: str
    bundle_sha256: str
    runtime: str
    sessions: tuple[SessionInQueue, ...]
    cells: tuple[QueuedCell, ...]
    research_use: str = RESEARCH_USE
