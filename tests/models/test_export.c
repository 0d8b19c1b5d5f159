/* Exports and checkpoints of llama2.c when memory is short or somebody says stop: an error, nothing written, nothing
 * leaked, and the next call works. What exported files hold: tests/cli/export.sh. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <coterie/export.h>

#include "base/memory.h"
#include "data/tokenizer_fixture.h"
#include "formats/scratch.h"
#include "models/llama2c_model.h"
#include "models/model_fixture.h"

static const char sparse[] =
    "{kind: lm, hidden_size: 8, num_layers: 2, mixer: {kind: attention, num_heads: 2, bias: true}, "
    "ffn: {kind: sparse, router: {kind: top_k, top_k: 2}, experts: {kind: ffn, num_experts: 3, intermediate_size: 4}}}";

typedef struct {
    cot_model     *model;
    cot_tokenizer *tokenizer;
    scratch        folder;
} things;

static things make_things(void)
{
    things t = {.model = made_model(sparse, 270, 16, 1),
                .tokenizer = train_on("the other the then", 262),
                .folder = scratch_make()};
    assert_non_null(t.tokenizer);
    return t;
}

static void free_things(things *t)
{
    cot_model_destroy(t->model);
    cot_tokenizer_destroy(t->tokenizer);
    scratch_remove(&t->folder);
}

static void exports_survive_every_failing_allocation(void **state)
{
    (void)state;
    things t = make_things();
    const cot_export_options options = {.type = COT_EXPORT_F16};
    const int64_t blocks = cot_memory_blocks();
    int64_t n = 0;
    cot_status status = COT_OUT_OF_MEMORY;
    while (status != COT_OK) {
        assert_int_equal(status, COT_OUT_OF_MEMORY);
        assert_int_equal(scratch_count(&t.folder), 0);
        cot_memory_fail_after(++n);
        status = cot_export_gguf(t.model, t.tokenizer, scratch_path(&t.folder, "file.gguf"), &options);
        cot_memory_fail_after(0);
        assert_int_equal(cot_memory_blocks(), blocks);
    }
    assert_true(n > 10);
    assert_int_equal(scratch_count(&t.folder), 1);
    free_things(&t);
}

/* Wants to stop when the first bytes are written. */
static bool stop(void *context, uint64_t done, uint64_t total)
{
    assert_true(done > 0 && done <= total);
    ++*(int *)context;
    return false;
}

static void a_stopped_export_leaves_nothing(void **state)
{
    (void)state;
    things t = make_things();
    int calls = 0;
    const cot_export_options options = {.type = COT_EXPORT_Q8_0, .progress = stop, .context = &calls};
    assert_int_equal(cot_export_gguf(t.model, t.tokenizer, scratch_path(&t.folder, "file.gguf"), &options),
                     COT_STOPPED);
    assert_int_equal(calls, 1);
    assert_int_equal(scratch_count(&t.folder), 0);
    free_things(&t);
}

static void checkpoints_survive_every_failing_allocation(void **state)
{
    (void)state;
    static const char path[] = COT_SOURCE_DIR "/tests/fuzz/corpus/llama2c/untied";
    const int64_t blocks = cot_memory_blocks();
    cot_model *model;
    cot_status status = COT_OUT_OF_MEMORY;
    for (int64_t n = 1; status != COT_OK; n++) {
        assert_int_equal(status, COT_OUT_OF_MEMORY);
        cot_memory_fail_after(n);
        status = cot_llama2c_load(path, &model);
        cot_memory_fail_after(0);
        if (status != COT_OK) assert_null(model);
        if (status != COT_OK) assert_int_equal(cot_memory_blocks(), blocks);
    }
    cot_model_destroy(model);
    assert_int_equal(cot_memory_blocks(), blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exports_survive_every_failing_allocation),
        cmocka_unit_test(a_stopped_export_leaves_nothing),
        cmocka_unit_test(checkpoints_survive_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
