"""Keras to TensorFlow Lite: float32 and full-integer int8."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk.errors import GateFailedError
from edgeleuk.runtimes.base import output_roles

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from edgeleuk_convert.feeding import RealTensors


def with_features(model: Any) -> Any:
    """Give a network its pooled features as a second output, sharing the weights.

    Parameters
    ----------
    model : keras.Model
        With one input and one output.

    Returns
    -------
    keras.Model
        With the outputs of `model` and of its last global average pooling, (n, F); `model` itself where it
        has none, or one of a single feature.
    """
    from keras import Model, layers

    pools = [layer for layer in model.layers if isinstance(layer, layers.GlobalAveragePooling2D)]
    if not pools or pools[-1].output.ndim != 2 or pools[-1].output.shape[-1] <= model.output.shape[-1]:
        return model
    return Model(model.input, [model.output, pools[-1].output])


def to_tflite_float32(model: Any) -> bytes:
    """Convert without quantization: the reference that int8 is compared with."""
    import tensorflow as tf

    converted: bytes = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    return converted


def to_tflite_int8(model: Any, tensors: RealTensors) -> bytes:
    """Quantize every tensor to int8, weights per channel, ranges from `tensors` (min-max).

    Parameters
    ----------
    model : keras.Model
    tensors : RealTensors
        Real input of the calibration images, (n, H, W, C) float32, taken one at a time.

    Returns
    -------
    bytes
        A flatbuffer with int8 input and output.

    Raises
    ------
    GateFailedError
        An operation stayed in float.
    """
    import tensorflow as tf

    def representative() -> Iterator[list[npt.NDArray[np.float32]]]:
        for row in range(len(tensors)):
            yield [tensors[row : row + 1]]

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    converted: bytes = converter.convert()
    if left := float_tensors(converted):
        raise GateFailedError("tensors stayed in float after int8 conversion", got=", ".join(left[:5]))
    return converted


@contextmanager
def silenced() -> Iterator[None]:
    """Keep what the converters print, from C++ too, off both streams; show it if the body fails."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for kept, stream in zip(saved, (1, 2), strict=True):
                os.dup2(kept, stream)
                os.close(kept)
            if failed:
                sink.seek(0)
                os.write(2, sink.read()[-4000:])


def float_tensors(model: bytes) -> list[str]:
    """Return the names of the tensors of a flatbuffer that hold floats."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model)
    return [
        details["name"]
        for details in interpreter.get_tensor_details()
        if details["dtype"] in (np.float32, np.float16)
    ]


def output_steps(model: bytes) -> tuple[float, float]:
    """Return the real value of one step of an int8 network's answer, and of its features; 0 where none is."""
    from ai_edge_litert.interpreter import Interpreter

    outputs = Interpreter(model_content=model).get_output_details()
    answer, features = output_roles([int(output["shape"][-1]) for output in outputs])
    steps = [float(output["quantization"][0]) for output in outputs]
    return steps[answer], 0.0 if features is None else steps[features]
