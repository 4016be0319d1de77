"""Two writers of the files of one result: those that lie there in the end are of one of them."""

import os
import threading

from dal_fast.imaging import atomic
from dal_fast.imaging.atomic import staged_files, write_text

NAMES = ["map", "sidecar"]


def test_two_writers_do_not_mix(tmp_path, monkeypatch):
    moved, other_is_done = threading.Event(), threading.Event()
    replace = os.replace

    def pausing(source, target):
        replace(source, target)
        if threading.current_thread().name == "first" and not moved.is_set():
            moved.set()
            other_is_done.wait(1.0)  # the other one gets in between, if it can

    monkeypatch.setattr(atomic.os, "replace", pausing)

    def write(who):
        with staged_files(tmp_path, NAMES) as stage:
            for name in NAMES:
                write_text(stage / name, who)

    first = threading.Thread(target=write, args=("first",), name="first")
    first.start()
    assert moved.wait(10)
    write("second")
    other_is_done.set()
    first.join()
    assert len({(tmp_path / name).read_text() for name in NAMES}) == 1
