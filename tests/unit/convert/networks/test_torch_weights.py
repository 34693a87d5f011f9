"""PyTorch's files: both formats give the numbers, and nothing but tensors is ever made."""

from __future__ import annotations

import pickle
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeleuk.errors import IntegrityError
from edgeleuk_convert.networks.torch_weights import ALLOWED, MAGIC, PROTOCOL, read_state_dict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NUMBERS = np.arange(12, dtype=np.float32) / 8
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def text(value: str) -> bytes:
    """Return the pickle's code for a string."""
    return b"V" + value.encode() + b"\n"


def numbers(*values: int) -> bytes:
    """Return the pickle's code for a tuple of integers."""
    return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"


def tensor(
    shape: tuple[int, ...] = (3, 4),
    strides: tuple[int, ...] = (4, 1),
    *,
    offset: int = 0,
    count: int = 12,
    storage: bytes = b"ctorch\nFloatStorage\n",
    function: bytes = REBUILD,
) -> bytes:
    """Return the pickle's code for a tensor of block 7."""
    where = b"(" + text("storage") + storage + text("7") + text("cpu") + b"I%d\nNtQ" % count
    rest = b"I%d\n" % offset + numbers(*shape) + numbers(*strides) + b"I00\nccollections\nOrderedDict\n(tR"
    return function + b"(" + where + rest + b"tR"


def described(**tensors: bytes) -> bytes:
    """Return a pickled state dictionary."""
    items = b"".join(text(name) + code for name, code in tensors.items())
    return b"ccollections\nOrderedDict\n(tR(" + items + b"u."


def chain(state: bytes, block: bytes = NUMBERS.tobytes(), count: int = 12) -> bytes:
    """Return a file of the older format."""
    head = [MAGIC, PROTOCOL, {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {}}]
    start = b"".join(pickle.dumps(part, 2) for part in head)
    return start + state + pickle.dumps(["7"], 2) + count.to_bytes(8, "little") + block


def zipped(path: Path, state: bytes, byteorder: bytes = b"little") -> None:
    """Write a file of the newer format."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", state)
        archive.writestr("net/byteorder", byteorder)
        archive.writestr("net/data/7", NUMBERS.tobytes())


@pytest.mark.parametrize("newer", [False, True])
def test_views_of_a_block(tmp_path: Path, newer: bool) -> None:
    state = described(
        whole=tensor(),
        turned=tensor((4, 3), (1, 4)),
        part=tensor((2,), (1,), offset=10),
        one=tensor((), (), offset=3),
        empty=tensor((0, 4), (4, 1)),
    )
    path = tmp_path / "net.pth"
    if newer:
        zipped(path, state)
    else:
        path.write_bytes(chain(state))
    read = read_state_dict(path)
    assert list(read) == ["whole", "turned", "part", "one", "empty"]
    np.testing.assert_array_equal(read["whole"], NUMBERS.reshape(3, 4))
    np.testing.assert_array_equal(read["turned"], NUMBERS.reshape(3, 4).T)
    np.testing.assert_array_equal(read["part"], NUMBERS[10:])
    assert read["one"].shape == ()
    assert read["one"] == NUMBERS[3]
    assert read["empty"].shape == (0, 4)


@pytest.mark.parametrize(
    ("name", "dtype"), [("Double", "f8"), ("Float", "f4"), ("Half", "f2"), ("Int", "i4"), ("Long", "i8")]
)
def test_kinds_of_numbers(tmp_path: Path, name: str, dtype: str) -> None:
    block = np.arange(12).astype(dtype)
    path = tmp_path / "net.pth"
    state = described(x=tensor(storage=b"ctorch\n%bStorage\n" % name.encode()))
    path.write_bytes(chain(state, block.tobytes()))
    read = read_state_dict(path)["x"]
    assert read.dtype == dtype
    np.testing.assert_array_equal(read.ravel(), block)


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (described(x=tensor(function=b"cos\nsystem\n")), "names something other than tensors: os.system"),
        (described(x=b"cbuiltins\neval\n(Vprint()\ntR"), "builtins.eval"),
        (described(x=tensor(storage=b"ctorch\nQUInt8Storage\n")), "torch.QUInt8Storage"),
        (described(x=tensor(storage=b"ccollections\nOrderedDict\n")), "names something other than tensors"),
        (described(x=REBUILD + b"(I1\nI0\n" + numbers(1) + numbers(1) + b"tR"), "other than tensors"),
        (described(x=text("a word")), "no state dictionary"),
        (numbers(1, 2) + b".", "no state dictionary"),
        (described(x=tensor((3, 5), (4, 1))), r"shape \(3, 5\) reaches beyond block 7"),
        (described(x=tensor((3, 4), (4, -1))), "reaches beyond"),
        (described(x=tensor(offset=-1)), "reaches beyond"),
        (described(x=tensor((2, 2), (1,))), "shorter|argument"),
        (described(x=tensor(count=13)), "expected 13 numbers in block 7, got 12"),
        (tensor()[:40], "ran out|truncated|underflow|exhausted"),
    ],
)
def test_refused(tmp_path: Path, state: bytes, why: str) -> None:
    for newer in (False, True):
        path = tmp_path / f"net{newer}.pth"
        if newer:
            zipped(path, state)
        else:
            path.write_bytes(chain(state))
        with pytest.raises(IntegrityError, match=why) as caught:
            read_state_dict(path)
        assert str(caught.value).startswith(f"{path.name} cannot be read as PyTorch weights: got ")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"",
        lambda _: b"PK\x03\x04 and no more",
        lambda data: data[:-1],
        lambda data: data.replace(pickle.dumps(PROTOCOL, 2), pickle.dumps(1002, 2)),
        lambda data: data.replace(b"\x88", b"\x89", 1),  # little_endian: True -> False
    ],
)
def test_damaged(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(spoil(chain(described(x=tensor()))))
    with pytest.raises(IntegrityError, match=r"net\.pth cannot be read"):
        read_state_dict(path)


def test_big_endian_is_refused(tmp_path: Path) -> None:
    zipped(tmp_path / "net.pth", described(x=tensor()), b"big")
    with pytest.raises(IntegrityError, match="big-endian"):
        read_state_dict(tmp_path / "net.pth")


def test_missing_file_stays_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_state_dict(tmp_path / "net.pth")


def test_nothing_that_may_be_named_does_anything() -> None:
    assert {module for module, _ in ALLOWED} == {"collections", "torch", "torch._utils"}
    assert len(ALLOWED) == 7
