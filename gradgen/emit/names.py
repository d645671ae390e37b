"""Names in emitted files: the user's where they can stand, changed where a language or library has taken them.

One `Names` per file allots each identifier once, in the order of requests, so text is deterministic. A name that any target
reserves is avoided in all of them, so a Value has the same name in the .py and the .c.
"""

from __future__ import annotations

import builtins
import functools
import keyword
import re
import unicodedata
from collections.abc import Sequence

import gradgen.ops  # noqa: F401  (enters every helper routine)
from gradgen.ops.helpers import HELPERS
from gradgen.types import DTYPES

# fmt: off
_C = str.split("""
auto break case char const continue default do double else enum extern float for goto if inline int long register restrict
return short signed sizeof static struct switch typedef union unsigned void volatile while _Bool _Complex _Imaginary alignas
alignof bool constexpr false nullptr static_assert thread_local true typeof asm NULL EOF NAN INFINITY HUGE_VAL errno main
and and_eq bitand bitor catch class compl const_cast delete dynamic_cast explicit export friend mutable namespace new not
not_eq operator or or_eq private protected public reinterpret_cast static_cast template this throw try typeid typename using
virtual wchar_t xor xor_eq size_t ptrdiff_t intptr_t uintptr_t int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t
uint64_t FILE stdin stdout stderr signgam linux unix i386 y0 y1 yn j0 j1 jn work I
abs labs llabs div malloc calloc realloc free exit abort atexit atoi atof strtod qsort bsearch rand srand system getenv time
clock index rindex remove rename signal raise printf puts putchar getchar scanf memcpy memset memmove memcmp strlen read
write open close pipe link select accept bind listen connect send recv send dup kill wait pause sleep alarm round gamma
""")
_LIBM = str.split("""
acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh erf erfc exp exp2 expm1 fabs fdim floor fma fmax fmin
fmod frexp hypot ilogb ldexp lgamma llrint llround log log10 log1p log2 logb lrint lround modf nan nearbyint nextafter pow
remainder remquo rint round scalbln scalbn sin sinh sqrt tan tanh tgamma trunc isnan isinf isfinite isnormal signbit
fpclassify isgreater isless drem finite significand gamma scalb exp10 pow10 sincos
""")
# Macros of the headers that Python.h includes before ours: a parameter of such a name would be replaced by a number.
_MACROS = str.split("""
M_E M_LOG2E M_LOG10E M_LN2 M_LN10 M_PI M_PI_2 M_PI_4 M_1_PI M_2_PI M_2_SQRTPI M_SQRT2 M_SQRT1_2 HUGE INFINITY DOMAIN SING
OVERFLOW UNDERFLOW PLOSS TLOSS INT_MAX INT_MIN UINT_MAX LONG_MAX LONG_MIN CHAR_BIT CHAR_MAX CHAR_MIN SHRT_MAX SHRT_MIN
SIZE_MAX PATH_MAX NAME_MAX BUFSIZ RAND_MAX CLOCKS_PER_SEC EDOM ERANGE EINVAL FLT_MAX FLT_MIN FLT_EPSILON DBL_MAX DBL_MIN
DBL_EPSILON DBL_DIG F_OK R_OK W_OK X_OK TRUE FALSE MIN MAX
""")
# fmt: on
_PYTHON = [
    *keyword.kwlist,
    *keyword.softkwlist,
    *dir(builtins),
    "np",
    "numpy",
    "math",
    "sys",
    "self",
]
RESERVED = frozenset(
    [
        *_C,
        *_LIBM,
        *_MACROS,
        *(f"{n}{suffix}" for n in (*_LIBM, *HELPERS) for suffix in ("", "f", "l", "_i64", "_i32")),
        *_PYTHON,
    ]
)
# Names of the emitted files' own functions, beside `_` and the name of a helper routine.
OWN = ["_arguments", "_array", "_size", "_self_test", "_sample", "_compare"]
# What cffi's wrapper around a function calls its own variables: a function of such a name would be hidden there.
_CFFI = ["result", "pyresult", "datasize", "large_args_free", "noarg", "arg", "args"]
# Variables of the self-tests, which call the function.
_TESTS = ["found", "expected"]
# What `import numpy` imports: a NAME.py of such a name would be imported in its place.
_IMPORTED = str.split("""
abc ast bisect codecs collections contextlib contextvars copyreg ctypes datetime dis encodings enum functools genericpath
hashlib importlib inspect io itertools json keyword linecache locale marshal numbers opcode operator os pathlib pickle platform
posix posixpath random re reprlib secrets shutil site stat string struct subprocess tempfile textwrap threading time
token tokenize traceback types typing warnings weakref zipimport zlib
""")
FUNCTION_RESERVED = RESERVED.union(
    _CFFI, _TESTS, _IMPORTED, OWN, (f"{stem}{k}" for stem in ("x", "arg") for k in range(100))
)
_GREEK = dict(zip("αβγδεζηθικλμνξοπρστυφχψω", str.split(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron "
    "pi rho sigma tau upsilon phi chi psi omega"
), strict=True))  # fmt: skip


