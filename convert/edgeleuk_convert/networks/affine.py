"""What a network does to its picture first, as x / 255 or minus a mean: one layer for all of it in a row.

A multiplication and an addition by constants become a ``Rescaling`` where one number serves all channels, and
a depthwise convolution of one pixel with a bias where each channel has its own: that one is rounded to int8
without loss, and tf2onnx would turn the constants of a ``Normalization`` into inputs of the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edgeleuk_convert.networks.layer_names import LayerNames
    from edgeleuk_convert.networks.sources import LayerFacts

    Numbers = npt.NDArray[np.float64]

# The least deviation that Keras divides by.
_EPSILON = 1e-7


@dataclass(frozen=True)
class _Known:
    base: Any
    scale: Numbers
    offset: Numbers


class AffineChain:
    """Follows a picture through arithmetic with constants; its layers get names that are not taken."""

    def __init__(self, names: LayerNames) -> None:
        self._names = names
        self._known: dict[int, _Known] = {}
        # Tensors are kept, for else another could get the same id.
        self._pictures: dict[int, Any] = {}
        self._channels: dict[int, tuple[Any, int, Any]] = {}

    def begin(self, image: Any) -> None:
        """Start with a network's input."""
        self._pictures[id(image)] = image

    def continue_through(self, before: Any, after: Any) -> None:
        """Say that a tensor is still the picture: cut, resized, its channels in another order."""
        if id(before) in self._pictures and after.ndim == 4:
            self._pictures[id(after)] = after

    def note_channel(self, before: Any, after: Any, part: Any) -> None:
        """Say that a tensor is one channel of the picture, where a slice takes one."""
        whole = isinstance(part, (list, tuple)) and len(part) == 2 and part[0] is Ellipsis
        if id(before) in self._pictures and whole and isinstance(part[1], int):
            self._channels[id(after)] = (before, part[1], after)

    def reversed_picture(self, kind: str | None, arguments: Sequence[Any]) -> Any | None:
        """Return the picture whose channels are stacked in reverse, as Keras writes RGB to BGR."""
        parts = arguments[0] if kind == "Stack" and arguments else None
        if not isinstance(parts, (list, tuple)) or any(id(part) not in self._channels for part in parts):
            return None
        pictures, numbers, _ = zip(*(self._channels[id(part)] for part in parts), strict=True)
        backwards = list(numbers) == list(range(pictures[0].shape[-1]))[::-1]
        return pictures[0] if backwards and len({id(of) for of in pictures}) == 1 else None

    def of_operation(self, kind: str | None, operands: Sequence[Any]) -> tuple[Any, Numbers, Numbers] | None:
        """Return the picture with scale and offset where an operation is arithmetic on it with constants."""
        if kind not in ("Add", "Subtract", "Multiply", "Divide") or len(operands) != 2:
            return None
        left, right = operands
        backwards = not hasattr(left, "_keras_history")
        picture, constant = (right, constant_of(left)) if backwards else (left, constant_of(right))
        if id(picture) not in self._pictures or constant is None or (backwards and kind == "Divide"):
            return None
        if constant.ndim and constant.size not in (1, picture.shape[-1]):
            return None
        values = constant.reshape(-1) if constant.size > 1 else constant.reshape(())
        if constant.size > 1 and constant.shape[-1] != constant.size:
            return None
        one, zero = np.float64(1), np.float64(0)
        scale, offset = {
            "Add": (one, values),
            "Subtract": (-one, values) if backwards else (one, -values),
            "Multiply": (values, zero),
            "Divide": (1 / values, zero),
        }[kind]
        return picture, np.asarray(scale), np.asarray(offset)

    def of_layer(self, known: LayerFacts, tensor: Any) -> tuple[Any, Numbers, Numbers] | None:
        """Return tensor, scale and offset where a layer is nothing more than these."""
        if known.kind == "Rescaling":
            scale, offset = (np.asarray(known.config[key], np.float64) for key in ("scale", "offset"))
        elif known.kind == "Normalization" and known.moments is not None:
            mean, variance = (np.asarray(value, np.float64) for value in known.moments)
            deviation = np.maximum(np.sqrt(variance), _EPSILON)
            scale, offset = (
                (deviation, mean) if known.config.get("invert") else (1 / deviation, -mean / deviation)
            )
        else:
            return None
        return tensor, _flat(scale), _flat(offset)

    def applied(self, tensor: Any, scale: Numbers, offset: Numbers, name: str) -> Any:
        """Return a tensor multiplied and shifted, by one layer for all that was done to it in a row."""
        base = tensor
        known = self._known.get(id(tensor))
        # A single number for all channels stands by itself: it can move into the contract.
        if known is not None and (known.scale.ndim or known.offset.ndim or not (scale.ndim or offset.ndim)):
            base, scale, offset = known.base, known.scale * scale, known.offset * scale + offset
        answer = self._layer(base, scale, offset, name)
        self._known[id(answer)] = _Known(base, scale, offset)
        if id(tensor) in self._pictures:
            self._pictures[id(answer)] = answer
        return answer

    def _layer(self, tensor: Any, scale: Numbers, offset: Numbers, name: str) -> Any:
        from keras import layers

        if scale.size == 1 and offset.size == 1:
            one, shift = float(scale.reshape(())), float(offset.reshape(()))
            if (one, shift) == (1.0, 0.0):
                return tensor
            return layers.Rescaling(one, shift, name=self._names.unique(name))(tensor)
        channels = tensor.shape[-1]
        if scale.ndim > 1 or offset.ndim > 1 or max(scale.size, offset.size) != channels or tensor.ndim != 4:
            return tensor * scale.astype(np.float32) + offset.astype(np.float32)
        factors, shifts = (np.broadcast_to(numbers, (channels,)) for numbers in (scale, offset))
        if not (factors != 1).any() and not shifts.any():
            return tensor
        pixel = layers.DepthwiseConv2D(1, name=self._names.unique(name))
        answer = pixel(tensor)
        pixel.set_weights([factors.astype(np.float32).reshape(1, 1, -1, 1), shifts.astype(np.float32)])
        return answer


def constant_of(value: Any) -> Numbers | None:
    """Return a number, an array or a constant tensor as numbers; None for a tensor of the network."""
    if hasattr(value, "_keras_history") or isinstance(value, (str, bool, slice)) or value is None:
        return None
    try:
        numbers = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return None
    return numbers


def _flat(numbers: Numbers) -> Numbers:
    """Leave off axes of one element, if at most the channels remain."""
    if numbers.size == 1:
        return numbers.reshape(())
    return numbers.reshape(-1) if numbers.shape[-1] == numbers.size else numbers
