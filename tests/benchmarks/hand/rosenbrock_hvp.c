/* The Hessian of Rosenbrock times a vector by hand: three diagonals, one pass. */
#include "rosenbrock_hvp.h"

int rosenbrock_hvp(const double *restrict x, const double *restrict v, double *restrict out)
{
    enum { N = 50 };
    out[0] = (1200.0 * x[0] * x[0] - 400.0 * x[1] + 2.0) * v[0] - 400.0 * x[0] * v[1];
    for (int i = 1; i < N - 1; i++)
        out[i] = (1200.0 * x[i] * x[i] - 400.0 * x[i + 1] + 202.0) * v[i] - 400.0 * x[i] * v[i + 1]
                 - 400.0 * x[i - 1] * v[i - 1];
    out[N - 1] = 200.0 * v[N - 1] - 400.0 * x[N - 2] * v[N - 2];
    return 0;
}
