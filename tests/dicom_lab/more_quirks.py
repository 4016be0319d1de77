"""More rows of :mod:`dicom_lab.quirks`: habits of single vendors, anonymisers and archives."""

from __future__ import annotations

from dicom_lab import edits, scanner
from dicom_lab.edits import each, put
from dicom_lab.pixel_edits import overlay_in_upper_bits
from dicom_lab.quirk import BOTH, E, Quirk

TWO = {"volumes": 2}

MORE = [
    # Philips
    Quirk("Philips: real-world map and private scale", "same", each(edits.real_world_map), vendor="philips"),
    Quirk("Philips: magnitude and phase in one object", "same", edits.magnitude_and_phase, E, vendor="philips", **TWO),
    Quirk("Philips: empty spacing", "same", put(SpacingBetweenSlices="")),
    # Siemens
    Quirk("Siemens XA: a stack of localisers in the object", "flag odd-slices", edits.enhanced_stack_of_localisers, E, refused=("dicom-few-slices",)),
    Quirk("Siemens: two measurements", "same", edits.two_volumes(AcquisitionNumber=(1, 2)), **TWO),
    Quirk("Siemens: a study UID for every image", "dicom-mixed", edits.own_uid("StudyInstanceUID")),
    Quirk("XA: an object without functional groups", "dicom-no-geometry", lambda i: [delattr(i[0], "PerFrameFunctionalGroupsSequence"), i][1], E),
    # GE
    Quirk("GE: two phases by trigger time", "same", edits.two_volumes(TriggerTime=(100, 900)), vendor="ge", **TWO),
    Quirk("GE: two phases by temporal position", "same", edits.two_volumes(TemporalPositionIdentifier=(1, 2)), vendor="ge", **TWO),
    Quirk("GE: fewer images stated than there are", "same", put(ImagesInAcquisition=12), vendor="ge"),
    Quirk("two volumes by number alone", "flag volumes-by-number", edits.two_volumes(), **TWO),
    Quirk("two volumes without numbers", "dicom-repeated-positions", lambda i: put(InstanceNumber=None)(edits.two_volumes()(i))),
    # Canon, Toshiba, Hitachi, United Imaging
    *(Quirk(f"made by {vendor}", "same", kinds=BOTH, vendor=vendor) for vendor in scanner.OTHER_VENDORS),
    Quirk("positions to a tenth of a millimetre", "flag rounded-positions", each(edits.rounded_positions), tolerance=0.15),
    Quirk("a drawing in unused bits", "same", each(overlay_in_upper_bits), BOTH),
    Quirk("United Imaging: a grid", "dicom-few-slices", lambda i: put(ImageType=["ORIGINAL", "PRIMARY", "M", "GRID"])(i[:1])),
    # anonymisers and archives
    Quirk("echo times on both sides of a rounding", "same", each(edits.echo_at_the_edge)),
    Quirk("a screenshot in the series", "flag odd-slices", edits.screenshot),
    Quirk("a frame of reference for every image", "flag reference-replaced", edits.own_uid("FrameOfReferenceUID")),
    Quirk("one instance UID for all", "dicom-conflict", put(SOPInstanceUID="1.2.3.4")),
    Quirk("patients' numbers drawn for every image", "dicom-mixed", edits.own_uid("PatientID")),
    Quirk("decimal commas", "dicom-no-geometry", put(PixelSpacing=["4.5", "4.5"]), write=edits.decimal_commas),
    Quirk("numbers with blanks around them", "same", put(SliceThickness=" 5.0 ", EchoTime=" 2.98 ")),
    Quirk("an unknown character set", "same", put(SpecificCharacterSet="ISO-8859-1"), BOTH),
    Quirk("name in ISO 2022 IR 13", "same", edits.named(["ISO_IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎")),
    Quirk("name in GB18030", "same", edits.named("GB18030", "王^小东"), BOTH),
    Quirk("no description, no protocol", "same", put(SeriesDescription=None, ProtocolName=None), BOTH),
    Quirk("a modality that is another", "dicom-not-mr", put(Modality="SEG")),
    Quirk("a repeated slice with the same UID and number", "same", edits.twice(), BOTH),
]  # fmt: skip
