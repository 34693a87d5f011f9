"""Labelled cells and sets of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk_convert.dataset.own_pictures import OwnFacts


# C-NMC states no pixel size. Its normal cells measure 178 px across (median), and a small lymphocyte
# is about 9-10 um: inferred, not documented.
CNMC_PX_PER_UM = 18.5
Label = Literal["blast", "normal"]


@dataclass(frozen=True, slots=True)
class LabelledCell:
    """One image of one cell, without its pixels.

    Attributes
    ----------
    path : Path
    label : 'blast', 'normal' or None
        None in the unlabelled final phase.
    subject : str or None
        As written in the file's name.
    group : str or None
        Subjects that share an image are one group, named by the first of them in natural order. A picture
        whose subject nobody knows is a subject of its own, named by its pixels.
    sha256 : str
        Of the decoded pixels and their shape: a BMP and its lossless WebP agree.
    foreground_px : int
        Pixels that are not black; those of the cell, where the picture shows what is around it.
    width, height : int
    fold : str or None
        The official fold, where the folders tell it.
    kind : str or None
        What the class is called in a folder of the user's own, such as ``Early``.
    on_black : bool
        Whether the cell is cut out on black; else the cell nearest the picture's middle counts, or all of
        the picture, where none is found.
    px_per_um : float
        Scale of the picture.
    """

    path: Path
    label: Label | None
    subject: str | None
    group: str | None
    sha256: str
    foreground_px: int
    width: int
    height: int
    fold: str | None = None
    kind: str | None = None
    on_black: bool = True
    px_per_um: float = CNMC_PX_PER_UM

    @property
    def area_um2(self) -> float:
        """Area of the cell at the scale of its picture."""
        return self.foreground_px / self.px_per_um**2

    @property
    def cell_found(self) -> bool:
        """Whether its area is the cell's, and not that of the whole picture."""
        return self.on_black or self.foreground_px < self.width * self.height


@dataclass(frozen=True, slots=True)
class CellSet:
    """All cells of a folder, in natural order of their paths; `own` is None for C-NMC's layouts."""

    folder: Path
    cells: tuple[LabelledCell, ...]
    own: OwnFacts | None = None

    @property
    def labelled(self) -> tuple[LabelledCell, ...]:
        """The cells whose label is known."""
        return tuple(cell for cell in self.cells if cell.label is not None)

    @property
    def subjects_known(self) -> bool:
        """Whether the subject of every labelled cell is known."""
        return self.own is None or not self.own.subjects_unknown

    @property
    def stamp(self) -> str | None:
        """What every figure from these cells has to carry; None where there is nothing to say."""
        if self.own is None or not self.own.subjects_unknown:
            return None
        unknown, labelled = self.own.subjects_unknown, len(self.labelled)
        of = (
            "NO SUBJECTS KNOWN"
            if unknown == labelled
            else f"SUBJECTS UNKNOWN OF {unknown} OF {labelled} PICTURES"
        )
        return (
            f"{of}: every such picture counts for itself, so intervals are too narrow, and cells of one"
            " subject may have calibrated what others judge."
        )
