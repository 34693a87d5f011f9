#include "edgeleuk_judge.h"

#include <math.h>
#include <string.h>

#include "edgeleuk_tables.h"

/* What a macro of one of the outputs is, as edgeleuk_constants.h has it: OUTPUT0_SCALE, ... */
#define PASTED(output, what) EDGELEUK_OUTPUT##output##_##what
#define OF_OUTPUT(output, what) PASTED(output, what)

#if EDGELEUK_HAS_MAP || !EDGELEUK_HAS_HEAD
static float answer_of(int8_t step) {
  return (float)(step - OF_OUTPUT(EDGELEUK_ANSWER_OUTPUT, ZERO_POINT)) *
         (float)OF_OUTPUT(EDGELEUK_ANSWER_OUTPUT, SCALE);
}
#endif

#if EDGELEUK_HAS_FOREST || EDGELEUK_ANSWER == EDGELEUK_PROBABILITY || EDGELEUK_ANSWER == EDGELEUK_SOFTMAX
static float logit_of(float share, float least) {
  const float inner = share < least ? least : share > 1 - least ? 1 - least : share;
  return logf(inner) - log1pf(-inner);
}
#endif

void edgeleuk_load(const uint8_t *bytes, int8_t *input, edgeleuk_cell *cell) {
#if EDGELEUK_HAS_MAP
  const size_t rows = (size_t)EDGELEUK_MAP_ROWS * EDGELEUK_MAP_SIDE_PX;
  const size_t columns = (size_t)EDGELEUK_MAP_COLUMNS * EDGELEUK_MAP_SIDE_PX;
  memset(cell->shares, 0, sizeof cell->shares);
  for (size_t y = 0; y < rows; ++y) {
    for (size_t x = 0; x < columns; ++x) {
      const uint8_t *pixel = bytes + (y * EDGELEUK_INPUT_WIDTH + x) * EDGELEUK_INPUT_CHANNELS;
      const size_t place = y / EDGELEUK_MAP_SIDE_PX * EDGELEUK_MAP_COLUMNS + x / EDGELEUK_MAP_SIDE_PX;
      for (size_t mask = 0; mask < EDGELEUK_MASKS; ++mask) {
        /* Sums of bytes that a float holds exactly. */
        cell->shares[mask * EDGELEUK_MAP_PLACES + place] += (float)pixel[edgeleuk_mask_channels[mask]];
      }
    }
  }
  for (size_t mask = 0; mask < EDGELEUK_MASKS; ++mask) {
    float *shares = cell->shares + mask * EDGELEUK_MAP_PLACES;
    float whole = (float)EDGELEUK_LEAST_WEIGHT;
    for (size_t place = 0; place < EDGELEUK_MAP_PLACES; ++place) {
      shares[place] = shares[place] / (float)(EDGELEUK_MAP_SIDE_PX * EDGELEUK_MAP_SIDE_PX) / 255.0f;
      whole += shares[place];
    }
    for (size_t place = 0; place < EDGELEUK_MAP_PLACES; ++place) {
      shares[place] /= whole;
    }
  }
#else
  (void)cell;
#endif
  for (size_t i = 0; i < EDGELEUK_INPUT_BYTES; ++i) {
    input[i] = edgeleuk_byte_to_input[bytes[i]];
  }
}

#if EDGELEUK_HAS_MAP
/* Mean and spread of every channel within every mask. */
static void pool(const int8_t *map, edgeleuk_cell *cell) {
  for (size_t mask = 0; mask < EDGELEUK_MASKS; ++mask) {
    const float *shares = cell->shares + mask * EDGELEUK_MAP_PLACES;
    float *means = cell->features + mask * 2 * EDGELEUK_MAP_CHANNELS;
    float *spreads = means + EDGELEUK_MAP_CHANNELS;
    for (size_t channel = 0; channel < EDGELEUK_MAP_CHANNELS; ++channel) {
      float mean = 0, spread = 0;
      for (size_t place = 0; place < EDGELEUK_MAP_PLACES; ++place) {
        mean += shares[place] * answer_of(map[place * EDGELEUK_MAP_CHANNELS + channel]);
      }
      for (size_t place = 0; place < EDGELEUK_MAP_PLACES; ++place) {
        const float off = answer_of(map[place * EDGELEUK_MAP_CHANNELS + channel]) - mean;
        spread += shares[place] * off * off;
      }
      means[channel] = mean;
      spreads[channel] = sqrtf(spread + (float)EDGELEUK_LEAST_VARIANCE);
    }
  }
}
#elif EDGELEUK_FEATURES
static void take_features(const int8_t *output, edgeleuk_cell *cell) {
  for (size_t i = 0; i < EDGELEUK_FEATURES; ++i) {
    cell->features[i] = (float)(output[i] - OF_OUTPUT(EDGELEUK_FEATURES_OUTPUT, ZERO_POINT)) *
                        (float)OF_OUTPUT(EDGELEUK_FEATURES_OUTPUT, SCALE);
  }
}
#endif

