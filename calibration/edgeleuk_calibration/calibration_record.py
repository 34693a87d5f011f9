"""``calibration.json``: which images, how chosen, and the proof that the same tensors come of them again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import msgspec
import numpy as np

from edgeleuk.bundle.manifest import InputContract, Struct
from edgeleuk.errors import DataRefusedError, IntegrityError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import numpy.typing as npt

# Version 1 named hash, label and group of each image, and had neither count, input nor the tensors' hash.
CARD_VERSION = 2
NAMED_AT_MOST = 5


class Labelled(Protocol):
    """What a selection needs to know of an image."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    @property
    def label(self) -> str | None:
        """``blast``, ``normal``, or None where nobody knows."""
        ...

    @property
    def subject(self) -> str | None:
        """Whose cell it is."""
        ...

    @property
    def group(self) -> str | None:
        """Subjects that share images are one group."""
        ...

    @property
    def sha256(self) -> str:
        """Of the decoded pixels."""
        ...


T = TypeVar("T", bound=Labelled)


class ChosenImage(Struct, frozen=True):
    """One image of the calibration set, as ``calibration.json`` names it.

    Attributes
    ----------
    sha256 : str
        Of the decoded pixels.
    label, group : str
    subject : str or None
    name : str or None
        The file, relative to the folder that it was chosen from.
    """

    sha256: str
    label: str
    group: str
    subject: str | None = None
    name: str | None = None


class CalibrationRecord(Struct, frozen=True):
    """``calibration.json``: which images, how chosen.

    Attributes
    ----------
    strategy : str
    seed : int
    images : tuple of ChosenImage
        In the order in which the quantizer saw them.
    count : int or None
        How many there are.
    input : InputContract or None
        How a crop became a tensor.
    tensors_sha256 : str or None
        Of the calibration tensors, stacked.
    schema_version : int
    """

    strategy: str
    seed: int
    images: tuple[ChosenImage, ...]
    count: int | None = None
    input: InputContract | None = None
    tensors_sha256: str | None = None
    schema_version: int = 1

    def __post_init__(self) -> None:
        if self.count is not None and self.count != len(self.images):
            msg = f"expected {self.count} images, got {len(self.images)}"
            raise ValueError(msg)
        if not 1 <= self.schema_version <= CARD_VERSION:
            msg = f"expected schema_version from 1 to {CARD_VERSION}, got {self.schema_version}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class CalibrationSet(Generic[T]):
    """The images, in a seeded order, and their record."""

    images: tuple[T, ...]
    card: CalibrationRecord


def make_calibration_record(
    images: Sequence[Labelled], *, strategy: str, seed: int, folder: Path | None = None
) -> CalibrationRecord:
    """Name every image, relative to `folder` where that is given."""
    return CalibrationRecord(
        strategy=strategy,
        seed=seed,
        images=tuple(
            ChosenImage(
                sha256=image.sha256,
                label=image.label or "",
                group=image.group or "",
                subject=image.subject,
                name=relative_name(image.path, folder),
            )
            for image in images
        ),
        count=len(images),
        schema_version=CARD_VERSION,
    )


def encode_calibration_record(card: CalibrationRecord) -> bytes:
    """Return ``calibration.json``."""
    return msgspec.json.format(msgspec.json.encode(card), indent=1)


def decode_calibration_record(data: bytes) -> CalibrationRecord:
    """Decode ``calibration.json``, those of older bundles too.

    Raises
    ------
    IntegrityError
        It is damaged, contradicts itself, or is of a version that nobody here knows.
    """
    try:
        return msgspec.json.decode(data, type=CalibrationRecord)
    except (msgspec.DecodeError, ValueError) as error:
        raise IntegrityError("the calibration record is damaged", got=str(error)) from error


def read_calibration_record(path: Path) -> CalibrationRecord:
    """Read a ``calibration.json``.

    Raises
    ------
    UsageError
        There is no such file.
    IntegrityError
        As for `decode_card`.
    """
    try:
        return decode_calibration_record(path.read_bytes())
    except OSError as error:
        raise UsageError(
            "the calibration record cannot be read", got=f"{path} ({error.strerror})", cure="check the path"
        ) from error


