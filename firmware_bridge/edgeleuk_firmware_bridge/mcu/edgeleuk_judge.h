/* What is made of the network's answer: pooling, head, forest, calibration, call.
 *
 * For one cell after the other:
 *
 *   1. write the cell's tensor, bytes as edgeleuk_constants.h has them, into the input tensor of TFLite Micro;
 *   2. edgeleuk_load(bytes, input, &cell), where both are that same memory;
 *   3. Invoke();
 *   4. edgeleuk_judge(outputs, numbers, &cell), and edgeleuk_decide(&cell, area_um2).
 *
 * Needs <math.h>; allocates nothing, and keeps nothing but what is in `cell`. */
#ifndef EDGELEUK_JUDGE_H
#define EDGELEUK_JUDGE_H

#include "edgeleuk_constants.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the network answers with: EDGELEUK_ANSWER is one of these. */
#define EDGELEUK_LOGIT 0
#define EDGELEUK_PROBABILITY 1
#define EDGELEUK_LOGITS 2
#define EDGELEUK_SOFTMAX 3

/* What is kept of one cell; of RAM it takes EDGELEUK_CELL_BYTES. */
typedef struct {
#if EDGELEUK_HAS_MAP
  float shares[EDGELEUK_MASKS * EDGELEUK_MAP_PLACES]; /* of a mask's weight, what lies on each place */
#endif
#if EDGELEUK_FEATURES
  float features[EDGELEUK_FEATURES];
#endif
#if EDGELEUK_HAS_HEAD
  float located[EDGELEUK_DIRECTIONS]; /* where the cell lies among the head's vectors */
#endif
  float log_odds;    /* calibrated: of the probability */
  float probability; /* of the positive class */
  float distance;    /* of the features from the training cells'; 0 where there are no statistics */
} edgeleuk_cell;

typedef enum { EDGELEUK_NEGATIVE = 0, EDGELEUK_POSITIVE = 1, EDGELEUK_UNCERTAIN = 2 } edgeleuk_call;

/* Turn EDGELEUK_INPUT_BYTES bytes of a cell's tensor into the network's input, and keep what pooling needs.
 * `input` may be the memory of `bytes`. Before Invoke(), which overwrites its input. */
void edgeleuk_load(const uint8_t *bytes, int8_t *input, edgeleuk_cell *cell);

/* Judge the network's outputs, in the file's order. `numbers` are the EDGELEUK_NUMBERS hand-crafted features
 * of the cell; a null pointer where EDGELEUK_NUMBERS is 0. */
void edgeleuk_judge(const int8_t *const outputs[EDGELEUK_OUTPUTS], const float *numbers,
                    edgeleuk_cell *cell);

/* Call a cell that was judged, of a certain area. Colours and sharpness are for the firmware to look at. */
edgeleuk_call edgeleuk_decide(const edgeleuk_cell *cell, float area_um2);

#ifdef __cplusplus
}
#endif

#endif
