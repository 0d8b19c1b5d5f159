/* safetensors: what our writer wrote and what the format's own library wrote come back; hostile files are refused. */
#define _GNU_SOURCE
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/rng.h"
#include "formats/convert.h"
#include "formats/logits.h"
#include "formats/safetensors.h"
#include "formats/scratch.h"

static const cot_stored_tensor *find(const cot_safetensors *set, const char *name)
{
    const cot_stored_tensor *t = cot_safetensors_find(set, name);
    if (!t) fail_msg("no tensor '%s'", name);
    return t;
}

static void must(cot_status status)
{
    if (status != COT_OK) fail_msg("%s", cot_last_error());
}

/* ---- conversion ---- */

static void converts_halves_exactly(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {  /* every half and every bf16 survives the way to f32 and back */
        const float f = cot_f16_to_f32((uint16_t)h), b = cot_bf16_to_f32((cot_bf16)h);
        if (isnan(f)) assert_true(isnan(cot_f16_to_f32(cot_f32_to_f16(f))));
        else assert_int_equal(cot_f32_to_f16(f), h);
        if (!isnan(b)) assert_int_equal(cot_f32_to_bf16(b), h);
    }
    assert_true(cot_f16_to_f32(0x3c00) == 1.0f && cot_f16_to_f32(0x7bff) == 65504.0f &&
                cot_f16_to_f32(0x0001) == 0x1p-24f);
    assert_int_equal(cot_f32_to_f16(65519.0f), 0x7bff);
    assert_int_equal(cot_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(cot_f32_to_f16(-1e9f), 0xfc00);
}

/* Between neighbours the nearer one wins, and the even one in the middle. */
static void rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7bff; h++) {
        const double low = cot_f16_to_f32((uint16_t)h), high = cot_f16_to_f32((uint16_t)(h + 1));
        const float middle = (float)((low + high) / 2);  /* exact in f32 */
        assert_int_equal(cot_f32_to_f16(middle), h + (h & 1));
        assert_int_equal(cot_f32_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(cot_f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
    }
}

static void converts_between_all_types(void **state)
{
    (void)state;
    enum { N = 1500 };  /* more than one block, and a rest */
    static const cot_dtype types[] = {COT_F64, COT_F32, COT_BF16, COT_F16};
    unsigned char from[8 * N + 1], to[8 * N + 1], back[4 * N + 1];
    float values[N];
    for (int i = 0; i < N; i++) values[i] = (float)((i - 700) / 16) / 8;  /* at most 6 bits: exact in every type */
    for (size_t a = 0; a < 4; a++)
        for (size_t b = 0; b < 4; b++) {
            cot_convert(from + 1, types[a], values, COT_F32, N);  /* + 1: no alignment is needed */
            cot_convert(to + 1, types[b], from + 1, types[a], N);
            cot_convert(back + 1, COT_F32, to + 1, types[b], N);
            assert_memory_equal(back + 1, values, sizeof values);
        }
    assert_false(cot_convertible(COT_F32, COT_I32));
    assert_false(cot_convertible(COT_I64, COT_I32));
    assert_true(cot_convertible(COT_U8, COT_U8));
}

/* ---- what we write ---- */

enum { ENTRIES = 9 };

/* Sizes that are multiples of 64 bytes and sizes that are not, in the order in which a model would give them. */
static void make_entries(cot_tensor_entry *e, const float *data, const int64_t *ids)
{
    const cot_tensor_entry entries[ENTRIES] = {
        {"norm", COT_F32, 1, {5}, data, COT_F32},
        {"matrix", COT_F32, 2, {8, 32}, data, COT_F32},
        {"as_bf16", COT_BF16, 2, {3, 7}, data, COT_F32},
        {"as_f64", COT_F64, 1, {9}, data, COT_F32},
        {"ids", COT_I64, 1, {3}, ids, COT_I64},
        {"bytes", COT_U8, 1, {13}, data, COT_U8},
        {"scalar", COT_F32, 0, {0}, data, COT_F32},
        {"empty", COT_F32, 2, {0, 4}, NULL, COT_F32},
        {"stack", COT_F16, 3, {2, 16, 16}, data, COT_F32},
    };
    memcpy(e, entries, sizeof entries);
}

static void round_trip(void **state)
{
    (void)state;
    float   data[512];
    int64_t ids[3] = {INT64_MIN, 0, INT64_MAX};
    for (int i = 0; i < 512; i++) data[i] = (float)i / 2;
    cot_tensor_entry entries[ENTRIES];
    make_entries(entries, data, ids);
    scratch s = scratch_make();
    must(cot_safetensors_write(scratch_path(&s, "x.safetensors"), entries, ENTRIES));
    assert_int_equal(scratch_count(&s), 1);

    cot_safetensors *set;
    must(cot_safetensors_open(s.path, &set));
    assert_int_equal(cot_safetensors_count(set), ENTRIES);
    for (size_t i = 0; i < ENTRIES; i++) {
        const cot_stored_tensor *t = find(set, entries[i].name);
        assert_int_equal(t->rank, entries[i].rank);
        assert_memory_equal(t->shape, entries[i].shape, (size_t)t->rank * sizeof *t->shape);
        if (t->bytes % 64 == 0) assert_int_equal((uintptr_t)t->data % 64, 0);
        assert_int_equal((uintptr_t)t->data % cot_stored_size(t->dtype), 0);
        double back[512];
        if (entries[i].data_dtype == COT_F32) {
            must(cot_safetensors_read(set, t, COT_F64, back));
            for (int64_t j = 0; j < t->count; j++) assert_true(back[j] == (double)data[j]);
        } else {
            must(cot_safetensors_read(set, t, entries[i].dtype, back));
            assert_memory_equal(back, entries[i].data, t->bytes);
        }
    }
    float out[3];
    assert_int_equal(cot_safetensors_read(set, find(set, "ids"), COT_F32, out), COT_FORMAT);
    assert_non_null(
        strstr(cot_last_error(), "x.safetensors': tensor 'ids' is stored as I64, which cannot be read as f32"));
    assert_null(cot_safetensors_find(set, "nothing"));
    cot_safetensors_close(set);
    scratch_remove(&s);
}

static void streams_in_file_order(void **state)
{
    (void)state;
    const cot_tensor_entry entries[] = {{.name = "odd", .dtype = COT_F32, .rank = 1, .shape = {3}},
                                        {.name = "even", .dtype = COT_BF16, .rank = 1, .shape = {64}}};
    float data[64];
    for (int i = 0; i < 64; i++) data[i] = (float)i;
    scratch s = scratch_make();
    cot_safetensors_writer *w;
    must(cot_safetensors_writer_open(scratch_path(&s, "x"), entries, 2, &w));
    assert_int_equal(cot_safetensors_writer_order(w, 0), 1);
    assert_int_equal(cot_safetensors_writer_order(w, 1), 0);
    for (size_t i = 0; i < 64; i += 16) must(cot_safetensors_writer_put(w, data + i, COT_F32, 16));
    assert_int_equal(cot_safetensors_writer_put(w, data, COT_F32, 4), COT_INVALID);  /* too many */
    assert_int_equal(cot_safetensors_writer_put(w, data, COT_I32, 3), COT_INVALID);  /* no conversion */
    must(cot_safetensors_writer_put(w, data, COT_F32, 3));
    must(cot_safetensors_writer_commit(w));
    cot_safetensors *set;
    must(cot_safetensors_open(s.path, &set));
    float back[64];
    must(cot_safetensors_read(set, find(set, "even"), COT_F32, back));
    assert_memory_equal(back, data, sizeof back);
    cot_safetensors_close(set);

    must(cot_safetensors_writer_open(scratch_path(&s, "y"), entries, 2, &w));  /* half a file never appears */
    assert_int_equal(cot_safetensors_writer_commit(w), COT_INVALID);
    assert_int_equal(scratch_count(&s), 1);
    scratch_remove(&s);
}

static void large_tensors_convert_in_pieces(void **state)
{
    (void)state;
    enum { N = 600001 };
    float *data = malloc(N * sizeof *data), *back = malloc(N * sizeof *back);
    for (int i = 0; i < N; i++) data[i] = cot_bf16_to_f32((cot_bf16)(i % 30000));
    const cot_tensor_entry entry = {
        .name = "t", .dtype = COT_BF16, .rank = 1, .shape = {N}, .data = data, .data_dtype = COT_F32};
    scratch s = scratch_make();
    must(cot_safetensors_write(scratch_path(&s, "x"), &entry, 1));
    cot_safetensors *set;
    must(cot_safetensors_open(s.path, &set));
    must(cot_safetensors_read(set, find(set, "t"), COT_F32, back));
    assert_memory_equal(back, data, N * sizeof *data);
    cot_safetensors_close(set);
    free(data);
    free(back);
    scratch_remove(&s);
}

static void refuses_to_write_nonsense(void **state)
{
    (void)state;
    const float x = 0;
    const cot_tensor_entry twice[] = {{"a", COT_F32, 0, {0}, &x, COT_F32}, {"a", COT_F32, 0, {0}, &x, COT_F32}};
    const cot_tensor_entry huge = {.name = "a", .dtype = COT_F32, .rank = 2, .shape = {INT64_MAX, 4}};
    const cot_tensor_entry negative = {.name = "a", .dtype = COT_F32, .rank = 1, .shape = {-1}};
    const cot_tensor_entry unreadable = {.name = "a\xff", .dtype = COT_F32, .rank = 1, .shape = {0}};
    scratch s = scratch_make();
    scratch_path(&s, "x");
    assert_int_equal(cot_safetensors_write(s.path, twice, 2), COT_INVALID);
    assert_int_equal(cot_safetensors_write(s.path, &huge, 1), COT_INVALID);
    assert_int_equal(cot_safetensors_write(s.path, &negative, 1), COT_INVALID);
    assert_int_equal(cot_safetensors_write(s.path, &unreadable, 1), COT_INVALID);
    assert_int_equal(scratch_count(&s), 0);
    must(cot_safetensors_write(s.path, NULL, 0));  /* nothing is a file too */
    cot_safetensors *set;
    must(cot_safetensors_open(s.path, &set));
    assert_int_equal(cot_safetensors_count(set), 0);
    assert_null(cot_safetensors_find(set, "x"));
    cot_safetensors_close(set);
    scratch_remove(&s);
}

/* ---- what others write ---- */

static void reads_the_official_library(void **state)
{
    (void)state;
    cot_safetensors *set;
    must(cot_safetensors_open(COT_TEST_DATA "/formats/official.safetensors", &set));
    assert_int_equal(cot_safetensors_count(set), 7);
    float weight[6], half[4];
    int64_t ids[2];
    double  number;
    must(cot_safetensors_read(set, find(set, "a.weight"), COT_F32, weight));
    for (int i = 0; i < 6; i++) assert_true(weight[i] == (float)i / 4);
    must(cot_safetensors_read(set, find(set, "half"), COT_F32, half));
    assert_true(half[0] == 1.5f && half[1] == -2 && half[2] == 65504 && half[3] == 0x1p-24f);
    must(cot_safetensors_read(set, find(set, "ids"), COT_I64, ids));
    assert_true(ids[0] == -1 && ids[1] == (int64_t)1 << 40);
    must(cot_safetensors_read(set, find(set, "double"), COT_F64, &number));
    assert_true(number == 0.1);
    assert_int_equal(find(set, "scalar")->rank, 0);
    assert_int_equal(find(set, "scalar")->count, 1);
    assert_int_equal(find(set, "empty")->count, 0);
    cot_safetensors_close(set);
}

/* ---- hostile files ---- */

/* A file's content from a header and so many bytes of data; returns its length. */
static size_t build(unsigned char *out, const char *header, size_t data)
{
    const uint64_t n = strlen(header);
    for (int i = 0; i < 8; i++) out[i] = (unsigned char)(n >> 8 * i);
    memcpy(out + 8, header, n);
    memset(out + 8 + n, 0, data);
    return 8 + n + data;
}

#define T(dtype, shape, begin, end) \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

static const struct {
    const char *header;
    size_t      data;
    const char *message;  /* part of it; NULL: a good file */
} cases[] = {
    {"{}", 0, NULL},
    {"{}     ", 0, NULL},
    {"{\"a\":" T("F32", "[2]", 0, 8) "}", 8, NULL},
    {" {\"a\":" T("F32", "[2]", 0, 8) "}", 8, "does not start with '{'"},
    {"{ \"a\" : " T("F32", "[]", 0, 4) " , \"b\":" T("U8", "[0]", 4, 4) "}  ", 4, NULL},
    {"{\"b\":" T("BOOL", "[3]", 1, 4) ",\"a\":" T("F8_E4M3", "[1]", 0, 1) "}", 4, NULL},
    {"{\"__metadata__\":{\"format\":\"pt\"},\"a\":" T("F32", "[2]", 0, 8) "}", 8, NULL},
    {"{\"__metadata__\":{}}", 0, NULL},
    {"", 0, "does not start with '{'"},
    {"[]", 0, "does not start with '{'"},
    {"{", 0, "byte 1: "},
    {"{\"a\"", 0, "byte 4: expected ':'"},
    {"{\"a\":", 0, "byte 5: "},
    {"{\"a\":" T("F32", "[2]", 0, 8), 8, "expected ','"},
    {"{\"a\":" T("F32", "[2]", 0, 8) ",}", 8, "expected a name"},
    {"{\"a\":" T("F32", "[2]", 0, 8) "} x", 8, "expected only spaces behind '}'"},
    {"{\"a\":" T("F32", "[2]", 0, 8) "}}", 8, "expected only spaces behind '}'"},
    {"{\"a\":" T("F32", "[2]", 0, 8) " \"b\":1}", 8, "expected ','"},
    {"{a:1}", 0, "byte 2: invalid token near 'a'"},
    {"{1:1}", 0, "a key is no string"},
    {"{\"a\\u0000b\":" T("U8", "[0]", 0, 0) "}", 0, "\\u0000 is not allowed"},
    {"{\"a\\nb\":" T("U8", "[0]", 0, 0) "}", 0, "control characters"},
    {"{\"a\xff\":" T("U8", "[0]", 0, 0) "}", 0, "byte 3: unable to decode byte"},
    {"{\"a\":1}", 0, "tensor 'a': its entry is no map"},
    {"{\"a\":[]}", 0, "tensor 'a': its entry is no map"},
    {"{\"a\":null}", 0, "tensor 'a': its entry is no map"},
    {"{\"a\":{}}", 0, "tensor 'a': its dtype is missing"},
    {"{\"a\":{\"dtype\":3,\"shape\":[],\"data_offsets\":[0,4]}}", 4, "its dtype is missing or not supported"},
    {"{\"a\":" T("F31", "[2]", 0, 8) "}", 8, "its dtype is missing or not supported"},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "tensor 'a': its shape is no list"},
    {"{\"a\":" T("F32", "2", 0, 8) "}", 8, "its shape is no list"},
    {"{\"a\":" T("F32", "[2.0]", 0, 8) "}", 8, "something else than whole numbers"},
    {"{\"a\":" T("F32", "[\"2\"]", 0, 8) "}", 8, "something else than whole numbers"},
    {"{\"a\":" T("F32", "[-2]", 0, 8) "}", 8, "something else than whole numbers"},
    {"{\"a\":" T("F32", "[-1,-2]", 0, 8) "}", 8, "something else than whole numbers"},
    {"{\"a\":" T("F32", "[1,1,1,1,1,1,1,1,2]", 0, 8) "}", 8, "more than 8 dimensions"},
    {"{\"a\":" T("F32", "[4611686018427387904]", 0, 0) "}", 0, "its shape overflows"},
    {"{\"a\":" T("F32", "[4294967296,4294967296]", 0, 0) "}", 0, "its shape overflows"},
    {"{\"a\":" T("U8", "[4294967296,4294967296,0]", 0, 0) "}", 0, "its shape overflows"},
    {"{\"a\":" T("U8", "[99999999999999999999]", 0, 0) "}", 0, "too big integer"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "data_offsets is not two whole numbers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, "data_offsets is not two whole numbers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]}}", 8, "data_offsets is not two whole numbers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8.0]}}", 8, "data_offsets is not two whole numbers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":8}}", 8, "data_offsets is not two whole numbers"},
    {"{\"a\":" T("F32", "[2]", -8, 0) "}", 8, "data_offsets runs backwards"},
    {"{\"a\":" T("F32", "[2]", 8, 0) "}", 8, "data_offsets runs backwards"},
    {"{\"a\":" T("F32", "[2]", 0, 8) "}", 7, "ends at byte 8 of the data, but the file has only 7"},
    {"{\"a\":" T("F32", "[2]", 9223372036854775799, 9223372036854775807) "}", 8, "but the file has only 8"},
    {"{\"a\":" T("F32", "[2]", 0, 4) "}", 8, "spans 4 bytes, its shape and dtype need 8"},
    {"{\"a\":" T("F32", "[0]", 0, 4) "}", 4, "spans 4 bytes, its shape and dtype need 0"},
    {"{\"a\":" T("F32", "[2]", 0, 8) "}", 9, "1 bytes behind the last tensor belong to none"},
    {"{}", 1, "1 bytes behind the last tensor belong to none"},
    {"{\"a\":" T("U8", "[4]", 0, 4) ",\"b\":" T("U8", "[4]", 3, 7) "}", 7, "tensor 'b': overlaps another tensor"},
    {"{\"a\":" T("U8", "[4]", 0, 4) ",\"b\":" T("U8", "[4]", 0, 4) "}", 4, "overlaps another tensor"},
    {"{\"a\":" T("U8", "[4]", 0, 4) ",\"b\":" T("U8", "[0]", 2, 2) "}", 4, "overlaps another tensor"},
    {"{\"a\":" T("U8", "[4]", 0, 4) ",\"b\":" T("U8", "[4]", 5, 9) "}", 9, "tensor 'b': a hole lies before it"},
    {"{\"a\":" T("U8", "[4]", 1, 5) "}", 5, "tensor 'a': a hole lies before it"},
    {"{\"a\":" T("U8", "[4]", 0, 4) ",\"a\":" T("U8", "[4]", 4, 8) "}", 8, "tensor 'a' comes twice"},
    {"{\"a\":" T("U8", "[4]", 0, 4) ",\"\\u0061\":" T("U8", "[4]", 4, 8) "}", 8, "tensor 'a' comes twice"},
    {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, "duplicate object key"},
    {"{\"__metadata__\":3}", 0, "__metadata__ is no map"},
    {"{\"__metadata__\":{\"format\":3}}", 0, "__metadata__ maps to something else than strings"},
};

