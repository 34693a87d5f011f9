"""What a network costs on a device: multiply-adds, bytes, and the time for one cell beside its float twin."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk.bundle.manifest import MODEL_FILES, SUPPORT
from edgeleuk.bundle.support_vectors import encode_support
from edgeleuk.classify import open_networks
from edgeleuk_convert.architectures import multiply_adds
from edgeleuk_convert.architectures.support_vectors import parted
from edgeleuk_convert.feeding import calibration_input
from edgeleuk_convert.tflite import silenced, to_tflite_float32, to_tflite_int8

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.bundle.manifest import InputContract

FLOAT, INT8 = "model.float32.tflite", "model.int8.tflite"
ROUNDS = 40


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one network, on one cell.

    Attributes
    ----------
    multiply_adds : int
    float32_bytes, int8_bytes : int
        Of the TFLite files, with the support vectors where the network has some.
    float32_ms, int8_ms : float
        Median time of one cell in LiteRT with one thread, on this machine: an illustration. The two were
        measured in turn, so that their ratio holds.
    """

    multiply_adds: int
    float32_bytes: int
    int8_bytes: int
    float32_ms: float
    int8_ms: float


def measure_cost(model: Any, contract: InputContract, tensors: npt.NDArray[np.uint8]) -> Cost:
    """Convert a network and time it.

    Parameters
    ----------
    model : keras.Model
    contract : InputContract
    tensors : (n, H, W, C) uint8
        A few cells, to calibrate and to time with.
    """
    network, support = parted(model)
    with silenced():
        int8 = to_tflite_int8(network, calibration_input(tensors, contract))
        files = {FLOAT: to_tflite_float32(network), INT8: int8}
        beside = {} if support is None else {SUPPORT: encode_support(support)}
        runtimes = open_networks(files | beside, contract)
    seconds: dict[str, list[float]] = {name: [] for name in files}
    for turn in range(ROUNDS + 3):
        tensor = tensors[turn % len(tensors)][np.newaxis]
        for name in files:
            begun = time.perf_counter()
            runtimes[MODEL_FILES[name].key].predict(tensor)
            seconds[name].append(time.perf_counter() - begun)
    for runtime in runtimes.values():
        runtime.close()
    # The first rounds warm up.
    float_ms, int8_ms = (float(np.median(seconds[name][3:])) * 1000 for name in (FLOAT, INT8))
    bytes_beside = sum(map(len, beside.values()))
    return Cost(
        multiply_adds(model),
        len(files[FLOAT]) + bytes_beside,
        len(files[INT8]) + bytes_beside,
        float_ms,
        int8_ms,
    )
