"""Prepare a network for int8: centre its input, bare its logits, take out what rounding will add."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeleuk.inference.quantization import real_ends
from edgeleuk_convert.quantization.graph import read_flatbuffer, write_flatbuffer

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from edgeleuk.bundle.manifest import InputContract, OutputContract, OutputKind
    from edgeleuk.inference.quantization import Scales
    from edgeleuk_convert.quantization.calibration_data import RealTensors
    from edgeleuk_convert.quantization.graph import Key

    Floats = npt.NDArray[np.float64]

BATCH = 4
# Weights are rounded to -127 ... 127 times a step of each channel's own.
LARGEST = 127
# Of a byte, where each channel has a scale or an offset of its own.
MOST_LOST = 0.6
# What Keras calls arithmetic between layers.
_ARITHMETIC = ("TrueDivide", "Divide", "Multiply", "Subtract", "Add", "GetItem")


def without_rescaling(model: Any, contract: InputContract) -> tuple[Any, InputContract]:
    """Move rescalings at a network's input, of all channels alike or of each, into its contract.

    Folded into the first convolution it leaves bytes of mean 128 there, and the rounding of the weights is
    multiplied by that mean; outside, int8's zero is the mean itself, and bytes still become int8 one to one.

    Parameters
    ----------
    model : keras.Model
    contract : InputContract
        Of `model`.

    Returns
    -------
    keras.Model, InputContract
        As they were where the network does not begin so.
    """
    import keras

    start = model.input
    while (step := _rescaling_behind(model, start)) is not None:
        layer, scale, offset = step
        moved = np.asarray(contract.scale) * scale, np.asarray(contract.offset) * scale + offset
        scales, offsets = _plain(moved[0]), _plain(moved[1])
        if not _fits_bytes(scales, offsets):
            break
        contract = msgspec.structs.replace(contract, scale=scales, offset=offsets)
        start = layer.output
    if start is model.input:
        return model, contract
    rest = keras.Model(start, model.output, name=model.name)
    # A copy, so that its layers know the way from its own input, not from the rescaling's.
    bare = keras.models.clone_model(rest)
    bare.set_weights(rest.get_weights())
    return bare, contract


def _fits_bytes(scales: Scales, offsets: Scales) -> bool:
    """Tell whether one int8 scale for all channels still tells the bytes of each apart well enough."""
    if isinstance(scales, float) and isinstance(offsets, float):
        return True
    low, high = real_ends(scales, offsets)
    return bool((high - low) / 255 / 2 <= MOST_LOST * np.abs(scales).min())


def begins_with_rescaling(model: Any) -> bool:
    """Tell whether a network brings bytes to its own range itself: by a layer, or by plain arithmetic."""
    from keras import layers

    passed = (layers.InputLayer, layers.ZeroPadding2D, layers.Resizing, layers.CenterCrop)
    first = next((layer for layer in model.layers if not isinstance(layer, passed)), None)
    return _is_rescaling(first) or type(first).__name__ in _ARITHMETIC


def _is_rescaling(layer: Any) -> bool:
    """Tell whether a layer only rescales; a Normalization was rebuilt as a convolution of one pixel."""
    from keras import layers

    if isinstance(layer, layers.DepthwiseConv2D):
        plain = tuple(layer.kernel_size) == (1, 1) and tuple(layer.strides) == (1, 1)
        return plain and layer.depth_multiplier == 1 and activation_of(layer) == "linear"
    return isinstance(layer, layers.Rescaling)


def _rescaling_behind(model: Any, tensor: Any) -> tuple[Any, Floats, Floats] | None:
    """Return the only reader of a tensor, and its scale and offset, where it does no more than rescale."""
    from keras import layers

    readers = [layer for layer in model.layers if any(of is tensor for of in _inputs_of(layer))]
    if len(readers) != 1 or not _is_rescaling(readers[0]):
        return None
    (layer,) = readers
    if isinstance(layer, layers.Rescaling):
        return layer, np.asarray(layer.scale, np.float64), np.asarray(layer.offset, np.float64)
    bias = layer.bias.numpy() if layer.use_bias else np.zeros(layer.kernel.shape[2])
    return layer, layer.kernel.numpy()[0, 0, :, 0].astype(np.float64), bias.astype(np.float64)


def _inputs_of(layer: Any) -> list[Any]:
    return [tensor for node in layer._inbound_nodes for tensor in node.input_tensors]  # noqa: SLF001 - Keras tells it nowhere else


def _plain(values: Floats) -> float | tuple[float, ...]:
    return float(values) if values.ndim == 0 else tuple(float(value) for value in values)


def last_layer(model: Any) -> Any:
    """Return the layer that the network's only output comes from."""
    return getattr(model.output, "_keras_history", (None,))[0]


