"""What the training process receives is what a reading process sent, whatever is left out and however slow it is."""

import gc
import os
import pickle
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ssv.data import passage
from ssv.data.passage import Passage
from ssv.data.planes import PlaneBatch
from ssv.types import Clips
from tests.data.test_planes import plane_loader, same

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="nameless files in memory are Linux's")


def a_batch(number, draws):
    """Of another size each time."""
    if number % 2:
        shape = (draws.randint(1, 4), 2, 3, 4, draws.randint(5, 50), 7)
        pixels = torch.randint(0, 256, shape, dtype=torch.uint8)
        return Clips(pixels, torch.rand(shape[0], 2, 4), torch.arange(shape[0]), torch.full((shape[0],), number))
    pixels = torch.randint(0, 256, (draws.randint(1, 9000),), dtype=torch.uint8)
    return PlaneBatch(pixels, np.arange(8)[None], 8, True, np.zeros((1, 1, 4)), np.array([number]), np.array([3]))


def assert_same(received, sent):
    assert type(received) is type(sent)
    for one, other in zip(received, sent):
        assert type(one) is type(other)
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))
        assert getattr(one, "dtype", None) == getattr(other, "dtype", None)


def test_whatever_is_received_late_or_never_the_others_are_what_was_sent(monkeypatch):
    for seed in range(20):
        draws, way, under_way, in_files = random.Random(seed), Passage(2, 3), [[], []], 0
        for number in range(200):
            worker = draws.randrange(2)
            monkeypatch.setattr(passage, "get_worker_info", lambda: SimpleNamespace(id=worker))  # noqa: B023
            batch = a_batch(number, draws)
            parcel = way.send(batch)
            in_files += not isinstance(parcel.pixels, torch.Tensor)
            under_way[worker].append((pickle.loads(pickle.dumps(parcel)), batch))
            # As many wait as there are files, and now and then more.
            while len(under_way[worker]) > draws.choice([1, 2, 2, 3, 5]):
                parcel, batch = under_way[worker].pop(0)
                if draws.random() < 0.8:
                    assert_same(way.receive(parcel), batch)
        assert 60 < in_files < 190


def test_after_batches_were_left_out_files_are_used_again(monkeypatch):
    monkeypatch.setattr(passage, "get_worker_info", lambda: SimpleNamespace(id=0))
    way, draws = Passage(1, 3), random.Random(0)
    for number in range(3):
        way.send(a_batch(number, draws))
    last = way.send(a_batch(3, draws))
    assert isinstance(last.pixels, torch.Tensor)
    way.receive(last)
    assert not any(isinstance(way.send(a_batch(number, draws)).pixels, torch.Tensor) for number in range(3))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a small machine
@pytest.mark.parametrize("kind", [Clips, PlaneBatch])
def test_reading_processes_send_all_of_an_epoch_through_files(kind, monkeypatch):
    seen = []
    receive = Passage.receive
    monkeypatch.setattr(Passage, "receive", lambda way, sent: seen.append(sent) or receive(way, sent))
    alone = plane_loader(0)
    loader = plane_loader(2, device="cpu" if kind is Clips else "cuda")
    loader.device = torch.device("cpu")  # planes may be made into clips here without a GPU too
    for epoch in range(4):
        alone.batches.set_epoch(epoch)
        loader.batches.set_epoch(epoch)
        expected = list(alone)
        seen.clear()
        assert same(list(loader), expected)
        assert [sent.kind for sent in seen] == 4 * [kind]
        assert not any(isinstance(sent.pixels, torch.Tensor) for sent in seen)


def test_without_descent_a_batch_is_sent_as_it_is(monkeypatch):
    monkeypatch.setattr(passage, "get_worker_info", lambda: SimpleNamespace(id=0))
    batch = a_batch(0, random.Random(0))
    way = Passage(1, 3)
    assert pickle.loads(pickle.dumps(way)).send(batch) is batch
    assert way.receive(batch) is batch
    monkeypatch.setattr(passage, "get_worker_info", lambda: None)
    assert way.send(batch) is batch


def test_the_files_go_with_the_loader():
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        loader = plane_loader(1)
        list(loader)
        loader.end_workers()
        del loader
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before
