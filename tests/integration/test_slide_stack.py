"""A scan with focus stacks: all planes in the slide, or one that is sharp everywhere with its map."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import ome_types
import pytest
import tifffile  # noqa: TID253 - it is what reads the slide
from shapely.geometry import shape
from slides import PLAY_UM, SIZE, corner_of
from virtual_stage import VirtualStage

from edgeleuk.commands.run import RunOptions
from edgeleuk.commands.scan import scan
from edgeleuk.commands.slide import SlideOptions, slide_of_session
from edgeleuk.errors import HardwareError, UsageError
from edgeleuk.io.settings import RunSettings
from edgeleuk.session import read_session
from edgeleuk.slide.spool import FieldSpool
from edgeleuk.stage.autofocus import detail_power
from edgeleuk.stage.scanning import ScanPlan
from edgeleuk.stage.stacking import FocusStack
from edgeleuk.virtual.microscope import Stand, VirtualMicroscope
from edgeleuk.virtual.render import VirtualSlide
from edgeleuk.virtual.serving import MjpegServer
from edgeleuk.vision.extended_focus import MAP_PX, map_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeleuk.errors import EdgeleukError
    from edgeleuk.results import SessionSummary
    from edgeleuk.results.structs import SlideWritten

PLAN = ScanPlan(80.0, 60.0)
STACK = FocusStack(5, 0.8)


class Stopping(VirtualStage):
    """Stops answering after so many moves."""

    moves_left = 10**9

    def move(self, x_um: float | None = None, y_um: float | None = None, z_um: float | None = None) -> None:
        self.moves_left -= 1
        if self.moves_left < 0:
            raise HardwareError("the stage does not answer")
        super().move(x_um, y_um, z_um)


class Bench(NamedTuple):
    stage: Stopping
    camera: str

    def scan(
        self, options: SlideOptions, *, resume: bool = False
    ) -> tuple[SessionSummary, EdgeleukError | None]:
        run = RunOptions(options.path.with_name("s.db"), draw=False, resume=resume)
        return scan(self.camera, "default", RunSettings(), self.stage, PLAN, run, options)


@pytest.fixture(scope="module")
def stand() -> Iterator[Bench]:
    """A slide that is tilted, so that fields are in focus at different heights."""
    build = Stand(focus_um=2.0, tilt_x=0.02, tilt_y=-0.01, backlash_um=PLAY_UM, turned_degrees=3.0)
    stage = Stopping(
        VirtualMicroscope(VirtualSlide(4, white_cells_per_field=8.0), build, *SIZE), take_out_um=5
    )
    with MjpegServer(lambda: stage().pixels, "127.0.0.1", 0, fps=25.0) as server:
        yield Bench(stage, f"http://127.0.0.1:{server.port}/stream")


def home(stand: Bench) -> None:
    stand.stage.moves_left = 10**9
    stand.stage.move(-10.0, -10.0, -5.0)
    stand.stage.move(0.0, 0.0, 0.0)


class Scanned(NamedTuple):
    stand: Bench
    options: SlideOptions
    written: SlideWritten
    fields: list[dict[str, str]]

    def centres(self) -> Iterator[tuple[dict[str, str], int, int]]:
        """Yield of each field where its middle lies on the slide, and what is nobody else's there."""
        for field in self.fields:
            yield field, round(float(field["X"])) + SIZE[0] // 2, round(float(field["Y"])) + SIZE[1] // 2


def scanned(stand: Bench, options: SlideOptions) -> Scanned:
    home(stand)
    summary, error = stand.scan(options)
    assert error is None
    assert summary.slide is not None
    [annotation] = ome_types.from_tiff(options.path).structured_annotations
    fields = [dict(field.attributes) for field in annotation.value.any_elements[0].children]
    return Scanned(stand, options, summary.slide, fields)


@pytest.fixture(scope="module")
def kept(stand: Bench, tmp_path_factory: pytest.TempPathFactory) -> Scanned:
    path = tmp_path_factory.mktemp("kept") / "s.ome.tiff"
    return scanned(stand, SlideOptions(path, is_lossless=True, keep_fields=True, stack=STACK))


@pytest.fixture(scope="module")
def joined(stand: Bench, tmp_path_factory: pytest.TempPathFactory) -> Scanned:
    path = tmp_path_factory.mktemp("joined") / "s.ome.tiff"
    return scanned(
        stand, SlideOptions(path, is_lossless=True, keep_fields=True, stack=STACK, extended_focus=True)
    )


@pytest.fixture
def zarr() -> Any:
    return pytest.importorskip("zarr", reason="zarr 3 needs Python 3.11")


def true_focus_um(scanned: Scanned, field: dict[str, str]) -> float:
    """Height of the motors at which a field is in focus, with the play taken out from below."""
    half = PLAY_UM / 2
    microscope = scanned.stand.stage.microscope
    return half + microscope.focus_um(float(field["StageX_um"]) - half, float(field["StageY_um"]) - half)


