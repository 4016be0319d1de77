"""What goes wrong: no memory, no engine, cancelling, threads, forks, unloading."""

import ctypes as c
import os
import random
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from capi import native


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"Wei\xc3\x9f", "Weiß"),  # as it is
        (b"a\xb2b\xff", "a?b?"),
        (b"\xe2\x82/", "??/"),  # one byte is missing
        (b"\xc0\xaf\xed\xa0\x80", "?????"),  # no UTF-8, though it looks like it
    ],
)
def test_messages_are_utf8(lib, bundle, tmp_path, name, shown):
    with pytest.raises(native.Refused) as refused:
        native.Engine(lib, bundle, os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    assert f"{tmp_path}/{shown}" in refused.value.message


def test_an_engine_that_is_not_there_or_another(lib, bundle, tmp_path):
    assert native.opened(lib, bundle, tmp_path) == (native.ENGINE, "runtime-unavailable")
    assert native.opened(lib, bundle, tmp_path / "none") == (native.ENGINE, "runtime-unavailable")
    (tmp_path / "libopenvino_c.so").write_bytes(b"no library")
    assert native.opened(lib, bundle, tmp_path) == (native.ENGINE, "runtime-unavailable")
    status, code = native.opened(lib, bundle, tmp_path, engine=b"onnxruntime")
    assert (status, code) == (native.UNSUPPORTED, "runtime-unavailable")


def test_an_engine_in_the_working_folder(library, bundle, engine_path):
    """A file without a folder is that of the working folder, not one that the loader looks for."""
    (path,) = engine_path.glob("libs/libopenvino_c.so*")
    assert alone("""
        import os
        from capi import native
        library, bundle, folder, name = sys.argv[2:]
        os.chdir(folder)
        native.Engine(native.load(library), bundle, name).close()
        print("opened")
    """, library, bundle, path.parent, path.name) == ["opened"]  # fmt: skip


class Accounts:
    """Memory of the host's, which ends at a call."""

    def __init__(self, fails_at=0):
        self.held, self.calls, self.fails_at = {}, 0, fails_at
        libc = c.CDLL(None)
        libc.aligned_alloc.restype, libc.aligned_alloc.argtypes = c.c_void_p, [c.c_size_t] * 2
        libc.free.restype, libc.free.argtypes = None, [c.c_void_p]

        @native.ALLOCATE
        def allocate(user, size, alignment):
            self.calls += 1
            if self.calls == self.fails_at:
                return None
            place = libc.aligned_alloc(alignment, -(-size // alignment) * alignment)
            self.held[place] = size
            return place

        @native.RELEASE
        def release(user, place, size):
            assert self.held.pop(place) == size
            libc.free(place)

        self.hooks = native.Allocator(allocate=allocate, release=release)


def test_memory_that_ends_at_every_call(lib, bundle, engine_path, brain):
    scan, mask, affine = brain
    accounts = Accounts()
    engine = native.Engine(lib, bundle, engine_path, allocator=c.pointer(accounts.hooks))
    session = native.Session(engine, max_shape=(96, 96, 96))
    before = accounts.calls
    session.run(scan, affine, mask)
    assert accounts.calls == before  # none in dal_run
    session.close()
    engine.close()
    assert not accounts.held
    for k in range(1, before + 1):
        accounts = Accounts(fails_at=k)
        with pytest.raises(native.Refused) as refused:
            open_both(lib, bundle, engine_path, accounts)
        assert (refused.value.status, refused.value.code) == (native.MEMORY, "out-of-memory"), k
        assert not accounts.held, k


def open_both(lib, bundle, engine_path, accounts):
    engine = native.Engine(lib, bundle, engine_path, allocator=c.pointer(accounts.hooks))
    try:
        native.Session(engine, max_shape=(96, 96, 96)).close()
    finally:
        engine.close()


def test_a_session_that_is_too_small(engine, brain):
    scan, mask, affine = brain
    session = native.Session(engine, max_shape=(16, 16, 16), max_brain_mm=40)
    with pytest.raises(native.Refused) as refused:
        session.run(scan, affine, mask)
    assert (refused.value.status, refused.value.code) == (native.MEMORY, "session-too-small")
    with pytest.raises(native.Refused, match="extraction"):
        session.run(scan, affine)
    session.close()


@pytest.mark.parametrize("threads", [2, pytest.param(64, marks=pytest.mark.long), 1024])
def test_a_session_holds_what_its_limits_allow(lib, bundle, engine_path, threads):
    """A brain of just that size, also where a large host has many threads at work."""

    @native.RUN
    def run(user, tasks, threads, task, context):
        for index in range(tasks):
            task(context, index, index % threads)

    executor = native.Executor(run=run)
    options = {"threads": threads, "executor": c.pointer(executor)}
    engine = native.Engine(lib, bundle, engine_path, **options)
    for side, voxel_mm in ((96, 0.5), (64, 0.4), (60, 2.0), (20, 9.0)):
        axis = np.linspace(-1, 1, side)
        radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
        levels = np.select([radius < 0.6, radius < 0.8, radius < 1], [120, 90, 40], 0)
        scan = np.asfortranarray(levels, dtype=np.float32)
        session = native.Session(engine, max_shape=scan.shape, max_brain_mm=side * voxel_mm)
        session.run(scan, np.diag([voxel_mm, voxel_mm, voxel_mm, 1]), np.uint8(scan > 0))
        session.close()
    engine.close()


def ended(session, brain, **request):
    """How a run ends: its status and code, or the score."""
    scan, mask, affine = brain
    try:
        return session.run(scan, affine, mask, **request)[0].score
    except native.Refused as refused:
        return refused.status, refused.code


def test_cancelling_at_any_moment_and_deadlines(lib, session, brain):
    scan, mask, affine = brain
    whole = session.run(scan, affine, mask)[0]
    draw, late = random.Random(3), 0.0
    for _ in range(20):
        asked = []

        def cancel(asked=asked):
            asked.append(time.monotonic())
            lib.dal_cancel(session.handle)

        timer = threading.Timer(draw.uniform(0, whole.seconds[15]), cancel)
        timer.start()
        how = ended(session, brain)
        if how != whole.score:
            assert how == (native.CANCELLED, "cancelled")
            late = max(late, time.monotonic() - asked[0])
        timer.join()
    assert late < 1.0  # on a machine that is busy with other things
    assert ended(session, brain, deadline_ms=1) == (native.DEADLINE, "timed-out")
    for far in (600_000, 2**63 - 1):
        assert ended(session, brain, deadline_ms=far) == whole.score


MOST_CALLS = 24  # of parallel loops between two looks at dal_cancel


@pytest.mark.parametrize("extraction", [0, 1])
@pytest.mark.parametrize("places", [10, pytest.param(25, marks=pytest.mark.long)])
def test_no_long_stretch_looks_at_no_cancel(lib, bundle, engine_path, brain, extraction, places):
    """Counted in parallel loops, whose executor is ours: a busy machine changes no count."""
    scan, mask, affine = brain
    calls, cancelled_at = 0, -1

    @native.RUN
    def run(user, tasks, threads, task, context):
        nonlocal calls
        if calls == cancelled_at:
            lib.dal_cancel(session.handle)
        calls += 1
        for index in range(tasks):
            task(context, index, 0)

    executor = native.Executor(run=run)
    options = {"threads": 2, "executor": c.pointer(executor)}
    engine = native.Engine(lib, bundle, engine_path, **options)
    session = native.Session(engine, max_shape=(96, 96, 96), extraction=extraction)
    given = scan, None if extraction else mask, affine
    ended(session, given)
    whole = calls
    assert whole > 40
    for place in range(0, whole, max(1, whole // places)):
        calls, cancelled_at = 0, place
        if ended(session, given) == (native.CANCELLED, "cancelled"):
            assert calls - place <= MOST_CALLS, place
    session.close()
    engine.close()


class Marked:
    """An allocator whose memory says which of it has been written to."""

    def __init__(self):
        self.blocks = {}

        @native.ALLOCATE
        def allocate(user, size, alignment):
            block = np.full(size + alignment, 0xA5, np.uint8)
            start = -block.ctypes.data % alignment
            self.blocks[block.ctypes.data + start] = block[start : start + size]
            return block.ctypes.data + start

        @native.RELEASE
        def release(user, memory, size):
            del self.blocks[memory]

        self.hooks = native.Allocator(allocate=allocate, release=release)

    def written(self):
        """Bytes of the largest block, which is a session's."""
        return int(np.count_nonzero(max(self.blocks.values(), key=len) != 0xA5))


def test_an_output_holds_its_volume_all_the_while(lib, bundle, engine_path, brain):
    """Packed outputs spare the session's memory for the scan, the map and both masks."""
    scan, mask, affine = brain
    written, maps = {}, {}
    for layout in ("F", "C"):
        memory = Marked()
        hooks = c.pointer(memory.hooks)
        engine = native.Engine(lib, bundle, engine_path, threads=1, allocator=hooks)
        session = native.Session(engine, max_shape=(96, 96, 96))
        outputs = (native.MAP, native.ABOVE, native.BRAIN)
        maps[layout] = session.run(scan, affine, mask, outputs, layout=layout)[1]
        written[layout] = memory.written()
        session.close()
        engine.close()
    assert written["C"] - written["F"] > 4 * scan.size  # of 6; equal bytes count as not written
    for what, found in maps["F"].items():
        assert np.array_equal(found, maps["C"][what])


@pytest.mark.parametrize("sessions", [8, pytest.param(16, marks=pytest.mark.long)])
def test_sessions_at_once_and_two_runs_in_one(engine, session, brain, sessions):
    scan, mask, affine = brain
    wanted = session.run(scan, affine, mask)[0].score
    scores, refusals = [], []

    def own():
        session = native.Session(engine, max_shape=(64, 72, 64))
        scores.append(session.run(scan, affine, mask)[0].score)
        session.close()

    def shared():
        try:
            scores.append(session.run(scan, affine, mask)[0].score)
        except native.Refused as refused:
            refusals.append((refused.status, refused.code))

    for body, count in ((own, sessions), (shared, 4)):
        threads = [threading.Thread(target=body) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(refusals) <= {(native.ARGUMENT, "session-busy")}
    assert scores == pytest.approx([wanted] * len(scores), rel=1e-6)
    assert len(scores) + len(refusals) == sessions + 4


def alone(body, *arguments):
    """What a process of its own prints."""
    script = "import sys\nsys.path.insert(0, sys.argv[1])\n" + textwrap.dedent(body)
    done = subprocess.run(
        [sys.executable, "-c", script, str(native.ROOT / "tests"), *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_thousand_loads_and_unloads(library):
    """With an engine that fails to open in between, which has started no thread."""
    left, mapped = alone("""
        import _ctypes, os
        from capi import native
        before = len(os.listdir("/proc/self/task"))
        for _ in range(1000):
            lib = native.load(sys.argv[2])
            try:
                native.Engine(lib, b"12345678", "/")
            except native.Refused:
                pass
            _ctypes.dlclose(lib._handle)
        mapped = sys.argv[2] in open("/proc/self/maps").read()
        print(len(os.listdir("/proc/self/task")) - before, mapped)
    """, library)  # fmt: skip
    assert (left, mapped) == ("0", "False")


def test_unloading_after_a_run_forking_and_odd_arithmetic(
    library, bundle, engine_path, brain, tmp_path
):
    scan, mask, affine = brain
    np.savez(tmp_path / "brain.npz", scan=scan, mask=mask, affine=affine)
    lines = alone("""
        import _ctypes, ctypes as c, locale, os
        import numpy as np
        from capi import native
        library, bundle, engine_path, brain = sys.argv[2:]
        with np.load(brain) as arrays:
            scan, mask, affine = (arrays[name] for name in ("scan", "mask", "affine"))
        lib = native.load(library)
        engine = native.Engine(lib, bundle, engine_path, threads=2)
        session = native.Session(engine, max_shape=(96, 96, 96))
        plain = session.run(scan, affine, mask)[0].score
        libm = c.CDLL("libm.so.6")
        libm.fesetround(0x800)  # upwards
        for name in ("de_DE.UTF-8", "C.UTF-8"):
            try:
                locale.setlocale(locale.LC_ALL, name)
            except locale.Error:
                pass
        odd = session.run(scan, affine, mask)[0].score
        assert libm.fegetround() == 0x800
        libm.fesetround(0)
        child = os.fork()
        if child == 0:
            try:
                session.run(scan, affine, mask)
            except native.Refused as refused:
                os._exit(refused.status)
            os._exit(0)
        print(plain == odd, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        session.close()
        engine.close()
        _ctypes.dlclose(lib._handle)
        print(library in open("/proc/self/maps").read())
    """, library, bundle, engine_path, tmp_path / "brain.npz")  # fmt: skip
    assert lines == ["True", str(native.UNSUPPORTED), "False"]
