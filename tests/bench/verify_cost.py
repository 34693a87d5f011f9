"""What it costs to verify a session: seconds and memory, beside the way of before in the same run.

Records a session of so many frames, with 1.6 new cells a frame and a texture each, of random pixels, as `run`
does but for the waits for the disk; with ``--split`` in several files. Then `edgeleuk verify` is timed in a
process of its own, and the way of before in this one: a query for each table of each frame, and a call for
each value. Prints JSON on standard output; exits 3 when a bar is missed.

    python tests/bench/verify_cost.py [--frames 20000] [--split 36000] [--keep FOLDER] [--no-before]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk.frames import Box, CellCrop
from edgeleuk.io.storage_bounds import StorageBounds
from edgeleuk.results import CellResult, Decision, FrameResult, Prediction
from edgeleuk.session import JudgedCell, create_session, writer
from edgeleuk.session.links import COVERED, PICTURES, table_of
from edgeleuk.session.pictures import encode_texture, pack_crop
from edgeleuk.session.series import files_of
from edgeleuk.vision.registration import Texture
from edgeleuk.vision.tracking import Placed

if TYPE_CHECKING:
    from collections.abc import Sequence

# Bars: seconds for each of 20,000 frames, and the memory of the process.
MOST_S, OF_FRAMES, MOST_MB = 7.0, 20_000, 100.0
# An 8-hour series of ten frames a second may take longer: its pictures have to be read from the disk.
MOST_SERIES_S, OF_SERIES_FRAMES = 120.0, 288_000
CELLS_A_FRAME = 1.6
CROPS, TEXTURES = 40, 10
CHILD = """
import json, resource, sys, time
from pathlib import Path
from edgeleuk.session.verify import verify_session
began = time.perf_counter()
found = verify_session(Path(sys.argv[1]))
print(json.dumps({
    "seconds": time.perf_counter() - began,
    "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    "broken": found.broken,
    "links": found.links,
}))
"""


def recorded(folder: Path, frames: int, split: str | None) -> Path:
    """Record a session of so many frames, its pictures encoded beforehand."""
    rng = np.random.default_rng(0)
    crops = [CellCrop(_pixels(rng, 96, 110), np.full((96, 110), 255, np.uint8), 13.0) for _ in range(CROPS)]
    textures = [Texture(_pixels(rng, 480, 640)[:, :, 0], (960, 1280)) for _ in range(TEXTURES)]
    packed = {id(crop): pack_crop(crop) for crop in crops}
    seen = {id(texture): encode_texture(texture) for texture in textures}
    vars(writer).update(
        pack_crop=lambda crop: packed[id(crop)], encode_texture=lambda texture, **_: seen[id(texture)]
    )
    path = folder / "session.db"
    prediction = Prediction(Decision.BLAST, 0.75)
    box = Box(3, 4, 110, 96)
    track = 0
    with create_session(path, {"camera": "test://"}, bounds=StorageBounds.of(split, None, None)) as session:
        for number in range(frames):
            session._connection.execute("PRAGMA synchronous = OFF")
            new = int((number + 1) * CELLS_A_FRAME) - int(number * CELLS_A_FRAME)
            judged = [
                JudgedCell(
                    track + each, box, 8000, 4000, 47.3, 23.7, prediction, crops[(track + each) % CROPS],
                    focus=12.5,
                )
                for each in range(new)
            ]  # fmt: skip
            track += new
            shown = tuple(CellResult(one.track, True, box, 47.3, 23.7, prediction) for one in judged)
            result = FrameResult(number, 1.7e9 + number / 10, "test://", 1280, 960, 13.0, shown, (), (), 31.5)
            placed = Placed(0, float(number), 0.0, (), textures[number % TEXTURES])
            session.record_frame(result, judged, (), placed)
    return path


def _pixels(rng: np.random.Generator, height: int, width: int) -> Any:
    """Return pixels that are as hard to pack as those of a stained smear."""
    import cv2

    return cv2.GaussianBlur(rng.integers(0, 255, (height, width, 3), np.uint8), (5, 5), 1.4)


def way_of_before(path: Path) -> int:
    """Compute the links as edgeleuk did before: a query for each table, a call for each value."""
    connection = sqlite3.connect(path)
    keys = {"cells": "track", "true_cells": "identity", "views": "track", "moves": "id"}
    of_frames: dict[str, dict[int, list[int]]] = {}
    for table, key in keys.items():
        for frame, of_row in connection.execute(f"SELECT frame, {key} FROM {table} ORDER BY {key}"):
            of_frames.setdefault(table, {}).setdefault(frame, []).append(of_row)
    before = b""
    number = 0
    for kind, key, link in connection.execute("SELECT kind, key, link FROM chain ORDER BY id"):
        whole = hashlib.sha256(b"edgeleuk session, link of schema 7\0")
        for value in (before, kind, key):
            _hash_value(whole, value)
        for query in COVERED[kind]:
            table = table_of(query)
            if kind == "frame" and table in keys:
                names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
                one = f"SELECT * FROM {table} WHERE {keys[table]} = ?"
                rows = [
                    row
                    for of_row in of_frames.get(table, {}).get(key, ())
                    for row in connection.execute(one, (of_row,)).fetchall()
                ]
            else:
                cursor = connection.execute(query, (key,))
                rows, names = cursor.fetchall(), [column[0] for column in cursor.description]
            _hash_rows(whole, names, rows, PICTURES.get(table, ()))
        if whole.digest() != link:
            msg = f"{kind} {key} is not as it was recorded"
            raise ValueError(msg)
        before = link
        number += 1
    connection.close()
    return number


def _hash_rows(whole: Any, names: list[str], rows: list[tuple[object, ...]], pictures: Sequence[str]) -> None:
    for value in (len(rows), len(names), *names):
        _hash_value(whole, value)
    for row in rows:
        for name, value in zip(names, row, strict=True):
            _hash_value(whole, value, picture=name in pictures)


def _hash_value(whole: Any, value: object, *, picture: bool = False) -> None:
    if isinstance(value, bytes):
        kind, data = (b"p", hashlib.sha256(value).digest()) if picture else (b"b", value)
    elif isinstance(value, str):
        kind, data = b"t", value.encode()
    elif isinstance(value, int):
        kind, data = b"i", b"%d" % value
    elif isinstance(value, float):
        kind, data = b"f", struct.pack(">d", value)
    else:
        kind, data = b"n", b""
    whole.update(kind + struct.pack(">Q", len(data)))
    whole.update(data)


def measured(folder: Path, frames: int, split: str | None, *, before: bool) -> dict[str, Any]:
    """Record, and verify both ways."""
    path = folder / "session.db"
    if not path.exists():
        recorded(folder, frames, split)
    files = files_of(path)
    size = sum(file.stat().st_size for file in files)
    found = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", CHILD, str(path)], check=True, capture_output=True, text=True
            ).stdout
        )
        for _ in range(3)
    ]
    best = min(found, key=lambda one: float(one["seconds"]))
    result: dict[str, Any] = {
        "frames": frames,
        "files": len(files),
        "kb_a_frame": round(size / frames / 1000, 1),
        "seconds": round(best["seconds"], 2),
        "seconds_of_each": [round(one["seconds"], 2) for one in found],
        "mb": round(max(one["mb"] for one in found), 1),
        "links": best["links"],
        "broken": best["broken"],
    }
    if before:
        began = time.perf_counter()
        links = sum(way_of_before(file) for file in files)
        result["seconds_before"] = round(time.perf_counter() - began, 2)
        result["times_as_fast"] = round(result["seconds_before"] / result["seconds"], 1)
        assert links == best["links"]
    most_s, of_frames = (MOST_S, OF_FRAMES) if len(files) == 1 else (MOST_SERIES_S, OF_SERIES_FRAMES)
    allowed = most_s * frames / of_frames
    reasons = []
    if result["broken"] is not None:
        reasons.append(f"the chain is broken: {result['broken']}")
    if result["seconds"] > allowed:
        reasons.append(f"{result['seconds']} s for {frames} frames, allowed {allowed:.1f} s")
    if result["mb"] > MOST_MB:
        reasons.append(f"{result['mb']} MB of memory, allowed {MOST_MB}")
    return {**result, "verdict": "bad" if reasons else "good", "reasons": reasons}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=OF_FRAMES)
    parser.add_argument("--split")
    parser.add_argument("--keep", type=Path, help="a folder in which the session stays")
    parser.add_argument("--no-before", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = given.keep or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        result = measured(place, given.frames, given.split, before=not given.no_before)
    print(json.dumps(result, indent=1))
    sys.exit(3 if result["reasons"] else 0)


if __name__ == "__main__":
    main()