def require_each_cell_once(scanned: Scanned) -> None:
    """The cells lie on true cells, each on one of its own."""
    microscope = scanned.stand.stage.microscope
    first = scanned.fields[0]
    corner = corner_of(microscope, float(first["StageX_um"]), float(first["StageY_um"]))
    origin = corner[0] - round(float(first["X"])), corner[1] - round(float(first["Y"]))
    width, height = scanned.written.width, scanned.written.height
    centre = [(at + side / 2) / 13 for at, side in zip(origin, (width, height), strict=True)]
    true = microscope.slide.field(*centre, width=width, height=height).truth
    cells = json.loads(scanned.options.geojson.read_bytes())["features"]
    assert len(cells) == scanned.written.cells > 3
    found = []
    for cell in cells:
        middle = shape(cell["geometry"]).centroid
        near = min(true, key=lambda one: float(np.hypot(one.x - middle.x, one.y - middle.y)))
        assert np.hypot(near.x - middle.x, near.y - middle.y) < 0.25 * near.radius_px
        found.append(near.identity)
    assert len(found) == len(set(found))
    with read_session(scanned.options.path.with_name("s.db")) as reader:
        assert len(list(reader.rows("frames"))) == len(scanned.fields)


class TestAllPlanes:
    def test_the_tiff_has_them_as_z(self, kept: Scanned) -> None:
        with tifffile.TiffFile(kept.options.path) as tiff:
            [series] = tiff.series
            assert series.axes == "ZYXS"
            assert series.shape == (5, kept.written.height, kept.written.width, 3)
            assert len(series.levels) == 2
            for n in range(5):
                whole, half = (level.asarray()[n] for level in series.levels)
                height, width = (2 * (side // 2) for side in whole.shape[:2])
                small = cv2.resize(whole[:height, :width], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
                assert np.array_equal(half[: height // 2, : width // 2], small)
            ome = ome_types.from_xml(tiff.ome_metadata, validate=True)
        pixels = ome.images[0].pixels
        assert (pixels.size_z, pixels.physical_size_z, pixels.physical_size_z_unit.value) == (5, 0.8, "µm")
        assert [plane.the_z for plane in pixels.planes] == [0, 1, 2, 3, 4]
        assert "5 planes, 0.8 um apart" in ome.images[0].description
        assert (kept.written.planes, kept.written.plane_step_um) == (5, 0.8)

    def test_each_plane_is_of_its_height_and_the_middle_one_in_focus(self, kept: Scanned) -> None:
        slide = tifffile.imread(kept.options.path)
        power = [detail_power(plane) for plane in slide]
        assert int(np.argmax(power)) == STACK.middle
        with FieldSpool(kept.options.fields) as spool:
            for field, x, y in kept.centres():
                for n in range(5):
                    plane = spool.picture(int(field["Number"]), None if n == STACK.middle else n)
                    part = slide[n, y - 20 : y + 20, x - 20 : x + 20]
                    middle = SIZE[1] // 2, SIZE[0] // 2
                    own = plane[middle[0] - 20 : middle[0] + 20, middle[1] - 20 : middle[1] + 20]
                    assert np.array_equal(part, own)

    def test_each_cell_is_counted_once(self, kept: Scanned) -> None:
        require_each_cell_once(kept)

    def test_the_zarr_has_them_as_z(self, kept: Scanned, zarr: Any, tmp_path: Path) -> None:
        models = pytest.importorskip("ome_zarr_models.v05")
        options = SlideOptions(tmp_path / "again.ome.zarr", spool=kept.options.fields)
        written, error = slide_of_session(kept.options.path.with_name("s.db"), options)
        assert error is None
        assert written is not None
        assert written.planes == 5
        group = zarr.open_group(options.path, mode="r")
        pixels = group["0"][:]
        assert np.array_equal(np.moveaxis(pixels, 0, 3), tifffile.imread(kept.options.path))
        [multiscale] = models.Image.from_zarr(group).ome_attributes.multiscales
        assert [axis.name for axis in multiscale.axes] == ["c", "z", "y", "x"]
        scale = multiscale.datasets[0].coordinateTransformations[0].scale
        assert scale == pytest.approx([1, 0.8, 1 / 13, 1 / 13], rel=5e-3)


class TestExtendedFocus:
    def test_the_tiff_has_one_plane_and_its_map(self, joined: Scanned) -> None:
        width, height = joined.written.width, joined.written.height
        with tifffile.TiffFile(joined.options.path) as tiff:
            slide, heights = tiff.series
            assert (slide.axes, slide.shape) == ("YXS", (height, width, 3))
            assert heights.shape == map_size(width, height)[::-1]
            assert heights.dtype == np.float32
            ome = ome_types.from_xml(tiff.ome_metadata, validate=True)
        first, second = (image.pixels for image in ome.images)
        assert (first.size_z, first.physical_size_z) == (1, None)
        assert second.physical_size_x == pytest.approx(MAP_PX * first.physical_size_x)
        assert ome.images[1].name == "heights"
        assert "Extended focus of 5 planes" in ome.images[0].description
        assert (joined.written.planes, joined.written.is_extended_focus) == (1, True)

    def test_the_map_tells_the_height_of_each_field(self, joined: Scanned) -> None:
        heights = tifffile.imread(joined.options.path, series=1)
        told = 0
        for field, x, y in joined.centres():
            around = heights[y // MAP_PX - 8 : y // MAP_PX + 8, x // MAP_PX - 8 : x // MAP_PX + 8]
            known = around[~np.isnan(around)]
            if known.size > 20:
                told += 1
                assert np.median(known) == pytest.approx(true_focus_um(joined, field), abs=STACK.step_um / 2)
                assert np.quantile(np.abs(known - true_focus_um(joined, field)), 0.95) < STACK.step_um
        assert told > len(joined.fields) / 2

    def test_each_cell_is_counted_once(self, joined: Scanned) -> None:
        require_each_cell_once(joined)

    def test_the_zarr_has_the_map_beside_the_picture(
        self, joined: Scanned, zarr: Any, tmp_path: Path
    ) -> None:
        models = pytest.importorskip("ome_zarr_models.v05")
        options = SlideOptions(tmp_path / "again.ome.zarr", spool=joined.options.fields)
        _, error = slide_of_session(joined.options.path.with_name("s.db"), options)
        assert error is None
        group = zarr.open_group(options.path, mode="r")
        heights = tifffile.imread(joined.options.path, series=1)
        assert np.array_equal(group["heights/0"][:], heights, equal_nan=True)
        assert group["0"].ndim == 3
        [multiscale] = models.Image.from_zarr(group["heights"]).ome_attributes.multiscales
        scale = multiscale.datasets[0].coordinateTransformations[0].scale
        assert scale == pytest.approx([MAP_PX / 13] * 2, rel=5e-3)


class TestTrouble:
    def test_a_scan_goes_on_with_its_own_stack_and_no_other(self, stand: Bench, tmp_path: Path) -> None:
        options = SlideOptions(tmp_path / "s.ome.tiff", keep_fields=True, stack=FocusStack(2, 0.8))
        home(stand)
        stand.stage.moves_left = 36
        _, error = stand.scan(options)
        assert isinstance(error, HardwareError)
        with FieldSpool(options.fields) as spool:
            assert 0 < sum(field.is_there for field in spool.fields()) < len(spool.fields())
        stand.stage.moves_left = 10**9
        for other, got in (
            (SlideOptions(options.path), "no --stack"),
            (SlideOptions(options.path, stack=FocusStack(2, 0.5)), "--stack 2@0.5"),
            (
                SlideOptions(options.path, stack=options.stack, extended_focus=True),
                "--stack 2@0.8 --extended-focus",
            ),
        ):
            said = f"the scan was begun with another stack: got {got}, allowed --stack 2@0.8; pass the same"
            with pytest.raises(UsageError, match=re.escape(said)):
                stand.scan(other, resume=True)
        summary, error = stand.scan(options, resume=True)
        assert error is None
        assert summary.slide is not None
        assert (summary.slide.missing, summary.slide.planes) == (0, 2)
        assert tifffile.imread(options.path).shape[0] == 2

    def test_a_stage_without_a_focus_axis(self, stand: Bench, tmp_path: Path) -> None:
        class Flat(VirtualStage):
            has_focus_axis = False
            focuses_itself = False

            def focus(self, reach_um: float) -> None:
                raise AssertionError(reach_um)

        flat = Bench(Flat(stand.stage.microscope), stand.camera)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="has no focus axis, so that no stack can be taken"):
            flat.scan(SlideOptions(tmp_path / "s.ome.tiff", stack=STACK))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["--stack", "5@0.8"], "the planes of a stack are kept in a slide; pass --slide FILE.ome.tiff"),
            (["--extended-focus"], "the planes of a stack are kept in a slide; pass --slide FILE.ome.tiff"),
            (["--extended-focus", "--slide", "s.ome.tiff"], "no stack to be joined; pass --stack 5@0.8"),
            (["--stack", "5", "--slide", "s.ome.tiff"], "the stack cannot be read: got 5, allowed PLANES@UM"),
        ],
    )
    def test_what_is_refused_before_the_stage_is_opened(
        self,
        words: list[str],
        says: str,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        from edgeleuk.cli.app import main

        scan_words = ["scan", "--area", "1x1", "--stage", "socket://127.0.0.1:9", *words]
        monkeypatch.setattr("sys.argv", ["edgeleuk", *scan_words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert says in " ".join(capsys.readouterr().err.split())
