"""The store of pinned keys."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from edgeleuk.errors import SignatureError, UsageError
from edgeleuk.trust import store
from edgeleuk.trust.minisign import new_secret_key
from edgeleuk.trust.store import look_at_keys, pin, pinned_keys, trust_folder, unpin

if TYPE_CHECKING:
    from pathlib import Path

KEY, OTHER = new_secret_key().public, new_secret_key().public


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(store, "SYSTEM", tmp_path / "system")
    return trust_folder()


def test_a_key_is_pinned_until_it_is_removed(folder: Path) -> None:
    assert pinned_keys() == ()
    pinned = pin(KEY, "ward7")
    assert pinned.path == folder / "ward7.pub"
    assert pin(KEY, "ward7") == pin(KEY, "another") == pinned
    pin(OTHER, "ward8")
    assert [one.name for one in pinned_keys()] == ["ward7", "ward8"]
    assert unpin("ward7") == pinned.path
    assert unpin(OTHER.id_text) == folder / "ward8.pub"
    assert pinned_keys() == ()


def test_what_the_machine_trusts_holds_for_every_user(tmp_path: Path) -> None:
    (tmp_path / "system").mkdir()
    (tmp_path / "system" / "fleet.pub").write_text(KEY.file_text)
    pin(OTHER, "ward7")
    assert {one.name: one.key for one in pinned_keys()} == {"ward7": OTHER, "fleet": KEY}


BROKEN = {
    "empty": b"",
    "text": b"hello\n",
    "no text": b"\xff\xfe",
    "cut": KEY.file_text.encode()[:-20],
    "long": b"x" * 20_000,
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_key_ends_all_trust_and_can_be_removed(folder: Path, fault: str) -> None:
    pin(OTHER, "good")
    (folder / "bad.pub").write_bytes(BROKEN[fault])
    with pytest.raises(SignatureError, match=r"bad\.pub is broken, so that no bundle can be trusted"):
        pinned_keys()
    assert len(look_at_keys()) == 2
    unpin("bad")
    assert [one.name for one in pinned_keys()] == ["good"]


def test_a_broken_key_may_be_pinned_anew(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "ward7.pub").write_text("broken")
    pin(KEY, "ward7")
    assert [one.key for one in pinned_keys()] == [KEY]


def test_a_pipe_in_the_store_does_not_make_anybody_wait(folder: Path) -> None:
    folder.mkdir(parents=True)
    os.mkfifo(folder / "pipe.pub")
    with pytest.raises(SignatureError, match="is broken"):
        pinned_keys()


def test_a_store_that_is_no_folder_ends_all_trust(folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("x")
    with pytest.raises(SignatureError, match="cannot be read, so that no bundle can be trusted"):
        pinned_keys()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 65, "a b", "ü"])
def test_a_name_that_is_no_word_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="a key's name is a short word"):
        pin(KEY, name)


def test_a_name_that_is_taken_is_refused() -> None:
    pin(KEY, "ward7")
    with pytest.raises(UsageError, match="another key is pinned as ward7"):
        pin(OTHER, "ward7")
    with pytest.raises(UsageError, match="there is no such pinned key: got ward9, allowed ward7"):
        unpin("ward9")
