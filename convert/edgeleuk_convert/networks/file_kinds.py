"""What a file is, by its content: its name may say anything."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Literal

from edgeleuk.errors import EdgeleukError, IntegrityError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

FileKind = Literal["keras", "hdf5", "saved_model", "unzipped_keras"]
ALLOWED = "a .keras or .h5 file, or the folder of a SavedModel"
SAVED_MODEL = "saved_model.pb"
CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
EXPORT = (
    "load it where its code is, call model.export('FOLDER') (Keras 2: model.save('FOLDER')),"
    " and convert the folder"
)
_CONVERTED = "convert the Keras network that it was made of"
_FETCH_AGAIN = "copy or download it again"
_HEAD = 4096
_LEVELDB_MAGIC = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
_TORCH = ("a network of PyTorch", "train or rebuild it in Keras")
_PICKLE = ("a pickled Python object", EXPORT)
_CHECKPOINT = ("a checkpoint of TensorFlow, weights without a network", EXPORT)
# Where a file has which signs, the first that fit count.
_SIGNS: tuple[tuple[int, bytes | tuple[bytes, ...], str, str], ...] = (
    (4, b"TFL3", "a TFLite network, converted already", _CONVERTED),
    (0, b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19", *_TORCH),
    (0, (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), *_PICKLE),
    (0, b"\x1f\x8b", "compressed with gzip", "unpack it first"),
    (0, (b"\x89PNG", b"\xff\xd8\xff", b"BM"), "a picture", "pass the network, and pictures by --calibration"),
    (8, b'{"', "a file of safetensors, weights without a network", EXPORT),
)
# What has no signs of its own, by its name.
_SUFFIXES = {
    ".joblib": ("a Python object of joblib", EXPORT),
    ".ckpt": _CHECKPOINT,
    ".onnx": ("an ONNX network", _CONVERTED),
    ".pb": ("a frozen graph of TensorFlow", EXPORT),
    ".mat": ("a file of MATLAB", EXPORT),
}


def file_kind(path: Path) -> FileKind:
    """Tell how a network is stored.

    Raises
    ------
    UsageError
        There is nothing of that name, or something else than a network of Keras; the error says what.
    IntegrityError
        The file is empty or cut off.
    """
    if path.is_dir():
        return _folder_kind(path)
    if not path.exists():
        if path.with_name(path.name + ".index").is_file():
            raise _other(path, *_CHECKPOINT)
        raise UsageError("there is no such network", got=path)
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        raise IntegrityError(f"{path.name} is empty", got="0 bytes", cure=_FETCH_AGAIN)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "hdf5"
    if head.startswith(b"PK"):
        return _archive_kind(path)
    what, cure = _binary(path, head) or _text(head) or _SUFFIXES.get(path.suffix, ("", ""))
    if what:
        raise _other(path, what, cure)
    raise UsageError(
        f"{path.name} is of no known kind",
        got=f"a file that begins with {head[:4].hex(' ')}",
        allowed=ALLOWED,
    )


def _folder_kind(path: Path) -> FileKind:
    names = {entry.name for entry in path.iterdir()}
    if SAVED_MODEL in names:
        return "saved_model"
    if {CONFIG, WEIGHTS} <= names:
        return "unzipped_keras"
    if "checkpoint" in names or any(name.endswith(".index") for name in names):
        raise _other(path, "the folder of a TensorFlow checkpoint, weights without a network", EXPORT)
    if "model.json" in names:
        raise _other(path, "a network of TensorFlow.js", _CONVERTED)
    if CONFIG in names:
        raise IntegrityError(
            f"{path.name} is an unzipped .keras file without its {WEIGHTS}", cure=_FETCH_AGAIN
        )
    inside = sorted(name for name in names if name.endswith((".keras", ".h5", ".hdf5")))
    raise UsageError(
        f"the folder {path.name} is no SavedModel",
        allowed=f"a folder with {SAVED_MODEL}",
        cure=f"pass the file: {path / inside[0]}" if inside else None,
    )


def _archive_kind(path: Path) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, OSError) as error:
        raise IntegrityError(
            f"{path.name} is a damaged archive", got="no list of its files at its end", cure=_FETCH_AGAIN
        ) from error
    if CONFIG in names:
        if WEIGHTS not in names:
            raise IntegrityError(f"{path.name} is a .keras file without its {WEIGHTS}", cure="save it again")
        return "keras"
    leaves = {name.rpartition("/")[2] for name in names}
    if "data.pkl" in leaves or "constants.pkl" in leaves:
        raise _other(path, *_TORCH)
    if WEIGHTS in names:
        raise IntegrityError(f"{path.name} is a .keras file without its {CONFIG}", cure="save it again")
    if names and all(name.endswith(".npy") for name in names):
        raise _other(path, "an archive of NumPy arrays", EXPORT)
    if leaves & {SAVED_MODEL, CONFIG} or any(leaf.endswith((".keras", ".h5")) for leaf in leaves):
        raise _other(path, "a ZIP archive with a network in it", "unzip it, and convert what was in it")
    raise _other(path, "a ZIP archive without a network", None)


def _binary(path: Path, head: bytes) -> tuple[str, str] | None:
    """Name what a binary file is."""
    for place, signs, what, cure in _SIGNS:
        if head[place:].startswith(signs):
            return what, cure
    if path.name == SAVED_MODEL:
        return "one file of a SavedModel", f"pass its folder: {path.parent}"
    if head[0] == 8 and head[2:3] in (b"\x12", b"\x1a", b"\x22", b"\x3a"):
        return "an ONNX network", _CONVERTED
    if ".data-" in path.name or _tail(path) == _LEVELDB_MAGIC:
        return _CHECKPOINT
    return None


def _text(head: bytes) -> tuple[str, str] | None:
    """Name what a text is."""
    try:
        # The last character may be cut in two.
        text = head.decode("utf-8", "strict" if len(head) < _HEAD else "ignore").lstrip()
    except UnicodeDecodeError:
        return None
    if any(ord(sign) < 9 for sign in text):
        return None
    if text.startswith("version https://git-lfs"):
        return "a pointer of Git LFS and not the network itself", "fetch it with: git lfs pull"
    if text.lower().startswith(("<!doctype html", "<html")):
        return "a web page and not the network itself", "download the file that the page links to"
    if text.startswith("{") and '"class_name"' in text:
        return "the architecture of a network without its weights", EXPORT
    return "a text", "pass the network that was saved with model.save('NAME.keras')"


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(_LEVELDB_MAGIC)))
        return file.read()


def _other(path: Path, what: str, cure: str | None) -> EdgeleukError:
    return UsageError(f"{path.name} is {what}", allowed=ALLOWED, cure=cure)


def first_line(error: BaseException, longest: int = 160) -> str:
    """Return the start of an error's text, without the configuration that Keras adds.

    Examples
    --------
    >>> first_line(ValueError("Layer 'a' got 2 variables. Full object config: {'a': 1}"))
    "Layer 'a' got 2 variables."
    """
    text = str(error).strip() or type(error).__name__
    line = text.splitlines()[0]
    for mark in ("Full object config", "config={", "{'"):
        line = line.partition(mark)[0]
    line = line.strip() or type(error).__name__
    return line if len(line) <= longest else line[:longest].rstrip() + " ..."


def as_json(data: bytes | str, name: str) -> dict[str, object]:
    """Parse a configuration.

    Raises
    ------
    IntegrityError
        It is no JSON object.
    """
    try:
        value = json.loads(data)
    except ValueError as error:
        raise IntegrityError(f"{name} has a damaged configuration", got=first_line(error)) from error
    if not isinstance(value, dict):
        raise IntegrityError(f"{name} has a damaged configuration", got=type(value).__name__)
    return value
