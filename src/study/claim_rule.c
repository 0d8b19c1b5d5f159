#include "study/claim_rule.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config_tree.h"
#include "base/fail.h"
#include "base/options.h"
#include "study/claim.h"

static const double LEVEL = 0.05;

/* ---- reading ---- */

typedef struct {
    const char       *at;
    const cot_config *node;
    size_t            arms;
    const char *(*name_at)(const void *, size_t);
    const void       *context;
} reader;

static void skip_space(reader *r) { r->at += strspn(r->at, " \n"); }

static bool take(reader *r, const char *text)
{
    skip_space(r);
    const size_t length = strlen(text);
    if (strncmp(r->at, text, length) != 0) return false;
    r->at += length;
    return true;
}

static size_t name_length(const char *text)
{
    size_t n = 0;
    if (!isalpha((unsigned char)text[0])) return 0;
    while (isalnum((unsigned char)text[n]) || (text[n] && strchr("_.+", text[n]))) n++;
    return n;
}

static bool take_number(reader *r, double *out)
{
    char *end;
    skip_space(r);
    if (!isdigit((unsigned char)r->at[0])) return false;
    *out = strtod(r->at, &end);
    r->at = end;
    return isfinite(*out);
}

static cot_status fail_at(const reader *r, const char *expected)
{
    return cot_config_fail(r->node, "has a rule that goes wrong at '%.40s', expected %s", r->at, expected);
}

static cot_status take_arm(reader *r, int *out)
{
    char name[64], help[512];
    skip_space(r);
    const size_t length = name_length(r->at);
    if (length == 0 || length >= sizeof name) return fail_at(r, "the name of an arm");
    snprintf(name, sizeof name, "%.*s", (int)length, r->at);
    for (size_t i = 0; i < r->arms; i++) {
        if (strcmp(r->name_at(r->context, i), name) != 0) continue;
        *out = (int)i;
        r->at += length;
        return COT_OK;
    }
    cot_suggest("arms", name, r->arms, r->name_at, r->context, help, sizeof help);
    return cot_config_fail_as(COT_NOT_FOUND, r->node, "names no arm '%s'%s", name, help);
}

static cot_status take_term(reader *r, cot_rule_term *out)
{
    *out = (cot_rule_term){1, -1, -1};
    if (take_number(r, &out->factor) && !take(r, "*")) return COT_OK;
    COT_TRY(take_arm(r, &out->arm));
    return take(r, "-") ? take_arm(r, &out->minus) : COT_OK;
}

static cot_status take_relation(reader *r, char *relation, double *within)
{
    *relation = take(r, "<") ? '<' : take(r, ">") ? '>' : take(r, "~") ? '~' : '\0';
    if (*relation == '\0') return fail_at(r, "'<', '>' or '~ P%'");
    if (*relation != '~') return COT_OK;
    if (!take_number(r, within) || !take(r, "%")) return fail_at(r, "a percentage behind '~'");
    *within /= 100;
    return COT_OK;
}

static const char *measure_name(const void *context, size_t index)
{
    (void)context;
    return cot_measure_name(index);
}

static cot_status take_measure(reader *r, cot_rule *rule)
{
    char name[64], help[512];
    rule->spread = take(r, "sd(");
    skip_space(r);
    const size_t length = name_length(r->at);
    snprintf(name, sizeof name, "%.*s", (int)length, r->at);
    if (!cot_measure_find(r->at, length, &rule->measure)) {
        cot_suggest("measures", name, COT_MEASURE_COUNT, measure_name, NULL, help, sizeof help);
        return cot_config_fail_as(COT_NOT_FOUND, r->node, "names no measure '%s'%s", name, help);
    }
    r->at += length;
    if (rule->spread && !take(r, ")")) return fail_at(r, "')'");
    return take(r, ":") ? COT_OK : fail_at(r, "':' behind the measure");
}

cot_status cot_rule_parse(cot_rule *rule, const cot_config *at, size_t arms, const char *(*name_at)(const void *, size_t), const void *context)
{
    reader r = {rule->that, at, arms, name_at, context};
    COT_TRY(take_measure(&r, rule));
    rule->terms = 0;
    do {
        if (rule->terms == COT_RULE_TERMS) return cot_config_fail(at, "has a rule of more than %d terms", COT_RULE_TERMS);
        if (rule->terms > 0) COT_TRY(take_relation(&r, &rule->relation[rule->terms], &rule->within[rule->terms]));
        COT_TRY(take_term(&r, &rule->term[rule->terms]));
        if (rule->spread && (rule->term[rule->terms].minus >= 0 || rule->relation[rule->terms] == '~'))
            return cot_config_fail(at, "compares spreads by '~' or with a difference, expected '<' and '>' between arms");
        rule->terms++;
        skip_space(&r);
    } while (*r.at);
    return rule->terms > 1 ? COT_OK : fail_at(&r, "a relation");
}

/* ---- judging ---- */

