"""Which measures of a session are controlled, and how each is taken from what the session holds."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeleuk.bundle.manifest import InputContract
from edgeleuk.classifier.appearance import appearance_of
from edgeleuk.control.entries import Measured
from edgeleuk.control.optics import (
    EVENNESS,
    GLASS_BLUE,
    GLASS_RED,
    LIGHT,
    OPTICS,
    SHARPNESS,
    measured,
    read_optics,
)
from edgeleuk.inference.preprocessing import scaled_cell
from edgeleuk.results import Check, Counted, check_of, counted_of
from edgeleuk.session.kept_pictures import ALL, NONE, pictures_of
from edgeleuk.session.pictures import decode_crop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeleuk.session.reader import SessionReader

RED_TO_GREEN, BLUE_TO_GREEN = "red_to_green", "blue_to_green"
CELL_AREA, UNCERTAIN_SHARE, BLAST_SHARE = "cell_area", "uncertain_share", "blast_share"
CELLS_PER_FIELD, CELL_FOCUS, SCALE = "cells_per_field", "cell_focus", "scale"
REJECTED_SHARE = "rejected_share"


class ControlledMeasure(NamedTuple):
    """A measure, and what it is good for.

    Attributes
    ----------
    title : str
        For people, with the unit.
    subject : str
        What a change of it points to.
    digits : int
        That are shown behind the point.
    resolution : float
        Least standard deviation, of the mean: control sessions of one hour agree better than any day's do.
        Of a share, in points.
    between_slides : float or None
        Standard deviation between the slides of patients, of the mean, so that `run` can ask for it on any of
        them; None where it tells of the patient.
    """

    title: str
    subject: str
    digits: int
    resolution: float
    between_slides: float | None = None


# Those that are held against limits. Few: each one more raises false alarms. In the order in which light
# meets them, so that the first that changes is the likely cause. What varies between slides: of colours and
# focus by 48 subjects of C-NMC, 25 cells each; of the sharpness by five of BCCD's fields at a time; of the
# scale by the size of red cells.
MEASURES: Mapping[str, ControlledMeasure] = {
    LIGHT: ControlledMeasure("light, 0 to 255", "light", 1, 0.005, 0.0),
    EVENNESS: ControlledMeasure("evenness of light", "light", 3, 0.005, 0.0),
    SHARPNESS: ControlledMeasure("sharpness", "focus", 3, 0.02, 0.06),
    CELL_FOCUS: ControlledMeasure("focus of cells", "focus", 3, 0.02, 0.17),
    RED_TO_GREEN: ControlledMeasure("red/green of cells", "stain", 3, 0.005, 0.042),
    BLUE_TO_GREEN: ControlledMeasure("blue/green of cells", "stain", 3, 0.005, 0.068),
    # The same in all sessions where it is given, and without false alarms then.
    SCALE: ControlledMeasure("scale, px/um", "scale", 2, 0.005, 0.03),
    UNCERTAIN_SHARE: ControlledMeasure("uncertain, %", "cells", 1, 1.0),
    BLAST_SHARE: ControlledMeasure("blasts, %", "cells", 1, 1.0),
}
# Those that are kept beside them, without limits: the cells' colours follow the white balance, and the rest
# depends on where on the slide somebody looked.
OTHERS: Mapping[str, ControlledMeasure] = {
    GLASS_RED: ControlledMeasure("red/green of glass", "white balance", 3, 0.005),
    GLASS_BLUE: ControlledMeasure("blue/green of glass", "white balance", 3, 0.005),
    REJECTED_SHARE: ControlledMeasure("rejected, %", "fields", 1, 1.0),
    CELL_AREA: ControlledMeasure("area of cells, um2", "cells", 1, 0.0),
    CELLS_PER_FIELD: ControlledMeasure("cells a field", "cells", 2, 0.0),
}
ALL_MEASURES: Mapping[str, ControlledMeasure] = {**MEASURES, **OTHERS}
SHARES = frozenset({UNCERTAIN_SHARE, BLAST_SHARE, REJECTED_SHARE})
# Cells of which colour is measured; more would tell nothing new and take time.
MOST_CELLS = 400
# Colour is measured at one scale, whatever the bundle's: that of the shipped network, its rim taken off.
_AT_ONE_SCALE = InputContract(
    height=64, width=64, channels=("red",), normalise=False, px_per_um=18.5, crop_px_per_um=18.5, rim_um=0.27
)


class SessionMeasures(NamedTuple):
    """What `measure_session` found.

    Attributes
    ----------
    fields, cells : int
    first_at : float or None
        When the first field was taken, in seconds since the Unix epoch; None without fields.
    measures : dict
        By name.
    counted : Counted
        Its cells, by what is said of them.
    """

    fields: int
    cells: int
    first_at: float | None
    measures: dict[str, Measured]
    counted: Counted


def measure_session(reader: SessionReader, first: int = 0) -> SessionMeasures:
    """Measure a session from its rows: fields, events and the kept crops.

    Parameters
    ----------
    reader : SessionReader
        Of a session that is finished, cut off, or being recorded.
    first : int
        Number of the first field that counts.

    Raises
    ------
    SessionError
        It cannot be read.
    """
    measures = optics_of(reader)
    detected, scales, times, rejected = [], [], [], 0
    for frame in reader.rows("frames"):
        if int(str(frame["sequence"])) < first:
            continue
        if frame["rejected"] is not None:
            rejected += 1
            continue
        detected.append(float(str(frame["detected"])))
        times.append(float(str(frame["captured_at"])))
        if isinstance(frame["px_per_um"], float):
            scales.append(frame["px_per_um"])
    values: dict[str, list[float]] = defaultdict(list)
    said: list[tuple[str, str | None, str | None]] = []
    # Colours of the doubtful cells alone would be no stain's.
    looks = pictures_of(reader.settings) != NONE
    for cell in reader.rows("cells", thumbnails=True):
        looks = looks and (cell["crop"] is not None or pictures_of(reader.settings) == ALL)
        if int(str(cell["frame"])) < first or check_of(_text(cell["reason"])) is Check.DUST:
            continue
        said.append((str(cell["decision"]), _text(cell["reason"]), _text(cell["kind"])))
        measure_cell(cell if looks else {**cell, "crop": None}, values)
    for name, found in values.items():
        measures[name] = measured(found)
    if detected:
        measures[CELLS_PER_FIELD] = _mean(detected)
    if scales:
        measures[SCALE] = measured(scales)
    counted = counted_of(said)
    measures |= shares_of(counted, rejected, len(detected) + rejected)
    return SessionMeasures(len(detected), len(said), min(times, default=None), measures, counted)


def optics_of(reader: SessionReader) -> dict[str, Measured]:
    """Return what the run measured of its first fields; of one that was resumed, the last time."""
    found: dict[str, Measured] = {}
    for event in reader.rows("events"):
        if event["kind"] == OPTICS:
            found = read_optics(str(event["text"])) or found
    return found


def measure_cell(cell: Mapping[str, Any], values: dict[str, list[float]]) -> None:
    """Add what a cell's row tells; without a scale, its size and its colours at that scale are unknown."""
    values[CELL_FOCUS].append(float(cell["focus"]))
    if not isinstance(cell["px_per_um"], float) or not isinstance(cell["area_um2"], float):
        return
    values[CELL_AREA].append(cell["area_um2"])
    if cell["crop"] is None or len(values[RED_TO_GREEN]) >= MOST_CELLS:
        return
    look = appearance_of(scaled_cell(decode_crop(cell["crop"], cell["px_per_um"]), _AT_ONE_SCALE))
    values[RED_TO_GREEN].append(look.red_to_green)
    values[BLUE_TO_GREEN].append(look.blue_to_green)


def _mean(values: Sequence[float]) -> Measured:
    """Return the mean of counts, whose median would be a whole number, and their standard deviation."""
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / max(len(values) - 1, 1)
    return Measured(value=mean, spread=math.sqrt(variance), n=len(values))


def shares_of(counted: Counted, rejected: int, fields: int) -> dict[str, Measured]:
    """Return the shares in per cent; that of blasts among white cells, where one may be told."""
    found = {}
    if fields:
        found[REJECTED_SHARE] = share_of(rejected, fields)
    if counted.total:
        found[UNCERTAIN_SHARE] = share_of(counted.uncertain, counted.total)
    if counted.white and counted.no_white_share is None:
        found[BLAST_SHARE] = share_of(counted.blast, counted.white)
    return found


def share_of(count: int, total: int) -> Measured:
    """Return a share in per cent, with its standard error."""
    share = count / total
    return Measured(value=100 * share, spread=100 * math.sqrt(share * (1 - share) / total), n=total)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
