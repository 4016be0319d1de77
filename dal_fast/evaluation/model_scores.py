"""The maps of a weight file: every score that its model has, and the baselines beside them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from torch import Tensor

from dal_fast.evaluation.baselines import ATLAS, BASELINES, baseline_maps, check_atlas
from dal_fast.evaluation.cases import Case
from dal_fast.evaluation.ground_truth import GroundTruth
from dal_fast.evaluation.images import Grid
from dal_fast.models import Autoencoder
from dal_fast.screening.calibration import AnomalyMap
from dal_fast.screening.contrast import known_contrast
from dal_fast.screening.model_output import PLAIN_MEDIAN, usual_score
from dal_fast.screening.postprocess import choose_median, smooth
from dal_fast.screening.scan import Scan
from dal_fast.screening.scoring import ENHANCED, NAMED, WITHOUT_TISSUE
from dal_fast.screening.screener import Screener

AUTO = "auto"


class ModelScores:
    """A detector with several maps, of which one pass through the network gives all.

    The enhanced scores smooth by themselves; all others and the baselines get the median filter
    that ``screener`` was told, or else the one that suits the scan's contrast.

    Args:
        screener: its runtime, median and contrast are used; every score is computed.
        scores: names of the scores to compute beside ``"auto"``, without baselines; by default all
            that the model has, and the baselines.
        atlas: whether the baselines that register an atlas are among them.

    Raises:
        RuntimeUnavailable: ``extra-missing`` without SimpleITK or nilearn, with ``atlas``.
    """

    def __init__(
        self, screener: Screener, scores: Collection[str] | None = None, atlas: bool = True
    ) -> None:
        self.screener, self.atlas = screener, atlas and scores is None
        others = ENHANCED[1:] if usual_score(screener.model) == ENHANCED[0] else ENHANCED
        plain = isinstance(screener.model, Autoencoder)
        of_model = WITHOUT_TISSUE if plain else (*others, *NAMED)
        self.scores = tuple(name for name in of_model if scores is None or name in scores)
        self.baselines: tuple[str, ...] = ()
        if scores is None:
            self.baselines = tuple(name for name in BASELINES if atlas or name not in ATLAS)
        if self.atlas:
            check_atlas()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the maps, the default score's first."""
        return (AUTO, *self.scores, *self.baselines)

    def check(self, case: Case, grid: Grid) -> None:
        """There is nothing to look for."""

    def maps(self, truth: GroundTruth) -> dict[str, Tensor]:
        """Smoothed maps on the protocol's grid, by name.

        Raises:
            InputError: whatever :class:`Screener` refuses the scan for.
        """
        scan = Scan(truth.case.name, truth.volume, truth.mask, {})
        model_input = self.screener.prepare(scan)
        output = self.screener.predict(model_input)
        screener, known = self.screener, known_contrast(scan, self.screener.contrast)
        contrast = None if known is None else known.name
        anomaly = output.anomaly_map(screener.calibration, contrast=contrast)
        signs = [name for name in self.scores if name in ENHANCED]
        finished = {AUTO: anomaly} | {
            name: output.anomaly_map(screener.calibration, name, anomaly.contrast) for name in signs
        }
        median = {name: screener.median_for(made) for name, made in finished.items()}
        maps = {name: made.data for name, made in finished.items()}
        maps |= {name: output.score_map(name) for name in self.scores if name not in maps}
        if self.baselines:
            image = model_input.grid.to_model(truth.volume.data)
            maps |= baseline_maps(
                image, output.image, output.field_of_view, model_input.grid.affine, self.atlas
            )
        others = screener.median_for(replace(anomaly, median=self._usual_median(anomaly)))
        return {
            name: truth.on_grid(
                model_input.grid.to_scan(
                    smooth(score, output.field_of_view, median.get(name, others))
                )
            )
            for name, score in maps.items()
        }

    def _usual_median(self, anomaly: AnomalyMap) -> int | str:
        """Of a score that does not smooth by itself."""
        if isinstance(self.screener.model, Autoencoder):
            return PLAIN_MEDIAN
        return choose_median(anomaly.contrast)
