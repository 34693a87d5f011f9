"""``edgeleuk bundle pull`` and ``rollback``: a new bundle takes the old one's place once all is checked."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from edgeleuk.bundle.reading import (
    DEFAULT,
    SUFFIX,
    bundle_bytes,
    bundle_path,
    decode_bundle,
    installed_path,
    read_bundle,
)
from edgeleuk.bundle.trusted import (
    SIGNATURE_SUFFIX,
    is_shipped,
    require_key,
    signature_facts,
    verified_claim,
)
from edgeleuk.commands.control_of_bundle import ControlOfBundle, control_line, control_of_bundle
from edgeleuk.control.store import control_path
from edgeleuk.errors import EdgeleukError, SignatureError, UsageError
from edgeleuk.io.clock import now
from edgeleuk.io.console import printable
from edgeleuk.results.structs import Printed
from edgeleuk.trust.claim import read_claim
from edgeleuk.trust.minisign import read_signature, verify_comment
from edgeleuk.trust.store import pinned_keys
from edgeleuk.updates.place import Content, InstalledVersion, Place, require_installed
from edgeleuk.updates.source import offers_of
from edgeleuk.updates.starts import MOST_STARTS, require_self_test

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.trust.claim import Claim
    from edgeleuk.trust.minisign import Signature
    from edgeleuk.trust.store import PinnedKey
    from edgeleuk.updates.place import Note
    from edgeleuk.updates.source import Offer

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class PullOptions:
    """What a pull is asked for; see its flags.

    Attributes
    ----------
    plain_http : bool
        Take ``http://`` of other machines too.
    again : bool
        Take a bundle that was left for the one before it.
    control : str, optional
        The laboratory's control sessions; by default the file in the user's own folder.
    sessions : tuple of Path
        Where control sessions lie.
    controlled : bool
        Whether a control slide is asked at all.
    """

    plain_http: bool = False
    again: bool = False
    control: str | None = None
    sessions: tuple[Path, ...] = ()
    controlled: bool = True


class Pulled(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk bundle pull --json`` and ``bundle rollback --json`` print.

    Attributes
    ----------
    file : str
        Where the bundle is installed.
    state : str
        ``installed``, ``there already``, or ``went back``.
    bundle, sha256 : str
        In use now.
    sequence : int or None
    key : str or None
        Name of the pinned key that signed it.
    before_sha256 : str or None
        What was in use before.
    control : ControlOfBundle or None
    """

    schema_version: int = 1
    file: str
    state: Literal["installed", "there already", "went back"]
    bundle: str
    sha256: str
    sequence: int | None
    key: str | None
    before_sha256: str | None
    control: ControlOfBundle | None


class _Candidate(NamedTuple):
    """An offer whose trusted comment a pinned key signed; its bundle is not fetched yet."""

    offer: Offer
    signature: Signature
    key: PinnedKey
    claim: Claim
    sequence: int


def pull(source: str, to: str, options: PullOptions) -> Pulled:
    """Fetch a signed bundle, check it, and let it take the place of the one in use, which is kept.

    Parameters
    ----------
    source : str
        See `offers_of`.
    to : str
        A bundle's file, or the name of an installed one.
    options : PullOptions

    Raises
    ------
    UsageError
        No key is pinned, the source has no bundle, or something cannot be fetched or written.
    SignatureError
        The bundle is unsigned, of another key, altered, cut off, or older than what was installed.
    BundleError
        It is no bundle.
    CheckFailedError
        It fails its self-test, or judges the control slide otherwise.
    """
    keys = pinned_keys()
    if not keys:
        raise UsageError(
            "no key is pinned, so that no source can be trusted",
            cure="pin the key of whoever makes your bundles with `edgeleuk bundle trust FILE.pub`",
        )
    file = _file_of(to)
    place = Place(file)
    offers = offers_of(source, plain_http=options.plain_http)
    _require_bundle_or_nothing(place)
    with place.alone():
        note = place.note()
        floor = _floor(place, note)
        candidate = _newest(offers, keys)
        before = place.current if place.is_installed else _hash_of(file)
        data = _fetched(candidate, before, floor)
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 == before:
            return _there_already(place, note, candidate, sha256)
        _require_later(candidate, note.of(sha256), floor, options)
        new = decode_bundle(data, Path(candidate.offer.name))
        series = candidate.claim.series or new.manifest.name
        _require_series(series, note, file)
        require_self_test(new)
        control = None if not options.controlled else _controlled(new, before, file, options)
        if not place.is_installed and file.exists():
            _adopt(place)
        version = InstalledVersion(
            sha256=sha256,
            bundle=new.manifest.name,
            series=series,
            sequence=candidate.sequence,
            key_id=candidate.key.key.id_text,
            installed_at=_time(),
        )
        place.install(version, Content(data, candidate.offer.signature.encode()))
    return _pulled(place, version, "installed", candidate.key.name, before, control)


