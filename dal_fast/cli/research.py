"""Commands for those who train models and judge them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dal_fast.cli.console import Device, Median, Runtime, Weights, app, progress, refusals, status


@app.command("make-validation")
def make_validation(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    data: Annotated[
        Path,
        typer.Option(help="BIDS derivative at 2 mm: sub-*/anat brain T1w and dseg, dseg.tsv."),
    ],
    patients: Annotated[
        Path | None,
        typer.Option(help="BIDS folder of real scans with sub-*_label-lesion_mask; listed too."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of lesions and degradations.")] = 0,
    at_most: Annotated[int | None, typer.Option(help="Subjects.")] = None,
    skip: Annotated[int, typer.Option(help="Leave out this many subjects first.")] = 0,
) -> None:
    """Write a validation set: held-out healthy brains with synthetic lesions of known masks.

    Each subject gives three contrasts (real T1w, T2w-like, FLAIR-like), healthy and with bright and
    dark lesions of changing size. Another seed is another draw.
    """
    with refusals():
        from dal_fast.batch.outputs import check_folder
        from dal_fast.evaluation import cases
        from dal_fast.synthesis.brains import bids_sources, load_brains

        check_folder(out)
        real = cases.patients(patients) if patients else []
        brains = load_brains(bids_sources(data, held_out=True)[skip:][:at_most])
        made = []
        with progress(9 * len(brains), "writing") as advance:
            for case in cases.make_validation(out, brains, seed):
                made.append(case)
                advance(None)
        cases.write_set(out, [*made, *real], seed)
        typer.echo(f"{len(made)} scans of {len(brains)} brains, {len(real)} of patients: {out}")


@app.command()
def validate(
    sets: Annotated[
        list[Path],
        typer.Argument(metavar="SET...", help="Folders that make-validation wrote, draws of one."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("validation"),
    weights: Weights = "default",
    median: Median = None,
    atlas: Annotated[
        bool, typer.Option(help="Also the atlas floor, which needs SimpleITK and nilearn.")
    ] = True,
    device: Device = "auto",
    runtime: Runtime = "auto",
) -> None:
    """Compare every score of a weight file with detectors that learned nothing.

    Prints average precision by contrast and sign, the paired difference to the best floor with its
    spread over cases and draws, lesions found by size, and healthy thresholds; OUT/cases.csv has
    every number.
    """
    with refusals():
        from dal_fast.batch.outputs import check_folder
        from dal_fast.evaluation.cases import read_table

        tables = {folder: read_table(folder) for folder in sets}
        check_folder(out)
        out.mkdir(parents=True, exist_ok=True)  # before the work, not after it
        with status("loading the model"):
            from dal_fast.evaluation import summary
            from dal_fast.evaluation import validate as run
            from dal_fast.screening.screener import Screener

            screener = Screener(weights, runtime, device, median=median)
        results = []
        with progress(sum(map(len, tables.values())), "validating") as advance:
            for folder, cases in tables.items():
                results.append(
                    run.validate(
                        cases, screener, folder.name, atlas=atlas, advance=lambda: advance(None)
                    )
                )
        rows = [row for result in results for row in result.rows]
        run.write_rows(out / "cases.csv", rows)
        summary.show(results)
        typer.echo(f"every case: {out / 'cases.csv'}")


@app.command()
def train(
    config: Annotated[
        str,
        typer.Argument(metavar="CONFIG", help="TOML file, or the name of a recipe of dal_fast."),
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="BIDS derivative: sub-*/anat/*_desc-brain_T1w.nii.gz (T2w and FLAIR too, where "
            "there are), *_dseg.nii.gz, and dseg.tsv with the columns index and tissue."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of checkpoint, logs, pictures and weights.")],
    maps: Annotated[
        Path | None, typer.Option(help="Folder of FreeSurfer label maps *_dseg.nii.gz.")
    ] = None,
    device: Device = "auto",
    devices: Annotated[int, typer.Option(help="Processes on this machine, one a device.")] = 1,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Forget the training that OUT holds.")
    ] = False,
) -> None:
    """Train a model from brains with label maps.

    [bold]Examples[/bold]

    dal-fast train default --data bids-derivative/ --maps label-maps/ --out run-1/

    dal-fast train my.toml --data bids-derivative/ --out run-2/ --devices 4

    torchrun --nproc-per-node 4 -m dal_fast.cli train my.toml --data ... --out ...

    One subject in six, by a hash of the name, is held out. Run the same command again to resume
    after a crash: the end is the same to the last bit (one device). OUT/weights.safetensors is what
    --weights of the other commands takes; OUT/log.csv, OUT/validation.csv, OUT/pictures/ and, where
    TensorBoard is installed, OUT/tensorboard/ show how it went.
    """
    with refusals():
        from dal_fast.batch.outputs import check_folder
        from dal_fast.memory import keep_freed_memory
        from dal_fast.training.config import read_config

        described = read_config(config)
        check_folder(out)
        keep_freed_memory()
        with status("loading torch"):
            from dal_fast.cli.training import follow
            from dal_fast.training import train as training

        if overwrite:
            (out / "last.ckpt").unlink(missing_ok=True)
        fabric = training.make_fabric(device, devices, described)
        with follow(described.steps, fabric.is_global_zero) as shown:
            weights = training.run(described, data, out, fabric, maps, shown)
        if fabric.is_global_zero:
            typer.echo(f"weights: {weights}")


@app.command()
def checks(
    data: Annotated[Path, typer.Option(help="BIDS derivative, as for train.")],
    out: Annotated[Path, typer.Option(help="Folder of the page.")] = Path("checks"),
    weights: Weights = "default",
    seed: Annotated[int, typer.Option(help="Of deformation, lesions and noise.")] = 0,
    at_most: Annotated[int | None, typer.Option(help="Subjects.")] = None,
) -> None:
    """Check the method step by step, on held-out healthy brains.

    1. Do the tissue maps of one brain's contrasts agree? 2. How much of a lesion does the
    pseudo-healthy image keep (contrast, and mutual information)? 3. Does its modality vector stay
    where the scan's is? Prints the numbers; OUT/index.html has the plots.
    """
    with refusals():
        from dal_fast.batch.outputs import check_folder
        from dal_fast.imaging.atomic import write_bytes
        from dal_fast.synthesis.brains import bids_sources, load_brains

        check_folder(out)
        sources = bids_sources(data, held_out=True)[:at_most]
        with status("loading the model"):
            from dal_fast.evaluation import checks as checks_of
            from dal_fast.evaluation import checks_page, plots, summary
            from dal_fast.evaluation.agreement import agreement
            from dal_fast.models import load_weights

            plots.figure(1, 1, 1, 1)  # before the work, not after it
            model = load_weights(weights)
        brains = load_brains(sources, model.config.voxel_mm)
        paths = checks_of.paths(model)
        agreements = []
        leaks: list[checks_of.Leak] = []
        vectors: list[checks_of.Vectors] = []
        with progress(len(brains), "checking") as advance:
            for brain in brains:
                agreements.append(agreement(model, brain, seed))
                leaks += checks_of.leaks(paths, brain, seed)
                vectors += checks_of.vectors(model, brain, seed)
                advance(None)
        moved = checks_of.shift(vectors)
        summary.show_agreement(agreements, model.config.tissues)
        checks_page.show(leaks, moved)
        about = {
            "weights": weights,
            "data": str(data),
            "held-out brains": len(brains),
            "seed": seed,
        }
        page = checks_page.checks_page(
            "Checks of the method", agreements, model.config.tissues, leaks, vectors, moved, about
        )
        out.mkdir(parents=True, exist_ok=True)
        write_bytes(out / "index.html", page.encode())
        typer.echo(f"plots: {out / 'index.html'}")
