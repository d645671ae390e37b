/* Rosenbrock by hand: one pass, the gradient gathered, its ends peeled, two sums in whole registers. */
#include "rosenbrock.h"

#if defined(__AVX512F__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
typedef double vec __attribute__((vector_size(LANES * 8), aligned(8)));

static inline vec at(const double *x)
{
    return *(const vec *)x;
}

int rosenbrock(int64_t n, const double *restrict x, double *restrict value, double *restrict x_bar)
{
    vec total = {0.0}, other = {0.0};
    double sum = 0.0;
    int64_t i = 1;
    if (n < 2) {
        *value = 0.0;
        if (n == 1)
            x_bar[0] = 0.0;
        return 0;
    }
    x_bar[0] = -400.0 * x[0] * (x[1] - x[0] * x[0]) - 2.0 * (1.0 - x[0]);
    for (; i + LANES <= n - 1; i += LANES) {
        const vec here = at(x + i), before = at(x + i - 1);
        const vec r = here - before * before, s = 1.0 - before;
        total += 100.0 * r * r;
        other += s * s;
        *(vec *)(x_bar + i) = 200.0 * r - 400.0 * here * (at(x + i + 1) - here * here) - 2.0 * (1.0 - here);
    }
    for (; i < n; i++) {
        const double r = x[i] - x[i - 1] * x[i - 1];
        const double s = 1.0 - x[i - 1];
        sum += 100.0 * r * r + s * s;
        x_bar[i] = 200.0 * r;
        if (i < n - 1)
            x_bar[i] -= 400.0 * x[i] * (x[i + 1] - x[i] * x[i]) + 2.0 * (1.0 - x[i]);
    }
    total += other;
    for (int k = 0; k < LANES; k++)
        sum += total[k];
    *value = sum;
    return 0;
}
