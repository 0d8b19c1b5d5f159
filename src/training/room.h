/* Is there room for a run, and what would fit where there is not? */
#ifndef COT_TRAINING_ROOM_H
#define COT_TRAINING_ROOM_H

#include "tensor/params.h"

/* Bytes that this process may still take: what the system says is available, and the container's limit. */
int64_t    cot_room_available(void);
/* Errors: COT_OUT_OF_MEMORY when `needed` bytes are more than are available, with what is needed and, where tables by touched
 * row are what is large, whether rows in bf16 or how many experts would fit. */
cot_status cot_room_check(const cot_params *params, int64_t needed, int64_t available);

#endif
