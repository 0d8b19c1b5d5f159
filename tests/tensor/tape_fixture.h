/* A tape in double precision for every test of a file: pass set_up and tear_down to cmocka. */
#ifndef COT_TESTS_TAPE_FIXTURE_H
#define COT_TESTS_TAPE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tensor/tape.h"

static cot_tape *tape;

static int set_up(void **state)
{
    (void)state;
    return cot_tape_create(COT_MODE_F64, &tape);
}
static int tear_down(void **state)
{
    (void)state;
    cot_tape_destroy(tape);
    return 0;
}

#endif
