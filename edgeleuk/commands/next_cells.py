"""``edgeleuk labels next``: which cells of sessions a person should label next."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from edgeleuk.bundle.heads import LEAST_DEVIATION
from edgeleuk.bundle.trusted import read_trusted_bundle
from edgeleuk.classifier.classifier import open_classifier
from edgeleuk.classifier.decision import decide
from edgeleuk.errors import BundleError, DataRefusedError, SessionError, UsageError
from edgeleuk.inference import available_runtimes
from edgeleuk.io.console import printable, progress_bar
from edgeleuk.labels.contents import identity_of
from edgeleuk.labels.file import open_labels
from edgeleuk.labels.queue import doubts, queue
from edgeleuk.labels.sessions import labels_beside
from edgeleuk.results.kinds import LYMPHOID
from edgeleuk.results.queued import Queue, QueuedCell, SessionInQueue
from edgeleuk.session.pictures import decode_crop
from edgeleuk.session.reader import read_session
from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from edgeleuk.classifier.classifier import Classifier
    from edgeleuk.classifier.decision import CellEvidence, Rules
    from edgeleuk.frames import CellCrop
    from edgeleuk.results.kinds import Kind

    Floats = npt.NDArray[np.float64]
    _Row = dict[str, object]

T = TypeVar("T")
COUNT, MOST = 50, 1000
# Crops that are looked at together: few are in memory at a time.
_TOGETHER = 32
# Of the kernel, where a bundle has no head that tells it.
_GAMMA = 0.5


@dataclass(slots=True)
class _Session:
    """A session whose cells are looked at, and how many of them are not asked for."""

    path: Path
    cells: int = 0
    labelled: int = 0
    without_pixels: int = 0

    def unlabelled(self, labelled: Container[str]) -> Iterator[tuple[_Row, CellCrop]]:
        """Yield the cells that can be labelled and are not."""
        with read_session(self.path) as reader, progress_bar(f"looking at {self.path.name}") as bar:
            total = reader.counts().cells
            for row in reader.rows("cells", thumbnails=True):
                self.cells += 1
                bar(self.cells, total)
                crop = _crop(self.path, row)
                if crop is None:
                    self.without_pixels += 1
                elif identity_of(crop) in labelled:
                    self.labelled += 1
                else:
                    yield {key: value for key, value in row.items() if not isinstance(value, bytes)}, crop


@dataclass(slots=True)
class _Pool:
    """Cells that may be queued: where each is from, its row there, and what the bundle judges it by."""

    sessions: list[_Session] = field(default_factory=list)
    rows: list[_Row] = field(default_factory=list)
    evidence: list[CellEvidence] = field(default_factory=list)
    features: list[Floats] = field(default_factory=list)


def next_cells(
    sessions: Sequence[Path],
    bundle: str,
    *,
    labels: Sequence[Path] = (),
    count: int = COUNT,
    runtime: str | None = None,
) -> Queue:
    """Put the cells of sessions into the order in which their labels would teach most.

    Cells that are labelled are left out: in `labels`, or beside their session.

    Parameters
    ----------
    sessions : sequence of Path
        Each counts as a slide.
    bundle : str
        A bundle's path, or ``default``: it is asked what it doubts.
    labels : sequence of Path
    count : int
        At most so many cells.
    runtime : str, optional
        By default the first that is installed.

    Raises
    ------
    UsageError
        `count` is out of range, or a session is named twice.
    DataRefusedError
        No cell is left to be labelled.
    BundleError
        The bundle's network gives no features.
    EdgeleukError
        See `read_session`, `open_labels` and `open_classifier`.
    """
    if not 1 <= count <= MOST:
        raise UsageError("the number of cells is out of range", got=count, allowed=f"1 to {MOST}")
    if len({session.resolve() for session in sessions}) < len(sessions):
        raise UsageError("a session is named twice", got=", ".join(map(str, sessions)))
    beside = [place for session in sessions if (place := labels_beside(session)).exists()]
    files = [open_labels(path) for path in (*labels, *beside)]
    labelled = {entry.identity: (file, entry) for file in files for entry in file.cells}
    opened, name = read_trusted_bundle(bundle), runtime or available_runtimes()[0]
    looked, pool = [_Session(path) for path in sessions], _Pool()
    with open_classifier(opened, runtime=name) as classifier:
        for session in looked:
            _look_at(session, labelled, classifier, pool)
        if not pool.rows:
            raise _nothing_left(looked)
        known = [
            classifier.look_at([file.crop(entry) for file, entry in some]).features
            for some in _batches(labelled.values())
        ]
        rules = classifier.rules
    cells = _queued(pool, known, rules, count)
    return Queue(
        bundle=opened.manifest.name,
        bundle_sha256=opened.sha256,
        runtime=name,
        sessions=tuple(_counted(session, cells) for session in looked),
        cells=cells,
    )


def _look_at(session: _Session, labelled: Container[str], classifier: Classifier, pool: _Pool) -> None:
    """Look at the cells of a session that nobody labelled."""
    for some in _batches(session.unlabelled(labelled)):
        seen = classifier.look_at([crop for _, crop in some])
        pool.sessions += [session] * len(some)
        pool.rows += [row for row, _ in some]
        pool.evidence += seen.evidence
        pool.features.append(seen.features)


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Yield items a few at a time."""
    iterator = iter(items)
    while some := list(islice(iterator, _TOGETHER)):
        yield some


