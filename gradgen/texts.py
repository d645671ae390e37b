"""The text of a traced number: it can be printed and joined, but not read, since the number comes when the code runs."""

from __future__ import annotations

from typing import Any, NoReturn

from gradgen.errors import TraceError


class TracedText(str):
    """What `str(x)`, `repr(x)`, `format(x)` and f-strings make of a traced Value.

    Text made with it is one as well. TraceError where what it says would decide something: a comparison, a key, a number
    read from it. Where it goes on as bytes of an output (print, an error's message) it is a string as any other.
    """

    __slots__ = ()

    def _refuse(self, *args: Any) -> NoReturn:
        raise TraceError(
            "the text of a traced number cannot be read: the number comes when the emitted code runs",
            "Compare the number itself, which is captured; text is to be printed only.",
        )

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __hash__ = __len__ = __contains__ = __getitem__ = __iter__ = _refuse
    __float__ = __int__ = __complex__ = __index__ = _refuse

    def __bool__(self) -> bool:
        return True  # no number is written as nothing

    def __str__(self) -> str:
        return self

    def __format__(self, spec: str) -> TracedText:
        return TracedText(str.__format__(self, spec))

    def __add__(self, other: Any) -> TracedText:
        return TracedText(str.__add__(self, other))

    def __radd__(self, other: Any) -> TracedText:
        return TracedText(str.__add__(other, self))

    def __mod__(self, other: Any) -> TracedText:
        return TracedText(str.__mod__(self, other))


def joined(*parts: str) -> str:
    """The parts of an f-string, of one behind the other."""
    text = "".join(parts)
    return TracedText(text) if any(isinstance(p, TracedText) for p in parts) else text
