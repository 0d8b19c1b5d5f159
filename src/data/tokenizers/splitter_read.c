/* The `pre_tokenizer` section of a tokenizer.json. */
#include <string.h>

#include "base/fail.h"
#include "data/tokenizers/characters.h"
#include "data/tokenizers/section.h"
#include "data/tokenizers/splitter.h"

static const char section_name[] = "pre_tokenizer";
static const char gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

enum { STEPS_MAX = 64 };  /* published ones have four; each is a level of recursion */

typedef struct {
    cot_splitter *splitter;
    const char   *name;  /* of the file */
} reader;

static cot_status no_memory(const reader *r) { return cot_fail(COT_OUT_OF_MEMORY, "%s: its pre-tokenizer", r->name); }

static void step_release(cot_split_step *step)
{
    cot_pattern_release(&step->pattern);
    cot_free(step->mark);
}

void cot_splitter_release(cot_splitter *splitter)
{
    for (size_t i = 0; i < splitter->count; i++) step_release(&splitter->steps[i]);
    cot_free(splitter->steps);
    *splitter = (cot_splitter){0};
}

/* Adds a step, or frees it. */
static cot_status add_step(const reader *r, cot_split_step step, cot_status status)
{
    cot_splitter *s = r->splitter;
    if (status == COT_OK && s->count == STEPS_MAX)
        status = cot_fail(COT_FORMAT, "%s: %s has more than %d steps", r->name, section_name, STEPS_MAX);
    if (status == COT_OK) {
        cot_split_step *steps = cot_grown(s->steps, &s->capacity, s->count + 1, sizeof *steps);
        if (steps) {
            s->steps = steps;
            steps[s->count++] = step;
            return COT_OK;
        }
        status = no_memory(r);
    }
    step_release(&step);
    return status;
}

/* A step that cuts by a pattern of ours. */
static cot_status add_pattern(const reader *r, const char *pattern, cot_cut cut, bool inverted)
{
    cot_split_step   step = {.kind = COT_SPLIT_PATTERN, .cut = cut, .inverted = inverted};
    const cot_status status = cot_pattern_compile(pattern, strlen(pattern), section_name, &step.pattern);
    return add_step(r, step, status);
}

static cot_status read_byte_level(const reader *r, const json_t *section)
{
    bool prefix, regex;
    COT_TRY(cot_section_flag(section, "add_prefix_space", true, section_name, r->name, &prefix));
    COT_TRY(cot_section_flag(section, "use_regex", true, section_name, r->name, &regex));
    if (prefix) COT_TRY(add_step(r, (cot_split_step){.kind = COT_SPLIT_PREFIX_SPACE}, COT_OK));
    if (regex) COT_TRY(add_step(r, (cot_split_step){.kind = COT_SPLIT_GPT2}, COT_OK));
    r->splitter->byte_level = true;
    return COT_OK;
}

static cot_status read_cut(const reader *r, const json_t *section, cot_cut *out)
{
    static const char *const names[] = {
        [COT_CUT_ISOLATED] = "Isolated", [COT_CUT_CONTIGUOUS] = "Contiguous", [COT_CUT_REMOVED] = "Removed",
        [COT_CUT_WITH_PREVIOUS] = "MergedWithPrevious", [COT_CUT_WITH_NEXT] = "MergedWithNext"};
    const json_t *value = json_object_get(section, "behavior");
    *out = COT_CUT_ISOLATED;
    if (!value || json_is_null(value)) return COT_OK;
    for (size_t i = 0; json_is_string(value) && i < sizeof names / sizeof *names; i++) {
        *out = (cot_cut)i;
        if (!strcmp(json_string_value(value), names[i])) return COT_OK;
    }
    return cot_fail(COT_FORMAT, "%s: %s.behavior is %.60s, expected Isolated, Removed, MergedWithPrevious, "
                    "MergedWithNext or Contiguous", r->name, section_name,
                    json_is_string(value) ? json_string_value(value) : cot_json_kind(value));
}

static cot_status read_split(const reader *r, const json_t *section)
{
    cot_split_step step = {.kind = COT_SPLIT_PATTERN};
    const json_t  *pattern = json_object_get(section, "pattern");
    const char    *regex = json_string_value(json_object_get(pattern, "Regex"));
    COT_TRY(cot_section_flag(section, "invert", false, section_name, r->name, &step.inverted));
    COT_TRY(read_cut(r, section, &step.cut));
    /* GPT-2's pattern matches everything, so inverting makes no difference to what is isolated. */
    if (regex && !strcmp(regex, gpt2_pattern) && step.cut == COT_CUT_ISOLATED) {
        step.kind = COT_SPLIT_GPT2;
        return add_step(r, step, COT_OK);
    }
    const cot_status status = cot_section_pattern(pattern, "pre_tokenizer.pattern", r->name, &step.pattern);
    return add_step(r, step, status);
}

