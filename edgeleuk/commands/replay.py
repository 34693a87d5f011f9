"""``edgeleuk replay``: judge recorded cells again, from the very pixels that were judged."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from edgeleuk.bundle.trusted import read_trusted_bundle
from edgeleuk.classifier.classifier import open_classifier
from edgeleuk.counting.consensus import View, joined
from edgeleuk.errors import IntegrityError, UsageError
from edgeleuk.io.console import printable
from edgeleuk.results import STUCK_DUST, Decision, Prediction
from edgeleuk.results.structs import CalledCell, Printed
from edgeleuk.session.kept_pictures import pictures_text
from edgeleuk.session.pictures import decode_crop
from edgeleuk.session.reader import read_session
from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from edgeleuk.classifier.classifier import Classifier
    from edgeleuk.session.reader import SessionReader


# Cells that are named.
_SHOWN = 20
# What is said of a cell or a view.
_FACTS = ("decision", "probability", "reason", "kind", "kind_probability")


class Replay(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk replay SESSION --cell N --json`` prints.

    Attributes
    ----------
    recorded, replayed : CalledCell
        What is said of the cell. Where a rule removed a picture, both are of the last view that has one.
    views : int
        How many were recorded.
    removed_views : int
        How many of them have no picture any more, and are not judged again.
    removed_by : sequence of str
        The rules that removed them.
    equal : bool
        All that was judged again is the same, the probabilities to their last bit.
    """

    schema_version: int = 1
    session: str
    cell: int
    bundle_sha256: str
    recorded: CalledCell
    replayed: CalledCell
    views: int
    removed_views: int = 0
    removed_by: tuple[str, ...] = ()
    equal: bool
    research_use: str = RESEARCH_USE


