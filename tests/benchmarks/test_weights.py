"""Weight files beside each other: what the table says of made-up measures."""

from benchmarks import weights
from dal_fast.evaluation.case_metrics import CaseMetrics
from dal_fast.evaluation.report.results import write_cases


def _rows(precisions, above):
    rows = []
    for n, (size, value) in enumerate(precisions):
        facts = {"draw": "a", "generator": "shifted", "contrast": "T2w", "sign": "bright",
                 "size": size}  # fmt: skip
        values = {"average_precision": value}
        for score in ("auto", "hybrid"):
            rows.append((score, CaseMetrics(f"case-{n}", "sub", facts, values)))
    facts = {"draw": "a", "generator": "shifted", "contrast": "T2w", "sign": "healthy", "size": ""}
    values = {"average_precision": float("nan"), "false_positive_rate": above}
    rows.append(("auto", CaseMetrics("healthy", "sub", facts, values)))
    return rows


def test_the_files_are_paired_by_case():
    first = _rows([("small", 0.25), ("large", 0.5)], 0.001)
    last = _rows([("small", 0.5), ("large", 0.25)], 0.002)
    lines = weights.table({"default": first, "published": last})
    assert "`default`, auto | `default`, hybrid | `published`, auto" in lines[0]
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in lines[2:]}
    assert list(rows) == ["shifted T2w bright", "shifted large", "shifted small", "all"]
    assert [cell.strip() for cell in rows["shifted small"]] == [
        "1", "0.250", "0.250", "0.500", "0.500", "+0.250", "1 of 1",
    ]  # fmt: skip
    assert [cell.strip() for cell in rows["all"][-2:]] == ["+0.000 (0.354)", "1 of 2"]
    assert weights.healthy({"default": first, "published": last})[2:] == [
        "| `default` | – | 0.10 (n=1) | – |",
        "| `published` | – | 0.20 (n=1) | – |",
    ]


def test_what_was_measured_is_read_again(tmp_path):
    rows = _rows([("small", 0.25), ("large", 0.5)], 0.001)
    write_cases(tmp_path / "default.csv", rows)
    again = list(weights._read(tmp_path / "default.csv"))
    assert weights.table({"default": again}) == weights.table({"default": rows})
    assert weights.healthy({"default": again}) == weights.healthy({"default": rows})
