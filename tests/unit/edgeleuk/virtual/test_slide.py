"""The virtual slide and its camera: the same bytes for the same words, a truth that is in the picture."""

from __future__ import annotations

import json
import math
import threading
import time
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgeleuk.capture.scripted import open_virtual
from edgeleuk.capture.virtual import FIELDS_PER_ROW, VirtualSettings, parse_virtual
from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk.virtual import VirtualSlide, single_cell
from edgeleuk.virtual.cells import white_sprite
from edgeleuk.virtual.population import draw_measures, statistics
from edgeleuk.virtual.slide import Recent, Smear

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.virtual import Field

SIZE = {"width": 400, "height": 300}


@pytest.fixture(scope="module")
def slide() -> VirtualSlide:
    return VirtualSlide(seed=11, blast_share=0.5, white_cells_per_field=6)


def whole_cells(field: Field, margin: float = 1.5) -> list[Any]:
    height, width = field.pixels.shape[:2]
    return [
        cell
        for cell in field.truth
        if margin * cell.radius_px < cell.x < width - margin * cell.radius_px
        and margin * cell.radius_px < cell.y < height - margin * cell.radius_px
    ]


def test_the_same_arguments_give_the_same_bytes_from_another_slide_object(slide: VirtualSlide) -> None:
    again = VirtualSlide(seed=11, blast_share=0.5, white_cells_per_field=6)
    slide.field(500, 500, **SIZE)  # what was looked at before must not matter
    first, second = slide.field(40, 30, z_um=0.3, **SIZE), again.field(40, 30, z_um=0.3, **SIZE)
    assert first.pixels.tobytes() == second.pixels.tobytes()
    assert first.truth == second.truth


def test_another_seed_is_another_slide(slide: VirtualSlide) -> None:
    other = VirtualSlide(seed=12, blast_share=0.5, white_cells_per_field=6)
    assert (slide.field(0, 0, **SIZE).pixels != other.field(0, 0, **SIZE).pixels).mean() > 0.5


def test_a_field_shows_dark_purple_where_the_truth_says(slide: VirtualSlide) -> None:
    seen = 0
    for x_um in range(0, 400, 80):
        field = slide.field(x_um, -200)
        background = np.median(field.pixels.reshape(-1, 3), axis=0)
        for cell in whole_cells(field):
            x, y = int(cell.x), int(cell.y)
            red, green, blue = field.pixels[y - 8 : y + 8, x - 8 : x + 8].reshape(-1, 3).mean(axis=0)
            assert green < 0.45 * background[1]
            assert green < red < blue + 20
            seen += 1
    assert seen >= 10


def test_the_dark_purple_area_is_that_of_the_true_radii(slide: VirtualSlide) -> None:
    for x_um in (0, 150, 300):
        field = slide.field(x_um, 90)
        for cell in whole_cells(field):
            reach = int(1.6 * cell.radius_px)
            left, top = max(int(cell.x) - reach, 0), max(int(cell.y) - reach, 0)
            patch = field.pixels[top : int(cell.y) + reach, left : int(cell.x) + reach]
            others = [o for o in field.truth if o is not cell and abs(o.x - cell.x) < 2.5 * reach]
            if not others:
                radius = math.sqrt(np.count_nonzero(patch[..., 1] < 95) / math.pi)
                assert radius == pytest.approx(cell.radius_px, rel=0.12)


@pytest.mark.parametrize("place", [(1e6, -1e6), (-3e7, 2.5), (123456.7, 1e7)])
def test_the_slide_has_no_end(slide: VirtualSlide, place: tuple[float, float]) -> None:
    field = slide.field(*place, **SIZE)
    assert field.pixels.shape == (300, 400, 3)
    assert field.pixels.std() > 5


def test_tiles_far_out_keep_their_own_identities() -> None:
    smear = Smear(3, 0.5, 6.0)
    cells = smear.white_cells(-300, -300, 300, 300) + smear.white_cells(1e7, -1e7, 1e7 + 300, -1e7 + 300)
    assert len({cell.identity for cell in cells}) == len(cells)
    assert all(0 <= cell.identity < 2**53 for cell in cells)


