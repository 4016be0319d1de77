"""From a DICOM folder to SEG, parametric map and report: ours beside the same from stock parts.

    python -m benchmarks.dicom HEAD.nii.gz [--repeats 5] [--threads 2]

HEAD, a whole head, is brought to 192 slices of 256 x 256 voxels of 1 mm and written as a classic MR
series by the fake scanner of the tests. Round after round:

- ours, resident: folder to objects in a process that has the model loaded, as a worker does it;
- ours, command: ``dal-fast dicom``, a new process each time;
- stock: dcm2niix, ``dal-fast screen`` and dcmqi's itkimage2segimage, itkimage2paramap and
  tid1500writer, one program after the other.

Brain extraction is part of all three, and so are the report page and the sidecar. Seconds by stage
are medians; nothing but the programs is timed. Processor seconds, of all threads, depend less on
what else the machine does. No time is reported unless both ways mark as many voxels.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.processing import conform
from pydicom import dcmread
from rich.console import Console
from rich.table import Table

from tests.dicom_lab import scanner

SHAPE = (256, 256, 192)
Seconds = dict[str, float]

LESION = {"CodeValue": "52988006", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Lesion"}
ALTERED = {
    "CodeValue": "49755003", "CodingSchemeDesignator": "SCT",
    "CodeMeaning": "Morphologically Abnormal Structure",
}  # fmt: skip
BRAIN = {"CodeValue": "12738006", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Brain"}
ANATOMY = {
    "CodeValue": "91723000", "CodingSchemeDesignator": "SCT",
    "CodeMeaning": "Anatomical Structure",
}  # fmt: skip
NO_UNITS = {"CodeValue": "1", "CodingSchemeDesignator": "UCUM", "CodeMeaning": "no units"}
MILLILITRE = {"CodeValue": "mL", "CodingSchemeDesignator": "UCUM", "CodeMeaning": "mL"}
VOLUME = {"CodeValue": "118565006", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Volume"}


def own_code(value: str, meaning: str) -> dict[str, str]:
    return {"CodeValue": value, "CodingSchemeDesignator": "99DALFAST", "CodeMeaning": meaning}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dicom", description=__doc__)
    parser.add_argument("head", type=Path, help="a whole head, NIfTI, T1w")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before torch is imported
    console = Console(width=None if sys.stdout.isatty() else 120)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        study = make_study(options.head, root / "study")
        ways: dict[str, Callable[[Path], Seconds]] = {
            "ours, resident": Resident(study),
            "ours, command": lambda out: command(study, out),
            "stock parts": lambda out: stock(study, out),
        }
        rounds: dict[str, list[Seconds]] = {name: [] for name in ways}
        work: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(options.repeats + 1):  # the first one warms up
            for name, way in ways.items():
                before = processor_seconds()
                seconds = way(root / f"{name} {number}")
                if number:
                    rounds[name].append(seconds)
                    work[name].append(processor_seconds() - before)
        compare_segments(root)
    report(rounds, work, console)
    return 0


def make_study(head: Path, folder: Path) -> Path:
    """The head as a classic series."""
    image = conform(nib.load(head), SHAPE, (1.0, 1.0, 1.0), order=1, orientation="LPS")
    data = np.asanyarray(image.dataobj, np.float32)
    data = np.round(data / np.percentile(data, 99.9) * 1000).clip(0, 4095).astype(np.int64)
    images = scanner.classic(data, image.affine)
    return scanner.write(images, folder)


class Resident:
    """Our chain in this process, with the model loaded."""

    def __init__(self, study: Path) -> None:
        from dal_fast.batch.resident import make_screener
        from dal_fast.memory import collect_rarely, keep_freed_memory

        keep_freed_memory()
        collect_rarely()
        self.study, self.screener = study, make_screener({})

    def __call__(self, out: Path) -> Seconds:
        from dal_fast.dicom.stages import DicomStages
        from dal_fast.dicom.study import find_studies

        marks = [time.perf_counter()]
        studies = find_studies(self.study)
        ((job, _),) = (jobs := studies.jobs(out)).items()
        stages = DicomStages(self.screener, jobs.__getitem__, lambda _: studies.names)
        marks.append(time.perf_counter())
        ready = stages.read(job)
        marks.append(time.perf_counter())
        work = stages.compute(job, ready)
        marks.append(time.perf_counter())
        outcome = stages.write(job, work)
        marks.append(time.perf_counter())
        if outcome.status != "done":
            raise SystemExit(f"{outcome.code}: {outcome.message}")
        names = ("headers", "pixels", "screening", "objects")
        return dict(zip(names, np.diff(marks).tolist(), strict=True))


def command(study: Path, out: Path) -> Seconds:
    """``dal-fast dicom``."""
    return {"dal-fast dicom": timed(sys.executable, "-m", "dal_fast.cli", "dicom", study, out)}


def stock(study: Path, out: Path) -> Seconds:
    """The same objects from the parts that people put together today."""
    out.mkdir()
    scan = out / "scan_T1w.nii"
    seconds = {
        "dcm2niix": timed(
            program("dcm2niix"), "-z", "n", "-b", "n", "-f", scan.stem, "-o", out, study
        )
    }
    seconds["dal-fast screen"] = timed(
        sys.executable, "-m", "dal_fast.cli", "screen", scan, out / "maps"
    )
    (found,) = (out / "maps").glob("*_desc-anomaly.json")
    facts = json.loads(found.read_text())
    files = {what: out / "maps" / name for what, name in facts["Outputs"].items()}
    write_metadata(out, study, facts)
    seconds["itkimage2segimage"] = timed(
        program("itkimage2segimage"), "--inputDICOMDirectory", study, "--inputImageList",
        f"{files['anomaly_mask']},{files['brain_mask']}", "--inputMetadata", out / "seg.json",
        "--outputDICOM", out / "seg.dcm",
    )  # fmt: skip
    seconds["itkimage2paramap"] = timed(
        program("itkimage2paramap"), "--inputDICOMDirectory", study,
        "--inputImage", files["anomaly"], "--inputMetadata", out / "map.json",
        "--outputDICOM", out / "map.dcm",
    )  # fmt: skip
    report = json.loads((out / "sr.json").read_text())
    seg = dcmread(out / "seg.dcm", stop_before_pixels=True)
    for group in report["Measurements"]:
        group["segmentationSOPInstanceUID"] = str(seg.SOPInstanceUID)
    (out / "sr.json").write_text(json.dumps(report))
    seconds["tid1500writer"] = timed(
        program("tid1500writer"), "--inputImageLibraryDirectory", study,
        "--inputCompositeContextDirectory", out, "--inputMetadata", out / "sr.json",
        "--outputDICOM", out / "sr.dcm",
    )  # fmt: skip
    return seconds


def processor_seconds() -> float:
    """Of this process and of the programs that have ended."""
    return sum(os.times()[:4])


def program(name: str) -> str:
    """The path of a program, in this environment before others."""
    scripts = sysconfig.get_path("scripts")
    found = shutil.which(name, path=f"{scripts}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        raise SystemExit(f"needs {name}: pip install 'dal_fast[test]'")
    return found


def timed(*call: object) -> float:
    """Seconds of a program, which must end well."""
    start = time.perf_counter()
    done = subprocess.run([str(word) for word in call], capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{call[0]}: {done.stdout[-1500:]}{done.stderr[-1500:]}")
    return seconds


def write_metadata(out: Path, study: Path, facts: dict[str, Any]) -> None:
    """What dcmqi's writers take beside the images."""

    def segment(label: str, category: object, kind: object) -> list[dict[str, Any]]:
        return [
            {
                "labelID": 1, "SegmentLabel": label, "SegmentDescription": label,
                "SegmentAlgorithmType": "AUTOMATIC", "SegmentAlgorithmName": "dal_fast",
                "SegmentedPropertyCategoryCodeSequence": category,
                "SegmentedPropertyTypeCodeSequence": kind,
                "recommendedDisplayRGBValue": [200, 60, 60],
            }
        ]  # fmt: skip

    common = {"SeriesNumber": "501", "InstanceNumber": "1", "BodyPartExamined": "BRAIN"}
    seg = common | {
        "ContentCreatorName": "dal_fast", "SeriesDescription": "Segmentation",
        "ContentLabel": "ANOMALY", "ContentDescription": "Research",
        "segmentAttributes": [
            segment("Anomaly", ALTERED, LESION), segment("Brain", ANATOMY, BRAIN),
        ],
    }  # fmt: skip
    quantity = own_code("anomaly", "Anomaly")
    values = common | {
        "SeriesDescription": "Map", "ContentLabel": "ANOMALY", "QuantityValueCode": quantity,
        "MeasurementUnitsCode": NO_UNITS, "AnatomicRegionSequence": BRAIN, "FrameLaterality": "U",
        "RealWorldValueSlope": 1, "DerivationCode": own_code("screening", "Anomaly detection"),
    }  # fmt: skip
    series = str(dcmread(next(study.iterdir()), stop_before_pixels=True).SeriesInstanceUID)
    groups = [
        {
            "TrackingIdentifier": f"Region {number}", "ReferencedSegment": 1,
            "SourceSeriesForImageSegmentation": series, "Finding": LESION, "FindingSite": BRAIN,
            "measurementItems": [
                {"value": f"{region[key]:.6g}", "quantity": what, "units": unit}
                for key, what, unit in (
                    ("volume_ml", VOLUME, MILLILITRE),
                    ("peak", own_code("peak", "Highest anomaly value"), NO_UNITS),
                    ("mean", own_code("mean", "Mean anomaly value"), NO_UNITS),
                )
            ],
        }
        for number, region in enumerate(facts["Regions"][:50], 1)
    ]  # fmt: skip
    sr = common | {
        "SeriesDescription": "Report", "compositeContext": ["seg.dcm"],
        "imageLibrary": sorted(file.name for file in study.iterdir()),
        "observerContext": {
            "ObserverType": "DEVICE", "DeviceObserverName": "dal_fast",
            "DeviceObserverUID": "2.25.1",
        },
        "VerificationFlag": "UNVERIFIED", "CompletionFlag": "COMPLETE", "activitySession": "1",
        "timePoint": "1", "Measurements": groups,
    }  # fmt: skip
    for name, content in (("seg", seg), ("map", values), ("sr", sr)):
        (out / f"{name}.json").write_text(json.dumps(content))


