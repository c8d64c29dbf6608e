"""Files of weights that somebody made to do harm, or that are odd in ways nobody meant: one line, at little cost."""

import pickle
import shutil
import time
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from ssv.backbones.c3d import C3D
from ssv.backbones.resnet3d import ResNet3D
from ssv.backbones.s3dg import S3DG
from ssv.training.weights import load_backbone, save_backbone
from ssv.training.weights_file import read_weights_file
from tests.backbones import published

TINY = {"widths": (4, 4, 8, 8), "blocks": (1, 1, 1, 1), "stem_kernel": (3, 3, 3)}
WEIGHT = "stages.1.0.body.0.conv.weight"


@pytest.fixture
def path(tmp_path):
    torch.manual_seed(0)
    save_backbone(tmp_path / "backbone.pt", ResNet3D(**TINY), {"name": "x"})
    return tmp_path / "backbone.pt"


def edit(path, change):
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


def refused(path, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_backbone(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("backbone", "arguments", "message"),
    [
        (ResNet3D(**TINY), {"blocks": [2000, 1, 1, 1]}, "ask for more than 2.. parameters"),
        (ResNet3D(**TINY), {"blocks": [1, 1, 1, 10**12]}, "ask for more than 2.. parameters"),
        (
            ResNet3D(**TINY),
            {"widths": [4, 4, 8, 10**6]},
            "1000000, 8, 3, 3, 3\\) needed",
        ),
        (ResNet3D(**TINY), {"widths": [10**9, 10**9, 10**9, 10**9]}, "ResNet3D"),
        (ResNet3D(**TINY), {"widths": [2**62, 2**62, 8, 8]}, "cannot be built"),
        (ResNet3D(**TINY), {"widths": ["a", 4, 8, 8]}, "cannot be built"),
        (ResNet3D(**TINY), {"blocks": 5}, "cannot be built"),
        (ResNet3D(**TINY), {"stem_kernel": [[3], 3, 3]}, "cannot be built"),
        (ResNet3D(**TINY), {"mean": ["x", 0.0, 0.0]}, "cannot be built"),
        (ResNet3D(**TINY), {"spatial_stride": 10**9}, "cannot be built.*spatial_stride must be one of"),
        (ResNet3D(**TINY), {"nonsense": 1}, "cannot be built.*nonsense"),
        (S3DG(width=0.1, last_stage=1), {"width": 1e300}, "S3DG"),
        (S3DG(width=0.1, last_stage=1), {"width": 1e6}, "do not fit"),
        (C3D(last_stage=1), {"last_stage": None}, "cannot be built"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_arguments_are_compared_with_the_file_before_anything_is_built(tmp_path, backbone, arguments, message):
    path = tmp_path / "backbone.pt"
    save_backbone(path, backbone, {})
    edit(path, lambda content: content["backbone"]["kwargs"].update(arguments))
    start = time.process_time()
    refused(path, message)
    assert time.process_time() - start < 5


def quantized(tensor):
    return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


@pytest.mark.filterwarnings("ignore")  # torch itself warns of quantized and of sparse tensors
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensor: 5, "int, not a tensor"),
        (lambda tensor: None, "NoneType, not a tensor"),
        (lambda tensor: "weights", "str, not a tensor"),
        (lambda tensor: [tensor], "list, not a tensor"),
        (lambda tensor: tensor.to("meta"), "a meta tensor, which has no values"),
        (lambda tensor: tensor.to(torch.complex64), "a tensor of complex64"),
        (lambda tensor: tensor > 0, "a tensor of bool"),
        (quantized, "a quantized tensor"),
        (lambda tensor: tensor.to_sparse(), "a tensor of the layout sparse_coo"),
        (lambda tensor: tensor.to(torch.int32), r"\(4, 4, 3, 3, 3\) of int32 in the file"),
        (lambda tensor: tensor.to(torch.float8_e5m2), "a tensor of float8_e5m2"),
        (lambda tensor: tensor[0], "needed$"),
    ],
)
def test_a_tensor_of_another_kind_is_named(path, change, message):
    edit(path, lambda content: content["state_dict"].update({WEIGHT: change(content["state_dict"][WEIGHT])}))
    refused(path, rf"1 tensors do not fit, the first is {WEIGHT}, .*{message}")


def test_a_weight_may_be_of_half_precision(path):
    backbone = ResNet3D(**TINY)
    save_backbone(path, backbone.bfloat16(), {})
    assert torch.equal(load_backbone(path)[0].stem.conv.weight.bfloat16(), backbone.stem.conv.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["backbone"]["kwargs"].update({3: 4}), "names that are no text"),
        (lambda content: content["state_dict"].update({3: torch.zeros(1)}), "names that are no text"),
        (lambda content: content["state_dict"].update({"a\nb\x1b[31m": torch.zeros(1)}), "names that are no text"),
        (lambda content: content["backbone"].update({"class": "a\nb"}), "names that are no text"),
        (lambda content: content["provenance"].update(seed=[1]), "its seed is list, needed a whole number"),
        (lambda content: content["provenance"].update(seed="1"), "its seed is str, needed a whole number"),
        (lambda content: content.update(state_dict=5), "damaged backbone.pt"),
        (lambda content: content.update(provenance=None), "damaged backbone.pt"),
    ],
)
def test_entries_of_another_type_are_named(path, change, message):
    edit(path, change)
    refused(path, message)


