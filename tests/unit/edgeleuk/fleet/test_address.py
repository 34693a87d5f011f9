"""Where messages go: addresses that are read, and those that are refused in a sentence without a password."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from brokers import Authority, needs_openssl

from edgeleuk.commands.config import explained_settings, explained_text
from edgeleuk.errors import MissingDependencyError, UsageError
from edgeleuk.fleet import address
from edgeleuk.fleet.address import PASSWORD, broker_of_settings
from edgeleuk.io.settings import Settings, load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from edgeleuk.fleet.address import Broker

SECRET = "hunter2 of the stand"


def broker_of(text: str, environ: dict[str, str] | None = None, **settings: object) -> Broker:
    found = broker_of_settings(Settings(mqtt=text, **settings), environ or {})
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "host", "port", "user", "prefix", "secure"),
    [
        ("mqtt://broker.lab/lab/stand3", "broker.lab", 1883, None, "lab/stand3", False),
        ("mqtts://a@10.0.0.5:8884/s", "10.0.0.5", 8884, "a", "s", True),
        ("mqtts://b%40c@[::1]/x/y/", "::1", 8883, "b@c", "x/y", True),
        ("mqtt://h/stand%203", "h", 1883, None, "stand 3", False),
    ],
)
def test_addresses(text: str, host: str, port: int, user: str | None, prefix: str, secure: bool) -> None:
    found = broker_of(text)
    assert (found.host, found.port, found.user, found.prefix, found.secure) == (
        *(host, port, user, prefix, secure),
    )


def test_without_a_prefix_the_machine_gives_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "pi 5.lab")
    assert broker_of("mqtt://h").prefix == "edgeleuk/pi-5"


def test_without_a_broker_there_is_none() -> None:
    assert broker_of_settings(Settings(), {PASSWORD: SECRET}) is None


@pytest.mark.parametrize(
    ("text", "settings", "sentence"),
    [
        ("broker.lab", {}, "the broker's address cannot be read: got broker.lab, allowed mqtt://USER@HOST"),
        ("http://h/x", {}, "the broker's address cannot be read"),
        ("mqtt:///x", {}, "the broker's address cannot be read"),
        ("mqtt://h:0/x", {}, "the broker's address cannot be read"),
        ("mqtt://h:port/x", {}, "the broker's address cannot be read"),
        ("mqtt://h/x?y=1", {}, "the broker's address cannot be read"),
        (f"mqtt://u:{SECRET[:7]}@h/x", {}, "a password must not stand in the broker's address"),
        ("mqtt://h/%23", {}, "the topics' prefix cannot be used: got '#'"),
        ("mqtt://h/a/+/b", {}, "the topics' prefix cannot be used"),
        ("mqtt://h/$SYS", {}, "the topics' prefix cannot be used"),
        ("mqtt://h/" + "x" * 201, {}, "the topics' prefix cannot be used"),
        ("mqtt://h/x", {"mqtt_ca": __file__}, "mqtt_ca: certificates are of use with TLS alone"),
        ("mqtts://h/x", {"mqtt_ca": "/no/such"}, "mqtt_ca cannot be read: /no/such"),
        ("mqtts://h/x", {"mqtt_key": __file__}, "a key without its certificate is of no use"),
        ("mqtts://h/x", {"mqtt_ca": __file__}, "what mqtt_ca names cannot be used"),
        ("mqtts://h/x", {"mqtt_cert": __file__}, "what mqtt_cert names cannot be used"),
        ("mqtt://h/x", {"mqtt_discovery": "a/#"}, "mqtt_discovery is no topic"),
        ("mqtt://u@h/x", {"mqtt_password_file": "/no/such"}, "the broker's password cannot be read from"),
    ],
)
def test_what_is_refused(text: str, settings: dict[str, str], sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        broker_of(text, **settings)
    assert str(refused.value).startswith(sentence)
    assert "\n" not in str(refused.value)
    assert SECRET[:7] not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\n", b"x" * 70_000])
def test_files_that_hold_no_password(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    with pytest.raises(UsageError, match="holds no password for the broker"):
        broker_of("mqtt://u@h/x", mqtt_password_file=str(file))


def test_a_password_comes_from_its_file_or_the_environment_and_is_shown_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\nno more\n")
    of_file = broker_of("mqtt://u@h/x", {PASSWORD: "another"}, mqtt_password_file=str(file))
    of_environ = broker_of("mqtt://u@h/x", {PASSWORD: SECRET})
    assert of_file.password == of_environ.password == SECRET
    assert SECRET not in f"{of_file!r} {of_file.name} {of_file.target}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(PASSWORD, SECRET)
    assert SECRET not in explained_text(explained_settings({"mqtt": "mqtt://u@h/x"}))
    # Nor do the settings of a run have it, which a session records.
    settings = load_settings(Settings, flags={"mqtt": "mqtt://u@h/x"})
    assert "mqtt" not in msgspec.to_builtins(settings.of_run())


def test_a_password_needs_a_user() -> None:
    with pytest.raises(UsageError, match="there is a password for the broker, and no user"):
        broker_of("mqtt://h/x", {PASSWORD: SECRET})


def test_a_password_is_no_setting_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "edgeleuk.toml"
    file.write_text(f'mqtt_password = "{SECRET}"\n')
    with pytest.raises(UsageError, match="unknown key") as refused:
        load_settings(Settings, file=file, environ={})
    assert SECRET not in str(refused.value)


def test_without_the_extra_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgeleuk\[mqtt\]'"):
        broker_of("mqtt://h/x")


@needs_openssl
def test_certificates_that_belong_together(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.sign("stand")
    files = {"mqtt_ca": str(authority.file), "mqtt_cert": str(certificate), "mqtt_key": str(key)}
    assert broker_of("mqtts://h/x", **files).key == key
    _, other = authority.sign("other")
    with pytest.raises(UsageError, match="what mqtt_cert names cannot be used"):
        broker_of("mqtts://h/x", **files | {"mqtt_key": str(other)})
