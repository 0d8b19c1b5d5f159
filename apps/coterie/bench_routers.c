/* coterie bench routers: what routing costs beside the experts' products, router by router, and BASE's auction by
 * itself.
 *
 * Routing is everything that a sparse layer does besides the experts' own work: scores and their gradients, selection,
 * sorting by expert, the sum of experts' outputs, the sum of their inputs' gradients, balance losses. Rows of tokens
 * are read where they lie by the products themselves. */
#include <stdio.h>
#include <string.h>

#include "bench_parts.h"
#include "progress.h"

typedef struct {
    const char *name;
    double      most[2];    /* share of a step that is allowed, f32 and bf16; 0: none asked */
    const char *changes[4]; /* of recipe bench-moe */
} router_row;

#define ROUTER(spec) "model.ffn.router={kind: " spec "}"
#define PLAIN "model.ffn.balance=[]"
#define FINE(experts, width) "model.ffn.experts={kind: ffn, num_experts: " #experts ", intermediate_size: " #width "}"

static const router_row rows[] = {
    {"top_k", {0.05, 0.09}, {ROUTER("top_k, top_k: 2")}},
    {"noisy_top_k", {0.05, 0.09}, {ROUTER("noisy_top_k, top_k: 2")}},
    {"switch", {0.05, 0.09}, {ROUTER("switch")}},
    {"gshard", {0.05, 0.09}, {ROUTER("gshard")}},
    {"deepseek", {0.05, 0.09}, {ROUTER("deepseek, top_k: 2")}},
    {"hierarchical", {0.05, 0.09}, {ROUTER("hierarchical"), PLAIN}},
    {"batchwise", {0.05, 0.09}, {ROUTER("batchwise, top_k: 2")}},
    {"prototype", {0.05, 0.09}, {ROUTER("prototype"), PLAIN}},
    {"cosine", {0.05, 0.09}, {ROUTER("cosine, top_k: 2")}},
    {"dselect_k", {0.05, 0.09}, {ROUTER("dselect_k"), PLAIN}},
    {"reinforce", {0.05, 0.09}, {ROUTER("reinforce"), PLAIN}},
    {"hash", {0.05, 0.09}, {ROUTER("hash"), PLAIN}},
    {"random", {0.05, 0.09}, {ROUTER("random"), PLAIN}},
    {"thor", {0.05, 0.09}, {ROUTER("thor"), PLAIN}},
    {"sinkhorn", {0.08, 0.08}, {ROUTER("sinkhorn"), PLAIN}},
    {"expert_choice", {0.08, 0.08}, {ROUTER("expert_choice"), PLAIN}},
    {"base", {0.05, 0.09}, {ROUTER("base"), PLAIN}},
    {"fine-256x128", {0.15, 0}, {ROUTER("top_k, top_k: 8"), FINE(256, 128)}},
    {"fine-2048x16", {0, 0}, {ROUTER("top_k, top_k: 64"), FINE(2048, 16)}},
};

enum { ROWS = sizeof rows / sizeof *rows };

static void print_row(const router_row *row, const char *dtype, const cot_bench_result *r, double share, double most)
{
    char target[32] = "none asked";
    if (most > 0) snprintf(target, sizeof target, "at most %g%%: %s", 100 * most, share <= most ? "met" : "MISSED");
    printf("%-14s %-5s %7.1f ms a step, routing %6.1f ms, %5.2f%%   %s\n", row->name, dtype, r->step_ms,
           1e3 * bench_seconds_of(r, "routing", NULL), 100 * share, target);
    fflush(stdout);
}

static int run_row(const cli_args *args, const router_row *row, int bf16, json_t *json)
{
    cot_bench_result r;
    const char      *dtype = bf16 ? "bf16" : "f32";
    const int64_t    steps = cli_int(args, "steps") ? cli_int(args, "steps") : 1;
    const int        code = bench_train_case(args, "moe", dtype, row->changes, 1, steps, &r);
    if (code != CLI_OK) return code;
    double whole = 0;
    for (size_t i = 0; i < r.time_count; i++) whole += r.times[i].seconds;
    const double routing = bench_seconds_of(&r, "routing", NULL), share = routing / whole, most = row->most[bf16];
    if (!json)
        print_row(row, dtype, &r, share, most);
    else
        json_array_append_new(json, json_pack("{s:s, s:s, s:f, s:f, s:f, s:o, s:o}", "name", row->name, "dtype", dtype,
                                              "step_ms", r.step_ms, "routing_ms", 1e3 * routing, "share", share,
                                              "target", most > 0 ? json_real(most) : json_null(), "met",
                                              most > 0 ? json_boolean(share <= most) : json_null()));
    return CLI_OK;
}

