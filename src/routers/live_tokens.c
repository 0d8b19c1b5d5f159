/* Choosing among live tokens only: padding, and tokens whose experts are all masked, are taken out before a router's
 * select() and so change nothing in it, whatever the router. */
#include <math.h>
#include <string.h>

#include "ops/gather_rows.h"
#include "ops/values.h"
#include "routers/router.h"

static bool all_masked(const cot_tensor *logits, int64_t t)
{
    const int64_t experts = cot_tensor_columns(logits);
    for (int64_t e = 0; e < experts; e++)
        if (!(cot_value_at(logits->data, logits->dtype, t * experts + e) == -INFINITY)) return false;
    return experts > 0;
}

static bool is_live(const cot_router *r, const cot_route_input *in, const cot_scores *scores, int64_t t)
{
    if (in->padding && in->padding[t]) return false;
    const bool by_expert = r->ops->traits & (COT_ROUTER_SCORES | COT_ROUTER_NO_LOGITS);  /* columns are experts */
    return !by_expert || !all_masked(scores->logits, t);
}

/* The live tokens in order, or NULL when all are. */
static int32_t *find_live(const cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores,
                          int64_t *count)
{
    int64_t t = 0;
    *count = in->tokens;
    while (t < in->tokens && is_live(r, in, scores, t)) t++;
    if (t == in->tokens) return NULL;
    int32_t *live = cot_tape_alloc(tape, (size_t)in->tokens * sizeof *live);
    *count = 0;
    for (t = 0; live && t < in->tokens; t++)
        if (is_live(r, in, scores, t)) live[(*count)++] = (int32_t)t;
    return live;
}

static const int32_t *narrow_integers(cot_tape *tape, const int32_t *from, const int32_t *live, int64_t count)
{
    if (!from) return NULL;
    int32_t *to = cot_tape_alloc(tape, (size_t)count * sizeof *to);
    for (int64_t i = 0; to && i < count; i++) to[i] = from[live[i]];
    return to;
}

static const void *narrow_noise(cot_tape *tape, const void *from, const int32_t *live, int64_t count, int64_t columns)
{
    const size_t row = (size_t)columns * cot_dtype_size(cot_tape_real(tape));
    if (!from) return NULL;
    char *to = cot_tape_alloc(tape, (size_t)count * row);
    for (int64_t i = 0; to && i < count; i++) memcpy(to + (size_t)i * row, (const char *)from + (size_t)live[i] * row, row);
    return to;
}

static cot_tensor *narrow_matrix(cot_tape *tape, cot_tensor *from, const int32_t *live, int64_t count)
{
    return from ? cot_gather_rows(tape, from, live, count, 0, cot_tensor_columns(from)) : NULL;
}

/* The same runs among live tokens; runs that lose all are left out. */
static cot_runs narrow_runs(cot_tape *tape, cot_runs runs, const int32_t *live, int64_t count)
{
    cot_runs out = {0, NULL};
    if (!runs.count) return out;
    int64_t *offset = cot_tape_alloc(tape, (size_t)(runs.count + 1) * sizeof *offset), n = 0, i = 0;
    if (!offset) return out;
    offset[0] = 0;
    for (int64_t run = 0; run < runs.count; run++) {
        while (i < count && live[i] < runs.offset[run + 1]) i++;
        if (i > offset[n]) offset[++n] = i;
    }
    return (cot_runs){n, offset};
}

/* Groups of the router's own size, the largest divisor of all tokens up to it. */
static cot_runs own_groups(const cot_router *r, cot_tape *tape, const cot_route_input *in)
{
    int64_t size = r->group_size < in->tokens ? r->group_size : in->tokens;
    if (in->groups.count || size <= 0 || size == in->tokens) return in->groups;
    while (in->tokens % size) size--;
    const int64_t count = in->tokens / size;
    int64_t *offset = cot_tape_alloc(tape, (size_t)(count + 1) * sizeof *offset);
    for (int64_t g = 0; offset && g <= count; g++) offset[g] = g * size;
    return (cot_runs){offset ? count : 0, offset};
}

static cot_route_input narrow(cot_tape *tape, const cot_route_input *in, int64_t columns, const int32_t *live,
                              int64_t count)
{
    return (cot_route_input){
        .tokens = count,
        .draw = in->draw,
        .ids = narrow_integers(tape, in->ids, live, count),
        .previous = narrow_integers(tape, in->previous, live, count),
        .position = narrow_integers(tape, in->position, live, count),
        .labels = narrow_integers(tape, in->labels, live, count),
        .targets = narrow_integers(tape, in->targets, live, count),
        .noise = narrow_noise(tape, in->noise, live, count, columns),
        .bias = in->bias,
        .thresholds = in->thresholds,
        .groups = narrow_runs(tape, in->groups, live, count),
        .sequences = narrow_runs(tape, in->sequences, live, count),
    };
}

void cot_router_select(cot_router *r, cot_tape *tape, const cot_route_input *in, const cot_scores *scores,
                       cot_routing *out)
{
    int64_t count;
    cot_route_input given = *in;
    cot_scores used = *scores;
    memset(out, 0, sizeof *out);
    if (cot_tape_failed(tape)) return;
    given.groups = own_groups(r, tape, in);
    const int32_t *live = find_live(r, tape, in, scores, &count);
    if (live) {
        given = narrow(tape, &given, cot_tensor_columns(scores->logits), live, count);
        used.logits = narrow_matrix(tape, scores->logits, live, count);
        used.raw_noise_std = narrow_matrix(tape, scores->raw_noise_std, live, count);
        used.primary = narrow_matrix(tape, scores->primary, live, count);
        used.primary_raw_noise_std = narrow_matrix(tape, scores->primary_raw_noise_std, live, count);
    }
    if (cot_tape_failed(tape)) return;
    r->ops->select(r, tape, &given, &used, out);
    out->live = live;
    out->all_tokens = in->tokens;
    out->groups = given.groups;
    out->sequences = given.sequences;
}
