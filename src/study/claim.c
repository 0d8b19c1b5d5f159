/* A claim's file: what is claimed, what is run, what must come out. */
#include "study/claim.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coterie/model.h>

#include "base/config_tree.h"
#include "base/fail.h"
#include "base/memory.h"
#include "base/options.h"
#include "data/hash.h"
#include "formats/file.h"

static const cot_option claim_options[] = {
    COT_OPTION_STRING(cot_claim, title, "", "of its page"),
    COT_OPTION_STRING(cot_claim, source, "", "keys of docs/references.bib"),
    COT_OPTION_STRING(cot_claim, where, "", "in the source"),
    COT_OPTION_STRING(cot_claim, says, "", "what the source claims"),
    COT_OPTION_STRING(cot_claim, differs, "", "how what is run here differs"),
    COT_OPTION_STRING(cot_claim, found, "", "what came out, written after the runs"),
    COT_OPTION_NODE(cot_claim, recipe, "the recipe that is varied: a name, or a whole one"),
    COT_OPTION_NODE(cot_claim, set, "changes for all arms: {train.tokens: 1e6}"),
    COT_OPTION_INT(cot_claim, seeds, 3, 1, COT_CLAIM_MOST_SEEDS, "seeds of each arm"),
    {.name = "measures", .kind = COT_OPTION_KIND_NODE, .offset = offsetof(cot_claim, measures_node), .help = "names of what the page shows"},
    {.name = "picture", .kind = COT_OPTION_KIND_NODE, .offset = offsetof(cot_claim, picture_node), .help = "names of what its picture shows"},
    {.name = "arms", .kind = COT_OPTION_KIND_NODE, .offset = offsetof(cot_claim, arms_node), .help = "{NAME: {set: {KEY: VALUE}, paper: {MEASURE: FIGURE}, note: TEXT}}"},
    {.name = "rules", .kind = COT_OPTION_KIND_NODE, .offset = offsetof(cot_claim, rules_node), .help = "[{says: TEXT, that: RULE}]"},
    {.name = "short", .kind = COT_OPTION_KIND_NODE, .offset = offsetof(cot_claim, short_node), .help = "{set: ..., seeds: N, arms: [NAMES], rules: N}"},
    COT_OPTION_END,
};

static const cot_option arm_options[] = {
    COT_OPTION_NODE(cot_claim_arm_state, set, "changes to the recipe"),
    COT_OPTION_NODE(cot_claim_arm_state, paper, "figures of the source"),
    COT_OPTION_STRING(cot_claim_arm_state, note, "", "for the table"),
    COT_OPTION_END,
};

static const cot_option rule_options[] = {
    COT_OPTION_STRING(cot_rule, says, "", "in words"),
    COT_OPTION_STRING(cot_rule, that, "", "MEASURE: ARM < ARM"),
    COT_OPTION_END,
};

typedef struct {
    const cot_config *set, *arms;
    int64_t           seeds, rules;
} short_form;

static const cot_option short_options[] = {
    COT_OPTION_NODE(short_form, set, "more changes for all arms"),
    COT_OPTION_NODE(short_form, arms, "those that take part; absent: all"),
    COT_OPTION_INT(short_form, seeds, 2, 1, COT_CLAIM_MOST_SEEDS, "seeds of each arm"),
    COT_OPTION_INT(short_form, rules, 1000, 0, 1000, "how many rules count, from the first on"),
    COT_OPTION_END,
};

/* ---- measures ---- */

static const struct {
    const char *name, *help;
    int         decimals;
} measures[] = {
#define X(id, digits, what) {#id, what, digits},
    COT_CLAIM_MEASURES(X)
#undef X
};

const char *cot_measure_name(size_t index) { return index < COT_MEASURE_COUNT ? measures[index].name : NULL; }

bool cot_measure_find(const char *name, size_t length, cot_measure *out)
{
    for (size_t i = 0; i < COT_MEASURE_COUNT; i++) {
        if (strlen(measures[i].name) != length || strncmp(measures[i].name, name, length) != 0) continue;
        *out = (cot_measure)i;
        return true;
    }
    return false;
}

static const char *measure_name(const void *context, size_t index)
{
    (void)context;
    return cot_measure_name(index);
}

static cot_status find_measure(const cot_config *at, const char *name, cot_measure *out)
{
    char help[512];
    if (name && cot_measure_find(name, strlen(name), out)) return COT_OK;
    cot_suggest("measures", name ? name : "", COT_MEASURE_COUNT, measure_name, NULL, help, sizeof help);
    return cot_config_fail_as(COT_NOT_FOUND, at, "names no measure '%s'%s", name ? name : "", help);
}

