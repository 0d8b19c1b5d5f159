/* Attention forward: a task takes up to 512 queries of a key/value head's group; its keys pass by, tile after tile. */
#include <omp.h>
#include <string.h>

#include "base/threads.h"
#include "ops/attention_plan.h"

/* A thread's memory. Slot i is a tile of queries: [group][chunk / 64]. */
typedef struct {
    char *queries;           /* [slots][dim][64] pairs */
    char *acc;               /* [slots][dim][64] real: sums of weighted values */
    char *maximum, *sum;     /* [slots][64] real */
    char *rows;              /* [64][dim], real or act */
    char *keys;              /* [64][dim] act */
    char *values;            /* [dim][64] act */
    char *scores;            /* [64][64] real */
    char *weights;           /* the same as pairs; in the scores' place where types allow */
    char *inverse, *lse;     /* [64] real */
} forward_space;

static size_t lay_out(const attention_plan *p, char *base, forward_space *s)
{
    const size_t tile = ATTENTION_TILE, row = (size_t)p->shape.head_dim * tile, slots = (size_t)attention_slots(p);
    size_t used = 0;
    s->queries = attention_carve(base, &used, slots * row * p->act);
    s->acc = attention_carve(base, &used, slots * row * p->real);
    s->maximum = attention_carve(base, &used, slots * tile * p->real);
    s->sum = attention_carve(base, &used, slots * tile * p->real);
    s->rows = attention_carve(base, &used, row * p->real);
    s->keys = attention_carve(base, &used, row * p->act);
    s->values = attention_carve(base, &used, row * p->act);
    s->scores = attention_carve(base, &used, tile * tile * p->real);
    s->weights = p->act == p->real ? s->scores : attention_carve(base, &used, tile * tile * p->act);
    s->inverse = attention_carve(base, &used, tile * p->real);
    s->lse = attention_carve(base, &used, tile * p->real);
    return used;
}

static void fill(const attention_plan *p, void *values, double value)
{
    for (int i = 0; i < ATTENTION_TILE; i++) {
        if (p->mode == COT_MODE_F64) ((double *)values)[i] = value;
        else ((float *)values)[i] = (float)value;
    }
}

static int32_t queries_of(const attention_task *task, int32_t query)
{
    return task->query_end - query < ATTENTION_TILE ? task->query_end - query : ATTENTION_TILE;
}

static void start_queries(const attention_plan *p, const attention_task *task, int32_t kv_head, const forward_space *s)
{
    const size_t dim = (size_t)p->shape.head_dim, tile = ATTENTION_TILE;
    size_t slot = 0;
    for (int32_t g = 0; g < p->group; g++)
        for (int32_t query = task->query; query < task->query_end; query += ATTENTION_TILE, slot++) {
            const int32_t n = queries_of(task, query);
            cot_attention_queries(p, kv_head * p->group + g, query, n, s->rows);
            p->kernels->column_pairs(attention_padded(n), p->shape.head_dim, s->rows,
                                     s->queries + slot * dim * tile * p->act);
            memset(s->acc + slot * dim * tile * p->real, 0, dim * tile * p->real);
            fill(p, s->maximum + slot * tile * p->real, COT_ATTENTION_LOWEST);
            fill(p, s->sum + slot * tile * p->real, 0);
        }
}

static void pass_part(const attention_plan *p, const attention_part *part, size_t slot, const forward_space *s)
{
    const size_t dim = (size_t)p->shape.head_dim, tile = ATTENTION_TILE, row = (size_t)part->row,
                 lane = (size_t)part->lane * p->real;
    const size_t stats = slot * tile * p->real + lane;
    char *scores = s->scores + row * tile * p->real + lane, *weights = s->weights + row * tile * p->act + lane;
    char *acc = s->acc + slot * dim * tile * p->real + lane;
    cot_tile_run(attention_tile_of(p->tiles.score, part), s->keys + row * dim * p->act,
                 s->queries + slot * dim * tile * p->act + lane, scores);
    p->kernels->softmax(&part->strip, p->shape.head_dim, scores, weights, s->maximum + stats, s->sum + stats, acc);
    cot_tile_run(attention_tile_of(p->tiles.value, part), s->values + row * p->act, weights, acc);
}

