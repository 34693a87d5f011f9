"""Every program of ``examples/`` runs."""

from __future__ import annotations

import json
import queue
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

import edgeleuk
from edgeleuk.capture import open_source
from edgeleuk.io.images import write_png

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).resolve().parents[4] / "examples"
BROKER = """
import asyncio, logging, sys
from amqtt.broker import Broker

async def serve(port):
    broker = Broker({
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    })
    await broker.start()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await broker.shutdown()

asyncio.run(serve(int(sys.argv[1])))
"""
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
    assert lines[0] == "file,x,y,w,h,label,probability,reason,kind"
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
    list(edgeleuk.watch(CAMERA, session=tmp_path / "a.db", runtime="litert"))
    done = run("session_to_pandas.py", tmp_path / "a.db")
    assert done.returncode == 0, done.stderr
    assert "count" in done.stdout


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.fixture
def broker() -> Iterator[int]:
    """Run a real MQTT broker as a process of its own; its port."""
    port = _free_port()
    with subprocess.Popen(
        [sys.executable, "-c", BROKER, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        yield port
        # It ends with its standard input.


def test_counts_go_to_a_broker(broker: int) -> None:
    received: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
    subscribed = threading.Event()
    reader = mqtt.Client(CallbackAPIVersion.VERSION2)
    reader.on_message = lambda _client, _data, message: received.put(message)
    reader.on_subscribe = lambda *_: subscribed.set()
    reader.connect("127.0.0.1", broker)
    reader.loop_start()
    try:
        reader.subscribe("edgeleuk/counts", qos=1)
        assert subscribed.wait(30)
        done = run("mqtt_counts.py", "127.0.0.1", broker, CAMERA)
        assert done.returncode == 0, done.stderr
        arrived = [json.loads(received.get(timeout=30).payload) for _ in range(2)]
    finally:
        reader.disconnect()
        reader.loop_stop()
    assert done.stdout.splitlines() == [str(message) for message in arrived]
    assert [message["frame"] for message in arrived] == [0, 1]
    assert all(message["blast"] + message["normal"] + message["uncertain"] > 0 for message in arrived)


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
