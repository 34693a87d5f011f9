"""A student from its training to a microcontroller: tensor in, probability out, in TFLite Micro and C."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest
from exported_c import golden_program

from edgeleuk.bundle.manifest import SUPPORT
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.bundle.support_vectors import decode_support
from edgeleuk.deploy.microcontroller import deployment_of
from edgeleuk_convert.dataset.cnmc import load_cells
from edgeleuk_convert.networks.architectures import student_input
from edgeleuk_convert.training.plan import TrainingSettings
from edgeleuk_convert.training.trainer import train
from edgeleuk_firmware_bridge.mcu import export as mcu
from edgeleuk_firmware_bridge.mcu import tflm
from edgeleuk_firmware_bridge.mcu.memory import bounded_arena

if TYPE_CHECKING:
    from pathlib import Path

# Keras 3.15 converts its variables in a way that NumPy 2.4 is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
LINUX_X86 = sys.platform == "linux" and os.uname().machine == "x86_64"
SIDE = 64


@pytest.fixture(scope="module")
def student(few_cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a student that was taught for one epoch: what it is worth is not the point."""
    folder = tmp_path_factory.mktemp("student")
    contract = msgspec.structs.replace(student_input(), height=SIDE, width=SIDE)
    settings = TrainingSettings(architecture="student", epochs=1, batch=16, folds=3, fold=0, input=contract)
    train(load_cells(few_cells), folder / "student.keras", settings)
    words = ("--data", few_cells, "--images", 24, "--out", folder / "student.edgeleuk", "--json")
    done = subprocess.run(
        [sys.executable, "-m", "edgeleuk", "convert", str(folder / "student.keras"), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    bundle = folder / "student.edgeleuk"
    # So few cells do not show that int8 keeps to the limits: the verdict is open.
    assert bundle.exists(), done.stdout + done.stderr
    return bundle


def test_it_runs_from_tensor_to_probability(student: Path, tmp_path: Path) -> None:
    bundle = read_bundle(student)
    network, exported, work = deployment_of(bundle, 4), tmp_path / "export", tmp_path / "work"
    work.mkdir()
    done = mcu.export(network, exported)
    parts = dict(network.beside.parts)
    assert {"pooling", "support vectors", "forest"} <= set(parts)
    found = [cell.outputs for cell in network.golden]
    if LINUX_X86:
        assert done.steps == 0
        # Its shortcuts keep equal tensors alive together: their order counts.
        arena = done.footprint.arena
        assert arena.head_bytes == bounded_arena(mcu.portable_graph(network.model)).head_bytes
        inputs = [network.fed(cell.tensor) for cell in network.golden]
        sizes = [len(output) for output in network.golden[0].outputs]
        found = tflm.outputs_of(network.model, inputs, done.footprint.arena.with_margin, sizes)
    assert "0 of 4 cells differ" in golden_program(exported, network, found, work)


def test_a_map_that_differs_is_told(student: Path, tmp_path: Path) -> None:
    network, exported, work = deployment_of(read_bundle(student), 2), tmp_path / "export", tmp_path / "work"
    work.mkdir()
    mcu.export(network, exported)
    first, second = (cell.outputs for cell in network.golden)
    wrong = tuple(bytes((byte + 9) % 256 for byte in output) for output in second)
    said = golden_program(exported, network, [first, wrong], work, code=1)
    assert "1 of 2 cells differ" in said
    assert "cell 1: network" in said
    assert "MISMATCH" in said


def test_it_fits_and_is_told_with_its_parts(student: Path) -> None:
    words = ("mcu", "check", str(student), "--flash", "1M", "--ram", "512K", "--json")
    done = subprocess.run(
        [sys.executable, "-m", "edgeleuk", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["verdict"] == "fits"
    assert facts["ram"]["input_bytes"] == SIDE * SIDE * 5
    directions = decode_support(read_bundle(student).members[SUPPORT]).vectors.shape[1]
    # Two masks over 8 x 8 places, features, where they lie among the vectors, and three results.
    assert facts["ram"]["cell_bytes"] == 4 * (2 * 64 + 448 + directions + 3)
    used = facts["ram"]["reserved_bytes"] + facts["ram"]["cell_bytes"]
    assert facts["ram"]["limit_bytes"] - used == facts["ram"]["left_bytes"]
