/* Capacity policies by hand and by identities, grouping by expert, and measures of use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "routing/capacity.h"
#include "routing/measures.h"
#include "tensor/tape_fixture.h"

enum { POSITION = COT_CAPACITY_POSITION, PROBABILITY = COT_CAPACITY_PROBABILITY, RANDOM = COT_CAPACITY_RANDOM };

/* A routing whose probabilities are `probs` [T, E] and whose choices are the k largest of each row. */
static cot_routing route(const double *probs, int64_t tokens, int64_t experts, int64_t k)
{
    cot_routing r = {.tokens = tokens, .experts = experts, .assignments = tokens * k, .top_k = k};
    r.probs = cot_tape_matrix(tape, COT_F64, tokens, experts, false);
    r.clean_logits = cot_tape_matrix(tape, COT_F64, tokens, experts, false);
    r.token = cot_tape_alloc(tape, (size_t)r.assignments * sizeof *r.token);
    r.expert = cot_tape_alloc(tape, (size_t)r.assignments * sizeof *r.expert);
    r.slot = cot_tape_alloc(tape, (size_t)r.assignments * sizeof *r.slot);
    memset(r.slot, 0, (size_t)r.assignments * sizeof *r.slot);
    memcpy(r.probs->data, probs, (size_t)(tokens * experts) * sizeof *probs);
    for (int64_t i = 0; i < tokens * experts; i++) ((double *)r.clean_logits->data)[i] = log(probs[i]);
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t j = 0; j < k; j++) {
            int64_t best = -1;
            for (int64_t e = 0; e < experts; e++) {
                bool taken = false;
                for (int64_t i = 0; i < j; i++) taken = taken || r.expert[t * k + i] == e;
                if (!taken && (best < 0 || probs[t * experts + e] > probs[t * experts + best])) best = e;
            }
            r.token[t * k + j] = (int32_t)t;
            r.expert[t * k + j] = (int32_t)best;
        }
    return r;
}

/* Six tokens, three experts. First choices 0 0 0 1 1 0, second 1 2 1 2 2 1. */
static const double six[] = {.6, .3, .1, .5, .1, .4, .7, .2, .1, .2, .5, .3, .1, .6, .3, .8, .15, .05};

static void expect_slots(const cot_routing *r, const int32_t *want)
{
    for (int64_t a = 0; a < r->assignments; a++)
        if (r->slot[a] != want[a])
            fail_msg("slot of assignment %lld is %d, expected %d", (long long)a, r->slot[a], want[a]);
}

static cot_routing apply(int64_t k, cot_capacity capacity)
{
    cot_tape_reset(tape, false, true, 1, 0);
    cot_routing r = route(six, 6, 3, k);
    cot_capacity_apply(tape, &capacity, 0, &r);
    assert_int_equal(cot_tape_status(tape), COT_OK);
    return r;
}

static void first_come_first_served(void **state)
{
    (void)state;
    const cot_routing r = apply(1, (cot_capacity){1, POSITION, 0, 0, false});
    assert_int_equal(r.capacity, 2);
    expect_slots(&r, (const int32_t[]){0, 1, -1, 0, 1, -1});  /* keeps tokens 0 1 3 4 */
    assert_int_equal(r.dropped, 2);
}

static void probable_tokens_first(void **state)
{
    (void)state;
    const cot_routing r = apply(1, (cot_capacity){1, PROBABILITY, 0, 0, false});  /* order 5 2 0 4 1 3 */
    expect_slots(&r, (const int32_t[]){-1, -1, 1, 1, 0, 0});               /* keeps tokens 2 3 4 5 */
}

/* All first choices stand before any second one, though second choices may have the larger probability. */
static void slots_fill_choice_by_choice(void **state)
{
    (void)state;
    const cot_routing position = apply(2, (cot_capacity){0.5, POSITION, 0, 0, false});
    assert_int_equal(position.capacity, 2);
    /* e0: t0 t1 | e1: t3 t4, seconds t0 t2 t5 dropped | e2: seconds t1 t3, t4 dropped */
    expect_slots(&position, (const int32_t[]){0, -1, 1, 0, -1, -1, 0, 1, 1, -1, -1, -1});
    const cot_routing probable = apply(2, (cot_capacity){0.5, PROBABILITY, 0, 0, false});
    /* e0: t5 t2 | e1: t4 t3 | e2: seconds by probability t1 (.4), then t3 before t4 (.3 each) */
    expect_slots(&probable, (const int32_t[]){-1, -1, -1, 0, 1, -1, 1, 1, 0, -1, 0, -1});
}

