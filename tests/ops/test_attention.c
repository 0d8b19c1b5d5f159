/* Attention against a plain T x T implementation, its gradients against finite differences, other modes against f64,
 * states cut in any way against one call, 1 thread against several. Run under every COTERIE_CPU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <coterie/runtime.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "ops/attention.h"
#include "ops/values.h"

static const cot_rng_key key = {.seed = 5, .stream = COT_RNG_TEST};

typedef struct {
    int32_t tokens;
    int32_t row;       /* tokens of a batch row; documents are cut within */
    int32_t document;  /* a document begins every so many tokens; 0 = rows only */
    cot_attention_shape shape;
} attention_case;

#define PLAIN {.rope_type = COT_ROPE_DEFAULT}  /* rotary positions as they are */

static const attention_case cases[] = {
    {1, 1, 0, {1, 1, 4, 0, 0, 0, PLAIN}},
    {5, 5, 0, {2, 2, 4, 100, 0, 0, PLAIN}},
    {17, 17, 0, {2, 1, 6, 10000, 0, 0, PLAIN}},
    {65, 65, 0, {3, 1, 32, 10000, 0, 0, PLAIN}},
    {64, 64, 0, {2, 2, 64, 0, 0, 0.5, PLAIN}},
    {96, 48, 0, {4, 2, 16, 10000, 0, 0, PLAIN}},
    {120, 60, 23, {2, 2, 8, 500, 0, 0, PLAIN}},
    {150, 150, 0, {2, 1, 8, 10000, 37, 0, PLAIN}},
    {150, 150, 0, {2, 2, 8, 10000, 1, 0, PLAIN}},
    {200, 200, 70, {1, 1, 80, 10000, 64, 0, PLAIN}},
    {300, 300, 0, {9, 1, 4, 10000, 100, 0, PLAIN}},  /* one span of several chunks, one key head: backward in parts */
    {70, 70, 0, {2, 1, 16, 500, 0, 0, {.rope_type = COT_ROPE_LINEAR, .factor = 3}}},
    {90, 45, 20, {2, 1, 8, 10000, 0, 0, {.rope_type = COT_ROPE_DYNAMIC, .factor = 2,
                                         .original_max_position_embeddings = 11}}},
    {70, 70, 0, {1, 1, 32, 10000, 0, 0, {.rope_type = COT_ROPE_YARN, .factor = 4, .beta_fast = 32, .beta_slow = 1,
                                         .truncate = true, .original_max_position_embeddings = 64}}},
};
enum { CASES = sizeof cases / sizeof *cases };

static int64_t width_of(const attention_case *c)
{
    return ((int64_t)c->shape.num_heads + 2 * c->shape.num_kv_heads) * c->shape.head_dim;
}

static int64_t outs_of(const attention_case *c)
{
    return (int64_t)c->tokens * c->shape.num_heads * c->shape.head_dim;
}

static int32_t *first_of(const attention_case *c)
{
    int32_t *first = cot_malloc((size_t)c->tokens * sizeof *first);
    assert_non_null(first);
    for (int32_t t = 0; t < c->tokens; t++) {
        const int32_t row = t / c->row * c->row, document = c->document ? t / c->document * c->document : 0;
        first[t] = document > row ? document : row;
    }
    return first;
}

/* Numbers in (-1, 1) that bf16 holds exactly, so that every mode starts from the same. */
static double *numbers(int64_t count, uint64_t from)
{
    double *x = cot_malloc((size_t)count * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < count; i++)
        x[i] = (double)cot_bf16_to_f32(cot_f32_to_bf16((float)(2 * cot_rng_uniform(key, from + (uint64_t)i) - 1)));
    return x;
}

/* ---- the same in plain form ---- */

/* The longest sequence: that of the batch's rows or documents. */
static int32_t longest(const attention_case *c) { return c->document ? c->document : c->row; }

/* Frequencies have a test of their own (tests/base/test_rope.c). */
static void turn(const attention_case *c, const double *x, int32_t position, double *out)
{
    const int32_t dim = c->shape.head_dim, half = dim / 2;
    double frequency[64] = {0}, size = 1;
    if (c->shape.rope_theta > 0)
        size = cot_rope_frequencies(&c->shape.rope, c->shape.rope_theta, dim, longest(c), frequency);
    for (int32_t j = 0; j < half; j++) {
        const double cosine = size * cos(position * frequency[j]), sine = size * sin(position * frequency[j]);
        out[j] = x[j] * cosine - x[half + j] * sine;
        out[half + j] = x[half + j] * cosine + x[j] * sine;
    }
}

