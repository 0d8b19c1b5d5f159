/* Reading command lines by option tables. */
#define _XOPEN_SOURCE 700 /* sigaction, SA_RESETHAND */
#include "cli.h"

#include <assert.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coterie/recipes.h>
#include <coterie/registry.h>
#include <coterie/runtime.h>

#include "terminal.h"

typedef struct {
    const cli_option *option;
    const char       *value;  /* NULL for a flag */
} given;

struct cli_args {
    const cli_command *command;
    const char        *path;
    size_t             given_count, positional_count;
    given             *given;
    const char       **positional;
};

const cli_option cli_common_options[] = {
    {.name = "help", .letter = 'h', .kind = CLI_FLAG, .help = "shows this help"},
    {.name = "threads", .kind = CLI_INT, .value = "N", .fallback = "0", .min = 0, .max = 4096,
     .help = "threads to use; 0 = as many as the process may use. Results do not depend on it"},
    {.name = "quiet", .letter = 'q', .kind = CLI_FLAG, .help = "prints results only, no progress"},
    CLI_OPTION_END,
};

static const cli_option no_options[] = {CLI_OPTION_END};

/* ---- failing ---- */

static void print_line(const char *who, const char *format, va_list arguments)
{
    fflush(stdout);
    fprintf(stderr, "%s%s: ", terminal_is(stderr) ? "\r\x1b[K" : "", who);  /* over a progress line that stands there */
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

int cli_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_line("coterie", format, arguments);
    va_end(arguments);
    return CLI_FAILED;
}

int cli_failed(void) { return cli_fail("%s", cot_last_error()); }

int cli_misuse(const cli_args *args, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_line(args->path, format, arguments);
    va_end(arguments);
    fprintf(stderr, "(`%s --help` explains)\n", args->path);
    return CLI_MISUSED;
}

/* ---- parsing ---- */

static const cli_option *options_of(const cli_args *args)
{
    return args->command->options ? args->command->options : no_options;
}

static const cli_option *find_in(const cli_option *options, const char *name, size_t length)
{
    for (; options->name; options++)
        if (strncmp(options->name, name, length) == 0 && options->name[length] == '\0') return options;
    return NULL;
}

static const cli_option *find_option(const cli_args *args, const char *name, size_t length)
{
    const cli_option *own = find_in(options_of(args), name, length);
    return own ? own : find_in(cli_common_options, name, length);
}

static const cli_option *find_letter(const cli_args *args, char letter)
{
    const cli_option *const tables[] = {options_of(args), cli_common_options};
    for (size_t t = 0; t < 2; t++)
        for (const cli_option *o = tables[t]; o->name; o++)
            if (o->letter == letter) return o;
    return NULL;
}

enum { MAX_NAMES = 64, NAME_BYTES = 48 };

static const char *option_name(const void *names, size_t index) { return ((const char(*)[NAME_BYTES])names)[index]; }

static size_t add_names(const cli_option *options, char (*names)[NAME_BYTES], size_t count)
{
    for (; options->name && count < MAX_NAMES; options++, count++)
        snprintf(names[count], NAME_BYTES, "--%s", options->name);
    return count;
}

static int unknown_option(const cli_args *args, const char *word)
{
    char names[MAX_NAMES][NAME_BYTES], typed[64], help[128];
    const size_t count = add_names(cli_common_options, names, add_names(options_of(args), names, 0));
    const char *start = word + strspn(word, "-");
    snprintf(typed, sizeof typed, "--%.*s", (int)strcspn(start, "="), start);
    cot_registry_suggest(NULL, typed, count, option_name, names, help, sizeof help);
    return cli_misuse(args, "unknown option '%s'%s", word, help);
}