static void pass_keys(const attention_plan *p, const attention_task *task, int32_t kv_head, int32_t key,
                      const forward_space *s)
{
    const int32_t keys = task->key_end - key < ATTENTION_TILE ? task->key_end - key : ATTENTION_TILE;
    cot_attention_values(p, kv_head, key, keys, s->rows);
    p->kernels->columns(attention_padded(keys), p->shape.head_dim, s->rows, s->values);
    cot_attention_keys(p, kv_head, key, keys, s->keys);
    const int32_t slots = p->group * ((task->query_end - task->query + ATTENTION_TILE - 1) / ATTENTION_TILE);
    int32_t slot = 0;
    for (int32_t g = 0; g < p->group; g++)
        for (int32_t query = task->query; query < task->query_end; query += ATTENTION_TILE, slot++) {
            attention_part parts[ATTENTION_STRIPS];
            cot_attention_fetch(p, task, kv_head, key, slot, slots);
            const int count = cot_attention_parts(p, query, queries_of(task, query), key, keys, parts);
            for (int i = 0; i < count; i++) pass_part(p, &parts[i], (size_t)slot, s);
        }
}

static void finish_queries(const attention_plan *p, const attention_task *task, int32_t kv_head, const forward_space *s,
                           char *out, char *lse)
{
    const int32_t dim = p->shape.head_dim, width = p->shape.num_heads * dim;
    const size_t tile = ATTENTION_TILE;
    size_t slot = 0;
    for (int32_t g = 0; g < p->group; g++)
        for (int32_t query = task->query; query < task->query_end; query += ATTENTION_TILE, slot++) {
            const int32_t n = queries_of(task, query), head = kv_head * p->group + g;
            char *acc = s->acc + slot * (size_t)dim * tile * p->real;
            char *to = out + ((size_t)query * (size_t)width + (size_t)(head * dim)) * p->act;
            const size_t stats = slot * tile * p->real;
            p->kernels->finish(n, s->maximum + stats, s->sum + stats, s->inverse, s->lse);
            p->kernels->real_rows(n, dim, acc, s->rows);
            p->kernels->scatter(n, dim, s->rows, NULL, NULL, 1, s->inverse, to, width, false);
            if (lse)
                memcpy(lse + ((size_t)head * (size_t)p->tokens + (size_t)query) * p->real, s->lse, (size_t)n * p->real);
        }
}

static void run(const attention_plan *p, const attention_task *task, int32_t kv_head, const forward_space *s, void *out,
                void *lse)
{
    start_queries(p, task, kv_head, s);
    const int32_t first = cot_attention_first_tile(p, task, task->query, task->query_end);
    for (int32_t key = first; key < task->key_end; key += ATTENTION_TILE) pass_keys(p, task, kv_head, key, s);
    finish_queries(p, task, kv_head, s, out, lse);
}

/* Chunks of every span; tasks NULL only counts. */
static int32_t list_tasks(const attention_plan *p, attention_task *tasks)
{
    int32_t count = 0;
    for (int32_t i = 0; i < p->spans; i++)
        for (int32_t query = p->span[i]; query < p->span[i + 1]; query += p->chunk, count++) {
            const int32_t end = p->span[i + 1] - query < p->chunk ? p->span[i + 1] : query + p->chunk;
            const int32_t key = p->past ? 0 : p->span[i];
            if (tasks) tasks[count] = (attention_task){query, end, key, p->past + end, false, false};
        }
    return count;
}

void cot_attention_forward(cot_tape *tape, const attention_plan *plan, void *out, void *lse)
{
    const int32_t count = list_tasks(plan, NULL), kv_heads = plan->shape.num_kv_heads;
    const int64_t jobs = (int64_t)count * kv_heads, threads = jobs < cot_threads() ? jobs : cot_threads();
    const size_t mark = cot_tape_scratch_mark(tape), bytes = lay_out(plan, NULL, &(forward_space){0});
    attention_task *tasks = cot_tape_scratch(tape, (size_t)count * sizeof *tasks);
    char *memory = cot_tape_scratch(tape, (size_t)threads * bytes);
    if (!tasks || !memory) return;
    list_tasks(plan, tasks);
#pragma omp parallel for num_threads((int)threads) schedule(dynamic, 1)
    for (int64_t job = jobs - 1; job >= 0; job--) {  /* late chunks of a sequence see most keys: they start first */
        forward_space space;
        lay_out(plan, memory + (size_t)omp_get_thread_num() * bytes, &space);
        run(plan, &tasks[job / kv_heads], (int32_t)(job % kv_heads), &space, out, lse);
    }
    cot_tape_scratch_release(tape, mark);
}
