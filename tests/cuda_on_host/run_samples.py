"""Runs a library's samples here; prints a line of JSON for each: what was wrong, or "".

    python run_samples.py LIBRARY SETTINGS [NAME ...]

SETTINGS: JSON list of [order, seed, preempt, resident]; a sample runs once with each.
"""

import ctypes
import itertools
import json
import sys


def main(path: str, settings: str, *names: str) -> None:
    library = ctypes.CDLL(path)
    library.name.restype = library.run.restype = ctypes.c_char_p
    for index in itertools.count():
        name = library.name(index)
        if name is None:
            break
        if names and name.decode() not in names:
            continue
        for order, seed, preempt, resident in json.loads(settings):
            library.coh_config(order, ctypes.c_uint64(seed), preempt, resident)
            print(json.dumps([name.decode(), library.run(index).decode()]), flush=True)


main(*sys.argv[1:])
