"""The page's files: one catalogue for both languages, nothing from elsewhere, nothing in line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest
from served import site

from edgeleuk.cli.app import app as command_line
from edgeleuk.errors import UsageError
from edgeleuk.io.settings import Settings
from edgeleuk.results.kinds import LABELS
from edgeleuk.results.reasons import Check
from edgeleuk.serve.address import ServeOptions, page_of_settings, serve_address
from edgeleuk.serve.pages import page_files
from edgeleuk.serve.server import code_of
from edgeleuk.vision.quality import QualityFault

assert command_line
FILES = {name: content.decode() for name, content in page_files().items()}
WORDS = json.loads(FILES["words.json"])
PAGES = sorted(name for name in FILES if name.endswith(".html"))
SCRIPTS = sorted(name for name in FILES if name.endswith(".js"))


def test_every_word_has_both_languages() -> None:
    for key, said in WORDS.items():
        assert set(said) == {"en", "de"}, key
        assert all(text.strip() for text in said.values()), key
        # A word's places are filled in either language.
        assert set(re.findall(r"\{\w+\}", said["en"])) == set(re.findall(r"\{\w+\}", said["de"])), key


@pytest.mark.parametrize("name", PAGES)
def test_every_word_of_a_page_is_in_the_catalogue(name: str) -> None:
    used = re.findall(r'data-t(?:-label|-alt)?="([^"]+)"', FILES[name])
    assert used
    assert not set(used) - set(WORDS)
    # What stands there before the script runs is the catalogue's English.
    for key, text in re.findall(r'data-t="([^"]+)"[^>]*>([^<]*)<', FILES[name]):
        assert text == WORDS[key]["en"], key


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_word_of_a_script_is_in_the_catalogue(name: str) -> None:
    used = set(re.findall(r'\bt\("([^"]+)"', FILES[name]))
    used |= set(re.findall(r'\bt\([^()"]*\? "([^"]+)" : "[^"]+"', FILES[name]))
    used |= set(re.findall(r'\bt\([^()"]*\? "[^"]+" : "([^"]+)"', FILES[name]))
    assert not used - set(WORDS)


def test_the_catalogue_knows_what_the_device_says() -> None:
    wanted = {f"kind.{label}" for label in LABELS} | {"kind.uncertain"}
    wanted |= {f"check.{check.value}" for check in Check}
    wanted |= {f"fault.{fault.value}" for fault in QualityFault}
    wanted |= {f"phase.{phase}" for phase in ("waiting", "running", "paused", "ended")}
    assert not wanted - set(WORDS)


@pytest.mark.parametrize("name", sorted(FILES))
def test_nothing_comes_from_elsewhere(name: str) -> None:
    addresses = re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s\"'<]*", FILES[name])
    assert [one for one in addresses if "www.w3.org/2000/svg" not in one] == []


@pytest.mark.parametrize("name", PAGES)
def test_nothing_stands_in_line_that_the_policy_forbids(name: str) -> None:
    text = FILES[name]
    assert re.findall(r"<style|style=|\son[a-z]+=|<script(?![^>]*src=)", text) == []
    assert '<html lang="en">' in text
    assert '<meta name="viewport"' in text


def test_the_interface_has_a_page_without_scripts(tmp_path: Path) -> None:
    with site(tmp_path) as found, httpx.Client(base_url=found.base) as browser:
        page = browser.get("/docs").text
        document = browser.get("/openapi.json").json()
        assert "<script" not in page
        for path in ("/api/state", "/api/commands/note", "/api/commands/move"):
            assert path in page
            assert path in document["paths"]
        assert "maxLength" in page
        first = browser.get("/page/style.css")
        again = browser.get("/page/style.css", headers={"If-None-Match": first.headers["etag"]})
        assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
        missing = browser.get("/api/cells/7/picture")
        assert (missing.status_code, missing.json()["detail"]) == (404, "that cell is not among the newest")
        for path, body, status in (
            ("note", {"text": ""}, 422),
            ("note", {"text": " \n "}, 422),
            ("note", {"text": "x" * 501}, 422),
            ("move", {"x_um": 5}, 409),
            ("lamp", {"level": 3}, 422),
            ("dance", {}, 404),
        ):
            assert browser.post(f"/api/commands/{path}", json=body).status_code == status
        assert found.run.noted == []


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("8000", "127.0.0.1", 8000), (":0", "127.0.0.1", 0), ("0.0.0.0:80", "0.0.0.0", 80), ("[::]:1", "::", 1)],
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert serve_address(text) == ServeOptions(host, port)


@pytest.mark.parametrize("text", ["", "http", "70000", "-1", "host:", "::1", "1:2:3", "[::1]", "٣"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"where to serve the page cannot be read: got .*, allowed \[HOST:\]PORT"
    ):
        serve_address(text)


def test_a_key_without_a_certificate(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a key without its certificate is of no use"):
        serve_address("8000", key=tmp_path / "key.pem")


def test_the_settings_say_where() -> None:
    assert page_of_settings(Settings()) is None
    found = page_of_settings(Settings(serve="0.0.0.0:80", tls_cert="a.pem", tls_key="a.key"))
    assert found == ServeOptions("0.0.0.0", 80, Path("a.pem"), Path("a.key"))
    with pytest.raises(UsageError, match="a certificate is of use with --serve alone"):
        page_of_settings(Settings(tls_cert="a.pem"))


def test_the_code_holds_the_address() -> None:
    lines = code_of("http://192.168.1.20:8000/?token=" + "x" * 32).splitlines()
    assert len(lines) > 15
    assert len({len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in lines}) == 1
