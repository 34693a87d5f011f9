from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeleuk.errors import SessionError, UsageError
from edgeleuk.slide.spool import FieldSpool, ScanFacts
from edgeleuk.stage.base import ScanField
from edgeleuk.stage.resuming import Begun

if TYPE_CHECKING:
    from pathlib import Path

FIELDS = [ScanField(n, 0, n, 30.0 * n, 0.5) for n in range(2)]
BEGUN = Begun((1.5, -2.0), ((13.0, 0.1), (-0.1, 13.0)), (100.0, 80.0, 0.3))
FACTS = ScanFacts(BEGUN, (40, 30), "lossless", "divided by a blank", simulated=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with two fields, one of which has its picture."""
    with FieldSpool.create(tmp_path / "s.fields", FIELDS, FACTS) as spool:
        spool.add(1, picture(), is_lossless=True)
    return tmp_path / "s.fields"


def picture() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (30, 40, 3), np.uint8)


def read_all(path: Path) -> None:
    with FieldSpool(path) as spool:
        spool.facts()
        spool.fields()
        spool.picture(1)


def test_what_was_kept_is_read_as_it_was(path: Path) -> None:
    with FieldSpool(path) as spool:
        assert spool.facts() == FACTS
        assert [tuple(kept) for kept in spool.fields()] == [(FIELDS[0], False), (FIELDS[1], True)]
        assert np.array_equal(spool.picture(1), picture())


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM facts WHERE key = 'begun'",
        "UPDATE facts SET value = 'x' WHERE key = 'begun'",
        "UPDATE facts SET value = '{}' WHERE key = 'begun'",
        "UPDATE facts SET value = replace(value, '13.0', 'NaN') WHERE key = 'begun'",
        "UPDATE facts SET value = replace(value, '13.0', '1e999') WHERE key = 'begun'",
        "UPDATE facts SET value = replace(replace(value, '13.0', '0'), '0.1', '0') WHERE key = 'begun'",
        "UPDATE facts SET value = x'ff' WHERE key = 'begun'",
        "UPDATE facts SET value = '[0, 30]' WHERE key = 'size'",
        "UPDATE facts SET value = '[40]' WHERE key = 'size'",
        "UPDATE facts SET value = '[80, 60]' WHERE key = 'size'",
        "UPDATE facts SET value = 'odd' WHERE key = 'kept'",
        "UPDATE facts SET value = x'00' WHERE key = 'light'",
        "UPDATE facts SET value = 'perhaps' WHERE key = 'simulated'",
        "UPDATE fields SET x_um = 'far' WHERE number = 0",
        "UPDATE fields SET x_um = 9e999 WHERE number = 0",
        "UPDATE fields SET picture = x'89504e470d0a1a0a00' WHERE number = 1",
        "UPDATE fields SET picture = x'ffd8' WHERE number = 1",
        "UPDATE fields SET picture = 7 WHERE number = 1",
        "DROP TABLE facts",
    ],
)
def test_damage_is_named_in_one_sentence(path: Path, damage: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(damage)
    with pytest.raises(SessionError, match=r"s\.fields is damaged") as found:
        read_all(path)
    assert "\n" not in str(found.value)


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are no fields of a slide"):
        FieldSpool(tmp_path)
    for number, data in enumerate((b"", b"something else" * 99)):
        other = tmp_path / f"{number}.fields"
        other.write_bytes(data)
        with pytest.raises(SessionError, match="is no file of a slide's fields"):
            FieldSpool(other)
