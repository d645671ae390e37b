/* A tanh network of 32 units over T steps by hand: states on a tape, Wh in both directions, the gradients of the weights as
 * products after the loop. */
#include <stdlib.h>
#include "rnn.h"

__attribute__((simd("notinbranch"), const)) double tanh(double);

enum { H = 32, IN = 8 };

/* out[j] += sum over k of x[k] W[k, j], one row of W after the other */
static inline void add_row(int count, const double *restrict x, const double *restrict W, double *restrict out)
{
    double sum[H];
    for (int j = 0; j < H; j++)
        sum[j] = out[j];
    for (int k = 0; k < count; k++)
        for (int j = 0; j < H; j++)
            sum[j] += x[k] * W[k * H + j];
    for (int j = 0; j < H; j++)
        out[j] = sum[j];
}

/* out[k, :] = sum over t of x[t, k] a[t, :] */
static void outer(int64_t T, int count, const double *restrict x, const double *restrict a, double *restrict out)
{
    for (int k = 0; k < count; k += 4) {
        double sum[4][H] = {{0.0}};
        for (int64_t t = 0; t < T; t++)
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < H; j++)
                    sum[i][j] += x[t * count + k + i] * a[t * H + j];
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < H; j++)
                out[(k + i) * H + j] = sum[i][j];
    }
}

int rnn(int64_t T, const double *Wx, const double *Wh, const double *b, const double *Wo, const double *X,
        double y, double *value, double *Wx_bar, double *Wh_bar, double *b_bar, double *Wo_bar)
{
    double back[H * H], e = -y, h_bar[H];
    double *h = malloc((size_t)(2 * T + 1) * H * sizeof(double)), *a = h + (T + 1) * H;
    for (int k = 0; k < H; k++)
        for (int j = 0; j < H; j++)
            back[j * H + k] = Wh[k * H + j];
    for (int j = 0; j < H; j++)
        h[j] = 0.0;
    for (int64_t t = 0; t < T; t++) {
        double *next = h + (t + 1) * H;
        for (int j = 0; j < H; j++)
            next[j] = b[j];
        add_row(IN, X + t * IN, Wx, next);
        add_row(H, h + t * H, Wh, next);
        for (int j = 0; j < H; j++)
            next[j] = tanh(next[j]);
    }
    for (int j = 0; j < H; j++)
        e += h[T * H + j] * Wo[j];
    for (int j = 0; j < H; j++) {
        h_bar[j] = e * Wo[j];
        Wo_bar[j] = e * h[T * H + j];
        b_bar[j] = 0.0;
    }
    for (int64_t t = T - 1; t >= 0; t--) {
        double *now = a + t * H;
        for (int j = 0; j < H; j++) {
            now[j] = h_bar[j] * (1.0 - h[(t + 1) * H + j] * h[(t + 1) * H + j]);
            b_bar[j] += now[j];
            h_bar[j] = 0.0;
        }
        add_row(H, now, back, h_bar);
    }
    outer(T, IN, X, a, Wx_bar);
    outer(T, H, h, a, Wh_bar);
    *value = 0.5 * e * e;
    free(h);
    return 0;
}
