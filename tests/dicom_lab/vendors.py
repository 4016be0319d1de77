"""Studies as the four vendors' own protocols make them: names, times and odd attributes of each.

A series is ``(name, (attributes, geometry, more), changes)`` as in :mod:`dicom_lab.studies`; a
study's expected series are places in its list.
"""

from __future__ import annotations

from pydicom.uid import generate_uid

from dal_fast.dicom.files import StudyFiles
from dicom_lab.studies import EP, GR, IR, SE, acquired, series_files

RM = "RM"
ND, DIS2D, DIS3D = (
    ["ORIGINAL", "PRIMARY", "M", *kind] for kind in (["ND"], ["NORM", "DIS2D"], ["NORM", "DIS3D"])
)


def derived(*kind):
    return {"ImageType": ["DERIVED", "PRIMARY", *kind]}


def ge_sequence(name, internal, *more):
    """GE's private names of a pulse sequence, and other private attributes."""
    return {"private": [(0x0019, "GEMS_ACQU_01", 0x9C, "LO", name),
                        (0x0019, "GEMS_ACQU_01", 0x9E, "LO", internal), *more]}  # fmt: skip


def ge_component(number):
    return (0x0043, "GEMS_PARM_01", 0x2F, "SS", number)


LOC = (acquired([GR], 4, 8, None, 20), "loc", {})
MPRAGE = acquired([GR, IR], 2.98, 2300, 900, 9, True, SequenceName="*tfl3d1_16ns")
MP2RAGE = {"te": 2.98, "tr": 5000, "three_d": True, "SequenceName": "*tfl3d1_16ns",
           "SequenceVariant": ["SK", "SP", "MP"]}  # fmt: skip
FLASH = acquired([GR], 2.46, 250, None, 70, SequenceName="*fl2d1", SequenceVariant="SP")
FIELD_MAP = acquired([GR], 4.92, 400, None, 60, SequenceName="*fm2d2r")

