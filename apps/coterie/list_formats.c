#include "list_formats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coterie/registry.h>

#include "cli.h"
#include "print_json.h"
#include "table.h"
#include "terminal.h"

static int read_formats(json_t **out)
{
    char *text;
    CLI_TRY(cot_registry_formats(&text));
    *out = json_loads(text, 0, NULL);
    free(text);
    return *out ? CLI_OK : cli_fail("no memory for a list of formats");
}

static const char *text_of(const json_t *map, const char *key)
{
    const char *text = json_string_value(json_object_get(map, key));
    return text ? text : "";
}

/* A row a trait, a column a family. */
static void print_formats(const json_t *root)
{
    const json_t *traits = json_object_get(root, "traits"), *formats = json_object_get(root, "formats");
    char   alignment[32] = "l";
    size_t f, i;
    json_t *format;
    for (f = 0; f < json_array_size(formats) && f + 2 < sizeof alignment; f++) alignment[f + 1] = 'l';
    alignment[f + 1] = '\0';
    table *t = table_create(alignment);
    table_cell(t, "a model has");
    json_array_foreach(formats, f, format) table_cell(t, "%s", text_of(format, "model_type"));
    for (i = 0; i < json_array_size(traits); i++) {
        table_cell(t, "%s", json_string_value(json_array_get(traits, i)));
        json_array_foreach(formats, f, format) {
            const char *rule = json_string_value(json_array_get(json_object_get(format, "rules"), i));
            table_cell(t, "%s", strcmp(rule, "never") == 0 ? "" : rule);
        }
    }
    table_print(t, 0, stdout);
    if (cli_quiet()) return;
    printf("\nA model is saved in the first that has a place for it. Names in one: coterie list formats NAME\n");
}

static void print_format(const json_t *format)
{
    size_t  i;
    json_t *row;
    printf("format %s%s%s: %s\n\n", terminal_bold(stdout), text_of(format, "model_type"), terminal_reset(stdout),
           text_of(format, "architecture"));
    table *t = table_create("ll");
    table_cell(t, "ours");
    table_cell(t, "tensor in files");
    json_array_foreach(json_object_get(format, "tensors"), i, row) {
        table_cell(t, "%s", text_of(row, "ours"));
        table_cell(t, "%s", text_of(row, "published"));
    }
    table_print(t, 2, stdout);
    printf("\n");
    t = table_create("ll");
    table_cell(t, "key in config.json");
    table_cell(t, "what it says");
    json_array_foreach(json_object_get(format, "keys"), i, row) {
        table_cell(t, "%s", text_of(row, "key"));
        const char *only = text_of(row, "only");
        table_cell(t, "%s%s", *only ? "only " : "", *only ? only : text_of(row, "field"));
    }
    table_print(t, 2, stdout);
}

static const char *format_name(const void *formats, size_t i)
{
    return text_of(json_array_get(formats, i), "model_type");
}

int list_formats(const char *name, bool json)
{
    json_t *root, *found = NULL, *format;
    size_t  i;
    CLI_TRY(read_formats(&root));
    const json_t *formats = json_object_get(root, "formats");
    json_array_foreach(formats, i, format)
        if (name && strcmp(text_of(format, "model_type"), name) == 0) found = format;
    int code = CLI_OK;
    if (name && !found) {
        char help[512];
        cot_registry_suggest("formats", name, json_array_size(formats), format_name, formats, help, sizeof help);
        code = cli_fail("'%.60s' is no format%s", name, help);
    } else if (json) {
        code = print_json(json_incref(found ? found : root));
    } else if (found) {
        print_format(found);
    } else {
        print_formats(root);
    }
    json_decref(root);
    return code;
}

void join_formats(char *out, size_t bytes)
{
    json_t *root = NULL, *format;
    size_t  i, used = 0;
    out[0] = '\0';
    if (read_formats(&root) != CLI_OK) return;
    json_array_foreach(json_object_get(root, "formats"), i, format)
        if (used < bytes)
            used += (size_t)snprintf(out + used, bytes - used, "%s%s", i ? ", " : "", text_of(format, "model_type"));
    json_decref(root);
}
