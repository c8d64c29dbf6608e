"""What a value of a mask means: files of every kind give the objects that were drawn, or one line; never others."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from ssv.data.readers.base import VideoError
from ssv.data.sequences.masks import MaskReader, mask_palette, write_mask

FAULTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "faults" / "masks_grey"
IDS = np.array([[0, 1, 1], [2, 2, 255]], dtype=np.uint8)
quick = settings(max_examples=60, deadline=None, derandomize=True)
thorough = settings(max_examples=2000, deadline=None)


def read(*files, folder, **options):
    """The label maps of one sequence of images or bytes."""
    reader, found = MaskReader(**options), []
    for number, file in enumerate(files):
        path = folder / f"{number}.png"
        if isinstance(file, bytes):
            path.write_bytes(file)
        else:
            file.save(path)
        found.append(reader.read(str(path)))
    return found


def grey(*rows):
    return Image.fromarray(np.array(rows, dtype=np.uint8))


def palette(ids, colours=None):
    image = Image.fromarray(np.asarray(ids, dtype=np.uint8)).convert("P")
    image = Image.frombytes("P", image.size, np.asarray(ids, dtype=np.uint8).tobytes())
    image.putpalette((mask_palette() if colours is None else np.asarray(colours, dtype=np.uint8)).tobytes())
    return image


def squares(count, side=8):
    """Objects 1 to ``count`` beside each other over a strip of background."""
    ids = np.repeat(np.arange(1, count + 1, dtype=np.uint8), side)[None].repeat(side, 0)
    return np.concatenate([np.zeros_like(ids), ids])


def encoded(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def test_palette_masks_keep_their_numbers_and_void(tmp_path):
    write_mask(tmp_path / "m.png", IDS)
    assert np.array_equal(MaskReader().read(str(tmp_path / "m.png")), IDS)
    assert np.array_equal(MaskReader(merged=True).read(str(tmp_path / "m.png")), [[0, 1, 1], [1, 1, 0]])


@pytest.mark.parametrize(
    "convert", [lambda i: i, lambda i: i.convert("1"), lambda i: i.convert("RGB")], ids=["L", "1", "RGB"]
)
@pytest.mark.parametrize("merged", [False, True])
def test_a_mask_of_0_and_255_is_one_object(tmp_path, convert, merged):
    found = read(
        convert(grey([0, 255])), convert(grey([255, 255])), convert(grey([0, 0])), folder=tmp_path, merged=merged
    )
    assert [ids.tolist() for ids in found] == [[[0, 1]], [[1, 1]], [[0, 0]]]


def test_whether_255_is_void_is_settled_by_the_first_mask(tmp_path):
    void = read(palette([[0, 1, 255]]), palette([[0, 0, 255]]), folder=tmp_path)
    assert [ids.tolist() for ids in void] == [[[0, 1, 255]], [[0, 0, 255]]]
    with pytest.raises(VideoError, match="has the grey values 255, the first of its sequence 1; save all with numbers"):
        read(grey([0, 1]), grey([0, 255]), folder=tmp_path)
    with pytest.raises(VideoError, match="has the grey values 128, the first of its sequence 255"):
        read(grey([0, 255]), grey([0, 128]), folder=tmp_path)


def test_colours_of_the_palette_have_its_numbers_others_are_counted(tmp_path):
    assert read(Image.fromarray(mask_palette()[[[0, 2, 1, 255]]]), folder=tmp_path)[0].tolist() == [[0, 2, 1, 255]]
    own = np.array([[[0, 0, 0], [255, 0, 0], [0, 255, 0]]], dtype=np.uint8)
    first, later = Image.fromarray(own), Image.fromarray(np.concatenate([own, own[:, :1] + 7], 1))
    found = read(first, later, grey([0, 0]), folder=tmp_path)
    assert [ids.tolist() for ids in found] == [[[0, 2, 1]], [[0, 2, 1, 0]], [[0, 0]]], "a late colour is background"


@pytest.mark.parametrize(
    ("mask", "values"),
    [
        (grey([0, 38, 75]), "1 to 2, got 38, 75"),
        (grey([0, 128]), "1, got 128"),
        (grey([0, 38, 255]), "1, got 38"),
        (grey([0, 1, 3]), "1 to 2, got 1, 3"),
        (grey([0, 38]).convert("RGB"), "1, got 38"),
        (palette([[0, 2]]), "1, got 2"),
        (palette([[0, 1, 3, 255]]), "1 to 2, got 1, 3"),
        (grey(*2 * squares(24)), "1 to 24, got 2, 4, 6, 8, 10, 12, 14, 16 and 16 more"),
    ],
    ids=["38_75", "128", "38_void", "1_3", "rgb", "palette_2", "palette_1_3", "many"],
)
def test_numbers_with_gaps_are_refused_or_renumbered(tmp_path, mask, values):
    with pytest.raises(VideoError, match=f"the objects of this first mask must be {values};.*renumber=true"):
        read(mask, folder=tmp_path)
    if "more" not in values:
        found = read(mask, grey([0, 0]) if mask.mode != "P" else palette([[0, 0]]), folder=tmp_path, renumber=True)[0]
        assert sorted(set(found.ravel().tolist()) - {0, 255}) == [1, 2][: len(values.split("got ")[1].split(", "))]


def test_colours_of_palette_numbers_with_gaps_are_refused_or_renumbered(tmp_path):
    mask = Image.fromarray(mask_palette()[[[0, 3, 1]]])
    with pytest.raises(VideoError, match="those of the objects 1, 3 in the palette of DAVIS, needed are 1 to 2"):
        read(mask, folder=tmp_path)
    assert read(mask, folder=tmp_path, renumber=True)[0].tolist() == [[0, 2, 1]]


def test_renumbered_masks_know_no_late_objects(tmp_path):
    found = read(grey([0, 38, 75]), grey([1, 75, 113]), folder=tmp_path, renumber=True)
    assert [ids.tolist() for ids in found] == [[[0, 1, 2]], [[0, 2, 0]]]


def blurred(image):
    return image.filter(ImageFilter.GaussianBlur(2))


def test_smoothed_masks_are_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    disk = np.hypot(*(np.mgrid[:64, :64] - 32)) < 20
    colours = np.where(disk[..., None], [250, 120, 0], 0).astype(np.uint8)
    for masks, merged in (
        ([Image.fromarray(noise)], False),
        ([blurred(grey(*(disk * 255)))], False),
        ([blurred(grey(*(disk * 255)))], True),
        ([grey(*(disk * 255)), blurred(grey(*(disk * 255)))], False),
        ([blurred(grey(*(disk * 60)))], False),
        ([blurred(Image.fromarray(colours))], False),
        ([Image.fromarray(colours).resize((41, 41), Image.Resampling.BILINEAR)], True),
        ([grey(*(disk * 255)).resize((41, 41), Image.Resampling.BILINEAR)], False),
    ):
        with pytest.raises(VideoError, match="smoothing or compression leaves"):
            read(*masks, folder=tmp_path, merged=merged)


def test_thin_objects_are_no_smoothing(tmp_path):
    ids = squares(3)
    ids[2] = 4
    assert np.array_equal(read(palette(ids), folder=tmp_path)[0], ids)
    assert np.array_equal(read(grey(*ids), folder=tmp_path)[0], ids)
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]], dtype=np.uint8)
    assert len(np.unique(read(Image.fromarray(colours[ids]), folder=tmp_path)[0])) == 5


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "JPEG2000"])
@pytest.mark.parametrize("options", [{}, {"merged": True}, {"renumber": True}], ids=str)
def test_formats_that_change_values_are_refused(tmp_path, format, options):
    with pytest.raises(VideoError, match=f"a mask in the format {format}, which changes values; save it as PNG"):
        read(encoded(grey(*squares(2)), format), folder=tmp_path, **options)


def test_transparent_pixels_are_background(tmp_path):
    white = np.full((1, 3, 4), 255, dtype=np.uint8)
    white[0, 0, 3] = 0
    assert read(Image.fromarray(white), folder=tmp_path)[0].tolist() == [[0, 1, 1]]
    layered = Image.merge("LA", [grey([1, 2, 2]), grey([255, 255, 0])])
    assert read(layered, folder=tmp_path)[0].tolist() == [[1, 2, 0]]
    assert read(encoded(palette([[0, 1, 2]]), "PNG", transparency=2), folder=tmp_path)[0].tolist() == [[0, 1, 0]]
    white[0, 1, 3] = 127
    with pytest.raises(VideoError, match="pixels that are half transparent"):
        read(Image.fromarray(white), folder=tmp_path)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(np.array([[0, 1]], dtype=np.uint16)),
        Image.fromarray(np.array([[0, 1]], dtype=np.int32)),
        Image.new("CMYK", (2, 2)),
    ],
    ids=["16", "32", "cmyk"],
)
def test_kinds_without_eight_bit_labels_are_refused(tmp_path, image):
    with pytest.raises(VideoError, match="a mask of mode|needed is a palette"):
        read(encoded(image, "TIFF"), folder=tmp_path)


def test_a_palette_that_is_sorted_anew_is_refused(tmp_path):
    """What file optimisers do to a mask from which object 1 is gone."""
    colours = mask_palette()[:4].copy()
    with pytest.raises(VideoError, match="gives 1 the colour that 2 has in the first mask"):
        read(palette([[0, 1, 2]]), palette([[0, 1]], colours[[0, 2]]), folder=tmp_path)
    found = read(palette([[0, 1, 2]]), palette([[0, 2]], colours[[0, 3, 2]]), folder=tmp_path)
    assert found[1].tolist() == [[0, 2]], "colours of numbers that are not used mean nothing"
    assert read(palette([[0, 1, 2]]), palette([[0, 2]], colours + 9), folder=tmp_path)[1].tolist() == [[0, 2]]


@pytest.mark.parametrize("merged", [False, True])
def test_a_palette_in_any_order_is_refused(tmp_path, merged):
    """What programs write that choose colours: the background is some number."""
    image = Image.fromarray(mask_palette()[squares(2)])
    assert np.array_equal(read(image, folder=tmp_path)[0], squares(2))
    for colours in (8, 256):
        with pytest.raises(VideoError, match="the background of this mask is not number 0"):
            read(image.quantize(colours), folder=tmp_path, merged=merged)
    with pytest.raises(VideoError, match="most of them on edges|the background of this mask is not number 0"):
        read(blurred(image).quantize(16), folder=tmp_path, merged=merged)


@pytest.mark.parametrize(
    "later",
    [
        lambda image: blurred(image),
        lambda image: Image.open(io.BytesIO(encoded(image, "JPEG"))),
        lambda image: grey(*squares(2)),
        lambda image: grey(*(squares(2) > 0) * np.uint8(255)),
    ],
    ids=["blurred", "jpeg", "numbers", "binary"],
)
def test_later_masks_are_looked_at_like_the_first(tmp_path, later):
    image = Image.fromarray(mask_palette()[squares(2)])
    with pytest.raises(VideoError, match="mixtures|save them alike"):
        read(image, later(image), folder=tmp_path)


@pytest.mark.parametrize("late", [[38, 75], [4], [1, 2, 9]], ids=str)
def test_numbers_that_do_not_go_on_are_refused(tmp_path, late):
    assert read(grey([0, 1, 2]), grey([0, 3, 4]), folder=tmp_path)[1].tolist() == [[0, 3, 4]]
    for write in (lambda row: grey(row), lambda row: palette([row])):
        with pytest.raises(VideoError, match="the first of its sequence 1 to 2; data.sequences.renumber=true"):
            read(write([0, 1, 2]), write([0, *late]), folder=tmp_path)
        assert read(write([0, 1, 2]), write([0, *late]), folder=tmp_path, renumber=True)[1].max() <= 2


def test_masks_of_one_object_keep_their_kind(tmp_path):
    image = grey([0, 255])
    for later in (image.convert("P"), grey([0, 255, 1])):
        with pytest.raises(VideoError, match="save them alike|save all with numbers"):
            read(image, later, folder=tmp_path, merged=True)


def test_classes_absent_from_the_first_mask_are_known(tmp_path):
    colours = [Image.fromarray(mask_palette()[[ids]]) for ids in ([0, 1, 2], [0, 7, 2])]
    assert read(*colours, folder=tmp_path, classes=20)[1].tolist() == [[0, 7, 2]]
    assert read(grey([0, 0, 0]), colours[1], folder=tmp_path, classes=20)[1].tolist() == [[0, 7, 2]]


def test_a_background_that_is_not_black_is_refused(tmp_path):
    with pytest.raises(VideoError, match="no black pixel"):
        read(Image.fromarray(np.array([[[255, 255, 255], [255, 0, 0]]], dtype=np.uint8)), folder=tmp_path)


@pytest.mark.parametrize("later", [grey([0, 1]), Image.fromarray(mask_palette()[[[0, 1]]])], ids=["grey", "colour"])
def test_masks_of_one_sequence_are_of_one_kind(tmp_path, later):
    with pytest.raises(VideoError, match="file, the first of its sequence a palette file; save them alike"):
        read(palette([[0, 1]]), later, folder=tmp_path)


def test_classes_may_have_gaps_and_no_others(tmp_path):
    assert read(palette([[0, 19, 3, 255]]), folder=tmp_path, classes=20)[0].tolist() == [[0, 19, 3, 255]]
    assert read(grey([0, 255]), folder=tmp_path, classes=20)[0].tolist() == [[0, 255]]
    assert read(Image.fromarray(mask_palette()[[[0, 19, 3]]]), folder=tmp_path, classes=20)[0].tolist() == [[0, 19, 3]]
    for mask in (grey([0, 38]), palette([[0, 20]]), Image.fromarray(mask_palette()[[[0, 20]]])):
        with pytest.raises(VideoError, match="the classes are 0 to 19, 255 is void"):
            read(mask, folder=tmp_path, classes=20)


@pytest.mark.skipif(not FAULTS.is_dir(), reason="the collected files are not here")
@pytest.mark.parametrize("name", ["grey38", "grey128"])
def test_the_collected_grey_masks_are_refused_or_those_of_the_palette(name):
    files = sorted((FAULTS / name).glob("*.png"))
    with pytest.raises(VideoError, match="the objects of this first mask must be 1, got"):
        MaskReader().read(str(files[0]))
    counted, right = MaskReader(renumber=True), MaskReader()
    for file in files:
        assert np.array_equal(counted.read(str(file)), right.read(str(FAULTS / "pal" / file.name)))


MAPS = st.integers(1, 6).flatmap(
    lambda count: st.lists(st.lists(st.integers(0, count), min_size=4, max_size=4), min_size=2, max_size=3).map(
        lambda rows: np.kron(np.array(rows, dtype=np.uint8), np.ones((4, 4), np.uint8))
    )
)
COLOURS = np.random.default_rng(5).permutation(
    [(r, g, b) for r in (0, 90, 255) for g in (0, 60, 250) for b in (0, 130, 240)][1:]
)
WRITERS = {
    "palette": palette,
    "grey": lambda ids: grey(*ids),
    "grey as RGB": lambda ids: grey(*ids).convert("RGB"),
    "palette as RGB": lambda ids: Image.fromarray(mask_palette()[ids]),
    "own colours": lambda ids: Image.fromarray(np.concatenate([[[0, 0, 0]], COLOURS]).astype(np.uint8)[ids]),
    "palette as grey": lambda ids: Image.fromarray(mask_palette()[ids]).convert("L"),
    "smoothed": lambda ids: blurred(grey(*(ids * 37))),
    "smoothed colours": lambda ids: blurred(Image.fromarray(mask_palette()[ids])),
    "resized": lambda ids: palette(ids).convert("RGB").resize(ids.shape[::-1], Image.Resampling.BICUBIC, (0, 0, 13, 7)),
}


def same_objects(found, drawn):
    """Whether the regions agree, whatever their numbers."""
    pairs = set(zip(found.ravel().tolist(), drawn.ravel().tolist()))
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) and all(
        a == 0 for a, b in pairs if b == 0
    )


def check_drawn(folder, ids, writer, merged):
    try:
        found = read(WRITERS[writer](ids), folder=folder, merged=merged)[0]
    except VideoError as error:
        assert "\n" not in str(error)
        assert merged is False or not (ids == 0).any() or "smooth" in writer or writer in ("resized", "palette as grey")
        return
    if "smooth" in writer or writer == "resized":
        assert not ids.any() or ids.all() or len(np.unique(ids)) == 1
    else:
        assert same_objects(found, (ids > 0).astype(np.uint8) if merged else ids)


@quick
@given(MAPS, st.sampled_from([name for name in WRITERS if "smooth" not in name and name != "resized"]), st.booleans())
def test_drawn_objects_are_read_or_refused(tmp_path_factory, ids, writer, merged):
    check_drawn(tmp_path_factory.mktemp("m"), ids, writer, merged)


@pytest.mark.slow
@thorough
@given(MAPS, st.sampled_from([name for name in WRITERS if "smooth" not in name and name != "resized"]), st.booleans())
def test_many_drawn_objects_are_read_or_refused(tmp_path_factory, ids, writer, merged):
    check_drawn(tmp_path_factory.mktemp("m"), ids, writer, merged)


WHOLE = [
    encoded(image, "PNG")
    for image in (palette(squares(2)), grey(*squares(2)), Image.fromarray(mask_palette()[squares(2)]))
]
PLACES = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4)


def check_bytes(folder, whole, changes, cut):
    data = bytearray(whole[: len(whole) - cut % len(whole)])
    for place, value in changes:
        if data:
            data[place % len(data)] = value
    try:
        found = read(bytes(data), folder=folder)[0]
    except VideoError as error:
        assert "\n" not in str(error)
    else:
        assert found.dtype == np.uint8
        assert found.ndim == 2


@quick
@given(st.one_of(st.sampled_from(WHOLE), st.binary(max_size=80)), PLACES, st.integers(0, 3))
def test_damaged_masks_are_one_line(tmp_path_factory, whole, changes, cut):
    check_bytes(tmp_path_factory.mktemp("m"), whole + b"\0", changes, cut)


@pytest.mark.slow
@thorough
@given(st.one_of(st.sampled_from(WHOLE), st.binary(max_size=80)), PLACES, st.integers(0, 60))
def test_many_damaged_masks_are_one_line(tmp_path_factory, whole, changes, cut):
    check_bytes(tmp_path_factory.mktemp("m"), whole + b"\0", changes, cut)