#if EDGELEUK_HAS_HEAD
/* A number of half precision: its bits are moved to a float's, whose exponent has another offset. */
static float half_to_float(uint16_t bits) {
  const uint32_t moved = (uint32_t)(bits & 0x7fffu) << 13;
  float value;
  memcpy(&value, &moved, sizeof value);
  value *= 5.192296858534828e33f; /* 2 to the 112th */
  return (bits & 0x8000u) ? -value : value;
}

/* Standardise the features, and project them where the head's vectors lie in fewer directions. */
static void locate(const float *numbers, edgeleuk_cell *cell) {
#if EDGELEUK_IS_PROJECTED
  memset(cell->located, 0, sizeof cell->located);
#endif
  for (size_t i = 0; i < EDGELEUK_HEAD_FEATURES; ++i) {
    const float value = i < EDGELEUK_FEATURES ? cell->features[i] : numbers[i - EDGELEUK_FEATURES];
    const float z = (value - edgeleuk_head_mean[i]) / edgeleuk_head_deviation[i];
#if EDGELEUK_IS_PROJECTED
    const uint16_t *along = edgeleuk_head_projection + i * EDGELEUK_DIRECTIONS;
    for (size_t p = 0; p < EDGELEUK_DIRECTIONS; ++p) {
      cell->located[p] += z * half_to_float(along[p]);
    }
#else
    cell->located[i] = z;
#endif
  }
}

/* Sum of weight * exp(-GAMMA * squared distance / HEAD_FEATURES) over the head's vectors, and the bias. */
static float head_answer(const edgeleuk_cell *cell) {
  /* Large weights of both signs cancel: a float would lose what is left. */
  double sum = EDGELEUK_HEAD_BIAS;
  for (size_t vector = 0; vector < EDGELEUK_VECTORS; ++vector) {
    const uint16_t *at = edgeleuk_head_vectors + vector * EDGELEUK_DIRECTIONS;
    float square = 0;
    for (size_t p = 0; p < EDGELEUK_DIRECTIONS; ++p) {
      const float off = cell->located[p] - half_to_float(at[p]);
      square += off * off;
    }
    sum += (double)(edgeleuk_head_weights[vector] *
                    expf(-(float)EDGELEUK_GAMMA * square / (float)EDGELEUK_HEAD_FEATURES));
  }
  return (float)sum;
}
#endif

/* Log odds of the positive class, before any calibration. */
static float log_odds_of(const int8_t *answer, const float *numbers, edgeleuk_cell *cell) {
#if EDGELEUK_HAS_HEAD
  (void)answer;
  locate(numbers, cell);
  const float logit = head_answer(cell);
  return EDGELEUK_POSITIVE_INDEX ? logit : -logit;
#else
  (void)cell;
  (void)numbers;
#if EDGELEUK_ANSWER == EDGELEUK_LOGIT
  const float logit = answer_of(answer[0]);
  return EDGELEUK_POSITIVE_INDEX ? logit : -logit;
#elif EDGELEUK_ANSWER == EDGELEUK_PROBABILITY
  const float logit = logit_of(answer_of(answer[0]), (float)EDGELEUK_LEAST_PROBABILITY);
  return EDGELEUK_POSITIVE_INDEX ? logit : -logit;
#elif EDGELEUK_ANSWER == EDGELEUK_LOGITS
  float largest = -INFINITY, others = 0;
  for (size_t i = 0; i < EDGELEUK_CLASSES; ++i) {
    largest = i != EDGELEUK_POSITIVE_INDEX ? fmaxf(largest, answer_of(answer[i])) : largest;
  }
  for (size_t i = 0; i < EDGELEUK_CLASSES; ++i) {
    others += i != EDGELEUK_POSITIVE_INDEX ? expf(answer_of(answer[i]) - largest) : 0;
  }
  return answer_of(answer[EDGELEUK_POSITIVE_INDEX]) - (largest + logf(others));
#else
  float whole = 0;
  for (size_t i = 0; i < EDGELEUK_CLASSES; ++i) {
    whole += answer_of(answer[i]);
  }
  return logit_of(answer_of(answer[EDGELEUK_POSITIVE_INDEX]) / fmaxf(whole, (float)EDGELEUK_LEAST_PROBABILITY),
                  (float)EDGELEUK_LEAST_PROBABILITY);
#endif
#endif
}

