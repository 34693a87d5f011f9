"""Load a network that is to be converted, ours or another's, or say in one sentence why that cannot be."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk.errors import UsageError
from edgeleuk_convert.environment import silenced
from edgeleuk_convert.networks.ends import activation_name, with_plain_end
from edgeleuk_convert.networks.file_kinds import EXPORT, file_kind, first_line
from edgeleuk_convert.networks.frozen import frozen_layer, wrapped
from edgeleuk_convert.networks.keras2 import UntranslatableError
from edgeleuk_convert.networks.keras_files import read_keras_file
from edgeleuk_convert.networks.originals import Original, layered, signature
from edgeleuk_convert.networks.rebuild import Rebuilder
from edgeleuk_convert.networks.saved_model import read_layers, read_signature
from edgeleuk_convert.networks.sources import Keras3

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

# Of answers, as a share of the largest: networks in half precision differ from themselves in float32.
_TOLERANCE = {"float32": 1e-3, "float16": 0.05, "bfloat16": 0.15}
# Ranges that networks are fed pictures in; whichever is right, in another one a sigmoid may be saturated.
_RANGES = ((0, 255), (0, 1), (-1, 1))
SUPPORTED = "one image input (n, H, W, C) and one output (n, K)"
_CHANNELS = (1, 3, 4)
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class LoadedNetwork:
    """A network that can be converted.

    Attributes
    ----------
    model : keras.Model
        Flat and functional, of Keras 3, in float32: one image (n, H, W, C) in, (n, K) out. Nothing in it
        works in training alone.
    sha256 : str
        Of the file; of the names and hashes of its files, where it is a folder.
    notes : tuple of str
        What was done to bring it to this form, for people to read.
    difference : float
        The largest difference from the original's answers, as a share of the largest of them.
    """

    model: Any
    sha256: str
    notes: tuple[str, ...] = ()
    difference: float = 0.0


@dataclass(frozen=True)
class _Shape:
    height: int
    width: int
    channels: int
    first: bool

    @property
    def held(self) -> tuple[int, int, int]:
        return (self.height, self.width, self.channels)


@dataclass(frozen=True)
class _Rebuilt:
    model: Any
    halved: bool
    notes: set[str]
    precisions: frozenset[str] = frozenset()


def load_network(
    path: Path, *, size: int | tuple[int, int] | None = None, output: str | None = None
) -> LoadedNetwork:
    """Load a network of Keras 2 or 3: ``.keras``, HDF5, or the folder of a SavedModel.

    Parameters
    ----------
    path : Path
    size : int or (int, int), optional
        Height and width, in pixels, for a network that takes pictures of any size.
    output : str, optional
        Name of the output to keep, for a network with several.

    Raises
    ------
    UsageError
        There is nothing of that name, it is no network, or one that cannot be converted: code of its own,
        several inputs or outputs, no image input of a fixed size, weights that are not finite.
    IntegrityError
        The file is damaged.
    MissingDependencyError
        Keras 2 wrote it, and tf-keras is not installed.
    """
    with warnings.catch_warnings(), silenced():
        warnings.simplefilter("ignore")
        original = _original(path)
        shape = _image_shape(original, size)
        chosen = _chosen_output(original, output)
        rebuilt = _rebuilt(original, shape, chosen)
        refuse_unfit(rebuilt.model, path.name)
        difference = _compared(original, rebuilt, shape, chosen)
    return LoadedNetwork(rebuilt.model, hash_of(path), (*original.notes, *sorted(rebuilt.notes)), difference)


def functional(model: Any) -> Any:
    """Give a Sequential network's layers as a functional one: only that knows its own input and output."""
    import keras

    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return model


def refuse_unfit(model: Any, name: str) -> None:
    """Raise `UsageError` for a rebuilt network that cannot become a bundle, naming what is in the way."""
    answer = tuple(model.output_shape)
    if len(answer) != 2 or answer[1] is None:
        raise UsageError(f"{name} gives no list of numbers", got=f"shape {answer}", allowed=SUPPORTED)
    last = model.outputs[0]._keras_history[0]  # noqa: SLF001 - where the answer comes from
    if activation_name(last) == "tanh":
        raise UsageError(
            f"{name} ends in a tanh of {answer[1]} numbers",
            allowed="a sigmoid, a softmax, logits, or a tanh of one number",
            cure="save it without that activation",
        )
    for layer in model.layers:
        for variable in layer.weights:
            values = np.asarray(variable)
            if not np.isfinite(values).all():
                count = int(np.count_nonzero(~np.isfinite(values)))
                raise UsageError(
                    f"{name} has weights that are not finite",
                    got=f"{count} of {values.size} in {_owner(layer, variable)}",
                    cure="train it again: its training has diverged",
                )


