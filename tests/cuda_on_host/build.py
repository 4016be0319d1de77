"""Builds the CUDA kernels for the CPU.

    build("fast")             the extension module _cuda_on_host: the package's kernels, bound
    library("race", source)   one CUDA source of a test's own, to be loaded with ctypes

Each CUDA source becomes a shared library of its own, since its static shared memory is the
library's thread-local storage (src/statics.cpp). Objects are kept and made again when a file that
they include, a flag or the compiler changes.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FOLDER = ROOT / "build" / "cuda_on_host"

COMMON = ["-std=c++17", "-fPIC", "-fno-gnu-unique", "-ffp-contract=off", "-Wall", "-Wextra"]
COMMON += ["-Wno-unknown-pragmas", "-Wno-unused-function", "-Wno-psabi"]
# GCC's thread sanitizer marks the accesses; src/race.cpp takes the place of its run-time library
CHECKED = ["-fsanitize=thread", "--param=tsan-distinguish-volatile=1"]
CHECKED += ["--param=tsan-instrument-func-entry-exit=0", "-fno-threadsafe-statics"]
# Without UBSan's checks of null pointers and object sizes: they take ten times as long to compile.
UNDEFINED = "bounds,alignment,signed-integer-overflow,shift,integer-divide-by-zero"
SANITIZED = [f"-fsanitize=address,{UNDEFINED}", "-fno-sanitize-recover=all"]

# mode -> flags of the shim, of the kernels, of the linker
MODES: dict[str, tuple[list[str], list[str], list[str]]] = {
    "fast": (["-O2"], ["-O1"], []),
    "asan": (["-O1", "-g1", "-fsanitize=address"], ["-O1", "-g1", *SANITIZED], SANITIZED),
    "race": (["-O2", "-g1", "-DCOH_RACE"], ["-O1", "-g1", "-DCOH_RACE", *CHECKED], []),
    # the portable switch, for processors other than x86-64
    "ucontext": (["-O2", "-DCOH_UCONTEXT"], ["-O1"], []),
}


@cache
def toolkit() -> list[Path]:
    """Folders of the CUDA toolkit's headers; empty where there are none."""
    homes = [os.environ[v] for v in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(v)]
    if nvcc := shutil.which("nvcc"):
        command = [nvcc, "--dryrun", "-x", "cu", "-c", os.devnull, "-o", os.devnull]
        for line in subprocess.run(command, capture_output=True, text=True).stderr.splitlines():
            if line.startswith("#$ TOP="):
                homes.append(line.removeprefix("#$ TOP=").strip())
    candidates = [Path(home) / "include" for home in [*homes, "/usr/local/cuda"]]
    nvidia = Path(sysconfig.get_path("purelib")) / "nvidia"  # the pip packages
    candidates += [nvidia / "cuda_runtime" / "include", *sorted(nvidia.glob("cu*/include"))]
    for folder in candidates:
        folders = [f for f in (folder, folder / "cccl") if f.is_dir()]
        needed = ("cuda_runtime_api.h", "cuda_fp16.h", "cuda_bf16.h", "nv/target")
        if all(any((f / header).is_file() for f in folders) for header in needed):
            return [f.resolve() for f in folders]
    return []


@cache
def why_not() -> str:
    """Why the kernels cannot be built for the CPU here; empty when they can."""
    if not sys.platform.startswith("linux"):
        return "CUDA kernels on the CPU need Linux"
    version = _output("g++", "--version")
    if "Free Software Foundation" not in version:
        return "CUDA kernels on the CPU need GCC as g++"
    if not toolkit():
        return "CUDA kernels on the CPU need the CUDA toolkit's headers (nvcc, $CUDA_HOME or pip)"
    return ""


def build(mode: str, folder: Path = FOLDER, defines: Iterable[str] = ()) -> Path:
    """The extension module _cuda_on_host, with every kernel of the package."""
    import pybind11

    kernels = sorted((ROOT / "kernels").glob("*/*_cuda.cu"))
    bindings = ROOT / "csrc" / "bind_cuda.cpp"
    flags = ["-O0", "-fvisibility=hidden", *COMMON, *_includes()]
    flags += ["-isystem", pybind11.get_include(), "-isystem", sysconfig.get_path("include")]
    machine = _machine(mode, folder)
    with ThreadPoolExecutor(2) as two:
        bound = two.submit(
            _compile, _together("bindings", [bindings, HERE / "module.cpp"], folder), flags, folder
        )
        libraries = list(two.map(lambda k: library(mode, k, folder, defines), kernels))
    module = folder / mode / f"_cuda_on_host{sysconfig.get_config_var('EXT_SUFFIX')}"
    return _link(module, mode, [bound.result()], [*libraries, machine])


