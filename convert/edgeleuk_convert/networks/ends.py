"""Bring a rebuilt network's end to one form: (n, K), its sigmoid or softmax last."""

from __future__ import annotations

from typing import Any

import numpy as np

_SHAPING = ("Flatten", "Reshape")
_DEVICE = ("sigmoid", "softmax")


def with_plain_end(model: Any, notes: set[str]) -> tuple[Any, bool]:
    """Return a network that answers (n, K), with its activation behind everything that only reshapes.

    Parameters
    ----------
    model : keras.Model
        Flat.
    notes : set of str
        Takes what was done.

    Returns
    -------
    keras.Model
    bool
        Whether a tanh became a sigmoid: its answers are (1 + the original's) / 2.
    """
    import keras
    from keras import layers

    answer = model.outputs[0]
    shape = tuple(answer.shape)[1:]
    if len(shape) != 1 and shape and None not in shape and np.prod(shape) == shape[-1]:
        answer = layers.Flatten(name=_free(model, "flat_answer"))(answer)
        notes.add(f"its answer of shape (n, {', '.join(map(str, shape))}) is flattened")
    elif not shape:
        answer = layers.Reshape((1,), name=_free(model, "one_answer"))(answer)
    if answer is not model.outputs[0]:
        model = keras.Model(model.inputs[0], answer, name=model.name)
    return _with_doubled_sigmoid(_with_activation_last(model), notes)


def activation_name(layer: Any) -> str | None:
    """Name the activation that a layer ends in."""
    from keras import layers

    if isinstance(layer, layers.Softmax):
        return "softmax"
    name: str | None = getattr(getattr(layer, "activation", None), "__name__", None)
    return name


def _with_activation_last(model: Any) -> Any:
    import keras
    from keras import layers

    shaping: list[Any] = []
    layer = _maker(model.outputs[0])
    while type(layer).__name__ in _SHAPING:
        shaping.insert(0, layer)
        layer = _maker(layer.input)
    name = activation_name(layer)
    if not shaping or name not in (*_DEVICE, "tanh") or _counts_places(layer, model):
        return model
    bare, x = _without_activation(model, layer)
    for step in shaping:
        x = type(step).from_config(step.get_config())(x)
    return keras.Model(bare, layers.Activation(name, name=_free(model, name))(x), name=model.name)


def _counts_places(layer: Any, model: Any) -> bool:
    """Tell whether a softmax was over something else than the classes."""
    return activation_name(layer) == "softmax" and layer.output.shape[-1] != model.output_shape[-1]


def _with_doubled_sigmoid(model: Any, notes: set[str]) -> tuple[Any, bool]:
    """Turn a tanh of one number into the sigmoid that says the same: (1 + tanh(x)) / 2 = sigmoid(2 x)."""
    import keras
    from keras import layers

    last = _maker(model.outputs[0])
    if activation_name(last) != "tanh" or model.output_shape[-1] != 1 or len(model.output_shape) != 2:
        return model, False
    image, x = _without_activation(model, last)
    bare = keras.Model(image, x)
    maker = _maker(x)
    if isinstance(maker, (layers.Dense, layers.Conv2D)) and activation_name(maker) == "linear":
        maker.set_weights([2 * weight for weight in maker.get_weights()])
    else:
        x = layers.Rescaling(2.0, name=_free(bare, "doubled"))(x)
    notes.add("its tanh at the end, -1 to 1, became the sigmoid that says the same, 0 to 1")
    halved = layers.Activation("sigmoid", name=_free(bare, "sigmoid"))(x)
    return keras.Model(image, halved, name=model.name), True


def _without_activation(model: Any, layer: Any) -> tuple[Any, Any]:
    """Return input and output of a network up to a layer, the layer's activation left off."""
    import keras
    from keras import layers

    if isinstance(layer, (layers.Activation, layers.Softmax)):
        return model.inputs[0], layer.input

    def cloned(of: Any) -> Any:
        config = of.get_config()
        if of is layer:
            config["activation"] = "linear"
        return of.__class__.from_config(config)

    upto = keras.Model(model.inputs[0], layer.output)
    bare = keras.models.clone_model(upto, clone_function=cloned)
    bare.set_weights(upto.get_weights())
    return bare.inputs[0], bare.outputs[0]


def _maker(tensor: Any) -> Any:
    return tensor._keras_history[0]  # noqa: SLF001 - where a tensor comes from


def _free(model: Any, name: str) -> str:
    taken = {layer.name for layer in model.layers}
    while name in taken:
        name += "_"
    return name
