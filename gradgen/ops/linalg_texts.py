"""The routines of linear algebra that emitted files define: what NumPy gives in several parts, as one array."""

from __future__ import annotations

from gradgen.ops.helpers import Helper, enter

enter(Helper(
    "cofactor", ("a",), "d det(a) / d a, also where a is singular, by the singular values.",
    numpy="""u, s, vt = np.linalg.svd(a)
n = s.shape[-1]
others = np.where(np.eye(n, dtype=bool), 1.0, s[..., None, :])
sign = np.linalg.det(u) * np.linalg.det(vt)
minors = np.rint(sign)[..., None] * np.prod(others, axis=-1)
return ((u * minors[..., None, :]) @ vt).astype(a.dtype)
""",
))  # fmt: skip
enter(Helper(
    "qr", ("a",), "q above r of the reduced decomposition a = q @ r.",
    numpy="return np.concatenate(np.linalg.qr(a), axis=-2)\n",
))  # fmt: skip
enter(Helper(
    "eigh", ("a",), "The eigenvalues of a symmetric matrix above its eigenvectors.",
    numpy="w, v = np.linalg.eigh(a)\nreturn np.concatenate((w[..., None, :], v), axis=-2)\n",
))  # fmt: skip
enter(Helper(
    "svd", ("a",), "u above the singular values above v, with a = u @ diag(s) @ v.T.",
    numpy="""u, s, vt = np.linalg.svd(a, full_matrices=False)
return np.concatenate((u, s[..., None, :], np.swapaxes(vt, -1, -2)), axis=-2)
""",
))  # fmt: skip
enter(Helper(
    "expm", ("a",), "The matrix exponential, by scaling, squaring and a Pade approximant (Higham 2005).",
    numpy="""b = (
    64764752532480000.0,
    32382376266240000.0,
    7771770303897600.0,
    1187353796428800.0,
    129060195264000.0,
    10559470521600.0,
    670442572800.0,
    33522128640.0,
    1323241920.0,
    40840800.0,
    960960.0,
    16380.0,
    182.0,
    1.0,
)
norm = np.max(np.sum(np.abs(a), axis=-2), axis=-1, initial=0.0)
squarings = np.maximum(np.ceil(np.log2(np.maximum(norm, 1e-300) / 5.371920351148152)), 0.0)
a = a * np.exp2(-squarings)[..., None, None].astype(a.dtype)
eye = np.eye(a.shape[-1], dtype=a.dtype)
a2 = a @ a
a4 = a2 @ a2
a6 = a4 @ a2
odd = b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * eye
odd = a @ (odd + a6 @ (b[13] * a6 + b[11] * a4 + b[9] * a2))
even = b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * eye
even = even + a6 @ (b[12] * a6 + b[10] * a4 + b[8] * a2)
y = np.linalg.solve(even - odd, even + odd)
for k in range(int(np.max(squarings, initial=0.0))):
    y = np.where(k < squarings[..., None, None], y @ y, y)
return y
""",
))  # fmt: skip
