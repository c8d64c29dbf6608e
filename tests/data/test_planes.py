"""Clips out of planes: against slow loops written from the definitions, and against the same frames read as RGB."""

import av
import cv2
import numpy as np
import pytest
import torch

from ssv.data.batches import EpochBatches
from ssv.data.crops import Box, CenterCrop, Cut, RandomResizedCrop, ThreeCrop
from ssv.data.dataset import VideoDataset
from ssv.data.loading import ResumableLoader
from ssv.data.planes import PlaneClips, Planes, around, collate_planes, linear, to_clips, within
from ssv.data.probing import Times
from ssv.data.readers.base import VideoError
from ssv.data.sampling import RandomClips
from tests.data.fakes import FRAMES, PlaneReader, numbered_videos

SIZE = (20, 28)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def sample(planes, cuts, size):
    """A sample of one clip for each of the planes."""
    seconds = torch.zeros(sum(map(len, cuts)), len(planes[0].y))
    return PlaneClips(planes, cuts, size, seconds, torch.tensor(3), torch.tensor(7))


def converted(planes, cut, size):
    """Pixels uint8 (3,T,size,size) of one cut."""
    return to_clips(collate_planes([sample([planes], [[cut]], size)])).pixels[0, 0]


def whole_rgb(planes):
    """ITU-R BT.601 from its definition, pixel by pixel: float64 (T,h,w,3), not rounded."""
    frames, height, width = planes.y.shape
    out = np.empty((frames, height, width, 3))
    for t in range(frames):
        for row in range(height):
            for column in range(width):
                cb, cr = (chroma_at(planes.uv[t, which], row, column) for which in (0, 1))
                y = float(planes.y[t, row, column])
                if planes.full_range:
                    y, cb, cr = y / 255, (cb - 128) / 255, (cr - 128) / 255
                else:
                    y, cb, cr = (y - 16) / 219, (cb - 128) / 224, (cr - 128) / 224
                # E'Cb = (E'B - E'Y) / 1.772, E'Cr = (E'R - E'Y) / 1.402, E'Y = 0.299 R + 0.587 G + 0.114 B
                red, blue = y + 1.402 * cr, y + 1.772 * cb
                green = (y - 0.299 * red - 0.114 * blue) / 0.587
                out[t, row, column] = 255 * red, 255 * green, 255 * blue
    return out


def chroma_at(plane, row, column):
    """A chroma sample lies in the middle of 2x2 pixels: at 0.5, 2.5, 4.5 and so on."""
    total = 0.0
    for r, down in neighbours((row - 0.5) / 2, plane.shape[0]):
        for c, along in neighbours((column - 0.5) / 2, plane.shape[1]):
            total += down * along * float(plane[r, c])
    return total


def neighbours(place, count):
    """The two samples around a place and their shares; the ends are held."""
    place = min(max(place, 0.0), count - 1.0)
    low = int(place)
    return [(low, low + 1 - place), (min(low + 1, count - 1), place - low)]


def resized(values, size):
    """float64 (h,w) to (size,size): the area that each pixel covers, or linear where one side grows."""
    out = np.zeros((size, size))
    height, width = values.shape
    for i in range(size):
        for j in range(size):
            if height >= size and width >= size:
                rows, columns = covered(i, height, size), covered(j, width, size)
            else:
                rows = neighbours((i + 0.5) * height / size - 0.5, height)
                columns = neighbours((j + 0.5) * width / size - 0.5, width)
            out[i, j] = sum(a * b * values[r, c] for r, a in rows for c, b in columns)
    return out


