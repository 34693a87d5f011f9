"""Bundles that are signed, for tests: versions of the shipped one, keys, and a server that has them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import ipaddress
import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import msgspec

from edgeleuk.bundle.golden import decode_golden, encode_golden
from edgeleuk.bundle.manifest import GOLDEN
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.bundle.writing import bundle_bytes, describe_members
from edgeleuk.trust.claim import Claim, claim_text
from edgeleuk.trust.minisign import new_secret_key, sign

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from edgeleuk.trust.minisign import SecretKey

KEY, OTHER = new_secret_key(), new_secret_key()
SERIES = "lab"


def version(number: int, change: Callable[[dict[str, bytes]], None] | None = None) -> bytes:
    """Return a version of the shipped bundle, which differs in its card, and in what `change` does."""
    shipped = read_bundle("default")
    members = dict(shipped.members) | {"card.md": f"# Version {number}\n".encode()}
    # One network is enough, and its self-test is quick.
    for name in ("model.int8.onnx", "model.float32.tflite"):
        members.pop(name, None)
    if change is not None:
        change(members)
    golden = decode_golden(members[GOLDEN])
    assert golden.made_with is not None
    # Whoever makes a bundle makes its golden answers fit: no hash protects from its maker.
    made_with = msgspec.structs.replace(
        golden.made_with,
        members={name: sha256(members[name]) for name in golden.made_with.members if name in members},
    )
    networks = {name: of for name, of in golden.networks.items() if name in members}
    members[GOLDEN] = encode_golden(dataclasses.replace(golden, networks=networks, made_with=made_with))
    manifest = msgspec.structs.replace(
        shipped.manifest, name=f"{SERIES}-{number}", members=describe_members(members)
    )
    return bundle_bytes(manifest, members)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def signed(
    data: bytes, sequence: int, *, key: SecretKey = KEY, series: str = SERIES, of: str | None = None
) -> bytes:
    """Return what the ``.minisig`` of a bundle holds."""
    claim = Claim(sequence, series, of)
    text = claim_text(claim, at=sequence, file="lab.edgeleuk")
    if of is None:
        text = text.rpartition("\t")[0]
    return sign(key, data, text).file_text.encode()


def put(folder: Path, data: bytes, signature: bytes | None, name: str = "lab.edgeleuk") -> Path:
    """Lay a bundle and its signature into a folder."""
    path = folder / name
    path.write_bytes(data)
    if signature is not None:
        (folder / f"{name}.minisig").write_bytes(signature)
    return path


class Server(ThreadingHTTPServer):
    """Has files, each as bytes; `lengths` says longer ones than it sends, `moved` sends elsewhere."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = dict(files)
        self.lengths: dict[str, int] = {}
        self.moved: dict[str, str] = {}
        self.asked: list[tuple[str, str | None]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        if self.path in self.server.moved:
            self.send_response(302)
            self.send_header("Location", self.server.moved[self.path])
            self.end_headers()
            return
        data = self.server.files.get(self.path)
        if data is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(self.server.lengths.get(self.path, len(data))))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called there
        pass


@contextmanager
def served(files: Mapping[str, bytes], certificate: Path | None = None) -> Iterator[tuple[Server, str]]:
    """Serve files on 127.0.0.1, by HTTPS where there is a certificate; yields the server and its address."""
    server = Server(files)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    scheme = "http" if certificate is None else "https"
    try:
        yield server, f"{scheme}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def make_certificate(path: Path, *, starts: int = 2000, ends: int = 2200) -> Path:
    """Write a self-made certificate of 127.0.0.1 and its key, valid between two years' beginnings."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    identity = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    utc = dt.timezone.utc
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(dt.datetime(starts, 1, 1, tzinfo=utc))
        .not_valid_after(dt.datetime(ends, 1, 1, tzinfo=utc))
        .add_extension(alternative, critical=False)
        .add_extension(identity, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path
