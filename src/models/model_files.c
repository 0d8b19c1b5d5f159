/* Models on disk. */
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/tokenizers/llama2c_tokenizer.h"
#include "data/tokenizers/vocabulary.h"
#include "formats/card_section.h"
#include "formats/dialects/card_json.h"
#include "formats/file.h"
#include "formats/model_folder.h"
#include "models/llama2c_model.h"

const char *cot_model_published_as(const cot_model *model)
{
    const cot_model_card card = cot_model_card_of(model, NULL);
    return cot_dialect_for(&card, model->params)->model_type;
}

bool cot_model_format_at(const cot_model *model, size_t index, cot_model_format *out)
{
    const cot_dialect *dialect = cot_dialect_at(index);
    if (!dialect) return false;
    const cot_model_card card = cot_model_card_of(model, NULL);
    *out = (cot_model_format){.model_type = dialect->model_type, .architecture = dialect->architecture};
    (void)cot_dialect_misfit(dialect, &card, model->params, out->misfit, sizeof out->misfit);
    return true;
}

cot_status cot_model_save(const cot_model *model, const cot_tokenizer *tokenizer, const char *folder)
{
    const cot_model_card card = cot_model_card_of(model, tokenizer);
    COT_TRY(cot_model_folder_write(folder, &card, model->params, NULL));
    return tokenizer ? cot_tokenizer_save(tokenizer, folder, model->context) : COT_OK;
}

/* A tokenizer of more symbols than the model has does not belong to it. */
static cot_status check_symbols(const char *folder, const char *file, const cot_model *model, cot_tokenizer **tokenizer)
{
    const int32_t symbols = cot_tokenizer_vocab_size(*tokenizer);
    if (symbols <= model->vocab_size) return COT_OK;
    cot_tokenizer_destroy(*tokenizer);
    *tokenizer = NULL;
    return cot_fail(COT_FORMAT, "%s/%s has %d symbols, the model beside it %lld", folder, file, symbols, (long long)model->vocab_size);
}

static cot_status load_tokenizer(const char *folder, const cot_model *model, cot_tokenizer **out)
{
    const char *file = cot_tokenizer_file_in(folder);
    if (!file) return COT_OK;
    COT_TRY(cot_tokenizer_load(folder, out));
    return check_symbols(folder, file, model, out);
}

static bool ends_with(const char *text, const char *end)
{
    const size_t length = strlen(text), wanted = strlen(end);
    return length >= wanted && strcmp(text + length - wanted, end) == 0;
}

/* Is it a file, not a folder? Then it must be a checkpoint of llama2.c. */
static cot_status find_file(const char *path, bool *file)
{
    *file = cot_file_exists(path);
    if (!*file || ends_with(path, ".bin")) return COT_OK;
    return cot_fail(COT_FORMAT, "'%s' is a file; expected a model folder, or a checkpoint of llama2.c (.bin)", path);
}

static cot_status load_llama2c(const char *path, cot_model **out, cot_tokenizer **tokenizer)
{
    COT_TRY(cot_llama2c_load(path, out));
    return tokenizer ? cot_llama2c_tokenizer_beside(path, (*out)->vocab_size, tokenizer) : COT_OK;
}

/* The model that a folder's section declares. Another program may have changed a folder of ours and kept our section: then
 * the family's own keys count, and the section is made anew from them. */
static cot_status declare(const char *folder, cot_model_folder *f, cot_model **out)
{
    COT_TRY(cot_model_create(f->section, f->card.vocab_size, f->card.max_position, out));
    if (f->dialect->keeps_unknown) return COT_OK;
    const cot_model_card card = cot_model_card_of(*out, NULL);
    bool agree;
    COT_TRY(cot_cards_agree(f->dialect, &card, &f->card, &agree));
    if (agree) return COT_OK;
    cot_model_destroy(*out);
    *out = NULL;
    cot_config_destroy(f->section);
    f->section = NULL;
    COT_TRY(cot_card_section(&f->card, folder, &f->section));
    return cot_model_create(f->section, f->card.vocab_size, f->card.max_position, out);
}

cot_status cot_model_load_weights(cot_model *model, const char *folder)
{
    cot_model_folder f = {0};
    bool file;
    COT_TRY(find_file(folder, &file));
    if (file) return cot_llama2c_load_weights(model, folder);
    COT_TRY(cot_model_folder_read(folder, &f));
    const cot_status status = cot_model_folder_load_weights(folder, &f, model->params);
    model->ids = f.card.ids;
    cot_model_folder_release(&f);
    return status;
}

cot_status cot_model_folder_describe(const char *folder, cot_config **section, int64_t *vocab_size, int64_t *context)
{
    cot_model_folder f = {0};
    cot_model *model = NULL;
    bool file;
    *section = NULL;
    COT_TRY(find_file(folder, &file));
    if (file) return cot_llama2c_describe(folder, section, vocab_size, context);
    COT_TRY(cot_model_folder_read(folder, &f));
    const cot_status status = declare(folder, &f, &model);
    cot_model_destroy(model);
    if (status == COT_OK) {
        *section = f.section;
        *vocab_size = f.card.vocab_size;
        *context = f.card.max_position;
        f.section = NULL;
    }
    cot_model_folder_release(&f);
    return status;
}

static cot_status load(const char *folder, cot_model_folder *f, cot_model **out)
{
    COT_TRY(declare(folder, f, out));
    (*out)->stored_as = f->dialect->model_type;
    (*out)->ids = f->card.ids;
    return cot_model_folder_map_weights(folder, f, (*out)->params);
}

static cot_status load_folder(const char *folder, cot_model **out)
{
    cot_model_folder f;
    COT_TRY(cot_model_folder_read(folder, &f));
    const cot_status status = load(folder, &f, out);
    cot_model_folder_release(&f);
    return status;
}

cot_status cot_model_load(const char *path, cot_model **out, cot_tokenizer **tokenizer)
{
    *out = NULL;
    if (tokenizer) *tokenizer = NULL;
    bool file;
    COT_TRY(find_file(path, &file));
    cot_status status = file ? load_llama2c(path, out, tokenizer) : load_folder(path, out);
    if (status == COT_OK && tokenizer && !file) status = load_tokenizer(path, *out, tokenizer);
    if (status != COT_OK) {
        cot_model_destroy(*out);
        *out = NULL;
    }
    return status;
}
