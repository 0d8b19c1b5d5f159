/* The frame of the program: what a subcommand is, how its arguments are read, how it fails.
 *
 * A subcommand is a file cmd_<verb>.c that ends with `const cli_command command_<verb> = {...};` and one line in
 * commands.def. Its option table is the only place for an option's name, kind, default, range and help.
 *
 * Exit codes: 0 done (also: stopped and saved as asked), 1 it failed (one line "coterie: ..." on stderr), 2 it was
 * called wrongly. */
#ifndef COTERIE_APP_CLI_H
#define COTERIE_APP_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <coterie/config.h>
#include <coterie/status.h>

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_MISUSED = 2 };

typedef enum { CLI_FLAG, CLI_TEXT, CLI_INT, CLI_NUMBER, CLI_CHOICE } cli_kind;

typedef struct {
    const char *name;      /* "seed" for --seed; NULL ends a table */
    char        letter;    /* 'o' for -o; 0 = none */
    cli_kind    kind;
    bool        repeated;  /* may be given several times; else the last one counts */
    const char *value;     /* what help calls it: "FILE"; the choices of a choice: "png|svg" */
    const char *fallback;  /* the default as text, NULL = none */
    double      min, max;  /* of numbers, both ends allowed; equal = any */
    const char *help;
} cli_option;

#define CLI_OPTION_END {.name = NULL}

typedef struct cli_args cli_args;

typedef struct cli_command {
    const char *name;
    const char *summary;   /* one line: what it does, third person, no full stop */
    const char *arguments; /* as in the usage line: "[RECIPE]" */
    const char *details;   /* (optional) paragraphs for --help, one newline between them */
    const char *examples;  /* (optional) lines of "command\twhat it does\n" */
    int         min_positional, max_positional;  /* max -1 = any number */
    const cli_option *options;                   /* (optional) */
    int (*run)(const cli_args *args);
    const struct cli_command *const *subcommands; /* (optional) NULL-ended; the first argument picks, run is NULL */
} cli_command;

/* ---- arguments; asking for an option that is not in the table is a bug ---- */

bool        cli_given(const cli_args *args, const char *name);   /* was it on the command line? */
bool        cli_flag(const cli_args *args, const char *name);
const char *cli_text(const cli_args *args, const char *name);    /* of texts and choices; NULL without default */
int64_t     cli_int(const cli_args *args, const char *name);     /* 0 without default */
double      cli_number(const cli_args *args, const char *name);
size_t      cli_count(const cli_args *args, const char *name);   /* of a repeated option */
const char *cli_text_at(const cli_args *args, const char *name, size_t index);

size_t      cli_positionals(const cli_args *args);
const char *cli_positional(const cli_args *args, size_t index);  /* NULL past the end */

bool        cli_quiet(void);                                     /* --quiet: results only, no progress, no advice */

/* ---- failing: each prints one line on stderr and returns the exit code ---- */

int cli_failed(void);  /* the library's last error */
__attribute__((format(printf, 1, 2))) int cli_fail(const char *format, ...);
__attribute__((format(printf, 2, 3))) int cli_misuse(const cli_args *args, const char *format, ...);

/* Leaves a function that returns an exit code when a library call fails. */
#define CLI_TRY(call)                              \
    do {                                           \
        if ((call) != COT_OK) return cli_failed(); \
    } while (0)

/* ---- stopping: long commands ask after every step ---- */

void cli_watch_stop(void);      /* from now on the first Ctrl-C or SIGTERM only asks; a second one ends the program */
bool cli_stop_requested(void);

/* ---- shared by several commands ---- */

/* Reads a recipe by path or name, with every --set of the command line on top. The table needs CLI_SET_OPTION. With a
 * model folder `from` (may be NULL) the recipe starts from that model: what its file says about model and tokenizer is
 * left aside. */
cot_status cli_read_recipe(const cli_args *args, const char *name, const char *from, cot_config **out);

#define CLI_SET_OPTION                                                                           \
    {.name = "set", .kind = CLI_TEXT, .repeated = true, .value = "KEY=VALUE",                    \
     .help = "changes one value of the recipe, e.g. train.optimizer.lr=3e-3; may be repeated"}
#define CLI_JSON_OPTION {.name = "json", .kind = CLI_FLAG, .help = "prints JSON instead of tables"}

/* ---- the frame itself (main.c, help.c) ---- */

extern const cli_option cli_common_options[];  /* every command has them: --help, --threads, --quiet */

/* Reads the arguments after the command's name. Returns CLI_OK, or prints what is wrong and returns CLI_MISUSED.
 * `path` is how the command was reached: "coterie tokenizer train". Free with cli_args_destroy(). */
int  cli_parse(const cli_command *command, const char *path, int count, char **words, cli_args **out);
void cli_args_destroy(cli_args *args);

/* Takes the common options in force: threads and quiet. */
int  cli_apply_common(const cli_args *args);

void cli_print_help(const cli_command *command, const char *path);
void cli_print_overview(const cli_command *const *commands);

#endif
