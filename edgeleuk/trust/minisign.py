"""Signatures, public and secret keys in the format of minisign, so that either program reads the other's.

A signature is of the file's BLAKE2b-512 hash, by Ed25519 (RFC 8032), and has a trusted comment that a second
signature binds to the first: https://jedisct1.github.io/minisign/.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from typing import TYPE_CHECKING, NamedTuple

from edgeleuk.errors import MissingDependencyError, SignatureError, UsageError, extra_cure

if TYPE_CHECKING:
    from typing import Any

# Ed25519 of the hash of a file, and of the file itself, as minisign made them until 2021.
PREHASHED, LEGACY = b"ED", b"Ed"
_KEY_KIND, _ENCRYPTED, _PLAIN, _CHECKSUM = b"Ed", b"Sc", b"\0\0", b"B2"
COMMENT, TRUSTED = "untrusted comment: ", "trusted comment: "
_MOST_COMMENT = 8192 - len(TRUSTED) - 2
# What of a file of keys or of a signature is read: more is none.
MOST_BYTES = 16_384
_ID_BYTES, _POINT_BYTES, _SEED_BYTES, _SIGNATURE_BYTES = 8, 32, 32, 64
_SECRET_BYTES = _ID_BYTES + _SEED_BYTES + _POINT_BYTES + 32
# libsodium's block size for scrypt, and what OpenSSL lets a caller ask for.
_BLOCK, _MOST_MEMORY = 8, 2**31 - 1


class PublicKey(NamedTuple):
    """What verifies.

    Attributes
    ----------
    key_id : bytes
        Eight random ones: they tell keys apart, and prove nothing.
    point : bytes
        32, of Ed25519.
    """

    key_id: bytes
    point: bytes

    @property
    def id_text(self) -> str:
        """The identifier as minisign prints it."""
        return self.key_id[::-1].hex().upper()

    @property
    def text(self) -> str:
        """The key in one line, which may be handed on as it is."""
        return _encoded(_KEY_KIND + self.key_id + self.point)

    @property
    def file_text(self) -> str:
        """What a file of the key holds."""
        return f"{COMMENT}minisign public key {self.id_text}\n{self.text}\n"


class SecretKey(NamedTuple):
    """What signs; see `PublicKey`."""

    public: PublicKey
    seed: bytes

    @property
    def file_text(self) -> str:
        """What a file of the key holds, not encrypted: as of ``minisign -G -W``."""
        head = _KEY_KIND + _PLAIN + _CHECKSUM + bytes(48)
        body = self.public.key_id + self.seed + self.public.point + bytes(32)
        return f"{COMMENT}minisign secret key {self.public.id_text}\n{_encoded(head + body)}\n"


class Signature(NamedTuple):
    """What a file of a signature holds.

    Attributes
    ----------
    key_id : bytes
        Of the key that made it, as it says itself.
    signature : bytes
        64, of the signed file's hash.
    comment : str
        The trusted one; believed only when `verify_comment` has returned.
    comment_signature : bytes
        64, of signature and comment.
    """

    key_id: bytes
    signature: bytes
    comment: str
    comment_signature: bytes

    @property
    def id_text(self) -> str:
        """The key's identifier as minisign prints it."""
        return self.key_id[::-1].hex().upper()

    @property
    def file_text(self) -> str:
        """What a file of the signature holds."""
        return (
            f"{COMMENT}signature from edgeleuk, key {self.id_text}\n"
            f"{_encoded(PREHASHED + self.key_id + self.signature)}\n"
            f"{TRUSTED}{self.comment}\n{_encoded(self.comment_signature)}\n"
        )


