/* coterie tokenizer: trains a byte-level BPE tokenizer, and shows what one does to text. */
#define _POSIX_C_SOURCE 200809L /* mkdir */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <coterie/data.h>
#include <coterie/tokenizer.h>

#include "cli.h"
#include "input.h"
#include "print_json.h"
#include "progress.h"
#include "table.h"
#include "terminal.h"

/* ---- train ---- */

typedef struct {
    cot_texts *texts;
    progress   progress;
} corpus_reader;

static cot_status next_text(void *context, const char **text, size_t *length)
{
    corpus_reader *reader = context;
    uint64_t done, total;
    cot_texts_done(reader->texts, &done, &total);
    reader->progress.total = (double)total;
    progress_update(&reader->progress, (double)done, NULL);
    return cli_stop_requested() ? COT_STOPPED : cot_texts_read(reader->texts, text, length);
}

/* The data block that the command line describes. */
static cot_status data_block(const cli_args *args, cot_config **out)
{
    char fraction[64];
    snprintf(fraction, sizeof fraction, "validation_fraction=%s", cli_text(args, "validation-fraction"));
    cot_status status = cot_config_parse("{}", "the command line", out);
    if (status == COT_OK) status = cot_config_set(*out, fraction);
    if (status == COT_OK) status = cot_config_set_text(*out, "path", cli_positional(args, 0));
    if (status == COT_OK) status = cot_config_set_text(*out, "text_field", cli_text(args, "text-field"));
    return status;
}

static cot_status train(const cli_args *args, cot_tokenizer **out)
{
    const cot_tokenizer_options options = {.vocab_size = (int32_t)cli_int(args, "vocab-size"),
                                           .min_frequency = cli_int(args, "min-frequency")};
    corpus_reader reader = {0};
    cot_config *data = NULL;
    cot_status status = data_block(args, &data);
    if (status == COT_OK) status = cot_texts_open(data, COT_SPLIT_TRAIN, &reader.texts);
    cot_config_destroy(data);
    if (status != COT_OK) return status;
    cli_watch_stop();
    progress_start(&reader.progress, "reading", "B", 0, 0);
    status = cot_tokenizer_train(&options, next_text, &reader, out);
    progress_clear(&reader.progress);
    cot_texts_close(reader.texts);
    return status;
}

static int make_folder(const char *path)
{
    struct stat s;
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && stat(path, &s) == 0 && S_ISDIR(s.st_mode))) return CLI_OK;
    return cli_fail("%s: cannot be made a folder: %s", path, strerror(errno == EEXIST ? ENOTDIR : errno));
}

static int run_train(const cli_args *args)
{
    const char *folder = cli_text(args, "out");
    cot_tokenizer *tokenizer = NULL;
    const cot_status trained = train(args, &tokenizer);
    if (trained == COT_STOPPED) return cli_fail("stopped, nothing is written");
    if (trained != COT_OK) return cli_failed();
    int code = make_folder(folder);
    if (code == CLI_OK && cot_tokenizer_save(tokenizer, folder, 0) != COT_OK) code = cli_failed();
    const int32_t size = cot_tokenizer_vocab_size(tokenizer);
    if (code == CLI_OK && !cli_quiet()) printf("%s/tokenizer.json: %" PRId32 " symbols\n", folder, size);
    if (code == CLI_OK && size < cli_int(args, "vocab-size") && !cli_quiet())
        printf("No other pair occurs %" PRId64 " times: the text is too short for more.\n",
               cli_int(args, "min-frequency"));
    cot_tokenizer_destroy(tokenizer);
    return code;
}

/* ---- encode and decode ---- */

/* The text of the arguments from `first` on, joined by spaces, or standard input. The caller frees it. */
static int text_argument(const cli_args *args, size_t first, char **text, size_t *length)
{
    if (cli_positionals(args) <= first) return read_input(NULL, SIZE_MAX / 4, text, length);
    size_t room = 1;
    for (size_t i = first; i < cli_positionals(args); i++) room += strlen(cli_positional(args, i)) + 1;
    *text = malloc(room);
    if (!*text) return cli_fail("no memory for the text");
    *length = 0;
    for (size_t i = first; i < cli_positionals(args); i++)
        *length += (size_t)sprintf(*text + *length, "%s%s", i > first ? " " : "", cli_positional(args, i));
    return CLI_OK;
}

