#define _POSIX_C_SOURCE 200809L
/* coterie reproduce: what papers claim, tried here. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <coterie/claims.h>

#include "cli.h"
#include "preparing.h"
#include "print_json.h"
#include "progress.h"
#include "table.h"
#include "terminal.h"

static const cli_option options[] = {
    {.name = "results", .kind = CLI_TEXT, .value = "DIR", .help = "folder of CLAIM.jsonl (default: docs/reproductions where there is one, else reproductions)"},
    {.name = "seeds", .kind = CLI_INT, .value = "N", .fallback = "0", .min = 0, .max = 1000, .help = "seeds of each arm, in place of the claim's"},
    {.name = "arm", .kind = CLI_TEXT, .repeated = true, .value = "NAME", .help = "makes the runs of this arm only; may be repeated"},
    {.name = "short", .kind = CLI_FLAG, .help = "the claim's short form: less training, fewer arms"},
    {.name = "dry-run", .kind = CLI_FLAG, .help = "makes no runs: prints what there is, with what a token costs in each arm"},
    {.name = "report", .kind = CLI_FLAG, .help = "makes no runs: writes CLAIM.md and its picture beside the results; of all, verdicts.md too"},
    {.name = "check", .kind = CLI_FLAG, .help = "makes no runs and writes nothing: fails when a page is not what --report would write"},
    CLI_JSON_OPTION,
    CLI_OPTION_END,
};

static const char *results_folder(const cli_args *args)
{
    struct stat info;
    if (cli_text(args, "results")) return cli_text(args, "results");
    return stat("docs/reproductions", &info) == 0 && S_ISDIR(info.st_mode) ? "docs/reproductions" : "reproductions";
}

static cot_status open_claim(const cli_args *args, const char *path, cot_claim **out)
{
    const cot_claim_options o = {.results = results_folder(args), .seeds = cli_int(args, "seeds"), .short_form = cli_flag(args, "short")};
    return cot_claim_open(path, &o, out);
}

/* ---- tables ---- */

static void cell_value(table *t, const cot_claim_value *v, int decimals)
{
    if (isnan(v->mean)) table_cell(t, "-");
    else if (v->count > 1) table_cell(t, "%.*f ± %.*f", decimals, v->mean, decimals, v->sd);
    else table_cell(t, "%.*f", decimals, v->mean);
}

static void print_figures(const cot_claim *claim)
{
    cot_claim_measure m;
    cot_claim_arm arm;
    char alignment[64] = "lrr";
    size_t columns = 3;
    for (size_t i = 0; cot_claim_measure_at(claim, i, &m) && columns < 60; i++)
        for (int j = 0; j <= m.in_paper; j++) alignment[columns++] = 'r';
    table *t = table_create(alignment);
    table_cell(t, "arm");
    table_cell(t, "seeds");
    table_cell(t, "MFLOPs a token");
    for (size_t i = 0; cot_claim_measure_at(claim, i, &m); i++) {
        if (m.in_paper) table_cell(t, "%s in the paper", m.name);
        table_cell(t, m.in_paper ? "here" : "%s", m.name);
    }
    for (size_t a = 0; cot_claim_arm_at(claim, a, &arm); a++) {
        table_cell(t, "%s", arm.name);
        table_cell(t, "%lld", (long long)arm.done);
        table_cell(t, "%.3f", arm.flops_forward / 1e6);
        for (size_t i = 0; cot_claim_measure_at(claim, i, &m); i++) {
            const cot_claim_value v = cot_claim_value_at(claim, a, i);
            if (m.in_paper && isnan(v.paper)) table_cell(t, "-");
            else if (m.in_paper) table_cell(t, "%.*f", m.decimals, v.paper);
            cell_value(t, &v, m.decimals);
        }
    }
    table_print(t, 0, stdout);
}

static const char *rule_word(cot_verdict verdict)
{
    return verdict == COT_VERDICT_REPRODUCED ? "holds" : verdict == COT_VERDICT_OPEN ? "open" : "fails";
}

static void print_claim(cot_claim *claim)
{
    const cot_claim_info info = cot_claim_describe(claim);
    cot_claim_rule rule;
    printf("%s%s%s%s%s%s%s\n\n", terminal_bold(stdout), info.title, terminal_reset(stdout), *info.source ? "; " : "", info.source, *info.where ? ", " : "", info.where);
    print_figures(claim);
    printf("\n");
    for (size_t i = 0; cot_claim_rule_at(claim, i, &rule); i++)
        printf("%s: %s\n  %s\n  %s\n", rule_word(rule.verdict), rule.says, rule.that, rule.why);
    printf("%s%s%s (%lld of %lld runs)\n", terminal_bold(stdout), cot_verdict_text(info.verdict), terminal_reset(stdout), (long long)info.done, (long long)info.runs);
}

