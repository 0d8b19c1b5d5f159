#include "data/recipe_tokenizer.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/data_options.h"
#include "data/hash.h"
#include "data/token_cache.h"
#include "data/tokenizers/llama2c_tokenizer.h"
#include "formats/file.h"
#include "formats/llama2c.h"

typedef struct {
    char   *path;
    int64_t vocab_size;
} settings;

const cot_option cot_tokenizer_section_options[] = {
    COT_OPTION_STRING(settings, path, "", "a tokenizer.json, a SentencePiece .model, or a folder with one"),
    COT_OPTION_INT(settings, vocab_size, 2048, 257, COT_VOCAB_SIZE_MAX,
                   "symbols: 256 bytes, one end of text, the rest merges"),
    COT_OPTION_END,
};

static cot_status read_settings(const cot_config *node, settings *out)
{
    if (cot_config_get_kind(node) == COT_CONFIG_SCALAR) {
        COT_TRY(cot_options_apply(cot_tokenizer_section_options, out, NULL));
        cot_free(out->path);
        out->path = cot_strdup(cot_config_text(node));
        return out->path ? COT_OK : cot_fail(COT_OUT_OF_MEMORY, "no memory for a path");
    }
    const char *kind = cot_config_text(cot_config_get(node, "kind"));
    if (kind && strcmp(kind, "bpe") != 0)
        return cot_fail(COT_NOT_FOUND, "%s:%d: data.tokenizer: kind is '%s', expected bpe", cot_config_file(node),
                        cot_config_line(node), kind);
    return cot_options_apply(cot_tokenizer_section_options, out, node);
}

/* One folder for each text, its options and vocabulary: anything about the files that changes gives another. */
static cot_status cached_folder(const cot_data_options *data, int64_t vocab_size, char **out)
{
    cot_source_files files;
    cot_cache_key key;
    char *path = NULL;
    COT_TRY(cot_source_files_find(data, &files));
    cot_cache_key_set(&key, &files, data, NULL);
    cot_hash hash;
    cot_hash_start(&hash);
    cot_hash_add(&hash, &key.identity, sizeof key.identity);
    cot_hash_add(&hash, &vocab_size, sizeof vocab_size);
    for (size_t i = 0; i < files.count; i++) {
        cot_hash_add(&hash, &files.files[i].bytes, sizeof files.files[i].bytes);
        cot_hash_add(&hash, &files.files[i].mtime_ns, sizeof files.files[i].mtime_ns);
    }
    key.name = cot_hash_end(&hash);
    const cot_status status = cot_cache_path(&key, &path);
    cot_source_files_release(&files);
    if (status != COT_OK) return status;
    const size_t size = strlen(path) + 16;
    *out = cot_malloc(size);
    if (*out) snprintf(*out, size, "%s.tokenizer", path);
    cot_free(path);
    return *out ? COT_OK : cot_fail(COT_OUT_OF_MEMORY, "no memory for a path");
}

typedef struct {
    cot_texts        *texts;
    cot_data_progress progress;
    void             *context;
} reading;

static cot_status read_text(void *context, const char **text, size_t *length)
{
    const reading *r = context;
    uint64_t done, total;
    cot_texts_done(r->texts, &done, &total);
    if (r->progress && !r->progress(r->context, done, total))
        return cot_fail(COT_STOPPED, "the training of the tokenizer was stopped");
    return cot_texts_read(r->texts, text, length);
}

static cot_status train(const cot_config *data, int64_t vocab_size, cot_data_progress progress, void *context,
                        cot_tokenizer **out)
{
    reading r = {.progress = progress, .context = context};
    const cot_tokenizer_options o = {.vocab_size = (int32_t)vocab_size};
    COT_TRY(cot_texts_open(data, COT_SPLIT_TRAIN, &r.texts));
    cot_status status = cot_tokenizer_train(&o, read_text, &r, out);
    uint64_t done, total;
    cot_texts_done(r.texts, &done, &total);
    cot_texts_close(r.texts);
    const char *path = cot_config_text(cot_config_get(data, "path"));
    if (status == COT_INVALID && total == 0)
        return cot_fail(COT_INVALID, "%s: the corpus is empty, expected text to train on", path ? path : "data.path");
    return status;
}

void cot_recipe_tokenizer_keep(const cot_tokenizer *tokenizer, char *folder)
{
    if (folder && cot_folder_make(folder) == COT_OK) (void)cot_tokenizer_save(tokenizer, folder, 0);
    cot_free(folder);
}

static cot_status bpe(const cot_config *data, const cot_data_options *o, int64_t vocab_size, cot_data_progress progress,
                      void *context, cot_tokenizer **out, char **keep)
{
    char *folder = NULL;
    COT_TRY(cached_folder(o, vocab_size, &folder));
    const bool kept = cot_folder_exists(folder) && cot_tokenizer_load(folder, out) == COT_OK;
    const cot_status status = kept ? COT_OK : train(data, vocab_size, progress, context, out);
    if (!kept && status == COT_OK) *keep = folder;
    else cot_free(folder);
    return status;
}

/* The tokenizer of a model folder, or the one beside a checkpoint of llama2.c. */
static cot_status load_from_model(const char *path, cot_tokenizer **out)
{
    cot_llama2c file;
    if (!cot_file_exists(path)) return cot_tokenizer_load(path, out);
    COT_TRY(cot_llama2c_open(path, &file));
    const int64_t symbols = file.vocabulary;
    cot_llama2c_close(&file);
    COT_TRY(cot_llama2c_tokenizer_beside(path, symbols, out));
    return *out ? COT_OK
                : cot_fail(COT_NOT_FOUND,
                           "'%s': no tok%lld.bin or tokenizer.bin beside it; data.tokenizer names another", path,
                           (long long)symbols);
}

cot_status cot_recipe_tokenizer(const cot_config *data, const char *folder, cot_data_progress progress, void *context,
                                cot_tokenizer **out, char **keep)
{
    cot_data_options o;
    settings s = {0};
    *out = NULL;
    *keep = NULL;
    COT_TRY(cot_data_options_read(data, &o));
    cot_status status = o.random ? COT_OK : read_settings(o.tokenizer, &s);
    const char *path = s.path && *s.path ? s.path : NULL, *model = o.tokenizer ? NULL : folder;
    if (status == COT_OK && !o.random)
        status = path    ? cot_tokenizer_load(path, out)
                 : model ? load_from_model(model, out)
                         : bpe(data, &o, s.vocab_size, progress, context, out, keep);
    cot_options_release(cot_tokenizer_section_options, &s);
    cot_data_options_release(&o);
    return status;
}
