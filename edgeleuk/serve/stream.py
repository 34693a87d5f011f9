"""Annotated fields as a stream of JPEGs, to any number of viewers: who is slow misses some."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import Response

if TYPE_CHECKING:
    from edgeleuk.serve.access import Receive, Scope, Send
    from edgeleuk.serve.live import LiveState

MOST_VIEWERS = 8
# A viewer that takes nothing for so long is let go.
_SENT_WITHIN_S = 20.0
_LOOK_EVERY_S = 1.0
_BOUNDARY = b"edgeleuk-field"


class PictureStream(Response):
    """Sends the newest picture, then the next that is there once it was taken; never one twice.

    Memory holds one picture for each viewer, whatever they do.

    Parameters
    ----------
    state : LiveState
    """

    def __init__(self, state: LiveState) -> None:
        kind = f"multipart/x-mixed-replace; boundary={_BOUNDARY.decode()}"
        super().__init__(media_type=kind, headers={"cache-control": "no-store"})
        # It has no end that could be told.
        del self.headers["content-length"]
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send pictures until the viewer goes or the run has ended."""
        if self._state.viewers >= MOST_VIEWERS:
            busy = Response(
                f"at most {MOST_VIEWERS} can watch at once", status_code=503, media_type="text/plain"
            )
            await busy(scope, receive, send)
            return
        self._state.viewers += 1
        self._state.changed.set()
        gone = asyncio.ensure_future(_until_gone(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._send_pictures(send, gone)
        except asyncio.TimeoutError:
            # Nobody reads: the connection is not worth keeping.
            return
        finally:
            gone.cancel()
            self._state.viewers -= 1

    async def _send_pictures(self, send: Send, gone: asyncio.Future[None]) -> None:
        number = 0
        while not gone.done():
            found = await self._state.pictures.after(number, _LOOK_EVERY_S)
            if found is None:
                if self._state.pictures.closed:
                    break
                continue
            number = found.number
            await asyncio.wait_for(send(_part(found.value)), _SENT_WITHIN_S)
        if not gone.done():
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _part(jpeg: bytes) -> dict[str, object]:
    head = b"--%s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % (_BOUNDARY, len(jpeg))
    return {"type": "http.response.body", "body": head + jpeg + b"\r\n", "more_body": True}


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
