#include "ops/attention_plan.h"

static const char *at(const char *base, int64_t element, size_t size) { return base + (size_t)element * size; }

void cot_attention_keys(const attention_plan *plan, int32_t head, int32_t key, int32_t n, void *rows)
{
    const char *k = at(plan->k, head * plan->key_head + key * plan->key_row, plan->act);
    plan->kernels->gather(n, attention_padded(n), plan->shape.head_dim, k, plan->key_row,
                          plan->turn_keys ? plan->turns : NULL, plan->turn_keys ? plan->position + key : NULL, 1, rows);
}

void cot_attention_values(const attention_plan *plan, int32_t head, int32_t key, int32_t n, void *rows)
{
    const char *v = at(plan->v, head * plan->key_head + key * plan->key_row, plan->act);
    plan->kernels->copy(n, attention_padded(n), plan->shape.head_dim, v, plan->key_row, rows);
}

double cot_attention_query_factor(const attention_plan *plan) { return plan->shape.scale * 1.4426950408889634074; }

void cot_attention_queries(const attention_plan *plan, int32_t head, int32_t query, int32_t n, void *rows)
{
    const char *q = at(plan->q, query * plan->row + (int64_t)head * plan->shape.head_dim, plan->act);
    plan->kernels->gather(n, attention_padded(n), plan->shape.head_dim, q, plan->row, plan->turns,
                          plan->position + query, cot_attention_query_factor(plan), rows);
}

/* What 16 queries (n of them real) see of a tile. False when nothing. */
static bool see(const attention_plan *plan, int32_t query, int32_t n, int32_t key, int32_t keys,
                cot_attention_strip *strip)
{
    const int32_t *lowest = plan->lowest + query, own = plan->past + query;
    int32_t least = lowest[0], most = lowest[0];
    for (int32_t i = 1; i < n; i++) {
        least = lowest[i] < least ? lowest[i] : least;
        most = lowest[i] > most ? lowest[i] : most;
    }
    const int32_t from = least > key ? (least - key) / ATTENTION_STRIP * ATTENTION_STRIP : 0;
    const int32_t seen = own + n - key;  /* 0 or less where all keys come later */
    const int32_t to = seen < keys ? attention_padded(seen) : keys;
    if (seen <= 0 || from >= to) return false;
    const bool whole = key + from >= most && key + to <= own + 1;
    *strip = (cot_attention_strip){ATTENTION_STRIP, to - from, key + from, own, whole ? NULL : lowest};
    return true;
}

/* Four strips that see the same keys, as one. */
static bool join(const attention_plan *plan, int32_t query, attention_part parts[ATTENTION_STRIPS])
{
    bool whole = true;
    for (int i = 0; i < ATTENTION_STRIPS; i++) {
        if (parts[i].row != parts[0].row || parts[i].strip.keys != parts[0].strip.keys) return false;
        whole = whole && !parts[i].strip.lowest;
    }
    parts[0].strip.lanes = ATTENTION_TILE;
    parts[0].strip.lowest = whole ? NULL : plan->lowest + query;
    parts[0].width = 1;
    return true;
}

int cot_attention_parts(const attention_plan *plan, int32_t query, int32_t n, int32_t key, int32_t keys,
                        attention_part parts[ATTENTION_STRIPS])
{
    int count = 0;
    for (int32_t lane = 0; lane < n; lane += ATTENTION_STRIP) {
        const int32_t lanes = n - lane < ATTENTION_STRIP ? n - lane : ATTENTION_STRIP;
        attention_part *part = &parts[count];
        if (!see(plan, query + lane, lanes, key, attention_padded(keys), &part->strip)) continue;
        part->lane = lane;
        part->row = part->strip.key - key;
        part->width = 0;
        count++;
    }
    return count == ATTENTION_STRIPS && join(plan, query, parts) ? 1 : count;
}

int32_t cot_attention_first_tile(const attention_plan *plan, const attention_task *task, int32_t query,
                                 int32_t query_end)
{
    int32_t least = plan->lowest[query];
    for (int32_t t = query + 1; t < query_end; t++) least = plan->lowest[t] < least ? plan->lowest[t] : least;
    return least > task->key ? least - (least - task->key) % ATTENTION_TILE : task->key;
}

void cot_attention_fetch(const attention_plan *plan, const attention_task *task, int32_t head, int32_t key,
                         int32_t slot, int32_t slots)
{
    const int32_t share = (ATTENTION_TILE + slots - 1) / slots, from = key + ATTENTION_TILE + slot * share;
    const int32_t n = task->key_end - from < share ? task->key_end - from : share;
    const int64_t element = head * plan->key_head + from * plan->key_row;
    if (n <= 0 || slot * share >= ATTENTION_TILE) return;
    plan->kernels->fetch(n, plan->shape.head_dim, at(plan->k, element, plan->act), plan->key_row);
    plan->kernels->fetch(n, plan->shape.head_dim, at(plan->v, element, plan->act), plan->key_row);
}
