"""The segmentation object: the anomaly mask and the brain mask, a segment each."""

from __future__ import annotations

from typing import Any

import highdicom as hd
import numpy as np
from highdicom.color import CIELabColor
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dal_fast.dicom.objects import NOT_FOR_DIAGNOSIS, Finding, slices_of

ANOMALY = 1
"""Segment number."""
_MEANINGS = {
    "Anomaly": (codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Lesion),
    "Brain": (codes.SCT.AnatomicalStructure, codes.SCT.Brain),
}
"""Of segments: category and type."""
_COLOURS = {"Anomaly": (255, 110, 0), "Brain": (80, 105, 130)}
"""RGB. Viewers fill every segment; the brain is dim, so that scan and anomaly stay visible."""


def make_segmentation(finding: Finding, label_map: bool = False) -> Dataset:
    """A Segmentation object: segment 1 the anomaly, segment 2 the brain.

    Where no voxel is above the threshold the brain is the only segment, as viewers were seen to
    stop at a segment without a voxel.

    Args:
        finding: the screened series.
        label_map: one frame of labels a slice instead of a bit a segment: younger viewers alone
            read that, and the brain's segment then is the brain without the anomaly.
    """
    above, brain = finding.result.anomaly_mask.data, finding.result.brain_mask.data
    held = np.flatnonzero((above | brain).any((0, 1)))
    given = {"Anomaly": above, "Brain": brain} if above.any() else {"Brain": brain}
    masks = np.stack([slices_of(mask)[held] for mask in given.values()])
    pixels = np.moveaxis(masks, 0, -1)  # as highdicom takes it, each mask in one piece
    if label_map:
        pixels = np.select(list(masks), range(1, 1 + len(masks))).astype(np.uint8)
    made = hd.seg.Segmentation(
        source_images=[finding.sources[k] for k in held],
        pixel_array=pixels,
        segmentation_type="LABELMAP" if label_map else "BINARY",
        segment_descriptions=[_segment(finding, n, name) for n, name in enumerate(given, 1)],
        content_label="ANOMALY",
        content_description=NOT_FOR_DIAGNOSIS,
        pixel_measures=finding.pixel_measures(),
        **finding.identity("seg"),
        **finding.equipment(),
    )
    made.ContentQualification = "RESEARCH"
    return finding.finish(made)


def _segment(finding: Finding, number: int, name: str) -> Any:
    category, kind = _MEANINGS[name]
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type="AUTOMATIC",
        algorithm_identification=finding.algorithm(),
        tracking_uid=finding.uid(f"segment {name}"),
        tracking_id=f"dal_fast {name.lower()}",
        anatomic_regions=[codes.SCT.Brain] if name == "Anomaly" else None,
        display_color=CIELabColor.from_rgb(*_COLOURS[name]),
    )
