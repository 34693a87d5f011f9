"""What a TFLite file holds, read from its bytes alone: operators, tensors, where constants lie.

A flatbuffer is a tree of tables that point at each other. Every offset is held against the length of the
file before it is followed, and what all vectors hold together against a budget: bytes of anybody's are read
without harm. Field numbers are those of TensorFlow Lite's ``schema.fbs``, version 3.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod

from edgeleuk.errors import BundleError, CheckFailedError

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
# In the order of their numbers, from 0.
OPERATORS = tuple(
    """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC
LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX
SPACE_TO_DEPTH SVDF TANH CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD
UNIDIRECTIONAL_SEQUENCE_RNN GATHER BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE
UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE
BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL
LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT
RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT
UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR
LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND COS WHERE RANK
ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE NON_MAX_SUPPRESSION_V4
NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM BATCH_MATMUL
PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS
HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE
READ_VARIABLE ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL
GELU DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2
UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT STABLEHLO_LOGISTIC STABLEHLO_ADD STABLEHLO_DIVIDE
STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_RESHAPE STABLEHLO_CLAMP STABLEHLO_CONCATENATE
STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CONVOLUTION STABLEHLO_SLICE STABLEHLO_CUSTOM_CALL STABLEHLO_REDUCE
STABLEHLO_ABS STABLEHLO_AND STABLEHLO_COSINE STABLEHLO_EXPONENTIAL STABLEHLO_FLOOR STABLEHLO_LOG
STABLEHLO_MINIMUM STABLEHLO_NEGATE STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER STABLEHLO_RSQRT
STABLEHLO_SELECT STABLEHLO_SUBTRACT STABLEHLO_TANH STABLEHLO_SCATTER STABLEHLO_COMPARE STABLEHLO_CONVERT
STABLEHLO_DYNAMIC_SLICE STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_PAD STABLEHLO_IOTA STABLEHLO_DOT_GENERAL
STABLEHLO_REDUCE_WINDOW STABLEHLO_SORT STABLEHLO_WHILE STABLEHLO_GATHER STABLEHLO_TRANSPOSE DILATE
STABLEHLO_RNG_BIT_GENERATOR REDUCE_WINDOW STABLEHLO_COMPOSITE STABLEHLO_SHIFT_LEFT STABLEHLO_CBRT
STABLEHLO_CASE
""".split()  # noqa: SIM905 - two hundred quoted names would not be read
)
CUSTOM = OPERATORS.index("CUSTOM")
# Bits of one element; 0 where a file says nothing of it.
BITS = {
    "FLOAT32": 32, "FLOAT16": 16, "INT32": 32, "UINT8": 8, "INT64": 64, "STRING": 0, "BOOL": 8, "INT16": 16,
    "COMPLEX64": 64, "INT8": 8, "FLOAT64": 64, "COMPLEX128": 128, "UINT64": 64, "RESOURCE": 0, "VARIANT": 0,
    "UINT32": 32, "UINT16": 16, "INT4": 4, "BFLOAT16": 16, "INT2": 2,
}  # fmt: skip
TYPES = tuple(BITS)
# An honest file shares a few shapes among tensors; a hostile one lets every tensor hold the whole file.
SHARING = 4
LARGEST_RANK, LONGEST_NAME = 8, 512


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a network.

    Attributes
    ----------
    name : str
    shape : tuple of int
        With a batch of one where the file leaves it open.
    dtype : str
        As in `BITS`.
    constant_bytes : int
        That the file holds for it: 0 of an activation.
    scale : float or None
        Of the first channel; None where it is not quantized.
    zero_point : int
    scales : int
        How many there are: one for each channel, or one for all.
    variable : bool
        Whether it keeps its values from run to run.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    constant_bytes: int = 0
    scale: float | None = None
    zero_point: int = 0
    scales: int = 0
    variable: bool = False

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """What it takes in memory."""
        return (self.elements * BITS[self.dtype] + 7) // 8


@dataclass(frozen=True, slots=True)
class Operator:
    """One operation, and the tensors that it reads and writes, without optional ones that are absent."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """A network.

    Attributes
    ----------
    operator_names : tuple of str
        Of all kinds of operations that the file declares, each once; ``custom NAME`` of foreign ones.
    tensors : tuple of Tensor
    operators : tuple of Operator
        In the order in which they run.
    inputs, outputs : tuple of int
        Indices of tensors.
    """

    operator_names: tuple[str, ...]
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_graph(model: bytes) -> Graph:
    """Read a TFLite file of one graph.

    Raises
    ------
    BundleError
        It is no such file, or is damaged.
    CheckFailedError
        It keeps weights outside, or has several graphs: no microcontroller runs that.
    """
    try:
        return _graph(model)
    except (_DamagedError, struct.error) as error:
        raise BundleError(
            "the TFLite model cannot be read", got=str(error), cure="convert the network again"
        ) from error


class _DamagedError(Exception):
    """An offset leads out of the file, or a number is none that the schema knows."""


class _Table:
    """A table of a flatbuffer; `budget` holds how many more elements all vectors together may have."""

    def __init__(self, data: bytes, at: int, budget: list[int]) -> None:
        self._data, self._at, self._budget = data, at, budget
        vtable = at - _number(data, "i", at)
        self._vtable, self._fields = vtable, max((_number(data, "H", vtable) - 4) // 2, 0)

    def number(self, field: int, kind: str, default: float = 0) -> float:
        """Return a plain field, of a kind that `struct` knows."""
        at = self._place(field)
        return default if at is None else _number(self._data, kind, at)

    def integer(self, field: int, kind: str) -> int:
        """Return a plain field that holds an integer."""
        return int(self.number(field, kind))

    def table(self, field: int) -> _Table | None:
        """Return the table that a field leads to."""
        at = self._place(field)
        return None if at is None else _Table(self._data, self._follow(at), self._budget)

    def tables(self, field: int) -> list[_Table]:
        """Return a vector's tables."""
        start, count = self._vector(field, 4)
        return [_Table(self._data, self._follow(start + 4 * index), self._budget) for index in range(count)]

    def numbers(self, field: int, kind: str) -> tuple[float, ...]:
        """Return a vector's numbers."""
        start, count = self._vector(field, struct.calcsize(kind))
        return struct.unpack_from(f"<{count}{kind}", self._data, start)

    def integers(self, field: int, kind: str = "i") -> tuple[int, ...]:
        """Return a vector's integers."""
        return tuple(int(number) for number in self.numbers(field, kind))

    def length(self, field: int, size: int = 1) -> int:
        """Return how many elements of `size` bytes a vector has, without reading them."""
        return self._vector(field, size, spend=False)[1]

    def text(self, field: int) -> str:
        """Return a string, cut where it is too long to be shown."""
        start, count = self._vector(field, 1, spend=False)
        return self._data[start : start + min(count, LONGEST_NAME)].decode(errors="replace")

    def _place(self, field: int) -> int | None:
        if field >= self._fields:
            return None
        offset = _number(self._data, "H", self._vtable + 4 + 2 * field)
        return self._at + offset if offset else None

    def _follow(self, at: int) -> int:
        return at + _number(self._data, "I", at)

    def _vector(self, field: int, size: int, *, spend: bool = True) -> tuple[int, int]:
        at = self._place(field)
        if at is None:
            return 0, 0
        start = self._follow(at)
        count = _number(self._data, "I", start)
        if start + 4 + count * size > len(self._data):
            msg = f"a vector of {count} elements leads out of the file"
            raise _DamagedError(msg)
        if spend:
            self._budget[0] -= count
            if self._budget[0] < 0:
                raise _DamagedError("its vectors hold more than the file does")
        return start + 4, count


