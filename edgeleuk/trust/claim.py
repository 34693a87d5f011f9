"""What the trusted comment of a bundle's signature says: of which series it is, and which one comes later."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote

from edgeleuk.errors import SignatureError

# A number that fits into 63 bits, as JSON readers of other languages take it.
_NUMBER = re.compile(r"[0-9]{1,18}")
_HASH = re.compile(r"[0-9a-f]{64}")


class Claim(NamedTuple):
    """What whoever signed a bundle says of it.

    Attributes
    ----------
    sequence : int or None
        A later bundle has a higher one; by default the second at which it was signed. None where the comment
        holds neither.
    series : str or None
        What the bundle is a version of; None where the comment does not say it.
    sha256 : str or None
        Of the file; None likewise.
    """

    sequence: int | None
    series: str | None = None
    sha256: str | None = None


def claim_text(claim: Claim, *, at: int, file: str) -> str:
    """Write a trusted comment: minisign's own three fields, then ours, with tabulators between them.

    Parameters
    ----------
    claim : Claim
        Whole.
    at : int
        Now, in seconds since the Unix epoch.
    file : str
        The file's name.

    Examples
    --------
    >>> claim_text(Claim(7, "lab 1", "ab" * 32), at=5, file="a.edgeleuk").split(chr(9))[:4]
    ['timestamp:5', 'file:a.edgeleuk', 'hashed', 'sequence:7']
    """
    fields = [f"timestamp:{at}", f"file:{quote(file, safe=' ')}", "hashed", f"sequence:{claim.sequence}"]
    fields += [f"series:{quote(str(claim.series), safe=' ')}", f"sha256:{claim.sha256}"]
    return "\t".join(fields)


def read_claim(comment: str, name: str) -> Claim:
    r"""Read a trusted comment, of edgeleuk or of minisign, whose time serves as the sequence.

    Raises
    ------
    SignatureError
        A field stands in it twice, or says what it cannot say.

    Examples
    --------
    >>> read_claim("timestamp:1795997971\tfile:f\thashed", "f.minisig").sequence
    1795997971
    """
    fields: dict[str, str] = {}
    for field in comment.split("\t"):
        key, colon, value = field.partition(":")
        if not colon:
            continue
        if key in fields:
            raise SignatureError(f"the trusted comment of {name} says {key[:20]!r} twice")
        fields[key] = value
    number = fields.get("sequence", fields.get("timestamp"))
    if number is not None and not _NUMBER.fullmatch(number):
        raise SignatureError(f"the trusted comment of {name} has no number for a sequence", got=number[:40])
    sha256 = fields.get("sha256")
    if sha256 is not None and not _HASH.fullmatch(sha256):
        raise SignatureError(f"the trusted comment of {name} has no hash of 64 digits", got=sha256[:80])
    series = fields.get("series")
    return Claim(None if number is None else int(number), None if series is None else unquote(series), sha256)
