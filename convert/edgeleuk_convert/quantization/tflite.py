"""Keras to TensorFlow Lite: float32, float16, dynamic, int8, and int16 with int8 weights."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any, Literal

from edgeleuk.errors import CheckFailedError
from edgeleuk.inference.runtime import output_roles

if TYPE_CHECKING:
    from edgeleuk_convert.quantization.calibration_data import RealTensors

# How the converter names operations that TFLite lacks.
_FOREIGN = re.compile(r"(?:Select|Custom) ops: ([^\n]+)")
# How it says where it failed: operation, network/layer/...
_LOCATED = re.compile(r'fused\["(\w+):", "[^"/]+/([^"/]+)/')


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

    return _converted(tf.lite.TFLiteConverter.from_keras_model(model))


def to_tflite_float16(model: Any) -> bytes:
    """Store the weights as float16: half the size, computed in float32."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    return _converted(converter)


def to_tflite_dynamic(model: Any) -> bytes:
    """Store the weights as int8 and round activations when they come up: no calibration, float in and out."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return _converted(converter)


def to_tflite_int8(model: Any, real: RealTensors, *, io: Literal["int8", "uint8"] = "int8") -> bytes:
    """Quantize every tensor to int8, weights per channel, ranges from the images of `real` (min-max).

    Parameters
    ----------
    model : keras.Model
    real : RealTensors
        (n, H, W, C) float32, such as `calibration_input` gives; taken one at a time.
    io : str
        What input and output hold: ``int8``, or ``uint8`` for who has no other bytes.

    Returns
    -------
    bytes
        What the converter could not quantize is still in float: see `audit`.
    """
    import tensorflow as tf

    number = {"int8": tf.int8, "uint8": tf.uint8}[io]
    return _full_integer(model, real, tf.lite.OpsSet.TFLITE_BUILTINS_INT8, number)


def to_tflite_int16x8(model: Any, real: RealTensors) -> bytes:
    """Quantize weights to int8 and activations to int16.

    XNNPACK has no kernels for it: measured 16 to 33 times as slow as int8.
    """
    import tensorflow as tf

    operations = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    return _full_integer(model, real, operations, tf.int16)


def _full_integer(model: Any, real: RealTensors, operations: Any, number: Any) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([real[row : row + 1]] for row in range(len(real)))
    converter.target_spec.supported_ops = [operations]
    converter.inference_input_type = number
    converter.inference_output_type = number
    return _converted(converter)


def _converted(converter: Any) -> bytes:
    """Convert, or name the operations that TFLite does not have."""
    try:
        with warnings.catch_warnings():
            # It says so of every network that takes integers, whatever it was calibrated with.
            warnings.filterwarnings("ignore", message="Statistics for quantized inputs", category=UserWarning)
            converted: bytes = converter.convert()
    except Exception as error:  # the converter raises whatever its parts raise
        raise CheckFailedError(
            "TFLite's converter refuses the network",
            got=_refused(str(error)) or type(error).__name__,
            cure="replace the layers concerned by ones that TFLite has",
        ) from error
    return converted


def _refused(text: str) -> str:
    """Name the operations that the converter stumbled over; else return the first line of what it said."""
    if named := _FOREIGN.findall(text):
        return ", ".join(dict.fromkeys(named))
    if located := _LOCATED.search(text):
        operation, layer = located.groups()
        return f"{operation} in the layer {layer}"
    return (text.strip().splitlines() or [""])[0]


def output_steps(model: bytes) -> tuple[float, float]:
    """Return the real value of one step of an int8 network's answer, and of its features; 0 where none is."""
    from ai_edge_litert.interpreter import Interpreter

    outputs = Interpreter(model_content=model).get_output_details()
    answer, features = output_roles([int(output["shape"][-1]) for output in outputs])
    steps = [float(output["quantization"][0]) for output in outputs]
    return steps[answer], 0.0 if features is None else steps[features]
