/* One six-joint arm by hand: scalars. */
#include "arm_one.h"
#include <math.h>

enum { JOINTS = 6 };
static const double LENGTHS[JOINTS] = {0.0, 0.4, 0.35, 0.3, 0.2, 0.1};

int arm_one(const double *q, const double *target, double *restrict value, double *restrict q_bar)
{
    double c[JOINTS], s[JOINTS], angle = 0.0, r = 0.0, z = 0.0, g = 0.0;
    for (int k = 1; k < JOINTS; k++) {
        angle += q[k];
        r += c[k] = LENGTHS[k] * cos(angle);
        z += s[k] = LENGTHS[k] * sin(angle);
    }
    c[0] = cos(q[0]);
    s[0] = sin(q[0]);
    const double dx = r * c[0] - target[0], dy = r * s[0] - target[1], dz = z - target[2];
    const double dr = dx * c[0] + dy * s[0];
    for (int k = JOINTS - 1; k > 0; k--)
        q_bar[k] = g += dz * c[k] - dr * s[k];
    q_bar[0] = r * (dy * c[0] - dx * s[0]);
    *value = 0.5 * (dx * dx + dy * dy + dz * dz);
    return 0;
}
