#include "ops/embed.h"

#include <string.h>

#include "kernels/elementwise/elementwise.h"
#include "ops/pieces.h"

typedef struct {
    cot_tensor    *table, *y;
    const int32_t *ids;
} embed_saved;

enum { COLUMN_PIECE = 64 };

/* Threads share the columns, so every element of the table's gradient adds its tokens in their order. */
static void embed_backward(cot_tape *tape, void *saved_)
{
    embed_saved *s = saved_;
    const cot_elementwise_kernels *kernels = cot_elementwise_kernels_for(cot_tape_mode(tape));
    const int64_t tokens = cot_tensor_rows(s->y), d = cot_tensor_columns(s->y), pieces = cot_pieces(d, COLUMN_PIECE);
    const size_t size = cot_dtype_size(s->y->dtype);
    bool accumulate = false;
    char *grad = cot_tape_grad(tape, s->table, &accumulate);
    if (!grad) return;
    if (!accumulate) memset(grad, 0, (size_t)cot_tensor_count(s->table) * size);
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        for (int64_t t = 0; t < tokens; t++)
            kernels->add(p * COLUMN_PIECE, cot_piece_end(p, COLUMN_PIECE, d), (const char *)s->y->grad + (size_t)(t * d) * size,
                         grad + (size_t)(s->ids[t] * d) * size);
}

static bool ids_fit(cot_tape *tape, const int32_t *ids, int64_t tokens, int64_t vocabulary)
{
    for (int64_t t = 0; t < tokens; t++) {
        if (ids[t] >= 0 && ids[t] < vocabulary) continue;
        cot_tape_fail(tape, cot_fail(COT_INVALID, "token %lld has id %d, expected 0 to %lld", (long long)t, ids[t], (long long)vocabulary - 1));
        return false;
    }
    return true;
}

cot_tensor *cot_embed(cot_tape *tape, cot_tensor *table, const int32_t *ids, int64_t tokens)
{
    const int64_t d = cot_tensor_columns(table);
    const size_t row_bytes = (size_t)d * cot_dtype_size(table->dtype);
    cot_tape_kind(tape, COT_TIME_ELEMENTWISE);
    cot_tensor *y = cot_tape_matrix(tape, table->dtype, tokens, d, table->needs_grad);
    embed_saved *s = cot_tape_alloc(tape, sizeof *s);
    if (cot_tape_failed(tape) || !ids_fit(tape, ids, tokens, table->shape[0])) return y;
    *s = (embed_saved){table, y, ids};
    for (int64_t t = 0; t < tokens; t++)
        memcpy((char *)y->data + (size_t)t * row_bytes, (const char *)table->data + (size_t)ids[t] * row_bytes, row_bytes);
    cot_tape_record(tape, embed_backward, s, &y, 1);
    return y;
}