def rollback(named: str) -> Pulled:
    """Use the bundle before again.

    Raises
    ------
    UsageError
        Nothing was installed there, or there is no bundle before.
    """
    file = bundle_path(named)
    place = require_installed(file)
    with place.alone():
        before = place.current
        back = place.go_back()
    if back is None:
        raise UsageError(f"there is no bundle before the one in {file}", cure="pull another one")
    return _pulled(place, back, "went back", None, before, None)


def pulled_text(pulled: Pulled) -> str:
    """Say what is used now, and what comes next."""
    sequence = "no sequence" if pulled.sequence is None else f"sequence {pulled.sequence}"
    signed = "" if pulled.key is None else f", signed by {printable(pulled.key)}"
    lines = [
        f"{pulled.state:<9} {printable(pulled.bundle)}, {sequence}, sha256 {pulled.sha256[:16]}{signed}",
        f"file      {printable(pulled.file)}",
    ]
    if pulled.state == "installed":
        lines.append(control_line(pulled.control))
        if pulled.before_sha256 is not None:
            lines.append(
                f"before    sha256 {pulled.before_sha256[:16]}, kept: `edgeleuk bundle rollback` uses it"
                f" again, and so does `run` after {MOST_STARTS} starts that break down"
            )
    return "\n".join(lines)


def _file_of(to: str) -> Path:
    """Return the file that a bundle is installed as."""
    if to == DEFAULT or is_shipped(Path(to)):
        raise UsageError("the shipped bundle is a part of edgeleuk", cure="pass another --to")
    path = Path(to)
    if path.suffix == SUFFIX:
        return path
    if path.name == to and _NAME.fullmatch(to):
        return installed_path(to)
    raise UsageError(
        "a bundle cannot be installed there", got=to, allowed=f"a file that ends in {SUFFIX}, or a short name"
    )


def _require_bundle_or_nothing(place: Place) -> None:
    """Refuse to take the place of anything but a bundle."""
    file = place.file
    if place.is_installed or not (file.exists() or file.is_symlink()):
        return
    if file.is_symlink():
        raise UsageError(f"{file} is a link, which is not followed", cure="pass the file it leads to")
    read_bundle(file)


def _newest(offers: Sequence[Offer], keys: Sequence[PinnedKey]) -> _Candidate:
    """Return the offer with the highest sequence that a pinned key vouches for."""
    found: list[_Candidate] = []
    refused: list[EdgeleukError] = []
    for offer in offers:
        name = f"{Path(offer.name).name}{SIGNATURE_SUFFIX}"
        try:
            signature = read_signature(offer.signature, name)
            key = require_key(signature, name, keys)
            verify_comment(key.key, signature, name)
            claim = read_claim(signature.comment, name)
            found.append(_Candidate(offer, signature, key, claim, _sequence_of(claim, name)))
        except SignatureError as error:
            refused.append(error)
    if not found:
        # With several bundles, the first one's fault stands for all.
        raise refused[0]
    return max(found, key=lambda one: one.sequence)


def _sequence_of(claim: Claim, name: str) -> int:
    if claim.sequence is None:
        raise SignatureError(
            f"the trusted comment of {name} has no sequence, so that no later one can be told",
            cure="sign it by `edgeleuk bundle sign`, or by minisign with its own trusted comment",
        )
    return claim.sequence


def _floor(place: Place, note: Note) -> int | None:
    """Return the highest sequence that was ever here, also where somebody has lost the note."""
    known = [note.highest]
    if place.file.is_file():
        claim = signature_facts(place.file).claim
        known.append(None if claim is None else claim.sequence)
    return max((number for number in known if number is not None), default=None)


