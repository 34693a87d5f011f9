"""Pictures of the user's own, without subjects, become a bundle, and every output says what that means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import pytest
from foreign import dense, trained

from edgeleuk.bundle.manifest import CARD
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.commands.bundle import facts_text
from edgeleuk.errors import DataRefusedError, UsageError
from edgeleuk.virtual.cells import single_cell
from edgeleuk_convert.commands import convert as conversion_commands
from edgeleuk_convert.commands import evaluate as validation_commands
from edgeleuk_convert.commands import train
from edgeleuk_convert.commands.options import ConvertOptions
from edgeleuk_convert.commands.read_cells import DataOptions
from edgeleuk_convert.training.record import bundle_record

if TYPE_CHECKING:
    from edgeleuk_convert.commands.results import ConversionResult

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras, of NumPy
    pytest.mark.filterwarnings("ignore:Statistics for quantized inputs:UserWarning"),  # TFLite, always
]
STAMP = "NO SUBJECTS KNOWN: every such picture counts for itself"
ANY_CHANGE = "[limits]\nweighted_f1_drop = 1\nsensitivity_drop = 1\nflips = 1\nprobability_change = 1\n"


def drawn(folder: Path, first: int, number: int) -> Path:
    """Draw cells into folders of classes that nobody knows."""
    for kind, label in (("lymphoid", "normal"), ("early stage", "blast"), ("late stage", "blast")):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for seed in range(first, first + number):
            pixels = single_cell(label, seed + 1000 * len(kind)).pixels
            cv2.imwrite(str(folder / kind / f"cell {seed}.tif"), pixels[..., ::-1])
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ConversionResult]:
    folder = tmp_path_factory.mktemp("own")
    trained(dense()).save(folder / "net.keras")
    # What the network was taught on drawings says the opposite of these: its labels are in the other order.
    (folder / "contract.toml").write_text(
        '[input]\npx_per_um = 1.4\n[output]\nlabels = ["blast", "normal"]\npositive = "blast"\n'
    )
    (folder / "limits.toml").write_text(ANY_CHANGE)
    drawn(folder / "pictures", 0, 16)
    result = conversion_commands.convert(
        folder / "net.keras", folder / "pictures", folder / "net.edgeleuk",
        ConvertOptions(
            images=12, contract=folder / "contract.toml", limits_file=folder / "limits.toml",
            classes=CLASSES, px_per_um=18.5, folds=2,
        ),
    )  # fmt: skip
    return folder, result


CLASSES = "lymphoid=normal,early stage=blast,late_stage=blast"


def test_a_bundle_of_own_pictures_carries_the_stamp(made: tuple[Path, ConversionResult]) -> None:
    _, result = made
    bundle = read_bundle(result.bundle)
    record = bundle_record(bundle)
    assert (result.stamp or "").startswith(STAMP)
    assert result.validation["stamp"] == result.stamp == record.stamp
    # Half of the pictures judge, and none of those has calibrated.
    assert abs(len(record.held_out_subjects) - 24) <= 1
    assert not set(record.held_out_subjects) & set(record.training_subjects)
    text = conversion_commands.conversion_text(result)
    assert text.startswith(STAMP)
    assert text.count(STAMP) == 1
    card = bundle.members[CARD].decode()
    assert card.count(STAMP) == 1
    assert f"{len(record.held_out_subjects)} pictures whose subjects nobody knows." in card
    assert f"--classes '{CLASSES}'" in card
    assert "--px-per-um 18.5 --folds 2" in card
    assert STAMP in facts_text(bundle)


def test_evaluation_and_validation_carry_it_once(made: tuple[Path, ConversionResult], tmp_path: Path) -> None:
    folder, result = made
    others = drawn(tmp_path / "others", 500, 4)
    evaluated = train.evaluate(
        result.bundle,
        others,
        runtime="litert",
        precision="float32",
        options=DataOptions.parse(CLASSES, None, None),
        report=tmp_path / "report",
    )
    assert isinstance(evaluated.stamp, str)
    assert (evaluated.cells, evaluated.stamp.count(STAMP)) == (12, 1)
    assert train.evaluation_text(evaluated).startswith(STAMP)
    assert STAMP in (tmp_path / "report" / "report.html").read_text()
    validated = validation_commands.validate(
        result.bundle,
        others,
        options=DataOptions.parse(CLASSES, None, None),
        limits_file=folder / "limits.toml",
    )
    assert (validated.stamp or "").count(STAMP) == 1
    assert validation_commands.validation_text(validated).startswith(STAMP)


def test_subjects_by_a_table_take_the_stamp_of_the_data_away(
    made: tuple[Path, ConversionResult], tmp_path: Path
) -> None:
    _, result = made
    others = drawn(tmp_path / "others", 700, 4)
    rows = [f"{path.relative_to(others)},P{n // 2}" for n, path in enumerate(sorted(others.rglob("*.tif")))]
    (tmp_path / "subjects.csv").write_text("\n".join(["file,patient", *rows]))
    compared = validation_commands.compare(
        result.bundle,
        result.bundle,
        others,
        options=DataOptions.parse(CLASSES, tmp_path / "subjects.csv", None),
    )
    assert (compared.stamp, compared.subjects) == (None, 6)
    assert (compared.a.stamp or "").startswith(STAMP)


def test_what_is_refused_before_anything_is_read(made: tuple[Path, ConversionResult], tmp_path: Path) -> None:
    folder, _ = made
    out = tmp_path / "x.edgeleuk"
    with pytest.raises(UsageError, match="maps no class: got 'early'"):
        conversion_commands.convert(
            folder / "net.keras", tmp_path / "none", out, ConvertOptions(classes="early")
        )
    (folder / "known.training.json").write_text("{}")
    with pytest.raises(
        UsageError, match="--folds divides the groups for a network without a training record"
    ):
        conversion_commands.convert(folder / "known.keras", tmp_path / "none", out, ConvertOptions(folds=4))
    assert not out.exists()


def test_one_class_alone_is_refused(made: tuple[Path, ConversionResult], tmp_path: Path) -> None:
    folder, _ = made
    with pytest.raises(DataRefusedError, match=r"labelled cells of both classes: got 0 normal, 32 blast"):
        conversion_commands.convert(
            folder / "net.keras", folder / "pictures", tmp_path / "x.edgeleuk",
            ConvertOptions(
                images=12,
                contract=folder / "contract.toml",
                classes="early stage=blast,late stage=blast",
            ),
        )  # fmt: skip


def test_the_command_line_takes_the_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeleuk.cli.app import app

    seen: list[DataOptions] = []

    def take(*_: object, options: DataOptions, **__: object) -> dict[str, Any]:
        seen.append(options)
        raise UsageError("enough")

    def take_all(model: Path, data: Path, out: Path, options: ConvertOptions) -> dict[str, Any]:
        assert (str(model), data, str(out), options.folds) == ("net.keras", tmp_path, "x", None)
        return take(options=DataOptions.parse(options.classes, options.subjects, options.px_per_um))

    monkeypatch.setattr(train, "evaluate", take)
    monkeypatch.setattr(validation_commands, "validate", take)
    monkeypatch.setattr(validation_commands, "compare", take)
    monkeypatch.setattr(conversion_commands, "calibrate", take)
    monkeypatch.setattr(conversion_commands, "convert", take_all)
    data = ["--data", str(tmp_path)]
    for words in (
        ["evaluate", "default", *data],
        ["validate", "default", *data],
        ["compare", "default", "default", *data],
        ["calibrate", "net.keras", *data, "--out", "x"],
        ["convert", "net.keras", "--calibration", str(tmp_path), "--int8", "--out", "x"],
    ):
        seen.clear()
        with pytest.raises(UsageError, match="enough"):
            app(
                [*words, "--classes", "a=blast", "--labels", "t.csv", "--px-per-um", "9"],
                standalone_mode=False,
            )
        assert seen == [DataOptions.parse("a=blast", Path("t.csv"), 9.0)]
