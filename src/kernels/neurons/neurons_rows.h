/* Included by neurons_body.h once for each type that rows may have: ROW, LOAD_ROW(row) -> real, R(name) for its names. */

static inline real R(dot)(int64_t n, const ROW *restrict a, const real *restrict b)
{
    real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += LOAD_ROW(a[i]) * b[i];
    return sum;
}

static inline void R(add_scaled)(int64_t n, real scale, const ROW *restrict row, real *restrict sum)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) sum[i] += scale * LOAD_ROW(row[i]);
}

static inline const ROW *R(row_at)(const void *table, const cot_neurons_pool *p, int64_t a)
{
    return (const ROW *)table + (int64_t)p->expert[a] * p->width;
}

static inline void R(ask_ahead)(const void *table, const cot_neurons_pool *p, int64_t *asked, int64_t a, int64_t a1)
{
    for (; *asked < a1 && *asked <= a + ROWS_AHEAD; ++*asked)
        ask_for(R(row_at)(table, p, *asked), (size_t)p->width * sizeof(ROW));
}

/* Walks over a token's rows of a table, asking for what comes. */
#define EACH_ROW(table, a, a0, a1)                                                                                 \
    for (int64_t a = (a0), ask_ = (a0); a < (a1); a++)                                                             \
        for (const ROW *row = (R(ask_ahead)(table, p, &ask_, a, a1), R(row_at)(table, p, a)); row; row = NULL)

static void R(forward)(int64_t t0, int64_t t1, const cot_neurons_pool *p, const void *x_, void *x_real, void *z_, void *l_, void *y_)
{
    const real *gate = p->gate;
    real       *z = z_, *l = l_, *xt = x_real;
    for (int64_t t = t0; t < t1; t++) {
        const int64_t a0 = p->first[t], a1 = p->first[t + 1];
        const act *x = (const act *)x_ + t * p->width;
        real *y = (real *)y_ + t * p->width;
        for (int64_t i = 0; p->u && i < p->width; i++) xt[i] = LOAD(x[i]);
        if (p->u) {
            EACH_ROW(p->u, a, a0, a1) z[a] = R(dot)(p->width, row, xt);
        }
        if (p->w) {
            EACH_ROW(p->w, a, a0, a1) l[a] = R(dot)(p->width, row, xt);
        }
        EACH_ROW(p->v, a, a0, a1) R(add_scaled)(p->width, gate[a] * K(says)(p, z, l, a), row, y);
    }
}

/* What a token's rows of v say of its gates. */
static inline void R(back_gates)(const cot_neurons_pool *p, int64_t a0, int64_t a1, const real *z, const real *l, const real *dy,
                                 real *dgate, const cot_neurons_scales *scales)
{
    const real *gate = p->gate;
    real       *u = scales->u, *v = scales->v, *w = scales->w;
    EACH_ROW(p->v, a, a0, a1) {
        const real r = R(dot)(p->width, row, dy), h = K(says)(p, z, l, a);
        if (dgate) dgate[a] = h * r;
        v[a] = gate[a] * h;
        if (p->u) u[a] = gate[a] * K(slope)(p->activation, z[a]) * (p->w ? l[a] : 1) * r;
        if (p->w) w[a] = gate[a] * K(activate)(p->activation, z[a]) * r;
    }
}

static void R(backward)(int64_t t0, int64_t t1, const cot_neurons_pool *p, const void *z, const void *l, const void *dy_,
                        void *dgate, const cot_neurons_scales *scales, void *dx_real, void *dx_, bool accumulate)
{
    real *sum = dx_real;
    for (int64_t t = t0; t < t1; t++) {
        const int64_t a0 = p->first[t], a1 = p->first[t + 1];
        act *dx = dx_ ? (act *)dx_ + t * p->width : NULL;
        R(back_gates)(p, a0, a1, z, l, (const real *)dy_ + t * p->width, dgate, scales);
        if (!dx) continue;
        for (int64_t i = 0; i < p->width; i++) sum[i] = accumulate ? LOAD(dx[i]) : 0;
        if (p->u) {
            EACH_ROW(p->u, a, a0, a1) R(add_scaled)(p->width, ((const real *)scales->u)[a], row, sum);
        }
        if (p->w) {
            EACH_ROW(p->w, a, a0, a1) R(add_scaled)(p->width, ((const real *)scales->w)[a], row, sum);
        }
        for (int64_t i = 0; i < p->width; i++) dx[i] = STORE(sum[i]);
    }
}

#undef EACH_ROW
#undef ROW
#undef LOAD_ROW
#undef R
