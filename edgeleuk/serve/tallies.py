"""What is added up of a run for `/metrics`: latencies by their size, and events by their kind."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

# Upper bounds of a frame's latency: a fast workstation stands at the beginning, a busy Pi 4 near the end.
BUCKETS_S = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)


class RunTallies:
    """Counters that only grow; the run's thread writes them, any other may read.

    Attributes
    ----------
    events : Counter of str
    latency_sum_s : float
    """

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.latency_sum_s = 0.0
        self._latencies = [0] * (len(BUCKETS_S) + 1)

    def add_latency(self, seconds: float) -> None:
        """Count a processed frame."""
        self._latencies[bisect_left(BUCKETS_S, seconds)] += 1
        self.latency_sum_s += seconds

    def latencies(self) -> list[tuple[str, int]]:
        """Return how many frames took at most so long, for each bound, as Prometheus has them.

        Examples
        --------
        >>> tallies = RunTallies()
        >>> tallies.add_latency(0.02), tallies.add_latency(9.0)
        (None, None)
        >>> tallies.latencies()[1:3], tallies.latencies()[-2:]
        ([('0.01', 0), ('0.02', 1)], [('5.0', 1), ('+Inf', 2)])
        """
        found, total = [], 0
        for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), list(self._latencies), strict=True):
            total += count
            found.append((bound, total))
        return found
