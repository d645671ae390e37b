/* Rosenbrock by hand: one pass, the gradient gathered, its ends peeled, eight lanes for the sum. */
#include "rosenbrock.h"

enum { LANES = 8 };

int rosenbrock(int64_t n, const double *restrict x, double *restrict value, double *restrict x_bar)
{
    double lane[LANES] = {0.0};
    double sum = 0.0;
    int64_t i = 1;
    if (n < 2) {
        *value = 0.0;
        if (n == 1)
            x_bar[0] = 0.0;
        return 0;
    }
    x_bar[0] = -400.0 * x[0] * (x[1] - x[0] * x[0]) - 2.0 * (1.0 - x[0]);
    for (; i + LANES <= n - 1; i += LANES)
        for (int k = 0; k < LANES; k++) {
            const double here = x[i + k], before = x[i + k - 1];
            const double r = here - before * before;
            const double s = 1.0 - before;
            lane[k] += 100.0 * r * r + s * s;
            x_bar[i + k] = 200.0 * r - 400.0 * here * (x[i + k + 1] - here * here) - 2.0 * (1.0 - here);
        }
    for (; i < n; i++) {
        const double r = x[i] - x[i - 1] * x[i - 1];
        const double s = 1.0 - x[i - 1];
        sum += 100.0 * r * r + s * s;
        x_bar[i] = 200.0 * r;
        if (i < n - 1)
            x_bar[i] -= 400.0 * x[i] * (x[i + 1] - x[i] * x[i]) + 2.0 * (1.0 - x[i]);
    }
    for (int k = 0; k < LANES; k++)
        sum += lane[k];
    *value = sum;
    return 0;
}
