"""Mean intersection over union of classes, from one confusion matrix over all pixels: the part labels of VIP.

Zhou et al., ACM MM 2018 (VIP: 19 body parts and clothes, and background); the rules are those of ajabri/videowalk.
"""

from __future__ import annotations

import numpy as np

from ssv.types import Scores


class PartScores:
    """A confusion matrix that grows by one label map at a time.

    Pixels whose true id is not a class (void) do not count. A predicted id that is not a class is an error, here also
    where the truth is void: counted in silence it would land in the row of another class.
    """

    def __init__(self, classes: int = 20) -> None:
        self.classes = classes
        self.confusion = np.zeros((classes, classes), dtype=np.int64)  # rows: true, columns: predicted

    def add(self, prediction: np.ndarray, truth: np.ndarray) -> None:
        """The next frame: two label maps uint8 (H,W). A prediction of another size is brought to the truth's (nearest).

        Raises:
            ValueError: if a predicted id is not a class.
        """
        if int(prediction.max()) >= self.classes:
            raise ValueError(f"predicted id {int(prediction.max())}, the classes are 0 to {self.classes - 1}")
        prediction = _nearest(prediction, truth.shape)
        counts = truth < self.classes
        pairs = self.classes * truth[counts].astype(np.int64) + prediction[counts]
        self.confusion += np.bincount(pairs, minlength=self.classes**2).reshape(self.confusion.shape)

    def per_class(self) -> np.ndarray:
        """Intersection over union of each class, float64; NaN for one neither true nor predicted anywhere."""
        both = np.diag(self.confusion)
        union = self.confusion.sum(0) + self.confusion.sum(1) - both
        return np.where(union > 0, both / np.maximum(union, 1), np.nan)

    def result(self) -> Scores:
        """``mean_iou`` over classes true or predicted anywhere; ``mean_accuracy`` over classes true anywhere;
        ``accuracy`` over pixels; ``weighted_iou`` by the true pixels of each class.

        Raises:
            ValueError: if no pixel has a class.
        """
        true = self.confusion.sum(1)
        if not true.any():
            raise ValueError(f"no pixel of the true label maps is one of the classes 0 to {self.classes - 1}")
        occurs = true > 0
        overlap, right = self.per_class(), np.diag(self.confusion)
        return {
            "mean_iou": float(np.nanmean(overlap)),
            "mean_accuracy": float((right[occurs] / true[occurs]).mean()),
            "accuracy": float(right.sum() / true.sum()),
            "weighted_iou": float((true[occurs] * overlap[occurs]).sum() / true.sum()),
        }


def _nearest(labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Label map (H,W) at another size: each pixel takes the one its middle falls on."""
    rows, columns = (((2 * np.arange(n) + 1) * m) // (2 * n) for n, m in zip(shape, labels.shape))
    return labels[np.ix_(rows, columns)]
