"""A field with its results drawn on it: for the live window, the demo, and the reader of a report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeleuk.frames import require_rgb
from edgeleuk.results import Decision, check_of, counted_of
from edgeleuk.version import RESEARCH_USE

if TYPE_CHECKING:
    from edgeleuk.frames import Box, Cell, RgbImage
    from edgeleuk.results import FrameResult, Prediction

    Colour = tuple[int, int, int]

# Okabe and Ito's palette, told apart with any colour vision; the words beside the cells say the same.
COLOURS: dict[Decision, Colour] = {
    Decision.BLAST: (213, 94, 0),
    Decision.NORMAL: (0, 114, 178),
    Decision.OTHER: (0, 158, 115),
    Decision.UNCERTAIN: (240, 228, 66),
}
EXCLUDED_COLOUR: Colour = (128, 128, 128)
_WHITE: Colour = (255, 255, 255)
_BLACK: Colour = (0, 0, 0)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
# Height of a capital letter at font scale 1, in pixels.
_CAPITAL_PX = 22.0
_BAR_SHARE = 0.2


def annotate(
    pixels: RgbImage, result: FrameResult, *, simulated: bool, scale: float | None = None
) -> RgbImage:
    """Draw what was found in a field.

    Each cell has its outline and its decision, with the probability of a blast or the reason for which it is
    uncertain. A band below the picture holds the legend, the scale bar, the counts of this field and the
    research-use sentence; nothing but the cells' own words lies over the picture.

    Parameters
    ----------
    pixels : (H, W, 3) uint8, RGB
        The frame that `result` is about; not changed.
    result : FrameResult
    simulated : bool
        Stamps SIMULATED on the band.
    scale : float, optional
        Pixels per micrometre; by default the result's. Without either there is no scale bar.

    Returns
    -------
    (H + band, W, 3) uint8, RGB
    """
    require_rgb(pixels)
    height, width = pixels.shape[:2]
    unit = max(1.0, min(height, width) / 480)
    # Wide enough for the longest line, tall enough to be read: 11 px capitals at 640x480.
    letter = min(11 * unit, width / 44)
    picture = pixels.copy()
    by_box = {cell.box: cell for cell in result.found}
    line = max(1, round(1.5 * unit))
    for excluded in result.excluded:
        _outline(picture, excluded.box, by_box.get(excluded.box), EXCLUDED_COLOUR, line)
    for cell in result.cells:
        _outline(picture, cell.box, by_box.get(cell.box), COLOURS[cell.prediction.decision], line)
    # Words after all outlines, so that no line runs through them.
    for cell in result.cells:
        _tag(picture, cell.box, _words(cell.prediction), COLOURS[cell.prediction.decision], letter)
    predictions = [cell.prediction for cell in result.cells]
    counted = counted_of((of.decision.value, of.reason, of.kind) for of in predictions)
    counts = f"this field: {counted.text()}, {len(result.excluded)} cut"
    px_per_um = scale or result.px_per_um
    return np.vstack([picture, legend_band(width, letter, px_per_um, simulated=simulated, counts=counts)])


def _words(prediction: Prediction) -> str:
    """Say what a cell is called; of an uncertain one why, since its probability alone tells nothing."""
    if prediction.decision is Decision.UNCERTAIN:
        return f"uncertain: {check_of(prediction.reason).value}"
    if prediction.kind is not None and prediction.decision is Decision.OTHER:
        return f"{prediction.kind.value} {prediction.kind_probability or 0:.2f}"
    return f"{prediction.decision.value}, P(blast) {prediction.probability:.2f}"


def _outline(picture: RgbImage, box: Box, cell: Cell | None, colour: Colour, line: int) -> None:
    """Draw a cell's contour, or its box, in its colour on white, so that it shows on any stain."""
    if cell is None:
        contours = [np.array(_corners(box), np.int32)[:, None]]
    else:
        mask = np.pad((cell.mask > 0).astype(np.uint8), 1)
        offset = (box.x - 1, box.y - 1)
        found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=offset)
        contours = [np.asarray(contour, np.int32) for contour in found]
    for shade, thickness in ((_WHITE, line + 2), (colour, line)):
        cv2.polylines(
            picture, contours, isClosed=True, color=shade, thickness=thickness, lineType=cv2.LINE_AA
        )


def _corners(box: Box) -> list[tuple[int, int]]:
    right, bottom = box.x + box.w - 1, box.y + box.h - 1
    return [(box.x, box.y), (right, box.y), (right, bottom), (box.x, bottom)]


