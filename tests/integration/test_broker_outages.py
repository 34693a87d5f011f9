"""Brokers that are killed, and networks that are cut: each message stands once in the consumer's count."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from brokers import (
    HOST,
    PASSWORD,
    USER,
    Authority,
    Mosquitto,
    closing_consumer,
    needs_mosquitto,
    needs_openssl,
    wait_until,
)
from sessions import record, summary
from wires import Wire

from edgeleuk.commands.publish import publish_session
from edgeleuk.fleet import sender as sending
from edgeleuk.fleet.address import Broker
from edgeleuk.fleet.publisher import RunPublisher
from edgeleuk.session import create_session, read_session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from brokers import Consumer

pytestmark = [needs_mosquitto, needs_openssl]
PREFIX = "lab/stand3"
KILLS, CUTS = 20, 10
BETWEEN, MEANWHILE = 12, 6


@pytest.fixture
def mosquitto(tmp_path: Path) -> Mosquitto:
    authority = Authority(tmp_path)
    folder = tmp_path / "broker"
    folder.mkdir()
    return Mosquitto(folder, tls=(authority.file, *authority.sign("broker")))


def stand(mosquitto: Mosquitto, port: int) -> Broker:
    ca = mosquitto.folder.parent / "ca.pem"
    return Broker(HOST, port, PREFIX, True, USER, PASSWORD, ca)


def night(
    path: Path, broker: Broker, outages: int, break_: Callable[[], object], mend: Callable[[], object]
) -> int:
    """Record a session through so many outages; return how many frames it has."""
    frames = 0
    with (
        create_session(path, {"camera": "test://"}) as session,
        RunPublisher(path, broker, session.note, simulated=False) as publisher,
    ):

        def go_on(steps: int) -> None:
            nonlocal frames
            for _ in range(steps):
                record(session, frames)
                session.record_event("test", f"event {frames}")
                frames += 1
                so_far = replace(summary(path), processed=frames, ended="")
                publisher.tick(lambda so_far=so_far: so_far)

        for _ in range(outages):
            wait_until(lambda: publisher._sender.connection is not None, "a connection")
            # It is broken while messages are on their way.
            go_on(BETWEEN)
            break_()
            go_on(MEANWHILE)
            mend()
        wait_until(lambda: publisher._sender.connection is not None, "a connection")
        session.finish(summary(path))
    return frames


def require_each_once(path: Path, frames: int, broker: Broker, consumer: Consumer) -> None:
    """Hold what the consumer counted against the session."""
    left = publish_session(path, broker)
    with read_session(path) as reader:
        assert reader.verify().broken is None
        recorded = [(row["id"], row["kind"], row["text"]) for row in reader.rows("events")]
    wait_until(lambda: len(consumer.said("events")) >= len(recorded), "all events")
    wait_until(lambda: [one for one in consumer.said("summary") if one["phase"] == "ended"], "the summary")
    wait_until(lambda: sum(one["processed"] for one in consumer.said("quality")) >= frames, "all frames")
    events = sorted((one["number"], one["kind"], one["text"]) for one in consumer.said("events"))
    assert events == recorded
    windows = sorted(consumer.said("quality"), key=lambda one: one["first_frame"])
    assert [n for one in windows for n in range(one["first_frame"], one["last_frame"] + 1)] == list(
        range(frames)
    )
    assert sum(one["new_cells"] for one in windows) == frames
    assert len([one for one in consumer.said("summary") if one["phase"] == "ended"]) == 1
    twice = sum(n - 1 for n in consumer.arrived.values())
    print(f"{len(events)} events, {len(windows)} minutes; {twice} messages came once more; left {left}")


@pytest.mark.timeout(300)
def test_a_broker_that_is_killed(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_FIRST_WAIT_S", 0.05)
    broker = stand(mosquitto, mosquitto.port)
    with mosquitto, closing_consumer(mosquitto.port, PREFIX, tls=broker.authority) as consumer:
        frames = night(tmp_path / "night.db", broker, KILLS, mosquitto.kill, mosquitto.start)
        assert frames == KILLS * (BETWEEN + MEANWHILE)
        require_each_once(tmp_path / "night.db", frames, broker, consumer)


@pytest.mark.timeout(300)
def test_a_network_that_is_cut(tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_FIRST_WAIT_S", 0.05)
    direct = stand(mosquitto, mosquitto.port)
    with mosquitto, closing_consumer(mosquitto.port, PREFIX, tls=direct.authority) as consumer:
        wire = Wire(mosquitto.port)

        def cut() -> None:
            # On a busy machine it takes a while to come back.
            while not wire.carries:
                time.sleep(0.01)
            wire.cut()

        def mend() -> None:
            wire.mend()

        broker = stand(mosquitto, wire.port)
        frames = night(tmp_path / "night.db", broker, CUTS, cut, mend)
        assert wire.cuts >= CUTS
        require_each_once(tmp_path / "night.db", frames, broker, consumer)
        wire.close()
