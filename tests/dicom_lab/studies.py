"""Studies for the selection: headers alone, four vendors × ten protocols, known by construction.

A series is ``(name, kind, changes)``; ``KINDS`` says how a kind of series is acquired, by vendor
where they differ. ``EXPECTED`` names the series of each contrast that is right, or none.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from dal_fast.dicom.files import DicomFile, Source, StudyFiles
from dicom_lab import scanner

GR, SE, IR, EP = "GR", "SE", "IR", "EP"


def acquired(kinds, te, tr, ti=None, flip=90, three_d=False, **more):
    """Attributes of a sequence, times in milliseconds."""
    values = {"ScanningSequence": list(kinds), "EchoTime": te, "RepetitionTime": tr,
              "FlipAngle": flip, "MRAcquisitionType": "3D" if three_d else "2D",
              "SequenceVariant": "SK"}  # fmt: skip
    if ti is not None:
        values["InversionTime"] = ti
    return values | more


GEOMETRY = {  # slices, gap, pixel: mm
    "iso": (176, 1.0, 1.0), "iso small": (208, 0.8, 0.8), "thick": (28, 5.0, 0.7),
    "thin slab": (40, 0.7, 0.5), "loc": (3, 40.0, 1.0), "coronal": (24, 3.0, 0.5),
    "head 3 mm": (48, 3.0, 0.9), "head 2 mm": (80, 2.0, 1.7), "gap": (24, 6.5, 0.9),
    "fine 2D": (36, 4.4, 0.4),
}  # fmt: skip

T1_3D = {
    "siemens": acquired([GR, IR], 2.98, 2300, 900, 9, True, SequenceName="*tfl3d1_16ns"),
    "ge": acquired([GR], 3.1, 8.2, 450, 12, True, SequenceName="EFGRE3D"),
    "philips": acquired([GR], 3.0, 6.5, None, 8, True),
    "canon": acquired([GR], 2.4, 5.8, 900, 9, True),
}
FLAIR_3D = {
    "siemens": acquired([SE, IR], 388, 5000, 1800, 120, True, SequenceName="*spcir_278ns"),
    "ge": acquired([SE, IR], 118, 6500, 1850, 90, True),
    "philips": acquired([SE, IR], 340, 4800, 1660, 90, True),
    "canon": acquired([SE, IR], 380, 5000, 1700, 90, True),
}
FLAIR_2D = {
    "siemens": acquired([SE, IR], 81, 9000, 2500, 150, SequenceName="*tir2d1_16"),
    "ge": acquired([SE, IR], 140, 8800, 2250, 160),
    "philips": acquired([SE, IR], 125, 11000, 2800, 90),
    "canon": acquired([SE, IR], 105, 10000, 2700, 90),
}
T2_3D = {
    "siemens": acquired([SE], 408, 3200, None, 120, True, SequenceName="*spc_282ns"),
    "ge": acquired([SE], 90, 2500, None, 90, True),
    "philips": acquired([SE], 280, 2500, None, 90, True),
    "canon": acquired([SE], 300, 2700, None, 90, True),
}
KINDS = {
    "t1 3d": (T1_3D, "iso", {}),
    "t1 3d small": (T1_3D, "iso small", {}),
    "t1 3d 2 mm": (T1_3D, "head 2 mm", {}),
    "t1 se": (acquired([SE], 9, 550), "thick", {}),
    "t1 flair": (acquired([SE, IR], 12, 2100, 860), "thick", {}),
    "t2 2d": (acquired([SE], 98, 4500), "thick", {}),
    "t2 3d": (T2_3D, "iso", {}),
    "flair 2d": (FLAIR_2D, "thick", {}),
    "flair 3d": (FLAIR_3D, "iso", {}),
    "pd": (acquired([SE], 12, 3000), "thick", {}),
    "stir": (acquired([SE, IR], 60, 4000, 160), "thick", {}),
    "dir": (acquired([SE, IR], 320, 7500, [3000, 450], 90, True), "iso", {}),
    "dwi": (acquired([EP, SE], 80, 4200, DiffusionBValue=1000.0, SequenceName="*ep_b1000"), "thick",
            {"ImageType": ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"]}),
    "dwi unmarked": (acquired([EP, SE], 80, 4200), "thick", {}),
    "adc": (acquired([EP, SE], 80, 4200), "thick",
            {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC", "ND"]}),
    "fa": (acquired([EP, SE], 80, 9000), "thick", {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "FA"]}),
    "t2*": (acquired([GR], 20, 650, None, 20), "thick", {}),
    "swi": (acquired([GR], 20, 28, None, 15, True), "head 2 mm", {"ImageType": ["ORIGINAL", "PRIMARY", "M", "SWI"]}),
    "phase": (acquired([GR], 20, 28, None, 15, True), "head 2 mm", {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}),
    "t1 phase": (T1_3D, "iso", {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}),
    "qsm": (acquired([GR], 4.9, 35, None, 15, True), "head 2 mm", {"EchoTimes": [4.9, 9.8, 14.7]}),
    "loc": (acquired([GR], 4, 8, None, 20), "loc", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
    "loc 3d": (acquired([GR], 1.4, 3.2, None, 8, True), "head 2 mm", {}),
    "mpr": (T1_3D, "head 3 mm", {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}),
    "mpr unmarked": (T1_3D, "head 3 mm", {"ImageType": ["DERIVED", "PRIMARY", "MPR", "NORM"]}),
    "tof": (acquired([GR], 3.4, 22, None, 18, True), "iso small", {}),
    "mip": (acquired([GR], 3.4, 22, None, 18, True), "thick", {"ImageType": ["DERIVED", "SECONDARY", "MIP"]}),
    "perfusion": (acquired([EP, GR], 30, 1500), "thick", {}),
    "asl": (acquired([GR], 11, 4600, 1800, 90, True), "head 3 mm", {"ImageType": ["ORIGINAL", "PRIMARY", "ASL", "NONE"]}),
    "bold": (acquired([EP, GR], 30, 2000), "head 3 mm", {}),
    "mosaic": (acquired([EP, GR], 30, 2000), "thick", {"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}),
    "ciss": (acquired([GR], 2.7, 5.8, None, 50, True), "thin slab", {}),
    "hippocampus": (acquired([SE], 90, 5000), "coronal", {}),
    "field map": (acquired([GR], 4.9, 500, None, 60), "head 3 mm", {}),
    "inv1": (acquired([GR, IR], 2.9, 5000, 700, 4, True), "iso", {}),
    "inv2": (acquired([GR, IR], 2.9, 5000, 2500, 5, True), "iso", {}),
    "dixon": (acquired([GR], 1.3, 4.0, None, 9, True), "head 2 mm", {}),
    "pd flash": (acquired([GR], 2.5, 25, None, 5, True), "iso", {}),
    "subtraction": (T1_3D, "iso", {"ImageType": ["DERIVED", "SECONDARY", "SUBTRACT"]}),
    "no parameters": ({}, "iso", {"ImageType": ["DERIVED", "SECONDARY"]}),
}  # fmt: skip

AGENT = {"ContrastBolusAgent": "Gadobutrol"}
PROTOCOLS = {
    # name: (series, expected by contrast: place in the list)
    "tumour": (
        [("localizer", "loc", {}), ("AAHead_Scout", "loc 3d", {}), ("t1_mprage_sag", "t1 3d", {}),
         ("t1_mprage_MPR_tra", "mpr", {}), ("t1_mprage_cor", "mpr unmarked", {}), ("t2_tse_tra", "t2 2d", {}),
         ("FLAIR tra", "flair 2d", {}), ("ep2d_diff", "dwi", {}), ("ep2d_diff_ADC", "adc", {}),
         ("DSC perf", "perfusion", {}), ("t1_mprage_sag KM", "t1 3d small", AGENT),
         ("t1 +C sub", "subtraction", AGENT), ("t1_se_tra_KM", "t1 se", AGENT)],
        {"T1w": 2, "T2w": 5, "FLAIR": 6}),
    "MS": (
        [("Survey", "loc", {}), ("3D FLAIR", "flair 3d", {}), ("FLAIR_MPR_ax", "mpr", {}),
         ("T2 TSE ax", "t2 2d", {}), ("T2_spc", "t2 3d", {}), ("T1 3D", "t1 3d", {}), ("DIR", "dir", {}),
         ("PD", "pd", {}), ("SWI", "swi", {}), ("SWI_Pha", "phase", {}), ("mIP", "mip", {}),
         ("DWI", "dwi", {}), ("STIR cor orbits", "stir", {})],
        {"T1w": 5, "T2w": 4, "FLAIR": 1}),
    "epilepsy": (
        [("loc", "loc", {}), ("MP2RAGE_INV1", "inv1", {}), ("MP2RAGE_INV2", "inv2", {}),
         ("t1 mprage", "t1 3d small", {}), ("t2 cor hippo", "hippocampus", {}), ("flair 3d", "flair 3d", {}),
         ("flair 2d", "flair 2d", {}), ("t2 ax", "t2 2d", {}), ("BOLD", "bold", {}),
         ("dti", "dwi", {}), ("dti_FA", "fa", {}), ("gre_field_mapping", "field map", {})],
        {"T1w": 3, "T2w": 7, "FLAIR": 5}),
    "stroke": (
        [("3-plane", "loc", {}), ("dwi", "dwi", {}), ("dwi2", "dwi unmarked", {}), ("adc", "adc", {}), ("flair", "flair 2d", {}),
         ("t2*", "t2*", {}), ("TOF", "tof", {}), ("TOF_MIP", "mip", {}), ("asl", "asl", {}),
         ("perf", "perfusion", {}), ("t1 flair", "t1 flair", {}), ("QSM", "qsm", {})],
        {"T1w": 10, "FLAIR": 4}),
    "dementia": (
        [("loc", "loc", {}), ("3D T1", "t1 3d", {}), ("3D T1 repeat", "t1 3d", {"SeriesDescription": "3D T1"}),
         ("T1 phase", "t1 phase", {}), ("t2", "t2 2d", {}), ("flair", "flair 2d", {}), ("swi", "swi", {}), ("pha", "phase", {}),
         ("rest", "bold", {}), ("mosaic", "mosaic", {}), ("asl", "asl", {}), ("dti", "dwi", {})],
        {"T1w": 2, "T2w": 4, "FLAIR": 5}),
    "with contrast agent only": (
        [("loc", "loc", {}), ("t1 3d post", "t1 3d", {}), ("t1 vibe dixon", "dixon", {}),
         ("T1 GD ax", "t1 se", {}), ("flair +C", "flair 2d", {}), ("t2", "t2 2d", AGENT), ("dwi", "dwi", {}),
         ("adc", "adc", {}), ("perf", "perfusion", {}), ("tof", "tof", {}), ("mip", "mip", {}), ("sub", "subtraction", AGENT)],
        {}),
    "names that lie": (
        [("loc", "loc", {}), ("T1 ax", "t2 2d", {}), ("T2 ax", "t1 se", {}), ("t2 flair", "flair 2d", {}),
         ("T1", "pd", {}), ("FLAIR", "stir", {}), ("T1 3D", "pd flash", {}), ("anat", "no parameters", {}),
         ("T1w", "dwi unmarked", {}), ("t1 tra", "field map", {}), ("T1_MPRAGE", "phase", {}), ("T2", "ciss", {})],
        {"T1w": 2, "T2w": 1, "FLAIR": 3}),
    "internal ear": (
        [("loc", "loc", {}), ("ciss 3d", "ciss", {}), ("t2 space slab", "ciss", {}), ("t1 ax thin", "hippocampus", {}),
         ("dwi non epi", "dwi", {}), ("t1 dixon GD", "dixon", AGENT), ("TOF", "tof", {}), ("t1 cor GD", "t1 se", AGENT),
         ("mip", "mip", {}), ("adc", "adc", {}), ("survey", "loc 3d", {}), ("t2*", "t2*", {})],
        {}),
    "spine": (
        [("loc", "loc", {}), ("t1 sag", "t1 se", {"BodyPartExamined": "CSPINE"}), ("t2 sag", "t2 2d", {"BodyPartExamined": "CSPINE"}),
         ("stir sag", "stir", {"BodyPartExamined": "CSPINE"}), ("t2 ax L-SPINE", "t2 2d", {}), ("HWS t1 tra", "t1 se", {}),
         ("HWS t2 tra", "t2 2d", {}), ("myelo", "mip", {}), ("t1 sag GD", "t1 se", AGENT | {"BodyPartExamined": "SPINE"}),
         ("t2 med sag spine", "t2 2d", {}), ("dwi", "dwi", {}), ("adc", "adc", {})],
        {}),
    "paediatric": (
        [("loc", "loc", {}), ("t2 ax", "t2 2d", {}), ("t2 cor", "t2 2d", {"largest": 3.0}), ("t1 mprage 2mm", "t1 3d 2 mm", {}),
         ("t1 mprage", "t1 3d", {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"]}), ("t1 mprage norm", "t1 3d", {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"]}),
         ("flair", "flair 2d", {}), ("dwi", "dwi", {}), ("adc", "adc", {}), ("swi", "swi", {}), ("pha", "phase", {}),
         ("asl", "asl", {}), ("spectro", "perfusion", {})],
        {"T1w": 5, "T2w": 2, "FLAIR": 6}),
}  # fmt: skip


def series_files(vendor, study, number, name, kind, changes):
    """The headers of one series, without pixels; ``kind`` is a name or a row of ``KINDS``."""
    physics, geometry, more = KINDS[kind] if isinstance(kind, str) else kind
    protocol = (
        dict(physics.get(vendor) or physics["canon"])
        if physics and "EchoTime" not in physics
        else dict(physics)
    )
    protocol |= {"SeriesNumber": number, "SeriesDescription": name, "ProtocolName": name}
    private = changes.get("private", ())
    own = ("EchoTimes", "largest", "private")
    protocol |= {k: v for k, v in {**more, **changes}.items() if k not in own}
    count, gap, pixel = GEOMETRY[geometry]
    gap = changes.get("largest", gap)
    count = count if "largest" not in changes else int(150 / gap)
    uids = {
        "study": study,
        "series": generate_uid(entropy_srcs=[study, str(number)]),
        "frame": study + ".9",
    }
    made_by = scanner.ALL_VENDORS[vendor]
    template = scanner.base(made_by, protocol, uids)
    template.SOPClassUID = scanner.CLASSIC
    for group, creator, element, vr, value in private:
        template.private_block(group, creator, create=True).add_new(element, vr, value)
    if "ImageType" not in protocol:
        template.ImageType = list(made_by.image_type)
    template.Rows = template.Columns = 256
    template.PixelSpacing = [str(pixel)] * 2
    template.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    for echo, te in enumerate(more.get("EchoTimes", [None])):
        for k in range(count):
            ds = Dataset()
            ds.update(template)
            if te is not None:
                ds.EchoTime, ds.EchoNumbers = te, echo + 1
            ds.SOPInstanceUID = f"{uids['series']}.{echo}.{k}"
            ds.InstanceNumber = k + 1
            ds.ImagePositionPatient = ["-120", "-120", f"{k * gap - 60:.3f}"]
            yield DicomFile(ds, Source(Path(f"{number}-{k}")))


def make(vendor, protocol):
    """A study's files and, by contrast, the series numbers that are right."""
    listed, expected = PROTOCOLS[protocol]
    study = generate_uid(entropy_srcs=[vendor, protocol])
    found = StudyFiles()
    for place, (name, kind, changes) in enumerate(listed):
        found.images += series_files(vendor, study, 2 * place + 1, name, kind, changes)
    order = np.random.default_rng(len(listed)).permutation(len(found.images))
    found.images = [found.images[i] for i in order]
    return found, {contrast: 2 * place + 1 for contrast, place in expected.items()}
