"""The forest that joins a network: what scikit-learn fits is what NumPy runs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeleuk.bundle.forest import SUREST, Forest, decode_forest, encode_forest
from edgeleuk.bundle.manifest import InputContract
from edgeleuk.classifier.cell_features import LEAST_PX, NAMES, morphology_numbers, numbers_of
from edgeleuk.errors import BundleError, DataRefusedError
from edgeleuk.frames import CellCrop
from edgeleuk.inference.preprocessing import ScaledCell, scaled_cell
from edgeleuk.virtual.cells import single_cell
from edgeleuk_convert.dataset.cells import Label, LabelledCell
from edgeleuk_convert.training import forest as fitting

Floats = npt.NDArray[np.float64]
CONTRACT = InputContract(
    height=96, width=96, channels=("red",), normalise=True, px_per_um=6, crop_px_per_um=18.5, rim_um=0.3
)


def labelled(n: int = 400) -> tuple[list[LabelledCell], Floats]:
    """Make cells of 20 subjects whose numbers 3 and 8 tell the class."""
    rng = np.random.default_rng(0)
    cells, rows = [], []
    for index in range(n):
        label: Label = "blast" if index % 2 else "normal"
        name = str(index % 20)
        path = Path(f"UID_{name}_{index}.bmp")
        cells.append(LabelledCell(path, label, name, name, f"{index:04d}", 20_000, 450, 450))
        row = rng.normal(size=len(NAMES))
        row[[3, 8]] += 1.2 * (label == "blast")
        rows.append(row)
    return cells, np.array(rows)


@pytest.fixture(scope="module")
def fitted() -> tuple[Forest, Floats, npt.NDArray[np.bool_]]:
    cells, numbers = labelled()
    return fitting.fit_forest(cells, numbers), numbers, np.array([cell.label == "blast" for cell in cells])


def test_it_answers_as_scikit_learn_does(
    fitted: tuple[Forest, Floats, npt.NDArray[np.bool_]],
) -> None:
    from sklearn.ensemble import RandomForestClassifier

    forest, numbers, truth = fitted
    original = RandomForestClassifier(
        fitting.TREES,
        min_samples_leaf=fitting.LEAST_IN_LEAF,
        max_leaf_nodes=fitting.MOST_LEAVES,
        random_state=0,
    ).fit(numbers, truth, sample_weight=np.full(len(truth), 1.0))
    asked = np.random.default_rng(1).normal(size=(300, len(NAMES)))
    share = np.clip(original.predict_proba(asked)[:, 1], 1 - SUREST, SUREST)
    np.testing.assert_allclose(forest.log_odds(asked), np.log(share / (1 - share)), atol=1e-5)


def test_it_tells_the_classes_apart_and_the_seed_fixes_it(
    fitted: tuple[Forest, Floats, npt.NDArray[np.bool_]],
) -> None:
    forest, numbers, truth = fitted
    log_odds = forest.log_odds(numbers)
    assert log_odds[truth].mean() > log_odds[~truth].mean() + 1.5
    assert np.abs(log_odds).max() <= np.log(SUREST / (1 - SUREST)) + 1e-9
    assert encode_forest(fitting.fit_forest(*labelled())) == encode_forest(forest)
    assert forest.log_odds(np.empty((0, len(NAMES)))).shape == (0,)


def test_bytes_and_back(fitted: tuple[Forest, Floats, npt.NDArray[np.bool_]]) -> None:
    forest, numbers, _ = fitted
    again = decode_forest(encode_forest(forest))
    np.testing.assert_array_equal(again.log_odds(numbers), forest.log_odds(numbers))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("left", -np.ones(3)),
        ("right", np.array([0, -1, -1])),
        ("left", np.array([7, -1, -1])),
        ("feature", np.array([14, -1, -1])),
        ("value", np.array([0, 2, 0])),
        ("roots", np.array([3])),
        ("roots", np.empty(0)),
        ("limit", np.zeros(2)),
    ],
)
def test_a_forest_that_could_not_be_walked_is_refused(name: str, value: Floats) -> None:
    stump = {
        "feature": np.array([0, -1, -1], np.int16), "limit": np.zeros(3),
        "left": np.array([1, -1, -1], np.int32), "right": np.array([2, -1, -1], np.int32),
        "value": np.array([0, 0.2, 0.9], np.float32), "roots": np.zeros(1, np.int32),
    }  # fmt: skip
    assert Forest(**stump).log_odds([[1.0] * 14]) == pytest.approx(np.log(9), abs=1e-5)  # type: ignore[arg-type]
    buffer = io.BytesIO()
    np.savez(buffer, **stump | {name: value})  # type: ignore[arg-type]
    with pytest.raises(BundleError, match=r"forest cannot be read.*train and convert"):
        decode_forest(buffer.getvalue())


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    with pytest.raises(BundleError):
        decode_forest(data)


def test_numbers_at_the_network_s_scale_do_not_hang_on_the_crop_s() -> None:
    crop = single_cell("blast", 1)
    numbers = numbers_of(scaled_cell(crop, CONTRACT), CONTRACT.px_per_um)
    whole = morphology_numbers(crop)
    assert np.isfinite(numbers).all()
    # The rim is off, so the cell is smaller; its shape and colour stay.
    assert whole[0] - 0.25 < numbers[0] < whole[0]
    assert numbers[4:7] == pytest.approx(whole[4:7], abs=4)
    finer = CellCrop(
        np.repeat(np.repeat(crop.pixels, 2, 0), 2, 1),
        np.repeat(np.repeat(crop.mask, 2, 0), 2, 1),
        2 * crop.px_per_um,
    )
    again = numbers_of(scaled_cell(finer, CONTRACT), CONTRACT.px_per_um)
    assert again == pytest.approx(numbers, rel=0.1, abs=0.15)


def test_a_speck_has_numbers_too() -> None:
    inside = np.zeros((9, 9), bool)
    inside.flat[: LEAST_PX - 1] = True
    assert not numbers_of(ScaledCell(np.zeros((9, 9, 3), np.uint8), inside), 6).any()


def test_a_forest_lies_beside_its_network(
    tmp_path: Path, fitted: tuple[Forest, Floats, npt.NDArray[np.bool_]]
) -> None:
    forest, numbers, _ = fitted
    model = tmp_path / "resnet.keras"
    assert fitting.read_forest(model, 0.0) is None
    with pytest.raises(DataRefusedError, match=r"joins resnet\.keras is not there.*resnet\.forest\.npz"):
        fitting.read_forest(model, 0.5)
    fitting.write_forest(forest, model)
    read = fitting.read_forest(model, 0.5)
    assert read is not None
    np.testing.assert_array_equal(read.log_odds(numbers), forest.log_odds(numbers))
