"""Stages that are no boards on a wire: by a plug-in, or by a microscope's server. They, too, are driven.

A device moves and tells where it is. Limits, backlash, arrival, settling and what happens when it fails are
`edgeleuk_firmware_bridge.stage.driver.DrivenStage`'s, as they are a board's.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from edgeleuk.errors import EdgeleukError, HardwareError, UsageError
from edgeleuk.io.closing import Closing
from edgeleuk.io.plugins import STAGES, described, find_plugin, load_plugin
from edgeleuk_firmware_bridge.stage.boards import BoardReading
from edgeleuk_firmware_bridge.stage.driver import DrivenStage
from edgeleuk_firmware_bridge.stage.errors import LinkLostError, NotArrivedError
from edgeleuk_firmware_bridge.stage.protocols import AxisSettings, BoardStatus, Steps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeleuk_firmware_bridge.stage.protocols import Capabilities, StageSettings
    from edgeleuk_firmware_bridge.stage.serial_link import Patience

# What is built in; the rest are plug-ins.
DEVICES = {"openflexure": "edgeleuk_firmware_bridge.stage.openflexure:open_device"}
# Of ports, by this package and by pyserial.
PORTS = ("serial", "socket", "rfc2217", "loop", "hwgrep", "spy", "alt", "cp2110")
# How long a move may take whose device does not tell.
_UNTOLD_S = 60.0
_POLL_S = 0.05


class StageDevice(Protocol):
    """A stage in steps of its own, as a plug-in returns it. Used from one thread; `stop` from any.

    All calls raise `HardwareError` and its kinds; `LinkLostError` where the device is gone for good.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What it is, and what it can do."""
        ...

    @property
    def um_per_step(self) -> tuple[float, float, float] | None:
        """Length of a step in x, y and z, micrometres; None where it does not know: a setting tells then."""
        ...

    def steps(self) -> Steps:
        """Ask where it is: x to the right, y down in the picture, z towards the objective."""
        ...

    def moving(self) -> bool:
        """Ask whether it moves."""
        ...

    def go_to(self, target: Steps) -> float | None:
        """Begin a move, and return at once: how many seconds it should take, None where that is unknown."""
        ...

    def stop(self) -> None:
        """Stop it, whoever began the move; the position stays known. Where `capabilities` say that it can."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


@runtime_checkable
class Homing(Protocol):
    """What a device with ``can_home`` has besides."""

    def home(self) -> None:
        """Find the end stops, return when they are found, and count from there."""
        ...


@runtime_checkable
class Focusing(Protocol):
    """What a device with ``can_focus`` has besides."""

    def focus(self, reach_steps: int) -> None:
        """Find the focus so many steps up and down from here, and return when it stands there."""
        ...


@runtime_checkable
class Lit(Protocol):
    """What a device with ``channels`` has besides."""

    def level(self, channel: str) -> float | None:
        """Return the level of a lamp, 0 to 1; None where it does not tell."""
        ...

    def set_level(self, channel: str, level: float) -> None:
        """Set the level of a lamp, 0 to 1."""
        ...


def opens_device(url: str) -> bool:
    """Whether a stage of this address is a device: built in, or of a plug-in."""
    scheme = _scheme(url)
    return scheme in DEVICES or (
        scheme not in {"", *PORTS} and find_plugin(STAGES, scheme, _built_in()) is not None
    )


def open_device(url: str, settings: StageSettings, patience: Patience) -> DrivenStage:
    """Open a stage that is no board on a wire; `opens_device` says whether it is one.

    Raises
    ------
    PluginError
        The plug-in cannot be used.
    UsageError
        The settings tell the length of a step, and the device knows another.
    HardwareError
        It cannot be opened.
    """
    scheme = _scheme(url)
    if scheme in DEVICES:
        module, _, function = DEVICES[scheme].partition(":")
        opener, of = getattr(import_module(module), function), f"the stage at {url}"
    else:
        plugin = find_plugin(STAGES, scheme, _built_in())
        assert plugin is not None
        opener, of = load_plugin(plugin), f"the plug-in of {plugin.package}"
    with _named(of):
        device: StageDevice = opener(url)
    try:
        _require(device, of)
        board = DeviceBoard(device, url, of, patience)
        return DrivenStage(board, board.settings(settings))
    except BaseException:
        with contextlib.suppress(Exception):
            device.close()
        raise


