"""Brokers for tests: Debian's mosquitto as a child process, with TLS and passwords."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edgeleuk.fleet.address import Broker, trust_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

USER, PASSWORD = "stand", "s3cret of the stand"
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="Debian's mosquitto is not installed")
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
HOST = "127.0.0.1"


def free_port() -> int:
    with socket.create_server((HOST, 0)) as found:
        return int(found.getsockname()[1])


def wait_until(true: Callable[[], object], what: str, tries: int = 1500) -> None:
    """Wait for something that has to come, half a minute at most."""
    waiting = threading.Event()
    for _ in range(tries):
        if true():
            return
        waiting.wait(0.02)
    pytest.fail(f"it never came: {what}")


class Authority:
    """An authority of one's own, and the certificates that it signed."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self.file = folder / f"{name}.pem"
        self._key = folder / f"{name}.key"
        self._openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", self._key, "-out", self.file, "-days", "2", "-subj", f"/CN={name}"),
        )

    def sign(self, name: str, alternatives: str = "IP:127.0.0.1,DNS:localhost") -> tuple[Path, Path]:
        """Return a certificate and its key."""
        certificate, key, request, extra = (
            self._folder / f"{name}{end}" for end in (".pem", ".key", ".csr", ".ext")
        )
        extra.write_text(f"subjectAltName={alternatives}\n")
        self._openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", key, "-out", request, "-subj", f"/CN={name}"),
        )
        self._openssl(
            *("x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self._key, "-CAcreateserial"),
            *("-out", certificate, "-days", "2", "-extfile", extra),
        )
        return certificate, key

    def _openssl(self, *words: object) -> None:
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


class Mosquitto:
    """A broker that keeps what it took, and that may be killed and come back on the same port."""

    def __init__(
        self,
        folder: Path,
        *,
        tls: tuple[Path, Path, Path] | None = None,
        password: bool = True,
        asks_for_certificates: bool = False,
    ) -> None:
        assert MOSQUITTO is not None
        self.port = free_port()
        self.folder = folder
        self._program: subprocess.Popen[bytes] | None = None
        lines = [
            f"listener {self.port} {HOST}",
            # Each change is on the disk before the next: a kill takes no message that was acknowledged.
            *("persistence true", f"persistence_location {folder}/"),
            *("autosave_on_changes true", "autosave_interval 1", "max_queued_messages 0"),
        ]
        if password:
            (folder / "passwords").touch(0o600)
            subprocess.run(
                ["mosquitto_passwd", "-b", folder / "passwords", USER, PASSWORD],
                check=True,
                capture_output=True,
            )
            lines += ["allow_anonymous false", f"password_file {folder / 'passwords'}"]
        else:
            lines.append("allow_anonymous true")
        if tls is not None:
            authority, certificate, key = tls
            lines += [f"cafile {authority}", f"certfile {certificate}", f"keyfile {key}"]
            lines += [f"require_certificate {str(asks_for_certificates).lower()}"]
        # Else it would leave root for a user who may not write here.
        lines.append("user root")
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        assert MOSQUITTO is not None
        self._program = subprocess.Popen(
            [MOSQUITTO, "-c", self.folder / "mosquitto.conf"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: _listens(self.port), "the broker listens")

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._program is not None
        self._program.kill()
        self._program.wait()

    def __enter__(self) -> Mosquitto:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Consumer:
    """A program that counts a stand's messages, each once by its key, over every outage of the broker."""

    def __init__(self, port: int, prefix: str, *, tls: Path | None = None, user: bool = True) -> None:
        self.arrived: Counter[str] = Counter()
        self.of_key: dict[str, dict[str, Any]] = {}
        self.newest: dict[str, bytes] = {}
        self.retained: set[str] = set()
        self._lock = threading.Lock()
        # The broker keeps for it what another test's stand says after the end of that test.
        client = mqtt.Client(CallbackAPIVersion.VERSION2, f"consumer of {prefix}", clean_session=False)
        if user:
            client.username_pw_set(USER, PASSWORD)
        if tls is not None:
            client.tls_set_context(trust_of(Broker(HOST, port, prefix, secure=True, authority=tls)))
        client.reconnect_delay_set(1, 1)
        self.subscribed = threading.Event()
        self._topics = [(f"{prefix}/#", 1), ("homeassistant/#", 1)]
        client.on_connect = self._connected
        client.on_subscribe = lambda *_: self.subscribed.set()
        client.on_message = self._take
        self.client = client
        client.connect(HOST, port, 5)
        client.loop_start()
        assert self.subscribed.wait(10)

    def _connected(self, client: mqtt.Client, *_: object) -> None:
        client.subscribe(self._topics)

    def _take(self, client: object, userdata: object, message: mqtt.MQTTMessage) -> None:
        with self._lock:
            self.newest[message.topic] = bytes(message.payload)
            if message.retain:
                self.retained.add(message.topic)
            if message.topic.rpartition("/")[2] in ("events", "quality", "summary"):
                said = json.loads(message.payload)
                self.arrived[said["key"]] += 1
                # This is all that a consumer has to do.
                self.of_key.setdefault(said["key"], {"topic": message.topic.rpartition("/")[2], **said})

    def said(self, topic: str) -> list[dict[str, Any]]:
        with self._lock:
            return [one for one in self.of_key.values() if one["topic"] == topic]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), 1).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def closing_consumer(*words: Any, **facts: Any) -> Iterator[Consumer]:
    consumer = Consumer(*words, **facts)
    try:
        yield consumer
    finally:
        consumer.close()
