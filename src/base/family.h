/* Families: folders of interchangeable things (routers, optimizers, schedules ...). What every member says about
 * itself, and how a recipe's `{kind: NAME, ...}` finds it.
 *
 * A family's ops struct starts with a cot_member named `member`, so a member is its ops. The family offers one
 * accessor,
 *     const cot_member *cot_router_at(size_t index);    (NULL past the end)
 * and finds members with
 *     const cot_member *member;
 *     COT_TRY(cot_family_find("router", cot_router_at, spec, &member));
 *     const cot_router_ops *ops = (const cot_router_ops *)member;
 * src/study/registry.c lists the accessors for `coterie list`: one line per family. */
#ifndef COT_BASE_FAMILY_H
#define COT_BASE_FAMILY_H

#include <stddef.h>

#include <coterie/config.h>

#include "base/options.h"

typedef struct {
    const char       *name;     /* in recipes and specs: {kind: NAME} */
    const char       *source;   /* key in docs/references.bib, several separated by ", "; NULL = common knowledge */
    const char       *summary;  /* one line for `coterie list`, without a full stop */
    const cot_option *options;  /* what users may set; NULL = nothing */
} cot_member;

/* The index-th member of a family, NULL past the end. */
typedef const cot_member *(*cot_family_at)(size_t index);

/* Finds the member that `spec` (a map with the key `kind`) asks for. `family` is the singular for messages ("router").
 *
 * Errors   COT_INVALID when spec is NULL, no map, or has no kind; COT_NOT_FOUND for an unknown kind, with file, line,
 *          the nearest kind and all of them. */
cot_status cot_family_find(const char *family, cot_family_at at, const cot_config *spec, const cot_member **out);

/* The same by name alone (a command line's word). */
cot_status cot_family_find_name(const char *family, cot_family_at at, const char *name, const cot_member **out);

/* A member's own struct of `size` bytes (0: it has none): zeroed, then its options as `spec` sets them (NULL: the defaults). A
 * family's create() makes its handle, this, and what the member's setup() adds; on failure there is nothing to give back.
 *
 * Errors   COT_OUT_OF_MEMORY; those of cot_options_apply(). */
cot_status cot_state_create(const cot_member *member, size_t size, const cot_config *spec, void **out);
void       cot_state_destroy(const cot_member *member, void *state);  /* with the texts of its options; accepts NULL */

#endif
