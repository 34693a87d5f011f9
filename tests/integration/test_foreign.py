"""Networks without a training record become bundles, on real cells, and say what nobody knows of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from foreign import SIDE, dense, separable, taught

from edgeleuk.bundle.golden import golden_crops_of
from edgeleuk.bundle.manifest import CARD, VALIDATION
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.classifier.classifier import open_classifier
from edgeleuk.classifier.self_test import replay
from edgeleuk.errors import EdgeleukError, UsageError
from edgeleuk.inference import open_runtime
from edgeleuk_convert.commands import convert as conversion_commands
from edgeleuk_convert.commands.options import ConvertOptions
from edgeleuk_convert.dataset.cnmc import load_cells
from edgeleuk_convert.evaluation.evaluate import unseen
from edgeleuk_convert.networks.loading import hash_of
from edgeleuk_convert.training.record import bundle_record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeleuk_convert.commands.results import ConversionResult

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras, of NumPy
    pytest.mark.filterwarnings("ignore:Statistics for quantized inputs:UserWarning"),  # TFLite, always
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning"),
]
INPUT = "[input]\npx_per_um = 1.4\n"
# An exported network tells neither how it begins nor how it ends.
THREE = (
    INPUT + 'scale = 1\n[output]\nkind = "softmax"\nlabels = ["blast", "normal", "other"]\nthreshold = 0.4\n'
)


@pytest.fixture(scope="module")
def folder(few_cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two networks of others', and what their authors know of them."""
    folder = tmp_path_factory.mktemp("foreign")
    taught(dense(), few_cells).save(folder / "dense.h5")
    taught(separable(), few_cells).export(folder / "separable", verbose=False)
    (folder / "dense.toml").write_text(INPUT)
    (folder / "separable.toml").write_text(THREE)
    return folder


def convert(folder: Path, name: str, few_cells: Path, **options: Any) -> ConversionResult:
    stem = name.partition(".")[0]
    return conversion_commands.convert(
        folder / name, few_cells, folder / f"{stem}.edgeleuk",
        ConvertOptions(images=40, seed=0, contract=folder / f"{stem}.toml", **options),
    )  # fmt: skip


@pytest.mark.parametrize(("name", "kind"), [("dense.h5", "logit"), ("separable", "logits")])
def test_from_file_to_decision(folder: Path, few_cells: Path, name: str, kind: str) -> None:
    result = convert(folder, name, few_cells, tensorrt=True, also=("float16",))
    bundle = read_bundle(result.bundle)
    manifest, record = bundle.manifest, bundle_record(bundle)
    assert (manifest.output.kind, manifest.output.positive_label) == (kind, "blast")
    assert manifest.provenance.float_parent_sha256 == hash_of(folder / name)
    assert not manifest.provenance.training_known
    assert "model.int8.tensorrt.onnx" in bundle.members
    assert all(outcome.status == "ok" for outcome in replay(bundle))
    # What calibrates it does not judge it, and is left out of every later evaluation.
    fresh, seen = unseen(load_cells(few_cells).cells, record)
    chosen = {image["sha256"] for image in json.loads(bundle.members["calibration.json"])["images"]}
    assert chosen <= {cell.sha256 for cell in seen}
    assert result.validation["reference"]["cells"] == len(fresh) > 50
    assert json.loads(bundle.members[VALIDATION])["audit"] == json.loads(json.dumps(result.audit))
    assert {found["member"] for found in result.audit} >= {"model.int8.tensorrt.onnx", "float16"}
    assert "subjects that it was trained on are unknown" in bundle.members[CARD].decode()
    assert "trained on subjects that nobody named" in _inspected(bundle)
    text = conversion_commands.conversion_text(result)
    assert "model.int8.tensorrt.onnx" in text
    assert "tensorrt_int8" in text
    beside = folder / f"{bundle.path.stem}.float16.tflite"
    answer = open_runtime("litert", beside.read_bytes(), manifest.input).predict(
        np.zeros((1, SIDE, SIDE, 3), np.uint8)
    )
    assert answer.outputs.shape == (1, manifest.output.width)
    crops = golden_crops_of(bundle)
    by_runtime = [
        open_classifier(bundle, runtime=runtime).probabilities(crops) for runtime in ("litert", "onnxruntime")
    ]
    assert by_runtime[0] == pytest.approx(by_runtime[1], abs=0.1)
    # The network of TensorRT is not what ONNX Runtime runs on a CPU.
    assert bundle.model_name("onnxruntime", "int8") == "model.int8.onnx"


def _inspected(bundle: Any) -> str:
    from edgeleuk.commands.bundle import facts_text

    return facts_text(bundle)


def spoil(folder: Path) -> None:
    import keras

    model = keras.models.load_model(folder / "x.h5", compile=False)
    model.layers[-1].kernel.assign(model.layers[-1].kernel.numpy() * np.nan)
    model.save(folder / "x.h5")


def give_record(folder: Path) -> None:
    (folder / "x.training.json").write_text("{}")


def forget_scale(folder: Path) -> None:
    (folder / "x.toml").write_text("")


def nothing(folder: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("prepare", "images", "error", "sentence"),
    [
        (spoil, 40, UsageError, "has weights that are not finite"),
        (give_record, 40, UsageError, "has a training record, and a contract is given as well"),
        (forget_scale, 40, UsageError, "no input.px_per_um"),
        (nothing, 4, UsageError, "the number of calibration images is out of range"),
    ],
)
def test_nothing_is_written_of_what_is_refused(
    folder: Path,
    few_cells: Path,
    tmp_path: Path,
    prepare: Callable[[Path], None],
    images: int,
    error: type[EdgeleukError],
    sentence: str,
) -> None:
    (tmp_path / "x.h5").write_bytes((folder / "dense.h5").read_bytes())
    (tmp_path / "x.toml").write_text(INPUT)
    prepare(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=sentence):
        conversion_commands.convert(
            tmp_path / "x.h5", few_cells, tmp_path / "x.edgeleuk",
            ConvertOptions(images=images, seed=0, contract=tmp_path / "x.toml", also=("float16",)),
        )  # fmt: skip
    assert sorted(tmp_path.iterdir()) == before
