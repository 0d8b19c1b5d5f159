#include "data/data_options.h"

#include "base/fail.h"
#include "base/memory.h"

enum { MAX_CONTEXT = 1 << 24 };

#define CONTEXT_OPTION \
    COT_OPTION_INT(cot_data_options, context, 128, 1, MAX_CONTEXT, "tokens of a training row")

static const cot_option text_options[] = {
    COT_OPTION_STRING(cot_data_options, path, "", "a UTF-8 text file, a .jsonl file, .gz or .zst of them, or a folder"),
    COT_OPTION_STRING(cot_data_options, valid_path, "", "validation text of its own, then all of path is for training"),
    COT_OPTION_DOUBLE(cot_data_options, validation_fraction, 0.05, 0, 1,
                      "share of path that is held back without valid_path"),
    COT_OPTION_STRING(cot_data_options, text_field, "text", "the field of a .jsonl row that holds its text"),
    COT_OPTION_CHOICE(cot_data_options, invalid, COT_INVALID_REFUSE, "refuse|replace",
                      "what to do about invalid UTF-8"),
    CONTEXT_OPTION,
    COT_OPTION_BOOL(cot_data_options, document_restart, true, "attention and positions start anew with each document"),
    COT_OPTION_STRING(cot_data_options, cache_dir, "",
                      "folder of tokenised corpora (default: coterie in the user's cache folder)"),
    COT_OPTION_PART(cot_data_options, tokenizer, "tokenizer", "the tokenizer: how it is trained, or where it lies"),
    COT_OPTION_END,
};

static const cot_option random_options[] = {
    COT_OPTION_INT(cot_data_options, vocab_size, 8192, 1, INT32_MAX, "ids are drawn uniformly below it"),
    CONTEXT_OPTION,
    COT_OPTION_END,
};

static const cot_member kinds[] = {
    {"text", NULL, "text files, tokenised once into a cache", text_options},
    {"random", NULL, "random token ids, for measuring speed", random_options},
};

enum { KINDS = sizeof kinds / sizeof *kinds };

const cot_member *cot_data_kind_at(size_t index) { return index < KINDS ? &kinds[index] : NULL; }

static void drop_if_empty(char **text)
{
    if (*text && **text) return;
    cot_free(*text);
    *text = NULL;
}

static cot_status check_text_options(const cot_config *data, cot_data_options *options)
{
    drop_if_empty(&options->path);
    drop_if_empty(&options->valid_path);
    drop_if_empty(&options->text_field);
    drop_if_empty(&options->cache_dir);
    if (!options->text_field) return cot_fail(COT_INVALID, "data.text_field is empty, expected the name of a field");
    if (options->path || options->valid_path) return COT_OK;
    const char *file = data ? cot_config_file(data) : NULL;
    if (!file) return cot_fail(COT_INVALID, "data has no 'path', expected a text file or a folder of them");
    return cot_fail(COT_INVALID, "%s:%d: data has no 'path', expected a text file or a folder of them", file,
                    cot_config_line(data));
}

cot_status cot_data_options_read(const cot_config *data, cot_data_options *out)
{
    *out = (cot_data_options){.random = false};
    const cot_member *kind = &kinds[0];
    if (cot_config_get(data, "kind")) COT_TRY(cot_family_find("data", cot_data_kind_at, data, &kind));
    COT_TRY(cot_options_apply(kind->options, out, data));
    out->random = kind == &kinds[1];
    const cot_status status = out->random ? COT_OK : check_text_options(data, out);
    if (status != COT_OK) cot_data_options_release(out);
    return status;
}

void cot_data_options_release(cot_data_options *options)
{
    cot_options_release(options->random ? random_options : text_options, options);
}
