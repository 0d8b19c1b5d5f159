/* Option tables: filling a member's state from a configuration, and describing options to people. */
#include "base/options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config_tree.h"
#include "base/fail.h"
#include "base/memory.h"

/* ---- describing ---- */

static void *field(const cot_option *option, void *state) { return (char *)state + option->offset; }

/* The shortest decimal form that reads back as the same number. */
static void write_number(double value, char *out, size_t bytes)
{
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(out, bytes, "%.*g", digits, value);
        if (strtod(out, NULL) == value) break;
    }
    if (fabs(value) >= 10 && fabs(value) < 1e7 && floor(value) == value) snprintf(out, bytes, "%.0f", value);
}

/* The index-th of "a|b|c" as start and length; false past the end. */
static bool choice_at(const char *choices, size_t index, const char **start, size_t *length)
{
    for (*start = choices;; *start += *length + 1) {
        *length = strcspn(*start, "|");
        if (index-- == 0) return true;
        if ((*start)[*length] == '\0') return false;
    }
}

/* Bounds that no whole number reaches are none. */
static bool bounded(double limit) { return fabs(limit) < 9e18; }

static void describe_interval(const char *noun, double min, double max, char *out, size_t bytes)
{
    char low[32], high[32];
    write_number(min, low, sizeof low);
    write_number(max, high, sizeof high);
    if (bounded(min) && bounded(max)) snprintf(out, bytes, "%s from %s to %s", noun, low, high);
    else if (bounded(min)) snprintf(out, bytes, "%s from %s on", noun, low);
    else if (bounded(max)) snprintf(out, bytes, "%s up to %s", noun, high);
    else snprintf(out, bytes, "%s", noun);
}

static void describe_choices(const char *choices, char *out, size_t bytes)
{
    const char *start;
    size_t length, used = (size_t)snprintf(out, bytes, "one of ");
    for (size_t i = 0; used < bytes && choice_at(choices, i, &start, &length); i++)
        used += (size_t)snprintf(out + used, bytes - used, "%s%.*s", i ? ", " : "", (int)length, start);
}

void cot_option_describe_range(const cot_option *option, char *out, size_t bytes)
{
    switch (option->kind) {
    case COT_OPTION_KIND_INT: describe_interval("a whole number", option->min, option->max, out, bytes); break;
    case COT_OPTION_KIND_DOUBLE: describe_interval("a number", option->min, option->max, out, bytes); break;
    case COT_OPTION_KIND_BOOL: snprintf(out, bytes, "true or false"); break;
    case COT_OPTION_KIND_CHOICE: describe_choices(option->text, out, bytes); break;
    case COT_OPTION_KIND_STRING: snprintf(out, bytes, "a text"); break;
    case COT_OPTION_KIND_NODE: snprintf(out, bytes, "a block of its own"); break;
    }
}

void cot_option_describe_default(const cot_option *option, char *out, size_t bytes)
{
    const char *start = "";
    size_t length = 0;
    switch (option->kind) {
    case COT_OPTION_KIND_INT:
    case COT_OPTION_KIND_DOUBLE: write_number(option->number, out, bytes); break;
    case COT_OPTION_KIND_BOOL: snprintf(out, bytes, "%s", option->number != 0 ? "true" : "false"); break;
    case COT_OPTION_KIND_CHOICE:
        choice_at(option->text, (size_t)option->number, &start, &length);
        snprintf(out, bytes, "%.*s", (int)length, start);
        break;
    case COT_OPTION_KIND_STRING: snprintf(out, bytes, "%s", option->text ? option->text : ""); break;
    case COT_OPTION_KIND_NODE: snprintf(out, bytes, "%s", ""); break;
    }
}

/* ---- filling ---- */

static cot_status fail_range(const cot_option *option, const cot_config *value)
{
    char range[512];
    cot_option_describe_range(option, range, sizeof range);
    return cot_config_expected(value, range);
}

static cot_status set_int(const cot_option *option, void *state, const cot_config *value)
{
    int64_t number;
    if (!cot_config_is_int(value, &number) || (double)number < option->min || (double)number > option->max)
        return fail_range(option, value);
    *(int64_t *)field(option, state) = number;
    return COT_OK;
}

static cot_status set_double(const cot_option *option, void *state, const cot_config *value)
{
    double number;
    if (!cot_config_is_double(value, &number) || number < option->min || number > option->max)
        return fail_range(option, value);
    *(double *)field(option, state) = number;
    return COT_OK;
}

static cot_status set_choice(const cot_option *option, void *state, const cot_config *value)
{
    const char *start, *text = cot_config_text(value);
    size_t length;
    for (size_t i = 0; text && choice_at(option->text, i, &start, &length); i++) {
        if (strlen(text) != length || strncmp(text, start, length) != 0) continue;
        *(int32_t *)field(option, state) = (int32_t)i;
        return COT_OK;
    }
    return fail_range(option, value);
}

