"""What can be chosen when a function is compiled."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from gradgen.errors import SpecError

LEVELS = ("lecture", "readable", "fast")
TARGETS = ("numpy", "python", "c")


@dataclass(frozen=True)
class Options:
    """Choices of `gg.compile`; all have defaults. A value that has no effect yet is refused, not ignored.

    optimize: "lecture" (one statement per operation), "readable", "fast"; None: readable for numpy and python, fast for c.
          "fast" for numpy: large arrays are computed in the memory of arrays that are not read any more (`out=`).
    math: "strict": plain libm, no fused multiply-add in C. "default": fused multiply-add, and in loops the vector functions of
          glibc (at most 4 ulp; measured 3.2 for tan, 3.0 for exp, 0.6 for sin and cos). "fast": gcc may also reorder sums and
          divide by multiplying, and on x86 numbers below 2.3e-308 count as zero while a function with loops runs.
    checks: entry checks in emitted code.  rewrite: stability rewrites before differentiation.
    verify: check types after every pass.  ties: equal operands of max and min "split" the
          derivative, or the "first" has it.
    parallel: long loops in C run on several threads where the compiler has OpenMP; results do not depend on their number.
    blas: "none": large products of matrices by a kernel in the emitted file; "auto": the same, which is as fast; "cblas": by
          cblas_dgemm, for linking with a BLAS ($GRADGEN_BLAS, else the first of openblas, cblas, blas that is found).
    order: arrays of two axes and more lie in memory row by row ("C") or column by column ("F"): arguments, results and captured
          arrays of C functions, results of NumPy functions.
    index, profile: one value each so far.
    """

    optimize: str | None = None
    math: str = "default"
    blas: str = "auto"
    parallel: bool = False
    checks: bool = True
    rewrite: bool = True
    verify: bool = False
    ties: str = "split"
    index: str = "i64"
    order: str = "C"
    profile: str | None = None

    def __post_init__(self) -> None:
        allowed: dict[str, tuple[Any, ...]] = {
            "optimize": (None, *LEVELS), "math": ("strict", "default", "fast"), "blas": ("auto", "none", "cblas"),
            "parallel": (False, True), "ties": ("split", "first"), "index": ("i64",), "order": ("C", "F"), "profile": (None,),
        }  # fmt: skip
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise SpecError(
                    f"the option {name} needs one of {values}, got {getattr(self, name)!r}"
                )
        for name in ("parallel", "checks", "rewrite", "verify"):
            if not isinstance(getattr(self, name), bool):
                raise SpecError(
                    f"the option {name} needs True or False, got {getattr(self, name)!r}"
                )

    @staticmethod
    def of(value: Any) -> Options:
        """Options from None, Options or a dict."""
        if value is None:
            return Options()
        if isinstance(value, Options):
            return value
        if isinstance(value, dict):
            known = {f.name for f in fields(Options)}
            unknown = set(value) - known
            if unknown:
                raise SpecError(f"options need names among {sorted(known)}, got {sorted(unknown)}")
            return Options(**value)
        raise SpecError(f"options need gg.Options or a dict, got {type(value).__name__}")

    def level(self, target: str) -> str:
        return self.optimize or ("fast" if target == "c" else "readable")