/* ---- JSON ---- */

static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static json_t *info_json(const cot_claim_info *info)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:o}", "name", info->name, "title", info->title, "source", info->source, "where", info->where, "verdict",
                     cot_verdict_text(info->verdict), "runs", (json_int_t)info->runs, "done", (json_int_t)info->done, "seconds_left", number(info->seconds_left));
}

static json_t *arm_json(const cot_claim *claim, size_t index, const cot_claim_arm *arm)
{
    json_t *values = json_object();
    cot_claim_measure m;
    for (size_t i = 0; cot_claim_measure_at(claim, i, &m); i++) {
        const cot_claim_value v = cot_claim_value_at(claim, index, i);
        json_object_set_new(values, m.name, json_pack("{s:o, s:o, s:o, s:I}", "paper", number(v.paper), "mean", number(v.mean), "sd", number(v.sd), "count",
                                                      (json_int_t)v.count));
    }
    return json_pack("{s:s, s:I, s:I, s:f, s:f, s:I, s:I, s:o, s:o, s:o}", "name", arm->name, "done", (json_int_t)arm->done, "failed", (json_int_t)arm->failed,
                     "flops_per_token", arm->flops_per_token, "flops_forward", arm->flops_forward, "parameters", (json_int_t)arm->parameters, "parameters_active",
                     (json_int_t)arm->parameters_active, "seconds", number(arm->seconds), "cpu_seconds", number(arm->cpu_seconds), "measures", values);
}

static int print_claim_json(cot_claim *claim)
{
    const cot_claim_info info = cot_claim_describe(claim);
    json_t *object = info_json(&info), *arms = json_array(), *rules = json_array();
    cot_claim_arm arm;
    cot_claim_rule rule;
    for (size_t i = 0; cot_claim_arm_at(claim, i, &arm); i++) json_array_append_new(arms, arm_json(claim, i, &arm));
    for (size_t i = 0; cot_claim_rule_at(claim, i, &rule); i++)
        json_array_append_new(rules, json_pack("{s:s, s:s, s:s, s:s}", "says", rule.says, "that", rule.that, "outcome", rule_word(rule.verdict), "why", rule.why));
    json_object_set_new(object, "arms", arms);
    json_object_set_new(object, "rules", rules);
    return print_json(object);
}

/* ---- list ---- */

static const char *state_text(const cot_claim_info *info)
{
    if (info->done == 0) return "not run yet";
    return info->verdict == COT_VERDICT_OPEN && info->done < info->runs ? "not all runs made" : cot_verdict_text(info->verdict);
}

static int list_one(const cli_args *args, const cot_recipe *file, table *t, json_t *all)
{
    cot_claim *claim;
    char time[32];
    CLI_TRY(open_claim(args, file->path, &claim));
    const cot_claim_info info = cot_claim_describe(claim);
    format_duration(info.seconds_left, time, sizeof time);
    if (all) json_array_append_new(all, info_json(&info));
    table_cell(t, "%s", info.name);
    table_cell(t, "%s", state_text(&info));
    table_cell(t, "%lld of %lld", (long long)info.done, (long long)info.runs);
    table_cell(t, "%s", info.done < info.runs ? time : "-");
    table_cell(t, "%s", file->summary);
    cot_claim_destroy(claim);
    return CLI_OK;
}

static int list(const cli_args *args)
{
    static const char *const heading[] = {"claim", "verdict", "runs made", "time left", "what it is"};
    cot_recipe *files;
    size_t count;
    int code = CLI_OK;
    CLI_TRY(cot_claims_list(&files, &count));
    json_t *all = cli_flag(args, "json") ? json_array() : NULL;
    table *t = table_create("lllrw");
    for (size_t i = 0; i < 5; i++) table_cell(t, "%s", heading[i]);
    for (size_t i = 0; i < count && code == CLI_OK; i++) code = list_one(args, &files[i], t, all);
    cot_recipes_destroy(files, count);
    FILE *const nowhere = all || code != CLI_OK ? fopen("/dev/null", "w") : NULL;
    table_print(t, 0, nowhere ? nowhere : stdout);
    if (nowhere) fclose(nowhere);
    if (!all) return code;
    if (code == CLI_OK) return print_json(all);
    json_decref(all);
    return code;
}

