"""What real scanners, archives and disks do to a series, a row each, and what must come of it.

``expected`` is ``"same"``, ``"flag CODE"`` (read exactly, with a note), or the code of a refusal.
"""

from __future__ import annotations

import copy
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom import uid as uids
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.fileset import FileSet
from pydicom.sequence import Sequence

from dicom_lab import scanner, tools

BOTH, C, E = ("classic", "enhanced"), ("classic",), ("enhanced",)


@dataclass(frozen=True)
class Quirk:
    """One row: ``change`` edits the images, ``write`` puts them into a folder."""

    name: str
    expected: str
    change: Callable = lambda images: images
    kinds: tuple[str, ...] = C
    write: Callable = scanner.write
    vendor: str = "siemens"
    affine: dict = field(default_factory=dict)
    tolerance: float = 1e-9
    moved: bool = False  # the header says of itself that slices lie elsewhere


def each(edit, only=None):
    """Edit every image, or that of one number."""

    def change(images):
        for number, ds in enumerate(images):
            if only is None or number == only % len(images):
                edit(ds)
        return images

    return change


def put(only=None, **values):
    """Set attributes; ``None`` deletes them."""

    def edit(ds):
        for key, value in values.items():
            if value is None:
                if key in ds:
                    delattr(ds, key)
            else:
                setattr(ds, key, value)

    return each(edit, only)


def frame(number, edit):
    """Edit the per-frame group of an Enhanced object."""

    def change(images):
        groups = images[0].PerFrameFunctionalGroupsSequence
        edit(groups[number % len(groups)])
        return images

    return change


def place(of):
    """The item that holds a frame's position, classic or Enhanced."""
    return of.PlanePositionSequence[0] if "PlanePositionSequence" in of else of


def move(number, offset):
    """Move one slice by LPS mm, classic or Enhanced."""

    def change(images):
        enhanced = "PerFrameFunctionalGroupsSequence" in images[0]
        holders = images[0].PerFrameFunctionalGroupsSequence if enhanced else images
        item = place(holders[number % len(holders)])
        item.ImagePositionPatient = scanner.decimal(
            np.array(item.ImagePositionPatient, float) + offset
        )
        return images

    return change


def drop(*numbers):
    """Remove slices."""

    def change(images):
        if "PerFrameFunctionalGroupsSequence" not in images[0]:
            return [
                ds
                for n, ds in enumerate(images)
                if n - len(images) not in numbers and n not in numbers
            ]
        ds = images[0]
        groups = list(ds.PerFrameFunctionalGroupsSequence)
        kept = [
            n for n in range(len(groups)) if n not in numbers and n - len(groups) not in numbers
        ]
        size = ds.Rows * ds.Columns * 2
        ds.PixelData = b"".join(ds.PixelData[n * size : (n + 1) * size] for n in kept)
        ds.PerFrameFunctionalGroupsSequence = Sequence([groups[n] for n in kept])
        ds.NumberOfFrames = len(kept)
        return images

    return change


def step_of(images) -> np.ndarray:
    enhanced = "PerFrameFunctionalGroupsSequence" in images[0]
    holders = images[0].PerFrameFunctionalGroupsSequence if enhanced else images
    first, second = (np.array(place(h).ImagePositionPatient, float) for h in holders[:2])
    return second - first


def same_place(images):
    """The fourth slice lies where the third is."""
    return move(3, -step_of(images))(images)


def beyond_the_end(images):
    """The last slice is said to lie before the first."""
    count = images[0].get("NumberOfFrames") or len(images)
    return move(-1, -step_of(images) * int(count))(images)


def stretch(images):
    """Each gap is 2 % longer than the one before."""
    step = step_of(images)
    count = int(images[0].get("NumberOfFrames") or len(images))
    for k in range(count):
        move(k, step * 0.01 * k * (k - 1))(images)
    return images


def twice(edit=lambda ds: ds):
    """The fourth image again, edited."""

    def change(images):
        extra = copy.deepcopy(images[min(3, len(images) - 1)])
        edit(extra)
        return [*images, extra]

    return change


def new_uid(ds):
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uids.generate_uid()


def other_pixels(ds):
    ds.PixelData = ds.PixelData[2:] + ds.PixelData[:2]


def anew_with_other_pixels(ds):
    new_uid(ds)
    other_pixels(ds)


def compressed(syntax):
    def edit(ds):
        if syntax in (uids.JPEG2000Lossless, uids.RLELossless, uids.JPEGLSLossless):
            ds.compress(syntax, generate_instance_uid=False)
        else:
            ds.file_meta.TransferSyntaxUID = syntax

    return each(edit)


def implicit(ds):
    ds.file_meta.TransferSyntaxUID = uids.ImplicitVRLittleEndian


def big_endian(ds):
    ds.file_meta.TransferSyntaxUID = uids.ExplicitVRBigEndian
    ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()


def write_big_endian(images, folder):
    scanner.write(images, folder, implicit_vr=None)


