"""What can go wrong: one class per thing that a caller can do about it.

Every class derives from :class:`Error`. A message says what failed and with which value.
"""

__all__ = [
    "ConflictError",
    "CorruptError",
    "DeniedError",
    "Error",
    "InternalError",
    "InvalidError",
    "NotFoundError",
    "UnavailableError",
]


class Error(Exception):
    """Anything that Tapeloop reports."""


class InvalidError(Error, ValueError):
    """The request is wrong: change it."""


class NotFoundError(Error):
    """What was asked for does not exist."""


class ConflictError(Error):
    """It exists already, or somebody else is using it."""


class DeniedError(Error):
    """The caller may not do this."""


class UnavailableError(Error):
    """It may work later: a full queue, a full disk, an agent that is not there."""


class CorruptError(Error):
    """The data is damaged."""


class InternalError(Error):
    """A fault of Tapeloop; please report it."""