/* ---- the auction ---- */

static const struct {
    int64_t tokens, experts;
    double  most_ms; /* 0: none asked */
} auctions[] = {{4096, 16, 20}, {1024, 16, 0}, {16384, 16, 0}, {4096, 4, 0}, {4096, 64, 0}, {4096, 256, 0}};

/* Scores without and with a lean of all tokens to the same experts; the slower one counts. */
static int run_auction(size_t i, json_t *json)
{
    double even, leaning;
    CLI_TRY(cot_bench_auction(auctions[i].tokens, auctions[i].experts, 0, &even));
    CLI_TRY(cot_bench_auction(auctions[i].tokens, auctions[i].experts, 1, &leaning));
    const double ms = 1e3 * (even > leaning ? even : leaning), most = auctions[i].most_ms;
    if (json) {
        json_array_append_new(json,
                              json_pack("{s:I, s:I, s:f, s:f, s:o, s:o}", "tokens", (json_int_t)auctions[i].tokens,
                                        "experts", (json_int_t)auctions[i].experts, "even_ms", 1e3 * even, "leaning_ms",
                                        1e3 * leaning, "target_ms", most > 0 ? json_real(most) : json_null(), "met",
                                        most > 0 ? json_boolean(ms <= most) : json_null()));
        return CLI_OK;
    }
    char target[32] = "none asked";
    if (most > 0) snprintf(target, sizeof target, "at most %g ms: %s", most, ms <= most ? "met" : "MISSED");
    printf("auction %6lld tokens, %3lld experts: %6.1f ms, %6.1f where tokens agree on experts   %s\n",
           (long long)auctions[i].tokens, (long long)auctions[i].experts, 1e3 * even, 1e3 * leaning, target);
    fflush(stdout);
    return CLI_OK;
}

static int run_auctions(json_t *json)
{
    for (size_t i = 0; i < sizeof auctions / sizeof *auctions; i++)
        if (run_auction(i, json) != CLI_OK) return CLI_FAILED;
    return CLI_OK;
}

/* ---- all rows ---- */

static int run_rows(const cli_args *args, const bool precision[2], json_t *json)
{
    progress p;
    int      code = CLI_OK;
    double   done = 0, wanted = 0;
    for (size_t i = 0; i < ROWS; i++) wanted += bench_row_wanted(args, rows[i].name) * (precision[0] + precision[1]);
    progress_start(&p, "routers", NULL, wanted, 0);
    for (size_t i = 0; i < ROWS && code == CLI_OK; i++)
        for (int bf16 = 0; bf16 < 2 && code == CLI_OK && bench_row_wanted(args, rows[i].name); bf16++) {
            if (!precision[bf16]) continue;
            progress_update(&p, done++, rows[i].name);
            progress_clear(&p);
            code = run_row(args, &rows[i], bf16, json);
        }
    progress_clear(&p);
    return code;
}

int bench_routers_check(const cli_args *args)
{
    const char *names[ROWS + 1] = {"auction"};
    for (size_t i = 0; i < ROWS; i++) names[i + 1] = rows[i].name;
    return bench_check_rows(args, names, ROWS + 1);
}

int bench_routers(const cli_args *args, const cot_machine *machine, json_t *json)
{
    bool precision[2];
    bench_precisions(args, machine, precision);
    json_t *list = json ? json_array() : NULL, *auction = json ? json_array() : NULL;
    if (!json)
        printf("share of a training step of bench-moe that is neither experts' products nor the rest of the model\n");
    int code = run_rows(args, precision, list);
    if (code == CLI_OK && bench_row_wanted(args, "auction")) code = run_auctions(auction);
    if (json) {
        json_object_set_new(json, "routers", list);
        json_object_set_new(json, "auction", auction);
    }
    return code;
}