#if EDGELEUK_HAS_FOREST
/* Log odds of the forest: the mean share of positive cells in the leaves that the numbers lead to. */
static float forest_answer(const float *numbers) {
  float share = 0;
  for (size_t tree = 0; tree < EDGELEUK_TREES; ++tree) {
    size_t node = edgeleuk_forest_roots[tree];
    while (edgeleuk_forest_number[node] >= 0) {
      const int left = numbers[edgeleuk_forest_number[node]] <= edgeleuk_forest_value[node];
      node = left ? edgeleuk_forest_left[node] : edgeleuk_forest_right[node];
    }
    share += edgeleuk_forest_value[node];
  }
  return logit_of(share / EDGELEUK_TREES, 1 - (float)EDGELEUK_SUREST);
}
#endif

#if EDGELEUK_HAS_STATISTICS
/* How far the features are from the training cells': about 1 for a typical cell. */
static float distance_of(const edgeleuk_cell *cell) {
  float along[EDGELEUK_STATISTICS_DIRECTIONS];
  float whitened = 0, left = 0;
  for (size_t k = 0; k < EDGELEUK_STATISTICS_DIRECTIONS; ++k) {
    const float *row = edgeleuk_statistics_basis + k * EDGELEUK_FEATURES;
    float product = 0, length = 0;
    for (size_t i = 0; i < EDGELEUK_FEATURES; ++i) {
      product += (cell->features[i] - edgeleuk_statistics_mean[i]) * row[i];
      length += row[i] * row[i];
    }
    whitened += product * product / EDGELEUK_STATISTICS_DIRECTIONS;
    along[k] = product / length;
  }
  for (size_t i = 0; i < EDGELEUK_FEATURES; ++i) {
    float rest = cell->features[i] - edgeleuk_statistics_mean[i];
    for (size_t k = 0; k < EDGELEUK_STATISTICS_DIRECTIONS; ++k) {
      rest -= along[k] * edgeleuk_statistics_basis[k * EDGELEUK_FEATURES + i];
    }
    rest /= (float)EDGELEUK_STATISTICS_RESIDUAL;
    left += rest * rest;
  }
  return sqrtf((whitened + left) / 2);
}
#endif

void edgeleuk_judge(const int8_t *const outputs[EDGELEUK_OUTPUTS], const float *numbers,
                    edgeleuk_cell *cell) {
#if EDGELEUK_HAS_MAP
  pool(outputs[EDGELEUK_ANSWER_OUTPUT], cell);
#elif EDGELEUK_FEATURES
  take_features(outputs[EDGELEUK_FEATURES_OUTPUT], cell);
#endif
  float joined = log_odds_of(outputs[EDGELEUK_ANSWER_OUTPUT], numbers, cell) / (float)EDGELEUK_TEMPERATURE +
                 (float)EDGELEUK_BIAS;
#if EDGELEUK_HAS_FOREST
  joined += (float)EDGELEUK_FOREST_WEIGHT * forest_answer(numbers);
#endif
  cell->log_odds = joined;
  cell->probability = 1 / (1 + expf(-joined));
#if EDGELEUK_HAS_STATISTICS
  cell->distance = distance_of(cell);
#else
  cell->distance = 0;
#endif
}

edgeleuk_call edgeleuk_decide(const edgeleuk_cell *cell, float area_um2) {
  /* Written so that what is no number is uncertain. */
  const int known = area_um2 >= (float)EDGELEUK_AREA_UM2_LOW && area_um2 <= (float)EDGELEUK_AREA_UM2_HIGH
#if EDGELEUK_HAS_STATISTICS
                    && cell->distance <= (float)EDGELEUK_DISTANCE_LIMIT
#endif
      ;
  const float p = cell->probability;
  const int clear = p <= (float)EDGELEUK_ABSTAIN_LOW || p >= (float)EDGELEUK_ABSTAIN_HIGH;
  if (!known || !clear) {
    return EDGELEUK_UNCERTAIN;
  }
  return p >= (float)EDGELEUK_THRESHOLD ? EDGELEUK_POSITIVE : EDGELEUK_NEGATIVE;
}
