/* Logistic regression by hand: X is read once, in blocks of 64 rows; lanes of a register, four rows at a time, libmvec's exp
 * and log1p. Where d is no multiple of the lanes the last vector overlaps the one before it, with zeros for what that has done already. */
#include "logistic.h"
#include <string.h>

__attribute__((simd("notinbranch"), const)) double exp(double);
__attribute__((simd("notinbranch"), const)) double log1p(double);

#if defined(__AVX512F__)
enum { BLOCK = 64, LANES = 8 };
#else
enum { BLOCK = 64, LANES = 4 };
#endif
typedef double vec __attribute__((vector_size(LANES * 8), aligned(8)));

static inline vec at(const double *x)
{
    return *(const vec *)x;
}

static inline double sum(vec x)
{
#if defined(__AVX512F__)
    return ((x[0] + x[4]) + (x[1] + x[5])) + ((x[2] + x[6]) + (x[3] + x[7]));
#else
    return (x[0] + x[2]) + (x[1] + x[3]);
#endif
}

/* z[r] = A[r] @ w for four rows; `rest` is the end of w behind the last whole vector, `last` where it starts */
static inline void products(int64_t d, const double *A, const double *w, vec rest, int64_t last, double *z)
{
    vec s0 = {0.0}, s1 = {0.0}, s2 = {0.0}, s3 = {0.0};
    for (int64_t j = 0; j + LANES <= d; j += LANES) {
        s0 += at(A + j) * at(w + j);
        s1 += at(A + d + j) * at(w + j);
        s2 += at(A + 2 * d + j) * at(w + j);
        s3 += at(A + 3 * d + j) * at(w + j);
    }
    z[0] = sum(s0 + at(A + last) * rest);
    z[1] = sum(s1 + at(A + d + last) * rest);
    z[2] = sum(s2 + at(A + 2 * d + last) * rest);
    z[3] = sum(s3 + at(A + 3 * d + last) * rest);
}

int logistic(int64_t n, int64_t d, const double *w, double b, const double *X, const double *y,
             double *value, double *w_bar, double *b_bar)
{
    const double n_inv = 1.0 / (double)n;
    const int64_t last = d > LANES ? d - LANES : 0;
    double total[LANES] = {0.0}, slope[LANES] = {0.0};
    double tail[LANES] = {0.0};
    vec rest = {0.0};
    memset(w_bar, 0, (size_t)d * sizeof(double));
    for (int64_t j = d / LANES * LANES; j < d; j++)
        rest[j - last] = w[j];
#pragma omp parallel for reduction(+ : total[:LANES], slope[:LANES], tail[:LANES], w_bar[:d])
    for (int64_t i0 = 0; i0 < n; i0 += BLOCK) {
        vec rest_bar = {0.0};
        const int64_t rows = n - i0 < BLOCK ? n - i0 : BLOCK, fours = d < LANES ? 0 : rows / 4 * 4;
        const double *Xb = X + i0 * d;
        double z[BLOCK] = {0.0}, r[BLOCK], label[BLOCK] = {0.0}, live[BLOCK] = {0.0};
        for (int64_t i = 0; i < fours; i += 4)
            products(d, Xb + i * d, w, rest, last, z + i);
        for (int64_t i = fours; i < rows; i++)
            for (int64_t j = 0; j < d; j++)
                z[i] += Xb[i * d + j] * w[j];
        for (int64_t i = 0; i < rows; i++) {
            label[i] = y[i0 + i];
            live[i] = 1.0;
        }
        for (int i = 0; i < BLOCK; i += LANES)
            for (int k = 0; k < LANES; k++) {
                const double s = z[i + k] + b;
                const double t = exp(s > 0.0 ? -s : s);
                const double g = ((s >= 0.0 ? 1.0 : t) / (1.0 + t) - label[i + k]) * n_inv * live[i + k];
                total[k] += ((s > 0.0 ? s : 0.0) + log1p(t) - label[i + k] * s) * live[i + k];
                slope[k] += g;
                r[i + k] = g;
            }
        for (int64_t i = 0; i < fours; i += 4) {
            const double *A = Xb + i * d;
            for (int64_t j = 0; j + LANES <= d; j += LANES)
                *(vec *)(w_bar + j) += (r[i] * at(A + j) + r[i + 1] * at(A + d + j))
                                      + (r[i + 2] * at(A + 2 * d + j) + r[i + 3] * at(A + 3 * d + j));
            rest_bar += (r[i] * at(A + last) + r[i + 1] * at(A + d + last))
                        + (r[i + 2] * at(A + 2 * d + last) + r[i + 3] * at(A + 3 * d + last));
        }
        for (int64_t i = fours; i < rows; i++)
            for (int64_t j = 0; j < d; j++)
                w_bar[j] += r[i] * Xb[i * d + j];
        for (int k = 0; k < LANES; k++)
            tail[k] += rest_bar[k];
    }
    for (int64_t j = d / LANES * LANES; d > LANES && j < d; j++)
        w_bar[j] += tail[j - last];
    *value = *b_bar = 0.0;
    for (int k = 0; k < LANES; k++) {
        *value += total[k];
        *b_bar += slope[k];
    }
    *value *= n_inv;
    return 0;
}
