"""The C and C++ that an export consists of, as text."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from edgeleuk.deploy.deployment import TABLE_CODES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgeleuk.deploy.deployment import Deployment, GoldenCell, Table
    from edgeleuk_firmware_bridge.mcu.flatbuffer import Tensor
    from edgeleuk_firmware_bridge.mcu.memory import Arena

# A row of a hundred characters.
BYTES_A_ROW = 20
NUMBERS_A_ROW = 20
# By how many steps of int8 a kernel made for a processor may round otherwise than the reference kernels.
TOLERANCE_STEPS = 1
# By how much C differs from edgeleuk on the same outputs, in log odds and in distances: float against double.
TOLERANCE_LOG_ODDS = 0.001
# What a step of some of the outputs may come to.
TOLERANCE_PROBABILITY = 0.02


def array_header(model: bytes, sha256: str) -> str:
    """Declare the network's array."""
    return _header(
        "EDGELEUK_MODEL_H",
        f"The network: a TFLite flatbuffer of {len(model)} bytes, sha256\n * {sha256}.",
        "#include <stddef.h>",
        f"""\
#define EDGELEUK_MODEL_BYTES {len(model)}u
/* Aligned to 16 bytes, as TFLite Micro wants it. */
extern const unsigned char edgeleuk_model[EDGELEUK_MODEL_BYTES];
extern const size_t edgeleuk_model_size;
""",
    )


def array_source(model: bytes) -> str:
    """Define the network's array, as C and as C++."""
    rows = (model[start : start + BYTES_A_ROW] for start in range(0, len(model), BYTES_A_ROW))
    text = ",\n".join(",".join(f"0x{byte:02x}" for byte in row) for row in rows)
    return f"""\
#include "edgeleuk_model.h"

#ifndef __cplusplus
#include <stdalign.h>
#endif

alignas(16) const unsigned char edgeleuk_model[EDGELEUK_MODEL_BYTES] = {{
{text}}};
const size_t edgeleuk_model_size = EDGELEUK_MODEL_BYTES;
"""


def constants_header(
    network: Deployment, source: Tensor, sinks: Sequence[Tensor], arena: Arena, operators: int
) -> str:
    """Declare what is around the network: arena, quantization, preprocessing, and what is left to do."""
    how = f"measured by {arena.measured_by}" if arena.measured_by else "bounded from above, not measured"
    lines = [
        f"/* {arena.size_bytes} bytes, {how}; with a margin for kernels that",
        " * want buffers of their own. main.cc prints what is really used. */",
        f"#define EDGELEUK_ARENA_BYTES {arena.with_margin}u",
        f"#define EDGELEUK_OPERATOR_KINDS {operators}",
        "",
        "/* The network's input: real = SCALE * (int8 - ZERO_POINT). */",
        f"#define EDGELEUK_INPUT_BYTES {source.size_bytes}u",
        *_quantization("INPUT", source),
        "/* What each byte of a cell's tensor is there. */",
        "extern const int8_t edgeleuk_byte_to_input[256];",
        "",
        "/* The network's outputs, in their order. */",
        f"#define EDGELEUK_OUTPUTS {len(sinks)}",
    ]
    for index, (sink, meaning) in enumerate(zip(sinks, network.output_meanings, strict=True)):
        lines += [
            f"/* Output {index}: {meaning}. */",
            f"#define EDGELEUK_OUTPUT{index}_SIZE {sink.elements}u",
            *_quantization(f"OUTPUT{index}", sink),
        ]
    lines.append("extern const size_t edgeleuk_output_sizes[EDGELEUK_OUTPUTS];")
    lines += ["", "/* How a cell becomes the input tensor, and how a call is made of the answer. */"]
    lines += [
        f"#define EDGELEUK_{constant.name} {_literal(constant.value)} /* {_plain(constant.comment)} */"
        for constant in (*network.constants, *network.beside.constants)
    ]
    steps = (f" * {number}. {_plain(step)}\n" for number, step in enumerate(network.left_to_firmware, 1))
    about = (
        f"What is around the network of {_plain(network.name)}.\n * {_plain(network.intended_use)}\n"
        f" * Licence of the bundle: {_plain(network.licence)}\n"
        f" * sha256 of the bundle: {network.bundle_sha256}\n *\n"
        f" * edgeleuk_judge.h makes a call of the network's answer. Left to the firmware is to:\n"
        f"{''.join(steps)} *"
    )
    return _header(
        "EDGELEUK_CONSTANTS_H",
        about.removesuffix("\n *"),
        "#include <stddef.h>\n#include <stdint.h>",
        "\n".join(lines) + "\n",
    )


