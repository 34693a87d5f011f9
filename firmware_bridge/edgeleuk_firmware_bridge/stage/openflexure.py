"""``openflexure://HOST[:PORT]``: the stage of an OpenFlexure microscope, by its server of version 3."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from edgeleuk.io.things import ThingRefusedError, ThingServer, ThingServerError
from edgeleuk_firmware_bridge.stage.errors import LinkLostError, NotArrivedError, RefusedError
from edgeleuk_firmware_bridge.stage.protocols import Capabilities, Steps

if TYPE_CHECKING:
    from collections.abc import Iterator

# Its motors do about twice as many.
_STEPS_PER_S = 500.0
_UNDER_WAY = {"pending", "running"}
_FOCUS_S = 60.0
_POLL_S = 0.1


class OpenFlexureStage:
    """A stage behind a microscope server; see `edgeleuk_firmware_bridge.stage.device.StageDevice`.

    Parameters
    ----------
    server : ThingServer

    Raises
    ------
    ThingServerError
        It has no stage.
    """

    # Its server counts steps, and does not tell how long one is.
    um_per_step = None

    def __init__(self, server: ThingServer) -> None:
        self._server = server
        self._move: str | None = None
        self.capabilities = Capabilities(
            protocol="openflexure",
            firmware=f"microscope server at {server.base}{server.prefix}",
            can_stop=True,
            can_focus=server.has("autofocus", "actions", "fast_autofocus"),
        )
        for kind, name in (("properties", "position"), ("actions", "move_absolute")):
            server.path("stage", kind, name)

    def steps(self) -> Steps:
        """Ask where it is."""
        with _lost():
            at = self._server.read("stage", "position")
        try:
            return Steps(int(at["x"]), int(at["y"]), int(at["z"]))
        except (KeyError, TypeError, ValueError):
            raise LinkLostError(
                "the microscope server tells a position that is none", got=repr(at), allowed="x, y and z"
            ) from None

    def moving(self) -> bool:
        """Ask after the move that was begun here, and whether somebody else moves it."""
        with _lost():
            if self._move is not None:
                status, said = self._server.status(self._move)
                if status in _UNDER_WAY:
                    return True
                self._move = None
                if status == "error":
                    raise RefusedError("the microscope server gave up a move", got=said or None)
            return bool(self._server.read("stage", "moving"))

    def go_to(self, target: Steps) -> float:
        """Begin a move."""
        here = self.steps()
        with _lost():
            self._move = self._server.invoke("stage", "move_absolute", **target._asdict())
        return max(abs(to - now) for now, to in zip(here, target, strict=True)) / _STEPS_PER_S

    def stop(self) -> None:
        """Cancel what the stage does, whoever began it."""
        with _lost():
            # An autofocus moves it, too.
            for thing in ("autofocus", "stage"):
                self._server.cancel(thing)

    def focus(self, reach_steps: int) -> None:
        """Let the microscope find the focus by its own camera, which takes some seconds."""
        with _lost():
            run = self._server.invoke("autofocus", "fast_autofocus", dz=2 * reach_steps, start="centre")
            ends_s = time.monotonic() + _FOCUS_S
            while (state := self._server.status(run))[0] in _UNDER_WAY:
                if time.monotonic() > ends_s:
                    self._server.cancel("autofocus")
                    raise NotArrivedError(f"the microscope's autofocus did not end within {_FOCUS_S:g} s")
                time.sleep(_POLL_S)
        if state[0] != "completed":
            raise RefusedError("the microscope's autofocus found no focus", got=state[1] or state[0])

    def close(self) -> None:
        """Leave it as it is: the server has it, and others may use it."""


def open_device(url: str) -> OpenFlexureStage:
    """Open the stage of a microscope server.

    Raises
    ------
    UsageError
        The address has more than a host and a port.
    ThingServerError
        It cannot be reached, or has no stage.
    """
    return OpenFlexureStage(ThingServer(url))


@contextlib.contextmanager
def _lost() -> Iterator[None]:
    """Say that the wire is gone, where the server does not answer."""
    try:
        yield
    except ThingRefusedError as error:
        raise RefusedError(error.what, got=error.got) from error
    except ThingServerError as error:
        raise LinkLostError(error.what, got=error.got, cure=error.cure) from error
