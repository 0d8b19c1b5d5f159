/* The router lab's JSON, in and out. */
#ifndef COT_STUDY_ROUTE_JSON_H
#define COT_STUDY_ROUTE_JSON_H

#include <coterie/route.h>

#include "base/memory.h"
#include "routing/routing.h"

/* What the lab is given; arrays live in the arena. */
typedef struct {
    int64_t  tokens, columns, primary_columns;
    double  *logits;         /* [T, columns]; finite or minus infinity */
    double  *primary;        /* [T, primary_columns] likewise, or NULL */
    double  *noise;          /* [T, columns] or NULL */
    double  *raw_noise_std;  /* [T, columns] or NULL */
    double  *bias;           /* [columns] or NULL */
    double  *thresholds;     /* [columns] or NULL */
    double  *reward;         /* [T] or NULL */
    int32_t *ids, *labels, *targets;  /* [T] or NULL */
    int32_t *position, *previous;     /* [T]; previous NULL without ids */
    cot_runs sequences, groups;
    bool     training;
} cot_route_case;

/* `name` (NULL: none) stands in front of messages. */
cot_status cot_route_case_read(const char *json, size_t length, const char *name, cot_arena *arena, cot_route_case *out);

#endif