def constants_source(network: Deployment, sinks: Sequence[Tensor]) -> str:
    """Define the table of bytes, and the outputs' sizes."""
    sizes = ", ".join(f"EDGELEUK_OUTPUT{index}_SIZE" for index in range(len(sinks)))
    return (
        '#include "edgeleuk_constants.h"\n\nconst int8_t edgeleuk_byte_to_input[256] = {\n'
        f"{_numbers(network.byte_table)}}};\n"
        f"const size_t edgeleuk_output_sizes[EDGELEUK_OUTPUTS] = {{{sizes}}};\n"
    )


def tables_header(tables: Sequence[Table]) -> str:
    """Declare the tables of what is made of the network's answer."""
    declarations = "".join(
        f"/* {table.part}: {table.comment} */\n"
        f"extern const {table.kind} edgeleuk_{table.name}[{_length(table)}];\n"
        for table in tables
    )
    about = "What is made of the network's answer, in numbers: see edgeleuk_judge.c."
    return _header("EDGELEUK_TABLES_H", about, "#include <stdint.h>", declarations)


def tables_source(tables: Sequence[Table]) -> str:
    """Define the tables."""
    arrays = "".join(
        f"\nconst {table.kind} edgeleuk_{table.name}[{_length(table)}] = {{\n{_of_table(table)}}};\n"
        for table in tables
    )
    return f'#include "edgeleuk_tables.h"\n{arrays}'


def golden_bytes(cell: GoldenCell) -> int:
    """Return what a golden cell takes of flash."""
    return len(cell.tensor) + sum(map(len, cell.outputs)) + 4 * (len(cell.numbers) + 2)


def golden_header(network: Deployment, sinks: Sequence[Tensor]) -> str:
    """Declare the golden cells."""
    declarations = "".join(
        f"extern const int8_t edgeleuk_golden_output{index}"
        f"[EDGELEUK_GOLDEN_CELLS][EDGELEUK_OUTPUT{index}_SIZE];\n"
        for index in range(len(sinks))
    )
    if network.golden[0].numbers:
        declarations += (
            "/* Drawn, not measured of these cells. */\n"
            "extern const float edgeleuk_golden_numbers[EDGELEUK_GOLDEN_CELLS][EDGELEUK_NUMBERS];\n"
        )
    return _header(
        "EDGELEUK_GOLDEN_H",
        f"Cells that the project drew, the network's outputs by\n * {_plain(network.golden_by)},"
        " and what edgeleuk makes of these.",
        '#include "edgeleuk_constants.h"',
        f"""\
#define EDGELEUK_GOLDEN_CELLS {len(network.golden)}
#define EDGELEUK_GOLDEN_TOLERANCE {TOLERANCE_STEPS} /* steps of int8 */
#define EDGELEUK_GOLDEN_LOG_ODDS_TOLERANCE {TOLERANCE_LOG_ODDS!r} /* and of distances */
#define EDGELEUK_GOLDEN_PROBABILITY_TOLERANCE {TOLERANCE_PROBABILITY!r}
extern const uint8_t edgeleuk_golden_tensor[EDGELEUK_GOLDEN_CELLS][EDGELEUK_INPUT_BYTES];
{declarations}/* Of a cell, the output of that number. */
const int8_t *edgeleuk_golden_output(size_t cell, size_t output);
extern const float edgeleuk_golden_log_odds[EDGELEUK_GOLDEN_CELLS];
extern const float edgeleuk_golden_distance[EDGELEUK_GOLDEN_CELLS];
""",
    )


def golden_source(network: Deployment, sinks: Sequence[Tensor]) -> str:
    """Define the golden cells."""
    cells = network.golden
    arrays = [
        _rows("uint8_t", "tensor", "EDGELEUK_INPUT_BYTES", (_numbers(cell.tensor) for cell in cells)),
        *(
            _rows(
                "int8_t",
                f"output{index}",
                f"EDGELEUK_OUTPUT{index}_SIZE",
                (_numbers(memoryview(cell.outputs[index]).cast("b")) for cell in cells),
            )
            for index in range(len(sinks))
        ),
    ]
    if cells[0].numbers:
        arrays.append(
            _rows("float", "numbers", "EDGELEUK_NUMBERS", (_floats(cell.numbers) for cell in cells))
        )
    for name, values in (
        ("log_odds", [cell.log_odds for cell in cells]),
        ("distance", [cell.distance for cell in cells]),
    ):
        arrays.append(f"const float edgeleuk_golden_{name}[EDGELEUK_GOLDEN_CELLS] = {{{_floats(values)}}};\n")
    cases = "".join(
        f"    case {index}:\n      return edgeleuk_golden_output{index}[cell];\n"
        for index in range(1, len(sinks))
    )
    arrays.append(
        "const int8_t *edgeleuk_golden_output(size_t cell, size_t output) {\n  switch (output) {\n"
        f"{cases}    default:\n      return edgeleuk_golden_output0[cell];\n  }}\n}}\n"
    )
    return '#include "edgeleuk_golden.h"\n\n' + "\n".join(arrays)