static void plain_query(const attention_case *c, const int32_t *first, const double *qkv, int32_t t, int32_t head,
                        double *out)
{
    enum { MOST_DIM = 128, MOST_TOKENS = 1024 };
    const cot_attention_shape *s = &c->shape;
    const int32_t dim = s->head_dim, kv = head * s->num_kv_heads / s->num_heads;
    const int64_t width = width_of(c), k_at = (s->num_heads + kv) * dim, v_at = k_at + s->num_kv_heads * dim;
    double q[MOST_DIM], k[MOST_DIM], weight[MOST_TOKENS], top = -1e300, sum = 0;
    turn(c, qkv + t * width + head * dim, t - first[t], q);
    const int64_t near = s->sliding_window ? t - s->sliding_window + 1 : 0;
    const int32_t from = near > first[t] ? (int32_t)near : first[t];
    for (int32_t j = from; j <= t; j++) {
        turn(c, qkv + j * width + k_at, j - first[j], k);
        double dot = 0;
        for (int32_t d = 0; d < dim; d++) dot += q[d] * k[d];
        weight[j] = dot * (s->scale > 0 ? s->scale : 1 / sqrt((double)dim));
        top = fmax(top, weight[j]);
    }
    for (int32_t j = from; j <= t; j++) sum += weight[j] = exp(weight[j] - top);
    memset(out, 0, (size_t)dim * sizeof *out);
    for (int32_t j = from; j <= t; j++)
        for (int32_t d = 0; d < dim; d++) out[d] += weight[j] / sum * qkv[j * width + v_at + d];
}

static double *plain(const attention_case *c, const int32_t *first, const double *qkv)
{
    const int32_t heads = c->shape.num_heads, dim = c->shape.head_dim;
    double *out = cot_malloc((size_t)c->tokens * (size_t)(heads * dim) * sizeof *out);
    assert_non_null(out);
    for (int32_t t = 0; t < c->tokens; t++)
        for (int32_t h = 0; h < heads; h++) plain_query(c, first, qkv, t, h, out + ((int64_t)t * heads + h) * dim);
    return out;
}

/* ---- ours ---- */

static cot_tape *new_tape(cot_mode mode, bool record)
{
    cot_tape *tape = NULL;
    assert_int_equal(cot_tape_create(mode, &tape), COT_OK);
    cot_tape_reset(tape, record, record, 1, 1);
    return tape;
}

static cot_tensor *input(cot_tape *tape, int64_t rows, int64_t columns, const double *x)
{
    cot_tensor *t = cot_tape_matrix(tape, cot_tape_act(tape), rows, columns, true);
    for (int64_t i = 0; t->data && i < rows * columns; i++) cot_value_set(t->data, t->dtype, i, x[i]);
    return t;
}

static double *values(const void *data, cot_dtype dtype, int64_t count)
{
    double *x = cot_malloc((size_t)count * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < count; i++) x[i] = cot_value_at(data, dtype, i);
    return x;
}

/* The scalar sum of weight * y. */
typedef struct {
    cot_tensor   *y;
    const double *weight;
} weighted;

static void weighted_backward(cot_tape *tape, void *saved)
{
    const weighted *w = saved;
    bool accumulate = false;
    void *grad = cot_tape_grad(tape, w->y, &accumulate);
    for (int64_t i = 0; grad && i < cot_tensor_count(w->y); i++)
        cot_value_put(grad, w->y->dtype, i, w->weight[i], accumulate);
}

static cot_tensor *weigh(cot_tape *tape, cot_tensor *y, const double *weight)
{
    cot_tensor *sum = cot_tape_tensor(tape, cot_tape_real(tape), 1, (const int64_t[]){1}, true);
    weighted *w = cot_tape_alloc(tape, sizeof *w);
    if (cot_tape_failed(tape)) return sum;
    *w = (weighted){y, weight};
    double total = 0;
    for (int64_t i = 0; i < cot_tensor_count(y); i++) total += weight[i] * cot_value_at(y->data, y->dtype, i);
    cot_value_set(sum->data, sum->dtype, 0, total);
    cot_tape_record(tape, weighted_backward, w, &sum, 1);
    return sum;
}

