#include "ops/gate.h"

#include <math.h>
#include <string.h>

#include "ops/pieces.h"
#include "ops/values.h"

typedef struct {
    cot_tensor    *scores, *gate;
    const int32_t *chosen;  /* [T, k] */
    int64_t        k;
} gate_saved;

typedef void (*gate_rows)(int64_t r0, int64_t r1, const gate_saved *s);
typedef void (*gate_rows_back)(int64_t r0, int64_t r1, const gate_saved *s, void *dscores);

/* Clears the rows of a gradient that is written for the first time. */
static void clear_rows(int64_t r0, int64_t r1, const cot_tensor *t, void *grad)
{
    const size_t row = (size_t)cot_tensor_columns(t) * cot_dtype_size(t->dtype);
    memset((char *)grad + (size_t)r0 * row, 0, (size_t)(r1 - r0) * row);
}

static void go_back(cot_tape *tape, const gate_saved *s, gate_rows_back back)
{
    bool add = false;
    void *dscores = cot_tape_grad(tape, s->scores, &add);
    if (!dscores) return;
    const int64_t rows = cot_tensor_rows(s->scores), pieces = cot_pieces(rows, COT_PIECE_TOKENS);
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++) {
        const int64_t r0 = p * COT_PIECE_TOKENS, r1 = cot_piece_end(p, COT_PIECE_TOKENS, rows);
        if (!add) clear_rows(r0, r1, s->scores, dscores);
        back(r0, r1, s, dscores);
    }
}

static cot_tensor *go(cot_tape *tape, cot_tensor *scores, const int32_t *chosen, int64_t k, gate_rows forward,
                      cot_backward backward)
{
    cot_tape_kind(tape, COT_TIME_ROUTING);
    const int64_t rows = cot_tensor_rows(scores), pieces = cot_pieces(rows, COT_PIECE_TOKENS);
    cot_tensor *gate = cot_tape_tensor(tape, cot_tape_real(tape), 1, (const int64_t[]){rows * k}, scores->needs_grad);
    gate_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape)) return gate;
    *s = (gate_saved){scores, gate, chosen, k};
#pragma omp parallel for if (pieces > 1) num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++) forward(p * COT_PIECE_TOKENS, cot_piece_end(p, COT_PIECE_TOKENS, rows), s);
    cot_tape_record(tape, backward, s, &gate, 1);
    return gate;
}

/* ---- raw probabilities ---- */

static void gather(int64_t r0, int64_t r1, const gate_saved *s)
{
    const int64_t experts = cot_tensor_columns(s->scores);
    const cot_dtype real = s->gate->dtype;
    for (int64_t r = r0; r < r1; r++)
        for (int64_t a = r * s->k; a < (r + 1) * s->k; a++)
            cot_value_set(s->gate->data, real, a, cot_value_at(s->scores->data, real, r * experts + s->chosen[a]));
}

static void gather_back(int64_t r0, int64_t r1, const gate_saved *s, void *dscores)
{
    const int64_t experts = cot_tensor_columns(s->scores);
    const cot_dtype real = s->gate->dtype;
    for (int64_t r = r0; r < r1; r++)
        for (int64_t a = r * s->k; a < (r + 1) * s->k; a++)
            cot_value_put(dscores, real, r * experts + s->chosen[a], cot_value_at(s->gate->grad, real, a), true);
}

static void gather_backward(cot_tape *tape, void *saved) { go_back(tape, saved, gather_back); }

cot_tensor *cot_gate_gather(cot_tape *tape, cot_tensor *probs, const int32_t *chosen, int64_t k)
{
    return go(tape, probs, chosen, k, gather, gather_backward);
}

/* ---- softmax over the chosen ---- */

static void softmax(int64_t r0, int64_t r1, const gate_saved *s)
{
    const int64_t experts = cot_tensor_columns(s->scores);
    const cot_dtype real = s->gate->dtype;
    for (int64_t r = r0; r < r1; r++) {
        const int32_t *chosen = s->chosen + r * s->k;
        double largest = -INFINITY, sum = 0;
        for (int64_t j = 0; j < s->k; j++)
            largest = fmax(largest, cot_value_at(s->scores->data, real, r * experts + chosen[j]));
        const double shift = largest > -INFINITY ? largest : 0;  /* all masked: every term is exp(-infinity) = 0 */
        for (int64_t j = 0; j < s->k; j++)
            sum += exp(cot_value_at(s->scores->data, real, r * experts + chosen[j]) - shift);
        for (int64_t j = 0; j < s->k; j++) {
            const double h = cot_value_at(s->scores->data, real, r * experts + chosen[j]);
            cot_value_set(s->gate->data, real, r * s->k + j, sum > 0 ? exp(h - shift) / sum : 0);
        }
    }
}

/* dh = w (dw - sum of w dw) for the chosen, nothing for the others. */
static void softmax_back(int64_t r0, int64_t r1, const gate_saved *s, void *dscores)
{
    const int64_t experts = cot_tensor_columns(s->scores);
    const cot_dtype real = s->gate->dtype;
    for (int64_t r = r0; r < r1; r++) {
        double mean = 0;
        for (int64_t a = r * s->k; a < (r + 1) * s->k; a++)
            mean += cot_value_at(s->gate->data, real, a) * cot_value_at(s->gate->grad, real, a);
        for (int64_t a = r * s->k; a < (r + 1) * s->k; a++) {
            const double dh = cot_value_at(s->gate->data, real, a) * (cot_value_at(s->gate->grad, real, a) - mean);
            cot_value_put(dscores, real, r * experts + s->chosen[a], dh, true);
        }
    }
}

static void softmax_backward(cot_tape *tape, void *saved) { go_back(tape, saved, softmax_back); }

cot_tensor *cot_gate_softmax(cot_tape *tape, cot_tensor *logits, const int32_t *chosen, int64_t k)
{
    return go(tape, logits, chosen, k, softmax, softmax_backward);
}
