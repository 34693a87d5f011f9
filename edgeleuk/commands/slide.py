"""``edgeleuk slide``, and the end of ``scan --slide``: a scan's fields as one OME-TIFF or OME-Zarr."""

from __future__ import annotations

import contextlib
import errno
import tempfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk.io.atomic import (
    is_forced,
    part_of,
    require_replaceable,
    require_room,
    whole_folder,
    write_errors_of,
)
from edgeleuk.io.console import progress_bar, recordable
from edgeleuk.results.structs import LostSteps, SlideWritten
from edgeleuk.session.reader import read_session
from edgeleuk.slide.blending import Blender, RecentPictures
from edgeleuk.slide.cells import cells_on_slide, region_of
from edgeleuk.slide.geojson import write_cells
from edgeleuk.slide.heights import HeightMap
from edgeleuk.slide.light import FIELDS, learnt_light
from edgeleuk.slide.matching import measure_step
from edgeleuk.slide.ome import SlideFacts, ome_xml, parse_objective, roi_xml
from edgeleuk.slide.ome_tiff import require_tifffile, write_tiff
from edgeleuk.slide.ome_zarr import is_own_zarr, require_zarr, write_zarr, zarr_attributes
from edgeleuk.slide.placement import place_fields
from edgeleuk.slide.pyramid import PyramidPlan
from edgeleuk.slide.spool import ENDING, FieldSpool
from edgeleuk.stage.mapping import Mapping
from edgeleuk.stage.resuming import begun_in
from edgeleuk.stage.stacking import parse_stack
from edgeleuk.vision.extended_focus import map_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from edgeleuk.errors import EdgeleukError
    from edgeleuk.frames import RgbImage
    from edgeleuk.labels.formats.cells import Outlined
    from edgeleuk.slide.placement import Placement
    from edgeleuk.slide.pyramid import Draw
    from edgeleuk.stage.base import ScanField
    from edgeleuk.stage.stacking import FocusStack

_ZARR = ".ome.zarr"
_ENDINGS = (".ome.tiff", ".ome.tif", _ZARR)
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
# Levels that are tried one after the other where the disk has no room for the whole.
_FIRST_LEVELS = (0, 2, 4)


@dataclass(frozen=True, slots=True)
class SlideOptions:
    """What is wanted of a slide.

    Attributes
    ----------
    path : Path
        Ends in ``.ome.tiff``, or in ``.ome.zarr``: a folder.
    is_lossless : bool
        Fields and tiles without loss, not as JPEG; tiles of OME-Zarr are always so.
    objective : str, optional
        ``40x/0.65``.
    keep_fields : bool
        Leave the fields beside the slide when it is written.
    spool : Path, optional
        Where the fields are; by default beside the slide.
    stack : FocusStack, optional
        Planes that a scan takes of each field.
    extended_focus : bool
        Join them into one, with its map of heights, and keep that alone.

    Raises
    ------
    UsageError
        The name ends otherwise, the objective cannot be read, or there is no stack to be joined.
    """

    path: Path
    is_lossless: bool = False
    objective: str | None = None
    keep_fields: bool = False
    spool: Path | None = None
    stack: FocusStack | None = None
    extended_focus: bool = False

    def __post_init__(self) -> None:
        if self.extended_focus and self.stack is None:
            raise UsageError("there is no stack to be joined", cure="pass --stack 5@0.8")
        # A name that is an ending alone would leave nothing to call the slide.
        if not self.path.name.lower().endswith(_ENDINGS) or self.path.name.lower() in _ENDINGS:
            raise UsageError(
                "wrong ending of the slide", got=self.path.name, allowed="NAME.ome.tiff, NAME.ome.zarr"
            )
        if self.objective is not None:
            parse_objective(self.objective)

    @property
    def is_zarr(self) -> bool:
        """Whether the slide is a folder of OME-Zarr."""
        return _ending(self.path) == _ZARR

    @property
    def compression(self) -> Literal["jpeg", "lossless"]:
        """How its tiles are kept; see `edgeleuk.slide.pyramid.PyramidPlan`."""
        return "lossless" if self.is_lossless or self.is_zarr else "jpeg"

    @property
    def fields(self) -> Path:
        """The file of the fields."""
        return self.spool or self.path.with_name(self.path.name + ENDING)

    @property
    def geojson(self) -> Path:
        """The file of the cells."""
        return self.path.with_name(self.path.name[: -len(_ending(self.path))] + ".geojson")


def wanted_slide(
    path: Path | None,
    stack: str | None,
    *,
    is_lossless: bool,
    objective: str | None,
    keep_fields: bool,
    extended_focus: bool,
) -> SlideOptions | None:
    """Return what a scan's flags want of a slide; see `SlideOptions`.

    Raises
    ------
    UsageError
        The flags do not go together, or one of them cannot be read.
    """
    if path is not None:
        planes = None if stack is None else parse_stack(stack)
        return SlideOptions(
            path, is_lossless, objective, keep_fields, stack=planes, extended_focus=extended_focus
        )
    if stack is not None or extended_focus:
        raise UsageError("the planes of a stack are kept in a slide", cure="pass --slide FILE.ome.tiff")
    return None


