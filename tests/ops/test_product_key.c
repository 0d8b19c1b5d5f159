/* Retrieval by product keys: against a search over all slots, ties included; gradients against central differences; the
 * same bits on 1 and 2 threads; pools of single rows and batch norm the same way, with hand-worked cases. */
#include "central_differences.h"

#include <string.h>

#include "kernels/batch_norm/batch_norm.h"
#include "ops/batch_norm.h"
#include "ops/group_norm.h"
#include "ops/neurons.h"
#include "ops/product_key.h"

static cot_tape *tape, *single;

static int open_tapes(void **state)
{
    (void)state;
    return cot_tape_create(COT_MODE_F64, &tape) != COT_OK || cot_tape_create(COT_MODE_F32, &single) != COT_OK;
}

static int close_tapes(void **state)
{
    (void)state;
    cot_tape_destroy(tape);
    cot_tape_destroy(single);
    return 0;
}

static cot_tensor *constant(cot_tape *t, int64_t rows, int64_t columns, const double *values)
{
    cot_tensor *x = cot_tape_matrix(t, cot_tape_real(t), rows, columns, true);
    for (int64_t i = 0; i < rows * columns; i++) cot_value_set(x->data, x->dtype, i, values[i]);
    return x;
}

/* ---- retrieval ---- */

/* In single precision, so that both tapes see the same; whole numbers make ties. */
static void draw(double *values, int64_t count, uint64_t seed, bool ties)
{
    for (int64_t i = 0; i < count; i++) values[i] = ties ? floor(3 * test_uniform(seed, (uint64_t)i)) : (double)(float)test_normal(seed, (uint64_t)i);
}

/* The best of all n^2 slots, ties to the lower one: slots in order, each sunk into place among those kept. */
static void search_all(const double *a, const double *b, int64_t n, int64_t k, int32_t *slot)
{
    int64_t found = 0;
    for (int64_t j = 0; j < n * n; j++) {
        const double score = a[j / n] + b[j % n];
        int64_t place = found;
        while (place > 0 && a[slot[place - 1] / n] + b[slot[place - 1] % n] < score) place--;
        if (place == k) continue;
        if (found < k) found++;
        for (int64_t i = found - 1; i > place; i--) slot[i] = slot[i - 1];
        slot[place] = (int32_t)j;
    }
}

static void check_search(cot_tape *t, int64_t n, int64_t k, bool ties, uint64_t seed)
{
    enum { HEADS = 2, TOKENS = 3, MOST = 2048 };
    static double scores[TOKENS * HEADS * 2 * MOST];
    int32_t slot[TOKENS * HEADS * 100], want[100];
    draw(scores, TOKENS * HEADS * 2 * n, seed, ties);
    cot_tape_reset(t, false, false, 1, 1);
    const cot_tensor *found = cot_product_key_from_scores(t, constant(t, TOKENS, HEADS * 2 * n, scores), HEADS, n, k, slot);
    assert_int_equal(cot_tape_status(t), COT_OK);
    for (int64_t r = 0; r < TOKENS * HEADS; r++) {
        const double *a = scores + r * 2 * n, *b = a + n;
        search_all(a, b, n, k, want);
        for (int64_t i = 0; i < k; i++) {
            assert_int_equal(slot[r * k + i], want[i]);
            const double sum = a[want[i] / n] + b[want[i] % n];
            assert_true(cot_value_at(found->data, found->dtype, r * k + i) == (t == tape ? sum : (double)(float)sum));
        }
    }
}

static void equals_a_search_over_all(void **state)
{
    (void)state;
    const int64_t sizes[][2] = {{1, 1}, {2, 1}, {2, 2}, {5, 3}, {8, 8}, {17, 5}, {40, 16}, {40, 40}, {64, 16}, {100, 16}, {77, 33}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int ties = 0; ties < 2; ties++)
            for (uint64_t seed = 1; seed <= 4; seed++) {
                check_search(tape, sizes[i][0], sizes[i][1], ties, seed);
                check_search(single, sizes[i][0], sizes[i][1], ties, seed);
            }
}

/* Four million experts. */
static void equals_a_search_over_millions(void **state)
{
    (void)state;
    for (int ties = 0; ties < 2; ties++) check_search(single, 2048, 16, ties, 1);
}

