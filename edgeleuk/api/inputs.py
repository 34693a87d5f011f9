"""What Python hands in: paths, folders, RGB arrays, and lists of these."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from edgeleuk.batch.archive import find_pictures
from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk.frames import require_rgb
from edgeleuk.io.images import read_picture
from edgeleuk.io.pictures.decoding import Decoded

if TYPE_CHECKING:
    from edgeleuk.frames import RgbImage

OnePicture: TypeAlias = "str | Path | RgbImage"
Pictures: TypeAlias = "OnePicture | Sequence[OnePicture]"

_ALLOWED = "a path, an RGB array of shape (H, W, 3) and dtype uint8, or a list of these"
_ARRAY_CURE = "convert grey or BGR pictures first, for example with cv2.cvtColor"


class Given(NamedTuple):
    """One picture that is not decoded yet.

    Attributes
    ----------
    name : str
        Its path, or ``array 0``, ``array 1``, ... for an array.
    rgb : (H, W, 3) uint8, or None
        None of a file.
    """

    name: str
    rgb: RgbImage | None = None

    def decoded(self) -> Decoded:
        """Return the pixels.

        Raises
        ------
        UsageError, PictureRefusedError
            As `read_picture`.
        """
        return read_picture(Path(self.name)) if self.rgb is None else Decoded(self.rgb, ())


def pictures_of(rgb: Pictures) -> tuple[list[Given], bool]:
    """List the pictures of an argument, and tell whether it was one picture.

    Raises
    ------
    UsageError
        It is none of what is taken, or a path that does not exist.
    DataRefusedError
        There are no pictures in a folder.

    Examples
    --------
    >>> given, one = pictures_of(np.zeros((8, 8, 3), np.uint8))
    >>> given[0].name, one
    ('array 0', True)
    """
    if isinstance(rgb, (str, Path)):
        return _of_path(Path(rgb)), not Path(rgb).is_dir()
    if isinstance(rgb, np.ndarray):
        return [Given("array 0", checked_array(rgb))], True
    if not isinstance(rgb, Sequence):
        raise UsageError("this is no picture", got=type(rgb).__name__, allowed=_ALLOWED)
    given: list[Given] = []
    for number, one in enumerate(rgb):
        if isinstance(one, (str, Path)):
            given += _of_path(Path(one))
        else:
            given.append(Given(f"array {number}", checked_array(one)))
    return given, False


def checked_array(rgb: Any) -> RgbImage:
    """Return an array that is (H, W, 3) uint8; whether it is RGB cannot be told.

    Raises
    ------
    UsageError
        It is no array, or has another shape or dtype.
    """
    if not isinstance(rgb, np.ndarray):
        raise UsageError("this is no picture", got=type(rgb).__name__, allowed=_ALLOWED)
    try:
        require_rgb(rgb)
    except ValueError:
        raise UsageError(
            "the array is no RGB picture",
            got=f"shape {rgb.shape} of {rgb.dtype}",
            allowed="shape (H, W, 3) of uint8",
            cure=_ARRAY_CURE,
        ) from None
    return rgb


def _of_path(path: Path) -> list[Given]:
    found = find_pictures([path])
    if not found:
        raise DataRefusedError(f"no pictures in {path}")
    for picture in found:
        if picture.error is not None:
            raise DataRefusedError(picture.error)
    return [Given(picture.name) for picture in found]
