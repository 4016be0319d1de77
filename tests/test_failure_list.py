"""What a command says about cases that cannot be evaluated."""

import os

from dal_fast.cli.failures import FailureList


def test_a_name_of_any_kind_is_one_line(tmp_path, capsys):
    name = os.fsdecode(b"caf\xe9\nsub-01")
    with FailureList(tmp_path / "new" / "out", [(name, "file-missing", "it is\ngone")]):
        pass
    assert capsys.readouterr().err == "failed [file-missing] caf\\xe9\\nsub-01: it is\\ngone\n"
    table = (tmp_path / "new" / "out" / "failures.tsv").read_text(encoding="utf-8")
    assert table.splitlines()[1] == "caf\\xe9\\nsub-01\tfile-missing\tit is\\ngone"
