"""The right series of a study, or none: never a localiser, reformat, diffusion or phase image."""

import json
from dataclasses import replace

import pytest

pytest.importorskip("pydicom", reason="needs dal_fast[dicom]")

from dicom_lab import scanner, studies
from support import one_in

from dal_fast.dicom.facts import Facts
from dal_fast.dicom.rules import CONTRASTS, EXCLUSIONS, RANKING
from dal_fast.dicom.select import select_named, select_series
from dal_fast.dicom.series import find_series
from dal_fast.errors import Code, InputError

STUDIES = [(vendor, protocol) for protocol in studies.PROTOCOLS for vendor in scanner.VENDORS]


def series_of(vendor, protocol):
    found, expected = studies.make(vendor, protocol)
    return find_series(found, lambda first, second: False), expected


def test_there_are_forty_studies():
    assert len(STUDIES) == 40
    assert all(12 <= len(series) <= 25 for series, _ in studies.PROTOCOLS.values())


@pytest.mark.parametrize(("vendor", "protocol"), one_in(3, STUDIES))  # of every vendor and protocol
def test_the_right_series_are_chosen(vendor, protocol):
    series, expected = series_of(vendor, protocol)
    selection = select_series(series)
    chosen = {verdict.contrast: verdict.series.number for verdict in selection.chosen}
    assert chosen == expected, json.dumps(selection.record(), indent=1)
    record = selection.record()
    assert len(record["Series"]) >= len(series)
    assert all(row["Rule"] and row["Reason"] for row in record["Series"])
    text = json.dumps(record)
    assert not any(word in text for word in ("Vorname", "Nachname", "PID4711", "19610203"))


def test_a_derived_series_that_names_its_contrast_is_told_why_not():
    """As a defacing program writes it from NIfTI: without times, but with its name."""
    facts = Facts(
        frozenset(("ANAT", "T1W")), "ANAT-T1W", "T1w", frozenset(), "", ("DERIVED", "SECONDARY"),
        frozenset(), "", gradient=False, spin=False, planar=False, inversion=False, three_d=False,
        te=None, tr=None, flip=None, ti=(), echoes=0, b_value=0.0, angio=False, agent=False,
        started="", largest_mm=1.0, pixel_mm=1.0, flow_compensated=False, late=False,
    )  # fmt: skip
    rule = next(rule for rule in EXCLUSIONS if rule.holds(facts))
    assert rule.name == "derived-without-parameters"
    assert "names do not say" not in rule.reason
    original = replace(facts, image_type=("ORIGINAL", "PRIMARY"))
    assert not any(rule.holds(original) for rule in EXCLUSIONS[:2])
    nameless = replace(facts, named="")
    assert next(rule for rule in EXCLUSIONS if rule.holds(nameless)).name == "no-parameters"


def test_rows_have_names_of_their_own():
    names = [rule.name for rule in EXCLUSIONS] + [rule.name for _, rule in CONTRASTS]
    assert len(set(names)) == len(names)
    assert len({name for name, _ in RANKING}) == len(RANKING)


def test_series_with_a_contrast_agent_are_taken_on_request():
    series, _ = series_of("ge", "with contrast agent only")
    chosen = select_series(series, allow_contrast_agent=True).chosen
    assert {verdict.contrast for verdict in chosen} == {"T1w", "T2w", "FLAIR"}
    assert all("contrast-agent" in [note.code for note in verdict.notes] for verdict in chosen)


def test_one_without_a_contrast_agent_comes_first():
    series, expected = series_of("siemens", "tumour")
    chosen = select_series(series, allow_contrast_agent=True).chosen
    assert {verdict.contrast: verdict.series.number for verdict in chosen} == expected


def test_a_named_series_is_taken_with_the_reason():
    series, _ = series_of("canon", "names that lie")
    unknown = next(one for one in series if one.number == 15)
    (verdict,) = select_named(series, [unknown.uid]).chosen
    assert (verdict.series, verdict.rule, verdict.contrast) == (unknown, "named", None)


def test_a_named_localiser_is_refused_for_its_geometry():
    series, _ = series_of("philips", "tumour")
    with pytest.raises(InputError) as refused:
        select_named(series, [series[0].uid])
    assert refused.value.code == Code.DICOM_FEW_SLICES


def test_stacks_that_no_rule_tells_apart_are_refused():
    series, _ = series_of("siemens", "stroke")
    several = next(one for one in series if len(one.parts) == 3)
    with pytest.raises(InputError) as refused:
        select_named(series, [several.uid])
    assert refused.value.code == "dicom-unselected"


def test_a_contrast_agent_that_was_not_given_is_none():
    series, _ = series_of("siemens", "MS")
    for one in series:
        for file in one.files:
            file.header.SeriesDescription += " without contrast"
    assert len(select_series(series).chosen) == 3


@pytest.mark.parametrize(
    ("name", "changes", "chosen"),
    [
        ("sub-01_T1w", {}, True),
        ("t1 sub", {}, False),
        ("T1", {"BodyPartExamined": "UNKNOWN"}, True),
        ("T1", {"BodyPartExamined": "PHANTOM"}, False),
        ("T1", {"BodyPartExamined": "HEADNECK"}, True),
        ("T1 w/o contrast", {}, True),
        ("T1 +C", {}, False),
        ("T1", {"ContrastBolusAgent": "No contrast"}, True),
        ("T1", {"ContrastBolusAgent": "N/A"}, True),
        ("T1", {"ContrastBolusAgent": "Gadobutrol 7.5 mL"}, False),
    ],
)
def test_words_that_decide(name, changes, chosen):
    from dal_fast.dicom.files import StudyFiles

    files = studies.series_files("siemens", "1.2.3", 4, name, "t1 3d 2 mm", changes)
    series = find_series(StudyFiles(list(files)), lambda first, second: False)
    assert bool(select_series(series).chosen) is chosen
