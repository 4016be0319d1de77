"""A screened series without a network: a map and masks by hand, on the grid of a lab series."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dal_fast.dicom import quiet
from dal_fast.dicom.derived import make_derived_series
from dal_fast.dicom.files import find_files
from dal_fast.dicom.objects import Finding
from dal_fast.dicom.parametric_map import make_parametric_map
from dal_fast.dicom.pdf import make_page
from dal_fast.dicom.pictures import make_overlays, make_secondary_capture
from dal_fast.dicom.pixels import read_stack, same_pixels
from dal_fast.dicom.seg import make_segmentation
from dal_fast.dicom.select import select_series
from dal_fast.dicom.series import find_series
from dal_fast.dicom.sr import make_report
from dal_fast.screening.postprocess import regions
from dal_fast.screening.result import Flag, Image, Result
from dicom_lab import scanner
from dicom_lab.edits import concatenated


def write_study(folder: Path, kind="classic", vendor="siemens", **where):
    """A lab series in a folder; ``kind`` may be ``shuffled`` or ``concatenated``, too."""
    data, affine = scanner.small_head(), scanner.turned(**where)
    if kind == "classic":
        images = scanner.classic(data, affine, vendor)
    else:
        order = np.random.default_rng(3).permutation(data.shape[2]) if kind == "shuffled" else None
        images = [scanner.enhanced(data, affine, vendor, order=order)]
        images = concatenated(3)(images) if kind == "concatenated" else images
    return scanner.write(images, folder)


def make_finding(folder: Path, empty=False) -> Finding:
    """The one series of a folder, with an anomaly in two places."""
    (verdict,) = select_series(find_series(find_files(folder), same_pixels)).chosen
    volume = read_stack(verdict.stack, Path(verdict.name))
    brain = volume.data > 250
    brain[:, :, :3] = False  # slices without brain
    generator = np.random.default_rng(5)
    values = generator.random(volume.data.shape, np.float32) * 0.9
    if not empty:
        values[12:16, 14:20, 8:11] += 1.5
        values[24:29, 20:24, 14:15] += 0.9
    anomaly = Image((values * brain).astype(np.float32), volume.affine)
    above = Image((anomaly.data >= 1) & brain, volume.affine)
    result = Result(
        name=verdict.name,
        source={"path": "DICOM series", "sha256": volume.sha256},
        scan=Image(volume.data, volume.affine),
        anomaly=anomaly,
        pseudo_healthy=Image(volume.data * brain, volume.affine),
        brain_mask=Image(brain, volume.affine),
        anomaly_mask=above,
        tissue=None,
        edges=None,
        bias=None,
        brain={"Source": "dal_fast", "VolumeML": 1.0},
        score=0.734,
        regions=regions(anomaly, above.data),
        parameters={
            "threshold": 1.0,
            "weights_sha256": "ab" * 32,
            "contrast": "T1w",
            "sign": "dark",
        },
        flags=[Flag("anisotropic", "voxels are long"), Flag("slice-order-uncertain", "in doubt")],
    )
    return Finding(verdict, result, volume.sha256)


def write_all(finding, folder, label_map=False):
    """Every object of a finding, in files; by kind."""
    folder.mkdir()
    with quiet():
        seg = make_segmentation(finding, label_map)
        made = {
            "seg": [seg],
            "map": [make_parametric_map(finding)],
            "map16": [make_parametric_map(finding, 16)],
            "mr": make_derived_series(finding),
            "sc": [make_secondary_capture(finding)],
            "overlay": make_overlays(finding),
            "sr": [make_report(finding, seg)],
            "pdf": [make_page(finding)],
        }
        paths = {}
        for kind, objects in made.items():
            paths[kind] = [folder / f"{kind}{number:03d}.dcm" for number in range(len(objects))]
            for path, one in zip(paths[kind], objects, strict=True):
                one.save_as(path, enforce_file_format=True)
    return paths
