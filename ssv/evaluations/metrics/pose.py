"""PCK: the share of key points that lie where they should, as on JHMDB.

Yang and Ramanan, PAMI 2013, section 6, with the frame and box rules of ajabri/videowalk's evaluation.
``T`` frames, ``K`` joints; coordinates are x, y in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssv.types import Scores

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
BOX_SHARE = 0.6
"""Of the diagonal of the box around the joints: the size of a person."""


class PckScores:
    """PCK over videos, given one after the other.

    The first frame of a video was given and does not count. A joint is judged where it is predicted, that is where its
    predicted x is not negative, whatever the truth says; the size of the person is 0.6 times the diagonal of the box
    around the TRUE places of the joints judged in that frame. A joint is right if its distance is at most
    ``threshold`` times that size; a joint alone in its frame has no size to compare with and is wrong.
    """

    def __init__(self, joints: int = 15) -> None:
        self.joints = joints
        self._relative: list[np.ndarray] = []  # of each video (T-1,K), NaN where not judged

    def add(self, prediction: np.ndarray, truth: np.ndarray) -> None:
        """The next video: two arrays float (T,K,2) of the same pixels, the given first frame included.

        Raises:
            ValueError: if the shapes differ or are others.
        """
        if prediction.shape != truth.shape or truth.shape[1:] != (self.joints, 2):
            raise ValueError(
                f"key points must be (frames, {self.joints}, 2) on both sides, got {prediction.shape} predicted and "
                f"{truth.shape} true"
            )
        judged = prediction[1:, :, 0] >= 0
        places = np.where(judged[..., None], truth[1:], np.nan)
        relative = np.where(judged, np.inf, np.nan)
        for t in np.flatnonzero(judged.any(1)):
            size = BOX_SHARE * np.linalg.norm(np.nanmax(places[t], 0) - np.nanmin(places[t], 0))
            if size > 0:
                relative[t] = np.linalg.norm(prediction[1 + t] - places[t], axis=1) / size
        self._relative.append(relative)

    def per_joint(self, threshold: float) -> np.ndarray:
        """Share of right places of each joint, float64 (K,); NaN for one that was never judged."""
        relative = np.concatenate(self._relative) if self._relative else np.empty((0, self.joints))
        count = (~np.isnan(relative)).sum(0)
        right = (relative <= threshold).sum(0)
        return np.where(count > 0, right / np.maximum(count, 1), np.nan)

    def result(self, thresholds: Sequence[float] = THRESHOLDS) -> Scores:
        """``pck_0.1`` and so on: the mean over joints (not over places); joints never judged are left out.

        ``judged`` is the share of places that were judged: the rule rewards who leaves out what is difficult.

        Raises:
            ValueError: if nothing was judged.
        """
        judged = ~np.isnan(np.concatenate(self._relative)) if self._relative else np.empty(0)
        if not judged.any():
            raise ValueError("PCK needs a predicted joint in a frame after the first, got none")
        scores = {f"pck_{threshold:g}": float(np.nanmean(self.per_joint(threshold))) for threshold in thresholds}
        return {**scores, "judged": float(judged.mean())}
