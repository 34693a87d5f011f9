"""Runs inside: three calls of one network in one library, with a mark before and behind each.

python calls.py LIBRARY PRECISION FOLDER OUT.npy
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Beside the product's own packages, which know nothing of these.
sys.path.insert(0, "/opt/libraries")

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

MARK = 0xED6E  # as in count.c
CALLS = 3


def mark(number: int) -> None:
    try:
        os.getpriority(MARK, number)
    except OSError:
        return


def counted(call: Callable[[], Any]) -> Any:
    """Do one call between two marks."""
    mark(0)
    found = call()
    mark(1)
    return found


def litert(folder: Path, precision: str) -> Callable[[Any], Any]:
    from ai_edge_litert.interpreter import Interpreter

    net = Interpreter(model_path=str(folder / f"{precision}.tflite"), num_threads=1)
    net.allocate_tensors()
    source, sink = net.get_input_details()[0], net.get_output_details()[0]
    scale, zero = source["quantization"]

    def run(values: Any) -> Any:
        if scale:
            values = np.round(values / scale + zero)
        net.set_tensor(source["index"], values.astype(source["dtype"]))
        counted(net.invoke)
        return net.get_tensor(sink["index"])

    return run


def onnxruntime(folder: Path, precision: str) -> Callable[[Any], Any]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(folder / f"{precision}.onnx"), options, ["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda values: counted(lambda: session.run(None, {name: values})[0])


def openvino(folder: Path, precision: str) -> Callable[[Any], Any]:
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino as ov

    core = ov.Core()
    file = "int8.onnx" if precision == "int8" else "float32.tflite"
    net = core.read_model(str(folder / file))
    net.reshape([1, 304, 304, 5])
    # As `edgeleuk.inference.openvino` has it, but for half precision.
    settings = {
        "INFERENCE_PRECISION_HINT": "f16" if precision == "float16" else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_NUM_THREADS": 1,
    }
    request = core.compile_model(net, "CPU", settings).create_infer_request()

    def run(values: Any) -> Any:
        request.get_input_tensor().data[:] = values
        counted(request.infer)
        return request.get_output_tensor(0).data.copy()

    return run


def ncnn(folder: Path, precision: str) -> Callable[[Any], Any]:
    import ncnn as library

    net = library.Net()
    net.opt.num_threads = 1
    half = precision == "float16"
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = half
    net.opt.use_bf16_storage = False
    net.load_param(str(folder / "trunk.ncnn.param"))
    net.load_model(str(folder / "trunk.ncnn.bin"))

    def run(values: Any) -> Any:
        # A `Mat` does not hold the array whose memory it reads.
        held = np.ascontiguousarray(np.moveaxis(values[0], 2, 0))
        source = library.Mat(held)

        def call() -> Any:
            extractor = net.create_extractor()
            extractor.input("in0", source)
            return extractor.extract("out0")[1]

        return np.moveaxis(np.array(counted(call)), 0, 2)

    return run


if __name__ == "__main__":
    library, precision, place, out = sys.argv[1:]
    made = {"litert": litert, "onnxruntime": onnxruntime, "openvino": openvino, "ncnn": ncnn}[library]
    run, values = made(Path(place), precision), np.load(Path(place) / "values.npy")
    for _ in range(CALLS):
        answer = run(values)
    np.save(out, answer.reshape(-1))
