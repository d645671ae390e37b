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

# fmt: off
_C = """
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
""".split()
_LIBM = """
acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh erf erfc exp exp2 expm1 fabs fdim floor fma fmax fmin
fmod frexp hypot ilogb ldexp lgamma llrint llround log log10 log1p log2 logb lrint lround modf nan nearbyint nextafter pow
remainder remquo rint round scalbln scalbn sin sinh sqrt tan tanh tgamma trunc isnan isinf isfinite isnormal signbit
fpclassify isgreater isless drem finite significand gamma scalb exp10 pow10 sincos
""".split()
# fmt: on
_PYTHON = [*keyword.kwlist, *keyword.softkwlist, *dir(builtins), "np", "numpy", "math", "sys", "self"]
RESERVED = frozenset(
    [*_C, *_LIBM, *(f"{n}f" for n in _LIBM), *(f"{n}l" for n in _LIBM), *_PYTHON]
)
# What cffi's wrapper around a function calls its own variables: a function of such a name would be hidden there.
_CFFI = ["result", "pyresult", "datasize", "large_args_free", "noarg", "arg", "args"]
FUNCTION_RESERVED = RESERVED.union(_CFFI, (f"{stem}{k}" for stem in ("x", "arg") for k in range(100)))
_GREEK = dict(zip("αβγδεζηθικλμνξοπρστυφχψω", (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi chi psi omega"
).split(), strict=True))  # fmt: skip


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

    def reserve(self, *names: str) -> None:
        self._taken.update(names)

    def is_free(self, name: str) -> bool:
        return name not in self._taken and name not in self._reserved

    def fresh(self, hint: str) -> str:
        """`hint` made an identifier; with `_` appended if it is reserved, with `_2`, `_3` if it is taken."""
        base = ascii_identifier(hint)
        if base.startswith("__"):
            base = f"x{base}"  # reserved to implementations in C, mangled in Python
        if base in self._reserved:
            base = f"{base}_"
        name = base
        count = self._next.get(base, 2)
        while name in self._taken or name in self._reserved:
            name = f"{base}_{count}"
            count += 1
        self._next[base] = count
        self._taken.add(name)
        return name

    def temporary(self) -> str:
        """t1, t2, ... for values that the user gave no name."""
        count = self._next.get("t", 1)
        name = f"t{count}"
        while name in self._taken:
            count += 1
            name = f"t{count}"
        self._next["t"] = count + 1
        self._taken.add(name)
        return name