def compare_segments(root: Path) -> None:
    """Refuse to report times of things that are not the same."""
    ours = next(root.glob("ours, resident 0/study-*/*_seg.dcm"))
    counts = [count_voxels(path) for path in (ours, root / "stock parts 0" / "seg.dcm")]
    if np.abs(np.subtract(*counts)).max() > 0.01 * np.max(counts):
        raise SystemExit(f"voxels of the segments differ: {counts}")


def count_voxels(path: Path) -> list[int]:
    """Of segments 1 and 2 of a segmentation."""
    ds = dcmread(path)
    groups = ds.PerFrameFunctionalGroupsSequence
    numbers = [g.SegmentIdentificationSequence[0].ReferencedSegmentNumber for g in groups]
    sums = ds.pixel_array.reshape(len(numbers), -1).sum(1, dtype=np.int64)
    return [int(sums[np.array(numbers) == number].sum()) for number in (1, 2)]


def report(
    rounds: dict[str, list[Seconds]], work: dict[str, list[float]], console: Console
) -> None:
    totals = {name: median(sum(s.values()) for s in found) for name, found in rounds.items()}
    count = len(next(iter(rounds.values())))
    head = (f"seconds, median of {count}", "from, to", "times as fast as stock", "processor")
    table = Table("", *head, "stages")
    for name, found in rounds.items():
        sums = [sum(s.values()) for s in found]
        stages = ", ".join(f"{key} {median(s[key] for s in found):.2f}" for key in found[0])
        ratio = totals["stock parts"] / totals[name]
        extent = f"{min(sums):.2f}, {max(sums):.2f}"
        cpu = f"{median(work[name]):.2f}"
        table.add_row(name, f"{totals[name]:.2f}", extent, f"{ratio:.1f}", cpu, stages)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
