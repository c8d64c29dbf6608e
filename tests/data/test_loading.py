"""The order of batches, and that an interrupted epoch goes on as if nothing had happened."""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import time

import numpy as np
import pytest
import torch

from ssv.data.batches import EpochBatches
from ssv.data.crops import CenterCrop
from ssv.data.dataset import VideoDataset
from ssv.data.loading import ResumableLoader
from ssv.data.probing import Times
from ssv.data.readers.base import VideoError
from ssv.data.readers.pyav import PyAVReader
from ssv.data.reading_process import start_worker
from ssv.data.sampling import RandomClips
from ssv.types import Video
from tests.data.fakes import NumberReader, numbered_dataset


def loader(count=13, batch_size=3, *, labels=None, workers=0, seed=0, reader=None, rank=0, world=1, **kwargs):
    batches = EpochBatches(range(count), batch_size, seed=seed, labels=labels, rank=rank, world=world)
    return ResumableLoader(numbered_dataset(count, reader=reader, seed=seed), batches, workers=workers, **kwargs)


def epochs(source, numbers):
    """The batches of several epochs, asked for as Lightning does."""
    out = []
    for number in numbers:
        source.batches.set_epoch(number)
        out.append(list(source))
    return out


def equal(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for one, other in zip(a, b) for x, y in zip(one, other))


def test_every_video_once_and_another_order_each_epoch():
    batches = EpochBatches(range(12), 4, seed=1)
    orders = []
    for epoch in range(3):
        batches.set_epoch(epoch)
        keys = [key for batch in batches for key in batch]
        assert {key[0] for key in keys} == {epoch}
        orders.append([row for _, row in keys])
        assert sorted(orders[-1]) == list(range(12))
    assert orders[0] != orders[1] != orders[2] != orders[0]
    again = EpochBatches(range(12), 4, seed=1)
    again.set_epoch(2)
    assert [row for batch in again for _, row in batch] == orders[2]
    assert list(EpochBatches(range(12), 4, seed=2)) != list(EpochBatches(range(12), 4, seed=1))


LABELS = [0, 3, 0, 3, 3, 0, 7, 7, 0, 3, 3]  # four, five and two of a kind
ROWS = [20 + i for i in range(len(LABELS))]


def paired(epoch=0, **options):
    """The pairs of an epoch, and the rows of its batches."""
    batches = EpochBatches(ROWS, 4, labels=LABELS, **{"seed": 1, "drop_last": False, **options})
    batches.set_epoch(epoch)
    keys = list(batches)
    assert len(keys) == len(batches) and {key[0] for batch in keys for key in batch} == {batches.epoch}
    rows = [[row for _, row in batch] for batch in keys]
    return [tuple(batch[i : i + 2]) for batch in rows for i in range(0, len(batch), 2)], rows


@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_of_pairs_of_one_label(shuffle):
    again = set()
    for epoch in range(8):
        pairs, rows = paired(epoch, shuffle=shuffle)
        assert [len(batch) for batch in rows] == [4, 4, 4]
        assert all(LABELS[a - 20] == LABELS[b - 20] and a != b for a, b in pairs)
        shown = sorted(row for pair in pairs for row in pair)
        assert set(shown) == set(ROWS) and len(shown) == len(ROWS) + 1  # of five of a kind, one twice
        twice = next(row for row in shown if shown.count(row) == 2)
        assert LABELS[twice - 20] == 3
        again.add(twice)
    assert (len(again) > 1) == shuffle
    orders = [paired(epoch, shuffle=shuffle)[0] for epoch in (0, 1)]
    assert (orders[0] != orders[1]) == shuffle and paired(1, shuffle=shuffle)[0] == orders[1]
    assert (paired(seed=2, shuffle=shuffle)[0] != orders[0]) == shuffle
    kinds = [[LABELS[a - 20] for a, _ in paired(epoch)[0]] for epoch in range(8)]
    assert any(kind != sorted(kind) for kind in kinds)  # not label by label


