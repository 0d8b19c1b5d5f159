#define _POSIX_C_SOURCE 200809L
/* A claim's page: what is claimed, figures beside the paper's, rules, verdict, and how it was run. Made from the claim's file
 * and the results alone, so that anybody can make it again. */
#include "study/claim.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"

static void put_heading(FILE *out, const cot_claim *c, const cot_claim_info *info)
{
    fprintf(out, "# %s\n\n<!-- Made by `coterie reproduce %s --report` from claims/%s.yaml and %s.jsonl: change those. -->\n\n", c->title, c->name, c->name, c->name);
    if (info->verdict != COT_VERDICT_NONE) fprintf(out, "**%c%s.** ", cot_verdict_text(info->verdict)[0] - 'a' + 'A', cot_verdict_text(info->verdict) + 1);
    if (info->done < info->runs) fprintf(out, "%" PRId64 " of %" PRId64 " runs are made; %s. ", info->done, info->runs,
                info->verdict == COT_VERDICT_NONE ? "the rest is to come" : "the verdict waits for the rest");
    if (*c->source) fprintf(out, "Source: [%s](../references.bib)%s%s.", c->source, *c->where ? ", " : "", c->where);
    fputs("\n\n", out);
    if (*c->says) fprintf(out, "**%s.** %s\n\n", info->verdict == COT_VERDICT_NONE ? "Study" : "Claim", c->says);
    if (*c->differs) fprintf(out, "**Here.** %s\n\n", c->differs);
    if (*c->found && info->done > 0) fprintf(out, "**Found.** %s\n\n", c->found);
}

static void put_number(FILE *out, double value, int decimals)
{
    if (isnan(value)) fputs(" ", out);
    else fprintf(out, " %.*f ", decimals, value);
}

static void put_figures_head(FILE *out, const cot_claim *c)
{
    cot_claim_measure m;
    fputs("| arm |", out);
    for (size_t i = 0; cot_claim_measure_at(c, i, &m); i++) fprintf(out, m.in_paper ? " %s, paper | here |" : " %s |", m.name);
    fputs(" seeds |\n|---|", out);
    for (size_t i = 0; cot_claim_measure_at(c, i, &m); i++) fputs(m.in_paper ? "---|---|" : "---|", out);
    fputs("---|\n", out);
}

static void put_figures(FILE *out, const cot_claim *c)
{
    cot_claim_measure m;
    cot_claim_arm arm;
    put_figures_head(out, c);
    for (size_t a = 0; cot_claim_arm_at(c, a, &arm); a++) {
        fprintf(out, "| `%s`%s%s |", arm.name, *arm.note ? " " : "", arm.note);
        for (size_t i = 0; cot_claim_measure_at(c, i, &m); i++) {
            const cot_claim_value v = cot_claim_value_at(c, a, i);
            if (m.in_paper) put_number(out, v.paper, m.decimals), fputc('|', out);
            if (isnan(v.mean)) fputs(" |", out);
            else if (v.count > 1) fprintf(out, " %.*f ± %.*f |", m.decimals, v.mean, m.decimals, v.sd);
            else fprintf(out, " %.*f |", m.decimals, v.mean);
        }
        fprintf(out, " %" PRId64, arm.done);
        if (arm.failed) fprintf(out, ", %" PRId64 " of them not finite", arm.failed);
        fputs(" |\n", out);
    }
    fputs("\nMean ± standard deviation over seeds.", out);
    for (size_t i = 0; cot_claim_measure_at(c, i, &m); i++) fprintf(out, " `%s`: %s%s", m.name, m.help, i + 1 < c->measures ? ";" : ".");
    fputs("\n\n", out);
}

static void put_rules(FILE *out, cot_claim *c)
{
    cot_claim_rule rule;
    if (c->rules == 0) return;
    fputs("## Rules, written down before the runs\n\n| what must come out | rule | what came out | |\n|---|---|---|---|\n", out);
    for (size_t i = 0; cot_claim_rule_at(c, i, &rule); i++)
        fprintf(out, "| %s | `%s` | %s | **%s** |\n", rule.says, rule.that, rule.why,
                rule.verdict == COT_VERDICT_REPRODUCED ? "holds" : rule.verdict == COT_VERDICT_OPEN ? "open" : "fails");
    fputs("\nReproduced: all hold; not reproduced: one fails; else inconclusive. `a < b` holds when chance alone would show so large a difference of the "
          "means in less than one of 20 repetitions (Welch's test over seeds, one-sided; of `sd(...)`, the F test), and fails when the same is true the other "
          "way round; `~ P%` holds when a difference of P percent of the right side or more is so excluded. p is of the rule's own direction.\n\n", out);
}

