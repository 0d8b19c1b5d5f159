/* The recipes that come with Coterie: YAML files, one per published system or experiment. */
#ifndef COTERIE_RECIPES_H
#define COTERIE_RECIPES_H

#include <stddef.h>

#include <coterie/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A recipe file. */
typedef struct {
    char *name;     /**< the file's name without .yaml */
    char *path;
    char *summary;  /**< its first comment line, "" without one */
} cot_recipe;

/**
 * Lists the recipes by name. They lie in $COTERIE_RECIPES, or else in share/coterie/recipes of the prefix from which
 * the program or the library runs, or else in the source tree it was built from, or else where it was to be installed:
 * the first of these folders that exists.
 *
 *   out   [*count] out; give it back with cot_recipes_destroy()
 *
 * Errors   COT_IO when no such folder exists.
 */
COT_API cot_status cot_recipes_list(cot_recipe **out, size_t *count);

COT_API void cot_recipes_destroy(cot_recipe *recipes, size_t count);  /**< Accepts NULL. */

/**
 * Finds the file that a command line means: the path of an existing file, or the name of a recipe ("wikitext-2").
 *
 *   path   out; the caller frees it with free()
 *
 * Errors   COT_NOT_FOUND with the nearest name and where recipes were looked for.
 */
COT_API cot_status cot_recipes_find(const char *name, char **path);

#ifdef __cplusplus
}
#endif

#endif
