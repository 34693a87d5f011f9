"""What flows through a float TFLite network, tensor by tensor, and which tensors of the int8 one they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeleuk.inference.quantization import Affine
from edgeleuk.inference.runtime import output_roles

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

# Between float and int8 at the ends of a network; they have no counterpart in the float one.
_EDGES = ("QUANTIZE", "DEQUANTIZE")


@dataclass(frozen=True, slots=True)
class Matched:
    """Which tensors of two networks are the same.

    Attributes
    ----------
    ranges : dict of str to Affine
        Tensor of the float network, by its short name, to the quantization of its counterpart.
    unmatched : tuple of str
        Tensors that have none, with the network they are in.
    """

    ranges: dict[str, Affine]
    unmatched: tuple[str, ...]


class FloatTensors:
    """A float TFLite network whose every activation can be read, by its short name.

    Parameters
    ----------
    model : bytes
    """

    def __init__(self, model: bytes) -> None:
        # XNNPACK would fuse operations and leave their tensors unwritten.
        self._interpreter = _opened(model)
        self._source = self._interpreter.get_input_details()[0]["index"]
        self._tensors = {tensor.name: tensor.index for tensor in _activations(self._interpreter)}

    def of(self, real: Floats) -> dict[str, Floats]:
        """Run one image, (1, H, W, C) float32, and return every activation."""
        self._interpreter.set_tensor(self._source, real)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._tensors.items()}


def match_tensors(float_model: bytes, int8_model: bytes) -> Matched:
    """Find for each activation of a float TFLite network its counterpart in the int8 one.

    By name first: a fused operation's tensor carries the names of all its parts, which the converter writes
    alike in both but for the network's own name in front. Then, where both networks are the same sequence of
    operations, by place.

    Parameters
    ----------
    float_model, int8_model : bytes
        Flatbuffers of one Keras network.
    """
    ours, theirs = (_activations(_opened(model)) for model in (float_model, int8_model))
    theirs = [tensor for tensor in theirs if tensor.operation not in _EDGES and tensor.affine is not None]
    found: dict[str, _Activation] = {}
    for key in (lambda tensor: tensor.parts, lambda tensor: (tensor.name, tensor.shape)):
        left = {key(tensor): tensor for tensor in theirs if tensor not in found.values()}
        for tensor in ours:
            other = left.get(key(tensor))
            if tensor.name not in found and other is not None and other.shape == tensor.shape:
                found[tensor.name] = left.pop(key(tensor))
    if [tensor.operation for tensor in ours] == [tensor.operation for tensor in theirs]:
        taken = {tensor.index for tensor in found.values()}
        for tensor, other in zip(ours, theirs, strict=True):
            if tensor.name not in found and other.index not in taken and other.shape == tensor.shape:
                found[tensor.name] = other
    taken = {tensor.index for tensor in found.values()}
    return Matched(
        {t.name: affine for t in ours if t.name in found and (affine := found[t.name].affine) is not None},
        (
            *(f"{tensor.name} (float)" for tensor in ours if tensor.name not in found),
            *(f"{tensor.name} (int8)" for tensor in theirs if tensor.index not in taken),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Activation:
    index: int
    name: str
    parts: frozenset[str]
    operation: str
    shape: tuple[int, ...]
    affine: Affine | None


def _opened(model: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    return interpreter


def _activations(interpreter: Any) -> list[_Activation]:
    """List the input and what each operation writes, in order, under names that differ."""
    details = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    written = [("INPUT", interpreter.get_input_details()[0]["index"])]
    written += [
        (operation["op_name"], int(index))
        for operation in interpreter._get_ops_details()  # noqa: SLF001 - the only way to know them
        for index in operation["outputs"]
    ]
    ends = _ends(interpreter)
    names = _short_names([ends.get(index, details[index]["name"]) for _, index in written])
    activations = []
    for (operation, index), name in zip(written, names, strict=True):
        tensor = details[index]
        scale, zero_point = tensor["quantization"]
        activations.append(
            _Activation(
                index,
                name,
                frozenset(_parts(ends.get(index, tensor["name"]))),
                operation,
                tuple(int(n) for n in tensor["shape"]),
                Affine(float(scale), int(zero_point), np.dtype(tensor["dtype"]).name) if scale else None,
            )
        )
    return activations


def _ends(interpreter: Any) -> dict[int, str]:
    """Name input and outputs by what they are: the converter's names for them count what was made before."""
    sinks = interpreter.get_output_details()
    answer, features = output_roles([int(sink["shape"][-1]) for sink in sinks])
    ends = {interpreter.get_input_details()[0]["index"]: "input", sinks[answer]["index"]: "output"}
    return ends | ({} if features is None else {sinks[features]["index"]: "features"})


def _parts(name: str) -> list[str]:
    """Split a fused tensor's name; the network's own name, which counts copies, is left off."""
    return [part.split("/", 1)[-1] for part in name.split(";") if part]


def _short_names(names: Sequence[str]) -> list[str]:
    """Name tensors by the first part of their names, told apart by a number where that is not enough."""
    short: list[str] = []
    for name in names:
        first = (_parts(name) or ["tensor"])[0]
        number = 1
        unique = first
        while unique in short:
            number += 1
            unique = f"{first} {number}"
        short.append(unique)
    return short
