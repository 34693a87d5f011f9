"""What ``run --serve`` says where it does not begin."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from edgeleuk.commands import serving
from edgeleuk.errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from outcome import Call


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program serves."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--serve", "TAKEN"), "the page cannot be served on 127.0.0.1:TAKEN: got Address already in use"),
        (("--serve", "here"), "where to serve the page cannot be read: got here"),
        (("--serve", "0", "--tls-key", "k.pem"), "a key without its certificate is of no use"),
        (("--serve", "0", "--tls-cert", "no.pem"), "the certificate and its key cannot be used"),
        (("--tls-cert", "no.pem"), "a certificate is of use with --serve alone"),
        (("--stage", "socket://127.0.0.1:1"), "a stage and --autofocus belong together"),
    ],
)
def test_it_does_not_begin(
    edgeleuk: Call, tmp_path: Path, taken: int, words: tuple[str, ...], sentence: str
) -> None:
    told = [word.replace("TAKEN", str(taken)) for word in words]
    done = edgeleuk("run", "--camera", "virtual://", "--session", "s.db", *told)
    assert done.code == 2
    assert done.err.startswith(f"error: {sentence.replace('TAKEN', str(taken))}")
    assert len(done.err.splitlines()) == 1
    assert not list(tmp_path.glob("s.*"))


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "find_spec", lambda name: None if name in ("fastapi", "segno") else name)
    with pytest.raises(MissingDependencyError, match="the page needs fastapi and segno") as missing:
        serving.require_serve()
    assert "pip install 'edgeleuk[serve]'" in str(missing.value)