def test_the_incomplete_batch_of_pairs_is_dropped_as_any_other():
    assert len(EpochBatches(ROWS, 8, labels=LABELS)) == 1
    assert [len(batch) for batch in EpochBatches(ROWS, 8, labels=LABELS, drop_last=False)] == [8, 4]


def test_pairs_stay_together_in_one_process():
    alone = paired()[1]
    shares = [paired(rank=rank, world=2)[1] for rank in (0, 1)]
    for whole, first, second in zip(alone, *shares, strict=True):
        assert [first, second] == [whole[:2], whole[2:]]
    with pytest.raises(ValueError, match=r"data\.batch_size=6 .*multiple of 4"):
        EpochBatches(ROWS, 6, labels=LABELS, world=2)
    with pytest.raises(ValueError, match=r"multiple of 2"):
        EpochBatches(ROWS, 3, labels=LABELS)


def test_an_interrupted_epoch_of_pairs_continues_exactly():
    labels = [i % 3 for i in range(13)]
    expected = epochs(loader(batch_size=4, labels=labels), [0, 1])[1]
    stopped = loader(batch_size=4, labels=labels)
    stopped.batches.set_epoch(1)
    source = iter(stopped)
    before = [next(source)]
    resumed = loader(batch_size=4, labels=labels)
    resumed.load_state_dict(stopped.state_dict())
    assert len(expected) == 3 and equal(before + list(resumed), expected)


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("world", [2, 3])
def test_processes_together_see_what_one_would(world, drop_last):
    count, size = 32, 6
    alone = list(EpochBatches(range(count), size, seed=5, drop_last=drop_last))
    shares = [
        list(EpochBatches(range(count), size, seed=5, drop_last=drop_last, rank=rank, world=world))
        for rank in range(world)
    ]
    seen = [key for share in shares for batch in share for key in batch]
    assert len(seen) == len(set(seen)) == (30 if drop_last else 32)
    for number, whole in enumerate(alone):
        parts = [share[number] if number < len(share) else [] for share in shares]
        assert [parts[i % world][i // world] for i in range(len(whole))] == whole
        if drop_last:
            assert {len(part) for part in parts} == {size // world}


def test_a_process_without_a_share_of_the_last_batch_has_one_batch_less():
    assert [len(EpochBatches(range(5), 4, drop_last=False, rank=rank, world=2)) for rank in (0, 1)] == [2, 1]
    assert [len(list(EpochBatches(range(5), 4, drop_last=False, rank=rank, world=2))) for rank in (0, 1)] == [2, 1]


def test_without_shuffling_nothing_ever_changes():
    batches = EpochBatches([4, 2, 9], 2, shuffle=False, drop_last=False)
    first = list(batches)
    batches.set_epoch(7)
    assert list(batches) == first == [[(0, 4), (0, 2)], [(0, 9)]]
    assert batches.sampler is batches  # where Lightning looks for set_epoch


def test_batch_sizes_that_cannot_be():
    with pytest.raises(ValueError, match=r"data.batch_size=6 .* multiple of their number, 4"):
        EpochBatches(range(20), 6, world=4)
    with pytest.raises(ValueError, match=r"data.batch_size=32 is more than the 20 videos"):
        EpochBatches(range(20), 32)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("handed_out", [0, 1, 3, 4])
def test_an_interrupted_epoch_continues_exactly(workers, handed_out):
    expected = epochs(loader(), [0, 1, 2])
    stopped = loader(workers=workers)
    epochs(stopped, [0])
    stopped.batches.set_epoch(1)
    source = iter(stopped)
    before = [next(source) for _ in range(handed_out)]
    state = stopped.state_dict()
    assert (state["epoch"], state["batch"]) == ((1, handed_out) if handed_out else (0, 4))
    resumed = loader(workers=workers)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    after = list(resumed) if handed_out < 4 else []  # a complete epoch is followed by the next one
    assert equal(before + after, expected[1])
    assert equal(list(resumed), expected[2])
    assert len(resumed) == 4  # of the whole epoch, wherever it starts


def test_a_second_interruption_in_the_same_epoch():
    expected = epochs(loader(), [0, 1])[1]
    first = loader(workers=2)
    first.batches.set_epoch(1)
    source = iter(first)
    got = [next(source)]
    second = loader(workers=2)
    second.load_state_dict(first.state_dict())
    source = iter(second)
    got += [next(source), next(source)]
    third = loader()
    third.load_state_dict(second.state_dict())
    assert third.state_dict()["batch"] == 3
    assert equal(got + list(third), expected)


def test_leaving_an_epoch_early_and_going_on_to_the_next():
    expected = epochs(loader(), [0, 1])
    source = loader(workers=2)
    next(iter(source))
    assert equal(epochs(source, [1])[0], expected[1])


def test_iterating_again_is_the_next_epoch():
    expected = epochs(loader(), [0, 1, 2])
    source = loader(workers=2)
    assert all(equal(list(source), batches) for batches in expected)
    source.batches.set_epoch(0)
    assert equal(list(source), expected[0])


@pytest.mark.parametrize("is_set", [True, False])
def test_the_next_epoch_after_a_state_saved_between_two(is_set):
    expected = epochs(loader(), [0, 1])
    source = loader()
    list(source)
    resumed = loader()
    resumed.load_state_dict(source.state_dict())
    iterator = iter(resumed)  # before the epoch is set, as Lightning does on a restart
    if is_set:
        resumed.batches.set_epoch(1)
    assert equal(list(iterator), expected[1])


def test_an_epoch_asked_for_by_name_is_given_again():
    source = loader()
    assert equal(*epochs(source, [0, 0]))


def test_continuing_on_another_number_of_processes(caplog):
    expected = [sorted(clips.video.tolist()) for clips in list(loader(batch_size=4))[1:]]
    alone = loader(batch_size=4)
    next(iter(alone))
    shares = []
    for rank in (0, 1):
        resumed = loader(batch_size=4, rank=rank, world=2)
        resumed.load_state_dict(alone.state_dict())
        shares.append(list(resumed))
    assert [sorted(torch.cat([a.video, b.video]).tolist()) for a, b in zip(*shares)] == expected
    assert caplog.text.count("with 2 processes instead of 1") == 1


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"batch_size": 2}, r"data.batch_size was 3 and is now 2"),
        ({"count": 12}, r"number of training videos was 13 and is now 12"),
        ({"seed": 1}, r"seed was 0 and is now 1"),
    ],
)
def test_another_run_is_refused(other, message):
    state = loader().state_dict()
    with pytest.raises(ValueError, match=message):
        loader(**other).load_state_dict(state)


