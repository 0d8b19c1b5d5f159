#include "routing/routing.h"

#include <string.h>

void cot_routing_start(cot_tape *tape, int64_t tokens, int64_t experts, int64_t top_k, int64_t assignments,
                       cot_routing *out)
{
    const size_t bytes = (size_t)assignments * sizeof(int32_t);
    *out = (cot_routing){.experts = experts, .top_k = top_k, .capacity = -1};
    out->token = cot_tape_alloc(tape, bytes);
    out->expert = cot_tape_alloc(tape, bytes);
    out->slot = cot_tape_alloc(tape, bytes);
    if (cot_tape_failed(tape)) return;
    memset(out->slot, 0, bytes);
    for (int64_t a = 0; top_k > 0 && a < assignments; a++) out->token[a] = (int32_t)(a / top_k);
    out->tokens = out->all_tokens = tokens;
    out->assignments = assignments;
}

int64_t *cot_routing_first(cot_tape *tape, const cot_routing *routing)
{
    int64_t *first = cot_tape_alloc(tape, (size_t)(routing->tokens + 1) * sizeof *first), a = 0;
    for (int64_t t = 0; first && t <= routing->tokens; t++) {
        while (a < routing->assignments && routing->token[a] < t) a++;
        first[t] = a;
    }
    return first;
}

void cot_routing_expand(cot_routing *routing)
{
    if (!routing->live) return;
    for (int64_t a = 0; a < routing->assignments; a++) routing->token[a] = routing->live[routing->token[a]];
    routing->tokens = routing->all_tokens;
    routing->live = NULL;
}

void cot_routing_counts(const cot_routing *routing, int64_t *counts)
{
    memset(counts, 0, (size_t)routing->experts * sizeof *counts);
    for (int64_t a = 0; a < routing->assignments; a++)
        counts[routing->expert[a]] += routing->slot[a] != COT_SLOT_SKIPPED;
}

/* Counting sort: where each expert begins, then every kept assignment to its expert's next place. */
void cot_routing_group(cot_tape *tape, cot_routing *routing)
{
    const int64_t experts = routing->experts, assignments = routing->assignments;
    if (cot_tape_failed(tape)) return;
    cot_tape_kind(tape, COT_TIME_ROUTING);
    const size_t mark = cot_tape_scratch_mark(tape), bytes = (size_t)(experts + 1) * sizeof(int64_t);
    routing->kept = assignments - routing->dropped - routing->skipped;
    routing->offset = cot_tape_alloc(tape, bytes);
    routing->order = cot_tape_alloc(tape, (size_t)routing->kept * sizeof *routing->order);
    routing->row_token = cot_tape_alloc(tape, (size_t)routing->kept * sizeof *routing->row_token);
    routing->row_of = cot_tape_alloc(tape, (size_t)assignments * sizeof *routing->row_of);
    int64_t *next = cot_tape_scratch(tape, bytes);
    if (cot_tape_failed(tape)) return;
    memset(routing->offset, 0, bytes);
    for (int64_t a = 0; a < assignments; a++) routing->offset[routing->expert[a] + 1] += routing->slot[a] >= 0;
    for (int64_t e = 0; e < experts; e++) routing->offset[e + 1] += routing->offset[e];
    memcpy(next, routing->offset, bytes);
    for (int64_t a = 0; a < assignments; a++) {
        routing->row_of[a] = -1;
        if (routing->slot[a] < 0) continue;
        const int64_t row = next[routing->expert[a]]++;
        routing->row_of[a] = (int32_t)row;
        routing->order[row] = (int32_t)a;
        routing->row_token[row] = routing->token[a];
    }
    cot_tape_scratch_release(tape, mark);
}
