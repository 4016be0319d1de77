"""The documentation names what exists: commands, options, codes, variables, files, numbers.

``make docs`` builds the site strictly; here is what a build cannot see.
"""

import importlib.util
import re
from pathlib import Path

import pytest

import dal_fast

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
CARDS = [ROOT / f"dal_fast/weights/{name}.md" for name in ("default", "published")]
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", *CARDS])
OTHERS_OPTIONS = {  # of sbatch, cmake, pkg-config and the benchmarks
    "--array", "--build", "--cflags", "--cpus-per-task", "--install", "--libs", "--mem", "--prefix",
    "--record", "--share", "--strip", "--variable",
}  # fmt: skip


def _load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _load(DOCS / "generate.py")


@pytest.fixture(scope="module")
def cli():
    return generate.command_line()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_options_exist(page, cli):
    commands = set(re.findall(r"^## dal-fast (\S+)", cli, re.MULTILINE))
    options = set(re.findall(r"`(--?[a-z][a-z-]*)`", cli)) | {"--version", "--help"}
    text = page.read_text("utf-8")
    for command in re.findall(r"dal-fast ([a-z][a-z-]+)", text):
        assert command in commands, f"dal-fast {command}"
    for option in re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", text):
        assert option in options | OTHERS_OPTIONS, option


def test_the_command_line_page_has_every_command(cli):
    from dal_fast.cli import app

    for command in app.registered_commands:
        assert f"## dal-fast {command.name or command.callback.__name__}" in cli
    assert "[bold]" not in cli
    assert "None" not in cli


def test_every_code_is_on_the_page_of_codes():
    from dal_fast.errors import Code

    table = generate.error_table()
    for code in Code:
        assert f"| `{code.value}` |" in table
    assert table.count("\n| `") == len(Code)
    assert "<!-- codes -->" in (DOCS / "reference/errors.md").read_text("utf-8")


def test_codes_that_pages_name_exist():
    from dal_fast.errors import Code

    text = "".join(page.read_text("utf-8") for page in PAGES)
    for code in re.findall(r"errors? (?:code )?`([a-z-]+)`", text):
        assert code in set(Code), code


def test_variables_that_pages_name_are_read_somewhere():
    from dal_fast.context import VARIABLES

    text = "".join(page.read_text("utf-8") for page in PAGES)
    of_the_tests = {"DAL_FAST_ENGINES"}
    of_the_build = {"DAL_FAST_CUDA", "DAL_FAST_AVX512_FLAGS", "DAL_FAST_WERROR"}
    for name in re.findall(r"\bDAL_FAST_[A-Z0-9_]+", text):
        assert name in {*VARIABLES, *of_the_tests, *of_the_build}, name
    assert all(f"`{name}`" in generate.variable_table() for name in VARIABLES)


def test_every_quality_flag_is_described():
    from dal_fast.imaging import mask_origin, orientation

    folders = [ROOT / "dal_fast" / name for name in ("screening", "imaging", "dicom")]
    source = "".join(path.read_text("utf-8") for f in folders for path in f.glob("*.py"))
    flags = set(re.findall(r"(?:Flag|Note)\(\s*\"([a-z-]+)\"", source))
    names = set(re.findall(r"Note\(\s*([A-Z_]+)", source))
    flags |= {getattr(orientation, name, None) or getattr(mask_origin, name) for name in names}
    assert len(flags) > 20
    page = (DOCS / "reference/outputs.md").read_text("utf-8")
    listed = page.split("## Quality flags")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", listed, re.MULTILINE)) == flags


def test_the_conformance_statement_has_every_table():
    pytest.importorskip("highdicom")
    page = (DOCS / "reference/dicom-conformance.md").read_text("utf-8")
    for marker, table in generate.MARKERS.items():
        if marker.startswith("<!-- dicom"):
            assert marker in page
            assert len(table()) > 40
    written = generate.on_page_markdown(page, None, None, None)
    for word in ("Enhanced MR Image Storage", "`t1-spin-echo`", "`echo-planar`", "`PatientName`",
                 "1.2.840.10008.1.2.4.70", "Parametric Map Storage"):  # fmt: skip
        assert word in written


def test_every_recipe_is_described():
    from dal_fast.training.config import recipe_names

    page = (DOCS / "howto/train.md").read_text("utf-8")
    for name in recipe_names():
        assert f"`{name}`" in page


def test_every_file_that_a_page_names_exists():
    for page in PAGES:
        for name in re.findall(
            r"`((?:examples|benchmarks|docs|kernels|tests|dal_fast)/[\w./-]+)`",
            page.read_text("utf-8"),
        ):
            exists = (ROOT / name).exists() or "myop" in name
            assert exists, f"{page.name}: {name}"


def anchors_of(page):
    """What the headings of a page are linked by."""
    headings = re.findall(r"^#+ +(.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


def test_links_lead_somewhere():
    folders = ("docs", "benchmarks", "kernels", "dal_fast", "examples")
    pages = [
        *ROOT.glob("*.md"),
        *(page for name in folders for page in ROOT.glob(f"{name}/**/*.md")),
    ]
    made = {DOCS / name for name in generate.pages()}
    for page in pages:
        for link in re.findall(r"\]\((?!http|mailto)([^)\s]+)\)", page.read_text("utf-8")):
            path, _, anchor = link.partition("#")
            target = page.parent.joinpath(path).resolve() if path else page
            if target not in made:
                assert target.exists(), f"{page}: {link}"
                assert not anchor or anchor in anchors_of(target), f"{page}: {link}"


def test_the_speed_table_of_the_readme_is_the_measured_one():
    readme = (ROOT / "README.md").read_text("utf-8").splitlines()
    for line in generate.speed_table(peers=2).splitlines():
        assert line in readme, line


@pytest.mark.parametrize("page", ["docs/howto/ops.md", "README.md"])
def test_code_of_a_page_runs(page):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    of_ops = [block for block in blocks if "Screener" not in block]
    assert of_ops
    for block in of_ops:
        exec(compile(block, page, "exec"), {})


def test_the_citation_names_this_version():
    yaml = pytest.importorskip("yaml")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == dal_fast.__version__
    assert citation["references"][0]["url"].endswith("2512.21924")


def test_the_workflow_runs_what_anybody_can():
    yaml = pytest.importorskip("yaml")
    for name in ("ci.yml", "wheels.yml"):
        assert yaml.safe_load((ROOT / ".github/workflows" / name).read_text("utf-8"))["jobs"]
    assert "run: .ci/run" in (ROOT / ".github/workflows/ci.yml").read_text("utf-8")


def test_imports_of_every_page_work():
    for page in PAGES:
        for line in re.findall(r"^from dal_fast.*$", page.read_text("utf-8"), re.MULTILINE):
            exec(compile(line, page.name, "exec"), {})


def test_a_page_that_loads_from_the_network_is_refused():
    exceptions = pytest.importorskip("mkdocs.exceptions")

    class Page:
        class file:
            src_uri = "page.md"

    for tag in ('<script src="https://cdn.org/x.js">', '<link href="//fonts.org/x.css">'):
        with pytest.raises(exceptions.PluginError, match=r"page\.md"):
            generate.on_post_page(tag, Page, None)
    assert generate.on_post_page('<a href="https://arxiv.org">', Page, None)
