/* Claims: the statistics against SciPy's values, rules read and judged, results kept and found again, files that are no claims. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <math.h>

#include <coterie/claims.h>

#include "formats/scratch.h"
#include "study/claim.h"
#include "study/statistics.h"

static const char *const CLAIM =
    "title: A test\n"
    "recipe:\n"
    "  model: {kind: lm, hidden_size: 8, num_layers: 1, mixer: {kind: attention, num_heads: 1}, ffn: {kind: dense, intermediate_size: 8}}\n"
    "  data: {kind: random, vocab_size: 16, context: 8}\n"
    "  train: {steps: 4, batch: 2, precision: f32, optimizer: {kind: sgd, lr: 0.1}}\n"
    "seeds: 3\n"
    "measures: [loss, late_loss]\n"
    "arms:\n"
    "  a: {paper: {loss: 1.5}}\n"
    "  b: {set: {train.optimizer.lr: 0.2}}\n"
    "  c: {set: {model.ffn.intermediate_size: 16}}\n";

static scratch files;

static const char *in_folder(const char *name) { return scratch_path(&files, name); }

static void write_file(const char *name, const char *text, const char *mode)
{
    FILE *f = fopen(in_folder(name), mode);
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static cot_status open_text(const char *rules, cot_claim **out)
{
    const cot_claim_options o = {.results = files.folder};
    write_file("test.yaml", CLAIM, "w");
    write_file("test.yaml", rules, "a");
    return cot_claim_open(in_folder("test.yaml"), &o, out);
}

/* From scipy.stats 1.x: t.sf, f.sf, ttest_ind(equal_var=False, alternative='less'). Both are good to about 1e-12. */
static void statistics(void **state)
{
    (void)state;
    static const double t[][3] = {{0, 3, 0.5}, {1.5, 2, 0.13619656244550055}, {2.92, 2, 0.0499995777813536}, {2.1318, 4, 0.05000263064250832},
                                  {-1, 2.5, 0.7979694863608632}, {30, 1.7, 0.0012849938271035366}, {0.1, 30, 0.4605048058951356}};
    static const double f[][4] = {{19, 2, 2, 0.05}, {1, 3, 5, 0.4648547899936351}, {0.2, 4, 1, 0.9109906574999146}, {6.5, 2.5, 7, 0.022028576843876328}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) assert_true(fabs(cot_student_tail(t[i][0], t[i][1]) - t[i][2]) < 1e-10);
    for (size_t i = 0; i < sizeof f / sizeof *f; i++) assert_true(fabs(cot_f_tail(f[i][0], f[i][1], f[i][2]) - f[i][3]) < 1e-10);
    const cot_sample a = cot_sample_of((double[]){1.0, 1.2, 1.1}, 3), b = cot_sample_of((double[]){1.5, 1.4, 1.9}, 3);
    assert_true(fabs(cot_welch_chance(a, b) - 0.03373746028279086) < 1e-10);
    assert_true(fabs(cot_welch_chance(b, a) - (1 - 0.03373746028279086)) < 1e-10);
    assert_true(cot_welch_chance((cot_sample){2, 1, 0}, (cot_sample){2, 2, 0}) == 0);
    assert_true(cot_welch_chance((cot_sample){2, 1, 0}, (cot_sample){2, 1, 0}) == 1);
}

/* Results as if runs had ended with these losses. */
static void invent(cot_claim *claim, size_t arm, const double *loss)
{
    for (int64_t seed = 1; seed <= 3; seed++) {
        cot_claim_result r = {.seed = seed};
        for (size_t i = 0; i < COT_MEASURE_COUNT; i++) r.value[i] = NAN;
        snprintf(r.arm, sizeof r.arm, "%s", claim->arm[arm].name);
        memcpy(r.hash, claim->arm[arm].hash, sizeof r.hash);
        r.value[COT_MEASURE_loss] = loss[seed - 1];
        r.value[COT_MEASURE_seconds] = 2;
        assert_int_equal(cot_claim_results_add(claim, &r), COT_OK);
    }
}

static cot_verdict judged(const char *rule)
{
    char text[256];
    cot_claim *claim;
    cot_claim_rule out;
    snprintf(text, sizeof text, "rules: [{says: it, that: '%s'}]\n", rule);
    if (open_text(text, &claim) != COT_OK) fail_msg("%s: %s", rule, cot_last_error());
    assert_true(cot_claim_rule_at(claim, 0, &out));
    assert_int_equal(cot_claim_describe(claim).verdict, out.verdict);
    cot_claim_destroy(claim);
    return out.verdict;
}

