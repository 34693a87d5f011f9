// Runs the golden cells, from tensor to probability, and reports what differs. Exit code 0: nothing does.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "edgeleuk_constants.h"
#include "edgeleuk_golden.h"
#include "edgeleuk_judge.h"
#include "edgeleuk_model.h"
#include "edgeleuk_operators.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {

alignas(16) uint8_t arena[EDGELEUK_ARENA_BYTES];
edgeleuk_cell judged;
static_assert(sizeof judged == EDGELEUK_CELL_BYTES, "edgeleuk_cell takes what was told");

constexpr int kNoOutput = 256;  // more than any two int8 numbers differ by

// The largest difference of one output.
int compare(const TfLiteTensor* tensor, const int8_t* expected, size_t size) {
  if (tensor == nullptr || tensor->type != kTfLiteInt8 || tensor->bytes != size) {
    return kNoOutput;
  }
  int worst = 0;
  for (size_t i = 0; i < size; ++i) {
    const int difference = std::abs(static_cast<int>(tensor->data.int8[i]) - expected[i]);
    worst = difference > worst ? difference : worst;
  }
  return worst;
}

bool differs(float ours, float golden) {
  const float allowed = static_cast<float>(EDGELEUK_GOLDEN_LOG_ODDS_TOLERANCE) * std::fmax(1.0f, std::fabs(golden));
  return !(std::fabs(ours - golden) <= allowed);
}

int per_10000(float probability) { return static_cast<int>(std::lround(10000 * probability)); }

// Runs one cell; how many of its answers differ, or -1 where it cannot be run.
int run(tflite::MicroInterpreter& interpreter, int cell) {
  TfLiteTensor* input = interpreter.input(0);
  if (input == nullptr || input->type != kTfLiteInt8 || input->bytes != EDGELEUK_INPUT_BYTES) {
    MicroPrintf("the input is no int8 tensor of %d bytes", static_cast<int>(EDGELEUK_INPUT_BYTES));
    return -1;
  }
  std::memcpy(input->data.int8, edgeleuk_golden_tensor[cell], EDGELEUK_INPUT_BYTES);
  edgeleuk_load(reinterpret_cast<const uint8_t*>(input->data.int8), input->data.int8, &judged);
  if (interpreter.Invoke() != kTfLiteOk) {
    MicroPrintf("cell %d: the network does not run", cell);
    return -1;
  }
  const int8_t* found[EDGELEUK_OUTPUTS];
  const int8_t* golden[EDGELEUK_OUTPUTS];
  int steps = 0;
  for (int output = 0; output < EDGELEUK_OUTPUTS; ++output) {
    const TfLiteTensor* tensor = interpreter.output(output);
    golden[output] = edgeleuk_golden_output(cell, output);
    const int worst = compare(tensor, golden[output], edgeleuk_output_sizes[output]);
    if (worst == kNoOutput) {
      MicroPrintf("output %d is not as it was exported", output);
      return -1;
    }
    found[output] = tensor->data.int8;
    steps = worst > steps ? worst : steps;
  }
#if EDGELEUK_NUMBERS
  const float* numbers = edgeleuk_golden_numbers[cell];
#else
  const float* numbers = nullptr;
#endif
  const float log_odds = edgeleuk_golden_log_odds[cell];
  const float probability = 1 / (1 + std::exp(-log_odds));
  edgeleuk_judge(golden, numbers, &judged);
  const bool odd = differs(judged.log_odds, log_odds) || differs(judged.distance, edgeleuk_golden_distance[cell]);
  edgeleuk_judge(found, numbers, &judged);
  const float off = std::fabs(judged.probability - probability);
  const bool far = !(off <= static_cast<float>(EDGELEUK_GOLDEN_PROBABILITY_TOLERANCE));
  const bool stepped = steps > EDGELEUK_GOLDEN_TOLERANCE;
  MicroPrintf("cell %d: network %d steps off%s; head%s; probability %d of 10000, golden %d%s", cell, steps,
              stepped ? ", MISMATCH" : "", odd ? " MISMATCH" : " equal", per_10000(judged.probability),
              per_10000(probability), far ? ", MISMATCH" : "");
  return stepped || odd || far ? 1 : 0;
}

}  // namespace

int main() {
  tflite::InitializeTarget();
  EdgeleukResolver resolver;
  if (edgeleuk_add_operators(resolver) != kTfLiteOk) {
    MicroPrintf("the operations cannot be registered");
    return 2;
  }
  tflite::MicroInterpreter interpreter(tflite::GetModel(edgeleuk_model), resolver, arena, sizeof(arena));
  if (interpreter.AllocateTensors() != kTfLiteOk) {
    MicroPrintf("the arena of %d bytes does not hold the network", static_cast<int>(sizeof(arena)));
    return 2;
  }
  MicroPrintf("arena: %d of %d bytes used", static_cast<int>(interpreter.arena_used_bytes()),
              static_cast<int>(sizeof(arena)));
  int mismatches = 0;
  for (int cell = 0; cell < EDGELEUK_GOLDEN_CELLS; ++cell) {
    const int found = run(interpreter, cell);
    if (found < 0) {
      return 2;
    }
    mismatches += found;
  }
  MicroPrintf("%d of %d cells differ", mismatches, EDGELEUK_GOLDEN_CELLS);
  return mismatches == 0 ? 0 : 1;
}
