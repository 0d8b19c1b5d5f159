/* --help, made from the same tables that read the arguments. */
#include <stdio.h>
#include <string.h>

#include <coterie/status.h>

#include "cli.h"
#include "terminal.h"

enum { LABEL_WIDTH = 26 };

static int text_width(void)
{
    const int width = terminal_width(stdout);
    return width < 60 ? 60 : width > 100 ? 100 : width;
}

static void print_heading(const char *text)
{
    printf("\n%s%s%s\n", terminal_bold(stdout), text, terminal_reset(stdout));
}

/* "  label      text", the text wrapped in its own column; a long label has its line for itself. */
static void print_entry(const char *label, const char *text)
{
    printf("  %-*s", LABEL_WIDTH - 2, label);
    if (strlen(label) >= LABEL_WIDTH - 2) printf("\n%*s", LABEL_WIDTH, "");
    terminal_wrap(stdout, text, LABEL_WIDTH, text_width());
}

static void print_option(const cli_option *option)
{
    char label[128], text[768];
    const char letter[] = {'-', option->letter, ',', ' ', '\0'};
    snprintf(label, sizeof label, "%s--%s%s%s", option->letter ? letter : "", option->name, option->value ? " " : "",
             option->value ? option->value : "");
    const bool shown = option->fallback && option->kind != CLI_FLAG;
    snprintf(text, sizeof text, "%s%s%s%s", option->help, shown ? " (default: " : "", shown ? option->fallback : "",
             shown ? ")" : "");
    print_entry(label, text);
}

static void print_options(const char *heading, const cli_option *options)
{
    if (!options || !options->name) return;
    print_heading(heading);
    for (; options->name; options++) print_option(options);
}

/* Lines of "command\twhat it does\n". */
static void print_examples(const char *examples)
{
    print_heading("Examples:");
    while (*examples) {
        const size_t command = strcspn(examples, "\t\n");
        printf("  %.*s\n", (int)command, examples);
        examples += command + (examples[command] == '\t');
        const size_t text = strcspn(examples, "\n");
        if (text) printf("%s      %.*s%s\n", terminal_dim(stdout), (int)text, examples, terminal_reset(stdout));
        examples += text + (examples[text] == '\n');
    }
}

void cli_print_help(const cli_command *command, const char *path)
{
    char line[256];
    snprintf(line, sizeof line, "%s: %s", path, command->summary);
    terminal_wrap(stdout, line, 0, text_width());
    print_heading("Usage:");
    printf("  %s%s%s%s\n", path, command->arguments && *command->arguments ? " " : "",
           command->arguments ? command->arguments : "",
           command->options && command->options->name ? " [OPTIONS]" : "");
    if (command->details) {
        printf("\n");
        terminal_wrap(stdout, command->details, 0, text_width());
    }
    if (command->subcommands) print_heading("Commands:");
    for (size_t i = 0; command->subcommands && command->subcommands[i]; i++)
        print_entry(command->subcommands[i]->name, command->subcommands[i]->summary);
    if (command->subcommands) printf("\nHelp on one: %s COMMAND --help\n", path);
    print_options("Options:", command->options);
    print_options("Common options:", cli_common_options);
    if (command->examples) print_examples(command->examples);
}

void cli_print_overview(const cli_command *const *commands)
{
    printf("coterie %s: sparse expert models, from training to text\n", cot_version());
    print_heading("Usage:");
    printf("  coterie COMMAND [ARGUMENTS] [OPTIONS]\n");
    print_heading("Commands:");
    for (; *commands; commands++) print_entry((*commands)->name, (*commands)->summary);
    print_entry("help COMMAND", "explains a command, with examples");
    print_options("Common options:", cli_common_options);
    print_entry("--version", "shows the version and the kernels in use");
}
