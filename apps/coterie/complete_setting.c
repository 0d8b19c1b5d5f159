/* Completion of --set KEY=VALUE: what a recipe may say at a place, from the option tables. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include <coterie/registry.h>

#include "complete.h"

/* What stands at a place of a recipe: a family or a section by name, and what the recipe has there. */
typedef struct {
    const char       *holds;   /* NULL where the tables know nothing */
    const cot_config *config;  /* NULL where the recipe has nothing */
} place;

/* A member of what a place holds. */
typedef struct {
    const char         *family;
    cot_registry_member member;
} part;

static bool holds_family(const place *at, cot_registry_family *out)
{
    return at->holds && cot_registry_family_find(at->holds, out) == COT_OK;
}

/* The index-th member that may stand at a place: the section, the kind that the recipe names, or any of the family. */
static bool part_at(const place *at, size_t index, part *out)
{
    cot_registry_family family;
    const char *kind = cot_config_text(cot_config_get(at->config, "kind"));
    if (!holds_family(at, &family)) {
        out->family = "sections";
        return at->holds && index == 0 && cot_registry_member_find("sections", at->holds, &out->member) == COT_OK;
    }
    out->family = family.name;
    if (kind && cot_registry_member_find(family.name, kind, &out->member) == COT_OK) return index == 0;
    return cot_registry_member_at(family.name, index, &out->member);
}

/* The option of that name at a place. */
static bool find_option(const place *at, const char *name, size_t length, cot_registry_option *out)
{
    part p;
    for (size_t i = 0; part_at(at, i, &p); i++)
        for (size_t j = 0; cot_registry_option_at(p.family, p.member.name, j, out); j++)
            if (strlen(out->name) == length && strncmp(out->name, name, length) == 0) return true;
    return false;
}

static place step_into(place at, const char *name, size_t length)
{
    char key[64];
    cot_registry_option option;
    snprintf(key, sizeof key, "%.*s", (int)length, name);
    const cot_config *inner = length < sizeof key ? cot_config_get(at.config, key) : NULL;
    if (length && isdigit((unsigned char)name[0])) return (place){at.holds, inner};  /* a place in a list */
    return (place){find_option(&at, name, length, &option) ? option.holds : NULL, inner};
}

/* An option stands there once, however many kinds have it. */
static bool offered_before(const place *at, size_t part_index, const char *name)
{
    part p;
    cot_registry_option option;
    for (size_t i = 0; i < part_index && part_at(at, i, &p); i++)
        for (size_t j = 0; cot_registry_option_at(p.family, p.member.name, j, &option); j++)
            if (strcmp(option.name, name) == 0) return true;
    return false;
}

static void offer_keys(const place *at, const char *typed, const char *before)
{
    part p;
    cot_registry_option option;
    char word[128];
    cot_registry_family family;
    if (holds_family(at, &family)) complete_offer(typed, before, "kind=", family.summary);
    for (size_t i = 0; part_at(at, i, &p); i++)
        for (size_t j = 0; cot_registry_option_at(p.family, p.member.name, j, &option); j++) {
            if (offered_before(at, i, option.name)) continue;
            snprintf(word, sizeof word, "%s%s", option.name, option.holds ? "." : "=");
            complete_offer(typed, before, word, option.help);
        }
}

static void offer_list(const place *at, const char *typed, const char *before)
{
    for (size_t i = 0; i < cot_config_size(at->config); i++) {
        char word[32];
        snprintf(word, sizeof word, "%zu.", i);
        complete_offer(typed, before, word, cot_config_text(cot_config_get(cot_config_at(at->config, i), "kind")));
    }
}

static void offer_values(const place *at, const char *key, size_t length, const char *typed, const char *before)
{
    cot_registry_family family;
    cot_registry_option option;
    if (length == 4 && strncmp(key, "kind", 4) == 0 && holds_family(at, &family))
        complete_offer_members(typed, before, family.name);
    if (!find_option(at, key, length, &option)) return;
    complete_offer_choices(typed, before, option.choices ? option.choices : option.value, option.value);
}

void complete_setting(const cot_config *recipe, const char *typed, size_t skip)
{
    place at = {"recipe", recipe};
    const char *rest = typed + skip;
    char before[512];
    for (size_t length; rest[length = strcspn(rest, ".=")] == '.'; rest += length + 1) at = step_into(at, rest, length);
    const size_t key = strcspn(rest, "="), start = (size_t)(rest - typed) + (rest[key] == '=' ? key + 1 : 0);
    if (start >= sizeof before) return;
    snprintf(before, sizeof before, "%.*s", (int)start, typed);
    if (rest[key] == '=') offer_values(&at, rest, key, typed, before);
    else if (at.config && cot_config_get_kind(at.config) == COT_CONFIG_LIST) offer_list(&at, typed, before);
    else offer_keys(&at, typed, before);
}
