"""The binary interface: structs, symbols, constants, and programs of an older header."""

import ctypes as c
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from c_library import built_with_old_headers, newest_glibc
from capi import native

ROOT = native.ROOT
FIRST = Path(__file__).parent / "abi"
"""What 1.0 was: its header, its constants, and abidw's description. Never changed."""
STRUCTS = {
    "dal_error": native.Error, "dal_image": native.Image, "dal_output": native.Output,
    "dal_request": native.Request, "dal_summary": native.Summary, "dal_region": native.Region,
    "dal_executor": native.Executor, "dal_allocator": native.Allocator,
    "dal_options": native.Options, "dal_limits": native.Limits,
}  # fmt: skip
needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
needs_abigail = pytest.mark.skipif(
    shutil.which("abidw") is None or shutil.which("g++") is None,
    reason="needs abidw and abidiff (abigail-tools) and g++",
)


def printing(header, lines):
    """A program that does so with a header."""
    return f'#include "{header}"\n#include <stdio.h>\nint main(void) {{ {lines} return 0; }}'


def constants(header):
    """Every constant of a header and its value, as the compiler sees it."""
    names = re.findall(r"\b(DAL_[A-Z0-9_]+) = ", header.read_text("utf-8"))
    lines = "".join(f'printf("{name} %d\\n", {name});' for name in names)
    printed = compiled_and_run(printing(header, lines), header.parent)
    return dict(line.split() for line in printed.splitlines())


def layout(header):
    """Place and size of every member of every struct, as the compiler sees them."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", header.read_text("utf-8"), flags=re.DOTALL)
    lines = []
    for body, name in re.findall(r"typedef struct \{(.*?)\}\s*(\w+);", text, flags=re.DOTALL):
        lines.append(f'printf("{name} 0 %zu\\n", sizeof({name}));')
        lines += [
            f'printf("{name}.{member} %zu %zu\\n", offsetof({name}, {member}),'
            f" sizeof((({name} *)0)->{member}));"
            for member in members(body)
        ]
    return compiled_and_run(printing(header, "".join(lines)), header.parent).splitlines()


def members(body):
    """Their names: what a declaration's every declarator ends with."""
    found = []
    for declaration in filter(None, (part.strip() for part in body.split(";"))):
        function = re.search(r"\(\*(\w+)\)", declaration)
        if function:
            found.append(function[1])
        else:
            found += [
                re.sub(r"\[.*\]", "", one).split()[-1].strip("*") for one in declaration.split(",")
            ]
    return found


def compiled_and_run(source, folder):
    import tempfile

    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "program.c"
        path.write_text(source, "utf-8")
        command = [
            "gcc",
            "-std=c99",
            "-pedantic",
            "-Werror",
            f"-I{folder}",
            path,
            "-o",
            f"{work}/p",
        ]
        subprocess.run(command, check=True)
        return subprocess.run([f"{work}/p"], capture_output=True, text=True, check=True).stdout


def kept():
    return dict(line.split() for line in (FIRST / "1.0.constants").read_text("utf-8").splitlines())


@needs_compiler
def test_the_header_is_c99_short_and_as_the_tests_see_it():
    assert len(native.HEADER.read_text("utf-8").splitlines()) <= 300
    lines = "".join(f'printf("{name} %zu\\n", sizeof({name}));' for name in STRUCTS)
    source = (
        f'#include "{native.HEADER}"\n#include <stdio.h>\nint main(void) {{ {lines} return 0; }}'
    )
    found = dict(line.split() for line in compiled_and_run(source, ROOT).splitlines())
    assert {name: int(size) for name, size in found.items()} == {
        name: c.sizeof(struct) for name, struct in STRUCTS.items()
    }


@needs_compiler
def test_constants_keep_their_values(tmp_path):
    now = constants(native.HEADER)
    assert {name: now.get(name) for name in kept()} == kept()
    shifted = tmp_path / "dal_fast.h"
    text = native.HEADER.read_text("utf-8")
    shifted.write_text(text.replace("DAL_T2W = 2", "DAL_PDW = 2, DAL_T2W = 3"), "utf-8")
    assert {name: constants(shifted).get(name) for name in kept()} != kept()


