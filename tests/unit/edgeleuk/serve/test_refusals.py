"""What is refused and what is bounded, by real clients against a real server."""

from __future__ import annotations

import contextlib
import http.client
import json
import resource
import socket
import ssl
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import httpx
import pytest
from served import noise, site
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from edgeleuk.errors import UsageError
from edgeleuk.serve import bounds
from edgeleuk.serve.access import MOST_BODY_BYTES, Access
from edgeleuk.serve.address import ServeOptions
from edgeleuk.serve.server import open_socket, tls_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from served import Site

# To make one for each request would take most of the time.
TLS = ssl.create_default_context()
TOKEN = "a-token-for-the-tests"
MANY = 10_000
ROUTES = (
    "/",
    "/page/style.css",
    "/page/live.js",
    "/api/state",
    "/stream.mjpg",
    "/docs",
    "/openapi.json",
    "/nowhere",
)


@pytest.fixture(scope="module")
def open_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """On a loopback address, without a token."""
    with site(tmp_path_factory.mktemp("open")) as found:
        yield found


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """As on a network, with a token."""
    with site(tmp_path_factory.mktemp("guarded"), Access(TOKEN, any_address=True)) as found:
        yield found


def status(found: Site, path: str, **options: object) -> int:
    with httpx.stream("GET", found.base + path, verify=TLS, **options) as answer:
        return answer.status_code


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("token", [None, "another", TOKEN[:-1], TOKEN + "x", "ä"])
def test_nothing_is_told_without_the_token(guarded: Site, path: str, token: str | None) -> None:
    headers = {} if token is None else {b"Authorization": f"Bearer {token}".encode()}
    assert status(guarded, path, headers=headers) == 401
    cookies = {} if token is None else {b"Cookie": f"edgeleuk-{guarded.served.port}={token}".encode()}
    assert status(guarded, path, headers=cookies) == 401
    assert status(guarded, path, params={} if token is None else {"token": token}) == 401


def test_no_websocket_without_the_token(guarded: Site) -> None:
    for headers in ({}, {"Authorization": "Bearer another"}):
        with (
            pytest.raises(InvalidStatus) as refused,
            connect(f"{guarded.socket}/api/live", additional_headers=headers),
        ):
            pass
        assert refused.value.response.status_code == 403
    with connect(
        f"{guarded.socket}/api/live", additional_headers={"Authorization": f"Bearer {TOKEN}"}
    ) as live:
        assert json.loads(live.recv(10))["camera"] == "virtual://"


def test_the_token_of_the_address_becomes_a_strict_cookie(guarded: Site) -> None:
    with httpx.Client(base_url=guarded.base) as browser:
        first = browser.get("/review", params={"token": TOKEN, "cell": "3"})
        assert first.status_code == 200
        assert 'content="0;url=/review?cell=3"' in first.text
        assert TOKEN not in first.text
        cookie = first.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert browser.get("/").status_code == 200
        assert browser.get("/api/state").status_code in (200, 503)


def test_the_token_leads_to_no_other_server(guarded: Site) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", guarded.served.port, timeout=10)
    connection.putrequest("GET", f"//elsewhere.example/x?token={TOKEN}")
    connection.endheaders()
    text = connection.getresponse().read().decode()
    connection.close()
    assert "url=//" not in text
    assert "url=/elsewhere.example/x" in text


@pytest.mark.parametrize(
    ("host", "welcome"),
    [
        ("127.0.0.1", True),
        ("localhost:9", True),
        ("[::1]:8000", True),
        ("rebound.example", False),
        ("rebound.example:8000", False),
        ("127.0.0.1.rebound.example", False),
        ("192.168.1.7", False),
        ("localhost@rebound.example", False),
        ("", False),
        ("[::1", False),
    ],
)
def test_a_rebound_name_is_refused(open_site: Site, host: str, welcome: bool) -> None:
    assert status(open_site, "/", headers={"Host": host}) == (200 if welcome else 421)


def test_two_hosts_are_refused(open_site: Site) -> None:
    with socket.create_connection(("127.0.0.1", open_site.served.port), 10) as wire:
        wire.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: rebound.example\r\n\r\n")
        assert wire.recv(100).split()[1] in (b"400", b"421")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_another_sites_form_is_refused(open_site: Site, headers: dict[str, str]) -> None:
    before = list(open_site.run.noted)
    path = open_site.base + "/api/commands/note"
    assert httpx.post(path, json={"text": "x"}, headers=headers).status_code == 403
    assert open_site.run.noted == before