def test_other_videos_of_the_same_number_are_refused():
    state = loader().state_dict() | {"videos": "0" * 16}
    with pytest.raises(ValueError, match="list of training videos"):
        loader().load_state_dict(state)


def files(folder, seed):
    """A loader of three small files."""
    for name in "abc":
        if not (folder / name).exists():
            (folder / name).write_bytes(name.encode() * 9)
    videos = [Video(str(folder / name), 0, name) for name in "abc"]
    times = Times([np.arange(4.0)] * 3)
    dataset = VideoDataset(videos, RandomClips(frames=2), CenterCrop(8, short_side=8), PyAVReader(), times=times)
    return ResumableLoader(dataset, EpochBatches(range(3), 1, seed=seed), workers=0)


@pytest.mark.parametrize("change", ["content", "size", "time"])
def test_videos_exchanged_under_a_run_are_noticed(tmp_path, change):
    state = files(tmp_path, 0).state_dict()
    files(tmp_path, 0).load_state_dict(state)
    known = (tmp_path / "b").stat()
    (tmp_path / "b").write_bytes(b"x" * (9 + (change == "size")))
    os.utime(tmp_path / "b", ns=(0, known.st_mtime_ns + 2 * 10**9 * (change != "size")))
    with pytest.raises(ValueError, match="its training videos .* was .* and is now"):
        files(tmp_path, 0).load_state_dict(state)


def test_a_state_of_an_earlier_version_says_nothing_of_files(tmp_path):
    state = files(tmp_path, 0).state_dict()
    del state["files"]
    (tmp_path / "b").write_bytes(b"other")
    files(tmp_path, 0).load_state_dict(state)


