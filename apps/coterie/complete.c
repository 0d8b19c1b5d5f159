/* Completion from the tables that read command lines: commands, options, their values, arguments. */
#include "complete.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coterie/recipes.h>
#include <coterie/registry.h>

enum { MAX_SETTINGS = 64 };

/* The words before the one being typed, as far as they matter to it. */
typedef struct {
    const cli_command *command;
    const cli_option  *pending;               /* it waits for this one's value */
    bool               only_arguments;        /* -- stood there */
    bool               lost;                  /* a command that is none stood there */
    size_t             positionals;
    const char        *positional[2];
    const char        *setting[MAX_SETTINGS]; /* of --set */
    size_t             settings;
} line;

void complete_offer(const char *typed, const char *before, const char *word, const char *what)
{
    char whole[1024];
    snprintf(whole, sizeof whole, "%s%s", before, word);
    if (strncmp(whole, typed, strlen(typed)) == 0) printf("%s\t%s\n", whole, what ? what : "");
}

/* The words of "a|b|c". */
void complete_offer_choices(const char *typed, const char *before, const char *choices, const char *fallback)
{
    while (*choices) {
        char word[64];
        const size_t length = strcspn(choices, "|");
        snprintf(word, sizeof word, "%.*s", (int)length, choices);
        complete_offer(typed, before, word, fallback && strcmp(word, fallback) == 0 ? "the default" : NULL);
        choices += length + (choices[length] == '|');
    }
}

void complete_offer_members(const char *typed, const char *before, const char *family)
{
    cot_registry_member member;
    for (size_t i = 0; cot_registry_member_at(family, i, &member); i++)
        complete_offer(typed, before, member.name, member.summary);
}

/* ---- what may stand there ---- */

static void offer_recipes(const char *typed, const char *before)
{
    cot_recipe *recipes = NULL;
    size_t count = 0;
    cot_recipes_list(&recipes, &count);
    for (size_t i = 0; i < count; i++) complete_offer(typed, before, recipes[i].name, recipes[i].summary);
    cot_recipes_destroy(recipes, count);
}

static void offer_families(const char *typed)
{
    cot_registry_family family;
    for (size_t i = 0; cot_registry_family_at(i, &family); i++) complete_offer(typed, "", family.name, family.summary);
    complete_offer(typed, "", "recipes", "ready models to train");
}

static void offer_members(const char *typed, const char *of)
{
    cot_registry_family family;
    if (strcmp(of, "recipes") == 0 || strcmp(of, "recipe") == 0) offer_recipes(typed, "");
    else if (cot_registry_family_find(of, &family) == COT_OK) complete_offer_members(typed, "", family.name);
}

/* {kind: NAME} of the family that the option is called after. */
static void offer_specs(const char *typed, const char *before, const char *option)
{
    cot_registry_family family;
    cot_registry_member member;
    if (cot_registry_family_find(option, &family) != COT_OK) return;
    for (size_t i = 0; cot_registry_member_at(family.name, i, &member); i++) {
        char spec[128];
        snprintf(spec, sizeof spec, "{kind: %s}", member.name);
        complete_offer(typed, before, spec, member.summary);
    }
}

/* The recipe as --set finds it: the one named, or the default one, with the settings before. NULL when there is
 * none. */
static cot_config *read_recipe(const line *l)
{
    char *path;
    cot_config *recipe = NULL;
    if (cot_recipes_find(l->positionals ? l->positional[0] : "default", &path) != COT_OK) return NULL;
    if (cot_config_read(path, &recipe) != COT_OK) recipe = NULL;
    free(path);
    for (size_t i = 0; recipe && i < l->settings; i++) (void)cot_config_set(recipe, l->setting[i]);
    return recipe;
}

static bool is_same(const char *word, size_t length, const char *other)
{
    return strlen(other) == length && strncmp(word, other, length) == 0;
}

static bool is_one_of(const char *word, size_t length, const char *const *others)
{
    while (*others && !is_same(word, length, *others)) others++;
    return *others != NULL;
}

/* Candidates for what help calls `name`: "FILE", "MODEL|RECIPE". `before` stands in front of the value ("--out="). */
static void offer_named(const line *l, const char *typed, const char *before, const char *name)
{
    static const char *const folders[] = {"DIR", "MODEL", "RUN", NULL};
    static const char *const files[] = {"FILE", "PATH", "TOKENIZER", "RECIPE", NULL};
    while (*name) {
        const size_t length = strcspn(name, "|");
        if (is_one_of(name, length, folders)) puts(":folders");
        if (is_one_of(name, length, files) || memchr(name, '.', length)) puts(":files");
        if (is_same(name, length, "RECIPE")) offer_recipes(typed, before);
        if (is_same(name, length, "FAMILY")) offer_families(typed);
        if (is_same(name, length, "NAME") && l->positionals) offer_members(typed, l->positional[0]);
        name += length + (name[length] == '|');
    }
}