static cot_status set_string(const cot_option *option, void *state, const char *text)
{
    char *copy = text ? cot_strdup(text) : NULL;
    if (text && !copy) return cot_fail(COT_OUT_OF_MEMORY, "no memory for option '%s'", option->name);
    char **owned = field(option, state);
    cot_free(*owned);
    *owned = copy;
    return COT_OK;
}

static cot_status set_value(const cot_option *option, void *state, const cot_config *value)
{
    switch (option->kind) {
    case COT_OPTION_KIND_INT: return set_int(option, state, value);
    case COT_OPTION_KIND_DOUBLE: return set_double(option, state, value);
    case COT_OPTION_KIND_BOOL:
        return cot_config_is_bool(value, field(option, state)) ? COT_OK : fail_range(option, value);
    case COT_OPTION_KIND_CHOICE: return set_choice(option, state, value);
    case COT_OPTION_KIND_STRING:
        if (cot_config_size(value) || value->kind == COT_CONFIG_LIST || value->kind == COT_CONFIG_MAP)
            return fail_range(option, value);
        return set_string(option, state, cot_config_text(value));
    case COT_OPTION_KIND_NODE:
        *(const cot_config **)field(option, state) = value->kind == COT_CONFIG_NULL ? NULL : value;
        break;
    }
    return COT_OK;
}

static cot_status set_default(const cot_option *option, void *state)
{
    void *target = field(option, state);
    switch (option->kind) {
    case COT_OPTION_KIND_INT: *(int64_t *)target = (int64_t)option->number; break;
    case COT_OPTION_KIND_DOUBLE: *(double *)target = option->number; break;
    case COT_OPTION_KIND_BOOL: *(bool *)target = option->number != 0; break;
    case COT_OPTION_KIND_CHOICE: *(int32_t *)target = (int32_t)option->number; break;
    case COT_OPTION_KIND_STRING:
        *(char **)target = NULL;
        return set_string(option, state, option->text);
    case COT_OPTION_KIND_NODE: *(const cot_config **)target = NULL; break;
    }
    return COT_OK;
}

static const char *option_name(const void *options, size_t index) { return ((const cot_option *)options)[index].name; }

static cot_status fail_unknown(const cot_option *options, const cot_config *value)
{
    char help[512];
    size_t count = 0;
    while (options[count].name) count++;
    cot_suggest("keys", value->key, count, option_name, options, help, sizeof help);
    return cot_config_fail(value, "is an unknown key%s", count ? help : "; there is nothing to set here");
}

static cot_status apply_entry(const cot_option *options, void *state, const cot_config *value)
{
    if (strcmp(value->key, "kind") == 0) return COT_OK;
    for (const cot_option *option = options; option->name; option++)
        if (strcmp(value->key, option->name) == 0) return set_value(option, state, value);
    return fail_unknown(options, value);
}

static cot_status apply_entries(const cot_option *options, void *state, const cot_config *config)
{
    for (size_t i = 0; i < cot_config_size(config); i++) COT_TRY(apply_entry(options, state, cot_config_at(config, i)));
    return COT_OK;
}

/* What the named preset stands for. Presets set no texts or nodes, which would outlive their tree. */
static cot_status apply_preset(const cot_option *options, void *state, const cot_option *preset, const cot_config *name)
{
    cot_config *values;
    if (!name) return COT_OK;
    COT_TRY(set_choice(preset, state, name));
    COT_TRY(cot_config_parse(preset->presets[*(const int32_t *)field(preset, state)], preset->name, &values));
    const cot_status status = apply_entries(options, state, values);
    cot_config_destroy(values);
    return status;
}

static cot_status apply_all(const cot_option *options, void *state, const cot_config *config)
{
    for (const cot_option *option = options; option->name; option++) COT_TRY(set_default(option, state));
    const cot_config_kind kind = cot_config_get_kind(config);
    if (kind != COT_CONFIG_MAP && kind != COT_CONFIG_NULL) return cot_config_expected(config, "a map of options");
    for (const cot_option *option = options; option->name; option++)
        if (option->presets) COT_TRY(apply_preset(options, state, option, cot_config_get(config, option->name)));
    return apply_entries(options, state, config);
}

cot_status cot_options_apply(const cot_option *options, void *state, const cot_config *config)
{
    static const cot_option none[] = {COT_OPTION_END};
    if (!options) options = none;
    /* So that a release copes with a half-filled state. */
    for (const cot_option *option = options; option->name; option++)
        if (option->kind == COT_OPTION_KIND_STRING) *(char **)field(option, state) = NULL;
    const cot_status status = apply_all(options, state, config);
    if (status != COT_OK) cot_options_release(options, state);
    return status;
}

void cot_options_release(const cot_option *options, void *state)
{
    for (const cot_option *option = options; option && option->name; option++) {
        if (option->kind != COT_OPTION_KIND_STRING) continue;
        char **owned = field(option, state);
        cot_free(*owned);
        *owned = NULL;
    }
}

const void *cot_option_field(const cot_option *options, const void *state, const char *name, cot_option_kind kind)
{
    for (const cot_option *option = options; option && option->name; option++)
        if (option->kind == kind && strcmp(option->name, name) == 0) return (const char *)state + option->offset;
    return NULL;
}
