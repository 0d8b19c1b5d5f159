/* Manual pages in man(7), made from the same tables that read command lines and recipes. */
#include "manual.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <coterie/registry.h>
#include <coterie/status.h>

/* ---- text ---- */

/* Text as it is: nothing in it is a request or an escape. */
static void put(FILE *f, const char *text, size_t length)
{
    static const char signs[] = "\\-'`^~";
    static const char *const names[] = {"\\e", "\\-", "\\(aq", "\\(ga", "\\(ha", "\\(ti"};
    if (length && (text[0] == '.' || text[0] == '\'')) fputs("\\&", f);
    for (size_t i = 0; i < length; i++) {
        const char *sign = strchr(signs, text[i]);
        if (sign) fputs(names[sign - signs], f);
        else fputc(text[i], f);
    }
}

static void put_text(FILE *f, const char *text) { put(f, text, strlen(text)); }

static void put_line(FILE *f, const char *text)
{
    put_text(f, text);
    fputc('\n', f);
}

/* Paragraphs with one newline between them. */
static void put_paragraphs(FILE *f, const char *text)
{
    for (bool first = true; *text; first = false) {
        const size_t length = strcspn(text, "\n");
        if (!first) fputs(".PP\n", f);
        put(f, text, length);
        fputc('\n', f);
        text += length + (text[length] == '\n');
    }
}

/* "A text." */
static void put_sentence(FILE *f, const char *text)
{
    const char first = text[0] >= 'a' && text[0] <= 'z' ? (char)(text[0] - 'a' + 'A') : text[0];
    put(f, &first, 1);
    put_text(f, text + 1);
    fputs(".\n", f);
}

static void put_entry(FILE *f, const char *label, const char *text)
{
    fputs(".TP\n\\fB", f);
    put_text(f, label);
    fputs("\\fR\n", f);
    put_line(f, text);
}

/* "coterie tokenizer train" as the page's name: words joined by '-'. */
static void join_words(const char *path, char *out, size_t bytes)
{
    snprintf(out, bytes, "%s", path);
    for (char *c = out; *c; c++)
        if (*c == ' ') *c = '-';
}

static FILE *open_page(const char *folder, const char *name, int section, const char *summary)
{
    char path[4096], title[128];
    snprintf(path, sizeof path, "%s/%s.%d", folder, name, section);
    FILE *f = fopen(path, "w");
    if (!f) return NULL;
    snprintf(title, sizeof title, "%s", name);
    for (char *c = title; *c; c++)
        if (*c >= 'a' && *c <= 'z') *c = (char)(*c - 'a' + 'A');
    fprintf(f, ".TH %s %d \"%s\" \"coterie %s\" \"Coterie\"\n.SH NAME\n", title, section, COTERIE_RELEASED,
            cot_version());
    put_text(f, name);
    fputs(" \\- ", f);
    put_line(f, summary);
    return f;
}

static bool close_page(FILE *f, const char *see)
{
    fputs(".SH SEE ALSO\n", f);
    put_line(f, see);
    const bool failed = ferror(f);
    return fclose(f) == 0 && !failed;
}

/* ---- commands ---- */

static void put_option(FILE *f, const cli_option *option)
{
    fputs(".TP\n", f);
    if (option->letter) fprintf(f, "\\fB\\-%c\\fR, ", option->letter);
    fputs("\\fB\\-\\-", f);
    put_text(f, option->name);
    fputs("\\fR", f);
    if (option->value) {
        fputs(" \\fI", f);
        put_text(f, option->value);
        fputs("\\fR", f);
    }
    fputc('\n', f);
    put_text(f, option->help);
    if (option->fallback && option->kind != CLI_FLAG) {
        fputs(" (default: ", f);
        put_text(f, option->fallback);
        fputc(')', f);
    }
    fputc('\n', f);
}

