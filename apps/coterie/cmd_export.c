/* coterie export: a model as one file for llama.cpp. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coterie/export.h>

#include "cli.h"
#include "progress.h"

static const cli_option options[] = {
    {.name = "out",
     .letter = 'o',
     .kind = CLI_TEXT,
     .value = "FILE.gguf",
     .help = "the file to write (default: model-TYPE.gguf in the model's folder)"},
    {.name = "type",
     .kind = CLI_CHOICE,
     .value = "f32|f16|bf16|q8_0",
     .fallback = "f16",
     .help = "how weights are stored: 4, 2, 2 or about 1 byte each; norms and routers stay f32"},
    {.name = "name",
     .kind = CLI_TEXT,
     .value = "NAME",
     .help = "what the file calls the model (default: its folder's name)"},
    CLI_OPTION_END,
};

static bool show(void *context, uint64_t done, uint64_t total)
{
    progress *bar = context;
    bar->total = (double)total;
    progress_update(bar, (double)done, NULL);
    return !cli_stop_requested();
}

static cot_export_type type_named(const char *name)
{
    static const char *const names[] = {
        [COT_EXPORT_F32] = "f32", [COT_EXPORT_F16] = "f16", [COT_EXPORT_BF16] = "bf16", [COT_EXPORT_Q8_0] = "q8_0"};
    int type = 0;
    while (strcmp(names[type], name) != 0) type++;
    return (cot_export_type)type;
}

/* The last part of a path, without slashes behind it. */
static void folder_name(const char *path, char *out, size_t size)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/') start--;
    snprintf(out, size, "%.*s", (int)(end - start), path + start);
}

static int export_to(const cli_args *args, const cot_model *model, const cot_tokenizer *tokenizer, const char *path)
{
    char     name[256], bytes[16];
    progress bar;
    folder_name(cli_positional(args, 0), name, sizeof name);
    const cot_export_options o = {.type = type_named(cli_text(args, "type")),
                                  .name = cli_given(args, "name") ? cli_text(args, "name") : name,
                                  .progress = show,
                                  .context = &bar};
    progress_start(&bar, "writing", "B", 0, 0);
    const cot_status status = cot_export_gguf(model, tokenizer, path, &o);
    progress_clear(&bar);
    if (status != COT_OK) return cli_failed();
    format_count(bar.total, bytes, sizeof bytes);
    if (!cli_quiet())
        printf("%s: %sB of weights as %s; llama.cpp runs it: llama-cli -m %s\n", path, bytes, cli_text(args, "type"),
               path);
    return CLI_OK;
}

static int run(const cli_args *args)
{
    const char    *folder = cli_positional(args, 0);
    char           beside[4096];
    cot_model     *model;
    cot_tokenizer *tokenizer;
    cli_watch_stop();
    snprintf(beside, sizeof beside, "%s/model-%s.gguf", folder, cli_text(args, "type"));
    CLI_TRY(cot_model_load(folder, &model, &tokenizer));
    const int code = export_to(args, model, tokenizer, cli_given(args, "out") ? cli_text(args, "out") : beside);
    cot_tokenizer_destroy(tokenizer);
    cot_model_destroy(model);
    return code;
}

const cli_command command_export = {
    .name = "export",
    .summary = "writes a model and its tokenizer as one GGUF file, which llama.cpp runs",
    .arguments = "MODEL",
    .details = "GGUF has a place for dense models (Llama's kind) and for those with experts in every layer behind a "
               "top-k router whose gates sum "
               "to 1 (Mixtral's kind). Anything else is refused, with the reason, before a byte is written.\n"
               "f32 gives the same tokens as Coterie; q8_0 is a quarter of its size and loses next to nothing. In "
               "q8_0, matrices whose rows do not divide by "
               "32 are stored as f16.",
    .examples = "coterie export runs/default\truns/default/model-f16.gguf\n"
                "coterie export runs/default --type q8_0 -o small.gguf\ta quarter of the size of f32\n",
    .min_positional = 1,
    .max_positional = 1,
    .options = options,
    .run = run,
};
