"""What a session tells of the microscope: its measures, and what it was recorded with."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from edgeleuk.control.entries import Measured
from edgeleuk.control.measures import (
    CELL_AREA,
    MOST_CELLS,
    SCALE,
    SHARES,
    measure_cell,
    optics_of,
    share_of,
    shares_of,
)
from edgeleuk.control.optics import measured
from edgeleuk.io.uris import is_simulated_session
from edgeleuk.results import Check, Counted, check_of
from edgeleuk.session.kept_pictures import ALL, pictures_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeleuk.session.reader import SessionReader

# Of these the address names the pictures, and not a camera.
_OF_PICTURES = ("dir", "file", "virtual")
# What else changes the measures when it is set anew, and what it is where nothing was set.
ADJUSTED = ("exposure_ms", "gain", "white_balance", "flat_field", "quality_check", "pictures")
_UNSET = (None, True, "all")


class Recorded(NamedTuple):
    """What a session was recorded with: sessions that differ in it are not compared.

    Attributes
    ----------
    camera : str
        Its address; of pictures and of the virtual slide, their kind alone.
    bundle, bundle_sha256 : str
    px_per_um : float or None
        As it was given; None where the camera or the red cells told it.
    size : str
        Of the fields, as ``1280x960``; empty where it is not known.
    adjusted : tuple of str
        The settings of `ADJUSTED`, where they were set.
    simulated : bool
    """

    camera: str
    bundle: str
    bundle_sha256: str
    px_per_um: float | None
    size: str
    adjusted: tuple[str, ...]
    simulated: bool


class SessionQuality(NamedTuple):
    """A session, measured.

    Attributes
    ----------
    path : Path
    files : int
        Of a series that was split, how many there are; else 1.
    recorded : Recorded
    first_at : float or None
        First field, in seconds since the Unix epoch; None without fields.
    fields, rejected, cells : int
    finished : bool
    links : frozenset of str
        Hashes of control sessions that it is.
    measures : mapping of str to Measured
    """

    path: Path
    files: int
    recorded: Recorded
    first_at: float | None
    fields: int
    rejected: int
    cells: int
    finished: bool
    links: frozenset[str]
    measures: Mapping[str, Measured]


def session_quality(reader: SessionReader, control: frozenset[str] = frozenset()) -> SessionQuality:
    """Measure a session: all of its fields, and as many cells as make a median, spread over the whole.

    Parameters
    ----------
    reader : SessionReader
        Whether the session is finished or not.
    control : frozenset of str
        Last links of control sessions.

    Raises
    ------
    SessionError
        Its records are damaged.
    """
    measures = optics_of(reader)
    scales: list[float] = []
    sizes: dict[tuple[object, object], int] = defaultdict(int)
    fields, rejected = 0, 0
    first_at: float | None = None
    for frame in reader.rows("frames"):
        fields += 1
        at = float(str(frame["captured_at"]))
        first_at = at if first_at is None else min(first_at, at)
        if frame["rejected"] is not None:
            rejected += 1
            continue
        sizes[frame.get("width"), frame.get("height")] += 1
        if isinstance(frame["px_per_um"], float):
            scales.append(frame["px_per_um"])
    values: dict[str, list[float]] = defaultdict(list)
    for track in reader.spread_tracks(MOST_CELLS):
        cell = reader.cell(track)
        if pictures_of(reader.settings) != ALL:
            # Colours of the doubtful cells alone would be no stain's.
            cell["crop"] = None
        # Sessions of an early version have no focus.
        if "focus" in cell and check_of(_text(cell["reason"])) is not Check.DUST:
            measure_cell(cell, values)
    values.pop(CELL_AREA, None)
    measures |= {name: measured(found) for name, found in values.items()}
    if scales:
        measures[SCALE] = measured(scales)
    counted = _without_dust(reader.tallies().counted)
    measures |= shares_of(counted, rejected, fields)
    return SessionQuality(
        path=reader.path,
        files=1,
        recorded=_recorded(reader, max(sizes, key=lambda size: sizes[size]) if sizes else (None, None)),
        first_at=first_at,
        fields=fields,
        rejected=rejected,
        cells=counted.total,
        finished=reader.summary is not None,
        links=frozenset(link for link in control if reader.has_link(link)),
        measures=measures,
    )


def joined(parts: list[SessionQuality]) -> SessionQuality:
    """Take the files of a series, in their order, as one session: each counts by its fields or cells."""
    first = parts[0]
    if len(parts) == 1:
        return first
    measures: dict[str, Measured] = {}
    for name in dict.fromkeys(name for part in parts for name in part.measures):
        found = [part.measures[name] for part in parts if name in part.measures]
        n = sum(one.n for one in found)
        value = sum(one.value * one.n for one in found) / n
        if name in SHARES:
            measures[name] = share_of(round(value / 100 * n), n)
        else:
            spread = sum(one.spread * one.n for one in found) / n
            measures[name] = Measured(value=value, spread=spread, n=n)
    times = [part.first_at for part in parts if part.first_at is not None]
    return first._replace(
        files=sum(part.files for part in parts),
        first_at=min(times, default=None),
        fields=sum(part.fields for part in parts),
        rejected=sum(part.rejected for part in parts),
        cells=sum(part.cells for part in parts),
        finished=parts[-1].finished,
        links=frozenset().union(*(part.links for part in parts)),
        measures=measures,
    )


def _recorded(reader: SessionReader, size: tuple[object, object]) -> Recorded:
    settings = reader.settings
    camera = str(settings.get("camera", ""))
    scheme, separator, _ = camera.partition("://")
    scale = settings.get("px_per_um")
    width, height = size
    return Recorded(
        camera=f"{scheme}://" if separator and scheme in _OF_PICTURES else camera,
        bundle=str(settings.get("bundle", "")),
        bundle_sha256=str(settings.get("bundle_sha256", "")),
        px_per_um=float(scale) if isinstance(scale, int | float) else None,
        size="" if width is None else f"{width}x{height}",
        adjusted=tuple(f"{name} {settings[name]}" for name in ADJUSTED if settings.get(name) not in _UNSET),
        simulated=is_simulated_session(settings, reader.summary),
    )


def _without_dust(counted: Counted) -> Counted:
    doubts: dict[Check, int] = {check: n for check, n in counted.doubts.items() if check is not Check.DUST}
    dust = counted.doubts.get(Check.DUST, 0)
    return Counted(counted.blast, counted.normal, counted.uncertain - dust, doubts, counted.kinds)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