static void put_options(FILE *f, const char *heading, const cli_option *options)
{
    if (!options || !options->name) return;
    fprintf(f, ".SH %s\n", heading);
    for (; options->name; options++) put_option(f, options);
}

/* Lines of "command\twhat it does\n". */
static void put_examples(FILE *f, const char *examples)
{
    fputs(".SH EXAMPLES\n", f);
    while (*examples) {
        const size_t command = strcspn(examples, "\t\n");
        fputs(".TP\n\\fB", f);
        put(f, examples, command);
        fputs("\\fR\n", f);
        examples += command + (examples[command] == '\t');
        const size_t text = strcspn(examples, "\n");
        put(f, examples, text);
        fputc('\n', f);
        examples += text + (examples[text] == '\n');
    }
}

static void put_commands(FILE *f, const cli_command *const *commands, const char *path)
{
    fputs(".SH COMMANDS\n", f);
    for (; *commands; commands++) {
        char line[256], page[128], name[128];
        snprintf(name, sizeof name, "%s %s", path, (*commands)->name);
        join_words(name, page, sizeof page);
        snprintf(line, sizeof line, "%s; see %s(1)", (*commands)->summary, page);
        put_entry(f, (*commands)->name, line);
    }
}

static bool write_commands(const cli_command *const *commands, const char *path, const char *folder);

static bool write_command(const cli_command *command, const char *path, const char *folder)
{
    char name[128];
    join_words(path, name, sizeof name);
    FILE *f = open_page(folder, name, 1, command->summary);
    if (!f) return false;
    fputs(".SH SYNOPSIS\n\\fB", f);
    put_text(f, path);
    fputs("\\fR \\fI", f);
    put_text(f, command->arguments ? command->arguments : "");
    fputs("\\fR", f);
    fputs(command->options && command->options->name ? " [\\fIOPTIONS\\fR]\n" : "\n", f);
    if (command->details) {
        fputs(".SH DESCRIPTION\n", f);
        put_paragraphs(f, command->details);
    }
    if (command->subcommands) put_commands(f, command->subcommands, path);
    put_options(f, "OPTIONS", command->options);
    if (!command->subcommands) put_options(f, "COMMON OPTIONS", cli_common_options);
    if (command->examples) put_examples(f, command->examples);
    if (!close_page(f, "coterie(1), coterie-recipe(5)")) return false;
    return !command->subcommands || write_commands(command->subcommands, path, folder);
}

static bool write_commands(const cli_command *const *commands, const char *path, const char *folder)
{
    bool good = true;
    for (; good && *commands; commands++) {
        char inner[128];
        snprintf(inner, sizeof inner, "%s %s", path, (*commands)->name);
        good = write_command(*commands, inner, folder);
    }
    return good;
}

/* ---- the program ---- */

static const char *const environment[][2] = {
    {"COTERIE_RECIPES", "the folder of recipes that are known by name, in place of those that come with the program"},
    {"COTERIE_CPU", "ref, avx2, avx512 or avx512bf16: kernels no better than these are used"},
    {"OMP_NUM_THREADS", "threads to use where --threads does not say"},
    {"XDG_CACHE_HOME", "the cache of tokenised corpora and trained tokenizers lies there, in coterie/ (default: ~/.cache)"},
    {"NO_COLOR", "set: no colour on terminals"},
    {NULL, NULL},
};

static const char *const exits[][2] = {
    {"0", "done; also stopped and saved as asked"},
    {"1", "it failed, and one line on standard error says why"},
    {"2", "it was called wrongly"},
    {NULL, NULL},
};

static void put_entries(FILE *f, const char *const (*entries)[2])
{
    for (; (*entries)[0]; entries++) put_entry(f, (*entries)[0], (*entries)[1]);
}