static void rules(void **state)
{
    (void)state;
    cot_claim *claim;
    assert_int_equal(open_text("", &claim), COT_OK);
    invent(claim, 0, (double[]){1.00, 1.01, 1.02});
    invent(claim, 1, (double[]){1.50, 1.40, 1.60});
    invent(claim, 2, (double[]){1.00, 1.02, 1.03});
    cot_claim_info info = cot_claim_describe(claim);
    assert_true(info.runs == 9 && info.done == 9 && info.seconds_left == 0 && info.verdict == COT_VERDICT_NONE);
    const cot_claim_value v = cot_claim_value_at(claim, 0, 0);
    assert_true(v.count == 3 && v.paper == 1.5 && fabs(v.mean - 1.01) < 1e-12 && fabs(v.sd - 0.01) < 1e-9);
    cot_claim_destroy(claim);

    assert_int_equal(judged("loss: a < b"), COT_VERDICT_REPRODUCED);
    assert_int_equal(judged("loss: b > a"), COT_VERDICT_REPRODUCED);
    assert_int_equal(judged("loss: a > b"), COT_VERDICT_NOT_REPRODUCED);
    assert_int_equal(judged("loss: a < c"), COT_VERDICT_OPEN);           /* within the spread */
    assert_int_equal(judged("loss: a < c < b"), COT_VERDICT_OPEN);       /* a chain is no better than its worst link */
    assert_int_equal(judged("loss: c < b < a"), COT_VERDICT_NOT_REPRODUCED);
    assert_int_equal(judged("loss: 2 * a > b"), COT_VERDICT_REPRODUCED);
    assert_int_equal(judged("loss: 0.9 < a < 1.2 < b"), COT_VERDICT_REPRODUCED);
    assert_int_equal(judged("loss: b - a > 0.1"), COT_VERDICT_REPRODUCED);  /* by seed: 0.50, 0.39, 0.58 */
    assert_int_equal(judged("loss: b - a > 0.5"), COT_VERDICT_OPEN);
    assert_int_equal(judged("loss: a ~ 5% c"), COT_VERDICT_REPRODUCED);
    assert_int_equal(judged("loss: a ~ 5% b"), COT_VERDICT_NOT_REPRODUCED);
    assert_int_equal(judged("loss: a ~ 0.5% c"), COT_VERDICT_OPEN);
    assert_int_equal(judged("sd(loss): a < b"), COT_VERDICT_REPRODUCED);  /* variances 1 : 100, F(2, 2) needs 19 */
    assert_int_equal(judged("sd(loss): a < c"), COT_VERDICT_OPEN);
    assert_int_equal(judged("late_loss: a < b"), COT_VERDICT_OPEN);       /* nobody has it */
}

static void refused(const char *rules_text, const char *message)
{
    cot_claim *claim;
    assert_int_not_equal(open_text(rules_text, &claim), COT_OK);
    if (!strstr(cot_last_error(), message)) fail_msg("'%s' lacks '%s'", cot_last_error(), message);
    assert_null(claim);
}

static void mistakes(void **state)
{
    (void)state;
    refused("rules: [{that: 'loss: a < d'}]\n", "test.yaml:12: rules.0 names no arm 'd'");
    refused("rules: [{that: 'lose: a < b'}]\n", "names no measure 'lose'; did you mean 'loss'?");
    refused("rules: [{that: 'loss: a'}]\n", "goes wrong at '', expected a relation");
    refused("rules: [{that: 'loss: a ~ b'}]\n", "expected a percentage behind '~'");
    refused("rules: [{that: 'sd(loss): a ~ 1% b'}]\n", "compares spreads");
    refused("rules: [{that: 'loss a < b'}]\n", "expected ':'");
    refused("rules: [{thus: x}]\n", "thus");
    refused("seed: 3\n", "did you mean 'seeds'?");
    refused("set: 3\n", "test.yaml:12: set is '3', expected a map");
}

/* A claim that trains: results come one a run, are found again, and a changed arm asks for new runs. */
static void runs(void **state)
{
    (void)state;
    cot_claim *claim;
    cot_claim_job job;
    unlink(in_folder("test.jsonl"));
    assert_int_equal(open_text("", &claim), COT_OK);
    for (int i = 0; i < 2; i++) {
        assert_true(cot_claim_next(claim, NULL, 0, &job));
        assert_true(job.arm == (size_t)i && job.seed == 1);
        if (cot_claim_run(claim, job, NULL, NULL, NULL) != COT_OK) fail_msg("%s", cot_last_error());
    }
    const cot_claim_result first = *cot_claim_result_of(claim, 0, 1);
    assert_true(isfinite(first.value[COT_MEASURE_late_loss]) && isnan(first.value[COT_MEASURE_max_vio]));
    cot_claim_destroy(claim);

    write_file("test.jsonl", "{\"arm\":\"a\",\"see", "a");  /* a killed process */
    assert_int_equal(open_text("", &claim), COT_OK);
    assert_int_equal(cot_claim_describe(claim).done, 2);
    assert_true(cot_claim_next(claim, (const char *[]){"a"}, 1, &job) && job.arm == 0 && job.seed == 2);
    assert_true(cot_claim_next(claim, NULL, 0, &job) && job.arm == 2 && job.seed == 1);
    assert_int_equal(cot_claim_run(claim, job, NULL, NULL, NULL), COT_OK);
    cot_claim_destroy(claim);
    assert_int_equal(open_text("", &claim), COT_OK);
    assert_int_equal(cot_claim_describe(claim).done, 3);
    assert_true(fabs(cot_claim_result_of(claim, 0, 1)->value[COT_MEASURE_late_loss] / first.value[COT_MEASURE_late_loss] - 1) < 1e-6);
    cot_claim_destroy(claim);

    assert_int_equal(open_text("set: {train.batch: 4}\n", &claim), COT_OK);
    assert_int_equal(cot_claim_describe(claim).done, 0);
    char *page;
    assert_int_equal(cot_claim_report(claim, &page), COT_OK);
    assert_non_null(strstr(page, "# A test\n"));
    free(page);
    cot_claim_destroy(claim);

    write_file("test.jsonl", "not JSON\n", "a");
    assert_int_equal(open_text("", &claim), COT_FORMAT);
    assert_non_null(strstr(cot_last_error(), "test.jsonl:4"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(statistics), cmocka_unit_test(rules), cmocka_unit_test(mistakes), cmocka_unit_test(runs)};
    files = scratch_make();
    const int code = cmocka_run_group_tests(tests, NULL, NULL);
    scratch_remove(&files);
    return code;
}
