"""Read a Keras file: Keras 3 what Keras 3 wrote, tf-keras what Keras 2 wrote, as the file itself says."""

from __future__ import annotations

import importlib
import re
import tempfile
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeleuk.errors import IntegrityError, MissingDependencyError, UsageError, extra_cure
from edgeleuk_convert.networks.file_kinds import (
    CONFIG,
    EXPORT,
    METADATA,
    WEIGHTS,
    as_json,
    first_line,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgeleuk.errors import EdgeleukError

# Float32 weights of a network that a device could still hold: 300 MB.
LARGEST_WEIGHTS = 75_000_000
# Parts of a configuration that are not of the network's graph.
_BESIDE = ("compile_config", "build_config", "training_config")
_OF_TRAINING = ("_regularizer", "_constraint", "_initializer")
# Where Keras 2 and 3, as they are called in different versions, have their classes.
_KERAS_MODULES = ("keras", "tf_keras", "tensorflow")
# What Keras writes of functions that it knows by name, and of plain values.
_BUILTINS = ("function", "str", "list", "tuple", "dict", "slice")
_CODE = ("Lambda", "__lambda__")
_UNKNOWN = re.compile(r"(?:Could not locate (?:class|function)|Unknown [\w ]+:?) ['\"]?([\w.>/-]+)['\"]?")
_MISSING = re.compile(r"Layer '([^']+)' expected (\d+) variables, but received (\d+)")


@dataclass(frozen=True)
class Stored:
    """What a file says of itself before it is loaded.

    Attributes
    ----------
    version : str
        Of the Keras that wrote it; empty where the file does not say.
    config : mapping
        The network's configuration.
    """

    version: str
    config: Mapping[str, Any] = field(repr=False)

    @property
    def is_keras_2(self) -> bool:
        """Whether Keras 2, or 1, wrote it."""
        return not self.version.startswith("3")


def read_keras_file(path: Path, kind: str) -> tuple[Any, Stored]:
    """Load a network from a ``.keras`` archive, an unzipped one, or HDF5, whatever their names.

    Returns
    -------
    keras.Model or tf_keras.Model
    Stored

    Raises
    ------
    UsageError
        Weights without a network, code from elsewhere, too large a network.
    IntegrityError
        The file is damaged.
    MissingDependencyError
        Keras 2 wrote it, and tf-keras is not installed.
    """
    if kind == "hdf5":
        stored = _of_hdf5(path)
    else:
        with _archive(path, kind) as archive:
            stored = _of_archive(archive)
    refuse_code(stored.config, path.name)
    with _suffixed(path, kind) as file:
        return _loaded(file, path.name, stored), stored


def tf_keras() -> Any:
    """Import tf-keras, or say how to install it."""
    try:
        import tf_keras as module
    except ImportError as error:
        raise MissingDependencyError(
            "tf-keras, which reads networks of Keras 2, is not installed",
            got=first_line(error),
            cure=f"install it with: {extra_cure('workstation')}",
        ) from error
    return module


def unnamed_layers(module: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return layers of ConvNeXt that a network has: Keras wrote them, and does not know them by name."""
    wanted = {str(of["class_name"]) for of in _layers(config)} & {"LayerScale", "StochasticDepth"}
    if not wanted:
        return {}
    convnext = importlib.import_module(f"{module.__name__}.src.applications.convnext")
    return {name: getattr(convnext, name) for name in wanted if hasattr(convnext, name)}


def refuse_code(config: Mapping[str, Any], name: str) -> None:
    """Raise `UsageError` for a network that is, or holds, code: none is run from files."""
    inside = config.get("config", {})
    # Before Keras 2.3 a Sequential network was a list of layers.
    layers = inside if isinstance(inside, list) else inside.get("layers")
    if layers is None:
        raise UsageError(
            f"{name} is a network written as a class of its own",
            got=str(config.get("class_name")),
            allowed="Sequential and functional networks",
            cure=EXPORT,
        )
    for of in _layers(layers):
        kind = str(of["class_name"])
        if kind in _CODE or _is_lambda(of["config"]):
            raise UsageError(
                f"{name} has a Lambda, whose code is not run from a file",
                got=_name_of(of),
                cure=f"write it with layers of Keras, or {EXPORT}",
            )
        if kind.startswith("Quantized"):
            raise UsageError(
                f"{name} was quantized by Keras already",
                got=of["config"].get("mode") if isinstance(of["config"], dict) else kind,
                cure="convert the network as it was before model.quantize",
            )
        module = of.get("module")
        foreign = module is not None and not str(module).startswith(_KERAS_MODULES)
        if ">" in kind or (foreign and not (module == "builtins" and kind in _BUILTINS)):
            raise custom_layer(name, kind.rpartition(">")[2])


def custom_layer(name: str, kind: str) -> UsageError:
    """Return the error for a layer that Keras does not have."""
    return UsageError(
        f"{name} has a layer or a function of its own making",
        got=kind,
        allowed="those that come with Keras",
        cure=f"write it with these, or {EXPORT}",
    )


def refuse_large(weights: int, name: str) -> None:
    """Raise `UsageError` for more weights than a device could hold."""
    if weights > LARGEST_WEIGHTS:
        raise UsageError(
            f"{name} is too large for a device",
            got=f"{weights * 4 / 1e6:,.0f} MB of float weights",
            allowed=f"{LARGEST_WEIGHTS * 4 / 1e6:.0f} MB",
            cure="train a smaller architecture, as MobileNetV2 or EfficientNetB0 are",
        )


def _layers(value: Any) -> Iterator[Mapping[str, Any]]:
    """Walk a configuration, giving everything in it that has a class."""
    if isinstance(value, dict):
        if isinstance(value.get("class_name"), str) and "config" in value:
            yield value
        for key, of in value.items():
            if key not in _BESIDE and not key.endswith(_OF_TRAINING):
                yield from _layers(of)
    elif isinstance(value, list):
        for of in value:
            yield from _layers(of)


def _is_lambda(config: Any) -> bool:
    """Tell whether a layer's activation, or a function itself, is code and no name."""
    if not isinstance(config, dict):
        return "<lambda>" in str(config)
    activation = config.get("activation")
    return isinstance(activation, dict) and "class_name" not in activation


def _name_of(of: Mapping[str, Any]) -> str:
    config = of.get("config")
    return str(config.get("name", of["class_name"])) if isinstance(config, dict) else str(of["class_name"])


@contextmanager
def _archive(path: Path, kind: str) -> Iterator[Mapping[str, Any]]:
    """Open the parts of a .keras file: name to path or open file."""
    if kind == "unzipped_keras":
        yield {name: path / name for name in (CONFIG, METADATA, WEIGHTS) if (path / name).is_file()}
        return
    with zipfile.ZipFile(path) as archive:
        try:
            with archive.open(WEIGHTS) as weights:
                yield {
                    name: archive.read(name) if name != WEIGHTS else weights
                    for name in (CONFIG, METADATA, WEIGHTS)
                    if name in archive.namelist()
                }
        except zipfile.BadZipFile as error:
            raise IntegrityError(f"{path.name} is a damaged archive", got=first_line(error)) from error


def _of_archive(parts: Mapping[str, Any]) -> Stored:
    texts = {
        name: part.read_bytes() if isinstance(part, Path) else part
        for name, part in parts.items()
        if name != WEIGHTS
    }
    metadata = as_json(texts[METADATA], METADATA) if METADATA in texts else {}
    config = as_json(texts[CONFIG], CONFIG)
    stored = Stored(str(metadata.get("keras_version", "3")), config)
    with _opened_hdf5(parts[WEIGHTS], WEIGHTS) as weights:
        refuse_large(_counted(weights), "the network")
    return stored


def _of_hdf5(path: Path) -> Stored:
    with _opened_hdf5(path, path.name) as file:
        config = file.attrs.get("model_config")
        if config is None:
            raise _without_config(path.name, file)
        refuse_large(_counted(file), path.name)
        version = file.attrs.get("keras_version", "2")
        texts = [of.decode() if isinstance(of, bytes) else str(of) for of in (config, version)]
    return Stored(texts[1], as_json(texts[0], path.name))


@contextmanager
def _opened_hdf5(file: Any, name: str) -> Iterator[Any]:
    import h5py

    try:
        opened = h5py.File(file, "r")
    except (OSError, ValueError) as error:
        raise IntegrityError(
            f"{name} is a damaged HDF5 file", got=first_line(error), cure="copy or download it again"
        ) from error
    with opened:
        yield opened


def _without_config(name: str, file: Any) -> EdgeleukError:
    weights = {"layer_names", "weight_names"} & set(file.attrs) or {
        "layers", "vars", "_layer_checkpoint_dependencies", "model_weights",
    } & set(file)  # fmt: skip
    if weights:
        return UsageError(
            f"{name} holds weights without the network that they belong to",
            allowed="what model.save('NAME.keras') writes",
            cure="build the network with its code, load these weights, and save it whole with model.save",
        )
    return UsageError(
        f"{name} is an HDF5 file without a network", got=", ".join(sorted(file)[:5]) or "nothing in it",
        allowed="what model.save('NAME.keras') writes",
    )  # fmt: skip


def _counted(file: Any) -> int:
    """Count the weights of an HDF5 file, those of an optimizer left out."""
    import h5py

    total = 0
    for key, value in file.items():
        if key.startswith("optimizer"):
            continue
        total += _counted(value) if isinstance(value, h5py.Group) else int(value.size)
    return total


@contextmanager
def _suffixed(path: Path, kind: str) -> Iterator[Path]:
    """Give the file under a name with the suffix that Keras tells kinds by."""
    suffix = ".h5" if kind == "hdf5" else ".keras"
    if path.suffix == suffix:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / f"network{suffix}"
        if kind == "unzipped_keras":
            with zipfile.ZipFile(named, "w") as archive:
                for name in (METADATA, CONFIG, WEIGHTS):
                    archive.write(path / name, name)
        else:
            named.symlink_to(path.resolve())
        yield named


def _loaded(file: Path, name: str, stored: Stored) -> Any:
    import keras

    module = tf_keras() if stored.is_keras_2 else keras
    try:
        return module.models.load_model(
            file, compile=False, custom_objects=unnamed_layers(module, stored.config)
        )
    except Exception as error:  # Keras raises whatever its readers raise
        raise _reason(error, name, stored, str(module.__version__)) from error


def _reason(error: Exception, name: str, stored: Stored, ours: str) -> EdgeleukError:
    text = str(error)
    if found := _UNKNOWN.search(text):
        return custom_layer(name, found[1].rpartition(">")[2])
    if found := _MISSING.search(text):
        return IntegrityError(
            f"{name} lacks weights",
            got=f"{found[3]} of {found[2]} of the layer {found[1]}",
            cure="save it again from where it was trained",
        )
    if isinstance(error, OSError):
        return IntegrityError(f"{name} is damaged", got=first_line(error), cure="copy or download it again")
    return UsageError(
        f"{name} was written by Keras {stored.version}, and Keras {ours} cannot rebuild it",
        got=first_line(error),
        cure=EXPORT,
    )
