"""Read the folder of a SavedModel: its layers where Keras 2 wrote them down, its graph otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeleuk.errors import IntegrityError, UsageError
from edgeleuk_convert.networks.file_kinds import as_json, first_line
from edgeleuk_convert.networks.keras_files import Stored, refuse_code, refuse_large, tf_keras

if TYPE_CHECKING:
    from pathlib import Path

KERAS_METADATA = "keras_metadata.pb"
# What a network that was exported is called by.
_ENDPOINTS = ("serving_default", "serve")
_ROOT = "root"
_OPTIMIZER = "optimizer"


def read_layers(path: Path) -> tuple[Any, Stored] | None:
    """Load a SavedModel of Keras 2 with its layers; None where these need code, or are not written down.

    Returns
    -------
    tuple of (tf_keras.Model, Stored) or None
    """
    if not (path / KERAS_METADATA).is_file():
        return None
    stored = _metadata(path)
    if stored is None:
        return None
    try:
        refuse_code(stored.config, path.name)
        return tf_keras().models.load_model(str(path), compile=False), stored
    except UsageError:
        # Its graph needs no code.
        return None
    except Exception:  # noqa: BLE001 - Keras raises whatever its readers raise; the graph says what is wrong
        return None


def read_signature(path: Path) -> Any:
    """Return the function by which an exported network is called.

    Raises
    ------
    UsageError
        It has none, or not one image input.
    IntegrityError
        The folder is damaged.
    """
    import tensorflow as tf

    _count(path)
    # Optimizers of Keras 2 are known to TensorFlow once it is imported.
    tf_keras()
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # TensorFlow raises whatever its readers raise
        raise IntegrityError(
            f"{path.name} is a damaged SavedModel", got=first_line(error), cure="export it again"
        ) from error
    signatures = loaded.signatures
    endpoint = next((name for name in _ENDPOINTS if name in signatures), None)
    if endpoint is None:
        raise UsageError(
            f"{path.name} cannot be called",
            got=", ".join(signatures) or "no signature",
            allowed=" or ".join(_ENDPOINTS),
            cure="export it with model.export('FOLDER')",
        )
    function = signatures[endpoint]
    # The variables live as long as what was loaded.
    function.loaded_from = loaded
    return function


def _metadata(path: Path) -> Stored | None:
    """Read what Keras 2 wrote down of the network as a whole."""
    tf_keras()
    from tf_keras.protobuf import saved_metadata_pb2

    try:
        nodes = saved_metadata_pb2.SavedMetadata.FromString((path / KERAS_METADATA).read_bytes()).nodes
    except Exception:  # noqa: BLE001 - protobuf's errors have no common base; the graph is read instead
        return None
    root = next((node for node in nodes if node.node_path == _ROOT), None)
    if root is None:
        return None
    metadata = as_json(root.metadata, KERAS_METADATA)
    config = {"class_name": metadata.get("class_name"), "config": metadata.get("config") or {}}
    return Stored(str(metadata.get("keras_version", "2")), config)


def _count(path: Path) -> None:
    """Refuse more weights than a device could hold, before they are read."""
    import tensorflow as tf

    prefix = path / "variables" / "variables"
    if not prefix.with_suffix(".index").is_file():
        return
    try:
        shapes = tf.train.list_variables(str(prefix))
    except Exception as error:  # TensorFlow raises whatever its readers raise
        raise IntegrityError(
            f"{path.name} has damaged variables", got=first_line(error), cure="export it again"
        ) from error
    total = 0
    for name, shape in shapes:
        if _OPTIMIZER not in name.lower():
            size = 1
            for length in shape:
                size *= int(length)
            total += size
    refuse_large(total, path.name)
