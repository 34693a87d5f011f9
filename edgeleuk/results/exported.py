"""A cell as ``edgeleuk export --jsonl`` writes it, one JSON object a line."""

from __future__ import annotations

from edgeleuk.results.cells import Decision  # noqa: TC001 - msgspec looks at it
from edgeleuk.results.kinds import Kind  # noqa: TC001 - the same
from edgeleuk.results.structs import Printed


class ExportedCell(Printed, frozen=True, kw_only=True):
    """A line of ``export --jsonl``; what each key holds stands in `edgeleuk.session.export.COLUMNS`."""

    track: int
    frame: int
    captured_at: str
    source: str
    x: int
    y: int
    w: int
    h: int
    area_px: int
    nucleus_area_px: int
    area_um2: float | None
    nucleus_area_um2: float | None
    px_per_um: float | None
    views: int
    decision: Decision
    kind: Kind | None
    kind_probability: float | None
    probability: float | None
    reason: str | None
    simulated: bool
    truth: str | None
    bundle_sha256: str | None
    research_use_only: str