static void refuses_hostile_headers(void **state)
{
    (void)state;
    const int64_t before = cot_memory_blocks();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t room = strlen(cases[i].header) + 8 + cases[i].data;
        unsigned char *file = malloc(room);  /* no byte more: sanitizers see reads past the end */
        const size_t bytes = build(file, cases[i].header, cases[i].data);
        cot_safetensors *set;
        const cot_status status = cot_safetensors_parse(file, bytes, "x", &set);
        if (!cases[i].message && status != COT_OK) fail_msg("%s: %s", cases[i].header, cot_last_error());
        if (cases[i].message && status != COT_FORMAT) fail_msg("%s: accepted", cases[i].header);
        if (cases[i].message && !strstr(cot_last_error(), cases[i].message))
            fail_msg("%s: '%s' lacks '%s'", cases[i].header, cot_last_error(), cases[i].message);
        if (cases[i].message) assert_non_null(strstr(cot_last_error(), "'x'"));
        cot_safetensors_close(set);
        free(file);
    }
    assert_int_equal(cot_memory_blocks(), before);
}

static void refuses_hostile_lengths(void **state)
{
    (void)state;
    static const uint64_t lengths[] = {3, 1000, 100000000, 100000001, (uint64_t)1 << 63, UINT64_MAX, UINT64_MAX - 7};
    cot_safetensors *set;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        unsigned char file[10] = "........{}";
        for (int b = 0; b < 8; b++) file[b] = (unsigned char)(lengths[i] >> 8 * b);
        assert_int_equal(cot_safetensors_parse(file, sizeof file, "x", &set), COT_FORMAT);
        assert_null(set);
    }
    for (size_t bytes = 0; bytes < 8; bytes++)
        assert_int_equal(cot_safetensors_parse("\2\0\0\0\0\0\0", bytes, "x", &set), COT_FORMAT);
}

