"""Makes the files of this folder, with edgeleuk as it was at commit 59308fc; no test runs it.

    git worktree add /tmp/before 59308fc
    cd /tmp/before
    PYTHONPATH=.:convert:calibration:firmware_bridge:tests python PATH/OF/make.py OUT

`small.edgeleuk` is a small network trained in seconds on cells drawn by the virtual slide. `run.db.gz` is a
run of a virtual camera with it, and `scan.db.gz` a scan. The TOML files are settings of that time.
`commands.json` holds what the old program answered, and each option that its commands took. A training
differs from machine to machine in its last digits, and so do these files.
"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import msgspec
import numpy as np

EDGELEUK = [sys.executable, "-m", "edgeleuk"]
RUN_TOML = """\
# edgeleuk run --config run.toml
precision = "int8"
threads = 1
px_per_um = 13.0
abstain = "band"
gate = true
lock = true
every_frame = false
until_cells = 1000000
"""
TRAINING_TOML = """\
architecture = "resnet"
epochs = 3
seed = 2
"""
LIMITS_TOML = "[gate]\nprobability_change = 0.4\n"


def edgeleuk(folder: Path, *words: object) -> Any:
    """Run a command of the old program; return what it printed as JSON."""
    done = subprocess.run(
        [*EDGELEUK, *map(str, words), "--json"], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{words}: {done.stderr}")
    return json.loads(done.stdout)


def draw(folder: Path, per_class: int = 48) -> None:
    """Write cells in the layout of C-NMC: 450 x 450 px on black, twelve subjects of a class."""
    from edgeleuk.virtual.cells import single_cell

    for label, short in (("blast", "all"), ("normal", "hem")):
        (folder / "fold_0" / short).mkdir(parents=True)
        for number in range(per_class):
            crop = single_cell(label, 2 * number + (label == "normal") + 1000)
            pixels = np.where(crop.mask[:, :, None] > 0, crop.pixels, 0).astype(np.uint8)
            high, wide = pixels.shape[:2]
            canvas = np.zeros((450, 450, 3), np.uint8)
            top, left = (450 - high) // 2, (450 - wide) // 2
            canvas[top : top + high, left : left + wide] = pixels
            subject = number % 12 + 1 + 50 * (label == "normal")
            name = f"UID_{'H' if short == 'hem' else ''}{subject}_{number}_1_{short}.png"
            cv2.imwrite(str(folder / "fold_0" / short / name), canvas[:, :, ::-1])


def small_bundle(folder: Path, out: Path) -> dict[str, Any]:
    """Train the small network and convert it; its golden cells are few and of a small scale."""
    import onnxruntime
    import planting
    from edgeleuk_convert.cnmc import load_cells
    from edgeleuk_convert.record import write_record
    from edgeleuk_convert.settings import load_training_settings

    from edgeleuk.virtual.cells import single_cell
    from edgeleuk_convert import conversion_commands, golden

    cells = folder / "cells"
    draw(cells)
    model = folder / "small.keras"
    planting.trained().save(model)
    held_out = ("1", "2", "H51", "H52")
    loaded = load_cells(cells).labelled
    kept = [cell for cell in loaded if (cell.subject or "") not in held_out]
    record = msgspec.structs.replace(
        planting.record(),
        settings=load_training_settings(None, {"architecture": "resnet"}).flat(),
        training_subjects=tuple(sorted({cell.subject or "" for cell in kept})),
        held_out_subjects=held_out,
        training_hashes=tuple(sorted({cell.sha256[:16] for cell in kept})),
    )
    write_record(record, model)
    # As every processor with an 8-bit dot product adds: others saturated, at that time, and stored it.
    plain = onnxruntime.SessionOptions

    def exact() -> Any:
        options = plain()
        options.add_session_config_entry("session.x64quantprecision", "1")
        return options

    onnxruntime.SessionOptions = exact
    golden.KEPT = 1
    golden.single_cell = lambda label, seed, px_per_um=5.1: single_cell(label, seed, px_per_um=px_per_um)
    return conversion_commands.convert(
        model,
        cells,
        out,
        images=60,
        seed=None,
        strategy=None,
        calibration_card=None,
        contract=None,
        onnx_calibration="minmax",
        tensorrt=False,
        also=(),
        repair=False,
        limits_file=out.with_name("limits.toml"),
    )


def main(out: Path) -> None:
    """Write everything to a folder."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "run.toml").write_text(RUN_TOML)
    (out / "training.toml").write_text(TRAINING_TOML)
    (out / "limits.toml").write_text(LIMITS_TOML)
    with TemporaryDirectory() as name:
        folder = Path(name)
        small_bundle(folder, out / "small.edgeleuk")
        said = {"options": options(), **watch(folder, out)}
        scan(folder, out)
        for session in ("run.db", "scan.db"):
            packed = gzip.compress((folder / session).read_bytes(), mtime=0)
            (out / f"{session}.gz").write_bytes(packed)
        (out / "commands.json").write_text(json.dumps(said, indent=1) + "\n")


def watch(folder: Path, out: Path) -> dict[str, Any]:
    """Record two frames with a cell in each; return what is printed of the session."""
    camera = "virtual://?seed=7&width=960&height=720"
    words = ("--bundle", out / "small.edgeleuk", "--config", out / "run.toml")
    edgeleuk(folder, "run", "--camera", camera, "--frames", 2, "--session", "run.db", *words)
    lines = subprocess.run(
        [*EDGELEUK, "export", "run.db", "--jsonl"], cwd=folder, capture_output=True, text=True, check=True
    )
    cells = [json.loads(line) for line in lines.stdout.splitlines()]
    replay = ("replay", "run.db", "--bundle", out / "small.edgeleuk", "--cell")
    return {
        "report": edgeleuk(folder, "report", "run.db"),
        "export": cells,
        "replay": [edgeleuk(folder, *replay, cell["track"]) for cell in cells],
    }


def options() -> dict[str, list[tuple[str, bool]]]:
    """Return the options of each command, and whether each takes a value."""
    import typer

    from edgeleuk.cli import app

    found: dict[str, list[tuple[str, bool]]] = {}

    def walk(command: Any, name: str) -> None:
        for each, below in getattr(command, "commands", {}).items():
            walk(below, f"{name} {each}".strip())
        found[name] = [
            (word, not parameter.is_flag)
            for parameter in command.params
            if parameter.param_type_name == "option"
            for word in (*parameter.opts, *parameter.secondary_opts)
        ]

    walk(typer.main.get_command(app), "")
    return found


def scan(folder: Path, out: Path) -> None:
    """Calibrate the stage of a virtual microscope, and scan four fields."""
    words = ("--http", ":0", "--stage", ":0", "--width", "640", "--fps", "20", "--um-per-step", "0.1")
    process = subprocess.Popen(
        [*EDGELEUK, "virtual-microscope", *words, "--seed", "4"], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        found = re.search(r"SIMULATED camera (\S+), stage (\S+),", process.stderr.readline())
        assert found is not None
        where = ("--camera", found[1], "--stage", found[2])
        edgeleuk(
            folder, "stage", "calibrate", *where, "--um-per-step", 0.1, "--lamp", 0.5, "--out", "stage.toml"
        )
        (out / "stage.toml").write_bytes((folder / "stage.toml").read_bytes())
        words = ("--bundle", str(out / "small.edgeleuk"), "--stage-config", "stage.toml")
        edgeleuk(folder, "scan", "--area", "0.08x0.06", *where, *words, "--session", "scan.db")
    finally:
        process.terminate()
        process.communicate()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
