"""``edgeleuk labels check``: what makes labels worth less than they seem, before anybody learns from them."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Literal

import cv2
import msgspec
import numpy as np

from edgeleuk.errors import DataRefusedError
from edgeleuk.io.console import printable
from edgeleuk.labels.contents import agreed, content_sha256, joined, named
from edgeleuk.labels.kappa import Kappa, cohens_kappa
from edgeleuk.labels.listing import people_of
from edgeleuk.labels.merging import Several
from edgeleuk.labels.opening import open_any_labels
from edgeleuk.results.kinds import LABELS
from edgeleuk.results.structs import Printed
from edgeleuk.vision.fingerprints import alike_pairs, fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from edgeleuk.errors import EdgeleukError
    from edgeleuk.labels.contents import CellEntry, Statement
    from edgeleuk.labels.opening import Labels
    from edgeleuk.vision.fingerprints import Fingerprint

    Progress = Callable[[int, int], None]

# What `teach` asks for of each class.
LEAST_CELLS, LEAST_SLIDES = 20, 2
_NAMED_AT_MOST = 3


class CellPair(Printed, frozen=True, kw_only=True):
    """Two entries that show the same cell.

    Attributes
    ----------
    first, second : str
        Where they come from.
    how : "pixels" or "texture"
        Equal in each pixel, or photographed, cut out or stored once more.
    correlation : float
        Of the texture; 1 of equal pixels.
    slides, subjects : two of str
    labels : two of str or None
        None where people contradict one another.
    """

    first: str
    second: str
    how: Literal["pixels", "texture"]
    correlation: float
    slides: tuple[str, str]
    subjects: tuple[str | None, str | None]
    labels: tuple[str | None, str | None]

    @property
    def is_leak(self) -> bool:
        """Whether a split by slide or by subject would put the cell on both sides."""
        one, other = self.subjects
        return self.slides[0] != self.slides[1] or (None not in self.subjects and one != other)


class Contradiction(Printed, frozen=True, kw_only=True):
    """A cell that is called different things.

    Attributes
    ----------
    cell : str
        Where it comes from.
    labels : dict of str to str
        By the person, what counts: the newest word.
    """

    cell: str
    labels: dict[str, str]


class OwnContradiction(Printed, frozen=True, kw_only=True):
    """One cell, labelled twice and differently by one person."""

    by: str
    first: str
    second: str
    labels: tuple[str, str]


class Agreement(Kappa, frozen=True, kw_only=True):
    """How two people agree on cells that both labelled.

    Attributes
    ----------
    people : two of str
    """

    people: tuple[str, str]


class FewCells(Printed, frozen=True, kw_only=True):
    """A label with too few cells, or from too few slides, to learn from."""

    label: str
    cells: int
    slides: int


class LabelCheck(Printed, frozen=True, kw_only=True):
    """What ``edgeleuk labels check --json`` prints.

    Attributes
    ----------
    duplicates : tuple of CellPair
        Within one slide: a cell counts twice.
    leaks : tuple of CellPair
        Across slides or subjects: figures by slide would be too good.
    contradictions : tuple of Contradiction
    own_contradictions : tuple of OwnContradiction
    agreements : tuple of Agreement
    few : tuple of FewCells
    one_slide : bool
        All cells are of one slide, so that nothing can be held out.
    sound : bool
        No leak and no contradiction.
    """

    schema_version: int = 1
    files: tuple[str, ...]
    sha256: str
    cells: int
    slides: int
    duplicates: tuple[CellPair, ...]
    leaks: tuple[CellPair, ...]
    contradictions: tuple[Contradiction, ...]
    own_contradictions: tuple[OwnContradiction, ...]
    agreements: tuple[Agreement, ...]
    few: tuple[FewCells, ...]
    one_slide: bool
    sound: bool


def check_labels(
    paths: Sequence[Path], progress: Progress = lambda *_: None
) -> tuple[LabelCheck, EdgeleukError | None]:
    """Look for duplicates, leaks, contradictions and classes with too few cells.

    Parameters
    ----------
    paths : sequence of Path
    progress : callable
        Told (pictures read, pictures in all).

    Returns
    -------
    found : LabelCheck
    error : DataRefusedError or None
        Where there is a leak or a contradiction.

    Raises
    ------
    UsageError, LabelsError
        See `open_any_labels`; every picture is decoded and compared with its hash.
    """
    files = [open_any_labels(path) for path in paths]
    entries = joined(entry for file in files for entry in file.cells)
    pairs = _pairs(entries, _prints(entries, files, progress))
    people = people_of(entries)
    contradictions = tuple(
        Contradiction(cell=_name(entry), labels={by: said.label for by, said in entry.newest.items()})
        for entry in entries
        if _label(entry) is None
    )
    shown = [_pair(entries, *pair) for pair in pairs]
    own = tuple(
        found for first, second, _ in pairs for found in _own(entries[first], entries[second], people)
    )
    leaks = tuple(pair for pair in shown if pair.is_leak)
    slides = len({entry.slide for entry in entries})
    found = LabelCheck(
        files=tuple(map(str, paths)),
        sha256=content_sha256(entries),
        cells=len(entries),
        slides=slides,
        duplicates=tuple(pair for pair in shown if not pair.is_leak),
        leaks=leaks,
        contradictions=contradictions,
        own_contradictions=own,
        agreements=tuple(_agreements(entries, people)),
        few=tuple(_few(entries)),
        one_slide=slides < LEAST_SLIDES,
        sound=not (leaks or contradictions or own),
    )
    return found, _error(found)


def _error(found: LabelCheck) -> DataRefusedError | None:
    if found.sound:
        return None
    facts = (
        (len(found.leaks), "cells stand under two slides or subjects"),
        (len(found.contradictions), "cells are called different things by different people"),
        (len(found.own_contradictions), "cells are called different things by one person"),
    )
    return DataRefusedError(
        "the labels are not sound",
        got=", ".join(f"{number} {what}" for number, what in facts if number),
        cure="correct them with `edgeleuk labels set`, or leave those cells out",
    )


def _prints(
    entries: Sequence[CellEntry], files: Sequence[Labels], progress: Progress
) -> dict[str, Fingerprint]:
    """Decode every picture once, and take its fingerprint."""
    pictures = Several(files)
    by_identity = {entry.identity: entry for entry in entries}
    prints = {}
    for done, (identity, entry) in enumerate(by_identity.items(), start=1):
        crop = pictures.file_of(identity).crop(entry)
        prints[identity] = fingerprint(np.asarray(cv2.copyTo(crop.pixels, crop.mask), np.uint8))
        progress(done, len(by_identity))
    return prints


def _pairs(
    entries: Sequence[CellEntry], prints: Mapping[str, Fingerprint]
) -> list[tuple[int, int, float | None]]:
    """Find entries that show the same cell: their numbers, and how the texture correlates, None if equal."""
    places: dict[str, list[int]] = {}
    for number, entry in enumerate(entries):
        places.setdefault(entry.identity, []).append(number)
    pairs: list[tuple[int, int, float | None]] = [
        (*pair, None) for same in places.values() for pair in combinations(same, 2)
    ]
    identities = list(places)
    each = [prints[identity] for identity in identities]
    numbers = np.arange(len(each))
    for (i, j), alike in sorted(alike_pairs(each, numbers, each, numbers).items()):
        pairs += [
            (min(first, second), max(first, second), alike)
            for first in places[identities[i]]
            for second in places[identities[j]]
        ]
    return pairs


def _pair(entries: Sequence[CellEntry], first: int, second: int, alike: float | None) -> CellPair:
    one, other = entries[first], entries[second]
    return CellPair(
        first=_name(one),
        second=_name(other),
        how="pixels" if alike is None else "texture",
        correlation=1.0 if alike is None else round(alike, 3),
        slides=(one.slide, other.slide),
        subjects=(one.subject, other.subject),
        labels=(_label(one), _label(other)),
    )


def _own(one: CellEntry, other: CellEntry, people: Iterable[str]) -> list[OwnContradiction]:
    """Find who calls one cell two things."""
    first, second = one.newest, other.newest
    return [
        OwnContradiction(
            by=by, first=_name(one), second=_name(other), labels=(first[by].label, second[by].label)
        )
        for by in people
        if by in first and by in second and agreed((first[by].label, second[by].label)) is None
    ]


def _agreements(entries: Iterable[CellEntry], people: Sequence[str]) -> Iterable[Agreement]:
    """Compare people two at a time, on equal pixels, wherever these stand."""
    words: dict[str, dict[str, Statement]] = {by: {} for by in people}
    for entry in entries:
        for by, said in entry.newest.items():
            before = words[by].get(entry.identity)
            words[by][entry.identity] = said if before is None else max(before, said)
    for one, other in combinations(people, 2):
        both = [
            (said.label, words[other][cell].label)
            for cell, said in words[one].items()
            if cell in words[other]
        ]
        if both:
            yield Agreement(people=(one, other), **msgspec.structs.asdict(cohens_kappa(both)))


def _few(entries: Sequence[CellEntry]) -> Iterable[FewCells]:
    for label in LABELS:
        some = [entry for entry in entries if _label(entry) == label]
        slides = len({entry.slide for entry in some})
        if some and (len(some) < LEAST_CELLS or slides < LEAST_SLIDES):
            yield FewCells(label=label, cells=len(some), slides=slides)


def _label(entry: CellEntry) -> str | None:
    return agreed(said.label for said in entry.newest.values())


def _name(entry: CellEntry) -> str:
    return named(entry.sources[0]) if entry.sources else entry.identity[:16]


def check_text(found: LabelCheck) -> str:
    """Say the same for people."""
    lines = [f"cells     {found.cells} of {found.slides} slide{'s' * (found.slides != 1)}"]
    for what, pairs in (("leaks", found.leaks), ("twice", found.duplicates)):
        lines += _some(
            what,
            [
                f"{pair.first} (slide {pair.slides[0]}) and {pair.second} (slide {pair.slides[1]}),"
                f" {'the same pixels' if pair.how == 'pixels' else f'alike to {pair.correlation:.2f}'}"
                for pair in pairs
            ],
        )
    lines += _some(
        "differ",
        [
            f"{one.cell}: " + ", ".join(f"{label} ({by})" for by, label in one.labels.items())
            for one in found.contradictions
        ],
    )
    lines += _some(
        "differ",
        [
            f"{one.first} and {one.second} are one cell, {' and '.join(one.labels)} by {one.by}"
            for one in found.own_contradictions
        ],
    )
    lines += [_agreement_text(one) for one in found.agreements]
    lines += [
        f"few       {one.label}: {one.cells} cells of {one.slides} slide{'s' * (one.slides != 1)};"
        f" `teach` asks for {LEAST_CELLS} of {LEAST_SLIDES}"
        for one in found.few
    ]
    if found.one_slide:
        lines.append(
            "warning   all cells are of one slide, so that none can be held out; label another slide"
        )
    lines.append("sound" if found.sound else "NOT SOUND")
    return "\n".join(map(printable, lines))


def _some(what: str, texts: Sequence[str]) -> list[str]:
    lines = [f"{what:<9} {text}" for text in texts[:_NAMED_AT_MOST]]
    rest = len(texts) - len(lines)
    return [*lines, f"{what:<9} and {rest} more"] if rest else lines


def _agreement_text(one: Agreement) -> str:
    kappa = (
        "kappa not told, as both use one label"
        if one.kappa is None
        else f"kappa {one.kappa:.2f} (95 % {one.low:.2f} to {one.high:.2f})"
    )
    return f"agree     {' and '.join(one.people)}: {kappa}, {one.observed:.0%} of {one.cells} cells"