/* Loads the tokenizer of the first argument and encodes the text of the rest. */
static int encode(const cli_args *args, bool special, cot_tokenizer **tokenizer, int32_t **ids, size_t *count)
{
    char *text;
    size_t length;
    *ids = NULL;
    CLI_TRY(cot_tokenizer_load(cli_positional(args, 0), tokenizer));
    int code = text_argument(args, 1, &text, &length);
    if (code != CLI_OK) return code;
    if (cot_tokenizer_encode(*tokenizer, text, length, special, ids, count) != COT_OK) code = cli_failed();
    free(text);
    return code;
}

static int print_ids(const int32_t *ids, size_t count, bool json)
{
    if (!json) {
        for (size_t i = 0; i < count; i++) printf("%s%" PRId32, i ? " " : "", ids[i]);
        printf("\n");
        return CLI_OK;
    }
    printf("[");  /* on one line, unlike other results: texts are long */
    for (size_t i = 0; i < count; i++) printf("%s%" PRId32, i ? ", " : "", ids[i]);
    printf("]\n");
    return CLI_OK;
}

static int run_encode(const cli_args *args)
{
    cot_tokenizer *tokenizer = NULL;
    int32_t *ids;
    size_t count;
    int code = encode(args, cli_flag(args, "special"), &tokenizer, &ids, &count);
    if (code == CLI_OK) code = print_ids(ids, count, cli_flag(args, "json"));
    free(ids);
    cot_tokenizer_destroy(tokenizer);
    return code;
}

/* Reads numbers between spaces, commas and brackets: the output of encode, with and without --json. */
static int read_ids(const char *text, int32_t **out, size_t *count)
{
    *count = 0;
    *out = malloc((strlen(text) / 2 + 1) * sizeof **out);  /* an id and what parts it from the next take two bytes */
    if (!*out) return cli_fail("no memory for the ids");
    for (const char *c = text + strspn(text, " \t\r\n,[]"); *c; c += strspn(c, " \t\r\n,[]")) {
        char *end;
        const long id = strtol(c, &end, 10);
        if (end == c || id < 0 || id > INT32_MAX || !strchr(" \t\r\n,]", *end))
            return cli_fail("'%.*s' is no token id, expected whole numbers", (int)strcspn(c, " \t\r\n,[]"), c);
        (*out)[(*count)++] = (int32_t)id;
        c = end;
    }
    return CLI_OK;
}

static int run_decode(const cli_args *args)
{
    cot_tokenizer *tokenizer;
    char *words, *text = NULL;
    int32_t *ids = NULL;
    size_t length, count;
    CLI_TRY(cot_tokenizer_load(cli_positional(args, 0), &tokenizer));
    int code = text_argument(args, 1, &words, &length);
    if (code == CLI_OK) code = read_ids(words, &ids, &count);
    if (code == CLI_OK &&
        cot_tokenizer_decode(tokenizer, ids, count, cli_flag(args, "no-special"), &text, &length) != COT_OK)
        code = cli_failed();
    if (code == CLI_OK) fwrite(text, 1, length, stdout);
    if (code == CLI_OK && terminal_is(stdout)) putchar('\n');
    free(text);
    free(ids);
    free(words);
    cot_tokenizer_destroy(tokenizer);
    return code;
}

/* ---- show ---- */

/* Bytes of the UTF-8 character at text, 0 when there is none (a part of one). */
static size_t whole_character(const unsigned char *text, size_t length)
{
    static const unsigned char first_of[] = {0x00, 0x80, 0xC2, 0xE0, 0xF0, 0xF5};  /* first bytes from here on ... */
    static const unsigned char bytes_of[] = {1, 0, 2, 3, 4, 0};                    /* ... begin so many */
    size_t kind = 0;
    while (kind + 1 < sizeof first_of && text[0] >= first_of[kind + 1]) kind++;
    const size_t bytes = bytes_of[kind];
    if (bytes == 0 || bytes > length) return 0;
    for (size_t i = 1; i < bytes; i++)
        if ((text[i] & 0xC0) != 0x80) return 0;
    return bytes;
}