/* Values nested a hundred thousand deep, or longer than an entry may be, cost no more than reading them. */
static void refuses_deep_and_long_values(void **state)
{
    (void)state;
    enum { N = 100000 };
    char *header = malloc(N + 16);
    unsigned char *file = malloc(N + 32);
    static const char fill[] = {'[', '{', ' ', '"', '1', ','};
    for (size_t i = 0; i < sizeof fill; i++) {
        memcpy(header, "{\"a\":[", 6);
        memset(header + 6, fill[i], N);
        strcpy(header + N, "}");
        cot_safetensors *set;
        assert_int_equal(cot_safetensors_parse(file, build(file, header, 0), "x", &set), COT_FORMAT);
    }
    free(header);
    free(file);
}

static void refuses_every_truncation_and_survives_flips(void **state)
{
    (void)state;
    float   data[512] = {0};
    int64_t ids[3] = {0};
    cot_tensor_entry entries[ENTRIES];
    make_entries(entries, data, ids);
    scratch s = scratch_make();
    must(cot_safetensors_write(scratch_path(&s, "x"), entries, ENTRIES));
    unsigned char content[8192];
    FILE *stream = fopen(s.path, "rb");
    const size_t bytes = fread(content, 1, sizeof content, stream);
    fclose(stream);
    cot_safetensors *set;
    for (size_t n = 0; n < bytes; n++) {
        unsigned char *file = malloc(n ? n : 1);
        memcpy(file, content, n);
        assert_int_equal(cot_safetensors_parse(file, n, "x", &set), COT_FORMAT);
        free(file);
    }
    const cot_rng_key key = {.seed = 1, .stream = COT_RNG_TEST};
    for (uint64_t i = 0; i < 20000; i++) {  /* whatever it says, it reads inside the file and comes to an end */
        unsigned char *file = malloc(bytes);
        memcpy(file, content, bytes);
        for (uint64_t j = 0; j <= i % 3; j++)
            file[cot_rng_below(key, 8 * i + j, 900)] = (unsigned char)cot_rng_u32(key, 8 * i + j + 4);
        if (cot_safetensors_parse(file, bytes, "x", &set) == COT_OK)
            for (size_t t = 0; t < cot_safetensors_count(set); t++) {
                double back[1024];
                const cot_stored_tensor *tensor = cot_safetensors_at(set, t);
                if (tensor->count <= 1024 && cot_safetensors_read(set, tensor, COT_F64, back) == COT_OK) continue;
            }
        cot_safetensors_close(set);
        free(file);
    }
    scratch_remove(&s);
}