def jpeg_lossless(images, folder):
    """The first two files, by GDCM, an independent encoder; the others stay as they are."""
    scanner.write(images, folder)
    for file in sorted(folder.iterdir())[:2]:
        tools.run("gdcmconv", "--jpeg", file, folder / "new")
        (folder / "new").rename(file)


def cut_stream(ds):
    ds.compress(uids.JPEG2000Lossless, generate_instance_uid=False)
    frames = list(
        generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames") or 1))
    )
    frames[-1] = frames[-1][: len(frames[-1]) // 3]
    ds.PixelData = encapsulate(frames)


def stream_bomb(ds):
    """A JPEG 2000 stream that states 60,000 × 60,000 pixels."""
    ds.compress(uids.JPEG2000Lossless, generate_instance_uid=False)
    frames = [
        bytearray(f)
        for f in generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames") or 1))
    ]
    frames[0][8:16] = (60000).to_bytes(4, "big") * 2
    ds.PixelData = encapsulate([bytes(f) for f in frames])


def twelve_bits(ds):
    ds.BitsStored, ds.HighBit = 12, 11


def signed(ds):
    values = np.frombuffer(ds.PixelData, "<u2").astype(np.int64) - 100
    ds.PixelData, ds.PixelRepresentation = values.astype("<i2").tobytes(), 1
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, 100, "US"


def signed_enhanced(images):
    ds = images[0]
    values = np.frombuffer(ds.PixelData, "<u2").astype(np.int64) - 100
    ds.PixelData, ds.PixelRepresentation = values.astype("<i2").tobytes(), 1
    for group in ds.PerFrameFunctionalGroupsSequence:
        group.PixelValueTransformationSequence[0].RescaleIntercept = 100
    return images


def monochrome1(ds):
    twelve_bits(ds)
    ds.PixelData = (4095 - np.frombuffer(ds.PixelData, "<u2")).astype("<u2").tobytes()
    ds.PhotometricInterpretation = "MONOCHROME1"


def padded(ds):
    """Zeros are stored as a padding value."""
    values = np.frombuffer(ds.PixelData, "<u2").copy()
    values[values == 0] = 60000
    ds.PixelData, ds.PixelPaddingValue = values.tobytes(), 60000


def many_bits(ds):
    ds.BitsStored, ds.HighBit = 8, 7


def thirty_two_bits(ds):
    ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype("<u4").tobytes()
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 32, 32, 31


def colour(ds):
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.PixelData = bytes(ds.Rows * ds.Columns * 3)


def unknown_tags(ds):
    ds.add_new(0x00190010, "LO", "SOME VENDOR")
    ds.add_new(0x00191001, "UN", b"\x01\x02\x03\x04")
    ds.add_new(0x7FE1_0010 & 0x00FF_FFFF, "UN", b"??")


def localizer(images):
    """A sagittal slice under the same series UID."""
    extra = copy.deepcopy(images[0])
    new_uid(extra)
    extra.ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]
    return [*images, extra]


def shuffled(images, folder):
    order = np.random.default_rng(0).permutation(len(images))
    scanner.write([images[i] for i in order], folder, name="{:08d}.dcm")


def nested(images, folder):
    for number, ds in enumerate(images):
        scanner.write([ds], folder / f"A{number % 3}" / "DICOM" / f"{number:02d}", name="F{}")


def with_directory(images, folder):
    files = FileSet()
    for ds in images:
        files.add(ds)
    files.write(folder)
    files._stage["t"].cleanup()  # else it warns when it is collected
    assert (folder / "DICOMDIR").exists()


def zipped(images, folder):
    scanner.write(images, folder.with_name("unzipped"))
    folder.mkdir()
    with zipfile.ZipFile(folder / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.with_name("unzipped").iterdir()):
            archive.write(file, f"DICOM/{file.stem}")


def without_preamble(images, folder):
    scanner.write(images, folder)
    for file in folder.iterdir():
        content = file.read_bytes()
        length = int.from_bytes(content[140:144], "little")
        file.write_bytes(content[144 + length :])  # the data set alone


def among_others(images, folder):
    """Text, a thumbnail list, a structured report without pixels, a screen shot."""
    scanner.write(images, folder)
    (folder / "README").write_text("This is no image.")
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / "empty.dcm").write_bytes(b"")
    for number, kind in enumerate(
        ("1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.1.1.11.1")
    ):
        report = copy.deepcopy(images[0])
        for key in ("PixelData", "Rows", "Columns", "NumberOfFrames"):
            if key in report:
                delattr(report, key)
        report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = kind
        report.SeriesInstanceUID = uids.generate_uid()
        new_uid(report)
        scanner.write([report], folder, name=f"SR{number}" + "{}")


def cut_in_the_pixels(images, folder):
    scanner.write(images, folder)
    file = sorted(folder.iterdir())[-1]
    file.write_bytes(file.read_bytes()[:-500])


