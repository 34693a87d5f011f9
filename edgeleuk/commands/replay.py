"""``edgeleuk replay``: judge a recorded cell again, from the very pixels that were judged."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from edgeleuk.bundle.trusted import read_trusted_bundle
from edgeleuk.classifier.classifier import open_classifier
from edgeleuk.counting.consensus import View, joined
from edgeleuk.errors import IntegrityError, UsageError
from edgeleuk.results import STUCK_DUST, Decision, Prediction
from edgeleuk.results.structs import CalledCell, Printed
from edgeleuk.session.kept_pictures import pictures_text
from edgeleuk.session.pictures import decode_crop
from edgeleuk.session.reader import read_session
from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeleuk.classifier.classifier import Classifier
    from edgeleuk.session.reader import SessionReader


class Replay(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk replay --json`` prints.

    Attributes
    ----------
    recorded, replayed : CalledCell
    views : int
        How many were judged again.
    equal : bool
        All are the same, the probabilities to their last bit.
    """

    schema_version: int = 1
    session: str
    cell: int
    bundle_sha256: str
    recorded: CalledCell
    replayed: CalledCell
    views: int
    equal: bool
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
    with read_session(session) as reader:
        return _replayed(reader, track, bundle)


def _replayed(reader: SessionReader, track: int, bundle: str) -> Replay:
    row, settings = reader.cell(track), reader.settings
    opened = read_trusted_bundle(bundle)
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
        again = judged_again(reader, track, classifier)
    replayed = _facts(again.prediction)
    # Sessions of earlier versions have no kinds.
    recorded = {name: row.get(name) for name in replayed}
    views_equal = all(
        _facts(found) == {name: view.get(name) for name in replayed} for view, found in again.views
    )
    return Replay(
        session=str(reader.path),
        cell=track,
        bundle_sha256=opened.sha256,
        recorded=msgspec.convert(recorded, CalledCell),
        replayed=msgspec.convert(replayed, CalledCell),
        views=len(reader.views(track)),
        equal=recorded == replayed and views_equal,
    )


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
    views, crops = reader.views(track), []
    # What was found to be dust was not judged by its pixels.
    looked_at = [view for view in views if view["reason"] != STUCK_DUST]
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
    lines.append("equal, bit for bit" if result.equal else "NOT EQUAL")
    return "\n".join([*lines, RESEARCH_USE])
