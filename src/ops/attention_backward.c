/* Attention backward: scores are formed again tile by tile from q, k and the log-sum-exp.
 *
 * With scores s, weights p = 2^(s - lse) and delta = sum over d of out * d_out:
 *   d_v += p^T d_out,  d_p = d_out v^T,  d_s = p * (d_p - delta),  d_q += scale * d_s k,  d_k += scale * d_s^T q.
 * Queries enter with the factor scale * log2(e), so that s counts in log2: d_k comes out with it and is divided by
 * log2(e).
 *
 * Usually a task does all of a span and a key/value head, and nothing is computed twice. Where that makes too few
 * tasks, chunks of queries (their d_q) and of keys (their d_k and d_v) are tasks of their own: 7 products for 5. */
#include <omp.h>
#include <string.h>

#include "base/threads.h"
#include "ops/attention_plan.h"

enum { FEWEST_SPANS = 4 };  /* times key/value heads, for tasks of whole spans */

static const double ln_2 = 0.6931471805599453094;

/* A thread's memory. Slot i is a tile of queries: [group][chunk / 64]; row pairs and columns as in
 * kernels/attention/attention.h. */
typedef struct {
    char *query_rows, *query_columns, *out_grad_rows, *out_grad_columns;  /* [slots][64 * dim] act, all as pairs */
    char *query_grad;                          /* [slots][dim][64] real */
    char *lse, *delta;                         /* [slots][64] real */
    char *rows;                                /* [64][dim], real or act */
    char *keys, *values, *key_columns;         /* of one tile: [64][dim] and [dim][64] act */
    char *scores, *weight_grad;                /* [64][64] real */
    char *weights, *score_grad, *score_grad_pairs;  /* [64][64] act; in the place of those above where types allow */
    char *key_grad, *value_grad;               /* [keys of the task][dim] real */
} backward_space;

typedef struct {
    const attention_plan *plan;
    const char           *out, *out_grad, *lse;
    char                 *qkv_grad;
    bool                  accumulate;
} backward_call;

static size_t lay_out(const attention_plan *p, int32_t most_keys, char *base, backward_space *s)
{
    const size_t tile = ATTENTION_TILE, row = (size_t)p->shape.head_dim * tile, slots = (size_t)attention_slots(p);
    const size_t all_keys = (size_t)attention_padded(most_keys) * (size_t)p->shape.head_dim * p->real;
    const bool narrow = p->act != p->real;
    size_t used = 0;
    s->query_rows = attention_carve(base, &used, slots * row * p->act);
    s->query_columns = attention_carve(base, &used, slots * row * p->act);
    s->out_grad_rows = attention_carve(base, &used, slots * row * p->act);
    s->out_grad_columns = attention_carve(base, &used, slots * row * p->act);
    s->query_grad = attention_carve(base, &used, slots * row * p->real);
    s->lse = attention_carve(base, &used, slots * tile * p->real);
    s->delta = attention_carve(base, &used, slots * tile * p->real);
    s->rows = attention_carve(base, &used, row * p->real);
    s->keys = attention_carve(base, &used, row * p->act);
    s->values = attention_carve(base, &used, row * p->act);
    s->key_columns = attention_carve(base, &used, row * p->act);
    s->scores = attention_carve(base, &used, tile * tile * p->real);
    s->weight_grad = attention_carve(base, &used, tile * tile * p->real);
    s->weights = narrow ? attention_carve(base, &used, tile * tile * p->act) : s->scores;
    s->score_grad = narrow ? attention_carve(base, &used, tile * tile * p->act) : s->weight_grad;
    s->score_grad_pairs = narrow ? attention_carve(base, &used, tile * tile * p->act) : s->weight_grad;
    s->key_grad = attention_carve(base, &used, all_keys);
    s->value_grad = attention_carve(base, &used, all_keys);
    return used;
}

static int32_t at_most(int32_t n, int32_t most) { return n < most ? n : most; }

/* Copies n numbers of the real type and zeroes the rest of the tile: lanes beyond the queries then give nothing. */
static void copy_lanes(const attention_plan *p, const char *from, int32_t n, char *to)
{
    memcpy(to, from, (size_t)n * p->real);
    memset(to + (size_t)n * p->real, 0, (size_t)(ATTENTION_TILE - n) * p->real);
}