def read_public_key(text: str, name: str) -> PublicKey:
    """Read a public key: the two lines of a file, or the second alone.

    Raises
    ------
    SignatureError
        It is none.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    data = _decoded(lines[-1], name) if 1 <= len(lines) <= 2 else b""
    if len(data) != 2 + _ID_BYTES + _POINT_BYTES or data[:2] != _KEY_KIND:
        raise SignatureError(
            f"{name} holds no public key", cure="pass the .pub file that minisign or `bundle sign` made"
        )
    return PublicKey(data[2 : 2 + _ID_BYTES], data[2 + _ID_BYTES :])


def is_encrypted(text: str, name: str) -> bool:
    """Whether a secret key asks for a password.

    Raises
    ------
    SignatureError
        It is no secret key.
    """
    return _secret_parts(text, name)[2:4] == _ENCRYPTED


def read_secret_key(text: str, name: str, password: str = "") -> SecretKey:
    """Read a secret key.

    Parameters
    ----------
    text : str
        What its file holds.
    name : str
        Of the file, for messages.
    password : str
        Of a key that is encrypted: a gigabyte of memory is needed for some seconds.

    Raises
    ------
    SignatureError
        It is no secret key, or damaged.
    UsageError
        The password is wrong, or the memory is not there.
    """
    data = _secret_parts(text, name)
    salt, body = data[6:38], data[54:]
    encrypted = data[2:4] == _ENCRYPTED
    if encrypted:
        limits = (int.from_bytes(data[38:46], "little"), int.from_bytes(data[46:54], "little"))
        stream = _stretched(password, salt, *limits, name=name)
        body = bytes(one ^ other for one, other in zip(body, stream, strict=True))
    key_id, seed, point = body[:8], body[8:40], body[40:72]
    checksum = hashlib.blake2b(_KEY_KIND + body[:72], digest_size=32).digest()
    if encrypted and checksum != body[72:]:
        raise UsageError(f"the password of {name} is wrong", cure="pass the one that the key was made with")
    if _point_of(seed) != point:
        raise SignatureError(f"{name} is damaged", got="halves that do not belong together")
    return SecretKey(PublicKey(key_id, point), seed)


def new_secret_key() -> SecretKey:
    """Make a key by the system's random numbers."""
    seed = secrets.token_bytes(_SEED_BYTES)
    return SecretKey(PublicKey(secrets.token_bytes(_ID_BYTES), _point_of(seed)), seed)


def read_signature(text: str, name: str) -> Signature:
    """Read what a ``.minisig`` file holds; nothing of it is verified.

    Raises
    ------
    SignatureError
        It is none, or of the older sort that signs a file without hashing it.
    """
    # Other line ends than these may stand in a comment.
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    if (
        len(lines) != 4
        or not lines[0].startswith(COMMENT)
        or not lines[2].startswith(TRUSTED)
        or len(lines[2]) > _MOST_COMMENT
    ):
        raise SignatureError(
            f"{name} is no signature, or a truncated one", cure="sign the bundle again with `bundle sign`"
        )
    data, of_comment = _decoded(lines[1], name), _decoded(lines[3], name)
    if data[:2] == LEGACY:
        raise SignatureError(
            f"{name} is a signature of the older sort", cure="sign it by `bundle sign` or `minisign -SH`"
        )
    sizes = (2 + _ID_BYTES + _SIGNATURE_BYTES, _SIGNATURE_BYTES)
    if data[:2] != PREHASHED or (len(data), len(of_comment)) != sizes:
        raise SignatureError(
            f"{name} is no signature, or a truncated one", cure="sign the bundle again with `bundle sign`"
        )
    return Signature(data[2:10], data[10:], lines[2].removeprefix(TRUSTED), of_comment)


def sign(key: SecretKey, data: bytes, comment: str) -> Signature:
    """Sign bytes, and a comment of one line with them.

    Raises
    ------
    MissingDependencyError
        The extra ``sign`` is not installed.
    """
    assert "\n" not in comment
    assert len(comment) <= _MOST_COMMENT
    private = _ed25519().Ed25519PrivateKey.from_private_bytes(key.seed)
    signature: bytes = private.sign(hashlib.blake2b(data).digest())
    return Signature(key.public.key_id, signature, comment, private.sign(signature + comment.encode()))


