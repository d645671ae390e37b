/* A 2-16-16-1 network with hinge loss and L2 by hand: point by point, activations in whole registers, gradients in the first
 * cache, the second matrix kept in both directions. */
#include "mlp_small.h"

enum { H = 16 };
#define ALPHA 1e-4
#if defined(__AVX512F__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
enum { PARTS = H / LANES };
typedef double vec __attribute__((vector_size(LANES * 8), aligned(8)));
typedef int64_t mask __attribute__((vector_size(LANES * 8), aligned(8)));

static inline vec at(const double *x, int part)
{
    return *(const vec *)(x + part * LANES);
}

static inline void put(double *x, int part, vec value)
{
    *(vec *)(x + part * LANES) = value;
}

/* x where y > 0, else 0 */
static inline vec where(vec y, vec x)
{
    return (vec)((mask)(y > 0.0) & (mask)x);
}

static inline double sum(vec x)
{
#if defined(__AVX512F__)
    return ((x[0] + x[4]) + (x[1] + x[5])) + ((x[2] + x[6]) + (x[3] + x[7]));
#else
    return (x[0] + x[2]) + (x[1] + x[3]);
#endif
}

/* The start of a gradient, that of the squares, and the squares. */
static double decay(int64_t count, const double *x, double *x_bar)
{
    vec squares = {0.0};
    for (int64_t j = 0; j < count; j += LANES) {
        put(x_bar + j, 0, 2.0 * ALPHA * at(x + j, 0));
        squares += at(x + j, 0) * at(x + j, 0);
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
    vec p_bar[PARTS] = {{0.0}}, q_bar[PARTS] = {{0.0}}, one_bar[PARTS] = {{0.0}};
    for (int k = 0; k < H; k++)
        for (int j = 0; j < H; j++)
            T[j][k] = W2[k * H + j];
    for (int64_t i = 0; i < n; i++) {
        const double p = X[2 * i], q = X[2 * i + 1];
        vec h[PARTS], a[PARTS], c[PARTS], score = {0.0};
        for (int v = 0; v < PARTS; v++) {
            h[v] = p * at(W1, v) + q * at(W1 + H, v) + at(b1, v);
            h[v] = where(h[v], h[v]);
            put(h1, v, h[v]);
            a[v] = at(b2, v);
            c[v] = 0.0 * h[v];
        }
        for (int k = 0; k < H; k++)
            for (int v = 0; v < PARTS; v++)
                a[v] += h1[k] * at(W2 + k * H, v);
        for (int v = 0; v < PARTS; v++) {
            a[v] = where(a[v], a[v]);
            score += a[v] * at(W3, v);
        }
        const double margin = 1.0 - y[i] * (sum(score) + b3);
        if (!(margin > 0.0))
            continue;
        const double s = -y[i] / (double)n;
        loss += margin;
        last += s;
        for (int v = 0; v < PARTS; v++) {
            put(W3_bar, v, at(W3_bar, v) + s * a[v]);
            a[v] = where(a[v], s * at(W3, v));
            put(g2, v, a[v]);
            put(b2_bar, v, at(b2_bar, v) + a[v]);
        }
        for (int k = 0; k < H; k++)
            for (int v = 0; v < PARTS; v++) {
                put(W2_bar + k * H, v, at(W2_bar + k * H, v) + h1[k] * a[v]);
                c[v] += g2[k] * at(T[k], v);
            }
        for (int v = 0; v < PARTS; v++) {
            c[v] = where(h[v], c[v]);
            p_bar[v] += p * c[v];
            q_bar[v] += q * c[v];
            one_bar[v] += c[v];
        }
    }
    for (int v = 0; v < PARTS; v++) {
        put(W1_bar, v, at(W1_bar, v) + p_bar[v]);
        put(W1_bar + H, v, at(W1_bar + H, v) + q_bar[v]);
        put(b1_bar, v, at(b1_bar, v) + one_bar[v]);
    }
    *b3_bar = last + 2.0 * ALPHA * b3;
    *value = loss / (double)n + ALPHA * squares;
    return 0;
}
