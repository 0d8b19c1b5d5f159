/* Families for `coterie list` and for documents that are made from the option tables. */
#include <coterie/registry.h>

#include <string.h>

#include "base/fail.h"
#include "base/family.h"
#include "balance/balance.h"
#include "data/data_options.h"
#include "data/recipe_tokenizer.h"
#include "experts/experts.h"
#include "layers/feed_forward.h"
#include "mixers/mixer.h"
#include "models/model.h"
#include "objectives/objective.h"
#include "routers/router.h"
#include "routing/capacity.h"
#include "training/optimizers/optimizer.h"
#include "training/plan.h"
#include "training/schedules/schedule.h"

typedef struct {
    cot_registry_family info;
    cot_family_at       at;
} family;

/* Parts of a recipe that come in one kind only. */
static const cot_member *section_at(size_t index)
{
    static const cot_member sections[] = {
        {"recipe", NULL, "the blocks of a recipe", cot_recipe_options},
        {"layers", NULL, "an entry of a model's list of layers: where layers differ from the rest", cot_layer_entry_options},
        {"train", NULL, "how long, how fast and how precisely to train", cot_train_option_table},
        {"rope_scaling", "su2021roformer, peng2023yarn, grattafiori2024llama3",
         "how rotary frequencies change so that a model reads further than it was trained to",
         cot_rope_scaling_options},
        {"capacity", "fedus2021switch", "how many tokens an expert takes, and who loses when it is full",
         cot_capacity_options},
        {"shared", "dai2024deepseekmoe, yang2024qwen2", "an expert beside the pool that sees every token",
         cot_shared_expert_options},
        {"tokenizer", "sennrich2016neural",
         "byte-level BPE: trained on the training text and kept, or read from a file", cot_tokenizer_section_options},
        {"groups", NULL, "an entry of an optimizer's list of groups: parameters that are trained differently",
         cot_optimizer_group_options},
    };
    return index < sizeof sections / sizeof *sections ? &sections[index] : NULL;
}

static const family families[] = {
    {{"routers", "router", "who decides which token goes to which expert", true}, cot_router_at},
    {{"experts", "expert pool", "who does the work", true}, cot_experts_at},
    {{"balance", "balance rule", "what keeps the experts evenly used", true}, cot_balance_at},
    {{"feed_forwards", "feed-forward", "what stands after the mixer in every layer", true}, cot_feed_forward_at},
    {{"mixers", "mixer", "what moves information along the sequence", true}, cot_mixer_at},
    {{"models", "model", "architectures", true}, cot_model_at},
    {{"objectives", "objective", "what training minimises", true}, cot_objective_at},
    {{"optimizers", "optimizer", "how gradients become steps", true}, cot_optimizer_at},
    {{"schedules", "schedule", "how the learning rate moves over a run", true}, cot_schedule_at},
    {{"data", "data kind", "what is trained on", true}, cot_data_kind_at},
    {{"sections", "section", "parts of a recipe that come in one kind", false}, section_at},
};

enum { FAMILIES = sizeof families / sizeof *families };

static const char *family_name(const void *context, size_t index)
{
    (void)context;
    return families[index].info.name;
}

static const family *find_family(const char *name)
{
    for (size_t i = 0; i < FAMILIES; i++)
        if (strcmp(families[i].info.name, name) == 0 || strcmp(families[i].info.singular, name) == 0)
            return &families[i];
    return NULL;
}

static cot_status fail_family(const char *name)
{
    char help[512];
    cot_suggest("families", name, FAMILIES, family_name, NULL, help, sizeof help);
    return cot_fail(COT_NOT_FOUND, "'%.60s' is no family%s", name, help);
}

bool cot_registry_family_at(size_t index, cot_registry_family *out)
{
    if (index >= FAMILIES) return false;
    *out = families[index].info;
    return true;
}

cot_status cot_registry_family_find(const char *name, cot_registry_family *out)
{
    const family *found = find_family(name);
    if (!found) return fail_family(name);
    *out = found->info;
    return COT_OK;
}

static cot_registry_member describe(const family *of, const cot_member *member)
{
    cot_registry_member out = {member->name, member->source, member->summary, 0, NULL};
    if (of->at == cot_router_at) out.input = ((const cot_router_ops *)member)->lab_input;
    while (member->options && member->options[out.options].name) out.options++;
    return out;
}

bool cot_registry_member_at(const char *of, size_t index, cot_registry_member *out)
{
    const family *found = find_family(of);
    const cot_member *member = found ? found->at(index) : NULL;
    if (member) *out = describe(found, member);
    return member != NULL;
}

static cot_status find_member(const char *of, const char *name, const cot_member **out)
{
    const family *found = find_family(of);
    *out = NULL;
    return found ? cot_family_find_name(found->info.singular, found->at, name, out) : fail_family(of);
}

cot_status cot_registry_member_find(const char *of, const char *name, cot_registry_member *out)
{
    const cot_member *member;
    COT_TRY(find_member(of, name, &member));
    *out = describe(find_family(of), member);
    return COT_OK;
}

bool cot_registry_option_at(const char *of, const char *member_name, size_t index, cot_registry_option *out)
{
    const cot_member *member;
    if (find_member(of, member_name, &member) != COT_OK || index >= describe(find_family(of), member).options) return false;
    const cot_option *option = &member->options[index];
    out->name = option->name;
    out->help = option->help;
    out->choices = option->kind == COT_OPTION_KIND_CHOICE ? option->text : option->kind == COT_OPTION_KIND_BOOL ? "true|false" : NULL;
    out->holds = option->kind == COT_OPTION_KIND_NODE ? option->text : NULL;
    cot_option_describe_default(option, out->value, sizeof out->value);
    cot_option_describe_range(option, out->range, sizeof out->range);
    return true;
}

void cot_registry_suggest(const char *noun, const char *typed, size_t count,
                          const char *(*name_at)(const void *, size_t), const void *context, char *out, size_t bytes)
{
    cot_suggest(noun, typed, count, name_at, context, out, bytes);
}
