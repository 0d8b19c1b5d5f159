/* JSON from files that nobody vouches for: bounded in size, no key twice, one clear line on failure. */
#ifndef COT_FORMATS_JSON_H
#define COT_FORMATS_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include <coterie/status.h>

/* What speaks against making a tree of the text, for messages, or NULL: nesting deeper than jansson's 2048, or more
 * memory than 24 times the text and a MiB, which real files stay well below (one that is mostly "{}" would take a
 * hundred times its size). Looks at brackets and commas only; the text need not be JSON. */
const char *cot_json_excess(const char *text, size_t bytes);

enum { COT_JSON_DIGITS = 15 /* of numbers in what we write: what a person wrote comes out as it was */ };

/* Parses a whole text; whole numbers beyond 64 bits become real ones. `file` names it in messages. The caller drops
 * *out with json_decref(). Errors: COT_FORMAT with line and column, also for nesting beyond jansson's 2048, and for
 * what does not fit as above. */
cot_status cot_json_parse(const char *text, size_t bytes, const char *file, json_t **out);

/* The same from a file of at most `limit` bytes. */
cot_status cot_json_read(const char *path, size_t limit, json_t **out);

/* Was it memory that jansson lacked? It does not always say so: then it says nothing. */
bool cot_json_out_of_memory(const json_error_t *error);

/* Copies jansson's message into `line`, with '?' for what it quotes of the text beyond plain ASCII. */
void cot_json_error_line(const json_error_t *error, char *line, size_t size);

/* A list of whole numbers; NULL when memory is short. */
json_t *cot_json_integers(const int64_t *values, int64_t count);

/* What kind of value it is, for messages: "a string", "null" ... */
const char *cot_json_kind(const json_t *value);

#endif
