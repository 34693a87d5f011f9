"""Every number of a bundle is looked at when it is read, whoever will use it.

Hashes tell that a bundle is what somebody packed; not that what they packed can be. A figure that cannot be
true is refused here, before a share is computed of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edgeleuk.bundle.features import decode_features
from edgeleuk.bundle.forest import decode_forest
from edgeleuk.bundle.golden import decode_golden, require_fitting
from edgeleuk.bundle.heads import HAND_CRAFTED, decode_head
from edgeleuk.bundle.manifest import (
    BLAST,
    CALIBRATION,
    CARD,
    FEATURES,
    FOREST,
    GOLDEN,
    KIND,
    LABELS,
    REFERENCE,
    SUPPORT,
    TRAINING,
    VALIDATION,
    Envelope,
    InputContract,
    OutputContract,
)
from edgeleuk.bundle.numbers import (
    LARGEST_JSON,
    Count,
    Digest,
    Name,
    Number,
    Seed,
    Text,
    decode_json,
    require_range,
)
from edgeleuk.bundle.reference import decode_reference
from edgeleuk.bundle.support_vectors import decode_support
from edgeleuk.bundle.validation import decode_validation
from edgeleuk.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeleuk.bundle.golden import GoldenVectors
    from edgeleuk.bundle.manifest import Manifest

_CURE = "convert the network again"
# Kinds of output that the scores of a head for blasts may be.
_SCORES = ("logit", "logits")


class Labels(msgspec.Struct, frozen=True):
    """``labels.json``."""

    negative: Name
    positive: Name


class CalibrationImage(msgspec.Struct, frozen=True):
    """One image that taught the quantizer its ranges."""

    sha256: Digest


class Calibration(msgspec.Struct, frozen=True):
    """What the device looks at of ``calibration.json``; the workstation knows the rest."""

    images: tuple[CalibrationImage, ...]
    seed: Seed
    count: Count | None = None
    input: InputContract | None = None
    tensors_sha256: Digest | None = None

    def __post_init__(self) -> None:
        if self.count is not None:
            require_range("count", self.count, len(self.images), len(self.images))


class Training(msgspec.Struct, frozen=True):
    """What the device looks at of ``training.json``; the workstation knows the rest."""

    parameters: Count | None = None
    input: InputContract | None = None
    output: OutputContract | None = None
    envelope: Envelope | None = None
    settings: dict[str, str | int | Number | bool | tuple[Text, ...] | None] = {}
    stamp: Text | None = None


def require_plausible(manifest: Manifest, members: Mapping[str, bytes], bundle: str) -> None:
    """Refuse a bundle in which a number cannot be, or two contradict each other.

    Parameters
    ----------
    manifest : Manifest
    members : mapping of str to bytes
        All that the manifest names, with the hashes that it names.
    bundle : str
        Name of the file, for the error.

    Raises
    ------
    BundleError
    """
    for name, entry in manifest.members.items():
        if entry.size_bytes != len(members[name]):
            raise BundleError(
                f"{name} in {bundle} has another size than the manifest says",
                got=len(members[name]),
                allowed=entry.size_bytes,
                cure=_CURE,
            )
    _require_labels(manifest, members[LABELS], bundle)
    decode_json(members[CALIBRATION], Calibration, f"{CALIBRATION} in {bundle}", _CURE)
    decode_training(members[TRAINING], bundle)
    decode_validation(members[VALIDATION], bundle)
    if len(members[CARD]) > LARGEST_JSON:
        raise BundleError(f"{CARD} in {bundle} is too long", got=len(members[CARD]), allowed=LARGEST_JSON)
    golden = decode_golden(members[GOLDEN])
    require_fitting(golden, manifest.input)
    for name, decode in ((FEATURES, decode_features), (FOREST, decode_forest), (SUPPORT, decode_support)):
        if name in members:
            decode(members[name])
    require_fitting_heads(manifest, members, bundle, golden)


def require_fitting_heads(
    manifest: Manifest, members: Mapping[str, bytes], bundle: str, golden: GoldenVectors
) -> None:
    """Refuse heads, and cells that taught them, which do not fit the trunk, the contracts or each other.

    Parameters
    ----------
    manifest : Manifest
    members : mapping of str to bytes
    bundle : str
        Name of the file, for the error.
    golden : GoldenVectors
        Tell what the trunk gives.

    Raises
    ------
    BundleError
    """
    kinds = 0 if manifest.kind is None else len(manifest.kind.kinds)
    answers = [answer.answer for kernels in golden.networks.values() for answer in kernels.values()]
    given = {0 if answer.features is None else answer.features.shape[1] for answer in answers}

    def require(name: str, unit: str, found: int, allowed: int) -> None:
        if found != allowed:
            raise BundleError(
                f"{name} in {bundle} and the bundle do not fit",
                got=f"{found} {unit}",
                allowed=allowed,
                cure="teach it again",
            )

    for name, width in ((BLAST, manifest.output.width), (KIND, kinds)):
        if name in members:
            head = decode_head(members[name], f"{name} in {bundle}")
            require(name, "scores", head.width, width)
            for features in sorted(given):
                require(name, "features", head.features, features)
    if BLAST in members and manifest.output.kind not in _SCORES:
        raise BundleError(
            f"{BLAST} in {bundle} and its manifest do not fit",
            got=f"output of kind {manifest.output.kind}",
            allowed=" or ".join(_SCORES),
            cure="teach it again",
        )
    if REFERENCE in members:
        reference = decode_reference(members[REFERENCE], f"{REFERENCE} in {bundle}")
        for features in sorted(given):
            require(REFERENCE, "features", reference.features.shape[1] - HAND_CRAFTED, features)


def decode_training(data: bytes, bundle: str) -> Training:
    """Decode ``training.json`` as far as the device knows it.

    Raises
    ------
    BundleError
    """
    return decode_json(data, Training, f"{TRAINING} in {bundle}", _CURE)


def _require_labels(manifest: Manifest, data: bytes, bundle: str) -> None:
    labels, output = decode_json(data, Labels, f"{LABELS} in {bundle}", _CURE), manifest.output
    found, expected = (labels.negative, labels.positive), (output.negative_label, output.positive_label)
    if found != expected:
        raise BundleError(
            f"{LABELS} in {bundle} and its manifest name the classes differently",
            got=" against ".join(found),
            allowed=" against ".join(expected),
            cure=_CURE,
        )
