"""participants.tsv in every encoding that programs save, or one line that says what to do."""

import codecs

import pytest

from dal_fast import DalFastError
from dal_fast.imaging.participants import read_participants

TABLE = "participant_id\tgroup\tsite\nsub-01\tcontrol\tZürich\nsub-02\tpatient\tBern\n"
ROWS = {
    "01": {"participant_id": "sub-01", "group": "control", "site": "Zürich"},
    "02": {"participant_id": "sub-02", "group": "patient", "site": "Bern"},
}


def put(folder, content):
    data = content if isinstance(content, bytes) else content.encode()
    (folder / "participants.tsv").write_bytes(data)
    return folder


READ = {
    "UTF-8": TABLE,
    "UTF-8 with a byte order mark": codecs.BOM_UTF8 + TABLE.encode(),
    "UTF-16, little endian": codecs.BOM_UTF16_LE + TABLE.encode("utf-16-le"),
    "UTF-16, big endian": codecs.BOM_UTF16_BE + TABLE.encode("utf-16-be"),
    "UTF-32": TABLE.encode("utf-32"),
    "lines of Windows": TABLE.replace("\n", "\r\n"),
    "lines of old Macs": TABLE.replace("\n", "\r"),
    "no end of the last line": TABLE.rstrip(),
    "empty lines": TABLE.replace("\nsub-02", "\n\n\t\t\nsub-02") + "\n\n",
    "quoted": "\n".join("\t".join(f'"{c}"' for c in r.split("\t")) for r in TABLE.splitlines()),
    "blanks around cells": TABLE.replace("\t", " \t ").replace("participant_id", " participant_id"),
    "a tab at the end of each row": TABLE.replace("\n", "\t\n"),
    "a row twice": TABLE + "sub-02\tpatient\tBern\n",
    "without sub-": TABLE.replace("sub-02", "02").replace("02\tp", "sub-02\tp"),
}


@pytest.mark.parametrize("kind", READ)
def test_read(tmp_path, kind):
    assert read_participants(put(tmp_path, READ[kind])) == (["group", "site"], ROWS)


def test_no_table_is_an_empty_one(tmp_path):
    assert read_participants(tmp_path) == ([], {})


def test_participant_id_may_be_any_column(tmp_path):
    columns, rows = read_participants(put(tmp_path, "age\tparticipant_id\n9\tsub-01\n"))
    assert columns == ["age"]
    assert rows == {"01": {"age": "9", "participant_id": "sub-01"}}


def test_cells_that_are_missing_are_not_available(tmp_path):
    _, rows = read_participants(put(tmp_path, "participant_id\tage\tsex\nsub-01\t9\n"))
    assert rows["01"] == {"participant_id": "sub-01", "age": "9", "sex": "n/a"}


@pytest.mark.parametrize("cell", ['"5 feet', '12" screen', '"a" b', 'say "x"', "it's"])
def test_a_quote_that_does_not_pair_is_a_character(tmp_path, cell):
    content = f"participant_id\tnote\nsub-01\t{cell}\nsub-02\tx\n"
    _, rows = read_participants(put(tmp_path, content))
    assert [row["note"] for row in rows.values()] == [cell, "x"]
    content = f"participant_id\tnote\nsub-01\t{cell}\nsub-02\t{cell}\n"
    _, rows = read_participants(put(tmp_path, content))
    assert list(rows) == ["01", "02"]


REFUSED = {
    "Latin-1": (TABLE.encode("latin-1"), "byte 0xFC at position 42, in row 2", "iconv"),
    "Latin-1, lines of Windows": (
        TABLE.replace("\n", "\r\n").encode("latin-1"), "position 43, in row 2", "UTF-8",
    ),
    "UTF-16 without a mark": (TABLE.encode("utf-16-le"), "0xFC", "UTF-8"),
    "plain UTF-16 without a mark": (
        TABLE.replace("ü", "u").encode("utf-16-le"), "zero byte at position 1", "utf-16le",
    ),
    "half a character of UTF-16": (
        codecs.BOM_UTF16_LE + TABLE.encode("utf-16-le")[:-1], "damaged", "utf-16",
    ),
    "empty": ("", "no column participant_id", "empty"),
    "other columns": ("subject\tage\nsub-01\t9\n", "no column participant_id", "subject, age"),
    "commas": ("participant_id,age\nsub-01,9\n", "no column participant_id", "tabs"),
    "semicolons": ("participant_id;age\nsub-01;9\n", "no column participant_id", "tabs"),
    "a column twice": ("participant_id\tage\tage\nsub-01\t9\t8\n", "more than one column", "age"),
    "a tab too many": (TABLE + "sub-03\tpatient\t\tBasel\n", "4 cells in row 4", "tab too many"),
    "no label": (TABLE + "\tpatient\tBern\n", "no participant_id in row 4", "participant_id"),
    "one participant, two rows": (
        TABLE + "sub-01\tpatient\tZürich\n", "sub-01 in rows 2 and 4", "one row a participant",
    ),
    "one participant under two names": (
        TABLE + "01\tpatient\tZürich\n", "sub-01 in rows 2 and 4", "one row a participant",
    ),
    "a cell of a megabyte": (TABLE + "sub-03\t" + "x" * 1_000_000, "is no table", "field"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_one_line_says_what_to_do(tmp_path, kind):
    content, what, way_out = REFUSED[kind]
    with pytest.raises(DalFastError) as refused:
        read_participants(put(tmp_path, content))
    assert refused.value.code == "participants-table"
    assert "participants.tsv" in refused.value.message
    assert what in refused.value.message
    assert way_out in refused.value.message
    assert "\n" not in refused.value.message


def test_a_table_that_cannot_be_opened(tmp_path):
    (tmp_path / "participants.tsv").symlink_to(".git/annex/objects/x")
    with pytest.raises(DalFastError, match="datalad get") as refused:
        read_participants(tmp_path)
    assert refused.value.code == "participants-table"
    (tmp_path / "participants.tsv").unlink()
    (tmp_path / "participants.tsv").mkdir()
    with pytest.raises(DalFastError, match="cannot be read") as refused:
        read_participants(tmp_path)
    assert refused.value.code == "participants-table"
