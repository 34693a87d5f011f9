"""``reference.npz``: some of the cells that taught the shipped heads, so that a laboratory can join its own.

A cell is a row of int8 features with a scale and an offset for each column; it names its label, its source
and its group. Every source is cited.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edgeleuk.bundle.arrays import arrays_of
from edgeleuk.bundle.manifest import REFERENCE
from edgeleuk.bundle.numbers import Name, Text, decode_json
from edgeleuk.errors import BundleError, DataRefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

LARGEST_BYTES = 1_000_000
MOST_CELLS = 100_000
MOST_FEATURES = 1 << 14
# Features and hand-crafted features come to some hundreds.
LARGEST_VALUE = 1e6
_CURE = "teach it again"


class _Texts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The texts, as JSON in an array of bytes."""

    labels: tuple[Name, ...]
    sources: tuple[Name, ...]
    citations: tuple[Text, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """n cells that taught heads.

    Attributes
    ----------
    features : (n, D) int8
        Those of the trunk, then the hand-crafted ones.
    scale, offset : (D,) float32
        ``value = features * scale + offset``.
    labels, sources : (n,) int32
        Indices into the texts.
    groups : (n,) int32
        Cells of one number come from one subject or one slide.
    label_texts, source_texts : tuple of str
    citations : tuple of str
        One for each source.
    """

    features: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]
    offset: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    sources: npt.NDArray[np.int32]
    groups: npt.NDArray[np.int32]
    label_texts: tuple[str, ...]
    source_texts: tuple[str, ...]
    citations: tuple[str, ...]

    def __post_init__(self) -> None:
        count, width = self.features.shape if self.features.ndim == 2 else (0, 0)
        rows = (self.labels.shape, self.sources.shape, self.groups.shape)
        columns = (self.scale.shape, self.offset.shape)
        if set(rows) != {(count,)} or set(columns) != {(width,)} or not count or not width:
            found = f"{self.features.shape}, {columns}, {rows}"
            msg = f"expected features (n, D), columns (D,) and rows (n,), got {found}"
            raise ValueError(msg)
        if count > MOST_CELLS or width > MOST_FEATURES:
            msg = f"expected at most {MOST_CELLS} cells of {MOST_FEATURES} features, got {count} of {width}"
            raise ValueError(msg)
        if not (self.scale.min() > 0 and max(self.scale.max(), np.abs(self.offset).max()) <= LARGEST_VALUE):
            msg = f"expected scales above 0, and scales and offsets within {LARGEST_VALUE:g}"
            raise ValueError(msg)
        for name, indices, texts in (
            ("label", self.labels, self.label_texts),
            ("source", self.sources, self.source_texts),
        ):
            if len(set(texts)) < len(texts) or indices.min() < 0 or indices.max() >= len(texts):
                msg = f"expected each cell's {name} as one of {len(texts)} texts that differ"
                raise ValueError(msg)
        if self.groups.min() < 0 or len(self.citations) != len(self.source_texts):
            msg = (
                f"expected groups from 0 on and a citation for each of {len(self.source_texts)} sources,"
                f" got {len(self.citations)}"
            )
            raise ValueError(msg)

    @classmethod
    def compact(
        cls,
        values: npt.ArrayLike,
        labels: Sequence[str],
        sources: Sequence[str],
        groups: Sequence[object],
        citations: dict[str, str],
    ) -> Reference:
        """Store cells in bytes: each column from its least to its largest value in 254 steps.

        Parameters
        ----------
        values : (n, D) array_like
            Finite.
        labels, sources : sequence of str
            Of each cell.
        groups : sequence of object
            Of each cell: what is equal is one group; only that is kept.
        citations : dict of str to str
            By source.

        Raises
        ------
        ValueError
            The shapes do not fit.
        KeyError
            A source is not cited.
        """
        rows = np.asarray(values, np.float64)
        low, high = rows.min(axis=0), rows.max(axis=0)
        scale = np.where(high > low, (high - low) / 254, 1.0).astype(np.float32)
        offset = ((high + low) / 2).astype(np.float32)
        steps = np.rint((rows - offset) / scale)
        label_texts, source_texts = sorted(set(labels)), sorted(set(sources))
        numbers = {group: index for index, group in enumerate(dict.fromkeys(groups))}
        return cls(
            np.clip(steps, -127, 127).astype(np.int8),
            scale,
            offset,
            np.array([label_texts.index(label) for label in labels], np.int32),
            np.array([source_texts.index(source) for source in sources], np.int32),
            np.array([numbers[group] for group in groups], np.int32),
            tuple(label_texts),
            tuple(source_texts),
            tuple(citations[source] for source in source_texts),
        )

    def values(self) -> npt.NDArray[np.float32]:
        """Return the (n, D) features as numbers, within half a step of what they were."""
        found: npt.NDArray[np.float32] = self.features.astype(np.float32) * self.scale + self.offset
        return found


def encode_reference(reference: Reference) -> bytes:
    """Return ``reference.npz``; the same cells give the same bytes.

    Raises
    ------
    DataRefusedError
        It is larger than 1 MB.
    """
    texts = _Texts(reference.label_texts, reference.source_texts, reference.citations)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        features=reference.features,
        scale=reference.scale,
        offset=reference.offset,
        labels=reference.labels,
        sources=reference.sources,
        groups=reference.groups,
        texts=np.frombuffer(msgspec.json.encode(texts), np.uint8),
    )
    data = buffer.getvalue()
    if len(data) > LARGEST_BYTES:
        raise DataRefusedError(
            "the cells that a bundle carries for teaching are too many",
            got=f"{len(data)} bytes of {len(reference.features)} cells",
            allowed=LARGEST_BYTES,
            cure="take fewer cells",
        )
    return data


def decode_reference(data: bytes, what: str = REFERENCE) -> Reference:
    """Read ``reference.npz``, called `what` in errors; nothing in it is executed.

    Raises
    ------
    BundleError
        It is damaged, too large, or holds something else.
    """
    if len(data) > LARGEST_BYTES:
        raise BundleError(f"{what} is too large", got=len(data), allowed=LARGEST_BYTES, cure=_CURE)
    with arrays_of(data, what, _CURE) as arrays:
        texts = decode_json(
            arrays.integers("texts", 1, np.uint8).tobytes(), _Texts, f"the texts of {what}", _CURE
        )
        return Reference(
            arrays.integers("features", 2, np.int8),
            arrays.floats("scale", 1, np.float32),
            arrays.floats("offset", 1, np.float32),
            arrays.integers("labels", 1, np.int32),
            arrays.integers("sources", 1, np.int32),
            arrays.integers("groups", 1, np.int32),
            texts.labels,
            texts.sources,
            texts.citations,
        )
