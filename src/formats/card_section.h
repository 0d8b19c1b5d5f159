/* A published model in a recipe's words. */
#ifndef COT_FORMATS_CARD_SECTION_H
#define COT_FORMATS_CARD_SECTION_H

#include "formats/dialects/dialect.h"

/* The `model` section of a recipe that makes the model of the card; `file` stands for it in messages. */
cot_status cot_card_section(const cot_model_card *card, const char *file, cot_config **out);

#endif
