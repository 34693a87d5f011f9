"""Read a session into pandas: ``session_to_pandas.py SESSION.db``."""

from __future__ import annotations

import sys

import edgeleuk


def main(path: str) -> None:
    """Print how many cells were called what, and their mean area."""
    with edgeleuk.open_session(path) as session:
        cells = session.to_pandas()
    print(cells.groupby("decision")["area_um2"].agg(["count", "mean"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
