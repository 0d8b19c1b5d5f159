/* coterie list: what there is, and what can be set in it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coterie/recipes.h>
#include <coterie/registry.h>

#include "cli.h"
#include "list_formats.h"
#include "print_json.h"
#include "table.h"
#include "terminal.h"

/* ---- JSON ---- */

/* A default as a number, truth or text; null when there is none. */
static json_t *default_json(const char *text)
{
    json_t *value = *text ? json_loads(text, JSON_DECODE_ANY, NULL) : json_null();
    return value ? value : json_string(text);
}

static json_t *member_json(const char *family, const cot_registry_member *member)
{
    json_t *options = json_array();
    cot_registry_option option;
    for (size_t i = 0; cot_registry_option_at(family, member->name, i, &option); i++)
        json_array_append_new(options,
                              json_pack("{s:s, s:o, s:s, s:s?}", "name", option.name, "default",
                                        default_json(option.value), "allowed", option.range, "help", option.help));
    json_t *json = json_pack("{s:s, s:s?, s:s?, s:o}", "name", member->name, "source", member->source, "summary",
                             member->summary, "options", options);
    if (member->input) json_object_set_new(json, "input", json_string(member->input));
    return json;
}

static json_t *family_json(const cot_registry_family *family)
{
    json_t *members = json_array();
    cot_registry_member member;
    for (size_t i = 0; cot_registry_member_at(family->name, i, &member); i++)
        json_array_append_new(members, member_json(family->name, &member));
    return json_pack("{s:s, s:s, s:s, s:b, s:o}", "name", family->name, "singular", family->singular, "summary",
                     family->summary, "has_kinds", family->has_kinds, "members", members);
}

static json_t *recipes_json(const cot_recipe *recipes, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "name", recipes[i].name, "summary", recipes[i].summary,
                                              "path", recipes[i].path));
    return list;
}

/* ---- text ---- */

static void print_family(const cot_registry_family *family)
{
    cot_registry_member member;
    table *t = table_create("llw");
    table_cell(t, "%s", family->singular);
    table_cell(t, "source");
    table_cell(t, "what it is");
    for (size_t i = 0; cot_registry_member_at(family->name, i, &member); i++) {
        table_cell(t, "%s", member.name);
        table_cell(t, "%s", member.source ? member.source : "");
        table_cell(t, "%s", member.summary ? member.summary : "");
    }
    printf("%s%s%s: %s\n\n", terminal_bold(stdout), family->name, terminal_reset(stdout), family->summary);
    table_print(t, 2, stdout);
    if (!cli_quiet()) printf("\nOptions of one: coterie list %s NAME\n", family->name);
}

static void print_options(const char *family, const char *member)
{
    cot_registry_option option;
    table *t = table_create("lllw");
    static const char *const heading[] = {"option", "default", "allowed", "meaning"};
    for (size_t i = 0; i < 4; i++) table_cell(t, "%s", heading[i]);
    for (size_t i = 0; cot_registry_option_at(family, member, i, &option); i++) {
        table_cell(t, "%s", option.name);
        table_cell(t, "%s", *option.value ? option.value : "-");
        table_cell(t, "%s", option.range);
        table_cell(t, "%s", option.help ? option.help : "");
    }
    table_print(t, 2, stdout);
}

/* How a recipe names the member, its first option as an example. */
static void print_spec(const cot_registry_family *family, const cot_registry_member *member)
{
    cot_registry_option first;
    const bool option = cot_registry_option_at(family->name, member->name, 0, &first) && *first.value;
    if (!family->has_kinds && !option) return;
    printf("in a recipe: ");
    if (!family->has_kinds) printf("%s: {", member->name);
    else printf("{kind: %s%s", member->name, option ? ", " : "");
    if (option) printf("%s: %s", first.name, first.value);
    printf("}\n");
}

static void print_member(const cot_registry_family *family, const cot_registry_member *member)
{
    printf("%s %s%s%s: %s\n", family->singular, terminal_bold(stdout), member->name, terminal_reset(stdout),
           member->summary ? member->summary : "");
    if (member->source) printf("source: %s\n", member->source);
    print_spec(family, member);
    if (member->input) printf("in coterie route: %s\n", member->input);
    if (member->options == 0) {
        printf("nothing can be set in it\n");
        return;
    }
    printf("\n");
    print_options(family->name, member->name);
}

static void print_recipes(const cot_recipe *recipes, size_t count)
{
    table *t = table_create("lw");
    table_cell(t, "recipe");
    table_cell(t, "what it is");
    for (size_t i = 0; i < count; i++) {
        table_cell(t, "%s", recipes[i].name);
        table_cell(t, "%s", recipes[i].summary);
    }
    table_print(t, 2, stdout);
    if (!cli_quiet()) printf("\nTrain one: coterie train NAME. Read one: coterie list recipes NAME\n");
}

