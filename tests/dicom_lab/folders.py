"""Ways of writing the images of a series into a folder."""

from __future__ import annotations

import copy
import zipfile

import numpy as np
from pydicom import uid as uids
from pydicom.fileset import FileSet

from dicom_lab import edits, scanner


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
        edits.new_uid(report)
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
