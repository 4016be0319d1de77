"""A folder of scans: every one ends as done, already there, or failed, and is listed.

While one scan is computed, the next is read and the last is written; no more than those three are
in memory. A scan whose outputs are complete and were made from the same file with the same
parameters is not computed again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import dal_fast
from dal_fast.data.atomic import write_bytes
from dal_fast.errors import InputError
from dal_fast.inference.case import Case, load_case
from dal_fast.inference.outputs import output_names, read_sidecar, write_result
from dal_fast.inference.result import Result
from dal_fast.report.index import IndexEntry, index_page
from dal_fast.report.page import scan_page, thumbnail
from dal_fast.report.png import encode

if TYPE_CHECKING:
    from dal_fast.inference.screener import Screener

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class Outcome:
    """How one scan ended.

    Attributes:
        scan: its path.
        folder: of its outputs.
        status: ``"done"``, ``"kept"`` (complete from an earlier run) or ``"failed"``.
        code, message: why it failed.
    """

    scan: Path
    folder: Path
    status: Literal["done", "kept", "failed"]
    code: str = ""
    message: str = ""


def screen_folder(
    source: Path, out: Path, scans: Sequence[Path], screener: Screener, overwrite: bool = False
) -> Iterator[Outcome]:
    """Screen ``scans`` below ``source`` into the same folders below ``out``, one by one.

    Args:
        source: the folder that was asked for.
        out: of the outputs.
        scans: paths below ``source``.
        screener: resident model and parameters.
        overwrite: compute again what is complete.
    """

    def target(scan: Path) -> Path:
        return out / scan.relative_to(source).parent

    def load(scan: Path) -> Case | Outcome:
        return attempt(scan, target(scan), lambda: _load(scan))

    def _load(scan: Path) -> Case | Outcome:
        case = load_case(scan, nonfinite=screener.nonfinite)
        kept = not overwrite and up_to_date(case, target(scan), screener.parameters)
        return Outcome(scan, target(scan), "kept") if kept else case

    def compute(case: Case | Outcome) -> tuple[Case, Result] | Outcome:
        if isinstance(case, Outcome):
            return case
        return attempt(
            case.volume.path, target(case.volume.path), lambda: (case, screener.screen_case(case))
        )

    def store(work: tuple[Case, Result] | Outcome) -> Outcome:
        if isinstance(work, Outcome):
            return work
        case, result = work
        scan, folder = case.volume.path, target(case.volume.path)

        def write() -> Outcome:
            save(case, result, folder)
            return Outcome(scan, folder, "done")

        return attempt(scan, folder, write)

    yield from _pipeline(scans, load, compute, store)


def save(case: Case, result: Result, folder: Path) -> dict[str, Path]:
    """All outputs of one scan, and the picture that stands for it in the index."""
    picture = encode(thumbnail(result))
    return write_result(result, case.volume, scan_page(result), picture, folder)


def attempt(scan: Path, folder: Path, work: Callable[[], T]) -> T | Outcome:
    """``work()``, or the failure that it ended with: one scan never stops the run."""
    try:
        return work()
    except InputError as error:
        return Outcome(scan, folder, "failed", error.code, error.message)
    except MemoryError:
        return Outcome(scan, folder, "failed", "out-of-memory", f"{scan} needs more memory")
    except Exception as error:
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        return Outcome(scan, folder, "failed", "unexpected", message)


def up_to_date(case: Case, folder: Path, parameters: dict[str, Any]) -> bool:
    """Whether ``folder`` holds complete outputs of this very scan with these parameters."""
    old = read_sidecar(case.volume.path, folder)
    return (
        old is not None
        and old.get("GeneratedBy") == {"Name": "dal_fast", "Version": dal_fast.__version__}
        and old.get("Source") == case.source
        and old.get("Requested") == json.loads(json.dumps(parameters))
        and all((folder / n).is_file() for n in output_names(case.volume.path).values())
    )


def write_tables(source: Path, out: Path, outcomes: Sequence[Outcome]) -> None:
    """``scores.tsv``, ``failures.tsv``, ``index.html`` and BIDS' ``dataset_description.json``.

    Raises:
        InputError: ``output-unwritable``, ``disk-full``.
    """
    failures = [
        (str(o.scan.relative_to(source)), o.code, o.message)
        for o in outcomes
        if o.status == "failed"
    ]
    entries = [_entry(o, out) for o in outcomes if o.status != "failed"]
    entries.sort(key=lambda e: (-e.score, e.name))
    scores = [(e.name, f"{e.score:.6g}", f"{e.volume_ml:.3f}", ",".join(e.flags)) for e in entries]
    out.mkdir(parents=True, exist_ok=True)
    write_bytes(out / "scores.tsv", _tsv(("scan", "score", "volume_ml", "flags"), scores))
    write_bytes(out / "failures.tsv", _tsv(("scan", "code", "message"), failures))
    title = source.resolve().name
    write_bytes(out / "index.html", index_page(title, entries, failures).encode())
    description = {
        "Name": f"dal_fast anomaly maps of {title}",
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "dal_fast", "Version": dal_fast.__version__}],
    }
    write_bytes(
        out / "dataset_description.json", (json.dumps(description, indent=2) + "\n").encode()
    )


def _entry(outcome: Outcome, out: Path) -> IndexEntry:
    names = output_names(outcome.scan)
    facts = read_sidecar(outcome.scan, outcome.folder) or {}
    below = outcome.folder.relative_to(out)
    return IndexEntry(
        name=(below / names["report"]).with_suffix("").as_posix(),
        score=float(facts["Score"]),
        volume_ml=float(facts["VolumeAboveThresholdML"]),
        flags=[flag["code"] for flag in facts["QualityFlags"]],
        page=(below / names["report"]).as_posix(),
        thumbnail=(below / names["thumbnail"]).as_posix(),
    )


def _tsv(head: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    def clean(cell: str) -> str:
        return " ".join(cell.split())

    return "".join("\t".join(map(clean, row)) + "\n" for row in (head, *rows)).encode()


def _pipeline(
    items: Sequence[Path],
    load: Callable[[Path], A],
    compute: Callable[[A], B],
    store: Callable[[B], T],
) -> Iterator[T]:
    """Results in order; loading runs one item ahead of computing, storing one behind."""
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        coming = reader.submit(load, items[0])
        leaving = None
        for following in (*items[1:], None):
            loaded = coming.result()
            if following is not None:
                coming = reader.submit(load, following)
            computed = compute(loaded)
            if leaving is not None:
                yield leaving.result()
            leaving = writer.submit(store, computed)
        if leaving is not None:
            yield leaving.result()
