/* Configurations as text: YAML through libyaml's emitter, JSON by hand. Scalars keep the text as written. */
#include "base/config_tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/fail.h"
#include "base/memory.h"

/* A text that grows; plain memory because the caller frees it with free(). Sticky on failure. */
typedef struct {
    char  *data;
    size_t size, room;
    bool   failed;
} text;

static void put(text *t, const char *bytes, size_t length)
{
    if (t->failed) return;
    if (t->room - t->size <= length) {
        const size_t room = 2 * t->room + length + 256;
        char *data = cot_plain_realloc(t->data, room);
        if (!data) {
            t->failed = true;
            return;
        }
        t->data = data;
        t->room = room;
    }
    memcpy(t->data + t->size, bytes, length);
    t->size += length;
    t->data[t->size] = '\0';
}

static void puts_text(text *t, const char *string) { put(t, string, strlen(string)); }

static cot_status finish(text *t, const cot_config *config, bool complete, char **out)
{
    if (complete && !t->failed) {
        *out = t->data;
        return COT_OK;
    }
    free(t->data);
    return cot_fail(COT_OUT_OF_MEMORY, "%s: no memory to write the configuration", config->file);
}

/* ---- YAML ---- */

static int write_bytes(void *data, unsigned char *bytes, size_t length)
{
    text *t = data;
    put(t, (const char *)bytes, length);
    return !t->failed;
}

static bool emit_scalar(yaml_emitter_t *emitter, const char *string, bool quoted)
{
    yaml_event_t event;
    const yaml_scalar_style_t style = quoted ? YAML_DOUBLE_QUOTED_SCALAR_STYLE : YAML_PLAIN_SCALAR_STYLE;
    return yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)string, (int)strlen(string), !quoted,
                                        1, style) &&
           yaml_emitter_emit(emitter, &event);
}

static bool emit_node(yaml_emitter_t *emitter, const cot_config *node)
{
    yaml_event_t event;
    if (node->kind == COT_CONFIG_NULL) return emit_scalar(emitter, "null", false);
    if (node->kind == COT_CONFIG_SCALAR) return emit_scalar(emitter, node->text, node->quoted);
    const bool map = node->kind == COT_CONFIG_MAP;
    if (!(map ? yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE)
              : yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_SEQUENCE_STYLE)) ||
        !yaml_emitter_emit(emitter, &event))
        return false;
    for (size_t i = 0; i < node->size; i++) {
        if (map && !emit_scalar(emitter, node->items[i]->key, false)) return false;
        if (!emit_node(emitter, node->items[i])) return false;
    }
    return (map ? yaml_mapping_end_event_initialize(&event) : yaml_sequence_end_event_initialize(&event)) &&
           yaml_emitter_emit(emitter, &event);
}

static bool emit_document(yaml_emitter_t *emitter, const cot_config *config)
{
    yaml_event_t event;
    return yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING) && yaml_emitter_emit(emitter, &event) &&
           yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1) && yaml_emitter_emit(emitter, &event) &&
           emit_node(emitter, config) && yaml_document_end_event_initialize(&event, 1) &&
           yaml_emitter_emit(emitter, &event) && yaml_stream_end_event_initialize(&event) &&
           yaml_emitter_emit(emitter, &event);
}

cot_status cot_config_to_yaml(const cot_config *config, char **out)
{
    *out = NULL;
    if (!config) return cot_fail(COT_INVALID, "no configuration to write");
    text t = {0};
    yaml_emitter_t emitter;
    if (!yaml_emitter_initialize(&emitter)) return finish(&t, config, false, out);
    yaml_emitter_set_output(&emitter, write_bytes, &t);
    yaml_emitter_set_unicode(&emitter, 1);
    yaml_emitter_set_width(&emitter, -1);
    const bool complete = emit_document(&emitter, config);
    yaml_emitter_delete(&emitter);
    return finish(&t, config, complete, out);
}

/* ---- JSON ---- */

static void put_string(text *t, const char *string)
{
    puts_text(t, "\"");
    for (const char *c = string; *c; c++) {
        char escaped[8];
        if (*c == '"' || *c == '\\') snprintf(escaped, sizeof escaped, "\\%c", *c);
        else if (*c == '\n') snprintf(escaped, sizeof escaped, "\\n");
        else if ((unsigned char)*c < 0x20) snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned)*c);
        else snprintf(escaped, sizeof escaped, "%c", *c);
        puts_text(t, escaped);
    }
    puts_text(t, "\"");
}

/* JSON wants digits on both sides of the point and no plus: 1. becomes 1.0, .5 becomes 0.5. */
static void put_number(text *t, const char *number)
{
    if (*number == '+') number++;
    for (const char *c = number; *c; c++) {
        const bool digit_before = c > number && c[-1] >= '0' && c[-1] <= '9';
        if (*c == '.' && !digit_before) puts_text(t, "0");
        put(t, c, 1);
        if (*c == '.' && !(c[1] >= '0' && c[1] <= '9')) puts_text(t, "0");
    }
}

static void put_scalar(text *t, const cot_config *node)
{
    bool truth;
    if (cot_config_is_bool(node, &truth)) puts_text(t, truth ? "true" : "false");
    else if (!node->quoted && cot_config_is_number_text(node->text)) put_number(t, node->text);
    else put_string(t, node->text);
}

static void put_line(text *t, int depth)
{
    puts_text(t, "\n");
    for (int i = 0; i < depth; i++) puts_text(t, "  ");
}

static void put_json(text *t, const cot_config *node, int depth)
{
    if (node->kind == COT_CONFIG_NULL) puts_text(t, "null");
    if (node->kind == COT_CONFIG_SCALAR) put_scalar(t, node);
    if (node->kind != COT_CONFIG_LIST && node->kind != COT_CONFIG_MAP) return;
    const bool map = node->kind == COT_CONFIG_MAP;
    puts_text(t, map ? "{" : "[");
    for (size_t i = 0; i < node->size; i++) {
        if (i) puts_text(t, ",");
        put_line(t, depth + 1);
        if (map) put_string(t, node->items[i]->key);
        if (map) puts_text(t, ": ");
        put_json(t, node->items[i], depth + 1);
    }
    if (node->size) put_line(t, depth);
    puts_text(t, map ? "}" : "]");
}

cot_status cot_config_to_json(const cot_config *config, char **out)
{
    *out = NULL;
    if (!config) return cot_fail(COT_INVALID, "no configuration to write");
    text t = {0};
    put_json(&t, config, 0);
    puts_text(&t, "\n");
    return finish(&t, config, true, out);
}
