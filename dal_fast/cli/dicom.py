"""``dal-fast dicom``: from a DICOM study to DICOM objects."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from dal_fast.cli.console import (
    Brain,
    BrainSource,
    Device,
    Median,
    Runtime,
    Score,
    Threshold,
    Weights,
    app,
    refusals,
    say_flags,
    say_score,
    status,
)
from dal_fast.cli.pool import Overwrite, Patience, PoolOptions, Workers, screen_jobs
from dal_fast.errors import Code, InputError
from dal_fast.extras import import_lean
from dal_fast.imaging.text import one_line

if TYPE_CHECKING:
    from dal_fast.batch.job import Job, Outcome
    from dal_fast.dicom.select import Verdict
    from dal_fast.dicom.study import Studies
    from dal_fast.screening.chain import Opening


class ListWord(TyperCommand):
    """Takes ``dal-fast dicom list STUDY`` for ``dal-fast dicom STUDY --list``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = ["--list", *args[1:]] if args[:1] == ["list"] else args
        return super().parse_args(ctx, words)


@app.command(cls=ListWord)
def dicom(
    study: Annotated[
        Path,
        typer.Argument(
            metavar="STUDY", help="Folder or .zip archive of DICOM files, of any number of studies."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Argument(metavar="OUT", help="Folder of the results; not with --list."),
    ] = None,
    show_list: Annotated[
        bool, typer.Option("--list", help="Show which series would be screened, and why.")
    ] = False,
    series: Annotated[
        list[str] | None,
        typer.Option(
            help="UID or number of a series to screen, whatever the rules say; may be repeated."
        ),
    ] = None,
    objects: Annotated[
        str,
        typer.Option(
            help="What to write, separated by commas: seg (segmentation), map (parametric map), "
            "map16 (a smaller one), mr (the map as an MR series), sc (a picture), overlay (a "
            "picture of every slice), sr (structured report), pdf (a page)."
        ),
    ] = "seg,map,sr",
    label_map: Annotated[
        bool,
        typer.Option("--label-map", help="Write the segmentation as a label map (newer viewers)."),
    ] = False,
    allow_contrast_agent: Annotated[
        bool,
        typer.Option(
            "--allow-contrast-agent", help="Screen series with a contrast agent, too, with a flag."
        ),
    ] = False,
    show_names: Annotated[
        bool,
        typer.Option(
            "--show-names",
            help="Do not hide patients' names and numbers in messages, tables and pages.",
        ),
    ] = False,
    brain: Brain = BrainSource.AUTO,
    weights: Weights = "default",
    score: Score = "auto",
    threshold: Threshold = None,
    median: Median = None,
    device: Device = "auto",
    runtime: Runtime = "auto",
    overwrite: Overwrite = False,
    workers: Workers = 1,
    patience: Patience = 600.0,
) -> None:
    """Screen DICOM studies; results are DICOM objects that a PACS shows.

    [bold]Examples[/bold]

    dal-fast dicom list study/

    dal-fast dicom study/ out/

    dal-fast dicom export.zip out/ --objects seg,map,mr,sr

    dal-fast dicom archive/ out/ --workers 2

    Of each study, one T1w, T2w and FLAIR series of the brain is chosen by how it was acquired;
    OUT/study-.../selection.json says why, for every series. A study of which none is chosen ends
    with a reason. Of a folder with several studies, what fails is listed in OUT/failures.tsv, and
    the status is then 1, as it is of list. Run the same command again to resume.
    """
    settings: dict[str, Any] = {
        "weights": weights,
        "runtime": runtime,
        "device": device,
        "score": score,
        "median": median,
        "threshold": threshold,
        "brain": brain.value,
    }
    with refusals():
        from dal_fast.screening.chain import open_early

        opening = None
        if not show_list and workers == 1:
            extraction = settings["brain"] != "given"
            opening = open_early(study, settings, screening=True, extraction=extraction)
        import_lean("pydicom")
        import_lean("nibabel")
        from dal_fast.dicom.stages import check_kinds
        from dal_fast.dicom.study import find_studies

        kinds = check_kinds([kind.strip() for kind in objects.split(",") if kind.strip()])
        if not show_list and out is None:
            raise InputError(Code.VALUE, "OUT is missing; to look only, dal-fast dicom list STUDY")
        with status("reading headers"):
            studies = find_studies(study, series or (), allow_contrast_agent, show_names)
        if show_list or out is None:
            failed = _list(studies, show_names)
        else:
            options = PoolOptions(workers, patience, overwrite, task="dicom")
            failed = _screen(studies, out, settings, kinds, label_map, options, show_names, opening)
    raise typer.Exit(1 if failed else 0)


def _list(studies: Studies, show_names: bool) -> int:
    """Show every series, whether it would be screened, and why; returns how many would fail."""
    for study in studies.studies:
        shown = f" ({study.patient})" if show_names else ""
        typer.echo(one_line(f"{study.name}{shown}"))
        for verdict in study.selection.verdicts:
            typer.echo(one_line(studies.names.hide(_line(verdict))))
    return _say_left_out(studies)


def _line(verdict: Verdict) -> str:
    record = verdict.record()
    mark = "→" if verdict.chosen else " "
    what = verdict.contrast or "–"
    title = record["SeriesDescription"]
    notes = "".join(f" [{note.code}]" for note in verdict.notes)
    count = len(verdict.part.frames)
    slices = "slice " if count == 1 else "slices"
    return (
        f"  {mark} {verdict.series.number:>6}  {what:<5}  {count:>4} {slices}  "
        f"{title!r}: {verdict.reason}{notes}  {verdict.series.uid}"
    )


def _say_left_out(studies: Studies) -> int:
    """Name studies and files that are left out; returns the number of those that failed."""
    files, failures = studies.files, studies.left_out()
    for name, code, reason in failures:
        typer.echo(one_line(f"failed [{code}] {name}: {reason}"), err=True)
    others = [f"{count} of {name}" for name, count in sorted(files.others.items())]
    others += [f"{files.foreign} not DICOM"] if files.foreign else []
    if others:
        typer.echo(f"left out: {', '.join(others)}", err=True)
    return len(failures)


def _screen(
    studies: Studies,
    out: Path,
    settings: dict[str, Any],
    kinds: tuple[str, ...],
    label_map: bool,
    options: PoolOptions,
    show_names: bool,
    opening: Opening | None,
) -> int:
    """Screen what was chosen; returns how many series, studies and files failed."""
    from dal_fast.dicom.outputs import objects_on_disk
    from dal_fast.dicom.stages import Plan
    from dal_fast.dicom.study import unselected
    from dal_fast.dicom.tables import write_tables
    from dal_fast.imaging.folders import check_folder

    shown, out = out, out.absolute()
    check_folder(out)
    studies.write_selections(out, show_names)
    jobs = studies.jobs(out)
    if len(studies.studies) == 1 and not jobs:
        write_tables(studies, out, [])
        error = unselected(studies.studies[0].selection)
        raise InputError(error.code, studies.names.hide(error.message))
    _say_left_out(studies)
    before = {job: objects_on_disk(job.folder, job.scan.name) for job in jobs}
    if len(studies.studies) == 1 and options.workers == 1:
        outcomes = _screen_here(studies, jobs, settings, kinds, label_map, options, opening, shown)
    elif jobs:
        plans = {str(job.scan): vars(Plan.of(v, studies.names)) for job, v in jobs.items()}
        pooled = {
            "screener": settings,
            "series": plans,
            "objects": list(kinds),
            "label_map": label_map,
        }
        outcomes = screen_jobs(studies.source, out, list(jobs), pooled, options)
    else:
        outcomes = []
    for removed in (sorted(p for p in old if not p.exists()) for old in before.values()):
        _say_removed(removed)
    failed = write_tables(studies, out, outcomes)
    typer.echo(f"overview: {shown / 'index.html'}")
    return failed


def _say_removed(paths: list[Path]) -> None:
    """Name objects of an earlier run that are gone; images of one series together."""
    shown = (re.sub(r"-\d+(?=\.dcm$)", "-*", f"{path.parent.name}/{path.name}") for path in paths)
    if paths:
        names = ", ".join(dict.fromkeys(shown))
        typer.echo(
            f"removed: {names} (of an earlier run, and no longer in agreement with this one)"
        )


def _screen_here(
    studies: Studies,
    jobs: dict[Job, Verdict],
    settings: dict[str, Any],
    kinds: tuple[str, ...],
    label_map: bool,
    options: PoolOptions,
    opening: Opening | None,
    shown: Path,
) -> list[Outcome]:
    """Screen the series of one study in this process, and say what was found."""
    with status("loading the model"):
        from dal_fast.batch.resident import make_screener
        from dal_fast.dicom.outputs import load_writers
        from dal_fast.dicom.stages import DicomStages

        stages = DicomStages(
            make_screener(settings, opening),
            jobs.__getitem__,
            lambda _: studies.names,
            kinds,
            label_map,
            options.overwrite,
        )
    outcomes = []
    for job in jobs:
        with status(f"screening {job.scan.name}"):
            ready = stages.read(job)
            loading = threading.Thread(target=load_writers, name="loading")
            loading.start()  # while the networks run
            work = stages.compute(job, ready)
            loading.join()
            outcome = stages.write(job, work)
        outcomes.append(outcome)
        _say(job, work, outcome, shown)
    return outcomes


def _say(job: Job, work: Any, outcome: Outcome, out: Path) -> None:
    from dal_fast.dicom.outputs import sidecar_name

    name = job.scan.name
    if outcome.status == "failed":
        typer.echo(one_line(f"{name}: failed [{outcome.code}]: {outcome.message}"), err=True)
        return
    if outcome.status == "kept":
        typer.echo(f"{name} is already screened with these parameters")
        return
    _, result = work
    say_score(name, result)
    say_flags(result.flags)
    page = out / outcome.folder.name / Path(sidecar_name(name)).with_suffix(".html")
    typer.echo(f"  report: {page}; objects: {page.with_name(f'{name}_*.dcm')}")
