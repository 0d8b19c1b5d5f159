/* The forms that task files come in, each turned into rows of JSON:
 *   .jsonl, any other name   a row a line
 *   .csv                     MMLU's: question, answers, the right one's letter
 *   .json                    BIG-Bench Hard's: {"examples": [{"input": "...", "target": "(B)"}, ...]} */
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/utf8.h"
#include "formats/json.h"
#include "inference/tasks/task_parts.h"

enum { LETTERS = 26 };  /* answers of a row in .csv; different targets of a .json that are answers to choose from */

static cot_status no_memory(const char *file)
{
    return cot_fail(COT_OUT_OF_MEMORY, "%s: no memory for its questions", file);
}

/* Takes the row. */
static cot_status add_and_drop(cot_task *task, json_t *row, const cot_task_place *at)
{
    const cot_status status = row ? cot_task_add(task, row, at) : no_memory(at->file);
    json_decref(row);
    return status;
}

/* ---- a row of JSON a line ---- */

static cot_status parse_line(cot_task *task, const char *line, size_t length, const cot_task_place *at)
{
    json_error_t error;
    const char *excess = cot_json_excess(line, length);
    if (excess) return cot_task_malformed(at, "%s", excess);
    json_t *row = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error);
    if (!row) {
        char what[JSON_ERROR_TEXT_LENGTH];
        if (json_error_code(&error) == json_error_out_of_memory) return no_memory(at->file);
        cot_json_error_line(&error, what, sizeof what);
        return cot_task_malformed(at, "not a JSON object: %s (column %d)", what, error.column);
    }
    if (json_is_object(row)) return add_and_drop(task, row, at);
    const cot_status status = cot_task_malformed(at, "%s, expected a JSON object", cot_json_kind(row));
    json_decref(row);
    return status;
}

static bool blank(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r') return false;
    return true;
}

static cot_status parse_lines(cot_task *task, const char *text, size_t length)
{
    cot_task_place at = {task->file, 0};
    for (const char *end = text + length; text < end;) {
        const char *line_end = memchr(text, '\n', (size_t)(end - text));
        const size_t bytes = line_end ? (size_t)(line_end - text) : (size_t)(end - text);
        at.line++;
        if (!blank(text, bytes)) COT_TRY(parse_line(task, text, bytes, &at));
        text += bytes + 1;
    }
    return COT_OK;
}

/* ---- MMLU's .csv ---- */

typedef struct {
    const char    *text, *end;
    cot_task_place at;               /* of the record */
    int64_t        lines;            /* that ended before `text` */
    char          *scratch;          /* fields of a record, each with a NUL */
    char          *field[LETTERS + 2];
    size_t         count;
} csv;

static char take_byte(csv *c)
{
    c->lines += *c->text == '\n';
    return *c->text++;
}

/* From behind the first quote to behind the last. */
static cot_status read_quoted(csv *c, char **to)
{
    for (; c->text < c->end; *(*to)++ = take_byte(c)) {
        if (*c->text != '"') continue;
        c->text++;
        if (c->text == c->end || *c->text != '"') return COT_OK;
    }
    return cot_task_malformed(&c->at, "a quote that nothing closes");
}

/* Reads a field and what ends it; *more: a comma. */
static cot_status read_field(csv *c, char **to, bool *more)
{
    if (c->text < c->end && *c->text == '"') {
        c->text++;
        COT_TRY(read_quoted(c, to));
    } else {
        while (c->text < c->end && *c->text != ',' && *c->text != '\n') *(*to)++ = take_byte(c);
        if (*to > c->field[c->count] && (*to)[-1] == '\r') (*to)--;
    }
    *(*to)++ = '\0';
    if (c->text < c->end && *c->text == '\r') c->text++;
    *more = c->text < c->end && *c->text == ',';
    if (c->text < c->end && *c->text != ',' && *c->text != '\n')
        return cot_task_malformed(
            &c->at, "field %zu goes on behind its closing quote, expected a comma or the line's end", c->count + 1);
    if (c->text < c->end) (void)take_byte(c);
    return COT_OK;
}

