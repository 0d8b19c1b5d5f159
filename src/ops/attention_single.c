/* One token over a state: each key and value is read once. Keys are cut into ranges of a fixed length, so that a long
 * past keeps all threads busy; the ranges' softmaxes are put together in order. */
#include <math.h>
#include <string.h>

#include "base/threads.h"
#include "ops/attention_plan.h"
#include "ops/values.h"

enum { RANGE = 512, WORTH_THREADS = 1 << 16 };  /* keys; multiply-adds */

/* Query heads' softmaxes over each range: [range][head]. */
typedef struct {
    char   *queries;         /* [heads][dim] act */
    char   *scores;          /* [ranges][kv heads][RANGE] real */
    char   *maximum, *sum;   /* [ranges][heads] real */
    char   *acc;             /* [ranges][heads][dim] real */
    int32_t first, ranges;   /* first key seen */
} single_space;

static void pass_range(const attention_plan *p, const single_space *s, int32_t range, int32_t kv_head)
{
    const size_t dim = (size_t)p->shape.head_dim;
    const int32_t key = s->first + range * RANGE, left = p->past + 1 - key, n = left < RANGE ? left : RANGE;
    const size_t from = ((size_t)kv_head * (size_t)p->key_head + (size_t)key * dim) * p->act;
    char *scores = s->scores + ((size_t)range * (size_t)p->shape.num_kv_heads + (size_t)kv_head) * RANGE * p->real;
    for (int32_t g = 0; g < p->group; g++) {
        const size_t head = (size_t)(kv_head * p->group + g);
        const size_t at = ((size_t)range * (size_t)p->shape.num_heads + head) * p->real;
        p->kernels->single(n, p->shape.head_dim, s->queries + head * dim * p->act, p->k + from, p->v + from, scores,
                           s->maximum + at, s->sum + at, s->acc + at * dim);
    }
}

/* acc of range 0 becomes the head's result. */
static void put_together(const attention_plan *p, const single_space *s, int32_t head)
{
    const cot_dtype real = cot_mode_real(p->mode);
    const int32_t dim = p->shape.head_dim, heads = p->shape.num_heads;
    double top = COT_ATTENTION_LOWEST, total = 0;
    for (int32_t r = 0; r < s->ranges; r++) top = fmax(top, cot_value_at(s->maximum, real, r * heads + head));
    for (int32_t r = 0; r < s->ranges; r++)
        total +=
            cot_value_at(s->sum, real, r * heads + head) * exp2(cot_value_at(s->maximum, real, r * heads + head) - top);
    for (int32_t r = 0; r < s->ranges; r++) {
        const double share = exp2(cot_value_at(s->maximum, real, r * heads + head) - top) / total;
        for (int32_t d = 0; d < dim; d++) {
            const double value = share * cot_value_at(s->acc, real, ((int64_t)r * heads + head) * dim + d);
            cot_value_put(s->acc, real, (int64_t)head * dim + d, value, r > 0);
        }
    }
}

void cot_attention_single(cot_tape *tape, const attention_plan *p, void *out)
{
    const int32_t heads = p->shape.num_heads, kv_heads = p->shape.num_kv_heads, dim = p->shape.head_dim;
    const int32_t keys = p->past + 1 - p->lowest[0];
    single_space s = {.first = p->lowest[0], .ranges = (keys + RANGE - 1) / RANGE};
    const size_t mark = cot_tape_scratch_mark(tape), all = (size_t)s.ranges * (size_t)heads * p->real;
    s.queries = cot_tape_scratch(tape, (size_t)(heads * dim) * p->act);
    s.scores = cot_tape_scratch(tape, (size_t)s.ranges * (size_t)kv_heads * RANGE * p->real);
    s.maximum = cot_tape_scratch(tape, all);
    s.sum = cot_tape_scratch(tape, all);
    s.acc = cot_tape_scratch(tape, all * (size_t)dim);
    if (cot_tape_failed(tape)) return;
    const int32_t jobs = s.ranges * kv_heads;
    const bool worth = jobs > 1 && (int64_t)keys * heads * dim > WORTH_THREADS;
    for (int32_t h = 0; h < heads; h++)
        p->kernels->gather(1, 1, dim, p->q + (size_t)(h * dim) * p->act, p->row, p->turns, p->position,
                           cot_attention_query_factor(p), s.queries + (size_t)(h * dim) * p->act);
#pragma omp parallel for num_threads(worth ? cot_threads() : 1) schedule(static)
    for (int32_t job = 0; job < jobs; job++) pass_range(p, &s, job / kv_heads, job % kv_heads);
    for (int32_t h = 0; h < heads; h++) put_together(p, &s, h);
    p->kernels->scatter(1, heads * dim, s.acc, NULL, NULL, 1, NULL, out, heads * dim, false);
    cot_tape_scratch_release(tape, mark);
}
