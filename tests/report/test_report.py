"""The report pages: PNG bytes, where slices lie, what the page says, and that it stands alone."""

import re
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from phantom import phantom

from dal_fast.report import colour, index_page, png, scan_pictures
from dal_fast.report.advice import _BY_FLAG
from dal_fast.report.index import IndexEntry
from dal_fast.report.page import peak_of, plane_pictures
from dal_fast.report.planes import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    VIEWS,
    Box,
    plane,
    position,
    sample,
    world_box,
)
from dal_fast.screening.result import Flag, Image, Region, Result

OUTPUTS = Path(__file__).parents[2] / "docs" / "reference" / "outputs.md"


def make_result(axes="RAS", voxel_mm=(2.0, 2.0, 2.0), lesion=True):
    """A result whose anomaly map is the phantom's lesion, without any network."""
    data, affine, centre = phantom(axes, voxel_mm, lesion=lesion)
    image = Image(data, affine)
    brain = data > 0
    anomaly = np.where(data > 720, data / 2000, 0).astype(np.float32) * lesion
    tissue = np.where(brain, 3 - (data > 350) - (data > 550), 0).astype(np.uint8)
    index = np.argwhere(brain)
    distance = np.linalg.norm(image.world(index) - centre, axis=1)
    anomaly[tuple(index[distance.argmin()])] = 0.6 * lesion
    return Result(
        name="sub-01_FLAIR",
        source={"path": "sub-01_FLAIR.nii.gz", "sha256": "00ff"},
        scan=image,
        anomaly=Image(anomaly, affine),
        pseudo_healthy=Image(np.minimum(data, 500), affine),
        brain_mask=Image(brain, affine),
        anomaly_mask=Image(anomaly > 0.2, affine),
        tissue=Image(tissue, affine),
        edges=Image(tissue == 2, affine),
        bias=Image(np.where(brain, np.float32(1.25), 0), affine),
        score=0.4321,
        regions=[Region(2.1, 0.6, 0.4, tuple(centre))] if lesion else [],
        parameters={
            "threshold": 0.2,
            "score": "enhanced",
            "median": 0,
            "contrast": "FLAIR",
            "contrast_from": "file name",
            "sign": "bright",
        },
        brain={"Source": "nonzero", "VolumeML": np.count_nonzero(brain) * np.prod(voxel_mm) / 1000},
        flags=[Flag("low-resolution", "voxels of 6 mm <b>")],
        timings={"read": 0.2, "network": 1.5},
    ), centre