def test_defocus_blurs_on_both_sides_and_more_further_away(slide: VirtualSlide) -> None:
    def detail(z_um: float) -> float:
        grey = slide.field(0, 0, z_um=z_um, **SIZE).pixels.mean(axis=2)
        return float(np.abs(grey[:, 2:] - 2 * grey[:, 1:-1] + grey[:, :-2]).mean())

    contrast = [slide.field(0, 0, z_um=z_um, **SIZE).pixels.std() for z_um in (0, 2, 6, 30)]
    assert detail(0) > 1.05 * detail(0.5)
    assert detail(0.5) == detail(-0.5)
    assert contrast == sorted(contrast, reverse=True)
    assert slide.field(0, 0, z_um=8, **SIZE).truth == slide.field(0, 0, **SIZE).truth


def test_the_lamp_scales_the_light_and_saturates(slide: VirtualSlide) -> None:
    dim, normal, bright = (slide.field(0, 0, lamp=lamp, **SIZE).pixels.mean() for lamp in (0.5, 1.0, 3.0))
    assert dim == pytest.approx(normal / 2, rel=0.02)
    assert bright > 220
    assert slide.field(0, 0, lamp=0, **SIZE).pixels.max() < 12


def test_corners_are_darker_than_the_middle() -> None:
    empty = VirtualSlide(seed=2, white_cells_per_field=0)
    fields = np.stack([empty.field(300 * n, 0).pixels for n in range(6)])
    bright = np.percentile(fields, 90, axis=(0, 3))
    assert bright[:60, :60].mean() < 0.95 * bright[450:510, 610:670].mean()


def test_a_slide_without_white_cells_has_no_truth() -> None:
    assert VirtualSlide(white_cells_per_field=0).field(0, 0).truth == ()


@pytest.mark.parametrize("px_per_um", [5.0, 8.0, 18.5])
def test_scale_changes_pixels_but_not_the_slide(slide: VirtualSlide, px_per_um: float) -> None:
    other = VirtualSlide(seed=11, px_per_um=px_per_um, blast_share=0.5, white_cells_per_field=6)
    theirs = {
        cell.identity: cell
        for cell in other.field(0, 0, width=int(98 * px_per_um), height=int(74 * px_per_um)).truth
    }
    ours = {cell.identity: cell for cell in whole_cells(slide.field(0, 0))}
    assert ours
    for identity, cell in ours.items():
        assert theirs[identity].label == cell.label
        assert theirs[identity].radius_px / px_per_um == pytest.approx(cell.radius_px / 13, rel=1e-9)


def test_white_cells_are_as_many_and_as_mixed_as_asked() -> None:
    smear = Smear(1, 0.3, 3.0)
    fields = 20 * 20
    cells = smear.white_cells(0, 0, 20 * 1280 / 13, 20 * 960 / 13)
    assert len(cells) / fields == pytest.approx(3.0, rel=0.1)
    assert sum(cell.label == "blast" for cell in cells) / len(cells) == pytest.approx(0.3, abs=0.05)


def test_a_few_white_cells_touch_and_only_as_pairs() -> None:
    cells = Smear(4, 0.5, 6.0).white_cells(0, 0, 2000, 2000)
    places = np.array([(cell.x_um, cell.y_um) for cell in cells])
    radii = np.array([cell.radius_um for cell in cells])
    distance = np.hypot(*(places[:, None] - places[None, :]).transpose(2, 0, 1))
    touching = (distance < radii[:, None] + radii[None, :]) & ~np.eye(len(cells), dtype=bool)
    assert 0.02 < touching.any(axis=1).mean() < 0.15


@pytest.mark.parametrize("label", ["blast", "normal"])
def test_a_single_cell_lies_on_black_as_in_c_nmc(label: str) -> None:
    crop = single_cell(label, 5)
    assert crop.pixels.shape == (450, 450, 3)
    assert crop.px_per_um == 18.5
    assert not crop.pixels[crop.mask == 0].any()
    assert crop.mask[225, 225] == 255
    assert (crop.pixels == single_cell(label, 5).pixels).all()
    assert (crop.pixels != single_cell(label, 6).pixels).any()


