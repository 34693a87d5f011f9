"""One peer in a process of its own: waits until it is its turn.

::

    python tests/bench/peers/turns.py KEY FOLDER

Reads lines ``[first, last]`` and answers each with a line: the seconds that these cells or fields took, and
what was found; the first line says what was opened. What libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[2])]

from contest import PEERS, Peer  # noqa: E402

# Makes cells or fields `first` to `last` ready and returns the work; and what there is to say of it.
Ready = Callable[[int, int], Callable[[], Any]]
Opened = tuple[Ready, str]


def main() -> int:
    """Open the peer and take turns until nobody asks."""
    key, folder = sys.argv[1], Path(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(**facts: object) -> None:
        print(json.dumps(facts), file=answers, flush=True)

    peer = next(peer for peer in PEERS if peer.key == key)
    try:
        ready, remark = opened(peer, folder)
    except ImportError as error:
        say(missing=f"not installed: {error}")
        return 1
    except Exception as error:  # noqa: BLE001 - whatever keeps it from working belongs into the table
        say(missing=f"{type(error).__name__}: {error}".splitlines()[0])
        return 1
    say(versions=versions(peer), remark=remark)
    for line in sys.stdin:
        first, last = json.loads(line)
        # A first one that is not timed: others had the caches meanwhile.
        ready(first, first + 1)()
        work = ready(first, last)
        began = time.perf_counter()
        found = work()
        seconds = time.perf_counter() - began
        say(seconds=seconds, found=found if isinstance(found, list) and peer.of == "fields" else None)
    return 0


def opened(peer: Peer, folder: Path) -> Opened:
    """Open a peer and let it do one thing."""
    module, _, function = peer.opener.partition(":")
    ready, remark = getattr(import_module(module), function)(folder)
    ready(0, 1)()
    return ready, remark


def versions(peer: Peer) -> dict[str, str]:
    """Versions of the peer's packages, of those that are there."""
    found = {}
    for package in peer.packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    sys.exit(main())