static void load_queries(const backward_call *c, int32_t head, int32_t query, int32_t n, size_t slot,
                         const backward_space *s)
{
    const attention_plan *p = c->plan;
    const cot_attention_kernels *k = p->kernels;
    const int32_t dim = p->shape.head_dim, width = p->shape.num_heads * dim, padded = attention_padded(n);
    const size_t block = slot * (size_t)dim * ATTENTION_TILE;
    const size_t at = ((size_t)query * (size_t)width + (size_t)(head * dim)) * p->act;
    const size_t stats = slot * ATTENTION_TILE * p->real;
    char *rows = k->row_pairs ? s->rows : s->query_rows + block * p->act;
    cot_attention_queries(p, head, query, n, rows);
    k->column_pairs(padded, dim, rows, s->query_columns + block * p->act);
    if (k->row_pairs) k->row_pairs(padded, dim, rows, s->query_rows + block * p->act);
    rows = k->row_pairs ? s->rows : s->out_grad_rows + block * p->act;
    k->copy(n, padded, dim, c->out_grad + at, width, rows);
    k->column_pairs(padded, dim, rows, s->out_grad_columns + block * p->act);
    if (k->row_pairs) k->row_pairs(padded, dim, rows, s->out_grad_rows + block * p->act);
    k->delta(n, dim, c->out + at, c->out_grad + at, width, s->rows);
    copy_lanes(p, s->rows, n, s->delta + stats);
    copy_lanes(p, c->lse + ((size_t)head * (size_t)p->tokens + (size_t)query) * p->real, n, s->lse + stats);
    memset(s->query_grad + block * p->real, 0, (size_t)dim * ATTENTION_TILE * p->real);
}

static void pass_part(const attention_plan *p, const attention_task *task, const attention_part *part, size_t slot,
                      size_t key_row, const backward_space *s)
{
    const size_t dim = (size_t)p->shape.head_dim, tile = ATTENTION_TILE, row = (size_t)part->row,
                 lane = (size_t)part->lane;
    const size_t block = slot * dim * tile, stats = (slot * tile + lane) * p->real;
    const size_t reals = (row * tile + lane) * p->real, acts = (row * tile + lane) * p->act;
    const size_t pairs = row * tile * p->act + lane * p->real;
    const cot_tile *score = attention_tile_of(p->tiles.score, part), *key = attention_tile_of(p->tiles.key, part);
    const cot_tile *value = attention_tile_of(p->tiles.value, part);
    cot_tile_run(score, s->keys + row * dim * p->act, s->query_columns + block * p->act + lane * p->real,
                 s->scores + reals);
    cot_tile_run(score, s->values + row * dim * p->act, s->out_grad_columns + block * p->act + lane * p->real,
                 s->weight_grad + reals);
    p->kernels->gradient(&part->strip, s->lse + stats, s->delta + stats, s->scores + reals, s->weight_grad + reals,
                         s->weights + acts, s->score_grad + acts, s->score_grad_pairs + pairs);
    if (task->key_grad) {
        const size_t to = (key_row + row) * dim * p->real, from = (block + lane * dim) * p->act;
        cot_tile_run(key, s->weights + acts, s->out_grad_rows + from, s->value_grad + to);
        cot_tile_run(key, s->score_grad + acts, s->query_rows + from, s->key_grad + to);
    }
    if (task->query_grad)
        cot_tile_run(value, s->key_columns + row * p->act, s->score_grad_pairs + pairs,
                     s->query_grad + block * p->real + lane * p->real);
}

static void pass_keys(const backward_call *c, const attention_task *task, int32_t kv_head, int32_t query_end,
                      int32_t query0, int32_t key, const backward_space *s)
{
    const attention_plan *p = c->plan;
    const int32_t keys = at_most(task->key_end - key, ATTENTION_TILE);
    cot_attention_keys(p, kv_head, key, keys, s->keys);
    cot_attention_values(p, kv_head, key, keys, s->values);
    if (task->query_grad) p->kernels->columns(attention_padded(keys), p->shape.head_dim, s->keys, s->key_columns);
    const int32_t slots = p->group * ((query_end - query0 + ATTENTION_TILE - 1) / ATTENTION_TILE);
    int32_t slot = 0;
    for (int32_t g = 0; g < p->group; g++)
        for (int32_t query = query0; query < query_end; query += ATTENTION_TILE, slot++) {
            attention_part parts[ATTENTION_STRIPS];
            cot_attention_fetch(p, task, kv_head, key, slot, slots);
            const int32_t n = at_most(query_end - query, ATTENTION_TILE);
            const int count = cot_attention_parts(p, query, n, key, keys, parts);
            for (int i = 0; i < count; i++) pass_part(p, task, &parts[i], (size_t)slot, (size_t)(key - task->key), s);
        }
}

/* The gradient's rows of the head that lies `column` elements into a token's q, k and v. */
static char *grad_rows(const backward_call *c, int32_t token, int32_t column)
{
    return c->qkv_grad + ((size_t)token * (size_t)c->plan->row + (size_t)column) * c->plan->act;
}

