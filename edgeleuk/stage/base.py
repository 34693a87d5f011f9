"""What this room needs of a stage and of a camera on it; the firmware bridge and the sources have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from edgeleuk.frames import Frame


class Place(Protocol):
    """Where a stage is, in micrometres; see `edgeleuk_firmware_bridge.stage.protocols.Position`."""

    @property
    def x_um(self) -> float:
        """To the right."""
        ...

    @property
    def y_um(self) -> float:
        """Down."""
        ...

    @property
    def z_um(self) -> float:
        """Up."""
        ...


class Mover(Protocol):
    """A stage; see `edgeleuk_firmware_bridge.stage.protocols.Stage`."""

    def position(self) -> Place:
        """Return where the stage is."""
        ...

    def move(self, x_um: float | None = None, y_um: float | None = None, z_um: float | None = None) -> None:
        """Go to a place, and return when it is reached and the picture has settled."""
        ...


@runtime_checkable
class FocusDrive(Protocol):
    """What a stage has besides that tells of its third axis; one that does not tell has one to be moved."""

    @property
    def has_focus_axis(self) -> bool:
        """Whether `Mover.move` reaches heights."""
        ...

    @property
    def focuses_itself(self) -> bool:
        """Whether it can `focus`."""
        ...

    def focus(self, reach_um: float) -> None:
        """Let it find the focus by its own program, so far up and down from here; it stands there afterwards.

        Raises
        ------
        HardwareError
            It cannot, or found none.
        """
        ...


@runtime_checkable
class Stoppable(Protocol):
    """What a stage has besides that can be stopped in mid-move, from any thread."""

    def stop(self) -> None:
        """Stop at once.

        Raises
        ------
        HardwareError
            The firmware cannot, or the link is lost.
        """
        ...


class SynchronousCamera(Protocol):
    """A camera on the stage."""

    def __call__(self) -> Frame:
        """Take a picture that arrived after this call, so that the stage has not moved in it."""
        ...


class ScanField(NamedTuple):
    """One field of a scan: its number in the order of the walk, its row and column, where the stage goes."""

    number: int
    row: int
    column: int
    x_um: float
    y_um: float