/* ---- several files ---- */

static void put_tensor(scratch *s, const char *file, const char *name, float value)
{
    const cot_tensor_entry entry = {.name = name, .dtype = COT_F32, .rank = 0, .data = &value, .data_dtype = COT_F32};
    must(cot_safetensors_write(scratch_path(s, file), &entry, 1));
}

static cot_status open_with_index(scratch *s, const char *weight_map, cot_safetensors **set)
{
    char text[512];
    snprintf(text, sizeof text, "{\"metadata\":{\"total_size\":8},\"weight_map\":%s}", weight_map);
    scratch_put(s, "model.safetensors.index.json", text, strlen(text));
    return cot_safetensors_open_folder(s->folder, set);
}

static void reads_shards(void **state)
{
    (void)state;
    scratch s = scratch_make();
    put_tensor(&s, "model-00001-of-00002.safetensors", "a", 1);
    put_tensor(&s, "model-00002-of-00002.safetensors", "b", 2);
    cot_safetensors *set;
    must(open_with_index(&s, "{\"b\":\"model-00002-of-00002.safetensors\",\"a\":\"model-00001-of-00002.safetensors\"}",
                         &set));
    float value;
    must(cot_safetensors_read(set, find(set, "b"), COT_F32, &value));
    assert_true(value == 2);
    assert_non_null(strstr(cot_safetensors_file(set, find(set, "b")), "model-00002-of-00002.safetensors"));
    cot_safetensors_close(set);
    scratch_remove(&s);
}

