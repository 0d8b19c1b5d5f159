#include "routers/vocabulary.h"

#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/threads.h"
#include "routing/ranked.h"

enum { ROUNDS = 10 };

static cot_status no_memory(void) { return cot_fail(COT_OUT_OF_MEMORY, "no memory for tables of token ids"); }

/* ---- counting ---- */

/* Which of COT_NEIGHBOURS / 2 places stands for a neighbour. */
static int64_t place_of(int32_t neighbour)
{
    const uint64_t mixed = ((uint64_t)neighbour + 1) * 0x9e3779b97f4a7c15u;
    return (int64_t)(mixed >> 32) % (COT_NEIGHBOURS / 2);
}

static void finish_features(cot_vocabulary *v)
{
    for (int64_t id = 0; id < v->size; id++)
        for (int64_t i = 0; i < v->width; i++) {
            double *f = &v->feature[id * v->width + i];
            *f = v->count[id] > 0 ? sqrt(*f / v->count[id]) : 0;
        }
}

cot_status cot_vocabulary_count(const int32_t *ids, int64_t count, int64_t size, cot_vocabulary *out)
{
    *out = (cot_vocabulary){.size = size, .width = COT_NEIGHBOURS};
    out->count = cot_calloc((size_t)size * sizeof *out->count);
    out->feature = cot_calloc((size_t)(size * out->width) * sizeof *out->feature);
    if (!out->count || !out->feature) {
        cot_vocabulary_release(out);
        return no_memory();
    }
    for (int64_t i = 0; i < count; i++) {
        double *feature = out->feature + ids[i] * out->width;
        out->count[ids[i]]++;
        if (i > 0) feature[place_of(ids[i - 1])]++;
        if (i + 1 < count) feature[out->width / 2 + place_of(ids[i + 1])]++;
    }
    finish_features(out);
    return COT_OK;
}

void cot_vocabulary_release(cot_vocabulary *v)
{
    cot_free(v->count);
    cot_free(v->feature);
    *v = (cot_vocabulary){0};
}

/* ---- balanced ---- */

cot_status cot_bins_balanced(const cot_vocabulary *v, int64_t bins, int32_t *bin)
{
    cot_ranked *list = cot_malloc((size_t)v->size * 2 * sizeof *list);
    double *sum = cot_calloc((size_t)bins * sizeof *sum);
    const bool fine = list && sum;
    for (int64_t id = 0; fine && id < v->size; id++) list[id] = (cot_ranked){v->count[id], (int32_t)id};
    if (fine) cot_rank_descending(list, list + v->size, v->size);
    for (int64_t i = 0; fine && i < v->size; i++) {
        int64_t least = 0;
        for (int64_t b = 1; b < bins; b++)
            if (sum[b] < sum[least]) least = b;
        bin[list[i].token] = (int32_t)least;
        sum[least] += list[i].key > 0 ? list[i].key : 0x1p-20;  /* ids that never occur spread too */
    }
    cot_free(list);
    cot_free(sum);
    return fine ? COT_OK : no_memory();
}

/* ---- k-means ---- */

typedef struct {
    const cot_vocabulary *v;
    int64_t               clusters;
    double               *centre;   /* [clusters, width] */
    double               *members;  /* [clusters] */
    double               *distance; /* [V] to the nearest centre, squared */
    int32_t              *cluster;  /* [V] */
} kmeans;

static double apart(const kmeans *k, int64_t id, int64_t cluster)
{
    const double *a = k->v->feature + id * k->v->width, *b = k->centre + cluster * k->v->width;
    double sum = 0;
    for (int64_t i = 0; i < k->v->width; i++) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sum;
}

static void place_centre(const kmeans *k, int64_t cluster, int64_t id)
{
    const size_t row = (size_t)k->v->width * sizeof *k->centre;
    memcpy(k->centre + cluster * k->v->width, k->v->feature + id * k->v->width, row);
}

