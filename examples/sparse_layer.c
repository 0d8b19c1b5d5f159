/* A sparse layer by itself: rows of 16 numbers in, rows of 16 numbers out. Four kinds of rows each want another linear
 * map; the router learns which rows belong together, and every expert learns the map of its kind. */
#include <stdio.h>
#include <stdlib.h>

#include <coterie/sparse_layer.h>

enum { D = 16, KINDS = 4, EACH = 64, T = KINDS * EACH, STEPS = 400 };

static float x[T * D], want[T * D], y[T * D], dy[T * D], map[KINDS * D * D];

static float draw(void) { return 2.0f * (float)rand() / (float)RAND_MAX - 1.0f; }

static void make_data(void)
{
    for (int i = 0; i < KINDS * D * D; i++) map[i] = 0.3f * draw();
    for (int t = 0; t < T; t++) {
        const int kind = t / EACH;
        for (int i = 0; i < D; i++) x[t * D + i] = draw() + (i == kind ? 3.0f : 0.0f);  /* each kind has its centre */
        for (int i = 0; i < D; i++)
            for (int j = 0; j < D; j++) want[t * D + i] += map[(kind * D + i) * D + j] * x[t * D + j];
    }
}

static cot_status train_step(cot_sparse_layer *layer, double *error)
{
    cot_sparse_layer_parameter p;
    cot_status status = cot_sparse_layer_forward(layer, true, x, T, y, NULL);
    if (status != COT_OK) return status;
    *error = 0;
    for (int i = 0; i < T * D; i++) {
        *error += (y[i] - want[i]) * (y[i] - want[i]) / (T * D);
        dy[i] = 2 * (y[i] - want[i]) / T;
    }
    status = cot_sparse_layer_backward(layer, dy, NULL, NULL);
    for (size_t n = 0; status == COT_OK && cot_sparse_layer_parameter_at(layer, n, &p); n++)
        for (int64_t i = 0; i < p.count; i++) p.value[i] -= 0.2f * p.grad[i];  /* plain gradient descent */
    return status;
}

int main(void)
{
    static const char text[] = "{kind: sparse, router: {kind: top_k, top_k: 1, norm_topk_prob: false}, "
                               "experts: {kind: ffn, num_experts: 4, intermediate_size: 64}, "
                               "balance: [{kind: aux, coef: 0.5}]}";
    cot_config *spec = NULL;
    cot_sparse_layer *layer = NULL;
    int64_t counts[KINDS];
    double error;
    make_data();
    cot_status status = cot_config_parse(text, "sparse_layer.c", &spec);
    if (status == COT_OK) status = cot_sparse_layer_create(spec, D, /* seed */ 1, &layer);
    for (int step = 0; status == COT_OK && step < STEPS; step++) {
        status = train_step(layer, &error);
        if (status == COT_OK && (step + 1) % 100 == 0) printf("step %d: mean squared error %.4f\n", step + 1, error);
    }
    for (int kind = 0; status == COT_OK && kind < KINDS; kind++) {
        status = cot_sparse_layer_forward(layer, false, x + kind * EACH * D, EACH, y, counts);
        printf("rows of kind %d go to experts 0 to 3:", kind);
        for (int e = 0; status == COT_OK && e < KINDS; e++) printf(" %2d", (int)counts[e]);
        printf("\n");
    }
    if (status != COT_OK) fprintf(stderr, "sparse_layer: %s\n", cot_last_error());
    cot_sparse_layer_destroy(layer);
    cot_config_destroy(spec);
    return status == COT_OK ? 0 : 1;
}