static void refuses_hostile_indexes(void **state)
{
    (void)state;
    static const char *const maps[][2] = {
        {"{\"a\":\"../x.safetensors\"}",
         "said to be in ../x.safetensors, expected the name of a file in the same folder"},
        {"{\"a\":\"/etc/passwd\"}", "expected the name of a file in the same folder"},
        {"{\"a\":\"..\"}", "expected the name of a file in the same folder"},
        {"{\"a\":\"\"}", "expected the name of a file in the same folder"},
        {"{\"a\":3}", "said to be in a whole number, expected"},
        {"{\"a\":\"missing.safetensors\"}", "missing.safetensors': No such file"},
        {"{\"a\":\"x.safetensors\",\"c\":\"x.safetensors\"}",
         "tensor 'c' is said to be in 'x.safetensors', but is not there"},
        {"{\"a\":\"x.safetensors\",\"b\":\"x.safetensors\",\"d\":\"y.safetensors\"}",
         "tensor 'b' is said to be in 'x.safetensors'"},
        {"{\"a\":\"x.safetensors\",\"b\":\"z.safetensors\"}", "tensor 'a' comes twice"},
        {"{\"a\":\"safetensors\"}", "safetensors': No such file"},
        {"{}", "expected a map 'weight_map'"},
        {"[]", "expected a map 'weight_map'"},
        {"null", "expected a map 'weight_map'"},
        {"{\"a\":\"x.safetensors\"", "not JSON"},
    };
    scratch s = scratch_make();
    put_tensor(&s, "x.safetensors", "a", 1);
    put_tensor(&s, "z.safetensors", "a", 1);
    const cot_tensor_entry two[] = {{.name = "b", .dtype = COT_F32, .rank = 1, .shape = {0}},
                                    {.name = "d", .dtype = COT_F32, .rank = 1, .shape = {0}}};
    must(cot_safetensors_write(scratch_path(&s, "y.safetensors"), two, 2));
    const int64_t before = cot_memory_blocks();
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++) {
        cot_safetensors *set;
        assert_int_not_equal(open_with_index(&s, maps[i][0], &set), COT_OK);
        assert_null(set);
        if (!strstr(cot_last_error(), maps[i][1]))
            fail_msg("%s: '%s' lacks '%s'", maps[i][0], cot_last_error(), maps[i][1]);
    }
    assert_int_equal(cot_memory_blocks(), before);
    scratch_remove(&s);
}

