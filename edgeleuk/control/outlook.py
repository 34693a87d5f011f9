"""When a measure that drifts will have gone so far that fields are rejected for it."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING

from edgeleuk.control.optics import GLASS_BLUE, GLASS_RED, LIGHT, SHARPNESS
from edgeleuk.vision.quality import QualityLimits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LIMITS = QualityLimits()
# What `edgeleuk.vision.quality` rejects a field below, and above.
REJECTED: Mapping[str, tuple[float, float]] = {
    LIGHT: (_LIMITS.dark_glass, math.inf),
    SHARPNESS: (_LIMITS.sharpness, math.inf),
    GLASS_RED: (math.exp(_LIMITS.red_cast[0]), math.exp(_LIMITS.red_cast[1])),
    GLASS_BLUE: (math.exp(_LIMITS.blue_cast[0]), math.exp(_LIMITS.blue_cast[1])),
}
# A pace is not known from fewer sessions, and is not that of a year ago.
_LEAST, _MOST = 5, 60
_FURTHEST_S = 365 * 86400.0


def rejected_from(name: str, times: Sequence[float], values: Sequence[float]) -> float | None:
    """Return when fields are rejected if a measure goes on as it does, in seconds since the Unix epoch.

    The pace is Theil and Sen's, the median of the slopes between any two sessions: Sen, "Estimates of the
    regression coefficient based on Kendall's tau", Journal of the American Statistical Association 63 (1968).

    Parameters
    ----------
    name : str
        Of the measure.
    times, values : sequence of float
        Of the sessions since it drifts, in their order.

    Returns
    -------
    float or None
        None where nothing is rejected for the measure, where the pace is not known or leads elsewhere, where
        it takes more than a year, or where it has gone as far already.

    Examples
    --------
    >>> days = [86400.0 * day for day in range(6)]
    >>> rejected_from("light", days, [150.0, 149.0, 148.0, 147.0, 146.0, 145.0]) / 86400
    40.0
    """
    low, high = REJECTED.get(name, (-math.inf, math.inf))
    times, values = times[-_MOST:], values[-_MOST:]
    slopes = [
        (values[b] - values[a]) / (times[b] - times[a])
        for a in range(len(times))
        for b in range(a + 1, len(times))
        if times[b] > times[a]
    ]
    if len(times) < _LEAST or not slopes:
        return None
    slope = median(slopes)
    # The level now, as the pace and all of the sessions have it.
    now = median(value + slope * (times[-1] - at) for at, value in zip(times, values, strict=True))
    bound = high if slope > 0 else low
    if slope == 0 or math.isinf(bound) or not low < now < high:
        return None
    ahead = (bound - now) / slope
    return times[-1] + ahead if ahead <= _FURTHEST_S else None