static void finds_the_worked_case(void **state)
{
    (void)state;
    const double  query[] = {1, 0.5, -0.5, 1};
    const double  keys[] = {0.2, 0.1, 1, 0, 0.5, 0.5, -1, 1, 0, 1, 1, 1, 0.3, -0.2, -1, 0.2};
    const int32_t slots[] = {4, 8, 7, 5};
    const double  scores[] = {2.0, 1.75, 1.7, 1.5};
    int32_t       slot[4];
    cot_tape_reset(tape, false, false, 1, 1);
    cot_tensor *k = cot_tape_wrap(tape, COT_F64, 3, (const int64_t[]){2, 4, 2}, (void *)(uintptr_t)keys, false);
    const cot_tensor *found = cot_product_key(tape, constant(tape, 1, 4, query), k, 1, 4, slot);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(slot[i], slots[i]);
        assert_true(fabs(cot_value_at(found->data, COT_F64, i) - scores[i]) < 1e-12);
    }
}

/* Generation's few tokens are scored without transposed sub-keys: the same slots as while recording. */
static void few_tokens_find_the_same(void **state)
{
    (void)state;
    enum { FEW = 3, HEAD_COUNT = 2, SUB_KEYS = 40, BEST = 5, WIDTH = 6 };
    double query[FEW * HEAD_COUNT * 2 * WIDTH], keys[2 * HEAD_COUNT * SUB_KEYS * WIDTH];
    int32_t slot[2][FEW * HEAD_COUNT * BEST];
    draw(query, FEW * HEAD_COUNT * 2 * WIDTH, 1, false);
    draw(keys, 2 * HEAD_COUNT * SUB_KEYS * WIDTH, 2, false);
    for (int record = 0; record < 2; record++) {
        cot_tape_reset(tape, record, false, 1, 1);
        const int64_t shape[] = {2 * HEAD_COUNT, SUB_KEYS, WIDTH};
        cot_tensor *k = cot_tape_wrap(tape, COT_F64, 3, shape, keys, false);
        cot_product_key(tape, constant(tape, FEW, HEAD_COUNT * 2 * WIDTH, query), k, HEAD_COUNT, BEST, slot[record]);
        assert_int_equal(cot_tape_status(tape), COT_OK);
    }
    assert_memory_equal(slot[0], slot[1], sizeof slot[0]);
}

enum { T = 5, HEADS = 2, N = 6, K = 3, HALF = 3 };

static cot_tensor *retrieve(cot_tape *t, cot_tensor *const *in, const void *context)
{
    const int64_t sets = *(const int64_t *)context;
    static int32_t slot[T * HEADS * K];
    cot_tensor *keys = in[1];
    keys->rank = 3, keys->shape[0] = sets, keys->shape[1] = N, keys->shape[2] = HALF;
    return probe(t, cot_product_key(t, in[0], keys, HEADS, K, slot));
}

static cot_tensor *from_scores(cot_tape *t, cot_tensor *const *in, const void *context)
{
    static int32_t slot[T * HEADS * K];
    (void)context;
    return probe(t, cot_product_key_from_scores(t, in[0], HEADS, N, K, slot));
}

static void retrieval_gradients(void **state)
{
    (void)state;
    for (int64_t sets = 2; sets <= 2 * HEADS; sets += 2) {
        difference_case c = {.count = 0};
        add_input(&c, T, HEADS * 2 * HALF, 3);
        add_input(&c, sets * N, HALF, 4);
        check_gradients("product keys", &c, retrieve, &sets, 1e-7);
    }
    difference_case c = {.count = 0};
    add_input(&c, T, HEADS * 2 * N, 5);
    check_gradients("product keys from scores", &c, from_scores, NULL, 1e-7);
}

static void not_finite_is_an_error(void **state)
{
    (void)state;
    double  scores[2 * N] = {0};
    int32_t slot[K];
    scores[3] = NAN;
    cot_tape_reset(tape, false, false, 1, 1);
    cot_product_key_from_scores(tape, constant(tape, 1, 2 * N, scores), 1, N, K, slot);
    assert_int_equal(cot_tape_status(tape), COT_NOT_FINITE);
}

