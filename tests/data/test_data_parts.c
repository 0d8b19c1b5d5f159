/* The small parts below a corpus: hashes, UTF-8, the permutation. */
#define _GNU_SOURCE
#include "data/corpus_fixture.h"

#include "data/hash.h"
#include "data/permutation.h"
#include "data/utf8.h"

static void hash_does_not_depend_on_how_bytes_are_cut(void **state)
{
    (void)state;
    char text[67];
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)(i * 37);
    const uint64_t whole = cot_hash_bytes(text, sizeof text);
    for (size_t a = 0; a <= sizeof text; a++)
        for (size_t b = a; b <= sizeof text; b += 5) {
            cot_hash hash;
            cot_hash_start(&hash);
            cot_hash_add(&hash, text, a);
            cot_hash_add(&hash, text + a, b - a);
            cot_hash_add(&hash, text + b, sizeof text - b);
            assert_true(cot_hash_end(&hash) == whole);
        }
}

static void hash_sees_every_bit_and_the_length(void **state)
{
    (void)state;
    char           text[40] = {0};
    const uint64_t whole = cot_hash_bytes(text, sizeof text);
    for (size_t bit = 0; bit < 8 * sizeof text; bit++) {
        text[bit / 8] ^= (char)(1 << bit % 8);
        assert_true(cot_hash_bytes(text, sizeof text) != whole);
        text[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (size_t n = 0; n < sizeof text; n++) assert_true(cot_hash_bytes(text, n) != cot_hash_bytes(text, n + 1));
}

typedef struct {
    const char *text;
    size_t      valid;  /* bytes before the first invalid one */
    const char *replaced;
} utf8_case;

/* The replacements are those of the Unicode standard, section 3.9, table 3-8 and its neighbours. */
static const utf8_case utf8_cases[] = {
    {"", 0, ""},
    {"plain text of more than eight bytes", 35, "plain text of more than eight bytes"},
    {"se\xc3\xb1or \xe2\x82\xac \xf0\x9f\x98\x80 \xf4\x8f\xbf\xbf", 20,
     "se\xc3\xb1or \xe2\x82\xac \xf0\x9f\x98\x80 \xf4\x8f\xbf\xbf"},
    {"12345678\xff.", 8, "12345678\xef\xbf\xbd."},
    {"a\x80z", 1, "a\xef\xbf\xbdz"},
    {"a\xc0\xafz", 1, "a\xef\xbf\xbd\xef\xbf\xbdz"},                                 /* overlong '/' */
    {"a\xe0\x80\xafz", 1, "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz"},                 /* overlong, three bytes */
    {"a\xed\xa0\x80z", 1, "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz"},                 /* a surrogate */
    {"a\xf4\x90\x80\x80z", 1, "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz"}, /* above U+10FFFF */
    {"a\xe1\x80z", 1, "a\xef\xbf\xbdz"},                                             /* cut off: one part */
    {"a\xf0\x91\x92", 1, "a\xef\xbf\xbd"},
    {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf.", 0, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd."},  /* table 3-11 */
};

static void utf8_is_checked_and_replaced_as_the_standard_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof utf8_cases / sizeof *utf8_cases; i++) {
        const utf8_case *c = &utf8_cases[i];
        char             out[256];
        assert_int_equal(cot_utf8_valid(c->text, strlen(c->text)), c->valid);
        out[cot_utf8_replace(c->text, strlen(c->text), out)] = '\0';
        assert_string_equal(out, c->replaced);
    }
}

static void words_are_counted_across_cuts(void **state)
{
    (void)state;
    /* Four words and three ends of line; U+00A0 and U+3000 separate, too. */
    const char *text = "\n one two\xc2\xa0three\n\xe3\x80\x80 four\n";
    const size_t cuts[] = {0, 3, 4, 5, 7, strlen(text)};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        cot_word_count count = {0};
        cot_words_add(&count, text, cuts[i]);
        cot_words_add(&count, text + cuts[i], strlen(text) - cuts[i]);
        assert_int_equal(count.words, 4 + 3);
    }
}

static void permutation_meets_every_place_once(void **state)
{
    (void)state;
    for (uint64_t count = 1; count < 300; count += count < 20 ? 1 : 31) {
        const cot_rng_key key = {7, (uint32_t)count, COT_RNG_TEST};
        char              seen[300] = {0};
        for (uint64_t i = 0; i < count; i++) {
            const uint64_t place = cot_permutation_at(key, count, i);
            assert_true(place < count);
            assert_int_equal(seen[place], 0);
            seen[place] = 1;
        }
    }
}

/* Each of n = 6 elements should come to each place in 1/6 of 6000 permutations: 1000, standard deviation 29. */
static void permutation_is_even(void **state)
{
    (void)state;
    enum { N = 6, TRIALS = 6000 };
    int counts[N][N] = {{0}};
    for (uint32_t trial = 0; trial < TRIALS; trial++)
        for (uint64_t i = 0; i < N; i++) counts[i][cot_permutation_at((cot_rng_key){1, trial, COT_RNG_TEST}, N, i)]++;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) assert_in_range(counts[i][j], 1000 - 145, 1000 + 145);  /* five of them */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hash_does_not_depend_on_how_bytes_are_cut),
        cmocka_unit_test(hash_sees_every_bit_and_the_length),
        cmocka_unit_test(utf8_is_checked_and_replaced_as_the_standard_says),
        cmocka_unit_test(words_are_counted_across_cuts),
        cmocka_unit_test(permutation_meets_every_place_once),
        cmocka_unit_test(permutation_is_even),
    };
    return cmocka_run_group_tests_name("data parts", tests, NULL, NULL);
}
