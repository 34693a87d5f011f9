"""Where C-NMC's images lie and what their names say: fold folders, or numbered files with a CSV."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgeleuk.errors import DataRefusedError

if TYPE_CHECKING:
    from pathlib import Path

FOLDER_LABELS: dict[str, Literal["blast", "normal"]] = {"all": "blast", "hem": "normal"}
CSV_LABELS: dict[str, Literal["blast", "normal"]] = {
    "1": "blast", "1.0": "blast", "all": "blast", "0": "normal", "0.0": "normal", "hem": "normal",
}  # fmt: skip

_UID = re.compile(r"UID_([A-Za-z]*\d+)_\d+_\d+_(all|hem)$", re.IGNORECASE)
_FOLD = re.compile(r"fold_\d+$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Named:
    """An image file and what is known of it before it is opened; `kind` is what its class is called."""

    path: Path
    label: Literal["blast", "normal"] | None = None
    subject: str | None = None
    fold: str | None = None
    kind: str | None = None


def natural_key(text: str) -> tuple[tuple[str, int], ...]:
    """Sort key that counts: ``2`` before ``10``, ``H2`` before ``H10`` before ``h3``."""
    return tuple(
        (word, int(digits or -1)) for word, digits in re.findall(r"(\D*)(\d*)", text) if word or digits
    )


def find_images(folder: Path, paths: list[Path]) -> list[Named]:
    """Tell what C-NMC's names, folders and lists say of its images.

    Parameters
    ----------
    folder : Path
    paths : list of Path
        Its images, in natural order.

    Raises
    ------
    DataRefusedError
        A labelled file's name tells no subject; the name, the folder and the CSV contradict each other.
    """
    listed = _listed(folder, paths)
    return [_named(path, folder, listed.get(path)) for path in paths]


def is_cnmc_table(table: Path) -> bool:
    """Tell whether a CSV lists which file is which of C-NMC's cells; what is no text is none."""
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    return bool(lines) and None not in _label_columns(_reader(lines))


def parse_uid(stem: str) -> tuple[str, Literal["blast", "normal"]] | None:
    """Return subject and label of a name such as ``UID_H10_12_3_hem``, or None.

    Examples
    --------
    >>> parse_uid("UID_h3_12_3_hem")
    ('h3', 'normal')
    """
    match = _UID.match(stem.strip())
    return (match[1], FOLDER_LABELS[match[2].lower()]) if match else None


def _named(path: Path, folder: Path, listed: tuple[str, Literal["blast", "normal"]] | None) -> Named:
    parents = path.relative_to(folder).parts[:-1] or (folder.name,)
    by_folder = FOLDER_LABELS.get(parents[-1].lower())
    by_name = listed or parse_uid(path.stem)
    if by_name is None:
        if by_folder is None:
            return Named(path)
        raise DataRefusedError(
            f"{path.relative_to(folder)} tells no subject",
            allowed="names such as UID_<subject>_<image>_<cell>_all.bmp",
            cure="without subjects nobody can split the cells honestly: restore the original names, name the"
            " subjects by --subjects FILE.csv, or pass --classes all=blast,hem=normal to go on without",
        )
    subject, label = by_name
    if by_folder not in (None, label):
        raise DataRefusedError(
            f"{path.relative_to(folder)} contradicts its folder", got=label, allowed=by_folder
        )
    fold = next((part for part in reversed((folder.name, *parents)) if _FOLD.match(part)), None)
    return Named(path, label, subject, fold.lower() if fold else None)


def _listed(folder: Path, paths: list[Path]) -> dict[Path, tuple[str, Literal["blast", "normal"]]]:
    """Read every CSV of labels: which file is which original cell."""
    listed: dict[Path, tuple[str, Literal["blast", "normal"]]] = {}
    for table in sorted(folder.rglob("*.csv")):
        rows = _label_rows(table)
        below = [path for path in paths if table.parent in path.parents] if rows else []
        by_stem: dict[str, list[Path]] = {}
        for path in below:
            by_stem.setdefault(path.stem.lower(), []).append(path)
        for new_name, row in rows.items():
            found = by_stem.get(new_name, [])
            if len(found) > 1:
                raise DataRefusedError(
                    f"{table.name} names {new_name} but several files are called so",
                    got=", ".join(str(path.relative_to(folder)) for path in found[:3]),
                    cure="move the CSV into the folder of its own phase",
                )
            for path in found:
                listed[path] = row
    return listed


def _label_rows(table: Path) -> dict[str, tuple[str, Literal["blast", "normal"]]]:
    """Map the new name's stem to subject and label; empty for a CSV that is about something else."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataRefusedError(f"{table.name} cannot be read", got=error) from error
    lines = text.splitlines()
    if not lines:
        return {}
    reader = _reader(lines)
    original, new_name, label = _label_columns(reader)
    if original is None or new_name is None or label is None:
        return {}
    rows = {}
    for number, row in enumerate(reader, start=2):
        uid = (row[original] or "").strip()
        known = parse_uid(uid.rsplit(".", 1)[0])
        said = CSV_LABELS.get((row[label] or "").strip().lower())
        if known is None or said != known[1]:
            raise DataRefusedError(
                f"line {number} of {table.name} is no label",
                got=f"{uid!r} with {row[label]!r}",
                allowed="UID_<subject>_<image>_<cell>_all.bmp with 1, or _hem.bmp with 0",
            )
        rows[(row[new_name] or "").strip().rsplit(".", 1)[0].lower()] = known
    return rows


def _reader(lines: list[str]) -> csv.DictReader[str]:
    return csv.DictReader(lines, delimiter=max(",;\t", key=lines[0].count))


def _label_columns(reader: csv.DictReader[str]) -> tuple[str | None, str | None, str | None]:
    """Find the columns of the original names, the new names and the labels, however they are spelt."""
    columns = {re.sub(r"[^a-z]", "", (name or "").lower()): name for name in reader.fieldnames or ()}
    original, new_name, label = (
        next((columns[key] for key in keys if key in columns), None)
        for keys in (("patientid",), ("newnames", "newname"), ("labels", "label"))
    )
    return original, new_name, label