STUDIES = {
    "siemens FLASH and BLADE": ("siemens", [
        ("localizer", LOC, {}), ("t1_fl2d_tra", (FLASH, "thick", {}), {}),
        ("t2_blade_tra", (acquired([SE], 117, 4500, None, 140, SequenceName="*tseB2d1rs25"), "thick", {}), {}),
        ("t2_blade_dark-fluid_tra",
         (acquired([SE, IR], 120, 9000, 2500, 130, SequenceName="*tirB2d1rs25"), "thick", {}), {}),
        ("ep2d_diff_3scan_trace_TRACEW", (acquired([EP, SE], 90, 6000), "thick", {}), derived("DIFFUSION", "TRACEW")),
        ("ep2d_diff_3scan_trace_ADC", (acquired([EP, SE], 90, 6000), "thick", {}), derived("DIFFUSION", "ADC")),
        ("Mag_Images", (acquired([GR], 20, 28, None, 15, True, ScanOptions=["FC"]), "head 2 mm", {}), {}),
        ("SWI_Images", (acquired([GR], 20, 28, None, 15, True), "head 2 mm", {}), {}),
        ("mIP_Images(SW)", (acquired([GR], 20, 28, None, 15, True), "head 2 mm", {}), derived("MNIP", "SWI")),
        ("fmap", (FIELD_MAP, "head 3 mm", {"EchoTimes": [4.92]}), {"PixelSpacing": 3.0}),
    ], {"T1w": 1, "T2w": 2, "FLAIR": 3}),
    "siemens MP2RAGE": ("siemens", [
        ("t1_mp2rage_sag_p3_iso_INV1", (acquired([GR, IR], ti=700, flip=4, **MP2RAGE), "iso", {}), {}),
        ("t1_mp2rage_sag_p3_iso_INV2", (acquired([GR, IR], ti=2500, flip=5, **MP2RAGE), "iso", {}), {}),
        ("t1_mp2rage_sag_p3_iso_UNI_Images", (acquired([GR, IR], flip=4, **MP2RAGE), "iso", {}), derived("M", "ND", "UNI")),
        ("t1_mp2rage_sag_p3_iso_UNI-DEN", (acquired([GR, IR], flip=4, **MP2RAGE), "iso", {}), derived("M", "ND", "UNI", "DEN")),
        ("t1_mp2rage_sag_p3_iso_T1_Images", (acquired([GR, IR], flip=4, **MP2RAGE), "iso", {}), derived("M", "ND", "T1 MAP")),
        ("t2_space_dark-fluid_sag_p2_iso_T2prep",
         (acquired([SE, IR], 388, 7000, 2050, 120, True, SequenceName="*spcir_278ns"), "iso", {}), {}),
        ("t2_space_sag_p2_iso", (acquired([SE], 408, 3200, None, 120, True, SequenceName="*spc_282ns"), "iso", {}), {}),
    ], {"T1w": 3, "T2w": 6, "FLAIR": 5}),
    "siemens XA MP2RAGE, unnamed inversions": ("siemens", [
        ("anat_acq-WIP", (acquired([GR, IR], ti=700, flip=4, **MP2RAGE), "iso", {}), {}),
        ("anat_acq-WIP", (acquired([GR, IR], ti=2500, flip=5, **MP2RAGE), "iso", {}), {}),
        ("anat_acq-WIP", (acquired([GR, IR], ti=700, flip=4, **MP2RAGE), "iso", {}), derived("T1", "UNIFORM")),
    ], {"T1w": 2}),
    "siemens MP2RAGE beside MPRAGE": ("siemens", [
        ("mp2rage_UNI-DEN", (acquired([GR, IR], flip=4, **MP2RAGE), "iso small", {}), derived("M", "ND", "UNI")),
        ("t1_mprage", (MPRAGE, "iso", {}), {}),
    ], {"T1w": 1}),
    "siemens distortion pairs": ("siemens", [
        ("t1_mprage_sag_ND", (MPRAGE, "iso", {}), {"ImageType": ND}),
        ("t1_mprage_sag", (MPRAGE, "iso", {}), {"ImageType": DIS2D}),
        ("t1_mprage_sag", (MPRAGE, "iso", {}), {"ImageType": DIS3D}),
        ("t1_memprage", (MPRAGE, "iso", {"EchoTimes": [1.7, 3.6, 5.5, 7.3]}), {}),
        ("flair_ND", (acquired([SE, IR], 81, 9000, 2500, 150), "thick", {}), {"ImageType": ND}),
        ("flair", (acquired([SE, IR], 81, 9000, 2500, 150), "thick", {}), {"ImageType": DIS2D}),
    ], {"T1w": 2, "FLAIR": 5}),
    "siemens vessels without names": ("siemens", [
        ("3D head", (acquired([GR], 3.4, 22, None, 18, True, ScanOptions=["FC"], SequenceVariant="SP"), "iso small", {}), {}),
        ("3D head", (acquired([GR], 3.4, 22, None, 18, True, SequenceVariant=["SP", "MTC"]), "iso small", {}), {}),
        ("ax", (acquired([SE], 12, 600, SequenceVariant=["SK", "MTC"]), "thick", {}), {}),
    ], {}),
    "ge PROPELLER": ("ge", [
        ("3-Plane Loc", LOC, {}),
        ("Ax T2 PROPELLER", (acquired([RM], 102, 4800, SequenceVariant="NONE"), "thick", {}),
         ge_sequence("PROPELLER", "propel")),
        ("Ax T2 FLAIR PROPELLER", (acquired([RM], 118, 9000, 2400, SequenceVariant="NONE"), "thick", {}),
         ge_sequence("PROPELLER", "propel")),
        ("Ax T1 FSPGR 2D", (acquired([GR], 2.1, 200, None, 75, SequenceVariant="SS"), "thick", {}),
         ge_sequence("fgre", "FGRE")),
        ("Ax head PROP", (acquired([RM], 80, 6000, SequenceVariant="NONE"), "thick", {}),
         ge_sequence("PROPELLER", "propel", (0x0043, "GEMS_PARM_01", 0x39, "IS", [1000001000, 8, 0, 0]))),
        ("3D ASL (non-contrast)", (acquired([RM], 10.7, 4854, 2025, 111, True), "head 3 mm", {}),
         {"ImageType": ["ORIGINAL", "PRIMARY", "ASL"]}),
        ("ax raw", (acquired([RM], 10.5, 4632, 1025, 111, True), "head 3 mm", {}), ge_sequence("research/pcasl", "3dspiral")),
        ("T2 map", (acquired([RM], 90, 6000), "thick", {}), {}),
        ("SWAN", (acquired([GR], 24, 40, None, 15, True, ScanOptions=["FC_SLICE_AX_GEMS"]), "head 2 mm", {}), {}),
        ("MRA", (acquired([GR], 2.5, 25, None, 20, True), "iso small", {}), {}),
    ], {"T1w": 3, "T2w": 1, "FLAIR": 2}),
    "ge by its private names alone": ("ge", [
        ("brain 1", (acquired([RM], 102, 4800), "thick", {}), ge_sequence("PROPELLER", "propel")),
        ("brain 2", (acquired([RM], 102, 4800), "thick", {}), ge_sequence("research/spiral", "spiral")),
        ("brain 3", (acquired([GR], 3.1, 8.2, 450, 12, True), "iso", {}), ge_sequence("BRAVO", "EFGRE3D", ge_component(1))),
        ("brain 4", (acquired([GR], 3.1, 8.2, 450, 12, True), "iso", {}), ge_sequence("BRAVO", "EFGRE3D", ge_component(0))),
        ("brain 5", (acquired([SE], 118, 7600, 1850, 90, True, ScanOptions=["IR_GEMS", "T2_PREP_GEMS"]), "iso", {}),
         ge_sequence("CUBE", "Cube")),
    ], {"T1w": 3, "T2w": 0, "FLAIR": 4}),
    "philips routine": ("philips", [
        ("SURVEY", LOC, {}), ("T1W_SE", (acquired([SE], 14, 540, None, 69), "thick", {}), {}),
        ("T2W_TSE", (acquired([SE], 80, 3000), "thick", {}), {}),
        ("FLAIR_LongTR", (acquired([IR], 125, 11000, 2800), "thick", {}), {}),
        ("T2W_FFE", (acquired([GR], 16, 690, None, 18), "thick", {}), {}),
        ("DWI_SSh", (acquired([SE], 72, 3300, DiffusionBValue=1000.0), "thick", {}), {}),
        ("dADC", (acquired([SE], 72, 3300), "thick", {}), derived("ADC", "M", "ADC")),
        ("SWIp", (acquired([GR], 7.2, 31, None, 17, True), "head 2 mm", {}), {}),
        ("s3DI_MC", (acquired([GR], 3.5, 23, None, 18, True, AngioFlag="Y"), "iso small", {}), {}),
    ], {"T1w": 1, "T2w": 2, "FLAIR": 3}),
    "philips DRIVE and VISTA": ("philips", [
        ("T2W_DRIVE_CLEAR", (acquired([SE], 80, 3000), "thick", {}), {}),
        ("3D_T2_DRIVE", (acquired([SE], 250, 2000, None, 90, True), "iso", {}), {}),
        ("3D_Brain_VIEW_FLAIR", (acquired([IR], 340, 4800, 1650, 90, True), "iso", {}), {}),
        ("T1W_FFE", (acquired([GR], 2.3, 200, None, 80), "thick", {}), {}),
        ("B0 map", (FIELD_MAP, "head 3 mm", {}), {"PixelSpacing": 3.0}),
        ("T1W_IR_real", (acquired([IR], 15, 6000, 400), "thick", {}), {"ImageType": ["ORIGINAL", "PRIMARY", "R_IR", "R", "IR"]}),
    ], {"T1w": 3, "T2w": 0, "FLAIR": 2}),
    "canon": ("canon", [
        ("Locator", LOC, {}), ("Ax T1 SE", (acquired([SE], 10, 550), "thick", {}), {}),
        ("Ax T2 FASE", (acquired([SE], 100, 4000, SequenceName="FASE2D"), "thick", {}), {}),
        ("Ax T2 JET", (acquired([SE], 100, 5000, SequenceName="FSE2D_JET"), "thick", {"largest": 6.0}), {}),
        ("Ax FLAIR", (acquired([IR], 105, 10000, 2700, SequenceName="FSE2D"), "thick", {}), {}),
        ("Ax FSBB", (acquired([GR], 20, 29, None, 15, True), "head 2 mm", {}), {}),
        ("DWI", (acquired([EP, SE], 80, 5000), "thick", {}), {}),
        ("Ax T1 FE", (acquired([GR], 4.5, 250, None, 70), "thick", {"largest": 6.0}), {}),
    ], {"T1w": 1, "T2w": 2, "FLAIR": 4}),
}  # fmt: skip


def make(name):
    """A study's files and, by contrast, the series numbers that are right."""
    vendor, listed, expected = STUDIES[name]
    study = generate_uid(entropy_srcs=["vendors", name])
    found = StudyFiles()
    for place, (title, kind, changes) in enumerate(listed):
        physics, geometry, more = kind
        files = list(
            series_files(vendor, study, place + 1, title, (physics, geometry, more), more | changes)
        )
        for file in files:
            if "PixelSpacing" in changes:
                file.header.PixelSpacing = [str(changes["PixelSpacing"])] * 2
        found.images += files
    return found, {contrast: place + 1 for contrast, place in expected.items()}
