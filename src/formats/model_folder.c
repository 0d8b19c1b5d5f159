/* config.json in both directions. */
#include "formats/model_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "formats/card_section.h"
#include "formats/dialects/card_json.h"
#include "formats/file.h"
#include "formats/json.h"

enum { CONFIG_LIMIT = 4 << 20 };

static cot_status no_memory(const char *path)
{
    return cot_fail(COT_OUT_OF_MEMORY, "'%s': no memory for its config.json", path);
}

/* ---- writing ---- */

/* The text and a newline. */
static cot_status write_text(const char *folder, const char *name, const char *text)
{
    char *path = cot_path_join(folder, name);
    if (!path) return no_memory(folder);
    cot_file_writer *writer;
    cot_status status = cot_file_writer_open(path, &writer);
    cot_free(path);
    if (status != COT_OK) return status;
    cot_file_writer_put(writer, text, strlen(text));  /* a failure is kept until the commit */
    cot_file_writer_put(writer, "\n", 1);
    return cot_file_writer_commit(writer);
}

/* Appends a JSON text two spaces further in, without the newline at its end. Inside JSON's strings there are no
 * newlines. */
static char *put_indented(char *to, const char *json)
{
    for (; *json && strcmp(json, "\n") != 0; json++) {
        *to++ = *json;
        if (*json == '\n') *to++ = ' ', *to++ = ' ';
    }
    return to;
}

static size_t count_lines(const char *text)
{
    size_t lines = 0;
    for (; *text; text++) lines += *text == '\n';
    return lines;
}

/* `keys`, which ends in "\n}", with the section as one more entry; NULL when memory is short. */
static char *join_section(const char *keys, const char *section)
{
    char *out = cot_malloc(strlen(keys) + strlen(section) + 2 * count_lines(section) + 32);
    if (!out) return NULL;
    char *end = out + sprintf(out, "%.*s,\n  \"coterie\": ", (int)strlen(keys) - 2, keys);
    strcpy(put_indented(end, section), "\n}");
    return out;
}

/* The family's keys as an indented map, with our own section word for word as its last entry. */
static cot_status config_text(const cot_dialect *dialect, const cot_model_card *card, char **out)
{
    char *section = NULL, *keys = NULL;
    json_t *root = json_object();
    *out = NULL;
    cot_status status = root ? cot_card_to_json(dialect, card, root) : no_memory(dialect->model_type);
    if (status == COT_OK && card->model) status = cot_config_to_json(card->model, &section);
    if (status == COT_OK) keys = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(COT_JSON_DIGITS));
    json_decref(root);
    if (keys) *out = section ? join_section(keys, section) : cot_strdup(keys);
    if (status == COT_OK && !*out) status = no_memory(dialect->model_type);
    free(section);
    free(keys);
    return status;
}

static cot_status write_generation_config(const char *folder, const cot_model_card *card)
{
    json_t *root = json_object();
    cot_status status = root ? cot_card_ids_to_json(card, root) : no_memory(folder);
    char *text = status == COT_OK ? json_dumps(root, JSON_INDENT(2)) : NULL;
    json_decref(root);
    if (status == COT_OK) status = text ? write_text(folder, "generation_config.json", text) : no_memory(folder);
    free(text);
    return status;
}

cot_status cot_model_folder_write_config(const char *path, const cot_dialect *dialect, const cot_model_card *card)
{
    char *text = NULL;
    json_t *parsed = NULL;
    cot_status status = config_text(dialect, card, &text);
    /* Never leave a broken one. */
    if (status == COT_OK) status = cot_json_parse(text, strlen(text), "config.json", &parsed);
    json_decref(parsed);
    if (status == COT_OK) status = cot_folder_make(path);
    if (status == COT_OK) status = write_text(path, "config.json", text);
    cot_free(text);
    return status == COT_OK ? write_generation_config(path, card) : status;
}

cot_status cot_model_folder_write(const char *path, const cot_model_card *card, const cot_params *params,
                                  const cot_dialect **dialect)
{
    const cot_dialect *chosen = cot_dialect_for(card, params);
    if (dialect) *dialect = chosen;
    COT_TRY(cot_model_folder_write_weights(path, chosen, card, params));
    return cot_model_folder_write_config(path, chosen, card);
}

