"""The parametric map: the anomaly map, a frame for every slice of the source.

In 32-bit floating point, exactly; or in 16-bit whole numbers, a tenth of the size or less, with the
step in the real-world value mapping.
"""

from __future__ import annotations

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless

from dal_fast.dicom.objects import NOT_FOR_DIAGNOSIS, Finding, concept, slices_of

ANOMALY_CODE = ("anomaly", "Anomaly: 1 is exceeded by one healthy voxel in a thousand")
WINDOW_TOP = 2.0
"""Thresholds at the top of the display window."""
STEP = 1 / 2000
"""Of whole numbers, in thresholds."""
_MOST = 65535


def make_parametric_map(finding: Finding, stored_bits: int = 32) -> Dataset:
    """A Parametric Map object.

    Args:
        finding: the screened series.
        stored_bits: 32 for floating point; 16 for whole numbers of a two-thousandth of the
            threshold (more where a value would not fit), compressed without further loss.
    """
    result = finding.result
    frames = slices_of(result.anomaly.data).astype(np.float32, copy=False)
    top = WINDOW_TOP * result.threshold
    slope, window, largest = 1.0, top, max(float(frames.max()), top)
    value_range: tuple[float, float] = (float(min(frames.min(), 0.0)), largest)
    if stored_bits == 16:
        slope = float(f"{max(STEP * result.threshold, 1.00001 * largest / _MOST):.8g}")
        frames = np.clip(np.round(frames / slope), 0, _MOST).astype(np.uint16)
        window, value_range = top / slope, (0, _MOST)
    made = hd.pm.ParametricMap(
        source_images=finding.sources,
        pixel_array=np.ascontiguousarray(frames),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[
            hd.pm.RealWorldValueMapping(
                lut_label="ANOMALY",
                lut_explanation=ANOMALY_CODE[1],
                unit=codes.UCUM.NoUnits,
                value_range=value_range,
                slope=slope,
                intercept=0,
                quantity_definition=concept(*ANOMALY_CODE),
            )
        ],
        voi_lut_transformations=[
            hd.VOILUTTransformation(window_center=window / 2, window_width=window)
        ],
        content_label="ANOMALY",
        content_description=NOT_FOR_DIAGNOSIS,
        pixel_measures=finding.pixel_measures(),
        content_qualification="RESEARCH",
        derived_pixel_contrast="QUANTITY",
        transfer_syntax_uid=ExplicitVRLittleEndian if stored_bits == 32 else JPEGLSLossless,
        **finding.identity("map" if stored_bits == 32 else "map16"),
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
    if "FloatPixelData" in made:
        frames = np.frombuffer(made.FloatPixelData, "<f4").reshape(len(groups), -1)
        made.FloatPixelData = b"".join(frames[n].data for n in order)
    else:
        streams = list(generate_frames(made.PixelData, number_of_frames=len(groups)))
        made.PixelData = encapsulate([streams[n] for n in order])
    made.PerFrameFunctionalGroupsSequence = [groups[n] for n in order]
    for number, group in enumerate(made.PerFrameFunctionalGroupsSequence, 1):
        group.FrameContentSequence[0].DimensionIndexValues = number
