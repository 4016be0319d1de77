"""What a reader of a page should do next, by its quality flags and its regions."""

from __future__ import annotations

from html import escape

from dal_fast.report.html import card
from dal_fast.screening.result import Result

_MASK = frozenset(("brain-mask-uncertain", "brain-mask-shape", "brain-volume"))
_CUT = frozenset(("cropped-brain", "cut-brain", "outside-model"))
_HEADER = frozenset(("position-uncertain", "voxel-size-uncertain", "sform-unusable", "sheared"))
_THICK = frozenset(("low-resolution", "anisotropic", "repeated-slices"))
_INTENSITIES = frozenset(
    (
        "missing-signal", "empty-slices", "negative-intensities", "intensity-offset",
        "inverted-intensities", "clipped-intensities", "few-intensities", "tissue-share",
        "low-contrast", "widespread", "strong-field",
    )
)  # fmt: skip

_BY_FLAG = (
    (
        _MASK,
        "Compare the brain mask with the brain first: a map is no better than its mask. If it is "
        "wrong, correct it in an editor, and screen again with --mask.",
    ),
    (frozenset(("looks-like-ct",)), "Screen an MR image of this head: no CT was ever learned."),
    (
        frozenset(("orientation-unknown",)),
        "Find out from the original images which side is left, before you use a side.",
    ),
    (_CUT, "Remember that the map says nothing of the part of the brain that is cut off."),
    (_HEADER, "Compare position and voxel size with the original images, before you use either."),
    (
        frozenset(("unexpected-contrast",)),
        "Say which contrast the scan has, with --contrast, if its name is wrong.",
    ),
    (frozenset(("contrast-agent",)), "Screen a scan from before the contrast agent, if you can."),
    (_THICK, "Screen a scan with smaller voxels, if the study has one."),
    (
        _INTENSITIES,
        "Compare the tissue map with the scan: where it is wrong, the anomaly map is wrong, too.",
    ),
)
_REGIONS = (
    "Look at every region in the scan itself, from the highest. A region is what the model cannot "
    "explain, not a finding: healthy scans have some, too."
)
_NO_REGION = "No region does not mean no lesion: small ones, under about 4 mm, are likely missed."


def mask_in_doubt(result: Result) -> bool:
    """Whether a quality flag doubts the brain mask: its outline then comes before the map."""
    return any(flag.code in _MASK for flag in result.flags)


def next_steps(result: Result) -> list[str]:
    """A sentence or two for each step, in the order in which they are to be taken."""
    codes = {flag.code for flag in result.flags}
    steps = [step for flags, step in _BY_FLAG if codes & flags]
    return [*steps, _REGIONS if result.regions else _NO_REGION]


def advice_card(result: Result) -> str:
    """A card of the page."""
    items = "".join(f"<li>{escape(step)}</li>" for step in next_steps(result))
    return card("What to do next", f'<ol class="next">{items}</ol>')
