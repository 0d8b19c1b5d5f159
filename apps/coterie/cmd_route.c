/* coterie route: the router lab. What a router, balance rules and a capacity make of a matrix of logits. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <coterie/route.h>

#include "cli.h"
#include "input.h"
#include "table.h"
#include "terminal.h"

static const cli_option options[] = {
    {.name = "router", .kind = CLI_TEXT, .value = "SPEC",
     .help = "the router, as in a recipe: '{kind: top_k, top_k: 2}' (see `coterie list routers`)"},
    {.name = "balance", .kind = CLI_TEXT, .repeated = true, .value = "SPEC",
     .help = "a balance rule: '{kind: aux, coef: 0.01}' (see `coterie list balance`); may be repeated"},
    {.name = "capacity", .kind = CLI_TEXT, .value = "SPEC",
     .help = "slots: '{capacity_factor: 1.25, policy: position|probability|random|batch_prioritised, min_capacity: 0, "
             "round: ceil|floor, renormalize: false}'; without it nothing is dropped"},
    {.name = "gradient", .kind = CLI_FLAG, .help = "adds the gradient of the sum of the losses"},
    {.name = "seed", .kind = CLI_INT, .value = "N", .fallback = "0", .min = 0, .max = 9e15,
     .help = "of random draws that the input does not give"},
    CLI_JSON_OPTION,
    CLI_OPTION_END,
};

enum { SHOWN_TOKENS = 40, SHOWN_CHOICES = 4 };

static int64_t choices_of(const cot_route_result *r)
{
    int64_t most = 0;
    for (int64_t a = 0, in_row = 0; a < r->assignments; a++) {
        in_row = a > 0 && r->token[a] == r->token[a - 1] ? in_row + 1 : 1;
        most = in_row > most ? in_row : most;
    }
    return most < SHOWN_CHOICES ? most : SHOWN_CHOICES;
}

static void print_choice(table *t, const cot_route_result *r, int64_t a)
{
    table_cell(t, "%d", r->expert[a]);
    table_heat_cell(t, r->slot[a] < 0 ? NAN : r->gate[a], "%.4f", r->gate[a]);
    if (r->slot[a] < 0) table_cell(t, "dropped");
    else table_cell(t, "%d", r->slot[a]);
}

/* One line a token: expert, gate and slot of each choice. */
static void print_tokens(const cot_route_result *r, int64_t tokens)
{
    static const char *const alignment[] = {"r", "rrrr", "rrrrrrr", "rrrrrrrrrr", "rrrrrrrrrrrrr"};
    const int64_t choices = choices_of(r);
    table *t = table_create(alignment[choices]);
    table_cell(t, "token");
    for (int64_t j = 0; j < choices; j++) {
        table_cell(t, "expert");
        table_cell(t, "gate");
        table_cell(t, "slot");
    }
    int64_t a = 0;
    for (int64_t token = 0; token < tokens; token++) {
        table_cell(t, "%lld", (long long)token);
        int64_t j = 0;
        for (; a < r->assignments && r->token[a] == token; a++)
            if (j++ < choices) print_choice(t, r, a);
        for (; j < choices; j++)
            for (int i = 0; i < 3; i++) table_cell(t, "%s", "");
    }
    table_print(t, 0, stdout);
}

static void print_experts(const cot_route_result *r)
{
    int64_t most = 1;
    for (int64_t e = 0; e < r->experts; e++) most = r->load[e] > most ? r->load[e] : most;
    table *t = table_create("rrr");
    table_cell(t, "expert");
    table_cell(t, "load");
    table_cell(t, "importance");
    for (int64_t e = 0; e < r->experts; e++) {
        table_cell(t, "%lld", (long long)e);
        table_heat_cell(t, (double)r->load[e] / (double)most, "%lld", (long long)r->load[e]);
        table_cell(t, "%.4f", r->importance[e]);
    }
    table_print(t, 0, stdout);
}

/* Tokens down, experts across: the gates of what was kept. */
static int print_map(const cot_route_result *r, int64_t tokens)
{
    double *gates = calloc((size_t)(tokens * r->experts), sizeof *gates);
    if (!gates) return cli_fail("no memory for a map of %lld x %lld gates", (long long)tokens, (long long)r->experts);
    for (int64_t a = 0; a < r->assignments && r->token[a] < tokens; a++)
        if (r->slot[a] >= 0) gates[r->token[a] * r->experts + r->expert[a]] = r->gate[a];
    heat_map_print((size_t)tokens, (size_t)r->experts, gates, 1, NULL, "gate, token by expert", stdout);
    free(gates);
    return CLI_OK;
}

