"""Which labelled cells a cell is like: neighbours in the features that the bundle's heads judge.

They are those of the session that the reader called something, and those that the bundle carries to be taught
with. Features are made on a thread of its own, once for each cell, so that nobody waits for the network.
"""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeleuk.bundle.manifest import REFERENCE
from edgeleuk.bundle.reference import decode_reference
from edgeleuk.bundle.trusted import read_trusted_bundle
from edgeleuk.classifier.classifier import open_classifier
from edgeleuk.errors import EdgeleukError, UsageError
from edgeleuk.io.closing import Closing
from edgeleuk.io.threads import crashing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.classifier.classifier import Classifier
    from edgeleuk.frames import CellCrop

    Floats = npt.NDArray[np.float64]

NEAREST = 6
# Fewer do not tell how far features spread.
_LEAST_SPREAD = 8
_NICE = 10


class Neighbour(NamedTuple):
    """A labelled cell that another is like.

    Attributes
    ----------
    label : str
    distance : float
        Root mean square over the features, each by its spread: about 1.4 of two cells that share nothing.
    track : int or None
        Its number in the session; None of a cell that the bundle carries.
    source : str or None
        Whose data a cell of the bundle is of.
    """

    label: str
    distance: float
    track: int | None
    source: str | None


class Found(NamedTuple):
    """What is known now.

    Attributes
    ----------
    neighbours : list of Neighbour
        The nearest first.
    pending : int
        Cells whose features are still being made.
    reason : str or None
        Why there are none.
    """

    neighbours: list[Neighbour]
    pending: int
    reason: str | None


class Neighbours(Closing):
    """Finds neighbours; for many threads.

    Parameters
    ----------
    features_of : callable
        Told a crop, returns its (D,) features; called on one thread alone.
    crop_of : callable
        Told the number of a cell, returns its crop, None where there is none; called on that thread.
    known : (n, D) float, optional
        Features of the cells that the bundle carries.
    labels : sequence of (str, str)
        Label and source of each of them.
    """

    def __init__(
        self,
        features_of: Callable[[CellCrop], Floats],
        crop_of: Callable[[int], CellCrop | None],
        known: Floats | None = None,
        labels: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._features_of = features_of
        self._crop_of = crop_of
        self._known = known
        self._labels = labels
        self._features: dict[int, Floats | None] = {}
        self._asked: set[int] = set()
        self._lock = threading.Lock()
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="features", initializer=_politely)
        self._closing: Closing | None = None

    @classmethod
    def of_bundle(cls, bundle: Bundle, crop_of: Callable[[int], CellCrop | None]) -> Neighbours:
        """Find neighbours by a bundle's network and its reference.

        Raises
        ------
        EdgeleukError
            The network cannot be opened.
        """
        classifier = _opened(bundle)
        known, labels = None, []
        if REFERENCE in bundle.members:
            reference = decode_reference(bundle.members[REFERENCE])
            known = reference.values().astype(np.float64)
            labels = [
                (reference.label_texts[label], reference.source_texts[source])
                for label, source in zip(reference.labels, reference.sources, strict=True)
            ]
        found = cls(lambda crop: classifier.features([crop])[0], crop_of, known, labels)
        found._closing = classifier
        return found

    def close(self) -> None:
        """End the thread; what it is at is finished."""
        self._aside.shutdown(cancel_futures=True)
        if self._closing is not None:
            self._closing.close()

    def of(self, track: int, said: Mapping[int, str], nearest: int = NEAREST) -> Found:
        """Return the labelled cells that a cell is most like, as far as they are known by now.

        Parameters
        ----------
        track : int
        said : mapping of int to str
            What cells of the session are called.
        nearest : int
            How many of them.
        """
        with self._lock:
            # The newest asked for is the one that somebody looks at.
            missing = [one for one in (track, *said) if one not in self._features]
            for one in missing:
                if one not in self._asked:
                    self._asked.add(one)
                    self._aside.submit(crashing(self._make), one)
            own = self._features.get(track)
            rows = {
                one: features
                for one in said
                if one != track and (features := self._features.get(one)) is not None
            }
        if own is None:
            reason = None if track in missing else "the cell has no picture that features could be made of"
            return Found([], len(missing), reason)
        found = self._of_session(own, rows, said) + self._of_bundle(own)
        return Found(sorted(found, key=lambda one: one.distance)[:nearest], len(missing), None)

    def _of_session(
        self, own: Floats, rows: Mapping[int, Floats], said: Mapping[int, str]
    ) -> list[Neighbour]:
        if not rows:
            return []
        distances = self._distances(own, np.stack(list(rows.values())))
        return [
            Neighbour(said[one], float(distance), one, None)
            for one, distance in zip(rows, distances, strict=True)
        ]

    def _of_bundle(self, own: Floats) -> list[Neighbour]:
        if self._known is None or self._known.shape[1] != own.size:
            return []
        distances = self._distances(own, self._known)
        nearest = np.argsort(distances, kind="stable")[:NEAREST]
        return [
            Neighbour(label, float(distances[one]), None, source)
            for one in nearest
            for label, source in [self._labels[one]]
        ]

    def _distances(self, own: Floats, others: Floats) -> Floats:
        spread = self._spread(own.size)
        return np.asarray(np.sqrt((((others - own) / spread) ** 2).mean(axis=1)), np.float64)

    def _spread(self, width: int) -> Floats:
        """Return the standard deviation of each feature: of the bundle's cells, else of the session's."""
        if self._known is not None and self._known.shape[1] == width:
            rows = self._known
        else:
            with self._lock:
                made = [one for one in self._features.values() if one is not None]
            if len(made) < _LEAST_SPREAD:
                return np.ones(width)
            rows = np.stack(made)
        deviation = rows.std(axis=0)
        return np.where(deviation > 0, deviation, 1.0)

    def _make(self, track: int) -> None:
        features = None
        # What cannot be made is known to be missing, or it would be asked for again and again.
        with contextlib.suppress(EdgeleukError, ValueError, OSError):
            crop = self._crop_of(track)
            features = None if crop is None else self._features_of(crop)
        with self._lock:
            self._features[track] = features


def _opened(bundle: Bundle) -> Classifier:
    """Open the network by the runtime that is there."""
    try:
        return open_classifier(bundle)
    except EdgeleukError:
        return open_classifier(bundle, runtime="onnxruntime")


def bundle_of(settings: Mapping[str, object], bundle: str) -> Bundle:
    """Open a bundle that judged a session.

    Raises
    ------
    UsageError
        It is another one.
    BundleError
        It cannot be read.
    """
    opened, judged_by = read_trusted_bundle(bundle), settings.get("bundle_sha256")
    if opened.sha256 != judged_by:
        raise UsageError(
            "another bundle judged the session, whose features tell of no neighbours here",
            got=f"{opened.path.name}, {opened.sha256[:16]}",
            allowed=f"{settings.get('bundle')}, {str(judged_by)[:16]}",
            cure="pass the bundle of the session with --bundle",
        )
    return opened


def _politely() -> None:
    """Yield to whoever counts cells; on Linux a thread has a priority of its own."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