def found_again(
    card: CalibrationRecord, cells: Iterable[T], *, folder: Path | None = None
) -> CalibrationSet[T]:
    """Find the images of a record again by their hashes, in the record's order.

    Parameters
    ----------
    card : CalibrationRecord
    cells : iterable of labelled images
        Where to look.
    folder : Path, optional
        What names in the record are relative to: tells a changed file from a missing one.

    Raises
    ------
    DataRefusedError
        Some are missing, or their pixels have changed.
    """
    by_hash: dict[str, dict[str, T]] = {}
    names: set[str] = set()
    for cell in sorted(cells, key=lambda cell: str(cell.path)):
        name = relative_name(cell.path, folder)
        names.add(name)
        by_hash.setdefault(cell.sha256, {})[name] = cell
    found: list[T] = []
    missing: list[str] = []
    changed: list[str] = []
    for image in card.images:
        same = by_hash.get(image.sha256)
        if same is None:
            (changed if image.name in names else missing).append(image.name or image.sha256[:16])
        else:
            found.append(same.get(image.name or "", next(iter(same.values()))))
    if missing or changed:
        facts = [
            f"{len(of)} {what}, such as {of[0]}"
            for of, what in ((missing, "missing"), (changed, "with other pixels"))
            if of
        ]
        raise DataRefusedError(
            f"{len(missing) + len(changed)} of the {len(card.images)} images of the calibration record"
            " are not there as they were",
            got="; ".join(facts),
            cure="pass the folder that the record was made from",
        )
    return CalibrationSet(tuple(found), card)


def require_disjoint(card: CalibrationRecord, evaluation: Iterable[Labelled]) -> None:
    """Refuse to judge on what the quantizer has seen: no image, group or subject may be on both sides.

    Parameters
    ----------
    card : CalibrationRecord
    evaluation : iterable of labelled images

    Raises
    ------
    DataRefusedError
        Names the files of `evaluation` concerned.
    """
    hashes = {image.sha256: image.name for image in card.images}
    groups = {image.group for image in card.images} - {""}
    subjects = {image.subject.casefold() for image in card.images if image.subject}
    shared = []
    for cell in evaluation:
        if cell.sha256 in hashes:
            other = hashes[cell.sha256]
            shared.append(f"{cell.path.name} ({f'the same image as {other}' if other else 'the same image'})")
        elif cell.group in groups:
            shared.append(f"{cell.path.name} (group {cell.group})")
        elif cell.subject is not None and cell.subject.casefold() in subjects:
            shared.append(f"{cell.path.name} (subject {cell.subject})")
    if shared:
        raise DataRefusedError(
            f"{len(shared)} evaluation images belong to images or groups that calibrated the network",
            got=few(shared),
            cure="calibrate with training images, or evaluate on other subjects",
        )


def tensors_sha256(tensors: Iterable[npt.NDArray[np.uint8]]) -> str:
    """Hash a stack of calibration tensors, one at a time.

    Parameters
    ----------
    tensors : iterable of (H, W, C) uint8

    Examples
    --------
    >>> stack = np.zeros((2, 4, 4, 1), np.uint8)
    >>> tensors_sha256(stack) == tensors_sha256(iter(stack))
    True
    """
    digest = hashlib.sha256()
    for number, tensor in enumerate(tensors):
        if number == 0:
            digest.update("x".join(map(str, tensor.shape)).encode() + b":")
        digest.update(np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()


def with_tensors(card: CalibrationRecord, contract: InputContract, digest: str) -> CalibrationRecord:
    """Write down which tensors came of the images; where the record says so already, they must be the same.

    Parameters
    ----------
    card : CalibrationRecord
    contract : InputContract
        By which crops became tensors; scale and offset do not matter to bytes.
    digest : str
        From `tensors_sha256`.

    Raises
    ------
    IntegrityError
        The record's input contract is the same, the tensors are not.
    """
    of_bytes = msgspec.structs.replace(contract, scale=1.0, offset=0.0)
    if card.input == of_bytes and card.tensors_sha256 not in (None, digest):
        raise IntegrityError(
            "the images of the calibration record no longer give the same tensors",
            got=digest[:16],
            allowed=str(card.tensors_sha256)[:16],
            cure="convert with the edgeleuk and OpenCV that made the record, or choose images anew",
        )
    return msgspec.structs.replace(
        card,
        schema_version=CARD_VERSION,
        count=len(card.images),
        input=of_bytes,
        tensors_sha256=digest,
    )


def relative_name(path: Path, folder: Path | None) -> str:
    """Name a file by its way from `folder`; by its name alone where it does not lie in there."""
    return path.relative_to(folder).as_posix() if folder and path.is_relative_to(folder) else path.name


def few(items: Sequence[str]) -> str:
    """Name some of many.

    Examples
    --------
    >>> few(list("abcdefg"))
    'a, b, c, d, e and 2 more'
    """
    more = len(items) - NAMED_AT_MOST
    return ", ".join(items[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
