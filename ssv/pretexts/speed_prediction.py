"""SpeedNet: is this clip shown at normal speed, or sped up? (Benaim et al., CVPR 2020).

The paper has no official code. What is taken from it: same-batch pairs from one window, random frame skipping
(section 3.1), random spatial resizing, space maximum before time mean (section 3.2), no temporal stride.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssv.backbones.base import Backbone
from ssv.ops.photometric import normalise
from ssv.ops.resample import even_skip, random_skip, take_frames
from ssv.pretexts.base import Pretext
from ssv.types import Clips, PretextOutput


class SpeedPrediction(Pretext):
    """Tells at which of a few speeds a clip is shown; all versions of a window stand in one batch.

    Two speeds are SpeedNet; more of them are the pace prediction of Wang et al. (ECCV 2020) asked in SpeedNet's way.

    Args:
        backbone: any; the paper's has no temporal stride.
        frames: T, frames of each question.
        window: how many times T frames the loader hands over, so that fast clips never run out.
        seconds_per_frame: spacing of a clip at exactly normal speed. Speed is measured against the clock
            (``clips.seconds``), not in frames as in the paper, because a pile of videos mixes frame rates.
        speeds: K ranges, each clip's speed is drawn from; the paper's are normal and sped up.
        test_speeds: K numbers, the speeds in eval mode, where nothing is random.
        sizes: range the side of the square clip is drawn from, one for the whole batch, in pixels.
        test_size: the side in eval mode.
    """

    is_temporal = True

    def __init__(
        self,
        backbone: Backbone,
        *,
        frames: int = 64,
        window: int = 3,
        seconds_per_frame: float = 1 / 24,
        speeds: Sequence[Sequence[float]] = ((1.0, 1.2), (1.7, 2.2)),
        test_speeds: Sequence[float] = (1.0, 2.0),
        sizes: Sequence[int] = (64, 336),
        test_size: int = 224,
    ) -> None:
        super().__init__()
        if len(speeds) != len(test_speeds) or len(speeds) < 2:
            raise ValueError(
                f"pretext.speeds has {len(speeds)} ranges and pretext.test_speeds {len(test_speeds)} numbers; "
                f"give one number for each of two or more ranges"
            )
        self.backbone = backbone
        # The paper has one logit for two classes: the difference of these two, with the same loss.
        self.head = nn.Linear(backbone.out_channels, len(speeds))
        self.frames, self.window, self.seconds_per_frame = frames, window, seconds_per_frame
        self.speeds = [(float(low), float(high)) for low, high in speeds]
        self.test_speeds = [float(speed) for speed in test_speeds]
        self.sizes, self.test_size = (sizes[0], sizes[1]), test_size

    def forward(self, clips: Clips) -> PretextOutput:
        """Ask about every version of every window: B windows make K*B questions, equally many of each speed."""
        pixels, seconds = self.one_view(clips, self.window * self.frames), clips.seconds[:, 0]
        self._check_times(seconds)
        questions = torch.cat([self._play(pixels, seconds, k) for k in range(len(self.speeds))])
        speed = torch.arange(len(self.speeds), device=pixels.device).repeat_interleave(len(pixels))
        logits = self.speed_logits(questions)
        loss = F.cross_entropy(logits, speed)
        is_right = (logits.argmax(1) == speed).float().detach()
        return PretextOutput(loss, {"accuracy": is_right.mean(), "chance": torch.tensor(1 / len(self.speeds))})

    def speed_logits(self, pixels: Tensor) -> Tensor:
        """One logit for each speed, float32 (B,K), of uint8 clips (B,C,T,H,W)."""
        # Space first: one fast region decides, however small. Time second: every moment has a say.
        pooled = self._features(pixels).amax(dim=(3, 4)).mean(dim=2)
        logits: Tensor = self.head(pooled).float()
        return logits

    def speed_maps(self, pixels: Tensor) -> Tensor:
        """The logits of every place by itself, float32 (B,K,t,h,w): where a clip looks fast (section 3.2).

        The head's weights on the map that was never pooled, as class activation maps are made. Training saw only the
        maxima of this map, so expect noise where nothing moves.
        """
        maps: Tensor = self.head(self._features(pixels).movedim(1, -1)).float()
        return maps.movedim(-1, 1)

    def picture(self, clips: Clips) -> Tensor:
        """See the base class: four videos, a row each; at the slowest and at the fastest speed the middle frame as it
        is, and reddened where it alone looks fastest.
        """
        pixels, seconds = self.one_view(clips, self.window * self.frames)[:4], clips.seconds[:4, 0]
        tiles: list[Tensor] = []
        for which in (0, len(self.speeds) - 1):
            questions = self._play(pixels, seconds, which)
            fast = self.speed_maps(questions).softmax(1)[:, -1]
            frame = questions[:, :, questions.shape[2] // 2].float()
            fast = F.interpolate(fast[:, None, fast.shape[1] // 2], frame.shape[-2:], mode="bilinear")
            red = frame.new_tensor([255.0, 0.0, 0.0])[:, None, None]
            tiles += [frame, frame * (1 - 0.7 * fast) + red * 0.7 * fast]
        rows = torch.cat(tiles, dim=3)  # (B,3,H,4W)
        return torch.cat(list(rows), dim=1).round().to(torch.uint8)

    def _features(self, pixels: Tensor) -> Tensor:
        """The backbone's map of uint8 clips (B,C,T,H,W), resized to this step's side; (B,D,t,h,w)."""
        side = self._side()
        frames = normalise(pixels, self.backbone.mean, self.backbone.std)
        if frames.shape[-2:] != (side, side):
            # Antialiased, because nearest or plain bilinear keeps the compression noise that resizing is to destroy.
            flat = frames.transpose(1, 2).flatten(0, 1)  # (B,C,T,H,W) -> (B*T,C,H,W)
            flat = F.interpolate(flat, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
            frames = flat.view(len(pixels), -1, *flat.shape[1:]).transpose(1, 2)
        features: Tensor = self.backbone(frames)
        return features

    def _play(self, pixels: Tensor, seconds: Tensor, which: int) -> Tensor:
        """The window played at one of the speeds, (B,C,W,H,W') -> (B,C,T,H,W')."""
        spacing, frames = self.seconds_per_frame, self.frames
        if not self.training:
            speed = self.test_speeds[which]
            return take_frames(pixels, even_skip(seconds, speed=speed, seconds_per_frame=spacing, frames=frames))
        speeds = torch.empty(len(seconds), device=seconds.device).uniform_(*self.speeds[which])
        return take_frames(pixels, random_skip(seconds, speed=speeds, seconds_per_frame=spacing, frames=frames))

    def _side(self) -> int:
        if not self.training:
            return self.test_size
        return int(torch.randint(self.sizes[0], self.sizes[1] + 1, ()))

    def _check_times(self, seconds: Tensor) -> None:
        need = seconds.shape[1]
        # Frames nearest to a grid may lie half a step off it at either end; a slow source is off by much more.
        span = (seconds[:, -1] - seconds[:, 0]).max()
        slowest = float(span) / (need - 1)
        if slowest > 1.02 * self.seconds_per_frame + self.seconds_per_frame / (need - 1):
            raise ValueError(
                f"speed_prediction needs a frame every {self.seconds_per_frame:.4f} s, got one every {slowest:.4f} s; "
                f"set data.sampler.stride=null data.sampler.seconds={self.seconds_per_frame:.4f} or raise "
                f"pretext.seconds_per_frame and data.sampler.seconds together"
            )
