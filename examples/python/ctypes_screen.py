"""Screens one brain with the C library and prints its score: no torch, no numpy, no package.

    python ctypes_screen.py LIBRARY BUNDLE ENGINE SCAN MASK 160 192 160 1.0

SCAN holds float32 and MASK bytes, without a header, as for ``examples/c/screen.c``.
"""

import ctypes as c
import math
import os
import sys
from pathlib import Path

DAL_U8, DAL_F32 = 1, 7


class DalError(c.Structure):
    _fields_ = [
        ("struct_size", c.c_uint32), ("status", c.c_int32),
        ("code", c.c_char * 32), ("message", c.c_char * 472),
    ]  # fmt: skip


class DalImage(c.Structure):
    _fields_ = [
        ("struct_size", c.c_uint32), ("dtype", c.c_int32), ("shape", c.c_int64 * 3),
        ("stride", c.c_int64 * 3), ("data", c.c_char_p), ("planes", c.c_void_p),
        ("affine", c.c_double * 16), ("space", c.c_int32), ("reserved", c.c_int32),
        ("slope", c.c_double), ("intercept", c.c_double),
        ("plane_slope", c.c_void_p), ("plane_intercept", c.c_void_p),
    ]  # fmt: skip


class DalRequest(c.Structure):
    _fields_ = [
        ("struct_size", c.c_uint32), ("flags", c.c_uint32), ("scan", c.POINTER(DalImage)),
        ("mask", c.POINTER(DalImage)), ("contrast", c.c_int32), ("outputs_count", c.c_int32),
        ("outputs", c.c_void_p), ("deadline_ms", c.c_int64), ("threshold", c.c_double),
    ]  # fmt: skip


class DalSummary(c.Structure):
    _fields_ = [
        ("struct_size", c.c_uint32), ("contrast", c.c_int32), ("looks_like", c.c_int32),
        ("sign", c.c_int32), ("score", c.c_double), ("threshold", c.c_double),
        ("brain_ml", c.c_double), ("brain_confidence", c.c_double), ("nonfinite", c.c_int64),
        ("regions", c.c_int32), ("reserved", c.c_int32), ("seconds", c.c_double * 16),
    ]  # fmt: skip


class DalOptions(c.Structure):
    _fields_ = [
        ("struct_size", c.c_uint32), ("threads", c.c_int32), ("engine", c.c_char_p),
        ("engine_path", c.c_char_p), ("cache_folder", c.c_char_p), ("executor", c.c_void_p),
        ("allocator", c.c_void_p), ("log", c.c_void_p), ("log_user", c.c_void_p),
    ]  # fmt: skip


def sized(kind, **members):
    return kind(struct_size=c.sizeof(kind), **members)


def main(library, bundle, engine_path, scan_file, mask_file, *sides):
    *shape, millimetres = sides
    lib, error = c.CDLL(library), sized(DalError)

    def checked(status):
        if status:
            sys.exit(error.message.decode())

    images = []
    for path, dtype in ((scan_file, DAL_F32), (mask_file, DAL_U8)):
        content = Path(path).read_bytes()
        if len(content) != math.prod(map(int, shape)) * (4 if dtype == DAL_F32 else 1):
            sys.exit(f"{path} does not hold as many voxels as the sides say")
        image = sized(DalImage, dtype=dtype, data=content)
        for axis, side in enumerate(shape):
            image.shape[axis], image.affine[5 * axis] = int(side), float(millimetres)
        image.affine[15] = 1
        images.append(image)
    engine, session, found = c.c_void_p(), c.c_void_p(), sized(DalSummary)
    options = sized(DalOptions, engine_path=os.fsencode(engine_path))
    request = sized(DalRequest, scan=c.pointer(images[0]), mask=c.pointer(images[1]))
    checked(
        lib.dal_engine_open(os.fsencode(bundle), c.byref(options), c.byref(engine), c.byref(error))
    )
    checked(lib.dal_session_open(engine, None, c.byref(session), c.byref(error)))
    checked(lib.dal_run(session, c.byref(request), c.byref(found), c.byref(error)))
    print(f"score {found.score:.6f}\nregions {found.regions}")
    lib.dal_session_close(session)
    lib.dal_engine_close(engine)


if __name__ == "__main__":
    if len(sys.argv) != 10:
        sys.exit("usage: ctypes_screen.py LIBRARY BUNDLE ENGINE SCAN MASK I J K MILLIMETRES")
    main(*sys.argv[1:])
