"""Pages that are generated when the site is built, so that none of them can be out of date.

mkdocs calls the hooks at the end of this file. The pages are

- ``reference/cli.md``, from the typer application;
- ``reference/errors.md``'s table, from :class:`dal_fast.errors.Code`;
- the tables of ``reference/dicom-conformance.md``, from :mod:`dal_fast.dicom`;
- the speed tables, from ``benchmarks/results``;
- ``explanation/model-card.md`` and ``explanation/model-card-published.md``, from the cards of the
  weights that screen;
- ``reference/kernels/*.md``, from the READMEs below ``kernels/``.
"""

from __future__ import annotations

import csv
import enum
import inspect
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import typer

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PATHS = {"avx2": "amd-epyc-2-threads.csv", "avx512": "amd-epyc-avx512-2-threads.csv"}
SHAPE, OURS = "160×192×160", "dal_fast"
WORK = {
    "SSIM map, Gaussian 11": "SSIM map, Gaussian 11",
    "hybrid score, Gaussian 11": "hybrid score, Gaussian 11",
    "L1 + SSIM loss, forward and backward": "L1 + SSIM loss, forward and backward",
    "Canny of the anatomical image": "3D Canny",
    "logits to edges": "tissue logits to edges",
    "one-hot": "one-hot",
    "anatomical image": "anatomical image",
    "median 5³": "median 5³",
    "median 3³": "median 3³",
    "components, 26 neighbours": "connected components, 26 neighbours",
    "remove components below 30 voxels": "components below 30 voxels removed",
    "AP of one volume": "average precision of one volume",
}
"""The names of cases in the result files, and what the tables call them."""


def rows_of(isa: str) -> dict[str, dict[str, dict[str, str]]]:
    """Measured rows of one instruction set, by case and contender."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    with (RESULTS / PATHS[isa]).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if (row["isa"], row["shape"], row["dtype"]) == (isa, SHAPE, "float32"):
                found.setdefault(row["case"], {})[row["contender"]] = row
    return found


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"


def speed_table(peers: int | None = None) -> str:
    """How many times faster than its peers each op is, on AVX2 and AVX-512.

    Args:
        peers: how many of them, the fastest first; all by default.
    """
    by_isa = {isa: rows_of(isa) for isa in PATHS}
    lines = [
        "| work | AVX2: faster than | × roofline | AVX-512: faster than | × roofline |",
        "|---|---|---|---|---|",
    ]
    for case, title in WORK.items():
        cells = [title]
        for rows in by_isa.values():
            ours = rows[case][OURS]
            others = sorted((float(r["ratio"]), c) for c, r in rows[case].items() if c != OURS)
            cells.append(" · ".join(f"{c} {_number(r)}×" for r, c in others[:peers]))
            cells.append(_number(float(ours["median_ms"]) / float(ours["floor_ms"])))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def milliseconds_table() -> str:
    """Medians in milliseconds of every contender, by path."""
    lines = ["| work | contender | AVX2, ms | AVX-512, ms |", "|---|---|---|---|"]
    avx2, avx512 = rows_of("avx2"), rows_of("avx512")
    for case, title in WORK.items():
        for contender in avx2[case] | avx512[case]:
            cells = (rows[case].get(contender, {}).get("median_ms", "–") for rows in (avx2, avx512))
            lines.append(f"| {title} | {contender} | {' | '.join(cells)} |")
    return "\n".join(lines)


def error_table() -> str:
    """Every code of the package, by what it is about."""
    from dal_fast import errors

    lines: list[str] = []
    for line in inspect.getsource(errors.Code).splitlines():
        if title := re.match(r"    # (.+)", line):
            heading = title[1][0].upper() + title[1][1:]
            lines += ["", f"### {heading}", "", "| code | raised as | meaning |", "|---|---|---|"]
        elif member := re.match(r"    ([A-Z][A-Z0-9_]*) = ", line):
            code = errors.Code[member[1]]
            kind = type(errors.error_of(code, "")).__name__
            lines.append(f"| `{code.value}` | `{kind}` | {code.explanation} |")
    return "\n".join(lines)


EXIT_STATUS = """| exit status | meaning |
|---|---|
| 0 | everything was done |
| 1 | some scans failed: `failures.tsv` or `brains_failures.tsv` (`doctor`: not ready to screen) |
| 2 | wrong usage, or an error that concerns the whole command: one line, `error [code]: …` |
| 128 + N | stopped by signal N: 130 by Ctrl-C, 143 by SIGTERM; run the same command again |"""


def variable_table() -> str:
    """Every environment variable that the package reads."""
    from dal_fast.context import VARIABLES

    rows = [f"| `{name}` | {meaning} |" for name, meaning in VARIABLES.items()]
    return "\n".join(["| variable | meaning |", "|---|---|", *rows])


def command_line() -> str:
    """The page of the command line: every command, argument and option."""
    from dal_fast.cli import app

    parts = ["# Command line", _prose(app.info.help), EXIT_STATUS]
    for command in app.registered_commands:
        name = command.name or command.callback.__name__
        parameters = [*_parameters(command.callback)]
        arguments = [p for p in parameters if p.argument]
        usage = " ".join(["dal-fast", name, *(p.shown for p in arguments), "[OPTIONS]"])
        parts += [f"## dal-fast {name}", f"```text\n{usage}\n```"]
        parts.append(_prose(command.help or command.callback.__doc__))
        options = [p for p in parameters if not p.argument]
        for title, rows in (("Argument", arguments), ("Option", options)):
            if rows:
                head = f"| {title} | Default | Meaning |\n|---|---|---|\n"
                parts.append(head + "\n".join(p.row() for p in rows))
    return "\n\n".join(parts) + "\n"


class Parameter(NamedTuple):
    """An argument or an option of a command."""

    argument: bool
    shown: str
    choices: tuple[str, ...]
    default: str
    help: str

    def row(self) -> str:
        name = ", ".join(f"`{part}`" for part in self.shown.split("/"))
        if self.choices:
            name += "<br>" + ", ".join(f"`{choice}`" for choice in self.choices)
        text = _escaped(" ".join(self.help.split())).replace("|", "\\|")
        return f"| {name} | {self.default} | {text} |"


def _parameters(function: Any) -> Iterator[Parameter]:
    """In the order of the function's signature, from its annotations."""
    hints = typing.get_type_hints(function, include_extras=True)
    for name, given in inspect.signature(function).parameters.items():
        kind, info = typing.get_args(hints[name])[:2]
        argument = isinstance(info, typer.models.ArgumentInfo)
        shown = info.metavar or name.upper() if argument else _names_of(name, info, kind is bool)
        is_enum = inspect.isclass(kind) and issubclass(kind, enum.Enum)
        choices = tuple(str(member.value) for member in kind) if is_enum else ()
        yield Parameter(argument, shown, choices, _default(given.default), info.help or "")