@needs_compiler
def test_structs_keep_their_layout(tmp_path):
    """Members may be added at the end, where the sizes of the structs alone change."""
    first = layout(FIRST / "1.0/dal_fast.h")
    assert len(first) == 78

    def moved(header):
        now = set(layout(header))
        return {line for line in first if "." in line and line not in now}

    assert moved(native.HEADER) == set()
    text = native.HEADER.read_text("utf-8")
    changed = tmp_path / "dal_fast.h"
    for planted, what in (
        (text.replace("  double brain_ml; ", "  double planted;\n  double brain_ml; "), "brain_ml"),
        (text.replace("int32_t space;", "int64_t space;"), "space"),
    ):
        assert planted != text
        changed.write_text(planted, "utf-8")
        assert any(f".{what} " in line for line in moved(changed))
    longer = text.replace("  double seconds[16];", "  double seconds[16];\n  double planted;")
    changed.write_text(longer, "utf-8")
    assert moved(changed) == set()


def described(out, folder):
    """abidw's description of the functions and structs, by a header of ``folder``."""
    library = out.with_suffix(".so")
    subprocess.run(
        ["g++", "-std=gnu++17", "-g", "-O0", "-fPIC", "-shared", "-fvisibility=hidden",
         '-DDAL_FAST_VERSION="x"', f"-I{folder}", f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'kernels'}",
         f"-Wl,--version-script={ROOT / 'csrc/capi/version.map'}", "-Wl,-soname,libdal_fast.so.1",
         ROOT / "csrc/capi/api.cpp", "-o", library],
        check=True,
    )  # fmt: skip
    public = (folder if folder != ROOT else ROOT / "csrc") / "capi/dal_fast.h"
    subprocess.run(
        ["abidw", "--no-corpus-path", "--no-comp-dir-path", "--no-show-locs",
         "--drop-private-types", "--header-file", public, "--out-file", out, library],
        check=True,
    )  # fmt: skip
    out.write_text(re.sub(r" path='[^']*'", "", out.read_text("utf-8")), "utf-8")
    return out


def differs(before, after):
    return subprocess.run(["abidiff", before, after], capture_output=True, check=False).returncode


