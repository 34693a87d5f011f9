"""Opens a stage by its address, and sees that the right board is there."""

from __future__ import annotations

import re
import time
from importlib import import_module
from typing import TYPE_CHECKING

from edgeleuk.errors import HardwareError, UsageError
from edgeleuk_firmware_bridge import grbl, sangaboard
from edgeleuk_firmware_bridge.dialogue import LineBuffer
from edgeleuk_firmware_bridge.driving import DrivenStage
from edgeleuk_firmware_bridge.failures import BoardResetError
from edgeleuk_firmware_bridge.links import Patience, open_link
from edgeleuk_firmware_bridge.microscope import StageSettings

if TYPE_CHECKING:
    from edgeleuk_firmware_bridge.boards import Board
    from edgeleuk_firmware_bridge.links import Link

BOARDS = {
    "sangaboard": "edgeleuk_firmware_bridge.boards:SangaboardBoard",
    "grbl": "edgeleuk_firmware_bridge.boards:GrblBoard",
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
        ``serial:///dev/serial/by-id/...``, ``socket://HOST:PORT``, or another URL of pyserial's.
    protocol : str, optional
        ``sangaboard`` or ``grbl``; without it, the board is asked.
    settings : StageSettings, optional
    patience : Patience, optional

    Raises
    ------
    UsageError
        No such protocol, or no such kind of address.
    HardwareError
        The port cannot be opened, or the board on it is another, too old, or silent.
    """
    if protocol is not None and protocol not in BOARDS:
        raise UsageError("there is no such protocol", got=repr(protocol), allowed=", ".join(BOARDS))
    patience = patience or Patience()
    link = open_link(url)
    try:
        found = _checked(link, protocol, patience)
        return DrivenStage(_opened(BOARDS[found], link, patience), settings or StageSettings())
    except BaseException:
        link.close()
        raise


def identify(link: Link, patience: Patience) -> tuple[str, str]:
    """Return which protocol the board on a link speaks, and the line that tells.

    What is sent does no harm to either: a GRBL board calls it an error.

    Raises
    ------
    HardwareError
        It speaks neither, or nothing at all.
    """
    lines, heard = LineBuffer(), ""
    ends_s = time.monotonic() + patience.boot_s
    ask_s, questions = 0.0, [b"version\n", b"?\n"]
    while time.monotonic() < ends_s:
        if time.monotonic() >= ask_s:
            link.write(questions[0])
            questions.reverse()
            ask_s = time.monotonic() + min(patience.answer_s, 1.0)
        for line in lines.feed(link.read(0.05)):
            heard = heard or line
            if sangaboard.version_of(line):
                return "sangaboard", line
            if grbl.version_of(line) or re.fullmatch(r"error:\d+|<\w+[|,:].*>|ALARM:\d+", line):
                return "grbl", line
    if heard:
        raise HardwareError(
            f"another device is at {link.url}",
            got=repr(heard[:60]),
            allowed="a Sangaboard, GRBL 1.1 or grblHAL",
        )
    raise HardwareError(
        f"the device at {link.url} is silent",
        cure="see to its supply; a GRBL board after a hard alarm needs its reset button",
    )


def _checked(link: Link, protocol: str | None, patience: Patience) -> str:
    found, said = identify(link, patience)
    if protocol not in {None, found}:
        raise HardwareError(
            f"the board at {link.url} does not speak {protocol}",
            got=f"{said!r}, which is {found}'s",
            cure=f"pass --protocol {found}, or another --stage",
        )
    return found


def _opened(name: str, link: Link, patience: Patience) -> Board:
    module, _, kind = name.partition(":")
    make = getattr(import_module(module), kind)
    try:
        board: Board = make(link, patience)
    except BoardResetError:
        # Opening the port has reset it, and it was quicker than we.
        board = make(link, patience)
    return board
