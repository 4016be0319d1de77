"""The definitions of the original code bases, restated with scipy and scikit-learn.

UAD-IMAG: github.com/AlexanderFrotscher/UAD-IMAG, utils/{evaluation,helpers,metrics}.py.
pDDPM: github.com/FinnBehrendt/patched-Diffusion-Models-UAD, src/utils/utils_eval.py.
Luo: the evaluation that goes with the 3D autoencoder (slice metrics).
Maps, masks and scans are (I, J, K) with K axial.
"""

import numpy as np
from scipy import ndimage
from sklearn import metrics


def dice(marked, lesion):
    return 2 * (marked & lesion).sum() / (marked.sum() + lesion.sum())


# -- UAD-IMAG ------------------------------------------------------------------------------------


def uad_filtered(score, brain, size=4):
    return ndimage.median_filter(score * brain, size=(size,) * 3)


def uad_average_precision(scores, lesions):
    """Pooled over every voxel, after a pooled min-max that changes no order."""
    flat = np.concatenate([s.ravel() for s in scores])
    flat = (flat - flat.min()) / (flat.max() - flat.min())
    return metrics.average_precision_score(np.concatenate([m.ravel() for m in lesions]), flat)


def uad_mean_dice(scores, lesions, threshold):
    return np.mean([dice(s > threshold, m) for s, m in zip(scores, lesions, strict=True)])


def uad_threshold(scores, brains, rate):
    """The last ROC threshold below the rate, of the brains' voxels, all of them negative.

    ``drop_intermediate`` is theirs by default, and drops what it must not; False is what is meant.
    """
    flat = np.concatenate([s[b] for s, b in zip(scores, brains, strict=True)])
    labels = np.append(np.zeros(len(flat), bool), True)  # one positive, or scikit-learn warns
    flat = np.append(flat, flat.min() - 1)
    rates, _, thresholds = metrics.roc_curve(labels, flat, drop_intermediate=False)
    return thresholds[rates < rate][-1]


def uad_rate(scores, brains, threshold):
    flat = np.concatenate([s[b] for s, b in zip(scores, brains, strict=True)])
    return (flat > threshold).mean()


# -- pDDPM ---------------------------------------------------------------------------------------


def pddpm_processed(score, brain):
    cross = ndimage.generate_binary_structure(2, 1)
    inside = np.stack(
        [
            ndimage.binary_erosion(brain[:, :, s], cross, iterations=brain.shape[1] // 25)
            for s in range(brain.shape[2])
        ],
        axis=2,
    )
    return ndimage.median_filter(score * inside, (5, 5, 5))


def pddpm_average_precision(scores, lesions):
    return np.nanmean(
        [
            metrics.average_precision_score(m.ravel(), s.ravel())
            for s, m in zip(scores, lesions, strict=True)
        ]
    )


def pddpm_threshold(scores, lesions):
    x = np.concatenate([s.ravel() for s in scores])
    y = np.concatenate([m.ravel() for m in lesions])
    low, high, best, point = 0, x.max(), 0, 0
    for _ in range(10):
        if low == high:
            high = 1
        centre = (low + high) / 2
        lower, upper = low + 0.25 * (high - low), low + 0.75 * (high - low)
        at_lower, at_upper = dice(x > lower, y), dice(x > upper, y)
        if at_lower >= at_upper:
            if at_lower >= best:
                best, point = at_lower, lower
            high = centre
        else:
            if at_upper >= best:
                best, point = at_upper, upper
            low = centre
    return point


def without_small(marked, most=7):
    """26-connected components of more than ``most`` voxels (theirs counts filled holes too)."""
    labels, count = ndimage.label(marked, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    keep = sizes > most
    keep[0] = False
    return keep[labels]


# -- Luo -----------------------------------------------------------------------------------------


def luo_slices(scores, lesions):
    """Normality of every slice by its volume's min and max; label 2 is normal, 1 lesion."""
    normality, labels = [], []
    for score, lesion in zip(scores, lesions, strict=True):
        errors = score.sum(axis=(0, 1))
        scaled = (errors - errors.min()) / (errors.max() - errors.min())
        normality.append(1 - scaled)
        labels.append(np.where(lesion.any(axis=(0, 1)), 1, 2))
    return np.concatenate(labels), np.concatenate(normality)


def luo_auc(scores, lesions):
    labels, normality = luo_slices(scores, lesions)
    rates, hits, _ = metrics.roc_curve(labels, normality, pos_label=2)
    return metrics.auc(rates, hits)


def luo_auprc(scores, lesions):
    labels, normality = luo_slices(scores, lesions)
    precision, recall, _ = metrics.precision_recall_curve(labels, normality, pos_label=2)
    return metrics.auc(recall, precision)


def luo_sensitivity(marked, lesions):
    hits = slices = 0
    for own, lesion in zip(marked, lesions, strict=True):
        for k in range(lesion.shape[2]):
            if lesion[:, :, k].any():
                slices += 1
                hits += bool(own[:, :, k][lesion[:, :, k]].any())
    return hits / slices


def luo_eroded(score, brain, voxels=2):
    return score * ndimage.binary_erosion(brain, np.ones((3, 3, 3)), iterations=voxels)
