/* A configuration's nodes, for the files that build, change and write trees; and failing with a node's place in front.
 *
 * All nodes, keys and texts of a tree live in one arena that goes with the root: a half-built tree needs no unwinding,
 * and what cot_config_set() replaces stays until then. */
#ifndef COT_BASE_CONFIG_TREE_H
#define COT_BASE_CONFIG_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <coterie/config.h>

#include "base/memory.h"

enum { COT_CONFIG_DEPTH = 64, COT_CONFIG_NODES = 1 << 20, COT_CONFIG_BYTES = 16 << 20 };

struct cot_config {
    cot_config_kind kind;
    bool            quoted;    /* a scalar in quotes is text, whatever it looks like */
    int             line;      /* from 1; 0 = the file has no lines (--set) */
    const char     *file;
    const char     *key;       /* its name in the parent map; NULL in lists; the root of a copied part keeps its own */
    const char     *text;      /* of a scalar */
    cot_config     *parent;    /* NULL at the root */
    cot_config    **items;     /* of a list or map */
    size_t          size, room;
    cot_arena      *arena;     /* the tree's */
};

/* Fails with COT_INVALID and a message that starts "FILE:LINE: PATH ", so the format goes on with a verb:
 *     cot_config_fail(node, "is %d, expected a divisor of %d", heads, width)
 * gives "x.yaml:7: model.mixer.num_heads is 5, expected a divisor of 256". `at` may be NULL: then only the format's
 * text. */
__attribute__((format(printf, 2, 3))) cot_status cot_config_fail(const cot_config *at, const char *format, ...);

/* The same with a status of choice. */
__attribute__((format(printf, 3, 4))) cot_status cot_config_fail_as(cot_status status, const cot_config *at,
                                                                   const char *format, ...);

/* The usual case: "... is 'two', expected WHAT", with what the node really is. */
cot_status cot_config_expected(const cot_config *at, const char *what);

/* ---- values; false when the node is no such scalar ---- */

bool cot_config_is_int(const cot_config *config, int64_t *out);
bool cot_config_is_double(const cot_config *config, double *out);  /* finite */
bool cot_config_is_bool(const cot_config *config, bool *out);
bool cot_config_is_number_text(const char *text); /* decimal or exponent form, no needless leading zero */

/* ---- building ---- */

/* A node without a parent in the arena, NULL when memory is short. The rest of its fields are zero. */
cot_config *cot_config_new(cot_arena *arena, cot_config_kind kind, const char *file, int line);

/* Puts `item` at the end of a list, or of a map under `key` (kept). Errors: COT_OUT_OF_MEMORY. */
cot_status cot_config_append(cot_config *parent, const char *key, cot_config *item);

/* `length` bytes and a NUL in the arena, or NULL. */
const char *cot_config_intern(cot_arena *arena, const char *text, size_t length);

/* Parses YAML into nodes of `arena`; `depth` levels are above them already. Without `lines` places are named by file
 * only. */
cot_status cot_config_parse_into(cot_arena *arena, const char *text, size_t length, const char *file, bool lines,
                                 int depth, cot_config **out);

#endif
