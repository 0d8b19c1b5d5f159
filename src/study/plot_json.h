/* What the readers of metrics and of evaluations share: fields of JSON files that nobody vouches for. */
#ifndef COT_STUDY_PLOT_JSON_H
#define COT_STUDY_PLOT_JSON_H

#include <jansson.h>

#include <coterie/plot.h>

/* A place for messages, e.g. "runs/a/metrics.jsonl:12". */
typedef struct {
    const char *file;
    size_t      line;  /* 0: the file as a whole */
} cot_plot_place;

/* A number under `key`; null and (unless `needed`) a missing key give NaN. COT_FORMAT with the place otherwise. */
cot_status cot_plot_number(const json_t *map, const char *key, bool needed, const cot_plot_place *place, double *out);

/* What stands in one entry of a list `layers`. */
typedef struct {
    int32_t       layer;
    size_t        experts;
    const json_t *load;  /* a list of `experts` fractions, all checked */
} cot_plot_load;

cot_status cot_plot_load_read(const json_t *entry, const cot_plot_place *place, cot_plot_load *out);

/* COT_FORMAT: "FILE:LINE: what". */
__attribute__((format(printf, 2, 3)))
cot_status cot_plot_malformed(const cot_plot_place *place, const char *format, ...);

/* Frees the loads and the list. */
void cot_plot_layers_release(cot_plot_layer *layers, size_t count);

/* Makes `layers` for the layers of `list` (NULL or a list) with `rows` rows of NaN. */
cot_status cot_plot_layers_make(const json_t *list, size_t rows, const cot_plot_place *place, cot_plot_layer **layers,
                                size_t *count);

#endif
