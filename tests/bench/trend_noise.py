"""What sessions vary by when nothing changes: the figures of tests/trend_stand.py.

    python tests/bench/trend_noise.py [--sessions 12] [--fields 45]

Virtual sessions are of one slide each, another one each time; real ones show fields of BCCD, drawn at random.
Prints for each measure its level, the standard deviation between sessions beyond what their own errors
explain, that of one field or cell, and how many there are of them.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from pathlib import Path
from statistics import mean, median, stdev
from typing import TYPE_CHECKING

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from edgeleuk.commands.run import RunOptions, run  # noqa: E402
from edgeleuk.control.measures import SHARES  # noqa: E402
from edgeleuk.control.session_quality import session_quality  # noqa: E402
from edgeleuk.control.trends import FOLLOWED  # noqa: E402
from edgeleuk.io.settings import RunSettings  # noqa: E402
from edgeleuk.session.reader import read_session  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeleuk.control.entries import Measured


def measured(uri: str, session: Path, frames: int | None) -> Mapping[str, Measured]:
    """Record a session, and measure it."""
    settings = RunSettings(runtime="litert")
    run(uri, "default", settings, RunOptions(session, frames=frames, draw=False))
    with read_session(session) as reader:
        return session_quality(reader).measures


def show(title: str, sessions: Sequence[Mapping[str, Measured]]) -> None:
    print(f"{title}: {len(sessions)} sessions")
    print(f"  {'measure':<16}{'level':>9}{'between':>10}{'within':>10}{'n':>6}   relative to the level")
    for name in FOLLOWED:
        found = [one[name] for one in sessions if name in one]
        if len(found) < 3:
            print(f"  {name:<16} of {len(found)} sessions alone")
            continue
        level = mean(one.value for one in found)
        if name in SHARES:
            # Their spread is their error already.
            errors = [one.spread for one in found]
        else:
            errors = [math.sqrt(math.pi / 2) * one.spread / math.sqrt(one.n) for one in found]
        beyond = stdev(one.value for one in found) ** 2 - mean(error**2 for error in errors)
        scale = level or 1.0
        between, within = math.sqrt(max(beyond, 0.0)) / scale, median(one.spread for one in found) / scale
        n = round(median(one.n for one in found))
        print(f"  {name:<16}{level:9.3f}{between:10.4f}{within:10.4f}{n:6}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=12)
    parser.add_argument("--fields", type=int, default=45)
    words = parser.parse_args()
    data = Path(os.environ.get("EDGELEUK_DATA", ROOT.parent / "shared" / "data"))
    files = sorted((data / "fields_bccd").glob("*.jpg"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        show(
            "virtual slides",
            [
                measured(f"virtual://?seed={seed}", folder / f"v{seed}.db", words.fields)
                for seed in range(words.sessions)
            ],
        )
        sessions = []
        for seed in range(words.sessions if files else 0):
            pictures = folder / f"b{seed}"
            pictures.mkdir()
            for place in np.random.default_rng(seed).permutation(len(files))[: words.fields]:
                (pictures / files[place].name).symlink_to(files[place])
            sessions.append(measured(f"dir://{pictures}", folder / f"b{seed}.db", None))
        if sessions:
            show("fields of BCCD", sessions)


if __name__ == "__main__":
    main()
