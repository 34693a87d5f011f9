"""Signatures in minisign's format, against the program itself, both ways."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from edgeleuk.errors import SignatureError, UsageError
from edgeleuk.trust import minisign
from edgeleuk.trust.minisign import (
    SecretKey,
    is_encrypted,
    new_secret_key,
    read_public_key,
    read_secret_key,
    read_signature,
    sign,
    verify,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

needs_minisign = pytest.mark.skipif(
    shutil.which("minisign") is None, reason="minisign is not installed: apt install minisign"
)
KEY = new_secret_key()
DATA = bytes(range(256)) * 40
COMMENT = "timestamp:7\tfile:f\thashed"


def called(folder: Path, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["minisign", *words], cwd=folder, input=typed, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@needs_minisign
def test_minisign_verifies_what_is_signed_here(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA)
    (tmp_path / "f.minisig").write_text(sign(KEY, DATA, COMMENT).file_text)
    (tmp_path / "k.pub").write_text(KEY.public.file_text)
    assert COMMENT in called(tmp_path, "-Vm", "f", "-p", "k.pub").stdout
    called(tmp_path, "-Vm", "f", "-P", KEY.public.text)


@needs_minisign
def test_minisign_signs_with_a_key_that_is_made_here(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA)
    (tmp_path / "k.key").write_text(KEY.file_text)
    called(tmp_path, "-Sm", "f", "-s", "k.key", "-t", "sequence:9")
    signature = read_signature((tmp_path / "f.minisig").read_text(), "f.minisig")
    assert signature.comment == "sequence:9"
    verify(KEY.public, signature, DATA, "f.minisig")


@needs_minisign
def test_what_minisign_signs_by_its_own_key_is_verified_here(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA)
    called(tmp_path, "-G", "-W", "-p", "k.pub", "-s", "k.key")
    called(tmp_path, "-Sm", "f", "-s", "k.key")
    public = read_public_key((tmp_path / "k.pub").read_text(), "k.pub")
    verify(public, read_signature((tmp_path / "f.minisig").read_text(), "f.minisig"), DATA, "f.minisig")
    text = (tmp_path / "k.key").read_text()
    assert not is_encrypted(text, "k.key")
    secret = read_secret_key(text, "k.key")
    assert secret.public == public
    # Ed25519 is deterministic: the same signature of the same file.
    again = sign(secret, DATA, COMMENT)
    assert again.signature == read_signature((tmp_path / "f.minisig").read_text(), "f").signature


# Made by `minisign -G` for this test, with the password "pw".
OF_MINISIGN = (
    "RWSaVvSN5kmEwZrzdEdnToDf/BIbyuM4K4AzSFfgQ+oymKUC9/tLFc2u",
    "untrusted comment: minisign encrypted secret key\n"
    "RWRTY0Iy4BcplAt/fG1biM11hT2CE/wDc19mmfYXgjkflUiSs9QAAAACAAAAAAAAAEAAAAAAz27eGHBnk1sPRa04uc/otDqmru8D"
    "zZbWw8J3d8FF9lDRrrZi5+jxOaElnvNyjlVf0sd6wd515mH94l5Qg0S0MIxwdKh2betXmcWgDdxG+Ggm3jyoVoXUFti6ld8KR6qQXgLNpK8z97M=\n",
)


def test_an_encrypted_key_of_minisign_is_read() -> None:
    public, text = OF_MINISIGN
    assert is_encrypted(text, "k.key")
    assert read_secret_key(text, "k.key", "pw").public == read_public_key(public, "k.pub")


def encrypted(key: SecretKey, password: str, operations: int, memory: int) -> str:
    """Return a key as minisign encrypts it, at a cost of one's own."""
    body = key.public.key_id + key.seed + key.public.point
    body += hashlib.blake2b(b"Ed" + body, digest_size=32).digest()
    salt = bytes(32)
    stream = minisign._stretched(password, salt, operations, memory, name="k")
    hidden = bytes(one ^ other for one, other in zip(body, stream, strict=True))
    limits = operations.to_bytes(8, "little") + memory.to_bytes(8, "little")
    return f"{minisign.COMMENT}k\n{base64.b64encode(b'EdScB2' + salt + limits + hidden).decode()}\n"


def test_a_wrong_password_is_told() -> None:
    text = encrypted(KEY, "right", 32768, 16_777_216)
    assert read_secret_key(text, "k", "right") == KEY
    with pytest.raises(UsageError, match="password of k is wrong"):
        read_secret_key(text, "k", "wrong")


@pytest.mark.parametrize(
    ("operations", "memory", "cost"),
    [
        # SENSITIVE, INTERACTIVE and the least, as libsodium's pickparams chooses.
        (33_554_432, 1_073_741_824, (20, 1)),
        (524_288, 16_777_216, (14, 1)),
        (0, 16_777_216, (10, 1)),
        (33_554_432, 16_777_216, (14, 64)),
    ],
)
def test_the_cost_of_a_password_is_libsodiums(operations: int, memory: int, cost: tuple[int, int]) -> None:
    assert minisign._scrypt_cost(operations, memory) == cost


