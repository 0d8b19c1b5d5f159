/* coterie generate: a model goes on with a text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coterie/generate.h>

#include "cli.h"
#include "print_json.h"
#include "terminal.h"

enum { MAX_STOPS = 64 };

static const cli_option options[] = {
    {.name = "max-tokens", .letter = 'n', .kind = CLI_INT, .value = "N", .fallback = "200", .min = 1, .max = 1e9,
     .help = "tokens to generate at most"},
    {.name = "temperature", .letter = 't', .kind = CLI_NUMBER, .value = "T", .fallback = "0.8", .min = 0, .max = 100,
     .help = "0: always the most probable token"},
    {.name = "top-k", .kind = CLI_INT, .value = "K", .fallback = "0", .min = 0, .max = 1e9,
     .help = "draws from the k most probable; 0 = all"},
    {.name = "top-p", .kind = CLI_NUMBER, .value = "P", .fallback = "0.95", .min = 1e-9, .max = 1,
     .help = "draws from the fewest that reach this probability together"},
    {.name = "min-p", .kind = CLI_NUMBER, .value = "P", .fallback = "0", .min = 0, .max = 1,
     .help = "drops those less probable than this share of the best"},
    {.name = "repetition-penalty", .kind = CLI_NUMBER, .value = "R", .fallback = "1", .min = 0.01, .max = 100,
     .help = "divides the logits of tokens already there"},
    {.name = "seed", .kind = CLI_INT, .value = "N", .fallback = "0", .min = 0, .max = 9e15,
     .help = "the same seed gives the same text"},
    {.name = "stop", .kind = CLI_TEXT, .repeated = true, .value = "TEXT",
     .help = "ends before this text; may be repeated"},
    {.name = "explain", .kind = CLI_FLAG,
     .help = "colours each token by the expert it went to (its number behind it without colour)"},
    {.name = "layer", .kind = CLI_INT, .value = "N", .fallback = "-1", .min = -1, .max = 1024,
     .help = "whose experts --explain shows (default: the last sparse layer)"},
    {.name = "precision", .kind = CLI_CHOICE, .value = "f32|bf16", .fallback = "f32", .help = "of the products"},
    CLI_OPTION_END,
};

typedef struct {
    bool    explain, colour;
    int64_t count[256];  /* tokens of each expert */
} listener;

static bool hear(void *context, const char *bytes, size_t length, int32_t id, int32_t expert)
{
    listener *l = context;
    (void)id;
    if (!l->explain) {
        fwrite(bytes, 1, length, stdout);
    } else {
        if (expert >= 0 && expert < 256) l->count[expert]++;
        if (l->colour && expert >= 0) printf("\033[38;5;%dm", terminal_category_colour((size_t)expert));
        fwrite(bytes, 1, length, stdout);
        if (l->colour) printf("\033[0m");
        else if (expert >= 0) printf("[%d]", expert);
    }
    fflush(stdout);
    return !cli_stop_requested();
}

static int64_t last_sparse_layer(const cot_model *model)
{
    int64_t layer = cot_model_describe(model, 0).num_layers - 1;
    while (layer > 0 && !cot_model_layer_experts(model, layer)) layer--;
    return layer;
}

static void print_legend(const listener *l, const cot_model *model, int64_t layer)
{
    const int64_t experts = cot_model_layer_experts(model, layer);
    fprintf(stderr, "layer %lld, tokens of each expert:", (long long)layer);
    for (int64_t i = 0; i < experts && i < 256; i++) {
        if (!l->count[i]) continue;
        if (terminal_has_colour(stderr))
            fprintf(stderr, " \033[38;5;%dme%lld\033[0m %lld", terminal_category_colour((size_t)i), (long long)i,
                    (long long)l->count[i]);
        else fprintf(stderr, " e%lld %lld", (long long)i, (long long)l->count[i]);
    }
    fputc('\n', stderr);
}

