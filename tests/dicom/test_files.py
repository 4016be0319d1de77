"""Folders, archives and files of any kind: read, told, or refused, never a traceback."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="needs dal_fast[dicom]")

from dicom_lab import folders, scanner
from pydicom import dcmread
from pydicom import uid as uids
from typer.testing import CliRunner

from dal_fast.cli import app
from dal_fast.dicom import files
from dal_fast.dicom.files import find_files
from dal_fast.dicom.pixels import read_stack, same_pixels
from dal_fast.dicom.select import select_series
from dal_fast.dicom.series import find_series
from dal_fast.errors import Code, InputError


def series(folder, kind=scanner.classic, **changes):
    images = kind(scanner.small_head(), scanner.turned())
    images = images if isinstance(images, list) else [images]
    for ds in images:
        for key, value in changes.items():
            setattr(ds, key, value)
    return scanner.write(images, folder)


def end_of(study):
    """The codes that reading a study ends with; empty where all of it is read."""
    codes = []
    try:
        found = find_files(study)
        codes += [str(Code.DICOM_DAMAGED) for _ in found.damaged]
        for one in find_series(found, same_pixels):
            for part in one.parts:
                try:
                    if part.refusal is not None:
                        raise part.refusal
                    read_stack(part.stack, Path("x"))
                except InputError as error:
                    codes.append(str(error.code))
    except InputError as error:
        codes.append(str(error.code))
    return codes


def test_a_deflated_bomb_is_refused_before_it_is_inflated(tmp_path, monkeypatch):
    images = scanner.classic(scanner.small_head(), scanner.turned())
    images[0].file_meta.TransferSyntaxUID = uids.DeflatedExplicitVRLittleEndian
    images[0].PixelData = bytes(40_000_000)  # 40 kB on the disk
    scanner.write(images[:1], tmp_path / "in")
    monkeypatch.setattr(files, "LARGEST_FILE", 1 << 20)
    found = find_files(tmp_path / "in")
    ((_, reason),) = found.damaged
    assert "inflates to more" in reason


def test_a_bomb_in_an_archive_is_refused(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.dcm", bytes(3 << 20))
    monkeypatch.setattr(files, "LARGEST_FILE", 1 << 20)
    ((source, _),) = find_files(tmp_path / "a.zip").damaged
    assert source.member == "bomb.dcm"


@pytest.mark.parametrize("keep", [50, 2000, 20_000])
def test_an_archive_that_is_cut_is_told(tmp_path, keep):
    folder = series(tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes()[:keep])
    assert end_of(tmp_path / "a.zip") == ["dicom-damaged"]


def test_an_archive_with_a_flipped_byte_is_refused(tmp_path):
    folder = series(tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[2500] ^= 0xFF  # in the pixels of the first file
    (tmp_path / "a.zip").write_bytes(content)
    assert end_of(tmp_path / "a.zip") != []


def test_links_are_followed_once(tmp_path):
    folder = series(tmp_path / "in" / "a")
    os.symlink(folder, tmp_path / "in" / "b")
    os.symlink(tmp_path / "in", tmp_path / "in" / "a" / "back")
    os.mkfifo(tmp_path / "in" / "pipe")
    (tmp_path / "in" / "README").write_text("no image")
    assert end_of(tmp_path / "in") == []
    found = find_files(tmp_path / "in")
    assert (len(found.images), found.foreign) == (24, 1)


def test_slices_whose_links_lead_nowhere_are_told(tmp_path):
    """Of a dataset that was not fetched; without the outermost slices no gap would show."""
    folder = series(tmp_path / "in")
    for file in sorted(folder.iterdir())[-2:]:
        file.unlink()
        file.symlink_to(tmp_path / "gone" / file.name)
    (folder / ".#open").symlink_to("somebody@somewhere")
    reasons = [reason for _, reason in find_files(folder).damaged]
    assert len(reasons) == 2
    assert "datalad get" in reasons[0]


@pytest.mark.parametrize("files", [1, 24])
def test_frames_without_places_are_refused_not_dropped(tmp_path, files):
    images = scanner.classic(scanner.small_head(), scanner.turned())
    for ds in images:
        ds.NumberOfFrames, ds.PixelData = 2, 2 * ds.PixelData
    scanner.write(images[:files], tmp_path / "in")
    (one,) = find_series(find_files(tmp_path / "in"), same_pixels)
    (part,) = one.parts
    assert part.refusal.code == "dicom-no-geometry"
    assert "2 frames" in part.refusal.message


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize("value", [b"x   ", b"NaN "])
def test_a_scale_that_is_no_number_is_refused(tmp_path, keyword, value):
    folder = series(tmp_path / "in", **{keyword: "7777"})
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes().replace(b"DS\x04\x007777", b"DS\x04\x00" + value))
    assert end_of(folder) == ["scaling"]


def test_texts_that_cannot_be_decoded_are_read_without_a_word(tmp_path, recwarn):
    from dal_fast.dicom.study import find_studies

    folder = series(tmp_path / "in", SpecificCharacterSet="ISO_IR 192")
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes().replace(b"t1_mprage_sag", b"t1_mpr\xe4ge_sag"))
    (study,) = find_studies(folder).studies
    assert study.selection.record()["Series"][0]["SeriesDescription"].startswith("t1_mpr")
    assert [str(warning.message) for warning in recwarn] == []


def test_a_study_that_is_still_arriving_is_asked_again(tmp_path):
    """What a program that receives images does."""
    from dal_fast.dicom.study import find_studies

    folder = series(tmp_path / "sent")
    received = tmp_path / "received"
    received.mkdir()
    arriving = sorted(folder.iterdir())
    for file in (*arriving[:9], *arriving[10:]):
        file.rename(received / file.name)
    (study,) = find_studies(received).studies
    assert [v.rule for v in study.selection.verdicts] == ["dicom-missing-slices"]
    arriving[9].rename(received / arriving[9].name)
    studies = find_studies(received)
    (job,) = studies.jobs(tmp_path / "out")
    assert job.scan.name == "series-5_T1w"


def test_a_directory_stands_for_its_folder(tmp_path):
    folders.with_directory(scanner.classic(scanner.small_head(), scanner.turned()), tmp_path / "in")
    assert end_of(tmp_path / "in" / "DICOMDIR") == []
    assert len(find_files(tmp_path / "in" / "DICOMDIR").images) == 24


def test_what_cannot_be_opened_is_told_without_its_folders(tmp_path, monkeypatch):
    folder = series(tmp_path / "Nachname" / "in")
    real = files.Source.open

    def refuse(self):
        if self.name == "IM0003.dcm":
            raise PermissionError(13, "Permission denied", str(self.path))
        return real(self)

    monkeypatch.setattr(files.Source, "open", refuse)
    ((_, reason),) = find_files(folder).damaged
    assert reason == "it cannot be read: Permission denied"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [scanner.classic, scanner.enhanced], ids=["classic", "enhanced"])
def test_no_flipped_byte_ends_in_a_traceback(kind, tmp_path):
    folder = series(tmp_path / "in", kind)
    victim = sorted(folder.iterdir())[-1]
    content = victim.read_bytes()
    generator = np.random.default_rng(8)
    ends = set()
    for _ in range(60):
        changed = bytearray(content)
        for place in generator.integers(132, min(len(content), 6000), 3):
            changed[place] = generator.integers(256)
        victim.write_bytes(changed)
        ends |= set(end_of(folder))
    assert ends
    assert all(code in set(Code) for code in ends)


def test_a_phase_image_of_ge_is_known_by_its_private_attribute(tmp_path):
    folder = tmp_path / "in"
    images = scanner.classic(scanner.small_head(), scanner.turned(), "ge")
    for ds in images:
        ds.add_new(0x0043102F, "SS", 1)
    scanner.write(images, folder)
    (verdict,) = select_series(find_series(find_files(folder), same_pixels)).verdicts
    assert (verdict.rule, verdict.chosen) == ("component", False)
    for file in folder.iterdir():
        ds = dcmread(file)
        ds[0x0043102F].value = 0
        ds.save_as(file)
    assert select_series(find_series(find_files(folder), same_pixels)).chosen


@pytest.mark.parametrize("name", ["IM{:04d}", "IM{:04d}.dcm"])
def test_other_commands_name_this_one(tmp_path, name):
    scanner.write(
        scanner.classic(scanner.small_head(), scanner.turned()), tmp_path / "in", name=name
    )
    for arguments in (["screen", "in", "out"], ["bids", "in", "out", "participant"]):
        arguments = [str(tmp_path / a) if a in ("in", "out") else a for a in arguments]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2
        assert "dal-fast dicom" in result.output


def test_a_series_of_many_files_is_refused_in_a_second(tmp_path):
    import time

    images = scanner.classic(scanner.small_head((16, 16, 24)), scanner.turned())
    template = images[0]
    for number in range(1000):
        template.SOPInstanceUID = f"1.2.3.{number + 1}"
        template.file_meta.MediaStorageSOPInstanceUID = template.SOPInstanceUID
        template.ImagePositionPatient = ["0", "0", str(number**1.1)]
        scanner.write([template], tmp_path / "in", name=f"{number:05d}" + "{}")
    start = time.process_time()
    assert end_of(tmp_path / "in") == ["dicom-uneven"]
    assert time.process_time() - start < 4  # about one second on a machine that does nothing else
