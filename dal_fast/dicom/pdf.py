"""One page for people, as an Encapsulated PDF object: picture, numbers, regions, quality flags."""

from __future__ import annotations

import datetime
from typing import Any

from PIL import Image as Picture
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, EncapsulatedPDFStorage, ExplicitVRLittleEndian

from dal_fast._version import __version__
from dal_fast.dicom.derived import IMPLEMENTATION_UID
from dal_fast.dicom.objects import NOT_FOR_DIAGNOSIS, Finding
from dal_fast.dicom.pictures import sheet
from dal_fast.extras import module_of_extra
from dal_fast.imaging.text import counted

MOST_REGIONS = 12
"""Rows of the table, the strongest regions; the report has more."""
_WIDTH_MM = 150.0  # of the picture


def make_page(finding: Finding) -> Dataset:
    """An Encapsulated PDF object; the page shows nothing of the patient.

    Raises:
        RuntimeUnavailable: ``extra-missing`` without fpdf2.
    """
    content = _page(finding)
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = EncapsulatedPDFStorage, UID(finding.uid("pdf"))
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = EncapsulatedPDFStorage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    now = datetime.datetime.now()
    made.ContentDate, made.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    made.InstanceCreationDate, made.InstanceCreationTime = made.ContentDate, made.ContentTime
    made.AcquisitionDateTime = ""
    made.StudyInstanceUID = finding.study_uid
    made.SeriesInstanceUID, made.SeriesNumber = (
        finding.uid("pdf series"),
        finding.series_number("pdf"),
    )
    made.SeriesDescription, made.Modality = finding.description("pdf"), "DOC"
    made.InstanceNumber, made.ConversionType = 1, "WSD"
    made.Manufacturer, made.ManufacturerModelName = "dal_fast", "dal_fast"
    made.SoftwareVersions = __version__
    made.BurnedInAnnotation = "NO"  # of the patient's identity
    made.DocumentTitle = finding.description("pdf")
    made.ConceptNameCodeSequence = []
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.EncapsulatedDocumentLength = len(content)
    made.EncapsulatedDocument = content + b"\0" * (len(content) % 2)
    source = finding.sources[0]
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    made.SourceInstanceSequence = [reference]
    return finding.finish(made)


def _page(finding: Finding) -> bytes:
    fpdf = module_of_extra("fpdf", "a PDF needs pip install 'dal_fast[dicom]'")
    result = finding.result
    page: Any = fpdf.FPDF(format="A4")
    page.add_page()
    page.set_title(finding.description("pdf"))

    def line(text: str, size: int = 10, bold: bool = False) -> None:
        page.set_font("helvetica", "B" if bold else "", size)
        page.multi_cell(0, size * 0.5, _printable(text), new_x="LMARGIN", new_y="NEXT")

    line(f"Anomaly map of {finding.verdict.name}", 16, bold=True)
    line(f"dal_fast {__version__}. {NOT_FOR_DIAGNOSIS}", 11, bold=True)
    page.ln(3)
    count = len(result.regions)
    line(
        f"Score {result.score:.3f}; {result.volume_ml:.1f} mL above the threshold in "
        f"{counted(count, 'region')}; brain {result.brain['VolumeML']:,.0f} mL."
    )
    page.ln(2)
    page.image(Picture.fromarray(sheet(finding)), w=_WIDTH_MM)
    page.ln(2)
    if result.regions:
        page.set_font("helvetica", "", 9)
        with page.table(col_widths=(2, 3, 3, 3, 9)) as table:
            table.row(["region", "volume, mL", "highest", "mean", "place of the highest value"])
            for number, region in enumerate(result.regions[:MOST_REGIONS], 1):
                numbers = (f"{value:.3g}" for value in (region.volume_ml, region.peak, region.mean))
                table.row([str(number), *numbers, result.place_in_words(region)])
    if count > MOST_REGIONS:
        line(f"{count - MOST_REGIONS} more regions are in the structured report.", 9)
    page.ln(2)
    for flag in result.flags:
        line(f"Quality flag {flag.code}: {flag.message}", 9)
    return bytes(page.output())


def _printable(text: str) -> str:
    """What the fonts that every reader has can show."""
    return text.encode("latin-1", "replace").decode("latin-1")