/* The term over the seeds; count 0 marks a plain number. False when fewer than two seeds have it. */
static bool sample_of(const cot_claim *claim, const cot_rule *rule, const cot_rule_term *term, cot_sample *out)
{
    double values[COT_CLAIM_MOST_SEEDS], others[COT_CLAIM_MOST_SEEDS];
    int64_t seeds[COT_CLAIM_MOST_SEEDS], other_seeds[COT_CLAIM_MOST_SEEDS];
    *out = (cot_sample){.mean = term->factor};
    if (term->arm < 0) return true;
    size_t count = cot_claim_values(claim, (size_t)term->arm, rule->measure, values, seeds), kept = 0;
    const size_t other = term->minus >= 0 ? cot_claim_values(claim, (size_t)term->minus, rule->measure, others, other_seeds) : 0;
    for (size_t i = 0, j = 0; i < count; i++) {  /* both lists go by seed */
        while (j < other && other_seeds[j] < seeds[i]) j++;
        if (term->minus < 0) values[kept++] = term->factor * values[i];
        else if (j < other && other_seeds[j] == seeds[i]) values[kept++] = term->factor * (values[i] - others[j]);
    }
    *out = cot_sample_of(values, kept);
    return kept > 1;
}

static cot_verdict verdict_of(double chance, double chance_of_opposite)
{
    return chance < LEVEL ? COT_VERDICT_REPRODUCED : chance_of_opposite < LEVEL ? COT_VERDICT_NOT_REPRODUCED : COT_VERDICT_OPEN;
}

/* Is a below b? */
static cot_verdict judge_below(cot_sample a, cot_sample b, bool spread, double *chance)
{
    if (!spread) {
        *chance = cot_welch_chance(a, b);
        const cot_verdict verdict = verdict_of(*chance, cot_welch_chance(b, a));
        return a.sd > 0 || b.sd > 0 || verdict == COT_VERDICT_REPRODUCED ? verdict : COT_VERDICT_NOT_REPRODUCED;
    }
    if (a.count == 0 || b.count == 0) {  /* a standard deviation against a number */
        const double x = a.count ? a.sd : a.mean, y = b.count ? b.sd : b.mean;
        *chance = x < y ? 0 : 1;
        return x < y ? COT_VERDICT_REPRODUCED : COT_VERDICT_NOT_REPRODUCED;
    }
    const double ratio = b.sd * b.sd / (a.sd * a.sd), free_a = (double)a.count - 1, free_b = (double)b.count - 1;
    if (!isfinite(ratio)) {
        *chance = b.sd > 0 ? 0 : 1;
        return b.sd > 0 ? COT_VERDICT_REPRODUCED : COT_VERDICT_NOT_REPRODUCED;
    }
    *chance = cot_f_tail(ratio, free_b, free_a);
    return verdict_of(*chance, 1 - *chance);
}

/* Do they differ by less than `bound`? */
static cot_verdict judge_same(cot_sample a, cot_sample b, double bound, double *chance)
{
    cot_sample high = b, low = b;
    high.mean += bound;
    low.mean -= bound;
    const double not_above = cot_welch_chance(a, high), not_below = cot_welch_chance(low, a);
    const double is_above = cot_welch_chance(high, a), is_below = cot_welch_chance(a, low);
    *chance = fmax(not_above, not_below);
    return verdict_of(*chance, fmin(is_above, is_below));
}

static cot_verdict judge_relation(const cot_rule *rule, size_t i, cot_sample a, cot_sample b, double *chance)
{
    if (rule->relation[i] == '<') return judge_below(a, b, rule->spread, chance);
    if (rule->relation[i] == '>') return judge_below(b, a, rule->spread, chance);
    return judge_same(a, b, rule->within[i] * fabs(b.mean), chance);
}

static void put_term(const cot_rule *rule, cot_sample s, char *out, size_t size)
{
    cot_claim_measure measure;
    cot_claim_measure_known_at(rule->measure, &measure);
    const int digits = measure.decimals;
    if (s.count == 0) snprintf(out, size, "%g", s.mean);
    else if (rule->spread) snprintf(out, size, "sd %.*f", digits, s.sd);
    else snprintf(out, size, "%.*f ± %.*f", digits, s.mean, digits, s.sd);
}

cot_verdict cot_claim_judge(const cot_claim *claim, const cot_rule *rule, char *why, size_t size)
{
    cot_verdict all = COT_VERDICT_REPRODUCED;
    cot_sample before, now;
    size_t used = 0;
    char text[96];
    why[0] = '\0';
    for (size_t i = 0; i < rule->terms; i++) {
        if (!sample_of(claim, rule, &rule->term[i], &now)) {
            snprintf(why, size, "fewer than two seeds of arm %s", claim->arm[rule->term[i].arm].name);
            return COT_VERDICT_OPEN;
        }
        put_term(rule, now, text, sizeof text);
        double chance = 1;
        if (i > 0) {
            const cot_verdict one = judge_relation(rule, i, before, now, &chance);
            if (one == COT_VERDICT_NOT_REPRODUCED || all == COT_VERDICT_REPRODUCED) all = one;
            if (used < size) used += (size_t)snprintf(why + used, size - used, " %c ", rule->relation[i]);
        }
        if (used < size) used += (size_t)snprintf(why + used, size - used, "%s", text);
        if (i > 0 && used < size) used += (size_t)snprintf(why + used, size - used, " (p %.2g)", chance);
        before = now;
    }
    return all;
}
