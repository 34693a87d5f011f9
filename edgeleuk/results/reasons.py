"""The words of the reasons for which a cell is ``uncertain``, and the check that each tells of.

They are recorded in sessions and results: later versions read them, so a word stays.
"""

from __future__ import annotations

from enum import Enum


class Check(str, Enum):
    """What can make a cell ``uncertain``, in the order in which it is asked."""

    SCALE = "scale"
    AREA = "area"
    COLOUR = "colour"
    SHARPNESS = "sharpness"
    FEATURES = "features"
    KIND = "kind"
    PROBABILITY = "probability"
    BORDER = "border"
    DUST = "dust"
    OTHER = "other"


# Those that a network and its training cells decide.
OF_NETWORK = (Check.AREA, Check.COLOUR, Check.SHARPNESS, Check.FEATURES, Check.KIND, Check.PROBABILITY)
# Cells unlike those that the network was trained with: what it says of them means nothing.
FOREIGN = (Check.SCALE, Check.AREA, Check.COLOUR, Check.SHARPNESS, Check.FEATURES, Check.OTHER)
# Nothing was judged: a part of a cell, or no cell.
NOT_JUDGED = (Check.BORDER, Check.DUST)

# Whole reasons.
SCALE_UNKNOWN = "scale unknown"
SCALE_IMPLAUSIBLE = "scale implausible: pass --px-per-um"
SCALE_OF_PICTURE_UNKNOWN = "the scale is unknown: pass --px-per-um"
CUT = "cut by the border"
STUCK_DUST = "stuck dust: it does not move with the slide"
# How the others begin; figures follow.
AREA = "area"
COLOUR = "colour:"
SHARPNESS = "sharpness"
FEATURES = "features"
KIND = "kind"
BETWEEN = "probability between"
BOTH_CLASSES = "both classes are"
NO_CLASS = "no class is"

# How a reason begins, for each check; a few words, as an earlier version may have gone on in another way.
_BEGINNINGS = {
    SCALE_UNKNOWN: Check.SCALE,
    SCALE_IMPLAUSIBLE.partition(":")[0]: Check.SCALE,
    SCALE_OF_PICTURE_UNKNOWN.partition(":")[0]: Check.SCALE,
    f"{AREA} ": Check.AREA,
    f"{COLOUR} ": Check.COLOUR,
    f"{SHARPNESS} ": Check.SHARPNESS,
    f"{FEATURES} ": Check.FEATURES,
    f"{KIND} ": Check.KIND,
    BETWEEN: Check.PROBABILITY,
    BOTH_CLASSES: Check.PROBABILITY,
    NO_CLASS: Check.PROBABILITY,
    CUT: Check.BORDER,
    STUCK_DUST.partition(":")[0]: Check.DUST,
}


def check_of(reason: str | None) -> Check:
    """Tell by which check a cell is ``uncertain``, from the reason that is recorded with it.

    Examples
    --------
    >>> check_of("area 20 um2 is outside the training cells' 40 to 170").value
    'area'
    """
    if reason is not None:
        for beginning, check in _BEGINNINGS.items():
            if reason.startswith(beginning):
                return check
    return Check.OTHER
