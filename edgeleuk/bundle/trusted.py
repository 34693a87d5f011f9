"""Which bundles may run here: where a key is pinned, those that it signed, and the one that is shipped.

Reading a bundle to look at it is always allowed. What runs one reads it by `read_trusted_bundle`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal, NamedTuple

from edgeleuk.bundle.reading import DEFAULT_PATH, bundle_bytes, bundle_path, decode_bundle
from edgeleuk.errors import SignatureError
from edgeleuk.trust.claim import Claim, read_claim
from edgeleuk.trust.minisign import read_signature, verify
from edgeleuk.trust.store import pinned_keys, small_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.trust.minisign import Signature
    from edgeleuk.trust.store import PinnedKey

SIGNATURE_SUFFIX = ".minisig"

SignatureState = Literal["installation", "unsigned", "signed", "not pinned", "wrong"]


class SignatureFacts(NamedTuple):
    """What is known of a bundle's signature.

    Attributes
    ----------
    state : str
        ``installation``: the shipped bundle, which came with the program. ``unsigned``. ``signed`` by a
        pinned key. ``not pinned``: there is a signature, whose key nobody has pinned, so that it proves
        nothing. ``wrong``: it does not belong to the bundle.
    key : PinnedKey or None
        The one that signed.
    key_id : str or None
        Of the signature, as it says itself.
    claim : Claim or None
        What the trusted comment says; None unless it is signed by a pinned key.
    error : SignatureError or None
        Why the signature is wrong.
    """

    state: SignatureState
    key: PinnedKey | None = None
    key_id: str | None = None
    claim: Claim | None = None
    error: SignatureError | None = None


def read_trusted_bundle(named: Path | str) -> Bundle:
    """Read a bundle in order to run it.

    Parameters
    ----------
    named : Path or str
        As of `edgeleuk.bundle.reading.read_bundle`.

    Raises
    ------
    SignatureError
        A key is pinned, and none of the pinned ones signed the bundle; or the store of keys is broken.
    MissingDependencyError
        A key is pinned, and the extra ``sign`` is not installed.
    UsageError, BundleError
        See `read_bundle`.
    """
    path = bundle_path(named)
    # An installed bundle lies behind a link: bundle and signature are to be of one moment.
    place = path.resolve()
    data = bundle_bytes(path if not place.is_file() else place)
    if not is_shipped(path) and (keys := pinned_keys()):
        require_signature(path, place, data, keys)
    return decode_bundle(data, path)


def is_shipped(path: Path) -> bool:
    """Whether it is the bundle that came with the program, which is trusted as the program is."""
    return path.resolve() == DEFAULT_PATH.resolve()


def require_signature(path: Path, place: Path, data: bytes, keys: Sequence[PinnedKey]) -> PinnedKey:
    """Return the pinned key that signed a bundle.

    Parameters
    ----------
    path, place : Path
        The bundle as it is named, and where it really lies.
    data : bytes
        What it holds.
    keys : sequence of PinnedKey

    Raises
    ------
    SignatureError
        It is unsigned, signed by another key, or was altered.
    """
    found = _facts(path, place, data, keys)
    if found.error is not None:
        raise found.error
    if found.key is not None:
        return found.key
    names = ", ".join(f"{one.name} ({one.key.id_text})" for one in keys)
    if found.state == "unsigned":
        raise SignatureError(
            f"{path.name} is unsigned, and only bundles that a pinned key signed run here",
            allowed=f"signed by {names}",
            cure=f"put its signature beside it as {path.name}{SIGNATURE_SUFFIX}",
        )
    raise _of_another_key(path.name, str(found.key_id), keys)


def signature_facts(path: Path) -> SignatureFacts:
    """Look at a bundle's signature; see `SignatureFacts`.

    Raises
    ------
    SignatureError
        The store of keys is broken.
    MissingDependencyError, UsageError, BundleError
        As `read_trusted_bundle`.
    """
    if is_shipped(path):
        return SignatureFacts("installation")
    place = path.resolve()
    return _facts(path, place, bundle_bytes(place), pinned_keys())


def _facts(path: Path, place: Path, data: bytes, keys: Sequence[PinnedKey]) -> SignatureFacts:
    beside = [one.with_name(one.name + SIGNATURE_SUFFIX) for one in (place, path)]
    file = next((one for one in beside if one.is_file()), None)
    if file is None:
        return SignatureFacts("unsigned")
    try:
        signature = read_signature(small_text(file, "signature"), file.name)
        key = key_of(signature, keys)
        if key is None:
            return SignatureFacts("not pinned", key_id=signature.id_text)
        claim = verified_claim(key, signature, data, file.name)
    except SignatureError as error:
        return SignatureFacts("wrong", error=error)
    return SignatureFacts("signed", key, signature.id_text, claim)


def key_of(signature: Signature, keys: Sequence[PinnedKey]) -> PinnedKey | None:
    """Return the pinned key that a signature says it is of; whether it is remains to be verified."""
    return next((one for one in keys if one.key.key_id == signature.key_id), None)


def require_key(signature: Signature, name: str, keys: Sequence[PinnedKey]) -> PinnedKey:
    """Return the pinned key that a signature says it is of.

    Raises
    ------
    SignatureError
        It is another one.
    """
    key = key_of(signature, keys)
    if key is None:
        raise _of_another_key(name, signature.id_text, keys)
    return key


def verified_claim(key: PinnedKey, signature: Signature, data: bytes, name: str) -> Claim:
    """Return what a signature says of a bundle, all of it verified.

    Raises
    ------
    SignatureError
        The key did not sign this bundle, or its comment is of another one.
    """
    verify(key.key, signature, data, name)
    claim = read_claim(signature.comment, name)
    if claim.sha256 not in (None, hashlib.sha256(data).hexdigest()):
        raise SignatureError(
            f"the trusted comment of {name} is of another bundle",
            got=f"sha256 {str(claim.sha256)[:16]}",
            allowed=hashlib.sha256(data).hexdigest()[:16],
            cure="sign the bundle again",
        )
    return claim


def _of_another_key(name: str, key_id: str, keys: Sequence[PinnedKey]) -> SignatureError:
    return SignatureError(
        f"{name} is signed by a key that is not pinned here",
        got=key_id,
        allowed=", ".join(f"{one.name} ({one.key.id_text})" for one in keys),
        cure="pin the key with `edgeleuk bundle trust` if you know whose it is",
    )
