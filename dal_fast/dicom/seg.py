"""The segmentation object: the anomaly mask and the brain mask, a segment each."""

from __future__ import annotations

from typing import Any

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dal_fast.dicom.objects import NOT_FOR_DIAGNOSIS, Finding, slices_of

ANOMALY, BRAIN = 1, 2
"""Segment numbers."""


def make_segmentation(finding: Finding, label_map: bool = False) -> Dataset | None:
    """A Segmentation object; ``None`` where no voxel is above the threshold.

    Viewers were seen to stop at a segmentation without an anomaly, and a brain mask alone is no
    finding; the report says that there is none.

    Args:
        finding: the screened series.
        label_map: one frame of labels a slice instead of a bit a segment: younger viewers alone
            read that, and the brain's segment then is the brain without the anomaly.
    """
    above, brain = finding.result.anomaly_mask.data, finding.result.brain_mask.data
    if not above.any():
        return None
    held = np.flatnonzero((above | brain).any((0, 1)))
    masks = np.stack([slices_of(above)[held], slices_of(brain)[held]])
    pixels = np.moveaxis(masks, 0, -1)  # as highdicom takes it, each mask in one piece
    if label_map:
        pixels = np.where(masks[0], ANOMALY, masks[1] * BRAIN).astype(np.uint8)
    made = hd.seg.Segmentation(
        source_images=[finding.sources[k] for k in held],
        pixel_array=pixels,
        segmentation_type="LABELMAP" if label_map else "BINARY",
        segment_descriptions=_segments(finding),
        content_label="ANOMALY",
        content_description=NOT_FOR_DIAGNOSIS,
        pixel_measures=finding.pixel_measures(),
        **finding.identity("seg"),
        **finding.equipment(),
    )
    made.ContentQualification = "RESEARCH"
    return finding.finish(made)


def _segments(finding: Finding) -> list[Any]:
    described = (
        (ANOMALY, "Anomaly", codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Lesion),
        (BRAIN, "Brain", codes.SCT.AnatomicalStructure, codes.SCT.Brain),
    )
    return [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=category,
            segmented_property_type=kind,
            algorithm_type="AUTOMATIC",
            algorithm_identification=finding.algorithm(),
            tracking_uid=finding.uid(f"segment {number}"),
            tracking_id=f"dal_fast {label.lower()}",
            anatomic_regions=[codes.SCT.Brain] if number == ANOMALY else None,
        )
        for number, label, category, kind in described
    ]
