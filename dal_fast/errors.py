"""The one exception that a user's bad input raises."""

from __future__ import annotations


class InputError(ValueError):
    """Input that cannot be processed.

    Args:
        code: stable, machine-readable identifier in kebab-case, e.g. ``"nifti-truncated"``.
        message: one sentence that names the argument or file, the offending values, and what to do.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str]]:
        return (type(self), (self.code, self.message))
