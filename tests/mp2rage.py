"""The images of an MP2RAGE of a head whose relaxation times and proton densities are known.

Marques et al., NeuroImage 2010: signals of the two inversions at 3 T, with complex noise, and the
uniform image that a scanner makes of them; O'Brien et al., PLoS ONE 2014: the denoised one.
"""

import numpy as np

TIMES = (700.0, 2500.0)  # of inversion, ms
REPETITION, ECHO_SPACING, ECHOES, FLIPS, EFFICIENCY = 5000.0, 6.9, 160, (4.0, 5.0), 0.96
TISSUES = {  # label of a head map: T1 in ms, proton density
    0: (1000, 0.0), 2: (860, 0.70), 3: (1350, 0.83), 4: (4000, 1.0), 16: (1000, 0.74),
    24: (4000, 1.0), 507: (370, 0.95), 511: (900, 0.60), 512: (1000, 0.72), 514: (1800, 0.80),
    515: (500, 0.05),
}  # fmt: skip


def inversions(t1):
    """Signals of both read-outs in the steady state, of a proton density of 1."""
    decay = np.exp(-ECHO_SPACING / t1)
    sine, cosine = np.sin(np.radians(FLIPS)), [np.cos(np.radians(f)) * decay for f in FLIPS]
    half = ECHOES / 2 * ECHO_SPACING
    gaps = (TIMES[0] - half, TIMES[1] - TIMES[0] - 2 * half, REPETITION - TIMES[1] - half)
    free = [np.exp(-gap / t1) for gap in gaps]

    def train(magnetisation, c, count):
        return magnetisation * c**count + (1 - decay) * (1 - c**count) / (1 - c)

    def rest(magnetisation, e):
        return magnetisation * e + 1 - e

    turned = np.prod(np.cos(np.radians(FLIPS))) ** ECHOES
    before = rest(
        train(rest(train(1 - free[0], cosine[0], ECHOES), free[1]), cosine[1], ECHOES), free[2]
    )
    before = before / (1 + EFFICIENCY * turned * np.exp(-REPETITION / t1))
    first = rest(-EFFICIENCY * before, free[0])
    second = rest(train(first, cosine[0], ECHOES), free[1])
    middle = ECHOES / 2 - 1
    return sine[0] * train(first, cosine[0], middle), sine[1] * train(second, cosine[1], middle)


def uniform_images(labels, signal_to_noise=40.0, seed=0):
    """The uniform image and the denoised one, 0 to 4095, of a map of ``TISSUES``' labels.

    ``signal_to_noise`` is that of white matter in the second inversion.
    """
    rng = np.random.default_rng(seed)
    t1, density = (np.zeros(labels.shape) for _ in range(2))
    for label, values in TISSUES.items():
        t1[labels == label], density[labels == label] = values
    sigma = inversions(np.array(860.0))[1] * 0.7 / signal_to_noise
    a, b = (
        density * signal
        + sigma * (rng.standard_normal(t1.shape) + 1j * rng.standard_normal(t1.shape))
        for signal in inversions(t1)
    )
    product, power = np.real(np.conj(a) * b), np.abs(a) ** 2 + np.abs(b) ** 2
    beta = (8 * sigma) ** 2
    ratios = product / power, (product - beta) / (power + 2 * beta)
    return [np.round((ratio + 0.5) * 4095).astype(np.int64) for ratio in ratios]