static cot_status read_record(csv *c)
{
    char *to = c->scratch;
    bool more = true;
    c->at.line = c->lines + 1;
    for (c->count = 0; more; c->count++) {
        if (c->count == sizeof c->field / sizeof *c->field)
            return cot_task_malformed(&c->at, "more than %zu fields", sizeof c->field / sizeof *c->field);
        c->field[c->count] = to;
        COT_TRY(read_field(c, &to, &more));
    }
    return COT_OK;
}

/* `question`, a line "A. ..." for each answer, and "Answer:", in memory of its own; NULL when there is none. */
static char *lettered(const csv *c)
{
    const char *question = c->field[0] + strspn(c->field[0], " \t\r\n");
    size_t bytes = strlen(question) + sizeof "\nAnswer:", length = strlen(question);
    for (size_t i = 1; i + 1 < c->count; i++) bytes += strlen(c->field[i]) + 4;
    char *text = cot_malloc(bytes);
    if (!text) return NULL;
    while (length && strchr(" \t\r\n", question[length - 1])) length--;
    memcpy(text, question, length);
    for (size_t i = 1; i + 1 < c->count; i++) {
        const size_t n = strlen(c->field[i]);
        memcpy(text + length, (const char[]){'\n', (char)('A' + i - 1), '.', ' '}, 4);
        memcpy(text + length + 4, c->field[i], n);
        length += n + 4;
    }
    memcpy(text + length, "\nAnswer:", sizeof "\nAnswer:");
    return text;
}

static cot_status add_record(cot_task *task, const csv *c)
{
    if (c->count < 4)
        return cot_task_malformed(&c->at, "%zu fields, expected a question, answers and the right one's letter",
                                  c->count);
    const char *letter = c->field[c->count - 1];
    const size_t answers = c->count - 2;
    if (letter[0] < 'A' || letter[0] >= (char)('A' + answers) || letter[1])
        return cot_task_malformed(&c->at, "the last of %zu fields is no letter from A to %c, the right answer",
                                  c->count, (char)('A' + answers - 1));
    char *query = lettered(c);
    if (!query) return no_memory(task->file);
    json_t *choices = json_array();
    for (size_t i = 0; i < answers; i++)
        json_array_append_new(choices, json_stringn((const char[]){(char)('A' + i)}, 1));
    json_t *row = json_pack("{s:s, s:o, s:i}", "query", query, "choices", choices, "gold", letter[0] - 'A');
    cot_free(query);
    return add_and_drop(task, row, &c->at);
}

/* Line of the first byte that is not text, 0 = all is. */
static int64_t not_text(const char *text, size_t length)
{
    const size_t valid = cot_utf8_valid(text, length);
    const char *zero = memchr(text, '\0', valid);
    const size_t good = zero ? (size_t)(zero - text) : valid;
    int64_t line = good < length;
    for (size_t i = 0; line && i < good; i++) line += text[i] == '\n';
    return line;
}

static cot_status parse_csv(cot_task *task, const char *text, size_t length)
{
    csv c = {.text = text, .end = text + length, .at = {task->file, not_text(text, length)}};
    if (c.at.line) return cot_task_malformed(&c.at, "neither zero bytes nor anything but UTF-8 may be there");
    c.scratch = cot_malloc(length + 2);
    cot_status status = c.scratch ? COT_OK : no_memory(task->file);
    while (status == COT_OK && c.text < c.end) {
        status = read_record(&c);
        if (status == COT_OK && (c.count > 1 || !blank(c.field[0], strlen(c.field[0])))) status = add_record(task, &c);
    }
    cot_free(c.scratch);
    return status;
}

/* ---- BIG-Bench Hard's .json ---- */

typedef struct {
    const char *text[LETTERS];
    size_t      count;   /* LETTERS + 1: too many to choose from */
} targets;

static void add_target(targets *all, const char *text)
{
    size_t i = 0;
    if (all->count > LETTERS) return;
    while (i < all->count && strcmp(all->text[i], text) < 0) i++;
    if (i < all->count && strcmp(all->text[i], text) == 0) return;
    if (all->count++ == LETTERS) return;
    memmove(all->text + i + 1, all->text + i, (all->count - 1 - i) * sizeof *all->text);
    all->text[i] = text;
}

