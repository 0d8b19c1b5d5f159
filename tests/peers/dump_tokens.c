/* Encodes and decodes documents for the comparisons with other libraries (check_tokenizers.py, bench/peers/compare_tokenizers.py).
 *
 *     dump_tokens encode TOKENIZER DOCUMENTS OUT special|plain     ids, then the decoded text, of every document
 *     dump_tokens time TOKENIZER DOCUMENTS ROUNDS                  seconds of each round of encoding all documents
 *     dump_tokens save TOKENIZER FOLDER                            writes it as the library does
 *     dump_tokens train DOCUMENTS VOCAB_SIZE FOLDER                trains, saves, prints the seconds
 *
 * DOCUMENTS is a file of u64 lengths, each with so many bytes behind it; OUT holds a u64 count with i32 ids and a u64
 * length with bytes for every document; all little-endian. Threads: as OMP_NUM_THREADS says. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <coterie/tokenizer.h>

typedef struct {
    const char *text;
    size_t      length;
} document;

typedef struct {
    char     *bytes;
    document *all;
    size_t    count, at;
} documents;

static void check(cot_status status)
{
    if (status == COT_OK) return;
    fprintf(stderr, "dump_tokens: %s\n", cot_last_error());
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static documents read_documents(const char *path)
{
    documents d = {0};
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) exit(1);
    const long size = ftell(file);
    rewind(file);
    d.bytes = malloc((size_t)size + 1);
    if (!d.bytes || fread(d.bytes, 1, (size_t)size, file) != (size_t)size) exit(1);
    fclose(file);
    for (size_t at = 0; at + 8 <= (size_t)size;) {
        uint64_t length;
        memcpy(&length, d.bytes + at, 8);
        if (d.count % 1024 == 0) d.all = realloc(d.all, (d.count + 1024) * sizeof *d.all);
        d.all[d.count++] = (document){d.bytes + at + 8, (size_t)length};
        at += 8 + (size_t)length;
    }
    return d;
}

static void free_documents(documents *d)
{
    free(d->all);
    free(d->bytes);
}

static int encode(const cot_tokenizer *t, const documents *d, const char *out, bool special)
{
    FILE *file = fopen(out, "wb");
    if (!file) return 1;
    for (size_t i = 0; i < d->count; i++) {
        int32_t *ids;
        char *text;
        size_t count, length;
        check(cot_tokenizer_encode(t, d->all[i].text, d->all[i].length, special, &ids, &count));
        check(cot_tokenizer_decode(t, ids, count, false, &text, &length));
        const uint64_t sizes[2] = {count, length};
        fwrite(&sizes[0], 8, 1, file);
        fwrite(ids, sizeof *ids, count, file);
        fwrite(&sizes[1], 8, 1, file);
        fwrite(text, 1, length, file);
        free(ids);
        free(text);
    }
    return fclose(file);
}

static int time_rounds(const cot_tokenizer *t, const documents *d, int rounds)
{
    for (int round = 0; round < rounds; round++) {
        uint64_t tokens = 0;
        const double start = now();
#pragma omp parallel reduction(+ : tokens)
        {
            cot_tokenizer_encoder *encoder;
            check(cot_tokenizer_encoder_create(t, &encoder));
#pragma omp for schedule(dynamic, 4)
            for (size_t i = 0; i < d->count; i++) {
                const int32_t *ids;
                size_t count;
                check(cot_tokenizer_encoder_run(encoder, d->all[i].text, d->all[i].length, false, &ids, &count));
                tokens += count;
            }
            cot_tokenizer_encoder_destroy(encoder);
        }
        printf("%.6f %llu\n", now() - start, (unsigned long long)tokens);
    }
    return 0;
}

static cot_status next_document(void *context, const char **text, size_t *length)
{
    documents *d = context;
    const bool more = d->at < d->count;
    *text = more ? d->all[d->at].text : NULL;
    *length = more ? d->all[d->at].length : 0;
    d->at += more;
    return COT_OK;
}

static void train(documents *d, const char *vocab_size, const char *folder)
{
    const cot_tokenizer_options options = {.vocab_size = (int32_t)strtol(vocab_size, NULL, 10)};
    cot_tokenizer *t;
    const double start = now();
    check(cot_tokenizer_train(&options, next_document, d, &t));
    printf("%.6f %d\n", now() - start, cot_tokenizer_vocab_size(t));
    check(cot_tokenizer_save(t, folder, 0));
    cot_tokenizer_destroy(t);
}

static int work(int argc, char **argv)
{
    cot_tokenizer *t;
    int code = 2;
    if (strcmp(argv[1], "train") == 0) {
        documents d = read_documents(argv[2]);
        train(&d, argv[3], argv[4]);
        free_documents(&d);
        return 0;
    }
    check(cot_tokenizer_load(argv[2], &t));
    if (strcmp(argv[1], "save") == 0) {
        check(cot_tokenizer_save(t, argv[3], 0));
        code = 0;
    } else if (argc > 4) {
        documents d = read_documents(argv[3]);
        if (strcmp(argv[1], "time") == 0) code = time_rounds(t, &d, (int)strtol(argv[4], NULL, 10));
        else if (argc > 5) code = encode(t, &d, argv[4], strcmp(argv[5], "special") == 0);
        free_documents(&d);
    }
    cot_tokenizer_destroy(t);
    return code;
}

int main(int argc, char **argv)
{
    return argc < (argc > 1 && strcmp(argv[1], "train") == 0 ? 5 : 4) ? 2 : work(argc, argv);
}
