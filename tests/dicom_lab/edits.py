"""What can be done to the images of a series, but for their pixels (see ``pixel_edits``)."""

from __future__ import annotations

import copy

import numpy as np
from pydicom import uid as uids
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_lab import scanner


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


def a_file_per_frame(images):
    """Every frame an Enhanced object of its own, as some archives split them."""
    whole, made = images[0], []
    size = whole.Rows * whole.Columns * 2
    for number, group in enumerate(whole.PerFrameFunctionalGroupsSequence):
        ds = copy.deepcopy(whole)
        new_uid(ds)
        ds.PerFrameFunctionalGroupsSequence = Sequence([group])
        ds.NumberOfFrames, ds.InstanceNumber = 1, number + 1
        ds.PixelData = whole.PixelData[number * size : (number + 1) * size]
        made.append(ds)
    return made


def other_times(ds):
    """Inversion and echo times that differ by slice in the last digit."""
    ds.InversionTime = f"{900 + 0.01 * (int(ds.InstanceNumber) % 3):.2f}"
    ds.EchoTime = f"{2.98 + 0.0001 * (int(ds.InstanceNumber) % 3):.4f}"


def private_header(images):
    """A classic header in a private sequence of every frame, as Philips has it."""
    for group in images[0].PerFrameFunctionalGroupsSequence:
        inner = Dataset()
        inner.ImagePositionPatient, inner.RescaleSlope = ["1", "2", "3"], "7"
        inner.EchoTime = str(id(group) % 97)
        block = group.private_block(0x2005, "Philips MR Imaging DD 005", create=True)
        block.add_new(0x0F, "SQ", Sequence([inner]))
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
