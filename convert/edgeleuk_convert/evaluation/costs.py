"""What a network costs on a device: multiply-adds, bytes, and the time for one cell beside its float twin."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk.bundle.manifest import MODEL_FILES
from edgeleuk.classifier.classifier import open_networks
from edgeleuk_convert.environment import silenced
from edgeleuk_convert.networks.architectures import multiply_adds
from edgeleuk_convert.quantization.prepare import REFERENCE_MEMBER as FLOAT
from edgeleuk_convert.quantization.prepare import TFLITE_MEMBER as INT8
from edgeleuk_convert.quantization.prepare import Quantizer, prepare_for_int8

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeleuk.bundle.manifest import InputContract, OutputContract

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


def measure_cost(
    model: Any, contract: InputContract, output: OutputContract, tensors: npt.NDArray[np.uint8]
) -> Cost:
    """Convert a network and time it.

    Parameters
    ----------
    model : keras.Model
    contract, output : InputContract, OutputContract
        Of `model`.
    tensors : (n, H, W, C) uint8
        A few cells, to calibrate and to time with.
    """
    quantizer = Quantizer(prepare_for_int8(model, contract, output), tensors)
    files = {**quantizer.reference, INT8: quantizer.build(INT8)}
    seconds: dict[str, list[float]] = {FLOAT: [], INT8: []}
    with silenced(), open_networks(files, quantizer.prepared.input) as opened:
        for turn in range(ROUNDS + 3):
            tensor = tensors[turn % len(tensors)][np.newaxis]
            for name, times in seconds.items():
                begun = time.perf_counter()
                opened[MODEL_FILES[name].key].predict(tensor)
                times.append(time.perf_counter() - begun)
    # The first rounds warm up.
    float_ms, int8_ms = (float(np.median(seconds[name][3:])) * 1000 for name in (FLOAT, INT8))
    bytes_beside = sum(map(len, quantizer.prepared.beside.values()))
    return Cost(
        multiply_adds(model),
        len(files[FLOAT]) + bytes_beside,
        len(files[INT8]) + bytes_beside,
        float_ms,
        int8_ms,
    )
