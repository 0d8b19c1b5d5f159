/* Options: a typed table per family member is the only place for a default, a range and a help text. The recipe reader,
 * --set, `coterie list` and --help read it. */
#ifndef COT_BASE_OPTIONS_H
#define COT_BASE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <coterie/config.h>

typedef enum { COT_OPTION_KIND_INT, COT_OPTION_KIND_DOUBLE, COT_OPTION_KIND_BOOL, COT_OPTION_KIND_CHOICE,
               COT_OPTION_KIND_STRING, COT_OPTION_KIND_NODE } cot_option_kind;

typedef struct {
    const char     *name;      /* NULL ends a table */
    cot_option_kind kind;
    size_t          offset;    /* of the field in the state */
    double          number;    /* default: number, bool as 0/1, index of a choice */
    const char     *text;      /* default of a string; the choices of a choice, separated by '|'; what a part holds */
    double          min, max;  /* both ends allowed; -HUGE_VAL, HUGE_VAL = no limit */
    const char     *help;
    const char *const *presets;  /* of a choice: one map of options for each of its names ("{}" = nothing); NULL = it is no preset */
} cot_option;

/* Field types: INT int64_t, DOUBLE double, BOOL bool, CHOICE int32_t (index into the choices), STRING char * (owned by
 * the state, freed by cot_options_release), NODE const cot_config * (borrowed subtree, NULL when absent). */
#define COT_OPTION_INT(type, field, value, lo, hi, help_) \
    {.name = #field, .kind = COT_OPTION_KIND_INT, .offset = offsetof(type, field), \
     .number = (value), .min = (lo), .max = (hi), .help = (help_)}
#define COT_OPTION_DOUBLE(type, field, value, lo, hi, help_) \
    {.name = #field, .kind = COT_OPTION_KIND_DOUBLE, .offset = offsetof(type, field), \
     .number = (value), .min = (lo), .max = (hi), .help = (help_)}
#define COT_OPTION_BOOL(type, field, value, help_) \
    {.name = #field, .kind = COT_OPTION_KIND_BOOL, .offset = offsetof(type, field), \
     .number = (value), .max = 1, .help = (help_)}
#define COT_OPTION_CHOICE(type, field, value, choices, help_) \
    {.name = #field, .kind = COT_OPTION_KIND_CHOICE, .offset = offsetof(type, field), \
     .number = (value), .text = (choices), .help = (help_)}
#define COT_OPTION_STRING(type, field, value, help_) \
    {.name = #field, .kind = COT_OPTION_KIND_STRING, .offset = offsetof(type, field), .text = (value), .help = (help_)}
/* A choice of names for values of other options, which a recipe may set all the same: presets[i] is what name i stands for. */
#define COT_OPTION_PRESET(type, field, choices, presets_, help_) \
    {.name = #field, .kind = COT_OPTION_KIND_CHOICE, .offset = offsetof(type, field), .text = (choices), .help = (help_), .presets = (presets_)}
#define COT_OPTION_NODE(type, field, help_) COT_OPTION_PART(type, field, NULL, help_)
/* A node that holds a member of a family ("routers": {kind: NAME, ...}), a section ("capacity", see study/registry.c),
 * or a list of them. */
#define COT_OPTION_PART(type, field, holds, help_) \
    {.name = #field, .kind = COT_OPTION_KIND_NODE, .offset = offsetof(type, field), .text = (holds), .help = (help_)}
#define COT_OPTION_END {.name = NULL}

/* Fills `state` from the table's defaults, then from what a preset that `config` names stands for, then from `config` (a map, or NULL for defaults only). Key `kind` is
 * skipped. An unknown key, a wrong type or a value out of range fails with file, line, key and what was expected; an
 * unknown key also names the nearest right one. Strings set before a failure are released. */
cot_status cot_options_apply(const cot_option *options, void *state, const cot_config *config);
void       cot_options_release(const cot_option *options, void *state);  /* frees strings */

/* The field of `state` that an option of this name and kind fills; NULL when the table has none. */
const void *cot_option_field(const cot_option *options, const void *state, const char *name, cot_option_kind kind);

/* For people: the default ("0.01", "all"), and what is allowed ("a whole number from 1 to 64", "one of all, chosen").
 * Both write at most `bytes`, NUL included; a string without default gives "". */
void cot_option_describe_default(const cot_option *option, char *out, size_t bytes);
void cot_option_describe_range(const cot_option *option, char *out, size_t bytes);

/* The nearest of `count` names by edit distance, or NULL when none is near. name_at(context, i) gives the i-th. */
const char *cot_nearest(const char *name, size_t count, const char *(*name_at)(const void *, size_t),
                        const void *context);

/* Writes help for a name that is none of them: "; did you mean 'lr'? (keys: lr, beta1)", `noun` being "keys"; without a
 * near one the first half is left out, without a noun the second, and all of it when there are no names. At most
 * `bytes`, NUL included. */
void cot_suggest(const char *noun, const char *name, size_t count, const char *(*name_at)(const void *, size_t),
                 const void *context, char *out, size_t bytes);

#endif