typedef struct {
    double *out, *grad;  /* grad NULL when not asked for */
    double  sum;
} result;

/* `twice` uses the input a second time, so that the gradient is added to one that is there. */
static result compute(const attention_case *c, cot_mode mode, const int32_t *first, const double *qkv,
                      const double *weight, bool twice)
{
    cot_tape *tape = new_tape(mode, weight != NULL);
    cot_tensor *x = input(tape, c->tokens, width_of(c), qkv);
    if (twice) cot_attention(tape, x, &c->shape, first, NULL);
    cot_tensor *y = cot_attention(tape, x, &c->shape, first, NULL);
    assert_int_equal(cot_tape_status(tape), COT_OK);
    result r = {.out = values(y->data, y->dtype, cot_tensor_count(y))};
    if (weight) {
        cot_tensor *sum = weigh(tape, y, weight);
        if (twice) {
            bool accumulate = false;
            double *before = cot_tape_grad(tape, x, &accumulate);
            for (int64_t i = 0; i < cot_tensor_count(x); i++) before[i] = (double)i;
        }
        cot_tape_backward(tape, sum, 1);
        assert_int_equal(cot_tape_status(tape), COT_OK);
        r.grad = values(x->grad, x->dtype, cot_tensor_count(x));
        r.sum = cot_value_at(sum->data, sum->dtype, 0);
    }
    cot_tape_destroy(tape);
    return r;
}

static void release(result r)
{
    cot_free(r.out);
    cot_free(r.grad);
}

static double largest(const double *x, int64_t count)
{
    double most = 0;
    for (int64_t i = 0; i < count; i++) most = fmax(most, fabs(x[i]));
    return most;
}

static void check_near(const double *got, const double *want, int64_t count, double tolerance, const char *what,
                       int number)
{
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(got[i] - want[i]) <= tolerance))
            fail_msg("%s of case %d at %lld: %.15g, expected %.15g within %g", what, number, (long long)i, got[i],
                     want[i], tolerance);
}

/* f64 sums of at most 300 numbers below 1 in another order. */
static void agrees_with_plain(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++) {
        const attention_case *c = &cases[i];
        int32_t *first = first_of(c);
        double *qkv = numbers(c->tokens * width_of(c), 0), *want = plain(c, first, qkv);
        const result r = compute(c, COT_MODE_F64, first, qkv, NULL, false);
        check_near(r.out, want, outs_of(c), 1e-13, "out", i);
        release(r);
        cot_free(want);
        cot_free(qkv);
        cot_free(first);
    }
}

/* A slope along a direction by central differences: wrong by h^2 / 6 third derivatives and 1e-16 / h. */
static double slope(const attention_case *c, const int32_t *first, const double *qkv, const double *weight,
                    const double *direction)
{
    const double h = 1e-5;
    const int64_t count = c->tokens * width_of(c), outs = outs_of(c);
    double *moved = cot_malloc((size_t)count * sizeof *moved), sum[2] = {0, 0};
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < count; i++) moved[i] = qkv[i] + (side ? h : -h) * direction[i];
        const result r = compute(c, COT_MODE_F64, first, moved, NULL, false);
        for (int64_t i = 0; i < outs; i++) sum[side] += weight[i] * r.out[i];
        release(r);
    }
    cot_free(moved);
    return (sum[1] - sum[0]) / (2 * h);
}

