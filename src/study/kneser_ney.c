/* Interpolated modified Kneser-Ney, exact [chen1999empirical].
 *
 *   p_n(w | c) = max(count(c w) - D(count(c w)), 0) / total(c)  +  gamma(c) p_{n-1}(w | c without its first token)
 *   gamma(c)   = (D1 N1(c) + D2 N2(c) + D3 N3+(c)) / total(c)
 *
 * The highest order of a model counts occurrences ("plain" below); all lower orders count in how many different ways
 * an n-gram continues to the left ("continuation"). Both are kept for every order, so one object is the models of all
 * orders up to the highest: order n is plain counts at n over continuation counts at n - 1, ..., 1 and the uniform
 * distribution.
 *
 * The n-grams of order n are nodes under their contexts, the n-grams of order n - 1: a hash table per order maps
 * (context node, token) to a node. With below[i] the node of the (n-1)-gram that ends at position i, the n-gram there
 * is (below[i - 1], tokens[i]), and below[i] is the same n-gram without its first token: one pass per order. */
#include <coterie/yardstick.h>

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"

enum { MAX_ORDER = COT_KNESER_NEY_MAX_ORDER };

static const uint32_t NONE = UINT32_MAX;
static const uint32_t ROOT = 0;      /* the only node of order 0 */
static const uint32_t BOUNDARY = 0;  /* the first node of order 1: the start of a document */

typedef struct {
    uint32_t context, token;
    uint32_t node;  /* NONE: free */
} slot;

/* What follows one context: how often anything does, and how many tokens do once, twice, three times or more. */
typedef struct {
    uint32_t total, distinct[3];
} follow;

typedef struct {
    uint32_t plain, continuation;
} gram;

/* The n-grams of one order. */
typedef struct {
    slot                   *slots;
    unsigned                slot_bits;     /* there are 2^slot_bits slots */
    gram                   *grams;         /* [nodes]; 0, 0 for those that only serve as a context */
    size_t                  nodes, capacity;
    follow                 *plain, *continuation;  /* [nodes], as contexts of the next order; NULL at the highest */
    cot_kneser_ney_discount plain_discount, continuation_discount;
} level;

struct cot_kneser_ney {
    int     order;
    int32_t vocabulary;
    level   levels[MAX_ORDER + 1];  /* level 0 holds the empty context only */
};

/* ---- the table of one order ---- */

static size_t slot_of(const level *l, uint32_t context, uint32_t token)
{
    uint64_t h = (uint64_t)context << 32 | token;
    h = (h ^ h >> 32) * UINT64_C(0x9E3779B97F4A7C15);
    h = (h ^ h >> 29) * UINT64_C(0xBF58476D1CE4E5B9);
    size_t at = (size_t)(h >> (64 - l->slot_bits));
    const size_t mask = ((size_t)1 << l->slot_bits) - 1;
    while (l->slots[at].node != NONE && (l->slots[at].context != context || l->slots[at].token != token))
        at = (at + 1) & mask;
    return at;
}

static bool slots_reserve(level *l, unsigned bits)
{
    const size_t size = (size_t)1 << bits;
    const size_t old_size = l->slots ? (size_t)1 << l->slot_bits : 0;
    slot *const old = l->slots;
    slot *const slots = cot_malloc(size * sizeof *slots);
    if (!slots) return false;
    memset(slots, 0xFF, size * sizeof *slots);
    l->slots = slots;
    l->slot_bits = bits;
    for (size_t i = 0; i < old_size; i++)
        if (old[i].node != NONE) slots[slot_of(l, old[i].context, old[i].token)] = old[i];
    cot_free(old);
    return true;
}

static bool grams_reserve(level *l, size_t capacity)
{
    gram *const grams = cot_realloc(l->grams, l->nodes * sizeof *grams, capacity * sizeof *grams);
    if (!grams) return false;
    l->grams = grams;
    l->capacity = capacity;
    return true;
}

static bool level_init(level *l) { return slots_reserve(l, 10) && grams_reserve(l, 512); }

static void level_release(level *l)
{
    cot_free(l->slots);
    cot_free(l->grams);
    cot_free(l->plain);
    cot_free(l->continuation);
}

static uint32_t level_find(const level *l, uint32_t context, uint32_t token)
{
    return context == NONE ? NONE : l->slots[slot_of(l, context, token)].node;
}

