"""What a conversion is asked for is checked before anything is read, and repeated on the model card."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edgeleuk.errors import EdgeleukError, UsageError
from edgeleuk_calibration.calibration_record import CalibrationRecord, encode_calibration_record
from edgeleuk_convert.bundling.foreign import FOLDS
from edgeleuk_convert.commands.options import ConvertOptions, plan_conversion
from edgeleuk_convert.metrics.acceptance import AcceptanceLimits

if TYPE_CHECKING:
    from collections.abc import Callable

NETWORK = Path("net.keras")


def test_the_usual_plan() -> None:
    plan = plan_conversion(NETWORK, ConvertOptions())
    assert (plan.limits, plan.folds, plan.pixels) == (AcceptanceLimits(), FOLDS, None)
    assert (plan.choice.images, plan.choice.seed, plan.choice.strategy) == (100, 0, "balanced")
    assert (plan.recipe.onnx_calibration, plan.recipe.tensorrt, plan.recipe.also) == ("minmax", False, ())
    given = {key: value for key, value in plan.card_notes().items() if value}
    assert given == {"images": 100}


def test_the_card_names_no_file_of_the_users() -> None:
    options = ConvertOptions(
        images=40, contract=Path("/home/a/net.toml"), subjects=Path("/home/a/who.csv"), size="96", folds=4
    )
    plan = plan_conversion(NETWORK, options)
    assert (plan.pixels, plan.folds, plan.choice.images) == ((96, 96), 4, 40)
    notes = plan.card_notes()
    assert (notes["contract"], notes["subjects"], notes["size"]) == ("net.toml", "FILE", "96")
    assert "/home" not in str(notes)


def test_a_calibration_record_takes_the_place_of_the_choice(tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    file.write_bytes(encode_calibration_record(CalibrationRecord(strategy="diverse", seed=7, images=())))
    plan = plan_conversion(NETWORK, ConvertOptions(calibration_record=file))
    assert (plan.choice.strategy, plan.choice.seed, plan.choice.images) == ("diverse", 7, 0)
    notes = plan.card_notes()
    assert notes["calibration_record"] == "FILE"
    assert "images" not in notes
    with pytest.raises(UsageError, match="a calibration record names the images; leave out --images"):
        plan_conversion(NETWORK, ConvertOptions(calibration_record=file, seed=1))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"images": 1}, "the number of calibration images is out of range: got 1"),
        ({"strategy": "best"}, "unknown calibration strategy: got best"),
        ({"onnx_calibration": "mean"}, "--onnx-calibration has a value that nobody knows: got mean"),
        ({"also": ("int4",)}, "--also has a value that nobody knows: got int4"),
        ({"size": "0x96"}, "--size is no size: got 0x96"),
        ({"classes": "early"}, "maps no class: got 'early'"),
        ({"limits_file": Path("nowhere.toml")}, "nowhere.toml"),
    ],
)
def test_what_is_out_of_range(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(EdgeleukError, match=sentence):
        plan_conversion(NETWORK, ConvertOptions(**wrong))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda _: ConvertOptions(folds=4), "--folds divides the groups"),
        (lambda folder: ConvertOptions(contract=folder / "c.toml"), "and a contract is given as well"),
    ],
)
def test_what_contradicts_a_training_record(
    tmp_path: Path, wrong: Callable[[Path], ConvertOptions], sentence: str
) -> None:
    (tmp_path / "net.training.json").write_text("{}")
    with pytest.raises(UsageError, match=sentence):
        plan_conversion(tmp_path / "net.keras", wrong(tmp_path))


def test_options_stay_as_they_were_given() -> None:
    with pytest.raises(FrozenInstanceError):
        ConvertOptions().seed = 1  # type: ignore[misc]