static bool write_overview(const cli_command *const *commands, const char *folder)
{
    FILE *f = open_page(folder, "coterie", 1, "sparse expert models, from training to text");
    if (!f) return false;
    fputs(".SH SYNOPSIS\n\\fBcoterie\\fR \\fICOMMAND\\fR [\\fIARGUMENTS\\fR] [\\fIOPTIONS\\fR]\n.SH DESCRIPTION\n", f);
    put_line(f, "Coterie designs, trains, evaluates, explains and serves sparse expert models (mixtures of experts): "
                "networks in which a router sends each input to a few of many experts. `coterie train` runs a recipe, "
                "see coterie-recipe(5); what it leaves is a model folder that the other commands take.");
    put_commands(f, commands, "coterie");
    put_options(f, "COMMON OPTIONS", cli_common_options);
    put_entry(f, "--version", "shows the version and the kernels in use");
    fputs(".SH ENVIRONMENT\n", f);
    put_entries(f, environment);
    fputs(".SH EXIT STATUS\n", f);
    put_entries(f, exits);
    return close_page(f, "coterie-train(1), coterie-eval(1), coterie-generate(1), coterie-recipe(5)");
}

/* ---- recipes ---- */

enum { MAX_PARTS = 64 };

/* Families and sections in the order in which a recipe holds them. */
typedef struct {
    const char *name[MAX_PARTS];
    size_t      count;
} parts;

static void add_part(parts *p, const char *name)
{
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->name[i], name) == 0) return;
    if (p->count < MAX_PARTS) p->name[p->count++] = name;
}

static void put_member(FILE *f, const char *family, const char *member, parts *p)
{
    cot_registry_option option;
    for (size_t i = 0; cot_registry_option_at(family, member, i, &option); i++) {
        char line[1024];
        const char *comma = *option.value ? "; default " : "";
        if (option.holds) snprintf(line, sizeof line, "%s; see %s", option.help, option.holds);
        else snprintf(line, sizeof line, "%s (%s%s%s)", option.help, option.range, comma, option.value);
        put_entry(f, option.name, line);
        if (option.holds) add_part(p, option.holds);
    }
}

static void put_part(FILE *f, const char *name, parts *p)
{
    cot_registry_family family;
    cot_registry_member member;
    const bool kinds = cot_registry_family_find(name, &family) == COT_OK;
    fputs(".SH ", f);
    for (const char *c = name; *c; c++) fputc(*c == '_' ? ' ' : *c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c, f);
    fputc('\n', f);
    if (!kinds && cot_registry_member_find("sections", name, &member) == COT_OK) {
        put_sentence(f, member.summary);
        put_member(f, "sections", name, p);
        return;
    }
    put_sentence(f, family.summary);
    for (size_t i = 0; cot_registry_member_at(name, i, &member); i++) {
        fputs(".SS kind: ", f);
        put_line(f, member.name);
        put_sentence(f, member.summary);
        put_member(f, name, member.name, p);
    }
}

static bool write_recipe(const char *folder)
{
    FILE *f = open_page(folder, "coterie-recipe", 5, "what is trained, on what and how");
    if (!f) return false;
    fputs(".SH DESCRIPTION\n", f);
    put_line(f, "A recipe is a YAML file that says everything about a training run. Where things are interchangeable, "
                "a block names its kind and sets that kind's options: {kind: top_k, top_k: 2}. What is left out has its "
                "default. Whole numbers may be written 20e6. Below stands every block with what can be set in it; "
                "coterie list FAMILY NAME shows the same. On the command line, --set train.optimizer.lr=2e-3 changes "
                "one value.");
    parts p = {.count = 0};
    add_part(&p, "recipe");
    for (size_t i = 0; i < p.count; i++) put_part(f, p.name[i], &p);
    return close_page(f, "coterie(1), coterie-train(1), coterie-list(1)");
}

int manual_write(const cli_command *const *commands, const char *folder)
{
    const bool good = write_overview(commands, folder) && write_commands(commands, "coterie", folder) &&
                      write_recipe(folder);
    return good ? CLI_OK : cli_fail("%s: manual pages cannot be written there", folder);
}
