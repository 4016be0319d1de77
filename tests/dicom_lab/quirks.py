"""What real scanners, archives and disks do to a series, a row each, and what must come of it.

``expected`` is ``"same"``, ``"flag CODE"`` (read exactly, with a note), or the code of a refusal.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from pydicom import uid as uids

from dicom_lab import scanner
from dicom_lab.edits import (
    a_file_per_frame,
    anew_with_other_pixels,
    beyond_the_end,
    concatenated,
    cut_decimals,
    drop,
    each,
    frame,
    group_edit,
    interleaved,
    jitter,
    localizer,
    move,
    moved_locations,
    named,
    new_uid,
    other_frame_of_reference,
    other_pixels,
    other_times,
    part_of_the_slices,
    per_frame,
    private_header,
    put,
    reversed_numbers,
    same_place,
    shared,
    stretch,
    twice,
    two_echoes,
    unknown_tags,
    wrong_charset,
)
from dicom_lab.folders import (
    among_others,
    cut_in_the_header,
    cut_in_the_pixels,
    nested,
    nothing,
    one_file_per_name_in_unicode,
    padded_file,
    shuffled,
    text_only,
    with_directory,
    without_preamble,
    zipped,
)
from dicom_lab.more_quirks import MORE
from dicom_lab.pixel_edits import (
    big_endian,
    colour,
    compressed,
    cut_stream,
    htj2k,
    implicit,
    jpeg_baseline,
    jpeg_lossless,
    many_bits,
    monochrome1,
    padded,
    padded_with_the_other_sign,
    signed,
    signed_enhanced,
    stream_bomb,
    thirty_two_bits,
    twelve_bits,
)
from dicom_lab.quirk import BOTH, E, Quirk

SYNTAXES = {
    "RLE": uids.RLELossless, "JPEG-LS": uids.JPEGLSLossless, "JPEG 2000": uids.JPEG2000Lossless,
    "deflated": uids.DeflatedExplicitVRLittleEndian,
}  # fmt: skip
AXIAL = {"degrees": (0, 0, 0)}
LEAN = {"shear": 5.0}
TURNS = {"sagittal": (0, 90, 0), "coronal": (90, 0, 0), "upside down": (180, 0, 0)}

QUIRKS = [
    # the same
    *(Quirk(f"made by {vendor}", "same", kinds=BOTH, vendor=vendor) for vendor in scanner.VENDORS),
    Quirk("straight axial", "same", kinds=BOTH, affine=AXIAL),
    *(Quirk(name, "same", kinds=BOTH, affine={"degrees": d}) for name, d in TURNS.items()),
    Quirk("pixels of unequal sides", "same", kinds=BOTH, affine={"voxel": (4.5, 3.7, 5.0)}),
    Quirk("from top to bottom", "same", kinds=BOTH, affine={"voxel": (4.5, 4.5, -5.0)}),
    Quirk("mirrored in the plane", "same", kinds=BOTH, affine={"voxel": (-4.5, 4.5, 5.0)}),
    Quirk("feet first", "same", put(PatientPosition="FFS"), BOTH),
    Quirk("shuffled names", "same", write=shuffled),
    Quirk("no extension", "same", kinds=BOTH, write=lambda i, f: scanner.write(i, f, name="{:08d}")),
    Quirk("nested folders", "same", write=nested),
    Quirk("names in Unicode", "same", kinds=BOTH, write=one_file_per_name_in_unicode),
    Quirk("DICOMDIR beside", "same", kinds=BOTH, write=with_directory),
    Quirk("zip archive", "same", kinds=BOTH, write=zipped),
    Quirk("no preamble", "same", write=without_preamble),
    Quirk("other files among them", "same", kinds=BOTH, write=among_others),
    Quirk("reversed instance numbers", "same", reversed_numbers),
    Quirk("interleaved instance numbers", "same", interleaved),
    Quirk("no instance numbers", "same", put(InstanceNumber=None)),
    Quirk("equal instance numbers", "same", put(InstanceNumber=1)),
    Quirk("jitter of directions", "same", jitter("ImageOrientationPatient"), tolerance=1e-4),
    Quirk("jitter of positions", "same", jitter("ImagePositionPatient"), tolerance=1e-4),
    Quirk("decimals cut", "same", each(cut_decimals), tolerance=1e-4),
    Quirk("implicit VR", "same", each(implicit), BOTH),
    Quirk("big endian", "same", each(big_endian), BOTH),
    *(Quirk(name, "same", compressed(syntax), BOTH) for name, syntax in SYNTAXES.items()),
    Quirk("JPEG lossless", "same", kinds=BOTH, write=jpeg_lossless),
    Quirk("HTJ2K", "same", htj2k),
    Quirk("12 bits in 16", "same", each(twelve_bits), BOTH),
    Quirk("32 bits", "same", each(thirty_two_bits), BOTH),
    Quirk("signed", "same", each(signed)),
    Quirk("signed, Enhanced", "same", signed_enhanced, E),
    Quirk("MONOCHROME1", "same", each(monochrome1), BOTH),
    Quirk("pixel padding", "same", each(padded), BOTH),
    Quirk("pixel padding of the other sign", "same", each(padded_with_the_other_sign)),
    Quirk("times that differ in the last digit", "same", each(other_times)),
    Quirk("private tags of unknown kind", "same", each(unknown_tags), BOTH),
    Quirk("padding behind the pixels", "same", kinds=BOTH, write=padded_file),
    Quirk("empty type 2 attributes", "same", put(PatientSex="", StudyID="", ReferringPhysicianName=""), BOTH),
    Quirk("no thickness, no spacing", "same", put(SliceThickness=None, SpacingBetweenSlices=None)),
    Quirk("spacing that lies", "same", put(SpacingBetweenSlices="9.5")),
    Quirk("thickness that lies", "same", put(SliceThickness="0.5")),
    Quirk("thickness that lies, Enhanced", "same", shared(group_edit("PixelMeasuresSequence", "SliceThickness", "0.5")), E),
    Quirk("no slice locations", "same", put(SliceLocation=None)),
    Quirk("no frame of reference", "same", put(FrameOfReferenceUID=None), BOTH),
    Quirk("name in ISO_IR 6", "same", named("", "Smith^Ann"), BOTH),
    Quirk("name in ISO_IR 100", "same", named("ISO_IR 100", "Müller^Jörg"), BOTH),
    Quirk("name in ISO_IR 144", "same", named("ISO_IR 144", "Люкceмбypг"), BOTH),
    Quirk("name in ISO_IR 192", "same", named("ISO_IR 192", "王^小东"), BOTH),
    Quirk("name in ISO 2022 IR 87", "same", named(["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"), BOTH),
    Quirk("name in ISO 2022 IR 149", "same", named(["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"), BOTH),
    Quirk("wrong character set", "same", kinds=BOTH, write=wrong_charset),
    Quirk("equal copies", "same", twice(), BOTH),
    Quirk("frames in any order", "same", lambda images: images, E),
    Quirk("groups by frame", "same", per_frame, E),
    Quirk("a private header in every frame", "same", private_header, E),
    Quirk("a file for each frame", "same", a_file_per_frame, E),
    Quirk("concatenation in three parts", "same", concatenated(3), E),
    # read exactly, with a flag
    Quirk("sheared by 5°", "flag sheared", kinds=BOTH, affine=LEAN),
    Quirk("a localiser slice in the series", "flag odd-slices", localizer),
    Quirk("a repeated slice", "flag doubled-slices", twice(new_uid)),
    Quirk("locations in another order", "flag slice-order-uncertain", moved_locations),
    Quirk("the last slice said to be before the first", "flag slice-order-uncertain", beyond_the_end, BOTH, moved=True),
    Quirk("compressed with loss", "flag lossy-compression", each(jpeg_baseline), BOTH),
    Quirk("more bits than stated", "flag stored-bits", each(many_bits), BOTH),
    # refused
    Quirk("one slice missing", "dicom-missing-slices", drop(7), BOTH),
    Quirk("two slices missing", "dicom-missing-slices", drop(7, 8, 15), BOTH),
    Quirk("last slice missing, count known", "dicom-missing-slices", drop(-1), vendor="ge"),
    Quirk("first slice missing, count known", "dicom-missing-slices", drop(0), vendor="ge"),
    Quirk("uneven spacing", "dicom-uneven", stretch, BOTH),
    Quirk("a slice moved in its plane", "dicom-uneven", lambda i: move(9, [0.8, 0.3, 0])(i), BOTH, affine=AXIAL),
    Quirk("a slice moved along the normal", "dicom-uneven", lambda i: move(9, [0, 0, 0.8])(i), BOTH, affine=AXIAL),
    Quirk("two slices at one place", "dicom-repeated-positions", same_place, BOTH),
    Quirk("a slice twice, with other pixels", "dicom-repeated-positions", twice(anew_with_other_pixels)),
    Quirk("echoes that nothing tells apart", "dicom-repeated-positions", two_echoes),
    Quirk("one UID, other pixels", "dicom-conflict", twice(other_pixels), BOTH),
    Quirk("mosaic", "dicom-mosaic", put(ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"])),
    Quirk("localiser alone", "dicom-few-slices", part_of_the_slices(3)),
    Quirk("a single slice", "dicom-few-slices", part_of_the_slices(1)),
    Quirk("a thin slab", "dicom-few-slices", kinds=BOTH, affine={"voxel": (2.0, 2.0, 1.0)}),
    Quirk("two frames of reference", "dicom-mixed", other_frame_of_reference),
    Quirk("two patients", "dicom-mixed", put(3, PatientID="OTHER")),
    Quirk("two studies", "dicom-mixed", put(3, StudyInstanceUID="1.2.3")),
    Quirk("no position", "dicom-no-geometry", put(4, ImagePositionPatient=None)),
    Quirk("no position, Enhanced", "dicom-no-geometry", frame(4, lambda g: delattr(g, "PlanePositionSequence")), E),
    Quirk("two numbers for a position", "dicom-no-geometry", put(4, ImagePositionPatient=["1", "2"])),
    Quirk("no spacing", "dicom-no-geometry", put(PixelSpacing=None)),
    Quirk("directions of length 2", "dicom-no-geometry", put(ImageOrientationPatient=["2", "0", "0", "0", "1", "0"])),
    Quirk("directions not at right angles", "dicom-no-geometry", put(ImageOrientationPatient=["1", "0", "0", "0.6", "0.8", "0"])),
    Quirk("cut in the pixels", "dicom-pixel-length", kinds=BOTH, write=cut_in_the_pixels),
    Quirk("cut in the header", "dicom-damaged", kinds=BOTH, write=cut_in_the_header),
    Quirk("pixels too short", "dicom-pixel-length", each(lambda ds: setattr(ds, "PixelData", ds.PixelData[:-4]), 2), BOTH),
    Quirk("pixels too long", "dicom-pixel-length", each(lambda ds: setattr(ds, "PixelData", ds.PixelData + bytes(4)), 2), BOTH),
    Quirk("no pixels", "dicom-pixel-length", put(2, PixelData=None)),
    Quirk("JPEG stream cut", "dicom-pixels", each(cut_stream, 2), BOTH),
    Quirk("JPEG bomb", "dicom-pixels", each(stream_bomb, 2), BOTH),
    Quirk("video", "dicom-transfer-syntax", each(lambda ds: (compressed(uids.JPEG2000Lossless)([ds]), setattr(ds.file_meta, "TransferSyntaxUID", "1.2.840.10008.1.2.4.102"))), BOTH),
    Quirk("0 × 0 pixels", "dicom-damaged", put(2, Rows=0, Columns=0), BOTH),
    Quirk("3,000 columns", "dicom-too-large", put(Columns=3000), BOTH),
    Quirk("colour", "dtype-colour", each(colour)),
    Quirk("64 bits a pixel", "dicom-pixels", put(BitsAllocated=64), BOTH),
    Quirk("slope of 0", "scaling", put(RescaleSlope="0", RescaleIntercept="1")),
    Quirk("slope that is no number", "scaling", put(3, RescaleSlope="nan", RescaleIntercept="1")),
    Quirk("text in the pixels", "dicom-burned-in", put(BurnedInAnnotation="YES"), BOTH),
    Quirk("CT", "dicom-not-mr", put(SOPClassUID="1.2.840.10008.5.1.4.1.1.2", Modality="CT")),
    Quirk("every voxel the same", "constant", each(lambda ds: setattr(ds, "PixelData", b"\x05\x00" * (len(ds.PixelData) // 2))), BOTH),
    Quirk("fewer frames than promised", "dicom-damaged", put(NumberOfFrames=20), E),
    Quirk("a part of a concatenation missing", "dicom-missing-slices", concatenated(3, kept=2), E),
    Quirk("nothing", "dicom-none", write=nothing),
    Quirk("text alone", "dicom-none", write=text_only),
    *MORE,
]  # fmt: skip

assert len({quirk.name for quirk in QUIRKS}) == len(QUIRKS)
CASES = [(quirk, kind) for quirk in QUIRKS for kind in quirk.kinds]


def make(quirk: Quirk, kind: str, folder: Path):
    """Write a quirky series; returns its volume and affine as they should be read."""
    data, affine = scanner.small_head(), scanner.turned(**quirk.affine)
    if kind == "classic":
        images = scanner.classic(data, affine, quirk.vendor)
    else:
        order = (
            np.random.default_rng(1).permutation(data.shape[2])
            if "any order" in quirk.name
            else None
        )
        images = [scanner.enhanced(data, affine, quirk.vendor, order=order)]
    images = quirk.change(images)
    quirk.write(images, folder)
    assert os.path.isdir(folder)
    return data, affine
