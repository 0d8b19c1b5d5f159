/* coterie info: what a model is and costs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <coterie/train.h>

#include "cli.h"
#include "print_json.h"
#include "progress.h"
#include "table.h"

static const cli_option options[] = {
    CLI_SET_OPTION,
    {.name = "context", .kind = CLI_INT, .value = "N", .min = 1, .max = 1 << 24,
     .help = "tokens of context that FLOPs and memory are for (default: the model's)"},
    {.name = "parameters", .kind = CLI_FLAG, .help = "lists every parameter with its shape"},
    CLI_JSON_OPTION,
    CLI_OPTION_END,
};

static json_t *parameters_json(const cot_model *model)
{
    json_t *list = json_array();
    const char *name;
    int rank;
    int64_t shape[4];
    for (size_t i = 0; cot_model_parameter(model, i, &name, &rank, shape); i++) {
        json_t *sizes = json_array();
        for (int j = 0; j < rank; j++) json_array_append_new(sizes, json_integer(shape[j]));
        json_array_append_new(list, json_pack("{s:s, s:o}", "name", name, "shape", sizes));
    }
    return list;
}

static json_t *layers_json(const cot_model *model, int64_t count)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++) {
        char text[256];
        cot_model_layer_text(model, i, text, sizeof text);
        json_array_append_new(list, json_pack("{s:I, s:s, s:I}", "layer", (json_int_t)i, "what", text, "experts",
                                              (json_int_t)cot_model_layer_experts(model, i)));
    }
    return list;
}

/* What the model's files are or will be, and why not something else. */
static json_t *formats_json(const cot_model *model)
{
    json_t *list = json_array();
    cot_model_format format;
    for (size_t i = 0; cot_model_format_at(model, i, &format); i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s?}", "model_type", format.model_type, "architecture",
                                              format.architecture, "misfit", *format.misfit ? format.misfit : NULL));
    return list;
}

static void print_formats(const cot_model *model, const cot_model_info *info)
{
    const char *stored = info->stored_as, *saved = info->published_as;
    cot_model_format format;
    if (stored && strcmp(stored, saved) != 0) printf("files         are '%s'; saved anew they would be ", stored);
    else printf("files         %s ", stored ? "are" : "will be");
    for (size_t i = 0; cot_model_format_at(model, i, &format); i++)
        if (strcmp(format.model_type, saved) == 0) printf("'%s' (%s)\n", saved, format.architecture);
    for (size_t i = 0; cot_model_format_at(model, i, &format); i++)
        if (*format.misfit) printf("              not '%s': %s\n", format.model_type, format.misfit);
}

static int print_as_json(const cli_args *args, const cot_model *model, const cot_model_info *i)
{
    json_t *root = json_pack(
        "{s:s, s:s, s:s?, s:I, s:I, s:I, s:I, s:I, s:{s:I, s:I}, s:{s:f, s:f}, s:{s:I, s:I}, s:o, s:o}", "kind",
        i->kind, "published_as", i->published_as, "stored_as", i->stored_as, "hidden_size", (json_int_t)i->hidden_size,
        "num_layers", (json_int_t)i->num_layers, "sparse_layers", (json_int_t)i->sparse_layers, "vocab_size",
        (json_int_t)i->vocab_size, "context", (json_int_t)i->context, "parameters", "total",
        (json_int_t)i->parameters_total, "active", (json_int_t)i->parameters_active, "flops_per_token", "forward",
        i->flops_forward, "training", i->flops_training, "bytes", "training", (json_int_t)i->bytes_training, "serving",
        (json_int_t)i->bytes_serving, "layers", layers_json(model, i->num_layers), "formats", formats_json(model));
    json_object_set_new(root, "experts",
                        json_pack("{s:I, s:I, s:I}", "parameters", (json_int_t)i->parameters_experts, "bytes_serving",
                                  (json_int_t)i->bytes_experts, "bytes_training",
                                  (json_int_t)i->bytes_experts_training));
    if (root && cli_flag(args, "parameters")) json_object_set_new(root, "parameter_list", parameters_json(model));
    return print_json(root);
}

static void print_layers(const cot_model *model, int64_t count)
{
    char text[256], last[256] = "";
    int64_t from = 0;
    for (int64_t i = 0; i <= count; i++) {  /* runs of equal layers share a line */
        if (i < count) cot_model_layer_text(model, i, text, sizeof text);
        if (i > 0 && (i == count || strcmp(text, last) != 0)) {
            if (from == i - 1) printf("layer %lld       %s\n", (long long)from, last);
            else printf("layers %lld-%lld    %s\n", (long long)from, (long long)i - 1, last);
            from = i;
        }
        snprintf(last, sizeof last, "%s", text);
    }
}

