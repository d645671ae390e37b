/* The six-joint arm by hand: blocks of 64 arms, one array a joint, libmvec's sine and cosine in loops of their own. */
#include "arm.h"

__attribute__((simd("notinbranch"), const)) double sin(double);
__attribute__((simd("notinbranch"), const)) double cos(double);

enum { BLOCK = 64, JOINTS = 6 };
static const double LENGTHS[JOINTS] = {0.0, 0.4, 0.35, 0.3, 0.2, 0.1};

static void block(int rows, const double *restrict q, const double *restrict target, double *restrict value,
                  double *restrict q_bar)
{
    double a[JOINTS][BLOCK], c[JOINTS][BLOCK], s[JOINTS][BLOCK], sum[8] = {0.0};
    double r[BLOCK], z[BLOCK], dr[BLOCK], dz[BLOCK], g[JOINTS][BLOCK];
    const int padded = (rows + 7) / 8 * 8;
    for (int i = 0; i < padded; i++)
        for (int k = 0; k < JOINTS; k++)
            a[k][i] = i < rows ? q[i * JOINTS + k] : 0.0;
    for (int k = 2; k < JOINTS; k++)
        for (int i = 0; i < padded; i++)
            a[k][i] += a[k - 1][i];
    for (int k = 0; k < JOINTS; k++)
        for (int i = 0; i < padded; i++)
            c[k][i] = cos(a[k][i]);
    for (int k = 0; k < JOINTS; k++)
        for (int i = 0; i < padded; i++)
            s[k][i] = sin(a[k][i]);
    for (int i = 0; i < padded; i++)
        r[i] = z[i] = 0.0;
    for (int k = 1; k < JOINTS; k++)
        for (int i = 0; i < padded; i++) {
            c[k][i] *= LENGTHS[k];
            s[k][i] *= LENGTHS[k];
            r[i] += c[k][i];
            z[i] += s[k][i];
        }
    for (int i = 0; i < rows; i++) {
        const double dx = r[i] * c[0][i] - target[3 * i], dy = r[i] * s[0][i] - target[3 * i + 1];
        dz[i] = z[i] - target[3 * i + 2];
        dr[i] = dx * c[0][i] + dy * s[0][i];
        g[0][i] = r[i] * (dy * c[0][i] - dx * s[0][i]);
        sum[i % 8] += dx * dx + dy * dy + dz[i] * dz[i];
    }
    for (int k = JOINTS - 1; k > 0; k--)
        for (int i = 0; i < rows; i++)
            g[k][i] = (k + 1 < JOINTS ? g[k + 1][i] : 0.0) + dz[i] * c[k][i] - dr[i] * s[k][i];
    for (int i = 0; i < rows; i++)
        for (int k = 0; k < JOINTS; k++)
            q_bar[i * JOINTS + k] = g[k][i];
    for (int k = 0; k < 8; k++)
        *value += 0.5 * sum[k];
}

int arm(int64_t n, const double *q, const double *target, double *value, double *q_bar)
{
    double total = 0.0;
#pragma omp parallel for reduction(+ : total)
    for (int64_t i = 0; i < n; i += BLOCK) {
        double part = 0.0;
        block(n - i < BLOCK ? (int)(n - i) : BLOCK, q + i * JOINTS, target + i * 3, &part, q_bar + i * JOINTS);
        total += part;
    }
    *value = total;
    return 0;
}