static int print_text(const cot_route_result *r)
{
    const int64_t tokens = r->tokens < SHOWN_TOKENS ? r->tokens : SHOWN_TOKENS;
    int64_t dropped = 0;
    for (int64_t a = 0; a < r->assignments; a++) dropped += r->slot[a] < 0;
    print_tokens(r, tokens);
    if (tokens < r->tokens) printf("... and %lld more tokens (--json has them all)\n", (long long)(r->tokens - tokens));
    printf("\n");
    print_experts(r);
    if (r->capacity >= 0)
        printf("\ncapacity %lld slots an expert; %lld of %lld choices dropped\n", (long long)r->capacity,
               (long long)dropped, (long long)r->assignments);
    else printf("\ndropless\n");
    for (size_t i = 0; i < r->loss_count; i++)
        printf("%s%s %.9g\n", i ? "" : "losses, each times its coef\n  ", r->loss_name[i], r->loss[i]);
    printf("\n");
    return print_map(r, tokens);
}

static int print_as_json(const cot_route_result *r)
{
    char *text;
    CLI_TRY(cot_route_to_json(r, &text));
    puts(text);
    free(text);
    return CLI_OK;
}

enum { INPUT_LIMIT = 64 << 20 };  /* a million tokens of eight experts */

static int run_route(const cli_args *args)
{
    if (!cli_given(args, "router"))
        return cli_misuse(args, "no router given, expected --router '{kind: top_k, top_k: 2}' "
                                "or another of `coterie list routers`");
    const size_t count = cli_count(args, "balance");
    const char **rules = calloc(count + 1, sizeof *rules);
    char *input = NULL;
    size_t length;
    if (!rules) return cli_fail("no memory for %zu balance rules", count);
    for (size_t i = 0; i < count; i++) rules[i] = cli_text_at(args, "balance", i);
    const cot_route_spec spec = {.router = cli_text(args, "router"), .balance = rules, .balance_count = count,
                                 .capacity = cli_text(args, "capacity"),
                                 .gradient = cli_flag(args, "gradient"), .seed = (uint64_t)cli_int(args, "seed"),
                                 .name = input_name(cli_positional(args, 0))};
    cot_route_result *result = NULL;
    int code = read_input(cli_positional(args, 0), INPUT_LIMIT, &input, &length);
    if (code == CLI_OK && cot_route(&spec, input, length, &result) != COT_OK) code = cli_failed();
    if (code == CLI_OK)
        code = cli_flag(args, "json") || !terminal_is(stdout) ? print_as_json(result) : print_text(result);
    cot_route_result_destroy(result);
    free(input);
    free(rules);
    return code;
}

const cli_command command_route = {
    .name = "route",
    .summary = "shows what a router, balance rules and a capacity make of given logits: the router lab",
    .arguments = "[FILE]",
    .details =
        "Reads JSON from FILE or standard input: {\"logits\": [[...], ...]}, one row of router logits for each token, "
        "and where they matter \"noise\" (as large; draws in place of the router's own: standard normal for noisy "
        "gating, in [0, 1) for uniforms), \"raw_noise_std\" (as large; the scale of the noise before its softplus), "
        "\"tokens\" (ids), \"sequences\" (lengths), \"training\" (default false: no noise). Some routers read more: "
        "\"primary_logits\" (hierarchical: a row of groups' logits for each token), \"labels\" (task, language), "
        "\"targets\" and \"positions\" (hash), \"reward\" (reinforce), \"bias\" (one for each expert, added where "
        "choices are made), \"thresholds\" (batchwise), \"group\" (lengths: tokens that are routed together). \"-inf\" or "
        "-Infinity masks an expert for a token, and all of a row makes it padding; NaN and infinity are errors.\n"
        "On a terminal it prints tables and a map; otherwise, and with --json, one JSON object: \"assignments\" "
        "[{\"token\", \"expert\", \"gate\", \"slot\"}], \"dropped\" [{\"token\", \"expert\"}] (full, or skipped by the router), \"load\" and "
        "\"importance\" (choices and gates of each expert, before capacity), \"losses\", \"capacity\" (null when "
        "nothing is dropped), with soft_moe \"dispatch\" and \"combine\" (what a slot takes of a token, and a token of a slot), and with --gradient \"gradient\".",
    .examples = "echo '{\"logits\": [[2, 1, 0], [1, 3, 0]]}' | coterie route --router '{kind: top_k, top_k: 2}'\t"
                "two tokens, three experts\n"
                "coterie route --router '{kind: switch}' --balance '{kind: aux}' --gradient in.json\t"
                "a loss and its gradient\n"
                "coterie route --router '{kind: switch}' --capacity '{capacity_factor: 1}' in.json\t"
                "who is dropped\n",
    .max_positional = 1,
    .options = options,
    .run = run_route,
};
