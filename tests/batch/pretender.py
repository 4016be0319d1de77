"""A worker of a pool that screens nothing, and does what the names of its scans say."""

import sys
from pathlib import Path

from dal_fast.batch.job import Job
from dal_fast.batch.pool import WorkerPool

# A worker that says it has begun every job it is given, and ends them a little later, in order.
# Names say what happens: "deadly", "leaving" (exit), "endless" (this job hangs), "frozen" (the
# whole process does, while its first two jobs are in a stage). START is run before it is ready.
PRETENDER = """
import json, os, signal, sys, threading, time
from pathlib import Path
def send(**m): print(json.dumps(m), flush=True)
settings = json.loads(sys.stdin.readline())
START
send(ready={})
def work(job):
    name = Path(job["scan"]).name
    if "deadly" in name: os.kill(os.getpid(), signal.SIGKILL)
    if "leaving" in name: os._exit(3)
    if "frozen" in name: os.kill(os.getpid(), signal.SIGSTOP); time.sleep(1000)
    if "once" in name and not Path(job["folder"], name).exists():
        Path(job["folder"], name).touch()
        os.kill(os.getpid(), signal.SIGSTOP if "stop" in name else signal.SIGKILL)
        time.sleep(1000)
    if "endless" in name: time.sleep(1000)
    send(job=job["job"], outcome=["done", "", ""], peak_bytes=1)
for line in sys.stdin:
    job = json.loads(line)
    send(job=job["job"], stage="read", begun=True)
    threading.Timer(0.3 + 0.1 * job["job"] % 4, work, [job]).start()
"""


def pretender(start=""):
    return (sys.executable, "-c", PRETENDER.replace("START", start))


def pretend(names, folder="out", start="", **options):
    jobs = [Job(Path(name), Path(folder)) for name in names]
    with WorkerPool({}, command=pretender(start), **options) as pool:
        return {o.scan.name: o.code or o.status for o in pool.screen(jobs)}
