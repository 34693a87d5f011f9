"""Networks with channels first are turned: their tensors are held with channels last.

A tensor counts as *turned* where the network itself means (n, C, H, W) and (n, H, W, C) is held. Layers that
cannot be turned get the tensor back as they mean it, by a ``Permute``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from edgeleuk_convert.networks.layer_names import LayerNames
    from edgeleuk_convert.networks.sources import LayerFacts

# What works on each number by itself.
_ELEMENTWISE = frozenset({"Activation", "ELU", "LeakyReLU", "PReLU", "ReLU", "Rescaling"})
_MERGING = frozenset({"Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"})
_WITH_AXIS = frozenset(
    {"BatchNormalization", "Concatenate", "GroupNormalization", "LayerNormalization", "Softmax"}
)
_TURNABLE = _ELEMENTWISE | _MERGING | _WITH_AXIS
# Where an axis of (n, C, H, W) lies in (n, H, W, C).
_MOVED = {0: 0, 1: 3, 2: 1, 3: 2}
_FIRST, _LAST = (3, 1, 2), (2, 3, 1)


class Layouts:
    """Remembers which tensors are turned; the layers that turn them get names that are not taken."""

    def __init__(self, names: LayerNames) -> None:
        self._names = names
        self._turned: dict[int, Any] = {}

    def turn(self, tensor: Any) -> None:
        """Say that a tensor is held with channels last, and meant with channels first."""
        self._turned[id(tensor)] = tensor

    def is_turned(self, tensor: Any) -> bool:
        """Tell whether a tensor is held otherwise than the network means it."""
        return id(tensor) in self._turned

    def native(self, tensor: Any) -> Any:
        """Return a tensor as the network means it."""
        return self._permuted(_FIRST, tensor) if self.is_turned(tensor) else tensor

    def all_native(self, arguments: Any) -> Any:
        """Return all tensors among arguments as the network means them."""
        from keras import tree

        if not self._turned:
            return arguments
        return tree.map_structure(self.native, arguments)

    def channels_last(self, tensor: Any) -> Any:
        """Return a tensor that is meant with channels first with channels last."""
        if self.is_turned(tensor) or tensor.ndim != 4:
            return tensor
        turned = self._permuted(_LAST, tensor)
        self.turn(turned)
        return turned

    def arrange(
        self, known: LayerFacts, args: tuple[Any, ...]
    ) -> tuple[dict[str, Any] | None, tuple[Any, ...], bool]:
        """Return a layer's configuration, its arguments, and whether its answer is turned.

        The configuration is None where the layer's work is done: a ``Permute`` that only turned back.
        """
        config = dict(known.config)
        first = config.get("data_format") == "channels_first"
        tensors = args[0] if isinstance(args[0], (list, tuple)) else [args[0]]
        pictures = all(getattr(tensor, "ndim", 0) == 4 for tensor in tensors)
        if first and pictures:
            config["data_format"] = "channels_last"
            return config, (self.channels_last(args[0]), *args[1:]), True
        if not any(self.is_turned(tensor) for tensor in tensors):
            return config, args, False
        if known.kind == "Permute" and tuple(config["dims"]) == _LAST:
            return None, (self._forgotten(args[0]),), False
        if pictures and known.kind in _TURNABLE:
            return self._turned_layer(known, config, args, tensors)
        return config, self.all_native(args), False

    def _turned_layer(
        self, known: LayerFacts, config: dict[str, Any], args: tuple[Any, ...], tensors: Any
    ) -> tuple[dict[str, Any], tuple[Any, ...], bool]:
        """Return the same for a layer that may work on channels last as well."""
        if known.kind in _WITH_AXIS:
            return self._with_axis(known, config, args, tensors)
        if known.kind in _MERGING:
            return config, ([self.channels_last(tensor) for tensor in tensors],), True
        if config.get("activation") == "softmax":
            return config, self.all_native(args), False
        if known.kind == "PReLU":
            config = self._with_shared_axes(config)
        return config, args, True

    def weights(self, known: LayerFacts, *, turned: bool) -> list[Any]:
        """Return a layer's weights, those of each place of a picture turned with it."""
        arrays = [np.asarray(weight, np.float32) for weight in known.weights]
        if turned and known.kind == "PReLU":
            return [np.transpose(array, (1, 2, 0)) for array in arrays]
        return arrays

    def _permuted(self, dims: tuple[int, int, int], tensor: Any) -> Any:
        from keras import layers

        return layers.Permute(dims, name=self._names.unique("turned"))(tensor)

    def _forgotten(self, tensor: Any) -> Any:
        """Return a tensor that is held as it is and meant so from here on."""
        from keras import layers

        # Under another identity: what else reads the tensor still means it turned.
        return layers.Identity(name=self._names.unique("turned_back"))(tensor)

    def _with_axis(
        self, known: LayerFacts, config: dict[str, Any], args: tuple[Any, ...], tensors: Any
    ) -> tuple[dict[str, Any], tuple[Any, ...], bool]:
        axes = config.get("axis", -1)
        listed = list(axes) if isinstance(axes, (list, tuple)) else [axes]
        moved = [_MOVED[axis % 4] for axis in listed]
        # Weights along several axes would have to be turned as well.
        if len(moved) > 1 or (known.kind != "Concatenate" and known.weights and moved != [3]):
            return config, self.all_native(args), False
        if known.kind == "Concatenate":
            args = ([self.channels_last(tensor) for tensor in tensors],)
        return {**config, "axis": moved[0]}, args, True

    @staticmethod
    def _with_shared_axes(config: dict[str, Any]) -> dict[str, Any]:
        shared = config.get("shared_axes")
        return config if not shared else {**config, "shared_axes": [_MOVED[axis] for axis in shared]}
