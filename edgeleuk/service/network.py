"""Whom the service may speak with: only those that its settings name."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from edgeleuk.errors import UsageError

if TYPE_CHECKING:
    from edgeleuk.io.settings import Settings

# Who may open a page that is served to other machines: those of the same site, not the internet.
LOCAL_NETWORKS = (
    *("localhost", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"),
    *("fc00::/7", "fe80::/10"),
)
_REMOTE_SCHEMES = (
    *("http", "https", "rtsp", "rtsps", "openflexure", "socket", "tcp"),
    *("mqtt", "mqtts", "ws", "wss"),
)
_RESOLVERS = Path("/etc/resolv.conf")


@dataclass(frozen=True)
class Network:
    """What of the network the service needs.

    Attributes
    ----------
    allowed : tuple of str
        Addresses and networks, as ``IPAddressAllow=`` takes them; none is no network at all.
    port : int or None
        The port that it may listen on.
    by_name : tuple of str
        Hosts that are named, not numbered: their addresses are those of the day of the installation.
    """

    allowed: tuple[str, ...] = ()
    port: int | None = None
    by_name: tuple[str, ...] = ()

    @property
    def is_none(self) -> bool:
        """Whether the service needs no network."""
        return not self.allowed


def network_of(
    settings: Settings, page: tuple[str, int] | None = None, resolvers: Path = _RESOLVERS
) -> Network:
    """Find the network that the settings ask for: cameras, stages and brokers by address, and the page.

    Parameters
    ----------
    settings : Settings
    page : (str, int), optional
        Host and port of the page.
    resolvers : Path
        Where the machine names its name servers.

    Raises
    ------
    UsageError
        A host's name is unknown here.
    """
    allowed: list[str] = []
    by_name: list[str] = []
    for host in _hosts_of(settings):
        addresses = _addresses_of(host)
        allowed += addresses
        if addresses != [host] and not _is_loopback_name(host):
            by_name.append(host)
    if page is not None:
        allowed += ["localhost"] if _is_loopback_name(page[0]) else LOCAL_NETWORKS
    if by_name:
        # A name is asked for again with each connection.
        allowed += ["localhost", *_resolvers_in(resolvers)]
    return Network(tuple(dict.fromkeys(allowed)), None if page is None else page[1], tuple(by_name))


def _hosts_of(settings: Settings) -> list[str]:
    """Return the hosts that any setting names by an address, such as ``rtsp://HOST/STREAM``."""
    hosts = []
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if not isinstance(value, str):
            continue
        scheme, separator, rest = value.partition("://")
        if separator and scheme.lower() in _REMOTE_SCHEMES:
            # What stands before the last @ may be any password.
            place = rest.split("/")[0].rpartition("@")[2]
            host = urlsplit(f"//{place}").hostname
            if host:
                hosts.append(host)
    return hosts


def _addresses_of(host: str) -> list[str]:
    if _is_loopback_name(host):
        return ["localhost"]
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(
            "a host of the settings is not known here",
            got=f"{host} ({error.strerror or error})",
            cure="connect the machine to its network first, or write the host's address",
        ) from error
    return list(dict.fromkeys(str(address[0]).partition("%")[0] for *_, address in found))


def _is_loopback_name(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _resolvers_in(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    words = [line.split() for line in lines]
    return [found[1].partition("%")[0] for found in words if len(found) > 1 and found[0] == "nameserver"]
