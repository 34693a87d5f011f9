"""Finding the pictures that annotations name, in one folder and nowhere else."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from edgeleuk.errors import DataRefusedError
from edgeleuk.io.walking import PICTURE_SUFFIXES, files_under

# Label Studio puts eight hexadecimal digits before the name of what was uploaded.
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")
_DRIVE = re.compile(r"^[A-Za-z]:")


def is_address(name: str) -> bool:
    """Whether a picture is named by an address: of the web, or of Label Studio."""
    return "://" in name or name.startswith("/data/")


def picture_of(address: str) -> str:
    """Return the picture of an address, which is never followed.

    Examples
    --------
    >>> picture_of("/data/local-files/?d=lab/images/a%20b.png"), picture_of("/data/upload/3/0123abcd-c.png")
    ('lab/images/a b.png', 'c.png')
    """
    parts = urlsplit(address)
    local = parse_qs(parts.query).get("d")
    if local:
        return local[0].lstrip("/")
    name = unquote(parts.path).rpartition("/")[2]
    return _UPLOADED.sub("", name)


class PictureFolder:
    """The pictures under a folder, by their paths, their names, and their names without ending.

    Attributes
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._by_path: dict[str, Path] = {}
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(
            files_under(folder, PICTURE_SUFFIXES, "pass the folder of the pictures with --pictures")
        ):
            self._by_path[path.relative_to(folder).as_posix()] = path
            for name in {path.name, path.stem}:
                self._by_name[name].append(path)

    def find(self, name: str, where: str) -> Path | None:
        """Return the picture that an annotation names; None where it is not there.

        A path is looked for from the folder on, then by as many of its last parts as are needed.

        Raises
        ------
        DataRefusedError
            The name leads out of the folder, or fits several pictures.
        """
        plain = name.replace("\\", "/")
        path = PurePosixPath(plain)
        if path.is_absolute() or ".." in path.parts or _DRIVE.match(plain) or "\0" in plain or not path.name:
            raise DataRefusedError(
                f"{where} names a picture outside the folder of pictures",
                got=repr(name[:100]),
                allowed="a path in that folder",
            )
        if path.as_posix() in self._by_path:
            return self._by_path[path.as_posix()]
        found = self._by_name.get(path.name, [])
        for parts in range(2, len(path.parts) + 1):
            if len(found) < 2:
                break
            nearer = [one for one in found if _ends(one, path.parts[-parts:])]
            found = nearer or found
        if len(found) > 1:
            raise DataRefusedError(
                f"{where} names a picture that is there more than once",
                got=f"{name[:100]!r}: {found[0]} and {found[1]}",
                cure="give pictures different names",
            )
        return found[0] if found else None


def _ends(path: Path, parts: tuple[str, ...]) -> bool:
    """Whether a path ends with these parts; the last may lack its ending."""
    return path.parts[-len(parts) : -1] == parts[:-1] and parts[-1] in (path.name, path.stem)