def rewritten(path, *, method=zipfile.ZIP_STORED, change=lambda name, data: data):
    """The archive once more, with other contents or compressed."""
    old = path.with_suffix(".old")
    shutil.move(path, old)
    with zipfile.ZipFile(old) as before, zipfile.ZipFile(path, "w", method) as after:
        for entry in before.infolist():
            after.writestr(entry.filename, change(entry.filename, before.read(entry)))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compressed_archive_is_not_unpacked(path, method, monkeypatch):
    torch.save({"weight": torch.zeros(10**7)}, path)
    rewritten(path, method=method)
    assert path.stat().st_size < 10**5
    monkeypatch.setattr(torch, "load", None)
    refused(path, r"compressed entries \(4\d+ bytes in a file of \d+\), which torch\.save never writes")


def test_one_compressed_entry_among_others_is_not_unpacked(path):
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/999", b"\0" * 10**6)
    refused(path, "1 compressed entries")


def test_entries_that_overlap_are_not_unpacked(path):
    with zipfile.ZipFile(path, "a") as archive:
        big = max(archive.infolist(), key=lambda entry: entry.file_size)
        for number in range(50):
            copy = zipfile.ZipInfo(f"archive/data/{1000 + number}")
            copy.header_offset, copy.file_size, copy.compress_size, copy.CRC = (
                big.header_offset,
                big.file_size,
                big.compress_size,
                big.CRC,
            )
            archive.filelist.append(copy)
        archive.writestr("archive/last", b"")
    refused(path, "entries that overlap")


@pytest.mark.parametrize("number", [0, 1])  # the elements of the storage; those of the tensor
@pytest.mark.parametrize("claim", [8, 10**6, 2**31 - 1])
def test_more_elements_than_the_file_has_are_refused(path, number, claim):
    torch.save({"a": torch.arange(7.0)}, path)
    claimed = b"J" + claim.to_bytes(4, "little")

    def change(name, data):
        if not name.endswith("data.pkl"):
            return data
        place = [i for i in range(len(data)) if data.startswith(b"K\x07", i)][number]
        return data[:place] + claimed + data[place + 2 :]

    rewritten(path, change=change)
    refused(path, "is not a weights file")


def expanded(state):
    """Every tensor is one number, seen many times: a file that holds next to nothing."""
    return {name: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape) for name, tensor in state.items()}


def test_tensors_that_share_memory_do_not_ask_for_more_than_the_file_holds(path):
    wide = ResNet3D(widths=(64, 64, 64, 64))
    save_backbone(path, wide, {})
    edit(path, lambda content: content.update(state_dict=expanded(content["state_dict"])))
    assert path.stat().st_size < 200_000
    refused(path, r"asks for \d{7} bytes of tensors, more than twice its size of \d+")
    storage = torch.zeros(200_000)  # one storage, seen by every tensor

    def share(content):
        views = {
            name: storage[: tensor.numel()].view(tensor.shape) if tensor.dtype == torch.float32 else tensor
            for name, tensor in content["state_dict"].items()
        }
        content.update(state_dict=views)

    save_backbone(path, wide, {})
    edit(path, share)
    refused(path, "more than twice its size")
    torch.save(expanded(published.weights(published.kenshohara_shapes())), path)
    refused(path, r"its tensors ask for \d+ bytes, more than twice its size")


def test_files_from_before_the_archive_format_are_read_and_held_to_their_size(path):
    content = torch.load(path, weights_only=True)
    torch.save(content, path, _use_new_zipfile_serialization=False)
    assert load_backbone(path)[1] == {"name": "x"}
    content["state_dict"] = expanded(content["state_dict"])
    content["state_dict"][WEIGHT] = torch.zeros(()).expand(1000, 1000, 3, 3, 3)
    torch.save(content, path, _use_new_zipfile_serialization=False)
    refused(path, "more than twice its size")
    path.write_bytes(path.read_bytes()[:-100])
    refused(path, "is not a weights file")


def test_a_file_that_holds_code_says_which(path):
    class Settings:
        pass

    Settings.__module__, Settings.__qualname__ = "tests.training.test_weights_file", "Settings"
    globals()["Settings"] = Settings
    torch.save({"hyper_parameters": Settings(), "state_dict": {}}, path)
    refused(path, r"it holds tests\.training\.test_weights_file\.Settings, which is code and not run")
    path.write_bytes(pickle.dumps(print))
    refused(path, "is not a weights file")


def test_a_file_of_safetensors_is_read_and_a_damaged_one_is_refused(path):
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}
    save_file(tensors, path)
    found = read_weights_file(path)
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    whole = path.read_bytes()
    head = int.from_bytes(whole[:8], "little")
    for damaged in (
        whole[:-1],
        whole + b"\0",
        whole.replace(b"[2,3]", b"[9,9]"),
        whole.replace(b"BF16", b"WHAT"),
        whole[:8] + b"{" * head + whole[8 + head :],
    ):
        path.write_bytes(damaged)
        refused(path, "is a damaged safetensors file")
    path.write_bytes((2**40).to_bytes(8, "little") + whole[8:])
    refused(path, "is not a weights file")
