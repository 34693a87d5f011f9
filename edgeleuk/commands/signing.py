"""``edgeleuk bundle sign`` and ``trust``: who made a bundle, and who is believed."""

from __future__ import annotations

import os
import time
from pathlib import Path

from edgeleuk.bundle.reading import read_bundle
from edgeleuk.bundle.trusted import SIGNATURE_SUFFIX, is_shipped
from edgeleuk.errors import UsageError
from edgeleuk.io.atomic import bears, replace_file, require_replaceable, write_errors_of
from edgeleuk.io.clock import CLOCK_SET_S
from edgeleuk.io.console import printable
from edgeleuk.results.structs import Printed
from edgeleuk.trust.claim import Claim, claim_text
from edgeleuk.trust.minisign import (
    COMMENT,
    PublicKey,
    SecretKey,
    is_encrypted,
    new_secret_key,
    read_public_key,
    read_secret_key,
    require_library,
    sign,
)
from edgeleuk.trust.store import BrokenKey, look_at_keys, pin, small_text, unpin

_MOST_SEQUENCE = 10**18 - 1
# Of a public key that is given as it is.
_KEY_LETTERS = 56


class SignedBundle(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk bundle sign --json`` prints.

    Attributes
    ----------
    file, signature : str
        Paths.
    bundle, sha256 : str
    series : str
        What it is a version of.
    sequence : int
        A later bundle has a higher one.
    key_id, public_key : str
        What `edgeleuk bundle trust` takes is the public key.
    new_key : str or None
        Path of the secret key where it was made now.
    """

    schema_version: int = 1
    file: str
    signature: str
    bundle: str
    sha256: str
    series: str
    sequence: int
    key_id: str
    public_key: str
    new_key: str | None


class TrustedKey(Printed, frozen=True, kw_only=True):
    """A pinned key.

    Attributes
    ----------
    name, file : str
    key_id, public_key : str or None
        None of a broken one.
    error : str or None
        Why it is broken.
    """

    name: str
    file: str
    key_id: str | None
    public_key: str | None
    error: str | None


class TrustedKeys(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk bundle trust --json`` prints.

    Attributes
    ----------
    pinned : str or None
        Name of the key that was pinned now.
    removed : str or None
        File that was removed now.
    keys : tuple of TrustedKey
        All that are pinned.
    """

    schema_version: int = 1
    pinned: str | None
    removed: str | None
    keys: tuple[TrustedKey, ...]


def sign_bundle(
    file: Path,
    key_file: Path | None,
    *,
    new_key: str | None = None,
    series: str | None = None,
    sequence: int | None = None,
    password_file: Path | None = None,
) -> SignedBundle:
    """Sign a bundle, and write the signature beside it.

    Parameters
    ----------
    file : Path
    key_file : Path, optional
        A secret key of edgeleuk or of minisign.
    new_key : str, optional
        Make a key instead, as ``NAME.key`` and ``NAME.pub``.
    series : str, optional
        What the bundle is a version of: a device takes no bundle of another series in its place. By default
        the bundle's name.
    sequence : int, optional
        By default the time in seconds, so that a later signature has a higher one.
    password_file : Path, optional
        Holds the password of an encrypted key in its first line; else it is asked for on the terminal.

    Raises
    ------
    UsageError
        Neither or both of the keys are given, a file cannot be read or written, or the clock is wrong.
    BundleError
        The file is no bundle.
    SignatureError
        The key is damaged.
    MissingDependencyError
        The extra ``sign`` is not installed.
    """
    require_library()
    if (key_file is None) == (new_key is None):
        raise UsageError("one key signs a bundle", allowed="--key FILE.key, or --new-key NAME to make one")
    bundle = read_bundle(file)
    if is_shipped(bundle.path):
        raise UsageError("the shipped bundle needs no signature", cure="copy it, and sign the copy")
    signature_file = bundle.path.with_name(bundle.path.name + SIGNATURE_SUFFIX)
    require_replaceable(signature_file, bears(COMMENT.encode()), "name of the bundle")
    at = int(time.time())
    number = _sequence(sequence, at)
    made = None if new_key is None else _new_key(Path(new_key))
    key = made[0] if made is not None else _secret_key(key_file or Path(), password_file)
    claim = Claim(number, series or bundle.manifest.name, bundle.sha256)
    signature = sign(key, bundle.path.read_bytes(), claim_text(claim, at=at, file=bundle.path.name))
    with write_errors_of(signature_file):
        replace_file(signature_file, signature.file_text.encode())
    return SignedBundle(
        file=str(bundle.path),
        signature=str(signature_file),
        bundle=bundle.manifest.name,
        sha256=bundle.sha256,
        series=str(claim.series),
        sequence=number,
        key_id=key.public.id_text,
        public_key=key.public.text,
        new_key=None if made is None else str(made[1]),
    )


def trust_key(given: str, name: str | None) -> TrustedKeys:
    """Pin a key: from here on only bundles that a pinned key signed run for this user.

    Parameters
    ----------
    given : str
        Path of a public key, or the key itself.
    name : str, optional
        By default the file's, or the key's identifier.

    Raises
    ------
    UsageError, SignatureError
        It is no key, or cannot be pinned.
    MissingDependencyError
        The extra ``sign`` is not installed: no bundle could be verified.
    """
    require_library()
    key, called = _public_key(given)
    return _keys(pinned=pin(key, called if name is None else name).name)


def trusted_keys() -> TrustedKeys:
    """Return the pinned keys, broken ones with them."""
    return _keys()


def distrust_key(name: str) -> TrustedKeys:
    """Remove a pinned key; see `edgeleuk.trust.store.unpin`."""
    return _keys(removed=str(unpin(name)))


def signed_text(signed: SignedBundle) -> str:
    """Say what was signed, by what, and what comes next."""
    lines = [
        f"signed    {printable(signed.file)}, {printable(signed.bundle)}, sha256 {signed.sha256[:16]}",
        f"signature {printable(signed.signature)}, series {printable(signed.series)},"
        f" sequence {signed.sequence}, key {signed.key_id}",
    ]
    if signed.new_key is not None:
        lines.append(f"new key   {printable(signed.new_key)}: keep it apart, and secret; it has no password")
    return "\n".join([*lines, f"trust it  edgeleuk bundle trust {signed.public_key}"])


def keys_text(found: TrustedKeys) -> str:
    """List the pinned keys, and say what they mean."""
    lines = [] if found.removed is None else [f"removed   {printable(found.removed)}"]
    if found.pinned is not None:
        lines.append(f"pinned    {found.pinned}")
    for one in found.keys:
        said = f"key {one.key_id}" if one.error is None else f"BROKEN: {printable(one.error)}"
        lines.append(f"trusted   {printable(one.name)}  {said}  {printable(one.file)}")
    if found.keys:
        lines.append(
            "Only bundles that one of these signed run here, and `default`, which is edgeleuk's own."
        )
    else:
        lines.append("No key is pinned: every bundle runs here, signed or not.")
    return "\n".join(lines)


def _sequence(given: int | None, at: int) -> int:
    if given is not None:
        if not 1 <= given <= _MOST_SEQUENCE:
            raise UsageError("the sequence is out of range", got=given, allowed=f"1 to {_MOST_SEQUENCE}")
        return given
    if at < CLOCK_SET_S:
        day = time.strftime("%Y-%m-%d", time.gmtime(at))
        raise UsageError(
            "the clock is wrong, and the sequence of a signature is the time",
            got=day,
            cure="set the clock, or pass --sequence with a number above that of the bundle before",
        )
    return at


def _new_key(name: Path) -> tuple[SecretKey, Path]:
    """Make a key; an old one is never overwritten, for nothing could take its place."""
    secret, public = name.with_name(f"{name.name}.key"), name.with_name(f"{name.name}.pub")
    for path in (secret, public):
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path} exists, and no key is overwritten", cure="choose another --new-key")
    key = new_secret_key()
    with write_errors_of(secret):
        descriptor = os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(key.file_text)
            file.flush()
            os.fsync(file.fileno())
    with write_errors_of(public):
        replace_file(public, key.public.file_text.encode())
    return key, secret


