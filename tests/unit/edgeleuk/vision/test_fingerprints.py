"""The same cell is found among others, in whichever orientation it is shown."""

from __future__ import annotations

import numpy as np
import pytest
from labelled import crop

from edgeleuk.vision.fingerprints import alike_pairs, fingerprint


@pytest.mark.parametrize("turn", range(8))
def test_a_turned_cell_is_found_once(turn: int) -> None:
    drawn = [crop(seed, 150).pixels for seed in range(12)]
    turned = np.ascontiguousarray(np.rot90(drawn[7][:, ::-1] if turn >= 4 else drawn[7], turn % 4))
    prints = [fingerprint(pixels) for pixels in (*drawn[:10], turned, *drawn[10:])]
    numbers = np.arange(len(prints))
    among = alike_pairs(prints, numbers, prints, numbers)
    assert list(among) == [(7, 10)]
    # As two sets, each pair stands there in both orders.
    between = alike_pairs(prints, numbers, list(prints), numbers)
    assert set(between) == {(7, 10), (10, 7)}
    assert between[7, 10] == among[7, 10]
    assert alike_pairs(prints, 0 * numbers, prints, 0 * numbers) == {}


def test_of_no_cells_none_are_alike() -> None:
    none = np.zeros(0, np.intp)
    assert alike_pairs([], none, [], none) == {}