def _owner(layer: Any, variable: Any) -> str:
    """Name what a weight belongs to: in a graph the weight itself, for there the layer is the whole of it."""
    return str(variable.name) if isinstance(layer, frozen_layer()) else f"the layer {layer.name}"


def hash_of(path: Path) -> str:
    """Return the sha256 of a file, or of a folder's files and their names."""
    if path.is_file():
        return _digest(path)
    whole = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        whole.update(f"{_digest(file)}  {file.relative_to(path).as_posix()}\n".encode())
    return whole.hexdigest()


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _original(path: Path) -> Original:
    """Read a network as it was saved."""
    kind = file_kind(path)
    if kind != "saved_model":
        model, stored = read_keras_file(path, kind)
        return layered(model, path.name, stored)
    found = read_layers(path)
    if found is not None:
        model, stored = found
        return layered(model, path.name, stored)
    return signature(read_signature(path), path.name)


def _image_shape(original: Original, size: int | tuple[int, int] | None) -> _Shape:
    """Return height, width and channels of the image, and whether the network wants its channels first."""
    name = original.name
    if not original.inputs:
        raise UsageError(
            f"{name} was never built", allowed=SUPPORTED, cure="give it a keras.Input, and save it again"
        )
    if len(original.inputs) > 1:
        names = ", ".join(of[0] for of in original.inputs)
        raise UsageError(
            f"{name} has {len(original.inputs)} inputs",
            got=names,
            allowed=SUPPORTED,
            cure="build a network of the image input alone, and save that",
        )
    _, full, _ = original.inputs[0]
    shape = tuple(full)[1:]
    if len(shape) != 3:
        raise UsageError(f"{name} takes no image", got=f"an input of shape {tuple(full)}", allowed=SUPPORTED)
    first = shape[0] in _CHANNELS and shape[2] not in _CHANNELS
    height, width, channels = (*shape[1:], shape[0]) if first else shape
    if channels is None:
        raise UsageError(
            f"{name} takes any number of channels", got=f"an input of shape {tuple(full)}", allowed="1 or 3"
        )
    wanted = (size, size) if isinstance(size, int) else size
    if wanted is None and None in (height, width):
        raise UsageError(
            f"{name} takes images of any size",
            got=f"an input of shape {tuple(full)}",
            cure="pass --size with the height and width that it was trained on",
        )
    if wanted is not None:
        for asked, has in zip(wanted, (height, width), strict=True):
            if has not in (None, asked) or asked < 1:
                raise UsageError(
                    f"{name} cannot take images of the size asked for",
                    got=f"{wanted[0]}x{wanted[1]}",
                    allowed=f"{height or 'any'}x{width or 'any'}",
                    cure="leave out --size",
                )
        height, width = wanted
    return _Shape(int(height or 0), int(width or 0), int(channels), first)


def _chosen_output(original: Original, output: str | None) -> int:
    names = original.outputs
    if output is not None and output not in names:
        raise UsageError(f"{original.name} has no such output", got=output, allowed=", ".join(names))
    if output is None and len(names) > 1:
        raise UsageError(
            f"{original.name} has {len(names)} outputs", got=", ".join(names), cure="choose one with --output"
        )
    return 0 if output is None else names.index(output)


