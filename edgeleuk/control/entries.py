"""What is kept of a control session: its measures, and what tells it from others."""

from __future__ import annotations

from typing import NamedTuple

from edgeleuk.results.structs import Printed


class Measured(Printed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One measure of a session.

    Attributes
    ----------
    value : float
        Median of its fields or cells; of a share, the share in per cent.
    spread : float
        Standard deviation of one field or cell, from their median absolute deviation; of a share, its
        standard error.
    n : int
        How many fields or cells it is of.
    """

    value: float
    spread: float
    n: int


class ControlSession(Printed, frozen=True, kw_only=True):
    """Which control session it is, and of what.

    Attributes
    ----------
    session : str
        Name of its file.
    sha256 : str
        Last link of its hash chain.
    slide : str
        Name of the control slide, or of the lot.
    recorded_at : str
        Its first field: ISO 8601, UTC.
    bundle, bundle_sha256 : str
    px_per_um : float or None
        The scale that the run was given; None where the camera or the red cells told it.
    simulated : bool
    fields, cells : int
    uncertain_by_reason : dict
        How many cells were uncertain, by the check that made them so.
    """

    session: str
    sha256: str
    slide: str
    recorded_at: str
    bundle: str
    bundle_sha256: str
    px_per_um: float | None
    simulated: bool
    fields: int
    cells: int
    uncertain_by_reason: dict[str, int]


class ControlEntry(ControlSession, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One control session that is kept.

    Attributes
    ----------
    added_at : str
        When it came into the file: ISO 8601, UTC.
    measures : dict
        By the names of `edgeleuk.control.measures.MEASURES`; what could not be measured is left out.
    """

    added_at: str
    measures: dict[str, Measured]

    @property
    def group(self) -> ControlGroup:
        """What its limits are made of."""
        return ControlGroup(self.slide, self.bundle_sha256, self.px_per_um, self.simulated)


class ControlGroup(NamedTuple):
    """Sessions that may be compared: of one slide, one bundle and one scale, all simulated or none."""

    slide: str
    bundle_sha256: str
    px_per_um: float | None
    simulated: bool
