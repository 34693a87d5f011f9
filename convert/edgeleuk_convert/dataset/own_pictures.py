"""The user's own pictures: classes by folders, tables or names; subjects by tables, folders or names."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk.io.tables import read_table, require_table, rows_of_pictures
from edgeleuk.io.walking import files_under
from edgeleuk.results.class_folders import folder_beside_class, folders_above, place_of, without_masks
from edgeleuk.results.class_names import compared, plain
from edgeleuk_convert.dataset.class_names import WELL_KNOWN
from edgeleuk_convert.dataset.cnmc_layouts import Named, natural_key, parse_uid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from edgeleuk.io.tables import Row
    from edgeleuk_convert.dataset.class_names import Label

MASKS = "masks"
_PARTS_OF_NAME = re.compile(r"[-_ .()]+")
_NAMED_AT_MOST = 8


@dataclass(frozen=True, slots=True)
class OwnFacts:
    """What is said of a folder of the user's own.

    Attributes
    ----------
    left_out : dict of str to number
        Pictures that were passed over, by folder: those of classes that nobody asked for, and masks.
    subjects_by : str or None
        Where the subjects come from, such as ``folders``.
    subjects_unknown : int
        Pictures whose subject nobody knows.
    """

    left_out: dict[str, int] = field(default_factory=dict)
    subjects_by: str | None = None
    subjects_unknown: int = 0


def find_own_pictures(
    folder: Path,
    paths: Sequence[Path],
    *,
    classes: Mapping[str, Label],
    table: Path | None,
    also_known: Mapping[str, Label],
) -> tuple[list[Named], OwnFacts]:
    """Tell the class and, where that is possible, the subject of every picture.

    Parameters
    ----------
    folder : Path
    paths : sequence of Path
        The pictures under it.
    classes : mapping of str to label
        As ``--classes`` names them: pictures of other classes are left out. Empty: names that everybody
        knows, and `also_known`; then a picture of any other class is refused.
    table : Path, optional
        ``--subjects``: its files have to be there. Without it, tables in the folder are taken.
    also_known : mapping of str to label
        Such as an output contract's labels.

    Raises
    ------
    DataRefusedError
        Classes are unknown, or a picture's are contradictory; the table is not sound.
    UsageError
        A name of `classes` does not occur.
    """
    pictures, masks = without_masks(paths)
    rows = _rows(folder, pictures, table)
    known = compared(classes) if classes else compared(also_known) | WELL_KNOWN
    sorted_out = _Classes(folder, known, rows, explicit=bool(classes), strict=table is not None)
    hits = {path: sorted_out.of(path) for path in pictures}
    if classes:
        _require_occurring(classes, hits.values(), folder, pictures)
    labelled = [path for path in pictures if hits[path] is not None]
    others = [path for path in pictures if hits[path] is None]
    if others and not classes:
        raise _unknown_classes(folder, others, len(pictures), rows)
    parts = {path: hit.part for path, hit in hits.items() if hit is not None}
    subjects, source = _subjects(folder, labelled, rows, parts, {p: h.label for p, h in hits.items() if h})
    named = [
        Named(path, hit.label, subjects.get(path), kind=hit.kind)
        for path in labelled
        if (hit := hits[path]) is not None
    ]
    left_out = Counter(place_of(path, folder) for path in others)
    return named, OwnFacts(
        dict(sorted(left_out.items())) | ({MASKS: masks} if masks else {}),
        source,
        sum(one.subject is None for one in named),
    )


@dataclass(frozen=True, slots=True)
class _Hit:
    """A picture's class: its name, its label, and the place of the folder that tells it, if one does."""

    kind: str
    label: Label
    part: int | None


@dataclass(frozen=True, slots=True)
class _Classes:
    """Tells the class of pictures by what is known."""

    folder: Path
    known: Mapping[str, Label]
    rows: Mapping[Path, Row]
    explicit: bool
    strict: bool

    def of(self, path: Path) -> _Hit | None:
        """Return what a table, the deepest folder or the name says; None where none is known."""
        said = self.rows[path].label if path in self.rows else None
        if said is not None and self.strict and plain(said) not in self.known:
            return None
        hits = self._hits(self._texts(path, said))
        if not hits and self.explicit:
            # The last resort: too many names hold a word that is a class by chance.
            words = [word for word in _PARTS_OF_NAME.split(path.stem) if word]
            hits = self._hits((word, None) for word in dict.fromkeys(words[:1] + words[-1:]))
        if len({hit.label for hit in hits}) > 1:
            raise DataRefusedError(
                f"the class of {path.relative_to(self.folder)} is contradictory",
                got=" and ".join(f"{hit.kind} ({hit.label})" for hit in hits),
                cure="correct it, or let --classes name only what the classes are called",
            )
        if not hits:
            return None
        part = next((hit.part for hit in hits if hit.part is not None), None)
        return _Hit(hits[0].kind, hits[0].label, part)

    def _texts(self, path: Path, said: str | None) -> Iterator[tuple[str, int | None]]:
        if said is not None:
            yield said, None
        folders = folders_above(path, self.folder)
        for part in range(len(folders) - 1, -1, -1):
            yield folders[part], part
        if uid := parse_uid(path.stem):
            yield ("all" if uid[1] == "blast" else "hem"), None

    def _hits(self, texts: Iterable[tuple[str, int | None]]) -> list[_Hit]:
        return [
            _Hit(text, self.known[plain(text)], part) for text, part in texts if plain(text) in self.known
        ]


