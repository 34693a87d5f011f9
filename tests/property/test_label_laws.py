"""Laws of labels: joining is a union, tables and sessions come back without loss, the newest word counts."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import START, crop

from edgeleuk.errors import LabelsError
from edgeleuk.labels import read_labels
from edgeleuk.labels.contents import (
    CellEntry,
    PictureSource,
    SessionSource,
    Statement,
    agreed,
    content_sha256,
    following,
    identity_of,
    joined,
)
from edgeleuk.labels.file import open_labels, write_labels
from edgeleuk.labels.merging import merge_labels
from edgeleuk.labels.table import read_words, write_csv
from edgeleuk.results.kinds import LABELS
from edgeleuk.session.pictures import encode_crop

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(str.strip)
TIMES = st.integers(-(10**9), 10**9).map(lambda us: START + timedelta(microseconds=us))
STATEMENTS = st.builds(Statement, at=TIMES, by=NAMES, label=st.sampled_from(LABELS))
SOURCES = st.one_of(
    st.builds(PictureSource, path=NAMES, sha256=st.just("0" * 64)),
    st.builds(
        SessionSource,
        session=NAMES,
        chain_end=st.sampled_from([None, "1" * 64]),
        cell=st.integers(0, 10**6),
        bundle_sha256=st.sampled_from([None, "2" * 64]),
    ),
)
WORD = Statement(at=START, by="A", label="band")
CROPS = [crop(seed, 12) for seed in range(3)]


class Drawn:
    """PNGs of the few crops that entries are about."""

    def __init__(self) -> None:
        self._pngs = {identity_of(one): encode_crop(one) for one in CROPS}
        self.identities = list(self._pngs)

    def png(self, identity: str) -> bytes:
        return self._pngs[identity]


DRAWN = Drawn()
ENTRIES = st.builds(
    CellEntry,
    identity=st.sampled_from(DRAWN.identities),
    px_per_um=st.sampled_from([7.5, 18.5]),
    whole=st.booleans(),
    slide=NAMES,
    subject=st.one_of(st.none(), NAMES),
    sources=st.lists(SOURCES, max_size=2).map(tuple),
    statements=st.lists(STATEMENTS, min_size=1, max_size=3).map(tuple),
)
CELLS = st.lists(ENTRIES, min_size=1, max_size=6)


@given(CELLS, st.integers(0, 9))
def test_joining_is_a_union(cells: list[CellEntry], seed: int) -> None:
    once = joined(cells)
    assert joined(once) == once == joined([*cells, *once])
    assert joined(Random(seed).sample(cells, len(cells))) == once
    half = len(cells) // 2
    assert joined([*joined(cells[:half]), *joined(cells[half:])]) == once
    assert content_sha256(cells) == content_sha256(once)
    # No word of anybody is lost.
    for cell in cells:
        (kept,) = [one for one in once if one.key == cell.key]
        assert set(cell.statements) <= set(kept.statements)
        assert set(cell.sources) <= set(kept.sources)


@given(CELLS, st.data())
def test_the_digest_tells_any_change(cells: list[CellEntry], data: st.DataObject) -> None:
    changed = data.draw(ENTRIES)
    assert (content_sha256([*cells, changed]) == content_sha256(cells)) == (
        joined([*cells, changed]) == joined(cells)
    )


@settings(max_examples=30)
@given(CELLS, CELLS)
def test_files_come_back_and_merge_without_loss(first: list[CellEntry], second: list[CellEntry]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, other, both, back = (
            Path(folder) / f"{name}.labels" for name in ("one", "other", "both", "back")
        )
        write_labels(one, first, DRAWN)
        write_labels(other, second, DRAWN)
        assert open_labels(one).cells == joined(first)
        merge_labels([one, other], both)
        assert open_labels(both).cells == joined([*first, *second])
        merge_labels([other, both], back)
        assert back.read_bytes() == both.read_bytes()
        assert read_labels([one, other], allow_contradictions=True).sha256 == content_sha256(
            [*first, *second]
        )


@settings(max_examples=40)
@given(CELLS)
def test_a_table_comes_back_without_loss(cells: list[CellEntry]) -> None:
    once = joined(cells)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "labels.csv"
        assert write_csv(once, table) == sum(len(entry.statements) for entry in once)
        # The table tells every word: from one word of each cell it brings the others back.
        less = [msgspec.structs.replace(entry, statements=entry.statements[:1]) for entry in once]
        found = read_words(table, less, by=None, at=START, classes={})
    # Entries that only the scale tells apart share their rows.
    shared = {
        (entry.identity, entry.slide, entry.subject): {
            said for one in once if one.key[0] == entry.identity
            and (one.slide, one.subject) == (entry.slide, entry.subject) for said in one.statements
        }
        for entry in once
    }  # fmt: skip
    assert [entry.key for entry in found] == [entry.key for entry in once]
    for entry in found:
        assert set(entry.statements) == shared[entry.identity, entry.slide, entry.subject]


@given(st.lists(STATEMENTS, max_size=5), STATEMENTS)
def test_a_word_that_follows_counts(before: list[Statement], word: Statement) -> None:
    after = following(word, before)
    assert (after.by, after.label) == (word.by, word.label)
    assert after.at >= word.at
    assert all(after > said for said in before if said.by == word.by)


@given(st.lists(st.sampled_from(LABELS), min_size=1, max_size=4), st.integers(0, 9))
def test_agreement_knows_no_order(labels: list[str], seed: int) -> None:
    found = agreed(labels)
    assert agreed(Random(seed).sample(labels, len(labels))) == found
    assert found is None or found in labels
    assert agreed(labels + labels[:1]) == found


@settings(max_examples=80)
@given(st.data())
def test_a_changed_byte_is_a_sentence_or_changes_nothing(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lab.labels"
        cells = [
            CellEntry(identity=identity, px_per_um=7.5, slide="S1", sources=(), statements=(WORD,))
            for identity in DRAWN.identities
        ]
        write_labels(path, cells, DRAWN)
        changed = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
        cut = data.draw(st.sampled_from([0, 0, 9, len(changed) // 2]))
        path.write_bytes(changed[: len(changed) - cut])
        refused, crops = "", []
        try:
            found = read_labels([path])
            crops = [cell.crop for cell in found]
        except LabelsError as error:
            refused = str(error)
        if refused:
            assert "\n" not in refused
        else:
            # Times and rights of a zip's members are nobody's.
            assert found.sha256 == content_sha256(cells)
            assert len(crops) == len(cells)