static void pass_queries(const backward_call *c, const attention_task *task, int32_t kv_head, int32_t query0,
                         const backward_space *s)
{
    const attention_plan *p = c->plan;
    const int32_t dim = p->shape.head_dim, query_end = at_most(task->query_end, query0 + p->chunk);
    const int32_t key_end = at_most(task->key_end, query_end);
    const int32_t key0 = cot_attention_first_tile(p, task, query0, query_end);
    if (key0 >= key_end) return;
    size_t slot = 0;
    for (int32_t g = 0; g < p->group; g++)
        for (int32_t query = query0; query < query_end; query += ATTENTION_TILE, slot++)
            load_queries(c, kv_head * p->group + g, query, at_most(query_end - query, ATTENTION_TILE), slot, s);
    for (int32_t key = key0; key < key_end; key += ATTENTION_TILE)
        pass_keys(c, task, kv_head, query_end, query0, key, s);
    slot = 0;
    for (int32_t g = 0; task->query_grad && g < p->group; g++)
        for (int32_t query = query0; query < query_end; query += ATTENTION_TILE, slot++) {
            const int32_t n = at_most(query_end - query, ATTENTION_TILE);
            p->kernels->real_rows(n, dim, s->query_grad + slot * (size_t)dim * ATTENTION_TILE * p->real, s->rows);
            p->kernels->scatter(n, dim, s->rows, p->turns, p->position + query, p->shape.scale, NULL,
                                grad_rows(c, query, (kv_head * p->group + g) * dim), p->row, c->accumulate);
        }
}

static void run(const backward_call *c, const attention_task *task, int32_t kv_head, const backward_space *s)
{
    const attention_plan *p = c->plan;
    const int32_t dim = p->shape.head_dim, n = task->key_end - task->key;
    const int32_t key_column = (p->shape.num_heads + kv_head) * dim;
    const int32_t value_column = key_column + p->shape.num_kv_heads * dim;
    if (task->key_grad) {
        const size_t bytes = (size_t)attention_padded(n) * (size_t)dim * p->real;
        memset(s->key_grad, 0, bytes);
        memset(s->value_grad, 0, bytes);
    }
    for (int32_t query = task->query; query < task->query_end; query += p->chunk)
        pass_queries(c, task, kv_head, query, s);
    if (!task->key_grad) return;
    p->kernels->scatter(n, dim, s->key_grad, p->turns, p->position + task->key, ln_2, NULL,
                        grad_rows(c, task->key, key_column), p->row, c->accumulate);
    p->kernels->scatter(n, dim, s->value_grad, NULL, NULL, 1, NULL, grad_rows(c, task->key, value_column), p->row,
                        c->accumulate);
}

/* tasks NULL only counts. */
static int32_t list_tasks(const attention_plan *p, attention_task *tasks)
{
    const bool whole = (int64_t)p->spans * p->shape.num_kv_heads >= FEWEST_SPANS;
    int32_t count = 0;
    for (int32_t i = 0; i < p->spans; i++) {
        const int32_t start = p->span[i], end = p->span[i + 1];
        const attention_task all = {start, end, start, end, true, true};
        if (whole || end - start <= p->chunk) {
            if (tasks) tasks[count] = all;
            count++;
            continue;
        }
        for (int32_t from = start; from < end; from += p->chunk, count += 2) {
            const int32_t to = at_most(end, from + p->chunk);
            if (!tasks) continue;
            tasks[count] = (attention_task){from, to, start, to, true, false};
            tasks[count + 1] = (attention_task){from, end, from, to, false, true};
        }
    }
    return count;
}

static int32_t most_keys(const attention_task *tasks, int32_t count)
{
    int32_t most = 0;
    for (int32_t i = 0; i < count; i++) {
        const int32_t keys = tasks[i].key_grad ? tasks[i].key_end - tasks[i].key : 0;
        most = keys > most ? keys : most;
    }
    return most;
}

void cot_attention_backward(cot_tape *tape, const attention_plan *plan, const void *out, const void *out_grad,
                            const void *lse, void *qkv_grad, bool accumulate)
{
    const backward_call call = {plan, out, out_grad, lse, qkv_grad, accumulate};
    const int32_t count = list_tasks(plan, NULL), kv_heads = plan->shape.num_kv_heads;
    const int64_t jobs = (int64_t)count * kv_heads, threads = jobs < cot_threads() ? jobs : cot_threads();
    const size_t mark = cot_tape_scratch_mark(tape);
    attention_task *tasks = cot_tape_scratch(tape, (size_t)count * sizeof *tasks);
    if (!tasks) return;
    list_tasks(plan, tasks);
    const int32_t keys = most_keys(tasks, count);
    const size_t bytes = lay_out(plan, keys, NULL, &(backward_space){0});
    char *memory = cot_tape_scratch(tape, (size_t)threads * bytes);
    if (!memory) return;
#pragma omp parallel for num_threads((int)threads) schedule(dynamic, 1)
    for (int64_t job = jobs - 1; job >= 0; job--) {
        backward_space space;
        lay_out(plan, keys, memory + (size_t)omp_get_thread_num() * bytes, &space);
        run(&call, &tasks[job / kv_heads], (int32_t)(job % kv_heads), &space);
    }
    cot_tape_scratch_release(tape, mark);
}
