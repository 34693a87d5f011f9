"""A scan's slide: read by other programs, its pixels and cells where the virtual slide has them."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import bioio
import cv2
import numpy as np
import ome_types
import openslide
import pytest
import tifffile  # noqa: TID253 - it is what reads the slide
from exchanged import record_cells, round_cell
from geojson_rules import check_for_qupath, rings_of_geojson
from shapely.geometry import Polygon, shape
from slides import SIZE, corner_of, displacements, keep, truth_of, virtual_microscope, walk
from virtual_stage import VirtualStage

from edgeleuk.cli.app import main
from edgeleuk.commands.run import RunOptions
from edgeleuk.commands.scan import scan
from edgeleuk.commands.slide import SlideOptions, slide_of_session
from edgeleuk.commands.slide_fields import FieldKeeper
from edgeleuk.errors import HardwareError, SessionError, UsageError
from edgeleuk.io.atomic import overwrite
from edgeleuk.io.console import recordable
from edgeleuk.io.settings import RunSettings
from edgeleuk.labels.formats.outlines import tight_box
from edgeleuk.session import create_session, read_session
from edgeleuk.session.pictures import decode_crop
from edgeleuk.slide.spool import FieldSpool
from edgeleuk.stage.resuming import SCAN_EVENT, Begun
from edgeleuk.stage.scanning import ScanPlan
from edgeleuk.virtual.serving import MjpegServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeleuk.errors import EdgeleukError
    from edgeleuk.frames import RgbImage
    from edgeleuk.results import SessionSummary
    from edgeleuk.results.structs import SlideWritten
    from edgeleuk.virtual.microscope import VirtualMicroscope

PLAN = ScanPlan(125.0, 90.0)


class Scanned(NamedTuple):
    session: Path
    options: SlideOptions
    written: SlideWritten
    microscope: VirtualMicroscope
    # Of the slide's upper left pixel in the virtual slide.
    origin: tuple[int, int]


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Scanned:
    folder = tmp_path_factory.mktemp("slide")
    microscope = virtual_microscope()
    stage = VirtualStage(microscope, take_out_um=5.0)
    stage.move(x_um=-10.0, y_um=-10.0)
    stage.move(x_um=0.0, y_um=0.0)
    options = SlideOptions(folder / "s.ome.tiff", is_lossless=True, objective="40x/0.65", keep_fields=True)
    with MjpegServer(lambda: stage().pixels, "127.0.0.1", 0, fps=25.0) as server:
        camera = f"http://127.0.0.1:{server.port}/stream"
        summary, error = scan(
            camera, "default", RunSettings(), stage, PLAN, RunOptions(folder / "s.db", draw=False), options
        )
    assert error is None
    assert summary.slide is not None
    first = annotated(options.path)[0]
    corner = corner_of(microscope, float(first["StageX_um"]), float(first["StageY_um"]))
    origin = corner[0] - round(float(first["X"])), corner[1] - round(float(first["Y"]))
    return Scanned(folder / "s.db", options, summary.slide, microscope, origin)


def annotated(path: Path) -> list[dict[str, str]]:
    """Return what the file says of each field."""
    ome = ome_types.from_tiff(path)
    [annotation] = ome.structured_annotations
    [fields] = annotation.value.any_elements
    return [dict(field.attributes) for field in fields.children]


def ended_with(monkeypatch: pytest.MonkeyPatch, *words: object) -> object:
    """Run a command, and return its exit code."""
    monkeypatch.setattr("sys.argv", ["edgeleuk", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def boxes_of(ome: ome_types.OME) -> dict[str, tuple[int, int]]:
    """Return the upper left corner of each cell's ROI by its name, px."""
    corners = {}
    for roi in ome.rois:
        points = [tuple(map(float, point.split(","))) for point in roi.union[0].points.split()]
        left, top, _, _ = Polygon(points).bounds
        corners[roi.name] = (round(left), round(top))
    return corners