def _number(data: bytes, kind: str, at: int) -> int:
    if at < 0:
        raise _DamagedError("an offset leads out of the file")
    value: int = struct.unpack_from(f"<{kind}", data, at)[0]
    return value


def _graph(model: bytes) -> Graph:
    if model[4:8] != IDENTIFIER:
        raise _DamagedError("no TFL3 in its head")
    root = _Table(model, _number(model, "I", 0), [SHARING * len(model)])
    if (version := root.integer(0, "I")) != SCHEMA_VERSION:
        msg = f"version {version}, where {SCHEMA_VERSION} is known"
        raise _DamagedError(msg)
    names = [_operator_name(table) for table in root.tables(1)]
    constants = [_constant_bytes(table) for table in root.tables(4)]
    graphs = root.tables(2)
    if len(graphs) != 1:
        raise CheckFailedError(
            "only a network of one graph goes to a microcontroller",
            got=f"{len(graphs)} graphs",
            cure="build it without conditions and loops",
        )
    (graph,) = graphs
    tensors = tuple(_tensor(table, constants) for table in graph.tables(0))
    return Graph(
        tuple(dict.fromkeys(names)),
        tensors,
        tuple(_operator(table, names, len(tensors)) for table in graph.tables(3)),
        _indices(graph.integers(1), len(tensors)),
        _indices(graph.integers(2), len(tensors)),
    )