/* The node of (context, token), made when new; NONE when memory is short. At most 5 of 8 slots are filled. */
static uint32_t level_insert(level *l, uint32_t context, uint32_t token)
{
    const size_t at = slot_of(l, context, token);
    if (l->slots[at].node != NONE) return l->slots[at].node;
    if (l->nodes == l->capacity && !grams_reserve(l, 2 * l->capacity)) return NONE;
    const uint32_t node = (uint32_t)l->nodes++;
    l->grams[node] = (gram){0, 0};
    l->slots[at] = (slot){.context = context, .token = token, .node = node};
    if (8 * l->nodes > (size_t)5 << l->slot_bits && !slots_reserve(l, l->slot_bits + 1)) return NONE;
    return node;
}

/* ---- counting ---- */

typedef struct {
    const int32_t *tokens;
    size_t         count;
    const size_t  *starts;
    size_t         documents;
} sequence;

static size_t document_end(const sequence *s, size_t document)
{
    return document + 1 < s->documents ? s->starts[document + 1] : s->count;
}

static cot_status sequence_check(const sequence *s, int32_t vocabulary)
{
    if (s->count == 0 || s->documents == 0) return cot_fail(COT_INVALID, "the yardstick was given no tokens");
    if (s->count > INT32_MAX) return cot_fail(COT_INVALID, "%zu tokens; the yardstick takes fewer than 2^31", s->count);
    if (s->starts[0] != 0)
        return cot_fail(COT_INVALID, "the first document starts at token %zu, expected 0", s->starts[0]);
    for (size_t d = 0; d < s->documents; d++)
        if (s->starts[d] > document_end(s, d) || document_end(s, d) > s->count)
            return cot_fail(COT_INVALID, "document %zu starts at token %zu and ends at %zu of %zu; starts must ascend",
                            d, s->starts[d], document_end(s, d), s->count);
    for (size_t i = 0; i < s->count; i++)
        if (s->tokens[i] < 0 || s->tokens[i] >= vocabulary)
            return cot_fail(COT_INVALID, "token %zu is %d, outside of a vocabulary of %d", i, (int)s->tokens[i],
                            (int)vocabulary);
    return COT_OK;
}

/* Every token but the first of each document; documents may be empty. */
static size_t sequence_scored(const sequence *s)
{
    size_t scored = s->count;
    for (size_t d = 0; d < s->documents; d++) scored -= s->starts[d] < document_end(s, d);
    return scored;
}

/* Enters the n-grams of one document; below and here hold the nodes of orders n - 1 and n by position.
 * The document's start stands before its first token, so the n-gram at place j exists when n <= j + 2; when n = j + 2
 * it begins with the start, cannot be continued to the left, and its plain count serves as its continuation count. */
static bool count_document(cot_kneser_ney *m, size_t n, const sequence *s, size_t document, const uint32_t *below,
                           uint32_t *here)
{
    const size_t start = s->starts[document], end = document_end(s, document);
    for (size_t i = start; i < end; i++) {
        const size_t place = i - start;
        here[i] = NONE;
        if (n > place + 2) continue;
        const uint32_t context = n == 1 ? ROOT : place == 0 ? BOUNDARY : below[i - 1];
        const uint32_t node = level_insert(&m->levels[n], context, (uint32_t)s->tokens[i]);
        if (node == NONE) return false;
        here[i] = node;
        if (place == 0) continue;
        gram *const g = &m->levels[n].grams[node];
        if (g->plain++ == 0 && n > 1) m->levels[n - 1].grams[below[i]].continuation++;
        if (n == place + 2) g->continuation++;
    }
    return true;
}

static bool count_order(cot_kneser_ney *m, size_t n, const sequence *s, const uint32_t *below, uint32_t *here)
{
    if (!level_init(&m->levels[n])) return false;
    if (n == 1 && level_insert(&m->levels[1], ROOT, (uint32_t)m->vocabulary) != BOUNDARY) return false;
    for (size_t d = 0; d < s->documents; d++)
        if (!count_document(m, n, s, d, below, here)) return false;
    return true;
}

static bool count_all(cot_kneser_ney *m, const sequence *s)
{
    uint32_t *below = cot_malloc(s->count * sizeof *below);
    uint32_t *here = cot_malloc(s->count * sizeof *here);
    bool done = below && here;
    for (size_t n = 1; done && n <= (size_t)m->order; n++) {
        done = count_order(m, n, s, below, here);
        uint32_t *const swap = below;
        below = here;
        here = swap;
    }
    cot_free(below);
    cot_free(here);
    return done;
}

