"""TCC: two videos of one action, from a moment of one to the same moment of the other and back (CVPR 2019).

Dwibedi, Aytar, Tompson, Sermanet, Zisserman, Temporal Cycle-Consistency Learning; google-research/google-research tcc.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssv.backbones.base import Backbone
from ssv.ops.alignment import classification_losses, cycle_back, landing, neighbour_tau, regression_losses
from ssv.ops.photometric import normalise
from ssv.pretexts.base import Pretext
from ssv.types import Clips, PretextOutput

LOSSES = ("classification", "regression", "mse", "huber")


class TemporalCycle(Pretext):
    """Trains the features of frames so that a frame's nearest neighbour in another video of the action leads back to it.

    The videos have to show one action from beginning to end, once. Coming back is no proof of an
    alignment: each video may go its own way through the other and back. ``neighbour_tau`` says whether it is one.

    Args:
        backbone: time-local: a network that sees a frame's place in the video counts frames instead of looking at them.
            The paper's also reads a frame 15 earlier beside each one; here a frame stands alone.
        frames: T of each video.
        loss: ``regression``: how far from its moment a frame comes back, over how surely (the paper's choice);
            ``classification``: whether to its very frame; ``mse``, ``huber``: regression without the variance.
        hidden: units of the head's two hidden layers.
        dims: D, length of a frame's embedding, which is not normalised.
        dropout: probability, before each hidden layer; all frames of a video lose the same units, for with draws of its
            own, as published, a frame could be told from others that look the same.
        similarity: ``l2``: the negative squared distance; ``inner_product``.
        temperature: similarities are divided by it, and by ``dims``.
        smoothing: of the labels of ``loss=classification``.
        variance_weight: of the logarithm of the variance in ``loss=regression``.
        variance_floor: the least variance there, in squares of the video's length; published: none.
        one_action: all videos show the same action, labels are not read. Otherwise pairs have the same label.
    """

    is_temporal = True
    uses_labels = True

    def __init__(
        self,
        backbone: Backbone,
        *,
        frames: int = 20,
        loss: str = "regression",
        hidden: int = 512,
        dims: int = 128,
        dropout: float = 0.1,
        similarity: str = "l2",
        temperature: float = 0.1,
        smoothing: float = 0.1,
        variance_weight: float = 0.001,
        variance_floor: float = 1e-6,
        one_action: bool = False,
    ) -> None:
        super().__init__()
        if not backbone.time_local:
            raise ValueError("temporal_cycle needs features of single frames; set backbone.time_local=true")
        if frames < 2:
            raise ValueError(f"pretext.frames={frames}: to come back to the right one of them takes 2 or more")
        if loss not in LOSSES:
            raise ValueError(f"pretext.loss must be one of {', '.join(LOSSES)}, got {loss!r}")
        if similarity not in ("l2", "inner_product"):
            raise ValueError(f"pretext.similarity must be l2 or inner_product, got {similarity!r}")
        if temperature <= 0 or variance_floor <= 0:
            raise ValueError(
                f"pretext.temperature={temperature} and pretext.variance_floor={variance_floor} must be positive"
            )
        if not 0 <= dropout < 1 or not 0 <= smoothing < 1:
            raise ValueError(f"pretext.dropout={dropout} and pretext.smoothing={smoothing} must lie in [0, 1)")
        self.backbone = backbone
        self.head = nn.Sequential(
            nn.Dropout1d(dropout),
            nn.Conv1d(backbone.out_channels, hidden, 1),  # a linear layer at every frame
            nn.ReLU(),
            nn.Dropout1d(dropout),
            nn.Conv1d(hidden, hidden, 1),
            nn.ReLU(),
            nn.Conv1d(hidden, dims, 1),
        )
        self.frames, self.loss = frames, loss
        self.similarity, self.temperature, self.smoothing = similarity, temperature, smoothing
        self.variance_weight, self.variance_floor, self.one_action = variance_weight, variance_floor, one_action

    def forward(self, clips: Clips) -> PretextOutput:
        """Go from every video of the batch to every other one of its label and back, from every frame.

        ``accuracy`` counts frames that come back to themselves, ``back_error`` is how far from themselves they do, in
        lengths of the clip, ``back_deviation`` the root of the variance there, ``neighbour_tau`` whether nearest
        neighbours keep the order of frames.
        """
        pixels = self.one_view(clips, self.frames)
        first, second = self._pairs(clips)
        embeddings = self.embed(normalise(pixels, self.backbone.mean, self.backbone.std))
        with torch.autocast(embeddings.device.type, enabled=False):
            start, other = embeddings.float()[first], embeddings.float()[second]
            logits = cycle_back(start, other, kind=self.similarity, temperature=self.temperature)
            times = _shares(clips.seconds[:, 0])[first]
            loss = self._losses(logits, times).mean()
        with torch.no_grad():
            mean, variance = landing(logits, times)
            home = torch.arange(self.frames, device=logits.device)
            metrics = {
                "accuracy": (logits.argmax(-1) == home).float().mean(),
                "chance": torch.tensor(1 / self.frames),
                "back_error": (mean - times).abs().mean(),
                "back_deviation": variance.clamp(min=0).sqrt().mean(),
                "neighbour_tau": neighbour_tau(start, other).mean(),
            }
        return PretextOutput(loss, metrics)

    def embed(self, frames: Tensor) -> Tensor:
        """Normalised frames float (B,C,T,H,W), each by itself, to embeddings (B,T,dims)."""
        features = self.backbone(frames).amax((3, 4))  # (B,D,T); the maximum over space, as published
        embeddings: Tensor = self.head(features).transpose(1, 2)
        return embeddings

    def _losses(self, logits: Tensor, times: Tensor) -> Tensor:
        if self.loss == "classification":
            return classification_losses(logits, smoothing=self.smoothing)
        return regression_losses(
            logits,
            times,
            kind="variance" if self.loss == "regression" else self.loss,
            variance_weight=self.variance_weight,
            variance_floor=self.variance_floor,
        )

    def _pairs(self, clips: Clips) -> tuple[Tensor, Tensor]:
        """All ordered pairs of different videos of one label, as int64 (P,) twice."""
        label = torch.zeros_like(clips.label) if self.one_action else clips.label
        if bool((label < 0).any()):
            raise ValueError(
                "temporal_cycle pairs videos by label, this data set has none; choose one with labels (data=ucf101, "
                "csv), or, where all videos show one action, set pretext.one_action=true data.pairs=false"
            )
        # A video may be in a batch twice; its clips are then the same, and nothing is asked by going there.
        is_pair = (label[:, None] == label) & (clips.video[:, None] != clips.video)
        if not bool(is_pair.any()):
            raise ValueError(
                f"temporal_cycle found no two videos of one label among the {len(label)} of a batch; set data.pairs=true "
                "and an even data.batch_size, a larger one where broken videos may drop out (data.max_broken)"
            )
        first, second = is_pair.nonzero(as_tuple=True)
        return first, second


def _shares(seconds: Tensor) -> Tensor:
    """When each frame is shown, as a share of the clip, from 0 to 1, float32 (B,T).

    The released code divides frame numbers by the length of the video, which a clip of the whole video hardly differs
    from. A clip without any duration counts its frames.
    """
    passed = (seconds - seconds[:, :1]).float()
    counted = torch.arange(seconds.shape[1], device=seconds.device).float().expand_as(passed)
    passed = torch.where(passed[:, -1:] > 0, passed, counted)
    return passed / passed[:, -1:]
