/* A configuration: a tree of maps, lists and scalars that knows in which file and line each value stood.
 * Recipes, --set key=value, inline specs such as '{kind: top_k, top_k: 2}' and a model's own config all become one. */
#ifndef COTERIE_CONFIG_H
#define COTERIE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <coterie/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cot_config cot_config;

typedef enum { COT_CONFIG_NULL, COT_CONFIG_SCALAR, COT_CONFIG_LIST, COT_CONFIG_MAP } cot_config_kind;

/**
 * Reads a YAML file.
 *
 * Errors   COT_IO when it cannot be read; COT_FORMAT with file, line and column when it is not YAML, repeats a key,
 *          nests deeper than 64 or uses aliases or tags.
 */
COT_API cot_status cot_config_read(const char *path, cot_config **out);

/** The same from text; `name` stands for the file in messages. */
COT_API cot_status cot_config_parse(const char *text, const char *name, cot_config **out);

/** Frees a whole tree; accepts NULL. Call it on the root only. */
COT_API void cot_config_destroy(cot_config *config);

/** A deep copy (the result is a root of its own). */
COT_API cot_status cot_config_copy(const cot_config *config, cot_config **out);

/**
 * Sets `key=value`, key a dotted path (`train.optimizer.lr`, list places by number: `model.layers.0.at`), value inline
 * YAML. Missing maps on the way are made.
 *
 * Errors   COT_INVALID when there is no '=' or the path runs through a scalar; COT_FORMAT when the value is not YAML.
 */
COT_API cot_status cot_config_set(cot_config *config, const char *assignment);

/**
 * Sets a text at a dotted path as it is: nothing in it is taken for YAML, a number or a truth (a file's path).
 *
 * Errors   as cot_config_set(); COT_INVALID when the text is not UTF-8, which no configuration file could hold.
 */
COT_API cot_status cot_config_set_text(cot_config *config, const char *path, const char *text);

/**
 * Sets a copy of a tree at a dotted path; its values keep the file and line where they stood.
 *
 * Errors   as cot_config_set().
 */
COT_API cot_status cot_config_put(cot_config *config, const char *path, const cot_config *tree);

/** Takes away what stands at a dotted path; nothing happens where nothing does. */
COT_API void cot_config_remove(cot_config *config, const char *path);

/**
 * Lays a map over another one: each key by itself, and so on inside, unless they name different kinds. What is no map
 * takes the place of what was there. A map over a list changes the entries whose places are its keys, as in
 * `layers.0.at=2`.
 *
 *   config   changed
 *   over     copied; NULL changes nothing
 *
 * Errors   COT_INVALID for a key that is no place of the list below it.
 */
COT_API cot_status cot_config_overlay(cot_config *config, const cot_config *over);

/* Walking over a tree; nodes live as long as their root, and NULL nodes are absent ones. */

/** What a node is: a scalar, a list or a map. */
COT_API cot_config_kind   cot_config_get_kind(const cot_config *config);
COT_API size_t            cot_config_size(const cot_config *config);                      /**< Entries of a list or map; 0 for others. */
COT_API const cot_config *cot_config_at(const cot_config *config, size_t index);          /**< The index-th entry, or NULL. */
COT_API const char       *cot_config_key(const cot_config *config, size_t index);         /**< The key of a map's index-th entry. */
COT_API const cot_config *cot_config_get(const cot_config *config, const char *path);     /**< By dotted path; NULL when absent. */
COT_API const char       *cot_config_text(const cot_config *config);                      /**< A scalar's text, or NULL. */
COT_API const char       *cot_config_file(const cot_config *config);                      /**< Where it stood: file ... */
COT_API int               cot_config_line(const cot_config *config);                      /**< ... and line, from 1. */

/**
 * Reads a scalar. `config` may be NULL (absent): then *out is left alone.
 *
 * Numbers take decimal or exponent form (20e6 is a valid integer); integers must be whole.
 * Errors   COT_INVALID with file, line, and what was expected.
 */
COT_API cot_status cot_config_int(const cot_config *config, int64_t *out);
/** The same for a number. */
COT_API cot_status cot_config_double(const cot_config *config, double *out);
/** The same for true or false. */
COT_API cot_status cot_config_bool(const cot_config *config, bool *out);

/** The tree as YAML text (block style); the caller frees it with free(). */
COT_API cot_status cot_config_to_yaml(const cot_config *config, char **out);
/** The same as JSON text. */
COT_API cot_status cot_config_to_json(const cot_config *config, char **out);

#ifdef __cplusplus
}
#endif

#endif