static void offer_value(const line *l, const cli_option *option, const char *typed, const char *before)
{
    if (option->kind == CLI_CHOICE) {
        complete_offer_choices(typed, before, option->value, option->fallback);
    } else if (strcmp(option->value, "KEY=VALUE") == 0) {
        cot_config *recipe = read_recipe(l);
        complete_setting(recipe, typed, strlen(before));
        cot_config_destroy(recipe);
    } else if (strcmp(option->value, "SPEC") == 0) {
        offer_specs(typed, before, option->name);
    } else if (option->kind == CLI_TEXT && strcmp(option->value, "NAME") != 0) {
        offer_named(l, typed, before, option->value);
    }
}

static void offer_options(const cli_option *options, const char *typed)
{
    for (; options && options->name; options++) complete_offer(typed, "--", options->name, options->help);
}

/* The index-th word of "[FAMILY [NAME]]", without its brackets; the last one when it repeats ("ID..."). */
static void argument_name(const char *arguments, size_t index, char *out, size_t bytes)
{
    for (out[0] = '\0';;) {
        arguments += strspn(arguments, " []");
        const size_t length = strcspn(arguments, " []");
        const bool repeats = length > 3 && strncmp(arguments + length - 3, "...", 3) == 0;
        if (length == 0) return;
        if (index == 0 || repeats) {
            snprintf(out, bytes, "%.*s", (int)(repeats ? length - 3 : length), arguments);
            return;
        }
        index--;
        arguments += length;
    }
}

static void offer_commands(const cli_command *const *commands, const char *typed)
{
    for (; *commands; commands++) complete_offer(typed, "", (*commands)->name, (*commands)->summary);
}

/* ---- reading the words before ---- */

static const cli_command *find_command(const cli_command *const *list, const char *name)
{
    for (; list && *list; list++)
        if (strcmp((*list)->name, name) == 0) return *list;
    return NULL;
}

static const cli_option *find_option(const cli_option *options, const char *word, size_t length)
{
    for (; options && options->name; options++) {
        const bool is_long = word[1] == '-';
        if (is_long ? is_same(word + 2, length - 2, options->name) : length == 2 && options->letter == word[1])
            return options;
    }
    return NULL;
}

/* The option that "--name", "--name=value" or "-n" means; NULL when there is none. */
static const cli_option *option_of(const line *l, const char *word)
{
    const size_t length = strcspn(word, "=");
    const cli_option *own = l->command ? find_option(l->command->options, word, length) : NULL;
    return own ? own : find_option(cli_common_options, word, length);
}

static void take_value(line *l, const cli_option *option, const char *value)
{
    if (strcmp(option->name, "set") == 0 && l->settings < MAX_SETTINGS) l->setting[l->settings++] = value;
}

static void take_word(line *l, const cli_command *const *commands, const char *word)
{
    if (l->pending) {
        take_value(l, l->pending, word);
        l->pending = NULL;
    } else if (l->only_arguments || word[0] != '-' || !word[1]) {
        const cli_command *const *list = !l->command ? commands : l->command->subcommands;
        if (list) l->command = find_command(list, word);
        if (!l->command) l->lost = true;
        else if (l->positionals < 2) l->positional[l->positionals] = word;
        if (!list) l->positionals++;
    } else if (strcmp(word, "--") == 0) {
        l->only_arguments = true;
    } else {
        const cli_option *option = option_of(l, word);
        const char *value = strchr(word, '=');
        if (option && option->kind != CLI_FLAG && value) take_value(l, option, value + 1);
        else if (option && option->kind != CLI_FLAG) l->pending = option;
    }
}

/* "--name=val": the value, with "--name=" before it. */
static bool offer_joined_value(const line *l, const char *typed)
{
    const char *equals = strchr(typed, '=');
    char before[64];
    if (strncmp(typed, "--", 2) != 0 || !equals || (size_t)(equals - typed) >= sizeof before - 1) return false;
    const cli_option *option = option_of(l, typed);
    snprintf(before, sizeof before, "%.*s", (int)(equals - typed) + 1, typed);
    if (option && option->kind != CLI_FLAG) offer_value(l, option, typed, before);
    return true;
}

int complete(const cli_command *const *commands, int count, char **words)
{
    line l = {.command = NULL};
    const char *typed = count > 0 ? words[count - 1] : "";
    const bool help = count > 1 && strcmp(words[0], "help") == 0;
    for (int i = help; i + 1 < count; i++) take_word(&l, commands, words[i]);
    if (l.lost) return CLI_OK;
    if (l.pending) {
        offer_value(&l, l.pending, typed, "");
    } else if (!l.only_arguments && offer_joined_value(&l, typed)) {
        return CLI_OK;
    } else if (!l.only_arguments && typed[0] == '-') {
        if (l.command && l.command->subcommands) complete_offer(typed, "--", "help", "shows this help");
        else if (l.command) offer_options(l.command->options, typed);
        else complete_offer(typed, "--", "version", "shows the version and the kernels in use");
        if (!l.command || !l.command->subcommands) offer_options(cli_common_options, typed);
    } else if (!l.command || l.command->subcommands) {
        offer_commands(l.command ? l.command->subcommands : commands, typed);
        if (!l.command && !help) complete_offer(typed, "", "help", "explains a command, with examples");
    } else if (!help) {
        char name[64];
        argument_name(l.command->arguments ? l.command->arguments : "", l.positionals, name, sizeof name);
        offer_named(&l, typed, "", name);
    }
    return CLI_OK;
}
