"""Ordinary clinical studies: what must be chosen of them, whatever the names and the language.

A study is ``(vendor, series, expected)``: a series is ``(name, kind, changes)`` as in
:mod:`dicom_lab.studies`, its number the place in the list from 1, and each was acquired five minutes
after the one before. ``expected`` is the number by contrast.
"""

from __future__ import annotations

from dicom_lab.studies import AGENT, GR, IR, SE, T1_3D, acquired

SPACE_FLAIR = acquired([SE, IR], 388, 5000, 1800, 120, True, SequenceName="*spcir_278ns")
T2_FINE = (acquired([SE], 100, 6000, None, 150), "fine 2D", {})
FLAIR_GAP = (acquired([SE, IR], 85, 8500, 2500, 150), "gap", {})
MP2RAGE = acquired([GR, IR], 2.98, 5000, None, 4, True)
UNTIMED = {"EchoTime": None, "RepetitionTime": None, "InversionTime": None}
UNKIND = {
    "ScanningSequence": None,
    "SequenceVariant": None,
    "MRAcquisitionType": None,
    "SequenceName": None,
}
LOC, T1, T2, FLAIR = ("loc", {}), ("t1 3d", {}), ("t2 2d", {}), ("flair 2d", {})

CLINIC = {
    "2D FLAIR of 5 mm with a gap": ("siemens", [("t2_tirm_tra_dark-fluid", FLAIR_GAP, {})], {"FLAIR": 1}),
    "3D FLAIR, sagittal, 1 mm": ("siemens", [("t2_spc_da-fl_sag_p2_iso", (SPACE_FLAIR, "iso", {}), {})], {"FLAIR": 1}),
    "T2 TSE of 0.4 × 0.4 × 4 mm": ("philips", [("T2W_TSE", T2_FINE, {})], {"T2w": 1}),
    "MPRAGE beside one that says it has an agent": ("siemens", [("t1_mprage", "t1 3d", {}), ("t1_mprage KM", "t1 3d", AGENT)], {"T1w": 1}),
    "MPRAGE, then other series, then MPRAGE again": ("siemens", [("t1_mprage", "t1 3d", {}), ("t2_tse", "t2 2d", {}), ("flair", "flair 2d", {}), ("t1_mprage", "t1 3d", {})], {"T1w": 1, "T2w": 2, "FLAIR": 3}),
    "two runs, the first with motion": ("ge", [("Sag BRAVO", "t1 3d", {}), ("Sag BRAVO", "t1 3d", {}), ("Ax T2", "t2 2d", {})], {"T1w": 2, "T2w": 3}),
    "MP2RAGE": ("siemens", [("mp2rage_UNI_Images", (MP2RAGE, "iso", {}), {"ImageType": ["DERIVED", "PRIMARY", "M", "ND", "UNI"]})], {"T1w": 1}),
    "reformats of an MPRAGE": ("siemens", [("t1_mprage_sag", "t1 3d", {}), ("t1_mprage_tra", "mpr", {}), ("t1_mprage_cor", "mpr unmarked", {})], {"T1w": 1}),
    "MPRAGE called MPR, as the HCP does": ("siemens", [("T1w_MPR_vNav_setter", "loc 3d", {}), ("T1w_MPR", "t1 3d", {}), ("T2w_SPC", "t2 3d", {})], {"T1w": 2, "T2w": 3}),
    "GE with deep learning": ("ge", [("Ax T2 AIR Recon DL", "t2 2d", {}), ("Sag T2 CUBE FLAIR ARDL", "flair 3d", {})], {"T2w": 1, "FLAIR": 2}),
    "an angle in the name": ("ge", [("3D SPGR FA 12", "t1 3d", {})], {"T1w": 1}),
    "post-operative": ("siemens", [("t1_mprage post-op", "t1 3d", {}), ("t2 post op", "t2 2d", {})], {"T1w": 1, "T2w": 2}),
    "a fast localiser without a name": ("siemens", [("", "loc 3d", {}), ("", "t2 2d", {})], {"T2w": 2}),
    # languages
    "German": ("siemens", [("Übersicht", *LOC), ("t1 mpr nativ", *T1), ("T2 Ganzkopf", *T2), ("FLAIR axial", *FLAIR), ("t1 mpr nach KM", *T1)], {"T1w": 2, "T2w": 3, "FLAIR": 4}),
    "German, another part": ("siemens", [("T2 Wirbelsäule", *T2), ("T1 Hüfte", "t1 se", {})], {}),
    "French": ("ge", [("Repérage", *LOC), ("3D T1 sans injection", *T1), ("AX T2", *T2), ("AX FLAIR", *FLAIR), ("3D T1 injecté", *T1)], {"T1w": 2, "T2w": 3, "FLAIR": 4}),
    "French, another part": ("ge", [("T2 rachis lombaire", *T2), ("T1 épaule", "t1 se", {})], {}),
    "French, a study of the brain": ("ge", [("SAG T1", *T1, {"StudyDescription": "IRM cérébrale et cervicale"})], {"T1w": 1}),
    "Spanish": ("philips", [("Localizador", "loc 3d", {}), ("T1 3D sin contraste", *T1), ("T2 axial", *T2), ("FLAIR cráneo", *FLAIR), ("T1 3D contraste", *T1)], {"T1w": 2, "T2w": 3, "FLAIR": 4}),
    "Spanish, another part": ("philips", [("T2 columna", *T2), ("T1 muñeca", "t1 se", {})], {}),
    "Japanese": ("toshiba", [("位置決め", "loc 3d", {}), ("頭部 T1強調", "t1 se", {}), ("頭部 T2強調", *T2), ("頭部 FLAIR", *FLAIR), ("頭部 T1強調 造影", "t1 se", {})], {"T1w": 2, "T2w": 3, "FLAIR": 4}),
    "Japanese, another part": ("canon", [("腰椎 T2強調", *T2), ("膝関節 T1強調", "t1 se", {})], {}),
    "no names at all": ("united imaging", [("", "t1 se", {}), ("", "t2 2d", {}), ("", "flair 2d", {})], {"T1w": 1, "T2w": 2, "FLAIR": 3}),
    "low field": ("hitachi", [("T1 SE", (acquired([SE], 20, 450), "thick", {}), {}), ("T2 FSE", (acquired([SE], 120, 5000), "thick", {}), {}), ("FLAIR", (acquired([SE, IR], 105, 9000, 1800), "thick", {}), {})], {"T1w": 1, "T2w": 2, "FLAIR": 3}),
    # anonymised
    "no times": ("siemens", [("localizer", "loc", UNTIMED), ("t1_mprage_sag", "t1 3d", UNTIMED), ("t2_tse_tra", "t2 2d", UNTIMED), ("t2_flair_tra", "flair 2d", UNTIMED), ("ep2d_diff", "dwi", UNTIMED), ("head", "t1 3d", UNTIMED)], {"T1w": 2, "T2w": 3, "FLAIR": 4}),
    "no kinds of echo": ("siemens", [("t1_mprage_sag", "t1 3d", UNKIND), ("t2_tse_tra", "t2 2d", UNKIND), ("flair_tra", "flair 2d", UNKIND), ("unknown", "t2 2d", UNKIND)], {"T1w": 1, "T2w": 2, "FLAIR": 3}),
    "no inversion times": ("siemens", [("anat", (T1_3D["siemens"], "iso", {}), {"InversionTime": None}), ("dark-fluid", "flair 2d", {"InversionTime": None}), ("dark", "flair 2d", {"InversionTime": None})], {"T1w": 1, "FLAIR": 2}),
    "a contrast that the header states in a word": ("united imaging", [("scan", "flair 2d", {"InversionTime": None, "AcquisitionContrast": "FLUID_ATTENUATED"})], {"FLAIR": 1}),
    "names that the times contradict": ("siemens", [("T1", "flair 2d", {"EchoTime": None}), ("T2", "t1 3d", {"RepetitionTime": None}), ("FLAIR", "stir", {"RepetitionTime": None})], {}),
    "no times, computed": ("siemens", [("t1", "t1 3d", UNTIMED | {"ImageType": ["DERIVED", "SECONDARY"]})], {}),
}  # fmt: skip
BY_NAME = (
    "no times",
    "no kinds of echo",
    "no inversion times",
    "a contrast that the header states in a word",
)
"""Studies of which names decide."""
