/* The README example of micrograd by hand: forward, then the chain rule backwards. */
#include "micrograd.h"

int micrograd(double a, double b, double *value, double *a_bar, double *b_bar)
{
    const double c = 4.0 * (a + b) + 3.0 - a;
    const double up = b + a > 0.0 ? b + a : 0.0;
    const double down = b - a > 0.0 ? b - a : 0.0;
    const double d = 12.0 * (a * b + b * b * b) + 4.0 * up + down;
    const double e = c - d;
    const double f = e * e;
    const double e_bar = (0.5 - 10.0 / (f * f)) * 2.0 * e;
    const double in_up = b + a > 0.0 ? 4.0 : 0.0;
    const double in_down = b - a > 0.0 ? 1.0 : 0.0;
    *value = 0.5 * f + 10.0 / f;
    *a_bar = e_bar * (3.0 - (12.0 * b + in_up - in_down));
    *b_bar = e_bar * (4.0 - (12.0 * (a + 3.0 * b * b) + in_up + in_down));
    return 0;
}
