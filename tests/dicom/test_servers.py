"""DCMTK and Orthanc, on 127.0.0.1, store every written object and give it back."""

import contextlib
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest

pytest.importorskip("highdicom", reason="needs dal_fast[dicom]")

from dicom_lab import findings, tools
from pydicom import dcmread

from dal_fast.dicom.outputs import KINDS, make_objects

PATIENCE = 60.0  # seconds for a server to start


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """Files of every kind of object, by SOP instance UID."""
    folder = tmp_path_factory.mktemp("objects")
    findings.write_study(folder / "study")
    finding = findings.make_finding(folder / "study")
    (folder / "results").mkdir()
    paths = {}
    for name, made in make_objects(finding, KINDS, False).items():
        made.save_as(folder / "results" / name, enforce_file_format=True)
        paths[str(made.SOPInstanceUID)] = folder / "results" / name
    return folder / "results", paths


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(command, port):
    """A server while the block runs."""
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.2)
        else:
            pytest.fail(f"{command[0]} did not start")
        yield
    finally:
        server.terminate()
        server.wait(PATIENCE)


def check_same(first, second):
    """Two data sets hold the same, whatever their file meta information says."""
    assert first == second


def test_dcmtk_stores_every_object(objects, tmp_path):
    folder, paths = objects
    port = free_port()
    sink = tmp_path / "sink"
    sink.mkdir()
    server = [tools.path_of("storescp"), "-od", str(sink), "+xa", "-pm", str(port)]
    with running(server, port):
        tools.run("dcmsend", "-dn", "+sd", "+r", "127.0.0.1", port, folder)
    stored = {str(ds.SOPInstanceUID): ds for ds in map(dcmread, sink.iterdir())}
    assert stored.keys() == paths.keys()
    for uid, path in paths.items():
        check_same(stored[uid], dcmread(path))


def test_dcmtk_reads_every_object(objects):
    _, paths = objects
    for path in paths.values():
        assert "E:" not in tools.run("dcmdump", "-q", path)


def test_orthanc_stores_every_object_and_gives_it_back(objects, tmp_path):
    folder, paths = objects
    http, dicom = free_port(), free_port()
    configuration = {
        "StorageDirectory": str(tmp_path / "db"),
        "IndexDirectory": str(tmp_path / "db"),
        "HttpPort": http,
        "DicomPort": dicom,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(configuration))

    def get(path):
        return urllib.request.urlopen(f"http://127.0.0.1:{http}{path}", timeout=30).read()

    with running([tools.path_of("Orthanc"), str(tmp_path / "orthanc.json")], dicom):
        tools.run("dcmsend", "-dn", "-aec", "ORTHANC", "+sd", "+r", "127.0.0.1", dicom, folder)
        end = time.monotonic() + PATIENCE
        identifiers = []
        while time.monotonic() < end and len(identifiers) < len(paths):
            with contextlib.suppress(urllib.error.URLError):
                identifiers = json.loads(get("/instances"))
            time.sleep(0.2)
        assert len(identifiers) == len(paths)
        for identifier in identifiers:
            (tmp_path / "back.dcm").write_bytes(get(f"/instances/{identifier}/file"))
            back = dcmread(tmp_path / "back.dcm")
            check_same(back, dcmread(paths[str(back.SOPInstanceUID)]))
        assert len(json.loads(get("/studies"))) == 1
        assert len(json.loads(get("/series"))) == len(KINDS)
