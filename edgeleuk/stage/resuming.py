"""What a scan that goes on takes up: where it began, which fields are left, and where the focus was."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from edgeleuk.errors import SessionError
from edgeleuk.stage.autofocus import FocusPlane, NoFocusError, autofocus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from edgeleuk.results import Decision
    from edgeleuk.stage.autofocus import Focus
    from edgeleuk.stage.base import Mover, ScanField, SynchronousCamera

# The kind of the event in which a session says how its scan began.
SCAN_EVENT = "scan"
# No longer way is gone to a recorded height: a board that lost its count stands elsewhere than it says.
_MOST_Z_UM = 200.0
_FIELD = re.compile(r" field (\d{1,9})$")
_FOCUSED = re.compile(r"field (\d{1,9}) is in focus at (-?\d{1,9}\.\d{1,3}) um")


@dataclass(frozen=True, slots=True)
class Begun:
    """Where a scan began, and how the camera lies on the stage.

    Attributes
    ----------
    start_um : (x, y)
        Of the first field.
    matrix : 2 rows of 2 float
        Of `edgeleuk.stage.mapping.Mapping`.
    plan : (width_um, height_um, overlap)
    """

    start_um: tuple[float, float]
    matrix: tuple[tuple[float, float], tuple[float, float]]
    plan: tuple[float, float, float]

    def to_text(self) -> str:
        """Write it as the text of an event."""
        return json.dumps({"start_um": self.start_um, "matrix": self.matrix, "plan": self.plan})

    @classmethod
    def from_text(cls, text: str) -> Begun:
        """Read what `to_text` wrote.

        Raises
        ------
        ValueError
            It is something else, or a matrix that maps no place.
        """
        found = msgspec.json.decode(text, type=cls)
        (a, b), (c, d) = found.matrix
        if a * d == b * c:
            raise ValueError("a matrix that maps no place")
        return found


class EarlierCell(NamedTuple):
    """A cell that was counted: in which field, where its middle is there in pixels, what it is called."""

    field: int
    centre_px: tuple[float, float]
    decision: Decision


@dataclass(frozen=True, slots=True)
class EarlierScan:
    """What a session holds of a scan.

    Attributes
    ----------
    begun : Begun
    used : frozenset of int
        Fields that need not be taken again. Those that were rejected do: a crash may have left the lens
        anywhere.
    rejected : frozenset of int
        Fields that were taken and are not used.
    focus_um : mapping
        Field -> height at which it was in focus.
    cells : tuple of EarlierCell
        For the picture of the slide.
    """

    begun: Begun
    used: frozenset[int] = frozenset()
    rejected: frozenset[int] = frozenset()
    focus_um: Mapping[int, float] = field(default_factory=dict)
    cells: tuple[EarlierCell, ...] = ()

    def left(self, fields: Iterable[ScanField], missing: frozenset[int] = frozenset()) -> list[ScanField]:
        """Return the fields that are to be taken, in the order of the walk; those that are missing again."""
        return [place for place in fields if place.number not in self.used or place.number in missing]

    def plane(self, fields: Iterable[ScanField]) -> FocusPlane:
        """Return where the focus was."""
        plane, places = FocusPlane(), {place.number: place for place in fields}
        for number, z_um in self.focus_um.items():
            if number in places:
                plane.add(places[number].x_um, places[number].y_um, z_um)
        return plane


def begun_in(events: Iterable[tuple[str, str]], session: Path) -> Begun | None:
    """Tell how the scan of a session began; None where it is no scan's.

    Parameters
    ----------
    events : iterable of (str, str)
        Kind and text of each event.
    session : Path
        For the error.

    Raises
    ------
    SessionError
        The event is damaged.
    """
    text = next((text for kind, text in events if kind == SCAN_EVENT), None)
    try:
        return None if text is None else Begun.from_text(text)
    except ValueError as error:
        raise SessionError(f"{session} is damaged", got=f"how the scan began: {error}") from error


def read_earlier_scan(
    begun: Begun,
    frames: Iterable[tuple[str, str | None]],
    events: Iterable[str],
    cells: Iterable[EarlierCell] = (),
) -> EarlierScan:
    """Make it from a session's rows.

    Parameters
    ----------
    begun : Begun
    frames : iterable of (str, str or None)
        Of each frame its source, as `field_source` writes it, and why it was rejected.
    events : iterable of str
        Texts of events, those of `focus_text` among them.
    cells : iterable of EarlierCell
    """
    taken = [(number, reason) for source, reason in frames if (number := field_of(source)) is not None]
    used = frozenset(number for number, reason in taken if reason is None)
    focus_um = {int(found[1]): float(found[2]) for text in events if (found := _FOCUSED.fullmatch(text))}
    rejected = frozenset(number for number, _ in taken) - used
    return EarlierScan(begun, used, rejected, focus_um, tuple(cells))


def field_source(uri: str, number: int) -> str:
    """Name the source of a field's frame."""
    return f"{uri} field {number}"


def field_of(source: str) -> int | None:
    """Return the number of the field that a frame shows.

    Examples
    --------
    >>> field_of(field_source("http://127.0.0.1:8080/stream", 12))
    12
    """
    found = _FIELD.search(source)
    return int(found[1]) if found else None


def focus_text(number: int, z_um: float) -> str:
    """Say that a field is in focus, so that `read_earlier_scan` understands it."""
    return f"field {number} is in focus at {z_um:.2f} um"


def focus_again(
    camera: SynchronousCamera, stage: Mover, plane: FocusPlane, places_um: list[tuple[float, float]]
) -> Focus:
    """Bring a scan into focus that goes on, wherever its lens was left; correct the plane by what is found.

    It is looked for where the stage stands, then at the height that the plane lets expect.

    Parameters
    ----------
    camera : SynchronousCamera
    stage : Mover
    plane : FocusPlane
    places_um : list of (x, y)
        Where to look for it, one after the other: not every field has something to focus on.

    Raises
    ------
    NoFocusError
        It is found at none of them.
    """
    here_um = stage.position().z_um
    for known in (False, True):
        for x_um, y_um in places_um:
            expected = plane.at(x_um, y_um)
            if known and (expected is None or abs(expected - here_um) > _MOST_Z_UM):
                continue
            stage.move(x_um=x_um, y_um=y_um, z_um=expected if known else here_um)
            try:
                found = autofocus(camera, stage)
            except NoFocusError:
                continue
            plane.shift(found.z_um - (found.z_um if expected is None else expected))
            plane.add(x_um, y_um, found.z_um)
            return found
    stage.move(z_um=here_um)
    expected = plane.at(*places_um[0])
    raise NoFocusError(
        "the scan cannot go on: no focus was found",
        got=f"a stage at {here_um:.1f} um"
        + ("" if expected is None else f", where {expected:.1f} um was right"),
        cure="bring the slide nearly into focus, then resume it again",
    )
