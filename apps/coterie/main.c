/* The program coterie: finds the subcommand and runs it. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <coterie/registry.h>
#include <coterie/runtime.h>

#include "cli.h"
#include "complete.h"
#include "manual.h"

#define COMMAND(id) extern const cli_command command_##id;
#include "commands.def"
#undef COMMAND

static const cli_command *const commands[] = {
#define COMMAND(id) &command_##id,
#include "commands.def"
#undef COMMAND
    NULL,
};

static const char *command_name(const void *list, size_t index)
{
    return ((const cli_command *const *)list)[index]->name;
}

static const cli_command *find_command(const cli_command *const *list, const char *name)
{
    for (; *list; list++)
        if (strcmp((*list)->name, name) == 0) return *list;
    return NULL;
}

static int fail_unknown(const char *path, const cli_command *const *list, const char *name)
{
    char help[512];
    size_t count = 0;
    while (list[count]) count++;
    cot_registry_suggest("commands", name, count, command_name, list, help, sizeof help);
    fprintf(stderr, "%s: unknown command '%s'%s\n", path, name, help);
    return CLI_MISUSED;
}

static int run_plain(const cli_command *command, const char *path, int count, char **words)
{
    cli_args *args;
    int code = cli_parse(command, path, count, words, &args);
    if (code == CLI_OK && cli_flag(args, "help")) cli_print_help(command, path);
    else if (code == CLI_OK) code = cli_apply_common(args);
    if (code == CLI_OK && !cli_flag(args, "help")) code = command->run(args);
    cli_args_destroy(args);
    return code;
}

/* Runs the command, or the subcommand that its first argument picks. */
static int run(const cli_command *command, const char *parent, int count, char **words)
{
    char path[128];
    snprintf(path, sizeof path, "%s %s", parent, command->name);
    if (!command->subcommands) return run_plain(command, path, count, words);
    if (count == 0 || strcmp(words[0], "--help") == 0 || strcmp(words[0], "-h") == 0) {
        cli_print_help(command, path);
        return count == 0 ? CLI_MISUSED : CLI_OK;
    }
    const cli_command *picked = find_command(command->subcommands, words[0]);
    return picked ? run(picked, path, count - 1, words + 1) : fail_unknown(path, command->subcommands, words[0]);
}

static int show_version(void)
{
    printf("coterie %s\nkernels: %s, threads: %d\n", cot_version(), cot_cpu_kernels(), cot_get_threads());
    return CLI_OK;
}

/* `coterie help`, `coterie help tokenizer train`. */
static int help(int count, char **words)
{
    const cli_command *const *list = commands;
    const cli_command *command = NULL;
    char path[128] = "coterie";
    for (int i = 0; i < count; i++) {
        command = list ? find_command(list, words[i]) : NULL;
        if (!command) return fail_unknown(path, list ? list : commands, words[i]);
        const size_t used = strlen(path);
        snprintf(path + used, sizeof path - used, " %s", command->name);
        list = command->subcommands;
    }
    if (command) cli_print_help(command, path);
    else cli_print_overview(commands);
    return CLI_OK;
}

/* The options before the command's name are the common ones. Returns how many words they take, or -1. */
static int leading_options(int count, char **words)
{
    static const cli_command none = {.name = "", .arguments = "", .max_positional = -1};
    int n = 0;
    while (n < count && words[n][0] == '-') n += strcmp(words[n], "--threads") == 0 ? 2 : 1;
    if (n > count) n = count;
    cli_args *args;
    int code = cli_parse(&none, "coterie", n, words, &args);
    if (code == CLI_OK && cli_flag(args, "help")) n = 0;
    if (code == CLI_OK) code = cli_apply_common(args);
    cli_args_destroy(args);
    return code == CLI_OK ? n : -1;
}

static int dispatch(int count, char **words)
{
    if (count > 0 && strcmp(words[0], "--version") == 0) return show_version();
    if (count > 0 && strcmp(words[0], "--complete") == 0) return complete(commands, count - 1, words + 1);
    if (count == 2 && strcmp(words[0], "--manual") == 0) return manual_write(commands, words[1]);
    const int skipped = leading_options(count, words);
    if (skipped < 0) return CLI_MISUSED;
    count -= skipped;
    words += skipped;
    if (count == 0 || words[0][0] == '-') return help(0, NULL);
    if (strcmp(words[0], "help") == 0) return help(count - 1, words + 1);
    const cli_command *command = find_command(commands, words[0]);
    return command ? run(command, "coterie", count - 1, words + 1) : fail_unknown("coterie", commands, words[0]);
}

/* GNU OpenMP's threads spin for milliseconds while they wait, which is right on an idle machine and ruinous on a busy
 * one (a step of a hundred parallel loops then takes a scheduler's slice each). A short spin serves both; it can only
 * be set before the program starts. */
static void spin_briefly(char **argv)
{
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY")) return;
    char path[4096];
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0 || setenv("GOMP_SPINCOUNT", "20000", 0) != 0) return;
    path[length] = '\0';
    execv(path, argv);  /* where that fails, we go on as we are */
}

int main(int argc, char **argv)
{
    spin_briefly(argv);
    const int code = dispatch(argc - 1, argv + 1);
    if (fflush(stdout) != 0 || ferror(stdout)) return cli_fail("the output could not be written");
    return code;
}