def _fetched(candidate: _Candidate, before: str | None, floor: int | None) -> bytes:
    """Fetch a bundle, unless it is known to be too old, and verify it."""
    name = Path(candidate.offer.name).name
    if candidate.claim.sha256 not in (None, before):
        _require_sequence(candidate, floor)
    data = candidate.offer.fetch()
    verified_claim(candidate.key, candidate.signature, data, f"{name}{SIGNATURE_SUFFIX}")
    return data


def _require_later(
    candidate: _Candidate, known: InstalledVersion | None, floor: int | None, options: PullOptions
) -> None:
    """Refuse what is not later than all that was ever here, and what was left for the one before it."""
    # One that is noted with this sequence and not in use: the power failed before it was, or it was left.
    noted = known is not None and known.sequence == candidate.sequence
    _require_sequence(candidate, floor, same=noted)
    if known is not None and known.state == "returned" and not options.again:
        raise SignatureError(
            f"{Path(candidate.offer.name).name} was installed here before, and left for the bundle before it",
            got=f"sequence {candidate.sequence}",
            cure="pull a later one, or this one with --again",
        )


def _require_sequence(candidate: _Candidate, floor: int | None, *, same: bool = True) -> None:
    if floor is None or candidate.sequence > floor or (same and candidate.sequence == floor):
        return
    raise SignatureError(
        f"{Path(candidate.offer.name).name} is not later than what was installed here",
        got=f"sequence {candidate.sequence}",
        allowed=f"above {floor}",
        cure="sign a newer bundle; for the one before, `edgeleuk bundle rollback`",
    )


def _require_series(series: str, note: Note, file: Path) -> None:
    """Refuse another bundle of the same key: it may be for another stain, or another microscope."""
    here = note.versions[-1].series if note.versions else None
    if here not in (None, series):
        raise SignatureError(
            f"{file} is the place of another series of bundles",
            got=printable(series),
            allowed=printable(str(here)),
            cure="install it beside it with another --to, or sign it with that --series",
        )


def _controlled(new: Bundle, before: str | None, file: Path, options: PullOptions) -> ControlOfBundle | None:
    sessions = control_path(options.control or "default")
    folders = (Path(), sessions.parent, file.parent)
    return control_of_bundle(new, before, sessions, options.sessions, folders)


def _adopt(place: Place) -> None:
    """Keep the plain file that was there before as the way back."""
    opened = read_bundle(place.file)
    beside = place.file.with_name(place.file.name + SIGNATURE_SUFFIX)
    facts = signature_facts(place.file)
    version = InstalledVersion(
        sha256=opened.sha256,
        bundle=opened.manifest.name,
        series=None if facts.claim is None else facts.claim.series,
        sequence=None if facts.claim is None else facts.claim.sequence,
        key_id=facts.key_id,
        installed_at=_time(),
        state="good",
    )
    signature = beside.read_bytes() if beside.is_file() else None
    place.adopt(version, Content(bundle_bytes(place.file), signature))


def _there_already(place: Place, note: Note, candidate: _Candidate, sha256: str) -> Pulled:
    """Say so; a newer signature of the same bundle raises what later ones are held to."""
    known = note.of(sha256)
    if known is not None and candidate.sequence > (note.highest or 0):
        place.keep(msgspec.structs.replace(note, highest=candidate.sequence))
    version = known or InstalledVersion(
        sha256=sha256,
        bundle=read_bundle(place.file).manifest.name,
        series=candidate.claim.series,
        sequence=candidate.sequence,
        key_id=candidate.key.key.id_text,
        installed_at=_time(),
    )
    return _pulled(place, version, "there already", candidate.key.name, sha256, None)


def _pulled(
    place: Place,
    version: InstalledVersion,
    state: Literal["installed", "there already", "went back"],
    key: str | None,
    before: str | None,
    control: ControlOfBundle | None,
) -> Pulled:
    return Pulled(
        file=str(place.file),
        state=state,
        bundle=version.bundle,
        sha256=version.sha256,
        sequence=version.sequence,
        key=key,
        before_sha256=before,
        control=control,
    )


def _hash_of(file: Path) -> str | None:
    return hashlib.sha256(bundle_bytes(file)).hexdigest() if file.is_file() else None


def _time() -> str:
    return datetime.fromtimestamp(now(), timezone.utc).isoformat(timespec="seconds")