/* Does the input offer this target? One such as "(E)" must stand in it. */
static bool offered(const char *input, const char *target) { return target[0] != '(' || strstr(input, target); }

/* The targets of the file that the input offers; all, where it offers fewer than two; or a completion. */
static json_t *example_row(const targets *all, const char *input, const char *target)
{
    json_t *query = json_sprintf("Q: %s\nA:", input);
    if (all->count > LETTERS) return json_pack("{s:o, s:s}", "context", query, "continuation", target);
    json_t *choices = json_array();
    int64_t gold = 0;
    size_t count = 0;
    for (size_t i = 0; i < all->count; i++) count += offered(input, all->text[i]);
    for (size_t i = 0; i < all->count; i++) {
        const bool right = strcmp(all->text[i], target) == 0;
        if (count >= 2 && !right && !offered(input, all->text[i])) continue;
        if (right) gold = (int64_t)json_array_size(choices);
        json_array_append_new(choices, json_string(all->text[i]));
    }
    return json_pack("{s:o, s:o, s:I}", "query", query, "choices", choices, "gold", (json_int_t)gold);
}

static cot_status add_examples(cot_task *task, const json_t *list)
{
    targets all = {.count = 0};
    cot_task_place at = {task->file, 0};
    if (!json_is_array(list))
        return cot_fail(COT_FORMAT, "%s: 'examples' is %s, expected a list", task->file, cot_json_kind(list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *example = json_array_get(list, i), *input = json_object_get(example, "input"),
                     *target = json_object_get(example, "target");
        at.line = (int64_t)i + 1;
        if (!json_is_string(input) || !json_is_string(target))
            return cot_task_malformed(&at, "'input' is %s and 'target' %s in this example, expected texts",
                                      cot_json_kind(input), cot_json_kind(target));
        add_target(&all, json_string_value(target));
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *example = json_array_get(list, i);
        at.line = (int64_t)i + 1;
        COT_TRY(add_and_drop(task, example_row(&all, json_string_value(json_object_get(example, "input")),
                                               json_string_value(json_object_get(example, "target"))), &at));
    }
    return COT_OK;
}

static cot_status parse_examples(cot_task *task, const char *text, size_t length)
{
    json_t *root;
    COT_TRY(cot_json_parse(text, length, task->file, &root));
    const cot_status status = add_examples(task, json_object_get(root, "examples"));
    json_decref(root);
    return status;
}

/* ---- by the name's ending ---- */

static const struct {
    const char *ending;
    cot_status (*parse)(cot_task *task, const char *text, size_t length);
} forms[] = {{".jsonl", parse_lines}, {".csv", parse_csv}, {".json", parse_examples}};
enum { FORMS = sizeof forms / sizeof *forms };

/* A name's length without the ending, if that is there. */
static size_t without(const char *name, size_t length, const char *ending)
{
    const size_t n = strlen(ending);
    return length > n && strncmp(name + length - n, ending, n) == 0 ? length - n : length;
}

/* The form of a file of that name, FORMS for none; *length: of the name without packing and form. */
static size_t form_of(const char *name, size_t *length)
{
    const size_t unpacked = without(name, without(name, strlen(name), ".gz"), ".zst");
    size_t form = 0;
    while (form < FORMS && without(name, unpacked, forms[form].ending) == unpacked) form++;
    *length = form < FORMS ? without(name, unpacked, forms[form].ending) : unpacked;
    return form;
}

bool cot_task_has_form(const char *name)
{
    size_t length;
    return form_of(name, &length) < FORMS;
}

cot_status cot_task_parse(const char *path, const char *text, size_t length, cot_task **out)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    size_t stem;
    const size_t form = form_of(base, &stem);
    cot_task *task = cot_calloc(sizeof *task);
    *out = NULL;
    if (task) {
        task->name = cot_strndup(base, stem);
        task->file = cot_strdup(path);
    }
    cot_status status = task && task->name && task->file
                            ? (form < FORMS ? forms[form].parse : parse_lines)(task, text, length)
                            : no_memory(path);
    if (status == COT_OK && !task->count)
        status = cot_fail(COT_FORMAT, "%s: no row in it, expected a question in each", path);
    if (status == COT_OK) *out = task;
    else cot_task_destroy(task);
    return status;
}