def test_blasts_are_larger_and_of_coarser_chromatin_as_in_c_nmc() -> None:
    # C-NMC's own: median log areas 4.67 and 4.31, AUROC of area 0.80.
    rng = np.random.default_rng(0)
    cells = {label: [draw_measures(label, rng) for _ in range(800)] for label in ("blast", "normal")}
    area = {label: np.array([cell["log_area_um2"] for cell in cells[label]]) for label in cells}
    assert np.median(area["blast"]) == pytest.approx(4.67, abs=0.05)
    assert np.median(area["normal"]) == pytest.approx(4.31, abs=0.05)
    assert (area["blast"][:, None] > area["normal"]).mean() == pytest.approx(0.80, abs=0.04)
    band = {label: np.median([cell["log_band_2"] for cell in cells[label]]) for label in cells}
    assert band["blast"] > band["normal"] + 0.1


def test_the_same_cell_looks_alike_at_two_scales() -> None:
    measures = draw_measures("blast", np.random.default_rng(1))
    large, small = (white_sprite(measures, np.random.default_rng(2), scale) for scale in (20.0, 10.0))
    area = [
        np.count_nonzero(sprite.alpha >= 128) / scale**2 for sprite, scale in ((large, 20.0), (small, 10.0))
    ]
    assert area[0] == pytest.approx(area[1], rel=0.03)
    n = min(large.half // 2, small.half) - 4
    picked = large.pixels[
        large.half - 2 * n : large.half + 2 * n : 2, large.half - 2 * n : large.half + 2 * n : 2
    ]
    theirs = small.pixels[small.half - n : small.half + n, small.half - n : small.half + n]
    assert np.corrcoef(picked[..., 1].ravel(), theirs[..., 1].ravel())[0, 1] > 0.9


def test_the_statistics_are_small_and_hold_only_numbers() -> None:
    text = resources.files("edgeleuk.virtual").joinpath("statistics.json").read_text(encoding="utf-8")
    assert len(text) < 20_000
    leaves: list[Any] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)
        else:
            leaves.append(node)

    walk(json.loads(text))
    assert all(type(leaf) in (int, float) and math.isfinite(leaf) for leaf in leaves)
    assert all((np.diff(known.quantiles, axis=1) >= 0).all() for known in statistics().classes.values())