/* ---- the command ---- */

static int list_recipes(bool json)
{
    cot_recipe *recipes;
    size_t count;
    CLI_TRY(cot_recipes_list(&recipes, &count));
    int code = CLI_OK;
    if (json) code = print_json(recipes_json(recipes, count));
    else print_recipes(recipes, count);
    cot_recipes_destroy(recipes, count);
    return code;
}

/* Prints a recipe: as it lies there, or as JSON. */
static int show_recipe(const cli_args *args, const char *name)
{
    cot_config *config;
    char *text = NULL, *path;
    CLI_TRY(cot_recipes_find(name, &path));
    cot_status status = cot_config_read(path, &config);
    if (status == COT_OK && cli_flag(args, "json")) status = cot_config_to_json(config, &text);
    if (status == COT_OK && text) fputs(text, stdout);
    FILE *f = status == COT_OK && !text ? fopen(path, "r") : NULL;
    for (int c; f && (c = getc(f)) != EOF;) putchar(c);
    if (f) fclose(f);
    cot_config_destroy(config);
    free(text);
    free(path);
    return status == COT_OK ? CLI_OK : cli_failed();
}

/* All members' names of a family, "top_k, switch". */
static void join_members(const char *family, char *out, size_t bytes)
{
    cot_registry_member member;
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; used < bytes && cot_registry_member_at(family, i, &member); i++)
        used += (size_t)snprintf(out + used, bytes - used, "%s%s", i ? ", " : "", member.name);
}

static void print_everything(const cot_recipe *recipes, size_t count)
{
    cot_registry_family family;
    table *t = table_create("llw");
    static const char *const heading[] = {"family", "what it is", "members"};
    for (size_t i = 0; i < 3; i++) table_cell(t, "%s", heading[i]);
    char names[2048];
    for (size_t i = 0; cot_registry_family_at(i, &family); i++) {
        join_members(family.name, names, sizeof names);
        table_cell(t, "%s", family.name);
        table_cell(t, "%s", family.summary);
        table_cell(t, "%s", names);
    }
    size_t used = 0;
    names[0] = '\0';
    for (size_t i = 0; i < count && used < sizeof names; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", recipes[i].name);
    table_cell(t, "recipes");
    table_cell(t, "ready models to train");
    table_cell(t, "%s", names);
    table_cell(t, "formats");
    table_cell(t, "whose names the files of a model bear");
    join_formats(names, sizeof names);
    table_cell(t, "%s", names);
    table_print(t, 0, stdout);
    if (!cli_quiet()) printf("\nMore of one: coterie list FAMILY [NAME]\n");
}

static int list_everything(bool json)
{
    cot_recipe *recipes = NULL;
    size_t count = 0;
    cot_recipes_list(&recipes, &count);  /* no recipes are no reason to hide the rest */
    int code = CLI_OK;
    if (json) {
        cot_registry_family family;
        json_t *families = json_array();
        for (size_t i = 0; cot_registry_family_at(i, &family); i++)
            json_array_append_new(families, family_json(&family));
        code = print_json(json_pack("{s:o, s:o}", "families", families, "recipes", recipes_json(recipes, count)));
    } else {
        print_everything(recipes, count);
    }
    cot_recipes_destroy(recipes, count);
    return code;
}

static int run_list(const cli_args *args)
{
    const char *of = cli_positional(args, 0), *name = cli_positional(args, 1);
    const bool json = cli_flag(args, "json");
    if (!of) return list_everything(json);
    if (strcmp(of, "recipes") == 0 || strcmp(of, "recipe") == 0)
        return name ? show_recipe(args, name) : list_recipes(json);
    if (strcmp(of, "formats") == 0 || strcmp(of, "format") == 0) return list_formats(name, json);
    cot_registry_family family;
    cot_registry_member member;
    CLI_TRY(cot_registry_family_find(of, &family));
    if (name) CLI_TRY(cot_registry_member_find(family.name, name, &member));
    if (json) return print_json(name ? member_json(family.name, &member) : family_json(&family));
    if (name) print_member(&family, &member);
    else print_family(&family);
    return CLI_OK;
}

static const cli_option list_options[] = {CLI_JSON_OPTION, CLI_OPTION_END};

const cli_command command_list = {
    .name = "list",
    .summary = "shows what there is: routers, experts, balance rules, optimizers, recipes ...",
    .arguments = "[FAMILY [NAME]]",
    .details = "Without arguments: every family with its members. With a family: its members, where they come from, "
               "and what they are. With a member: its options, their defaults and what is allowed, as recipes and "
               "--set take them.",
    .examples = "coterie list\teverything\n"
                "coterie list routers\tall routers with their papers\n"
                "coterie list routers top_k\twhat can be set in the router top_k\n"
                "coterie list recipes\tthe recipes that come with the program\n",
    .max_positional = 2,
    .options = list_options,
    .run = run_list,
};