class ReplayedSession(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk replay SESSION --json`` prints.

    Attributes
    ----------
    cells : int
        That were recorded: each is counted in one of the four next.
    equal : int
        All their views were judged again, and are the same to the last bit.
    removed : int
        A rule removed pictures of them; the views that have one are the same.
    not_kept : int
        A view of them was recorded without a picture, or without a scale.
    different : sequence of int
        Numbers of the cells of which something is not the same.
    views, removed_views : int
        Views that were judged again, and those whose pictures a rule removed.
    removed_by : sequence of str
        The rules.
    """

    schema_version: int = 1
    session: str
    bundle_sha256: str
    cells: int
    equal: int
    removed: int
    not_kept: int
    different: tuple[int, ...]
    views: int
    removed_views: int
    removed_by: tuple[str, ...] = ()
    research_use: str = RESEARCH_USE


def replay_cell(session: Path, track: int, bundle: str) -> Replay:
    """Classify one cell of a session with the settings that it was recorded with.

    Parameters
    ----------
    session : Path
    track : int
        Number of the cell.
    bundle : str
        The bundle that judged it, or ``default``.

    Returns
    -------
    Replay

    Raises
    ------
    UsageError
        There is no such cell, or its picture was not kept.
    IntegrityError
        Another bundle judged it.
    """
    with read_session(session) as reader, _classifier_of(reader, bundle) as classifier:
        return _replayed(reader, track, classifier)


def replay_session(session: Path, bundle: str) -> ReplayedSession:
    """Classify every cell of a session as `replay_cell` does, as far as its pictures are kept.

    Parameters
    ----------
    session : Path
    bundle : str
        The bundle that judged it, or ``default``.

    Raises
    ------
    IntegrityError
        Another bundle judged it.
    """
    counts: Counter[str] = Counter()
    different: list[int] = []
    rules: set[str] = set()
    with read_session(session) as reader, _classifier_of(reader, bundle) as classifier:
        for row in reader.rows("cells"):
            track = int(str(row["track"]))
            views = reader.views(track)
            removed = _removed_of(reader, track, views)
            counts["removed views"] += len(removed)
            rules |= {rule for _, rule in removed}
            frames = {frame for frame, _ in removed}
            left = [view for view in views if view["frame"] not in frames]
            if any(_is_judged(view) and _lacks(view) for view in left):
                counts["not kept"] += 1
            elif removed and not any(map(_is_judged, left)):
                counts["removed"] += 1
            else:
                counts["views"] += sum(map(_is_judged, left))
                found = _compared(reader, row, left, classifier, is_whole=not removed)
                if not found.equal:
                    different.append(track)
                counts["removed" if removed else "equal"] += found.equal
        return ReplayedSession(
            session=str(reader.path),
            bundle_sha256=str(reader.settings.get("bundle_sha256")),
            cells=reader.counts().cells,
            equal=counts["equal"],
            removed=counts["removed"],
            not_kept=counts["not kept"],
            different=tuple(different),
            views=counts["views"],
            removed_views=counts["removed views"],
            removed_by=tuple(sorted(rules)),
        )


@contextmanager
def _classifier_of(reader: SessionReader, bundle: str) -> Iterator[Classifier]:
    """Open the bundle with the settings of a session.

    Raises
    ------
    IntegrityError
        Another bundle judged it.
    """
    settings, opened = reader.settings, read_trusted_bundle(bundle)
    if opened.sha256 != settings.get("bundle_sha256"):
        raise IntegrityError(
            "another bundle judged the cell",
            got=f"{opened.path.name}, {opened.sha256[:16]}",
            allowed=f"{settings.get('bundle')}, {str(settings.get('bundle_sha256'))[:16]}",
            cure="pass the bundle of the session with --bundle",
        )
    with open_classifier(
        opened,
        runtime=str(settings["runtime"]),
        precision=str(settings["precision"]),
        threads=int(str(settings["threads"])),
        abstain=settings["abstain"],  # type: ignore[arg-type]
    ) as classifier:
        yield classifier


class _Compared(NamedTuple):
    """What was recorded of a cell, and what is said of it now."""

    recorded: dict[str, object]
    replayed: dict[str, object]
    equal: bool


def _replayed(reader: SessionReader, track: int, classifier: Classifier) -> Replay:
    row, views = reader.cell(track), reader.views(track)
    removed = _removed_of(reader, track, views)
    frames = {frame for frame, _ in removed}
    left = [view for view in views if view["frame"] not in frames]
    if removed and not any(map(_is_judged, left)):
        # Nothing is left to judge: which rule it was is said as what is missing.
        left, removed = views, []
    found = _compared(reader, row, left, classifier, is_whole=not removed)
    return Replay(
        session=str(reader.path),
        cell=track,
        bundle_sha256=str(reader.settings.get("bundle_sha256")),
        recorded=msgspec.convert(found.recorded, CalledCell),
        replayed=msgspec.convert(found.replayed, CalledCell),
        views=len(views),
        removed_views=len(removed),
        removed_by=tuple(sorted({rule for _, rule in removed})),
        equal=found.equal,
    )


def _compared(
    reader: SessionReader,
    row: Mapping[str, object],
    views: Sequence[Mapping[str, object]],
    classifier: Classifier,
    *,
    is_whole: bool,
) -> _Compared:
    """Judge views of a cell again; what all of them together say only where none is missing."""
    again = _judged_again(reader, int(str(row["track"])), views, classifier)
    pairs = [(_recorded(view), _facts(found)) for view, found in again.views]
    whole = (_recorded(row), _facts(again.prediction))
    equal = all(before == now for before, now in ([*pairs, whole] if is_whole else pairs))
    return _Compared(*(whole if is_whole else pairs[-1]), equal)


def _removed_of(
    reader: SessionReader, track: int, views: Sequence[Mapping[str, object]]
) -> list[tuple[object, str]]:
    """Return the frames whose picture of a cell a rule removed, each with the rule."""
    without = [view["frame"] for view in views if view.get("crop") is None]
    found = ((frame, reader.removed_by(int(str(frame)), track)) for frame in without)
    return [(frame, rule) for frame, rule in found if rule is not None]


def _is_judged(view: Mapping[str, object]) -> bool:
    # What was found to be dust was not judged by its pixels.
    return view["reason"] != STUCK_DUST


def _lacks(view: Mapping[str, object]) -> bool:
    return not isinstance(view.get("crop"), bytes) or not isinstance(view["px_per_um"], float)


class JudgedAgain(NamedTuple):
    """A cell, judged from the pixels that were kept of it.

    Attributes
    ----------
    views : list of (mapping, Prediction)
        Each recorded view that was judged by its pixels, and what is said of it now.
    prediction : Prediction
        Of the cell.
    """

    views: list[tuple[Mapping[str, object], Prediction]]
    prediction: Prediction


def judged_again(reader: SessionReader, track: int, classifier: Classifier) -> JudgedAgain:
    """Judge a recorded cell by a classifier, which need not be the one that judged it before.

    Parameters
    ----------
    reader : SessionReader
    track : int
        Number of the cell.
    classifier : Classifier

    Raises
    ------
    UsageError
        A view's picture or its scale was not kept.
    """
    return _judged_again(reader, track, reader.views(track), classifier)


def _judged_again(
    reader: SessionReader, track: int, views: Sequence[Mapping[str, object]], classifier: Classifier
) -> JudgedAgain:
    crops = []
    looked_at = [view for view in views if _is_judged(view)]
    for view in looked_at:
        crop, scale = view.get("crop"), view["px_per_um"]
        if not isinstance(crop, bytes) or not isinstance(scale, float):
            left_out = pictures_text(reader.settings)
            raise UsageError(
                f"cell {track} cannot be judged again" + (f": {left_out}" if left_out else ""),
                got=_missing(reader, view, track) if crop is None else "no scale",
                allowed="a cell whose views were recorded with their pictures and their scale",
                cure="record with `--pictures all`" if left_out else None,
            )
        crops.append(decode_crop(crop, scale))
    # One at a time, as they were judged in frames of their own.
    alone = [classifier.classify([crop])[0] for crop in crops]
    again = [
        View(float(str(view.get("focus", 0.0))), found) for view, found in zip(looked_at, alone, strict=True)
    ]
    if len(looked_at) < len(views):
        again.append(View(0.0, Prediction(Decision.UNCERTAIN, math.nan, STUCK_DUST, foreign=True)))
    return JudgedAgain(list(zip(looked_at, alone, strict=True)), joined(again, classifier).prediction)


def _missing(reader: SessionReader, view: Mapping[str, object], track: int) -> str:
    rule = reader.removed_by(int(str(view["frame"])), track)
    return "no picture" if rule is None else f"a picture that the rule {rule} removed"


def _recorded(row: Mapping[str, object]) -> dict[str, object]:
    # Sessions of earlier versions have no kinds.
    return {name: row.get(name) for name in _FACTS}


def _facts(prediction: Prediction) -> dict[str, object]:
    return {
        "decision": prediction.decision.value,
        "probability": None if math.isnan(prediction.probability) else prediction.probability,
        "reason": prediction.reason,
        "kind": None if prediction.kind is None else prediction.kind.value,
        "kind_probability": prediction.kind_probability,
    }


def replay_text(result: Replay) -> str:
    """Say whether the cell is judged as it was."""
    views = f", {result.views} views" if result.views > 1 else ""
    lines = [f"cell {result.cell} of {result.session}{views}"]
    for name, one in (("recorded", result.recorded), ("replayed", result.replayed)):
        probability = "none" if one.probability is None else repr(one.probability)
        reason = f" ({one.reason})" if one.reason else ""
        reason = f", {one.kind.value} {one.kind_probability!r}{reason}" if one.kind is not None else reason
        lines.append(f"{name:<9} {one.decision.value}, probability of blast {probability}{reason}")
    if result.removed_views:
        rules = ", ".join(map(printable, result.removed_by))
        lines.append(f"removed by rule: the pictures of {result.removed_views} views, {rules}")
    lines.append("equal, bit for bit" if result.equal else "NOT EQUAL")
    return "\n".join([*lines, RESEARCH_USE])


def replayed_text(result: ReplayedSession) -> str:
    """Say of how many cells that holds, and of which it does not."""
    lines = [
        f"session   {printable(result.session)}, {result.cells} cells; {result.views} views judged again",
        f"equal     {result.equal} cells, bit for bit",
    ]
    if result.removed:
        rules = ", ".join(map(printable, result.removed_by))
        lines.append(
            f"removed   {result.removed} cells, {result.removed_views} pictures removed by rule: {rules}"
        )
    if result.not_kept:
        lines.append(f"not kept  {result.not_kept} cells were recorded without pictures")
    if result.different:
        shown = ", ".join(map(str, result.different[:_SHOWN]))
        more = ", ..." if len(result.different) > _SHOWN else ""
        lines.append(f"NOT EQUAL {len(result.different)} cells: {shown}{more}")
    return "\n".join([*lines, RESEARCH_USE])
