"""Tell from folders, names and tables what each picture shows, and of which slide and subject."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk.io.tables import require_table, rows_of_pictures
from edgeleuk.labels.words import counted, name_given
from edgeleuk.results.class_folders import folder_beside_class, folders_above, place_of
from edgeleuk.results.class_names import KNOWN_NAMES, compared, parse_classes, plain
from edgeleuk.results.kinds import LABELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from edgeleuk.io.tables import Row

FIELDS = ("label", "slide", "subject")
BY_FOLDER, BY_NAME = "folder", "name"
_FIELD = re.compile(r"\{([a-z]*)\}|\*")


class NamedPicture(NamedTuple):
    """A picture, and what is said of it."""

    path: Path
    label: str
    slide: str
    subject: str | None


@dataclass(frozen=True, slots=True)
class Naming:
    """How pictures tell what they show.

    Attributes
    ----------
    classes : mapping of str to label
        As ``--classes`` names them: pictures of other classes are left out. Empty: names of the field.
    slide_from : str or None
        ``folder``, ``name``, or the name of the one slide; None where a table or the names tell it.
    names : str or None
        How the files are called; see `pattern_of`.
    table : Path or None
        A CSV with columns ``file`` and ``label``, ``slide`` or ``subject``.
    """

    classes: Mapping[str, str] = field(default_factory=dict)
    slide_from: str | None = None
    names: str | None = None
    table: Path | None = None


def parse_label_classes(text: str | None) -> dict[str, str]:
    """Read ``--classes``, of which each name stands for one of `LABELS`; see `parse_classes`.

    Examples
    --------
    >>> parse_label_classes("Type 3=monocyte")
    {'Type 3': 'monocyte'}
    """
    return parse_classes(text, LABELS, f"NAME=label with a label out of {', '.join(LABELS)}")


def pattern_of(names: str) -> re.Pattern[str]:
    """Read how files are called: ``{label}``, ``{slide}``, ``{subject}``, and ``*`` for anything.

    Each stands for as little as fits. The ending of the file is not looked at.

    Raises
    ------
    UsageError
        A field is unknown or stands there twice, or there is none.

    Examples
    --------
    >>> pattern_of("{label}_{slide}-*").match("baso_10-1_0").groupdict()
    {'label': 'baso', 'slide': '10'}
    """
    found = [match[1] for match in _FIELD.finditer(names) if match[0] != "*"]
    if not found or len(set(found)) < len(found) or not set(found) <= set(FIELDS):
        raise UsageError(
            "--names does not say how the files are called",
            got=repr(names),
            allowed="{label}, {slide} and {subject}, each once, and * for anything: '{label}_{slide}-*'",
        )
    text, at = "", 0
    for match in _FIELD.finditer(names):
        text += re.escape(names[at : match.start()]) + (".*?" if match[0] == "*" else f"(?P<{match[1]}>.+?)")
        at = match.end()
    return re.compile(text + re.escape(names[at:]) + r"\Z")


def name_pictures(
    folder: Path, paths: Sequence[Path], naming: Naming
) -> tuple[list[NamedPicture], dict[str, int]]:
    """Tell label, slide and subject of every picture.

    Parameters
    ----------
    folder : Path
    paths : sequence of Path
        The pictures under it.
    naming : Naming

    Returns
    -------
    named : list of NamedPicture
    left_out : dict of str to int
        Pictures of classes that ``--classes`` does not name, by folder.

    Raises
    ------
    DataRefusedError
        Classes or slides are unknown, or the table is not sound.
    UsageError
        A name of ``--classes`` does not occur, or ``--names`` fits no file.
    """
    every = _Pictures(folder, naming, _parts(paths, naming), _rows(folder, paths, naming.table))
    labels = {path: every.label(path) for path in paths}
    others = [path for path in paths if labels[path] is None]
    if naming.classes:
        _require_occurring(every, [name for path in paths for name, _ in every.class_names(path)])
    elif others:
        raise _unknown_classes(every, others, len(paths))
    named = []
    without = []
    for path in paths:
        if (hit := labels[path]) is None:
            continue
        slide, subject = every.slide(path, hit[1]), every.told(path, "subject")
        if slide is None and subject is None:
            without.append(path)
        else:
            named.append(NamedPicture(path, hit[0], slide or subject or "", subject))
    if without:
        raise _unknown_slides(folder, without, len(paths))
    return named, dict(sorted(Counter(place_of(path, folder) for path in others).items()))


def place_pictures(folder: Path, paths: Sequence[Path], naming: Naming) -> dict[Path, NamedPicture]:
    """Tell slide and subject of every picture, whose labels something else tells; see `name_pictures`.

    Raises
    ------
    DataRefusedError
        Slides are unknown, or the table is not sound.
    UsageError
        ``--names`` fits no file.
    """
    every = _Pictures(folder, naming, _parts(paths, naming), _rows(folder, paths, naming.table))
    places = {path: (every.slide(path, None), every.told(path, "subject")) for path in paths}
    if without := [path for path, (slide, subject) in places.items() if slide is None and subject is None]:
        raise _unknown_slides(folder, without, len(paths))
    return {
        path: NamedPicture(path, "", slide or subject or "", subject)
        for path, (slide, subject) in places.items()
    }


@dataclass(frozen=True, slots=True)
class _Pictures:
    """What is known of the pictures of a folder."""

    folder: Path
    naming: Naming
    parts: Mapping[Path, Mapping[str, str]]
    rows: Mapping[Path, Row]

    @property
    def known(self) -> Mapping[str, str]:
        return compared(self.naming.classes) if self.naming.classes else KNOWN_NAMES

    def class_names(self, path: Path) -> list[tuple[str, int | None]]:
        """List what may be the class's name, the most telling first, with the place of the folder it is."""
        found: list[tuple[str, int | None]] = []
        row = self.rows.get(path)
        if row is not None and row.label is not None:
            return [(row.label, None)]
        if "label" in self.parts.get(path, {}):
            return [(self.parts[path]["label"], None)]
        folders = folders_above(path, self.folder)
        found += [(folders[part], part) for part in range(len(folders) - 1, -1, -1)]
        return found

    def label(self, path: Path) -> tuple[str, int | None] | None:
        """Return the label, and the place of the folder that tells it; None where it is unknown."""
        return next(
            (
                (self.known[plain(name)], part)
                for name, part in self.class_names(path)
                if plain(name) in self.known
            ),
            None,
        )

    def told(self, path: Path, what: str) -> str | None:
        """Return the slide or the subject that the table or the file's name tells."""
        row = self.rows.get(path)
        listed = None if row is None else (row.slide if what == "slide" else row.person)
        return listed or self.parts.get(path, {}).get(what)

    def slide(self, path: Path, class_part: int | None) -> str | None:
        told, way = self.told(path, "slide"), self.naming.slide_from
        if told is not None or way == BY_NAME:
            return told
        if way is not None and way != BY_FOLDER:
            return name_given(way, "slide")
        folders = folders_above(path, self.folder)
        if path.parent != self.folder:
            for below in (True, False):
                found = folder_beside_class(folders, class_part, self.known.keys(), below=below)
                if found is not None:
                    return found
        # The data folder itself may be a slide's, but only if somebody says so.
        return self.folder.resolve().name if way == BY_FOLDER else None