/* A token for people: quotes around it, control characters and parts of characters as escapes. */
static void write_token(const cot_tokenizer *tokenizer, int32_t id, char *out, size_t bytes)
{
    size_t length, used = (size_t)snprintf(out, bytes, "\"");
    const unsigned char *token = (const unsigned char *)cot_tokenizer_token(tokenizer, id, &length);
    for (size_t i = 0; i < length && used + 8 < bytes;) {
        const size_t whole = whole_character(token + i, length - i);
        if (token[i] == '\n') used += (size_t)snprintf(out + used, bytes - used, "\\n");
        else if (whole == 0 || token[i] < 0x20 || token[i] == 0x7f || (token[i] == 0xC2 && token[i + 1] < 0xA0))
            used += (size_t)snprintf(out + used, bytes - used, "\\x%02x", token[i]);
        else used += (size_t)snprintf(out + used, bytes - used, "%.*s", (int)whole, (const char *)token + i);
        i += whole > 1 && !(token[i] == 0xC2 && token[i + 1] < 0xA0) ? whole : 1;
    }
    snprintf(out + used, bytes - used, "\"");
}

static void print_tokens(const cot_tokenizer *tokenizer, const int32_t *ids, size_t count)
{
    table *t = table_create("rlr");
    char text[256];
    table_cell(t, "id");
    table_cell(t, "token");
    table_cell(t, "bytes");
    for (size_t i = 0; i < count; i++) {
        size_t length;
        cot_tokenizer_token(tokenizer, ids[i], &length);
        write_token(tokenizer, ids[i], text, sizeof text);
        table_cell(t, "%" PRId32, ids[i]);
        table_cell(t, "%s", text);
        table_cell(t, "%zu", length);
    }
    table_print(t, 0, stdout);
}

/* Prints a text with its tokens parted: by colour, or by bars. */
static void print_parted(const cot_tokenizer *tokenizer, const int32_t *ids, size_t count)
{
    const bool colour = terminal_has_colour(stdout);
    for (size_t i = 0; i < count; i++) {
        size_t length;
        const char *token = cot_tokenizer_token(tokenizer, ids[i], &length);
        if (colour) printf("\x1b[48;5;%dm", i % 2 ? 237 : 24);
        else if (i) printf("|");
        for (size_t c = 0; c < length; c++) {
            if (colour && token[c] == '\n') printf("\x1b[0m\n\x1b[48;5;%dm", i % 2 ? 237 : 24);
            else if ((unsigned char)token[c] < 0x20 && token[c] != '\n' && token[c] != '\t') printf("?");
            else putchar(token[c]);
        }
        if (colour) printf("\x1b[0m");
    }
    printf("\n");
}

static int show_text(const cli_args *args)
{
    cot_tokenizer *tokenizer = NULL;
    int32_t *ids;
    size_t count, bytes = 0;
    const int code = encode(args, true, &tokenizer, &ids, &count);
    for (size_t i = 0; code == CLI_OK && i < count; i++) {
        size_t length;
        cot_tokenizer_token(tokenizer, ids[i], &length);
        bytes += length;
    }
    if (code == CLI_OK) {
        print_parted(tokenizer, ids, count);
        printf("\n%zu bytes, %zu tokens, %.2f bytes per token\n\n", bytes, count,
               count ? (double)bytes / (double)count : 0.0);
        print_tokens(tokenizer, ids, count);
    }
    free(ids);
    cot_tokenizer_destroy(tokenizer);
    return code;
}

