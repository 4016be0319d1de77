"""A row of the lab's tables of quirks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from dicom_lab import scanner

BOTH, C, E = ("classic", "enhanced"), ("classic",), ("enhanced",)


@dataclass(frozen=True)
class Quirk:
    """One row: ``change`` edits the images, ``write`` puts them into a folder."""

    name: str
    expected: str
    change: Callable = lambda images: images
    kinds: tuple[str, ...] = C
    write: Callable = scanner.write
    vendor: str = "siemens"
    affine: dict = field(default_factory=dict)
    tolerance: float = 1e-9
    moved: bool = False  # the header says of itself that slices lie elsewhere
    volumes: int = 1  # of which one is the scan
    refused: tuple[str, ...] = ()  # codes of what lies beside