static void survives_short_memory(void **state)
{
    (void)state;
    scratch s = scratch_make();
    put_tensor(&s, "x.safetensors", "a", 1);
    put_tensor(&s, "y.safetensors", "b", 2);
    const int64_t before = cot_memory_blocks();
    cot_status    status = COT_OUT_OF_MEMORY;
    int           failures = 0;
    for (int n = 1; status != COT_OK; n++) {
        cot_safetensors *set = NULL;
        cot_memory_fail_after(n);
        status = open_with_index(&s, "{\"a\":\"x.safetensors\",\"b\":\"y.safetensors\"}", &set);
        cot_memory_fail_after(0);
        if (status != COT_OK) assert_int_equal(status, COT_OUT_OF_MEMORY);
        cot_safetensors_close(set);
        assert_int_equal(cot_memory_blocks(), before);
        failures += status != COT_OK;
    }
    assert_in_range(failures, 8, 40);
    status = COT_OUT_OF_MEMORY;
    for (int n = 1; status != COT_OK; n++) {
        const float value = 3;
        const cot_tensor_entry entry = {
            .name = "a", .dtype = COT_BF16, .rank = 0, .data = &value, .data_dtype = COT_F32};
        cot_memory_fail_after(n);
        status = cot_safetensors_write(scratch_path(&s, "x.safetensors"), &entry, 1);
        cot_memory_fail_after(0);
        assert_int_equal(cot_memory_blocks(), before);
    }
    scratch_remove(&s);
}