def operators_header(methods: Sequence[str]) -> str:
    """Write the resolver with just the operations that the network has."""
    calls = "".join(
        f"  if (resolver.{method}() != kTfLiteOk) {{\n    return kTfLiteError;\n  }}\n" for method in methods
    )
    return f"""\
// The operations of the network, and no others: every kernel takes flash.
#ifndef EDGELEUK_OPERATORS_H
#define EDGELEUK_OPERATORS_H

#include "edgeleuk_constants.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

using EdgeleukResolver = tflite::MicroMutableOpResolver<EDGELEUK_OPERATOR_KINDS>;

inline TfLiteStatus edgeleuk_add_operators(EdgeleukResolver& resolver) {{
{calls}  return kTfLiteOk;
}}

#endif
"""


CMAKE = """\
# The network as a library; with TFLite Micro at hand, a program that runs the golden vectors.
#
#   cmake -B build -DTFLM_DIR=/path/to/tflite-micro -DTFLM_LIBRARY=/path/to/libtensorflow-microlite.a
#
# TFLM_DIR is a checkout in which `make -f tensorflow/lite/micro/tools/make/Makefile microlite` was run.
cmake_minimum_required(VERSION 3.16)
project(edgeleuk_mcu C CXX)

set(CMAKE_C_STANDARD 11)
set(CMAKE_CXX_STANDARD 17)

add_library(edgeleuk_model STATIC edgeleuk_model.c edgeleuk_constants.c edgeleuk_tables.c
            edgeleuk_judge.c edgeleuk_golden.c)
target_include_directories(edgeleuk_model PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(edgeleuk_model PUBLIC m)

set(TFLM_DIR "" CACHE PATH "Checkout of tflite-micro")
set(TFLM_LIBRARY "" CACHE FILEPATH "libtensorflow-microlite.a")
if(TFLM_DIR AND TFLM_LIBRARY)
  add_executable(edgeleuk_golden main.cc)
  set(TFLM_DOWNLOADS ${TFLM_DIR}/tensorflow/lite/micro/tools/make/downloads)
  target_include_directories(edgeleuk_golden PRIVATE ${TFLM_DIR} ${TFLM_DOWNLOADS}/flatbuffers/include
                             ${TFLM_DOWNLOADS}/gemmlowp)
  target_compile_definitions(edgeleuk_golden PRIVATE TF_LITE_STATIC_MEMORY)
  target_link_libraries(edgeleuk_golden PRIVATE edgeleuk_model ${TFLM_LIBRARY})
endif()
"""


def _header(guard: str, about: str, includes: str, body: str) -> str:
    return f"""\
/* {about} */
#ifndef {guard}
#define {guard}

{includes}

#ifdef __cplusplus
extern "C" {{
#endif

{body}
#ifdef __cplusplus
}}
#endif

#endif
"""


def _quantization(name: str, tensor: Tensor) -> list[str]:
    return [
        f"#define EDGELEUK_{name}_SCALE {tensor.scale!r}",
        f"#define EDGELEUK_{name}_ZERO_POINT ({tensor.zero_point})",
    ]


def _rows(kind: str, name: str, size: str, rows: Iterable[str]) -> str:
    text = ",\n".join(f"{{\n{row}}}" for row in rows)
    return f"const {kind} edgeleuk_golden_{name}[EDGELEUK_GOLDEN_CELLS][{size}] = {{\n{text}}};\n"


def _length(table: Table) -> int:
    return len(table.data) // struct.calcsize(TABLE_CODES[table.kind])


def _of_table(table: Table) -> str:
    values = [value for (value,) in struct.iter_unpack(TABLE_CODES[table.kind], table.data)]
    return _floats(values) if table.kind == "float" else _numbers(values)


def _floats(values: Sequence[float]) -> str:
    return _joined([_float(value) for value in values])


def _float(value: float) -> str:
    # As many digits as tell single numbers apart.
    text = format(value, ".9g")
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def _numbers(values: Sequence[int] | memoryview) -> str:
    return _joined(list(map(str, values)))


def _joined(words: Sequence[str]) -> str:
    rows = (words[start : start + NUMBERS_A_ROW] for start in range(0, len(words), NUMBERS_A_ROW))
    return ",\n".join(",".join(row) for row in rows)


def _literal(value: float | str) -> str:
    if isinstance(value, str):
        escaped = "".join(char if char.isalnum() or char in " -_.,()" else "?" for char in value)
        return f'"{escaped}"'
    return f"({value!r})" if value < 0 else repr(value)


def _plain(text: str) -> str:
    """Keep a text from ending a comment, or from running over its line."""
    return " ".join(text.replace("*/", "* /").replace("/*", "/ *").replace("\\", "/").split())
