"""The C and C++ that an export consists of, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgeleuk.deploy.deployment import Deployment
    from edgeleuk_firmware_bridge.mcu.flatbuffer import Tensor
    from edgeleuk_firmware_bridge.mcu.memory import Arena

# A row of a hundred characters.
BYTES_A_ROW = 20
NUMBERS_A_ROW = 20
# By how many steps of int8 a kernel made for a processor may round otherwise than the reference kernels.
TOLERANCE_STEPS = 1


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
    lines += ["", "/* How a cell becomes the input tensor, and how a call is made of the answer. */"]
    lines += [
        f"#define EDGELEUK_{constant.name} {_literal(constant.value)} /* {_plain(constant.comment)} */"
        for constant in network.constants
    ]
    steps = (f" * {number}. {_plain(step)}\n" for number, step in enumerate(network.left_to_firmware, 1))
    about = (
        f"What is around the network of {_plain(network.name)}.\n * {_plain(network.intended_use)}\n"
        f" * Licence of the bundle: {_plain(network.licence)}\n"
        f" * sha256 of the bundle: {network.bundle_sha256}\n *\n"
        f" * The firmware makes the input tensor. After the network it still has to:\n{''.join(steps)} *"
    )
    return _header(
        "EDGELEUK_CONSTANTS_H", about.removesuffix("\n *"), "#include <stdint.h>", "\n".join(lines) + "\n"
    )


def constants_source(network: Deployment) -> str:
    """Define the table of bytes."""
    return (
        '#include "edgeleuk_constants.h"\n\nconst int8_t edgeleuk_byte_to_input[256] = {\n'
        + _numbers(network.byte_table)
        + "};\n"
    )


def golden_header(network: Deployment, sinks: Sequence[Tensor]) -> str:
    """Declare the golden vectors."""
    declarations = "".join(
        f"extern const int8_t edgeleuk_golden_output{index}"
        f"[EDGELEUK_GOLDEN_CELLS][EDGELEUK_OUTPUT{index}_SIZE];\n"
        for index in range(len(sinks))
    )
    return _header(
        "EDGELEUK_GOLDEN_H",
        f"Cells that the project drew, and the network's outputs by\n * {_plain(network.golden_by)}.",
        '#include "edgeleuk_constants.h"',
        f"""\
#define EDGELEUK_GOLDEN_CELLS {len(network.golden_inputs)}
#define EDGELEUK_GOLDEN_TOLERANCE {TOLERANCE_STEPS} /* steps of int8 */
extern const int8_t edgeleuk_golden_input[EDGELEUK_GOLDEN_CELLS][EDGELEUK_INPUT_BYTES];
{declarations}""",
    )


def golden_source(network: Deployment, sinks: Sequence[Tensor]) -> str:
    """Define the golden vectors."""
    arrays = [
        _rows("edgeleuk_golden_input", "EDGELEUK_INPUT_BYTES", network.golden_inputs),
        *(
            _rows(
                f"edgeleuk_golden_output{index}",
                f"EDGELEUK_OUTPUT{index}_SIZE",
                [outputs[index] for outputs in network.golden_outputs],
            )
            for index in range(len(sinks))
        ),
    ]
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


def main_source(outputs: int) -> str:
    """Write a program that runs the golden vectors and reports mismatches."""
    cases = "".join(
        f"    worst = compare(interpreter, {index}, edgeleuk_golden_output{index}[cell],"
        f" EDGELEUK_OUTPUT{index}_SIZE, worst);\n"
        for index in range(outputs)
    )
    return f"""\
// Runs the golden vectors through TFLite Micro and reports what differs. Exit code 0: nothing does.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "edgeleuk_constants.h"
#include "edgeleuk_golden.h"
#include "edgeleuk_model.h"
#include "edgeleuk_operators.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {{

alignas(16) uint8_t arena[EDGELEUK_ARENA_BYTES];

constexpr int kNoOutput = 256;  // more than any two int8 numbers differ by

// The largest difference of one output, or `worst` where that is larger.
int compare(tflite::MicroInterpreter& interpreter, size_t index, const int8_t* expected, size_t size,
            int worst) {{
  const TfLiteTensor* tensor = interpreter.output(index);
  if (tensor == nullptr || tensor->type != kTfLiteInt8 || tensor->bytes != size) {{
    return kNoOutput;
  }}
  for (size_t i = 0; i < size; ++i) {{
    const int difference = std::abs(static_cast<int>(tensor->data.int8[i]) - expected[i]);
    worst = difference > worst ? difference : worst;
  }}
  return worst;
}}

}}  // namespace