/* The same probability, reached by sums in another order: the last bit differs, the earlier token still comes first. */
static void probabilities_that_differ_by_rounding_tie(void **state)
{
    (void)state;
    const double third = 1.0 / 3, probs[] = {third * (1 - DBL_EPSILON), 1, third, 1, third * (1 + 1e-12), 1};
    cot_tape_reset(tape, false, true, 1, 0);
    cot_routing r = route(probs, 3, 2, 1);
    for (int a = 0; a < 3; a++) r.expert[a] = 0;
    cot_capacity_apply(tape, &(cot_capacity){4, PROBABILITY, 0, 0, false}, 0, &r);
    expect_slots(&r, (const int32_t[]){1, 2, 0});
}

static void dropless_slots_count_on(void **state)
{
    (void)state;
    cot_tape_reset(tape, false, true, 1, 0);
    cot_routing r = route(six, 6, 3, 2);
    cot_capacity_apply(tape, NULL, 0, &r);
    expect_slots(&r, (const int32_t[]){0, 2, 1, 0, 2, 3, 0, 1, 1, 2, 3, 4});
    assert_int_equal(r.capacity, -1);
    assert_int_equal(r.dropped, 0);
}

static void rounding_and_minimum(void **state)
{
    (void)state;
    assert_int_equal(cot_capacity_slots(&(cot_capacity){1.25, POSITION, 0, 0, false}, 2, 4096, 16), 640);
    assert_int_equal(cot_capacity_slots(&(cot_capacity){1.25, POSITION, 0, 0, false}, 1, 6, 3), 3);  /* 2.5 up */
    assert_int_equal(cot_capacity_slots(&(cot_capacity){1.25, POSITION, 0, 1, false}, 1, 6, 3), 2);  /* 2.5 down */
    assert_int_equal(cot_capacity_slots(&(cot_capacity){1.25, POSITION, 4, 1, false}, 1, 6, 3), 4);
    assert_int_equal(cot_capacity_slots(&(cot_capacity){0.5, POSITION, 0, 1, false}, 1, 1, 4), 0);
    assert_int_equal(cot_capacity_slots(&(cot_capacity){100, POSITION, 0, 0, false}, 1, 6, 3), 200);  /* not clamped to T */
    for (int64_t n = 1; n < 200; n++) {  /* 1.1 n / 1.1 n is 1 whatever the rounding errors on the way */
        assert_int_equal(cot_capacity_slots(&(cot_capacity){1.1, POSITION, 0, 0, false}, 1, 10 * n, 11 * n), 1);
        assert_int_equal(cot_capacity_slots(&(cot_capacity){1.1, POSITION, 0, 1, false}, 1, 10 * n, 11 * n), 1);
    }
}

/* kept + dropped = T k, no slot used twice, an expert has a free slot only if nobody was turned away, any order is
 * stable. */
static void identities(void **state)
{
    (void)state;
    enum { T = 57, E = 5 };
    double probs[T * E];
    int64_t used[E], turned_away[E];
    bool taken[E][T * 2];
    for (int seed = 0; seed < 30; seed++) {
        const int64_t k = 1 + seed % E;
        for (int i = 0; i < T * E; i++)
            probs[i] = cot_rng_uniform((cot_rng_key){.seed = (uint64_t)seed, .stream = COT_RNG_TEST}, (uint64_t)i);
        cot_tape_reset(tape, false, true, (uint64_t)seed, 0);
        cot_routing r = route(probs, T, E, k);
        const cot_capacity capacity = {0.2 * (1 + seed % 7), seed % 4, 0, seed % 2, false};
        cot_capacity_apply(tape, &capacity, 3, &r);
        cot_routing_group(tape, &r);
        memset(used, 0, sizeof used);
        memset(turned_away, 0, sizeof turned_away);
        memset(taken, 0, sizeof taken);
        for (int64_t a = 0; a < r.assignments; a++) {
            if (r.slot[a] < 0) {
                turned_away[r.expert[a]]++;
                continue;
            }
            assert_true(r.slot[a] < r.capacity && !taken[r.expert[a]][r.slot[a]]);
            taken[r.expert[a]][r.slot[a]] = true;
            used[r.expert[a]]++;
        }
        int64_t kept = 0;
        for (int e = 0; e < E; e++) {
            assert_true(!turned_away[e] || used[e] == r.capacity);
            assert_int_equal(r.offset[e + 1] - r.offset[e], used[e]);
            kept += used[e];
        }
        assert_int_equal(kept + r.dropped, T * k);
        assert_int_equal(r.kept, kept);
    }
}

static void enough_room_makes_all_policies_keep_everything(void **state)
{
    (void)state;
    for (int policy = POSITION; policy <= RANDOM; policy++)
        assert_int_equal(apply(2, (cot_capacity){3, policy, 0, 0, false}).dropped, 0);
}

