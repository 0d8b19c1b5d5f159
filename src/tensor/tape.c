#define _POSIX_C_SOURCE 200809L
#include "tensor/tape.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MAX_OUTPUTS = 4 };

typedef struct {
    cot_backward  run;
    void         *saved;
    cot_tensor   *outputs[MAX_OUTPUTS];
    int           count;
    const char   *where;
    cot_time_kind kind;
} node;

typedef struct {
    void  *data;
    size_t bytes;
    bool   taken;
} pool_block;

struct cot_tape {
    cot_mode   mode;
    bool       record, training, check;
    uint64_t   seed;
    uint32_t   step;
    cot_status status;

    cot_arena *arena, *scratch;
    node      *nodes;
    size_t     node_count, node_capacity;
    pool_block *pool;
    size_t     pool_count, pool_capacity;

    const char   *where;
    cot_time_kind kind;
    bool          kind_held, back;
    double        kind_since;
    double        times[2][COT_TIME_COUNT];  /* forward and all else, going back */
    cot_tensor    placeholder;
};

cot_status cot_tape_create(cot_mode mode, cot_tape **out)
{
    *out = NULL;
    cot_tape *tape = cot_calloc(sizeof *tape);
    if (tape) {
        tape->arena = cot_arena_create();
        tape->scratch = cot_arena_create();
    }
    if (!tape || !tape->arena || !tape->scratch) {
        cot_tape_destroy(tape);
        return cot_fail(COT_OUT_OF_MEMORY, "no memory for a tape");
    }
    tape->mode = mode;
    tape->where = "";
    tape->kind_since = cot_now();
    tape->placeholder = (cot_tensor){.dtype = cot_mode_real(mode), .rank = 1, .shape = {0, 1, 1, 1}};
    *out = tape;
    return COT_OK;
}

void cot_tape_destroy(cot_tape *tape)
{
    if (!tape) return;
    for (size_t i = 0; i < tape->pool_count; i++) cot_free(tape->pool[i].data);
    cot_free(tape->pool);
    cot_free(tape->nodes);
    cot_arena_destroy(tape->arena);
    cot_arena_destroy(tape->scratch);
    cot_free(tape);
}

void cot_tape_reset(cot_tape *tape, bool record, bool training, uint64_t seed, uint32_t step)
{
    cot_arena_reset(tape->arena);
    cot_arena_rewind(tape->scratch, 0);
    for (size_t i = 0; i < tape->pool_count; i++) tape->pool[i].taken = false;
    tape->node_count = 0;
    tape->record = record;
    tape->training = training;
    tape->check = false;
    tape->seed = seed;
    tape->step = step;
    tape->status = COT_OK;
    tape->where = "";
}

cot_status  cot_tape_status(const cot_tape *tape) { return tape->status; }
bool        cot_tape_failed(const cot_tape *tape) { return tape->status != COT_OK; }
cot_mode    cot_tape_mode(const cot_tape *tape) { return tape->mode; }
cot_dtype   cot_tape_real(const cot_tape *tape) { return cot_mode_real(tape->mode); }
cot_dtype   cot_tape_act(const cot_tape *tape) { return cot_mode_act(tape->mode); }
bool        cot_tape_recording(const cot_tape *tape) { return tape->record; }
bool        cot_tape_training(const cot_tape *tape) { return tape->training; }
cot_rng_key cot_tape_rng(const cot_tape *tape, uint32_t stream)
{
    return (cot_rng_key){.seed = tape->seed, .step = tape->step, .stream = stream};
}

void cot_tape_fail(cot_tape *tape, cot_status status)
{
    if (tape->status == COT_OK) tape->status = status;
}

/* ---- memory ---- */

static void *or_fail(cot_tape *tape, void *memory, size_t bytes)
{
    if (!memory) cot_tape_fail(tape, cot_fail(COT_OUT_OF_MEMORY, "%s: no memory for %.1f MB of a step", tape->where, (double)bytes / 1e6));
    return memory;
}

/* Nothing more once something has failed: so whoever takes several blocks needs to look at the last one only. */
static void *take(cot_tape *tape, cot_arena *arena, size_t bytes)
{
    return cot_tape_failed(tape) ? NULL : or_fail(tape, cot_arena_alloc(arena, bytes), bytes);
}

void *cot_tape_alloc(cot_tape *tape, size_t bytes) { return take(tape, tape->arena, bytes); }

size_t cot_tape_scratch_mark(cot_tape *tape) { return cot_arena_mark(tape->scratch); }
void  *cot_tape_scratch(cot_tape *tape, size_t bytes) { return take(tape, tape->scratch, bytes); }
void   cot_tape_scratch_release(cot_tape *tape, size_t mark) { cot_arena_rewind(tape->scratch, mark); }

