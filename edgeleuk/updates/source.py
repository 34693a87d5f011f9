"""Where new bundles come from: an address, a file, a folder, a USB stick. None of them is believed."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from edgeleuk.bundle.reading import SUFFIX, bundle_bytes
from edgeleuk.bundle.trusted import SIGNATURE_SUFFIX
from edgeleuk.errors import SignatureError, UsageError
from edgeleuk.trust.minisign import MOST_BYTES
from edgeleuk.trust.store import text_of
from edgeleuk.updates.https import fetch, open_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

USB = "usb"
# More in one folder are looked at by nobody.
_MOST_OFFERS = 1000
_OCTAL = re.compile(r"\\([0-7]{3})")


class Offer(NamedTuple):
    """One bundle that a source has.

    Attributes
    ----------
    name : str
        Its file or its address, without a password.
    signature : str
        What its ``.minisig`` holds.
    fetch : callable
        Returns the bundle's bytes.
    """

    name: str
    signature: str
    fetch: Callable[[], bytes]


def offers_of(source: str, *, plain_http: bool = False) -> list[Offer]:
    """Return what a source offers, with its signatures, one at least.

    Parameters
    ----------
    source : str
        ``https://`` address of a bundle, a bundle's file, a folder, or ``usb``: every stick that is mounted.
    plain_http : bool
        Take ``http://`` of other machines too.

    Raises
    ------
    UsageError
        There is no such source, it cannot be read, or it has no bundle.
    SignatureError
        It has bundles, and none has a signature.
    """
    if "://" in source:
        return [_of_address(source, plain_http=plain_http)]
    if source == USB:
        folders = usb_folders()
        if not folders:
            raise UsageError(
                "no USB stick is mounted", cure="mount it, or pass the folder that it is mounted at"
            )
        return _of_files((path for folder in folders for path in _bundles_in(folder)), source)
    path = Path(source)
    if path.is_dir():
        return _of_files(_bundles_in(path), source)
    if not path.exists():
        raise UsageError(
            "there is no such source", got=source, allowed="an https:// address, a file, a folder, or usb"
        )
    return _of_files([path], source)


def usb_folders(root: Path = Path("/")) -> list[Path]:
    """Return where file systems of USB devices are mounted, but for those that the machine itself runs from.

    Parameters
    ----------
    root : Path
        What lies below it is taken for the machine: ``proc/self/mounts`` and ``sys/class/block``.
    """
    try:
        lines = (root / "proc/self/mounts").read_text(errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        device, folder, *_ = [*line.split(" "), "", ""]
        folder = _OCTAL.sub(lambda octal: chr(int(octal[1], 8)), folder)
        if not device.startswith("/dev/") or folder == "/" or folder.startswith("/boot"):
            continue
        block = root / "sys/class/block" / Path(device).name
        if re.search(r"/usb[0-9]+/", str(block.resolve())):
            found.append(Path(folder))
    return found


def _bundles_in(folder: Path) -> list[Path]:
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == SUFFIX)
    except OSError as error:
        raise UsageError(f"the folder {folder} cannot be read", got=error.strerror) from error
    if len(paths) > _MOST_OFFERS:
        raise UsageError(f"{folder} holds too many bundles", got=len(paths), allowed=_MOST_OFFERS)
    return paths


def _of_files(paths: Iterable[Path], source: str) -> list[Offer]:
    paths = list(paths)
    if not paths:
        raise UsageError(f"{source} holds no bundle", allowed=f"files that end in {SUFFIX}")
    offers = []
    for path in paths:
        beside = path.with_name(path.name + SIGNATURE_SUFFIX)
        try:
            with beside.open("rb") as file:
                signature = file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UsageError(f"{beside} cannot be read", got=error.strerror) from error
        offers.append(Offer(str(path), text_of(signature, beside.name), partial(bundle_bytes, path)))
    if not offers:
        raise _unsigned(source, paths[0].name)
    return offers


def _of_address(source: str, *, plain_http: bool) -> Offer:
    address = open_address(source, plain_http=plain_http)
    path = urlsplit(address.url).path
    beside = urlsplit(address.url)._replace(path=path + SIGNATURE_SUFFIX).geturl()
    found = fetch(address, beside, MOST_BYTES)
    if found is None:
        raise _unsigned(address.public, Path(path).name)
    return Offer(address.public, text_of(found, f"the signature of {address.public}"), address.bundle)


def _unsigned(source: str, name: str) -> SignatureError:
    return SignatureError(
        f"{source} has no signature, and unsigned bundles are not installed",
        allowed=f"{name}{SIGNATURE_SUFFIX} beside it",
        cure="ask whoever made the bundle to sign it",
    )
