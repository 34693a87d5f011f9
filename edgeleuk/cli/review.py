"""The command that reviews the cells of a session: `review`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeleuk.cli.options import BundleOption, JsonOption, ServeOption, TlsCertOption, TlsKeyOption
from edgeleuk.cli.output import emit
from edgeleuk.errors import UsageError


def review(
    session: Annotated[Path, typer.Argument(metavar="SESSION", help="A file that `run` recorded.")],
    serve: ServeOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
    bundle: BundleOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at the cells that are worth it, in a browser; without --serve, say what the review came to."""
    from edgeleuk.commands import review as reviewing
    from edgeleuk.io.config import command_settings
    from edgeleuk.review.state import state_text
    from edgeleuk.serve.address import serve_address

    if serve is None:
        if (tls_cert or tls_key or bundle) is not None:
            raise UsageError(
                "certificate and bundle are of use with --serve alone", cure="pass --serve [HOST:]PORT, too"
            )
        state = reviewing.review_facts(session)
    else:
        chosen = command_settings({"bundle": bundle}, command="review").bundle
        state = reviewing.serve_review(session, serve_address(serve, tls_cert, tls_key), chosen)
    emit(state, state_text, as_json=as_json)