/* ---- what the counts add up to ---- */

static void follow_add(follow *f, uint32_t count)
{
    if (count == 0) return;
    f->total += count;
    f->distinct[count < 3 ? count - 1 : 2]++;
}

/* Fills the contexts of order n - 1 from the n-grams of order n. */
static bool sum_contexts(cot_kneser_ney *m, size_t n)
{
    const level *const l = &m->levels[n];
    level *const contexts = &m->levels[n - 1];
    const bool highest = n == (size_t)m->order;
    contexts->plain = cot_calloc(contexts->nodes * sizeof *contexts->plain);
    contexts->continuation = highest ? NULL : cot_calloc(contexts->nodes * sizeof *contexts->continuation);
    if (!contexts->plain || (!highest && !contexts->continuation)) return false;
    for (size_t i = 0; i < (size_t)1 << l->slot_bits; i++) {
        const slot *const s = &l->slots[i];
        if (s->node == NONE) continue;
        follow_add(&contexts->plain[s->context], l->grams[s->node].plain);
        if (!highest) follow_add(&contexts->continuation[s->context], l->grams[s->node].continuation);
    }
    return true;
}

/* Discounts from how many n-grams have count 1, 2, 3, 4. Small corpora lack some of them, or have them out of order:
 * then one discount n1 / (n1 + 2 n2) for all, and 1/2 where even that says nothing. All discounts are above zero: every
 * context passes something down to the uniform distribution. */
static cot_kneser_ney_discount discount_from(const uint64_t n[4])
{
    const double n1 = (double)n[0], n2 = (double)n[1], n3 = (double)n[2], n4 = (double)n[3];
    const double single = n[0] > 0 && n[1] > 0 ? n1 / (n1 + 2 * n2) : 0.5;
    const cot_kneser_ney_discount plain = {.once = single, .twice = single, .more = single};
    if (n[0] == 0 || n[1] == 0 || n[2] == 0 || n[3] == 0) return plain;
    const cot_kneser_ney_discount three = {.once = 1 - 2 * single * n2 / n1, .twice = 2 - 3 * single * n3 / n2,
                                           .more = 3 - 4 * single * n4 / n3, .modified = true};
    return three.once > 0 && three.twice > 0 && three.more > 0 ? three : plain;
}

static void set_discounts(level *l)
{
    uint64_t plain[5] = {0}, continuation[5] = {0};  /* the last entry takes all other counts */
    for (size_t i = 0; i < l->nodes; i++) {
        const gram g = l->grams[i];
        plain[g.plain >= 1 && g.plain <= 4 ? g.plain - 1 : 4]++;
        continuation[g.continuation >= 1 && g.continuation <= 4 ? g.continuation - 1 : 4]++;
    }
    l->plain_discount = discount_from(plain);
    l->continuation_discount = discount_from(continuation);
}

static bool model_build(cot_kneser_ney *m, const sequence *s)
{
    m->levels[0].nodes = 1;
    if (!count_all(m, s)) return false;
    for (size_t n = 1; n <= (size_t)m->order; n++) {
        if (!sum_contexts(m, n)) return false;
        set_discounts(&m->levels[n]);
    }
    return true;
}

cot_status cot_kneser_ney_create(const int32_t *tokens, size_t count, const size_t *starts, size_t documents,
                                 int32_t vocabulary, int order, cot_kneser_ney **out)
{
    *out = NULL;
    const sequence s = {.tokens = tokens, .count = count, .starts = starts, .documents = documents};
    if (order < 1 || order > MAX_ORDER)
        return cot_fail(COT_INVALID, "an n-gram order of %d; expected 1 to %d", order, MAX_ORDER);
    if (vocabulary < 1) return cot_fail(COT_INVALID, "a vocabulary of %d", (int)vocabulary);
    COT_TRY(sequence_check(&s, vocabulary));
    if (sequence_scored(&s) == 0) return cot_fail(COT_INVALID, "no document has two tokens; there is nothing to count");
    cot_kneser_ney *m = cot_calloc(sizeof *m);
    if (m) {
        m->order = order;
        m->vocabulary = vocabulary;
    }
    if (!m || !model_build(m, &s)) {
        cot_kneser_ney_destroy(m);
        return cot_fail(COT_OUT_OF_MEMORY, "n-grams of order %d over %zu tokens", order, count);
    }
    *out = m;
    return COT_OK;
}

