"""Every protocol against the definitions of its original, on the same arrays, from files on."""

import nibabel as nib
import numpy as np
import pytest
from evaluation import originals
from scipy import ndimage
from sklearn import metrics
from study import save, write_study

from dal_fast import DalFastError
from dal_fast.evaluation.cases import bids_cases, matching
from dal_fast.evaluation.compare import compare
from dal_fast.evaluation.ground_truth import read_ground_truth
from dal_fast.evaluation.map_folder import MapFolder
from dal_fast.evaluation.protocols import PROTOCOLS, protocol

TESTED, HELD, HEALTHY = ("sub-p1", "sub-p2", "sub-p3"), ("sub-p0",), ("sub-h0", "sub-h1")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The first patient and two healthy people are for validation."""
    return write_study(tmp_path_factory.mktemp("study"))


def compared(study, name):
    """Results of one detector."""
    cases, failures = bids_cases(study.data, "group=control")
    assert failures == []
    reserved = [case for case in cases if f"sub-{case.participant}" in (*HELD, *HEALTHY)]
    comparison = compare(cases, [MapFolder("good", study.maps["good"])], protocol(name), reserved)
    assert comparison.failures == []
    return comparison.detectors


def arrays(study, participants, detector="good"):
    names = study.of(*participants)
    return (
        [study.scores[detector, n] for n in names],
        [study.brains[n] for n in names],
        [study.lesions[n] for n in names],
    )


def by_case(results, measure):
    return [case.values[measure] for case in results.cases if case.has_lesion]


def test_default_is_scikit_learn_inside_the_brain(study):
    (found,) = compared(study, "default")
    scores, brains, lesions = arrays(study, TESTED)
    for case, s, b, m in zip(found.cases[1:], scores, brains, lesions, strict=True):
        assert case.values["average_precision"] == pytest.approx(
            metrics.average_precision_score(m[b], s[b]), abs=1e-4
        )
        assert case.values["auroc"] == pytest.approx(metrics.roc_auc_score(m[b], s[b]), abs=1e-4)
    healthy, inside, _ = arrays(study, HEALTHY)
    t = found.thresholds["healthy"]
    assert originals.uad_rate(healthy, inside, t) < 0.001
    assert originals.uad_rate(healthy, inside, t - 1e-3) > 0.0009
    marked = [(s > t) & b for s, b in zip(scores, brains, strict=True)]
    assert by_case(found, "dice") == pytest.approx(
        [originals.dice(a, m) for a, m in zip(marked, lesions, strict=True)]
    )
    one, others = arrays(study, ("sub-h2",)), arrays(study, TESTED)
    pooled = [
        np.concatenate([a[b] for a, b in zip(side, brain, strict=True)])
        for side, brain in (
            (one[2] + others[2], one[1] + others[1]),
            (one[0] + others[0], one[1] + others[1]),
        )
    ]
    assert found.totals()["average_precision"] == pytest.approx(
        metrics.average_precision_score(*pooled), abs=1e-4
    )


def test_uad_imag(study):
    (found,) = compared(study, "uad-imag")
    raw, brains, lesions = arrays(study, ("sub-h2", *TESTED))
    scores = [originals.uad_filtered(s, b) for s, b in zip(raw, brains, strict=True)]
    assert found.totals()["average_precision_volume"] == pytest.approx(
        originals.uad_average_precision(scores, lesions), abs=1e-4
    )
    healthy, inside, _ = arrays(study, HEALTHY)
    t = originals.uad_threshold(healthy, inside, 0.01)
    assert found.thresholds["healthy_unfiltered"] == pytest.approx(t, rel=1e-4)
    filtered = [originals.uad_filtered(s, b) for s, b in zip(healthy, inside, strict=True)]
    own = originals.uad_threshold(filtered, inside, 0.01)
    assert found.thresholds["healthy"] == pytest.approx(own, rel=1e-4)
    for name, at in (("dice", t), ("dice_healthy", own)):
        assert np.mean(by_case(found, name)) == pytest.approx(
            originals.uad_mean_dice(scores[1:], lesions[1:], at), abs=2e-3
        )
    (rate,) = [c.values["false_positive_rate"] for c in found.cases if not c.has_lesion]
    assert rate == pytest.approx(originals.uad_rate(scores[:1], brains[:1], t), abs=1e-4)
    sweep = [originals.uad_mean_dice(scores[1:], lesions[1:], x) for x in np.linspace(0.3, 1, 400)]
    assert found.totals()["best_mean_dice"] == pytest.approx(max(sweep), abs=0.02)
    middle = found.totals()["best_mean_dice_threshold"]
    assert found.totals()["best_mean_dice"] == pytest.approx(
        originals.uad_mean_dice(scores[1:], lesions[1:], middle), abs=1e-4
    )


def test_pddpm(study):
    (found,) = compared(study, "pddpm")

    def processed(participants):
        scores, brains, lesions = arrays(study, participants)
        pairs = zip(scores, brains, strict=True)
        return [originals.pddpm_processed(s, b) for s, b in pairs], lesions

    scores, lesions = processed(TESTED)
    assert np.mean(by_case(found, "average_precision_volume")) == pytest.approx(
        originals.pddpm_average_precision(scores, lesions), abs=1e-4
    )
    t = originals.pddpm_threshold(*processed(HELD))
    assert found.thresholds["halving"] == pytest.approx(t, rel=1e-3)
    t = found.thresholds["halving"]
    want = [
        originals.dice(originals.without_small(s > t), m)
        for s, m in zip(scores, lesions, strict=True)
    ]
    assert by_case(found, "dice") == pytest.approx(want, abs=1e-6)


def test_luo(study):
    (found,) = compared(study, "luo2023")
    raw, brains, lesions = arrays(study, ("sub-h2", *TESTED))
    pairs = list(zip(raw, brains, strict=True))
    scores = [originals.luo_eroded(ndimage.median_filter(s, 5), b) for s, b in pairs]
    totals = found.totals()
    assert totals["slice_auroc"] == pytest.approx(originals.luo_auc(scores, lesions), abs=1e-4)
    assert totals["slice_auprc_normal"] == pytest.approx(
        originals.luo_auprc(scores, lesions), abs=1e-4
    )
    t = found.thresholds["validation"]
    marked = [originals.without_small(s > t) & b for s, b in zip(scores, brains, strict=True)]
    assert totals["slice_sensitivity"] == pytest.approx(originals.luo_sensitivity(marked, lesions))
    held, inside, sick = arrays(study, HELD)
    smooth = originals.luo_eroded(ndimage.median_filter(held[0], 5), inside[0])
    best = max(originals.dice(smooth >= x, sick[0]) for x in np.unique(smooth[sick[0]]))
    assert originals.dice(smooth > t, sick[0]) == pytest.approx(best, abs=1e-3)


def test_lesions_and_false_regions(study):
    (found,) = compared(study, "default")
    scores, brains, lesions = arrays(study, TESTED)
    t, cube = found.thresholds["healthy"], np.ones((3, 3, 3))
    for case, s, b, m in zip(found.cases[1:], scores, brains, lesions, strict=True):
        marked = (s > t) & b
        labels, count = ndimage.label(m, cube)
        regions, all_regions = ndimage.label(marked, cube)
        assert case.values["lesions"] == count
        assert case.values["lesions_found"] == len(set(labels[marked & m].tolist()) - {0})
        assert case.values["false_regions"] == all_regions - len(set(regions[m].tolist()) - {0})
        assert case.values["lesion_ml"] == pytest.approx(m.sum() * 0.008)


def test_the_threshold_of_uad_imag_drops_nothing():
    """The original's call drops thresholds without ties, and misses the rate by far."""
    rng = np.random.default_rng(0)
    scores, brain = rng.random((1, 20, 20, 50)), [np.ones((20, 20, 50), bool)]
    meant = originals.uad_threshold(list(scores), brain, 0.01)
    assert originals.uad_rate(scores, brain, meant) == pytest.approx(0.01, abs=2e-4)
    rates, _, thresholds = metrics.roc_curve(
        np.append(np.zeros(20000, bool), True), np.append(scores.ravel(), -1.0)
    )
    assert originals.uad_rate(scores, brain, thresholds[rates < 0.01][-1]) < 0.001


