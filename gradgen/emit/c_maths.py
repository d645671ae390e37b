"""Vector mathematics without fast-math: libm's functions, declared as having vector versions where glibc's libmvec has them.

The declaration is what `-ffast-math` would switch on in <math.h>; with it gcc may compute a function for a whole vector in a
loop, and everything else stays as strict as it was. glibc 2.35 on x86-64 has all of VECTOR; its `-lm` is a linker script
that adds libmvec by itself. Elsewhere nothing is declared, and the same text computes one number at a time.
Errors: at most 4 ulp by glibc's manual ("Errors in Math Functions"); plain libm's are below 1.
"""

from __future__ import annotations

import re

# sysdeps/x86/fpu/bits/math-vector.h of glibc 2.35
VECTOR = (
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cos", "cosh", "erf", "erfc", "exp", "exp10", "exp2",
    "expm1", "hypot", "log", "log10", "log1p", "log2", "pow", "sin", "sinh", "tan", "tanh",
)  # fmt: skip
# math="fast". The state goes back at every return, which gcc and clang see to.
FLUSH = """\
#if defined(__GNUC__) && defined(__SSE2__) && !defined(__cplusplus)
#include <xmmintrin.h>
static inline unsigned int denormals_off(void)
{
    const unsigned int state = _mm_getcsr();
    _mm_setcsr(state | 0x8040u); /* operands and results below 2.3e-308 count as zero */
    return state;
}
static inline void denormals_back(const unsigned int *state)
{
    _mm_setcsr(*state);
}
/* Until the function returns: a processor may take a hundred times as long for such numbers. */
#define DENORMALS_OFF(state) \\
    const unsigned int state __attribute__((cleanup(denormals_back))) = denormals_off()
#else
#define DENORMALS_OFF(state) (void)0
#endif"""
FLUSH_NAMES = ("denormals_off", "denormals_back", "DENORMALS_OFF")
_BINARY = frozenset(("atan2", "hypot", "pow"))
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_CALL = re.compile(rf"\b({'|'.join(VECTOR)})(f?)\(")


def vector_lines(text: str) -> list[str]:
    """The declarations for what `text` calls; empty if it calls no function that has a vector version."""
    found = sorted(set(_CALL.findall(_COMMENT.sub("", text))))
    if not found:
        return []
    lines = [
        "/* glibc has these functions for whole vectors, to 4 ulp; loops may use them. */",
        "#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC_PREREQ)",
        "#if __GLIBC_PREREQ(2, 35)",
    ]
    for name, suffix in found:
        kind = "float" if suffix else "double"
        parameters = f"{kind}, {kind}" if name in _BINARY else kind
        lines.append(
            f'__attribute__((simd("notinbranch"), const)) {kind} {name}{suffix}({parameters});'
        )
    return [*lines, "#endif", "#endif"]
