/* The registry: every member of every family can be described, its option table is sound, and recipes are found. */
#define _POSIX_C_SOURCE 200809L /* setenv, mkdtemp */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <coterie/recipes.h>
#include <coterie/registry.h>

#include "balance/balance.h"
#include "base/memory.h"
#include "data/data_options.h"
#include "data/recipe_tokenizer.h"
#include "experts/experts.h"
#include "layers/feed_forward.h"
#include "mixers/mixer.h"
#include "models/model.h"
#include "objectives/objective.h"
#include "routers/router.h"
#include "routing/capacity.h"
#include "training/optimizers/optimizer.h"
#include "training/plan.h"
#include "training/schedules/schedule.h"

static void families_hold_members(void **state)
{
    (void)state;
    cot_registry_family family, found;
    size_t families = 0;
    for (; cot_registry_family_at(families, &family); families++) {
        cot_registry_member member, again;
        assert_true(*family.name && *family.singular && *family.summary);
        assert_int_equal(cot_registry_family_find(family.singular, &found), COT_OK);
        assert_string_equal(found.name, family.name);
        size_t members = 0;
        for (; cot_registry_member_at(family.name, members, &member); members++) {
            assert_true(member.name && *member.name && member.summary && *member.summary);
            assert_int_equal(cot_registry_member_find(family.name, member.name, &again), COT_OK);
            assert_ptr_equal(again.name, member.name);  /* the first of that name: no name twice */
            cot_registry_option option;
            size_t options = 0;
            for (; cot_registry_option_at(family.name, member.name, options, &option); options++)
                if (option.holds && cot_registry_family_find(option.holds, &found) != COT_OK)
                    assert_int_equal(cot_registry_member_find("sections", option.holds, &again), COT_OK);
            assert_int_equal(options, member.options);
        }
        assert_true(members > 0);
        assert_false(cot_registry_member_at(family.name, members + 100, &member));
    }
    assert_true(families >= 9);
}

static void unknown_names_are_refused(void **state)
{
    (void)state;
    cot_registry_family family;
    cot_registry_member member;
    cot_registry_option option;
    assert_int_equal(cot_registry_family_find("ruoters", &family), COT_NOT_FOUND);
    assert_non_null(strstr(cot_last_error(), "did you mean 'routers'?"));
    assert_int_equal(cot_registry_member_find("routers", "tpo_k", &member), COT_NOT_FOUND);
    assert_non_null(strstr(cot_last_error(), "did you mean 'top_k'?"));
    assert_false(cot_registry_member_at("nothing", 0, &member));
    assert_false(cot_registry_option_at("routers", "nothing", 0, &option));
    assert_false(cot_registry_option_at("nothing", "top_k", 0, &option));
}

static size_t count_choices(const char *choices)
{
    size_t count = 1;
    for (; *choices; choices++) count += *choices == '|';
    return count;
}

static void check_table(const char *where, const cot_option *options)
{
    for (const cot_option *o = options; o && o->name; o++) {
        if (!o->help || !*o->help) fail_msg("%s: option %s has no help", where, o->name);
        for (const cot_option *other = options; other != o; other++)
            if (strcmp(other->name, o->name) == 0) fail_msg("%s: option %s stands there twice", where, o->name);
        if (strcmp(o->name, "kind") == 0) fail_msg("%s: an option may not be called kind", where);
        const bool number = o->kind == COT_OPTION_KIND_INT || o->kind == COT_OPTION_KIND_DOUBLE;
        if (number && !(o->min <= o->number && o->number <= o->max))
            fail_msg("%s: default of %s is out of range", where, o->name);
        if (o->kind == COT_OPTION_KIND_INT && floor(o->number) != o->number)
            fail_msg("%s: %s is not whole", where, o->name);
        if (o->kind == COT_OPTION_KIND_CHOICE && !(o->number >= 0 && o->number < (double)count_choices(o->text)))
            fail_msg("%s: default of %s is none of its choices", where, o->name);
    }
}

static void option_tables_are_sound(void **state)
{
    (void)state;
    static const cot_family_at families[] = {cot_router_at,   cot_experts_at,  cot_balance_at,   cot_feed_forward_at,
                                             cot_mixer_at,    cot_model_at,    cot_objective_at, cot_optimizer_at,
                                             cot_schedule_at, cot_data_kind_at};
    const cot_member *member;
    for (size_t f = 0; f < sizeof families / sizeof *families; f++)
        for (size_t i = 0; (member = families[f](i)) != NULL; i++) check_table(member->name, member->options);
    check_table("train", cot_train_option_table);
    check_table("capacity", cot_capacity_options);
    check_table("shared", cot_shared_expert_options);
    check_table("tokenizer", cot_tokenizer_section_options);
    check_table("groups", cot_optimizer_group_options);
}

static char folder[64];

static void write_file(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int make_recipes(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/coterie-recipes-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    write_file("b.yaml", "# The second.\r\nmodel: {}\n");
    write_file("a.yaml", "model: {}\n");
    write_file("note.txt", "no recipe");
    return setenv("COTERIE_RECIPES", folder, 1);
}

static int remove_recipes(void **state)
{
    (void)state;
    static const char *const names[] = {"a.yaml", "b.yaml", "note.txt"};
    for (size_t i = 0; i < 3; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        remove(path);
    }
    return rmdir(folder);
}

static void recipes_are_listed_and_found(void **state)
{
    (void)state;
    cot_recipe *recipes;
    size_t count;
    assert_int_equal(cot_recipes_list(&recipes, &count), COT_OK);
    assert_int_equal(count, 2);
    assert_string_equal(recipes[0].name, "a");
    assert_string_equal(recipes[0].summary, "");
    assert_string_equal(recipes[1].name, "b");
    assert_string_equal(recipes[1].summary, "The second.");

    char *path;
    assert_int_equal(cot_recipes_find("b", &path), COT_OK);
    assert_string_equal(path, recipes[1].path);
    free(path);
    assert_int_equal(cot_recipes_find(recipes[0].path, &path), COT_OK);
    assert_string_equal(path, recipes[0].path);
    free(path);
    assert_int_equal(cot_recipes_find("c", &path), COT_NOT_FOUND);
    assert_null(path);
    assert_string_equal(cot_last_error(), "'c' is neither a file nor a recipe (recipes: a, b)");
    assert_int_equal(cot_recipes_find("", &path), COT_INVALID);
    assert_int_equal(cot_recipes_find("/tmp", &path), COT_NOT_FOUND);
    cot_recipes_destroy(recipes, count);
}

static void recipes_survive_short_memory(void **state)
{
    (void)state;
    const int64_t before = cot_memory_blocks();
    cot_status status = COT_OUT_OF_MEMORY;
    for (int n = 1; status == COT_OUT_OF_MEMORY; n++) {
        cot_recipe *recipes;
        size_t count;
        cot_memory_fail_after(n);
        status = cot_recipes_list(&recipes, &count);
        cot_memory_fail_after(0);
        cot_recipes_destroy(recipes, count);
        assert_int_equal(cot_memory_blocks(), before);
        assert_true(n < 50);
    }
    assert_int_equal(status, COT_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_hold_members),
        cmocka_unit_test(unknown_names_are_refused),
        cmocka_unit_test(option_tables_are_sound),
        cmocka_unit_test_setup_teardown(recipes_are_listed_and_found, make_recipes, remove_recipes),
        cmocka_unit_test_setup_teardown(recipes_survive_short_memory, make_recipes, remove_recipes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