def verify_comment(key: PublicKey, signature: Signature, name: str) -> None:
    """Verify that the trusted comment belongs to the signature, and both to the key.

    Raises
    ------
    SignatureError
        They do not.
    MissingDependencyError
        The extra ``sign`` is not installed.
    """
    if key.key_id != signature.key_id:
        raise SignatureError(f"{name} is of another key", got=signature.id_text, allowed=key.id_text)
    signed = signature.signature + signature.comment.encode()
    if not _is_signed(key, signature.comment_signature, signed):
        raise SignatureError(
            f"{name} was altered, or another key made it",
            got="a trusted comment that is not signed",
            cure="fetch bundle and signature again from whoever made them",
        )


def verify(key: PublicKey, signature: Signature, data: bytes, name: str) -> None:
    """Verify that a key signed these bytes, and the trusted comment with them.

    Raises
    ------
    SignatureError
        It did not.
    MissingDependencyError
        The extra ``sign`` is not installed.
    """
    verify_comment(key, signature, name)
    if not _is_signed(key, signature.signature, hashlib.blake2b(data).digest()):
        raise SignatureError(
            f"{name} does not belong to the bundle: one of the two was altered or truncated",
            cure="fetch both again from whoever made them",
        )


def require_library() -> None:
    """Refuse what cannot be verified here.

    Raises
    ------
    MissingDependencyError
        The extra ``sign`` is not installed.
    """
    _ed25519()


def _is_signed(key: PublicKey, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        _ed25519().Ed25519PublicKey.from_public_bytes(key.point).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _point_of(seed: bytes) -> bytes:
    public = _ed25519().Ed25519PrivateKey.from_private_bytes(seed).public_key()
    point: bytes = public.public_bytes_raw()
    return point


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingDependencyError("signatures need cryptography", cure=extra_cure("sign")) from error
    return ed25519


def _secret_parts(text: str, name: str) -> bytes:
    lines = [line for line in text.splitlines() if line.strip()]
    data = _decoded(lines[-1], name) if len(lines) == 2 else b""
    kinds = (data[:2], data[4:6])
    if len(data) != 54 + _SECRET_BYTES or kinds != (_KEY_KIND, _CHECKSUM):
        raise SignatureError(
            f"{name} holds no secret key", cure="pass the .key file that minisign or `bundle sign` made"
        )
    if data[2:4] not in (_ENCRYPTED, _PLAIN):
        raise SignatureError(f"{name} is encrypted in a way that edgeleuk does not know", got=data[2:4].hex())
    return data


def _stretched(password: str, salt: bytes, operations: int, memory: int, *, name: str) -> bytes:
    """Return the stream that a secret key is encrypted with, as libsodium makes it by scrypt."""
    log_n, parallel = _scrypt_cost(operations, memory)
    needed = 128 * _BLOCK * ((1 << log_n) + parallel + 2)
    if needed > _MOST_MEMORY:
        raise SignatureError(f"{name} is damaged", got=f"a password that needs {needed / 2**30:.0f} GiB")
    try:
        return hashlib.scrypt(
            password.encode(),
            salt=salt,
            n=1 << log_n,
            r=_BLOCK,
            p=parallel,
            maxmem=_MOST_MEMORY,
            dklen=_SECRET_BYTES,
        )
    except (ValueError, MemoryError) as error:
        raise UsageError(
            f"{name} cannot be decrypted here",
            got=str(error) or "too little memory",
            cure="sign on a machine with more memory, or with a key that has no password",
        ) from error


def _scrypt_cost(operations: int, memory: int) -> tuple[int, int]:
    """Choose the cost as libsodium's ``crypto_pwhash_scryptsalsa208sha256`` does.

    Examples
    --------
    >>> _scrypt_cost(2**25, 2**30)
    (20, 1)
    """
    operations = max(operations, 32768)
    if operations < memory // 32:
        return max(1, (operations // (_BLOCK * 4)).bit_length() - 1), 1
    log_n = max(1, (memory // (_BLOCK * 128)).bit_length() - 1)
    return log_n, min((operations // 4) >> log_n, 0x3FFFFFFF) // _BLOCK


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decoded(line: str, name: str) -> bytes:
    try:
        return base64.b64decode(line.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignatureError(f"{name} is damaged", got="a line that is not base64") from error