int main() {{
  tflite::InitializeTarget();
  EdgeleukResolver resolver;
  if (edgeleuk_add_operators(resolver) != kTfLiteOk) {{
    MicroPrintf("the operations cannot be registered");
    return 2;
  }}
  tflite::MicroInterpreter interpreter(tflite::GetModel(edgeleuk_model), resolver, arena, sizeof(arena));
  if (interpreter.AllocateTensors() != kTfLiteOk) {{
    MicroPrintf("the arena of %d bytes does not hold the network", static_cast<int>(sizeof(arena)));
    return 2;
  }}
  MicroPrintf("arena: %d of %d bytes used", static_cast<int>(interpreter.arena_used_bytes()),
              static_cast<int>(sizeof(arena)));
  int mismatches = 0;
  for (int cell = 0; cell < EDGELEUK_GOLDEN_CELLS; ++cell) {{
    TfLiteTensor* input = interpreter.input(0);
    if (input == nullptr || input->type != kTfLiteInt8 || input->bytes != EDGELEUK_INPUT_BYTES) {{
      MicroPrintf("the input is no int8 tensor of %d bytes", static_cast<int>(EDGELEUK_INPUT_BYTES));
      return 2;
    }}
    std::memcpy(input->data.int8, edgeleuk_golden_input[cell], EDGELEUK_INPUT_BYTES);
    if (interpreter.Invoke() != kTfLiteOk) {{
      MicroPrintf("cell %d: the network does not run", cell);
      return 2;
    }}
    int worst = 0;
{cases}    const bool wrong = worst > EDGELEUK_GOLDEN_TOLERANCE;
    mismatches += wrong ? 1 : 0;
    MicroPrintf("cell %d: differs by %d steps at most%s", cell, worst, wrong ? ", MISMATCH" : "");
  }}
  MicroPrintf("%d of %d cells differ", mismatches, EDGELEUK_GOLDEN_CELLS);
  return mismatches == 0 ? 0 : 1;
}}
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

add_library(edgeleuk_model STATIC edgeleuk_model.c edgeleuk_constants.c edgeleuk_golden.c)
target_include_directories(edgeleuk_model PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})

set(TFLM_DIR "" CACHE PATH "Checkout of tflite-micro")
set(TFLM_LIBRARY "" CACHE FILEPATH "libtensorflow-microlite.a")
if(TFLM_DIR AND TFLM_LIBRARY)
  add_executable(edgeleuk_golden main.cc)
  set(TFLM_DOWNLOADS ${TFLM_DIR}/tensorflow/lite/micro/tools/make/downloads)
  target_include_directories(edgeleuk_golden PRIVATE ${TFLM_DIR} ${TFLM_DOWNLOADS}/flatbuffers/include
                             ${TFLM_DOWNLOADS}/gemmlowp)
  target_compile_definitions(edgeleuk_golden PRIVATE TF_LITE_STATIC_MEMORY)
  target_link_libraries(edgeleuk_golden PRIVATE edgeleuk_model ${TFLM_LIBRARY} m)
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


def _rows(name: str, size: str, rows: Iterable[bytes]) -> str:
    text = ",\n".join("{\n" + _numbers(memoryview(row).cast("b")) + "}" for row in rows)
    return f"const int8_t {name}[EDGELEUK_GOLDEN_CELLS][{size}] = {{\n{text}}};\n"


def _numbers(values: Sequence[int] | memoryview) -> str:
    rows = (values[start : start + NUMBERS_A_ROW] for start in range(0, len(values), NUMBERS_A_ROW))
    return ",\n".join(",".join(map(str, row)) for row in rows)


def _literal(value: float | str) -> str:
    if isinstance(value, str):
        escaped = "".join(char if char.isalnum() or char in " -_.,()" else "?" for char in value)
        return f'"{escaped}"'
    return f"({value!r})" if value < 0 else repr(value)


def _plain(text: str) -> str:
    """Keep a text from ending a comment, or from running over its line."""
    return " ".join(text.replace("*/", "* /").replace("/*", "/ *").replace("\\", "/").split())
