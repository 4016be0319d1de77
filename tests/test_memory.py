"""How whole programs handle their garbage."""

import subprocess
import sys

PROGRAM = """
import atexit, gc
atexit.register(lambda: print(gc.get_freeze_count() > 1000))
from dal_fast.memory import collect_rarely
collect_rarely()
"""


def test_what_is_left_at_the_end_is_not_looked_at():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"
