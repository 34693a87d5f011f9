"""The routes of the page of review: what comes next, its pictures, and the words of the readers.

A reader is blind to the others: what they say of a cell is told once this one has said something, too.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, Field
from starlette.responses import RedirectResponse, Response

from edgeleuk.errors import SessionError, UsageError
from edgeleuk.labels.words import name_given
from edgeleuk.review.desk import word
from edgeleuk.session.pictures import as_png
from edgeleuk.session.reviews import LONGEST_NOTE, LONGEST_READER, LONGEST_TOKEN, WORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edgeleuk.review.desk import ReviewDesk
    from edgeleuk.review.neighbours import Neighbours
    from edgeleuk.session.reviews import Review

# A page asks for what comes next a few at a time; what it sends fits into what the server reads.
_MOST_NEXT, _MOST_WORDS = 100, 50
_PICTURES_STAY = {"cache-control": "private, max-age=3600"}
_NO_NEIGHBOURS = "neighbours are shown by `edgeleuk review`, after the run"


class SaidWord(BaseModel):
    """What a reader calls a cell; the token names this one word, also where it is sent again."""

    track: int = Field(ge=0, lt=1 << 63)
    label: str = Field(min_length=1, max_length=100)
    token: str = Field(min_length=1, max_length=LONGEST_TOKEN)
    is_drawn: bool = False
    note: str | None = Field(None, max_length=LONGEST_NOTE)


class SaidWords(BaseModel):
    """Words of one reader: all are recorded, or none."""

    reader: str = Field(max_length=LONGEST_READER)
    words: list[SaidWord] = Field(min_length=1, max_length=_MOST_WORDS)


class Undo(BaseModel):
    """Takes back the word with the token ``of``."""

    reader: str = Field(max_length=LONGEST_READER)
    token: str = Field(min_length=1, max_length=LONGEST_TOKEN)
    of: str = Field(min_length=1, max_length=LONGEST_TOKEN)


class Recorded(BaseModel):
    """A row of the session's reviews; ``label`` is null where it takes another back."""

    number: int
    track: int
    label: str | None
    token: str
    at: float


def review_router(
    desk: ReviewDesk,
    page: Callable[[Request], Response],
    neighbours: Neighbours | str = _NO_NEIGHBOURS,
    *,
    alone: bool = False,
) -> APIRouter:
    """Return the routes of a review.

    Parameters
    ----------
    desk : ReviewDesk
    page : callable
        Answers with the page itself.
    neighbours : Neighbours or str
        Or why there are none.
    alone : bool
        Whether no run is shown beside it, so that the review is the first page.
    """
    router = APIRouter()

    @router.get("/review", include_in_schema=False)
    def review_page(request: Request) -> Response:
        return page(request)

    if alone:

        @router.get("/", include_in_schema=False)
        def first_page() -> Response:
            return RedirectResponse("/review", 307)

    _add_state(router, desk, alone=alone)
    _add_cells(router, desk, neighbours)
    _add_words(router, desk)
    return router


def _add_state(router: APIRouter, desk: ReviewDesk, *, alone: bool) -> None:
    @router.get("/api/review/state", response_class=Response)
    def state(reader: str = "") -> Response:
        """Return where the review stands: what ``edgeleuk review --json`` prints.

        Conflicts are told of cells that the reader called something, and none without a reader.
        """
        found = desk.state()
        told = tuple(one for one in found.conflicts if reader in one.labels)
        return _json(msgspec.structs.replace(found, conflicts=told))

    @router.get("/api/review/counts", response_class=Response)
    def counts() -> Response:
        """Return the machine's counts beside those after the review."""
        return _json(desk.state().counts)

    @router.get("/api/review/about")
    def about() -> dict[str, Any]:
        """Return the words that a cell may be called by, and whether a run is shown on ``/``."""
        return {"words": list(WORDS), "has_live": not alone}

    @router.get("/api/review/queue")
    def queue(reader: str, offset: int = 0, limit: int = 20) -> dict[str, Any]:
        """Return the next cells that the reader did not call anything, by their worth."""
        name = name_given(reader, "reader")
        if not (offset >= 0 and 1 <= limit <= _MOST_NEXT):
            raise UsageError("that part of the queue cannot be told", allowed=f"limit=1 to {_MOST_NEXT}")
        found = desk.queue(name, offset, limit)
        return {"cells": [{"track": cell.track, "why": desk.why(cell.track).value} for cell in found]}

    @router.get("/api/review/own")
    def own(reader: str) -> list[Recorded]:
        """Return the words of the reader that stand, in their order."""
        return [_recorded(review) for review in desk.own(name_given(reader, "reader"))]