bool cot_claim_measure_known_at(size_t index, cot_claim_measure *out)
{
    if (index >= COT_MEASURE_COUNT) return false;
    *out = (cot_claim_measure){measures[index].name, measures[index].help, measures[index].decimals, false};
    return true;
}

bool cot_claim_measure_at(const cot_claim *claim, size_t index, cot_claim_measure *out)
{
    if (index >= claim->measures) return false;
    cot_claim_measure_known_at(claim->measure[index], out);
    for (size_t i = 0; i < claim->arms; i++) out->in_paper |= isfinite(claim->arm[i].figure[claim->measure[index]]);
    return true;
}

/* ---- parts of the file ---- */

static cot_status expect_kind(const cot_config *file, const cot_config *node, const char *name, cot_config_kind kind, const char *what)
{
    if (node && cot_config_get_kind(node) == kind && cot_config_size(node) > 0) return COT_OK;
    return node ? cot_config_expected(node, what) : cot_config_fail(file, "has no '%s', expected %s", name, what);
}

static cot_status read_paper(cot_claim_arm_state *arm)
{
    for (size_t i = 0; i < COT_MEASURE_COUNT; i++) arm->figure[i] = NAN;
    for (size_t i = 0; i < cot_config_size(arm->paper); i++) {
        cot_measure measure;
        COT_TRY(find_measure(cot_config_at(arm->paper, i), cot_config_key(arm->paper, i), &measure));
        COT_TRY(cot_config_double(cot_config_at(arm->paper, i), &arm->figure[measure]));
    }
    return COT_OK;
}

static cot_status check_name(const cot_config *at, const char *name)
{
    const size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+");
    const bool fits = length > 0 && length < 64 && name[length] == '\0' && (name[0] < '0' || name[0] > '9') && !strchr("_.+", name[0]);
    return fits ? COT_OK : cot_config_fail(at, "is an arm named '%.80s', expected a letter and up to 62 letters, digits, '_', '.' and '+'", name);
}

static cot_status read_arms(cot_claim *c)
{
    COT_TRY(expect_kind(c->file, c->arms_node, "arms", COT_CONFIG_MAP, "a map of arms, {NAME: {set: ...}}"));
    c->arms = cot_config_size(c->arms_node);
    c->arm = cot_calloc(c->arms * sizeof *c->arm);
    if (!c->arm) return cot_fail(COT_OUT_OF_MEMORY, "no memory for %zu arms", c->arms);
    for (size_t i = 0; i < c->arms; i++) {
        const cot_config *node = cot_config_at(c->arms_node, i);
        c->arm[i].name = cot_config_key(c->arms_node, i);
        COT_TRY(check_name(node, c->arm[i].name));
        COT_TRY(cot_options_apply(arm_options, &c->arm[i], node));
        COT_TRY(read_paper(&c->arm[i]));
    }
    return COT_OK;
}

static cot_status read_measures(const cot_claim *c, const cot_config *list, const char *name, cot_measure **out, size_t *count)
{
    COT_TRY(expect_kind(c->file, list, name, COT_CONFIG_LIST, "a list of names, [loss, max_vio]"));
    *count = cot_config_size(list);
    *out = cot_calloc(*count * sizeof **out);
    if (!*out) return cot_fail(COT_OUT_OF_MEMORY, "no memory for %zu measures", *count);
    for (size_t i = 0; i < *count; i++) {
        const cot_config *node = cot_config_at(list, i);
        COT_TRY(find_measure(node, cot_config_text(node), &(*out)[i]));
    }
    return COT_OK;
}

static const char *arm_name(const void *claim, size_t index) { return ((const cot_claim *)claim)->arm[index].name; }

static cot_status read_rules(cot_claim *c)
{
    const size_t count = cot_config_size(c->rules_node);
    c->rule = cot_calloc((count + 1) * sizeof *c->rule);
    if (!c->rule) return cot_fail(COT_OUT_OF_MEMORY, "no memory for %zu rules", count);
    for (size_t i = 0; i < count; i++) {
        const cot_config *node = cot_config_at(c->rules_node, i);
        COT_TRY(cot_options_apply(rule_options, &c->rule[i], node));
        c->rules++;
        COT_TRY(cot_rule_parse(&c->rule[i], node, c->arms, arm_name, c));
    }
    return COT_OK;
}

