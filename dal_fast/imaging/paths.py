"""Paths that cannot be read, and folders of results that are read themselves."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from dal_fast.errors import Code, InputError

_NEAR = 0.75  # similarity of a name from which on it is offered instead


def path_of(given: object) -> Path:
    """The path of a scan's file.

    Raises:
        InputError: ``value`` for what is no path, such as an image or an array in memory.
    """
    if isinstance(given, (str, os.PathLike)):
        return Path(given)
    raise InputError(
        Code.VALUE,
        f"a scan and its mask are given by their paths, not as {type(given).__name__}; save it "
        "first, for example with nibabel.save(image, 'sub-01_T1w.nii.gz')",
    )


def missing(path: Path, offer_names: bool = True) -> InputError:
    """The refusal of a path at which there is nothing, with what may be wrong about it.

    Args:
        path: as it was given.
        offer_names: whether names of other files may be shown; those of DICOM exports are often
            patients' names.
    """
    if path.is_symlink():
        return InputError(
            Code.FILE_MISSING,
            f"{path} is a link, and its target {os.readlink(path)} is missing; fetch it first "
            "(datalad get, git annex get)",
        )
    outside = next(folder for folder in path.absolute().parents if folder.exists())
    if not outside.is_dir():
        hint = f"{outside} is a file, not a folder"
    elif outside != path.absolute().parent:
        hint = f"{outside} holds no {path.absolute().relative_to(outside).parts[0]!r}"
    elif offer_names and (near := _near(outside, path.name)):
        hint = f"did you mean {path.with_name(near)}?"
    else:
        hint = f"check its name; {outside} holds none like it" if offer_names else "check its name"
    return InputError(Code.FILE_MISSING, f"{path} does not exist; {hint}")


def outside(out: Path, scans: Sequence[Path]) -> list[Path]:
    """Those that do not lie in the folder of the results, by whatever path it is named."""
    real = out.resolve()
    return [scan for scan in scans if not scan.parent.resolve().is_relative_to(real)]


def check_apart(out: Path, source: Path) -> None:
    """Refuse a folder of results that is read itself: its tables would be overwritten.

    Raises:
        InputError: ``value``.
    """
    if out.resolve() == source.resolve():
        raise InputError(
            Code.VALUE,
            f"{source} is read, and its own tables would be overwritten by the results; give "
            "another folder for these",
        )


def _near(folder: Path, name: str) -> str | None:
    """The name in a folder that is most like another one, if it is much like it."""
    try:
        names = os.listdir(folder)
    except OSError:
        return None
    return next(iter(difflib.get_close_matches(name, names, 1, _NEAR)), None)


def no_file(path: Path) -> InputError:
    """The refusal of what is there and is not a file."""
    if path.is_dir():
        hint = "is a folder; name the .nii or .nii.gz file in it"
    else:
        hint = "is a pipe or a device, not a file; write what it gives into a .nii.gz file first"
    return InputError(Code.NOT_A_FILE, f"{path} {hint}")
