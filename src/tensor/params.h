/* Parameters and buffers: one named list. A parameter is trained, a buffer is saved but not trained. */
#ifndef COT_TENSOR_PARAMS_H
#define COT_TENSOR_PARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include <coterie/status.h>

#include "tensor/row_grads.h"
#include "tensor/tensor.h"

typedef enum { COT_PLACE_REPLICATED, COT_PLACE_EXPERT, COT_PLACE_COLUMN, COT_PLACE_ROW } cot_placement;
typedef enum { COT_UPDATE_DENSE, COT_UPDATE_TOUCHED_ROWS, COT_UPDATE_BUFFER } cot_update;
typedef enum { COT_INIT_ZERO, COT_INIT_ONE, COT_INIT_NORMAL, COT_INIT_TRUNCATED_NORMAL, COT_INIT_UNIFORM } cot_init_kind;

typedef struct {
    cot_init_kind kind;
    double        scale;  /* standard deviation (before truncation at two of them), or half width of the uniform */
} cot_init;

/* What a parameter is, as its owner declares it. */
typedef struct {
    const char   *name;             /* dotted, e.g. "layers.0.ffn.experts.down"; copied */
    int32_t       rank;
    int64_t       shape[COT_MAX_RANK];
    cot_init      init;
    cot_placement placement;
    cot_update    update;
    bool          no_decay;         /* outside weight decay (norms, biases, embeddings by choice) */
    bool          bf16;             /* kept in bf16 whatever the list's type is, optimizer state too (tables by touched row) */
    int32_t       row_parts;        /* a matrix made of several stacked by rows (q, k, v): how many ... */
    int64_t       row_part[3];      /* ... and the rows of each; 0 parts = one whole */
} cot_param_spec;

typedef struct cot_param {
    char          *name;
    cot_param_spec spec;            /* spec.name is NULL; use name */
    cot_tensor     value;           /* real dtype of the list, or bf16 (spec.bf16); value.grad is the gradient (zero between steps) */
    bool           frozen;          /* stays as it is: no gradient, no optimizer state. Set before gradients are allocated */
    bool           grad_fresh;      /* nothing has flowed into value.grad since the last cot_params_clear_grads */
    bool           mapped;          /* value.data lies in a file that the list keeps open: to be read, not written */
    uint64_t       version;         /* counts changes of value.data: packed copies are remade when it moves */
    void          *packed;          /* packed copies for the products, owned by ops/matmul */
    uint64_t       packed_version;
    void         (*packed_free)(void *packed);
    cot_row_grads *rows;            /* of a table with COT_UPDATE_TOUCHED_ROWS, its owner's: what flowed into rows ... */
    int            rows_term;       /* ... and which of its terms is this table's. value.grad stays NULL */
} cot_param;

typedef struct cot_params cot_params;

cot_status cot_params_create(cot_dtype real, cot_params **out);  /* real: COT_F32 or COT_F64 */
void       cot_params_destroy(cot_params *params);
cot_dtype  cot_params_dtype(const cot_params *params);

/* Declares an entry; memory comes with cot_params_allocate. Errors: COT_INVALID for a name taken or a shape that overflows. */
cot_status cot_params_add(cot_params *params, const cot_param_spec *spec, cot_param **out);

/* Takes the memory of all entries' values (and not of gradients) and initialises them: entry i draws from
 * (seed, COT_RNG_INIT + hash of its name), so that adding a parameter elsewhere changes no other's start. */
cot_status cot_params_allocate(cot_params *params, uint64_t seed);
/* Takes the memory of values without initialising it (a loader fills it), but for those that are mapped. */
cot_status cot_params_allocate_raw(cot_params *params);
/* Closes `file` with the list: values of entries that are `mapped` lie in it. A list keeps one. */
void       cot_params_keep(cot_params *params, void *file, void (*close)(void *file));
/* Takes the memory of gradients of what is trained, tables by touched row left out. */
cot_status cot_params_allocate_grads(cot_params *params);
/* Marks all gradients as empty: the next backward writes instead of adding. */
void       cot_params_clear_grads(cot_params *params);
/* Zeroes gradients into which nothing has flowed since (an expert pool nobody used). */
void       cot_params_settle_grads(cot_params *params);

size_t     cot_params_count(const cot_params *params);
cot_param *cot_params_at(const cot_params *params, size_t index);
cot_param *cot_params_find(const cot_params *params, const char *name);  /* NULL when absent */
int64_t    cot_params_elements(const cot_params *params, bool trained_only);
int64_t    cot_params_elements_frozen(const cot_params *params);
int64_t    cot_params_elements_by_row(const cot_params *params);  /* of tables with COT_UPDATE_TOUCHED_ROWS */
/* Elements, bytes of their values, and bytes in training: with gradients (of what has any) and two moments. */
typedef struct {
    int64_t elements, bytes, training;
} cot_params_size;

cot_params_size cot_params_measure(const cot_params *params, bool experts_only);

uint32_t   cot_param_number(const cot_param *param);  /* 24 bits from its name: the running number of a random stream */

#endif
