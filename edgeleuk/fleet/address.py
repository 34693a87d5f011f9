"""Where messages go, by what was typed and set; light, so that the command line can read it."""

from __future__ import annotations

import os
import re
import socket
import ssl
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from edgeleuk.errors import MissingDependencyError, UsageError, extra_cure
from edgeleuk.io.uris import public_uri

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeleuk.io.settings import Settings

# Not a setting, so that no list of settings shows it.
PASSWORD = "EDGELEUK_MQTT_PASSWORD"  # noqa: S105 - the name of a variable
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_MOST_PREFIX = 200
_MOST_PASSWORD_BYTES = 65535
# What MQTT keeps for filters, and what a topic's name is better without.
_NO_PREFIX = re.compile(r"[+#\x00-\x1f\x7f-\x9f]|^\$|//|^/|/$")


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker, how it is entered, and below which topic everything is said.

    Attributes
    ----------
    host : str
    port : int
    prefix : str
        Of every topic: one stand's alone.
    secure : bool
        Whether TLS is spoken.
    user, password : str, optional
    authority, certificate, key : Path, optional
        PEM files: who is trusted beside the system's own authorities, and the client's certificate.
    discovery : str
        Below which topic Home Assistant listens; empty where it is not told.
    """

    host: str
    port: int
    prefix: str
    secure: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    discovery: str = "homeassistant"

    @property
    def name(self) -> str:
        """Where it is, without a password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"mqtt{'s' * self.secure}://{host}:{self.port}"

    @property
    def target(self) -> str:
        """What is remembered of where a session's messages went."""
        return f"{self.name}/{self.prefix}"

    def topic(self, name: str) -> str:
        """Return one of the stand's topics."""
        return f"{self.prefix}/{name}"


def require_mqtt() -> None:
    """See that the library is there.

    Raises
    ------
    MissingDependencyError
        The extra ``mqtt`` is not installed.
    """
    if find_spec("paho") is None:
        raise MissingDependencyError("MQTT needs paho-mqtt, which is not installed", cure=extra_cure("mqtt"))


def broker_of_settings(settings: Settings, environ: Mapping[str, str] | None = None) -> Broker | None:
    """Return the broker that the settings name; None where they name none.

    Parameters
    ----------
    settings : Settings
    environ : mapping, optional
        The process's own, by default: the password may stand there.

    Raises
    ------
    UsageError
        The address cannot be read, it holds a password, or a file that is named cannot be read.
    MissingDependencyError
        The extra ``mqtt`` is not installed.
    """
    if settings.mqtt is None:
        return None
    host, port, user, prefix, secure = _address(settings.mqtt)
    files = {
        name: _file(name, value)
        for name in ("mqtt_ca", "mqtt_cert", "mqtt_key")
        if (value := getattr(settings, name)) is not None
    }
    if files and not secure:
        raise UsageError(
            f"{', '.join(files)}: certificates are of use with TLS alone",
            got=public_uri(settings.mqtt),
            cure="begin the address with mqtts://",
        )
    if "mqtt_key" in files and "mqtt_cert" not in files:
        raise UsageError("a key without its certificate is of no use", cure="set mqtt_cert, too")
    password = _password(settings.mqtt_password_file, os.environ if environ is None else environ)
    if password is not None and user is None:
        raise UsageError(
            "there is a password for the broker, and no user", cure="write mqtt://USER@HOST/PREFIX"
        )
    discovery = settings.mqtt_discovery.strip("/")
    if discovery and _NO_PREFIX.search(discovery):
        raise UsageError(
            "mqtt_discovery is no topic",
            got=repr(discovery),
            allowed="a name such as homeassistant, or nothing",
        )
    require_mqtt()
    broker = Broker(
        host,
        port,
        prefix,
        secure,
        user,
        password,
        files.get("mqtt_ca"),
        files.get("mqtt_cert"),
        files.get("mqtt_key"),
        discovery,
    )
    if secure:
        # What is wrong with the files is told before anything is begun.
        trust_of(broker)
    return broker


def trust_of(broker: Broker) -> ssl.SSLContext:
    """Return whom a client trusts, and how it shows who it is.

    Raises
    ------
    UsageError
        The files hold no certificate, or no key that belongs to it.
    """
    context = ssl.create_default_context()
    context.sslsocket_class = _ClosedWhenRefused
    name = "mqtt_ca"
    try:
        if broker.authority is not None:
            context.load_verify_locations(broker.authority)
        if broker.certificate is not None:
            name = "mqtt_cert"
            key = None if broker.key is None else str(broker.key)
            # With a password nobody could start it in the night.
            context.load_cert_chain(str(broker.certificate), key, password=_no_password)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"what {name} names cannot be used",
            got=getattr(error, "strerror", None) or str(error),
            cure="name files in PEM, a certificate with the key that belongs to it, without a password",
        ) from error
    return context


def _address(text: str) -> tuple[str, int, str | None, str, bool]:
    """Take ``mqtt[s]://[user@]host[:port][/prefix]`` apart."""
    unreadable = UsageError(
        "the broker's address cannot be read",
        got=public_uri(text),
        allowed="mqtt://USER@HOST:PORT/PREFIX, or mqtts:// for TLS",
        cure="write one such as mqtts://stand3@broker.lab/lab/stand3",
    )
    try:
        parts = urlsplit(text)
        port = parts.port
        host = parts.hostname
    except ValueError:
        raise unreadable from None
    if parts.scheme not in _PORTS or not host or port == 0 or parts.query or parts.fragment:
        raise unreadable
    if parts.password is not None:
        raise UsageError(
            "a password must not stand in the broker's address, where others can read it",
            got=public_uri(text),
            cure=f"put it in a file that mqtt_password_file names, or in the variable {PASSWORD}",
        )
    prefix = unquote(parts.path).strip("/") or f"edgeleuk/{_own_name()}"
    if len(prefix.encode()) > _MOST_PREFIX or _NO_PREFIX.search(prefix):
        raise UsageError(
            "the topics' prefix cannot be used",
            got=repr(prefix),
            allowed=f"names with / between them, without + # $, of {_MOST_PREFIX} bytes at most",
        )
    user = unquote(parts.username) if parts.username else None
    return host, port or _PORTS[parts.scheme], user, prefix, parts.scheme == "mqtts"


def _own_name() -> str:
    return re.sub(r"[^\w.-]", "-", socket.gethostname().partition(".")[0]) or "stand"


def _file(name: str, value: str) -> Path:
    path = Path(value)
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {path}", got=error.strerror) from error


def _password(file: str | None, environ: Mapping[str, str]) -> str | None:
    """Read the password: its file has it in the first line; nothing else is said of it, ever."""
    if file is None:
        return environ.get(PASSWORD) or None
    path = Path(file)
    try:
        with path.open("rb") as opened:
            data = opened.read(_MOST_PASSWORD_BYTES + 1)
    except OSError as error:
        raise UsageError(f"the broker's password cannot be read from {path}", got=error.strerror) from error
    line = data.partition(b"\n")[0].removesuffix(b"\r")
    try:
        password = line.decode()
    except UnicodeDecodeError:
        password = ""
    if not password or len(line) > _MOST_PASSWORD_BYTES:
        raise UsageError(
            f"{path} holds no password for the broker",
            allowed="UTF-8, in its first line",
            cure="write it there",
        )
    return password


class _ClosedWhenRefused(ssl.SSLSocket):
    """A socket that is closed where the other side is not trusted: the library leaves that to chance."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _no_password() -> str:
    msg = "the key has a password"
    raise ValueError(msg)