static json_t *vocabulary_json(const cot_tokenizer *tokenizer, bool tokens)
{
    json_t *specials = json_array(), *list = tokens ? json_array() : NULL;
    char text[512], fingerprint[32];
    for (int32_t id = 0; id < cot_tokenizer_vocab_size(tokenizer); id++) {
        size_t length;
        const char *token = cot_tokenizer_token(tokenizer, id, &length);
        if (cot_tokenizer_is_special(tokenizer, id)) json_array_append_new(specials, json_string(token));
        write_token(tokenizer, id, text, sizeof text);
        if (tokens) json_array_append_new(list, json_string(text));
    }
    snprintf(fingerprint, sizeof fingerprint, "%016" PRIx64, cot_tokenizer_fingerprint(tokenizer));
    return json_pack("{s:i, s:o, s:i, s:s, s:o*}", "vocab_size", (int)cot_tokenizer_vocab_size(tokenizer),
                     "special_tokens", specials, "end_of_text", (int)cot_tokenizer_end_of_text(tokenizer),
                     "fingerprint", fingerprint, "tokens", list);
}

static int compare_lengths(const void *a, const void *b)
{
    const size_t *x = a, *y = b;  /* length, id */
    return x[0] != y[0] ? (x[0] < y[0]) - (x[0] > y[0]) : (x[1] > y[1]) - (x[1] < y[1]);
}

/* The longest tokens tell most about what text it was trained on. */
static void print_longest(const cot_tokenizer *tokenizer, size_t wanted)
{
    const size_t size = (size_t)cot_tokenizer_vocab_size(tokenizer);
    size_t(*order)[2] = malloc(size * sizeof *order);
    int32_t *ids = malloc(wanted * sizeof *ids);
    for (size_t i = 0; order && ids && i < size; i++) {
        order[i][1] = i;
        cot_tokenizer_token(tokenizer, (int32_t)i, &order[i][0]);
    }
    if (order && ids) {
        qsort(order, size, sizeof *order, compare_lengths);
        if (wanted > size) wanted = size;
        for (size_t i = 0; i < wanted; i++) ids[i] = (int32_t)order[i][1];
        printf("\nThe longest tokens:\n\n");
        print_tokens(tokenizer, ids, wanted);
    }
    free(order);
    free(ids);
}

static void print_all(const cot_tokenizer *tokenizer)
{
    const int32_t size = cot_tokenizer_vocab_size(tokenizer);
    int32_t *ids = malloc((size_t)size * sizeof *ids);
    if (!ids) return;
    for (int32_t i = 0; i < size; i++) ids[i] = i;
    printf("\n");
    print_tokens(tokenizer, ids, (size_t)size);
    free(ids);
}

static int run_show(const cli_args *args)
{
    if (cli_positionals(args) > 1) return show_text(args);
    cot_tokenizer *tokenizer;
    int code = CLI_OK;
    CLI_TRY(cot_tokenizer_load(cli_positional(args, 0), &tokenizer));
    if (cli_flag(args, "json")) {
        code = print_json(vocabulary_json(tokenizer, cli_flag(args, "all")));
    } else {
        char text[256] = "none";
        const int32_t end = cot_tokenizer_end_of_text(tokenizer);
        if (end >= 0) write_token(tokenizer, end, text, sizeof text);
        printf("%" PRId32 " symbols; end of text: %s; fingerprint %016" PRIx64 "\n",
               cot_tokenizer_vocab_size(tokenizer), text, cot_tokenizer_fingerprint(tokenizer));
        if (cli_flag(args, "all")) print_all(tokenizer);
        else print_longest(tokenizer, 20);
    }
    cot_tokenizer_destroy(tokenizer);
    return code;
}

/* ---- the commands ---- */

