#include "routing/ranked.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* Does a come before b? */
static bool before(const cot_ranked *a, const cot_ranked *b, bool by_token)
{
    return a->key > b->key || (a->key == b->key && (!by_token || a->token < b->token));
}

/* Merge sort; `by_token` breaks ties by token number instead of by place. */
static void sort(cot_ranked *list, cot_ranked *spare, int64_t n, bool by_token)
{
    for (int64_t width = 1; width < n; width *= 2) {
        for (int64_t start = 0; start < n; start += 2 * width) {
            const int64_t middle = start + width < n ? start + width : n, end = middle + width < n ? middle + width : n;
            int64_t left = start, right = middle;
            for (int64_t i = start; i < end; i++) {
                const bool take_left = right >= end || (left < middle && before(&list[left], &list[right], by_token));
                spare[i] = list[take_left ? left++ : right++];
            }
        }
        memcpy(list, spare, (size_t)n * sizeof *list);
    }
}

void cot_rank_descending(cot_ranked *list, cot_ranked *spare, int64_t n) { sort(list, spare, n, false); }

/* Gives keys that stand for equal values one value and sorts again; values between ties stay in order. */
void cot_rank_with_ties(cot_ranked *list, cot_ranked *spare, int64_t n, double relative, double absolute)
{
    double head = INFINITY, least = INFINITY;
    sort(list, spare, n, true);
    for (int64_t i = 0; i < n; i++) {
        if (!(list[i].key >= least)) {
            head = list[i].key;
            least = isfinite(head) ? head - relative * fabs(head) - absolute : head;
        }
        list[i].key = head;
    }
    sort(list, spare, n, true);
}
