"""A self-starting CUSUM: since when do the values of a measure drift, without a range that was known before.

Each value is held against those before it alone. What it deviates by has the same distribution from the
sixth value on, however few there are, so that the limit means the same for a new stand as for an old one.

Sources: Hawkins, "Self-starting CUSUM charts for location and scale", The Statistician 36 (1987), 299-315;
Hawkins, "Robustification of cumulative sum charts by winsorization", Journal of Quality Technology 25 (1993),
248-261; Wallace, "Bounds on normal approximations to Student's and the chi-square distributions", Annals of
Mathematical Statistics 30 (1959), 1121-1130; Siegmund, "Sequential Analysis" (1985), section II.5.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Values that nothing is said of yet: they only teach.
LEARNED = 5
# A CUSUM is quickest for drifts of twice its allowance, in standard deviations: here those of one.
ALLOWANCE = 0.5
# Two sides, both of them false once in 3,500 values by Siegmund's approximation: twelve measures together
# give one false alarm in 290 sessions.
LIMIT = 7.0
# One value counts for no more than so many standard deviations: a bad session is not yet a drift.
MOST_SDS = 3.0
# A drift is over after so many values in a row that lie so near to where the measure was before.
BACK, NEAR_SDS = 3, 2.0


class Observed(NamedTuple):
    """A value of a measure.

    Attributes
    ----------
    value : float
    error : float
        Its standard error, as far as it is known from within the session; 0 where it is not.
    """

    value: float
    error: float


class Held(NamedTuple):
    """A value, held against those before it.

    Attributes
    ----------
    distance : float or None
        In standard deviations, normally distributed where nothing has changed; None while there are too few
        values.
    high, low : float
        The sums of what lies above and below, both from 0.
    drifts : bool
        Whether a drift has been named and is not over.
    """

    distance: float | None
    high: float
    low: float
    drifts: bool


class Drift(NamedTuple):
    """A drift that was named.

    Attributes
    ----------
    since : int
        Index of the first value that belongs to it: the one after its sum was last 0.
    named : int
        Index of the value at which the limit was passed.
    back : int or None
        Index of the first value that was back; None where none is.
    upwards : bool
    """

    since: int
    named: int
    back: int | None
    upwards: bool


class Followed(NamedTuple):
    """What came of all values of a measure.

    Attributes
    ----------
    held : list of Held
        One for each value.
    drifts : list of Drift
    mean, deviation : float or None
        That the next value will be held against; None while there are too few values.
    """

    held: list[Held]
    drifts: list[Drift]
    mean: float | None
    deviation: float | None


def _nothing(_mean: float) -> float:
    return 0.0


def follow(values: Sequence[Observed], least: Callable[[float], float] = _nothing) -> Followed:
    """Follow a measure from its first value on.

    Parameters
    ----------
    values : sequence of Observed
        In their order.
    least : callable
        Given the mean so far, returns what the standard deviation is never taken to be less than.

    Examples
    --------
    >>> steady = [Observed(100.0 + step, 0.0) for step in (0, 1, -1, 2, -2, 1, 0, -1, 1, -2)]
    >>> dimmed = [Observed(94.0, 0.0), Observed(93.0, 0.0), Observed(94.0, 0.0), Observed(93.0, 0.0)]
    >>> follow(steady).drifts
    []
    >>> [(drift.since, drift.named, drift.upwards) for drift in follow(steady + dimmed).drifts]
    [(9, 13, False)]
    """
    follower = _Follower(least)
    for value in values:
        follower.take(value)
    known = follower.known
    enough = known.n >= LEARNED
    return Followed(
        follower.held,
        follower.drifts,
        known.mean if enough else None,
        known.deviation(0.0, least) if enough else None,
    )


def average_run_length(limit: float, allowance: float = ALLOWANCE, shift: float = 0.0) -> float:
    """Return how many values one side of a CUSUM takes on average until it passes its limit.

    By Siegmund's approximation. Both sides together take half of it where nothing has shifted.

    Parameters
    ----------
    limit, allowance : float
        In standard deviations.
    shift : float
        Of the values' mean, in standard deviations.

    Examples
    --------
    >>> round(average_run_length(5.0)), round(average_run_length(5.0, shift=1.0), 1)
    (938, 10.3)
    """
    drift = shift - allowance
    width = limit + 1.166
    if abs(drift) < 1e-9:
        return width * width
    return (math.exp(-2 * drift * width) + 2 * drift * width - 1) / (2 * drift * drift)


class _Known:
    """What the values so far tell: their mean, and how they vary within and between sessions."""

    def __init__(self) -> None:
        self.n = 0
        self.mean = 0.0
        self._squares = 0.0
        self._within = 0.0

    def learn(self, value: float, error: float) -> None:
        self.n += 1
        before = value - self.mean
        self.mean += before / self.n
        self._squares += before * (value - self.mean)
        self._within += (error * error - self._within) / self.n

    @property
    def _between(self) -> float:
        """Variance between the sessions beyond what is known from within them."""
        return max(self._squares / max(self.n - 1, 1) - self._within, 0.0)

    def deviation(self, error: float, least: Callable[[float], float]) -> float:
        """Return the standard deviation of a value with such an error, and of the mean that it is held to."""
        between = self._between
        variance = max(between + error * error, least(self.mean) ** 2)
        return math.sqrt(variance + (between + self._within) / self.n) or math.ulp(abs(self.mean) or 1.0)


class _Follower:
    """The state of one measure's CUSUM."""

    def __init__(self, least: Callable[[float], float]) -> None:
        self.known = _Known()
        self.held: list[Held] = []
        self.drifts: list[Drift] = []
        self._least = least
        self._seen: list[Observed] = []
        # What the mean is of: places among all values, and values as they were learned.
        self._learned: list[tuple[int, Observed]] = []
        self._clear()

    def _clear(self) -> None:
        self._sums = {True: 0.0, False: 0.0}
        self._since = dict.fromkeys((True, False), len(self._seen))
        self._near = 0

    def take(self, observed: Observed) -> None:
        place = len(self._seen)
        self._seen.append(observed)
        if self.known.n < LEARNED:
            self._learn(place, observed)
            self.held.append(Held(None, 0.0, 0.0, drifts=False))
            self._clear()
            return
        deviation = self.known.deviation(observed.error, self._least)
        freedom = self.known.n - 1
        distance = _normal((observed.value - self.known.mean) / deviation, freedom)
        if self.drifts and self.drifts[-1].back is None:
            self._drifting(place, distance)
            return
        self._add(distance, place)
        upwards = max(self._sums, key=self._sums.__getitem__)
        self.held.append(
            Held(distance, self._sums[True], self._sums[False], drifts=self._sums[upwards] > LIMIT)
        )
        if self._sums[upwards] > LIMIT:
            self.drifts.append(Drift(self._since[upwards], place, None, upwards))
            self._forget(self._since[upwards])
            return
        # A value that lies far out teaches no more than one at the border of what counts.
        most = deviation * _student(MOST_SDS, freedom)
        low, high = self.known.mean - most, self.known.mean + most
        self._learn(place, Observed(min(max(observed.value, low), high), observed.error))

    def _learn(self, place: int, observed: Observed) -> None:
        self.known.learn(*observed)
        self._learned.append((place, observed))

    def _add(self, distance: float, place: int) -> None:
        counted = min(max(distance, -MOST_SDS), MOST_SDS)
        for upwards, sign in ((True, 1.0), (False, -1.0)):
            self._sums[upwards] = max(0.0, self._sums[upwards] + sign * counted - ALLOWANCE)
            if self._sums[upwards] == 0.0:
                self._since[upwards] = place + 1

    def _forget(self, since: int) -> None:
        """Know what was known before a drift began, and no less than what makes a beginning."""
        before = [one for one in self._learned if one[0] < since]
        self._learned = before if len(before) >= LEARNED else self._learned[:LEARNED]
        self.known = _Known()
        for _, observed in self._learned:
            self.known.learn(*observed)

    def _drifting(self, place: int, distance: float) -> None:
        """Hold a value against what was before the drift, and see whether it is over."""
        self._near = self._near + 1 if abs(distance) < NEAR_SDS else 0
        over = self._near >= BACK
        self.held.append(Held(distance, self._sums[True], self._sums[False], drifts=not over))
        if over:
            back = place - BACK + 1
            self.drifts[-1] = self.drifts[-1]._replace(back=back)
            for near, observed in enumerate(self._seen[back:], start=back):
                self._learn(near, observed)
            self._clear()


def _normal(t: float, freedom: int) -> float:
    """Turn a value of Student's distribution into the normal one's that is as seldom; Wallace."""
    size = (8 * freedom + 1) / (8 * freedom + 3) * math.sqrt(freedom * math.log1p(t * t / freedom))
    return math.copysign(size, t)


def _student(distance: float, freedom: int) -> float:
    """Undo `_normal`."""
    size = distance * (8 * freedom + 3) / (8 * freedom + 1)
    return math.sqrt(freedom * math.expm1(size * size / freedom))
