"""``dal-fast evaluate``: anomaly maps of any detector compared with lesions, by protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dal_fast.cli.console import app, progress, refusals, status
from dal_fast.cli.failures import FailureList
from dal_fast.errors import Code, InputError
from dal_fast.imaging.text import first_few


@app.command()
def evaluate(
    maps: Annotated[
        list[str],
        typer.Argument(
            metavar="MAPS...",
            help="One a detector: FOLDER of anomaly maps, NAME=FOLDER, or detector:NAME of an "
            "installed package (intensity and darkness come with this one).",
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="BIDS dataset with *_label-lesion_mask.nii.gz, or a CSV or TSV of paths "
            "(scan, brain, lesion)."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("evaluation"),
    protocol: Annotated[
        str, typer.Option(help="default, validation-set, uad-imag, pddpm or luo2023.")
    ] = "default",
    healthy: Annotated[
        str | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Scans that are healthy, so that their lesion mask may be empty or absent, by a "
            "column of participants.tsv, an entity of the name, or suffix; 'all'.",
        ),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Scans that thresholds come from, and that are not evaluated themselves.",
        ),
    ] = None,
    suffix: Annotated[
        list[str] | None, typer.Option(help="Only these images, such as T2w; repeatable.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Instead of the protocol's; one for all detectors.")
    ] = None,
    pictures: Annotated[bool, typer.Option(help="A small picture of every case.")] = True,
) -> None:
    """Compare anomaly maps with lesion masks, for one detector or several side by side.

    [bold]Examples[/bold]

    dal-fast evaluate dal=out-dal/ ae=out-ae/ --data ds/ --healthy group=control
    --validation split=val

    dal-fast evaluate maps/ --data test.csv --protocol uad-imag --threshold 0.2

    MAPS may come from dal-fast screen or bids, or from any other program: NIfTI on the scan's grid,
    or .npy, named as the scan. detector:NAME calls a function that a package offers under the entry
    point dal_fast.detectors. OUT/index.html shows all results; cases.csv, groups.csv,
    comparisons.csv and summary.json have every number. Cases that cannot be evaluated are listed
    before the others are, and in OUT/failures.tsv; the status is then 1.
    """
    with refusals():
        from dal_fast.evaluation.cases import bids_cases, table_cases
        from dal_fast.imaging.folders import check_folder
        from dal_fast.imaging.paths import check_apart

        check_folder(out)
        for folder in (Path(text.partition("=")[2] or text) for text in maps):
            check_apart(out, folder)
        listed = (bids_cases if data.is_dir() else table_cases)(data, healthy, suffix or ())
        reserved = _reserved(listed.cases, validation)
        with FailureList(out, listed.failures) as failures:
            about = {
                "data": str(data), "maps": maps, "healthy": healthy, "validation": validation,
            }  # fmt: skip
            _evaluate(listed.cases, reserved, out, protocol, threshold, pictures, about, failures)
    raise typer.Exit(1 if failures.failed else 0)


def _reserved(cases: list[Any], rule: str | None) -> list[Any]:
    """The validation cases that a rule names.

    Raises:
        InputError: ``rule``; ``validation-missing`` where it names none.
    """
    from dal_fast.evaluation.cases import matching

    if rule is None or not cases:
        return []
    found = matching(cases, rule)
    if not found:
        key = rule.partition("=")[0]
        values = first_few(sorted({case.facts[key] for case in cases if case.facts.get(key)}))
        raise InputError(
            Code.VALIDATION_MISSING,
            f"--validation {rule} names no case that can be evaluated; the values of {key} are "
            f"{values}",
        )
    return found


def _evaluate(
    cases: list[Any],
    reserved: list[Any],
    out: Path,
    protocol_name: str,
    threshold: float | None,
    pictures: bool,
    about: dict[str, Any],
    failures: FailureList,
) -> None:
    with status("loading torch"):
        from dal_fast.evaluation.compare import Hooks, check_cases, compare
        from dal_fast.evaluation.detectors import parse_detector
        from dal_fast.evaluation.protocols import protocol as by_name
        from dal_fast.evaluation.report.page import PICTURES, evaluation_page
        from dal_fast.evaluation.report.pictures import case_picture
        from dal_fast.evaluation.report.plots import figure
        from dal_fast.evaluation.report.results import summarise, write_results
        from dal_fast.evaluation.statistics import scipy_stats
        from dal_fast.imaging.atomic import write_bytes, write_text
        from dal_fast.imaging.folders import make_folder
        from dal_fast.memory import keep_freed_memory

    scipy_stats()  # what is missing is refused before the work
    figure(1, 1, 1, 1)
    keep_freed_memory()
    detectors, protocol = [parse_detector(text) for text in about["maps"]], by_name(protocol_name)
    folder = out / PICTURES
    make_folder(folder if pictures else out)

    def draw(truth: Any, maps: Any, thresholds: Any) -> None:
        if pictures:
            write_bytes(folder / f"{truth.case.name}.png", case_picture(truth, maps, thresholds))

    with progress(len(cases), "checking") as advance:
        hooks = Hooks(lambda: advance(None), failures.add)
        usable, _ = check_cases(cases, detectors, hooks)
    failures.check_any_left(len(usable))
    scans = {case.scan for case in usable}
    with progress(len(usable), "comparing") as advance:
        hooks = Hooks(lambda: advance(None), failures.add, draw)
        calibrating = [case for case in reserved if case.scan in scans]
        comparison = compare(usable, detectors, protocol, calibrating, threshold, hooks=hooks)
    failures.check_any_left(len(comparison.detectors[0].cases))
    summary = summarise(comparison, failures.rows)
    write_results(out, summary, about)
    title = Path(about["data"]).resolve().name
    write_text(out / "index.html", evaluation_page(summary, about, title, pictures))
    for detector in comparison.detectors:
        numbers = ", ".join(
            f"{name.replace('_', ' ')} {summary.value(detector.name, name):.3f}"
            for name in protocol.headline
        )
        of = f"{detector.with_lesion} of {len(detector.cases)} scans with lesions"
        typer.echo(f"{detector.name}: {numbers} ({of})")
    typer.echo(f"all results: {out / 'index.html'}")
