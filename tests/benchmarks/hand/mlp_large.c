/* A 784-128-10 network with softmax cross-entropy on 64 rows by hand: matrix products by a register tile:
 * 8 x 16 of AVX-512's 32 registers, 2 x 16 of AVX2's 16. */
#include <math.h>
#include <string.h>
#include "mlp_large.h"

#if defined(__AVX512F__)
enum { TI = 8, LANES = 8 };
#else
enum { TI = 2, LANES = 4 };
#endif
enum { IN = 784, HIDDEN = 128, OUT = 10, TJ = 16, ROWS = 64, PARTS = TJ / LANES };
typedef double vec __attribute__((vector_size(LANES * 8), aligned(8)));

/* C[TI, TJ] = sum over k of A[i * ai + k * ak] B[k * bk + j] */
static void tile(int64_t depth, const double *A, int64_t ai, int64_t ak, const double *B, int64_t bk,
                 double *C, int64_t ci)
{
    vec sum[TI][PARTS] = {{{0.0}}};
    for (int64_t k = 0; k < depth; k++) {
        vec row[PARTS];
        for (int p = 0; p < PARTS; p++)
            row[p] = *(const vec *)(B + k * bk + p * LANES);
        for (int i = 0; i < TI; i++)
            for (int p = 0; p < PARTS; p++)
                sum[i][p] += A[i * ai + k * ak] * row[p];
    }
    for (int i = 0; i < TI; i++)
        for (int p = 0; p < PARTS; p++)
            *(vec *)(C + i * ci + p * LANES) = sum[i][p];
}

int mlp_large(const double *W1, const double *b1, const double *W2, const double *b2, const double *X,
              const double *Y, double *value, double *W1_bar, double *b1_bar, double *W2_bar, double *b2_bar)
{
    static _Thread_local double h[ROWS][HIDDEN], g[ROWS][HIDDEN], packed[IN * TJ];
    double loss = 0.0;
    for (int j = 0; j < HIDDEN; j += TJ) {
        for (int k = 0; k < IN; k++)
            memcpy(packed + k * TJ, W1 + k * HIDDEN + j, TJ * sizeof(double));
        for (int i = 0; i < ROWS; i += TI)
            tile(IN, X + i * IN, IN, 1, packed, TJ, &h[i][j], HIDDEN);
    }
    memset(b1_bar, 0, HIDDEN * sizeof(double));
    memset(b2_bar, 0, OUT * sizeof(double));
    memset(W2_bar, 0, HIDDEN * OUT * sizeof(double));
    for (int i = 0; i < ROWS; i++) {
        double z[OUT], top, sum = 0.0, dot = 0.0, weight = 0.0;
        for (int j = 0; j < HIDDEN; j++) {
            const double t = h[i][j] + b1[j];
            h[i][j] = t > 0.0 ? t : 0.0;
        }
        memcpy(z, b2, sizeof z);
        for (int k = 0; k < HIDDEN; k++)
            for (int c = 0; c < OUT; c++)
                z[c] += h[i][k] * W2[k * OUT + c];
        top = z[0];
        for (int c = 1; c < OUT; c++)
            top = z[c] > top ? z[c] : top;
        for (int c = 0; c < OUT; c++) {
            dot += Y[i * OUT + c] * (z[c] - top);
            weight += Y[i * OUT + c];
            z[c] = exp(z[c] - top);
            sum += z[c];
        }
        loss += log(sum) * weight - dot;
        for (int c = 0; c < OUT; c++) {
            z[c] = (z[c] / sum * weight - Y[i * OUT + c]) / ROWS;
            b2_bar[c] += z[c];
        }
        for (int k = 0; k < HIDDEN; k++) {
            double t = 0.0;
            for (int c = 0; c < OUT; c++) {
                W2_bar[k * OUT + c] += h[i][k] * z[c];
                t += W2[k * OUT + c] * z[c];
            }
            g[i][k] = h[i][k] > 0.0 ? t : 0.0;
            b1_bar[k] += g[i][k];
        }
    }
    for (int j = 0; j < HIDDEN; j += TJ)
        for (int i = 0; i < IN; i += TI)
            tile(ROWS, X + i, 1, IN, &g[0][j], HIDDEN, W1_bar + i * HIDDEN + j, HIDDEN);
    *value = loss / ROWS;
    return 0;
}