/* ---- runs ---- */

typedef struct {
    preparing          preparing;
    progress           bar;
    double             done, flops;  /* of all runs so far; of this one */
    char               name[96];
} running;

static bool prepare(void *context, const char *what, uint64_t done, uint64_t total)
{
    running *r = context;
    progress_clear(&r->bar);
    return show_preparation(&r->preparing, what, done, total);
}

static bool advance(void *context, double fraction, double loss)
{
    running *r = context;
    char note[160];
    progress_clear(&r->preparing.bar);
    snprintf(note, sizeof note, "%s: %.0f%%, loss %.3f", r->name, 100 * fraction, loss);
    progress_update(&r->bar, r->done + fraction * r->flops, note);
    return !cli_stop_requested();
}

static int run_all(cot_claim *claim, const char *const *arms, size_t count)
{
    running r = {0};
    cot_claim_job job;
    cot_claim_arm arm;
    progress_start(&r.bar, cot_claim_describe(claim).name, NULL, cot_claim_describe(claim).flops_left, 0);
    while (cot_claim_next(claim, arms, count, &job)) {
        cot_claim_arm_at(claim, job.arm, &arm);
        snprintf(r.name, sizeof r.name, "%s, seed %lld", arm.name, (long long)job.seed);
        r.flops = job.flops;
        const cot_status status = cot_claim_run(claim, job, prepare, advance, &r);
        progress_clear(&r.bar);
        progress_clear(&r.preparing.bar);
        if (status == COT_STOPPED) {
            fprintf(stderr, "stopped; the runs that ended are in %s, and the same command goes on with the rest\n", cot_claim_results(claim));
            return CLI_OK;
        }
        if (status != COT_OK) return cli_failed();
        r.done += job.flops;
        cot_claim_arm_at(claim, job.arm, &arm);
        if (!cli_quiet())
            fprintf(stderr, "%s: done; runs take %.0f s of the processor, %.3f MFLOPs a token forward, %.3f in training\n", r.name, arm.cpu_seconds, arm.flops_forward / 1e6,
                    arm.flops_per_token / 1e6);
    }
    return CLI_OK;
}

/* ---- pages ---- */

static char *read_text(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = f ? open_memstream(&text, &bytes) : NULL;
    for (int c; out && (c = getc(f)) != EOF;) putc(c, out);
    if (out) fclose(out);
    if (f) fclose(f);
    return text;
}

static int write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    const bool put = f && fputs(text, f) != EOF;
    if (!f || fclose(f) != 0 || !put) return cli_fail("%s cannot be written", path);
    printf("%s\n", path);
    return CLI_OK;
}

/* Writes a page, or with --check holds it against what is there. */
static int page_out(const cli_args *args, const char *path, const char *text, const char *name)
{
    if (!cli_flag(args, "check")) return write_text(path, text);
    char *there = read_text(path);
    const bool same = there && strcmp(there, text) == 0;
    free(there);
    return same ? CLI_OK : cli_fail("%s is not what its claim and results give: coterie reproduce %s --report", path, name);
}

/* CLAIM.md and its picture beside CLAIM.jsonl. */
static int page(const cli_args *args, cot_claim *claim)
{
    char path[4200], *text;
    const int stem = (int)strlen(cot_claim_results(claim)) - 5;
    snprintf(path, sizeof path, "%.*smd", stem, cot_claim_results(claim));
    if (cot_claim_describe(claim).done == 0) return CLI_OK;
    CLI_TRY(cot_claim_report(claim, &text));
    const int code = page_out(args, path, text, cot_claim_describe(claim).name);
    free(text);
    if (code != CLI_OK || cli_flag(args, "check") || !cot_claim_has_picture(claim)) return code;
    snprintf(path, sizeof path, "%.*ssvg", stem, cot_claim_results(claim));
    CLI_TRY(cot_claim_draw(claim, path));
    printf("%s\n", path);
    return CLI_OK;
}

/* ---- the command ---- */

static int check_arms(const cli_args *args, const cot_claim *claim, const char **arms)
{
    for (size_t i = 0; i < cli_count(args, "arm"); i++) {
        cot_claim_arm arm;
        bool known = false;
        arms[i] = cli_text_at(args, "arm", i);
        for (size_t a = 0; !known && cot_claim_arm_at(claim, a, &arm); a++) known = strcmp(arm.name, arms[i]) == 0;
        if (!known) return cli_misuse(args, "--arm: '%s' is no arm of this claim", arms[i]);
    }
    return CLI_OK;
}