/* ---- pools of single rows ---- */

enum { ROWS = 7, WIDTH = 5, ENTRIES = 9 };
static const int64_t first_entry[] = {0, 3, 3, 7, 9};  /* 4 tokens, one without any; rows that meet again */
static const int32_t entry_row[ENTRIES] = {2, 5, 2, 0, 6, 5, 2, 1, 0};

typedef struct {
    double                table[COT_ROW_TERMS][ROWS * WIDTH];  /* down, up, linear */
    const cot_bf16       *narrow;                /* the same tables in bf16, or NULL */
    cot_row_grads        *rows;
    bool                  values, gated;
    cot_neuron_activation activation;
} pool;

static cot_param table_of(const pool *p, int term)
{
    const void *rows = p->narrow ? (const void *)(p->narrow + term * ROWS * WIDTH) : (const void *)p->table[term];
    return (cot_param){.value = {.dtype = p->narrow ? COT_BF16 : COT_F64, .rank = 2, .shape = {ROWS, WIDTH, 1, 1}, .data = (void *)(uintptr_t)rows},
                       .rows = p->rows, .rows_term = term};
}

/* Inputs: x, which is the residual too, and gates. */
static cot_tensor *run_pool(cot_tape *t, cot_tensor *const *in, const void *context)
{
    const pool *p = context;
    const cot_neuron_choices choices = {.assignments = ENTRIES, .first = first_entry, .expert = entry_row, .gate = in[1]};
    cot_param down = table_of(p, 0), up = table_of(p, 1), linear = table_of(p, 2);
    const cot_neuron_tables tables = {.down = p->values ? NULL : &down, .up = &up, .linear = p->gated ? &linear : NULL,
                                      .activation = p->activation};
    return probe(t, cot_neurons(t, in[0], &choices, &tables, in[0]));
}

/* What the list says of a table, as one matrix. */
static void gather_gradient(const cot_row_grads *g, int term, double *out)
{
    memset(out, 0, ROWS * WIDTH * sizeof *out);
    for (int64_t i = 0; i < g->touched_count; i++)
        for (int64_t e = g->start[i]; e < g->start[i + 1]; e++)
            for (int64_t j = 0; j < WIDTH; j++)
                out[g->touched[i] * WIDTH + j] += ((const double *)g->scale[term])[g->order[e]] *
                                                  ((const double *)cot_row_grads_vectors(g, term))[g->vector[g->order[e]] * WIDTH + j];
}

static double with(difference_case *c, pool *p, int term, int64_t i, double value)
{
    cot_tensor *in[DIFFERENCE_INPUTS];
    const double before = p->table[term][i];
    p->table[term][i] = value;
    const double out = run_case(tape, c, run_pool, p, false, in);
    p->table[term][i] = before;
    return out;
}

/* Two passes' worth of entries: the list appends. */
static void check_tables(difference_case *c, pool *p)
{
    cot_tensor *in[DIFFERENCE_INPUTS];
    double gradient[ROWS * WIDTH];
    assert_int_equal(cot_row_grads_create(COT_F64, WIDTH, &p->rows), COT_OK);
    for (int pass = 0; pass < 2; pass++) run_case(tape, c, run_pool, p, true, in);
    cot_row_grads_sort(p->rows);
    assert_int_equal(p->rows->count, 2 * ENTRIES);
    assert_int_equal(p->rows->touched_count, 5);
    for (int term = p->values ? 1 : 0; term < (p->gated ? 3 : 2); term++) {
        gather_gradient(p->rows, term, gradient);
        for (int64_t i = 0; i < ROWS * WIDTH; i++) {
            const double middle = p->table[term][i], h = 1e-5;
            const double want = (with(c, p, term, i, middle + h) - with(c, p, term, i, middle - h)) / (2 * h);
            assert_true(fabs(gradient[i] - 2 * want) < 1e-8);
        }
    }
    cot_row_grads_destroy(p->rows);
    p->rows = NULL;
}