def test_iterating_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    list(loader(workers=2))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_video_arrives_with_path_and_reason(workers):
    with pytest.raises(VideoError) as caught:
        list(loader(workers=workers, reader=NumberReader(broken=[6])))
    assert (caught.value.path, caught.value.reason) == ("videos/6.mp4", "cut short after frame 7")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_video_put_up_with_is_missing_from_its_batch_and_told(workers):
    told = []
    expected = list(loader(count=12))
    batches = list(loader(count=12, workers=workers, reader=NumberReader(broken=[6]), on_broken=told.append))
    assert [error.path for error in told] == ["videos/6.mp4"]
    for got, whole in zip(batches, expected, strict=True):
        keep = whole.video != 6
        assert equal([got], [type(whole)(*(field[keep] for field in whole))])  # the others are as they were
    assert sorted(len(batch.video) for batch in batches) == [2, 3, 3, 3]


def test_a_batch_without_any_readable_video_is_an_error():
    with pytest.raises(VideoError, match="no other video of its batch"):
        list(loader(count=4, batch_size=1, reader=NumberReader(broken=[2]), on_broken=lambda error: None))


def test_a_hanging_reader_ends_in_an_error_that_names_the_files():
    source = loader(count=3, batch_size=1, workers=1, reader=NumberReader(hanging=[0, 1, 2]), timeout_seconds=1)
    with pytest.raises(RuntimeError, match=r"no batch within 1 s, waiting for videos/\d.mp4: .*data.workers=0"):
        next(iter(source))


class DeafReader(NumberReader):
    """Hangs in a library, holding the interpreter's lock: no signal handler, no thread of the process runs any more."""

    def __init__(self, marker, times):
        super().__init__()
        self.marker, self.times = marker, times

    def read(self, path, indices):
        if len(hangs := self.marker.read_text()) < self.times:
            self.marker.write_text(hangs + "x")
            ctypes.PyDLL(None).sleep(600)
        return super().read(path, indices)


@pytest.mark.slow
def test_a_reader_that_hung_once_is_killed_and_nothing_is_lost(tmp_path, caplog):
    (tmp_path / "hangs").touch()
    source = loader(workers=1, reader=DeafReader(tmp_path / "hangs", times=1), timeout_seconds=4)
    assert equal(list(source), list(loader()))
    assert (tmp_path / "hangs").read_text() == "x" and "try once more" in caplog.text


@pytest.mark.slow
def test_a_reader_that_hangs_again_ends_in_an_error_and_leaves_no_process(tmp_path):
    (tmp_path / "hangs").touch()
    source = loader(workers=1, reader=DeafReader(tmp_path / "hangs", times=9), timeout_seconds=4)
    with pytest.raises(RuntimeError, match="no batch within 4 s, waiting for videos/"):
        list(source)
    assert not multiprocessing.active_children()


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="this system does not tell who sends a signal")
def test_workers_outlive_a_signal_to_the_whole_job():
    expected = list(loader())
    source = loader(workers=2)
    batches = iter(source)
    got = [next(batches), next(batches)]  # one from each worker
    workers = source._iterator._workers
    subprocess.run(["kill", "-TERM", *(str(worker.pid) for worker in workers)], check=True)
    assert equal(got + list(batches), expected)


def be_a_worker(ready):
    start_worker(0)
    ready.set()
    time.sleep(30)


def test_a_worker_obeys_the_training_process():
    fork = multiprocessing.get_context("fork")
    ready = fork.Event()
    worker = fork.Process(target=be_a_worker, args=(ready,), daemon=True)
    worker.start()
    assert ready.wait(10)
    worker.terminate()
    worker.join(10)
    assert worker.exitcode is not None


class DyingReader(NumberReader):
    def read(self, path, indices):
        os._exit(3)


def test_a_dying_worker_is_explained():
    with pytest.raises(RuntimeError, match=r"a reading process died, waiting for videos/.*data.workers"):
        next(iter(loader(workers=1, reader=DyingReader(), timeout_seconds=2)))
