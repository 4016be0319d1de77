"""The ops of dal_fast inside somebody else's training loop.

    python examples/ops_in_your_training.py

A small 3D network learns to remove noise. Its loss is L1 + SSIM with one fused forward and backward
pass; 3D Canny edges show that structure comes back; voxel metrics are streamed at the end.
"""

import torch
from synthetic import scan_of, tissue_labels
from torch import nn as torch_nn

from dal_fast import nn, ops

STEPS = 60


def volumes(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A clean volume, the same with noise, and the brain: ``(1, 1, D, H, W)``, in [0, 1]."""
    labels = tissue_labels((32, 40, 32), seed)
    clean = torch.from_numpy(scan_of(labels, noise=0.0))[None, None] / 700
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    brain = torch.from_numpy(labels > 0)[None, None]
    return clean, clean + 0.15 * noise * brain, brain


def main() -> None:
    torch.manual_seed(0)
    network = torch_nn.Sequential(
        torch_nn.Conv3d(1, 8, 3, padding=1),
        torch_nn.LeakyReLU(0.01),
        torch_nn.Conv3d(8, 8, 3, padding=1),
        torch_nn.LeakyReLU(0.01),
        torch_nn.Conv3d(8, 1, 3, padding=1),
    )
    torch_nn.init.zeros_(network[-1].weight)  # starts as the identity
    torch_nn.init.zeros_(network[-1].bias)
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    training = [volumes(seed) for seed in range(4)]
    for step in range(STEPS):
        clean, noisy, brain = training[step % len(training)]
        restored = (noisy + network(noisy)) * brain
        loss = ops.l1_ssim_loss(restored, clean, alpha=0.5)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 20 == 0:
            print(f"step {step}: loss {loss.item():.3f}")

    clean, noisy, brain = volumes(99)
    with torch.no_grad():
        restored = (noisy + network(noisy)) * brain
    before, after = ops.ssim3d(noisy, clean).item(), ops.ssim3d(restored, clean).item()
    print(f"SSIM on an unseen volume: {before:.3f} with noise, {after:.3f} restored")

    canny = nn.Canny3d(sigma=1.0)
    truth = canny(clean, brain)
    for name, volume in (("noisy", noisy), ("restored", restored)):
        edges = canny(volume, brain)
        share = (edges & truth).sum() / edges.sum().clamp(min=1)
        print(f"edges of the {name} volume that are edges of the clean one: {share.item():.0%}")

    # Detection metrics over any number of volumes, in constant memory.
    metrics = ops.VoxelMetrics()
    for seed in (5, 6, 7):
        clean, _, brain = volumes(seed)
        lesion = torch.zeros_like(brain)
        lesion[..., 18:23, 18:23, 14:19] = brain[..., 18:23, 18:23, 14:19]
        scan = clean + 0.4 * lesion
        score = ops.median3d(ops.hybrid_score(scan, clean), 3)
        metrics.update(score, lesion, mask=brain, case=f"volume-{seed}")
    print(f"average precision of |x - y| (1 - SSIM): {metrics.average_precision():.2f}")


if __name__ == "__main__":
    main()
