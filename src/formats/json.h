/* JSON from files that nobody vouches for: bounded in size, no key twice, one clear line on failure. */
#ifndef COT_FORMATS_JSON_H
#define COT_FORMATS_JSON_H

#include <stddef.h>

#include <jansson.h>

#include <coterie/status.h>

/* Parses a whole text. `file` names it in messages. The caller drops *out with json_decref().
 * Errors: COT_FORMAT with line and column, also for nesting beyond jansson's 2048. */
cot_status cot_json_parse(const char *text, size_t bytes, const char *file, json_t **out);

/* The same from a file of at most `limit` bytes. A tree takes up to 20 times the text's memory. */
cot_status cot_json_read(const char *path, size_t limit, json_t **out);

/* Copies jansson's message into `line`, with '?' for what it quotes of the text beyond plain ASCII. */
void cot_json_error_line(const json_error_t *error, char *line, size_t size);

/* What kind of value it is, for messages: "a string", "null" ... */
const char *cot_json_kind(const json_t *value);

#endif