/* The prompt on the command line, or standard input when it is "-". */
static char *read_prompt(const char *given, size_t *length)
{
    if (!given || strcmp(given, "-") != 0) {
        *length = given ? strlen(given) : 0;
        char *copy = malloc(*length + 1);
        if (copy) memcpy(copy, given ? given : "", *length + 1);
        return copy;
    }
    size_t room = 1 << 16, used = 0;
    char *text = malloc(room);
    while (text) {
        used += fread(text + used, 1, room - used, stdin);
        if (used < room) break;
        char *larger = realloc(text, room *= 2);
        if (!larger) free(text);
        text = larger;
    }
    *length = used;
    return text;
}

static int generate(const cli_args *args, cot_model *model, const cot_tokenizer *tokenizer, const char *prompt,
                    size_t length)
{
    listener l = {.explain = cli_flag(args, "explain"), .colour = terminal_has_colour(stdout)};
    const int64_t layer = cli_int(args, "layer") >= 0 ? cli_int(args, "layer") : last_sparse_layer(model);
    const char *stops[MAX_STOPS];
    cot_generate_options o = {.max_tokens = cli_int(args, "max-tokens"),
                              .stop = stops,
                              .bf16 = strcmp(cli_text(args, "precision"), "bf16") == 0,
                              .layer = layer};
    o.sampling = (cot_sampling){.temperature = cli_number(args, "temperature"),
                                .top_k = cli_int(args, "top-k"),
                                .top_p = cli_number(args, "top-p"),
                                .min_p = cli_number(args, "min-p"),
                                .repetition_penalty = cli_number(args, "repetition-penalty"),
                                .seed = (uint64_t)cli_int(args, "seed")};
    for (size_t i = 0; i < cli_count(args, "stop"); i++) stops[o.stop_count++] = cli_text_at(args, "stop", i);
    if (l.explain && (layer >= cot_model_describe(model, 0).num_layers || !cot_model_layer_experts(model, layer)))
        return cli_fail("layer %lld has no experts to explain", (long long)layer);
    cot_generated done;
    fwrite(prompt, 1, length, stdout);
    CLI_TRY(cot_generate(model, tokenizer, prompt, length, &o, hear, &l, &done));
    putchar('\n');
    fflush(stdout);
    if (cli_quiet()) return CLI_OK;
    if (l.explain) print_legend(&l, model, layer);
    fprintf(stderr, "%lld tokens read in %.2f s, %lld generated at %.0f tokens/s%s\n", (long long)done.prompt_tokens,
            done.prompt_seconds, (long long)done.tokens, done.seconds > 0 ? (double)done.tokens / done.seconds : 0,
            done.ended ? "" : " (stopped at --max-tokens)");
    return CLI_OK;
}

static int run(const cli_args *args)
{
    cot_model *model = NULL;
    cot_tokenizer *tokenizer = NULL;
    size_t length;
    int code = CLI_OK;
    if (cli_count(args, "stop") > MAX_STOPS)
        return cli_misuse(args, "--stop is given %zu times, expected at most %d", cli_count(args, "stop"), MAX_STOPS);
    cli_watch_stop();
    if (cot_model_load(cli_positional(args, 0), &model, &tokenizer) != COT_OK) return cli_failed();
    char *prompt = read_prompt(cli_positional(args, 1), &length);
    if (!prompt) code = cli_fail("no memory for the prompt");
    else if (!tokenizer) code = cli_fail("%s has no tokenizer.json", cli_positional(args, 0));
    else code = generate(args, model, tokenizer, prompt, length);
    free(prompt);
    cot_tokenizer_destroy(tokenizer);
    cot_model_destroy(model);
    return code;
}

const cli_command command_generate = {
    .name = "generate",
    .summary = "lets a model go on with a text",
    .arguments = "MODEL [PROMPT]",
    .details = "Streams the text to standard output. PROMPT - reads it from standard input; without one the model starts from nothing. The same seed "
               "gives the same text. --explain shows which expert each token went to.",
    .examples = "coterie generate runs/default \"ROMEO:\"\ta scene\n"
                "coterie generate runs/default \"static int\" --temperature 0 --stop \"}\"\tthe most probable function\n"
                "coterie generate runs/default \"In the beginning\" --explain --layer 2\tcoloured by expert\n",
    .min_positional = 1,
    .max_positional = 2,
    .options = options,
    .run = run,
};
