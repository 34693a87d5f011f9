"""How many damaged JPEGs are rejected, how many sound ones are, and what that costs.

Makes JPEGs as several cameras frame them, of fields and cells of several laboratories; spoils them in four
kinds; and prints a table, and the ratio of the times that decoding takes with and without the check, turn by
turn in one run. Exits 1 where a promise is not kept.

    python tests/bench/damaged_jpegs.py [--damaged 240] [--sound 500] [--seed 18]
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from edgeleuk.io.pictures.jpeg import DamagedJpegError, decode_jpeg  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edgeleuk.frames import RgbImage

DATA = Path(os.environ.get("EDGELEUK_DATA", ROOT.parent / "shared" / "data"))
PATTERNS = (
    "fields_bccd/*[0-9].jpg",
    "white_cells/bcisc/fields/*[0-9].*",
    "white_cells/pbc/*/*.jpg",
    "cnmc/fold_0/*/*.webp",
)
# Packets of a network carry so much.
PACKET_BYTES = 1400
# More levels in any channel are seen; a picture with more of such pixels must be rejected.
WRONG_LEVELS, WRONG_SHARE = 8, 0.02
LEAST_REJECTED, MOST_RATIO = 0.95, 1.10
TURNS = 150


class Framing(NamedTuple):
    """How a camera makes its JPEGs: size (None as it is), quality, sampling, restarts, and what else."""

    size: tuple[int, int] | None
    quality: int
    sampling: int
    restart: int = 0
    progressive: int = 0
    optimized: int = 0
    exif: bool = False
    tables: bool = True

    def encode(self, pixels: RgbImage) -> bytes:
        if self.size is not None:
            pixels = np.asarray(cv2.resize(pixels, self.size, interpolation=cv2.INTER_AREA), np.uint8)
        options = [
            cv2.IMWRITE_JPEG_QUALITY, self.quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, self.sampling,
            cv2.IMWRITE_JPEG_RST_INTERVAL, self.restart, cv2.IMWRITE_JPEG_PROGRESSIVE, self.progressive,
            cv2.IMWRITE_JPEG_OPTIMIZE, self.optimized,
        ]  # fmt: skip
        data = cv2.imencode(".jpg", pixels[..., ::-1], options)[1].tobytes()
        data = data if self.tables else without_tables(data)
        return with_exif(data, pixels) if self.exif else data


FRAMINGS = {
    "USB 640x480, 4:2:2, no Huffman tables": Framing(
        (640, 480), 80, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422, tables=False
    ),
    "USB 1280x960, 4:2:2, restart each row": Framing(
        (1280, 960), 80, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422, 80
    ),
    "Pi 800x600, 4:2:0": Framing((800, 600), 90, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420),
    "ESP32 800x600, 4:2:2, quality 60": Framing((800, 600), 60, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422),
    "phone 1600x1200, 4:2:0, EXIF": Framing(
        (1600, 1200), 92, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, optimized=1, exif=True
    ),
    "microscope, 4:4:4, quality 95": Framing(None, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    "progressive, 4:2:0": Framing(None, 88, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, progressive=1),
    "network 640x480, 4:2:0, restart each 4 rows": Framing(
        (640, 480), 85, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, 160
    ),
}


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, begin and end of each segment up to the pixels."""
    at = 2
    while True:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield data[at + 1], at, end
        if data[at + 1] == 0xDA:
            return
        at = end


def without_tables(data: bytes) -> bytes:
    """Leave the Huffman tables out, as USB cameras do."""
    kept = [data[at:end] for marker, at, end in segments(data) if marker != 0xC4]
    return data[:2] + b"".join(kept) + data[coded(data)[0] :]


def with_exif(data: bytes, pixels: RgbImage) -> bytes:
    """Put a thumbnail in front, whose end marker is none of the picture's."""
    small = cv2.imencode(".jpg", cv2.resize(pixels[..., ::-1], (160, 120)))[1].tobytes()
    body = b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\1\0\0\0\0\0\0" + small
    return data[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + data[2:]


def coded(data: bytes) -> tuple[int, int]:
    """Begin and end of the coded pixels."""
    *_, (_, _, begin) = segments(data)
    return begin, data.rfind(b"\xff\xd9")


def lost(data: bytes, dice: random.Random) -> bytes:
    at, size = place(data, dice, 1)
    return data[:at] + data[at + size :]


def zeroed(data: bytes, dice: random.Random) -> bytes:
    at, size = place(data, dice, 1)
    return data[:at] + bytes(size) + data[at + size :]


def flipped(data: bytes, dice: random.Random) -> bytes:
    begin, end = coded(data)
    at = dice.randrange(begin, end)
    return data[:at] + bytes([data[at] ^ (1 << dice.randrange(8))]) + data[at + 1 :]


def exchanged(data: bytes, dice: random.Random) -> bytes:
    at, size = place(data, dice, 2)
    return data[:at] + data[at + size : at + 2 * size] + data[at : at + size] + data[at + 2 * size :]


def place(data: bytes, dice: random.Random, packets: int) -> tuple[int, int]:
    begin, end = coded(data)
    size = min(PACKET_BYTES, (end - begin) // (2 + packets))
    return dice.randrange(begin, end - packets * size), size


KINDS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "packet lost": lost,
    "packet zeroed": zeroed,
    "bit flipped": flipped,
    "packets exchanged": exchanged,
}


def verdict(data: bytes) -> bool:
    """Whether a JPEG is rejected."""
    try:
        decode_jpeg(data)
    except DamagedJpegError:
        return True
    return False


def by_opencv(data: bytes) -> RgbImage | None:
    """Decode as OpenCV does, which says nothing of damage."""
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags)