def library(mode: str, source: Path, folder: Path = FOLDER, defines: Iterable[str] = ()) -> Path:
    """One CUDA source as a shared library on top of the shim."""
    flags = [*MODES[mode][1], *_processor(), *COMMON, *_includes(), *(f"-D{d}" for d in defines)]
    made = _compile(source, [*flags, "-x", "c++"], folder / mode)
    return _link(
        folder / mode / f"lib{source.stem}_{mode}.so", mode, [made], [_machine(mode, folder)]
    )


def preload(mode: str) -> dict[str, str]:
    """Environment of a process that loads what was built in this mode."""
    if mode != "asan":
        return {}
    # libstdc++ too: ASan wraps its functions when the process starts
    names = ("libasan.so", "libubsan.so", "libstdc++.so.6")
    paths = [_output("g++", f"-print-file-name={n}").strip() for n in names]
    # _C has a libstdc++ of its own, and frees parts of pybind11's tables that ASan's new made
    options = "detect_leaks=0:alloc_dealloc_mismatch=0"
    return {"LD_PRELOAD": " ".join(paths), "ASAN_OPTIONS": options}


def _together(name: str, sources: list[Path], folder: Path) -> Path:
    """One source that includes them all: most of the time goes into headers that they share."""
    made, text = folder / f"{name}.cpp", "".join(f'#include "{s}"\n' for s in sources)
    if not made.is_file() or made.read_text() != text:
        folder.mkdir(parents=True, exist_ok=True)
        draft = _draft(made)
        draft.write_text(text)
        os.replace(draft, made)  # whole, whoever reads it now
    return made


def _machine(mode: str, folder: Path) -> Path:
    flags = [*MODES[mode][0], *COMMON, *_includes()]
    source = _together("machine", sorted((HERE / "src").glob("*.cpp")), folder)
    made = _compile(source, flags, folder / mode)
    return _link(folder / mode / f"libcuda_on_host_{mode}.so", mode, [made], [])


def _includes() -> list[str]:
    ours = (HERE / "include", ROOT / "csrc", ROOT / "kernels")  # ours first: its cuda_runtime.h
    flags = [f"-I{folder}" for folder in ours]
    for folder in toolkit():
        flags += ["-isystem", str(folder)]
    return flags


@cache
def _processor() -> list[str]:
    """Fused multiply-add as an instruction is several times faster than as a function."""
    if platform.machine() != "x86_64":
        return []
    flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    return ["-march=x86-64-v3"] if {"avx2", "fma", "bmi2"} <= set(flags) else []


@cache
def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout
    except OSError:
        return ""


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    if done.stderr:
        print(done.stderr, file=sys.stderr)


def _fresh(made: Path, key: str) -> bool:
    """Whether `made` was made with this key from files that are still the same."""
    stamp = made.with_suffix(".json")
    if not (made.is_file() and stamp.is_file()):
        return False
    record = json.loads(stamp.read_text())
    return record["key"] == key and record["files"] == _contents(record["files"])


def _contents(files: Iterable[str]) -> dict[str, str]:
    paths = [Path(f) for f in files]
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths if p.is_file()}


def _draft(made: Path) -> Path:
    """What this thread writes, to be renamed to `made` when it is whole."""
    return made.with_name(f"{made.name}.{os.getpid()}.{threading.get_ident()}")


def _make(made: Path, key: str, command: list[str], files: Iterable[str] | None) -> Path:
    """Runs the command that writes `made`; several threads or processes may do so at once."""
    made.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(made)
    dependencies = Path(f"{draft}.d")
    if files is None:
        command = [*command, "-MMD", "-MF", str(dependencies)]
    _run([*command, "-o", str(draft)])
    if files is None:
        files = dependencies.read_text().partition(":")[2].replace("\\\n", " ").split()
        dependencies.unlink()
    stamp = Path(f"{draft}.json")
    stamp.write_text(json.dumps({"key": key, "files": _contents(files)}))
    os.replace(draft, made)
    os.replace(stamp, made.with_suffix(".json"))
    return made


def _compile(source: Path, flags: list[str], folder: Path) -> Path:
    made = folder / f"{source.stem}-{_digest(source)[:8]}.o"
    key = _digest(flags, _output("g++", "--version"))
    if _fresh(made, key):
        return made
    return _make(made, key, ["g++", *flags, "-c", str(source)], None)


def _link(made: Path, mode: str, objects: list[Path], libraries: list[Path]) -> Path:
    files = [str(f) for f in (*objects, *libraries)]
    key = _digest(mode, files)
    if _fresh(made, key):
        return made
    # -Bsymbolic: kernels use their library's shared memory, whatever others have by the same name
    command = ["g++", "-shared", "-Wl,-Bsymbolic,-rpath,$ORIGIN", *MODES[mode][2], *files]
    return _make(made, key, command, files)