static int reproduce(const cli_args *args, cot_claim *claim)
{
    const char *arms[256];
    if (cli_flag(args, "report") || cli_flag(args, "check")) return page(args, claim);
    if (cli_count(args, "arm") > 256) return cli_misuse(args, "--arm is given more than 256 times");
    int code = check_arms(args, claim, arms);
    if (code == CLI_OK && !cli_flag(args, "dry-run")) code = run_all(claim, cli_count(args, "arm") ? arms : NULL, cli_count(args, "arm"));
    if (code != CLI_OK) return code;
    if (cli_flag(args, "json")) return print_claim_json(claim);
    print_claim(claim);
    return CLI_OK;
}

static int reproduce_file(const cli_args *args, const char *path)
{
    cot_claim *claim;
    CLI_TRY(open_claim(args, path, &claim));
    const int code = reproduce(args, claim);
    cot_claim_destroy(claim);
    return code;
}

/* verdicts.md: all claims in a table. */
static int put_verdicts(const cli_args *args, const cot_recipe *files, size_t count, FILE *out)
{
    fputs("# Verdicts\n\n<!-- Made by `coterie reproduce all --report`. -->\n\n| claim | source | verdict | runs made |\n|---|---|---|---|\n", out);
    for (size_t i = 0; i < count; i++) {
        cot_claim *claim;
        CLI_TRY(open_claim(args, files[i].path, &claim));
        const cot_claim_info info = cot_claim_describe(claim);
        fprintf(out, info.done ? "| [%s](%s.md) | " : "| %s | ", info.title, info.name);
        fprintf(out, "%s%s%s | %s | %lld of %lld |\n", info.source, *info.where ? ", " : "", info.where, state_text(&info), (long long)info.done,
                (long long)info.runs);
        cot_claim_destroy(claim);
    }
    return CLI_OK;
}

static int verdicts(const cli_args *args, const cot_recipe *files, size_t count)
{
    char path[4200], *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return cli_fail("no memory for a page");
    int code = put_verdicts(args, files, count, out);
    fclose(out);
    snprintf(path, sizeof path, "%s/verdicts.md", results_folder(args));
    if (code == CLI_OK) code = page_out(args, path, text, "all");
    free(text);
    return code;
}

static int reproduce_all(const cli_args *args)
{
    cot_recipe *files;
    size_t count;
    int code = CLI_OK;
    CLI_TRY(cot_claims_list(&files, &count));
    for (size_t i = 0; i < count && code == CLI_OK && !cli_stop_requested(); i++) code = reproduce_file(args, files[i].path);
    if (code == CLI_OK && (cli_flag(args, "report") || cli_flag(args, "check"))) code = verdicts(args, files, count);
    cot_recipes_destroy(files, count);
    return code;
}

static int run(const cli_args *args)
{
    const char *name = cli_positional(args, 0);
    if (strcmp(name, "list") == 0) return list(args);
    cli_watch_stop();
    if (strcmp(name, "all") == 0) return reproduce_all(args);
    char *path;
    CLI_TRY(cot_claims_find(name, &path));
    const int code = reproduce_file(args, path);
    free(path);
    return code;
}

const cli_command command_reproduce = {
    .name = "reproduce",
    .summary = "tries what papers claim, with several seeds, and says whether it came out",
    .arguments = "list|all|CLAIM",
    .details = "CLAIM is a YAML file or the name of one that comes with Coterie: a recipe, what is varied, the paper's figures, and the rules, written down "
               "before the runs, from which `reproduced`, `not reproduced` or `inconclusive` follows. `list` shows all of them with their state, `all` runs them.\n"
               "Each finished run is a line of CLAIM.jsonl and is never made again while its recipe stays the same; Ctrl-C ends the run in progress, and the "
               "same command goes on. Runs are made seed after seed, so that a set that is broken off compares all arms.",
    .examples = "coterie reproduce list\tclaims, verdicts, runs made, time left\n"
                "coterie reproduce shazeer-table-6\tmakes the runs that are missing, prints figures and verdict\n"
                "coterie reproduce shazeer-table-6 --report\twrites the page from the results\n",
    .min_positional = 1,
    .max_positional = 1,
    .options = options,
    .run = run,
};
