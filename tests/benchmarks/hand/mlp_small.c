/* A 2-16-16-1 network with hinge loss and L2 by hand: point by point, activations in two vectors of eight, gradients in the
 * first cache, the second matrix kept in both directions. */
#include "mlp_small.h"

enum { H = 16 };
#define ALPHA 1e-4
typedef double v8 __attribute__((vector_size(64), aligned(8)));
typedef int64_t m8 __attribute__((vector_size(64), aligned(8)));

static inline v8 at(const double *x)
{
    return *(const v8 *)x;
}

static inline v8 relu(v8 x)
{
    return (v8)((m8)(x > 0.0) & (m8)x);
}

static inline double sum(v8 x)
{
    return ((x[0] + x[4]) + (x[1] + x[5])) + ((x[2] + x[6]) + (x[3] + x[7]));
}

/* The start of a gradient, that of the squares, and the squares. */
static double decay(int64_t count, const double *x, double *x_bar)
{
    v8 squares = {0.0};
    for (int64_t j = 0; j < count; j += 8) {
        *(v8 *)(x_bar + j) = 2.0 * ALPHA * at(x + j);
        squares += at(x + j) * at(x + j);
    }
    return sum(squares);
}

int mlp_small(int64_t n, const double *W1, const double *b1, const double *W2, const double *b2,
              const double *W3, double b3, const double *X, const double *y, double *value, double *W1_bar,
              double *b1_bar, double *W2_bar, double *b2_bar, double *W3_bar, double *b3_bar)
{
    double T[H][H], h1[H], g2[H], loss = 0.0, last = 0.0;
    double squares = decay(2 * H, W1, W1_bar) + decay(H, b1, b1_bar) + decay(H * H, W2, W2_bar)
                     + decay(H, b2, b2_bar) + decay(H, W3, W3_bar) + b3 * b3;
    v8 p_bar[2] = {{0.0}}, q_bar[2] = {{0.0}}, one_bar[2] = {{0.0}};
    for (int k = 0; k < H; k++)
        for (int j = 0; j < H; j++)
            T[j][k] = W2[k * H + j];
    for (int64_t i = 0; i < n; i++) {
        const double p = X[2 * i], q = X[2 * i + 1];
        v8 a = at(b2), b = at(b2 + 8), c = {0.0}, d = {0.0};
        const v8 left = relu(p * at(W1) + q * at(W1 + H) + at(b1));
        const v8 right = relu(p * at(W1 + 8) + q * at(W1 + H + 8) + at(b1 + 8));
        *(v8 *)h1 = left;
        *(v8 *)(h1 + 8) = right;
        for (int k = 0; k < H; k++) {
            a += h1[k] * at(W2 + k * H);
            b += h1[k] * at(W2 + k * H + 8);
        }
        a = relu(a);
        b = relu(b);
        const double margin = 1.0 - y[i] * (sum(a * at(W3) + b * at(W3 + 8)) + b3);
        if (!(margin > 0.0))
            continue;
        const double s = -y[i] / (double)n;
        loss += margin;
        last += s;
        *(v8 *)W3_bar += s * a;
        *(v8 *)(W3_bar + 8) += s * b;
        a = (v8)((m8)(a > 0.0) & (m8)(s * at(W3)));
        b = (v8)((m8)(b > 0.0) & (m8)(s * at(W3 + 8)));
        *(v8 *)g2 = a;
        *(v8 *)(g2 + 8) = b;
        *(v8 *)b2_bar += a;
        *(v8 *)(b2_bar + 8) += b;
        for (int k = 0; k < H; k++) {
            *(v8 *)(W2_bar + k * H) += h1[k] * a;
            *(v8 *)(W2_bar + k * H + 8) += h1[k] * b;
            c += g2[k] * at(T[k]);
            d += g2[k] * at(T[k] + 8);
        }
        c = (v8)((m8)(left > 0.0) & (m8)c);
        d = (v8)((m8)(right > 0.0) & (m8)d);
        p_bar[0] += p * c;
        p_bar[1] += p * d;
        q_bar[0] += q * c;
        q_bar[1] += q * d;
        one_bar[0] += c;
        one_bar[1] += d;
    }
    for (int k = 0; k < 2; k++) {
        *(v8 *)(W1_bar + 8 * k) += p_bar[k];
        *(v8 *)(W1_bar + H + 8 * k) += q_bar[k];
        *(v8 *)(b1_bar + 8 * k) += one_bar[k];
    }
    *b3_bar = last + 2.0 * ALPHA * b3;
    *value = loss / (double)n + ALPHA * squares;
    return 0;
}
