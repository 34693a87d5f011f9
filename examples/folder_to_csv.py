"""Classify a folder of pictures, and write one row for each cell: ``folder_to_csv.py FOLDER OUT.csv``."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import edgeleuk


def main(folder: str, out: str) -> None:
    """Write the cells of all pictures in a folder to a CSV file."""
    rows = [{"file": of.file, **cell.row()} for of in edgeleuk.classify(Path(folder)) for cell in of.cells]
    with Path(out).open("w", newline="", encoding="utf-8") as file:
        names = ["file", "x", "y", "w", "h", "label", "probability", "reason", "kind"]
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} cells in {out}")


if __name__ == "__main__":
    main(*sys.argv[1:])