def _tag(picture: RgbImage, box: Box, text: str, colour: Colour, letter: float) -> None:
    """Write above a cell, or below it where there is no room, always inside the picture."""
    width, height = _boxed_size(text, letter)
    x = int(np.clip(box.centre[0] - width / 2, 0, max(0, picture.shape[1] - width)))
    above = box.y - height - round(letter / 2)
    y = above if above >= 0 else min(box.y + box.h + round(letter / 2), picture.shape[0] - height)
    # Black letters on yellow, white on the darker colours.
    ink = _BLACK if sum(colour) > 400 else _WHITE
    _boxed(picture, text, (x, y), letter, ink=ink, ground=colour)


def legend_band(
    width: int, letter: float, px_per_um: float | None, *, simulated: bool, counts: str = ""
) -> RgbImage:
    """Draw legend, scale bar, counts and the research-use sentence, white on black, `width` pixels across."""
    row = round(2.4 * letter)
    rows = 3 if simulated or counts else 2
    band = np.zeros((rows * row, width, 3), np.uint8)
    x = round(letter)
    entries = [(decision.value, colour) for decision, colour in COLOURS.items()]
    for text, colour in [*entries, ("cut", EXCLUDED_COLOUR)]:
        side = round(letter)
        top = (row - side) // 2
        cv2.rectangle(band, (x, top), (x + side, top + side), colour, cv2.FILLED)
        x += round(1.5 * side)
        write_text(band, text, (x, top + side), 0.85 * letter, _WHITE)
        x += text_width(text, 0.85 * letter) + side
    if px_per_um is not None:
        _scale_bar(band[:row], px_per_um, letter, room=width - x)
    left = round(letter)
    if simulated:
        _boxed(band, "SIMULATED", (left, row + round(0.3 * letter)), letter, ink=_BLACK, ground=_WHITE)
        left += _boxed_size("SIMULATED", letter)[0] + round(letter)
    for text, line, start in ((counts, 2, left), (RESEARCH_USE, rows, round(letter))):
        if text:
            size = letter * min(1.0, (width - start - letter) / text_width(text, letter))
            write_text(band, text, (start, line * row - round(0.8 * letter)), size, _WHITE)
    return band


def _scale_bar(row: RgbImage, px_per_um: float, letter: float, *, room: int) -> None:
    """Draw a bar of 1, 2 or 5 times a power of ten micrometres at the right end, where it fits."""
    height, width = row.shape[:2]
    longest_um = _BAR_SHARE * width / px_per_um
    power = 10.0 ** math.floor(math.log10(longest_um))
    length_um = max(step * power for step in (1, 2, 5) if step * power <= longest_um)
    text = f"{length_um:g} um"
    length = round(length_um * px_per_um)
    words = text_width(text, 0.85 * letter)
    if length + words + 3 * letter > room:
        return
    right, middle = width - round(letter), height // 2
    tick = max(2, round(letter / 3))
    thickness = max(1, round(letter / 6))
    for start, end in (
        ((right - length, middle), (right, middle)),
        ((right - length, middle - tick), (right - length, middle + tick)),
        ((right, middle - tick), (right, middle + tick)),
    ):
        cv2.line(row, start, end, _WHITE, thickness)
    write_text(
        row,
        text,
        (right - length - words - round(letter / 2), middle + round(letter / 2)),
        0.85 * letter,
        _WHITE,
    )


def _boxed(
    picture: RgbImage, text: str, corner: tuple[int, int], letter: float, *, ink: Colour, ground: Colour
) -> None:
    width, height = _boxed_size(text, letter)
    x, y = corner
    cv2.rectangle(picture, corner, (x + width - 1, y + height - 1), ground, cv2.FILLED)
    write_text(picture, text, (x + round(0.5 * letter), y + round(1.4 * letter)), letter, ink)


def _boxed_size(text: str, letter: float) -> tuple[int, int]:
    return text_width(text, letter) + round(letter), round(1.8 * letter)


def text_width(text: str, letter: float) -> int:
    """Return how wide a text is in pixels, with capitals `letter` pixels high."""
    size, _ = cv2.getTextSize(text, _FONT, letter / _CAPITAL_PX, _thickness(letter))
    return int(size[0])


def write_text(picture: RgbImage, text: str, base: tuple[int, int], letter: float, ink: Colour) -> None:
    """Write a text, from the left end of its base line on, with capitals `letter` pixels high."""
    cv2.putText(picture, text, base, _FONT, letter / _CAPITAL_PX, ink, _thickness(letter), cv2.LINE_AA)


def write_fitting(picture: RgbImage, text: str, base: tuple[int, int], letter: float, ink: Colour) -> None:
    """Write a text, smaller where it would not fit before the right border; OpenCV's letters are ASCII."""
    shown = text.encode("ascii", "replace").decode()
    wide = text_width(shown, letter)
    size = letter * min(1.0, (picture.shape[1] - base[0] - 4) / wide) if wide else letter
    write_text(picture, shown, base, size, ink)


def _thickness(letter: float) -> int:
    return max(1, round(letter / 8))
