"""The page's files: read once, served by name, so that no path of the disk can be asked for."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


@cache
def page_files() -> Mapping[str, bytes]:
    """Return the files of the folder ``page`` by their names."""
    return {
        one.name: one.read_bytes()
        for one in files("edgeleuk.serve").joinpath("page").iterdir()
        if _suffix(one.name) in _KINDS
    }


def page_file(name: str, request: Request) -> Response:
    """Answer with one of the page's files, or that the browser has it already.

    Raises
    ------
    HTTPException
        404: there is no such file.
    """
    content = page_files().get(name)
    if content is None:
        raise HTTPException(404, "there is no such page")
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    # Asked for each time, so that no tablet runs the script of an older version.
    headers = {"etag": tag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=_KINDS[_suffix(name)], headers=headers)


def review_page(request: Request) -> Response:
    """Answer with the page of review."""
    return page_file("review.html", request)


def pages_router() -> APIRouter:
    """Return the routes of the page's files."""
    router = APIRouter()

    @router.get("/page/{name}", include_in_schema=False)
    def one_file(name: str, request: Request) -> Response:
        return page_file(name, request)

    @router.get("/favicon.ico", include_in_schema=False)
    def icon(request: Request) -> Response:
        return page_file("icon.svg", request)

    return router


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]