/* k-means++: each next centre is an id drawn by its squared distance to the nearest one so far. */
static void draw_centres(const kmeans *k, uint64_t seed)
{
    const cot_rng_key key = {.seed = seed, .stream = COT_RNG_HASH};
    place_centre(k, 0, (int64_t)cot_rng_below(key, 0, (uint64_t)k->v->size));
    for (int64_t id = 0; id < k->v->size; id++) k->distance[id] = INFINITY;
    for (int64_t c = 1; c < k->clusters; c++) {
        double total = 0;
        for (int64_t id = 0; id < k->v->size; id++) {
            k->distance[id] = fmin(k->distance[id], apart(k, id, c - 1));
            total += k->distance[id];
        }
        double left = total * cot_rng_uniform(key, (uint64_t)c);
        int64_t id = 0;
        while (id + 1 < k->v->size && (left -= k->distance[id]) > 0) id++;
        place_centre(k, c, id);
    }
}

static void find_nearest(const kmeans *k)
{
#pragma omp parallel for num_threads(cot_threads()) schedule(static)
    for (int64_t id = 0; id < k->v->size; id++) {
        double least = INFINITY;
        for (int64_t c = 0; c < k->clusters; c++) {
            const double d = apart(k, id, c);
            if (d < least) least = d, k->cluster[id] = (int32_t)c;
        }
    }
}

/* Centres move to the means of their members; one without members stays. */
static void move_centres(const kmeans *k)
{
    const int64_t width = k->v->width;
    memset(k->members, 0, (size_t)k->clusters * sizeof *k->members);
    for (int64_t id = 0; id < k->v->size; id++) k->members[k->cluster[id]]++;
    for (int64_t c = 0; c < k->clusters; c++)
        if (k->members[c] > 0) memset(k->centre + c * width, 0, (size_t)width * sizeof *k->centre);
    for (int64_t id = 0; id < k->v->size; id++)
        for (int64_t i = 0; i < width; i++)
            k->centre[k->cluster[id] * width + i] += k->v->feature[id * width + i] / k->members[k->cluster[id]];
}

static cot_status find_clusters(const cot_vocabulary *v, int64_t clusters, uint64_t seed, int32_t *cluster)
{
    kmeans k = {.v = v, .clusters = clusters, .cluster = cluster};
    k.centre = cot_malloc((size_t)(clusters * v->width) * sizeof *k.centre);
    k.members = cot_malloc((size_t)clusters * sizeof *k.members);
    k.distance = cot_malloc((size_t)v->size * sizeof *k.distance);
    const bool fine = k.centre && k.members && k.distance;
    memset(cluster, 0, (size_t)v->size * sizeof *cluster);
    if (fine && v->size > 0) {
        draw_centres(&k, seed);
        for (int round = 0; round < ROUNDS; round++) {
            find_nearest(&k);
            move_centres(&k);
        }
    }
    cot_free(k.centre);
    cot_free(k.members);
    cot_free(k.distance);
    return fine ? COT_OK : no_memory();
}

cot_status cot_bins_clustered(const cot_vocabulary *v, int64_t bins, uint64_t seed, int32_t *bin)
{
    return find_clusters(v, bins, seed, bin);
}

cot_status cot_bins_dispersed(const cot_vocabulary *v, int64_t bins, uint64_t seed, int32_t *bin)
{
    const int64_t clusters = (v->size + bins - 1) / bins;
    int32_t next = 0;
    if (v->size == 0) return COT_OK;
    COT_TRY(find_clusters(v, clusters, seed, bin));
    cot_ranked *list = cot_malloc((size_t)v->size * 2 * sizeof *list);
    if (!list) return no_memory();
    for (int64_t id = 0; id < v->size; id++) list[id] = (cot_ranked){-(double)bin[id], (int32_t)id};
    cot_rank_descending(list, list + v->size, v->size);
    for (int64_t i = 0; i < v->size; i++) {
        bin[list[i].token] = next;
        next = (next + 1) % (int32_t)bins;
    }
    cot_free(list);
    return COT_OK;
}