def covered(i, count, size):
    low, high = i * count / size, (i + 1) * count / size
    shares = [(k, min(k + 1, high) - max(k, low)) for k in range(count)]
    return [(k, share * size / count) for k, share in shares if share > 0]


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize(
    ("box", "size"),
    [
        (Box(0, 0, 20, 28), 8),  # shrinks, by unequal and uneven factors
        (Box(3, 5, 11, 17), 9),  # odd borders
        (Box(1, 2, 7, 25), 12),  # shorter and wider
        (Box(4, 3, 6, 5), 16),  # grows
        (Box(2, 6, 13, 13), 13),  # as it is
    ],
)
def test_pixels_are_those_of_the_definition(box, size, full_range):
    planes = Planes(noise(2, *SIZE), noise(2, 2, 10, 14, seed=1), box, full_range)
    # Colours that exist, so that nothing is cut off before it is resized.
    planes = planes._replace(y=planes.y // 4 + 96, uv=planes.uv // 4 + 96)
    got = converted(planes, Cut(box, mirror=False), size).numpy()
    part = whole_rgb(planes)[:, box.top : box.top + box.height, box.left : box.left + box.width]
    for t in range(2):
        for colour in range(3):
            assert np.abs(got[colour, t] - resized(part[t, :, :, colour], size)).max() < 0.5 + 1e-3


@pytest.mark.parametrize("full_range", [False, True])
def test_the_ends_of_the_range(full_range):
    low, high = (0, 255) if full_range else (16, 235)
    for y, expected in ((low, 0), (high, 255), (0, 0), (255, 255)):
        planes = Planes(
            np.full((1, 4, 4), y, np.uint8), np.full((1, 2, 2, 2), 128, np.uint8), Box(0, 0, 4, 4), full_range
        )
        assert converted(planes, Cut(planes.box, mirror=False), 4).unique().tolist() == [expected]
    red = Planes(*(np.full(s, 255, np.uint8) for s in ((1, 4, 4), (1, 2, 2, 2))), Box(0, 0, 4, 4), full_range)
    assert converted(red._replace(uv=red.uv * 0), Cut(red.box, mirror=False), 4)[:, 0, 0, 0].tolist()[::2] != [255, 255]


def test_a_mirrored_view_is_the_mirror_image():
    planes = Planes(noise(3, *SIZE), noise(3, 2, 10, 14, seed=1), Box(2, 3, 15, 18), False)
    straight, mirrored = (converted(planes, Cut(planes.box, mirror=mirror), 11) for mirror in (False, True))
    # Sums of the same numbers in another order.
    assert (straight.flip(-1).int() - mirrored.int()).abs().max() <= 1 and not torch.equal(straight, mirrored)
    assert (straight.flip(-1) != mirrored).float().mean() < 0.01


def test_a_clip_does_not_depend_on_the_others_of_its_batch():
    parts = [Planes(noise(2, 2 * n, 30), noise(2, 2, n, 15, seed=n), Box(1, 2, 8, 20), True) for n in (8, 5, 11)]
    samples = [sample([part], [[Cut(part.box, mirror=n == 1)]], 10) for n, part in enumerate(parts)]
    together = to_clips(collate_planes(samples))
    assert together.pixels.shape == (3, 1, 3, 2, 10, 10)
    for row, alone in enumerate(samples):
        assert torch.equal(to_clips(collate_planes([alone])).pixels[0], together.pixels[row])
    assert together.label.tolist() == [3, 3, 3] and together.video.tolist() == [7, 7, 7]


def test_views_of_several_clips_and_several_cuts():
    parts = [Planes(noise(2, *SIZE, seed=n), noise(2, 2, 10, 14, seed=n), Box(0, 0, *SIZE), True) for n in range(2)]
    cuts = [[Cut(Box(n, left, 12, 12), mirror=False) for left in (0, 5)] for n in range(2)]
    batch = collate_planes([sample(parts, cuts, 6)] * 2)
    assert batch.data.ndim == 1 and len(batch.data) == 4 * 2 * 20 * 28 * 3 // 2  # no clip twice for its two views
    pixels = to_clips(batch).pixels
    assert pixels.shape == (2, 4, 3, 2, 6, 6)
    for view in range(4):
        assert torch.equal(pixels[1, view], converted(parts[view // 2], cuts[view // 2][view % 2], 6))


def test_the_box_around_cuts_and_where_they_lie_in_it():
    cuts = [Cut(Box(5, 9, 10, 10), mirror=False), Cut(Box(2, 12, 6, 20), mirror=True)]
    whole = around(cuts)
    assert whole == Box(2, 9, 13, 23)
    assert within(cuts, whole, Box(0, 1, 13, 23)) == [Cut(Box(3, 1, 10, 10), False), Cut(Box(0, 4, 6, 20), True)]


@pytest.mark.parametrize(("codec", "full_range", "pixels"), [("mpeg4", False, "yuv420p"), ("mjpeg", True, "yuvj420p")])
def test_real_frames_look_as_they_do_in_rgb(tmp_path, codec, full_range, pixels):
    """Stated: two grey levels on average; the library takes each chroma sample for 2x2 pixels, here they blend."""
    planes, rgb = encoded(tmp_path / "a.mp4", codec, pixels)
    planes = planes._replace(full_range=full_range)
    height, width = planes.y.shape[1:]
    for seed in range(6):
        crop = RandomResizedCrop(40, area=(0.3, 1.0))
        old = crop(rgb, torch.Generator().manual_seed(seed))
        (cut,) = crop.cuts(height, width, torch.Generator().manual_seed(seed))
        new = converted(planes, cut, 40)
        difference = (old.int() - new.int()).abs().float()
        assert difference.mean() < 2 and difference.quantile(0.99) < 8
        # No colour cast: the library cuts fractions off, and is darker by about one.
        assert (old.float().mean((1, 2, 3)) - new.float().mean((1, 2, 3))).abs().max() < 2
        mirrored = (old.flip(-1).int() - new.int()).abs().float()
        assert mirrored.mean() > 4 * difference.mean()


def encoded(path, codec, pixels):
    """A moving coloured picture, encoded: its planes, and the frames as the library converts them."""
    rows, columns = np.mgrid[:96, :128]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, pixels
        stream.bit_rate = 4_000_000
        for t in range(4):
            waves = [127 + 100 * np.sin((columns + 3 * t) / a + rows / b) for a, b in ((17, 29), (31, -13), (11, 40))]
            picture = cv2.GaussianBlur(np.stack(waves, -1).astype(np.uint8), (3, 3), 0)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    raw = np.stack([frame.to_ndarray() for frame in frames])
    y, uv = raw[:, :96], raw[:, 96:].reshape(4, 2, 48, 64)
    rgb = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
    return Planes(y, uv, Box(0, 0, 96, 128), full_range=False), rgb


@pytest.mark.parametrize(
    "crop",
    [RandomResizedCrop(8), CenterCrop(8, short_side=9), ThreeCrop(8, short_side=9)],
    ids=lambda c: type(c).__name__,
)
def test_planes_and_rgb_are_cut_at_the_same_places(crop):
    videos, sampler = numbered_videos(3), RandomClips(views=2, frames=4, stride=2)
    times = Times(np.arange(FRAMES) / 25 for _ in range(3))
    reader = PlaneReader()
    planes, rgb = (VideoDataset(videos, sampler, crop, r, 0, times=times) for r in (reader, reader.as_rgb()))
    for epoch in range(3):
        new, old = planes[(epoch, 1)], rgb[(epoch, 1)]
        assert new.pixels.shape == old.pixels.shape and torch.equal(new.seconds, old.seconds)
        assert (new.pixels.int() - old.pixels.int()).abs().max() <= 2
    assert not torch.equal(planes[(0, 1)].pixels, planes[(1, 1)].pixels) or not isinstance(crop, RandomResizedCrop)


def plane_loader(workers, *, broken=(), method=None, **options):
    videos = numbered_videos(13)
    times = Times(np.arange(FRAMES) / 25 for _ in range(13))
    sampler, crop = RandomClips(views=2, frames=4, stride=2), RandomResizedCrop(8)
    dataset = VideoDataset(videos, sampler, crop, PlaneReader(broken=broken), 0, times=times)
    loader = ResumableLoader(dataset, EpochBatches(range(13), 3), workers=workers, **options)
    if method:
        loader.multiprocessing_context = method
    return loader


def same(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for one, other in zip(a, b) for x, y in zip(one, other))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a small machine
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_reading_processes_change_no_bit(workers):
    assert same(list(plane_loader(workers)), list(plane_loader(0)))


def test_reading_processes_start_after_the_picture_library_was_used_here():
    cv2.setNumThreads(2)
    cv2.GaussianBlur(noise(96, 128, 3), (3, 3), 0)
    assert len(list(plane_loader(2, timeout_seconds=30))) == 4


@pytest.mark.slow
def test_neither_does_the_way_they_start():
    assert same(list(plane_loader(2, method="spawn")), list(plane_loader(0)))


def test_an_interrupted_epoch_of_planes_continues_exactly():
    expected = list(plane_loader(0))
    stopped = plane_loader(2)
    source = iter(stopped)
    before = [next(source)]
    resumed = plane_loader(2)
    resumed.load_state_dict(stopped.state_dict())
    assert same(before + list(resumed), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_video_is_missing_from_a_batch_of_planes(workers):
    told: list[VideoError] = []
    batches = list(plane_loader(workers, broken=[6], on_broken=told.append))
    assert [error.path for error in told] == ["videos/6.mp4"]
    for got, whole in zip(batches, plane_loader(0), strict=True):
        keep = whole.video != 6
        assert same([got], [type(whole)(*(field[keep] for field in whole))])


def test_weights_sum_to_one():
    for count, size in ((5, 9), (9, 5), (1, 4), (7, 7)):
        assert torch.allclose(linear(count, size).sum(1), torch.ones(size))
