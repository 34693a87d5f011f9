"""Those that judge cells, opened in a process of their own.

Each opener returns a function that makes some cells ready and returns the work that is timed. The product is
given crops, all others what they need made before: tensors, or the crop as a picture.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from material import BUNDLE, load_crops, load_tensors

from edgeleuk.bundle.manifest import SUPPORT
from edgeleuk.bundle.reading import read_bundle
from edgeleuk.bundle.support_vectors import decode_support
from edgeleuk.classifier.classifier import open_classifier, open_network
from edgeleuk.inference import open_runtime
from edgeleuk.inference.preprocessing import to_batch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from turns import Opened

KERAS_BATCH = 32
TRUNK = "the network's map alone, tensors made before"
YOLO = "yolo26n-cls.yaml"


def product(folder: Path) -> Opened:
    """Open the product as `run` and `classify` use it."""
    return _product(folder, "litert")


def product_onnx(folder: Path) -> Opened:
    """Open the same with the other runtime."""
    return _product(folder, "onnxruntime")


def _product(folder: Path, runtime: str) -> Opened:
    cv2.setNumThreads(1)
    classifier = open_classifier(read_bundle(BUNDLE), runtime=runtime, precision="int8")

    def ready(first: int, last: int) -> Callable[[], object]:
        crops = load_crops(folder, first, last)
        return lambda: classifier.classify(crops)

    return ready, "from the crop to the prediction: tensor, network, support vectors, forest, gate"


def litert_int8(folder: Path) -> Opened:
    """Open LiteRT as its quick start does."""
    return _litert(folder, "model.int8.tflite")


def litert_crops(folder: Path) -> Opened:
    """Open the same, each crop being made a tensor first: what such a loop does in earnest."""
    return _litert(folder, "model.int8.tflite", from_crops=True)


def litert_float32(folder: Path) -> Opened:
    """Open the same for the network in float32."""
    return _litert(folder, "model.float32.tflite")


def _litert(folder: Path, name: str, *, from_crops: bool = False) -> Opened:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(folder / name), num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    sink = interpreter.get_output_details()[0]["index"]
    contract = read_bundle(BUNDLE).manifest.input
    feeding: Any = open_runtime("litert", (folder / name).read_bytes(), contract)

    def run(fed: Any) -> None:
        interpreter.set_tensor(source, fed)
        interpreter.invoke()
        interpreter.get_tensor(sink)

    def ready(first: int, last: int) -> Callable[[], object]:
        if from_crops:
            crops = load_crops(folder, first, last)
            return lambda: [run(feeding.as_fed(to_batch([crop], contract))) for crop in crops]
        fed = feeding.as_fed(load_tensors(folder, first, last))
        return lambda: [run(fed[index : index + 1]) for index in range(len(fed))]

    cv2.setNumThreads(1)
    return ready, "the network's map, by the product's `to_tensor`" if from_crops else TRUNK


def onnx_int8(folder: Path) -> Opened:
    """Open ONNX Runtime as its quick start does."""
    import onnxruntime

    path = folder / "model.int8.onnx"
    session = onnxruntime.InferenceSession(path, _one_thread(), providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0].name
    contract = read_bundle(BUNDLE).manifest.input

    def ready(first: int, last: int) -> Callable[[], object]:
        fed = (load_tensors(folder, first, last) * contract.scale + contract.offset).astype(np.float32)

        def work() -> None:
            for index in range(len(fed)):
                session.run(None, {source: fed[index : index + 1]})

        return work

    return ready, f"{TRUNK}; {_millions(path)}"


def keras_one(folder: Path) -> Opened:
    """Open Keras, for one cell after the other."""
    return _keras(folder, 1)


def keras_batch(folder: Path) -> Opened:
    """Open Keras, for batches."""
    return _keras(folder, KERAS_BATCH)


def _keras(folder: Path, batch: int) -> Opened:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = _keras_model()
    _require_same(model, folder)
    # Batches of another size are traced anew: not while the time is taken.
    model.predict(load_tensors(folder, 0, batch).astype(np.float32), batch_size=batch, verbose=0)

    def ready(first: int, last: int) -> Callable[[], object]:
        fed = load_tensors(folder, first, last).astype(np.float32)

        def work() -> None:
            for index in range(0, len(fed), batch):
                model.predict(fed[index : index + batch], batch_size=batch, verbose=0)

        return work

    return ready, "float32, with the support vectors, tensors made before"


def _keras_model() -> Any:
    """Build the shipped network as Keras has it before it is converted: its trunk and its support vectors."""
    from edgeleuk_convert.networks.architectures import build
    from edgeleuk_convert.networks.architectures.support_vectors import trunk_of, with_support_vectors

    bundle = read_bundle(BUNDLE)
    contract = bundle.manifest.input
    trunk = trunk_of(build("efficientnet-lite0-frozen", contract))
    return with_support_vectors(trunk, contract, decode_support(bundle.members[SUPPORT]), "shipped")


def _require_same(model: Any, folder: Path) -> None:
    """Hold the Keras network's answers against those of the bundle's float32 network."""
    bundle = read_bundle(BUNDLE)
    tensors = load_tensors(folder, 0, 4)
    network = open_network(bundle.members, "model.float32.tflite", bundle.manifest.input)
    ours = network.predict(tensors).outputs
    network.close()
    theirs = model.predict(tensors.astype(np.float32), verbose=0)
    apart = float(np.abs(ours - theirs).max())
    if not apart < 0.05:
        msg = f"the Keras network is not that of the bundle: log odds {apart:.2f} apart"
        raise ValueError(msg)


def ultralytics_one(folder: Path) -> Opened:
    """Open Ultralytics, its session with one thread."""
    return _ultralytics(folder, one_thread=True)


def ultralytics_all(folder: Path) -> Opened:
    """Open Ultralytics as it comes: ONNX Runtime takes all cores."""
    return _ultralytics(folder, one_thread=False)


def _ultralytics(folder: Path, *, one_thread: bool) -> Opened:
    import onnxruntime
    import torch
    from ultralytics import YOLO as Model  # noqa: N811 - here it is one of many models

    if one_thread:
        torch.set_num_threads(1)
    # It exports into the folder that it is in.
    own = folder / ("ultralytics-one" if one_thread else "ultralytics-all")
    own.mkdir(exist_ok=True)
    os.chdir(own)
    size = 320
    ours = multiply_adds(folder / "model.int8.onnx")
    # Pictures of which the network needs about as many multiply-adds as the shipped one.
    path = _exported(Model, size)
    size = 32 * round(size / 32 * (ours / multiply_adds(path)) ** 0.5)
    path = _exported(Model, size)
    model = Model(path, task="classify")

    def ready(first: int, last: int) -> Callable[[], object]:
        pictures = [np.ascontiguousarray(c.pixels[..., ::-1]) for c in load_crops(folder, first, last)]

        def work() -> None:
            for picture in pictures:
                model.predict(picture, imgsz=size, device="cpu", verbose=False)

        return work

    ready(0, 1)()
    if one_thread:
        backend = model.predictor.model.backend
        backend.session = onnxruntime.InferenceSession(
            path, _one_thread(), providers=["CPUExecutionProvider"]
        )
    facts = f"{YOLO.removesuffix('.yaml')} of {size}x{size}, float32, random weights, {_millions(path)}"
    return ready, facts


def _exported(model: Any, size: int) -> str:
    return str(model(YOLO).export(format="onnx", imgsz=size, simplify=False, device="cpu", verbose=False))


def _one_thread() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return options


def _millions(path: Path | str) -> str:
    return f"{multiply_adds(path) / 1e6:.0f} million multiply-adds"


def multiply_adds(path: Path | str) -> int:
    """Count the multiply-adds of an ONNX network's convolutions and dense layers for one picture."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    sizes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    # A weight that is quantized stands behind its DequantizeLinear, in the same shape.
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in sizes:
            sizes[node.output[0]] = sizes[node.input[0]]
    places = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*graph.value_info, *graph.output]
    }
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            total += int(np.prod(sizes[node.input[1]]) * np.prod(places[node.output[0]][2:]))
        elif node.op_type in {"Gemm", "MatMul"} and node.input[1] in sizes:
            total += int(np.prod(sizes[node.input[1]]))
    return total
