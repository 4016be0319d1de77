"""Brain extraction: where the brain is in a whole head, of any contrast.

head → network's volume (right, anterior, superior) → distance to the brain's border, also of the
head moved by a voxel and of the mirrored head → cut off a voxel outside of the scan, largest
component, holes filled → the scan's own grid. How far the two predictions agree, how sharp their
border is and what shape the mask has says how far to trust it. Ours, not from the paper.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from dal_fast.imaging.brain_shape import unusual_shape
from dal_fast.imaging.head_grid import HeadGrid, place_head
from dal_fast.imaging.mask import BrainMask
from dal_fast.imaging.nifti import Volume, read_volume
from dal_fast.imaging.noisy_background import quiet_background
from dal_fast.imaging.orientation import voxel_ml
from dal_fast.models import BrainNetConfig, load_brain_net, weights_sha256
from dal_fast.screening.brain_distance import clean_distance, mask_quality
from dal_fast.screening.brain_verdict import doubts, hopeless, not_found
from dal_fast.screening.hd_bet import HdBet
from dal_fast.screening.runtimes import Runtime, make_runtime
from dal_fast.screening.scan import Brain


class BrainExtractor:
    """Finds the brain in a whole head, T1w, T2w, FLAIR or any other contrast.

    The network stays in memory between scans; it is loaded with the first one. Several threads may
    use one extractor at a time.

    Args:
        weights: ``"brain"``, which come with the package, or the path of a weight file.
        runtime: ``"auto"`` or a name of :data:`dal_fast.screening.runtimes.RUNTIMES`.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.

    Raises:
        InputError: ``weights-missing``.

    Example:
        ::

            from dal_fast import BrainExtractor

            brain = BrainExtractor().extract("sub-01_T1w.nii.gz")
            brain.data  # bool, of the scan's shape
            brain.quality.confidence  # 0 to 1
            [note.code for note in brain.notes]  # what is doubtful about it
    """

    kind: ClassVar[Brain] = "strip"

    def __init__(
        self, weights: str | Path = "brain", runtime: str = "auto", device: str = "auto"
    ) -> None:
        self.parameters: dict[str, Any] = {"brain_weights_sha256": weights_sha256(weights)}
        self._settings = weights, runtime, device
        self._network: _Network | None = None
        self._lock = threading.Lock()

    def load(self) -> None:
        """Load the network now, not with the first scan; before a fork, for its children.

        Raises:
            InputError: ``weights-corrupt``, ``weights-mismatch``, ``weights-kind``.
            RuntimeUnavailable: ``runtime-unavailable``, ``device-unavailable``, ``engine-build``,
                or ``engine-parity``.
        """
        with self._lock:
            if self._network is None:
                weights, runtime, device = self._settings
                model = load_brain_net(weights)
                self._network = _Network(model.config, make_runtime(runtime, model, device))

    def extract(self, scan: str | Path | Volume) -> BrainMask:
        """The brain mask of a head, on the scan's grid.

        Args:
            scan: a NIfTI file, or a volume that was read.

        Raises:
            InputError: ``brain-not-found``; what reading the file refuses, and :meth:`load`.
            RuntimeUnavailable: see :meth:`load`.
        """
        volume = scan if isinstance(scan, Volume) else read_volume(scan)
        volume, notes = quiet_background(volume)
        self.load()
        assert self._network is not None
        first, mirrored, grid = self._network.distances(volume)
        voxel_mm = self._network.config.voxel_mm
        faces = grid.to_faces()
        first, mirrored = (torch.minimum(d, faces + voxel_mm) for d in (first, mirrored))
        clean = clean_distance((first + mirrored) / 2)
        if clean is None:
            raise not_found(volume, "no voxel looks like one")
        quality = mask_quality(first, mirrored, clean, voxel_mm)
        inside = clean[0, 0] > 0
        unusual = unusual_shape(inside.numpy())
        brain = grid.to_scan(clean) > 0
        millilitres = np.count_nonzero(brain) * voxel_ml(volume.affine)
        cut = bool((inside & (faces < voxel_mm)).any())
        reason = hopeless(quality, millilitres, unusual, cut)
        if reason is not None:
            raise not_found(volume, reason)
        notes += doubts(quality, unusual)
        return BrainMask(brain, "dal_fast", quality=quality, notes=notes)


@dataclass(frozen=True, eq=False)
class _Network:
    """A resident network, its configuration and its engine."""

    config: BrainNetConfig
    runtime: Runtime

    def distances(self, volume: Volume) -> tuple[Tensor, Tensor, HeadGrid]:
        """The distance for a head, the one for its mirror image, mirrored back, and their grid.

        The first is the mean of two runs, one of them moved by a voxel along every axis. The
        network works on patches of 2x2x2 voxels; moved, no voxel keeps its place in its patch.
        """
        head, grid = place_head(volume, self.config.voxel_mm, self.config.shape)
        mirrored = self.runtime.distance(head.flip(2)).flip(2)
        moved = self.runtime.distance(head.roll((1, 1, 1), (2, 3, 4))).roll((-1, -1, -1), (2, 3, 4))
        return (self.runtime.distance(head) + moved) / 2, mirrored, grid


def make_extractor(brain: Brain, runtime: str, device: str) -> BrainExtractor | HdBet:
    """What extracts brains where :data:`dal_fast.screening.scan.Brain` asks for it.

    Raises:
        InputError: ``weights-missing``.
        RuntimeUnavailable: ``extra-missing``, ``device-unavailable``.
    """
    return HdBet(device) if brain == "hd-bet" else BrainExtractor("brain", runtime, device)
