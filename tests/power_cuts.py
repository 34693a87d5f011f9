"""What a disk may hold after a power cut, from the system calls that a program made.

`recorded` runs a program under strace. `DiskStates` replays its calls on folders in memory, and yields what
may be left when the power fails after any of them:

- The bytes of a file are safe once it was synced. Before that none, half or all of them may be there.
- What was made, renamed and removed in a folder is safe once the folder was synced. Before that, of each
  folder any number of its first changes may be there, whatever other folders hold. What was renamed from one
  folder into another is in one of the two at least.

That allows more than ext4 does, whose journal keeps the order of changes in all folders.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# What is simulated, by what it does. Any other way to change files ends a test by a KeyError.
_KINDS = {
    "openat": "create",
    "write": "write",
    "fsync": "sync",
    "fdatasync": "sync",
    **dict.fromkeys(("rename", "renameat", "renameat2"), "rename"),
    **dict.fromkeys(("symlink", "symlinkat"), "symlink"),
    **dict.fromkeys(("mkdir", "mkdirat"), "mkdir"),
    **dict.fromkeys(("unlink", "unlinkat", "rmdir"), "remove"),
}
CALLS = ",".join((*_KINDS, "pwrite64", "link", "linkat", "truncate", "ftruncate", "open", "creat"))
_CALL = re.compile(r"^\d+\s+(\w+)\((.*)\)\s+= (-?\d+)(?:<(.*)>)?(?: .*)?$")
_ARGUMENT = re.compile(r'"((?:[^"\\]|\\.)*)"|(AT_FDCWD|\d+)<([^>]*)>|([^,\s]+)')


class Call(NamedTuple):
    """One system call on paths: its name, the paths that it is about, and what was written."""

    name: str
    paths: tuple[str, ...]
    data: bytes = b""


def recorded(words: Sequence[str], below: Path, log: Path) -> list[Call]:
    """Run a program, and return the calls by which it changed what lies below a folder, in their order."""
    strace = ["strace", "-f", "-y", "-xx", "-s", "1000000", "-e", f"trace={CALLS}", "-e", "signal=none"]
    subprocess.run([*strace, "-o", str(log), *words], check=True, capture_output=True)
    calls = [call for line in log.read_text().splitlines() if (call := _call(line)) is not None]
    return [call for call in calls if any(Path(path).is_relative_to(below) for path in call.paths)]


def _call(line: str) -> Call | None:
    found = _CALL.match(line)
    if found is None:
        assert "unfinished" not in line, "two threads changed files at once"
        return None
    name, rest, result, opened = found.groups()
    if int(result) < 0 or (name == "openat" and "O_CREAT" not in rest):
        return None
    kind = _KINDS[name]
    texts, folder = _arguments(rest)
    if kind == "create":
        return Call(kind, (_unescaped(opened).decode(),))
    if kind in {"write", "sync"}:
        return Call(kind, (folder,), b"".join(texts[:1]))
    paths = tuple(os.path.join(folder, text.decode()) for text in texts)  # noqa: PTH118 - as the kernel joins
    return Call(kind, paths[1:], texts[0]) if kind == "symlink" else Call(kind, paths)


def _arguments(rest: str) -> tuple[list[bytes], str]:
    """Return the texts among a call's arguments, and the path of the last descriptor."""
    texts, folder = [], ""
    for text, _, place, word in _ARGUMENT.findall(rest):
        if place:
            folder = _unescaped(place).decode()
        elif not word:
            texts.append(_unescaped(text))
    return texts, folder


