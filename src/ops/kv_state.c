/* Keys and values of one sequence: [head][token][dim], so that a head's keys are read in one run. With a window, tokens
 * that nobody sees any more are dropped from the front when room is needed, many at a time, so that moving the others
 * costs little for each. */
#include <limits.h>
#include <string.h>

#include "base/threads.h"
#include "ops/attention_plan.h"

enum { LEAST_SLACK = 512 };  /* rows beyond a window: the most tokens of an append, the least from one move to the next */

int64_t cot_kv_state_rows(int64_t capacity, int64_t window)
{
    const int64_t slack = window / 4 > LEAST_SLACK ? window / 4 : LEAST_SLACK;
    return window == 0 || capacity - window < slack ? capacity : window - 1 + slack;
}

cot_status cot_kv_state_create(int64_t capacity, int64_t window, int32_t num_kv_heads, int32_t head_dim, cot_mode mode,
                               cot_kv_state **out)
{
    *out = NULL;
    if (capacity < 1 || capacity >= INT32_MAX - ATTENTION_TILE || window < 0 || num_kv_heads < 1 || head_dim < 1)
        return cot_fail(COT_INVALID, "a state of %lld tokens, %d heads of %d, "
                        "expected positive numbers and fewer than 2^31 - 65 tokens", (long long)capacity, num_kv_heads,
                        head_dim);
    const int64_t rows = cot_kv_state_rows(capacity, window);
    size_t lines, bytes = 0;
    if (!cot_size_mul((size_t)rows, (size_t)num_kv_heads, &lines) ||
        !cot_size_mul(lines, (size_t)head_dim * cot_dtype_size(cot_mode_act(mode)), &bytes) || bytes > SIZE_MAX / 4)
        return cot_fail(COT_OUT_OF_MEMORY, "a state of %lld tokens, %d heads of %d is beyond all memory",
                        (long long)rows, num_kv_heads, head_dim);
    cot_kv_state *state = cot_calloc(sizeof *state);
    if (state) {
        *state = (cot_kv_state){.mode = mode, .capacity = (int32_t)capacity, .rows = (int32_t)rows,
                                .window = rows < capacity ? (int32_t)window : 0, .num_kv_heads = num_kv_heads,
                                .head_dim = head_dim};
        state->keys = cot_malloc(bytes);
        state->values = cot_malloc(bytes);
    }
    if (!state || !state->keys || !state->values) {
        cot_kv_state_destroy(state);
        return cot_fail(COT_OUT_OF_MEMORY, "no memory for the keys and values of %lld tokens: %.1f MB",
                        (long long)rows, 2e-6 * (double)bytes);
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

int64_t cot_kv_state_length(const cot_kv_state *state) { return (int64_t)state->gone + state->length; }

int64_t cot_kv_state_truncate(cot_kv_state *state, int64_t length)
{
    if (length < 0) length = 0;
    if (length >= cot_kv_state_length(state)) return cot_kv_state_length(state);
    const int64_t kept = length - state->gone;
    if (state->gone && kept < state->window - 1) return state->gone = state->length = 0;
    state->length = (int32_t)kept;
    return length;
}

void cot_kv_state_make_room(cot_kv_state *state, int32_t tokens)
{
    if (tokens <= state->rows - state->length) return;
    const size_t row = (size_t)state->head_dim * cot_dtype_size(cot_mode_act(state->mode));
    const int32_t kept = state->window - 1, drop = state->length - kept;
    for (int32_t h = 0; h < state->num_kv_heads; h++) {
        char *const keys = state->keys + (size_t)h * (size_t)state->rows * row;
        char *const values = state->values + (size_t)h * (size_t)state->rows * row;
        memmove(keys, keys + (size_t)drop * row, (size_t)kept * row);
        memmove(values, values + (size_t)drop * row, (size_t)kept * row);
    }
    state->gone += drop;
    state->length = kept;
}

void cot_kv_state_append(cot_kv_state *state, attention_plan *plan)
{
    const int32_t dim = state->head_dim, n = plan->tokens;
#pragma omp parallel for num_threads(n > ATTENTION_TILE ? cot_threads() : 1) schedule(static)
    for (int32_t h = 0; h < state->num_kv_heads; h++) {
        const size_t to = ((size_t)h * (size_t)state->rows + (size_t)state->length) * (size_t)dim * plan->act;
        const size_t from = (size_t)h * (size_t)plan->key_head * plan->act;
        plan->kernels->gather(n, n, dim, plan->k + from, plan->key_row, plan->turns, plan->position, 1,
                              state->keys + to);
        plan->kernels->copy(n, n, dim, plan->v + from, plan->key_row, state->values + to);
    }
    state->length += n;
    plan->k = state->keys;
    plan->v = state->values;
    plan->key_row = dim;
    plan->key_head = (int64_t)state->rows * dim;
    plan->turn_keys = false;
}
