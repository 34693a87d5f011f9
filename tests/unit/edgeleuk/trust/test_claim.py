"""What a trusted comment says of a bundle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.errors import SignatureError
from edgeleuk.trust.claim import Claim, claim_text, read_claim

names = st.text(min_size=1, max_size=60)


@given(st.integers(1, 10**18 - 1), names, names)
def test_what_is_written_is_read(sequence: int, series: str, file: str) -> None:
    # A surrogate alone is no text.
    series, file = (name.encode("utf-8", "replace").decode() for name in (series, file))
    claim = Claim(sequence, series, "ab" * 32)
    text = claim_text(claim, at=1, file=file)
    assert text.isascii()
    assert len(text.splitlines()) == 1
    assert read_claim(text, "f.minisig") == claim


@pytest.mark.parametrize(
    ("comment", "sequence"),
    [
        ("timestamp:12\tfile:f\thashed", 12),
        ("timestamp:12\tsequence:3", 3),
        ("sequence:3", 3),
        ("signature of Monday", None),
        ("", None),
    ],
)
def test_the_time_of_minisign_serves_as_the_sequence(comment: str, sequence: int | None) -> None:
    assert read_claim(comment, "f.minisig").sequence == sequence


@pytest.mark.parametrize(
    ("comment", "said"),
    [
        ("sequence:3\tsequence:4", "says 'sequence' twice"),
        ("sequence:-3", "no number"),
        ("sequence:", "no number"),
        ("sequence:" + "9" * 19, "no number"),
        ("timestamp:٣", "no number"),
        ("sequence:3\tsha256:abc", "no hash"),
    ],
)
def test_what_cannot_be_is_refused(comment: str, said: str) -> None:
    with pytest.raises(SignatureError, match=said):
        read_claim(comment, "f.minisig")