def _crop(session: Path, row: _Row) -> CellCrop | None:
    """Return a recorded crop; None where there is none, or its scale is unknown."""
    data, scale = row.get("crop"), row["px_per_um"]
    if not isinstance(data, bytes) or not isinstance(scale, float) or not scale > 0:
        return None
    try:
        return decode_crop(data, scale)
    except (ValueError, IndexError, TypeError) as error:
        raise SessionError(f"{session} is damaged", got=f"the picture of cell {row['track']}") from error


def _nothing_left(sessions: Sequence[_Session]) -> DataRefusedError:
    return DataRefusedError(
        "no cell is left to be labelled",
        got=f"{sum(of.cells for of in sessions)} cells, {sum(of.labelled for of in sessions)} labelled,"
        f" {sum(of.without_pixels for of in sessions)} without pixels",
        cure="pass sessions with more cells, recorded with their pictures",
    )


def _queued(pool: _Pool, known: Sequence[Floats], rules: Rules, count: int) -> tuple[QueuedCell, ...]:
    """Choose cells, and say of each what the bundle says."""
    features = np.vstack(pool.features)
    if not features.shape[1]:
        raise BundleError(
            "the network gives no features by which cells are compared",
            cure="convert the network again, or pass another --bundle",
        )
    head = rules.kind_head or rules.blast_head
    if head is None:
        mean, deviation = features.mean(axis=0), np.maximum(features.std(axis=0), LEAST_DEVIATION)
        z, *of_labelled = [(some - mean) / deviation for some in (features, *known)]
        taught, gamma = np.empty((0, features.shape[1])), _GAMMA
    else:
        z, *of_labelled = [head.located(some)[0].astype(np.float64) for some in (features, *known)]
        # The queue divides by the width of z, a head by that of its features.
        taught, gamma = head.vectors.astype(np.float64), head.gamma * z.shape[1] / head.mean.size
    doubt = _doubts(pool.evidence, rules)
    slides = [str(session.path) for session in pool.sessions]
    chosen = queue(z, doubt, slides, np.vstack([taught, *of_labelled]), count, gamma)
    return tuple(
        _said(slides[row], pool.rows[row], pool.evidence[row], float(doubt[row]), rules) for row in chosen
    )


def _doubts(evidence: Sequence[CellEvidence], rules: Rules) -> Floats:
    blast = np.array([one.probability for one in evidence])
    if rules.kind is None:
        return doubts(None, (), blast)
    return doubts(np.array([one.kinds for one in evidence], np.float64), rules.kind.kinds, blast)


def _said(session: str, row: _Row, evidence: CellEvidence, doubt: float, rules: Rules) -> QueuedCell:
    """Say where a queued cell is, and what the bundle makes of it."""
    prediction = decide(evidence, rules)
    first: tuple[Kind | None, float | None] = (None, None)
    second = first
    if rules.kind is not None and evidence.kinds is not None:
        order = np.argsort(-evidence.kinds, kind="stable")
        first, second = (
            (rules.kind.kinds[number], round(float(evidence.kinds[number]), 4)) for number in order[:2]
        )
    asked = first[0] is None or first[0] in LYMPHOID or second[0] in LYMPHOID
    where = {name: int(str(row[name])) for name in ("frame", "x", "y", "w", "h")}
    return QueuedCell(
        session=session,
        cell=int(str(row["track"])),
        **where,
        doubt=round(doubt, 4),
        distance=None if evidence.kind_distance is None else round(evidence.kind_distance, 4),
        decision=prediction.decision,
        kind=first[0],
        kind_probability=first[1],
        second=second[0],
        second_probability=second[1],
        blast_probability=round(evidence.probability, 4) if asked else None,
        reason=prediction.reason,
    )


def _counted(session: _Session, cells: Sequence[QueuedCell]) -> SessionInQueue:
    return SessionInQueue(
        session=str(session.path),
        cells=session.cells,
        labelled=session.labelled,
        without_pixels=session.without_pixels,
        queued=sum(cell.session == str(session.path) for cell in cells),
    )


def queue_text(result: Queue) -> str:
    """Say which cells should be labelled next."""
    return "\n".join([*queue_lines(result), RESEARCH_USE])


def queue_lines(result: Queue) -> list[str]:
    """Say the same, to be put below something else."""
    lines = [
        f"{len(result.cells)} cells to label next, the most telling first; {printable(result.bundle)} doubts"
    ]
    lines += [
        f"  {printable(of.session)}: {of.queued} of {of.cells} cells, {of.labelled} labelled already,"
        f" {of.without_pixels} without pixels"
        for of in result.sessions
    ]
    lines += [
        f"  {printable(of.session)}  cell {of.cell}  frame {of.frame}  {_guess(of)}" for of in result.cells
    ]
    if len(result.sessions) == 1:
        lines.append("  one slide only: teaching wants cells of each class from two slides or more")
    return lines


def _guess(of: QueuedCell) -> str:
    said = []
    if of.kind is not None and of.second is not None:
        said.append(
            f"{of.kind.value} {of.kind_probability:.2f}, {of.second.value} {of.second_probability:.2f}"
        )
    if of.blast_probability is not None:
        said.append(f"blast {of.blast_probability:.2f}")
    return ", ".join(said)