size_t cot_tape_bytes(const cot_tape *tape)
{
    size_t bytes = cot_arena_capacity(tape->arena) + cot_arena_capacity(tape->scratch);
    for (size_t i = 0; i < tape->pool_count; i++) bytes += tape->pool[i].bytes;
    return bytes;
}

static bool grow(void **array, size_t *capacity, size_t count, size_t size)
{
    if (count < *capacity) return true;
    const size_t larger = *capacity ? 2 * *capacity : 256;
    void *grown = cot_realloc(*array, count * size, larger * size);
    if (!grown) return false;
    *array = grown;
    *capacity = larger;
    return true;
}

/* The smallest free block that fits without wasting more than half of it, or a new one. */
static void *pool_take(cot_tape *tape, size_t bytes)
{
    pool_block *best = NULL;
    for (size_t i = 0; i < tape->pool_count; i++) {
        pool_block *b = &tape->pool[i];
        if (!b->taken && b->bytes >= bytes && b->bytes / 2 <= bytes && (!best || b->bytes < best->bytes)) best = b;
    }
    if (!best) {
        if (!grow((void **)&tape->pool, &tape->pool_capacity, tape->pool_count, sizeof *tape->pool)) return or_fail(tape, NULL, bytes);
        void *data = or_fail(tape, cot_malloc(bytes), bytes);
        if (!data) return NULL;
        best = &tape->pool[tape->pool_count++];
        *best = (pool_block){.data = data, .bytes = bytes};
    }
    best->taken = true;
    return best->data;
}

static void pool_release(cot_tape *tape, void *data)
{
    for (size_t i = 0; i < tape->pool_count; i++)
        if (tape->pool[i].data == data) tape->pool[i].taken = false;
}

/* ---- tensors ---- */

static cot_tensor *new_tensor(cot_tape *tape, cot_dtype dtype, int32_t rank, const int64_t *shape, bool needs_grad)
{
    cot_tensor *t = cot_tape_failed(tape) ? NULL : cot_tape_alloc(tape, sizeof *t);
    if (!t) return NULL;
    *t = (cot_tensor){.dtype = dtype, .rank = rank, .shape = {1, 1, 1, 1}, .needs_grad = needs_grad && tape->record};
    for (int i = 0; i < rank; i++) t->shape[i] = shape[i];
    return t;
}

cot_tensor *cot_tape_tensor(cot_tape *tape, cot_dtype dtype, int32_t rank, const int64_t *shape, bool needs_grad)
{
    cot_tensor *t = new_tensor(tape, dtype, rank, shape, needs_grad);
    if (t) t->data = cot_tape_alloc(tape, (size_t)cot_tensor_count(t) * cot_dtype_size(dtype));
    return t && t->data ? t : &tape->placeholder;
}

cot_tensor *cot_tape_wrap(cot_tape *tape, cot_dtype dtype, int32_t rank, const int64_t *shape, void *data, bool needs_grad)
{
    cot_tensor *t = new_tensor(tape, dtype, rank, shape, needs_grad);
    if (!t) return &tape->placeholder;
    t->data = data;
    return t;
}

cot_tensor *cot_tape_param(cot_tape *tape, cot_param *param)
{
    const cot_tensor *v = &param->value;
    if (v->dtype != cot_mode_real(tape->mode) && !cot_tape_failed(tape))
        cot_tape_fail(tape, cot_fail(COT_SHAPE_MISMATCH, "parameter '%s' is %s, expected %s on this tape", param->name,
                                     cot_dtype_name(v->dtype), cot_dtype_name(cot_mode_real(tape->mode))));
    const bool trains = !param->frozen && v->grad && param->spec.update != COT_UPDATE_BUFFER;
    cot_tensor *t = cot_tape_wrap(tape, v->dtype, v->rank, v->shape, v->data, trains);
    if (!cot_tape_failed(tape)) t->param = param;
    return t;
}

/* ---- going back ---- */

static bool finite_all(const void *data, cot_dtype dtype, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        const double v = dtype == COT_F64   ? ((const double *)data)[i]
                         : dtype == COT_F32 ? (double)((const float *)data)[i]
                                            : (double)cot_bf16_to_f32(((const cot_bf16 *)data)[i]);
        if (!isfinite(v)) return false;
    }
    return true;
}

static void check(cot_tape *tape, const cot_tensor *t, const void *data, const char *what)
{
    if (!tape->check || cot_tape_failed(tape) || !data || t->dtype > COT_BF16) return;
    if (!finite_all(data, t->dtype, cot_tensor_count(t)))
        cot_tape_fail(tape, cot_fail(COT_NOT_FINITE, "%s of %s is not finite", what, *tape->where ? tape->where : "the model"));
}

