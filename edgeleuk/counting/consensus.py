"""One judgement for each cell, from the best-focused of the views that a run had of it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from edgeleuk.results import STUCK_DUST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeleuk.results import Prediction

# Said of what turned out to be no cell at all: it ends all views.
# Views that have a say.
MOST_VIEWS = 3
# A further view is judged when it is about as sharp as the best, and in place of another when it is sharper.
_AS_SHARP = 0.9
_SHARPER = 1.15
# No cell is looked at more often, however slowly a focus is turned.
_MOST_JUDGED = 8
# Cells kept in memory; older ones are read back from the session.
_MOST_REMEMBERED = 2048


class View(NamedTuple):
    """One look at a cell that was judged: its focus, and what was said of it alone."""

    focus: float
    prediction: Prediction


@dataclass(frozen=True, slots=True)
class CellConsensus:
    """What is said of a cell.

    Attributes
    ----------
    views : tuple of View
        Those that have a say, the best focused first.
    prediction : Prediction
        Their consensus.
    truth : str or None
        The cell's real label where the source is simulated.
    judged : int
        Views that were judged, those included that were displaced by sharper ones.
    """

    views: tuple[View, ...]
    prediction: Prediction
    truth: str | None = None
    judged: int = 1


class Joiner(Protocol):
    """Turns views into one judgement; see `edgeleuk.classifier.classifier.Classifier.consensus`."""

    def consensus(self, views: Sequence[Prediction]) -> Prediction:
        """Judge one cell from its views, the best focused first."""
        ...


class Recorder(Protocol):
    """Knows what was judged long ago; see `edgeleuk.session.SessionWriter.views`."""

    def views(self, track: int) -> tuple[list[View], str | None]:
        """Return all judged views of a cell in their order, and its truth; none of a cell not judged yet."""
        ...


class ConsensusTable:
    """The judged cells of a run, at most 2,048 of them in memory."""

    def __init__(self, joiner: Joiner, recorder: Recorder) -> None:
        self._joiner = joiner
        self._recorder = recorder
        self._known: OrderedDict[int, CellConsensus] = OrderedDict()

    def of(self, track: int) -> CellConsensus | None:
        """Return what is said of a cell; None when it was never judged."""
        judgement = self._known.get(track)
        if judgement is not None:
            self._known.move_to_end(track)
            return judgement
        views, truth = self._recorder.views(track)
        if views:
            judgement = joined(views, self._joiner, truth)
            self.keep(track, judgement)
        return judgement

    def with_view(self, track: int, view: View, truth: str | None) -> CellConsensus:
        """Return what will be said of a cell with one more view; `keep` it once that is recorded."""
        return _added(self.of(track), view, self._joiner, truth)

    def keep(self, track: int, judgement: CellConsensus) -> None:
        """Remember what is said of a cell from now on."""
        self._known[track] = judgement
        self._known.move_to_end(track)
        if len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)


def is_worth_a_view(judgement: CellConsensus, focus: float) -> bool:
    """Whether another view of that focus would tell more of a cell."""
    if judgement.judged >= _MOST_JUDGED:
        return False
    if len(judgement.views) < MOST_VIEWS:
        return focus >= _AS_SHARP * judgement.views[0].focus
    return focus >= _SHARPER * judgement.views[-1].focus


def joined(views: Sequence[View], joiner: Joiner, truth: str | None = None) -> CellConsensus:
    """Judge a cell from all its views in the order in which they were had; at least one."""
    judgement = _added(None, views[0], joiner, truth)
    for view in views[1:]:
        judgement = _added(judgement, view, joiner, truth)
    return judgement


def _added(before: CellConsensus | None, view: View, joiner: Joiner, truth: str | None) -> CellConsensus:
    if before is None:
        return CellConsensus((view,), view.prediction, truth)
    if view.prediction.reason == STUCK_DUST:
        return replace(before, prediction=view.prediction, judged=_MOST_JUDGED)
    # Sorting is stable: of equally sharp views the earlier comes first.
    best = tuple(sorted((*before.views, view), key=lambda one: -one.focus))[:MOST_VIEWS]
    prediction = joiner.consensus([one.prediction for one in best])
    return replace(before, views=best, prediction=prediction, judged=before.judged + 1)