static int print_as_text(const cli_args *args, const cot_model *model, const cot_model_info *i)
{
    char total[16], active[16], forward[16], training[16];
    format_count((double)i->parameters_total, total, sizeof total);
    format_count((double)i->parameters_active, active, sizeof active);
    format_count(i->flops_forward, forward, sizeof forward);
    format_count(i->flops_training, training, sizeof training);
    printf("model         %s of width %lld, %lld layers (%lld sparse), %lld symbols\n", i->kind,
           (long long)i->hidden_size, (long long)i->num_layers, (long long)i->sparse_layers, (long long)i->vocab_size);
    print_layers(model, i->num_layers);
    printf("parameters    %s in all, %s active for a token\n", total, active);
    printf("FLOPs         %s forward, %s training, per token at a context of %lld\n", forward, training,
           (long long)i->context);
    format_count((double)i->bytes_serving, forward, sizeof forward);
    format_count((double)i->bytes_training, training, sizeof training);
    printf("memory        %sB serving (f32 and one context), %sB training (without activations)\n", forward, training);
    if (i->parameters_experts) {
        format_count((double)i->parameters_experts, total, sizeof total);
        printf("experts       %s parameters; %.3g bytes each serving, %.3g training with two moments\n", total,
               (double)i->bytes_experts / (double)i->parameters_experts,
               (double)i->bytes_experts_training / (double)i->parameters_experts);
    }
    print_formats(model, i);
    if (!cli_flag(args, "parameters")) return CLI_OK;
    const char *name;
    int rank;
    int64_t shape[4];
    table *t = table_create("ll");
    table_cell(t, "parameter");
    table_cell(t, "shape");
    for (size_t j = 0; cot_model_parameter(model, j, &name, &rank, shape); j++) {
        char text[96] = "";
        for (int k = 0, n = 0; k < rank; k++)
            n += snprintf(text + n, sizeof text - (size_t)n, "%s%lld", k ? " x " : "", (long long)shape[k]);
        table_cell(t, "%s", name);
        table_cell(t, "%s", text);
    }
    printf("\n");
    table_print(t, 0, stdout);
    return CLI_OK;
}

/* A recipe's vocabulary is what its tokenizer has; where that is not known without work, what is asked for. */
static int64_t vocabulary_of(const cot_config *recipe)
{
    int64_t size = 2048;
    const cot_config *data = cot_config_get(recipe, "data");
    (void)cot_config_int(cot_config_get(data, "vocab_size"), &size);
    (void)cot_config_int(cot_config_get(data, "tokenizer.vocab_size"), &size);
    return size;
}

static int declare(const cli_args *args, const char *name, cot_model **out)
{
    cot_config *recipe;
    int64_t context = 128;
    CLI_TRY(cli_read_recipe(args, name, NULL, &recipe));
    const cot_config *section = cot_config_get(recipe, "model"), *from = cot_config_get(recipe, "from");
    (void)cot_config_int(cot_config_get(recipe, "data.context"), &context);
    int code = CLI_OK;
    if (from)
        code = cli_fail("%s: the recipe starts from a model: see coterie info %s", cot_config_file(recipe),
                        cot_config_text(from));
    else if (!section)
        code =
            cli_fail("%s: the recipe has no 'model', expected a map such as {kind: lm, ...}", cot_config_file(recipe));
    else if (cot_model_create(section, vocabulary_of(recipe), context, out) != COT_OK) code = cli_failed();
    cot_config_destroy(recipe);
    return code;
}

/* A model is a folder or llama2.c's file; a recipe is any other file, or a name. */
static bool is_model(const char *path)
{
    struct stat info;
    const size_t length = strlen(path);
    if (stat(path, &info) != 0) return false;
    return S_ISDIR(info.st_mode) || (length > 4 && strcmp(path + length - 4, ".bin") == 0);
}

static int run(const cli_args *args)
{
    const char *name = cli_positional(args, 0);
    cot_model *model;
    int code = CLI_OK;
    if (!is_model(name)) code = declare(args, name, &model);
    else if (cot_model_load(name, &model, NULL) != COT_OK) code = cli_failed();
    if (code != CLI_OK) return code;
    const cot_model_info info = cot_model_describe(model, cli_int(args, "context"));
    code = cli_flag(args, "json") ? print_as_json(args, model, &info) : print_as_text(args, model, &info);
    cot_model_destroy(model);
    return code;
}

const cli_command command_info = {
    .name = "info",
    .summary = "shows what a model or recipe is: layers, parameters, FLOPs, memory",
    .arguments = "MODEL|RECIPE",
    .details = "A multiply-add counts as two FLOPs, attention by its causal half, training three times the forward.",
    .examples = "coterie info default\tthe default recipe\n"
                "coterie info default --set model.hidden_size=256 --json\twhat it would be at twice the width\n"
                "coterie info runs/default --parameters\ta trained model, every tensor\n",
    .min_positional = 1,
    .max_positional = 1,
    .options = options,
    .run = run,
};
