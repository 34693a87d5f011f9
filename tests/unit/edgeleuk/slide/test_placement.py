from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slides import MATRIX, SIZE, Walked, walk

from edgeleuk.slide.light import learnt_light
from edgeleuk.slide.matching import measure_step
from edgeleuk.slide.placement import Placement, place_fields
from edgeleuk.stage.mapping import Mapping
from edgeleuk.stage.scanning import ScanPlan
from edgeleuk.virtual.render import VIGNETTE

if TYPE_CHECKING:
    from edgeleuk.stage.base import ScanField

PLAN = ScanPlan(170.0, 120.0)


def placed(walked: Walked) -> Placement:
    flat = learnt_light(walked.pictures)
    pictures = [flat.correct(pixels) for pixels in walked.pictures]

    def measure(first: int, second: int, guess: tuple[float, float]) -> tuple[float, float] | None:
        step = measure_step(pictures[first], pictures[second], guess)
        return None if step is None else (step.x, step.y)

    return place_fields(walked.fields, MATRIX, SIZE, measure)


def errors(placement: Placement, walked: Walked) -> np.ndarray:
    """How far each field lies from its true place, px, but for where the whole lies."""
    off = np.array([(one.x, one.y) for one in placement.fields]) - walked.corners
    return np.abs(off - np.median(off, axis=0)).max(axis=1)


class TestOnTheVirtualSlide:
    def test_fields_lie_right_to_a_pixel_where_the_stage_is_wrong_by_many(self) -> None:
        walked = walk(PLAN)
        told = np.array([(one.x_um, one.y_um) for one in walked.fields]) @ np.array(MATRIX).T
        by_stage = np.abs((told - told[0]) - (walked.corners - walked.corners[0])).max()
        placement = placed(walked)
        assert by_stage > 10
        assert errors(placement, walked).max() <= 1
        assert placement.lost == ()
        assert placement.refused == 0
        assert placement.px_per_um == pytest.approx(13.0, rel=1e-3)

    # Within reach of a search around the stage's place, beyond it, and so far that the row's overlap is gone.
    @pytest.mark.parametrize("slip_um", [(10.0, 0.0), (0.0, 12.0), (-12.0, 4.0), (18.0, 0.0)])
    def test_a_stage_that_loses_steps_is_seen_and_made_good(self, slip_um: tuple[float, float]) -> None:
        # In the middle of a row.
        first = 12
        walked = walk(PLAN, lambda number: slip_um if number >= first else (0.0, 0.0))
        placement = placed(walked)
        assert [one.field.number for one in placement.lost] == list(range(first, len(walked.fields)))
        assert errors(placement, walked).max() <= 1
        lost = np.array(placement.lost[0].lost_um)
        assert np.hypot(*lost) == pytest.approx(np.hypot(*slip_um), abs=1.0)

    def test_light_is_learnt_from_the_fields(self) -> None:
        walked = walk(PLAN)
        shade = walked.microscope.slide._vignette(*SIZE)[:, :, 1] / 255.0
        blank = np.repeat((shade * 250).astype(np.uint8)[:, :, None], 3, axis=2)
        left = learnt_light(walked.pictures).correct(blank)
        assert 1 - shade.min() == pytest.approx(VIGNETTE, abs=0.02)
        assert left.min() / left.max() > 0.96
        assert learnt_light(walked.pictures[:5]) is None


def grid(columns: int, rows: int) -> list[ScanField]:
    plan = ScanPlan(*(34.5 * n + 14.5 for n in (columns, rows)))
    return plan.fields(Mapping(((13.0, 0.0), (0.0, 13.0))), (640, 640), (0.0, 0.0))


class TestLeastSquares:
    @settings(deadline=None, max_examples=30)
    @given(st.integers(2, 6), st.integers(2, 6), st.integers(0, 2**31))
    def test_exact_steps_give_exact_places_whatever_the_stage_says(
        self, columns: int, rows: int, seed: int
    ) -> None:
        fields = grid(columns, rows)
        true = np.random.default_rng(seed).normal(0, 30, (len(fields), 2)).round()
        true += np.array([(one.x_um, one.y_um) for one in fields]).round() * 13

        def measure(first: int, second: int, _: tuple[float, float]) -> tuple[float, float]:
            return tuple(true[second] - true[first])

        placement = place_fields(fields, ((13.0, 0.0), (0.0, 13.0)), (640, 640), measure)
        found = np.array([(one.x, one.y) for one in placement.fields])
        assert np.abs((found - found[0]) - (true - true[0])).max() <= 1

    def test_one_wrong_step_is_left_out(self) -> None:
        fields = grid(5, 4)

        def measure(first: int, second: int, guess: tuple[float, float]) -> tuple[float, float]:
            wrong = 40.0 if (first, second) == (1, 2) else 0.0
            told = (fields[second].x_um - fields[first].x_um, fields[second].y_um - fields[first].y_um)
            return told[0] * 13 + wrong, told[1] * 13

        placement = place_fields(fields, ((13.0, 0.0), (0.0, 13.0)), (640, 640), measure)
        assert placement.refused == 1
        assert placement.residual_px < 0.1
        assert placement.lost == ()

    def test_a_picture_that_shows_the_field_before_moves_no_other(self) -> None:
        """The stage's own step to it is wrong by a field, and is not asked: others tie it."""
        fields = grid(5, 4)
        true = np.array([(one.x_um, one.y_um) for one in fields]).round() * 13
        late = 7
        true[late] = true[late - 1]

        def measure(first: int, second: int, _: tuple[float, float]) -> tuple[float, float] | None:
            step = true[second] - true[first]
            return None if np.abs(step).max() > 600 else tuple(step)

        placement = place_fields(fields, ((13.0, 0.0), (0.0, 13.0)), (640, 640), measure)
        found = np.array([(one.x, one.y) for one in placement.fields])
        assert np.abs((found - found[0]) - (true - true[0])).max() == 0
        assert placement.by_stage == 0
        assert [one.field.number for one in placement.lost] == [late]

    def test_where_nothing_can_be_measured_the_stage_tells(self) -> None:
        fields = grid(3, 3)
        placement = place_fields(fields, ((13.0, 0.0), (0.0, 13.0)), (640, 640), lambda *_: None)
        assert (placement.measured, placement.by_stage) == (0, 12)
        for one in placement.fields:
            assert (one.x, one.y) == pytest.approx((one.field.x_um * 13, one.field.y_um * 13), abs=1)

    def test_fields_that_nothing_ties_to_the_rest_say_so(self) -> None:
        fields = grid(4, 4)

        def measure(first: int, second: int, guess: tuple[float, float]) -> tuple[float, float] | None:
            return None if fields[second].row == 3 and fields[first].row == 2 else guess

        placement = place_fields(fields, ((13.0, 0.0), (0.0, 13.0)), (640, 640), measure)
        assert [one.field.row for one in placement.fields if not one.is_registered] == [3, 3, 3, 3]

    def test_one_field(self) -> None:
        placement = place_fields(grid(1, 1)[:1], ((13.0, 0.0), (0.0, 13.0)), (640, 480), lambda *_: None)
        assert (placement.width, placement.height) == (640, 480)
