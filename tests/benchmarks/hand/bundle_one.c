/* One Jacobian of bundle adjustment by hand: scalars, both rows from one primal. */
#include "bundle_one.h"
#include <math.h>

#if defined(__GNUC__) && !defined(__clang__)
__attribute__((optimize("no-tree-slp-vectorize"))) /* gathering scalars for wide stores costs more than the stores */
#endif
int bundle_one(const double *camera, const double *point, double weight, const double *seen, double *restrict J)
{
    const double r0 = camera[0], r1 = camera[1], r2 = camera[2], square = r0 * r0 + r1 * r1 + r2 * r2;
    const double x0 = point[0] - camera[3], x1 = point[1] - camera[4], x2 = point[2] - camera[5];
    double c = 1.0, s = 1.0, inverse = 1.0;
    if (square >= 1e-30) {
        const double angle = sqrt(square);
        c = cos(angle);
        s = sin(angle);
        inverse = 1.0 / angle;
    }
    const double d = 1.0 - c, a0 = r0 * inverse, a1 = r1 * inverse, a2 = r2 * inverse;
    const double along = a0 * x0 + a1 * x1 + a2 * x2, w0 = a1 * x2 - a2 * x1, w1 = a2 * x0 - a0 * x2, w2 = a0 * x1 - a1 * x0;
    const double y0 = x0 * c + w0 * s + a0 * along * d, y1 = x1 * c + w1 * s + a1 * along * d,
                 y2 = x2 * c + w2 * s + a2 * along * d;
    const double e0 = w0 * c + (a0 * along - x0) * s, e1 = w1 * c + (a1 * along - x1) * s, e2 = w2 * c + (a2 * along - x2) * s;
    const double down = 1.0 / y2, u = y0 * down, v = y1 * down, q = u * u + v * v;
    const double f = camera[6], k1 = camera[9], k2 = camera[10], m = weight * f;
    const double stretch = 1.0 + q * (k1 + k2 * q), bend = 2.0 * m * (k1 + 2.0 * k2 * q);
    const double gu[2] = {m * stretch + bend * u * u, bend * u * v}, gv[2] = {bend * u * v, m * stretch + bend * v * v};
    const double p[2] = {u, v};
    for (int k = 0; k < 2; k++, J += 15) {
        const double g0 = gu[k] * down, g1 = gv[k] * down, g2 = -(g0 * u + g1 * v);
        const double turn = d * (a0 * g0 + a1 * g1 + a2 * g2), ad = d * along;
        const double h0 = s * (x1 * g2 - x2 * g1) + ad * g0 + turn * x0, h1 = s * (x2 * g0 - x0 * g2) + ad * g1 + turn * x1,
                     h2 = s * (x0 * g1 - x1 * g0) + ad * g2 + turn * x2;
        const double by_angle = e0 * g0 + e1 * g1 + e2 * g2 - (a0 * h0 + a1 * h1 + a2 * h2) * inverse;
        J[0] = a0 * by_angle + h0 * inverse;
        J[1] = a1 * by_angle + h1 * inverse;
        J[2] = a2 * by_angle + h2 * inverse;
        J[11] = g0 * c + (g1 * a2 - g2 * a1) * s + a0 * turn;
        J[12] = g1 * c + (g2 * a0 - g0 * a2) * s + a1 * turn;
        J[13] = g2 * c + (g0 * a1 - g1 * a0) * s + a2 * turn;
        J[3] = -J[11];
        J[4] = -J[12];
        J[5] = -J[13];
        J[6] = weight * stretch * p[k];
        J[7] = k == 0 ? weight : 0.0;
        J[8] = k == 1 ? weight : 0.0;
        J[9] = m * p[k] * q;
        J[10] = J[9] * q;
        J[14] = f * stretch * p[k] + camera[7 + k] - seen[k];
    }
    return 0;
}
