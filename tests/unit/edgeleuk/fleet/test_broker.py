"""A run and a real broker: what is said, what is kept, and each way in which a broker refuses."""

from __future__ import annotations

import json
import re
import socket
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from brokers import (
    HOST,
    PASSWORD,
    USER,
    Authority,
    Mosquitto,
    closing_consumer,
    free_port,
    needs_mosquitto,
    needs_openssl,
    wait_until,
)
from sessions import record, summary
from wires import Wire

from edgeleuk.commands.publish import publish_session
from edgeleuk.errors import BrokerError, UsageError
from edgeleuk.fleet import publisher as publishing
from edgeleuk.fleet.address import Broker
from edgeleuk.fleet.connection import Connection
from edgeleuk.fleet.home_assistant import discovery
from edgeleuk.fleet.messages import EventMessage, HeartbeatMessage, QualityMessage, SummaryMessage
from edgeleuk.fleet.publisher import RunPublisher
from edgeleuk.io.clock import now
from edgeleuk.session import create_session, read_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from brokers import Consumer
    from outcome import Call

    from edgeleuk.session import SessionWriter

pytestmark = [needs_mosquitto, needs_openssl]
PREFIX = "lab/stand3"
SETTINGS = {"camera": "test://", "bundle": "default", "bundle_sha256": "ab" * 32}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def mosquitto(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """A broker that wants TLS and a password."""
    folder = tmp_path_factory.mktemp("mosquitto")
    with Mosquitto(folder, tls=(authority.file, *authority.sign("broker"))) as broker:
        yield broker


@pytest.fixture
def broker(mosquitto: Mosquitto, authority: Authority, request: pytest.FixtureRequest) -> Broker:
    """As a stand enters it; each test has a prefix of its own."""
    prefix = f"lab/{re.sub(r'[^a-z0-9]', '-', request.node.name)}"
    return Broker(HOST, mosquitto.port, prefix, True, USER, PASSWORD, authority.file)


@contextmanager
def consumed(broker: Broker) -> Iterator[Consumer]:
    with closing_consumer(broker.port, broker.prefix, tls=broker.authority) as consumer:
        yield consumer


@contextmanager
def running(folder: Path, broker: Broker) -> Iterator[tuple[SessionWriter, RunPublisher]]:
    """Record a session whose run is published; it is summed up in the end."""
    path = folder / "night.db"
    with (
        create_session(path, SETTINGS) as session,
        RunPublisher(path, broker, session.note, simulated=False) as publisher,
    ):
        yield session, publisher
        session.finish(summary(path))


def ticking(session: SessionWriter, publisher: RunPublisher) -> None:
    publisher.tick(lambda: replace(summary(session.path), ended=""))


def test_what_a_run_says(tmp_path: Path, broker: Broker) -> None:
    with consumed(broker) as consumer:
        with running(tmp_path, broker) as (session, publisher):
            record(session, 0, captured_at=now())
            session.record_event("lost", "the camera is gone")
            session.record_event("note", "Jane Doe")
            ticking(session, publisher)
            wait_until(lambda: len(consumer.said("events")) == 2, "both events")
            wait_until(lambda: broker.topic("heartbeat") in consumer.newest, "a heartbeat")
            wait_until(lambda: consumer.said("summary"), "a summary")
            assert consumer.newest[broker.topic("status")] == b"online"
            heartbeat = msgspec.json.decode(consumer.newest[broker.topic("heartbeat")], type=HeartbeatMessage)
            assert heartbeat.disk_free_bytes > 0
            assert consumer.said("summary")[-1]["phase"] == "running"
        wait_until(lambda: consumer.newest[broker.topic("status")] == b"offline", "the end")
        wait_until(lambda: consumer.said("quality"), "the last minute")
        (quality,) = consumer.said("quality")
        assert (quality["processed"], quality["rejected"]) == (1, 0)
        kinds = {"events": EventMessage, "quality": QualityMessage, "summary": SummaryMessage}
        for name, kind in kinds.items():
            for one in consumer.said(name):
                facts = {key: value for key, value in one.items() if key != "topic"}
                assert msgspec.to_builtins(msgspec.convert(facts, kind)) == facts
        assert [event["text"] for event in consumer.said("events")] == ["the camera is gone", None]
        assert consumer.said("summary")[-1]["phase"] == "ended"
        assert set(consumer.arrived.values()) == {1}
    # Who comes later finds what the broker keeps.
    with consumed(broker) as later:
        wait_until(lambda: broker.topic("summary") in later.retained, "what is kept")
        assert json.loads(later.newest[broker.topic("summary")])["phase"] == "ended"
        assert later.newest[broker.topic("status")] == b"offline"
        assert broker.topic("events") not in later.newest


def test_the_will_is_told_when_the_stand_is_cut_off(tmp_path: Path, broker: Broker) -> None:
    wire = Wire(broker.port)
    behind = replace(broker, port=wire.port)
    with consumed(broker) as consumer, running(tmp_path, behind) as (session, publisher):
        record(session, 0)
        wait_until(lambda: consumer.newest.get(broker.topic("status")) == b"online", "the stand")
        wire.cut()
        wait_until(lambda: consumer.newest[broker.topic("status")] == b"offline", "its will")
        session.record_event("test", "meanwhile")
        wire.mend()
        wait_until(lambda: consumer.newest[broker.topic("status")] == b"online", "the stand again")
        wait_until(lambda: len(consumer.said("events")) >= 1, "what happened meanwhile")
        ticking(session, publisher)
    with read_session(tmp_path / "night.db") as reader:
        told = [str(row["text"]) for row in reader.rows("events") if row["kind"] == publishing.BROKER]
        assert reader.verify().broken is None
    assert told[0] == f"the connection to {behind.name} is lost"
    assert told[1] == f"{behind.name} is there again"
    wire.close()


def test_home_assistant_is_told_again_when_it_comes_up(tmp_path: Path, broker: Broker) -> None:
    wanted = discovery(broker, simulated=False)
    with consumed(broker) as consumer, running(tmp_path, broker) as (session, publisher):
        record(session, 0)
        ticking(session, publisher)
        wait_until(lambda: consumer.newest.keys() >= wanted.keys(), "discovery")
        wait_until(lambda: consumer.said("summary"), "a summary")
        assert {topic: consumer.newest[topic] for topic in wanted} == wanted
        consumer.newest.clear()
        consumer.client.publish("homeassistant/status", "offline", qos=1)
        consumer.client.publish("homeassistant/status", "online", qos=1)
        wait_until(lambda: consumer.newest.keys() >= wanted.keys(), "discovery again")
        for name in ("status", "heartbeat", "summary"):
            wait_until(lambda name=name: broker.topic(name) in consumer.newest, name)


def paths_of(template: str) -> list[list[str]]:
    return [found.split(".") for found in re.findall(r"value_json\.([\w.]+)", template)]


def test_what_home_assistant_reads_is_there(tmp_path: Path, broker: Broker) -> None:
    with consumed(broker) as consumer:
        with running(tmp_path, broker) as (session, publisher):
            record(session, 0)
            session.record_event("test", "x")
            ticking(session, publisher)
            wait_until(lambda: broker.topic("heartbeat") in consumer.newest, "a heartbeat")
        wait_until(lambda: consumer.said("summary"), "a summary")
        wait_until(lambda: broker.topic("events") in consumer.newest, "an event")
        names = set()
        for topic, payload in discovery(broker, simulated=True).items():
            entity = json.loads(payload)
            assert re.fullmatch(r"homeassistant/(sensor|binary_sensor)/[\w-]+/\w+/config", topic)
            names.add(entity["unique_id"])
            assert entity["device"]["name"].endswith(" SIMULATED")
            read = entity["state_topic"].replace("~", entity["~"])
            assert read in consumer.newest
            for key in ("value_template", "json_attributes_template"):
                for path in paths_of(entity.get(key, "")):
                    value: Any = json.loads(consumer.newest[read])
                    for part in path:
                        value = value[part]
        assert len(names) == len(discovery(broker, simulated=True)) == 12
    assert discovery(replace(broker, discovery=""), simulated=False) == {}


def test_what_is_left_is_sent_after_the_run(
    tmp_path: Path, broker: Broker, edgeleuk: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "night.db"
    with create_session(path, SETTINGS) as session:
        for number in range(70):
            record(session, number)
        session.record_event("test", "x")
        recorded = publish_session(path, broker)
        assert (recorded.is_recorded, recorded.events, recorded.quality, recorded.summaries) == (
            True,
            1,
            1,
            0,
        )
        session.finish(summary(path))
    (tmp_path / "password").write_text(PASSWORD)
    (tmp_path / "edgeleuk.toml").write_text(
        f'mqtt = "mqtts://{USER}@{HOST}:{broker.port}/{broker.prefix}"\n'
        f'mqtt_password_file = "password"\nmqtt_ca = "{broker.authority}"\n'
    )
    with consumed(broker) as consumer:
        done = edgeleuk("publish", "night.db", "--json")
        assert done.code == 0
        told = json.loads(done.out)
        assert (told["events"], told["quality"], told["summaries"]) == (0, 1, 1)
        wait_until(lambda: consumer.said("summary"), "the summary")
        again = edgeleuk("publish", "night.db", "--again")
        assert "sent      1 events, 2 minutes of quality, 1 summaries" in again.out
        wait_until(lambda: len(consumer.said("quality")) == 2, "both minutes")
        assert sum(one["processed"] for one in consumer.said("quality")) == 70
    assert PASSWORD not in done.out + done.err + again.out + again.err
    monkeypatch.setenv("EDGELEUK_MQTT_PASSWORD", "wrong")
    (tmp_path / "edgeleuk.toml").write_text(f'mqtt_ca = "{broker.authority}"\n')
    monkeypatch.setattr("edgeleuk.commands.publish.PATIENCE_S", 0.0)
    refused = edgeleuk("publish", "night.db", "--mqtt", f"mqtts://{USER}@{HOST}:{broker.port}/x")
    assert refused.code == 6
    assert refused.err.startswith(f"error: {broker.name} refuses this stand as {USER}: got ")
    assert "wrong" not in refused.err


def test_without_a_broker_there_is_nothing_to_publish_to(edgeleuk: Call, tmp_path: Path) -> None:
    done = edgeleuk("publish", "night.db")
    assert done.code == 2
    assert "error: the broker is not given; pass --mqtt" in done.err


@contextmanager
def silent_server() -> Iterator[int]:
    """Take connections, and say nothing."""
    with socket.create_server((HOST, 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"password": "wrong"}, "refuses this stand as stand: got the broker does not let this user in;"),
        ({"user": "nobody"}, "refuses this stand as nobody"),
        ({"user": None, "password": None}, "refuses this stand without a user"),
        ({"authority": None}, "is not trusted: got self-signed certificate in certificate chain"),
        ({"host": "localhost"}, None),
        ({"host": "no-such-host.invalid"}, "there is no host no-such-host.invalid; check the broker's name"),
        ({"secure": False}, "does not answer as a broker"),
        ({"port": 1}, "cannot be reached: got Connection refused"),
    ],
)
def test_brokers_that_refuse(broker: Broker, changes: dict[str, Any], sentence: str | None) -> None:
    there = replace(broker, **changes)
    if sentence is None:
        Connection(there, "x").close()
        return
    with pytest.raises(BrokerError) as refused:
        Connection(there, "x")
    assert sentence in str(refused.value)
    assert PASSWORD not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_certificate_of_another_authority_or_another_host(
    authority: Authority, broker: Broker, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")
    with pytest.raises(BrokerError, match="is not trusted"):
        Connection(replace(broker, authority=other.file), "x")
    wrong = authority.sign("wrong", "DNS:elsewhere.lab")
    folder = tmp_path / "broker"
    folder.mkdir()
    with (
        Mosquitto(folder, tls=(authority.file, *wrong)) as elsewhere,
        pytest.raises(BrokerError, match="is not trusted: got IP address mismatch"),
    ):
        Connection(replace(broker, port=elsewhere.port), "x")


def test_a_broker_that_asks_who_comes(authority: Authority, broker: Broker, tmp_path: Path) -> None:
    tls = (authority.file, *authority.sign("asking"))
    with Mosquitto(tmp_path, tls=tls, asks_for_certificates=True) as asking:
        there = replace(broker, port=asking.port)
        with pytest.raises(BrokerError, match="client's certificate"):
            Connection(there, "x")
        certificate, key = authority.sign("stand")
        Connection(replace(there, certificate=certificate, key=key), "x").close()


def test_the_run_goes_on_without_a_broker(edgeleuk: Call, tmp_path: Path) -> None:
    address = f"mqtt://{HOST}:{free_port()}/lab/x"
    done = edgeleuk(
        *("run", "--camera", "virtual://?seed=301", "--frames", 2, "--session", "s.db"),
        *("--runtime", "litert", "--precision", "int8", "--mqtt", address),
    )
    assert done.code == 0
    assert "2 processed" in done.out
    warnings = [line for line in done.err.splitlines() if line.startswith("warning: ")]
    assert len([line for line in warnings if "cannot be reached: got Connection refused" in line]) == 1
    assert "the run goes on, and its messages wait" in warnings[0]
    assert "`edgeleuk publish s.db` sends them" in warnings[-1]


def test_a_fault_of_the_publisher_is_told_and_the_run_goes_on(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = threading.Event()

    def fail(*_: object, **__: object) -> bool:
        broken.set()
        msg = "what nobody thought of"
        raise RuntimeError(msg)

    monkeypatch.setattr(publishing, "_AFTER_AN_ERROR_S", 0.01)
    with consumed(broker) as consumer, running(tmp_path, broker) as (session, publisher):
        original = publisher._outbox.fill
        monkeypatch.setattr(publisher._outbox, "fill", fail)
        assert broken.wait(10)
        record(session, 0)
        session.record_event("test", "x")
        monkeypatch.setattr(publisher._outbox, "fill", original)
        wait_until(lambda: consumer.said("events"), "the event")
    assert "the broker is not told: RuntimeError: what nobody thought of" in caplog.text


def test_two_runs_of_one_session(tmp_path: Path, broker: Broker) -> None:
    with (
        running(tmp_path, broker) as (session, _),
        pytest.raises(UsageError, match="another process sends this session's messages"),
    ):
        publish_session(session.path, broker)


def test_a_run_that_goes_on_in_another_file(tmp_path: Path, broker: Broker) -> None:
    later = tmp_path / "later.db"
    with consumed(broker) as consumer:
        with (
            running(tmp_path, broker) as (session, publisher),
            create_session(later, SETTINGS) as after,
        ):
            record(session, 0)
            session.record_event("test", "before")
            ticking(session, publisher)
            record(after, 0, captured_at=now())
            after.record_event("test", "after")
            publisher._so_far_due_s = 0.0
            ticking(after, publisher)
            wait_until(lambda: len(consumer.said("events")) == 2, "both files' events")
        wait_until(lambda: len(consumer.said("quality")) == 2, "both files' frames")
        assert [event["text"] for event in consumer.said("events")] == ["before", "after"]
        assert len({event["session"] for event in consumer.said("events")}) == 2


def test_a_run_from_its_settings_to_the_consumer(tmp_path: Path, broker: Broker, edgeleuk: Call) -> None:
    (tmp_path / "password").write_text(PASSWORD)
    (tmp_path / "edgeleuk.toml").write_text(
        f'mqtt_password_file = "password"\nmqtt_ca = "{broker.authority}"\n'
    )
    with consumed(broker) as consumer:
        done = edgeleuk(
            *("run", "--camera", "virtual://?seed=301", "--frames", 3, "--session", "s.db", "--json"),
            *("--runtime", "litert", "--precision", "int8", "--serve", 0),
            *("--mqtt", f"mqtts://{USER}@{HOST}:{broker.port}/{broker.prefix}"),
        )
        assert done.code == 0
        printed = json.loads(done.out)
        wait_until(lambda: [one for one in consumer.said("summary") if one["phase"] == "ended"], "the end")
        wait_until(lambda: sum(one["processed"] for one in consumer.said("quality")) == 3, "all frames")
        (last,) = [one for one in consumer.said("summary") if one["phase"] == "ended"]
        wait_until(lambda: len(consumer.said("events")) == printed["events"], "all events")
    assert {name: last[name] for name in ("frames", "cells", "blast_share", "events")} == {
        name: printed[name] for name in ("frames", "cells", "blast_share", "events")
    }
    assert last["simulated"]
    assert last["bundle"] == "default"
    assert PASSWORD not in done.err + done.out
    assert PASSWORD.encode() not in (tmp_path / "s.db").read_bytes()
    assert "wait for" not in done.err