/* Same seed and step: same order; another layer or step: another one. */
static void random_orders_repeat(void **state)
{
    (void)state;
    enum { T = 64 };
    double probs[T];
    int32_t first[T];
    for (int i = 0; i < T; i++) probs[i] = 1;
    for (int run = 0; run < 4; run++) {
        cot_tape_reset(tape, false, true, 1, run == 3);
        cot_routing r = route(probs, T, 1, 1);
        cot_capacity_apply(tape, &(cot_capacity){0.5, RANDOM, 0, 0, false}, run == 2, &r);
        assert_int_equal(r.dropped, T / 2);
        if (run == 0) memcpy(first, r.slot, sizeof first);
        else assert_true((memcmp(first, r.slot, sizeof first) == 0) == (run == 1));
    }
}

static void groups_are_stable_and_inverse(void **state)
{
    (void)state;
    cot_routing r = apply(2, (cot_capacity){0.5, POSITION, 0, 0, false});
    cot_routing_group(tape, &r);
    const int64_t offset[] = {0, 2, 4, 6};
    const int32_t order[] = {0, 2, 6, 8, 3, 7}, token[] = {0, 1, 3, 4, 1, 3};
    assert_int_equal(r.kept, 6);
    assert_memory_equal(r.offset, offset, sizeof offset);
    assert_memory_equal(r.order, order, sizeof order);
    assert_memory_equal(r.row_token, token, sizeof token);
    for (int64_t a = 0; a < r.assignments; a++) {
        if (r.slot[a] < 0) assert_int_equal(r.row_of[a], -1);
        else assert_int_equal(r.order[r.row_of[a]], a);
    }
    int64_t counts[3];
    cot_routing_counts(&r, counts);
    assert_true(counts[0] == 4 && counts[1] == 5 && counts[2] == 3);
}

static void nobody_to_route(void **state)
{
    (void)state;
    cot_tape_reset(tape, false, true, 1, 0);
    cot_routing r = route(six, 0, 3, 2);
    cot_capacity_apply(tape, &(cot_capacity){1, RANDOM, 0, 0, false}, 0, &r);
    cot_routing_group(tape, &r);
    assert_int_equal(cot_tape_status(tape), COT_OK);
    assert_int_equal(r.kept, 0);
    int64_t count[3];
    double load[3];
    cot_expert_use use;
    cot_expert_use_clear(&use, 3, count, NULL);
    cot_expert_use_add(&use, &r);
    const cot_expert_measures m = cot_expert_use_measure(&use, load);
    assert_true(m.cv2 == 0 && m.max_vio == 0 && m.router_entropy == 0 && m.drop_fraction == 0 && m.dead == 0 &&
                load[0] == 0);
}

static void near(double got, double want)
{
    if (!(fabs(got - want) < 1e-12)) fail_msg("%.15g, expected %.15g", got, want);
}

static void measures_of_use(void **state)
{
    (void)state;
    int64_t count[3];
    double load[3], entropy = 0;
    cot_expert_use use;
    cot_expert_use_clear(&use, 3, count, NULL);
    for (int i = 0; i < 2; i++) {  /* two batches add up */
        const cot_routing r = apply(1, (cot_capacity){1, POSITION, 0, 0, false});
        cot_expert_use_add(&use, &r);
    }
    for (int i = 0; i < 18; i++) entropy -= six[i] * log(six[i]) / 6;
    const cot_expert_measures m = cot_expert_use_measure(&use, load);
    near(load[0], 4.0 / 6);
    near(load[1], 2.0 / 6);
    near(load[2], 0);
    near(m.cv2, (2.0 * 2 + 0 + 2 * 2) / 3 / 4);  /* counts 4 2 0 a batch: mean 2 */
    near(m.max_vio, 1);
    near(m.router_entropy, entropy);
    near(m.drop_fraction, 2.0 / 6);
    assert_int_equal(m.dead, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_come_first_served),
        cmocka_unit_test(probable_tokens_first),
        cmocka_unit_test(slots_fill_choice_by_choice),
        cmocka_unit_test(probabilities_that_differ_by_rounding_tie),
        cmocka_unit_test(dropless_slots_count_on),
        cmocka_unit_test(rounding_and_minimum),
        cmocka_unit_test(identities),
        cmocka_unit_test(enough_room_makes_all_policies_keep_everything),
        cmocka_unit_test(random_orders_repeat),
        cmocka_unit_test(groups_are_stable_and_inverse),
        cmocka_unit_test(nobody_to_route),
        cmocka_unit_test(measures_of_use),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
