"""np.fft on Values: complex numbers as intermediate values, real arguments and results.

    dft(z, inverse=)   of z with the real part in z[0] and the imaginary one in z[1]: sum over the last axis of
                       z_j exp(-2 pi i j k / n), with + for the inverse, unscaled. Its matrix is symmetric, so its adjoint is
                       the transform of the other direction.

`Complex` is what the transforms give: its arithmetic, abs, conj, real, imag, indexing and sums are real arithmetic on the two
parts. Only real results can be returned. The interpreter and the NumPy target have it; C and python refuse it by name.
Not supported: complex arguments; functions of complex numbers other than these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradgen.errors import SpecError, UnsupportedError
from gradgen.functions import FUNCTIONS, implements
from gradgen.ir import OPS, Op, define
from gradgen.ops import calls
from gradgen.ops.helpers import Helper, enter, run
from gradgen.ops.index import getitem
from gradgen.ops.rearrange import along, axis_of, count_of, flip
from gradgen.ops.reduce import axes_of
from gradgen.ops.reductions import floats, mean, sum_
from gradgen.ops.shape import concatenate, moveaxis, stack
from gradgen.spelling import Expr
from gradgen.value import Value, apply

enter(Helper(
    "dft", ("z", "inverse"), "The discrete Fourier transform of z[0] + 1j * z[1] over the last axis, unscaled.",
    numpy="""c = z[0] + 1j * z[1]