def test_a_form_is_refused_even_from_nowhere(open_site: Site) -> None:
    path = open_site.base + "/api/commands/stop"
    for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", None):
        headers = {} if kind is None else {"Content-Type": kind}
        assert httpx.post(path, content=b"{}", headers=headers).status_code == 415
    assert not open_site.run.stop.is_set()


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", "http://localhost:1"])
def test_another_sites_websocket_is_refused(open_site: Site, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(f"{open_site.socket}/api/live", origin=origin):
        pass
    assert refused.value.response.status_code == 403


def test_the_pages_own_requests_pass(open_site: Site) -> None:
    own = {"Origin": open_site.base, "Sec-Fetch-Site": "same-origin"}
    answer = httpx.post(f"{open_site.base}/api/commands/note", json={"text": "seen"}, headers=own)
    assert answer.json() == {"done": True}
    assert ("note", "seen") in open_site.run.noted
    with connect(f"{open_site.socket}/api/live", origin=open_site.base) as live:
        assert json.loads(live.recv(10))["phase"] in ("waiting", "running")


def test_a_picture_is_shown_in_no_other_page(open_site: Site) -> None:
    embedded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert status(open_site, "/stream.mjpg", headers=embedded) == 403
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert status(open_site, "/", headers=followed) == 200


@pytest.mark.parametrize(
    "path",
    [
        "/page/../app.py",
        "/page/..%2fapp.py",
        "/page/%2e%2e/%2e%2e/errors.py",
        "/page//etc/passwd",
        "/page/%2fetc%2fpasswd",
        "/page/..\\app.py",
        "/page/style.css%00.html",
        "/../../etc/passwd",
    ],
)
def test_no_path_leads_out_of_the_page(open_site: Site, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", open_site.served.port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 404
    assert b"import" not in answer.read()
    connection.close()


def test_every_answer_carries_the_safety_headers(open_site: Site) -> None:
    for path in ("/", "/page/style.css", "/nowhere", "/docs"):
        headers = httpx.get(open_site.base + path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def _answer_to(port: int, head: bytes, chunk: bytes, most: int) -> tuple[bytes, int]:
    """Send a request without end; return the answer, and how many bytes were taken until the end."""
    sent = 0
    with socket.create_connection(("127.0.0.1", port), 10) as wire:
        wire.sendall(head)
        with contextlib.suppress(OSError):
            while sent < most:
                wire.sendall(chunk)
                sent += len(chunk)
        answer = b""
        with contextlib.suppress(OSError):
            answer = wire.recv(4096)
    return answer, sent


def test_a_body_without_end_is_not_read(open_site: Site) -> None:
    start = (
        f"POST /api/commands/note HTTP/1.1\r\nHost: localhost:{open_site.served.port}\r\n"
        "Content-Type: application/json\r\n"
    ).encode()
    gigabyte = 1_000_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    part = b"x" * 65_536
    for kind, chunk in (
        (b"Content-Length: 1000000000\r\n\r\n", part),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + part + b"\r\n"),
    ):
        answer, sent = _answer_to(open_site.served.port, start + kind, chunk, gigabyte)
        assert not answer or answer.split()[1] == b"413"
        assert sent < 50_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB
    large = httpx.post(f"{open_site.base}/api/commands/note", json={"text": "x" * (MOST_BODY_BYTES + 1)})
    assert large.status_code == 413
    assert "at most 16384 bytes" in large.json()["detail"]


def test_a_question_with_a_body_is_refused(open_site: Site) -> None:
    assert httpx.request("GET", f"{open_site.base}/api/state", content=b"x").status_code == 400


def test_a_body_that_does_not_come_is_given_up(open_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeleuk.serve.access.BODY_WITHIN_S", 0.2)
    with socket.create_connection(("127.0.0.1", open_site.served.port), 10) as wire:
        wire.sendall(
            b"POST /api/commands/stop HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{"
        )
        assert wire.recv(100).split()[1] == b"408"


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process hold both ends of so many connections."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = MANY + 1000
    if before[1] != resource.RLIM_INFINITY and before[1] < needed:
        pytest.skip(f"a process may open {before[1]} files here, and this needs {needed}: see `ulimit -Hn`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], needed), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def still_open(wires: list[socket.socket]) -> int:
    """Count the connections that the server has not ended."""
    found = 0
    for wire in wires:
        wire.settimeout(0.001)
        try:
            found += wire.recv(1) != b""
        except TimeoutError:
            found += 1
        except OSError:
            continue
    return found


@pytest.mark.usefixtures("many_files")
def test_ten_thousand_silent_connections_keep_nobody_out(open_site: Site) -> None:
    """Half of them say nothing, half begin a request and never end it."""
    wires = []
    try:
        for number in range(MANY):
            wire = socket.create_connection(("127.0.0.1", open_site.served.port), 10)
            if number % 2:
                wire.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
            wires.append(wire)
            if number % 1000 == 999:
                assert httpx.get(open_site.base + "/", timeout=60).status_code == 200
        assert still_open(wires) <= bounds.MOST_CONNECTIONS
    finally:
        for wire in wires:
            wire.close()


def test_headers_that_do_not_end_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "HEADERS_WITHIN_S", 0.3)
    with site(tmp_path) as found, socket.create_connection(("127.0.0.1", found.served.port), 10) as wire:
        wire.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        # One byte now and then does not help.
        with pytest.raises(OSError):  # noqa: PT012 - which of them is told that it is over
            for _ in range(200):
                wire.sendall(b"X")
                time.sleep(0.02)
                wire.settimeout(0.001)
                with contextlib.suppress(TimeoutError):
                    if wire.recv(1) == b"":
                        raise ConnectionResetError


def test_headers_without_end_are_refused(open_site: Site) -> None:
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: "
    answer, sent = _answer_to(open_site.served.port, head, b"x" * 65_536, 1_000_000_000)
    assert sent < 50_000_000
    assert not answer or answer.split()[1] in (b"400", b"431")


def test_a_viewer_that_reads_nothing_holds_up_nobody(open_site: Site) -> None:
    """The run goes on, another viewer sees the newest field, and memory does not grow."""
    run, port = open_site.run, open_site.served.port
    ends = threading.Event()

    def feed() -> None:
        seed = 0
        while not ends.wait(0.02):
            seed += 1
            run.field(noise(seed, 480, 640))

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as slow:
            slow.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
            seen, pictures = 0, 0
            with httpx.stream("GET", f"{open_site.base}/stream.mjpg", timeout=20) as answer:
                for part in answer.iter_bytes():
                    seen += len(part)
                    pictures += part.count(b"Content-Type: image/jpeg")
                    if pictures >= 10:
                        break
            assert pictures >= 10
            made = run.state.pictures.now().number
            assert slow.recv(15) == b"HTTP/1.1 200 OK"
    finally:
        ends.set()
        feeder.join()
    assert made >= 10


def test_a_listener_that_reads_nothing_holds_up_nobody(open_site: Site) -> None:
    asked = (
        "GET /api/live HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", open_site.served.port), 10) as slow:
        slow.sendall(asked.encode())
        assert slow.recv(12) == b"HTTP/1.1 101"
        with connect(f"{open_site.socket}/api/live") as live:
            for _ in range(3):
                assert json.loads(live.recv(10))["schema_version"] == 1


def test_messages_of_a_page_are_bounded(open_site: Site) -> None:
    with connect(f"{open_site.socket}/api/live") as live:
        with contextlib.suppress(ConnectionClosed):
            live.send("x" * 1_000_000)
        with pytest.raises(ConnectionClosed):  # noqa: PT012 - the state comes in between
            for _ in range(10):
                live.recv(10)


def test_a_port_in_use_is_one_sentence() -> None:
    with open_socket(ServeOptions()) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            UsageError, match=f"the page cannot be served on 127.0.0.1:{port}: got Address already"
        ):
            open_socket(ServeOptions(port=port))
    with pytest.raises(UsageError, match=r"cannot be served on no-such-host\.invalid"):
        open_socket(ServeOptions("no-such-host.invalid"))


def certificate(folder: Path) -> tuple[Path, Path]:
    made, key = folder / "cert.pem", folder / "key.pem"
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    words += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(made)]
    subprocess.run(words, check=True, capture_output=True)
    return made, key


