/* Keys and values of one sequence: [head][position][dim], so that a head's keys are read in one run. */
#include <limits.h>

#include "base/threads.h"
#include "ops/attention_plan.h"

cot_status cot_kv_state_create(int64_t capacity, int32_t num_kv_heads, int32_t head_dim, cot_mode mode,
                               cot_kv_state **out)
{
    *out = NULL;
    if (capacity < 1 || capacity >= INT32_MAX - ATTENTION_TILE || num_kv_heads < 1 || head_dim < 1)
        return cot_fail(COT_INVALID, "a state of %lld tokens, %d heads of %d, "
                        "expected positive numbers and fewer than 2^31 - 65 tokens", (long long)capacity, num_kv_heads,
                        head_dim);
    size_t rows, bytes = 0;
    if (!cot_size_mul((size_t)capacity, (size_t)num_kv_heads, &rows) ||
        !cot_size_mul(rows, (size_t)head_dim * cot_dtype_size(cot_mode_act(mode)), &bytes) || bytes > SIZE_MAX / 4)
        return cot_fail(COT_OUT_OF_MEMORY, "a state of %lld tokens, %d heads of %d is beyond all memory",
                        (long long)capacity, num_kv_heads, head_dim);
    cot_kv_state *state = cot_calloc(sizeof *state);
    if (state) {
        *state = (cot_kv_state){mode, (int32_t)capacity, 0, num_kv_heads, head_dim, NULL, NULL};
        state->keys = cot_malloc(bytes);
        state->values = cot_malloc(bytes);
    }
    if (!state || !state->keys || !state->values) {
        cot_kv_state_destroy(state);
        return cot_fail(COT_OUT_OF_MEMORY, "no memory for the keys and values of %lld tokens: %.1f MB",
                        (long long)capacity, 2e-6 * (double)bytes);
    }
    *out = state;
    return COT_OK;
}

void cot_kv_state_destroy(cot_kv_state *state)
{
    if (!state) return;
    cot_free(state->keys);
    cot_free(state->values);
    cot_free(state);
}

int64_t cot_kv_state_length(const cot_kv_state *state) { return state->length; }

void cot_kv_state_truncate(cot_kv_state *state, int64_t length)
{
    if (length >= 0 && length < state->length) state->length = (int32_t)length;
}

void cot_kv_state_append(cot_kv_state *state, attention_plan *plan)
{
    const int32_t dim = state->head_dim, n = plan->tokens;
#pragma omp parallel for num_threads(n > ATTENTION_TILE ? cot_threads() : 1) schedule(static)
    for (int32_t h = 0; h < state->num_kv_heads; h++) {
        const size_t to = ((size_t)h * (size_t)state->capacity + (size_t)state->length) * (size_t)dim * plan->act;
        const size_t from = (size_t)h * (size_t)plan->key_head * plan->act;
        plan->kernels->gather(n, n, dim, plan->k + from, plan->key_row, plan->turns, plan->position, 1,
                              state->keys + to);
        plan->kernels->copy(n, n, dim, plan->v + from, plan->key_row, state->values + to);
    }
    state->length += n;
    plan->k = state->keys;
    plan->v = state->values;
    plan->key_row = dim;
    plan->key_head = (int64_t)state->capacity * dim;
    plan->turn_keys = false;
}