/* ---- reading ---- */

static cot_status unknown_type(const char *file, const json_t *type)
{
    char   known[256] = "";
    size_t used = 0;
    for (size_t i = 0; cot_dialect_at(i) && used < sizeof known; i++)
        used +=
            (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", cot_dialect_at(i)->model_type);
    const char *name = json_string_value(type);
    return cot_fail(COT_NOT_FOUND, "'%s': model_type is %s%s%s, expected one of: %s", file, name ? "'" : "",
                    name ? name : cot_json_kind(type), name ? "'" : "", known);
}

/* Our own section keeps the lines at which it stands in the file. */
static cot_status copy_section(const char *text, const char *file, cot_config **out)
{
    cot_config *whole;
    COT_TRY(cot_config_parse(text, file, &whole));
    const cot_config *section = cot_config_get(whole, "coterie");
    cot_status status;
    if (section && cot_config_get_kind(section) == COT_CONFIG_MAP) status = cot_config_copy(section, out);
    else status = cot_fail(COT_FORMAT, "'%s': expected a map 'coterie' that describes the model", file);
    cot_config_destroy(whole);
    return status;
}

static cot_status read_config(const char *text, size_t bytes, const char *file, cot_model_folder *out)
{
    json_t *root;
    COT_TRY(cot_json_parse(text, bytes, file, &root));
    const json_t *type = json_object_get(root, "model_type");
    cot_status status;
    out->dialect = json_is_string(type) ? cot_dialect_find(json_string_value(type)) : NULL;
    if (!json_is_object(root)) status = cot_fail(COT_FORMAT, "'%s': %s, expected a map", file, cot_json_kind(root));
    else if (!out->dialect) status = unknown_type(file, type);
    else status = cot_card_from_json(out->dialect, root, file, &out->card);
    /* Only our own family cannot do without its section. */
    const bool ours = json_object_get(root, "coterie") != NULL || (out->dialect && out->dialect->keeps_unknown);
    json_decref(root);
    if (status != COT_OK) return status;
    return ours ? copy_section(text, file, &out->section) : cot_card_section(&out->card, file, &out->section);
}

/* Which tokens end a text is said there too, for generation, and counts more. */
static cot_status read_generation_config(const char *path, cot_text_ids *ids)
{
    char *file = cot_path_join(path, "generation_config.json");
    json_t *root = NULL;
    cot_status status = file ? COT_OK : no_memory(path);
    if (status == COT_OK && cot_file_exists(file)) status = cot_json_read(file, CONFIG_LIMIT, &root);
    const json_t *end = json_object_get(root, "eos_token_id");
    if (status == COT_OK && end && !json_is_null(end)) status = cot_card_eos_from_json(root, file, ids);
    json_decref(root);
    cot_free(file);
    return status;
}

cot_status cot_model_folder_read(const char *path, cot_model_folder *out)
{
    *out = (cot_model_folder){.dialect = NULL};
    if (!cot_folder_exists(path))
        return cot_fail(COT_NOT_FOUND, "'%s': no such folder; expected one with a model", path);
    char *file = cot_path_join(path, "config.json"), *text = NULL;
    size_t bytes;
    cot_status status;
    if (!file) status = no_memory(path);
    else if (!cot_file_exists(file)) status = cot_fail(COT_NOT_FOUND, "'%s' is no model: it has no config.json", path);
    else status = cot_file_read(file, CONFIG_LIMIT, &text, &bytes);
    if (status == COT_OK) status = read_config(text, bytes, file, out);
    if (status == COT_OK) status = read_generation_config(path, &out->card.ids);
    cot_free(text);
    cot_free(file);
    if (status != COT_OK) cot_model_folder_release(out);
    return status;
}

void cot_model_folder_release(cot_model_folder *folder)
{
    cot_config_destroy(folder->section);
    *folder = (cot_model_folder){.dialect = NULL};
}
