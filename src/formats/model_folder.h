/* Model folders: config.json, generation_config.json and model.safetensors (or shards), in the names of a published
 * family where there is one for the model (formats/dialects/). The tokenizer's files are not ours. */
#ifndef COT_FORMATS_MODEL_FOLDER_H
#define COT_FORMATS_MODEL_FOLDER_H

#include "formats/dialects/dialect.h"

/* What a folder's config.json says. */
typedef struct {
    const cot_dialect *dialect;
    cot_model_card     card;      /* card.model is NULL */
    cot_config        *section;   /* the `model` section of a recipe: as stored, or made from a published config */
} cot_model_folder;

/* Reads config.json, and generation_config.json for what ends a text. A folder that Coterie wrote holds our own
 * section; from others one is made that is the same model. Of the weights nothing is looked at.
 * Errors: COT_NOT_FOUND when there is no such folder, it has no config.json, or its model_type is unknown (the known
 *         ones are listed); COT_FORMAT naming file and key. */
cot_status cot_model_folder_read(const char *path, cot_model_folder *out);
void       cot_model_folder_release(cot_model_folder *folder);  /* accepts one that is all zero */

/* Fills the parameters from the folder's weights, converted to their type; their memory is taken if it has not been.
 * Every parameter must be there in its shape and nothing else: all that is checked before any memory is taken and
 * before the first value changes.
 * Errors: COT_FORMAT naming file and tensor. */
cot_status cot_model_folder_load_weights(const char *path, const cot_model_folder *folder, cot_params *params);
/* The same for a model that is not trained: tables by touched row that are stored in their own type stay in the mapped file,
 * so that only rows that somebody reads come from the disk. The file may be replaced or removed meanwhile, not cut short. */
cot_status cot_model_folder_map_weights(const char *path, const cot_model_folder *folder, cot_params *params);

/* Writes config.json, generation_config.json and model.safetensors (elements of type card->dtype), making the folder
 * if need be; each file appears whole or not at all, the weights first. *dialect (may be NULL) tells whose names they
 * bear. */
cot_status cot_model_folder_write(const char *path, const cot_model_card *card, const cot_params *params,
                                  const cot_dialect **dialect);

/* The two parts of it. */
cot_status cot_model_folder_write_config(const char *path, const cot_dialect *dialect, const cot_model_card *card);
cot_status cot_model_folder_write_weights(const char *path, const cot_dialect *dialect, const cot_model_card *card,
                                          const cot_params *params);

#endif
