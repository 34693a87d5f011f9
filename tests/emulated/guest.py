"""What runs inside, where nothing but the wheel is: it judges cells, or counts each stage's instructions.

python guest.py judge MATERIAL.npz OUT.npz [int8]
python guest.py exact MATERIAL.npz OUT.npz
python guest.py count MATERIAL.npz MARKS.json
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edgeleuk.bundle.golden import decode_golden, golden_crops_of
from edgeleuk.bundle.manifest import GOLDEN
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.classifier.classifier import open_classifier, open_network
from edgeleuk.frames import Box, CellCrop
from edgeleuk.inference.preprocessing import to_batch
from edgeleuk.results import CellResult, FrameResult, Prediction
from edgeleuk.session import JudgedCell, create_session
from edgeleuk.vision.crops import crop_cell
from edgeleuk.vision.quality import quality_check
from edgeleuk.vision.scale import estimate_px_per_um
from edgeleuk.vision.segmentation import segment
from edgeleuk.vision.stream import StreamWatch
from edgeleuk.vision.tracking import FieldTracker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

INT8, FLOAT = "model.int8.onnx", "model.float32.tflite"
MARK = 0xED6E  # as in count.c
PX_PER_UM = 13.0
# Without the bytes of the input made what the network wants, and its numbers made real ones.
ALONE = "litert, network alone,"
# Kernels of each runtime and precision in a bundle.
NETWORKS = (("litert", "int8"), ("litert", "float32"), ("onnxruntime", "int8"), ("onnxruntime", "float32"))


def crops_of(material: Any) -> list[CellCrop]:
    """Return the crops that were cut on the host, and the bundle's golden ones."""
    count = int(material["crops"])
    cut = [CellCrop(material[f"pixels{i}"], material[f"mask{i}"], PX_PER_UM) for i in range(count)]
    return [*cut, *golden_crops_of(read_bundle("default"))]


def judge(material: Any, out: Path, only: str | None = None) -> None:
    """Judge each crop with each network, or with those of one precision.

    Kept are input tensors, int8 LiteRT's raw outputs, and what is said.
    """
    crops, bundle = crops_of(material), read_bundle("default")
    found: dict[str, Any] = {"tensors": to_batch(crops, bundle.manifest.input)}
    for runtime, precision in networks(bundle):
        if only not in (None, precision):
            continue
        classifier = open_classifier(bundle, runtime=runtime, precision=precision)
        predictions = classifier.classify(crops)
        key = f"{runtime}_{precision}"
        found[f"{key}_decisions"] = np.array([prediction.decision.value for prediction in predictions])
        found[f"{key}_probabilities"] = np.array([prediction.probability for prediction in predictions])
        network: Any = getattr(classifier.runtime, "network", classifier.runtime)
        if key == "litert_int8":
            fed = network.as_fed(found["tensors"])
            raw = [network.raw_outputs(fed[index : index + 1]) for index in range(len(fed))]
            found["raw"] = np.stack([np.concatenate([part.ravel() for part in parts]) for parts in raw])
        classifier.close()
    np.savez(out, **found)


def exact(_: Any, out: Path) -> None:
    """Run the int8 ONNX network on the golden tensors, in our session and in one without exact sums.

    Kept beside what the bundle has stored of it, and of the float network.
    """
    import onnxruntime

    bundle = read_bundle("default")
    golden, contract = decode_golden(bundle.members[GOLDEN]), bundle.manifest.input
    stored = {name: golden.networks[name]["usual"].answer.outputs for name in (INT8, FLOAT)}
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(bundle.members[INT8], options, ["CPUExecutionProvider"])
    with open_network(bundle.members, INT8, contract) as network:
        found = network.predict(golden.tensors).outputs
        # All else is the product's own: what is fed, and what is read.
        ours: Any = getattr(network, "network", network)
        ours._session = session
        inexact = network.predict(golden.tensors).outputs
    np.savez(out, stored=stored[INT8], float32=stored[FLOAT], int8=found, inexact=inexact)


