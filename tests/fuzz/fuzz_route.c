/* The router lab's JSON. The first byte picks a router, rules and a capacity. */
#include <coterie/route.h>

#include "fuzz.h"

static const char *const routers[] = {"{kind: top_k, top_k: 2}", "{kind: noisy_top_k, top_k: 1}", "{kind: switch}"};
static const char *const rules[] = {"{kind: aux, coef: 1}", "{kind: z_loss, coef: 1}", "{kind: importance, coef: 1}"};
static const char *const capacities[] = {NULL, "{capacity_factor: 1}", "{capacity_factor: 0.5, policy: probability}"};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    const cot_route_spec spec = {.router = routers[data[0] % 3], .balance = rules, .balance_count = 3,
                                 .capacity = capacities[data[0] / 3 % 3], .gradient = true, .seed = 1, .name = "fuzz.json"};
    cot_route_result *result;
    char *text;
    const cot_status status = cot_route(&spec, (const char *)data + 1, size - 1, &result);
    const bool about_spec = strncmp(cot_last_error(), "router:1: ", 10) == 0;  /* fewer experts than it is to choose */
    if (!fuzz_accepted(status, about_spec ? "" : "fuzz.json")) return 0;
    FUZZ_CHECK(cot_route_to_json(result, &text) == COT_OK);
    free(text);
    cot_route_result_destroy(result);
    return 0;
}