void cot_tape_record(cot_tape *tape, cot_backward backward, void *saved, cot_tensor *const *outputs, int count)
{
    for (int i = 0; i < count; i++) check(tape, outputs[i], outputs[i]->data, "the output");
    if (!tape->record || cot_tape_failed(tape)) return;
    bool wanted = false;
    for (int i = 0; i < count; i++) wanted = wanted || outputs[i]->needs_grad;
    if (!wanted) return;
    if (!grow((void **)&tape->nodes, &tape->node_capacity, tape->node_count, sizeof *tape->nodes)) {
        or_fail(tape, NULL, sizeof *tape->nodes);
        return;
    }
    node *n = &tape->nodes[tape->node_count++];
    *n = (node){.run = backward, .saved = saved, .count = count, .where = tape->where, .kind = tape->kind};
    for (int i = 0; i < count; i++) n->outputs[i] = outputs[i];
}

void *cot_tape_grad(cot_tape *tape, cot_tensor *t, bool *accumulate)
{
    if (!t || !t->needs_grad || cot_tape_failed(tape)) return NULL;
    if (t->param) {
        *accumulate = !t->param->grad_fresh;
        t->param->grad_fresh = false;
        return t->grad = t->param->value.grad;
    }
    *accumulate = t->grad != NULL;
    if (!t->grad) t->grad = pool_take(tape, (size_t)cot_tensor_count(t) * cot_dtype_size(t->dtype));
    return t->grad;
}

static void add_into(void *to, const void *from, cot_dtype dtype, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        if (dtype == COT_F64) ((double *)to)[i] += ((const double *)from)[i];
        else if (dtype == COT_F32) ((float *)to)[i] += ((const float *)from)[i];
        else ((cot_bf16 *)to)[i] = cot_f32_to_bf16(cot_bf16_to_f32(((cot_bf16 *)to)[i]) + cot_bf16_to_f32(((const cot_bf16 *)from)[i]));
    }
}

void cot_tape_grad_pass(cot_tape *tape, cot_tensor *from, cot_tensor *to)
{
    if (!to || !to->needs_grad || !from->grad || cot_tape_failed(tape)) return;
    if (!to->grad && !to->param) {
        to->grad = from->grad;
        from->grad = NULL;
        return;
    }
    bool accumulate = false;
    void *grad = cot_tape_grad(tape, to, &accumulate);
    if (!grad) return;
    if (accumulate) add_into(grad, from->grad, to->dtype, cot_tensor_count(to));
    else memcpy(grad, from->grad, (size_t)cot_tensor_count(to) * cot_dtype_size(to->dtype));
}

static bool has_gradient(const node *n)
{
    for (int i = 0; i < n->count; i++)
        if (n->outputs[i]->grad) return true;
    return false;
}

static void release_grad(cot_tape *tape, cot_tensor *t)
{
    if (!t->grad || t->param) return;
    pool_release(tape, t->grad);
    t->grad = NULL;
}

static void go_back(cot_tape *tape, const node *at)
{
    const node copy = *at, *n = &copy;  /* going back may record more nodes (cot_tape_recompute) and move the list */
    tape->where = n->where;
    cot_tape_kind(tape, n->kind);
    for (int i = 0; i < n->count; i++) check(tape, n->outputs[i], n->outputs[i]->grad, "the gradient at the output");
    if (cot_tape_failed(tape)) return;
    n->run(tape, n->saved);
    for (int i = 0; i < n->count; i++) release_grad(tape, n->outputs[i]);
}

/* From the newest node down to `first`. */
static void go_back_to(cot_tape *tape, size_t first)
{
    for (size_t i = tape->node_count; i-- > first && !cot_tape_failed(tape);)
        if (has_gradient(&tape->nodes[i])) go_back(tape, &tape->nodes[i]);
}

void cot_tape_backward(cot_tape *tape, cot_tensor *scalar, double seed_gradient)
{
    bool accumulate = false;
    void *grad = cot_tape_grad(tape, scalar, &accumulate);
    if (!grad) return;
    if (scalar->dtype == COT_F64) *(double *)grad = seed_gradient;
    else *(float *)grad = (float)seed_gradient;
    cot_tape_kind(tape, COT_TIME_OTHER);
    tape->back = true;
    go_back_to(tape, 0);
    cot_tape_kind(tape, COT_TIME_OTHER);
    tape->back = false;
}

/* ---- recomputation ---- */

typedef struct {
    cot_segment run;
    void       *context;
    cot_tensor *in, *out[2];
} recompute_saved;

