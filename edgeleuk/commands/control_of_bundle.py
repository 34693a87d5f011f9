"""A new bundle's control before it takes an old one's place: the control slide, judged by the new one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeleuk.classifier.classifier import open_classifier
from edgeleuk.commands.replay import judged_again
from edgeleuk.control.limits import RANGE_SDS, judge, limits_now
from edgeleuk.control.measures import BLAST_SHARE, MEASURES, UNCERTAIN_SHARE, shares_of
from edgeleuk.control.store import read_control
from edgeleuk.errors import CheckFailedError, SessionError
from edgeleuk.io.console import printable
from edgeleuk.results import Check, check_of, counted_of
from edgeleuk.results.structs import Printed
from edgeleuk.session.reader import read_session

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.control.entries import ControlEntry
    from edgeleuk.control.limits import Limits
    from edgeleuk.session.reader import SessionReader

# What depends on the bundle, whatever light and focus are.
_OF_BUNDLE = frozenset({BLAST_SHARE, UNCERTAIN_SHARE})
ANYWAY = "or take it without one by --without-control"


class ControlledShare(Printed, frozen=True, kw_only=True):
    """One share of the control slide's cells, as the new bundle calls them.

    Attributes
    ----------
    value, mean, deviation : float
        Now, and of the control sessions with the bundle in use, in per cent.
    distance : float
        From the mean, in standard deviations.
    """

    value: float
    mean: float
    deviation: float
    distance: float


class ControlOfBundle(Printed, frozen=True, kw_only=True):
    """What came of a new bundle's control.

    Attributes
    ----------
    session, slide : str
        The control session whose cells were judged again.
    cells : int
    shares : dict
    """

    session: str
    slide: str
    cells: int
    shares: dict[str, ControlledShare]


def control_of_bundle(
    new: Bundle, before_sha256: str | None, file: Path, sessions: Sequence[Path], folders: Iterable[Path]
) -> ControlOfBundle | None:
    """Judge a control slide's cells by a new bundle, and hold the shares against the laboratory's limits.

    Light, focus and stain do not depend on the bundle. The shares of blasts and of uncertain cells do: they
    are held against the limits of the control sessions that were recorded with the bundle in use.

    Parameters
    ----------
    new : Bundle
    before_sha256 : str or None
        Of the bundle in use; None where there is none.
    file : Path
        The laboratory's control sessions.
    sessions : sequence of Path
        Where control sessions lie.
    folders : iterable of Path
        Where else they are looked for, by their names.

    Returns
    -------
    ControlOfBundle or None
        None where there is no control slide with limits for the bundle in use.

    Raises
    ------
    CheckFailedError
        The new bundle judges the slide otherwise, or no control session is at hand.
    UsageError, IntegrityError
        The file, or a session, cannot be read.
    """
    entries = [one for one in read_control(file) if one.bundle_sha256 == before_sha256]
    if not entries:
        return None
    group = entries[-1].group
    judged = judge(one for one in entries if one.group == group)
    limits = {name: limit for name, limit in limits_now(judged).items() if name in _OF_BUNDLE}
    if not limits:
        return None
    usable = [one.entry for one in reversed(judged) if one.state != "refused"]
    entry, path = _at_hand(usable, sessions, folders)
    with read_session(path) as reader:
        if reader.verify().run_head != entry.sha256:
            raise SessionError(
                f"{path} is not the control session of that name", cure="pass it with --control-session"
            )
        said = list(_said_again(reader, new))
    shares = _held(shares_of(counted_of(said), rejected=0, fields=0), limits)
    _require_in_range(shares, new.path.name, entry.slide)
    return ControlOfBundle(session=str(path), slide=entry.slide, cells=len(said), shares=shares)


def control_line(control: ControlOfBundle | None) -> str:
    """Say in a line what came of it."""
    if control is None:
        return "control   no control slide has limits for the bundle before it"
    shares = ", ".join(f"{MEASURES[name].title} {_figures(one)}" for name, one in control.shares.items())
    return f"control   {printable(control.session)}: {shares}"


def _at_hand(
    entries: Iterable[ControlEntry], sessions: Sequence[Path], folders: Iterable[Path]
) -> tuple[ControlEntry, Path]:
    """Find the file of the newest control session that is there."""
    given = {path.name: path for path in sessions}
    looked_in = list(dict.fromkeys(folders))
    for entry in entries:
        name = Path(entry.session).name
        for path in (given.get(name), *(folder / name for folder in looked_in)):
            if path is not None and path.is_file():
                return entry, path
    raise CheckFailedError(
        "a control slide has to be judged by the new bundle before it is used, and no session of it is here",
        cure=f"pass one with --control-session, {ANYWAY}",
    )


def _said_again(reader: SessionReader, bundle: Bundle) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield what a bundle calls each cell of a session, from the pixels that were kept."""
    settings: Mapping[str, Any] = reader.settings
    with open_classifier(
        bundle,
        runtime=str(settings["runtime"]),
        precision=str(settings["precision"]),
        abstain=settings["abstain"],
    ) as classifier:
        for cell in reader.rows("cells"):
            reason = cell["reason"]
            if check_of(reason if isinstance(reason, str) else None) is Check.DUST:
                continue
            track = int(str(cell["track"]))
            found = judged_again(reader, track, classifier).prediction
            yield found.decision.value, found.reason, None if found.kind is None else found.kind.value


def _held(measured: Mapping[str, Any], limits: Mapping[str, Limits]) -> dict[str, ControlledShare]:
    return {
        name: ControlledShare(
            value=measured[name].value,
            mean=limit.mean,
            deviation=limit.deviation,
            distance=limit.distance(measured[name].value),
        )
        for name, limit in limits.items()
        if name in measured
    }


def _require_in_range(shares: Mapping[str, ControlledShare], name: str, slide: str) -> None:
    out = {measure: one for measure, one in shares.items() if abs(one.distance) > RANGE_SDS}
    if out or not shares:
        figures = ", ".join(f"{MEASURES[measure].title} {_figures(one)}" for measure, one in out.items())
        raise CheckFailedError(
            f"{name} judges the control slide {printable(slide)} otherwise than the bundle in use",
            got=figures or "no share that may be told",
            allowed=f"within {RANGE_SDS:g} SD",
            cure=f"find out which of the two is right, {ANYWAY} and record new control sessions",
        )


def _figures(share: ControlledShare) -> str:
    return f"{share.value:.1f} ({share.mean:.1f} in control sessions, {share.distance:+.1f} SD)"