def test_tls(tmp_path: Path) -> None:
    made, key = certificate(tmp_path)
    options = ServeOptions(certificate=made, key=key)
    with site(tmp_path, Access(TOKEN, any_address=True, secure=True), options) as found:
        trusting = ssl.create_default_context(cafile=made)
        answer = httpx.get(found.base, params={"token": TOKEN}, verify=trusting)
        assert answer.status_code == 200
        assert "Secure" in answer.headers["set-cookie"]
        with pytest.raises(httpx.ConnectError):
            httpx.get(found.base)


@pytest.mark.usefixtures("many_files")
def test_ten_thousand_that_never_agree_on_keys_keep_nobody_out(tmp_path: Path) -> None:
    made, key = certificate(tmp_path)
    trusting = ssl.create_default_context(cafile=made)
    with site(tmp_path, options=ServeOptions(certificate=made, key=key)) as found:
        wires = [socket.create_connection(("127.0.0.1", found.served.port), 10) for _ in range(MANY)]
        try:
            assert httpx.get(found.base + "/", verify=trusting, timeout=60).status_code == 200
            assert still_open(wires) <= bounds.MOST_BEGUN
        finally:
            for wire in wires:
                wire.close()


def test_files_that_are_no_certificate(tmp_path: Path) -> None:
    made, key = certificate(tmp_path)
    (tmp_path / "text.pem").write_text("no certificate")
    cases = (
        ServeOptions(certificate=tmp_path / "missing.pem"),
        ServeOptions(certificate=tmp_path / "text.pem", key=key),
        ServeOptions(certificate=made),
        ServeOptions(certificate=made, key=made),
    )
    for options in cases:
        with pytest.raises(UsageError, match="the certificate and its key cannot be used: got"):
            tls_files(options)