static bool read_number(const cli_option *option, const char *text, int64_t *whole, double *number)
{
    cot_config *config;
    if (cot_config_parse(text, "option", &config) != COT_OK) return false;
    bool good = cot_config_get_kind(config) == COT_CONFIG_SCALAR;
    if (good && option->kind == CLI_INT) {
        good = cot_config_int(config, whole) == COT_OK;
        if (good) *number = (double)*whole;
    } else if (good) {
        good = cot_config_double(config, number) == COT_OK;
    }
    cot_config_destroy(config);
    return good && (option->min == option->max || (*number >= option->min && *number <= option->max));
}

static int check_number(const cli_args *args, const cli_option *option, const char *text)
{
    int64_t whole;
    double number;
    if (read_number(option, text, &whole, &number)) return CLI_OK;
    char range[64] = "";
    if (option->min != option->max) snprintf(range, sizeof range, " from %g to %g", option->min, option->max);
    return cli_misuse(args, "--%s is '%s', expected a %snumber%s", option->name, text,
                      option->kind == CLI_INT ? "whole " : "", range);
}

static int check_choice(const cli_args *args, const cli_option *option, const char *text)
{
    const size_t length = strlen(text);
    for (const char *c = option->value; c; c = strchr(c, '|') ? strchr(c, '|') + 1 : NULL)
        if (strcspn(c, "|") == length && strncmp(c, text, length) == 0) return CLI_OK;
    return cli_misuse(args, "--%s is '%s', expected one of %s", option->name, text, option->value);
}

static int take_option(cli_args *args, const cli_option *option, const char *value)
{
    args->given[args->given_count++] = (given){option, value};
    if (option->kind == CLI_INT || option->kind == CLI_NUMBER) return check_number(args, option, value);
    return option->kind == CLI_CHOICE ? check_choice(args, option, value) : CLI_OK;
}

/* Takes the option in words[*i], and its value from there or from the next word. */
static int parse_option(cli_args *args, int count, char **words, int *i)
{
    const char *word = words[*i];
    const bool is_long = word[1] == '-';
    const size_t length = is_long ? strcspn(word + 2, "=") : 0;
    const cli_option *option = is_long ? find_option(args, word + 2, length) : NULL;
    if (!is_long && word[2] == '\0') option = find_letter(args, word[1]);
    if (!option) return unknown_option(args, word);
    const char *value = is_long && word[2 + length] == '=' ? word + 3 + length : NULL;
    if (option->kind == CLI_FLAG)
        return value ? cli_misuse(args, "--%s takes no value", option->name) : take_option(args, option, NULL);
    if (!value && *i + 1 < count && strncmp(words[*i + 1], "--", 2) != 0) value = words[++*i];
    if (!value) return cli_misuse(args, "--%s needs a value: --%s %s", option->name, option->name, option->value);
    return take_option(args, option, value);
}

static bool is_option(const char *word)
{
    const bool number = word[0] == '-' && (word[1] == '.' || (word[1] >= '0' && word[1] <= '9'));
    return word[0] == '-' && word[1] != '\0' && !number;
}

static int check_positionals(const cli_args *args)
{
    const cli_command *command = args->command;
    if (cli_flag(args, "help")) return CLI_OK;
    const size_t count = args->positional_count;
    if (count < (size_t)command->min_positional)
        return cli_misuse(args, "too few arguments, expected %s", command->arguments);
    if (command->max_positional >= 0 && count > (size_t)command->max_positional)
        return cli_misuse(args, "unexpected argument '%s'", args->positional[command->max_positional]);
    return CLI_OK;
}

int cli_parse(const cli_command *command, const char *path, int count, char **words, cli_args **out)
{
    const size_t room = (size_t)count + 1;
    cli_args *args = calloc(1, sizeof *args);
    *out = args;
    if (!args) return cli_fail("no memory to read the command line");
    *args = (cli_args){.command = command, .path = path, .given = calloc(room, sizeof(given)),
                       .positional = calloc(room, sizeof(const char *))};
    if (!args->given || !args->positional) return cli_fail("no memory to read the command line");
    bool options = true;
    for (int i = 0; i < count; i++) {
        if (options && strcmp(words[i], "--") == 0) {
            options = false;
        } else if (options && is_option(words[i])) {
            const int code = parse_option(args, count, words, &i);
            if (code != CLI_OK) return code;
        } else {
            args->positional[args->positional_count++] = words[i];
        }
    }
    return check_positionals(args);
}

