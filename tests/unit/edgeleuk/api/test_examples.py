"""Every program of ``examples/`` runs."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import edgeleuk
from edgeleuk.capture import open_source
from edgeleuk.io.images import write_png

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).resolve().parents[4] / "examples"
CAMERA = "virtual://?seed=1&frames=2"


def run(name: str, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, words)], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fields") / "field.png"
    with open_source(CAMERA) as source:
        write_png(path, next(iter(source.frames())).pixels)
    return path


def test_a_folder_becomes_csv(field: Path, tmp_path: Path) -> None:
    done = run("folder_to_csv.py", field.parent, tmp_path / "a.csv")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0] == "file,x,y,w,h,label,probability,reason"
    assert done.stdout.startswith(f"{len(lines) - 1} cells")


def test_a_camera_is_watched() -> None:
    done = run("camera.py", CAMERA)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_a_missing_network_is_named(tmp_path: Path) -> None:
    done = run("keras_to_bundle.py", tmp_path / "no.keras", tmp_path, tmp_path / "no.toml", tmp_path / "o")
    assert done.returncode == 1
    assert "edgeleuk.errors." in done.stderr.splitlines()[-1]


def test_own_segmentation_is_judged(field: Path) -> None:
    done = run("own_segmentation.py", field, 13)
    assert done.returncode == 0, done.stderr
    pieces = int(done.stdout.splitlines()[-1].split()[0])
    assert pieces == len(done.stdout.splitlines()) - 1 > 0


def test_a_session_goes_into_pandas(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    list(edgeleuk.watch(CAMERA, session=tmp_path / "a.db", runtime="litert"))
    done = run("session_to_pandas.py", tmp_path / "a.db")
    assert done.returncode == 0, done.stderr
    assert "count" in done.stdout


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            continue
        return
    msg = "the broker has ended"
    raise RuntimeError(msg)


@contextmanager
def broker(folder: Path, port: int) -> Iterator[None]:
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen([shutil.which("mosquitto") or "", "-c", str(config)])
    try:
        _wait_for(process, port)
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.mark.skipif(shutil.which("mosquitto") is None, reason="no MQTT broker (mosquitto) is installed")
def test_counts_go_to_a_broker(tmp_path: Path) -> None:
    pytest.importorskip("paho.mqtt.client")
    with broker(tmp_path, 18830):
        done = run("mqtt_counts.py", "127.0.0.1", 18830, CAMERA)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_a_picture_is_annotated(field: Path, tmp_path: Path) -> None:
    done = run("annotated_picture.py", field, tmp_path / "a.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_a_page_is_made(field: Path, tmp_path: Path) -> None:
    done = run("report_page.py", field.parent, tmp_path / "a.html")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.html").read_text().count("<figure>") == 1


def test_it_stops_when_enough_is_counted() -> None:
    done = run("stop_rule.py", "virtual://?seed=1", 2)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) >= 2


def test_a_bundle_prints_its_card() -> None:
    done = run("bundle_card.py")
    assert done.returncode == 0, done.stderr
    assert edgeleuk.open_bundle().card.strip() in done.stdout
