"""Linear algebra in C: static functions that emitted files define when they use them. Matrices are row by row.

LU with partial pivoting, LDU with complete pivoting (for cofactors), Cholesky, substitution, Householder QR, and Jacobi's
methods for symmetric eigenvalues and for singular values (Golub and Van Loan, "Matrix Computations", chapters 3 to 8). A
function that returns int says by it that the matrix is singular (or not positive definite); none allocates.
"""

from __future__ import annotations

from gradgen.ops.helpers import Helper, enter


def _routine(
    name: str, doc: str, signature: str, c: str, needs: tuple[str, ...] = (), result: str = "int"
) -> None:
    enter(Helper(name, (), doc, c=c, signature=signature, needs=needs, result=result))


_routine(
    "lu_factor", "a becomes its factors l and u, rows exchanged as p says; the sign of that, or 0 if a is singular.",
    "int64_t n, double *a, int64_t *p",
    """int sign = 1;
for (int64_t k = 0; k < n; k++) {
    int64_t top = k;
    for (int64_t i = k + 1; i < n; i++)
        if (fabs(a[i * n + k]) > fabs(a[top * n + k]))
            top = i;
    p[k] = top;
    if (top != k) {
        sign = -sign;
        for (int64_t j = 0; j < n; j++) {
            const double x = a[k * n + j];
            a[k * n + j] = a[top * n + j];
            a[top * n + j] = x;
        }
    }
    if (a[k * n + k] == 0.0)
        return 0;
    for (int64_t i = k + 1; i < n; i++) {
        const double factor = a[i * n + k] / a[k * n + k];
        a[i * n + k] = factor;
        for (int64_t j = k + 1; j < n; j++)
            a[i * n + j] -= factor * a[k * n + j];
    }
}
return sign;
""",
)  # fmt: skip
_routine(
    "lu_solve", "x, the right-hand side of m columns, becomes the solution of a x = x; 1 if a is singular.",
    "int64_t n, int64_t m, const double *a, double *x, double *lu, int64_t *p",
    """for (int64_t i = 0; i < n * n; i++)
    lu[i] = a[i];
if (lu_factor(n, lu, p) == 0)
    return 1;
for (int64_t k = 0; k < n; k++) {
    for (int64_t j = 0; j < m && p[k] != k; j++) {
        const double y = x[k * m + j];
        x[k * m + j] = x[p[k] * m + j];
        x[p[k] * m + j] = y;
    }
}
for (int64_t k = 0; k < n; k++)
    for (int64_t i = k + 1; i < n; i++)
        for (int64_t j = 0; j < m; j++)
            x[i * m + j] -= lu[i * n + k] * x[k * m + j];
for (int64_t k = n - 1; k >= 0; k--) {
    for (int64_t j = 0; j < m; j++)
        x[k * m + j] /= lu[k * n + k];
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < m; j++)
            x[i * m + j] -= lu[i * n + k] * x[k * m + j];
}
return 0;
""",
    ("lu_factor",),
)  # fmt: skip
_routine(
    "lu_inverse", "y becomes the inverse of a; 1 if a is singular.",
    "int64_t n, const double *a, double *y, double *lu, int64_t *p",
    """for (int64_t i = 0; i < n * n; i++)
    y[i] = i % (n + 1) == 0 ? 1.0 : 0.0;
return lu_solve(n, n, a, y, lu, p);
""",
    ("lu_solve",),
)  # fmt: skip
_routine(
    "lu_det", "det[0] becomes the determinant of a, det[1] its sign, det[2] the logarithm of its magnitude.",
    "int64_t n, const double *a, double *det, double *lu, int64_t *p",
    """int sign;
for (int64_t i = 0; i < n * n; i++)
    lu[i] = a[i];
sign = lu_factor(n, lu, p);
det[0] = (double)sign;
det[1] = (double)sign;
det[2] = 0.0;
if (sign == 0)
    det[2] = -INFINITY;
for (int64_t k = 0; k < n && sign != 0; k++) {
    det[0] *= lu[k * n + k];
    det[1] = lu[k * n + k] < 0.0 ? -det[1] : det[1];
    det[2] += log(fabs(lu[k * n + k]));
}
""",
    ("lu_factor",), "void",
)  # fmt: skip
_routine(
    "ldu_cofactor",
    "c becomes the matrix of cofactors of a, by a = l d u with complete pivoting: sign times l^-T adj(d) u^-T, moved back.",
    "int64_t n, const double *a, double *c, double *w, int64_t *p",
    """double sign = 1.0;
int64_t *q = p + n;
for (int64_t i = 0; i < n * n; i++)
    w[i] = a[i];
for (int64_t k = 0; k < n; k++) {
    int64_t row = k;
    int64_t column = k;
    for (int64_t i = k; i < n; i++)
        for (int64_t j = k; j < n; j++)
            if (fabs(w[i * n + j]) > fabs(w[row * n + column])) {
                row = i;
                column = j;
            }
    p[k] = row;
    q[k] = column;
    sign = row != k ? -sign : sign;
    sign = column != k ? -sign : sign;
    for (int64_t j = 0; j < n; j++) {
        const double x = w[k * n + j];
        w[k * n + j] = w[row * n + j];
        w[row * n + j] = x;
    }
    for (int64_t i = 0; i < n; i++) {
        const double x = w[i * n + k];
        w[i * n + k] = w[i * n + column];
        w[i * n + column] = x;
    }
    if (w[k * n + k] == 0.0)
        continue; /* so is all that is left */
    for (int64_t i = k + 1; i < n; i++)
        w[i * n + k] /= w[k * n + k];
    for (int64_t i = k + 1; i < n; i++)
        for (int64_t j = k + 1; j < n; j++)
            w[i * n + j] -= w[i * n + k] * w[k * n + j];
    for (int64_t j = k + 1; j < n; j++)
        w[k * n + j] /= w[k * n + k];
}
for (int64_t k = 0; k < n; k++) {
    double others = sign;
    for (int64_t i = 0; i < n; i++) {
        c[k * n + i] = 0.0;
        others *= i == k ? 1.0 : w[i * n + i];
    }
    c[k * n + k] = others;
}
for (int64_t k = n - 1; k >= 0; k--) /* l^T from the left */
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < n; j++)
            c[i * n + j] -= w[k * n + i] * c[k * n + j];
for (int64_t k = n - 1; k >= 0; k--) /* u^T from the right */
    for (int64_t j = 0; j < k; j++)
        for (int64_t i = 0; i < n; i++)
            c[i * n + j] -= w[j * n + k] * c[i * n + k];
for (int64_t k = n - 1; k >= 0; k--) {
    for (int64_t i = 0; i < n; i++) {
        const double x = c[i * n + k];
        c[i * n + k] = c[i * n + q[k]];
        c[i * n + q[k]] = x;
    }
    for (int64_t j = 0; j < n; j++) {
        const double x = c[k * n + j];
        c[k * n + j] = c[p[k] * n + j];
        c[p[k] * n + j] = x;
    }
}
""",
    (), "void",
)  # fmt: skip
_routine(
    "cholesky_factor", "l becomes the lower triangle with l l^T = a; 1 if a is not positive definite.",
    "int64_t n, const double *a, double *l",
    """for (int64_t j = 0; j < n; j++) {
    double d = a[j * n + j];
    for (int64_t k = 0; k < j; k++)
        d -= l[j * n + k] * l[j * n + k];
    if (d <= 0.0) /* NaN is data */
        return 1;
    l[j * n + j] = sqrt(d);
    for (int64_t i = 0; i < j; i++)
        l[i * n + j] = 0.0;
    for (int64_t i = j + 1; i < n; i++) {
        double x = a[i * n + j];
        for (int64_t k = 0; k < j; k++)
            x -= l[i * n + k] * l[j * n + k];
        l[i * n + j] = x / l[j * n + j];
    }
}
return 0;
""",
)  # fmt: skip
_routine(
    "lower_solve", "x, of m columns, becomes the solution of a x = x, reading the lower triangle of a; 1 if it is singular.",
    "int64_t n, int64_t m, const double *a, double *x",
    """for (int64_t k = 0; k < n; k++) {
    if (a[k * n + k] == 0.0)
        return 1;
    for (int64_t j = 0; j < m; j++)
        x[k * m + j] /= a[k * n + k];
    for (int64_t i = k + 1; i < n; i++)
        for (int64_t j = 0; j < m; j++)
            x[i * m + j] -= a[i * n + k] * x[k * m + j];
}
return 0;
""",
)  # fmt: skip
_routine(
    "upper_solve", "x, of m columns, becomes the solution of a x = x, reading the upper triangle of a; 1 if it is singular.",
    "int64_t n, int64_t m, const double *a, double *x",
    """for (int64_t k = n - 1; k >= 0; k--) {
    if (a[k * n + k] == 0.0)
        return 1;
    for (int64_t j = 0; j < m; j++)
        x[k * m + j] /= a[k * n + k];
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < m; j++)
            x[i * m + j] -= a[i * n + k] * x[k * m + j];
}
return 0;
""",
)  # fmt: skip
_routine(
    "householder_qr", "y, m + n rows of n, becomes q above r, with a = q r and m >= n; v and w are room for m n and n numbers.",
    "int64_t m, int64_t n, const double *a, double *y, double *v, double *w",
    """double *r = y + m * n;
for (int64_t i = 0; i < m * n; i++)
    v[i] = a[i];
for (int64_t k = 0; k < n; k++) {
    double below = 0.0;
    for (int64_t i = k + 1; i < m; i++)
        below += v[i * n + k] * v[i * n + k];
    w[k] = 0.0;
    if (below > 0.0) {
        const double head = v[k * n + k];
        const double norm = sqrt(head * head + below);
        const double tail = head + (head > 0.0 ? norm : -norm);
        w[k] = tail / (head > 0.0 ? norm : -norm);
        for (int64_t i = k + 1; i < m; i++)
            v[i * n + k] /= tail;
        v[k * n + k] = head > 0.0 ? -norm : norm;
    }
    for (int64_t j = k + 1; j < n; j++) {
        double x = v[k * n + j];
        for (int64_t i = k + 1; i < m; i++)
            x += v[i * n + k] * v[i * n + j];
        x *= w[k];
        v[k * n + j] -= x;
        for (int64_t i = k + 1; i < m; i++)
            v[i * n + j] -= x * v[i * n + k];
    }
}
for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < n; j++)
        r[i * n + j] = i <= j ? v[i * n + j] : 0.0;
for (int64_t i = 0; i < m * n; i++)
    y[i] = i % (n + 1) == 0 && i / n < n ? 1.0 : 0.0;
for (int64_t k = n - 1; k >= 0; k--)
    for (int64_t j = k; j < n; j++) {
        double x = y[k * n + j];
        for (int64_t i = k + 1; i < m; i++)
            x += v[i * n + k] * y[i * n + j];
        x *= w[k];
        y[k * n + j] -= x;
        for (int64_t i = k + 1; i < m; i++)
            y[i * n + j] -= x * v[i * n + k];
    }
""",
    (), "void",
)  # fmt: skip
_routine(
    "jacobi_eigh", "y, n + 1 rows of n, becomes the eigenvalues of the symmetric a, rising, above its eigenvectors; w is room.",
    "int64_t n, const double *a, double *y, double *w",
    """double *v = y + n;
for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < n; j++) {
        w[i * n + j] = i >= j ? a[i * n + j] : a[j * n + i];
        v[i * n + j] = i == j ? 1.0 : 0.0;
    }
for (int sweep = 0, turned = 1; sweep < 60 && turned; sweep++) {
    turned = 0;
    for (int64_t p = 0; p < n; p++)
        for (int64_t q = p + 1; q < n; q++) {
            const double x = fabs(w[p * n + q]);
            double t;
            double c;
            double s;
            if (fabs(w[p * n + p]) + x == fabs(w[p * n + p]) && fabs(w[q * n + q]) + x == fabs(w[q * n + q]))
                continue;
            turned = 1;
            t = 0.5 * (w[q * n + q] - w[p * n + p]) / w[p * n + q];
            t = (t < 0.0 ? -1.0 : 1.0) / (fabs(t) + sqrt(1.0 + t * t));
            c = 1.0 / sqrt(1.0 + t * t);
            s = t * c;
            for (int64_t k = 0; k < n; k++) {
                const double wp = w[k * n + p];
                const double vp = v[k * n + p];
                w[k * n + p] = c * wp - s * w[k * n + q];
                w[k * n + q] = s * wp + c * w[k * n + q];
                v[k * n + p] = c * vp - s * v[k * n + q];
                v[k * n + q] = s * vp + c * v[k * n + q];
            }
            for (int64_t k = 0; k < n; k++) {
                const double wp = w[p * n + k];
                w[p * n + k] = c * wp - s * w[q * n + k];
                w[q * n + k] = s * wp + c * w[q * n + k];
            }
            w[p * n + q] = 0.0;
            w[q * n + p] = 0.0;
        }
}
for (int64_t k = 0; k < n; k++)
    y[k] = w[k * n + k];
for (int64_t k = 0; k < n; k++) {
    int64_t least = k;
    for (int64_t j = k + 1; j < n; j++)
        if (y[j] < y[least])
            least = j;
    for (int64_t i = 0; i <= n; i++) {
        const double x = y[i * n + k];
        y[i * n + k] = y[i * n + least];
        y[i * n + least] = x;
    }
}
""",
    (), "void",
)  # fmt: skip
_routine(
    "jacobi_svd", "y, m + 1 + n rows of n, becomes u above the singular values, falling, above v; a = u s v^T, m >= n.",
    "int64_t m, int64_t n, const double *a, double *y",
    """double *s = y + m * n;
double *v = s + n;
for (int64_t i = 0; i < m * n; i++)
    y[i] = a[i];
for (int64_t i = 0; i < n * n; i++)
    v[i] = i % (n + 1) == 0 ? 1.0 : 0.0;
for (int sweep = 0, turned = 1; sweep < 60 && turned; sweep++) {
    turned = 0;
    for (int64_t p = 0; p < n; p++)
        for (int64_t q = p + 1; q < n; q++) {
            double pp = 0.0;
            double pq = 0.0;
            double qq = 0.0;
            double t;
            double c;
            for (int64_t k = 0; k < m; k++) {
                pp += y[k * n + p] * y[k * n + p];
                pq += y[k * n + p] * y[k * n + q];
                qq += y[k * n + q] * y[k * n + q];
            }
            if (8.0 * sqrt(pp * qq) + fabs(pq) == 8.0 * sqrt(pp * qq))
                continue;
            turned = 1;
            t = 0.5 * (qq - pp) / pq;
            t = (t < 0.0 ? -1.0 : 1.0) / (fabs(t) + sqrt(1.0 + t * t));
            c = 1.0 / sqrt(1.0 + t * t);
            for (int64_t k = 0; k < m + 1 + n; k++) {
                const double x = y[k * n + p];
                if (k == m)
                    continue;
                y[k * n + p] = c * (x - t * y[k * n + q]);
                y[k * n + q] = c * (t * x + y[k * n + q]);
            }
        }
}
for (int64_t j = 0; j < n; j++) {
    s[j] = 0.0;
    for (int64_t k = 0; k < m; k++)
        s[j] += y[k * n + j] * y[k * n + j];
    s[j] = sqrt(s[j]);
}
for (int64_t j = 0; j < n; j++) {
    int64_t most = j;
    for (int64_t k = j + 1; k < n; k++)
        if (s[k] > s[most])
            most = k;
    for (int64_t i = 0; i < m + 1 + n; i++) {
        const double x = y[i * n + j];
        y[i * n + j] = y[i * n + most];
        y[i * n + most] = x;
    }
    for (int64_t k = 0; k < m && s[j] > 0.0; k++)
        y[k * n + j] /= s[j];
    for (int64_t e = 0; e < m && s[j] == 0.0; e++) { /* any unit vector orthogonal to the columns before */
        double norm = 0.0;
        for (int64_t k = 0; k < m; k++) {
            y[k * n + j] = k == e ? 1.0 : 0.0;
            for (int64_t i = 0; i < j; i++)
                y[k * n + j] -= y[e * n + i] * y[k * n + i];
            norm += y[k * n + j] * y[k * n + j];
        }
        for (int64_t k = 0; k < m; k++)
            y[k * n + j] /= norm > 0.0 ? sqrt(norm) : 1.0;
        if (norm * (double)m > 0.5)
            break;
    }
}
""",
    (), "void",
)  # fmt: skip
_routine(
    "svd_pinv", "y, n rows of m, becomes v s^-1 u^T from the array of jacobi_svd, values below 1e-15 of the first left out.",
    "int64_t m, int64_t n, const double *svd, double *y",
    """const double *s = svd + m * n;
const double *v = s + n;
for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < m; j++) {
        double x = 0.0;
        for (int64_t k = 0; k < n; k++)
            x += s[k] <= 1.0e-15 * s[0] ? 0.0 : v[i * n + k] / s[k] * svd[j * n + k];
        y[i * m + j] = x;
    }
""",
    (), "void",
)  # fmt: skip
