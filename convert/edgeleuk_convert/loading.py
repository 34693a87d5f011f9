"""Load a network that is to be converted, ours or another's, or say in one sentence why that cannot be."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENDINGS = (".keras", ".h5", ".hdf5")
SAVED_MODEL = "saved_model.pb"
# What a network that was exported as a SavedModel is called by.
_ENDPOINTS = ("serving_default", "serve")
_SUPPORTED = "one image input (n, H, W, C) in float32 and one output (n, K)"
# How Keras names what it does not know.
_UNKNOWN = re.compile(r"(?:Could not locate (?:class|function)|Unknown \w+:?) '?([\w>./-]+)'?")
_LAMBDA = re.compile(r"`?Lambda`? layer", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LoadedNetwork:
    """A network that can be converted.

    Attributes
    ----------
    model : keras.Model
    sha256 : str
        Of the file; of the names and hashes of its files, where it is a folder.
    """

    model: Any
    sha256: str


def load_network(path: Path) -> LoadedNetwork:
    """Load a ``.keras`` or ``.h5`` file, or the folder of a SavedModel.

    Raises
    ------
    UsageError
        There is nothing of that name, it is no network, or one that cannot be converted: a layer of its own,
        several inputs or outputs, no image input of a fixed size, weights that are not finite.
    IntegrityError
        The file is damaged.
    """
    if path.is_dir():
        model = _saved_model(path)
    elif not path.exists():
        raise UsageError("there is no such network", got=path)
    elif path.suffix not in ENDINGS:
        raise UsageError(
            "the network's file has the wrong ending",
            got=path.name,
            allowed=f"{', '.join(ENDINGS)}, or the folder of a SavedModel",
        )
    else:
        model = _keras_file(path)
    refuse_unfit(model, path.name)
    return LoadedNetwork(functional(model), hash_of(path))


def functional(model: Any) -> Any:
    """Give a Sequential network's layers as a functional one: only that knows its own input and output."""
    import keras

    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return model


def refuse_unfit(model: Any, name: str) -> None:
    """Raise `UsageError` for a network that cannot become a bundle, naming what is in the way."""
    _refuse_layers(model, name)
    _refuse_ends(model, name)
    for owner, values in _weights(model):
        if not np.isfinite(values).all():
            raise UsageError(
                f"{name} has weights that are not finite",
                got=f"{int(np.count_nonzero(~np.isfinite(values)))} of {values.size} in {owner}",
                cure="train it again: its training has diverged",
            )


def _refuse_layers(model: Any, name: str) -> None:
    for layer in _layers(model):
        if not type(layer).__module__.startswith("keras."):
            raise _custom(name, type(layer).__name__)
        if layer.compute_dtype != "float32":
            raise UsageError(
                f"{name} computes in {layer.compute_dtype} in the layer {layer.name}",
                allowed="float32",
                cure="load it with keras.config.set_dtype_policy('float32') and save it again",
            )


def _refuse_ends(model: Any, name: str) -> None:
    inputs, outputs = getattr(model, "inputs", None) or [], getattr(model, "outputs", None) or []
    if not inputs:
        raise UsageError(f"{name} was never built", allowed=_SUPPORTED, cure="give it a keras.Input")
    if len(inputs) > 1:
        raise UsageError(f"{name} has {len(inputs)} inputs", allowed=_SUPPORTED)
    if len(outputs) > 1:
        raise UsageError(f"{name} has {len(outputs)} outputs", allowed=_SUPPORTED)
    shape, dtype = tuple(inputs[0].shape), str(inputs[0].dtype)
    if len(shape) != 4:
        raise UsageError(f"{name} takes no image", got=f"an input of shape {shape}", allowed=_SUPPORTED)
    if None in shape[1:]:
        raise UsageError(
            f"{name} takes images of any size",
            got=f"an input of shape {shape}",
            allowed=_SUPPORTED,
            cure="build it with the height and width that it was trained on",
        )
    if dtype != "float32":
        raise UsageError(f"{name} takes {dtype}", allowed=_SUPPORTED)
    answer = tuple(outputs[0].shape)
    if len(answer) != 2 or answer[1] is None:
        raise UsageError(f"{name} gives no list of numbers", got=f"shape {answer}", allowed=_SUPPORTED)


def hash_of(path: Path) -> str:
    """Return the sha256 of a file, or of a folder's files and their names."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    whole = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        whole.update(f"{digest}  {file.relative_to(path).as_posix()}\n".encode())
    return whole.hexdigest()


def _keras_file(path: Path) -> Any:
    import keras

    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises whatever its readers raise
        text = str(error)
        if found := _UNKNOWN.search(text):
            raise _custom(path.name, found[1].rpartition(">")[2]) from error
        if _LAMBDA.search(text):
            raise _custom(path.name, "Lambda") from error
        reason = (text.splitlines() or [type(error).__name__])[0]
        raise IntegrityError(f"{path.name} is no Keras network, or a damaged one", got=reason) from error


def _saved_model(path: Path) -> Any:
    """Wrap an exported network into a Keras network of one layer."""
    import keras
    import tensorflow as tf

    if not (path / SAVED_MODEL).is_file():
        raise UsageError("the folder is no SavedModel", got=path, allowed=f"a folder with {SAVED_MODEL}")
    try:
        signatures = tf.saved_model.load(str(path)).signatures
    except Exception as error:  # TensorFlow raises whatever its readers raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise IntegrityError(f"{path.name} is no SavedModel, or a damaged one", got=reason) from error
    endpoint = next((name for name in _ENDPOINTS if name in signatures), None)
    if endpoint is None:
        raise UsageError(
            f"{path.name} cannot be called",
            got=", ".join(signatures) or "no signature",
            allowed=" or ".join(_ENDPOINTS),
            cure="export it with model.export(FOLDER)",
        )
    signature = signatures[endpoint]
    specs = list(signature.structured_input_signature[1].values())
    results = list(signature.structured_outputs)
    for count, what in ((len(specs), "inputs"), (len(results), "outputs")):
        if count != 1:
            raise UsageError(f"{path.name} has {count} {what}", allowed=_SUPPORTED)
    if specs[0].shape.rank is None:
        raise UsageError(f"{path.name} takes an input of no known shape", allowed=_SUPPORTED)
    image = keras.Input(tuple(specs[0].shape)[1:], dtype=specs[0].dtype.name)
    layer = keras.layers.TFSMLayer(str(path), call_endpoint=endpoint, name=path.name)
    return keras.Model(image, layer(image)[results[0]], name=path.name)


def _layers(model: Any) -> Iterator[Any]:
    """Walk all layers, those of networks within the network too."""
    for layer in model.layers:
        yield layer
        if hasattr(layer, "layers"):
            yield from _layers(layer)


def _weights(model: Any) -> Iterator[tuple[str, Any]]:
    """Give every weight with the layer that it belongs to."""
    from keras import layers

    for layer in _layers(model):
        for variable in layer.weights:
            wrapped = isinstance(layer, layers.TFSMLayer)
            yield (variable.name if wrapped else f"the layer {layer.name}"), np.asarray(variable)


def _custom(name: str, kind: str) -> UsageError:
    return UsageError(
        f"{name} has a layer of its own making",
        got=kind,
        allowed="layers that come with Keras",
        cure="write it with these, or export the network with model.export(FOLDER) and convert the folder",
    )
