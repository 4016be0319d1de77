"""The structured report (TID 1500): a group for the scan, and two for each region.

A region has a group of its segment (TID 1411), and one of the place of its highest value (TID 1501)
under the same tracking identifier: TID 1411 knows no coordinates beside a segment. The group of the
scan holds a rectangle around the brain. There is a viewer that shows no report in which anything is
without coordinates (https://github.com/OHIF/Viewers/issues/3390).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dal_fast._version import __version__
from dal_fast.dicom.objects import NOT_FOR_DIAGNOSIS, Finding, concept
from dal_fast.dicom.seg import ANOMALY
from dal_fast.screening.result import Region

MOST_REGIONS = 50
"""Regions that get a group of their own, the strongest ones."""
NOTICE = ("notice", "Notice")
FLAG = ("quality-flag", "Quality flag")
MEASURED = {
    "score": "Anomaly score of the scan",
    "volume-above": "Volume above the threshold",
    "regions": "Number of regions above the threshold",
    "peak": "Highest anomaly value",
    "mean": "Mean anomaly value",
}
"""Our own codes of measurements."""
MILLILITRE = hd.sr.CodedConcept("mL", "UCUM", "mL")


def make_report(finding: Finding, segmentation: Dataset | None) -> Dataset:
    """A Comprehensive 3D SR object.

    Args:
        finding: the screened series.
        segmentation: that its groups refer to, where there is one.
    """
    result = finding.result
    groups: list[Any] = [_scan_group(finding)]
    if segmentation is not None:
        for number, region in enumerate(result.regions[:MOST_REGIONS], 1):
            groups.append(_region_group(finding, number, region, segmentation))
            groups.append(_place_group(finding, number, region))
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(
            observer_device_context=hd.sr.ObserverContext(
                observer_type=codes.DCM.Device,
                observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
                    uid=finding.uid("device"),
                    name="dal_fast",
                    manufacturer_name="dal_fast",
                    model_name=f"dal_fast {__version__}",
                ),
            )
        ),
        procedure_reported=hd.sr.CodedConcept("24590-2", "LN", "MR Brain"),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    made = hd.sr.Comprehensive3DSR(
        evidence=[*finding.sources, *([segmentation] if segmentation is not None else [])],
        content=report[0],
        is_complete=True,
        is_final=False,
        is_verified=False,
        **finding.identity("sr"),
        **finding.equipment(),
    )
    made.ContentQualification = "RESEARCH"
    return finding.finish(made)


def _scan_group(finding: Finding) -> Any:
    result = finding.result
    unit = codes.UCUM.NoUnits
    measurements = [
        _measured("score", result.score, unit, [_brain_box(finding)]),
        _measured("volume-above", result.volume_ml, MILLILITRE),
        _measured("regions", float(len(result.regions)), unit),
    ]
    evaluations = [
        hd.sr.QualitativeEvaluation(
            name=concept(*NOTICE), value=concept("research", NOT_FOR_DIAGNOSIS)
        )
    ]
    evaluations += [
        hd.sr.QualitativeEvaluation(
            name=concept(*FLAG), value=concept(flag.code, flag.code.replace("-", " "))
        )
        for flag in result.flags
    ]
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=finding.uid("scan group"), identifier="Scan"
        ),
        finding_type=codes.SCT.Brain,
        algorithm_id=_algorithm(finding),
        measurements=measurements,
        qualitative_evaluations=evaluations,
        source_images=[
            hd.sr.SourceImageForMeasurementGroup(
                finding.sources[0].SOPClassUID, finding.sources[0].SOPInstanceUID
            )
        ],
    )


def _tracking(finding: Finding, number: int) -> Any:
    return hd.sr.TrackingIdentifier(
        uid=finding.uid(f"region {number}"), identifier=f"Region {number}"
    )


def _place_group(finding: Finding, number: int, region: Region) -> Any:
    """Where a region's highest value lies."""
    place = np.linalg.inv(finding.result.scan.affine) @ (*region.centre, 1.0)
    column, row, k = (int(axis) for axis in np.round(place[:3]))
    point = [_coordinates(finding, k, "POINT", [[column + 0.5, row + 0.5]])]
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(finding, number),
        finding_type=codes.SCT.Lesion,
        measurements=[_measured("peak", region.peak, codes.UCUM.NoUnits, point)],
    )


def _brain_box(finding: Finding) -> Any:
    """A rectangle around the brain, on the slice that holds most of it."""
    brain = finding.result.brain_mask.data
    k = int(np.argmax(np.count_nonzero(brain, (0, 1))))
    columns, rows = (np.flatnonzero(brain[:, :, k].any(axis)) for axis in (1, 0))
    left, right, top, bottom = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    corners = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    return _coordinates(finding, k, "POLYLINE", corners)


def _coordinates(finding: Finding, k: int, kind: str, points: Sequence[Sequence[float]]) -> Any:
    """Points (column, row) of slice ``k``; (0, 0) is the corner of its first pixel."""
    source = finding.sources[k]
    return hd.sr.CoordinatesForMeasurement(
        graphic_type=kind,
        graphic_data=np.array(points, np.float64),
        source_image=hd.sr.SourceImageForRegion(source.SOPClassUID, source.SOPInstanceUID),
    )


def _region_group(finding: Finding, number: int, region: Region, segmentation: Dataset) -> Any:
    unit = codes.UCUM.NoUnits
    series = finding.verdict.series
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(finding, number),
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=ANOMALY,
            source_series=hd.sr.SourceSeriesForSegmentation(series.uid),
        ),
        finding_type=codes.SCT.Lesion,
        algorithm_id=_algorithm(finding),
        finding_sites=[hd.sr.FindingSite(anatomic_location=codes.SCT.Brain)],
        measurements=[
            hd.sr.Measurement(name=codes.SCT.Volume, value=region.volume_ml, unit=MILLILITRE),
            _measured("peak", region.peak, unit),
            _measured("mean", region.mean, unit),
        ],
    )


def _measured(code: str, value: float, unit: Any, coordinates: Sequence[Any] | None = None) -> Any:
    return hd.sr.Measurement(
        name=concept(code, MEASURED[code]),
        value=float(f"{value:.6g}"),
        unit=unit,
        referenced_coordinates=coordinates,
    )


def _algorithm(finding: Finding) -> Any:
    return hd.sr.AlgorithmIdentification(
        name="dal_fast",
        version=__version__,
        parameters=[f"weights_sha256={finding.result.parameters.get('weights_sha256', '')}"],
    )
