"""The outline of a brain mask: where it is drawn, and that a page of a head shows it."""

import re

import numpy as np
from heads import head, points_of

from dal_fast.report.brains import BrainEntry, brains_page
from dal_fast.report.colour import Window
from dal_fast.report.outline import LINE, outline_picture, outlines
from dal_fast.screening.result import Image


def boxed(axes=(0, 1, 2)):
    """A scan of 2 mm and a box of 58 × 78 × 38 mm as its mask, stored along other axes."""
    shape, affine = (80, 90, 70), np.diag([2.0, 2.0, 2.0, 1.0])
    points = points_of(shape, affine) - [80, 90, 70]
    mask = (np.abs(points) < [30, 40, 20]).all(axis=-1)
    scan = np.where(mask, 500, 100).astype(np.float32)
    swapped = affine[:, [*axes, 3]]
    return Image(scan.transpose(axes), swapped), Image(mask.transpose(axes), swapped)


def size_of_line(pixels):
    """Height and width of what is drawn in the colour of the outline."""
    drawn = np.argwhere((pixels == LINE).all(axis=-1))
    assert len(drawn)
    return tuple(np.ptp(drawn, axis=0) + 1)


def test_the_line_surrounds_the_mask_in_every_plane():
    for axes in ((0, 1, 2), (2, 0, 1)):
        pictures = outlines(*boxed(axes), window=Window(600))
        assert len(pictures) == 9
        want = {"axial": (77, 57), "coronal": (37, 57), "sagittal": (37, 77)}  # pixels of 1 mm
        for view, pixels in pictures:
            assert np.abs(np.subtract(size_of_line(pixels), want[view.name])).max() <= 2
            middle = pixels[pixels.shape[0] // 2, pixels.shape[1] // 2]
            assert (middle == middle[0]).all(), "inside, the scan is grey"


def test_the_overview_has_three_planes_side_by_side():
    picture = outline_picture(*boxed())
    height, width = picture.shape[:2]
    assert width > 2 * height
    columns = (picture == LINE).all(axis=-1).any(axis=0)
    assert (np.diff(np.flatnonzero(columns)) > 20).sum() == 2, "three separate outlines"


def test_a_mask_that_fills_the_view_has_an_outline_too():
    data, affine, _ = head((6.0, 6.0, 6.0))
    pictures = outlines(Image(data, affine), Image(np.ones(data.shape, bool), affine), Window(600))
    assert all((pixels == LINE).all(axis=-1).any() for _, pixels in pictures)


def test_the_page_of_brains_has_the_doubtful_ones_first():
    entries = [
        BrainEntry("sure", 1400, 0.99, "extracted by dal_fast", [], "a.png"),
        BrainEntry("stripped <b>", 1300, None, "non-zero voxels", [], "b.png"),
        BrainEntry("unsure", 1200, 0.4, "extracted by dal_fast", ["brain-volume"], "c c.png"),
        BrainEntry("middling", 1250, 0.7, "extracted by dal_fast", [], "d.png"),
    ]
    page = brains_page("ds", entries, [("x.nii", "brain-not-found", "none"), ("y", "left-out", "")])
    names = re.findall(r"<p><b>([^<]+)</b>", page)
    assert names == ["unsure", "middling", "sure", "stripped &lt;b&gt;"]
    assert "c%20c.png" in page
    assert "confidence 0.40" in page
    assert re.search(r"<b>1</b><span>failed", page)