c = np.fft.ifft(c, norm="forward") if inverse else np.fft.fft(c)
return np.stack((c.real, c.imag)).astype(z.dtype)
""",
))  # fmt: skip

DFT: Op = define(
    Op(
        "dft",
        lambda z, inverse: z,
        lambda z, inverse: run("dft")(z, inverse),
        "The discrete Fourier transform of the last axis; real parts in z[0], imaginary ones in z[1].",
        vjp=(lambda y_bar, y, z, inverse: apply(DFT, y_bar, inverse=not inverse),),
        jvp=("linear",),
        flops=50,
        numpy=lambda operands, node, target: Expr(
            f"{target.helper('dft', node)}({operands[0].text}, {node.params['inverse']})"
        ),
    )
)


class Complex:
    """Complex numbers as two real Values, made by np.fft's functions inside a traced function."""

    __array_priority__ = 2000.0
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, re: Value, im: Value) -> None:
        self.real = re
        self.imag = im

    @property
    def shape(self) -> tuple[Any, ...]:
        return self.real.shape

    @property
    def ndim(self) -> int:
        return self.real.ndim

    def _both(self, f: Callable[[Value], Value]) -> Complex:
        return Complex(f(self.real), f(self.imag))

    def __getitem__(self, index: Any) -> Complex:
        return self._both(lambda x: getitem(x, index))

    def __neg__(self) -> Complex:
        return self._both(lambda x: -x)

    def __pos__(self) -> Complex:
        return self

    def __abs__(self) -> Value:
        return calls.hypot(self.real, self.imag)

    def __add__(self, other: Any) -> Complex:
        re, im = parts(other)
        return Complex(self.real + re, self.imag + im)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Complex:
        re, im = parts(other)
        return Complex(self.real - re, self.imag - im)

    def __rsub__(self, other: Any) -> Complex:
        return -self + other

    def __mul__(self, other: Any) -> Complex:
        if not is_complex(other):
            return self._both(lambda x: x * other)
        re, im = parts(other)
        return Complex(self.real * re - self.imag * im, self.real * im + self.imag * re)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Complex:
        if not is_complex(other):
            return self._both(lambda x: x / other)
        re, im = parts(other)
        size = re * re + im * im
        return self * Complex(re / size, -im / size)

    def __rtruediv__(self, other: Any) -> Complex:
        size = self.real * self.real + self.imag * self.imag
        if not is_complex(other):
            return self.conj()._both(lambda x: x * other / size)
        return self.conj() * other * (1.0 / size)

    def __pow__(self, n: Any) -> Complex:
        total = self
        if not isinstance(n, int) or n < 1:
            raise UnsupportedError(f"complex numbers are raised to positive integers, got {n!r}")
        for _ in range(n - 1):
            total = total * self
        return total

    def conj(self) -> Complex:
        return Complex(self.real, -self.imag)

    conjugate = conj

    def sum(self, axis: Any = None, **kwargs: Any) -> Complex:
        return self._both(lambda x: sum_(x, axis, **kwargs))

    # -- NumPy's protocols
    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return _call(ufunc if method == "__call__" else None, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _call(function, args, kwargs)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise UnsupportedError(
            "complex numbers are intermediate values, not arrays",
            "Take np.real, np.imag or np.abs.",
        )


def is_complex(x: Any) -> bool:
    return isinstance(x, (Complex, complex)) or (isinstance(x, np.ndarray) and x.dtype.kind == "c")


def parts(x: Any) -> tuple[Any, Any]:
    """Real and imaginary part of anything; 0.0 for the latter of what is real."""
    if isinstance(x, Complex) or is_complex(x):
        return x.real, x.imag
    return x, 0.0


def _binary(name: str) -> Callable[..., Any]:
    def compute(a: Any, b: Any) -> Any:
        return (
            getattr(a, f"__{name}__")(b)
            if isinstance(a, Complex)
            else getattr(b, f"__r{name}__")(a)
        )

    return compute


def _squared(z: Complex) -> Complex:
    return z * z


# What is known of complex numbers, beside np.fft.
_KNOWN: dict[Any, Callable[..., Any]] = {
    np.add: _binary("add"), np.subtract: _binary("sub"), np.multiply: _binary("mul"), np.divide: _binary("truediv"),
    np.absolute: abs, np.negative: lambda z: -z, np.conjugate: lambda z: z.conj(), np.square: _squared,
    np.power: lambda z, n: z**n, np.real: lambda z: z.real, np.imag: lambda z: z.imag,
    np.angle: lambda z: apply(OPS["arctan2"], z.imag, z.real),
    np.sum: lambda z, axis=None, **k: z.sum(axis, **k),
    np.mean: lambda z, axis=None, **k: z._both(lambda x: mean(x, axis, **k)),
    np.shape: lambda z: z.shape, np.ndim: lambda z: z.ndim, np.iscomplexobj: lambda z: True,
}  # fmt: skip


def _call(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    known = _KNOWN.get(function)
    if known is None and str(getattr(function, "__module__", "")).startswith("numpy.fft"):
        known = FUNCTIONS.get(function)
    if known is None:
        raise UnsupportedError(
            f"{getattr(function, '__name__', 'a function')} of complex numbers is not differentiated by gradgen",
            "Take np.real, np.imag or np.abs first.",
        )
    return known(*args, **kwargs)


# -- transforms
def _planes(x: Any) -> Complex:
    if isinstance(x, Complex):
        return x
    re = floats(x)
    return Complex(re, FUNCTIONS[np.zeros_like](re))


def _sized(z: Complex, n: Any, axis: int) -> Complex:
    """z cut or filled with zeros to n along an axis."""
    dim = z.real.type.shape[axis]
    if n is None or n == dim:
        return z
    n = count_of("np.fft", n)
    if not isinstance(dim, int):
        raise SpecError(f"np.fft with n={n} needs an axis of known length, got {dim}")
    if n < dim:
        return z._both(lambda x: along(x, axis, slice(None, n)))
    widths = [(0, n - dim if k == axis else 0) for k in range(z.ndim)]
    return z._both(lambda x: FUNCTIONS[np.pad](x, widths))


def _transform(z: Complex, axis: int, inverse: bool, norm: Any) -> Complex:
    """Along one axis, scaled as `norm` says: by 1/n in the inverse ("backward"), both by its root, or the other one."""
    if norm not in (None, "backward", "ortho", "forward"):
        raise SpecError(f"np.fft needs norm 'backward', 'ortho' or 'forward', got {norm!r}")
    re, im = (moveaxis(x, axis, -1) for x in (z.real, z.imag))
    both = apply(DFT, stack([re, im]), inverse=inverse)
    out = Complex(*(moveaxis(both[k], -1, axis) for k in range(2)))
    n = z.shape[axis]
    if norm == "ortho":
        return out / (n**0.5 if isinstance(n, int) else calls.sqrt(n))
    return out / n if inverse == (norm in (None, "backward")) else out


def _along_one(inverse: bool) -> Callable[..., Complex]:
    def transform(
        a: Any, n: Any = None, axis: int = -1, norm: Any = None, out: None = None
    ) -> Complex:
        z = _planes(a)
        k = axis_of("np.fft", z.real, axis)
        return _transform(_sized(z, n, k), k, inverse, norm)

    return transform


def _along_many(inverse: bool, last: int | None) -> Callable[..., Complex]:
    def transform(
        a: Any, s: Any = None, axes: Any = None, norm: Any = None, out: None = None
    ) -> Complex:
        z = _planes(a)
        chosen = axes if axes is not None else None if last is None else tuple(range(-last, 0))
        for j, k in enumerate(axes_of("np.fft", z.real, chosen)):
            z = _transform(_sized(z, None if s is None else s[j], k), k, inverse, norm)
        return z

    return transform


fft = implements(np.fft.fft)(_along_one(False))
ifft = implements(np.fft.ifft)(_along_one(True))
implements(np.fft.fft2)(_along_many(False, 2))
implements(np.fft.ifft2)(_along_many(True, 2))
implements(np.fft.fftn)(_along_many(False, None))
implements(np.fft.ifftn)(_along_many(True, None))


@implements(np.fft.rfft)
def rfft(a: Any, n: Any = None, axis: int = -1, norm: Any = None, out: None = None) -> Complex:
    """The first half of the transform of real numbers, which says all."""
    z = fft(floats(a), n, axis, norm)
    k = axis_of("np.fft.rfft", z.real, axis)
    half = z.shape[k] // 2 + 1
    return z._both(lambda x: along(x, k, slice(None, half)))


@implements(np.fft.irfft)
def irfft(a: Any, n: Any = None, axis: int = -1, norm: Any = None, out: None = None) -> Value:
    """The real numbers with this half of a transform, n of them: 2 (m - 1) unless told."""
    z = _planes(a)
    k = axis_of("np.fft.irfft", z.real, axis)
    m = z.real.type.shape[k]
    if not isinstance(m, int):
        raise SpecError(f"np.fft.irfft needs an axis of known length, got {m}")
    n = 2 * (m - 1) if n is None else count_of("np.fft.irfft", n)
    z = _sized(z, n // 2 + 1, k)
    rest = slice(1, n - n // 2)  # the others are conjugates of these, backwards
    re, im = (flip(along(x, k, rest), k) for x in (z.real, z.imag))
    first = (
        along(z.imag, k, slice(None, 1)) * 0.0
    )  # of a real signal: no imaginary part at 0, nor in the middle
    middle = along(z.imag, k, slice(1, n - n // 2))
    ends = [first] if n % 2 or n == 0 else [along(z.imag, k, slice(n // 2, n // 2 + 1)) * 0.0]
    imag = [first, middle, *([] if n % 2 else ends), -im]
    whole = Complex(concatenate([z.real, re], k), concatenate(imag, k))
    return ifft(whole, None, k, norm).real


def _along_real(inverse: bool, last: int | None) -> Callable[..., Any]:
    """The transform of real numbers over the last of the axes, of complex ones over the others before or after it."""

    def transform(
        a: Any, s: Any = None, axes: Any = None, norm: Any = None, out: None = None
    ) -> Any:
        z = a if isinstance(a, Complex) else floats(a)
        ndim = len(z.shape)
        count = last if last is not None else ndim if s is None else len(s)
        *others, end = range(-count, 0) if axes is None else axes
        *sizes, size = (None,) * (len(others) + 1) if s is None else s
        if inverse:
            for k, n in zip(others, sizes, strict=True):
                z = ifft(z, n, k, norm)
            return irfft(z, size, end, norm)
        z = rfft(z, size, end, norm)
        for k, n in zip(others, sizes, strict=True):
            z = fft(z, n, k, norm)
        return z

    return transform


implements(np.fft.rfft2)(_along_real(False, 2))
implements(np.fft.irfft2)(_along_real(True, 2))
implements(np.fft.rfftn)(_along_real(False, None))
implements(np.fft.irfftn)(_along_real(True, None))