def test_the_cache_forgets_what_was_unused_for_longest() -> None:
    made: list[int] = []
    recent: Recent[int] = Recent(2)
    for key in (1, 2, 1, 3, 1, 2):
        assert recent.get(key, lambda key=key: made.append(key) or key) == key  # type: ignore[misc, func-returns-value]
    assert made == [1, 2, 3, 2]
    assert len(recent) == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"seed": -1}, "seed of 0 or more"),
        ({"px_per_um": 0.5}, "px_per_um from 2 to 60"),
        ({"blast_share": 1.2}, "blast_share from 0 to 1"),
        ({"white_cells_per_field": 50}, "white_cells_per_field from 0 to 14"),
    ],
)
def test_impossible_slides_are_refused(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        VirtualSlide(**arguments)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"width": 0}, "width and height"),
        ({"z_um": math.nan}, "finite"),
        ({"lamp": -1}, "lamp from 0 to 10"),
    ],
)
def test_impossible_fields_are_refused(slide: VirtualSlide, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        slide.field(0, 0, **arguments)


def test_an_unknown_label_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a label among"):
        single_cell("monocyte", 0)


@pytest.mark.parametrize(
    ("uri", "settings"),
    [
        ("virtual://", VirtualSettings()),
        ("virtual:", VirtualSettings()),
        ("virtual:///", VirtualSettings()),
        ("virtual://?seed=7&fps=2.5", VirtualSettings(seed=7, fps=2.5)),
        (
            "virtual://?width=640&height=480&overlap=0&frames=3&blast_share=1&px_per_um=8",
            VirtualSettings(width=640, height=480, overlap=0, frames=3, blast_share=1, px_per_um=8),
        ),
        ("virtual://?white_cells_per_field=6", VirtualSettings(white_cells_per_field=6)),
    ],
)
def test_addresses_that_are_understood(uri: str, settings: VirtualSettings) -> None:
    assert parse_virtual(uri) == settings


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("virtual://?sead=1", ["unknown option", "sead", "seed, width"]),
        ("virtual://?seed=1.5", ["seed", "'1.5'", "whole number 0 to 4294967295"]),
        ("virtual://?seed=-1", ["seed", "'-1'"]),
        ("virtual://?width=10", ["width", "64 to 8192"]),
        ("virtual://?height=", ["height", "''"]),
        ("virtual://?fps=fast", ["fps", "'fast'", "0 to 240"]),
        ("virtual://?fps=nan", ["fps", "'nan'"]),
        ("virtual://?overlap=1", ["overlap", "0 to 0.9"]),
        ("virtual://?blast_share=2", ["blast_share", "0 to 1"]),
        ("virtual://?px_per_um=0", ["px_per_um", "2 to 60"]),
        ("virtual://?frames=-3", ["frames"]),
        ("virtual://?seed=1&seed=2", ["given twice"]),
        ("virtual://?seed", ["key=value"]),
        ("virtual://slide", ["not the address"]),
        ("file:///x", ["not the address"]),
    ],
)
def test_addresses_that_are_refused_say_why(uri: str, parts: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        open_virtual(uri)
    assert all(part in str(caught.value) for part in parts), str(caught.value)
    assert caught.value.cure


def test_the_source_gives_numbered_frames_with_truth_and_stops() -> None:
    uri = "virtual://?seed=2&width=320&height=240&frames=4&px_per_um=10&white_cells_per_field=9"
    with open_virtual(uri) as source:
        assert source.uri == uri
        assert not source.live
        frames = list(source.frames())
        again = list(source.frames())
    assert [frame.sequence for frame in frames] == [0, 1, 2, 3]
    assert all(frame.source == uri and frame.px_per_um == 10 for frame in frames)
    assert any(frame.truth for frame in frames)
    assert abs(frames[-1].captured_at - time.time()) < 60
    assert all((a.pixels == b.pixels).all() for a, b in zip(frames, again, strict=True))


def test_the_stage_walks_in_a_serpentine_of_whole_pixels() -> None:
    source = open_virtual("virtual://?width=320&height=240&overlap=0.25&px_per_um=10")
    places = [source.place(n) for n in range(2 * FIELDS_PER_ROW)]
    assert places[1] == (24.0, 0.0)
    assert places[FIELDS_PER_ROW - 1][0] == places[FIELDS_PER_ROW][0]
    assert places[FIELDS_PER_ROW][1] == 18.0
    assert places[-1] == (0.0, 18.0)


def test_a_live_source_keeps_its_pace_and_close_ends_it_from_another_thread() -> None:
    source = open_virtual("virtual://?width=64&height=64&fps=0.05")
    assert source.live
    frames = source.frames()
    next(frames)
    timer = threading.Timer(0.2, source.close)
    timer.start()
    assert list(frames) == []  # the second frame was twenty seconds away
    timer.join()


def test_statistics_need_enough_cells(tmp_path: Path) -> None:
    from edgeleuk_convert.dataset.smear_statistics import fit

    with pytest.raises(DataRefusedError, match="too few blast cells"):
        fit(tmp_path)


def test_statistics_fitted_to_drawn_cells_are_those_they_were_drawn_from(tmp_path: Path) -> None:
    import cv2

    from edgeleuk_convert.dataset.smear_statistics import fit, largest_part, measure

    for folder, label in (("all", "blast"), ("hem", "normal")):
        (tmp_path / folder).mkdir()
        for n in range(40):
            pixels = single_cell(label, n).pixels
            cv2.imwrite(str(tmp_path / folder / f"UID_{n % 4}_{n}_1_{folder}.png"), pixels[..., ::-1])
    (tmp_path / "all" / "notes.txt").write_text("not a picture")
    fitted = fit(tmp_path)
    assert len(json.dumps(fitted)) < 20_000
    for label, known in statistics().classes.items():
        assert fitted["classes"][label]["cells"] == 40
        assert tuple(fitted["classes"][label]["quantiles"]) == known.names
        index = known.names.index("log_area_um2")
        median = fitted["classes"][label]["quantiles"]["log_area_um2"][4]
        assert median == pytest.approx(known.quantiles[index, 4], abs=0.2)
    assert measure(np.zeros((100, 100, 3), np.uint8)) is None
    assert not largest_part(np.zeros((100, 100, 3), np.uint8)).any()