def activation_of(layer: Any) -> str | None:
    """Name what a layer does last: ``linear``, ``sigmoid``, ``softmax``, ...; None where nobody can say."""
    from keras import layers

    if isinstance(layer, layers.Softmax):
        return "softmax"
    name: str | None = getattr(getattr(layer, "activation", None), "__name__", None)
    return name


def without_activation(model: Any, output: OutputContract) -> tuple[Any, OutputContract]:
    """Take a sigmoid or a softmax off a network's end: the device computes it in float64.

    An int8 probability has steps of 1/256, and no resolution is left near 0 and 1.

    Parameters
    ----------
    model : keras.Model
    output : OutputContract
        Of `model`.

    Returns
    -------
    keras.Model, OutputContract
        As they were where the network does not end so.
    """
    import keras
    from keras import layers

    bared: dict[tuple[str, str | None], OutputKind] = {
        ("probability", "sigmoid"): "logit",
        ("softmax", "softmax"): "logits",
        ("softmax", "sigmoid"): "sigmoids",
    }
    last = last_layer(model)
    kind = bared.get((output.kind, activation_of(last)))
    if kind is None:
        return model, output
    contract = msgspec.structs.replace(output, kind=kind)
    if isinstance(last, (layers.Activation, layers.Softmax)):
        return keras.Model(model.input, last.input, name=model.name), contract

    def cloned(layer: Any) -> Any:
        config = layer.get_config()
        if layer is last:
            config["activation"] = "linear"
        return layer.__class__.from_config(config)

    bare = keras.models.clone_model(model, clone_function=cloned)
    bare.set_weights(model.get_weights())
    return bare, contract


def with_unrolled_recurrence(model: Any) -> Any:
    """Write out the steps of recurrent layers: TFLite has no loop over them in int8.

    Returns
    -------
    keras.Model
        Answers the same; `model` itself where it has no recurrent layer of a fixed number of steps.
    """
    import keras
    from keras import layers

    def rolled(layer: Any) -> bool:
        if not isinstance(layer, (layers.RNN, layers.Bidirectional)) or layer.input.shape[1] is None:
            return False
        return not getattr(getattr(layer, "forward_layer", layer), "unroll", False)

    if not any(rolled(layer) for layer in model.layers):
        return model

    def cloned(layer: Any) -> Any:
        config = layer.get_config()
        if rolled(layer):
            both = [config[key]["config"] for key in ("layer", "backward_layer") if key in config]
            for of in both or [config]:
                of["unroll"] = True
        return layer.__class__.from_config(config)

    unrolled = keras.models.clone_model(model, clone_function=cloned)
    unrolled.set_weights(model.get_weights())
    return unrolled


def with_corrected_biases(model: Any, tensors: RealTensors) -> Any:
    """Return a copy of a network whose convolutions, once rounded to int8, are right on average.

    A rounded weight is off by up to half a step, and an input that is not zero on average turns that into a
    constant error of the channel: sum of the weights' errors times the inputs' means. Flat grounds and ReLU6
    make those means large, and the errors add up from layer to layer.
    Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019,
    section 4.2, the means taken from calibration images.

    Parameters
    ----------
    model : keras.Model
        Only convolutions with a batch norm right behind them are corrected.
    tensors : RealTensors
        Real input of some calibration images, (n, H, W, C) float32, taken a few at a time.

    Returns
    -------
    keras.Model
        Takes and gives the same; not meant to be run in float.
    """
    import keras

    pairs = _pairs(model)
    if not pairs:
        return model
    corrected = keras.models.clone_model(model)
    corrected.set_weights(model.get_weights())
    means = _input_means(model, [conv for conv, _ in pairs], tensors)
    for (conv, norm), mean in zip(pairs, means, strict=True):
        factor = norm.gamma.numpy() / np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
        error = _error(conv, np.asarray(factor, np.float64), mean)
        target = corrected.get_layer(norm.name)
        target.beta.assign((norm.beta.numpy() - error).astype(np.float32))
    return corrected


