/* Logistic regression by hand: X is read once, in blocks of 64 rows; libmvec's exp and log1p; four rows share each pass over w. */
#include <stdint.h>
#include "logistic.h"

__attribute__((simd("notinbranch"))) double exp(double);
__attribute__((simd("notinbranch"))) double log1p(double);

enum { BLOCK = 64, LANES = 8 };

static void rows_times(int64_t d, const double *restrict A, const double *restrict w, double *restrict z)
{
    double lane[4][LANES] = {{0.0}};
    int64_t j = 0;
    for (; j + LANES <= d; j += LANES)
        for (int r = 0; r < 4; r++)
            for (int k = 0; k < LANES; k++)
                lane[r][k] += A[r * d + j + k] * w[j + k];
    for (int r = 0; r < 4; r++) {
        double sum = 0.0;
        for (int k = 0; k < LANES; k++)
            sum += lane[r][k];
        for (int64_t t = j; t < d; t++)
            sum += A[r * d + t] * w[t];
        z[r] = sum;
    }
}

int logistic(int64_t n, int64_t d, const double *w, double b, const double *X, const double *y,
             double *value, double *restrict w_bar, double *b_bar)
{
    const double n_inv = 1.0 / (double)n;
    double total[LANES] = {0.0}, slope[LANES] = {0.0};
    for (int64_t j = 0; j < d; j++)
        w_bar[j] = 0.0;
    for (int64_t i0 = 0; i0 < n; i0 += BLOCK) {
        const int64_t rows = n - i0 < BLOCK ? n - i0 : BLOCK;
        const double *Xb = X + i0 * d;
        double z[BLOCK] = {0.0}, r[BLOCK], label[BLOCK] = {0.0};
        int64_t i = 0;
        for (; i + 4 <= rows; i += 4)
            rows_times(d, Xb + i * d, w, z + i);
        for (; i < rows; i++)
            for (int64_t j = 0; j < d; j++)
                z[i] += Xb[i * d + j] * w[j];
        for (i = 0; i < rows; i++)
            label[i] = y[i0 + i];
        for (i = 0; i < BLOCK; i += LANES)
            for (int k = 0; k < LANES; k++) {
                const double s = z[i + k] + b;
                const double t = exp(s > 0.0 ? -s : s);
                const double live = i + k < rows ? 1.0 : 0.0;
                const double g = ((s >= 0.0 ? 1.0 : t) / (1.0 + t) - label[i + k]) * n_inv * live;
                total[k] += ((s > 0.0 ? s : 0.0) + log1p(t) - label[i + k] * s) * live;
                slope[k] += g;
                r[i + k] = g;
            }
        for (i = 0; i + 4 <= rows; i += 4)
            for (int64_t j = 0; j < d; j++)
                w_bar[j] += r[i] * Xb[i * d + j] + r[i + 1] * Xb[(i + 1) * d + j]
                            + r[i + 2] * Xb[(i + 2) * d + j] + r[i + 3] * Xb[(i + 3) * d + j];
        for (; i < rows; i++)
            for (int64_t j = 0; j < d; j++)
                w_bar[j] += r[i] * Xb[i * d + j];
    }
    *value = *b_bar = 0.0;
    for (int k = 0; k < LANES; k++) {
        *value += total[k];
        *b_bar += slope[k];
    }
    *value *= n_inv;
    return 0;
}
