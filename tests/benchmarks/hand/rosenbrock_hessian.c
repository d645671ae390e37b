/* The Hessian of Rosenbrock by hand: zeros, then three diagonals. */
#include <string.h>
#include "rosenbrock_hessian.h"

int rosenbrock_hessian(const double *restrict x, double *restrict hess)
{
    enum { N = 50 };
    memset(hess, 0, N * N * sizeof(double));
    for (int i = 0; i < N - 1; i++) {
        hess[i * N + i] = 1200.0 * x[i] * x[i] - 400.0 * x[i + 1] + (i > 0 ? 202.0 : 2.0);
        hess[i * N + i + 1] = hess[(i + 1) * N + i] = -400.0 * x[i];
    }
    hess[N * N - 1] = 200.0;
    return 0;
}
