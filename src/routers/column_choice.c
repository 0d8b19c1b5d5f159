#include "routers/column_choice.h"

#include <float.h>
#include <math.h>

#include "base/threads.h"
#include "ops/values.h"
#include "routing/ranked.h"

enum { PIECES = 16 };  /* of experts, each with a list of its own */

void cot_log_probabilities(const cot_tensor *logits, double *key)
{
    const int64_t rows = cot_tensor_rows(logits), experts = cot_tensor_columns(logits);
    for (int64_t t = 0; t < rows; t++) {
        double largest = -INFINITY, sum = 0, *row = key + t * experts;
        for (int64_t e = 0; e < experts; e++) {
            row[e] = cot_value_at(logits->data, logits->dtype, t * experts + e);
            largest = fmax(largest, row[e]);
        }
        for (int64_t e = 0; e < experts; e++) sum += exp(row[e] - largest);
        for (int64_t e = 0; e < experts; e++) row[e] -= largest + log(sum);
    }
}

double cot_key_tolerance(const cot_tape *tape)
{
    return 32 * (cot_tape_real(tape) == COT_F64 ? DBL_EPSILON : (double)FLT_EPSILON);
}

typedef struct {
    const double *key;
    int64_t       from, to, experts, picks, base;
    double        tolerance;
    int32_t      *place;
} picking;

static void pick(const picking *p, int64_t expert, cot_ranked *list)
{
    int64_t n = 0;
    for (int64_t t = p->from; t < p->to; t++) {
        const double key = p->key[t * p->experts + expert];
        p->place[t * p->experts + expert] = -1;
        if (key > -INFINITY) list[n++] = (cot_ranked){key, (int32_t)t};
    }
    cot_rank_with_ties(list, list + (p->to - p->from), n, p->tolerance, p->tolerance);
    for (int64_t i = 0; i < n && i < p->picks; i++)
        p->place[list[i].token * p->experts + expert] = (int32_t)(p->base + i);
}

void cot_pick_columns(cot_tape *tape, const double *key, int64_t from, int64_t to, int64_t experts, int64_t picks,
                      int64_t base, double tolerance, int32_t *place)
{
    const int64_t pieces = experts < PIECES ? experts : PIECES, room = 2 * (to - from);
    const size_t mark = cot_tape_scratch_mark(tape);
    const picking p = {key, from, to, experts, picks, base, tolerance, place};
    cot_ranked *lists = cot_tape_scratch(tape, (size_t)(pieces * room) * sizeof *lists);
    if (cot_tape_failed(tape)) return;
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t i = 0; i < pieces; i++)
        for (int64_t e = i; e < experts; e += pieces) pick(&p, e, lists + i * room);
    cot_tape_scratch_release(tape, mark);
}

void cot_collect_picks(cot_tape *tape, int64_t tokens, int64_t experts, const int32_t *place, cot_routing *out)
{
    int64_t count = 0, a = 0;
    for (int64_t i = 0; i < tokens * experts; i++) count += place[i] >= 0;
    cot_routing_start(tape, tokens, experts, 0, count, out);
    for (int64_t i = 0; i < tokens * experts && !cot_tape_failed(tape); i++) {
        if (place[i] < 0) continue;
        out->token[a] = (int32_t)(i / experts);
        out->expert[a] = (int32_t)(i % experts);
        out->slot[a++] = place[i];
    }
}
