"""Runs samples of a library in this process and prints a line of JSON for each: what was wrong, or "".

    python run_samples.py LIBRARY SETTINGS [NAME ...]

SETTINGS: JSON list of [order, seed, preempt, resident]; a sample runs once with each.
"""

import ctypes
import json
import sys


def main(path: str, settings: str, *names: str) -> None:
    library = ctypes.CDLL(path)
    library.name.restype = library.run.restype = ctypes.c_char_p
    index = 0
    while found := library.name(index):
        name = found.decode()
        for order, seed, preempt, resident in json.loads(settings) if not names or name in names else []:
            library.coh_config(order, ctypes.c_uint64(seed), preempt, resident)
            print(json.dumps([name, library.run(index).decode()]), flush=True)
        index += 1


main(*sys.argv[1:])