/* Each of some 25 elements, then all of them at once along a random direction. */
static void gradient_is_slope(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++) {
        const attention_case *c = &cases[i];
        const int64_t count = c->tokens * width_of(c), outs = outs_of(c);
        int32_t *first = first_of(c);
        double *qkv = numbers(count, 0), *weight = numbers(outs, 1 << 20), *direction = numbers(count, 2 << 20);
        const result r = compute(c, COT_MODE_F64, first, qkv, weight, false);
        double along = 0, size = 0;
        for (int64_t j = 0; j < count; j++) along += direction[j] * r.grad[j], size += fabs(direction[j] * r.grad[j]);
        const double want = slope(c, first, qkv, weight, direction);
        if (!(fabs(along - want) <= 1e-7 * (size + 1)))
            fail_msg("case %d: slope %.12g, expected %.12g", i, along, want);
        for (int64_t j = 0; j < count; j++) direction[j] = 0;
        for (int64_t j = 0; j < count; j += 1 + count / 25) {
            direction[j] = 1;
            const double one = slope(c, first, qkv, weight, direction);
            if (!(fabs(r.grad[j] - one) <= 1e-8 * (fabs(one) + 1)))
                fail_msg("case %d: gradient[%lld] %.12g, expected %.12g", i, (long long)j, r.grad[j], one);
            direction[j] = 0;
        }
        const result added = compute(c, COT_MODE_F64, first, qkv, weight, true);
        for (int64_t j = 0; j < count; j++)
            assert_true(fabs(added.grad[j] - (double)j - r.grad[j]) <= 1e-10 * (double)(j + 1));
        release(added);
        release(r);
        cot_free(direction);
        cot_free(weight);
        cot_free(qkv);
        cot_free(first);
    }
}

/* Outputs are averages of numbers below 1. f32: scores of up to 80 products round by some 1e-5, exp2 by 3e-7. bf16:
 * turned q and k, weights and the output round by 2^-9 of themselves; gradients, sums of many such terms, are held
 * against their largest. */
static void modes_agree(void **state)
{
    (void)state;
    static const struct {
        cot_mode mode;
        double   out, grad;
    } modes[] = {{COT_MODE_F32, 5e-6, 1e-5}, {COT_MODE_BF16, 1.5e-2, 2e-2}};
    for (int i = 0; i < CASES; i++)
        for (int m = 0; m < 2; m++) {
            const attention_case *c = &cases[i];
            const int64_t count = c->tokens * width_of(c), outs = outs_of(c);
            int32_t *first = first_of(c);
            double *qkv = numbers(count, 0), *weight = numbers(outs, 1 << 20);
            const result want = compute(c, COT_MODE_F64, first, qkv, weight, false);
            const result got = compute(c, modes[m].mode, first, qkv, weight, false);
            check_near(got.out, want.out, outs, modes[m].out, m ? "bf16 out" : "f32 out", i);
            check_near(got.grad, want.grad, count, modes[m].grad * fmax(1, largest(want.grad, count)),
                       m ? "bf16 gradient" : "f32 gradient", i);
            release(want);
            release(got);
            cot_free(weight);
            cot_free(qkv);
            cot_free(first);
        }
}

static void threads_agree(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++)
        for (int mode = 0; mode < COT_MODE_COUNT; mode++) {
            const attention_case *c = &cases[i];
            const int64_t count = c->tokens * width_of(c), outs = outs_of(c);
            int32_t *first = first_of(c);
            double *qkv = numbers(count, 0), *weight = numbers(outs, 1 << 20);
            assert_int_equal(cot_set_threads(1), COT_OK);
            const result one = compute(c, (cot_mode)mode, first, qkv, weight, false);
            for (int threads = 2; threads < 4; threads++) {
                assert_int_equal(cot_set_threads(threads), COT_OK);
                const result more = compute(c, (cot_mode)mode, first, qkv, weight, false);
                assert_memory_equal(one.out, more.out, (size_t)outs * sizeof *one.out);
                assert_memory_equal(one.grad, more.grad, (size_t)count * sizeof *one.grad);
                release(more);
            }
            release(one);
            cot_free(weight);
            cot_free(qkv);
            cot_free(first);
        }
    assert_int_equal(cot_set_threads(0), COT_OK);
}

/* A token is told nothing by later ones: NaN there changes no bit before. */
static void causal(void **state)
{
    (void)state;
    const attention_case c = {100, 100, 0, {2, 1, 16, 10000, 0, 0, PLAIN}};
    int32_t *first = first_of(&c);
    double *qkv = numbers(c.tokens * width_of(&c), 0);
    for (int mode = 0; mode < COT_MODE_COUNT; mode++) {
        const result before = compute(&c, (cot_mode)mode, first, qkv, NULL, false);
        for (int cut = 1; cut < c.tokens; cut += 13) {
            double *changed = numbers(c.tokens * width_of(&c), 0);
            for (int64_t i = cut * width_of(&c); i < c.tokens * width_of(&c); i++) changed[i] *= -3;
            const result after = compute(&c, (cot_mode)mode, first, changed, NULL, false);
            assert_memory_equal(before.out, after.out, (size_t)(cut * 32) * sizeof *before.out);
            release(after);
            cot_free(changed);
        }
        release(before);
    }
    cot_free(qkv);
    cot_free(first);
}