def flipped(line: str, byte: int) -> str:
    data = bytearray(base64.b64decode(line))
    data[byte] ^= 1
    return base64.b64encode(data).decode()


def changed(text: str, line: int, change: Callable[[str], str]) -> str:
    lines = text.split("\n")
    lines[line] = change(lines[line])
    return "\n".join(lines)


SIGNATURE = sign(KEY, DATA, COMMENT).file_text
BROKEN_SIGNATURES: dict[str, tuple[str, str]] = {
    "signature": (changed(SIGNATURE, 1, lambda line: flipped(line, 20)), "was altered"),
    "key": (changed(SIGNATURE, 1, lambda line: flipped(line, 3)), "is of another key"),
    "comment": (changed(SIGNATURE, 2, lambda line: line.replace("7", "8")), "was altered"),
    "comment's signature": (changed(SIGNATURE, 3, lambda line: flipped(line, 3)), "was altered"),
    "cut": (SIGNATURE[:-30], "is damaged|truncated"),
    "cut to three lines": ("\n".join(SIGNATURE.split("\n")[:3]), "truncated"),
    "empty": ("", "no signature"),
    "of the older sort": (
        changed(SIGNATURE, 1, lambda line: base64.b64encode(b"Ed" + base64.b64decode(line)[2:]).decode()),
        "older sort",
    ),
    "no base64": (changed(SIGNATURE, 1, lambda line: "*" + line[1:]), "not base64"),
    "short": (changed(SIGNATURE, 1, lambda line: line[:40]), "truncated"),
    "long comment": (changed(SIGNATURE, 2, lambda line: line + "x" * 9000), "truncated"),
    "another head": ("x" + SIGNATURE, "no signature"),
}


@pytest.mark.parametrize("fault", BROKEN_SIGNATURES)
def test_a_broken_signature_is_refused(fault: str) -> None:
    text, said = BROKEN_SIGNATURES[fault]
    with pytest.raises(SignatureError, match=said):
        verify(KEY.public, read_signature(text, "f.minisig"), DATA, "f.minisig")


def test_other_bytes_are_refused() -> None:
    signature = read_signature(SIGNATURE, "f.minisig")
    verify(KEY.public, signature, DATA, "f.minisig")
    for data in (DATA[:-1], DATA + b"\0", b"", bytes([DATA[0] ^ 1]) + DATA[1:]):
        with pytest.raises(SignatureError, match="does not belong to the bundle"):
            verify(KEY.public, signature, data, "f.minisig")


def test_another_key_of_the_same_identifier_is_refused() -> None:
    other = new_secret_key().public._replace(key_id=KEY.public.key_id)
    with pytest.raises(SignatureError, match="was altered, or another key made it"):
        verify(other, read_signature(SIGNATURE, "f.minisig"), DATA, "f.minisig")


def test_keys_are_read_as_they_were_written() -> None:
    for text in (KEY.public.file_text, KEY.public.text, KEY.public.file_text.replace("\n", "\r\n")):
        assert read_public_key(text, "k.pub") == KEY.public
    assert read_secret_key(KEY.file_text, "k.key") == KEY


@pytest.mark.parametrize(
    "text",
    ["", "x", "untrusted comment: x\nAAAA\n", KEY.file_text, KEY.public.text[:-4], "a\nb\nc\nd\n"],
    ids=["empty", "a letter", "short", "secret", "cut", "four lines"],
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(SignatureError, match=r"k\.pub"):
        read_public_key(text, "k.pub")


SECRET = KEY.file_text.split("\n")[1]
NO_SECRETS = {
    "public": (KEY.public.file_text, "no secret key"),
    "empty": ("", "no secret key"),
    "cut": (KEY.file_text[:-9], "no secret key|not base64"),
    "seed": (f"c\n{flipped(SECRET, 70)}\n", "do not belong together"),
    "cipher": (f"c\n{flipped(SECRET, 2)}\n", "in a way that edgeleuk does not know"),
}


@pytest.mark.parametrize("fault", NO_SECRETS)
def test_what_is_no_secret_key_is_refused(fault: str) -> None:
    text, said = NO_SECRETS[fault]
    with pytest.raises(SignatureError, match=said):
        read_secret_key(text, "k.key")


def test_a_key_that_asks_for_too_much_memory_is_refused() -> None:
    body = b"EdScB2" + bytes(32) + (1 << 62).to_bytes(8, "little") + (1 << 62).to_bytes(8, "little")
    text = f"c\n{base64.b64encode(body + bytes(104)).decode()}\n"
    with pytest.raises(SignatureError, match="is damaged: got a password that needs"):
        read_secret_key(text, "k.key", "x")