def _rebuilt(original: Original, shape: _Shape, chosen: int) -> _Rebuilt:
    """Build the network anew of its layers, or of its graph where a layer cannot be translated."""
    import keras

    title = original.title.replace("/", "_")
    notes: set[str] = set()
    if original.network is not None and original.source is not None:
        label = original.inputs[0][0].replace("/", "_")
        image = keras.Input(shape.held, name=label)
        rebuilder = Rebuilder(original.source)
        try:
            model = rebuilder.rebuild(original.network, image, turned=shape.first, output=chosen, name=title)
        except UntranslatableError as error:
            notes.add(f"kept as a graph, for Keras 3 has no layer for its {error}")
        except Exception as error:  # noqa: BLE001 - layers raise whatever they like; the graph needs none of them
            notes.add(f"kept as a graph, for its layers could not be built anew ({first_line(error, 80)})")
        else:
            if shape.first:
                # What only turned pictures back stands there as an Identity.
                model = Rebuilder(Keras3()).rebuild(
                    model, keras.Input(shape.held, name=label), turned=False, name=title
                )
            notes |= rebuilder.notes | _form_notes(original, shape)
            return _Rebuilt(*with_plain_end(model, notes), notes, frozenset(rebuilder.precisions))
    image = keras.Input(shape.held, name="image")
    x = keras.layers.Permute((3, 1, 2), name="channels_first")(image) if shape.first else image
    try:
        frozen = original.frozen((None, *x.shape[1:]), chosen)
        model = keras.Model(image, wrapped(frozen, x, "graph"), name=title)
    except Exception as error:  # TensorFlow raises whatever it likes
        raise UsageError(
            f"{original.name} can be built anew neither of its layers nor of its graph",
            got=first_line(error),
            cure=EXPORT,
        ) from error
    notes |= _form_notes(original, shape) | {f"rebuilt in float32 from {of}" for of in frozen.precisions}
    return _Rebuilt(*with_plain_end(model, notes), notes, frozen.precisions)


def _form_notes(original: Original, shape: _Shape) -> set[str]:
    """Say what of the original's input is otherwise now."""
    _, full, dtype = original.inputs[0]
    notes = set()
    if full[0] is not None:
        notes.add(f"takes any batch; it was built for {full[0]}")
    if dtype not in ("float32", "float16", "bfloat16"):
        notes.add(f"takes float32 of the same numbers; it was built for {dtype}")
    if shape.first:
        notes.add("its channels come last; it was built with channels first")
    if None in full[1:]:
        notes.add(f"takes {shape.height}x{shape.width} px; it was built for any size")
    return notes


def _compared(original: Original, rebuilt: _Rebuilt, shape: _Shape, chosen: int) -> float:
    """Return how far the rebuilt network's answers lie from the original's; refuse what is too far."""
    try:
        found, wanted = _both_answers(original, rebuilt, shape, chosen)
    except Exception as error:  # layers raise whatever they like
        raise UsageError(
            f"{original.name} cannot be run on pictures of {shape.height}x{shape.width} px",
            got=first_line(error),
            cure=EXPORT,
        ) from error
    # Half precision overflows where float32 does not.
    rows = np.isfinite(wanted).all(axis=1)
    difference = _share(found[rows], wanted[rows])
    policies = ("float32", *rebuilt.precisions)
    limit = max(allowed for name, allowed in _TOLERANCE.items() if any(of.endswith(name) for of in policies))
    if not rows.any() or not difference <= limit:
        raise UsageError(
            f"{original.name} does not answer as before once it is rebuilt",
            got=f"a difference of {difference:.2g} of its largest answer",
            allowed=f"{limit:g}",
            cure=EXPORT,
        )
    return difference


def _both_answers(
    original: Original, rebuilt: _Rebuilt, shape: _Shape, chosen: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Answer random pictures with the rebuilt network and with the original, (n, K) each."""
    rng = np.random.default_rng(0)
    images = np.concatenate(
        [rng.uniform(low, high, (2, shape.height, shape.width, shape.channels)) for low, high in _RANGES]
    ).astype(np.float32)
    dtype = original.inputs[0][2]
    if "int" in dtype:
        images = np.rint(np.abs(images))
    own = images.transpose(0, 3, 1, 2) if shape.first else images
    wanted = original.answers(own, chosen).reshape(len(images), -1)
    if rebuilt.halved:
        wanted = (1 + wanted) / 2
    return np.asarray(rebuilt.model(images, training=False), np.float64), wanted


def _share(found: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64]) -> float:
    if not wanted.size:
        return float("inf")
    return float(np.abs(found - wanted).max() / max(1.0, np.abs(wanted).max()))
