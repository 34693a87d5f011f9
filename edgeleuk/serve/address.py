"""Where a page is served, by what was typed; light, so that the command line can read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgeleuk.errors import UsageError

if TYPE_CHECKING:
    from edgeleuk.io.settings import Settings

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Where and how a page is served.

    Attributes
    ----------
    host : str
        Address or name of the network interface; ``0.0.0.0`` or ``::`` is all of them.
    port : int
        0 takes a free one.
    certificate, key : Path, optional
        PEM files, for TLS; the key may stand in the certificate's file.
    token : str, optional
        What its address holds where others may reach it; by default a new one.
    """

    host: str = LOOPBACK
    port: int = 0
    certificate: Path | None = None
    key: Path | None = None
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.key is not None and self.certificate is None:
            raise UsageError("a key without its certificate is of no use", cure="pass --tls-cert FILE, too")


def page_of_settings(settings: Settings) -> ServeOptions | None:
    """Return where the settings want a run's page; None where they want none.

    Raises
    ------
    UsageError
        See `serve_address`; also where there is a certificate and nothing to serve.
    """
    certificate, key = (
        None if file is None else Path(file) for file in (settings.tls_cert, settings.tls_key)
    )
    if settings.serve is None:
        if (certificate or key) is not None:
            raise UsageError(
                "a certificate is of use with --serve alone", cure="pass --serve [HOST:]PORT, too"
            )
        return None
    return serve_address(settings.serve, certificate, key)


def serve_address(text: str, certificate: Path | None = None, key: Path | None = None) -> ServeOptions:
    """Read ``[HOST:]PORT``.

    Raises
    ------
    UsageError
        It is not that, or there is a key without a certificate.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not (port.isascii() and port.isdigit() and int(port) <= 65535) or (":" in host and "[" not in text):
        raise UsageError(
            "where to serve the page cannot be read",
            got=text,
            allowed="[HOST:]PORT, with a port from 0 to 65535",
            cure="pass 8000, or 0.0.0.0:8000 for other machines to see it",
        )
    return ServeOptions(host or LOOPBACK, int(port), certificate, key)
