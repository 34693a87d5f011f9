"""What stands on a session's page beside what its rows tell: control, the bundle, a person's review."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class MeasureRow(NamedTuple):
    """A measure of light, focus, stain or scale.

    Attributes
    ----------
    subject, title : str
    value : str
        As it is written.
    control : str
        Mean and standard deviation of the laboratory's control sessions; empty where there are none.
    said : str
        Whether it is within the laboratory's range; empty where nothing can be said.
    """

    subject: str
    title: str
    value: str
    control: str = ""
    said: str = ""


class Quality(NamedTuple):
    """How light, focus and stain were, and how they stand to the laboratory's control sessions.

    Attributes
    ----------
    rows : sequence of MeasureRow
    verdict : str
        In a sentence.
    """

    rows: Sequence[MeasureRow]
    verdict: str


class Validated(NamedTuple):
    """One network's figures on held-out cells: each as written, with its interval."""

    network: str
    figures: Mapping[str, str]


class Model(NamedTuple):
    """What the bundle's file tells.

    Attributes
    ----------
    path, sha256 : str
    verdict : str
        Of its acceptance.
    cells, subjects, groups : int or None
        That it was validated on.
    networks : sequence of Validated
    heads, descent : sequence of str
        One line each.
    members : mapping of str to str
        Their hashes.
    card : str
        Markdown.
    """

    path: str
    sha256: str
    verdict: str
    cells: int | None
    subjects: int | None
    groups: int | None
    networks: Sequence[Validated]
    heads: Sequence[str]
    descent: Sequence[str]
    members: Mapping[str, str]
    card: str


class Estimate(NamedTuple):
    """A number after a person's review, with its 95 % interval; None where there is none."""

    value: float | None
    low: float | None
    high: float | None


class Reviewed(NamedTuple):
    """Counts after review, to stand beside the machine's.

    Attributes
    ----------
    looked_at, cells : int
        Cells that a person looked at, of all.
    readers : sequence of str
        Who did.
    counts : mapping of str to (int, Estimate)
        By the names of the differential: the machine's count, and how many cells there are.
    of_white, of_lymphoid : Estimate
        Share of blasts, 0 to 1.
    notes : sequence of str
        What is to be known of them, a sentence each.
    """

    looked_at: int
    cells: int
    readers: Sequence[str]
    counts: Mapping[str, tuple[int, Estimate]]
    of_white: Estimate
    of_lymphoid: Estimate
    notes: Sequence[str]


class Beside(NamedTuple):
    """All of it; a sentence says why there is no model, or no review."""

    quality: Quality
    model: Model | str
    reviewed: Reviewed | str
