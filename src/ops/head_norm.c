#include "ops/head_norm.h"

#include <string.h>

#include "kernels/elementwise/elementwise.h"
#include "kernels/head_norm/head_norm.h"
#include "ops/pieces.h"

typedef struct {
    cot_head_norm_shape shape;
    cot_tensor *x, *q_weight, *k_weight, *y;
    void       *rstd;  /* [T, groups of q and k] real */
} head_norm_saved;

/* dw of both kinds is summed over pieces of rows, each into its own row of `partial`, then over the pieces in order. */
static void head_norm_backward(cot_tape *tape, void *saved_)
{
    head_norm_saved *s = saved_;
    const cot_head_norm_kernels *kernels = cot_head_norm_kernels_for(cot_tape_mode(tape));
    const cot_elementwise_kernels *elementwise = cot_elementwise_kernels_for(cot_tape_mode(tape));
    const int64_t rows = cot_tensor_rows(s->x), each = cot_sum_piece_rows(rows), pieces = cot_pieces(rows, each);
    const int64_t dim[2] = {s->shape.q_dim, s->shape.k_dim};
    const size_t real = cot_dtype_size(cot_tape_real(tape)), mark = cot_tape_scratch_mark(tape);
    const size_t bytes = (size_t)(dim[0] + dim[1]) * real;
    bool add = false, add_weight[2] = {false, false};
    void *dx = cot_tape_grad(tape, s->x, &add);
    void *dw[2] = {cot_tape_grad(tape, s->q_weight, &add_weight[0]), cot_tape_grad(tape, s->k_weight, &add_weight[1])};
    char *partial = cot_tape_scratch(tape, (size_t)pieces * bytes);
    if (cot_tape_failed(tape)) return;
    memset(partial, 0, (size_t)pieces * bytes);
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++) {
        char *sum = partial + (size_t)p * bytes;
        kernels->backward(p * each, cot_piece_end(p, each, rows), &s->shape, s->x->data, s->q_weight->data,
                          s->k_weight->data, s->rstd, s->y->grad, dx, add, dw[0] ? sum : NULL,
                          dw[1] ? sum + (size_t)dim[0] * real : NULL);
    }
    for (int kind = 0; kind < 2; kind++) {
        if (!dw[kind]) continue;
        if (!add_weight[kind]) memset(dw[kind], 0, (size_t)dim[kind] * real);
        const size_t skip = kind ? (size_t)dim[0] * real : 0;
        for (int64_t p = 0; p < pieces; p++)
            elementwise->add(0, dim[kind], partial + (size_t)p * bytes + skip, dw[kind]);
    }
    cot_tape_scratch_release(tape, mark);
}

/* Elements that share a mean: as many as there are weights, a head or all heads of the kind; 0 for any other number. */
static int32_t group_size(const cot_tensor *weight, int32_t heads, int32_t head_dim)
{
    const int64_t count = cot_tensor_count(weight), all = (int64_t)heads * head_dim;
    return count == head_dim || count == all ? (int32_t)count : 0;
}

static cot_status check(const cot_tape *tape, const cot_tensor *qkv, const cot_attention_shape *s,
                        const cot_tensor *q_weight, const cot_tensor *k_weight)
{
    const int64_t width = ((int64_t)s->num_heads + 2 * (int64_t)s->num_kv_heads) * s->head_dim;
    if (qkv->rank != 2 || qkv->shape[1] != width)
        return cot_fail(COT_SHAPE_MISMATCH, "%s: norm of heads in rows of %lld, expected %lld", cot_tape_where(tape),
                        (long long)cot_tensor_columns(qkv), (long long)width);
    if (!group_size(q_weight, s->num_heads, s->head_dim) || !group_size(k_weight, s->num_kv_heads, s->head_dim))
        return cot_fail(COT_SHAPE_MISMATCH,
                        "%s: norm of heads with %lld and %lld weights, expected %d for each head, or %d and %d for all",
                        cot_tape_where(tape), (long long)cot_tensor_count(q_weight),
                        (long long)cot_tensor_count(k_weight), s->head_dim, s->num_heads * s->head_dim,
                        s->num_kv_heads * s->head_dim);
    return COT_OK;
}

static cot_head_norm_shape groups_of(const cot_attention_shape *s, const cot_tensor *q_weight,
                                     const cot_tensor *k_weight)
{
    const int32_t q = group_size(q_weight, s->num_heads, s->head_dim);
    const int32_t k = group_size(k_weight, s->num_kv_heads, s->head_dim);
    return (cot_head_norm_shape){.q_groups = s->num_heads * s->head_dim / q, .q_dim = q,
                                 .k_groups = s->num_kv_heads * s->head_dim / k, .k_dim = k,
                                 .values = s->num_kv_heads * s->head_dim};
}

cot_tensor *cot_head_norm(cot_tape *tape, cot_tensor *qkv, const cot_attention_shape *shape, cot_tensor *q_weight,
                          cot_tensor *k_weight, double eps)
{
    cot_tape_kind(tape, COT_TIME_ELEMENTWISE);
    const cot_status status = cot_tape_failed(tape) ? COT_OK : check(tape, qkv, shape, q_weight, k_weight);
    if (status != COT_OK) cot_tape_fail(tape, status);
    const cot_head_norm_shape groups =
        cot_tape_failed(tape) ? (cot_head_norm_shape){.q_groups = 0} : groups_of(shape, q_weight, k_weight);
    const int64_t rows = qkv->shape[0], pieces = cot_pieces(rows, COT_PIECE_ROWS);
    const bool wants_grad = qkv->needs_grad || q_weight->needs_grad || k_weight->needs_grad;
    cot_tensor *y = cot_tape_matrix(tape, cot_tape_act(tape), rows, cot_tensor_columns(qkv), wants_grad);
    head_norm_saved *s = cot_tape_alloc(tape, sizeof *s);
    const size_t sums = (size_t)rows * (size_t)(groups.q_groups + groups.k_groups);
    void *rstd = cot_tape_alloc(tape, sums * cot_dtype_size(cot_tape_real(tape)));
    if (cot_tape_failed(tape)) return y;
    *s = (head_norm_saved){groups, qkv, q_weight, k_weight, y, rstd};
    const cot_head_norm_kernels *kernels = cot_head_norm_kernels_for(cot_tape_mode(tape));
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t p = 0; p < pieces; p++)
        kernels->forward(p * COT_PIECE_ROWS, cot_piece_end(p, COT_PIECE_ROWS, rows), &s->shape, qkv->data,
                         q_weight->data, k_weight->data, eps, y->data, rstd);
    cot_tape_record(tape, head_norm_backward, s, &y, 1);
    return y;
}