static void pool_gradients(void **state)
{
    (void)state;
    for (int kind = 0; kind < 7; kind++) {
        pool p = {.values = kind == 6, .gated = kind / 3 == 1, .activation = (cot_neuron_activation)(kind % 3)};
        difference_case c = {.count = 0};
        for (int term = 0; term < COT_ROW_TERMS; term++)
            for (int64_t i = 0; i < ROWS * WIDTH; i++) p.table[term][i] = test_normal(13 + (uint64_t)term, (uint64_t)i);
        add_input(&c, 4, WIDTH, 11);
        add_input(&c, ENTRIES, 1, 12);
        check_gradients("a pool of rows", &c, run_pool, &p, 1e-7);
        check_tables(&c, &p);
    }
}

/* bf16 rows are read as what they say: whole passes, forward and backward, equal those over the same numbers as reals,
 * but for the order of sums of at most a dozen terms near 1. */
static void bf16_rows_are_their_values(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        static cot_bf16 narrow[COT_ROW_TERMS][ROWS * WIDTH];
        pool p = {.values = kind == 2, .gated = kind == 1};
        difference_case c = {.count = 0};
        cot_tensor *in[DIFFERENCE_INPUTS];
        double out[2], dx[2][4 * WIDTH];
        for (int term = 0; term < COT_ROW_TERMS; term++)
            for (int64_t i = 0; i < ROWS * WIDTH; i++) {
                narrow[term][i] = cot_f32_to_bf16((float)test_normal(13 + (uint64_t)term, (uint64_t)i));
                p.table[term][i] = (double)cot_bf16_to_f32(narrow[term][i]);
            }
        add_input(&c, 4, WIDTH, 11);
        add_input(&c, ENTRIES, 1, 12);
        for (int as = 0; as < 2; as++) {
            p.narrow = as ? narrow[0] : NULL;
            out[as] = run_case(tape, &c, run_pool, &p, true, in);
            memcpy(dx[as], in[0]->grad, sizeof dx[as]);
        }
        assert_true(fabs(out[0] - out[1]) < 1e-12);
        for (int64_t i = 0; i < 4 * WIDTH; i++) assert_true(fabs(dx[0][i] - dx[1][i]) < 1e-12);
    }
}

static void neurons_say_the_worked_case(void **state)
{
    (void)state;
    const double x[] = {1, -0.5}, scores[] = {0.2, 0.9, -0.3}, dy[] = {1, -2};
    const double u[] = {0.5, 0.5, -1, 1, 0.3, -0.4}, v[] = {1, 0, 0, 1, 1, 1};
    const int64_t first[] = {0, 3};
    const int32_t rows[] = {0, 1, 2};
    double gates[3], sum = 0;
    for (int i = 0; i < 3; i++) sum += exp(scores[i]);
    for (int i = 0; i < 3; i++) gates[i] = exp(scores[i]) / sum;
    const cot_neurons_kernels *kernels = cot_neurons_kernels_for(COT_MODE_F64);
    const cot_neurons_pool three = {.width = 2, .first = first, .expert = rows, .gate = gates, .u = u,
                                   .v = v, .activation = COT_NEURON_GELU};
    double y[2] = {0}, z[3], room[2], dgate[3], su[3], sv[3], dx[2];
    const cot_neurons_scales scales = {.u = su, .v = sv};
    kernels->forward(0, 1, &three, x, room, z, NULL, y);
    assert_true(fabs(y[0] - 0.0992666) < 1e-7 && fabs(y[1] - 0.0021813) < 1e-7);
    kernels->backward(0, 1, &three, z, NULL, dy, dgate, &scales, room, dx, false);
    assert_true(fabs(dx[0] + 0.0893700) < 1e-7 && fabs(dx[1] - 0.2959808) < 1e-7);
    const double mean = gates[0] * dgate[0] + gates[1] * dgate[1] + gates[2] * dgate[2], want[] = {0.0151294, 0.0586933, -0.0738226};
    for (int i = 0; i < 3; i++) assert_true(fabs(gates[i] * (dgate[i] - mean) - want[i]) < 1e-7);
}

/* ---- batch norm ---- */

static cot_tensor *normalise(cot_tape *t, cot_tensor *const *in, const void *skip)
{
    const cot_param unused = {.value = {.dtype = COT_F64}};
    return probe(t, cot_batch_norm(t, in[0], in[1], in[2], skip, &unused, &unused, 1e-5, NULL));
}