class DeviceBoard:
    """A device as a board; see `edgeleuk_firmware_bridge.stage.boards.Board`.

    Parameters
    ----------
    device : StageDevice
    url : str
    of : str
        Whose it is, for errors: no exception of somebody else's code leaves this class as it came.
    patience : Patience
    """

    tolerance = Steps(1, 1, 1)

    def __init__(self, device: StageDevice, url: str, of: str, patience: Patience) -> None:
        self._device = device
        self._url = url
        self._of = of
        self._um_per_step = device.um_per_step
        self._z_um_per_step = 1.0
        self.capabilities = device.capabilities
        self.transport = _DeviceWire(device, patience)

    def settings(self, given: StageSettings) -> StageSettings:
        """Return the settings with the device's own length of a step, where it knows that."""
        axes = []
        for name, axis, um in zip(
            "xyz", (given.x, given.y, given.z), self._um_per_step or (None,) * 3, strict=True
        ):
            if um is not None and axis.um_per_step not in {AxisSettings().um_per_step, um}:
                raise UsageError(
                    f"the stage at {self._url} knows the length of its steps in {name}",
                    got=f"um_per_step {axis.um_per_step:g}",
                    allowed=f"{um:g}",
                    cure="leave um_per_step out",
                )
            axes.append(axis if um is None else replace(axis, um_per_step=um))
        self._z_um_per_step = axes[2].um_per_step
        return replace(given, x=axes[0], y=axes[1], z=axes[2])

    def look(self) -> BoardReading:
        """Ask whether it moves, then where it is."""
        with _named(self._of):
            moving = self._device.moving()
            return BoardReading(Steps(*map(int, self._device.steps())), moving=moving)

    def status(self) -> BoardStatus:
        """Say whether it moves."""
        with _named(self._of):
            return BoardStatus("moving" if self._device.moving() else "idle")

    def go(self, way: Steps) -> float:
        """Let it go so far."""
        with _named(self._of):
            here = self._device.steps()
            target = Steps(*(int(now) + by for now, by in zip(here, way, strict=True)))
            told_s = self._device.go_to(target)
            return _UNTOLD_S if told_s is None else told_s

    def halt_now(self) -> None:
        """Stop it, from any thread."""
        with _named(self._of):
            self._device.stop()

    def dark_now(self) -> None:
        """Turn its lamps off."""
        for channel in self.capabilities.channels:
            self.shine(channel, 0.0)

    def give_up(self) -> None:
        """Nothing is awaited: it is asked."""

    def halt(self) -> None:
        """Stop it."""
        self.halt_now()

    def home(self) -> None:
        """Let it find its end stops."""
        assert isinstance(self._device, Homing)
        with _named(self._of):
            self._device.home()
            self._stand(self.transport.patience.home_s)

    def focus(self, reach_um: float) -> None:
        """Let it find the focus."""
        assert isinstance(self._device, Focusing)
        with _named(self._of):
            self._device.focus(math.ceil(reach_um / self._z_um_per_step))
            self._stand(_UNTOLD_S)

    def unlock(self) -> bool:
        """Do nothing: it tells of no alarm."""
        return False

    def shine(self, channel: str, level: float) -> None:
        """Set a lamp."""
        assert isinstance(self._device, Lit)
        with _named(self._of):
            self._device.set_level(channel, level)

    def shines(self, channel: str) -> float | None:
        """Read it back."""
        assert isinstance(self._device, Lit)
        with _named(self._of):
            return self._device.level(channel)

    def let_go(self) -> None:
        """Nothing was changed that is not its own."""

    def _stand(self, most_s: float) -> None:
        ends_s = time.monotonic() + most_s
        while self._device.moving():
            if time.monotonic() > ends_s:
                raise NotArrivedError(f"{self._of} still moves after {most_s:g} s")
            time.sleep(_POLL_S)


class _DeviceWire:
    """What `DrivenStage` needs of a wire; see `edgeleuk_firmware_bridge.stage.boards.Wire`."""

    def __init__(self, device: StageDevice, patience: Patience) -> None:
        self.lock = threading.RLock()
        self.patience = patience
        self.error_count = 0
        self.link: Closing = _DeviceLink(device)

    def doubt(self) -> None:
        self.error_count += 1


class _DeviceLink(Closing):
    def __init__(self, device: StageDevice) -> None:
        self._device = device

    def close(self) -> None:
        # Whoever closes can do nothing about it.
        with contextlib.suppress(Exception):
            self._device.close()


@contextlib.contextmanager
def _named(of: str) -> Iterator[None]:
    try:
        yield
    except EdgeleukError:
        raise
    except Exception as error:
        raise LinkLostError(f"{of} failed", got=described(error)) from error


def _require(device: StageDevice, of: str) -> None:
    """Refuse a device that lacks what it says that it has."""
    names = ["capabilities", "um_per_step", "steps", "moving", "go_to", "stop", "close"]
    missing = [name for name in names if not hasattr(device, name)]
    if not missing:
        told = device.capabilities
        for says, kind in ((told.can_home, Homing), (told.can_focus, Focusing), (told.channels, Lit)):
            if says and not isinstance(device, kind):
                missing.append(f"what {kind.__name__} has")
    if missing:
        raise HardwareError(
            f"{of} opened something that is no stage",
            got=f"{type(device).__name__} without {', '.join(missing)}",
            cure="see edgeleuk.plugins.StageDevice",
        )


def _scheme(url: str) -> str:
    scheme, separator, _ = url.partition("://")
    return scheme.lower() if separator else ""


def _built_in() -> tuple[str, ...]:
    return (*PORTS, *DEVICES)