def _add_cells(router: APIRouter, desk: ReviewDesk, neighbours: Neighbours | str) -> None:
    @router.get("/api/review/cells/{track}")
    def cell(track: int, reader: str = "") -> dict[str, Any]:
        """Return one cell: what the reader calls it, and then what the machine and others say of it."""
        call, said = desk.call(track), desk.words_on(track)
        row = desk.row(track)
        told = reader in said
        return {
            "track": track,
            "why": desk.why(track).value,
            "has_picture": call.has_picture,
            "frame": row["frame"],
            "px_per_um": row["px_per_um"],
            "area_um2": row["area_um2"],
            "own": said.get(reader),
            "others": {one: label for one, label in said.items() if one != reader} if told else {},
            "machine": {
                "called": call.called,
                "probability": call.probability,
                "kind_probability": call.kind_probability,
                "reason": call.reason,
            }
            if told
            else None,
        }

    @router.get("/api/review/cells/{track}/picture", response_class=Response)
    def picture(track: int) -> Response:
        """Return the cell's pixels as a PNG, transparent around it."""
        data = desk.row(track).get("crop")
        if not isinstance(data, bytes):
            raise HTTPException(404, desk.why_no_picture(track))
        try:
            png = as_png(data)
        except (ValueError, TypeError, IndexError):
            raise HTTPException(404, "the cell's picture is damaged") from None
        return Response(png, media_type="image/png", headers=_PICTURES_STAY)

    @router.get("/api/review/cells/{track}/context", response_class=Response)
    def context(track: int) -> Response:
        """Return the field around the cell as a JPEG; ``x-edgeleuk-field`` is 1 at full resolution."""
        found = desk.context(track)
        if found is None:
            raise HTTPException(404, "nothing of the field around the cell was kept")
        headers = {**_PICTURES_STAY, "x-edgeleuk-field": str(int(found.is_field))}
        return Response(found.jpeg, media_type="image/jpeg", headers=headers)

    @router.get("/api/review/cells/{track}/neighbours")
    def neighbours_of(track: int, reader: str = "") -> dict[str, Any]:
        """Return the labelled cells that the cell is most like: the reader's own, and the bundle's."""
        desk.call(track)
        if isinstance(neighbours, str):
            return {"neighbours": [], "pending": 0, "reason": neighbours}
        found = neighbours.of(track, desk.said(reader))
        return {
            "neighbours": [one._asdict() for one in found.neighbours],
            "pending": found.pending,
            "reason": found.reason,
        }


def _add_words(router: APIRouter, desk: ReviewDesk) -> None:
    @router.post("/api/review/labels")
    def labels(said: SaidWords) -> list[Recorded]:
        """Record what a reader calls cells; on the disk when this is answered."""
        words = [
            word(one.track, one.label, said.reader, one.token, is_drawn=one.is_drawn, note=one.note)
            for one in said.words
        ]
        with _later():
            return [_recorded(review) for review in desk.record(words)]

    @router.post("/api/review/undo")
    def undo(asked: Undo) -> Recorded:
        """Take a word back, by a further row; on the disk when this is answered."""
        reader = name_given(asked.reader, "reader")
        with _later():
            return _recorded(desk.undo(reader, asked.token, asked.of))


@contextmanager
def _later() -> Iterator[None]:
    """Tell a session that cannot be written now from a word that never can: the page sends it again."""
    try:
        yield
    except SessionError as error:
        raise HTTPException(503, str(error)) from error


def _recorded(review: Review) -> Recorded:
    return Recorded(
        number=review.number, track=review.track, label=review.label, token=review.token, at=review.at
    )


def _json(value: msgspec.Struct) -> Response:
    return Response(
        msgspec.json.encode(value), media_type="application/json", headers={"cache-control": "no-store"}
    )
