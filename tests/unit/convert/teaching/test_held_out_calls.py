"""What teaching by drawn cells records of their calls: a matrix of final names, rates at the threshold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import pytest

from edgeleuk.bundle.manifest import VALIDATION
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.bundle.validation import decode_validation
from edgeleuk.counting.confusion import Confusion, confusion_of, corrected_shares
from edgeleuk.virtual.cells import single_cell
from edgeleuk_convert.teaching.measuring import measure
from edgeleuk_convert.teaching.taught import card_notes, teach_heads

if TYPE_CHECKING:
    from edgeleuk.bundle.contents import Bundle
    from edgeleuk.frames import CellCrop
    from edgeleuk_convert.teaching.measuring import MeasuredCells
    from edgeleuk_convert.teaching.taught import Teaching

EACH = 24
# Drawn cells of this many times the size stand for another kind.
LARGER = 1.7


class Drawn(NamedTuple):
    crop: CellCrop
    label: str
    slide: str
    subject: str | None = None


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return read_bundle("default")


@pytest.fixture(scope="module")
def seen(shipped: Bundle) -> MeasuredCells:
    cells = []
    for number in range(EACH):
        slide = f"slide {number % 4}"
        cells.append(Drawn(single_cell("blast", number), "blast", slide))
        cells.append(Drawn(single_cell("normal", number), "normal", slide))
        other = single_cell("normal", 100 + number)
        cells.append(Drawn(replace(other, px_per_um=other.px_per_um / LARGER), "monocyte", slide))
    return measure(cells, shipped, runtime="litert")


def taught(shipped: Bundle, seen: MeasuredCells, *labels: str) -> Teaching:
    return teach_heads(shipped, seen.of(np.isin(seen.label, labels)), None, progress=lambda _: None)


def test_both_heads_make_one_matrix_of_final_names(shipped: Bundle, seen: MeasuredCells) -> None:
    teaching = taught(shipped, seen, "blast", "normal", "monocyte")
    known = confusion_of(teaching.facts["confusion"])
    assert isinstance(known, Confusion)
    assert known.kinds == ("blast", "monocyte", "lymphocyte")
    for row, kind, effective in zip(known.counts, known.kinds, known.effective, strict=True):
        assert 0 < sum(row) <= EACH
        assert row[known.kinds.index(kind)] > 0.6 * sum(row)
        assert 1 <= effective <= sum(row)
    # It is one that a bundle may carry, with rates of whole cells at the threshold that it judges by.
    said = msgspec.json.decode(shipped.members[VALIDATION]) | teaching.facts
    validation = decode_validation(msgspec.json.encode(said), "lab")
    assert validation.confusion is not None
    assert validation.confusion.known() == known
    assert validation.threshold == teaching.rules.output.threshold
    assert validation.tflite_int8 is not None
    assert validation.tflite_int8.cells == 2 * EACH
    assert validation.tflite_int8.sensitivity > 0.6
    notes = "\n".join(card_notes(teaching))
    assert f"sensitivity {validation.tflite_int8.sensitivity:.3f} (" in notes
    assert "monocyte cells that were called: " in notes
    # And one that corrects a count of these kinds.
    counts = {"blast": 30, "monocyte": 20, "lymphocyte": 50}
    assert set(corrected_shares(counts, known).kinds) == set(known.kinds)


@pytest.mark.parametrize(
    ("labels", "may_be"),
    [
        # The head for blasts has never seen these cells: of those that it knows it calls some a blast.
        (("normal", "monocyte"), {"lymphocyte", "monocyte"}),
        (("blast", "normal"), {"blast", "lymphocyte"}),
    ],
)
def test_what_nobody_labelled_is_in_no_matrix(
    shipped: Bundle, seen: MeasuredCells, labels: tuple[str, ...], may_be: set[str]
) -> None:
    teaching = taught(shipped, seen, *labels)
    known = confusion_of(teaching.facts["confusion"])
    assert isinstance(known, Confusion)
    assert set(known.kinds) <= may_be
    reason = corrected_shares({"blast": 20, "monocyte": 20, "lymphocyte": 50}, known).reason
    assert "not known how often" in str(reason)