def wrong_share(data: bytes, sound: RgbImage) -> float:
    pixels = by_opencv(data)
    if pixels is None or pixels.shape != sound.shape:
        return 1.0
    return float((cv2.absdiff(pixels, sound).max(axis=2) > WRONG_LEVELS).mean())


def pictures(number: int) -> list[Path]:
    """Take as many pictures of each set, spread over it."""
    found = []
    for pattern in PATTERNS:
        paths = sorted(path for path in DATA.glob(pattern) if "mask" not in path.name)
        found += paths[:: max(1, len(paths) * len(PATTERNS) // number)]
    return found


def decoded(path: Path) -> RgbImage:
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    height, width = pixels.shape[:2]
    shrink = max(1.0, width / 1024)
    return np.asarray(cv2.resize(pixels, (int(width / shrink), int(height / shrink))), np.uint8)


def damaged_table(number: int, dice: random.Random) -> bool:
    """Print how many damaged ones are rejected; True where they are enough."""
    fields = [decoded(path) for path in pictures(60)[:30]]
    cases = [(kind, name) for kind in KINDS for name in FRAMINGS]
    counts: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    made = 0
    while made < number:
        kind, name = cases[made % len(cases)]
        sound = FRAMINGS[name].encode(fields[(made // len(cases) + made) % len(fields)])
        damaged = KINDS[kind](sound, dice)
        bad = wrong_share(damaged, np.asarray(by_opencv(sound))) > WRONG_SHARE
        for row in (kind, name, "all"):
            counts[row][0] += 1
            counts[row][1] += bad
            counts[row][2] += bad and verdict(damaged)
        made += 1
    print(f"{'damaged':46}{'made':>6}{'more than 2 % wrong':>22}{'rejected':>10}")
    for row, (all_of, bad_ones, rejected) in counts.items():
        print(f"{row:46}{all_of:6}{bad_ones:22}{rejected:10}")
    share = counts["all"][2] / max(counts["all"][1], 1)
    print(f"rejected of those: {share:.1%}, at least {LEAST_REJECTED:.0%} wanted")
    return share >= LEAST_REJECTED


def sound_table(number: int) -> bool:
    """Print how many sound ones are rejected; True where none is."""
    names = list(FRAMINGS)
    paths = pictures(2 * number)
    rejected = []
    for made in range(number):
        path, name = paths[made * len(paths) // number], names[made % len(names)]
        if verdict(FRAMINGS[name].encode(decoded(path))):
            rejected.append(f"{path.name} as {name}")
        if path.suffix == ".jpg" and verdict(path.read_bytes()):
            rejected.append(f"{path.name} as it is")
    print(f"sound: {number} made and those that are JPEGs as they are, {len(rejected)} rejected", *rejected)
    return not rejected


def ratio_of_times() -> float:
    """Print decoding's time with the check against OpenCV's alone; return the median of the ratios."""
    cv2.setNumThreads(1)
    field = decoded(pictures(60)[3])
    ratios = []
    for name, framing in FRAMINGS.items():
        data = framing.encode(field)
        turns = [(seconds(by_opencv, data), seconds(decode_jpeg, data)) for _ in range(TURNS)]
        plain, checked = (min(times) for times in zip(*turns, strict=True))
        ratios.append(checked / plain)
        print(f"{name:46}{plain * 1e3:7.2f} ms, checked {checked * 1e3:7.2f} ms, ratio {ratios[-1]:.2f}")
    print(f"median ratio {statistics.median(ratios):.2f}, at most {MOST_RATIO:.2f} wanted")
    return statistics.median(ratios)


def seconds(decode: Callable[[bytes], object], data: bytes) -> float:
    begun = time.perf_counter()
    decode(data)
    return time.perf_counter() - begun


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--damaged", type=int, default=240)
    parser.add_argument("--sound", type=int, default=500)
    parser.add_argument("--seed", type=int, default=18)
    options = parser.parse_args()
    kept = [
        damaged_table(options.damaged, random.Random(options.seed)),
        sound_table(options.sound),
        ratio_of_times() <= MOST_RATIO,
    ]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