/* ---- token ids and logits ---- */

static void reads_token_ids(void **state)
{
    (void)state;
    static const char *const bad[][2] = {{"[]", "an empty list"},
                                         {"{\"ids\":[1]}", "a map, expected a list"},
                                         {"[[1,2]]", "item 0 is a list, expected a token id"},
                                         {"[1,2.5]", "item 1 is a number, expected a token id"},
                                         {"[1,-1]", "item 1 is token -1, expected 0 to 9"},
                                         {"[10]", "item 0 is token 10, expected 0 to 9"},
                                         {"[1,", "not JSON"}};
    scratch  s = scratch_make();
    int32_t *ids;
    size_t   count;
    scratch_put(&s, "ids.json", "[3, 0,\n9]\n", 10);
    must(cot_token_ids_read(s.path, 10, &ids, &count));
    assert_int_equal(count, 3);
    assert_true(ids[0] == 3 && ids[1] == 0 && ids[2] == 9);
    cot_free(ids);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        scratch_put(&s, "ids.json", bad[i][0], strlen(bad[i][0]));
        assert_int_equal(cot_token_ids_read(s.path, 10, &ids, &count), COT_FORMAT);
        assert_null(ids);
        if (!strstr(cot_last_error(), bad[i][1])) fail_msg("%s: '%s'", bad[i][0], cot_last_error());
    }
    scratch_remove(&s);
}

