/* The router lab's JSON, in and out. */
#ifndef COT_STUDY_ROUTE_JSON_H
#define COT_STUDY_ROUTE_JSON_H

#include <coterie/route.h>

#include "base/memory.h"

/* What the lab is given; arrays live in the arena. */
typedef struct {
    int64_t  tokens, experts;
    double  *logits;         /* [T, E]; finite or minus infinity */
    double  *noise;          /* [T, E] or NULL */
    double  *raw_noise_std;  /* [T, E] or NULL */
    int32_t *ids;            /* [T] or NULL */
    int32_t *first;          /* [T] the row at which a token's sequence starts */
    bool     training;
} cot_route_case;

cot_status cot_route_case_read(const char *json, size_t length, cot_arena *arena, cot_route_case *out);

#endif