/* ---- states ---- */

static void feed(const attention_case *c, cot_mode mode, cot_kv_state *kv, const double *qkv, int32_t from, int32_t to,
                 double *out)
{
    const int64_t outs = (int64_t)c->shape.num_heads * c->shape.head_dim;
    cot_tape *tape = new_tape(mode, true);
    cot_tensor *x = input(tape, to - from, width_of(c), qkv + from * width_of(c));
    cot_tensor *y = cot_attention(tape, x, &c->shape, NULL, kv);
    assert_int_equal(cot_tape_status(tape), COT_OK);
    assert_false(y->needs_grad);
    for (int64_t i = 0; i < (to - from) * outs; i++) out[from * outs + i] = cot_value_at(y->data, y->dtype, i);
    assert_int_equal(cot_kv_state_length(kv), to);
    cot_tape_destroy(tape);
}

/* One sequence, cut at the given places (ending with its length). */
static void check_cuts(const attention_case *c, cot_mode mode, const int32_t *cuts, double tolerance, int number)
{
    const int64_t outs = outs_of(c);
    int32_t *first = first_of(c);
    double *qkv = numbers(c->tokens * width_of(c), 0), *out = cot_calloc((size_t)outs * sizeof *out);
    const result want = compute(c, mode, first, qkv, NULL, false);
    cot_kv_state *kv = NULL;
    assert_int_equal(cot_kv_state_create(c->tokens, 0, c->shape.num_kv_heads, c->shape.head_dim, mode, &kv), COT_OK);
    for (int32_t from = 0; from < c->tokens; from = *cuts++) feed(c, mode, kv, qkv, from, *cuts, out);
    check_near(out, want.out, outs, tolerance, "out by a state", number);
    cot_kv_state_truncate(kv, c->tokens / 3);  /* forget and go on again, with other cuts */
    assert_int_equal(cot_kv_state_length(kv), c->tokens / 3);
    const int64_t kept = c->tokens / 3 * (outs / c->tokens);
    memset(out + kept, 0, (size_t)(outs - kept) * sizeof *out);
    if (c->tokens / 3 < c->tokens - 1) feed(c, mode, kv, qkv, c->tokens / 3, c->tokens - 1, out);
    feed(c, mode, kv, qkv, c->tokens - 1, c->tokens, out);
    check_near(out, want.out, outs, tolerance, "out after forgetting", number);
    cot_kv_state_destroy(kv);
    release(want);
    cot_free(out);
    cot_free(qkv);
    cot_free(first);
}

/* f32 and bf16: as in modes_agree; a single token's weights are not rounded to bf16. */
static void state_continues(void **state)
{
    (void)state;
    static const attention_case sequences[] = {
        {150, 150, 0, {2, 1, 8, 10000, 37, 0, PLAIN}},
        {150, 150, 0, {3, 3, 32, 10000, 0, 0, {.rope_type = COT_ROPE_LLAMA3, .factor = 8, .low_freq_factor = 1,
                                               .high_freq_factor = 4, .original_max_position_embeddings = 64}}},
        {700, 700, 0, {4, 2, 6, 0, 0, 0, PLAIN}},
    };
    static const int32_t cuts[][8] = {{150}, {1, 2, 3, 4, 70, 149, 150}, {64, 128, 129, 150}};
    static const int32_t long_cuts[] = {1, 600, 601, 602, 699, 700};
    static const double tolerance[] = {1e-12, 5e-6, 1.5e-2};
    for (int mode = 0; mode < COT_MODE_COUNT; mode++) {
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 3; j++) check_cuts(&sequences[i], (cot_mode)mode, cuts[j], tolerance[mode], 10 * i + j);
        check_cuts(&sequences[2], (cot_mode)mode, long_cuts, tolerance[mode], 20);
    }
}

/* A state that keeps a window beside one that keeps everything. Token by token, each key range starts where the window
 * does: the same bits. In parts, the grid of key tiles lies elsewhere: sums in another order. */
