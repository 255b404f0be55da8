"""The parameters of a request, read with care: whatever a stranger may write is a value of its kind, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pagebook.errors import BadAddress, BadTarget
from pagebook.units import parse_address

Json = dict[str, Any]


class Query:
    """The parameters of a request, each asked for by name and kind; BadAddress or BadTarget for what is none."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given

    def has(self, name: str) -> bool:
        """Whether it is given."""
        return name in self._given

    def text(self, name: str, default: str | None = None) -> str:
        """A word; one without a default must be there."""
        found = self._given.get(name, default)
        if found is None:
            raise BadTarget(f"the request needs {name}=")
        return found

    def address(self, name: str) -> int:
        """An address, as people write them."""
        word = self.text(name)
        try:
            found = parse_address(word)
        except ValueError as error:
            raise BadAddress(str(error)) from None
        if not 0 <= found < 1 << 64:
            raise BadAddress(f"{word} is no 64-bit address")
        return found

    def number(self, name: str, default: int) -> int:
        """A whole number that is not negative."""
        word = self.text(name, str(default))
        if not (word.isascii() and word.isdecimal() and len(word) < 16):
            raise BadAddress(f"{name}={word[:20]} is no whole number from 0 on")
        return int(word)

    def flag(self, name: str) -> bool:
        """Whether it is 1."""
        return self.text(name, "0") == "1"

    def one_of(self, name: str, words: Mapping[str, Any], default: str) -> Any:  # noqa: ANN401
        """What one of these words stands for."""
        word = self.text(name, default)
        if word not in words:
            raise BadTarget(f"{name} is one of {', '.join(words)}")
        return words[word]
