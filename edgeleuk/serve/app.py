"""The application of the page: its routes behind one guard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.requests import Request  # noqa: TC002 - FastAPI looks at it
from starlette.responses import HTMLResponse, JSONResponse

from edgeleuk.errors import EdgeleukError
from edgeleuk.io.console import write_down
from edgeleuk.serve.access import Guard
from edgeleuk.serve.documentation import documentation_page
from edgeleuk.serve.metrics import metrics_router
from edgeleuk.serve.pages import pages_router
from edgeleuk.serve.routes import live_router
from edgeleuk.version import RESEARCH_USE, __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import APIRouter

    from edgeleuk.serve.access import Access
    from edgeleuk.serve.live import LiveState


def create_app(state: LiveState | None, *, access: Access, routers: Sequence[APIRouter] = ()) -> FastAPI:
    """Put the page together.

    Parameters
    ----------
    state : LiveState or None
        Of the run that is shown; None where there is none, and no live page.
    access : Access
        Who may see it.
    routers : sequence of APIRouter
        Further routes, behind the same guard.

    Returns
    -------
    FastAPI
        With the OpenAPI document on ``/openapi.json`` and a page of it on ``/docs``. An `EdgeleukError` that
        a route raises is answered as status 409 with its sentence as ``detail``.
    """
    app = FastAPI(
        title="edgeleuk",
        version=__version__,
        description=RESEARCH_USE,
        # FastAPI's own pages load scripts from another server.
        docs_url=None,
        redoc_url=None,
        middleware=[Middleware(Guard, access=access)],
        exception_handlers={EdgeleukError: _told, Exception: _failed},
    )
    app.include_router(pages_router())
    if state is not None:
        app.include_router(live_router(state))
        app.include_router(metrics_router(state))
    for router in routers:
        app.include_router(router)
        if state is not None and any(getattr(one, "path", "") == "/review" for one in router.routes):
            state.has_review = True

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(documentation_page(app.openapi()))

    return app


async def _told(_: Request, error: Any) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=409)


async def _failed(_: Request, error: Exception) -> JSONResponse:
    write_down(f"error: the page's server failed: {type(error).__name__}: {error}")
    return JSONResponse({"detail": "the server failed at this; the run goes on"}, status_code=500)
