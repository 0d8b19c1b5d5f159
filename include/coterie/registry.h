/* What Coterie has to offer: families (routers, experts, ...), their members, and what can be set in each. */
#ifndef COTERIE_REGISTRY_H
#define COTERIE_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>

#include <coterie/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A family of interchangeable things. */
typedef struct {
    const char *name;      /**< "routers" */
    const char *singular;  /**< "router" */
    const char *summary;   /**< "who decides which token goes to which expert" */
    bool        has_kinds; /**< picked by {kind: NAME}; else each member is a section of that name (`train: {...}`) */
} cot_registry_family;

/** One member of a family. */
typedef struct {
    const char *name;      /**< what a recipe's {kind: NAME} says */
    const char *source;    /**< keys in docs/references.bib, separated by ", "; NULL = common knowledge */
    const char *summary;   /**< one line */
    size_t      options;   /**< how many */
    const char *input;     /**< of a router: what `coterie route` reads beside plain logits; else NULL */
} cot_registry_member;

/** One thing that can be set in a member. */
typedef struct {
    const char *name;
    const char *help;
    char        value[64];   /**< the default, as a recipe would write it; "" = none */
    char        range[512];  /**< e.g. "a whole number from 1 to 64" */
    const char *choices;     /**< "f32|bf16", "true|false"; NULL when it is no choice */
    const char *holds;       /**< the family whose member stands there, or the section of that name; NULL for anything else */
} cot_registry_option;

/** The index-th family; false past the end. All texts here are static. */
COT_API bool cot_registry_family_at(size_t index, cot_registry_family *out);

/** The family of that name, plural or singular. Errors: COT_NOT_FOUND with the nearest name and all of them. */
COT_API cot_status cot_registry_family_find(const char *name, cot_registry_family *out);

/** The index-th member of a family (by its plural name); false past the end. */
COT_API bool cot_registry_member_at(const char *family, size_t index, cot_registry_member *out);

/** The member of that name. Errors: COT_NOT_FOUND with the nearest name and all of them. */
COT_API cot_status cot_registry_member_find(const char *family, const char *member, cot_registry_member *out);

/** The index-th option of a member; false past the end. */
COT_API bool cot_registry_option_at(const char *family, const char *member, size_t index, cot_registry_option *out);

/**
 * The formats of model folders as JSON, from the tables that read and write them:
 *
 *   traits    what sets models apart, in words that follow "it has"
 *   formats   in the order in which they are tried for a model to be saved: model_type, architecture, source; rules, one
 *             a trait: "always", "may" or "never"; tensors: ours and published, {i} a layer and {e} an expert; joined:
 *             other published names of whole tensors; keys of config.json, each with another name that is read, our
 *             word, the only value that is supported, what counts when it is absent
 *
 *   out       free() it
 */
COT_API cot_status cot_registry_formats(char **out);

/**
 * Help for a name that is none of `count`: "; did you mean 'train'? (commands: train, eval)".
 *
 *   noun      "commands"; NULL leaves the list out
 *   name_at   gives the i-th name of `context`
 *   out       [bytes] out, cut to fit; "" when there are no names
 */
COT_API void cot_registry_suggest(const char *noun, const char *typed, size_t count,
                                  const char *(*name_at)(const void *context, size_t i), const void *context, char *out,
                                  size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