def _operator_name(table: _Table) -> str:
    # Numbers above 126 stand in the newer field alone.
    number = max(table.integer(0, "b"), table.integer(3, "i"))
    if number == CUSTOM:
        return f"custom {table.text(1)}"
    return OPERATORS[number] if 0 <= number < len(OPERATORS) else f"number {number}"


def _constant_bytes(table: _Table) -> int:
    if max(table.integer(1, "Q"), table.integer(2, "Q")) > 1:
        raise CheckFailedError(
            "the network's weights lie outside its flatbuffer, where TFLite Micro does not find them",
            cure="convert it to less than 2 GB, into one flatbuffer",
        )
    return table.length(0)


def _tensor(table: _Table, constants: list[int]) -> Tensor:
    shape, number, buffer = table.integers(0), table.integer(1, "b"), table.integer(2, "I")
    if len(shape) > LARGEST_RANK or any(not 0 <= side < 1 << 31 for side in shape):
        msg = f"a tensor of shape {shape[: LARGEST_RANK + 1]}"
        raise _DamagedError(msg)
    if not 0 <= number < len(TYPES):
        msg = f"a tensor of type {number}"
        raise _DamagedError(msg)
    # A file without buffers has no constants; buffer 0 is the empty one.
    if buffer >= max(len(constants), 1):
        msg = f"a tensor in buffer {buffer} of {len(constants)}"
        raise _DamagedError(msg)
    quantization = table.table(4)
    count = quantization.length(2, 4) if quantization else 0
    scales = quantization.numbers(2, "f")[:1] if quantization and count else ()
    zero_points = quantization.integers(3, "q")[:1] if quantization and count else ()
    return Tensor(
        table.text(3),
        shape,
        TYPES[number],
        constants[buffer] if constants else 0,
        float(scales[0]) if scales else None,
        zero_points[0] if zero_points else 0,
        count,
        bool(table.integer(5, "B")),
    )


def _operator(table: _Table, names: list[str], tensors: int) -> Operator:
    code = table.integer(0, "I")
    if code >= len(names):
        msg = f"an operation of kind {code} of {len(names)}"
        raise _DamagedError(msg)
    return Operator(
        names[code],
        # -1 stands for an input that is optional and absent.
        _indices(tuple(index for index in table.integers(1) if index != -1), tensors),
        _indices(table.integers(2), tensors),
    )


def _indices(indices: tuple[int, ...], tensors: int) -> tuple[int, ...]:
    for index in indices:
        if not 0 <= index < tensors:
            msg = f"tensor {index} of {tensors}"
            raise _DamagedError(msg)
    return indices