def _secret_key(path: Path, password_file: Path | None) -> SecretKey:
    text = small_text(path, "secret key")
    password = _password(path, password_file) if is_encrypted(text, str(path)) else ""
    return read_secret_key(text, str(path), password)


def _password(path: Path, password_file: Path | None) -> str:
    if password_file is not None:
        return small_text(password_file, "password").partition("\n")[0].rstrip("\r")
    if not os.isatty(0):
        raise UsageError(f"{path} has a password, and there is no terminal", cure="pass --password-file FILE")
    from getpass import getpass  # noqa: PLC0415 - only an encrypted key needs it

    return getpass(f"Password of {path}: ")


def _public_key(given: str) -> tuple[PublicKey, str]:
    path = Path(given)
    if len(given) == _KEY_LETTERS and not path.exists():
        key = read_public_key(given, "what was given")
        return key, key.id_text
    return read_public_key(small_text(path, "public key"), str(path)), path.stem


def _keys(*, pinned: str | None = None, removed: str | None = None) -> TrustedKeys:
    return TrustedKeys(
        pinned=pinned,
        removed=removed,
        keys=tuple(
            TrustedKey(
                name=one.name,
                file=str(one.path),
                key_id=None if isinstance(one, BrokenKey) else one.key.id_text,
                public_key=None if isinstance(one, BrokenKey) else one.key.text,
                error=str(one.error) if isinstance(one, BrokenKey) else None,
            )
            for one in look_at_keys()
        ),
    )