/* ---- recipes ---- */

static cot_status apply(cot_config *recipe, const cot_config *set)
{
    if (set && cot_config_get_kind(set) != COT_CONFIG_MAP) return cot_config_expected(set, "a map, {KEY: VALUE}");
    for (size_t i = 0; i < cot_config_size(set); i++) COT_TRY(cot_config_put(recipe, cot_config_key(set, i), cot_config_at(set, i)));
    return COT_OK;
}

/* The last error again, with its place in the claim's file in front. */
static cot_status fail_within(cot_status status, const cot_config *at)
{
    char what[512];
    snprintf(what, sizeof what, "%s", cot_last_error());
    return cot_config_fail_as(status, at, "cannot be used: %s", what);
}

static cot_status read_base(cot_claim *c)
{
    char *path;
    if (!c->recipe) return cot_config_fail(c->file, "has no 'recipe', expected a name or a recipe");
    if (cot_config_get_kind(c->recipe) == COT_CONFIG_MAP) COT_TRY(cot_config_copy(c->recipe, &c->base));
    else {
        const char *name = cot_config_text(c->recipe);
        cot_status status = cot_recipes_find(name ? name : "", &path);
        if (status != COT_OK) return fail_within(status, c->recipe);
        status = cot_config_read(path, &c->base);
        free(path);
        COT_TRY(status);
    }
    return apply(c->base, c->set);
}

static cot_status make_recipe(const cot_claim *claim, size_t arm, cot_config **out)
{
    cot_config *recipe;
    COT_TRY(cot_config_copy(claim->base, &recipe));
    cot_status status = apply(recipe, claim->arm[arm].set);
    if (status == COT_OK && claim->short_form) status = apply(recipe, cot_config_get(claim->short_node, "set"));
    if (status == COT_OK) *out = recipe;
    else cot_config_destroy(recipe);
    return status;
}

cot_status cot_claim_recipe(const cot_claim *claim, size_t arm, int64_t seed, cot_config **out)
{
    char text[48];
    COT_TRY(make_recipe(claim, arm, out));
    snprintf(text, sizeof text, "train.seed=%" PRId64, seed);
    const cot_status status = cot_config_set(*out, text);
    if (status != COT_OK) cot_config_destroy(*out);
    return status;
}

static double number_of(const cot_config *recipe, const char *path, double fallback)
{
    double value = fallback;
    return cot_config_double(cot_config_get(recipe, path), &value) == COT_OK ? value : fallback;
}

/* Costs come from the recipe alone, with the vocabulary that it asks for: a list of claims should not tokenise texts. */
static cot_status describe_arm(cot_claim_arm_state *arm, const cot_config *recipe)
{
    cot_model *model;
    char *json;
    const double context = number_of(recipe, "data.context", 128), row = number_of(recipe, "train.batch", 16) * context;
    const double steps = number_of(recipe, "train.steps", 0), tokens = number_of(recipe, "train.tokens", 2e6);
    COT_TRY(cot_model_create(cot_config_get(recipe, "model"), (int64_t)number_of(recipe, "data.tokenizer.vocab_size", number_of(recipe, "data.vocab_size", 8192)), (int64_t)context, &model));
    const cot_model_info info = cot_model_describe(model, (int64_t)context);
    cot_model_destroy(model);
    arm->steps = (int64_t)(steps > 0 ? steps : ceil(tokens / row));
    arm->tokens = (int64_t)((double)arm->steps * row);
    arm->flops_per_token = info.flops_training, arm->flops_forward = info.flops_forward;
    arm->parameters = info.parameters_total, arm->parameters_active = info.parameters_active;
    COT_TRY(cot_config_to_json(recipe, &json));
    snprintf(arm->hash, sizeof arm->hash, "%016" PRIx64, cot_hash_bytes(json, strlen(json)));
    free(json);
    return COT_OK;
}

static cot_status describe_arms(cot_claim *c)
{
    for (size_t i = 0; i < c->arms; i++) {
        cot_config *recipe;
        cot_status status = make_recipe(c, i, &recipe);
        if (status != COT_OK) return fail_within(status, cot_config_at(c->arms_node, i));
        status = describe_arm(&c->arm[i], recipe);
        cot_config_destroy(recipe);
        if (status != COT_OK) return fail_within(status, cot_config_at(c->arms_node, i));
    }
    return COT_OK;
}