def cells_shown(
    scanned: Scanned, pixels: RgbImage, corners: dict[str, tuple[int, int]], reach: int = 6
) -> int:
    """Return how many cells are seen, within 1 px of their places, in pixels that a program read."""
    padded = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), mode="edge").astype(np.float32)
    count = 0
    with read_session(scanned.session) as reader:
        for row in reader.rows("cells", thumbnails=True):
            crop = decode_crop(row["crop"], 13.0)
            box = tight_box(crop.mask > 0)
            mask = np.repeat((crop.mask[box.slices] > 0)[:, :, None], 3, axis=2).astype(np.float32)
            left, top = corners[f"cell {row['track']}"]
            around = padded[top : top + box.h + 2 * reach, left : left + box.w + 2 * reach]
            far = cv2.matchTemplate(
                around, crop.pixels[box.slices].astype(np.float32), cv2.TM_CCOEFF_NORMED, mask=mask
            )
            _, best, _, place = cv2.minMaxLoc(far)
            count += best > 0.95 and max(abs(at - reach) for at in place) <= 1
    return count


def run(*words: object) -> str:
    """Run another program, and return what it says."""
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class TestOfAScan:
    def test_every_part_of_the_picture_lies_right(self, scanned: Scanned) -> None:
        slide = tifffile.imread(scanned.options.path)
        size = (slide.shape[1], slide.shape[0])
        off = displacements(slide, scanned.microscope.slide._slide(*scanned.origin, *size))
        assert len(off) > 100
        assert max(off) <= 1.5

    def test_the_xml_is_valid_and_says_pixel_size_channels_objective_and_stage(
        self, scanned: Scanned
    ) -> None:
        with tifffile.TiffFile(scanned.options.path) as tiff:
            assert tiff.is_ome
            assert tiff.series[0].is_pyramidal == (max(tiff.pages[0].shape) > 1024)
            text = tiff.ome_metadata
        ome = ome_types.from_xml(text, validate=True)
        [image] = ome.images
        pixels = image.pixels
        written = scanned.written
        assert (pixels.size_x, pixels.size_y, pixels.size_c) == (written.width, written.height, 3)
        assert pixels.physical_size_x == pytest.approx(1 / 13, rel=2e-3)
        assert pixels.physical_size_x_unit.value == "µm"
        assert [channel.samples_per_pixel for channel in pixels.channels] == [3]
        [objective] = ome.instruments[0].objectives
        assert (objective.nominal_magnification, objective.lens_na) == (40.0, 0.65)
        assert "SIMULATED" in image.description
        fields = annotated(scanned.options.path)
        assert len(fields) == written.fields == 16
        with FieldSpool(scanned.options.fields) as spool:
            for field, kept in zip(fields, spool.fields(), strict=True):
                assert float(field["StageX_um"]) == pytest.approx(kept.place.x_um, abs=1e-3)
        assert {field["PlacedBy"] for field in fields} == {"registration"}

    def test_every_cell_lies_right(self, scanned: Scanned) -> None:
        """Where the session has it in its field, and that field truly lies, as GeoJSON and as ROI."""
        cells = json.loads(scanned.options.geojson.read_bytes())["features"]
        rois = ome_types.from_tiff(scanned.options.path).rois
        with read_session(scanned.session) as reader:
            rows = {f"cell {row['track']}": row for row in reader.rows("cells")}
            places = {row["sequence"]: str(row["source"]) for row in reader.rows("frames")}
        assert len(cells) == len(rois) == len(rows) == scanned.written.cells > 3
        with FieldSpool(scanned.options.fields) as spool:
            fields = {kept.place.number: kept.place for kept in spool.fields()}
        for cell, roi in zip(cells, rois, strict=True):
            name = cell["properties"]["name"]
            assert roi.name == name
            row = rows[name]
            field = fields[int(places[row["frame"]].rpartition(" ")[2])]
            corner = corner_of(scanned.microscope, field.x_um, field.y_um)
            true = [at + row[key] - by for at, key, by in zip(corner, "xy", scanned.origin, strict=True)]
            left, top, right, bottom = shape(cell["geometry"]).bounds
            assert (left, top) == pytest.approx(true, abs=2)
            assert (right - left, bottom - top) == (row["w"], row["h"])
            outline = roi.union[0]
            points = [tuple(map(float, point.split(","))) for point in outline.points.split()]
            assert Polygon(points).bounds == pytest.approx((left, top, right, bottom), abs=1)
            assert outline.text == cell["properties"]["classification"]["name"]
            assert shape(cell["geometry"]).is_valid
            nucleus = shape(cell["nucleusGeometry"])
            assert nucleus.within(shape(cell["geometry"]).buffer(1))
            assert [one.text for one in roi.union if one.text == "nucleus"]

    def test_the_cells_are_where_the_virtual_slide_has_them(self, scanned: Scanned) -> None:
        cells = json.loads(scanned.options.geojson.read_bytes())["features"]
        width, height = scanned.written.width, scanned.written.height
        centre = [(at + side / 2) / 13 for at, side in zip(scanned.origin, (width, height), strict=True)]
        true = scanned.microscope.slide.field(*centre, width=width, height=height).truth
        for cell in cells:
            middle = shape(cell["geometry"]).centroid
            near = min(np.hypot(one.x - middle.x, one.y - middle.y) / one.radius_px for one in true)
            # The outline is the segmentation's; of another cell it would be a radius away.
            assert near < 0.2

    def test_the_cells_keep_to_the_rules_of_geojson_and_of_qupath(self, scanned: Scanned) -> None:
        text = scanned.options.geojson.read_bytes()
        assert rings_of_geojson(text)
        assert check_for_qupath(text) == scanned.written.cells

    def test_openslide_reads_pixels_and_scale(self, scanned: Scanned) -> None:
        with openslide.OpenSlide(scanned.options.path) as slide:
            assert slide.dimensions == (scanned.written.width, scanned.written.height)
            assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(1 / 13, rel=2e-3)
            region = np.asarray(slide.read_region((100, 100), 0, (300, 200)))[:, :, :3]
        assert np.array_equal(region, tifffile.imread(scanned.options.path)[100:300, 100:400])

    @pytest.mark.filterwarnings("ignore:As of version 0.4.0, the parser:DeprecationWarning")
    def test_bioio_reads_pixels_scale_and_cells(self, scanned: Scanned) -> None:
        image = bioio.BioImage(scanned.options.path)
        assert type(image.reader).__module__ == "bioio_ome_tiff.reader"
        sizes = image.physical_pixel_sizes[1:]
        assert sizes == pytest.approx([1 / scanned.written.px_per_um] * 2)
        assert sizes == pytest.approx([1 / 13] * 2, rel=2e-3)
        pixels = image.get_image_data("YXS")
        assert np.array_equal(pixels, tifffile.imread(scanned.options.path))
        assert cells_shown(scanned, pixels, boxes_of(image.ome_metadata)) == scanned.written.cells

    def test_bio_formats_reads_pyramid_scale_and_cells(self, scanned: Scanned, tmp_path: Path) -> None:
        """QuPath, Fiji and OMERO open the file with it. It is GPL, and so no dependency of ours."""
        tools = [shutil.which(tool) for tool in ("showinf", "bfconvert")]
        if None in tools:
            pytest.skip("Bio-Formats' command line tools are not installed")
        show, convert = tools
        said = run(show, "-no-upgrade", "-nopix", "-noflat", "-omexml", scanned.options.path)
        assert "Checking file format [OME-TIFF]" in said
        assert "No validation errors found." in said
        with tifffile.TiffFile(scanned.options.path) as tiff:
            assert f"Resolutions = {len(tiff.series[0].levels)}" in said
        start = said.index("<?xml")
        ome = ome_types.from_xml(said[start : said.index("</OME>", start) + len("</OME>")])
        assert ome.images[0].pixels.physical_size_x == pytest.approx(1 / scanned.written.px_per_um)
        out = tmp_path / "read.tif"
        run(convert, "-no-upgrade", "-series", "0", scanned.options.path, out)
        pixels = np.moveaxis(tifffile.imread(out, key=0), 0, 2)
        assert np.array_equal(pixels, tifffile.imread(scanned.options.path))
        assert cells_shown(scanned, pixels, boxes_of(ome)) == scanned.written.cells

    def test_again_from_the_kept_fields_as_jpeg(
        self,
        scanned: Scanned,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        out = tmp_path / "again.ome.tiff"
        words = ["slide", scanned.session, out, "--fields", scanned.options.fields, "--json"]
        assert ended_with(monkeypatch, *words) in (0, None)
        printed = json.loads(capsys.readouterr().out)
        assert printed["compression"] == "jpeg"
        first, second = tifffile.imread(scanned.options.path), tifffile.imread(out)
        assert first.shape == second.shape
        assert np.abs(first.astype(int) - second).mean() < 3
        assert (tmp_path / "again.geojson").read_bytes() == scanned.options.geojson.read_bytes()


class TestGoingOn:
    def test_a_scan_that_goes_on_has_all_its_fields_on_the_slide(self, tmp_path: Path) -> None:
        microscope = virtual_microscope()

        class Breaking(VirtualStage):
            moves_left = 60

            def move(self, *args: float | None, **ways: float | None) -> None:
                self.moves_left -= 1
                if self.moves_left < 0:
                    raise HardwareError("the stage does not answer")
                super().move(*args, **ways)

        stage = Breaking(microscope, take_out_um=5.0)
        options = SlideOptions(tmp_path / "s.ome.tiff")
        with MjpegServer(lambda: stage().pixels, "127.0.0.1", 0, fps=25.0) as server:

            def part(*, resume: bool) -> tuple[SessionSummary, EdgeleukError | None]:
                run = RunOptions(tmp_path / "s.db", draw=False, resume=resume)
                camera = f"http://127.0.0.1:{server.port}/stream"
                return scan(camera, "default", RunSettings(), stage, PLAN, run, options)

            summary, error = part(resume=False)
            assert isinstance(error, HardwareError)
            assert not options.path.exists()
            with FieldSpool(options.fields) as spool:
                assert 0 < sum(kept.is_there for kept in spool.fields()) < 16
            stage.moves_left = 10**9
            summary, error = part(resume=True)
        assert error is None
        assert (summary.slide.fields, summary.slide.missing) == (16, 0)
        assert sorted(path.name for path in tmp_path.glob("s.ome*")) == ["s.ome.tiff"]


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """A session without a cell."""
    with create_session(tmp_path / "s.db", {}):
        pass
    return tmp_path / "s.db"


@contextmanager
def small_disk(most_bytes: int) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


class TestOmeZarr:
    @pytest.fixture(autouse=True)
    def zarr(self) -> Any:
        return pytest.importorskip("zarr", reason="zarr 3 needs Python 3.11")

    def test_again_it_holds_the_pixels_and_the_cells_of_the_lossless_tiff(
        self,
        scanned: Scanned,
        zarr: Any,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        out = tmp_path / "again.ome.zarr"
        assert ended_with(
            monkeypatch, "slide", scanned.session, out, "--fields", scanned.options.fields, "--json"
        ) in (0, None)
        printed = json.loads(capsys.readouterr().out)
        assert printed["compression"] == "lossless"
        group = zarr.open_group(out, mode="r")
        assert np.array_equal(np.moveaxis(group["0"][:], 0, 2), tifffile.imread(scanned.options.path))
        [multiscale] = group.attrs["ome"]["multiscales"]
        [scale] = multiscale["datasets"][0]["coordinateTransformations"]
        assert scale["scale"][1:] == pytest.approx([1 / printed["px_per_um"]] * 2)
        assert scale["scale"][1:] == pytest.approx([1 / 13] * 2, rel=2e-3)
        own = group.attrs["edgeleuk"]
        assert "SIMULATED" in own["description"]
        fields = [{key: str(fact) for key, fact in field.items()} for field in own["fields"]]
        assert fields == annotated(scanned.options.path)
        image = bioio.BioImage(out)
        assert type(image.reader).__module__ == "bioio_ome_zarr.reader"
        assert image.channel_names == ["red", "green", "blue"]
        sizes = image.physical_pixel_sizes[1:]
        assert sizes == pytest.approx([1 / printed["px_per_um"]] * 2)
        pixels = np.moveaxis(image.get_image_data("CYX"), 0, 2)
        corners = {
            cell["properties"]["name"]: tuple(map(round, shape(cell["geometry"]).bounds[:2]))
            for cell in json.loads((tmp_path / "again.geojson").read_bytes())["features"]
        }
        assert cells_shown(scanned, pixels, corners) == scanned.written.cells
        assert (tmp_path / "again.geojson").read_bytes() == scanned.options.geojson.read_bytes()

    def test_a_scan_writes_it(self, zarr: Any, tmp_path: Path) -> None:
        stage = VirtualStage(virtual_microscope(), take_out_um=5.0)
        options = SlideOptions(tmp_path / "s.ome.zarr")
        with MjpegServer(lambda: stage().pixels, "127.0.0.1", 0, fps=25.0) as server:
            camera = f"http://127.0.0.1:{server.port}/stream"
            run = RunOptions(tmp_path / "s.db", draw=False)
            summary, error = scan(camera, "default", RunSettings(), stage, ScanPlan(50.0, 40.0), run, options)
        assert error is None
        written = summary.slide
        assert zarr.open_group(options.path, mode="r")["0"].shape == (3, written.height, written.width)
        assert sorted(path.name for path in tmp_path.glob("s.[og]*")) == ["s.geojson", "s.ome.zarr"]

    def test_a_folder_that_is_there(self, zarr: Any, tmp_path: Path, session: Path) -> None:
        options = SlideOptions(tmp_path / "s.ome.zarr")
        keep(options.fields, walk(ScanPlan(50.0, 40.0)), kept="jpeg")
        options.path.mkdir()
        (options.path / "somebody's").touch()
        with pytest.raises(UsageError, match="edgeleuk did not make it"):
            slide_of_session(session, options)
        overwrite(force=True)
        try:
            with pytest.raises(UsageError, match="edgeleuk did not make it"):
                slide_of_session(session, options)
            (options.path / "somebody's").unlink()
            options.path.rmdir()
            slide_of_session(session, options)
            (options.path / "of the first").touch()
            overwrite(force=False)
            with pytest.raises(UsageError, match="or pass --force"):
                slide_of_session(session, options)
            overwrite(force=True)
            _, error = slide_of_session(session, options)
        finally:
            overwrite(force=False)
        assert error is None
        assert sorted(path.name for path in options.path.iterdir()) == ["0", "zarr.json"]
        assert not list(tmp_path.glob(".edgeleuk-*"))

    def test_a_disk_that_fills_leaves_a_smaller_slide_that_opens(
        self, zarr: Any, tmp_path: Path, session: Path
    ) -> None:
        options = SlideOptions(tmp_path / "s.ome.zarr", is_lossless=True)
        keep(options.fields, walk(PLAN))
        with small_disk(500_000):
            written, error = slide_of_session(session, options)
        assert isinstance(error, UsageError)
        assert error.what == f"the disk is full: {options.path} holds the slide at 1/4 of its resolution"
        group = zarr.open_group(options.path, mode="r")
        assert group["0"][:].shape == (3, written.height, written.width)
        [scale] = group.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
        assert scale["scale"][1:] == pytest.approx([4 / 13] * 2, rel=2e-3)
        assert not list(tmp_path.glob(".edgeleuk-*"))

    def test_without_the_extra(
        self,
        tmp_path: Path,
        session: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setitem(sys.modules, "zarr", None)
        assert ended_with(monkeypatch, "slide", session, tmp_path / "s.ome.zarr") == 5
        said = " ".join(capsys.readouterr().err.split())
        assert "zarr is not installed; pip install 'edgeleuk[zarr]'" in said


class TestTrouble:
    def test_a_stage_that_lost_steps_marks_the_fields(self, tmp_path: Path, session: Path) -> None:
        walked = walk(ScanPlan(125.0, 90.0), lambda number: (12.0, 0.0) if number >= 9 else (0.0, 0.0))
        options = SlideOptions(tmp_path / "s.ome.tiff", is_lossless=True)
        keep(options.fields, walked)
        written, error = slide_of_session(session, options)
        assert error is None
        assert [one.field for one in written.lost_steps] == list(range(9, len(walked.fields)))
        fields = annotated(options.path)
        marked = [int(field["Number"]) for field in fields if field.get("LostSteps") == "true"]
        assert marked == list(range(9, len(walked.fields)))
        slide = tifffile.imread(options.path)
        origin = walked.corners[0] - [round(float(fields[0][key])) for key in "XY"]
        off = displacements(slide, truth_of(walked, (slide.shape[1], slide.shape[0]), tuple(origin.tolist())))
        assert max(off) <= 1.5

    def test_a_field_that_is_missing_leaves_what_its_neighbours_do_not_show(
        self, tmp_path: Path, session: Path
    ) -> None:
        options = SlideOptions(tmp_path / "s.ome.tiff", is_lossless=True)
        keep(options.fields, walk(PLAN), without=(5,))
        written, _ = slide_of_session(session, options)
        assert (written.fields, written.missing) == (15, 1)
        slide = tifffile.imread(options.path)
        share = np.mean((slide == 245).all(axis=2))
        assert 0.005 < share < 0.1

    def test_a_disk_that_fills_leaves_a_smaller_slide_that_opens(self, tmp_path: Path, session: Path) -> None:
        options = SlideOptions(tmp_path / "s.ome.tiff", is_lossless=True)
        keep(options.fields, walk(PLAN))
        with small_disk(1_200_000):
            written, error = slide_of_session(session, options)
        assert isinstance(error, UsageError)
        assert error.what == f"the disk is full: {options.path} holds the slide at 1/4 of its resolution"
        assert written.shrink == 4
        ome = ome_types.from_tiff(options.path)
        assert ome.images[0].pixels.physical_size_x == pytest.approx(4 / 13, rel=2e-3)
        assert tifffile.imread(options.path).shape == (written.height, written.width, 3)
        assert options.fields.is_file()
        assert not list(tmp_path.glob(".edgeleuk-*"))

    def test_a_disk_that_takes_nothing(self, tmp_path: Path, session: Path) -> None:
        options = SlideOptions(tmp_path / "s.ome.tiff")
        keep(options.fields, walk(PLAN), kept="jpeg")
        with small_disk(4096):
            written, error = slide_of_session(session, options)
        assert written is None
        assert "the disk is full, and" in str(error)
        # SQLite could not make its own files whole, and left them beside the session.
        left = {path.name for path in tmp_path.iterdir()} - {"s.db-shm", "s.db-wal"}
        assert left == {"s.db", "s.ome.tiff.fields"}

    def test_what_is_refused(self, tmp_path: Path, session: Path) -> None:
        options = SlideOptions(tmp_path / "s.ome.tiff")
        with pytest.raises(UsageError, match="a session keeps no whole fields"):
            slide_of_session(session, options)
        keep(options.fields, walk(ScanPlan(50.0, 40.0)), kept="jpeg")
        with pytest.raises(UsageError, match="kept as JPEG"):
            slide_of_session(session, SlideOptions(options.path, is_lossless=True))
        options.path.write_bytes(b"somebody's")
        with pytest.raises(UsageError, match=r"s\.ome\.tiff exists; choose another name"):
            slide_of_session(session, options)
        overwrite(force=True)
        try:
            written, error = slide_of_session(session, options)
        finally:
            overwrite(force=False)
        assert error is None
        assert written.fields == len(walk(ScanPlan(50.0, 40.0)).fields)

    def test_a_session_that_is_not_of_these_fields(self, tmp_path: Path) -> None:
        """Its cells would be laid where they are not."""
        options = SlideOptions(tmp_path / "s.ome.tiff")
        keep(options.fields, walk(ScanPlan(50.0, 40.0)), kept="jpeg")
        by_hand = record_cells(tmp_path / "by hand.db", [round_cell()])
        with pytest.raises(UsageError, match=r"by hand\.db is no session of a scan"):
            slide_of_session(by_hand, options)
        other = Begun((500.0, 0.0), ((13.0, 0.0), (0.0, 13.0)), (1.0, 1.0, 0.3))
        with create_session(tmp_path / "other.db", {}) as session:
            session.record_event(SCAN_EVENT, other.to_text())
        with pytest.raises(UsageError, match="holds the fields of another scan than"):
            slide_of_session(tmp_path / "other.db", options)
        with create_session(tmp_path / "damaged.db", {}) as session:
            session.record_event(SCAN_EVENT, '{"start_um": 7}')
        with pytest.raises(SessionError, match=r"damaged\.db is damaged: got how the scan began"):
            slide_of_session(tmp_path / "damaged.db", options)
        assert not options.path.exists()

    @pytest.mark.parametrize(
        "name",
        ["a b.ome.tiff", 'Größe & <"µ"> 😀.ome.tiff', "two\nlines.ome.tiff", os.fsdecode(b"\xff.OME.TIF")],
    )
    def test_any_name_gives_a_slide_that_others_read(self, tmp_path: Path, session: Path, name: str) -> None:
        options = SlideOptions(tmp_path / name)
        keep(options.fields, walk(ScanPlan(10.0, 10.0)), kept="jpeg")
        written, error = slide_of_session(session, options)
        assert error is None
        assert written.fields == 1
        [image] = ome_types.from_tiff(options.path).images
        stem = name[: -len(".ome.tif")].rstrip(".")
        assert image.name == recordable(stem).replace("\n", "\ufffd")
        assert tifffile.imread(options.path).shape == (480, 640, 3)
        assert check_for_qupath(options.geojson.read_bytes()) == 0

    @pytest.mark.parametrize(
        ("folder", "says"),
        [("/proc", "cannot be written"), ("nowhere", "does not exist"), ("s.db", "does not")],
    )
    def test_a_folder_that_takes_no_slide_is_named_before_a_scan_begins(
        self, tmp_path: Path, session: Path, folder: str, says: str
    ) -> None:
        options = SlideOptions(tmp_path / folder / "s.ome.tiff")
        with pytest.raises(UsageError, match=says):
            FieldKeeper(options, RunSettings(), going_on=False)

    def test_a_name_that_is_too_long(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert ended_with(monkeypatch, "slide", "s.db", tmp_path / f"{'x' * 300}.ome.tiff") == 2
        said = capsys.readouterr().err
        assert said.startswith("error: a file's name is too long: got ")
        assert said.count("\n") == 1

    @pytest.mark.parametrize(
        ("name", "objective", "says"),
        [
            ("s.tiff", None, "wrong ending of the slide"),
            (".ome.tiff", None, "wrong ending of the slide"),
            ("s.ome.tiff", "big", "the objective cannot be read"),
            ("s.ome.tiff", "0x", "the objective cannot be read"),
        ],
    )
    def test_names_and_objectives(self, tmp_path: Path, name: str, objective: str | None, says: str) -> None:
        with pytest.raises(UsageError, match=says):
            SlideOptions(tmp_path / name, objective=objective)

    def test_fields_of_an_earlier_scan_are_not_overwritten(self, tmp_path: Path) -> None:
        options = SlideOptions(tmp_path / "s.ome.tiff")
        keep(options.fields, walk(ScanPlan(50.0, 40.0)))
        stage = VirtualStage(virtual_microscope())
        with pytest.raises(UsageError, match="exists: the fields of an earlier scan"):
            scan("virtual://", "default", RunSettings(), stage, PLAN, RunOptions(tmp_path / "s.db"), options)
        assert SIZE == (640, 480)