def _rows(folder: Path, pictures: Sequence[Path], table: Path | None) -> dict[Path, Row]:
    """Read the table that was named, else those that lie in the folder."""
    if table is not None:
        return rows_of_pictures(require_table(table), pictures, folder, table=table, every=True)
    found: dict[Path, Row] = {}
    for lying in sorted(files_under(folder, (".csv",))):
        rows = read_table(lying)
        below = [path for path in pictures if lying.parent in path.parents]
        if rows and below:
            found |= rows_of_pictures(rows, below, lying.parent, table=lying, every=False)
    return found


def _require_occurring(
    classes: Mapping[str, Label], hits: Iterable[_Hit | None], folder: Path, pictures: Sequence[Path]
) -> None:
    there = {plain(hit.kind) for hit in hits if hit is not None}
    if missing := [name for name in classes if plain(name) not in there]:
        raise UsageError(
            "--classes names classes that do not occur",
            got=", ".join(missing),
            allowed=_counted(place_of(path, folder) for path in pictures),
        )


def _unknown_classes(
    folder: Path, others: Sequence[Path], number: int, rows: Mapping[Path, Row]
) -> DataRefusedError:
    """Say which names are there to be mapped, with their counts."""
    labels = [row.label for path in others if (row := rows.get(path)) is not None and row.label is not None]
    names = list(labels or (place_of(path, folder) for path in others))
    one_place = len(set(names)) == 1
    words = _words(others) if one_place else ""
    return DataRefusedError(
        f"the classes of {len(others)} of {number} pictures are unknown",
        got=_counted(names) + (f", named {words}" if words else ""),
        allowed="folders called all and hem, blast and normal, Benign, Early, Pre and Pro, or the like",
        cure=_cure(min(names).rpartition("/")[2], words, one_place=one_place),
    )


def _cure(example: str, words: str, *, one_place: bool) -> str:
    if not one_place:
        return f'pass --classes, such as "{example}=normal,OTHER=blast"; what it does not name is left out'
    table = "pass --subjects FILE.csv with columns file,label"
    if not words:
        return table
    return f'{table}, or --classes with those words of the names, such as "WORD=normal,OTHER=blast"'


def _words(paths: Sequence[Path]) -> str:
    """Count the first or the last words of names, whichever repeat; empty where neither do."""
    words = [[word for word in _PARTS_OF_NAME.split(path.stem) if word] or [path.stem] for path in paths]
    for place in (0, -1):
        of = [word[place] for word in words]
        if 1 < len(set(of)) <= max(_NAMED_AT_MOST, len(of) // 10):
            return _counted(of)
    return ""


def _counted(names: Iterable[str]) -> str:
    counts = sorted(Counter(names).items(), key=lambda one: natural_key(one[0]))
    more = f" and {len(counts) - _NAMED_AT_MOST} more" if len(counts) > _NAMED_AT_MOST else ""
    return ", ".join(f"{name} ({number})" for name, number in counts[:_NAMED_AT_MOST]) + more


def _subjects(
    folder: Path,
    paths: Sequence[Path],
    rows: Mapping[Path, Row],
    class_part: Mapping[Path, int | None],
    labels: Mapping[Path, Label],
) -> tuple[dict[Path, str], str | None]:
    """Tell whose cells they are: by tables, else by C-NMC's names, else by folders."""
    listed = {path: row.subject for path in paths if (row := rows.get(path)) and row.subject}
    if listed:
        return listed, "the table"
    by_name = {path: uid[0] for path in paths if (uid := parse_uid(path.stem))}
    if by_name:
        return by_name, "the files' names"
    for below in (True, False):
        found: dict[Path, str] = {}
        for path in paths:
            name = folder_beside_class(folders_above(path, folder), class_part[path], WELL_KNOWN, below=below)
            if name is not None:
                # A number alone is often counted anew in each class.
                found[path] = f"{labels[path]} {name}" if below and name.isdigit() else name
        # Two folders around the classes are rather two studies, or a study and its controls.
        if len(set(found.values())) >= (2 if below else 3):
            return found, "folders"
    return {}, None
