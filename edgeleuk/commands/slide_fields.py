"""What ``scan --slide`` keeps of each field, until the slide is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeleuk.commands.flat_field import open_correction
from edgeleuk.commands.slide import require_slide, slide_of_session
from edgeleuk.errors import UsageError
from edgeleuk.io.closing import Closing
from edgeleuk.io.console import printable, say, warn
from edgeleuk.slide.spool import FieldSpool, ScanFacts
from edgeleuk.stage.resuming import field_of
from edgeleuk.vision.extended_focus import extend_focus

if TYPE_CHECKING:
    from edgeleuk.commands.slide import SlideOptions
    from edgeleuk.errors import EdgeleukError
    from edgeleuk.frames import Frame, RgbImage
    from edgeleuk.io.settings import RunSettings
    from edgeleuk.results.structs import SlideWritten
    from edgeleuk.stage.base import ScanField
    from edgeleuk.stage.resuming import Begun
    from edgeleuk.stage.stacking import FocusStack, Planes


class FieldKeeper(Closing):
    """Keeps a scan's fields for its slide, as they come.

    Parameters
    ----------
    options : SlideOptions
    settings : RunSettings
        Their blank is taken out of each field.
    going_on : bool
        The scan goes on, and so do its fields.

    Attributes
    ----------
    stack : FocusStack or None
        That is to be taken of each field.

    Raises
    ------
    UsageError, MissingDependencyError
        See `require_slide`; or the scan that goes on has kept no fields, or began with another stack.
    """

    def __init__(self, options: SlideOptions, settings: RunSettings, *, going_on: bool) -> None:
        require_slide(options)
        self._options = options
        self.stack: FocusStack | None = options.stack
        self._going_on = going_on
        blank = settings.flat_field
        self._correct = None if blank is None else open_correction(Path(blank))
        self._spool: FieldSpool | None = None
        self._size: tuple[int, int] | None = None
        if going_on:
            with FieldSpool(options.fields) as spool:
                self._require_same_stack(spool.facts())
            self._spool = FieldSpool(options.fields)
        elif options.fields.exists():
            raise UsageError(
                f"{options.fields} exists: the fields of an earlier scan",
                cure="go on with that scan with --resume, or remove it",
            )

    def begin(self, fields: list[ScanField], begun: Begun, frame: Frame, *, simulated: bool) -> None:
        """Make room for the fields of a plan; a scan that goes on has it."""
        height, width = frame.pixels.shape[:2]
        self._size = (width, height)
        if self._spool is not None:
            if self._spool.facts().begun != begun:
                raise UsageError(
                    f"{self._options.fields} holds the fields of another scan", cure="choose another --slide"
                )
            return
        facts = ScanFacts(
            begun=begun,
            size=self._size,
            kept="lossless" if self._options.is_lossless else "jpeg",
            light="" if self._correct is None else "divided by a blank",
            simulated=simulated,
            stack=self.stack,
            extended_focus=self._options.extended_focus,
        )
        self._spool = FieldSpool.create(self._options.fields, fields, facts)

    def missing(self) -> frozenset[int]:
        """Return the numbers of the fields that are to be taken yet."""
        fields = [] if self._spool is None else self._spool.fields()
        return frozenset(kept.place.number for kept in fields if not kept.is_there)

    def keep(self, frame: Frame, planes: Planes | None = None) -> Frame:
        """Keep a field, with the planes of its stack where one was taken.

        Returns
        -------
        Frame
            The one in which cells are to be looked for: the planes joined, where that is wanted.

        Raises
        ------
        SessionError
            The disk is full.
        """
        number = field_of(frame.source)
        if self._spool is None or number is None:
            return frame
        if (frame.pixels.shape[1], frame.pixels.shape[0]) != self._size:
            warn(f"field {number} is of another size, and is left out of the slide")
            return frame
        stack, is_lossless = self.stack, self._options.is_lossless
        if stack is None or planes is None:
            self._spool.add(number, self._corrected(frame.pixels), is_lossless=is_lossless)
        elif self._options.extended_focus:
            joined = extend_focus(planes.pixels)
            frame = replace(frame, pixels=joined.pixels)
            heights = np.float32(planes.z_um + stack.offsets_um[0]) + np.float32(stack.step_um) * joined.plane
            pixels = self._corrected(joined.pixels)
            self._spool.add(number, pixels, is_lossless=is_lossless, heights=heights)
        else:
            every = {n: self._corrected(plane) for n, plane in enumerate(planes.pixels)}
            middle = every.pop(stack.middle)
            self._spool.add(number, middle, is_lossless=is_lossless, others=every)
        return frame

    def _corrected(self, pixels: RgbImage) -> RgbImage:
        return pixels if self._correct is None else self._correct(pixels)

    def _require_same_stack(self, facts: ScanFacts) -> None:
        before, wanted = (
            _stack_text(of.stack, extended_focus=of.extended_focus) for of in (facts, self._options)
        )
        if before != wanted:
            raise UsageError(
                "the scan was begun with another stack", got=wanted, allowed=before, cure="pass the same"
            )

    def close(self) -> None:
        """Leave the fields on the disk."""
        if self._spool is not None:
            self._spool.close()

    def write(self, session: Path, ended: str) -> tuple[SlideWritten | None, EdgeleukError | None]:
        """Write the slide of a scan that has come to its end, and remove the fields.

        Returns
        -------
        written : SlideWritten or None
        error : EdgeleukError or None
            Why it is not written, or not whole.
        """
        self.close()
        if self._spool is None:
            return None, None
        if ended == "stopped by the user":
            say(f"slide     not yet: its fields are in {printable(str(self._options.fields))};")
            say("          go on with --resume, or write what there is with `edgeleuk slide`")
            return None, None
        written, error = slide_of_session(session, self._options)
        if error is None and not self._options.keep_fields:
            self._spool.remove()
        return written, error


def _stack_text(stack: FocusStack | None, *, extended_focus: bool) -> str:
    return "no --stack" if stack is None else f"--stack {stack}" + " --extended-focus" * extended_focus