@functools.lru_cache(4096)
def ascii_identifier(text: str) -> str:
    """An ASCII identifier that resembles `text`: Greek letters by name, accents dropped, the rest underscores."""
    out = []
    for char in text:
        if char in _GREEK:
            out.append(_GREEK[char])
        elif char.isascii():
            out.append(char if char.isalnum() or char == "_" else "_")
        else:
            plain = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
            out.append(re.sub(r"\W", "_", plain) or "_")
    name = "".join(out) or "x"
    return f"x{name}" if name[0].isdigit() else name


class Names:
    """Identifiers of one file. `fresh` allots a new one; `reserve` takes one out of circulation."""

    def __init__(self, reserved: frozenset[str] = RESERVED) -> None:
        self._taken: set[str] = set()
        self._reserved = reserved
        self._next: dict[str, int] = {}
        self._bases: dict[str, str] = {}

    def reserve(self, *names: str) -> None:
        self._taken.update(names)

    def is_free(self, name: str) -> bool:
        return name not in self._taken and name not in self._reserved

    def fresh(self, hint: str) -> str:
        """`hint` made an identifier; with `_` appended if it is reserved, with `_2`, `_3` if it is taken."""
        base = self._bases.get(hint)
        if base is None:
            base = self._bases[hint] = self._base(hint)
        count = self._next.get(base)
        if count is None:
            name, count = base, 2
        else:
            name, count = f"{base}_{count}", count + 1
        while name in self._reserved or not self._take(name):
            name = f"{base}_{count}"
            count += 1
        self._next[base] = count
        return name

    def _take(self, name: str) -> bool:
        """Take a name; False where it is taken already. One search of a set that may hold millions."""
        before = len(self._taken)
        self._taken.add(name)
        return len(self._taken) > before

    def _base(self, hint: str) -> str:
        base = ascii_identifier(hint)
        if base.startswith("__") or (base[0] == "_" and base[1:2].isupper()):
            base = f"x{base}"  # reserved to implementations in C, the former mangled in Python
        return f"{base}_" if base in self._reserved else base

    def mark(self) -> tuple[set[str], dict[str, int]]:
        """What is taken now, for `release`."""
        return set(self._taken), dict(self._next)

    def release(self, mark: tuple[set[str], dict[str, int]]) -> None:
        """Names allotted since `mark` are free again: those of a loop's own variables, after the loop."""
        self._taken, self._next = set(mark[0]), dict(mark[1])

    def temporary(self) -> str:
        """t1, t2, ... for values that the user gave no name."""
        count = self._next.get("", 1)
        name = f"t{count}"
        while not self._take(name):
            count += 1
            name = f"t{count}"
        self._next[""] = count + 1
        return name


# Of <unistd.h>, which Python.h includes: a function f has no enumerator F_OK.
_UNISTD = frozenset(("F_OK", "R_OK", "W_OK", "X_OK"))
_CODES = ("OK", "INDEX", "SIZE", "STEPS", "SINGULAR", "TAPE", "DIVERGED")


def c_prefix(name: str) -> str:
    """What the codes that the C function `name` returns begin with."""
    prefix = name.upper()
    return f"{prefix}_CODE" if f"{prefix}_OK" in _UNISTD else prefix


def owned_in_c(name: str) -> list[str]:
    """Names that come with a C function: its codes, its workspace."""
    codes = [f"{c_prefix(name)}_{word}" for word in _CODES]
    return [*codes, f"{name.upper()}_WORK_BYTES", f"{name}_work_bytes"]


@functools.cache
def c_routines() -> tuple[str, ...]:
    """Names of the routines that C files may hold beside HELPERS."""
    from gradgen.emit.c_folds import (
        fold_name,  # late: the C back end is not needed for every target
    )
    from gradgen.emit.c_gemm import reserved
    from gradgen.emit.c_maths import FLUSH_NAMES
    from gradgen.lower.lanes import INNER, LANES

    counts = {(dtype, count) for widths in (INNER, LANES) for dtype, count in widths.items()}
    folds = [
        fold_name(op, dtype, count)
        for op in ("add", "mul", "maximum", "minimum")
        for dtype, count in sorted(counts)
    ]
    return ("weyl", *(f"differs_{dtype}" for dtype in DTYPES), *folds, *reserved(), *FLUSH_NAMES)


def function_names(wanted: Sequence[str], file: str = "") -> list[str]:
    """Names for the functions of one file, in all targets the same.

    None is a reserved word, a routine of the file's own, of libc's or of cffi's wrapper; none of a function's own names
    (its checks, its codes, ...) is another's.
    """
    names = Names(FUNCTION_RESERVED)
    names.reserve(*(f"_{helper}" for helper in HELPERS), *c_routines())
    if file:
        names.reserve(f"{file}_selftest", f"{file.upper()}_H", f"{file}_build")
    found = []
    for hint in wanted:
        name = names.fresh(hint)
        while not all(map(names.is_free, _owned(name))):
            name = names.fresh(hint)
        names.reserve(*_owned(name))
        found.append(name)
    return found


def _owned(name: str) -> list[str]:
    python = [f"_{name}_{stem}" for stem in ("arguments", "self_test", "part_1")]
    return [*owned_in_c(name), *python, f"{name}_test", f"{name}_part_1"]
