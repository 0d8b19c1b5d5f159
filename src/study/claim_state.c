/* Where a claim stands: arms and figures, verdict, what is left to run. */
#include <math.h>
#include <string.h>

#include <coterie/bench.h>
#include <coterie/runtime.h>

#include "study/claim.h"

const char *cot_verdict_text(cot_verdict verdict)
{
    static const char *const texts[] = {"inconclusive", "reproduced", "not reproduced", "a study: nothing is claimed"};
    return texts[verdict];
}

double cot_claim_mean(const cot_claim *c, size_t arm, cot_measure measure)
{
    double values[COT_CLAIM_MOST_SEEDS];
    const size_t count = cot_claim_values(c, arm, measure, values, NULL);
    return count ? cot_sample_of(values, count).mean : NAN;
}

bool cot_claim_arm_at(const cot_claim *c, size_t index, cot_claim_arm *out)
{
    if (index >= c->arms) return false;
    const cot_claim_arm_state *arm = &c->arm[index];
    *out = (cot_claim_arm){.name = arm->name, .note = arm->note, .flops_per_token = arm->flops_per_token, .flops_forward = arm->flops_forward,
                           .parameters = arm->parameters, .parameters_active = arm->parameters_active};
    for (int64_t seed = 1; seed <= c->seeds; seed++) {
        const cot_claim_result *result = cot_claim_result_of(c, index, seed);
        if (!result) continue;
        out->done++;
        out->failed += result->failed;
    }
    out->seconds = cot_claim_mean(c, index, COT_MEASURE_seconds);
    out->cpu_seconds = cot_claim_mean(c, index, COT_MEASURE_cpu_seconds);
    return true;
}

cot_claim_value cot_claim_value_at(const cot_claim *c, size_t arm, size_t measure)
{
    double values[COT_CLAIM_MOST_SEEDS];
    const cot_measure what = c->measure[measure];
    const size_t count = cot_claim_values(c, arm, what, values, NULL);
    const cot_sample s = cot_sample_of(values, count);
    return (cot_claim_value){c->arm[arm].figure[what], count ? s.mean : NAN, count ? s.sd : NAN, count};
}

bool cot_claim_rule_at(cot_claim *c, size_t index, cot_claim_rule *out)
{
    if (index >= c->rules) return false;
    const cot_verdict verdict = cot_claim_judge(c, &c->rule[index], c->why, sizeof c->why);
    *out = (cot_claim_rule){c->rule[index].says, c->rule[index].that, verdict, c->why};
    return true;
}

static cot_verdict judge_all(const cot_claim *c, bool complete)
{
    char why[sizeof c->why];
    cot_verdict all = COT_VERDICT_REPRODUCED;
    if (c->rules == 0) return COT_VERDICT_NONE;
    if (!complete) return COT_VERDICT_OPEN;
    for (size_t i = 0; i < c->rules; i++) {
        const cot_verdict one = cot_claim_judge(c, &c->rule[i], why, sizeof why);
        if (one == COT_VERDICT_NOT_REPRODUCED || all == COT_VERDICT_REPRODUCED) all = one;
    }
    return all;
}

cot_claim_info cot_claim_describe(const cot_claim *c)
{
    cot_claim_info info = {.name = c->name, .title = c->title, .source = c->source, .where = c->where, .says = c->says, .differs = c->differs,
                           .arms = c->arms, .measures = c->measures, .rules = c->rules, .seeds = c->seeds};
    double known_flops = 0, known_seconds = 0;
    for (size_t i = 0; i < c->arms; i++) {
        cot_claim_arm arm;
        if (c->arm[i].left_out) continue;
        cot_claim_arm_at(c, i, &arm);
        const double flops = c->arm[i].flops_per_token * (double)c->arm[i].tokens;
        info.runs += c->seeds;
        info.done += arm.done;
        info.flops_left += (double)(c->seeds - arm.done) * flops;
        if (isfinite(arm.cpu_seconds)) known_flops += flops, known_seconds += arm.cpu_seconds / cot_get_threads();
    }
    if (info.flops_left > 0)
        info.seconds_left = known_flops > 0 ? info.flops_left * known_seconds / known_flops : info.flops_left / (0.25 * cot_machine_product_peak(true));
    info.verdict = judge_all(c, info.done == info.runs);
    return info;
}

static bool wanted(const char *name, const char *const *arms, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(arms[i], name) == 0) return true;
    return arms == NULL;
}

bool cot_claim_next(const cot_claim *c, const char *const *arms, size_t count, cot_claim_job *out)
{
    for (int64_t seed = 1; seed <= c->seeds; seed++)
        for (size_t i = 0; i < c->arms; i++) {
            if (c->arm[i].left_out || !wanted(c->arm[i].name, arms, count) || cot_claim_result_of(c, i, seed)) continue;
            *out = (cot_claim_job){i, seed, c->arm[i].flops_per_token * (double)c->arm[i].tokens};
            return true;
        }
    return false;
}

const char *cot_claim_results(const cot_claim *c) { return c->results; }