static void windowed_state_is_the_whole_one(void **state)
{
    (void)state;
    enum { TOKENS = 1900 };
    const attention_case c = {TOKENS, TOKENS, 0, {4, 2, 8, 10000, 37, 0, PLAIN}};
    static const int32_t cuts[] = {1, 700, 701, 1300, 1301, 1302, 1840, 1899, TOKENS};
    static const double tolerance[] = {1e-12, 5e-6, 1.5e-2};
    assert_int_equal(cot_kv_state_rows(TOKENS, 37), 36 + 512);
    assert_int_equal(cot_kv_state_rows(40, 37), 40);
    assert_int_equal(cot_kv_state_rows(1 << 20, 4096), 4095 + 1024);
    double *qkv = numbers(TOKENS * width_of(&c), 0);
    double *want = cot_calloc((size_t)outs_of(&c) * sizeof *want), *out = cot_calloc((size_t)outs_of(&c) * sizeof *out);
    for (int mode = 0; mode < COT_MODE_COUNT; mode++) {
        cot_kv_state *whole = NULL, *window = NULL;
        assert_int_equal(cot_kv_state_create(TOKENS, 0, 2, 8, (cot_mode)mode, &whole), COT_OK);
        assert_int_equal(cot_kv_state_create(TOKENS, 37, 2, 8, (cot_mode)mode, &window), COT_OK);
        for (int32_t t = 0; t < TOKENS; t++) {
            feed(&c, (cot_mode)mode, whole, qkv, t, t + 1, want);
            feed(&c, (cot_mode)mode, window, qkv, t, t + 1, out);
        }
        assert_memory_equal(out, want, (size_t)outs_of(&c) * sizeof *out);
        assert_int_equal(cot_kv_state_truncate(window, 1890), 1890);  /* what token 1890 sees is still there */
        feed(&c, (cot_mode)mode, window, qkv, 1890, TOKENS, out);
        check_near(out, want, outs_of(&c), tolerance[mode], "out after a few were forgotten", mode);
        assert_int_equal(cot_kv_state_truncate(window, 1000), 0);
        for (int32_t i = 0, from = 0; from < TOKENS; from = cuts[i++])
            feed(&c, (cot_mode)mode, window, qkv, from, cuts[i], out);
        check_near(out, want, outs_of(&c), tolerance[mode], "out by a window in parts", mode);
        cot_kv_state_destroy(whole);
        cot_kv_state_destroy(window);
    }
    cot_free(qkv);
    cot_free(want);
    cot_free(out);
}

/* A walk after 20 tokens: at each token of it, the output is that of the path from the root to it. */
static void walk_follows_paths(void **state)
{
    (void)state;
    enum { PAST = 20, WALK = 190 };
    static const struct { int32_t at, tokens; } runs[] = {{0, 70}, {70, 5}, {70, 1}, {30, 80}, {110, 3}, {0, 1}, {1, 30}};
    static const double tolerance[] = {1e-12, 5e-6, 1.5e-2};
    attention_case c = {PAST + WALK, PAST + WALK, 0, {4, 2, 8, 10000, 50, 0, PLAIN}}, line = c;
    const int64_t width = width_of(&c), outs = outs_of(&c) / c.tokens;
    double *qkv = numbers(c.tokens * width, 0), *path = cot_malloc((size_t)(c.tokens * width) * sizeof *path);
    double *out = cot_calloc((size_t)outs_of(&c) * sizeof *out);
    int32_t first[WALK], *zero = cot_calloc((size_t)c.tokens * sizeof *zero), t = 0;
    for (size_t r = 0; r < sizeof runs / sizeof *runs; r++)
        for (int32_t i = 0; i < runs[r].tokens; i++, t++) first[t] = t - runs[r].at - i;
    assert_int_equal(t, WALK);
    for (int mode = 0; mode < COT_MODE_COUNT; mode++) {
        cot_kv_state *kv = NULL;
        assert_int_equal(cot_kv_state_create(c.tokens, 0, 2, 8, (cot_mode)mode, &kv), COT_OK);
        feed(&c, (cot_mode)mode, kv, qkv, 0, PAST, out);
        cot_tape *tape = new_tape((cot_mode)mode, true);
        cot_tensor *y = cot_attention(tape, input(tape, WALK, width, qkv + PAST * width), &c.shape, first, kv);
        assert_int_equal(cot_tape_status(tape), COT_OK);
        assert_int_equal(cot_kv_state_length(kv), PAST + 31);
        memcpy(path, qkv, (size_t)(PAST * width) * sizeof *path);
        for (t = 0; t < WALK; t++) {
            const int32_t at = PAST + t - first[t];
            memcpy(path + at * width, qkv + (PAST + t) * width, (size_t)width * sizeof *path);
            if (t + 1 < WALK && first[t + 1] == first[t]) continue;
            line.tokens = at + 1;
            const result want = compute(&line, (cot_mode)mode, zero, path, NULL, false);
            int32_t from = t;
            while (from > 0 && first[from - 1] == first[t]) from--;
            for (int64_t i = 0; i < (t - from + 1) * outs; i++) out[i] = cot_value_at(y->data, y->dtype, from * outs + i);
            check_near(out, want.out + (at - (t - from)) * outs, (t - from + 1) * outs, tolerance[mode], "out of a walk", t);
            release(want);
        }
        cot_tape_destroy(tape);
        cot_kv_state_destroy(kv);
    }
    cot_free(qkv);
    cot_free(path);
    cot_free(out);
    cot_free(zero);
}