/* The arm's changes as one line of YAML-like JSON. */
static cot_status put_changes(FILE *out, const cot_config *set)
{
    char *json = NULL;
    cot_config *copy = NULL;
    if (!set) {
        fputs(" |", out);
        return COT_OK;
    }
    cot_status status = cot_config_copy(set, &copy);
    if (status == COT_OK) status = cot_config_to_json(copy, &json);
    fputs(" `", out);
    for (const char *at = json; status == COT_OK && *at; at++) {
        if (*at == '\n') at += strspn(at, "\n ") - 1;
        else if (*at != '"' && *at != '|') fputc(*at, out);
    }
    fputs("` |", out);
    free(json);
    cot_config_destroy(copy);
    return status;
}

static cot_status put_arms(FILE *out, const cot_claim *c)
{
    cot_claim_arm arm;
    fputs("## Runs\n\n| arm | changes to the recipe | parameters | of them active | MFLOPs a token forward, training | processor s a run |\n|---|---|---|---|---|---|\n", out);
    for (size_t i = 0; cot_claim_arm_at(c, i, &arm); i++) {
        fprintf(out, "| `%s` |", arm.name);
        COT_TRY(put_changes(out, c->arm[i].set));
        fprintf(out, " %" PRId64 " | %" PRId64 " | %.3f, %.3f |", arm.parameters, arm.parameters_active, arm.flops_forward / 1e6, arm.flops_per_token / 1e6);
        put_number(out, arm.cpu_seconds, 0);
        fputs("|\n", out);
    }
    return COT_OK;
}

/* What distinct texts a field of the counting results has. */
static void put_distinct(FILE *out, const cot_claim *c, size_t offset)
{
    size_t put = 0;
    for (size_t i = 0; i < c->results_count; i++) {
        const char *text = (const char *)&c->result[i] + offset;
        bool seen = false;
        for (size_t j = 0; j < i && !seen; j++) seen = strcmp((const char *)&c->result[j] + offset, text) == 0;
        if (!seen) fprintf(out, "%s%s", put++ ? ", " : "", text);
    }
}

static void put_machine(FILE *out, const cot_claim *c)
{
    const char *name = cot_config_text(c->recipe);
    fprintf(out, "\nRecipe: %s%s%s, %" PRId64 " training tokens a run (see `claims/%s.yaml`); `coterie reproduce %s` makes the runs that are missing.", name ? "`" : "",
            name ? name : "the claim's own", name ? "`" : "", c->arm[0].tokens, c->name, c->name);
    if (c->results_count == 0) {
        fputc('\n', out);
        return;
    }
    fputs(" Made with Coterie ", out);
    put_distinct(out, c, offsetof(cot_claim_result, version));
    fputs(" on ", out);
    put_distinct(out, c, offsetof(cot_claim_result, cpu));
    fputs(" (kernels: ", out);
    put_distinct(out, c, offsetof(cot_claim_result, kernels));
    fputs("), ", out);
    put_distinct(out, c, offsetof(cot_claim_result, date));
    fputs(". Losses and loads do not depend on the number of threads. Times are of the processor, all threads together, on a machine that did other work too: "
          "they tell the order of size. FLOPs by the accounting of `coterie info`.\n", out);
}

cot_status cot_claim_report(cot_claim *claim, char **text)
{
    size_t bytes;
    *text = NULL;
    const cot_claim_info info = cot_claim_describe(claim);
    FILE *out = open_memstream(text, &bytes);
    if (!out) return cot_fail(COT_OUT_OF_MEMORY, "no memory for a report");
    put_heading(out, claim, &info);
    if (cot_claim_has_picture(claim)) fprintf(out, "![figures](%s.svg)\n\n", claim->name);
    put_figures(out, claim);
    put_rules(out, claim);
    cot_status status = put_arms(out, claim);
    put_machine(out, claim);
    const bool broken = ferror(out) != 0;
    if ((fclose(out) != 0 || broken) && status == COT_OK) status = cot_fail(COT_OUT_OF_MEMORY, "no memory for a report");
    if (status == COT_OK) return COT_OK;
    free(*text);
    *text = NULL;
    return status;
}
