"""OpenVINO as a runtime: what it leaves behind, how near it is, and that commands take it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edgeleuk.bench.choosing import choose_runtime
from edgeleuk.bundle.golden import decode_golden
from edgeleuk.bundle.manifest import FLOAT32_TFLITE, GOLDEN, INT8_ONNX, INT8_TFLITE
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.classifier import provider_tolerance
from edgeleuk.classifier.classifier import open_network
from edgeleuk.classifier.self_test import UNUSABLE, open_tested_classifier, replay, require_unmoved
from edgeleuk.errors import BundleError, CheckFailedError, MissingDependencyError
from edgeleuk.inference import open_runtime
from edgeleuk.io.kernel import NO_DOT_PRODUCT, int8_dot_product
from edgeleuk.virtual.cells import single_cell

if TYPE_CHECKING:
    from collections.abc import Callable

    from outcome import Outcome

    from edgeleuk.bundle.contents import Bundle


# x86 without VNNI.
SATURATES = platform.machine() == "x86_64" and int8_dot_product(Path("/")) == NO_DOT_PRODUCT


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return read_bundle("default")


def test_nothing_is_left_in_the_home_folder(tmp_path: Path) -> None:
    """Its telemetry would number the user there, and send that to a server."""
    code = (
        "import sys\n"
        "from edgeleuk.bundle.reading import read_bundle\n"
        "from edgeleuk.classifier.classifier import open_network\n"
        "bundle = read_bundle('default')\n"
        "open_network(bundle.members, 'model.int8.onnx', bundle.manifest.input, runtime='openvino').close()\n"
        "assert not [name for name, it in sys.modules.items() if 'openvino_telemetry' in name and it]\n"
    )
    environment = dict(os.environ) | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=120)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_the_self_test_passes_where_sums_do_not_saturate(bundle: Bundle, precision: str) -> None:
    words = {"runtime": "openvino", "precision": precision, "threads": 1, "abstain": "band"}
    if precision == "int8" and SATURATES:
        with pytest.raises(CheckFailedError, match="on openvino: differs by up to"):
            open_tested_classifier(bundle, **words)
        return
    with open_tested_classifier(bundle, **words) as classifier:
        assert classifier.runtime.name == "openvino"


def test_the_self_test_is_no_wider_than_that(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels whose sums saturate, as on a processor without VNNI, came to 19 and 65 times the tolerances."""
    largest, mean = provider_tolerance.OPENVINO
    assert largest < 19 / 3
    assert mean < 65 / 3
    monkeypatch.setattr(provider_tolerance, "WIDER", {})
    words = {"runtime": "openvino", "precision": "int8", "threads": 1, "abstain": "band"}
    with pytest.raises(CheckFailedError, match=r"model.int8.onnx( features)? on openvino: differs by"):
        open_tested_classifier(bundle, **words)
    # Of a runtime that nobody asked for, `verify` tells it, and the bundle is none the worse.
    results = replay(bundle, by_name=True)
    assert {one.runtime for one in results if one.status == UNUSABLE} == {"openvino"}
    require_unmoved(bundle, results)
    assert "openvino" not in {one.runtime for one in replay(bundle)}


def test_pooled_features_lie_near_litert_s(bundle: Bundle) -> None:
    tensors, contract = decode_golden(bundle.members[GOLDEN]).tensors, bundle.manifest.input
    found = []
    for name in ("litert", "openvino"):
        with open_network(bundle.members, FLOAT32_TFLITE, contract, runtime=name, threads=2) as network:
            found.append(network.predict(tensors))
    np.testing.assert_allclose(found[0].features, found[1].features, atol=1e-3)


def test_a_network_that_it_cannot_read_is_named(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="the model cannot be loaded by OpenVINO") as caught:
        open_runtime("openvino", bundle.members[INT8_TFLITE][:2000], bundle.manifest.input)
    assert "\n" not in str(caught.value)


def test_a_library_that_does_not_load_is_named(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "openvino").mkdir()
    (tmp_path / "openvino" / "__init__.py").write_text("raise ImportError('libtbb.so.12: no such file')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "openvino", raising=False)
    with pytest.raises(MissingDependencyError, match=r"OpenVINO cannot be imported: got libtbb\.so"):
        open_network(bundle.members, INT8_ONNX, bundle.manifest.input, runtime="openvino")


def test_it_is_never_chosen_by_itself(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle's figures are not of it, fast as it may be."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert choose_runtime(bundle, "int8", 1).runtime in ("litert", "onnxruntime")
    monkeypatch.setattr("edgeleuk.bench.networks.available_runtimes", lambda: ("openvino",))
    with pytest.raises(MissingDependencyError, match="no runtime that the bundle was validated with"):
        choose_runtime(bundle, "int8", 1)


def test_run_and_a_batch_with_workers_take_it(edgeleuk: Callable[..., Outcome]) -> None:
    camera = "virtual://?seed=1&width=480&height=360&frames=2"
    words = ("--camera", camera, "--precision", "float32", "--session", "s.db", "--json")
    done = edgeleuk("run", *words, "--runtime", "openvino")
    assert done.code == 0, done.err
    again = edgeleuk("run", *words, "--resume")
    assert again.code == 0, again.err
    assert "runtime   openvino: the session s.db was recorded with it" in again.err
    Path("night").mkdir()
    for seed in range(4):
        cv2.imwrite(f"night/{seed}.png", single_cell("blast", seed).pixels[:, :, ::-1])
    words = ("--runtime", "openvino", "--precision", "float32", "--jobs", 2, "--out", "r.jsonl", "--json")
    batch = edgeleuk("classify", "night", *words)
    assert batch.code == 0, batch.err
    assert json.loads(batch.out)["runtime"] == "openvino"
    lines = [json.loads(line) for line in Path("r.jsonl").read_text().splitlines()]
    assert sum(len(line.get("cells", ())) for line in lines) == 4