/* What was recorded behind this node has gone back already, so the second run's nodes go on top and are dropped at the end. */
static void recompute_backward(cot_tape *tape, void *saved_)
{
    recompute_saved *s = saved_;
    const size_t mark = cot_arena_mark(tape->arena), first = tape->node_count;
    cot_tensor *in = cot_tape_wrap(tape, s->in->dtype, s->in->rank, s->in->shape, s->in->data, true), *out[2] = {NULL, NULL};
    const char *where = tape->where;
    s->run(tape, s->context, true, in, out);
    if (cot_tape_failed(tape)) return;
    for (int i = 0; i < 2; i++)
        if (out[i]) cot_tape_grad_pass(tape, s->out[i], out[i]);
    go_back_to(tape, first);
    cot_tape_grad_pass(tape, in, s->in);
    release_grad(tape, in);
    tape->node_count = first;
    tape->where = where;
    cot_arena_rewind(tape->arena, mark);
}

/* Moves the results of the first run from where the arena is rewound to. */
static void keep_results(cot_tape *tape, size_t mark, cot_tensor *out[2])
{
    cot_tensor kept[2];
    void *copy[2] = {NULL, NULL};
    const size_t scratch = cot_tape_scratch_mark(tape);
    for (int i = 0; i < 2; i++) {
        if (!out[i]) continue;
        kept[i] = *out[i];
        const size_t bytes = (size_t)cot_tensor_count(out[i]) * cot_dtype_size(out[i]->dtype);
        copy[i] = cot_tape_scratch(tape, bytes);
        if (copy[i]) memcpy(copy[i], out[i]->data, bytes);
    }
    cot_arena_rewind(tape->arena, mark);
    for (int i = 0; i < 2; i++) {
        if (!copy[i]) continue;
        out[i] = cot_tape_tensor(tape, kept[i].dtype, kept[i].rank, kept[i].shape, true);
        if (out[i]->data) memcpy(out[i]->data, copy[i], (size_t)cot_tensor_count(out[i]) * cot_dtype_size(out[i]->dtype));
    }
    cot_tape_scratch_release(tape, scratch);
}

void cot_tape_recompute(cot_tape *tape, cot_segment run, void *context, cot_tensor *in, cot_tensor *out[2])
{
    out[0] = out[1] = NULL;
    if (!tape->record) {
        run(tape, context, false, in, out);
        return;
    }
    recompute_saved *s = cot_tape_alloc(tape, sizeof *s);
    const size_t mark = cot_arena_mark(tape->arena);
    tape->record = false;
    run(tape, context, false, in, out);
    tape->record = true;
    if (cot_tape_failed(tape)) return;
    keep_results(tape, mark, out);
    *s = (recompute_saved){run, context, in, {out[0], out[1]}};
    cot_tape_record(tape, recompute_backward, s, out, out[1] ? 2 : 1);
}

/* ---- places and times ---- */

void        cot_tape_enter(cot_tape *tape, const char *name) { tape->where = name; }
const char *cot_tape_where(const cot_tape *tape) { return tape->where; }
void        cot_tape_check_finite(cot_tape *tape, bool on) { tape->check = on; }

double cot_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void cot_tape_kind(cot_tape *tape, cot_time_kind kind)
{
    if (tape->kind_held) return;
    const double now = cot_now();
    tape->times[tape->back][tape->kind] += now - tape->kind_since;
    tape->kind = kind;
    tape->kind_since = now;
}

void cot_tape_hold_kind(cot_tape *tape, cot_time_kind kind)
{
    cot_tape_kind(tape, kind);
    tape->kind_held = true;
}

void   cot_tape_release_kind(cot_tape *tape) { tape->kind_held = false; }
double cot_tape_time(const cot_tape *tape, cot_time_kind kind) { return tape->times[0][kind] + tape->times[1][kind]; }
double cot_tape_time_back(const cot_tape *tape, cot_time_kind kind) { return tape->times[1][kind]; }

void cot_tape_clear_times(cot_tape *tape)
{
    memset(tape->times, 0, sizeof tape->times);
    tape->kind_since = cot_now();
}

const char *cot_time_name(cot_time_kind kind)
{
    static const char *const names[] = {
        [COT_TIME_OTHER] = "other",     [COT_TIME_PRODUCT] = "products", [COT_TIME_EXPERTS] = "experts",         [COT_TIME_ATTENTION] = "attention",
        [COT_TIME_LOSS] = "loss",       [COT_TIME_ROUTING] = "routing",  [COT_TIME_ELEMENTWISE] = "elementwise", [COT_TIME_OPTIMIZER] = "optimizer",
        [COT_TIME_ROWS] = "rows",
    };
    return names[kind];
}