static void batch_norm_gradients(void **state)
{
    (void)state;
    const uint8_t skip[6] = {0, 1, 0, 0, 0, 1};
    for (int padded = 0; padded < 2; padded++) {
        difference_case c = {.count = 0, .training = true};
        add_input(&c, 6, 4, 21);
        add_input(&c, 1, 4, 22);
        add_input(&c, 1, 4, 23);
        check_gradients("batch norm", &c, normalise, padded ? skip : NULL, 1e-7);
    }
}

static cot_tensor *normalise_groups(cot_tape *t, cot_tensor *const *in, const void *layer)
{
    return probe(t, cot_group_norm(t, in[0], in[1], layer ? in[2] : NULL, 2, 1e-5));
}

static void group_norm_gradients(void **state)
{
    (void)state;
    for (int layer = 0; layer < 2; layer++) {
        difference_case c = {.count = 0};
        add_input(&c, 5, 6, 24);
        add_input(&c, 1, 6, 25);
        if (layer) add_input(&c, 1, 6, 26);
        check_gradients("group norm", &c, normalise_groups, layer ? &layer : NULL, 1e-7);
    }
}

/* By hand, two groups of two: (1, 3) has mean 2 and deviation 1; (3, 4) has root mean square 5 / sqrt(2). */
static void group_norm_says_the_worked_case(void **state)
{
    (void)state;
    const double x[] = {1, 3, 3, 4}, gamma[] = {1, 2, 1, 1}, beta[] = {0.5, 0, 0, 0}, rms = 5 / sqrt(2);
    const double layer[] = {-0.5, 2, -1, 1}, root[] = {1 / sqrt(5), 6 / sqrt(5), 3 / rms, 4 / rms};
    cot_tape_reset(tape, false, false, 1, 1);
    cot_tensor *in = constant(tape, 1, 4, x), *weight = constant(tape, 1, 4, gamma), *bias = constant(tape, 1, 4, beta);
    const cot_tensor *a = cot_group_norm(tape, in, weight, bias, 2, 0), *b = cot_group_norm(tape, in, weight, NULL, 2, 0);
    for (int i = 0; i < 4; i++) {
        assert_true(fabs(cot_value_at(a->data, COT_F64, i) - layer[i]) < 1e-12);
        assert_true(fabs(cot_value_at(b->data, COT_F64, i) - root[i]) < 1e-12);
    }
}

static void batch_norm_says_the_worked_case(void **state)
{
    (void)state;
    const double q[] = {1, 2, 4}, one = 1, dout[] = {1, 0, -1}, want[] = {0.114541, -0.171811, 0.057270};
    const cot_batch_norm_kernels *kernels = cot_batch_norm_kernels_for(COT_MODE_F64);
    double mean = 0, squares = 0, sum = 0, product = 0, dx[3];
    kernels->sums(0, 3, 1, q, NULL, &mean);
    mean /= 3;
    kernels->squares(0, 3, 1, q, NULL, &mean, &squares);
    const double rstd = 1 / sqrt(squares / 3);
    kernels->back_sums(0, 3, 1, q, dout, &mean, &rstd, &sum, &product);
    sum /= 3, product /= 3;
    kernels->back_apply(0, 3, 1, q, NULL, dout, &mean, &rstd, &one, &sum, &product, dx, false);
    for (int i = 0; i < 3; i++) assert_true(fabs(dx[i] - want[i]) < 1e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_a_search_over_millions),
        cmocka_unit_test(equals_a_search_over_all),       cmocka_unit_test(finds_the_worked_case),
        cmocka_unit_test(retrieval_gradients),            cmocka_unit_test(not_finite_is_an_error),
        cmocka_unit_test(bf16_rows_are_their_values),
        cmocka_unit_test(pool_gradients),                 cmocka_unit_test(neurons_say_the_worked_case),
        cmocka_unit_test(few_tokens_find_the_same),
        cmocka_unit_test(batch_norm_gradients),           cmocka_unit_test(batch_norm_says_the_worked_case),
        cmocka_unit_test(group_norm_gradients),           cmocka_unit_test(group_norm_says_the_worked_case),
    };
    return cmocka_run_group_tests(tests, open_tapes, close_tapes);
}
