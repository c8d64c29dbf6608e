"""Features frame by frame: the right frames in every window, asked for one at a time, ends held."""

import pytest
import torch

from ssv.backbones.base import Backbone
from ssv.evaluations.frames import frame_encoder
from ssv.training.weights import weights_digest
from tests.evaluations.fakes import trainer


class Windows(Backbone):
    """Its map says which frames it saw: one channel for each of them, one cell of time for every ``stride``."""

    def __init__(self, window=1, stride=1, time_local=True):
        super().__init__()
        self.kwargs, self.time_local, self.stride = {}, time_local, (stride, 1, 1)
        self.out_channels, self.mean, self.std = window, (0.0,), (1 / 255,)
        self.norm = torch.nn.BatchNorm3d(1, affine=False)

    def forward(self, pixels):
        if self.time_local:
            return pixels
        cells = pixels[:, :, :: self.stride[0]]
        return torch.cat([pixels[:, :, i : i + 1].expand_as(cells) for i in range(pixels.shape[2])], 1)


def frames(count):
    for number in range(count):
        yield torch.full((1, 2, 2), number, dtype=torch.uint8)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10])
@pytest.mark.parametrize("window", [1, 2, 3, 4, 9])
def test_a_window_is_centred_and_its_ends_are_held(count, window):
    encode = frame_encoder(Windows(window, time_local=False), trainer(), window=window)
    seen = [maps[:, 0, 0].round().int().tolist() for maps in encode(frames(count))]
    assert seen == [[min(max(i - window // 2 + j, 0), count - 1) for j in range(window)] for i in range(count)]


def test_the_cell_of_the_frame_is_taken():
    class Cells(Windows):
        def forward(self, pixels):
            return pixels[:, :, :: self.stride[0]]

    encode = frame_encoder(Cells(stride=4, time_local=False), trainer(), window=8)
    assert [int(maps[0, 0, 0].round()) for maps in encode(frames(5))] == [0, 1, 2, 3, 4]


def test_each_frame_alone_and_no_more_asked_for_than_a_batch():
    asked = []

    def watched(count):
        for number, frame in enumerate(frames(count)):
            asked.append(number)
            yield frame

    features = frame_encoder(Windows(), trainer(), window=16)(watched(1000))
    assert [int(next(features)[0, 0, 0].round()) for _ in range(6)] == list(range(6))
    assert len(asked) <= 8
    assert list(frame_encoder(Windows(), trainer(), window=16)(frames(0))) == []


def test_the_backbone_is_left_as_it_was():
    backbone = Windows().train()
    before = weights_digest(backbone)
    list(frame_encoder(backbone, trainer(), window=1)(frames(3)))
    assert backbone.training and weights_digest(backbone) == before


def test_no_window_is_refused():
    with pytest.raises(ValueError, match="evaluation.window must be 1 frame or more, got 0"):
        frame_encoder(Windows(), trainer(), window=0)