def _ending(path: Path) -> str:
    return next(end for end in _ENDINGS if path.name.lower().endswith(end))


def require_slide(options: SlideOptions) -> None:
    """Refuse a slide that could not be written, before a scan begins.

    Raises
    ------
    UsageError
        It exists, or its folder does not, or takes no file.
    MissingDependencyError
        The extra is not installed.
    """
    if options.is_zarr:
        require_zarr()
        require_room(options.path, is_own_zarr)
    else:
        require_tifffile()
    folder = options.path.absolute().parent
    if not folder.is_dir():
        raise UsageError(
            "the folder of the slide does not exist", got=options.path.parent, cure="make it first"
        )
    # Else only the first field would tell, behind the search for the focus.
    with write_errors_of(options.path, "choose another folder"), tempfile.TemporaryFile(dir=folder):
        pass
    for path in (options.geojson,) if options.is_zarr else (options.path, options.geojson):
        if (path.exists() or path.is_symlink()) and not is_forced():
            raise UsageError(f"{path} exists", cure="choose another name for the slide, or pass --force")
        require_replaceable(path, lambda _: False, "name for the slide")


def slide_of_session(
    session: Path, options: SlideOptions
) -> tuple[SlideWritten | None, EdgeleukError | None]:
    """Write the slide of a session from the fields that were kept beside it.

    Parameters
    ----------
    session : Path
    options : SlideOptions

    Returns
    -------
    written : SlideWritten or None
    error : EdgeleukError or None
        The disk was full: what is written is smaller, or nothing.

    Raises
    ------
    UsageError
        The slide exists, there are no fields, or they are another scan's, or they were kept with loss and a
        lossless slide is wanted.
    SessionError
        The session or the fields are damaged.
    MissingDependencyError
        The extra is not installed.
    """
    require_slide(options)
    if not options.fields.is_file():
        raise UsageError(
            "a session keeps no whole fields, and none were kept beside it",
            got=options.fields,
            cure="scan with --slide FILE --keep-fields, or name their file with --fields",
        )
    with FieldSpool(options.fields) as spool:
        _require_same_scan(session, spool)
        made = _Made(spool, options)
        for level in _FIRST_LEVELS:
            try:
                written = made.write(session, level)
            except OSError as error:
                if error.errno not in _FULL:
                    with write_errors_of(options.path):
                        raise
                continue
            return written, None if level == 0 else UsageError(
                f"the disk is full: {options.path} holds the slide at 1/{2**level} of its resolution",
                cure=f"free some space, then run `edgeleuk slide {session} {options.path} --force`",
            )
        return None, UsageError(
            f"the disk is full, and {options.path} is not written",
            cure=f"free some space, then run `edgeleuk slide {session} {options.path}`",
        )


def _require_same_scan(session: Path, spool: FieldSpool) -> None:
    """Refuse a session whose cells would be laid on the fields of another scan."""
    with read_session(session) as reader:
        begun = begun_in(((str(row["kind"]), str(row["text"])) for row in reader.rows("events")), session)
        has_frames = next(iter(reader.rows("frames")), None) is not None
    if begun is None and has_frames:
        raise UsageError(f"{session} is no session of a scan", cure="pass that of the scan with these fields")
    if begun is not None and begun != spool.facts().begun:
        raise UsageError(
            f"{spool.path} holds the fields of another scan than {session}",
            cure="pass the session and the --fields of one scan",
        )


