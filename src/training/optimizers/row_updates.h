/* Tables that learn by touched row: an optimizer says what becomes of one row, this walks over those that a step touched.
 *
 * Lazy: a row that a step did not touch keeps its values and what the optimizer keeps of it; nothing decays, and it does not
 * catch up later. With every row touched in every step a table learns as a dense one.
 *
 * bf16 tables and their slots are widened, updated in the real type, and rounded at random without bias: an update smaller
 * than half a unit in the last place is not lost but made with the probability that it deserves. The random numbers depend
 * on (seed, step, parameter, row, element) alone. */
#ifndef COT_TRAINING_ROW_UPDATES_H
#define COT_TRAINING_ROW_UPDATES_H

#include "kernels/update/update.h"
#include "training/optimizers/optimizer.h"

/* One row of reals: w [width] by its gradient g; slots as the optimizer declared them. */
typedef void (*cot_row_rule)(const cot_update_kernels *kernels, const void *rule, int64_t width, void *w, const void *g,
                             void *const slot[COT_MAX_SLOTS]);

void   cot_update_rows(cot_tape *tape, const cot_slots *slots, cot_row_rule apply, const void *rule);
/* The sum of squares of a table's gradient, a row at a time. */
double cot_rows_sum_squares(cot_tape *tape, const cot_param *table);

#endif