void cot_kneser_ney_destroy(cot_kneser_ney *m)
{
    if (!m) return;
    for (size_t n = 0; n <= MAX_ORDER; n++) level_release(&m->levels[n]);
    cot_free(m);
}

int         cot_kneser_ney_order(const cot_kneser_ney *m) { return m->order; }
const char *cot_kneser_ney_name(void) { return "interpolated modified Kneser-Ney"; }

cot_kneser_ney_discount cot_kneser_ney_discounts(const cot_kneser_ney *m, int order)
{
    assert(order >= 1 && order <= m->order);
    return m->levels[order].plain_discount;
}

/* ---- scoring ---- */

/* One step of the recursion: `lower` is the probability under the next lower order. */
static double interpolate(const follow *f, const cot_kneser_ney_discount *d, uint32_t count, double lower)
{
    if (f->total == 0) return lower;
    const double taken = count == 0 ? 0 : count == 1 ? d->once : count == 2 ? d->twice : d->more;
    const double gamma = d->once * f->distinct[0] + d->twice * f->distinct[1] + d->more * f->distinct[2];
    return (count - taken + gamma * lower) / f->total;
}

/* Scores one token under every order. before[n]: node of the n-gram that ends at the token before, NONE when never
 * seen; moved on to end at `token`. */
static void score_token(const cot_kneser_ney *m, uint32_t before[MAX_ORDER + 1], uint32_t token, double *nll)
{
    uint32_t here[MAX_ORDER + 1] = {ROOT};
    double lower = 1.0 / m->vocabulary;
    for (size_t n = 1; n <= (size_t)m->order; n++) {
        const level *const l = &m->levels[n], *const contexts = &m->levels[n - 1];
        const uint32_t context = before[n - 1];
        here[n] = level_find(l, context, token);
        const gram g = here[n] == NONE ? (gram){0, 0} : l->grams[here[n]];
        double p = lower;
        if (context != NONE) {
            p = interpolate(&contexts->plain[context], &l->plain_discount, g.plain, lower);
            if (n < (size_t)m->order)
                lower = interpolate(&contexts->continuation[context], &l->continuation_discount, g.continuation, lower);
        }
        nll[n - 1] = -log(p);
    }
    memcpy(before, here, sizeof here);
}

static void score_document(const cot_kneser_ney *m, const sequence *s, size_t document, double *nll)
{
    const size_t order = (size_t)m->order, start = s->starts[document], end = document_end(s, document);
    uint32_t before[MAX_ORDER + 1] = {ROOT, BOUNDARY};
    for (size_t n = 2; n <= MAX_ORDER; n++) before[n] = NONE;
    for (size_t i = start; i < end; i++) score_token(m, before, (uint32_t)s->tokens[i], nll + i * order);
    if (start < end) memset(nll + start * order, 0, order * sizeof *nll);
}

cot_status cot_kneser_ney_nll(const cot_kneser_ney *m, const int32_t *tokens, size_t count, const size_t *starts,
                              size_t documents, double *nll)
{
    const sequence s = {.tokens = tokens, .count = count, .starts = starts, .documents = documents};
    COT_TRY(sequence_check(&s, m->vocabulary));
    for (size_t d = 0; d < documents; d++) score_document(m, &s, d, nll);
    return COT_OK;
}

cot_status cot_kneser_ney_evaluate(const cot_kneser_ney *m, const int32_t *tokens, size_t count, const size_t *starts,
                                   size_t documents, cot_kneser_ney_score *score)
{
    *score = (cot_kneser_ney_score){0};
    const size_t order = (size_t)m->order;
    double *nll = NULL;
    size_t bytes = 0;
    if (cot_size_mul(count, order * sizeof *nll, &bytes)) nll = cot_malloc(bytes);
    if (!nll) return cot_fail(COT_OUT_OF_MEMORY, "scores of %zu tokens under %zu orders", count, order);
    const cot_status status = cot_kneser_ney_nll(m, tokens, count, starts, documents, nll);
    if (status == COT_OK) {
        score->tokens = sequence_scored(&(sequence){tokens, count, starts, documents});
        for (size_t i = 0; i < count; i++)
            for (size_t n = 0; n < order; n++) score->nll[n] += nll[i * order + n];
    }
    cot_free(nll);
    return status;
}
