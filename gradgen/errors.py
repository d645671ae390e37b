"""What gradgen raises. Every message says what was needed, what came, where in the user's file, and what to write.

All derive from `GradgenError`; `SpecError` is a `TypeError` and `ShapeError` a `ValueError` as well, so that callers who
know nothing of gradgen catch them under the names they expect.
"""

from __future__ import annotations

from gradgen.sites import Site, describe, user_site


class GradgenError(Exception):
    """Base of all errors that gradgen raises on purpose.

    what: one sentence, `<what> needs <requirement>, got <types>`.
    remedy: what the user may write instead.
    site: where in the user's code; by default the innermost user frame of the current call stack.
    """

    def __init__(self, what: str, remedy: str = "", site: Site | None = None) -> None:
        self.what = what
        self.remedy = remedy
        # A site that a derivative's rule has made names no line.
        self.site = site if site is not None and describe(site) else user_site()
        lines = [what]
        if self.site is not None:
            lines.append(f"  at {describe(self.site)}")
        if remedy:
            lines.append(f"  {remedy}")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.what, self.remedy, self.site)


class SpecError(GradgenError, TypeError):
    """An argument, spec, dtype or structure that does not fit."""


class ShapeError(GradgenError, ValueError):
    """Shapes or sizes that do not fit together."""


class TraceError(GradgenError):
    """A traced Value used where only a number can stand, or outside of its trace."""


class UnsupportedError(GradgenError):
    """A construct that gradgen knows of and refuses, with the alternative."""


class EmitError(GradgenError):
    """Source that cannot be written for the target asked for, or a file that cannot be saved."""


class BuildError(GradgenError):
    """No C compiler, or one that failed; its own words are in the message."""


class CheckError(GradgenError):
    """A check that could not be carried out (a check that fails is a report with `ok` False)."""
