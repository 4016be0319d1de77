"""The files of one screened series: all of them are written, or none."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dal_fast._version import generated_by
from dal_fast.batch.outputs import sidecar
from dal_fast.dicom import quiet
from dal_fast.dicom.names import Names
from dal_fast.dicom.select import Verdict
from dal_fast.imaging.atomic import staged_files, write_bytes, write_json, write_text
from dal_fast.imaging.mask_origin import read_sidecar

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from dal_fast.dicom.objects import Finding

KINDS = ("seg", "map", "map16", "mr", "sc", "overlay", "sr", "pdf")
"""What can be written: segmentation, parametric map in floating point and in 16 bits, MR series,
secondary captures of three planes and of every slice, structured report, and a page as PDF."""
DEFAULT_KINDS = ("seg", "map", "sr")


def sidecar_name(name: str) -> str:
    """Of the file that says that the results of a series are complete."""
    return f"{name}.json"


def complete_sidecar(folder: Path, name: str) -> dict[str, Any] | None:
    """The sidecar of a series whose files are all there."""
    content = read_sidecar(folder / sidecar_name(name))
    outputs = content.get("Outputs") if content is not None else None
    if not isinstance(outputs, dict):
        return None
    return content if all((folder / file).is_file() for file in outputs.values()) else None


def is_complete(verdict: Verdict, instances: str, folder: Path, parameters: dict[str, Any]) -> bool:
    """Whether a folder holds the results of this series, by this version, with these parameters.

    Args:
        verdict: of the series.
        instances: hash of its instances and geometry.
        folder: of the results.
        parameters: as they were asked for.
    """
    old = complete_sidecar(folder, verdict.name)
    if old is None or old.get("GeneratedBy") != generated_by():
        return False
    dicom = old.get("DICOM")
    same = json.loads(json.dumps(parameters)) == old.get("Requested")
    return same and isinstance(dicom, dict) and dicom.get("Instances") == instances


def load_writers() -> None:
    """Load what :func:`make_objects` needs: highdicom, and its tables of the standard, 22 MB.

    For a thread, while the networks run. What fails here fails again where it is needed.
    """
    with contextlib.suppress(Exception):
        from dal_fast.dicom import objects, parametric_map, seg, sr  # noqa: F401

        standard = import_module("highdicom._standard_utils")
        standard.get_module_attribute_map()


def make_objects(finding: Finding, kinds: Sequence[str], label_map: bool) -> dict[str, Dataset]:
    """The DICOM objects of a finding, by the name of their file."""
    from dal_fast.dicom.derived import make_derived_series
    from dal_fast.dicom.parametric_map import make_parametric_map
    from dal_fast.dicom.pictures import make_overlays, make_secondary_capture
    from dal_fast.dicom.seg import make_segmentation
    from dal_fast.dicom.sr import make_report

    name = finding.verdict.name
    made: dict[str, Dataset] = {}
    with quiet():
        seg = make_segmentation(finding, label_map) if "seg" in kinds else None
        if seg is not None:
            made[f"{name}_seg.dcm"] = seg
        if "map" in kinds:
            made[f"{name}_map.dcm"] = make_parametric_map(finding)
        if "map16" in kinds:
            made[f"{name}_map16.dcm"] = make_parametric_map(finding, 16)
        for kind, make_series in (("mr", make_derived_series), ("overlay", make_overlays)):
            for number, image in enumerate(make_series(finding) if kind in kinds else (), 1):
                made[f"{name}_{kind}-{number:04d}.dcm"] = image
        if "sc" in kinds:
            made[f"{name}_sc.dcm"] = make_secondary_capture(finding)
        if "sr" in kinds:
            made[f"{name}_sr.dcm"] = make_report(finding, seg)
        if "pdf" in kinds:
            from dal_fast.dicom.pdf import make_page

            made[f"{name}_pdf.dcm"] = make_page(finding)
    return made


def write_finding(
    finding: Finding,
    objects: dict[str, Dataset],
    page: str,
    picture: bytes,
    folder: Path,
    instances: str,
    names: Names,
) -> dict[str, Path]:
    """Write objects, report page, picture and sidecar of a series, the sidecar last.

    Objects of other kinds from an earlier run stay where they agree with the new ones, and are
    removed where they do not.

    Args:
        finding: the screened series.
        objects: by the name of their file.
        page: the HTML report.
        picture: a PNG that stands for the series in the index.
        folder: created where it does not exist, and removed again if the writing fails.
        instances: hash of the series' instances and geometry.
        names: that no text shows.

    Returns:
        Paths by what they are.

    Raises:
        OutputError: ``output-unwritable``, ``disk-full``; then nothing of this series was written.
    """
    name = finding.verdict.name
    files = {_kind_of(file, name): file for file in objects}
    files |= {"report": f"{name}.html", "thumbnail": f"{name}.png", "sidecar": sidecar_name(name)}
    before = read_sidecar(folder / files["sidecar"]) or {}
    facts = sidecar(finding.result, files) | {
        "DICOM": {
            **names.hide_in(finding.verdict.record()),
            "Instances": instances,
            "Objects": {file: str(made.SOPInstanceUID) for file, made in objects.items()},
        }
    }
    _keep_older(folder, before, facts)
    with staged_files(folder, list(files.values())) as stage:
        for file, made in objects.items():
            with quiet():
                made.save_as(stage / file, enforce_file_format=True)
        write_text(stage / files["report"], page)
        write_bytes(stage / files["thumbnail"], picture)
        write_json(stage / files["sidecar"], facts)
    _remove_older(folder, before, {sidecar_name(name), *facts["Outputs"].values()})
    return {what: folder / file for what, file in files.items()}


def _kind_of(file: str, name: str) -> str:
    return file.removeprefix(f"{name}_").removesuffix(".dcm")


def _keep_older(folder: Path, before: dict[str, Any], facts: dict[str, Any]) -> None:
    """Add to a sidecar what it lacks of an earlier run, if that agrees with the new objects.

    Args:
        folder: of the results.
        before: the sidecar of the earlier run, empty where there is none.
        facts: the new sidecar.
    """
    try:
        agree = _results_of(before) == _results_of(json.loads(json.dumps(facts)))
    except (AttributeError, KeyError, TypeError):  # no sidecar of ours
        return
    if not agree:
        return
    outputs, objects = facts["Outputs"], facts["DICOM"]["Objects"]
    for what, file in before["Outputs"].items():
        uid = before["DICOM"]["Objects"].get(file)
        if uid is not None and what not in outputs and (folder / file).is_file():
            outputs[what], objects[file] = file, uid


def _results_of(content: dict[str, Any]) -> list[Any]:
    """What the objects of a sidecar follow from, and what they say of the scan's quality."""
    decisive = [content[key] for key in ("GeneratedBy", "Source", "Parameters")]
    flags = [flag["code"] for flag in content["QualityFlags"]]
    return [*decisive, content["DICOM"]["Instances"], flags]


def objects_on_disk(folder: Path, name: str) -> set[Path]:
    """The DICOM objects of a series that lie in a folder, of whatever run."""
    return set(folder.glob(f"{name}_*.dcm"))


def _remove_older(folder: Path, before: dict[str, Any], new: set[str]) -> None:
    """Objects of an earlier run of the series that no longer agree with it."""
    outputs = before.get("Outputs")
    for file in outputs.values() if isinstance(outputs, dict) else ():
        if isinstance(file, str) and file not in new and Path(file).name == file:
            with contextlib.suppress(OSError):
                (folder / file).unlink(missing_ok=True)