class _Made:
    """A slide in the making: its fields are placed once, then written as large as the disk has room."""

    def __init__(self, spool: FieldSpool, options: SlideOptions) -> None:
        self._options = options
        self._facts = spool.facts()
        if options.is_lossless and self._facts.kept != "lossless":
            raise UsageError(
                "the fields were kept as JPEG, so that a slide without loss cannot be made of them",
                cure="scan with --slide FILE --lossless",
            )
        every = spool.fields()
        fields = [kept.place for kept in every if kept.is_there]
        if not fields:
            raise DataRefusedError(f"{spool.path} has no field", got="a scan that took none")
        self._missing = len(every) - len(fields)
        self._mapping = Mapping(self._facts.begun.matrix)
        self._size = self._facts.size
        self._light, self._correct = _light(spool, fields, self._facts.light)
        self._spool = spool
        self._stack = self._facts.stack
        self._is_joined = self._facts.extended_focus
        self._placement = self._placed(fields, self._pictures(None))

    def _pictures(self, plane: int | None) -> RecentPictures:
        """Return the fields as they are, or another plane of them; all are placed as one."""
        return RecentPictures(lambda number: self._correct(self._spool.picture(number, plane)))

    def _draws(self) -> Iterator[Draw]:
        """Yield what draws each plane that is in the file, one after the other."""
        stack = None if self._is_joined else self._stack
        for plane in range(1 if stack is None else stack.planes):
            # Decoded pictures of one plane at a time are held.
            pictures = self._pictures(None if stack is None or plane == stack.middle else plane)
            yield Blender(self._placement.fields, self._size, pictures).draw

    def _heights(self) -> HeightMap | None:
        if not self._is_joined:
            return None
        size = map_size(*self._size)
        return HeightMap(self._placement, self._size, lambda number: self._spool.heights(number, size))

    def _placed(self, fields: list[ScanField], picture: RecentPictures) -> Placement:
        pairs = 2 * len(fields)
        with progress_bar("placing fields") as report:
            done = 0

            def measure(first: int, second: int, guess: tuple[float, float]) -> tuple[float, float] | None:
                nonlocal done
                done += 1
                report(min(done, pairs), pairs)
                step = measure_step(picture(fields[first].number), picture(fields[second].number), guess)
                return None if step is None else (step.x, step.y)

            return place_fields(fields, self._facts.begun.matrix, self._size, measure)

    def write(self, session: Path, first_level: int) -> SlideWritten:
        """Write picture and cells with that level as the first.

        Raises
        ------
        OSError
            It cannot be written, and nothing is left of it.
        """
        options, placement, shrink = self._options, self._placement, 2**first_level
        heights = self._heights()
        plan = PyramidPlan(
            placement.width,
            placement.height,
            placement.px_per_um,
            options.compression,
            first_level=first_level,
        )
        facts = SlideFacts(
            name=recordable(options.path.name[: -len(_ending(options.path))]),
            size=plan.size(first_level),
            px_per_um=placement.px_per_um / shrink,
            shrink=shrink,
            stage_um=self._corner_um(),
            objective=None if options.objective is None else parse_objective(options.objective),
            light=self._light,
            simulated=self._facts.simulated,
            stack=self._stack,
            heights=None if heights is None else (heights.width, heights.height),
        )
        plan = replace(plan, planes=facts.planes)
        rois: list[str] = []

        def noted(cells: Iterable[Outlined]) -> Iterator[Outlined]:
            for cell in cells:
                rois.append(roi_xml(len(rois), region_of(cell)))
                yield cell

        # Neither picture nor cells take their place unless both can.
        with part_of(options.geojson) as (_, file), _part_of_slide(options) as part:
            with read_session(session) as reader:
                cells = write_cells(file, noted(cells_on_slide(reader, placement, shrink)))
                left_out = reader.counts().cells - cells
            draws = self._draws()
            with progress_bar("writing the slide") as report:
                if options.is_zarr:
                    attributes = zarr_attributes(facts, placement, plan)
                    write_zarr(part, plan, draws, attributes, report, heights)
                else:
                    write_tiff(part, plan, draws, ome_xml(facts, placement, rois), report, heights)
        return self._written(facts, cells, left_out)

    def _corner_um(self) -> tuple[float, float]:
        """Where the stage would show the slide's upper left corner in the middle of a field."""
        first = self._placement.fields[0]
        x, y = self._mapping.to_um(first.x + self._size[0] / 2, first.y + self._size[1] / 2)
        return first.field.x_um - x, first.field.y_um - y

    def _written(self, facts: SlideFacts, cells: int, left_out: int) -> SlideWritten:
        placement, options = self._placement, self._options
        lost = [
            LostSteps(field=one.field.number, x_um=round(one.lost_um[0], 1), y_um=round(one.lost_um[1], 1))
            for one in placement.lost
        ]
        return SlideWritten(
            slide=str(options.path),
            geojson=str(options.geojson),
            width=facts.size[0],
            height=facts.size[1],
            px_per_um=facts.px_per_um,
            compression=options.compression,
            shrink=facts.shrink,
            fields=len(placement.fields),
            missing=self._missing,
            by_stage_alone=sum(not placed.is_registered for placed in placement.fields),
            steps_measured=placement.measured,
            steps_by_stage=placement.by_stage,
            steps_refused=placement.refused,
            residual_px=placement.residual_px,
            lost_steps=lost,
            cells=cells,
            cells_left_out=left_out,
            light=self._light,
            planes=facts.planes,
            plane_step_um=None if facts.stack is None else facts.stack.step_um,
            is_extended_focus=self._is_joined,
        )


@contextlib.contextmanager
def _part_of_slide(options: SlideOptions) -> Iterator[Path]:
    """Make a file, or a folder, that takes the slide's place when the body has run through."""
    if options.is_zarr:
        with whole_folder(options.path, is_own_zarr) as folder:
            yield folder
    else:
        with part_of(options.path) as (part, _):
            yield part


def _light(
    spool: FieldSpool, fields: list[ScanField], known: str
) -> tuple[str, Callable[[RgbImage], RgbImage]]:
    """Return how the light is taken out, in words, and what does it."""
    if known:
        return known, lambda pixels: pixels
    chosen = np.unique(np.linspace(0, len(fields) - 1, min(FIELDS, len(fields))).astype(int)).tolist()
    flat = learnt_light(spool.picture(fields[n].number) for n in chosen)
    if flat is None:
        return "as it was: too few fields to learn the shade from", lambda pixels: pixels
    return f"shade learnt from {len(chosen)} fields", flat.correct