/* ---- what cannot work ---- */

static void expect(cot_status want, const char *part, const attention_case *c, const int32_t *first, cot_kv_state *kv,
                   int64_t columns)
{
    cot_tape *tape = new_tape(COT_MODE_F32, true);
    cot_tape_enter(tape, "layers.3");
    cot_tensor *x = cot_tape_matrix(tape, COT_F32, c->tokens, columns, true);
    cot_attention(tape, x, &c->shape, first, kv);
    assert_int_equal(cot_tape_status(tape), want);
    assert_non_null(strstr(cot_last_error(), part));
    assert_non_null(strstr(cot_last_error(), "layers.3"));
    cot_attention(tape, x, &c->shape, first, kv);  /* does nothing now */
    assert_int_equal(cot_tape_status(tape), want);
    cot_tape_destroy(tape);
}

static void says_what_is_wrong(void **state)
{
    (void)state;
    const attention_case c = {4, 4, 0, {2, 1, 8, 0, 0, 0, PLAIN}};
    attention_case odd = c, uneven = c, window = c;
    odd.shape.head_dim = 7;
    uneven.shape.num_heads = 3;
    uneven.shape.num_kv_heads = 2;
    window.shape.sliding_window = -1;
    attention_case scaled = c;
    scaled.shape.rope_theta = 100;
    scaled.shape.rope = (cot_rope_scaling){.rope_type = COT_ROPE_LINEAR, .factor = 0.5};
    const int32_t first[] = {0, 0, 0, 0}, late[] = {0, 0, 3, 0};
    expect(COT_SHAPE_MISMATCH, "expected f32 [tokens, 32]", &c, first, NULL, 31);
    expect(COT_INVALID, "token 2 sees tokens from 3 on, expected 0 to 2", &c, late, NULL, 32);
    expect(COT_INVALID, "head size 7", &odd, first, NULL, 28);
    expect(COT_INVALID, "3 heads, 2 key/value heads", &uneven, first, NULL, 56);
    expect(COT_INVALID, "sliding_window -1", &window, first, NULL, 32);
    expect(COT_INVALID, "scaled rotary positions, expected a factor from 1 on", &scaled, first, NULL, 32);
    cot_kv_state *kv = NULL;
    assert_int_equal(cot_kv_state_create(3, 0, 1, 8, COT_MODE_F32, &kv), COT_OK);
    expect(COT_INVALID, "4 more tokens after 0, expected at most 3", &c, NULL, kv, 32);
    expect(COT_INVALID, "4 more tokens after 0, expected at most 3", &c, first, kv, 32);
    const int32_t jump[] = {0, 1, 0, 0}, early[] = {-1, 0, 0, 0};
    expect(COT_INVALID, "token 2 goes to position 2, expected 0 to 1", &c, jump, kv, 32);
    expect(COT_INVALID, "token 0 goes to position 1, expected 0 to 0", &c, early, kv, 32);
    assert_int_equal(cot_kv_state_length(kv), 0);
    cot_kv_state_destroy(kv);
    assert_int_equal(cot_kv_state_create(8, 0, 1, 6, COT_MODE_F32, &kv), COT_OK);
    expect(COT_SHAPE_MISMATCH, "a state of 1 heads of 6", &c, NULL, kv, 32);
    cot_kv_state_destroy(kv);
    assert_int_equal(cot_kv_state_create(2000, 7, 1, 8, COT_MODE_F32, &kv), COT_OK);
    expect(COT_SHAPE_MISMATCH, "a state for a window of 7, expected one of 0", &c, NULL, kv, 32);
    attention_case seven = c;
    seven.shape.sliding_window = 7;
    expect(COT_INVALID, "a walk over a state that keeps a window", &seven, first, kv, 32);
    cot_kv_state_destroy(kv);
    assert_int_equal(cot_kv_state_create(0, 0, 1, 6, COT_MODE_F32, &kv), COT_INVALID);
    assert_null(kv);
    assert_int_equal(cot_kv_state_create(INT32_MAX - 70, 0, INT32_MAX, INT32_MAX, COT_MODE_F32, &kv), COT_OUT_OF_MEMORY);
}

