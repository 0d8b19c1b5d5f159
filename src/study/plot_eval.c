/* Reads what `coterie eval --json` prints, as far as pictures need it:
 *   {"sources": [{"name": "drama", "layers": [{"layer": 1, "load": [...]}, ...]}, ...], ...} */
#include <coterie/plot.h>

#include "base/fail.h"
#include "base/memory.h"
#include "formats/json.h"
#include "study/plot_json.h"

enum { EVAL_BYTES = 64 << 20 };

static cot_status add_layers(cot_plot_sources *s, size_t source, const json_t *list, const cot_plot_place *place)
{
    if (source == 0) COT_TRY(cot_plot_layers_make(list, s->sources, place, &s->layer, &s->layers));
    if (json_array_size(list) != s->layers)
        return cot_plot_malformed(place, "%zu layers, the first source has %zu", json_array_size(list), s->layers);
    for (size_t i = 0; i < s->layers; i++) {
        cot_plot_layer *const layer = &s->layer[i];
        cot_plot_load         load;
        COT_TRY(cot_plot_load_read(json_array_get(list, i), place, &load));
        if (load.layer != layer->layer || load.experts != layer->experts)
            return cot_plot_malformed(place, "layer %d with %zu experts, the first source has layer %d with %zu",
                                      (int)load.layer, load.experts, (int)layer->layer, layer->experts);
        for (size_t e = 0; e < load.experts; e++)
            layer->load[source * load.experts + e] = json_number_value(json_array_get(load.load, e));
    }
    return COT_OK;
}

static cot_status add_source(cot_plot_sources *s, size_t source, const json_t *entry, const char *file)
{
    char where[300];
    snprintf(where, sizeof where, "%.200s: source %zu", file, source + 1);
    const cot_plot_place place = {.file = where};
    const json_t *const  name = json_object_get(entry, "name");
    if (!json_is_string(name))
        return cot_plot_malformed(&place, "'name' is %s, expected a string", cot_json_kind(name));
    s->name[source] = cot_strdup(json_string_value(name));
    if (!s->name[source]) return cot_fail(COT_OUT_OF_MEMORY, "%s", where);
    return add_layers(s, source, json_object_get(entry, "layers"), &place);
}

static cot_status sources_fill(cot_plot_sources *s, const json_t *root, const char *file)
{
    const json_t *const  list = json_object_get(root, "sources");
    const cot_plot_place place = {.file = file};
    if (!json_is_array(list) || json_array_size(list) == 0)
        return cot_plot_malformed(&place, "'sources' is %s, expected a list with measurements of each source of text",
                                  json_is_array(list) ? "empty" : cot_json_kind(list));
    const size_t sources = json_array_size(list);
    s->name = cot_calloc(sources * sizeof *s->name);
    if (!s->name) return cot_fail(COT_OUT_OF_MEMORY, "%s: %zu sources", file, sources);
    s->sources = sources;
    for (size_t i = 0; i < sources; i++) COT_TRY(add_source(s, i, json_array_get(list, i), file));
    return COT_OK;
}

cot_status cot_plot_sources_read(const char *path, cot_plot_sources **out)
{
    *out = NULL;
    json_t *root;
    COT_TRY(cot_json_read(path, EVAL_BYTES, &root));
    cot_plot_sources *const s = cot_calloc(sizeof *s);
    const cot_status status = s ? sources_fill(s, root, path)
                                : cot_fail(COT_OUT_OF_MEMORY, "%s: no memory to read it", path);
    json_decref(root);
    if (status == COT_OK) *out = s;
    else cot_plot_sources_destroy(s);
    return status;
}

void cot_plot_sources_destroy(cot_plot_sources *s)
{
    if (!s) return;
    for (size_t i = 0; i < s->sources; i++) cot_free(s->name[i]);
    cot_free(s->name);
    cot_plot_layers_release(s->layer, s->layers);
    cot_free(s);
}