static cot_status read_metaspace(const reader *r, const json_t *section)
{
    cot_split_step step = {.kind = COT_SPLIT_METASPACE, .prefix = COT_PREFIX_ALWAYS};
    const char    *mark = json_string_value(json_object_get(section, "replacement"));
    const json_t  *scheme = json_object_get(section, "prepend_scheme");
    bool           prefix;
    COT_TRY(cot_section_flag(section, "split", true, section_name, r->name, &step.split));
    COT_TRY(cot_section_flag(section, "add_prefix_space", true, section_name, r->name, &prefix));
    if (!prefix) step.prefix = COT_PREFIX_NEVER;
    if (json_is_string(scheme)) {
        const char *value = json_string_value(scheme);
        if (!strcmp(value, "never")) step.prefix = COT_PREFIX_NEVER;
        else if (!strcmp(value, "first")) step.prefix = COT_PREFIX_FIRST;
        else if (strcmp(value, "always") != 0)
            return cot_fail(COT_FORMAT, "%s: %s.prepend_scheme is %.60s, expected always, first or never", r->name,
                            section_name, value);
    }
    if (!mark || !*mark || cot_character_at(mark, mark + strlen(mark)).size != strlen(mark))
        return cot_fail(COT_FORMAT, "%s: %s.replacement is %.60s, expected a character", r->name, section_name,
                        mark ? mark : "absent");
    step.mark = cot_strdup(mark);
    return add_step(r, step, step.mark ? COT_OK : no_memory(r));
}

static cot_status read_digits(const reader *r, const json_t *section)
{
    bool single;
    COT_TRY(cot_section_flag(section, "individual_digits", false, section_name, r->name, &single));
    return add_pattern(r, "\\p{N}", single ? COT_CUT_ISOLATED : COT_CUT_CONTIGUOUS, false);
}

static cot_status read_punctuation(const reader *r, const json_t *section)
{
    cot_cut cut;
    COT_TRY(read_cut(r, section, &cut));
    return add_pattern(r, "[\\p{P}$+<=>^`|~]", cut, false);
}

static cot_status read_section(const reader *r, const json_t *section);

static cot_status read_sequence(const reader *r, const json_t *section)
{
    const json_t *list = json_object_get(section, "pretokenizers");
    if (!json_is_array(list))
        return cot_fail(COT_FORMAT, "%s: %s.pretokenizers is %s, expected a list", r->name, section_name,
                        cot_json_kind(list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (r->splitter->byte_level)
            return cot_fail(COT_FORMAT, "%s: %s has a step behind ByteLevel, expected it to be the last", r->name,
                            section_name);
        COT_TRY(read_section(r, json_array_get(list, i)));
    }
    return COT_OK;
}

static cot_status read_section(const reader *r, const json_t *section)
{
    static const char words[] = "[\\w\\u200c\\u200d]+|[^\\w\\s\\u200c\\u200d]+";
    const char       *type;
    COT_TRY(cot_section_type(section, section_name, r->name, &type));
    if (!strcmp(type, "Sequence")) return read_sequence(r, section);
    if (!strcmp(type, "ByteLevel")) return read_byte_level(r, section);
    if (!strcmp(type, "Split")) return read_split(r, section);
    if (!strcmp(type, "Metaspace")) return read_metaspace(r, section);
    if (!strcmp(type, "Digits")) return read_digits(r, section);
    if (!strcmp(type, "Punctuation")) return read_punctuation(r, section);
    if (!strcmp(type, "WhitespaceSplit")) return add_pattern(r, "\\s", COT_CUT_REMOVED, false);
    if (!strcmp(type, "Whitespace")) return add_pattern(r, words, COT_CUT_REMOVED, true);
    return cot_fail(COT_FORMAT, "%s: %s.type is %.60s, expected ByteLevel, Split, Metaspace, Digits, Punctuation, "
                    "Whitespace, WhitespaceSplit or Sequence", r->name, section_name, type);
}

cot_status cot_splitter_read(cot_splitter *splitter, const json_t *section, const char *name)
{
    const reader r = {splitter, name};
    return section && !json_is_null(section) ? read_section(&r, section) : COT_OK;
}
