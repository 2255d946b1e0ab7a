"""What can go wrong, sorted by what should happen next: fail at once, wait, or try again."""

from collections.abc import Mapping
from typing import Any


class SerError(Exception):
    """Base of every error that this project raises on purpose."""


class BadInput(SerError):
    """The input or the configuration is wrong: trying again cannot help.

    The message names the thing, the place and the way out.
    """


class Refused(BadInput):
    """A result was published and says that nothing is to be made of it.

    Attributes:
        result: The step's result, so that its pages can be opened.
    """

    def __init__(self, reason: str, result: Mapping[str, Any]) -> None:
        super().__init__(reason)
        self.result = dict(result)


class Damaged(SerError):
    """Bytes in the store do not have the SHA-256 that they were stored under."""


class Busy(SerError):
    """Another run is building the same artifact now: wait and look again."""


class Skipped(SerError):
    """The configuration leaves this stage out; the message says which part of it is missing."""