def _names_of(name: str, info: Any, flag: bool) -> str:
    """``--overwrite``, ``--work-dir/-w`` or ``--pictures/--no-pictures``."""
    # the first name of an annotated option arrives in the place of its default
    given = [word for word in (info.default, *(info.param_decls or ())) if str(word)[0:1] == "-"]
    if given:
        return "/".join(given)
    option = f"--{name.replace('_', '-')}"
    return f"{option}/--no-{option[2:]}" if flag else option


def _default(value: Any) -> str:
    if value is inspect.Parameter.empty:
        return "required"
    if value is None or value is False:
        return ""
    return "on" if value is True else f"`{getattr(value, 'value', value)}`"


def _prose(text: str | None) -> str:
    """A command's help as Markdown: rich's markup is rendered, examples become a code block."""
    text = re.sub(r"\[/?bold\]", "**", inspect.cleandoc(text or "").replace("\b\n", ""))
    blocks: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        if block.startswith(("dal-fast", "torchrun")) and "\n\n" not in block:
            code = " ".join(block.split())
            if blocks and blocks[-1].startswith("```"):
                blocks[-1] = blocks[-1].removesuffix("\n```") + f"\n{code}\n```"
            else:
                blocks.append(f"```bash\n{code}\n```")
        else:
            blocks.append(_escaped(block))
    return "\n\n".join(blocks)


def _escaped(text: str) -> str:
    """``*`` and ``<`` of file patterns and placeholders are no markup; ``**`` is."""
    return re.sub(r"(?<!\*)\*(?!\*)", r"\\*", text).replace("<", "&lt;")


def model_card(name: str) -> str:
    """The card of weights that come with the package; its links lead from its folder."""
    card = (ROOT / f"dal_fast/weights/{name}.md").read_text("utf-8")
    return card.replace("](../../docs/explanation/", "](")


def pages() -> dict[str, str]:
    """Generated pages by their path below docs/."""
    made = {
        "reference/cli.md": command_line(),
        "explanation/model-card.md": model_card("default"),
        "explanation/model-card-published.md": model_card("published"),
    }
    for readme in sorted(ROOT.glob("kernels/*/README.md")):
        made[f"reference/kernels/{readme.parent.name}.md"] = readme.read_text("utf-8")
    return made


