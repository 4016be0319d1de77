"""The parametric map: the anomaly map in 32-bit floating point, of the slices that hold brain."""

from __future__ import annotations

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dal_fast.dicom.objects import NOT_FOR_DIAGNOSIS, Finding, concept, slices_of

ANOMALY_CODE = ("anomaly", "Anomaly: 1 is exceeded by one healthy voxel in a thousand")
WINDOW_TOP = 2.0
"""Thresholds at the top of the display window."""


def make_parametric_map(finding: Finding) -> Dataset:
    """A Parametric Map object."""
    result = finding.result
    held = np.flatnonzero(result.brain_mask.data.any((0, 1)))
    frames = slices_of(result.anomaly.data)[held].astype(np.float32)
    top = WINDOW_TOP * result.threshold
    largest = max(float(frames.max()), top)
    made = hd.pm.ParametricMap(
        source_images=[finding.sources[k] for k in held],
        pixel_array=np.ascontiguousarray(frames),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[
            hd.pm.RealWorldValueMapping(
                lut_label="ANOMALY",
                lut_explanation=ANOMALY_CODE[1],
                unit=codes.UCUM.NoUnits,
                value_range=(float(min(frames.min(), 0.0)), largest),
                slope=1,
                intercept=0,
                quantity_definition=concept(*ANOMALY_CODE),
            )
        ],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=top / 2, window_width=top)],
        content_label="ANOMALY",
        content_description=NOT_FOR_DIAGNOSIS,
        pixel_measures=finding.pixel_measures(),
        content_qualification="RESEARCH",
        derived_pixel_contrast="QUANTITY",
        **finding.identity("map"),
        **finding.equipment(),
    )
    anatomy = Dataset()
    anatomy.FrameLaterality = "U"
    anatomy.AnatomicRegionSequence = [hd.sr.CodedConcept.from_code(codes.SCT.Brain)]
    made.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [anatomy]
    _sort(made, finding)
    return finding.finish(made)


def _sort(made: Dataset, finding: Finding) -> None:
    """Put the frames in the order of the stack: readers are known that go by nothing else."""
    affine = finding.verdict.stack.affine
    normal = np.cross(affine[:3, 0], affine[:3, 1]) * (-1, -1, 1)
    normal *= np.sign(affine[:3, 2] * (-1, -1, 1) @ normal)
    groups = list(made.PerFrameFunctionalGroupsSequence)
    places = [g.PlanePositionSequence[0].ImagePositionPatient for g in groups]
    order = np.argsort(np.array(places, np.float64) @ normal)
    frames = np.frombuffer(made.FloatPixelData, "<f4").reshape(len(groups), -1)
    made.FloatPixelData = frames[order].tobytes()
    made.PerFrameFunctionalGroupsSequence = [groups[n] for n in order]
    for number, group in enumerate(made.PerFrameFunctionalGroupsSequence, 1):
        group.FrameContentSequence[0].DimensionIndexValues = number
