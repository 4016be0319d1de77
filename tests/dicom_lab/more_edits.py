"""What single vendors, anonymisers and archives do to the images of a series."""

from __future__ import annotations

import copy

from pydicom import uid as uids
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_lab import scanner
from dicom_lab.edits import anew_with_other_pixels, each, new_uid


def rounded_positions(ds):
    """Positions to a tenth of a millimetre, as some archives write them."""
    ds.ImagePositionPatient = [f"{float(v):.1f}" for v in ds.ImagePositionPatient]


def echo_at_the_edge(ds):
    """Echo times on both sides of a rounding."""
    ds.EchoTime = ("2.98499", "2.98501")[int(ds.InstanceNumber) % 2]


def screenshot(images):
    """A Secondary Capture under the series UID of the scan."""
    extra = copy.deepcopy(images[0])
    new_uid(extra)
    extra.SOPClassUID = extra.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    return [*images, extra]


def two_volumes(numbered=True, **attributes):
    """The same places once more with other pixels; ``attributes`` of first and second volume."""

    def change(images):
        others = copy.deepcopy(images)
        for number, (first, second) in enumerate(zip(images, others, strict=True)):
            anew_with_other_pixels(second)
            if numbered:
                second.InstanceNumber = len(images) + number + 1
            for keyword, values in attributes.items():
                setattr(first, keyword, values[0])
                setattr(second, keyword, values[1])
        return [*images, *others]

    return change


def own_uid(keyword):
    """Another value in every image, as anonymisers that know no series make it."""

    def edit(ds):
        setattr(ds, keyword, uids.generate_uid(entropy_srcs=[keyword, str(ds.InstanceNumber)]))

    return each(edit)


def real_world_map(ds):
    """Philips beside the public scale: a real-world value map and a private scale."""
    item = Dataset()
    item.RealWorldValueSlope, item.RealWorldValueIntercept = 7.5, 3.0
    item.RealWorldValueFirstValueMapped, item.RealWorldValueLastValueMapped = 0, 4095
    ds.RealWorldValueMappingSequence = Sequence([item])
    block = ds.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    block.add_new(0x0E, "FL", 0.0123)


def enhanced_stack_of_localisers(images):
    """Three frames of other planes in the same object, in a stack of their own."""
    ds = images[0]
    groups = list(ds.PerFrameFunctionalGroupsSequence)
    orientation = ds.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    del ds.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    for group in groups:
        group.PlaneOrientationSequence = copy.deepcopy(orientation)
    size, extra = ds.Rows * ds.Columns * 2, []
    for number in range(3):
        group = copy.deepcopy(groups[0])
        group.FrameContentSequence[0].StackID = "2"
        group.FrameContentSequence[0].InStackPositionNumber = number + 1
        planes = (["0", "1", "0", "0", "0", "-1"], ["1", "0", "0", "0", "0", "-1"])
        group.PlaneOrientationSequence[0].ImageOrientationPatient = planes[number % 2]
        group.PlanePositionSequence[0].ImagePositionPatient = [str(number), "0", "0"]
        extra.append(group)
    ds.PerFrameFunctionalGroupsSequence = Sequence([*groups, *extra])
    ds.PixelData += ds.PixelData[: 3 * size]
    ds.NumberOfFrames = len(groups) + 3
    return images


def magnitude_and_phase(images):
    """Philips Enhanced: magnitude and phase of every place in one object."""
    ds = images[0]
    groups = list(ds.PerFrameFunctionalGroupsSequence)
    kind = ds.SharedFunctionalGroupsSequence[0].MRImageFrameTypeSequence
    del ds.SharedFunctionalGroupsSequence[0].MRImageFrameTypeSequence
    others = copy.deepcopy(groups)
    for group, letter, component in (
        *((g, "M", "MAGNITUDE") for g in groups),
        *((g, "P", "PHASE") for g in others),
    ):
        group.MRImageFrameTypeSequence = copy.deepcopy(kind)
        item = group.MRImageFrameTypeSequence[0]
        item.FrameType = ["ORIGINAL", "PRIMARY", f"{letter}_FFE", letter]
        item.ComplexImageComponent = component
    ds.ComplexImageComponent = "MIXED"
    ds.PerFrameFunctionalGroupsSequence = Sequence([*groups, *others])
    size = ds.Rows * ds.Columns * 2
    turned = [ds.PixelData[n * size : (n + 1) * size][::-1] for n in range(len(groups))]
    ds.PixelData += b"".join(turned)
    ds.NumberOfFrames = 2 * len(groups)
    return images


def decimal_commas(images, folder):
    """Numbers as a German table writes them."""
    scanner.write(images, folder)
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes().replace(b"4.5\\4.5", b"4,5\\4,5"))
