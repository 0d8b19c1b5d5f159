/* An evaluation as JSON. */
#include <coterie/evaluate.h>

#include <math.h>
#include <stdlib.h>

#include <jansson.h>

#include "base/fail.h"
#include "formats/json.h"
#include "routing/measures.h"

/* What is not known (no words, no bytes) or too large for a double is null: JSON has no other word for it. */
static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static void set_score(json_t *object, const cot_score *s)
{
    json_object_set_new(object, "loss", number(s->loss));
    json_object_set_new(object, "perplexity", number(s->perplexity));
    json_object_set_new(object, "word_perplexity", number(s->word_perplexity));
    json_object_set_new(object, "bits_per_byte", number(s->bits_per_byte));
    json_object_set_new(object, "tokens", json_integer((json_int_t)s->tokens));
    json_object_set_new(object, "bytes", json_integer((json_int_t)s->bytes));
    json_object_set_new(object, "words", json_integer((json_int_t)s->words));
}

/* Of many experts, some together: cot_load_entries(). */
static json_t *loads(const double *load, int64_t experts)
{
    json_t *array = json_array();
    for (int64_t i = 0; i < cot_load_entries(experts); i++)
        json_array_append_new(array, number(cot_load_entry(load, experts, i)));
    return array;
}

static json_t *source(const cot_evaluation *e, int32_t index)
{
    json_t *object = json_object(), *layers = json_array();
    json_object_set_new(object, "name", json_string(e->sources[index].name));
    set_score(object, &e->sources[index]);
    for (int64_t i = 0; i < e->layer_count; i++) {
        const cot_layer_use *layer = &e->layers[i];
        json_t *entry = json_object();
        json_object_set_new(entry, "layer", json_integer(layer->layer));
        json_object_set_new(entry, "load", loads(layer->source_load + index * layer->experts, layer->experts));
        json_array_append_new(layers, entry);
    }
    json_object_set_new(object, "layers", layers);
    return object;
}

static json_t *key_grid(const cot_key_grid *grid)
{
    json_t *object = json_object(), *rows = json_array();
    for (int64_t i = 0; i < grid->cells; i++)
        json_array_append_new(rows, cot_json_integers(grid->use + i * grid->cells, grid->cells));
    json_object_set_new(object, "sub_keys", json_integer(grid->sub_keys));
    json_object_set_new(object, "bin", json_integer(grid->bin));
    json_object_set_new(object, "use", rows);
    return object;
}

static json_t *layer_use(const cot_layer_use *layer)
{
    json_t *object = json_object();
    json_object_set_new(object, "layer", json_integer(layer->layer));
    json_object_set_new(object, "load", loads(layer->load, layer->experts));
    json_object_set_new(object, "cv2", number(layer->cv2));
    json_object_set_new(object, "importance_cv2", number(layer->importance_cv2));
    json_object_set_new(object, "max_vio", number(layer->max_vio));
    json_object_set_new(object, "router_entropy", number(layer->router_entropy));
    json_object_set_new(object, "drop_fraction", number(layer->drop_fraction));
    json_object_set_new(object, "dead_experts", json_integer(layer->dead));
    json_object_set_new(object, "experts", json_integer(layer->experts));
    json_object_set_new(object, "usage", number(layer->usage));
    json_object_set_new(object, "unevenness", number(layer->unevenness));
    json_object_set_new(object, "unevenness_bias", number(layer->unevenness_bias));
    json_object_set_new(object, "use_histogram",
                        cot_json_integers(layer->use_histogram, cot_use_histogram_size(layer->use_histogram)));
    if (layer->grid.sub_keys) json_object_set_new(object, "key_grid", key_grid(&layer->grid));
    return object;
}

cot_status cot_evaluation_to_json(const cot_evaluation *e, char **out)
{
    json_t *root = json_object(), *sources = json_array(), *layers = json_array();
    set_score(root, &e->total);
    json_object_set_new(root, "window", json_integer(e->window));
    json_object_set_new(root, "stride", json_integer(e->stride));
    for (int32_t i = 0; i < e->source_count; i++) json_array_append_new(sources, source(e, i));
    for (int64_t i = 0; i < e->layer_count; i++) json_array_append_new(layers, layer_use(&e->layers[i]));
    json_object_set_new(root, "sources", sources);
    json_object_set_new(root, "layers", layers);
    *out = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    json_decref(root);
    return *out ? COT_OK : cot_fail(COT_OUT_OF_MEMORY, "no memory for the JSON of an evaluation");
}
