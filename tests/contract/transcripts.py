"""What boards and other devices say on their port, as their documents and users tell; served on TCP."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

GRBL_SETTINGS = (
    "$10=1", "$13=0", "$20=0", "$22=0", "$30=1000", "$32=0", "$100=250.000", "$101=250.000", "$102=250.000",
    "$110=500.000", "$111=500.000", "$112=500.000", "$120=10.000", "$121=10.000", "$122=10.000",
)  # fmt: skip
GRBL_LINES: Mapping[str, tuple[str, ...]] = {
    "": ("ok",),
    "$$": (*GRBL_SETTINGS, "ok"),
    "$G": ("[GC:G0 G54 G17 G21 G90 G94 M5 M9 T0 F0 S0]", "ok"),
    "$": ("[HLP:$$ $# $G $I $N $x=val $Nx=line $J=line $SLP $C $X $H ~ ! ? ctrl-x]", "ok"),
    "M5": ("ok",),
    "M9": ("ok",),
}
SANGABOARD_LINES: Mapping[str, tuple[str, ...]] = {
    "p?": ("0 0 0",),
    "moving?": ("false",),
    "dt?": ("minimum step delay 1000",),
    "ramp_time?": ("ramp_time 0",),
    "blocking_moves?": ("blocking_moves false",),
    "list_modules": ("Illumination: CC:1 PWM:0", "--END--"),
    "led_cc?": ("CC LED:0.50",),
    "stop": ("Move aborted",),
    "release": ("done",),
}


@dataclass(frozen=True)
class Transcript:
    """What is said at the start, and in answer to lines and to single bytes.

    Attributes
    ----------
    welcome : tuple of str
        Said when somebody connects.
    lines : mapping
        A line -> what it answers.
    other : tuple of str
        What every other line answers; ``{}`` stands for the line.
    at_once : mapping
        Bytes that are acted upon outside of the lines.
    """

    welcome: tuple[str, ...] = ()
    lines: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    other: tuple[str, ...] = ()
    at_once: Mapping[bytes, tuple[str, ...]] = field(default_factory=dict)

    def answer(self, data: bytes, rest: bytes) -> tuple[bytes, bytes]:
        """Return what some bytes are answered, and what stays of a line."""
        said: list[str] = []
        for byte in (bytes([number]) for number in data):
            if byte in self.at_once:
                said += self.at_once[byte]
            elif byte == b"\n":
                line, rest = rest.decode("latin-1").strip(), b""
                said += self.lines.get(line, tuple(text.replace("{}", line) for text in self.other))
            else:
                rest += byte
        return b"".join(line.encode() + b"\r\n" for line in said), rest


def grbl(
    welcome: tuple[str, ...], build: tuple[str, ...], *, status: str = "<Idle|MPos:0.000,0.000,0.000|FS:0,0>",
    refusal: tuple[str, ...] = ("error:2",), **lines: tuple[str, ...],
) -> Transcript:  # fmt: skip
    """Make a firmware of GRBL's kind; `settings` among `lines` replaces what ``$$`` answers."""
    own = {"$I": (*build, "ok")}
    if "settings" in lines:
        own["$$"] = (*lines["settings"], "ok")
    at_once = {b"?": (status,), b"\x18": welcome[-1:], b"!": (), b"~": (), b"\x85": ()}
    return Transcript(welcome, {**GRBL_LINES, **own}, refusal, at_once)


def sangaboard(firmware: str, board: str, **lines: tuple[str, ...]) -> Transcript:
    """Make a Sangaboard; `lines` differ from `SANGABOARD_LINES`, ``_`` in a name being ``?``."""
    own = {name.replace("_query", "?"): answer for name, answer in lines.items()}
    known = {**SANGABOARD_LINES, "version": (firmware,), "board": (board,), **own}
    return Transcript((firmware,), known, ("Type 'help' for a list of commands.",))


@contextlib.contextmanager
def served(transcript: Transcript) -> Iterator[str]:
    """Serve it to one client after the other; its address."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client, contextlib.suppress(OSError):
                    rest = b""
                    client.sendall(b"".join(line.encode() + b"\r\n" for line in transcript.welcome))
                    while data := client.recv(4096):
                        said, rest = transcript.answer(data, rest)
                        client.sendall(said)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"socket://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)
