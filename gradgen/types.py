"""Types of values: a dtype and a shape whose dimensions are ints or sizes.

    f64[n, 3]    Type("f64", (Size n, 3)); interned: equal types are one object, so a type is a cheap dictionary key

Promotion is NumPy's (`np.result_type`); weak Python numbers are handled where they are lifted (`value.lift`).
Not supported: complex, object, string and unsigned dtypes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradgen.errors import ShapeError, SpecError
from gradgen.sizes import Dim, product

DTYPES: dict[str, np.dtype[Any]] = {
    "f64": np.dtype(np.float64),
    "f32": np.dtype(np.float32),
    "i64": np.dtype(np.int64),
    "i32": np.dtype(np.int32),
    "bool": np.dtype(np.bool_),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
C_NAMES = {"f64": "double", "f32": "float", "i64": "int64_t", "i32": "int32_t", "bool": "bool"}
BYTES = {"f64": 8, "f32": 4, "i64": 8, "i32": 4, "bool": 1}

Shape = tuple[Dim, ...]


class Type:
    """An array type; `Type.of(dtype, shape)` returns the one object there is of it."""

    __slots__ = ("dtype", "shape")
    dtype: str
    shape: Shape
    _interned: dict[tuple[str, Shape], Type] = {}

    def __init__(self, dtype: str, shape: Shape) -> None:
        self.dtype = dtype
        self.shape = shape

    @staticmethod
    def of(dtype: str, shape: Shape = ()) -> Type:
        key = (dtype, shape)
        ty = Type._interned.get(key)
        if ty is None:
            ty = Type._interned[key] = Type(dtype, shape)
        return ty

    def __reduce__(self) -> tuple[object, ...]:
        return Type.of, (self.dtype, self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> Dim:
        return product(self.shape)

    @property
    def is_float(self) -> bool:
        return self.dtype[0] == "f"

    @property
    def static(self) -> bool:
        """Whether every dimension is a number."""
        return all(isinstance(dim, int) for dim in self.shape)

    @property
    def lengths(self) -> tuple[int, ...]:
        """The shape of a static type as numbers."""
        return tuple([int(dim) for dim in self.shape if isinstance(dim, int)])

    def with_shape(self, shape: Shape) -> Type:
        return Type.of(self.dtype, shape)

    def with_dtype(self, dtype: str) -> Type:
        return Type.of(dtype, self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"

    __repr__ = __str__


class Bundle(Type):
    """The type of a statement with several results (loops, branches): `item` takes one of its parts."""

    __slots__ = ("parts",)
    parts: tuple[Type, ...]
    _bundles: dict[tuple[Type, ...], Bundle] = {}

    @staticmethod
    def of_parts(parts: tuple[Type, ...]) -> Bundle:
        ty = Bundle._bundles.get(parts)
        if ty is None:
            ty = Bundle._bundles[parts] = Bundle("bundle", ())
            ty.parts = parts
        return ty

    def __reduce__(self) -> tuple[object, ...]:
        return Bundle.of_parts, (self.parts,)

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.parts))})"

    __repr__ = __str__


F64 = Type.of("f64")
F32 = Type.of("f32")
I64 = Type.of("i64")
BOOL = Type.of("bool")


def dtype_name(dtype: object) -> str:
    """gradgen's name of a NumPy dtype (or of anything np.dtype takes). SpecError if it has none."""
    if isinstance(dtype, str) and dtype in DTYPES:
        return dtype
    try:
        found = np.dtype(dtype)  # type: ignore[call-overload]
    except TypeError:
        raise SpecError(f"a dtype needs to be one of {', '.join(DTYPES)}, got {dtype!r}") from None
    name = _NAMES.get(found.newbyteorder("="))
    if name is None:
        raise SpecError(
            f"a dtype needs to be one of {', '.join(DTYPES)}, got {found}",
            "Convert it first, e.g. x.astype(np.float64).",
        )
    return name


def type_of(array: np.ndarray | np.generic) -> Type:
    """The static type of a NumPy array."""
    return Type.of(dtype_name(array.dtype), tuple(int(n) for n in array.shape))


_promoted: dict[tuple[str, ...], str] = {}


def promote(*dtypes: str) -> str:
    """NumPy's result dtype of strong operands."""
    name = _promoted.get(dtypes)
    if name is None:
        name = _promoted[dtypes] = dtype_name(np.result_type(*(DTYPES[d] for d in dtypes)))
    return name


def floating(dtype: str) -> str:
    """The dtype in which NumPy computes sin of such an array."""
    return dtype if dtype[0] == "f" else "f64"


def broadcast(what: str, *shapes: Shape) -> Shape:
    """NumPy's broadcast of shapes; sizes are equal by normal form or they do not fit. ShapeError if not."""
    first = shapes[0]
    if all(shape == first for shape in shapes):
        return first
    ndim = max(map(len, shapes))
    result: list[Dim] = []
    for axis in range(-ndim, 0):
        dim: Dim = 1
        for shape in shapes:
            if -axis > len(shape) or shape[axis] == dim:
                continue
            if dim == 1 and isinstance(dim, int):
                dim = shape[axis]
            elif not (isinstance(shape[axis], int) and shape[axis] == 1):
                text = " and ".join(show_shape(s) for s in shapes)
                raise ShapeError(
                    f"{what} needs shapes that broadcast, got {text}",
                    "Sizes that differ by name never broadcast; add an axis with x[:, None] or give both one name.",
                )
        result.append(dim)
    return tuple(result)


def show_shape(shape: Shape) -> str:
    """(n, 3) or (n,), as NumPy prints shapes."""
    inner = ", ".join(map(str, shape))
    return f"({inner},)" if len(shape) == 1 else f"({inner})"
