"""How long the server takes for each cell of a review: what comes next, a word recorded, the state after it.

    python tests/bench/review.py [CELLS [REVIEWED]]

Times are medians and 95th percentiles in milliseconds, on this machine and its disk: each word is on the disk
when it is answered.
"""

from __future__ import annotations

import functools
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from reviewing import many_cells

from edgeleuk.review import ReviewDesk
from edgeleuk.review.desk import word

if TYPE_CHECKING:
    from collections.abc import Callable


def main(cells: int = 5000, reviewed: int = 500) -> None:
    """Review some cells of a session and print what it took."""
    taken: dict[str, list[float]] = {"next": [], "record": [], "state": []}

    def timed(what: str, call: Callable[[], object]) -> object:
        begun = time.perf_counter()
        found = call()
        taken[what].append(1000 * (time.perf_counter() - begun))
        return found

    with tempfile.TemporaryDirectory() as folder:
        session = many_cells(Path(folder) / "night.db", cells)
        with ReviewDesk(session) as desk:
            for number in range(reviewed):
                cell = timed("next", lambda: desk.queue("A", 0, 1))[0]
                said = word(cell.track, "band", "A", f"t{number}", is_drawn=True)
                timed("record", functools.partial(desk.record, [said]))
                timed("state", desk.state)
    print(f"{reviewed} of {cells} cells")
    for what, times in taken.items():
        print(f"{what:<8} {np.median(times):6.1f} ms, 95 % under {np.percentile(times, 95):6.1f} ms")
    whole = np.sum(list(taken.values()), axis=0)
    print(f"a cell   {np.median(whole):6.1f} ms, 95 % under {np.percentile(whole, 95):6.1f} ms")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