static cot_status step(const attention_case *c, const int32_t *first, const double *qkv, const double *weight)
{
    cot_tape *tape = NULL;
    cot_kv_state *kv = NULL;
    cot_status status = cot_tape_create(COT_MODE_BF16, &tape);
    if (status == COT_OK)
        status = cot_kv_state_create(c->tokens, 0, c->shape.num_kv_heads, c->shape.head_dim, COT_MODE_BF16, &kv);
    if (status == COT_OK) {
        cot_tape_reset(tape, true, true, 1, 1);
        cot_tensor *x = input(tape, c->tokens, width_of(c), qkv);
        cot_attention(tape, x, &c->shape, NULL, kv);
        cot_tape_backward(tape, weigh(tape, cot_attention(tape, x, &c->shape, first, NULL), weight), 1);
        status = cot_tape_status(tape);
        assert_int_equal(cot_kv_state_length(kv), cot_tape_failed(tape) ? cot_kv_state_length(kv) : c->tokens);
    }
    cot_kv_state_destroy(kv);
    cot_tape_destroy(tape);
    return status;
}

static void memory_may_be_short(void **state)
{
    (void)state;
    const attention_case *c = &cases[6];
    int32_t *first = first_of(c);
    double *qkv = numbers(c->tokens * width_of(c), 0), *weight = numbers(outs_of(c), 1 << 20);
    const int64_t blocks = cot_memory_blocks();
    int failures = 0;
    for (cot_status status = COT_OUT_OF_MEMORY; status != COT_OK; failures++) {
        cot_memory_fail_after(failures + 1);
        status = step(c, first, qkv, weight);
        cot_memory_fail_after(0);
        assert_true(status == COT_OK || status == COT_OUT_OF_MEMORY);
        assert_int_equal(cot_memory_blocks(), blocks);
    }
    assert_true(failures > 5);
    cot_free(weight);
    cot_free(qkv);
    cot_free(first);
}

/* After the first step the tape's memory serves all others. */
static void allocates_nothing_later(void **state)
{
    (void)state;
    const attention_case *c = &cases[6];
    int32_t *first = first_of(c);
    double *qkv = numbers(c->tokens * width_of(c), 0), *weight = numbers(outs_of(c), 1 << 20);
    cot_tape *tape = new_tape(COT_MODE_F32, true);
    for (int i = 0; i < 6; i++) {
        cot_tape_reset(tape, true, true, 1, (uint32_t)i);
        if (i == 3) cot_memory_fail_after(1);
        cot_tensor *x = input(tape, c->tokens, width_of(c), qkv);
        cot_tape_backward(tape, weigh(tape, cot_attention(tape, x, &c->shape, first, NULL), weight), 1);
        assert_int_equal(cot_tape_status(tape), COT_OK);
    }
    cot_memory_fail_after(0);
    cot_tape_destroy(tape);
    cot_free(weight);
    cot_free(qkv);
    cot_free(first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_plain),
        cmocka_unit_test(gradient_is_slope),
        cmocka_unit_test(modes_agree),
        cmocka_unit_test(threads_agree),
        cmocka_unit_test(causal),
        cmocka_unit_test(state_continues),
        cmocka_unit_test(windowed_state_is_the_whole_one), cmocka_unit_test(walk_follows_paths),
        cmocka_unit_test(says_what_is_wrong),
        cmocka_unit_test(memory_may_be_short),
        cmocka_unit_test(allocates_nothing_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
