"""A client of Web of Things servers, as OpenFlexure's microscope server (version 3) is one.

What a server can do it says itself, in Thing Descriptions (https://www.w3.org/TR/wot-thing-description11/).
Properties are read by GET; actions are begun by POST, then asked after at the ``href`` that comes back, and
cancelled by DELETE, as LabThings does it (https://labthings-fastapi.readthedocs.io/).
"""

from __future__ import annotations

import json
import urllib.request
from contextlib import suppress
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from edgeleuk.errors import HardwareError, UsageError

ANSWER_S = 5.0
# As servers of newer and of older versions have it.
_PREFIXES = ("/api/v3", "")
_DEFAULT_PORT = 5000
_MOST_BYTES = 4_000_000


class ThingServerError(HardwareError):
    """A Web of Things server cannot be reached, or does not do as it was asked."""


class ThingRefusedError(ThingServerError):
    """A Web of Things server is there, and will not do what it was asked."""


class ThingServer:
    """A server of Things, described by itself.

    Parameters
    ----------
    uri : str
        ``SCHEME://HOST[:PORT]``; without a port it is 5000.

    Attributes
    ----------
    base : str
        ``http://HOST:PORT``.
    prefix : str
        Of all its paths, ``/api/v3`` or nothing.

    Raises
    ------
    UsageError
        There is no host in the address, or more than host and port.
    ThingServerError
        It cannot be reached, or describes no Things.
    """

    def __init__(self, uri: str) -> None:
        self.base = _base(uri)
        # No proxy is asked: microscopes are near.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self.prefix, self._things = self._described()

    def path(self, thing: str, kind: str, name: str) -> str:
        """Return where a property or an action is.

        Parameters
        ----------
        thing : str
            As ``stage``.
        kind : str
            ``properties`` or ``actions``.
        name : str

        Raises
        ------
        ThingServerError
            There is no such Thing, or it has no such property or action.
        """
        try:
            forms = self._things[thing][kind][name]["forms"]
            href = str(forms[0]["href"])
        except (KeyError, IndexError, TypeError):
            raise ThingServerError(
                f"the server at {self.base} has no {thing} with {name}",
                got=f"the Things {', '.join(sorted(self._things)) or 'none'}",
                cure="see whether it is a microscope server of version 3",
            ) from None
        # Its own idea of its host's name need not be ours.
        return urlsplit(href).path

    def has(self, thing: str, kind: str, name: str) -> bool:
        """Whether there is such a property or action."""
        try:
            self.path(thing, kind, name)
        except ThingServerError:
            return False
        return True

    def read(self, thing: str, name: str) -> Any:
        """Return the value of a property; see `path` and `request` for what is raised."""
        return self.request("GET", self.path(thing, "properties", name))

    def invoke(self, thing: str, name: str, **given: object) -> str:
        """Begin an action; return where it is asked after. See `path` and `request` for what is raised."""
        answer = self.request("POST", self.path(thing, "actions", name), given)
        return self._href(answer)

    def status(self, invocation: str) -> tuple[str, str]:
        """Return what became of an action: its status, and its last word where it failed."""
        answer = self.request("GET", invocation)
        log = answer.get("log") if isinstance(answer, dict) else None
        said = (
            log[-1].get("message", "") if isinstance(log, list) and log and isinstance(log[-1], dict) else ""
        )
        return str(answer.get("status") if isinstance(answer, dict) else answer), str(said)

    def cancel(self, thing: str) -> None:
        """Cancel what a Thing does, whoever began it; see `request` for what is raised."""
        of_thing = f"{self.prefix}/{thing}/"
        for each in self.request("GET", f"{self.prefix}/action_invocations"):
            if each.get("status") in {"pending", "running"} and str(each.get("action", "")).startswith(
                of_thing
            ):
                # It may have ended by itself meanwhile.
                with suppress(ThingRefusedError):
                    self.request("DELETE", self._href(each))

    def request(self, method: str, path: str, body: object = None) -> Any:
        """Ask the server, and return the JSON of its answer.

        Raises
        ------
        ThingServerError
            There is none within 5 s, or no JSON.
        ThingRefusedError
            It is an error.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - no other scheme than http
            self.base + path,
            data,
            {"Content-Type": "application/json", "User-Agent": "edgeleuk"},
            method=method,
        )
        try:
            with self._opener.open(request, timeout=ANSWER_S) as answer:
                text = answer.read(_MOST_BYTES)
        except HTTPError as error:
            said = error.read(400).decode("utf-8", "replace")
            error.close()
            raise ThingRefusedError(
                f"the server at {self.base} refused {method} {path}", got=f"{error.code} {said}".strip()
            ) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise ThingServerError(
                f"the server at {self.base} does not answer",
                got=reason,
                cure="see whether the microscope is on, and its address",
            ) from None
        try:
            return json.loads(text or b"null")
        except ValueError:
            raise ThingServerError(
                f"the answer of {self.base}{path} is no JSON", got=repr(text[:40])
            ) from None

    def _href(self, answer: Any) -> str:
        href = answer.get("href") if isinstance(answer, dict) else None
        if not isinstance(href, str):
            raise ThingServerError(f"the server at {self.base} began an action and does not say where it is")
        return urlsplit(href).path

    def _described(self) -> tuple[str, dict[str, Any]]:
        error: ThingRefusedError | None = None
        for prefix in _PREFIXES:
            try:
                things = self.request("GET", f"{prefix}/thing_descriptions/")
            except ThingRefusedError as refused:
                error = refused
                continue
            if isinstance(things, dict):
                return prefix, {name.strip("/"): each for name, each in things.items()}
        raise ThingServerError(
            f"the server at {self.base} describes no Things",
            got=error and error.got,
            cure="see whether it is an OpenFlexure microscope server of version 3",
        )


def _base(uri: str) -> str:
    """Return ``http://HOST:PORT`` of an address.

    Examples
    --------
    >>> _base("openflexure://microscope.local")
    'http://microscope.local:5000'
    """
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port or _DEFAULT_PORT
    except ValueError:
        host, port = None, 0
    if not host or parts.path.strip("/") or parts.query or parts.username:
        raise UsageError(
            "this is no address of a microscope server",
            got=repr(uri.partition("?")[0]),
            allowed=f"{uri.partition(':')[0]}://HOST or {uri.partition(':')[0]}://HOST:PORT",
        )
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