def _parts(paths: Sequence[Path], naming: Naming) -> dict[Path, dict[str, str]]:
    """Read the files' names by the pattern; none where there is none."""
    if naming.names is None:
        if naming.slide_from == BY_NAME:
            raise UsageError(
                "--slide-from name does not say where in the names the slide stands",
                cure="pass --names, such as --names '{label}_{slide}-*'",
            )
        return {}
    pattern = pattern_of(naming.names)
    parts = {path: match.groupdict() for path in paths if (match := pattern.match(path.stem))}
    if len(parts) < len(paths):
        odd = [path.name for path in paths if path not in parts]
        raise UsageError(
            f"--names does not fit {len(odd)} of {len(paths)} files",
            got=", ".join(odd[:3]) + (" and more" if len(odd) > 3 else ""),
            cure="correct it, or move those files away",
        )
    return parts


def _rows(folder: Path, paths: Sequence[Path], table: Path | None) -> dict[Path, Row]:
    if table is None:
        return {}
    return rows_of_pictures(require_table(table), paths, folder, table=table, every=True)


def _require_occurring(every: _Pictures, names: Iterable[str]) -> None:
    there = {plain(name) for name in names}
    if missing := [name for name in every.naming.classes if plain(name) not in there]:
        raise UsageError(
            "--classes names classes that do not occur", got=", ".join(missing), allowed=counted(names)
        )


def _unknown_slides(folder: Path, without: Sequence[Path], number: int) -> DataRefusedError:
    return DataRefusedError(
        f"the slides of {len(without)} of {number} pictures are unknown",
        got=counted(place_of(path, folder) for path in without),
        allowed="--slide-from folder, --slide-from name with --names, or --slide-from NAME for one slide",
        cure="pass one of them, or --table FILE.csv with columns file,slide",
    )


def _unknown_classes(every: _Pictures, others: Sequence[Path], number: int) -> DataRefusedError:
    """Say which names are there to be mapped, with their counts."""
    names = [every.class_names(path)[0][0] for path in others]
    return DataRefusedError(
        f"the classes of {len(others)} of {number} pictures are unknown",
        got=counted(names),
        allowed=", ".join(LABELS),
        cure=f'pass --classes, such as "{min(names)}=monocyte"; what it does not name is left out',
    )
