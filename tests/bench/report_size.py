"""How large the page of a long session is, and how long it takes to write, to open and to print.

Records a virtual slide for some fields, and writes their cells and fields again and again into a session of
5,000 cells, as `run` would. Prints JSON on standard output; exits 3 when a bar is missed. The page is opened
by the system's Chromium, from its load to all pictures decoded.

    python tests/bench/report_size.py [--cells 5000] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeleuk.commands.report import PageOptions, page_of
from edgeleuk.frames import Box
from edgeleuk.reports.pdf import find_chromium, print_page
from edgeleuk.results import CellResult, Counted, Decision, FrameResult, Prediction, SessionSummary
from edgeleuk.results.kinds import Kind
from edgeleuk.session import JudgedCell, create_session, read_session
from edgeleuk.session.pictures import decode_crop
from edgeleuk.vision.registration import Texture
from edgeleuk.vision.tracking import Placed

CAMERA = "virtual://?seed=7&white_cells_per_field=6"
FIELDS = 40
OTHER_KINDS = (Kind.NEUTROPHIL, Kind.MONOCYTE, Kind.EOSINOPHIL, Kind.BASOPHIL, Kind.IMMATURE_GRANULOCYTE)
# Bars of the page: megabytes, and seconds to open and to print.
MOST_MB, MOST_OPEN_S, MOST_PDF_S = 15.0, 2.0, 30.0
# Fields a row of the slide, and the step between them in pixels.
COLUMNS, STEP_PX = 50, (1100, 820)


def recorded(folder: Path) -> Path:
    """Record some fields of a virtual slide."""
    path = folder / "short.db"
    words = ["run", "--camera", CAMERA, "--frames", str(FIELDS), "--session", str(path), "--force"]
    subprocess.run([sys.executable, "-m", "edgeleuk", *words], check=True, capture_output=True)
    return path


def prediction(number: int, rng: np.random.Generator) -> Prediction:
    """Say what a cell of a mixed smear may be called."""
    p = float(rng.uniform())
    if number % 3 == 0:
        kind = OTHER_KINDS[number // 3 % len(OTHER_KINDS)]
        return Prediction(Decision.OTHER, p, None, False, kind, 0.7 + 0.3 * p)
    if 0.45 < p < 0.65:
        return Prediction(Decision.UNCERTAIN, p, "probability between 0.45 and 0.65")
    return Prediction(Decision.BLAST if p >= 0.65 else Decision.NORMAL, p)


def lengthened(short: Path, cells: int, folder: Path) -> Path:
    """Write the cells and fields of a session again and again, until there are so many cells."""
    path = folder / "long.db"
    rng = np.random.default_rng(0)
    with read_session(short) as reader:
        rows = [reader.cell(int(str(row["track"]))) for row in reader.rows("cells")]
        fields = [np.frombuffer(field["picture"], np.uint8) for field in reader.kept_fields()]
        settings = reader.settings
    import cv2

    crops = [decode_crop(row["crop"], row["px_per_um"]) for row in rows]
    textures = [Texture(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), (960, 1280)) for data in fields]
    with create_session(path, settings) as session:
        for sequence in range(cells // 2):
            judged = [judge(number, rows, crops, rng) for number in (2 * sequence, 2 * sequence + 1)]
            shown = tuple(
                CellResult(one.track, True, one.box, one.area_um2, one.nucleus_area_um2, one.prediction)
                for one in judged
            )
            result = FrameResult(
                sequence, 1e9 + sequence / 4, CAMERA, 1280, 960, 13.0, shown, (), (), float(rng.gamma(9, 25))
            )
            left, top = sequence % COLUMNS * STEP_PX[0], sequence // COLUMNS * STEP_PX[1]
            placed = Placed(1, float(left), float(top), (), textures[sequence % len(textures)])
            session.record_frame(result, judged, placed=placed)
        session.finish(
            SessionSummary(
                session=str(path), camera=CAMERA, ended="the bench", started_at=1e9, duration_s=cells / 8,
                simulated=True, captured=cells // 2, processed=cells // 2, dropped=0, rejected=0,
                detected=cells, seen_before=0, excluded=0, counted=Counted(), px_per_um=13.0,
            )
        )  # fmt: skip
    return path


def judge(number: int, rows: list[dict[str, Any]], crops: list[Any], rng: np.random.Generator) -> JudgedCell:
    """Return a cell that looks like one of the recorded."""
    row, crop = rows[number % len(rows)], crops[number % len(crops)]
    box = Box(*(int(row[name]) for name in ("x", "y", "w", "h")))
    sizes = (row["area_px"], row["nucleus_area_px"], row["area_um2"], row["nucleus_area_um2"])
    # Noise, so that no two pictures are alike.
    pixels = np.clip(crop.pixels + rng.integers(-2, 3, crop.pixels.shape), 0, 255).astype(np.uint8)
    seen = replace(crop, pixels=np.ascontiguousarray(pixels))
    return JudgedCell(number, box, *sizes, prediction(number, rng), seen, None, row["focus"])


def opened_s(page: Path) -> float:
    """Seconds until Chromium has loaded the page and decoded its pictures."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        tab = browser.new_page()
        begun = time.perf_counter()
        tab.goto(page.as_uri(), wait_until="load")
        tab.evaluate("() => Promise.all([...document.images].map(image => image.decode()))")
        seconds = time.perf_counter() - begun
        browser.close()
    return seconds


def main() -> int:
    """Make the session, write its page, open it, print it, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=5000)
    parser.add_argument("--pictures", type=int, default=PageOptions().pictures)
    parser.add_argument("--keep", type=Path, help="Leave session, page and PDF in this folder.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        session = lengthened(recorded(Path(scratch)), options.cells, folder)
        begun = time.perf_counter()
        page = page_of(session, PageOptions(pictures=options.pictures))
        written_s = time.perf_counter() - begun
        html = folder / "long.html"
        html.write_text(page, encoding="utf-8")
        begun = time.perf_counter()
        pdf = print_page(page)
        printed_s = time.perf_counter() - begun
        (folder / "long.pdf").write_bytes(pdf)
        found = {
            "cells": options.cells,
            "session_mb": round(session.stat().st_size / 1e6, 1),
            "html_mb": round(html.stat().st_size / 1e6, 2),
            "html_s": round(written_s, 2),
            "open_s": round(opened_s(html), 2),
            "pdf_mb": round(len(pdf) / 1e6, 2),
            "pdf_s": round(written_s + printed_s, 2),
        }
    print(json.dumps(found))
    kept = found["html_mb"] < MOST_MB and found["open_s"] < MOST_OPEN_S and found["pdf_s"] < MOST_PDF_S
    return 0 if kept else 3


if __name__ == "__main__":
    sys.exit(main())