def decode(data):
    """Undo the encoder with nothing of it: chunk CRCs, then the Up filter."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert int.from_bytes(data[at + 8 + size : at + 12 + size], "big") == zlib.crc32(
            kind + body
        )
        chunks[kind], at = body, at + 12 + size
    width, height = (int.from_bytes(chunks[b"IHDR"][i : i + 4], "big") for i in (0, 4))
    channels = {0: 1, 2: 3}[chunks[b"IHDR"][9]]
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert (rows[:, 0] == 2).all()
    pixels = np.cumsum(rows[:, 1:], axis=0, dtype=np.uint8)
    return pixels.reshape((height, width) if channels == 1 else (height, width, 3))


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (40, 31, 3)])
def test_png_holds_the_pixels(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    assert np.array_equal(decode(png.encode(pixels)), pixels)
    assert np.array_equal(decode(png.encode(pixels[::-1, ::-1])), pixels[::-1, ::-1])


@pytest.mark.parametrize("axes", ["RAS", "LAS", "PSR", "IPL"])
@pytest.mark.parametrize("voxel_mm", [(2.0, 2.0, 2.0), (1.5, 2.5, 4.0)])
def test_letters_are_on_their_side(axes, voxel_mm):
    """In every view, a step towards the patient's right, front or top goes to the letter's rim."""
    _, affine, _ = phantom(axes, voxel_mm)
    shape = (90, 90, 90)
    towards = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    box = world_box(Image(np.ones(shape, bool), affine))
    middle = (box.low + box.high) / 2
    for view in VIEWS:
        left, right, top, bottom = view.letters
        for letter, rim in ((left, 0), (right, -1), (top, 0), (bottom, -1)):
            axis, sign = towards[letter]
            ramp = Image(sign * Image(index, affine).world(index)[..., axis], affine)
            pixels = sample(ramp, plane(view, middle, box))[16:-16, 16:-16]
            lines = pixels.mean(axis=0 if letter in (left, right) else 1)
            assert np.argmax(lines) == rim % len(lines), (view.name, letter)


@pytest.mark.parametrize("voxel_mm", [(2.0, 2.0, 2.0), (1.0, 1.0, 6.0)])
def test_aspect_is_the_bodys_own(voxel_mm):
    """A ball is as wide as high in every view, whatever the voxels."""
    _, affine, _ = phantom("LPS", voxel_mm)
    shape = tuple(int(n) for n in np.ceil(np.array([150, 186, 150]) / voxel_mm))
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    ball = Image((np.linalg.norm(index @ affine[:3, :3].T + affine[:3, 3], axis=-1) < 40), affine)
    box = world_box(Image(np.ones(shape, bool), affine))
    for view in VIEWS:
        seen = sample(ball, plane(view, np.zeros(3), box)) > 0.5
        height, width = seen.any(axis=1).sum(), seen.any(axis=0).sum()
        assert abs(height - 80) < 8
        assert abs(width - 80) < 8


def test_a_plane_is_sampled_where_its_affine_says():
    affine = np.array([[0, -2.0, 0, 9], [1.5, 0, 0.2, -4], [0, 0, 3, -7], [0, 0, 0, 1]])
    index = np.stack(np.meshgrid(*(np.arange(n) for n in (12, 10, 8)), indexing="ij"), axis=-1)
    place, weights = Image(index, affine).world(index), np.array([0.3, -1.2, 2.5])
    box = Box(place.reshape(-1, 3).min(axis=0) - 5, place.reshape(-1, 3).max(axis=0) + 5)
    image, labels = Image(place @ weights, affine), Image(np.arange(960).reshape(12, 10, 8), affine)
    for view in VIEWS:
        here = plane(view, np.array([1.0, 2, 3]), box)
        pixels = np.stack([*np.indices(here.shape), np.zeros(here.shape)], axis=-1)
        at = Image(pixels, here.affine).world(pixels)
        want = np.array([1.0, 2, 3])[view.axis]
        assert np.allclose(at[..., view.axis], want)
        voxel = Image(at, np.linalg.inv(affine)).world(at)
        inner = ((voxel >= 0) & (voxel <= np.array(index.shape[:3]) - 1)).all(axis=-1)
        outer = ((voxel < -0.6) | (voxel > np.array(index.shape[:3]) - 0.4)).any(axis=-1)
        assert np.allclose(sample(image, here)[inner], (at @ weights)[inner], atol=1e-3)
        assert not sample(image, here)[outer].any()
        clear = inner & (np.abs(voxel % 1 - 0.5) > 0.05).all(axis=-1)
        near = np.rint(voxel[clear]).astype(int)
        assert np.array_equal(sample(labels, here, "nearest")[clear], labels.data[tuple(near.T)])


@pytest.mark.parametrize("axes", ["RAS", "PSR"])
def test_the_slices_pass_through_the_maximum(axes):
    result, centre = make_result(axes, (2.0, 2.0, 3.0))
    peak = peak_of(result)
    assert np.abs(peak - centre).max() < 3
    box = world_box(result.brain_mask)
    for view in VIEWS:
        picture = sample(result.anomaly, plane(view, peak, box))
        row, column = np.unravel_index(picture.argmax(), picture.shape)
        x, y = position(view, peak, box)
        assert abs(column + 0.5 - x * picture.shape[1]) <= 1
        assert abs(row + 0.5 - y * picture.shape[0]) <= 1
    x_axial, y_axial = position(AXIAL, peak, box)
    assert x_axial < 0.5  # the lesion is on the patient's right, so on the left of the page
    assert y_axial < 0.5  # and in front, so above
    assert position(CORONAL, peak, box)[0] == x_axial
    assert position(SAGITTAL, peak, box)[0] < 0.5


def test_overlay_shows_only_what_is_near_the_threshold():
    base = np.full((1, 4), 100, np.uint8)
    values = np.array([[0.0, 0.09, 0.2, 0.9]])
    out = colour.overlay(base, values, threshold=0.2, top=0.6)
    assert (out[0, :2] == 100).all()
    assert (out[0, 2] != 100).any()
    assert out[0, 3].sum() > out[0, 2].sum()


def test_page_stands_alone_and_says_what_was_found():
    result, _ = make_result()
    page, _ = scan_pictures(result)
    assert len(page) < 3_000_000
    assert page.count("<img ") == 15 + 12 + 1
    for part in ("sub-01_FLAIR", "0.432", "2.1 mL", "low-resolution", "00ff",
                 "Research software. Not a medical device."):  # fmt: skip
        assert part in page
    assert "voxels of 6 mm &lt;b&gt;" in page
    assert "<script" not in page
    without_pictures = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page)
    assert not re.search(r"https?:|url\(|@import|//[a-z]", without_pictures)
    assert re.findall(r'(?:src|href)="(?!")([^"]+)"', without_pictures) == []
    assert scan_pictures(result)[0] == page


def test_page_of_a_scan_without_findings():
    result, _ = make_result(lesion=False)
    page, _ = scan_pictures(replace(result, flags=[], score=0.0))
    assert "No quality flag" in page
    assert "No region is above" in page


def test_a_page_says_what_to_do_next_and_doubts_come_first():
    result, _ = make_result()
    result.brain.update(Source="file")
    calm, doubt = (
        text_of(scan_pictures(replace(result, flags=[Flag(code, "")]))[0])
        for code in ("low-resolution", "brain-mask-uncertain")
    )
    for page, mask_first in ((calm, False), (doubt, True)):
        places = [page.index(f"<h2>{title}") for title in ("Brain mask", "Where the anomaly map")]
        assert (places[0] < places[1]) is mask_first
        assert ("screen again with --mask" in page) is mask_first
        assert page.index("<h2>What to do next") < min(places)
    assert ("smaller voxels" in calm, "smaller voxels" in doubt) == (True, False)
    assert "healthy scans have some, too" in calm
    nothing = scan_pictures(make_result(lesion=False)[0])[0]
    assert "does not mean no lesion" in nothing


def test_advice_is_given_for_flags_that_exist():
    documented = set(re.findall(r"^\| `([a-z-]+)` \|", OUTPUTS.read_text("utf-8"), re.MULTILINE))
    assert frozenset().union(*(codes for codes, _ in _BY_FLAG)) <= documented


def test_a_score_stands_out_above_the_threshold_alone():
    result, _ = make_result()
    for score, shown in ((0.19, "fact "), (0.2, "fact score")):
        page = text_of(scan_pictures(replace(result, score=score))[0])
        assert f'<div class="{shown}"><b>{score:.3f}</b>' in page
    assert "the threshold is 0.2" in page


def on_the_left(result):
    """The same result with its peak 28 mm left, 0 mm anterior, 19 mm superior."""
    return replace(result, regions=[Region(2.1, 0.6, 0.4, (-28.2, 0.1, 19.0))])


def text_of(page):
    return re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page)


def test_a_place_is_said_in_words():
    result, (x, y, z) = make_result()
    page = text_of(scan_pictures(on_the_left(result))[0])
    assert "<td>28 mm left, 0 mm anterior, 19 mm superior</td>" in page
    assert (
        f"The map is highest at {x:.0f} mm right, {y:.0f} mm anterior, {z:.0f} mm superior" in page
    )
    assert not re.search(r"[-−]\d+ ?mm|RAS", page)
    assert "R?" not in page
    assert "the patient’s right is on the left" in page


def test_a_page_of_a_scan_whose_side_is_unknown_says_so_everywhere():
    result, _ = make_result()
    doubtful = replace(
        on_the_left(result), flags=[Flag("orientation-unknown", "left and right may be swapped")]
    )
    page = text_of(scan_pictures(doubtful)[0])
    assert "left and right may be swapped" in page
    assert "<td>28 mm left or right, 0 mm anterior, 19 mm superior</td>" in page
    assert "the patient’s right" not in page
    for certain in (">R<", ">L<", "mm left,", "mm right,"):
        assert certain not in page
    assert page.count(">R?<") == page.count(">L?<") == 2 * 5 + 12  # axial, coronal; the strip


def test_a_page_says_what_runs_where():
    result, _ = make_result()
    parameters = {**result.parameters, "runtime": "tensorrt", "device": "cuda:1"}
    page = scan_pictures(replace(result, parameters=parameters))[0]
    assert "<th>networks run on</th><td>cuda:1</td>" in page
    assert "<th>everything else runs on</th><td>cpu</td>" in page


def test_index_ranks_and_lists_failures():
    entries = [
        IndexEntry("a", 0.1, 0.0, [], "sub 1/a.html", "figures/a.png"),
        IndexEntry("b<", 0.9, 3.0, ["cropped-brain"], "b.html", "figures/b.png"),
    ]
    page = index_page("study", entries, [("c.nii.gz", "nifti-truncated", "c ends & early")])
    assert page.index("b&lt;") < page.index(">a</a>")
    assert "sub%201/a.html" in page
    assert "nifti-truncated" in page
    assert "c ends &amp; early" in page
    assert "cropped-brain" in page
    assert page.count('<div class="marked"') == 1, "only b has a region above the threshold"
    assert "0 " not in index_page("none", [], []).split("scans screened")[0][-3:]


def test_thumbnail_is_small():
    result, _ = make_result()
    assert len(png.encode(scan_pictures(result)[1])) < 40_000


def test_the_page_says_what_the_map_rests_on():
    result, _ = make_result()
    page = scan_pictures(result)[0]
    for said in ("FLAIR, by the file’s name", "bright", "1.25 to 1.25", "bias field, axial"):
        assert said in page, said
    assert re.search(r"TFCE\)</\w+>\s*<\w+[^>]*>yes", page)
    plain = {**result.parameters, "score": "hybrid", "contrast_from": "intensities"}
    page = scan_pictures(replace(result, parameters=plain, bias=None))[0]
    assert "FLAIR, guessed by the intensities" in page
    assert re.search(r"TFCE\)</\w+>\s*<\w+[^>]*>no", page)
    assert "bias field" not in page


@pytest.mark.parametrize("factor", [1, -1], ids=["standardised", "negated"])
def test_a_scan_with_negative_intensities_is_not_drawn_black(factor):
    """Standardised scans are screened like any other."""
    result, _ = make_result()
    brain = result.brain_mask.data
    inside = result.scan.data[brain]
    data = np.where(brain, factor * (result.scan.data - inside.mean()) / inside.std(), 0)
    drawn, _ = plane_pictures(replace(result, scan=Image(np.float32(data), result.scan.affine)))[0]
    plain, _ = plane_pictures(result)[0]
    values = plain[plain > 50].astype(float), drawn[plain > 50].astype(float)
    assert factor * np.corrcoef(*values)[0, 1] > 0.9
    assert np.ptp(np.percentile(values[1], [1, 99])) > 100