def networks(bundle: Any) -> list[tuple[str, str]]:
    """Return the networks of the bundle that can be run here."""
    from edgeleuk.bundle.manifest import MODEL_FILES
    from edgeleuk.inference import available_runtimes

    models = (MODEL_FILES[name] for name in bundle.members if name in MODEL_FILES)
    carried = {(runtime, model.precision) for model in models for runtime in model.runtimes}
    return [pair for pair in NETWORKS if pair in carried and pair[0] in available_runtimes()]


def mark(number: int) -> None:
    """Set a mark: the instructions since the last one are written down."""
    try:
        os.getpriority(MARK, number)
    except OSError:
        return


class InTurn(Executor):
    """Does at once what it is given: two threads would be counted by one counter that is not atomic."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(work(*arguments, **named))
        return done


class Stages:
    """Runs a stage twice, and marks the second time: the first pays for what is made once."""

    def __init__(self) -> None:
        self.names: list[str] = ["nothing"]
        mark(0)
        mark(0)

    def run(self, name: str, work: Callable[[], Any], *again: Callable[[], Any]) -> Any:
        """Count a stage; `again`, if given, is what is done the second time."""
        work()
        self.names.append(name)
        mark(0)
        result = (again or (work,))[0]()
        mark(len(self.names) - 1)
        return result


def count(material: Any, out: Path) -> None:
    """Set marks around each stage of one field, one after the other on one thread."""
    stages, jpeg = Stages(), material["jpeg"]
    bundle = read_bundle("default")
    contract = bundle.manifest.input
    pixels = stages.run("decode", lambda: np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR_RGB), np.uint8))
    other = np.ascontiguousarray(pixels[::-1])
    watch, tracker = StreamWatch(camera=True), FieldTracker()
    stages.run("watch", lambda: watch.look(other), lambda: watch.look(pixels))
    stages.run("quality_check", lambda: quality_check(pixels))
    stages.run("scale", lambda: estimate_px_per_um(pixels))
    cells = stages.run("segment", lambda: segment(pixels, px_per_um=PX_PER_UM, outline_cut=False))
    stages.run("track", lambda: tracker.update(pixels, cells))
    whole = [cell for cell in cells if not cell.touches_border]
    crops = stages.run("crop", lambda: [crop_cell(pixels, cell, PX_PER_UM) for cell in whole])
    tensors = stages.run("preprocess", lambda: to_batch(crops, contract))
    predictions: Sequence[Prediction] = []
    for runtime, precision in networks(bundle):
        classifier = open_classifier(bundle, runtime=runtime, precision=precision)
        network: Any = getattr(classifier.runtime, "network", classifier.runtime)
        stages.run(f"{runtime} {precision}", lambda network=network: network.predict(tensors[:1]))
        if runtime == "litert":
            fed = network.as_fed(tensors[:1])
            stages.run(f"{ALONE} {precision}", lambda network=network, fed=fed: network.raw_outputs(fed))
        if (runtime, precision) == ("litert", "int8"):
            classifier._aside.shutdown()
            classifier._aside = InTurn()
            predictions = stages.run("classify", lambda classifier=classifier: classifier.classify(crops))
        classifier.close()
    with tempfile.TemporaryDirectory() as folder, create_session(Path(folder) / "s.db", {}) as session:

        def record(number: int) -> None:
            pairs = list(zip(whole, crops, predictions, strict=True))
            first = number * len(pairs)
            results = tuple(
                CellResult(first + i, True, cell.box, 100.0, 60.0, said)
                for i, (cell, _, said) in enumerate(pairs)
            )
            frame = FrameResult(number, 1e9, "test://", 1280, 960, PX_PER_UM, results, (), tuple(cells), 1.0)
            judged = [
                JudgedCell(first + i, Box(*cell.box), cell.area_px, 1, 100.0, 60.0, said, crop)
                for i, (cell, crop, said) in enumerate(pairs)
            ]
            session.record_frame(frame, judged)

        stages.run("record", lambda: record(0), lambda: record(1))
    out.write_text(json.dumps({"stages": stages.names, "cells": len(crops)}))


if __name__ == "__main__":
    cv2.setNumThreads(1)
    {"judge": judge, "exact": exact, "count": count}[sys.argv[1]](
        np.load(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:]
    )
