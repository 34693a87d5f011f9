"""Networks of a bundle that has seen every subject: each cell is judged by the head that has not seen it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from edgeleuk.bundle.contracts import Answer
from edgeleuk.bundle.manifest import Envelope, OutputContract
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.bundle.support_vectors import SupportVectors
from edgeleuk.bundle.validation import decode_validation
from edgeleuk.classifier.appearance import CellAppearance
from edgeleuk.classifier.decision import Rules
from edgeleuk.errors import DataRefusedError
from edgeleuk_convert.dataset.cells import LabelledCell
from edgeleuk_convert.dataset.seen_cells import SeenCells
from edgeleuk_convert.evaluation.fold_heads import FoldHead, judge_by_folds, read_fold_heads
from edgeleuk_convert.evaluation.int8_vs_float import validation_facts
from edgeleuk_convert.training.record import bundle_record

CELLS, WIDTH = 24, 3
OUTPUT = OutputContract(kind="logit", threshold=0.5)
RULES = Rules(OUTPUT, Envelope(area_um2=(1, 1000)))


class Trunk:
    """See of a cell the number in its tensor, moved by what int8 would lose."""

    def __init__(self, error: float) -> None:
        self.error = error

    def predict(self, tensors: npt.NDArray[np.uint8]) -> Answer:
        """Answer with a head of its own, that has seen every cell: nobody shall ask it."""
        features = np.repeat(tensors[:, 0, 0].astype(np.float32), WIDTH, axis=1) + self.error
        return Answer(np.full((len(tensors), 1), np.nan, np.float32), features)


def head(cells: list[LabelledCell], sign: float, **output: float) -> FoldHead:
    """Make a head that takes numbers near 10 for blasts, or, with a negative sign, for the opposite."""
    support = SupportVectors(
        mean=np.zeros(WIDTH, np.float32),
        deviation=np.ones(WIDTH, np.float32),
        vectors=np.array([[10] * WIDTH, [0] * WIDTH], np.float16),
        weights=np.array([sign, -sign], np.float32) * 4,
        bias=0.0,
    )
    contract = msgspec.structs.replace(OUTPUT, **output)
    return FoldHead(frozenset(cell.sha256 for cell in cells), support, None, contract)


@pytest.fixture
def seen() -> SeenCells:
    """Return cells of six subjects; blasts show 10, normal cells 0."""
    cells = tuple(
        LabelledCell(
            Path(f"UID_{n % 6}_{n}.bmp"), "blast" if n % 2 else "normal", str(n % 6), str(n % 6), f"{n:04d}",
            20_000, 450, 450, "fold_0",
        )
        for n in range(CELLS)
    )  # fmt: skip
    tensors = np.array([10 if cell.label == "blast" else 0 for cell in cells], np.uint8)
    look = CellAppearance(*np.ones(len(CellAppearance._fields)))
    return SeenCells(
        cells, tensors[:, None, None, None], (look,) * CELLS, (60.0,) * CELLS, (np.zeros(14),) * CELLS
    )


def test_each_cell_is_judged_by_the_head_of_its_fold(seen: SeenCells) -> None:
    first = [cell for cell in seen.cells if int(cell.subject or 0) < 2]
    rest = [cell for cell in seen.cells if int(cell.subject or 0) >= 2]
    # The first fold's head is wrong throughout, the other's right.
    said = judge_by_folds({"reference": Trunk(0.0)}, RULES, seen, [head(first, -1), head(rest, 1)])
    judged = said.judged["reference"]
    assert sorted(said.files) == sorted(cell.path.name for cell in seen.cells)
    assert (judged.called == judged.truth).tolist() == [int(subject) >= 2 for subject in judged.subject]
    assert np.isfinite(judged.probability).all()


def test_each_fold_decides_by_its_own_output(seen: SeenCells) -> None:
    first, rest = list(seen.cells[:12]), list(seen.cells[12:])
    # With so large a bias every cell is a blast.
    heads = [head(first, 1, bias=4.0, temperature=8.0), head(rest, 1)]
    judged = judge_by_folds({"reference": Trunk(0.0)}, RULES, seen, heads).judged["reference"]
    assert judged.called[:12].all()
    assert (judged.called == judged.truth)[12:].all()


def test_what_int8_loses_is_told_as_of_held_out_cells(seen: SeenCells) -> None:
    heads = [head(list(seen.cells), 1)]
    networks = {"reference": Trunk(0.0), "tflite_int8": Trunk(0.3)}
    facts = validation_facts(judge_by_folds(networks, RULES, seen, heads))
    read = decode_validation(msgspec.json.encode(facts), "a bundle")
    assert read.tflite_int8 is not None
    assert (read.tflite_int8.cells, read.tflite_int8.subjects, read.threshold) == (CELLS, 6, 0.5)
    assert read.tflite_int8.sensitivity == read.tflite_int8.specificity == 1
    assert read.tflite_int8.max_probability_change is not None
    assert read.tflite_int8.max_probability_change > 0


def test_some_of_the_cells_keep_what_belongs_to_them(seen: SeenCells) -> None:
    some = seen.of([5, 2])
    assert [cell.sha256 for cell in some.cells] == ["0005", "0002"]
    assert some.tensors.ravel().tolist() == [10, 0]
    assert len(some.looks) == len(some.areas_um2) == len(some.numbers) == 2


def test_a_network_that_is_trained_has_no_heads_to_judge_by(seen: SeenCells, tmp_path: Path) -> None:
    record = bundle_record(read_bundle("default"))
    with pytest.raises(DataRefusedError, match=r"taken as it is .* got resnet; leave out --answers"):
        read_fold_heads(tmp_path, msgspec.structs.replace(record, architecture="resnet"), seen.cells)
    with pytest.raises(DataRefusedError, match="holds no answers of efficientnet-lite0-frozen"):
        read_fold_heads(tmp_path, record, seen.cells)
