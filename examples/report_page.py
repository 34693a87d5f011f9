"""Make one page of a folder, as a notebook shows its results: ``report_page.py FOLDER OUT.html``."""

from __future__ import annotations

import sys
from pathlib import Path

import edgeleuk


def main(folder: str, out: str) -> None:
    """Write the HTML that a notebook shows for each picture."""
    results = edgeleuk.classify(Path(folder))
    body = "\n".join(result._repr_html_() for result in results)
    Path(out).write_text(f"<!doctype html><meta charset='utf-8'>\n{body}\n", encoding="utf-8")
    print(f"{len(results)} pictures in {out}")


if __name__ == "__main__":
    main(*sys.argv[1:])
