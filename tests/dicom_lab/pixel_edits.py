"""What can be done to the pixels of a series, and to how they are stored."""

from __future__ import annotations

import numpy as np
from pydicom import uid as uids
from pydicom.encaps import encapsulate, generate_frames

from dicom_lab import htj2k as htj2k_stream
from dicom_lab import scanner, tools
from dicom_lab.edits import each


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


def htj2k(images):
    """The thirteenth slice is a stream that OpenJPH made, an independent encoder."""
    ds = images[htj2k_stream.SLICE]
    ds.PixelData = encapsulate([htj2k_stream.FILE.read_bytes()])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = uids.HTJ2KLossless
    return images


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


def padded_with_the_other_sign(ds):
    """Signed pixels, zeros stored as -2000, and the padding value written as unsigned."""
    values = np.frombuffer(ds.PixelData, "<u2").astype(np.int16)
    values[values == 0] = -2000
    ds.PixelData, ds.PixelRepresentation = values.astype("<i2").tobytes(), 1
    ds.add_new("PixelPaddingValue", "US", 65536 - 2000)


def jpeg_baseline(ds):
    """The label alone: the pixels are as they were."""
    ds.LossyImageCompression, ds.LossyImageCompressionRatio = "01", "10"


def overlay_in_upper_bits(ds):
    """A drawing in bit 12, as old scanners kept it, of pixels of 12 bits."""
    twelve_bits(ds)
    values = np.frombuffer(ds.PixelData, "<u2").copy()
    values[::7] |= 1 << 12
    ds.PixelData = values.tobytes()
    ds.add_new(0x60000010, "US", ds.Rows)
    ds.add_new(0x60000011, "US", ds.Columns)
    ds.add_new(0x60000100, "US", 16)
    ds.add_new(0x60000102, "US", 12)
