"""The routes of the live page: numbers, pictures, and what a person asks of the run."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, HTTPException, Request, WebSocket
from pydantic import BaseModel, Field
from starlette.responses import Response
from starlette.websockets import WebSocketDisconnect

from edgeleuk.io.console import recordable
from edgeleuk.serve.live import NOTE, OPERATOR, SAMPLE
from edgeleuk.serve.pages import page_file
from edgeleuk.serve.stream import PictureStream
from edgeleuk.session.reader import read_session

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from edgeleuk.serve.live import LiveState, NewCell

# The page hears at most twice a second, and at least once.
_HEARS_EVERY_S = 0.5
_LONGEST_SILENCE_S = 2.0
# Who does not take a message for so long is let go.
_SENT_WITHIN_S = 10.0
_DONE_WITHIN_S = 3.0
# A stage may be on its way, or look for its focus.
_STAGE_WITHIN_S = 60.0
_GOING_AWAY = 1001
_MOST_EVENTS = 1000
# Track and bytes, the greater first.
_PICTURE_HEAD = struct.Struct(">QI")


class Words(BaseModel):
    """What a person writes down: a note, the sample, or who operates the microscope."""

    text: str = Field(min_length=1, max_length=500)


class Move(BaseModel):
    """How far the stage is to go from where it is, in micrometres."""

    x_um: float = Field(0.0, ge=-1000, le=1000)
    y_um: float = Field(0.0, ge=-1000, le=1000)
    z_um: float = Field(0.0, ge=-1000, le=1000)


class Light(BaseModel):
    """The level of the lamp, 0 (off) to 1."""

    level: float = Field(ge=0, le=1)


class Done(BaseModel):
    """Whether what was asked for is done, and on the disk where it is recorded; else it is under way."""

    done: bool


def live_router(state: LiveState) -> APIRouter:
    """Return the routes of a run's page."""
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    def live_page(request: Request) -> Response:
        return page_file("index.html", request)

    @router.get("/api/state", response_class=Response)
    def state_now() -> Response:
        """Return the run as it is now: what ``/api/live`` sends."""
        found = state.documents.now()
        if found is None:
            raise HTTPException(503, "the run has only begun; ask again in a second")
        return Response(found.value, media_type="application/json", headers={"cache-control": "no-store"})

    @router.websocket("/api/live")
    async def live(socket: WebSocket, pictures: bool = False) -> None:
        await _tell(state, socket, pictures=pictures)

    @router.get("/api/events")
    def events(after: int = 0) -> list[dict[str, Any]]:
        """Return events of the session's log that come after the one with that number, 1000 at most."""
        with read_session(state.facts.session) as reader:
            rows = [
                {"number": row["id"], "at": row["at"], "kind": row["kind"], "text": row["text"]}
                for row in reader.rows("events")
            ]
        return [row for row in rows if int(str(row["number"])) > after][:_MOST_EVENTS]

    @router.get("/stream.mjpg", include_in_schema=False)
    def stream() -> Response:
        return PictureStream(state)

    @router.get("/api/cells/{track}/picture", response_class=Response)
    def cell_picture(track: int) -> Response:
        """Return one of the newest cells as a JPEG."""
        cell = state.cell(track)
        if cell is None:
            raise HTTPException(404, "that cell is not among the newest")
        return Response(cell.jpeg, media_type="image/jpeg", headers={"cache-control": "max-age=3600"})

    _add_commands(router, state)
    return router


