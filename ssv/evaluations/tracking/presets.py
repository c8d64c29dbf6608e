"""How labels are propagated, as four papers do it; the settings move a score by points, so a row names them all."""

from __future__ import annotations

from typing import NamedTuple


class Rules(NamedTuple):
    """One protocol of label propagation.

    context: previous frames that labels are taken from. first: the first frame is always one of them, besides.
    pad: before frame ``context`` copies of the first frame fill the gap, as the CRW code does; they count in top-k.
    radius: cells of the feature map; ``shape`` "circle": distance below it, "square": row and column distance up to it;
        inf: anywhere. radius_on_first: it restricts the (long-term) first frame as well.
    topk: key cells that vote for a cell; over all frames together, or ``per_frame``.
    temperature: of the softmax over their cosine similarities.
    minmax: each label's map is stretched to 0..1 in each frame before the largest is taken; not what is carried on.
    size: None keeps the frames as they are; a number is their short side; a list is rows and columns.
    multiple: rows and columns are rounded down to a multiple.
    label_resize: how the first labels come to the feature map.
    stage, stride: last stage of the backbone, pixels per cell.
    """

    context: int
    first: bool
    pad: bool
    radius: float
    shape: str
    radius_on_first: bool
    topk: int
    per_frame: bool
    temperature: float
    minmax: bool
    size: int | list[int] | None
    multiple: int
    label_resize: str
    stage: int | None
    stride: int | None


PRESETS = {
    # Jabri, Owens, Efros, NeurIPS 2020; ajabri/videowalk code/test.py. Native 480p as in the published evaluation.
    "crw": Rules(20, True, True, 12, "circle", False, 10, False, 0.05, False, None, 1, "bilinear", 3, 8),
    # Wang, Jabri, Efros, CVPR 2019. What is voted per frame, and the size, are our reading of paper and issues.
    "timecycle": Rules(
        7, True, True, float("inf"), "circle", False, 5, True, 512**-0.5, True, [480, 480], 1, "bilinear", 3, 8
    ),
    # Xu, Wang, ICCV 2021; xvjiarui/VFS.
    "vfs": Rules(20, True, True, 12, "circle", True, 10, False, 0.07, True, None, 1, "bilinear", 3, 8),
    # Caron et al., ICCV 2021; facebookresearch/dino eval_video_segmentation.py. Its patches are our stride.
    "dino": Rules(7, True, False, 12, "square", True, 5, False, 0.1, True, 480, 64, "nearest", 3, 8),
}