void cli_args_destroy(cli_args *args)
{
    if (!args) return;
    free(args->given);
    free(args->positional);
    free(args);
}

/* ---- asking ---- */

size_t cli_count(const cli_args *args, const char *name)
{
    assert(find_option(args, name, strlen(name)));
    size_t count = 0;
    for (size_t i = 0; i < args->given_count; i++) count += strcmp(args->given[i].option->name, name) == 0;
    return count;
}

const char *cli_text_at(const cli_args *args, const char *name, size_t index)
{
    for (size_t i = 0; i < args->given_count; i++)
        if (strcmp(args->given[i].option->name, name) == 0 && index-- == 0) return args->given[i].value;
    return NULL;
}

bool cli_given(const cli_args *args, const char *name) { return cli_count(args, name) > 0; }
bool cli_flag(const cli_args *args, const char *name) { return cli_count(args, name) > 0; }

const char *cli_text(const cli_args *args, const char *name)
{
    const size_t count = cli_count(args, name);
    return count ? cli_text_at(args, name, count - 1) : find_option(args, name, strlen(name))->fallback;
}

int64_t cli_int(const cli_args *args, const char *name)
{
    const char *text = cli_text(args, name);
    int64_t whole = 0;
    double number;
    if (text) read_number(find_option(args, name, strlen(name)), text, &whole, &number);
    return whole;
}

double cli_number(const cli_args *args, const char *name)
{
    const char *text = cli_text(args, name);
    int64_t whole;
    double number = 0;
    if (text) read_number(find_option(args, name, strlen(name)), text, &whole, &number);
    return number;
}

size_t      cli_positionals(const cli_args *args) { return args->positional_count; }
const char *cli_positional(const cli_args *args, size_t index)
{
    return index < args->positional_count ? args->positional[index] : NULL;
}

/* ---- common options, stopping, recipes ---- */

static bool quiet;

bool cli_quiet(void) { return quiet; }

int cli_apply_common(const cli_args *args)
{
    quiet = quiet || cli_flag(args, "quiet");
    if (cli_given(args, "threads")) CLI_TRY(cot_set_threads((int)cli_int(args, "threads")));
    return CLI_OK;
}

static volatile sig_atomic_t stop_requested;

static void request_stop(int number)
{
    (void)number;
    stop_requested = 1;
}

void cli_watch_stop(void)
{
    /* Restarted calls: a signal must not make a write of a checkpoint fail. */
    struct sigaction action = {.sa_handler = request_stop, .sa_flags = (int)(SA_RESTART | SA_RESETHAND)};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool cli_stop_requested(void) { return stop_requested; }

static cot_status start_from(cot_config *recipe, const char *from)
{
    cot_config_remove(recipe, "model");
    cot_config_remove(recipe, "data.tokenizer");
    return cot_config_set_text(recipe, "from", from);
}

cot_status cli_read_recipe(const cli_args *args, const char *name, const char *from, cot_config **out)
{
    char *path;
    *out = NULL;
    cot_status status = cot_recipes_find(name, &path);
    if (status != COT_OK) return status;
    cot_config *config = NULL;
    status = cot_config_read(path, &config);
    if (status == COT_OK && from) status = start_from(config, from);
    for (size_t i = 0; status == COT_OK && i < cli_count(args, "set"); i++)
        status = cot_config_set(config, cli_text_at(args, "set", i));
    free(path);
    if (status == COT_OK) *out = config;
    else cot_config_destroy(config);
    return status;
}