static const cli_option train_options[] = {
    {.name = "out", .letter = 'o', .kind = CLI_TEXT, .value = "DIR", .fallback = ".",
     .help = "where tokenizer.json and tokenizer_config.json go; made if it is not there"},
    {.name = "vocab-size", .kind = CLI_INT, .value = "N", .fallback = "2048", .min = 257, .max = COT_VOCAB_SIZE_MAX,
     .help = "symbols in all: one for the end of text, 256 bytes, and merges"},
    {.name = "min-frequency", .kind = CLI_INT, .value = "N", .fallback = "2", .min = 1, .max = 1e15,
     .help = "pairs that occur less often are not merged"},
    {.name = "validation-fraction", .kind = CLI_NUMBER, .value = "F", .fallback = "0.05", .min = 0, .max = 1,
     .help = "share of the text that is held back, as training a model does, so that its validation text stays unseen"},
    {.name = "text-field", .kind = CLI_TEXT, .value = "NAME", .fallback = "text",
     .help = "the field of a .jsonl row that holds its text"},
    CLI_OPTION_END,
};

static const cli_command train_command = {
    .name = "train",
    .summary = "trains byte-level BPE on text",
    .arguments = "PATH",
    .details = "PATH is a UTF-8 text file, a .jsonl file, .gz or .zst of them, or a folder. Training starts from bytes "
               "and merges the most frequent pair of neighbours, again and again; what comes out is a tokenizer.json "
               "that other programs read too. `coterie train` does this by itself when a recipe asks for it.",
    .examples = "coterie tokenizer train data/demo --vocab-size 4096 -o my-tokenizer\t"
                "4096 symbols from all files of a folder\n",
    .min_positional = 1,
    .max_positional = 1,
    .options = train_options,
    .run = run_train,
};

static const cli_option encode_options[] = {
    {.name = "special", .kind = CLI_FLAG, .help = "special tokens written out in the text become their ids"},
    {.name = "json", .kind = CLI_FLAG, .help = "prints a JSON array"},
    CLI_OPTION_END,
};

static const cli_command encode_command = {
    .name = "encode",
    .summary = "turns text into token ids",
    .arguments = "TOKENIZER [TEXT...]",
    .details = "TOKENIZER is a tokenizer.json, a SentencePiece .model, or a folder with one of them, such as a model's. "
               "Without TEXT, standard input is read, to its last byte.",
    .examples = "coterie tokenizer encode runs/default \"To be, or not\"\tids of a text\n"
                "coterie tokenizer encode runs/default --json < play.txt > ids.json\t"
                "ids of a file, as `coterie eval --tokens` takes them\n",
    .min_positional = 1,
    .max_positional = -1,
    .options = encode_options,
    .run = run_encode,
};

static const cli_option decode_options[] = {
    {.name = "no-special", .kind = CLI_FLAG, .help = "leaves special tokens out"},
    CLI_OPTION_END,
};

static const cli_command decode_command = {
    .name = "decode",
    .summary = "turns token ids into text",
    .arguments = "TOKENIZER [ID...]",
    .details = "Without ids, standard input is read: numbers between spaces, or a JSON array.",
    .examples = "coterie tokenizer decode runs/default 53 441 16\ttext of three tokens\n"
                "coterie tokenizer decode runs/default < ids.json\ttext of a file with ids\n",
    .min_positional = 1,
    .max_positional = -1,
    .options = decode_options,
    .run = run_decode,
};

static const cli_option show_options[] = {
    {.name = "all", .kind = CLI_FLAG, .help = "lists every token"},
    CLI_JSON_OPTION,
    CLI_OPTION_END,
};

static const cli_command show_command = {
    .name = "show",
    .summary = "shows a tokenizer, or how it takes a text apart",
    .arguments = "TOKENIZER [TEXT...]",
    .examples = "coterie tokenizer show runs/default\tits size and its longest tokens\n"
                "coterie tokenizer show runs/default \"To be, or not to be\"\tthe text token by token\n",
    .min_positional = 1,
    .max_positional = -1,
    .options = show_options,
    .run = run_show,
};

static const cli_command *const tokenizer_commands[] = {&train_command, &encode_command, &decode_command, &show_command,
                                                        NULL};

const cli_command command_tokenizer = {
    .name = "tokenizer",
    .summary = "trains a tokenizer, encodes and decodes text, shows the pieces",
    .arguments = "train|encode|decode|show ...",
    .subcommands = tokenizer_commands,
};
