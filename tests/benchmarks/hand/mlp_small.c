/* A 2-16-16-1 network with hinge loss and L2 by hand: point by point, activations in registers, gradients in the first cache. */
#include "mlp_small.h"

enum { H = 16 };
#define ALPHA 1e-4

int mlp_small(int64_t n, const double *restrict W1, const double *restrict b1, const double *restrict W2,
              const double *restrict b2, const double *restrict W3, double b3, const double *restrict X,
              const double *restrict y, double *restrict value, double *restrict W1_bar,
              double *restrict b1_bar, double *restrict W2_bar, double *restrict b2_bar,
              double *restrict W3_bar, double *restrict b3_bar)
{
    const double n_inv = 1.0 / (double)n;
    double loss = 0.0, squares = b3 * b3, last = 2.0 * ALPHA * b3;
    for (int j = 0; j < H; j++) {
        b1_bar[j] = 2.0 * ALPHA * b1[j];
        b2_bar[j] = 2.0 * ALPHA * b2[j];
        W3_bar[j] = 2.0 * ALPHA * W3[j];
        squares += b1[j] * b1[j] + b2[j] * b2[j] + W3[j] * W3[j];
    }
    for (int j = 0; j < 2 * H; j++) {
        W1_bar[j] = 2.0 * ALPHA * W1[j];
        squares += W1[j] * W1[j];
    }
    for (int j = 0; j < H * H; j++) {
        W2_bar[j] = 2.0 * ALPHA * W2[j];
        squares += W2[j] * W2[j];
    }
    for (int64_t i = 0; i < n; i++) {
        const double p = X[2 * i], q = X[2 * i + 1];
        double h1[H], h2[H], g1[H], g2[H], score = b3;
        for (int j = 0; j < H; j++) {
            const double t = p * W1[j] + q * W1[H + j] + b1[j];
            h1[j] = t > 0.0 ? t : 0.0;
            h2[j] = b2[j];
            g1[j] = 0.0;
        }
        for (int k = 0; k < H; k++)
            for (int j = 0; j < H; j++)
                h2[j] += h1[k] * W2[k * H + j];
        for (int j = 0; j < H; j++) {
            h2[j] = h2[j] > 0.0 ? h2[j] : 0.0;
            score += h2[j] * W3[j];
        }
        const double margin = 1.0 - y[i] * score;
        if (!(margin > 0.0))
            continue;
        const double s = -y[i] * n_inv;
        loss += margin;
        last += s;
        for (int j = 0; j < H; j++) {
            g2[j] = h2[j] > 0.0 ? s * W3[j] : 0.0;
            W3_bar[j] += s * h2[j];
            b2_bar[j] += g2[j];
        }
        for (int k = 0; k < H; k++) {
            double sum = 0.0;
            for (int j = 0; j < H; j++) {
                W2_bar[k * H + j] += h1[k] * g2[j];
                sum += W2[k * H + j] * g2[j];
            }
            g1[k] = h1[k] > 0.0 ? sum : 0.0;
        }
        for (int j = 0; j < H; j++) {
            W1_bar[j] += p * g1[j];
            W1_bar[H + j] += q * g1[j];
            b1_bar[j] += g1[j];
        }
    }
    *b3_bar = last;
    *value = loss * n_inv + ALPHA * squares;
    return 0;
}