def test_the_axial_axis_follows_the_affine(tmp_path):
    """A volume stored sagittally is eroded and sliced like the axial one."""
    study = write_study(tmp_path / "a", patients=2, healthy=1)
    turned = write_study(tmp_path / "b", patients=2, healthy=1)
    for path in sorted(tmp_path.glob("b/**/*.nii.gz")):
        image = nib.load(path)
        order = [2, 0, 1]  # K first
        affine = image.affine[:, [*order, 3]]
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj).transpose(order), affine), path)
    for name in ("pddpm", "luo2023"):
        rows = []
        for each in (study, turned):
            cases = bids_cases(each.data, "group=control").cases
            (found,) = compare(
                cases, [MapFolder("good", each.maps["good"])], protocol(name),
                matching(cases, "sub=p0"),
            ).detectors  # fmt: skip
            rows.append(found.totals())
        assert rows[0] == pytest.approx(rows[1], nan_ok=True)


def test_pddpm_compares_at_two_millimetres(tmp_path):
    data, brain = np.zeros((40, 44, 36), np.float32), np.zeros((40, 44, 36), np.uint8)
    brain[8:32, 8:36, 6:30] = 1
    data[brain > 0] = 1
    anat = tmp_path / "data" / "sub-1" / "anat"
    anat.mkdir(parents=True)
    (tmp_path / "data" / "dataset_description.json").write_text("{}")
    save(anat / "sub-1_T2w.nii.gz", data, 1.0)
    save(anat / "sub-1_desc-brain_mask.nii.gz", brain, 1.0)
    lesion = np.zeros_like(brain)
    lesion[12:18, 12:18, 12:18] = 1
    save(anat / "sub-1_label-lesion_mask.nii.gz", lesion, 1.0)
    ((case,), _) = bids_cases(tmp_path / "data")
    truth = read_ground_truth(case, protocol("pddpm"))
    assert truth.brain.shape == (1, 1, 18, 22, 20)
    assert truth.voxel_ml == pytest.approx(0.008)
    assert int(truth.lesion.sum()) == 27
    assert int(truth.brain.sum()) == brain.sum() / 8


def test_unknown_protocols_name_the_known_ones():
    with pytest.raises(DalFastError, match="uad-imag") as refused:
        protocol("brats")
    assert refused.value.code == "protocol-unknown"
    assert set(PROTOCOLS) == {"default", "validation-set", "uad-imag", "pddpm", "luo2023"}