def _table(head: str, rows: Any) -> str:
    columns = head.count("|") - 1
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join([head, "|" + "---|" * columns, *lines])


def dicom_classes() -> str:
    """SOP classes that are read."""
    from dal_fast.dicom.classes import MR_CLASSES

    rows = [(name, f"`{uid}`") for uid, name in MR_CLASSES.items()]
    return _table("| SOP class read | UID |", rows)


def dicom_syntaxes() -> str:
    """Transfer syntaxes that are read."""
    from dal_fast.dicom.pixels import TRANSFER_SYNTAXES

    rows = [(name, f"`{uid}`") for uid, name in TRANSFER_SYNTAXES.items()]
    return _table("| transfer syntax read | UID |", rows)


def dicom_exclusions() -> str:
    """Rules of exclusion."""
    from dal_fast.dicom.rules import AFTER_AGENT, CONTRAST_AGENT, EXCLUSIONS

    rows = [(f"`{rule.name}`", rule.reason) for rule in (*EXCLUSIONS, CONTRAST_AGENT, AFTER_AGENT)]
    return _table("| rule | it holds when |", rows)


def dicom_contrasts() -> str:
    """What a contrast is."""
    from dal_fast.dicom.rules import CONTRASTS

    rows = [(contrast, f"`{rule.name}`", rule.reason) for contrast, rule in CONTRASTS]
    return _table("| contrast | rule | it holds when |", rows)


def dicom_ranking() -> str:
    """Which of several series is taken."""
    from dal_fast.dicom.rules import RANKING

    return "\n".join(f"{number}. {name}" for number, (name, _) in enumerate(RANKING, 1))


def dicom_objects() -> str:
    """Objects that are written."""
    from dal_fast.dicom.objects import OBJECTS

    rows = [(f"`{kind}`", name, digit) for kind, (name, digit) in OBJECTS.items()]
    rows.append(("`seg` with `--label-map`", "Label Map Segmentation Storage", 1))
    return _table("| `--objects` | SOP class written | digit |", rows)


def dicom_copied() -> str:
    """Attributes that objects take from their source."""
    from dal_fast.dicom.objects import COPIED

    return ", ".join(f"`{keyword}`" for keyword in COPIED) + "."


def dicom_codes() -> str:
    """Our own codes in the report."""
    from dal_fast.dicom.parametric_map import ANOMALY_CODE
    from dal_fast.dicom.sr import FLAG, MEASURED, NOTICE

    rows = [*MEASURED.items(), NOTICE, FLAG, ANOMALY_CODE]
    return _table("| code | meaning |", [(f"`{code}`", meaning) for code, meaning in rows])


MARKERS = {
    "<!-- dicom-classes -->": dicom_classes,
    "<!-- dicom-syntaxes -->": dicom_syntaxes,
    "<!-- dicom-exclusions -->": dicom_exclusions,
    "<!-- dicom-contrasts -->": dicom_contrasts,
    "<!-- dicom-ranking -->": dicom_ranking,
    "<!-- dicom-objects -->": dicom_objects,
    "<!-- dicom-copied -->": dicom_copied,
    "<!-- dicom-codes -->": dicom_codes,
    "<!-- speed -->": speed_table,
    "<!-- milliseconds -->": milliseconds_table,
    "<!-- codes -->": error_table,
    "<!-- variables -->": variable_table,
}
"""Comments of written pages that a generated table takes the place of."""


def on_files(files: Any, config: Any) -> Any:
    """mkdocs: the generated pages join the written ones."""
    from mkdocs.structure.files import File

    for path, content in pages().items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """mkdocs: the generated tables take their markers' places."""
    for marker, table in MARKERS.items():
        if marker in markdown:
            markdown = markdown.replace(marker, table())
    return markdown


def on_post_page(output: str, page: Any, config: Any) -> str:
    """mkdocs: a page that would load anything from the network is an error."""
    from mkdocs.exceptions import PluginError

    loaded = re.findall(
        r"<(?:script|img|iframe)[^>]*\ssrc=\"?(?:https?:)?//[^\s>]+"
        r"|<link(?![^>]*rel=\"?canonical)[^>]*\shref=\"?(?:https?:)?//[^\s>]+",
        output,
    )
    if loaded:
        raise PluginError(f"{page.file.src_uri} loads from the network: {loaded}")
    return output
