"""Laws of the virtual slide: one plane, whatever window one looks through and in whatever order."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeleuk.virtual import VirtualSlide
from edgeleuk.virtual.render import NOISE_STD, VIGNETTE
from edgeleuk.virtual.slide import Smear

SLIDE = VirtualSlide(seed=5, px_per_um=8.0, white_cells_per_field=8)
WIDTH, HEIGHT = 200, 160
places = st.floats(-20_000, 20_000)
shifts = st.integers(-120, 120)


@settings(max_examples=25)
@given(x_um=places, y_um=places, dx=shifts, dy=shifts)
def test_overlapping_windows_show_the_same_slide(x_um: float, y_um: float, dx: int, dy: int) -> None:
    left, top = round(x_um * 8), round(y_um * 8)
    here = SLIDE._slide(left, top, WIDTH, HEIGHT)
    there = SLIDE._slide(left + dx, top + dy, WIDTH, HEIGHT)
    rows = slice(max(dy, 0), min(HEIGHT, HEIGHT + dy))
    columns = slice(max(dx, 0), min(WIDTH, WIDTH + dx))
    moved_rows = slice(rows.start - dy, rows.stop - dy)
    moved_columns = slice(columns.start - dx, columns.stop - dx)
    assert (here[rows, columns] == there[moved_rows, moved_columns]).all()


@settings(max_examples=25)
@given(x_um=places, y_um=places, dx=shifts, dy=shifts)
def test_a_moved_field_shows_the_same_cells_moved(x_um: float, y_um: float, dx: int, dy: int) -> None:
    x_um, y_um = round(x_um * 8) / 8, round(y_um * 8) / 8  # whole pixels
    here = SLIDE.field(x_um, y_um, width=WIDTH, height=HEIGHT)
    there = SLIDE.field(x_um + dx / 8, y_um + dy / 8, width=WIDTH, height=HEIGHT)
    moved = {cell.identity: cell for cell in there.truth}
    for cell in here.truth:
        if cell.identity in moved:
            other = moved[cell.identity]
            assert (other.x, other.y, other.label) == (cell.x - dx, cell.y - dy, cell.label)
        else:  # its centre and a little more must have left the window
            assert not (5 < cell.x - dx < WIDTH - 5 and 5 < cell.y - dy < HEIGHT - 5)
    ours = here.pixels[max(dy, 0) : HEIGHT + min(dy, 0), max(dx, 0) : WIDTH + min(dx, 0)]
    theirs = there.pixels[max(-dy, 0) : HEIGHT + min(-dy, 0), max(-dx, 0) : WIDTH + min(-dx, 0)]
    allowed = 255 * VIGNETTE + 12 * NOISE_STD
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= allowed


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), x=st.floats(-1e7, 1e7), y=st.floats(-1e7, 1e7), share=st.floats(0, 1))
def test_cells_of_a_rectangle_are_those_of_its_parts(seed: int, x: float, y: float, share: float) -> None:
    whole = Smear(seed, share, 5.0).white_cells(x, y, x + 200, y + 100)
    parts = Smear(seed, share, 5.0)
    right = parts.white_cells(x + 100, y, x + 200, y + 100)
    left = parts.white_cells(x, y, x + 100, y + 100)
    key = [cell.identity for cell in whole]
    assert sorted(key) == sorted(cell.identity for cell in left + right)
    if share in {0.0, 1.0}:
        assert {cell.label for cell in whole} <= {"blast" if share else "normal"}


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), x=st.floats(-1e6, 1e6), y=st.floats(-1e6, 1e6))
def test_red_cells_keep_off_white_cells(seed: int, x: float, y: float) -> None:
    smear = Smear(seed, 0.5, 6.0)
    whites = smear.white_cells(x, y, x + 150, y + 150)
    for red in smear.red_cells(x, y, x + 150, y + 150):
        for white in whites:
            distance = np.hypot(red.x_um - white.x_um, red.y_um - white.y_um)
            assert distance > white.radius_um + 3.0
