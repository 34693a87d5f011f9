"""What a network takes of flash and RAM on a microcontroller, and what makes it so large.

TFLite Micro keeps everything in one arena: activations in its head, where each place serves several of them
one after the other, and what lives as long as the interpreter in its tail. How large it is, the package
`tflite-micro` tells (`tflm_worker`); here it is bounded for machines that lack it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from edgeleuk.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeleuk_firmware_bridge.mcu.flatbuffer import Graph, Tensor

ALIGNMENT = 16
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20}
# A sixteenth is added: kernels made for a processor (CMSIS-NN, ESP-NN) ask for buffers that the reference
# kernels do without.
MARGIN = 16
# What the tail holds, in bytes on a 64-bit machine, where pointers make it larger than on a 32-bit one.
EVAL_TENSOR, NODE, OPERATOR_DATA, ENDS, FIXED = 24, 64, 256, 512, 4096
BYTES_A_SCALE = 2 * 4
# Operations that add up in 32 bits before they round.
SUMMING = frozenset({"MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "TRANSPOSE_CONV", "SOFTMAX", "BATCH_MATMUL"})


class Lifetime(NamedTuple):
    """How long a place in the arena is needed: from one operation to another, both included."""

    first: int
    last: int
    size_bytes: int
    tensor: int | None = None


@dataclass(frozen=True, slots=True)
class NamedSize:
    """A tensor as people are told of it."""

    name: str
    shape: tuple[int, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Peak:
    """The operation during which most bytes of activations are alive.

    Attributes
    ----------
    index : int
        Counted from 0.
    operator : str
    size_bytes : int
        Of the tensors; the arena's head is at least as large.
    tensors : tuple of NamedSize
        The largest first.
    """

    index: int
    operator: str
    size_bytes: int
    tensors: tuple[NamedSize, ...]


@dataclass(frozen=True, slots=True)
class Arena:
    """What TFLite Micro needs of RAM.

    Attributes
    ----------
    size_bytes : int
        Head and tail together.
    head_bytes : int
        Activations.
    measured_by : str or None
        Name and version of the package that measured it; None where it is a bound.
    """

    size_bytes: int
    head_bytes: int
    measured_by: str | None = None

    @property
    def with_margin(self) -> int:
        """What to reserve: a sixteenth more."""
        return aligned(self.size_bytes + self.size_bytes // MARGIN)


def parse_size(text: str, flag: str) -> int:
    """Read a size in bytes.

    Raises
    ------
    UsageError
        It is none.

    Examples
    --------
    >>> parse_size("256K", "--ram"), parse_size("1.5M", "--flash")
    (262144, 1572864)
    """
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)\s*([KM]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    size = int(float(found[1]) * UNITS[found[2].upper()]) if found else 0
    if not size:
        raise UsageError(f"{flag} is no size", got=repr(text), allowed="bytes above 0, such as 256K or 1M")
    return size


def aligned(size: int) -> int:
    """Round up to what TFLite Micro aligns to."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def lifetimes(graph: Graph) -> list[Lifetime]:
    """Tell how long every activation is needed.

    An input is there from the first operation on, an output until the last; what no operation reads is needed
    while it is written.
    """
    end = max(len(graph.operators) - 1, 0)
    first: dict[int, int] = dict.fromkeys(graph.inputs, 0)
    last: dict[int, int] = dict.fromkeys(graph.inputs, 0)
    for index, operator in enumerate(graph.operators):
        for tensor in operator.outputs:
            first.setdefault(tensor, index)
            last[tensor] = index
        for tensor in operator.inputs:
            last[tensor] = index
    last.update((tensor, end) for tensor in graph.outputs)
    return [
        Lifetime(first[index], last[index], aligned(tensor.size_bytes), index)
        for index, tensor in enumerate(graph.tensors)
        if index in first and not tensor.constant_bytes
    ]


def planned_bytes(places: Sequence[Lifetime]) -> int:
    """Return how much the arena's head takes, planned as TFLite Micro does.

    The largest comes first, and each goes to the lowest gap among those that are alive with it (Pisarchyk and
    Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020).

    Examples
    --------
    >>> planned_bytes([Lifetime(0, 1, 64), Lifetime(1, 2, 32), Lifetime(2, 3, 64)])
    96
    """
    placed: list[tuple[int, Lifetime]] = []
    # Of equal ones the last comes first, as there: another order may need more, or less.
    for place in sorted(places, key=lambda place: place.size_bytes)[::-1]:
        beside = sorted(
            (offset, other.size_bytes)
            for offset, other in placed
            if other.first <= place.last and place.first <= other.last
        )
        start = 0
        for offset, size in beside:
            if offset - start >= place.size_bytes:
                break
            start = max(start, offset + size)
        placed.append((start, place))
    return max((offset + place.size_bytes for offset, place in placed), default=0)


def bounded_arena(graph: Graph) -> Arena:
    """Bound the arena from above, without TFLite Micro."""
    places = lifetimes(graph)
    for index, operator in enumerate(graph.operators):
        if operator.name in SUMMING:
            sums = 4 * sum(graph.tensors[tensor].elements for tensor in operator.outputs)
            places.append(Lifetime(index, index, aligned(sums)))
    head = planned_bytes(places)
    scales = sum(
        max((graph.tensors[tensor].scales for tensor in operator.inputs), default=0)
        for operator in graph.operators
    )
    tail = (
        FIXED
        + EVAL_TENSOR * len(graph.tensors)
        + (NODE + OPERATOR_DATA) * len(graph.operators)
        + ENDS * (len(graph.inputs) + len(graph.outputs))
        + BYTES_A_SCALE * scales
        + sum(aligned(tensor.size_bytes) for tensor in graph.tensors if tensor.variable)
    )
    return Arena(aligned(head + tail), head)


def peak_of(graph: Graph) -> Peak | None:
    """Find the operation during which most is alive; None of a network without operations."""
    if not graph.operators:
        return None
    places = lifetimes(graph)
    changes = [0] * (len(graph.operators) + 1)
    for place in places:
        changes[place.first] += place.size_bytes
        changes[place.last + 1] -= place.size_bytes
    alive, sums = 0, []
    for change in changes[:-1]:
        alive += change
        sums.append(alive)
    index = sums.index(max(sums))
    tensors = [
        named(graph.tensors[place.tensor])
        for place in places
        if place.tensor is not None and place.first <= index <= place.last
    ]
    return Peak(index, graph.operators[index].name, sums[index], _largest(tensors))


def largest_weights(graph: Graph, count: int) -> tuple[NamedSize, ...]:
    """Return the constants that take most of the file."""
    constants = [
        NamedSize(short_name(tensor.name), tensor.shape, tensor.constant_bytes)
        for tensor in graph.tensors
        if tensor.constant_bytes
    ]
    return _largest(constants)[:count]


def named(tensor: Tensor) -> NamedSize:
    """Return a tensor as people are told of it."""
    return NamedSize(short_name(tensor.name), tensor.shape, tensor.size_bytes)


def short_name(name: str) -> str:
    """Shorten a name: converters join those of all layers that they fused into one.

    Examples
    --------
    >>> short_name("net_1/block2/Relu6;net_1/block2/norm/add_1;net_1/block2/conv")
    'block2/Relu6'
    """
    return "/".join(name.split(";", maxsplit=1)[0].split("/")[-2:])


def _largest(tensors: list[NamedSize]) -> tuple[NamedSize, ...]:
    return tuple(sorted(tensors, key=lambda tensor: -tensor.size_bytes))