def without_mean_errors(member: str, model: bytes, errors: Mapping[Key, npt.NDArray[np.float64]]) -> bytes:
    """Take measured mean errors out of the biases of an int8 network.

    Empirical bias correction: Nagel et al., ICCV 2019, section 4.2.2.

    Parameters
    ----------
    member : str
        ``*.tflite`` or ``*.onnx``.
    model : bytes
    errors : mapping of Key to (channels,) float64
        The bias of a layer, as `Node.bias` names it -> by how much its outputs are too large on average.
        A bias that is neither int32 nor float32 stays as it is.
    """
    if member.endswith(".onnx"):
        return _onnx_with_biases(model, errors)
    flat = read_flatbuffer(model)
    graph = flat.subgraphs[0]
    for key, error in errors.items():
        tensor = graph.tensors[int(key)]
        used = sum(int(key) in operator.inputs for operator in graph.operators)
        scale = None if tensor.quantization is None else tensor.quantization.scale
        if used != 1 or scale is None or not len(scale):
            continue
        buffer = flat.buffers[tensor.buffer]
        values = np.frombuffer(bytes(buffer.data), np.int32)
        moved = values - np.rint(error / np.asarray(scale, np.float64))
        buffer.data = np.frombuffer(_as_int32(moved).tobytes(), np.uint8)
    return write_flatbuffer(flat)


def rounding_error(taps: Floats) -> Floats:
    """Return by how much each weight moves when its channel (column) is rounded to int8.

    Examples
    --------
    >>> rounding_error(np.array([[127.0], [0.25], [-0.75]])).ravel().tolist()
    [0.0, -0.25, -0.25]
    """
    step = np.maximum(np.abs(taps).max(axis=0), 1e-12) / LARGEST
    return np.asarray(np.rint(taps / step) * step - taps)


def _onnx_with_biases(model: bytes, errors: Mapping[Key, npt.NDArray[np.float64]]) -> bytes:
    import onnx
    from onnx import numpy_helper

    proto = onnx.load_from_string(model)
    stored = {tensor.name: tensor for tensor in proto.graph.initializer}
    for key, error in errors.items():
        tensor = stored.get(str(key))
        values = None if tensor is None else np.asarray(numpy_helper.to_array(tensor))
        if tensor is not None and values is not None and values.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array((values - error).astype(np.float32), tensor.name))
    for node in proto.graph.node:
        if node.op_type != "DequantizeLinear" or node.output[0] not in errors or node.input[0] not in stored:
            continue
        tensor = stored[node.input[0]]
        scale = np.asarray(numpy_helper.to_array(stored[node.input[1]]), np.float64)
        values = np.asarray(numpy_helper.to_array(tensor))
        if values.dtype == np.int32:
            moved = _as_int32(values - np.rint(errors[node.output[0]] / scale))
            tensor.CopyFrom(numpy_helper.from_array(moved, tensor.name))
    data: bytes = proto.SerializeToString()
    return data


def _as_int32(values: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    limits = np.iinfo(np.int32)
    return np.asarray(np.clip(values, limits.min, limits.max), np.int32)


def _pairs(model: Any) -> list[tuple[Any, Any]]:
    """Find convolutions with a batch norm right behind them."""
    from keras import layers

    pairs = []
    for norm in model.layers:
        if isinstance(norm, layers.BatchNormalization) and norm.scale and norm.center:
            source = getattr(norm.input, "_keras_history", (None,))[0]
            # Behind an activation a batch norm cannot be folded into the convolution.
            if (
                isinstance(source, (layers.Conv2D, layers.DepthwiseConv2D))
                and getattr(source, "groups", 1) == 1
                and activation_of(source) == "linear"
            ):
                pairs.append((source, norm))
    return pairs


def _input_means(model: Any, convs: list[Any], tensors: RealTensors) -> list[Floats]:
    """Return the mean of each input channel of each convolution over the images."""
    import keras

    inputs = keras.Model(model.input, [conv.input for conv in convs])
    sums = [np.zeros(conv.input.shape[-1]) for conv in convs]
    for start in range(0, len(tensors), BATCH):
        answers = inputs(tensors[start : start + BATCH], training=False)
        for row, answer in enumerate(answers if len(convs) > 1 else [answers]):
            # Each image counts the same: mean over the picture, sum over the images.
            sums[row] = sums[row] + np.asarray(answer, np.float64).mean(axis=(1, 2)).sum(axis=0)
    return [total / len(tensors) for total in sums]


def _error(conv: Any, factor: Floats, mean: Floats) -> Floats:
    """Return the mean error of each output channel once the batch norm is folded in and rounded."""
    from keras import layers

    kernel = conv.kernel.numpy().astype(np.float64)
    if isinstance(conv, layers.DepthwiseConv2D):
        # (height, width, inputs, multiplier): each output channel sees one input.
        taps = kernel.reshape(-1, kernel.shape[2] * kernel.shape[3]) * factor
        return np.asarray(rounding_error(taps).sum(axis=0) * np.repeat(mean, kernel.shape[3]))
    taps = kernel.reshape(-1, kernel.shape[3]) * factor
    of_inputs = rounding_error(taps).reshape(-1, kernel.shape[2], kernel.shape[3]).sum(axis=0)
    return np.asarray(mean @ of_inputs)
