#include "training/patterns.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "base/config_tree.h"
#include "base/fail.h"

bool cot_pattern_picks(const char *pattern, const char *name) { return fnmatch(pattern, name, 0) == 0; }

/* "embed.weight, layers.0.mixer_norm.weight, ...": the first few names. */
static void write_names(const cot_params *params, char *out, size_t bytes)
{
    const size_t count = cot_params_count(params);
    size_t used = 0;
    for (size_t i = 0; i < count && i < 4 && used < bytes; i++)
        used += (size_t)snprintf(out + used, bytes - used, "%s%s", i ? ", " : "", cot_params_at(params, i)->name);
    if (count > 4 && used < bytes) snprintf(out + used, bytes - used, ", ...");
}

cot_status cot_pattern_check(const cot_config *node, const char *pattern, const cot_params *params)
{
    char names[256];
    for (size_t i = 0; i < cot_params_count(params); i++)
        if (cot_pattern_picks(pattern, cot_params_at(params, i)->name)) return COT_OK;
    write_names(params, names, sizeof names);
    return cot_config_fail(node, "'%.100s' is the name of no parameter; `coterie info --parameters` lists them: %s", pattern, names);
}

static cot_status freeze_by(cot_params *params, const cot_config *node)
{
    const char *text = cot_config_text(node);
    if (!text || !*text) return cot_config_expected(node, "a pattern of parameter names");
    const bool freezes = *text != '!';
    const char *pattern = freezes ? text : text + 1;
    COT_TRY(cot_pattern_check(node, pattern, params));
    for (size_t i = 0; i < cot_params_count(params); i++) {
        cot_param *param = cot_params_at(params, i);
        if (cot_pattern_picks(pattern, param->name)) param->frozen = freezes;
    }
    return COT_OK;
}

cot_status cot_params_freeze(cot_params *params, const cot_config *patterns)
{
    if (!patterns) return COT_OK;
    const bool list = cot_config_get_kind(patterns) == COT_CONFIG_LIST;
    const size_t count = list ? cot_config_size(patterns) : 1;
    for (size_t i = 0; i < count; i++) COT_TRY(freeze_by(params, list ? cot_config_at(patterns, i) : patterns));
    return cot_params_elements(params, true) > 0 ? COT_OK : cot_config_fail(patterns, "leaves no parameter to train, expected at least one");
}