def cut_in_the_header(images, folder):
    scanner.write(images, folder)
    file = sorted(folder.iterdir())[-1]
    content = file.read_bytes()
    file.write_bytes(content[: content.index(b"\x28\x00\x02\x00")])  # before SamplesPerPixel


def padded_file(images, folder):
    """Trailing padding behind the pixels, as (FFFC,FFFC) stands for it."""
    for ds in images:
        ds.add_new(0xFFFCFFFC, "OB", bytes(64))
    scanner.write(images, folder)


def one_file_per_name_in_unicode(images, folder):
    scanner.write(images, folder, name="Ärztin-頭-{}")


def nothing(images, folder):
    folder.mkdir()


def text_only(images, folder):
    folder.mkdir()
    (folder / "a.txt").write_text("no")


def named(charset, name):
    def edit(ds):
        ds.SpecificCharacterSet, ds.PatientName = charset, name

    return each(edit)


def wrong_charset(images, folder):
    """Bytes of Latin-1 under the label of UTF-8."""
    for ds in images:
        ds.PatientName = "Mueller^Jorg"
        ds.SpecificCharacterSet = "ISO_IR 192"
    scanner.write(images, folder)
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes().replace(b"Mueller^Jorg", b"M\xfcller^J\xf6rg "))


def per_frame(images):
    """All shared groups in every frame instead."""
    ds = images[0]
    shared = ds.SharedFunctionalGroupsSequence[0]
    for group in ds.PerFrameFunctionalGroupsSequence:
        for element in copy.deepcopy(shared):
            group.add(element)
    ds.SharedFunctionalGroupsSequence = Sequence([Dataset()])
    return images


def concatenated(parts, kept=None):
    """One Enhanced object in several."""

    def change(images):
        whole, made = images[0], []
        groups, size = list(whole.PerFrameFunctionalGroupsSequence), whole.Rows * whole.Columns * 2
        each_part = -(-len(groups) // parts)
        concatenation = uids.generate_uid()
        for number in range(parts):
            ds = copy.deepcopy(whole)
            own = range(number * each_part, min(len(groups), (number + 1) * each_part))
            new_uid(ds)
            ds.PerFrameFunctionalGroupsSequence = Sequence([groups[n] for n in own])
            ds.NumberOfFrames = len(own)
            ds.PixelData = whole.PixelData[own.start * size : own.stop * size]
            ds.ConcatenationUID, ds.InConcatenationNumber = concatenation, number + 1
            ds.InConcatenationTotalNumber = parts
            ds.ConcatenationFrameOffsetNumber = own.start
            made.append(ds)
        return made[:kept]

    return change


def interleaved(images):
    for number, ds in enumerate(images):
        ds.InstanceNumber = number // 2 + 1 + (number % 2) * len(images) // 2
    return images


def reversed_numbers(images):
    for number, ds in enumerate(images):
        ds.InstanceNumber = len(images) - number
    return images


def jitter(keyword, size=1e-6):
    def edit(ds):
        values = np.array(ds[keyword].value, float)
        noise = np.random.default_rng(int(ds.InstanceNumber)).uniform(-size, size, values.shape)
        setattr(ds, keyword, scanner.decimal(values + noise))

    return each(edit)


def cut_decimals(ds):
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        setattr(ds, keyword, [f"{float(v):.6f}" for v in ds[keyword].value])


def two_echoes(images):
    """A second echo, which nothing tells apart."""
    others = copy.deepcopy(images)
    for ds in others:
        anew_with_other_pixels(ds)
    return [*images, *others]


def part_of_the_slices(number):
    return lambda images: images[:number]


def other_frame_of_reference(images):
    for ds in images[len(images) // 2 :]:
        ds.FrameOfReferenceUID = uids.generate_uid(entropy_srcs=["other"])
    return images


def moved_locations(images):
    images[5].SliceLocation = "999"
    return images


def shared(edit):
    def change(images):
        edit(images[0].SharedFunctionalGroupsSequence[0])
        return images

    return change


def group_edit(sequence, key, value):
    def edit(group):
        setattr(getattr(group, sequence)[0], key, value)

    return edit


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
    Quirk("12 bits in 16", "same", each(twelve_bits), BOTH),
    Quirk("32 bits", "same", each(thirty_two_bits), BOTH),
    Quirk("signed", "same", each(signed)),
    Quirk("signed, Enhanced", "same", signed_enhanced, E),
    Quirk("MONOCHROME1", "same", each(monochrome1), BOTH),
    Quirk("pixel padding", "same", each(padded), BOTH),
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
    Quirk("concatenation in three parts", "same", concatenated(3), E),
    # read exactly, with a flag
    Quirk("sheared by 5°", "flag sheared", kinds=BOTH, affine=LEAN),
    Quirk("a localiser slice in the series", "flag odd-slices", localizer),
    Quirk("a repeated slice", "flag doubled-slices", twice(new_uid)),
    Quirk("locations in another order", "flag slice-order-uncertain", moved_locations),
    Quirk("the last slice said to be before the first", "flag slice-order-uncertain", beyond_the_end, BOTH, moved=True),
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
