/* sin(x) exp(x y) by hand. */
#include <math.h>
#include "sin_exp.h"

int sin_exp(double x, double y, double *value, double *x_bar, double *y_bar)
{
    const double e = exp(x * y);
    const double v = sin(x) * e;
    *value = v;
    *x_bar = e * cos(x) + v * y;
    *y_bar = v * x;
    return 0;
}
