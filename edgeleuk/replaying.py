"""``edgeleuk replay``: judge a recorded cell again, from the very pixels that were judged."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edgeleuk import RESEARCH_USE
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.classify import open_classifier
from edgeleuk.errors import IntegrityError, UsageError
from edgeleuk.record.reading import read_session
from edgeleuk.record.session import decode_crop

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def replay_cell(session: Path, track: int, bundle: str) -> dict[str, Any]:
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
    dict
        ``recorded`` and ``replayed``, each with ``decision``, ``probability`` and ``reason``; ``equal``
        where all of these are the same, the probability to its last bit.

    Raises
    ------
    UsageError
        There is no such cell, or its picture was not kept.
    IntegrityError
        Another bundle judged it.
    """
    with read_session(session) as reader:
        row, settings = reader.cell(track), reader.settings
    opened = read_bundle(bundle)
    if opened.sha256 != settings.get("bundle_sha256"):
        raise IntegrityError(
            "another bundle judged the cell",
            got=f"{opened.path.name}, {opened.sha256[:16]}",
            allowed=f"{settings.get('bundle')}, {str(settings.get('bundle_sha256'))[:16]}",
            cure="pass the bundle of the session with --bundle",
        )
    crop, scale = row.get("crop"), row["px_per_um"]
    if not isinstance(crop, bytes) or not isinstance(scale, float):
        raise UsageError(
            f"cell {track} cannot be judged again",
            got="no picture" if crop is None else "no scale",
            allowed="a cell that was recorded with its picture and its scale",
        )
    classifier = open_classifier(
        opened,
        runtime=str(settings["runtime"]),
        precision=str(settings["precision"]),
        threads=int(str(settings["threads"])),
        abstain=settings["abstain"],  # type: ignore[arg-type]
    )
    try:
        (found,) = classifier.classify([decode_crop(crop, scale)])
    finally:
        classifier.close()
    recorded = {name: row[name] for name in ("decision", "probability", "reason")}
    replayed = {
        "decision": found.decision.value,
        "probability": None if math.isnan(found.probability) else found.probability,
        "reason": found.reason,
    }
    return {
        "schema_version": 1,
        "session": str(session),
        "cell": track,
        "bundle_sha256": opened.sha256,
        "recorded": recorded,
        "replayed": replayed,
        "equal": recorded == replayed,
        "research_use": RESEARCH_USE,
    }


def replay_text(result: Mapping[str, Any]) -> str:
    """Say whether the cell is judged as it was."""
    lines = [f"cell {result['cell']} of {result['session']}"]
    for name in ("recorded", "replayed"):
        one = result[name]
        probability = "none" if one["probability"] is None else repr(one["probability"])
        reason = f" ({one['reason']})" if one["reason"] else ""
        lines.append(f"{name:<9} {one['decision']}, probability of blast {probability}{reason}")
    lines.append("equal, bit for bit" if result["equal"] else "NOT EQUAL")
    return "\n".join([*lines, RESEARCH_USE])