static void writes_logits(void **state)
{
    (void)state;
    const float logits[6] = {1, 2, 3, 4, 5, 6};
    float       back[6];
    scratch     s = scratch_make();
    must(cot_logits_write(scratch_path(&s, "logits.safetensors"), logits, 2, 3));
    cot_safetensors *set;
    must(cot_safetensors_open(s.path, &set));
    const cot_stored_tensor *t = find(set, "logits");
    assert_true(t->rank == 2 && t->shape[0] == 2 && t->shape[1] == 3 && t->dtype == COT_STORED_F32);
    must(cot_safetensors_read(set, t, COT_F32, back));
    assert_memory_equal(back, logits, sizeof back);
    cot_safetensors_close(set);
    scratch_remove(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(converts_halves_exactly),
        cmocka_unit_test(rounds_to_nearest_even),
        cmocka_unit_test(converts_between_all_types),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(streams_in_file_order),
        cmocka_unit_test(large_tensors_convert_in_pieces),
        cmocka_unit_test(refuses_to_write_nonsense),
        cmocka_unit_test(reads_the_official_library),
        cmocka_unit_test(refuses_hostile_headers),
        cmocka_unit_test(refuses_hostile_lengths),
        cmocka_unit_test(refuses_deep_and_long_values),
        cmocka_unit_test(refuses_every_truncation_and_survives_flips),
        cmocka_unit_test(reads_shards),
        cmocka_unit_test(refuses_hostile_indexes),
        cmocka_unit_test(survives_short_memory),
        cmocka_unit_test(reads_token_ids),
        cmocka_unit_test(writes_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
