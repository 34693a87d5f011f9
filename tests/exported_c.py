"""Exports for microcontrollers, compiled and run on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from edgeleuk_firmware_bridge.mcu.ops import SUPPORTED, resolver_method

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeleuk.deploy.deployment import Deployment

STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")
# What main.cc uses of TFLite Micro, written for these tests: no package has the headers. Invoke() looks its
# input up among those that TFLite Micro was given before, and answers what that answered. So main.cc is held
# against what is believed of TFLite Micro; only a build with its sources shows more.
HEADERS = {
    "micro/micro_interpreter.h": """
#pragma once
#include <cstddef>
#include <cstdint>
enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };
enum TfLiteType { kTfLiteInt8 = 9 };
union TfLitePtrUnion { int8_t* int8; };
struct TfLiteTensor { TfLiteType type; TfLitePtrUnion data; size_t bytes; };
namespace tflite {
struct Model;
const Model* GetModel(const void* buffer);
class MicroOpResolver {};
class MicroInterpreter {
 public:
  MicroInterpreter(const Model* model, const MicroOpResolver& resolver, uint8_t* arena, size_t size);
  TfLiteStatus AllocateTensors();
  TfLiteStatus Invoke();
  TfLiteTensor* input(size_t index);
  TfLiteTensor* output(size_t index);
  size_t arena_used_bytes() const;
};
}
""",
    "micro/micro_log.h": '#pragma once\nextern "C++" void MicroPrintf(const char* format, ...);\n',
    "micro/system_setup.h": "#pragma once\nnamespace tflite { void InitializeTarget(); }\n",
    "schema/schema_generated.h": '#include "tensorflow/lite/micro/micro_interpreter.h"\n',
    "micro/micro_mutable_op_resolver.h": """
#pragma once
#include "tensorflow/lite/micro/micro_interpreter.h"
namespace tflite {
template <unsigned int count>
class MicroMutableOpResolver : public MicroOpResolver {
 public:
METHODS
};
}
""".replace(
        "METHODS",
        "\n".join(
            f"  TfLiteStatus {resolver_method(name)}() {{ return kTfLiteOk; }}" for name in sorted(SUPPORTED)
        ),
    ),
}
REPLAYED = """
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include "edgeleuk_constants.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
namespace {
int8_t input_bytes[EDGELEUK_INPUT_BYTES], one[EDGELEUK_INPUT_BYTES];
TfLiteTensor the_input = {kTfLiteInt8, {input_bytes}, EDGELEUK_INPUT_BYTES};
TfLiteTensor outputs[EDGELEUK_OUTPUTS];
}
void MicroPrintf(const char* format, ...) {
  va_list given;
  va_start(given, format);
  std::vprintf(format, given);
  std::printf("\\n");
  va_end(given);
}
namespace tflite {
void InitializeTarget() {}
const Model* GetModel(const void*) { return nullptr; }
MicroInterpreter::MicroInterpreter(const Model*, const MicroOpResolver&, uint8_t*, size_t) {}
TfLiteStatus MicroInterpreter::AllocateTensors() {
  for (int i = 0; i < EDGELEUK_OUTPUTS; ++i) {
    outputs[i] = {kTfLiteInt8, {new int8_t[edgeleuk_output_sizes[i]]}, edgeleuk_output_sizes[i]};
  }
  return kTfLiteOk;
}
TfLiteTensor* MicroInterpreter::input(size_t) { return &the_input; }
TfLiteTensor* MicroInterpreter::output(size_t index) { return &outputs[index]; }
size_t MicroInterpreter::arena_used_bytes() const { return 0; }
TfLiteStatus MicroInterpreter::Invoke() {
  FILE* file = std::fopen("invoked", "rb");
  bool found = false;
  while (!found && file != nullptr && std::fread(one, 1, sizeof one, file) == sizeof one) {
    found = std::memcmp(one, input_bytes, sizeof one) == 0;
    for (const TfLiteTensor& output : outputs) {
      if (std::fread(output.data.int8, 1, output.bytes, file) != output.bytes) return kTfLiteError;
    }
  }
  if (file != nullptr) std::fclose(file);
  // As TFLite Micro, which needs the room.
  std::memset(input_bytes, 0, sizeof input_bytes);
  return found ? kTfLiteOk : kTfLiteError;
}
}
"""


def tool(name: str) -> str:
    """Find a compiler; without one, the tests that compile fail in CI and are skipped elsewhere."""
    found = shutil.which(name)
    if found is None:
        message = f"{name} is not installed"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return str(found)


def run(*words: object, cwd: Path, code: int = 0) -> str:
    """Run a program that is to end with a certain exit code; return what it printed."""
    done = subprocess.run(list(map(str, words)), cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def golden_program(
    exported: Path, network: Deployment, found: Sequence[tuple[bytes, ...]], work: Path, *, code: int = 0
) -> str:
    """Compile an export with its main.cc and run it; return what it printed.

    Parameters
    ----------
    exported, work : Path
        Folder of the export, and an empty one.
    network : Deployment
        That was exported.
    found : sequence of tuple of bytes
        What TFLite Micro answers to each golden cell.
    code : int
        With which the program is to end.
    """
    for name, text in HEADERS.items():
        header = work / "headers" / "tensorflow" / "lite" / name
        header.parent.mkdir(parents=True, exist_ok=True)
        header.write_text(text)
    (work / "replayed.cc").write_text(REPLAYED)
    rows = [network.fed(cell.tensor) + b"".join(row) for cell, row in zip(network.golden, found, strict=True)]
    (work / "invoked").write_bytes(b"".join(rows))
    sources = [file for file in sorted(exported.glob("edgeleuk_*.c")) if file.stem != "edgeleuk_model"]
    places = (f"-I{exported}", f"-I{work / 'headers'}")
    (work / "model.c").write_text(
        '#include "edgeleuk_model.h"\nconst unsigned char edgeleuk_model[EDGELEUK_MODEL_BYTES] = {0};\n'
    )
    for file in (*sources, work / "model.c"):
        run(tool("gcc"), "-std=c11", *STRICT, *places, "-c", file, "-o", work / f"{file.stem}.o", cwd=work)
    programs = (exported / "main.cc", work / "replayed.cc")
    objects = sorted(work.glob("*.o"))
    run(
        tool("g++"),
        "-std=c++17",
        *STRICT,
        *places,
        *programs,
        *objects,
        "-lm",
        "-o",
        work / "golden",
        cwd=work,
    )
    return run(work / "golden", cwd=work, code=code)
