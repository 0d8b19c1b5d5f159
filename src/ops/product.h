/* The loops around tiles that the three products of matmul.h share: c = a b in groups, a in rows of blocks, b in
 * panels of 64 columns.
 *
 * A task is a range of rows and columns of one group's c. It brings its part of b into panels that stay in the
 * second-level cache, and takes a's rows by blocks past them. Blocks, panels and pieces of k have fixed borders, so
 * an element of c is summed in the same order whoever does it; only the cut into tasks knows the number of threads. */
#ifndef COT_OPS_PRODUCT_H
#define COT_OPS_PRODUCT_H

#include "kernels/product/pack.h"
#include "ops/matmul.h"

typedef enum { COT_PRODUCT_FORWARD, COT_PRODUCT_BACK_INPUT, COT_PRODUCT_BACK_WEIGHT } cot_product_form;

typedef struct {
    cot_product_form  form;
    const cot_matmul *shape;
    cot_pack_source   a, b;       /* what the blocks and the panels are made of */
    const void       *packed;     /* forward: panels of all groups made before (packed.h), or NULL */
    void             *c;
    cot_dtype         c_dtype;    /* the tape's real or act type */
    bool              accumulate;
} cot_product;

void cot_product_run(cot_tape *tape, const cot_product *product);

#endif
