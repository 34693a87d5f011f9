"""Which operations TFLite Micro has, and how a `MicroMutableOpResolver` is told of each.

The table is what the resolver of the package `tflite-micro` finds; `tests/unit/test_mcu.py` asks it for every
operation that TFLite knows, one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeleuk.errors import CheckFailedError

if TYPE_CHECKING:
    from edgeleuk_firmware_bridge.mcu.flatbuffer import Graph

SUPPORTED = frozenset(
    """
ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_ARGS
BROADCAST_TO CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS CUMSUM DEPTHWISE_CONV_2D DEPTH_TO_SPACE
DEQUANTIZE DIV DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV
FLOOR_MOD FULLY_CONNECTED GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH IF L2_NORMALIZATION L2_POOL_2D
LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D
MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE READ_VARIABLE REDUCE_ALL REDUCE_MAX
REDUCE_MIN RELU RELU6 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT SELECT_V2 SHAPE
SIN SLICE SOFTMAX SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE
STRIDED_SLICE SUB SUM SVDF TANH TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK VAR_HANDLE
WHILE ZEROS_LIKE
""".split()  # noqa: SIM905 - a hundred quoted names would not be read
)
# Where the method is not the name with its words run together.
_IRREGULAR = {
    "BATCH_MATMUL": "AddBatchMatMul",
    "CUMSUM": "AddCumSum",
    "PADV2": "AddPadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
}


def resolver_methods(graph: Graph) -> tuple[str, ...]:
    """Return the methods of a `MicroMutableOpResolver` that a network needs, in the order of their names.

    Raises
    ------
    CheckFailedError
        TFLite Micro lacks an operation; all such are named.
    """
    if missing := sorted(set(graph.operator_names) - SUPPORTED):
        raise CheckFailedError(
            "TFLite Micro lacks operations of this network",
            got=", ".join(missing),
            cure="build the network of others: `edgeleuk_firmware_bridge.mcu.ops.SUPPORTED` lists them",
        )
    return tuple(sorted(resolver_method(name) for name in graph.operator_names))


def resolver_method(name: str) -> str:
    """Return the method that adds one operation.

    Examples
    --------
    >>> resolver_method("DEPTHWISE_CONV_2D"), resolver_method("RELU6"), resolver_method("PADV2")
    ('AddDepthwiseConv2D', 'AddRelu6', 'AddPadV2')
    """
    words = (word if word[0].isdigit() else word.capitalize() for word in name.split("_"))
    return _IRREGULAR.get(name, "Add" + "".join(words))
