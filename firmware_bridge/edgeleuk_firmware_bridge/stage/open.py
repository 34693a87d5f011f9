"""Opens a stage by its address, and sees that the right board is there."""

from __future__ import annotations

import re
import time
from importlib import import_module
from typing import TYPE_CHECKING

from edgeleuk.errors import HardwareError, UsageError
from edgeleuk_firmware_bridge.stage import grbl, sangaboard
from edgeleuk_firmware_bridge.stage.boards import Heard
from edgeleuk_firmware_bridge.stage.device import open_device, opens_device
from edgeleuk_firmware_bridge.stage.driver import DrivenStage
from edgeleuk_firmware_bridge.stage.errors import BoardAlarmError, BoardResetError
from edgeleuk_firmware_bridge.stage.protocols import StageSettings
from edgeleuk_firmware_bridge.stage.serial_link import Patience, open_link
from edgeleuk_firmware_bridge.stage.state_machine import LineBuffer

if TYPE_CHECKING:
    from edgeleuk_firmware_bridge.stage.boards import Board
    from edgeleuk_firmware_bridge.stage.serial_link import Link

BOARDS = {
    "sangaboard": "edgeleuk_firmware_bridge.stage.sangaboard_board:SangaboardBoard",
    "grbl": "edgeleuk_firmware_bridge.stage.grbl_board:GrblBoard",
}


def open_stage(
    url: str,
    protocol: str | None = None,
    settings: StageSettings | None = None,
    patience: Patience | None = None,
) -> DrivenStage:
    """Open a stage for this process alone; its lamps are `DrivenStage.lamp`.

    Parameters
    ----------
    url : str
        ``serial:///dev/serial/by-id/...``, ``socket://HOST:PORT``, another URL of pyserial's,
        ``openflexure://HOST``, or an address of a plug-in.
    protocol : str, optional
        ``sangaboard`` or ``grbl``; without it, the board is asked.
    settings : StageSettings, optional
    patience : Patience, optional

    Raises
    ------
    UsageError
        No such protocol, or no such kind of address.
    PluginError
        The plug-in of this address cannot be used.
    HardwareError
        The port cannot be opened, or the board on it is another, too old, or silent.
    """
    if protocol is not None and protocol not in BOARDS:
        raise UsageError("there is no such protocol", got=repr(protocol), allowed=", ".join(BOARDS))
    patience = patience or Patience()
    if opens_device(url):
        if protocol is not None:
            raise UsageError(
                f"{url} is no board that speaks a protocol", got=f"--protocol {protocol}", cure="leave it out"
            )
        return open_device(url, settings or StageSettings(), patience)
    link = open_link(url)
    try:
        heard = _checked(link, protocol, patience)
        return DrivenStage(_opened(link, patience, heard), settings or StageSettings())
    except BaseException:
        link.close()
        raise


def identify(link: Link, patience: Patience) -> Heard:
    """Find out which protocol the board on a link speaks.

    What is sent does no harm to either: a GRBL board calls it an error. One that keeps silent, or says that
    an alarm made it deaf, is told to reset, once: a GRBL board then stands still, locked, and listens.

    Raises
    ------
    HardwareError
        It speaks neither, or nothing at all.
    """
    lines, heard = LineBuffer(), ""
    alarm, was_reset = None, False
    begun_s = time.monotonic()
    ask_s, questions = 0.0, [b"version\n", b"?\n"]
    while (now_s := time.monotonic()) < begun_s + patience.boot_s:
        silent = not heard and now_s > begun_s + patience.boot_s / 2
        deaf = heard == grbl.RESET_WANTED or alarm in grbl.DEAFENING
        if (silent or deaf) and not was_reset:
            was_reset, ask_s, questions = True, now_s + 0.3, [b"?\n", b"version\n"]
            link.write(grbl.Realtime.RESET.value)
        if now_s >= ask_s:
            link.write(questions[0])
            questions.reverse()
            ask_s = now_s + min(patience.answer_s, 1.0)
        for line in lines.feed(link.read(0.05)):
            heard = line if line == grbl.RESET_WANTED else heard or line
            if sangaboard.version_of(line):
                return Heard("sangaboard", line)
            code = re.fullmatch(r"ALARM:(\d{1,3})", line)
            alarm = int(code[1]) if code else alarm
            welcome = grbl.version_of(line) and (was_reset or alarm not in grbl.DEAFENING)
            if welcome or re.fullmatch(r"error:\d+|<\w+[|,:].*>", line):
                return Heard("grbl", line, alarm, was_reset)
    if alarm is not None:
        return Heard("grbl", f"ALARM:{alarm}", alarm, was_reset)
    if heard:
        raise HardwareError(
            f"another device is at {link.url}",
            got=repr(heard[:60]),
            allowed="a Sangaboard, GRBL 1.1 or grblHAL",
        )
    raise HardwareError(
        f"the device at {link.url} is silent, also after a reset was sent",
        cure="see to its supply and its cable, or press its reset button",
    )


def _checked(link: Link, protocol: str | None, patience: Patience) -> Heard:
    heard = identify(link, patience)
    if protocol not in {None, heard.protocol}:
        raise HardwareError(
            f"the board at {link.url} does not speak {protocol}",
            got=f"{heard.line!r}, which is {heard.protocol}'s",
            cure=f"pass --protocol {heard.protocol}, or another --stage",
        )
    return heard


def _opened(link: Link, patience: Patience, heard: Heard) -> Board:
    module, _, kind = BOARDS[heard.protocol].partition(":")
    make = getattr(import_module(module), kind)
    try:
        board: Board = make(link, patience, heard)
    except (BoardResetError, BoardAlarmError):
        # Opening the port has reset it, and it was quicker than we.
        board = make(link, patience, heard)
    return board
