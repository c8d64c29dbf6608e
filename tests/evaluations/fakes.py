"""A data module that lives in memory and two backbones small enough to reason about."""

from tempfile import TemporaryDirectory

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ssv.backbones.base import Backbone
from ssv.data.crops import CenterCrop, RandomResizedCrop
from ssv.data.sampling import RandomClips, UniformClips
from ssv.types import Clips, Video

FRAMES, SIDE, RATE = 12, 16, 25
LEVELS = 16  # grey levels a video can have


ELSEWHERE = TemporaryDirectory()
"""What evaluations leave to be looked at goes there, unless a test wants to look."""


def trainer(**settings):
    return pl.Trainer(
        default_root_dir=settings.pop("default_root_dir", ELSEWHERE.name),
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )


def views(count=2, frames=4):
    return UniformClips(views=count, frames=frames, stride=2, short="loop")


def random_view(frames=4):
    return RandomClips(views=1, frames=frames, stride=2, short="loop")


def centre(size=8):
    return CenterCrop(size, short_side=size)


def random_crop(size=8):
    return RandomResizedCrop(size, area=(0.5, 1.0), ratio=(1.0, 1.0), flip=True)


def videos(split, *, classes=4, groups=3, clips=2, labels=None):
    """``groups`` x ``clips`` videos of each class; the path says which, ``labels`` puts others in their place."""
    rows = [
        Video(f"{split}/c{k:02d}_g{g:02d}_{i}.avi", k, f"{split}_c{k:02d}_g{g:02d}")
        for k in range(classes)
        for g in range(groups)
        for i in range(clips)
    ]
    return rows if labels is None else [row._replace(label=label) for row, label in zip(rows, labels, strict=True)]


class FakeData:
    """``split`` and ``loader`` of the data module over videos whose brightness says their class."""

    def __init__(self, train=None, test=None):
        self.lists = {
            "train": videos("train") if train is None else train,
            "test": videos("test") if test is None else test,
        }

    def split(self, name):
        return self.lists[name]

    def loader(self, videos, sampler, crop, *, batch_size, shuffle=False, seed=0, dealt=False):
        return DataLoader(
            InMemory(videos, sampler, crop, seed),
            batch_size=batch_size,
            shuffle=shuffle,
            generator=torch.Generator().manual_seed(seed),
        )


class InMemory(Dataset):
    """Frames of brightness ``16 * k`` and a little noise, k from the path: what is seen never depends on labels."""

    def __init__(self, videos, sampler, crop, seed):
        self.videos, self.sampler, self.crop, self.seed = videos, sampler, crop, seed

    def __len__(self):
        return len(self.videos)

    def __getitem__(self, i):
        video = self.videos[i]
        level = int(video.path.split("/")[1][1:3])
        own = torch.Generator().manual_seed(sum(map(ord, video.path)))
        noise = torch.randint(0, 4, (FRAMES, SIDE, SIDE, 3), generator=own)
        frames = (level * 256 // LEVELS + 4 + noise).to(torch.uint8).numpy()
        times = torch.arange(FRAMES, dtype=torch.float64).numpy() / RATE
        drawn = torch.Generator().manual_seed(1000 * self.seed + i)
        rows = self.sampler(times, drawn)
        pixels = torch.stack([self.crop(frames[row.numpy()], drawn) for row in rows])
        return Clips(pixels, torch.from_numpy(times).float()[rows], torch.tensor(video.label), torch.tensor(i))


class Levels(Backbone):
    """Perfect features: channel k is 1 where the brightness is that of class k. ``constant`` answers 1 always."""

    def __init__(self, constant=False):
        super().__init__()
        self.kwargs = {"constant": constant}
        self.constant = constant
        self.out_channels, self.stride, self.time_local = LEVELS, (1, 1, 1), True
        self.mean, self.std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        self.norm = nn.BatchNorm3d(LEVELS, affine=False)  # would be changed by any pass in training mode
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, pixels):
        level = (pixels.mean(1) * 255 * LEVELS / 256).floor().long().clamp(0, LEVELS - 1)
        planes = nn.functional.one_hot(level, LEVELS).permute(0, 4, 1, 2, 3).to(pixels.dtype)
        return self.norm(torch.ones_like(planes) if self.constant else planes) * self.gain


class Tiny(Backbone):
    """Two real layers with BatchNorm."""

    def __init__(self, width=8):
        super().__init__()
        self.kwargs = {"width": width}
        self.out_channels, self.stride, self.time_local = width, (1, 4, 4), False
        self.mean, self.std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
        self.first = nn.Conv3d(3, width, 3, stride=(1, 2, 2), padding=1)
        self.norm = nn.BatchNorm3d(width)
        self.second = nn.Conv3d(width, width, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))

    def forward(self, pixels):
        return self.second(torch.relu(self.norm(self.first(pixels)))).relu()
