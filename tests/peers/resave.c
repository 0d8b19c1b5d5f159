/* Loads a model folder and saves the model anew, for tests/peers/check_formats.py:
 *
 *   resave FOLDER NEW_FOLDER */
#include <stdio.h>

#include <coterie/model.h>

int main(int argc, char **argv)
{
    if (argc != 3) return 2;
    cot_model     *model;
    cot_tokenizer *tokenizer;
    cot_status status = cot_model_load(argv[1], &model, &tokenizer);
    if (status == COT_OK) status = cot_model_save(model, tokenizer, argv[2]);
    if (status != COT_OK) fprintf(stderr, "resave: %s\n", cot_last_error());
    cot_tokenizer_destroy(tokenizer);
    cot_model_destroy(model);
    return status != COT_OK;
}
