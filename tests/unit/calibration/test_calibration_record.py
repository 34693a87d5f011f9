"""``calibration.json``: the same images and tensors again, and never those that judge."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgeleuk.bundle.manifest import CALIBRATION, InputContract
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.errors import DataRefusedError, IntegrityError, UsageError
from edgeleuk_calibration.calibration_record import (
    CARD_VERSION,
    decode_calibration_record,
    encode_calibration_record,
    found_again,
    read_calibration_record,
    require_disjoint,
    tensors_sha256,
    with_tensors,
)
from edgeleuk_calibration.selection import select

CONTRACT = InputContract(
    height=8, width=8, channels=("red",), normalise=True, px_per_um=6, crop_px_per_um=18.5, scale=0.1
)
FOLDER = Path("cells")


@dataclass(frozen=True)
class Image:
    path: Path
    label: str | None
    subject: str | None
    group: str | None
    sha256: str


CELLS = [
    Image(FOLDER / label / f"{subject}_{n}.png", label, subject, f"g{subject}", f"{subject}-{n}")
    for label, subjects in (("blast", "123"), ("normal", "456"))
    for subject in subjects
    for n in range(8)
]
CHOSEN = select(CELLS, 20, seed=5, folder=FOLDER)
OTHERS = [Image(FOLDER / "x.png", "blast", "9", "g9", "9-0")]


def test_a_card_survives_the_file(tmp_path: Path) -> None:
    card = with_tensors(CHOSEN.card, CONTRACT, "00" * 32)
    (tmp_path / CALIBRATION).write_bytes(encode_calibration_record(card))
    assert read_calibration_record(tmp_path / CALIBRATION) == card
    assert card.count == 20
    assert card.schema_version == CARD_VERSION
    assert card.images[0].name == CHOSEN.images[0].path.relative_to(FOLDER).as_posix()


def test_the_card_of_the_shipped_bundle_is_read() -> None:
    card = decode_calibration_record(read_bundle("default").members[CALIBRATION])
    assert len(card.images) == 100
    assert card.strategy == "balanced"


def test_the_same_images_are_found_in_another_order_and_under_other_names() -> None:
    assert found_again(CHOSEN.card, CELLS[::-1], folder=FOLDER) == CHOSEN
    moved = [replace(cell, path=Path("other") / f"{n}.png") for n, cell in enumerate(CELLS)]
    again = found_again(CHOSEN.card, moved, folder=Path("other"))
    assert [cell.sha256 for cell in again.images] == [cell.sha256 for cell in CHOSEN.images]


def test_of_copies_the_one_of_the_same_name_is_taken() -> None:
    copies = [replace(cell, path=FOLDER / "a copy" / cell.path.name) for cell in CELLS]
    assert found_again(CHOSEN.card, [*copies, *CELLS], folder=FOLDER) == CHOSEN


def test_missing_and_changed_images_are_refused() -> None:
    first, second, *_ = CHOSEN.images
    there = [replace(cell, sha256="other") if cell is second else cell for cell in CELLS if cell is not first]
    with pytest.raises(DataRefusedError, match="2 of the 20 images") as caught:
        found_again(CHOSEN.card, there, folder=FOLDER)
    assert f"1 missing, such as {first.path.relative_to(FOLDER)}" in str(caught.value)
    assert f"1 with other pixels, such as {second.path.relative_to(FOLDER)}" in str(caught.value)


def test_what_calibrated_may_not_judge() -> None:
    require_disjoint(CHOSEN.card, OTHERS)
    image = CHOSEN.images[0]
    for evaluation, reason in (
        (replace(OTHERS[0], sha256=image.sha256), "the same image"),
        (replace(OTHERS[0], group=image.group), f"group {image.group}"),
        (replace(OTHERS[0], subject=image.subject), f"subject {image.subject}"),
    ):
        with pytest.raises(DataRefusedError, match=rf"1 evaluation images .*x\.png \({reason}") as caught:
            require_disjoint(CHOSEN.card, [*OTHERS, evaluation])
        assert caught.value.exit_code == 4


def test_a_card_of_version_1_knows_images_and_groups() -> None:
    old = decode_calibration_record(
        msgspec.json.encode(
            {
                "strategy": "balanced",
                "seed": 0,
                "images": [
                    {"sha256": i.sha256, "label": i.label, "group": i.group} for i in CHOSEN.card.images
                ],
            }
        )
    )
    assert found_again(old, CELLS, folder=FOLDER).images == CHOSEN.images
    with pytest.raises(DataRefusedError, match="group"):
        require_disjoint(old, [replace(OTHERS[0], group=CHOSEN.images[0].group)])


def test_tensors_prove_themselves() -> None:
    tensors = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1)).astype(np.uint8)
    digest = tensors_sha256(tensors)
    card = with_tensors(CHOSEN.card, CONTRACT, digest)
    # Scale and offset change no byte.
    assert with_tensors(card, msgspec.structs.replace(CONTRACT, scale=1.0, offset=3.0), digest) == card
    tensors[4, 7, 7, 0] ^= 1
    changed = tensors_sha256(tensors)
    with pytest.raises(IntegrityError, match="no longer give the same tensors"):
        with_tensors(card, CONTRACT, changed)
    other = msgspec.structs.replace(CONTRACT, px_per_um=12.0)
    assert with_tensors(card, other, changed).tensors_sha256 == changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 3}, "expected 3 images, got 20"),
        ({"schema_version": 99}, "expected schema_version from 1 to 2, got 99"),
        ({"unknown": 1}, "unknown"),
        ({"images": 7}, "images"),
    ],
)
def test_damaged_cards_are_refused(change: dict[str, object], message: str) -> None:
    data = msgspec.json.encode(msgspec.to_builtins(CHOSEN.card) | change)
    with pytest.raises(IntegrityError, match=f"the calibration record is damaged.*{message}"):
        decode_calibration_record(data)


def test_a_card_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the calibration record cannot be read"):
        read_calibration_record(tmp_path / "none.json")