def _add_commands(router: APIRouter, state: LiveState) -> None:
    @router.post("/api/commands/pause")
    async def pause() -> Done:
        """Take no more frames until told to go on; what a camera sends meanwhile is in no count."""
        return await _done(state.pause())

    @router.post("/api/commands/resume")
    async def resume() -> Done:
        """Take frames again."""
        return await _done(state.resume())

    @router.post("/api/commands/stop")
    async def stop() -> Done:
        """End the run in order: what was counted is recorded and summed up."""
        return await _done(state.stop())

    @router.post("/api/commands/note")
    async def note(words: Words) -> Done:
        """Record a note in the session."""
        return await _done(state.say(NOTE, _line(words)))

    @router.post("/api/commands/sample")
    async def sample(words: Words) -> Done:
        """Record which sample this is; the last one that is told holds."""
        return await _done(state.say(SAMPLE, _line(words)))

    @router.post("/api/commands/operator")
    async def operator(words: Words) -> Done:
        """Record who operates the microscope; the last one who is told holds."""
        return await _done(state.say(OPERATOR, _line(words)))

    @router.post("/api/commands/move")
    async def move(way: Move) -> Done:
        """Move the stage so far from where it is."""
        return await _done(_desk(state).move(way.x_um, way.y_um, way.z_um), _STAGE_WITHIN_S)

    @router.post("/api/commands/autofocus")
    async def autofocus() -> Done:
        """Look for the focus."""
        return await _done(_desk(state).autofocus(), _STAGE_WITHIN_S)

    @router.post("/api/commands/lamp")
    async def lamp(light: Light) -> Done:
        """Set the stage's lamp."""
        return await _done(_desk(state).light(light.level), _STAGE_WITHIN_S)


def _desk(state: LiveState) -> Any:
    if state.desk is None:
        raise HTTPException(409, "no stage is attached: start the run with --stage")
    return state.desk


def _line(words: Words) -> str:
    """Return what was written as one line of letters that can be seen."""
    text = "".join(one if one.isprintable() else " " for one in recordable(words.text))
    text = " ".join(text.split())
    if not text:
        raise HTTPException(422, "there is nothing to record")
    return text


async def _done(asked: Future[None], within_s: float = _DONE_WITHIN_S) -> Done:
    """Wait until something is done, for a while."""
    try:
        await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(asked)), within_s)
    except asyncio.TimeoutError:
        return Done(done=False)
    return Done(done=True)


async def _tell(state: LiveState, socket: WebSocket, *, pictures: bool) -> None:
    """Send the state to one page, the newest only, until it goes or the run has ended."""
    await socket.accept()
    sent: frozenset[int] = frozenset()
    gone = asyncio.ensure_future(_until_gone(socket))
    number = 0
    state.listeners += 1
    try:
        while not gone.done():
            found = await state.documents.after(number, _LONGEST_SILENCE_S)
            if found is None:
                if state.documents.closed:
                    await socket.close(_GOING_AWAY)
                    return
                continue
            number = found.number
            await asyncio.wait_for(socket.send_text(found.value.decode()), _SENT_WITHIN_S)
            if pictures:
                cells = state.newest_cells()
                if fresh := [cell for cell in cells if cell.track not in sent]:
                    # Not here: all viewers would wait while pictures are made.
                    message = await asyncio.to_thread(pictures_message, fresh)
                    await asyncio.wait_for(socket.send_bytes(message), _SENT_WITHIN_S)
                sent = frozenset(cell.track for cell in cells)
            if not state.documents.closed:
                await asyncio.wait([gone], timeout=_HEARS_EVERY_S)
    except (WebSocketDisconnect, asyncio.TimeoutError, RuntimeError):
        # It has gone, or does not take what it asked for.
        return
    finally:
        state.listeners -= 1
        gone.cancel()


def pictures_message(cells: Sequence[NewCell]) -> bytes:
    """Return small pictures of cells as one message: of each its track, how many bytes, and a JPEG.

    A page of a night shows half a million cells. A request for each leaves browsers with more than they
    clear away.
    """
    return b"".join(_PICTURE_HEAD.pack(cell.track, len(cell.jpeg)) + cell.jpeg for cell in cells)


async def _until_gone(socket: WebSocket) -> None:
    """Take what the page sends, which says nothing, until it has gone."""
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
    except (WebSocketDisconnect, RuntimeError):
        return
