"""Keep patients' names and numbers out of every message, table and page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydicom.multival import MultiValue

from dal_fast.dicom.files import PATIENT_WORDS, DicomFile
from dal_fast.dicom.frames import header_value

HIDDEN = "[hidden]"
_SHORTEST, _ANYWHERE = 3, 5  # letters of a word that is hidden, and that is hidden within others
_OURS = frozenset(
    ("anonymous", "brain", "dicom", "export", "file", "folder", "head", "image", "images", "list",
     "name", "names", "none", "patient", "patients", "phantom", "scan", "series", "slice", "slices",
     "studies", "study", "subject", "unknown")
)  # fmt: skip
"""Words of our own messages, which anonymised studies have in the place of names."""


class Names:
    """What must not be shown.

    Args:
        words: names, numbers and dates, or parts of them; nothing is hidden where there are none.
        show: everything may be shown.
    """

    def __init__(self, words: Iterable[str] = (), show: bool = False) -> None:
        self._show = show
        self.words: Sequence[str] = sorted({w for w in words if _counts(w)}, key=len, reverse=True)
        patterns = [_pattern(word) for word in self.words]
        self._pattern = re.compile("|".join(patterns), re.IGNORECASE) if patterns else None

    @classmethod
    def of(cls, files: Iterable[DicomFile]) -> Names:
        """The names in the headers of a study."""
        words: set[str] = set()
        for file in files:
            for keyword in PATIENT_WORDS:
                words |= _parts(header_value(file.header, keyword))
        return cls(words)

    def hide(self, text: str) -> str:
        """The text with :data:`HIDDEN` in the place of each name."""
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)

    def damaged(self, name: str, reason: str, number: int) -> tuple[str, str]:
        """What is said of a file whose header cannot be read: its name may be that of a patient.

        Args:
            name: of the file.
            reason: what is the matter with it, which may begin with the name.
            number: of it among the damaged files, in the order of their names.

        Returns:
            What the file is called, and the reason without its name.
        """
        shown = name if self._show else f"damaged file {number} (--show-names names it)"
        return shown, reason.removeprefix(name).strip()

    def hide_in(self, content: Any) -> Any:
        """The same for every text in something JSON-ready."""
        if isinstance(content, str):
            return self.hide(content)
        if isinstance(content, dict):
            return {key: self.hide_in(value) for key, value in content.items()}
        if isinstance(content, (list, tuple)):
            return [self.hide_in(value) for value in content]
        return content


def _pattern(word: str) -> str:
    """Where a word is hidden; a number never within another one or a UID."""
    text = re.escape(word)
    if word.isdigit():
        return rf"(?<![^\W_])(?<!\d\.){text}(?![^\W_])(?!\.\d)"
    if len(word) >= _ANYWHERE or not word.isascii():
        return text
    return rf"(?<![^\W_]){text}(?![^\W_])"


def _counts(word: str) -> bool:
    if word.lower() in _OURS:
        return False
    return len(word) >= _SHORTEST or (len(word) >= 2 and not word.isascii())


def _parts(value: Any) -> set[str]:
    """A value and, of a name, its parts."""
    if value is None:
        return set()
    values = list(value) if isinstance(value, (list, MultiValue)) else [value]
    parts: set[str] = set()
    for one in values:
        text = str(one).strip()
        parts.add(text)
        if "^" in text or "=" in text or " " in text:
            parts |= set(re.split(r"[\^=\s,]+", text))
    return parts
