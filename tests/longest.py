"""Which files of tests take longest: they come first where several processes share the tests.

One that came last would run alone, while the other processes have nothing left to do.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

TESTS = Path(__file__).parent
# Paths within `TESTS`, longest first: those with more than half a minute of processor time.
LONGEST = (
    "integration/test_docs.py",
    "integration/test_inferred_contract.py",
    "integration/test_train_command.py",
    "unit/convert/bundling/test_repair.py",
    "integration/test_chain.py",
    "integration/test_training.py",
    "integration/test_trend_real.py",
    "integration/test_every_subject.py",
    "integration/test_crossvalidation.py",
    "integration/test_virtual_microscope.py",
    "integration/test_reproducible.py",
    "unit/edgeleuk/classifier/test_self_test.py",
    "integration/test_service.py",
    "integration/test_archive.py",
    "integration/test_repair_command.py",
)


def put_longest_first(items: list[pytest.Item]) -> None:
    """Sort tests by `LONGEST` in place; the others follow in the order that they had."""
    ranks = {(TESTS / file): rank for rank, file in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(LONGEST)))
