/* Finding a family's member by name, with help for who mistyped it; making the member's own struct. */
#include "base/family.h"

#include <string.h>

#include "base/config_tree.h"
#include "base/fail.h"
#include "base/memory.h"

static const char *member_name(const void *at, size_t index) { return (*(const cot_family_at *)at)(index)->name; }

static const cot_member *find(cot_family_at at, const char *name)
{
    const cot_member *member;
    for (size_t i = 0; (member = at(i)) != NULL; i++)
        if (strcmp(member->name, name) == 0) return member;
    return NULL;
}

static void suggest(cot_family_at at, const char *name, char *out, size_t bytes)
{
    size_t count = 0;
    while (at(count)) count++;
    cot_suggest("kinds", name, count, member_name, &at, out, bytes);
}

cot_status cot_family_find_name(const char *family, cot_family_at at, const char *name, const cot_member **out)
{
    *out = name ? find(at, name) : NULL;
    if (*out) return COT_OK;
    if (!name) return cot_fail(COT_INVALID, "no %s named", family);
    char help[512];
    suggest(at, name, help, sizeof help);
    return cot_fail(COT_NOT_FOUND, "'%.60s' is no known %s%s", name, family, help);
}

cot_status cot_family_find(const char *family, cot_family_at at, const cot_config *spec, const cot_member **out)
{
    char help[512];
    *out = NULL;
    if (!spec) return cot_fail(COT_INVALID, "no %s given, expected {kind: NAME, ...}", family);
    const cot_config *kind = cot_config_get(spec, "kind");
    const char *name = cot_config_text(kind);
    suggest(at, name ? name : "", help, sizeof help);
    if (spec->kind != COT_CONFIG_MAP || !kind)
        return cot_config_fail(spec, "names no %s, expected {kind: NAME, ...}%s", family, help);
    if (!name) return cot_config_expected(kind, "a name");
    *out = find(at, name);
    return *out ? COT_OK : cot_config_fail_as(COT_NOT_FOUND, kind, "is '%.60s', no known %s%s", name, family, help);
}

cot_status cot_state_create(const cot_member *member, size_t size, const cot_config *spec, void **out)
{
    *out = NULL;
    void *state = cot_calloc(size ? size : 1);
    if (!state) return cot_fail(COT_OUT_OF_MEMORY, "no memory for '%s'", member->name);
    const cot_status status = cot_options_apply(member->options, state, spec);
    if (status == COT_OK) *out = state;
    else cot_free(state);  /* its texts are released already */
    return status;
}

void cot_state_destroy(const cot_member *member, void *state)
{
    if (!state) return;
    cot_options_release(member->options, state);
    cot_free(state);
}
