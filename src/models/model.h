/* The model family and what training, evaluation and generation ask of a model. */
#ifndef COT_MODELS_MODEL_H
#define COT_MODELS_MODEL_H

#include <coterie/model.h>

#include "base/family.h"
#include "layers/feed_forward.h"
#include "mixers/mixer.h"
#include "tensor/tape.h"

typedef struct cot_layer {
    char              name[32];          /* "layers.3" */
    char              ffn_name[32];      /* "layers.3.ffn", for messages */
    cot_mixer        *mixer;
    cot_feed_forward *ffn[4];            /* side by side */
    int               ffn_count;
    cot_param        *mixer_norm, *ffn_norm;
} cot_layer;

typedef struct cot_model_ops {
    cot_member member;
    size_t     state_size;
    cot_status (*setup)(cot_model *model);
    void       (*teardown)(cot_model *model);
    /* The state after the last norm, [T, D] act. sequences: one per layer (mixers' states), or NULL. */
    cot_tensor *(*hidden)(cot_model *model, cot_tape *tape, const cot_pass *pass, void **sequences, bool recompute);
} cot_model_ops;

struct cot_model {
    const cot_model_ops *ops;
    void                *state;
    cot_config          *section;
    cot_params          *params;
    int64_t              vocab_size, context, hidden_size, num_layers;
    cot_layer           *layers;         /* [num_layers] */
    cot_param           *embed, *head;   /* head == embed when tied */
    double               norm_eps;
    const char          *stored_as;      /* model_type of the folder that it was loaded from; NULL: of none */
    cot_text_ids         ids;            /* what that folder says of tokens that begin, end and fill a text */
};

const cot_member *cot_model_at(size_t index);

extern const cot_option cot_layer_entry_options[];  /* an entry of a model's `layers` list */

/* As cot_model_create() with the element type of the parameters: COT_F32, or COT_F64 for tests. */
cot_status cot_model_create_as(const cot_config *section, int64_t vocab_size, int64_t context, cot_dtype real,
                               cot_model **out);

/* The model in a published config's words; `tokenizer` (may be NULL) gives the end of text. */
cot_model_card cot_model_card_of(const cot_model *model, const cot_tokenizer *tokenizer);

/* Whose names the files of this model use: "llama", "mixtral", ... or "coterie". */
const char *cot_model_published_as(const cot_model *model);

struct cot_corpus;

/* Before the first step of a run: makes buffers that follow from the training text (hash tables). Does nothing where
 * there are none. */
cot_status cot_model_prepare(cot_model *model, const struct cot_corpus *corpus);

/* Around a training step: clears what its passes tally, and moves buffers (a bias that follows the load, say) by it. */
void cot_model_begin_step(cot_model *model);
void cot_model_end_step(cot_model *model);

/* Logits [T, V] real of hidden states [T, D] act. */
cot_tensor *cot_model_logits(cot_model *model, cot_tape *tape, cot_tensor *hidden);

/* One state per layer for generation with room for `capacity` tokens; whole: as in mixers/mixer.h. */
cot_status cot_model_sequences_create(const cot_model *model, int64_t capacity, bool whole, cot_mode mode, void ***out);
void       cot_model_sequences_destroy(const cot_model *model, void **sequences);
/* Forgets all tokens from `length` on; all of them, where a state has dropped what the next token needs. Returns how
 * many are held now. */
int64_t    cot_model_sequences_truncate(const cot_model *model, void **sequences, int64_t length);

/* What the config.json of a model folder, or the header of a checkpoint of llama2.c, says: its `model` section (a tree
 * of its own), symbols, and longest sequence. */
cot_status cot_model_folder_describe(const char *folder, cot_config **section, int64_t *vocab_size, int64_t *context);

/* Takes memory for a declared model's parameters and fills them from a folder (or a checkpoint of llama2.c) whose
 * weights have the same names and shapes. */
cot_status cot_model_load_weights(cot_model *model, const char *folder);

#endif