@needs_abigail
def test_functions_and_structs_are_those_of_the_first_version(tmp_path):
    now = described(tmp_path / "now.abi", ROOT)
    assert differs(FIRST / "1.0.abi", now) == 0
    (tmp_path / "capi").mkdir()
    text = native.HEADER.read_text("utf-8")
    planted = text.replace("  double brain_ml; ", "  double planted;\n  double brain_ml; ")
    assert planted != text
    (tmp_path / "capi/dal_fast.h").write_text(planted, "utf-8")
    assert differs(FIRST / "1.0.abi", described(tmp_path / "planted.abi", tmp_path)) != 0


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm")
def test_the_library_shows_its_functions_alone_and_needs_what_every_system_has(library):
    symbols = subprocess.run(
        ["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True
    ).stdout
    names = {line.split()[-1].split("@")[0] for line in symbols.splitlines()}
    declared = set(re.findall(r"\b(dal_[a-z_]+)\(", native.HEADER.read_text("utf-8")))
    assert names - {"DAL_FAST_1"} <= declared
    assert {"dal_run", "dal_engine_open"} <= names
    needed = subprocess.run(
        ["readelf", "-d", library], capture_output=True, text=True, check=True
    ).stdout
    libraries = set(re.findall(r"NEEDED.*\[(.*)\]", needed))
    names = {name.split(".")[0].split("-")[0] for name in libraries}
    assert names <= {"libc", "libm", "libgcc_s", "ld"}
    assert "[libdal_fast.so.1]" in needed


@pytest.mark.skipif(shutil.which("strip") is None, reason="needs strip")
def test_the_library_is_small(library, tmp_path):
    subprocess.run(["strip", "-o", tmp_path / "stripped", library], check=True)
    assert (tmp_path / "stripped").stat().st_size <= 5_000_000


@built_with_old_headers
@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf")
def test_the_library_needs_no_younger_glibc_than_the_module(library):
    assert newest_glibc(library) <= (2, 34)  # an unwinder that is linked in asks for 2.35


def test_structs_of_other_sizes(lib, session, brain):
    scan, mask, affine = brain
    image, brain_image, error = native.image_of(scan, affine), native.image_of(mask), native.Error()

    def run(request, summary=None):
        return lib.dal_run(session.handle, c.cast(c.byref(request), c.POINTER(native.Request)),
                           summary, error)  # fmt: skip

    class Longer(c.Structure):
        _fields_ = [("known", native.Request), ("later", c.c_int64)]

    longer = Longer()
    longer.known = native.Request(scan=c.pointer(image), mask=c.pointer(brain_image))
    longer.known.struct_size = c.sizeof(longer)
    assert run(longer) == native.OK
    longer.later = 1  # asks for what this library does not know
    assert run(longer) == native.UNSUPPORTED
    for size in (0, 4, c.sizeof(native.Request) - 1, 1 << 20):
        longer.known.struct_size = size
        assert run(longer) == native.ARGUMENT, size
        assert b"struct_size" in error.message


@pytest.mark.parametrize(
    "error", [None, native.Error(), native.Error(struct_size=4)], ids=["none", "no-size", "short"]
)
def test_null_everywhere(lib, engine, session, error):
    null, handle = None, c.c_void_p()
    assert lib.dal_engine_open(null, null, c.byref(handle), error) == native.ARGUMENT
    assert lib.dal_engine_open(b"x", null, null, error) == native.ARGUMENT
    assert lib.dal_engine_open_memory(null, 9, null, c.byref(handle), error) == native.ARGUMENT
    assert lib.dal_session_open(null, null, c.byref(handle), error) == native.ARGUMENT
    assert lib.dal_session_open(engine.handle, null, null, error) == native.ARGUMENT
    assert lib.dal_session_bytes(null, null, error) == native.ARGUMENT
    assert lib.dal_run(null, null, null, error) == native.ARGUMENT
    assert lib.dal_run(session.handle, null, null, error) == native.ARGUMENT
    assert lib.dal_run(session.handle, native.Request(), null, error) == native.ARGUMENT
    assert lib.dal_regions(session.handle, 48, null, 3, error) == native.ARGUMENT
    assert lib.dal_cancel(null) == native.ARGUMENT
    assert lib.dal_engine_fact(null, b"engine") is None
    lib.dal_session_close(null)
    lib.dal_engine_close(null)


def test_codes_are_those_of_python_or_named_beside_them():
    from dal_fast.errors import Code

    given = re.compile(r'(?:fail|failure_of)\(\s*DAL_\w+,\s*"([a-z-]+)"')
    sources = [path.read_text("utf-8") for path in (ROOT / "csrc").rglob("*.cpp")]
    own = {code for text in sources for code in given.findall(text)} - set(Code)
    assert own == {"cancelled", "engine-failed", "session-busy", "session-too-small"}
    for text in (native.HEADER, ROOT / "docs/howto/embed.md"):
        assert [code for code in own if code not in text.read_text("utf-8")] == []


def test_facts(lib, engine):
    from dal_fast import __version__

    assert lib.dal_abi() == 1
    assert lib.dal_version().decode() == __version__
    assert lib.dal_engine_fact(engine.handle, b"engine").startswith(b"OpenVINO 20")
    assert len(lib.dal_engine_fact(engine.handle, b"weights_sha256")) == 64
    assert lib.dal_engine_fact(engine.handle, b"nothing") is None


@needs_compiler
def test_the_first_versions_program_runs_with_this_library(
    library, bundle, engine_path, brain, tmp_path
):
    scan, mask, _ = brain
    np.asfortranarray(scan).T.tofile(tmp_path / "scan")
    np.asfortranarray(mask).T.tofile(tmp_path / "mask")
    program = tmp_path / "screen"
    subprocess.run(
        ["gcc", "-std=c99", "-Wall", "-Werror", f"-I{FIRST / '1.0'}", FIRST / "1.0/screen.c",
         library, f"-Wl,-rpath,{library.parent}", "-o", program],
        check=True,
    )  # fmt: skip
    command = [program, bundle, engine_path, tmp_path / "scan", tmp_path / "mask", *scan.shape, 2.5]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("score ")
