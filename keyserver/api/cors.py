"""Which web pages may call: the judgement of an `Origin` header (HTTP interface, section 8)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_ANY: Final = frozenset({"*", "all", "any"})
_ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*://([!\"$-.0->@-~]+))(?:[/?#].*)?")


@dataclass(frozen=True, slots=True)
class Allowed:
    """The request is served; `header` is the value of `Access-Control-Allow-Origin`, if any."""

    header: str | None = None


class OriginPolicy:
    """The option `cors`: no origin, any origin, or a list of patterns."""

    def __init__(self, entries: Sequence[str]) -> None:
        """Take the option's entries; none at all, or `"none"` alone, is no origin."""
        joined = [part.strip() for entry in entries for part in entry.split(",") if part.strip()]
        named = [] if joined == ["none"] else joined
        self.any_origin = len(named) == 1 and named[0] in _ANY
        self._null = "null" in named
        self._all = bool(_ANY & set(named))
        self._patterns = [_pattern(text) for text in named if text not in {"null", *_ANY}]

    def judge(self, origin: str | None, host: str | None) -> Allowed | None:
        """Whether a request with these headers is served; `None` if not."""
        if origin is None:
            return Allowed()
        if origin == "null":
            return Allowed() if self.any_origin or self._null else None
        match = _ORIGIN.fullmatch(origin.lower())
        if match is None:
            return None
        if host is not None and match[2] == host.lower():
            return Allowed()
        matches = self.any_origin or self._all
        if matches or any(pattern.fullmatch(match[1]) for pattern in self._patterns):
            return Allowed(match[1])
        return None


def _pattern(text: str) -> re.Pattern[str]:
    """A pattern of the option: `*` is any text, `?` any character, all else stands for itself."""
    scheme, separator, rest = text.lower().partition("://")
    if not separator:
        scheme, rest = "http", text.lower()
    wildcards = {"*": ".*", "?": "."}
    whole = f"{scheme}://{rest.partition('/')[0]}"
    return re.compile("".join(wildcards.get(char, re.escape(char)) for char in whole), re.DOTALL)
