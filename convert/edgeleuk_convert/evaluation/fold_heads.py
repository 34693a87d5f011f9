"""Judge a bundle's networks on every subject, each by the head of the fold that has not seen it.

A network that is taken as it is sees the same in every fold: what the folds do not share is the support
vectors and the forest behind it. So the int8 networks of a bundle that has learned from every subject are
judged on all of them: what they see of a cell goes to the head that a cross-validation made without that
cell's group.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.bundle.contracts import Answer
from edgeleuk.errors import DataRefusedError
from edgeleuk_convert.dataset.seen_cells import see_cells
from edgeleuk_convert.evaluation.cross_validation import support_of
from edgeleuk_convert.evaluation.every_subject import folds_of
from edgeleuk_convert.evaluation.fold_scores import fold_output
from edgeleuk_convert.evaluation.int8_vs_float import Answers, joined_answers, judge_networks
from edgeleuk_convert.networks.architectures import architecture
from edgeleuk_convert.training.forest import read_forest
from edgeleuk_convert.training.out_of_fold import answers_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from edgeleuk.bundle.forest import Forest
    from edgeleuk.bundle.manifest import InputContract, OutputContract
    from edgeleuk.bundle.support_vectors import SupportVectors
    from edgeleuk.classifier.decision import Rules
    from edgeleuk.io.console import Progress
    from edgeleuk_convert.dataset.cells import LabelledCell
    from edgeleuk_convert.dataset.seen_cells import SeenCells
    from edgeleuk_convert.evaluation.int8_vs_float import Predicts
    from edgeleuk_convert.training.record import TrainingRecord

# Their tensors fill a fifth of a gigabyte.
CHUNK = 512


@dataclass(frozen=True, slots=True)
class FoldHead:
    """What judges the cells of one fold, and has learned from none of them.

    Attributes
    ----------
    cells : frozenset of str
        Their sha256.
    support : SupportVectors
    forest : Forest or None
    output : OutputContract
    """

    cells: frozenset[str]
    support: SupportVectors
    forest: Forest | None
    output: OutputContract


def read_fold_heads(
    folder: Path, record: TrainingRecord, cells: Sequence[LabelledCell]
) -> tuple[FoldHead, ...]:
    """Read the heads that a cross-validation left, those of its first seed.

    Parameters
    ----------
    folder : Path
    record : TrainingRecord
        Of the network that is converted.
    cells : sequence of LabelledCell
        That are judged.

    Raises
    ------
    DataRefusedError
        The network is none with support vectors, or the folder's folds do not hold all cells.
    """
    entry = architecture(record.architecture)
    if not entry.support_vectors or entry.teacher:
        raise DataRefusedError(
            "only a network that is taken as it is can be judged by the heads of the folds",
            got=record.architecture,
            cure="leave out --answers; hold subjects out to judge this one",
        )
    runs, tests = folds_of(cells, answers_in(folder, record.architecture))
    forest = bool(record.output.forest_weight)
    heads = []
    for number, (one, test) in enumerate(zip(runs[0], tests, strict=True)):
        model = folder / f"{one.architecture}-fold{one.fold}-seed{one.seed}.keras"
        output = fold_output(runs[0], number, tests, forest=forest)
        heads.append(
            FoldHead(
                frozenset(cell.sha256 for cell in test),
                support_of(model),
                read_forest(model, output.forest_weight),
                output,
            )
        )
    return tuple(heads)


def judge_by_folds(
    networks: Mapping[str, Predicts],
    rules: Rules,
    seen: SeenCells,
    heads: Sequence[FoldHead],
    *,
    folder: Path | None = None,
) -> Answers:
    """Run every network on cells, and judge each cell by the head that has not seen it.

    Parameters
    ----------
    networks : mapping of key to Predicts
        That give features.
    rules : Rules
        Of the bundle; output and forest are each fold's own.
    seen : SeenCells
    heads : sequence of FoldHead
        One for each cell.
    folder : Path, optional
        Above all cells.
    """
    parts = []
    for head in heads:
        rows = [row for row, cell in enumerate(seen.cells) if cell.sha256 in head.cells]
        if not rows:
            continue
        of_fold = replace(rules, output=head.output, forest=head.forest)
        judged_by = {key: _ByHead(network, head.support) for key, network in networks.items()}
        parts.append(judge_networks(judged_by, of_fold, seen.of(rows), folder=folder))
    return joined_answers(parts, threshold=rules.output.threshold)


def judge_all_by_folds(
    networks: Mapping[str, Predicts],
    rules: Rules,
    cells: Sequence[LabelledCell],
    heads: Sequence[FoldHead],
    contract: InputContract,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Answers:
    """Do as `judge_by_folds`, some cells after the others, so that their tensors do not fill the memory."""
    parts = []
    for start in range(0, len(cells), CHUNK):
        seen = see_cells(cells[start : start + CHUNK], contract)
        parts.append(judge_by_folds(networks, rules, seen, heads, folder=folder))
        if progress is not None:
            progress(start + len(seen.cells), len(cells))
    return joined_answers(parts, threshold=rules.output.threshold)


class _ByHead:
    """A network whose features another head judges."""

    def __init__(self, network: Predicts, support: SupportVectors) -> None:
        self._network, self._support = network, support

    def predict(self, tensors: npt.NDArray[np.uint8]) -> Answer:
        """Answer with the head's log odds."""
        features = self._network.predict(tensors).features
        assert features is not None, "a network with support vectors gives features"
        return Answer(self._support.log_odds(features)[:, np.newaxis], features)