/* ---- the short form ---- */

static bool listed(const cot_config *list, const char *name)
{
    for (size_t i = 0; i < cot_config_size(list); i++) {
        const char *text = cot_config_text(cot_config_at(list, i));
        if (text && strcmp(text, name) == 0) return true;
    }
    return false;
}

/* Rules beyond the first few, and those that speak of arms left out, are left out too. */
static void drop_rules(cot_claim *c, size_t first)
{
    size_t kept = 0;
    for (size_t i = 0; i < c->rules; i++) {
        bool whole = i < first;
        for (size_t j = 0; j < c->rule[i].terms; j++) {
            const cot_rule_term *term = &c->rule[i].term[j];
            if (term->arm >= 0) whole = whole && !c->arm[term->arm].left_out;
            if (term->minus >= 0) whole = whole && !c->arm[term->minus].left_out;
        }
        if (whole) {
            const cot_rule swap = c->rule[kept];
            c->rule[kept++] = c->rule[i];
            c->rule[i] = swap;
        }
    }
    for (size_t i = kept; i < c->rules; i++) cot_options_release(rule_options, &c->rule[i]);
    c->rules = kept;
}

static cot_status take_short_form(cot_claim *c)
{
    short_form form = {0};
    if (!c->short_node) return cot_config_fail(c->file, "has no short form");
    COT_TRY(cot_options_apply(short_options, &form, c->short_node));
    c->seeds = form.seeds;
    for (size_t i = 0; form.arms && i < c->arms; i++) c->arm[i].left_out = !listed(form.arms, c->arm[i].name);
    drop_rules(c, (size_t)form.rules);
    return COT_OK;
}

/* ---- opening ---- */

static char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *dot = strrchr(base, '.');
    return cot_strndup(base, dot && dot != base ? (size_t)(dot - base) : strlen(base));
}

static cot_status open_claim(cot_claim *c, const char *path, const cot_claim_options *options)
{
    char file[4096];
    c->name = name_of(path);
    snprintf(file, sizeof file, "%s.jsonl", c->name ? c->name : "");
    c->results = cot_path_join(options->results, file);
    if (!c->name || !c->results) return cot_fail(COT_OUT_OF_MEMORY, "no memory for a claim");
    COT_TRY(cot_config_read(path, &c->file));
    if (cot_config_get_kind(c->file) != COT_CONFIG_MAP) return cot_fail(COT_INVALID, "%s: no claim: expected a map", path);
    COT_TRY(cot_options_apply(claim_options, c, c->file));
    COT_TRY(read_arms(c));
    COT_TRY(read_measures(c, c->measures_node, "measures", &c->measure, &c->measures));
    if (c->picture_node) COT_TRY(read_measures(c, c->picture_node, "picture", &c->panel, &c->panels));
    COT_TRY(read_rules(c));
    COT_TRY(read_base(c));
    c->short_form = options->short_form;
    if (c->short_form) COT_TRY(take_short_form(c));
    if (options->seeds > 0) c->seeds = options->seeds;
    COT_TRY(describe_arms(c));
    return cot_claim_results_read(c);
}

cot_status cot_claim_open(const char *path, const cot_claim_options *options, cot_claim **out)
{
    *out = NULL;
    if (options->seeds < 0 || options->seeds > COT_CLAIM_MOST_SEEDS)
        return cot_fail(COT_INVALID, "seeds is %" PRId64 ", expected 0 to %d", options->seeds, COT_CLAIM_MOST_SEEDS);
    cot_claim *c = cot_calloc(sizeof *c);
    if (!c) return cot_fail(COT_OUT_OF_MEMORY, "no memory for a claim");
    const cot_status status = open_claim(c, path, options);
    if (status == COT_OK) *out = c;
    else cot_claim_destroy(c);
    return status;
}

void cot_claim_destroy(cot_claim *c)
{
    if (!c) return;
    for (size_t i = 0; c->arm && i < c->arms; i++) cot_options_release(arm_options, &c->arm[i]);
    for (size_t i = 0; c->rule && i < c->rules; i++) cot_options_release(rule_options, &c->rule[i]);
    cot_options_release(claim_options, c);
    cot_config_destroy(c->base);
    cot_config_destroy(c->file);
    cot_free(c->arm);
    cot_free(c->measure);
    cot_free(c->panel);
    cot_free(c->rule);
    cot_free(c->result);
    cot_free(c->name);
    cot_free(c->results);
    cot_free(c);
}
