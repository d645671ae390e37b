/* Jacobians of bundle adjustment by hand: blocks of 64 observations, one array a column, libmvec's sine and cosine in loops of
 * their own; both rows share the primal. */
#include "bundle.h"

__attribute__((simd("notinbranch"), const)) double sin(double);
__attribute__((simd("notinbranch"), const)) double cos(double);
double sqrt(double);

enum { BLOCK = 64, CAMERA = 11, POINT = 3, COLUMNS = 15 };

/* Both rows of every observation of a block, without the columns that are constant or the same in another place. */
static void rows_of(int padded, double (*restrict cam)[BLOCK], double (*restrict x)[BLOCK], const double *restrict weight,
                    double (*restrict seen)[BLOCK], double (*restrict J)[COLUMNS][BLOCK])
{
    double angle[BLOCK], c[BLOCK], s[BLOCK];
    for (int i = 0; i < padded; i++) {
        const double square = cam[0][i] * cam[0][i] + cam[1][i] * cam[1][i] + cam[2][i] * cam[2][i];
        angle[i] = sqrt(square < 1e-30 ? 1.0 : square);
    }
    for (int i = 0; i < padded; i++)
        c[i] = cos(angle[i]);
    for (int i = 0; i < padded; i++)
        s[i] = sin(angle[i]);
    for (int i = 0; i < padded; i++) {
        const double r0 = cam[0][i], r1 = cam[1][i], r2 = cam[2][i], square = r0 * r0 + r1 * r1 + r2 * r2;
        const double inverse = 1.0 / angle[i];
        const double ci = square < 1e-30 ? 1.0 : c[i], si = square < 1e-30 ? 1.0 : s[i], d = 1.0 - ci;
        const double a0 = r0 * inverse, a1 = r1 * inverse, a2 = r2 * inverse;
        const double x0 = x[0][i] - cam[3][i], x1 = x[1][i] - cam[4][i], x2 = x[2][i] - cam[5][i];
        const double along = a0 * x0 + a1 * x1 + a2 * x2, w0 = a1 * x2 - a2 * x1, w1 = a2 * x0 - a0 * x2,
                     w2 = a0 * x1 - a1 * x0;
        const double y0 = x0 * ci + w0 * si + a0 * along * d, y1 = x1 * ci + w1 * si + a1 * along * d,
                     y2 = x2 * ci + w2 * si + a2 * along * d;
        const double e0 = w0 * ci + (a0 * along - x0) * si, e1 = w1 * ci + (a1 * along - x1) * si,
                     e2 = w2 * ci + (a2 * along - x2) * si;
        const double down = 1.0 / y2, u = y0 * down, v = y1 * down, q = u * u + v * v;
        const double f = cam[6][i], k1 = cam[9][i], k2 = cam[10][i], w = weight[i], m = w * f;
        const double stretch = 1.0 + q * (k1 + k2 * q), bend = 2.0 * m * (k1 + 2.0 * k2 * q);
        const double gu[2] = {m * stretch + bend * u * u, bend * u * v}, gv[2] = {bend * u * v, m * stretch + bend * v * v};
        const double p[2] = {u, v};
        for (int k = 0; k < 2; k++) {
            const double g0 = gu[k] * down, g1 = gv[k] * down, g2 = -(g0 * u + g1 * v);
            const double turn = d * (a0 * g0 + a1 * g1 + a2 * g2), ad = d * along;
            const double h0 = si * (x1 * g2 - x2 * g1) + ad * g0 + turn * x0,
                         h1 = si * (x2 * g0 - x0 * g2) + ad * g1 + turn * x1,
                         h2 = si * (x0 * g1 - x1 * g0) + ad * g2 + turn * x2;
            const double by_angle = e0 * g0 + e1 * g1 + e2 * g2 - (a0 * h0 + a1 * h1 + a2 * h2) * inverse;
            J[k][0][i] = a0 * by_angle + h0 * inverse;
            J[k][1][i] = a1 * by_angle + h1 * inverse;
            J[k][2][i] = a2 * by_angle + h2 * inverse;
            J[k][6][i] = w * stretch * p[k];
            J[k][9][i] = m * p[k] * q;
            J[k][10][i] = m * p[k] * q * q;
            J[k][11][i] = g0 * ci + (g1 * a2 - g2 * a1) * si + a0 * turn;
            J[k][12][i] = g1 * ci + (g2 * a0 - g0 * a2) * si + a1 * turn;
            J[k][13][i] = g2 * ci + (g0 * a1 - g1 * a0) * si + a2 * turn;
            J[k][14][i] = f * stretch * p[k] + cam[7 + k][i] - seen[k][i];
        }
    }
}

int bundle(int64_t n, const double *camera, const double *point, const double *weight, const double *seen,
           double *restrict J)
{
#pragma omp parallel for
    for (int64_t first = 0; first < n; first += BLOCK) {
        const int rows = n - first < BLOCK ? (int)(n - first) : BLOCK;
        const int padded = (rows + 7) / 8 * 8;
        double cam[CAMERA][BLOCK], x[POINT][BLOCK], w[BLOCK], at[2][BLOCK], out[2][COLUMNS][BLOCK];
        for (int i = 0; i < padded; i++) {
            const int64_t from = first + (i < rows ? i : rows - 1);
            for (int k = 0; k < CAMERA; k++)
                cam[k][i] = camera[from * CAMERA + k];
            for (int k = 0; k < POINT; k++)
                x[k][i] = point[from * POINT + k];
            w[i] = weight[from];
            at[0][i] = seen[from * 2];
            at[1][i] = seen[from * 2 + 1];
        }
        rows_of(padded, cam, x, w, at, out);
        for (int i = 0; i < rows; i++)
            for (int k = 0; k < 2; k++) {
                double *row = J + ((first + i) * 2 + k) * COLUMNS;
                for (int j = 0; j < 3; j++) {
                    row[j] = out[k][j][i];
                    row[3 + j] = -out[k][11 + j][i];
                    row[11 + j] = out[k][11 + j][i];
                }
                row[6] = out[k][6][i];
                row[7] = k == 0 ? w[i] : 0.0;
                row[8] = k == 1 ? w[i] : 0.0;
                row[9] = out[k][9][i];
                row[10] = out[k][10][i];
                row[14] = out[k][14][i];
            }
    }
    return 0;
}