def _unescaped(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", "")) if "\\x" in text else text.encode()


@dataclass(eq=False)
class _File:
    """A file, a link (with `leads`) or a folder (with `entries`)."""

    data: bytes = b""
    safe: bytes = b""
    leads: str | None = None
    entries: dict[str, _File] | None = None
    # Of a folder: what is safe, and the changes since, each numbered by its call.
    safe_entries: dict[str, _File] = field(default_factory=dict)
    changes: list[tuple[int, str, _File | None]] = field(default_factory=list)


class DiskStates:
    """Replays calls on what a folder held before.

    Parameters
    ----------
    folder : Path
        Safe on the disk when the program begins.
    calls : sequence of Call
    """

    def __init__(self, folder: Path, calls: Sequence[Call]) -> None:
        self._top = folder
        self._root = _read(folder)
        self._calls = calls

    def __iter__(self) -> Iterator[tuple[str, dict[str, bytes | str | None]]]:
        """Yield, after each call, what may be on the disk: of each path its bytes, its link, or None."""
        seen: set[frozenset[tuple[str, bytes | str | None]]] = set()
        for number in range(len(self._calls) + 1):
            if number:
                self._do(number, self._calls[number - 1])
            for state in self._possible():
                key = frozenset(state.items())
                if key not in seen:
                    seen.add(key)
                    after = self._calls[number - 1] if number else None
                    yield f"after call {number} of {len(self._calls)}: {after}", state

    def _do(self, number: int, call: Call) -> None:
        if not Path(call.paths[0]).is_relative_to(self._top):
            return
        if call.name == "write":
            self._at(call.paths[0]).data += call.data
        elif call.name == "sync":
            _sync(self._at(call.paths[0]))
        elif call.name == "rename":
            moved = self._at(call.paths[0])
            self._change(number, call.paths[0], None)
            self._change(number, call.paths[1], moved)
        elif call.name == "remove":
            self._change(number, call.paths[0], None)
        elif call.name == "symlink":
            self._change(number, call.paths[0], _File(leads=call.data.decode()))
        else:
            made = _File(entries={} if call.name == "mkdir" else None)
            self._change(number, call.paths[0], made)

    def _at(self, path: str) -> _File:
        place = self._root
        for name in Path(path).relative_to(self._top).parts:
            assert place.entries is not None
            place = place.entries[name]
        return place

    def _change(self, number: int, path: str, to: _File | None) -> None:
        folder, name = self._at(str(Path(path).parent)), Path(path).name
        assert folder.entries is not None
        folder.changes.append((number, name, to))
        _apply(folder.entries, name, to)

    def _possible(self) -> Iterator[dict[str, bytes | str | None]]:
        folders = [one for one in _all(self._root) if one.changes]
        for counts in itertools.product(*(range(len(one.changes) + 1) for one in folders)):
            kept: dict[int, set[bool]] = {}
            entries = {}
            for folder, count in zip(folders, counts, strict=True):
                there = dict(folder.safe_entries)
                for place, (number, name, to) in enumerate(folder.changes):
                    kept.setdefault(number, set()).add(place < count)
                    if place < count:
                        _apply(there, name, to)
                entries[folder] = there
            # A rename between folders is one change.
            if all(len(answers) == 1 for answers in kept.values()):
                yield from _contents(self._root, entries)


def _contents(root: _File, entries: dict[_File, dict[str, _File]]) -> Iterator[dict[str, bytes | str | None]]:
    """Yield the tree with what each file that is not safe may hold."""
    tree: dict[str, _File] = {}

    def walk(folder: _File, path: str) -> None:
        for name, one in sorted(entries.get(folder, folder.safe_entries).items()):
            tree[f"{path}{name}"] = one
            if one.entries is not None:
                walk(one, f"{path}{name}/")

    walk(root, "")
    unsafe = sorted({path for path, one in tree.items() if one.entries is None and one.data != one.safe})
    for sizes in itertools.product(range(3), repeat=len(unsafe)):
        chosen = dict(zip(unsafe, sizes, strict=True))
        state: dict[str, bytes | str | None] = {}
        for path, one in tree.items():
            if one.entries is not None:
                state[path] = None
            elif one.leads is not None:
                state[path] = one.leads
            else:
                more = len(one.data) - len(one.safe)
                state[path] = one.data[: len(one.safe) + more * chosen.get(path, 2) // 2]
        yield state


def _apply(entries: dict[str, _File], name: str, to: _File | None) -> None:
    if to is None:
        entries.pop(name, None)
    else:
        entries[name] = to


def _sync(one: _File) -> None:
    one.safe = one.data
    if one.entries is not None:
        one.safe_entries = dict(one.entries)
        one.changes.clear()


def _all(folder: _File) -> Iterator[_File]:
    """Yield every folder that is there, or may be again."""
    yield folder
    assert folder.entries is not None
    below = [
        *folder.entries.values(),
        *folder.safe_entries.values(),
        *(to for *_, to in folder.changes if to),
    ]
    for one in {id(one): one for one in below}.values():
        if one.entries is not None:
            yield from _all(one)


def _read(path: Path) -> _File:
    if path.is_symlink():
        return _File(leads=str(path.readlink()))
    if path.is_dir():
        entries = {one.name: _read(one) for one in path.iterdir()}
        return _File(entries=entries, safe_entries=dict(entries))
    data = path.read_bytes()
    return _File(data=data, safe=data)


def laid_out(state: dict[str, bytes | str | None], folder: Path) -> None:
    """Make on the disk what a state says."""
    folder.mkdir()
    for path, content in sorted(state.items()):
        place = folder / path
        if content is None:
            place.mkdir()
        elif isinstance(content, str):
            place.symlink_to(content)
        else:
            place.write_bytes(content)
