"""Names and shapes of the tensors in public checkpoints, family by family, for the sizes that are published.

Written down from the public code (kylemin/S3D 539b28a3, pytorch/vision 0216591d, piergiaj/pytorch-i3d b49fadf9,
DavideA/c3d-pytorch 076d40ea, open-mmlab/mmaction2 34be42e8, xvjiarui/VFS 8e055cc1, ajabri/videowalk 047f3f40,
xiaolonw/TimeCycle 16d33ac0,
facebookresearch/moco); those of `published` were compared with files, one by one.
"""

import torch

from tests.backbones.published import INCEPTIONS, _conv, _linear, _norm, howto100m_shapes, kenshohara_shapes

WIDTHS = (64, 128, 256, 512)


def torchvision_video_shapes(kinds, stem):
    """r3d_18, mc3_18 and r2plus1d_18: ``kinds`` of the four stages and of the stem."""
    if stem == "plain":
        shapes = {"stem.0.weight": (64, 3, 3, 7, 7), **_norm("stem.1", 64)}
    else:
        shapes = {"stem.0.weight": (45, 3, 1, 7, 7), **_norm("stem.1", 45)}
        shapes |= {"stem.3.weight": (64, 45, 3, 1, 1), **_norm("stem.4", 64)}
    inputs = 64
    middles = {1: (144, 144), 2: (230, 288), 3: (460, 576), 4: (921, 1152)}
    for stage, width in enumerate(WIDTHS, start=1):
        for block in range(2):
            kind = kinds[stage - 1]
            for number, channels in ((1, inputs), (2, width)):
                name = f"layer{stage}.{block}.conv{number}"
                if kind == "2plus1d":
                    middle = middles[stage][block]
                    shapes |= {f"{name}.0.0.weight": (middle, channels, 1, 3, 3), **_norm(f"{name}.0.1", middle)}
                    shapes |= {f"{name}.0.3.weight": (width, middle, 3, 1, 1)}
                else:
                    shapes |= {f"{name}.0.weight": (width, channels, 3 if kind == "3d" else 1, 3, 3)}
                shapes |= _norm(f"{name}.1", width)
            if inputs != width:
                shapes |= {f"layer{stage}.{block}.downsample.0.weight": (width, inputs, 1, 1, 1)}
                shapes |= _norm(f"layer{stage}.{block}.downsample.1", width)
            inputs = width
    return shapes | _linear("fc", 512, 400)


def s3d_shapes(names):
    """``names`` is "kylemin" or "torchvision"."""
    base, conv, norm = ("base", "conv", "bn") if names == "kylemin" else ("features", "0", "1")
    space, time = ("_s", "_t") if names == "kylemin" else ("0.", "1.")

    def point(place, inputs, outputs):
        return {f"{place}.{conv}.weight": (outputs, inputs, 1, 1, 1), **_norm(f"{place}.{norm}", outputs)}

    def separable(place, inputs, outputs, size):
        shapes = {}
        for part, shape in ((space, (outputs, inputs, 1, size, size)), (time, (outputs, outputs, size, 1, 1))):
            layers = (conv + part, norm + part) if names == "kylemin" else (part + conv, part + norm)
            shapes |= {f"{place}.{layers[0]}.weight": shape, **_norm(f"{place}.{layers[1]}", outputs)}
        return shapes

    shapes = separable(f"{base}.0", 3, 64, 7) | point(f"{base}.2", 64, 64) | separable(f"{base}.3", 64, 192, 3)
    for place, (inputs, b0, reduce1, b1, reduce2, b2, b3) in zip((5, 6, 8, 9, 10, 11, 12, 14, 15), INCEPTIONS.values()):
        name = f"{base}.{place}.branch"
        shapes |= point(f"{name}0.0" if names == "kylemin" else f"{name}0", inputs, b0)
        shapes |= point(f"{name}1.0", inputs, reduce1) | separable(f"{name}1.1", reduce1, b1, 3)
        shapes |= point(f"{name}2.0", inputs, reduce2) | separable(f"{name}2.1", reduce2, b2, 3)
        shapes |= point(f"{name}3.1", inputs, b3)
    head = "fc.0" if names == "kylemin" else "classifier.1"
    return shapes | {f"{head}.weight": (400, 1024, 1, 1, 1), f"{head}.bias": (400,)}


def i3d_shapes(channels=3):
    """RGB with 3 channels, flow with 2; the classifier stands first."""

    def unit(name, inputs, outputs, size):
        return {f"{name}.conv3d.weight": (outputs, inputs, size, size, size), **_norm(f"{name}.bn", outputs)}

    shapes = {"logits.conv3d.weight": (400, 1024, 1, 1, 1), "logits.conv3d.bias": (400,)}
    shapes |= (
        unit("Conv3d_1a_7x7", channels, 64, 7) | unit("Conv3d_2b_1x1", 64, 64, 1) | unit("Conv3d_2c_3x3", 64, 192, 3)
    )
    for block, (inputs, b0, reduce1, b1, reduce2, b2, b3) in INCEPTIONS.items():
        name = f"Mixed_{block}"
        shapes |= unit(f"{name}.b0", inputs, b0, 1) | unit(f"{name}.b1a", inputs, reduce1, 1)
        shapes |= unit(f"{name}.b1b", reduce1, b1, 3) | unit(f"{name}.b2a", inputs, reduce2, 1)
        shapes |= unit(f"{name}.b2b", reduce2, b2, 3) | unit(f"{name}.b3b", inputs, b3, 1)
    return shapes


def c3d_shapes(names):
    """``names`` is "davidea" (487 classes of Sports-1M) or "mmaction2" (no classifier in its pretrained file)."""
    sizes = {"1": (64, 3), "2": (128, 64), "3a": (256, 128), "3b": (256, 256), "4a": (512, 256)}
    sizes |= {"4b": (512, 512), "5a": (512, 512), "5b": (512, 512)}
    shapes = {}
    for number, (outputs, inputs) in sizes.items():
        name = f"conv{number}" if names == "davidea" else f"conv{number if len(number) == 2 else number + 'a'}.conv"
        shapes |= {f"{name}.weight": (outputs, inputs, 3, 3, 3), f"{name}.bias": (outputs,)}
    shapes |= _linear("fc6", 8192, 4096) | _linear("fc7", 4096, 4096)
    return shapes | (_linear("fc8", 4096, 487) if names == "davidea" else {})


def image_resnet_shapes(blocks, *, bottleneck=False, stages=4):
    """torchvision's ResNets of images without classifier."""
    shapes = {"conv1.weight": (64, 3, 7, 7), **_norm("bn1", 64)}
    inputs = 64
    for stage, width in enumerate(WIDTHS[:stages], start=1):
        for block in range(blocks[stage - 1]):
            name, outputs = f"layer{stage}.{block}", width * (4 if bottleneck else 1)
            kernels = ((width, inputs, 1), (width, width, 3), (outputs, width, 1))
            if not bottleneck:
                kernels = ((width, inputs, 3), (width, width, 3))
            for number, (after, before, size) in enumerate(kernels, start=1):
                shapes |= {
                    f"{name}.conv{number}.weight": (after, before, size, size),
                    **_norm(f"{name}.bn{number}", after),
                }
            if inputs != outputs:
                shapes |= {
                    f"{name}.downsample.0.weight": (outputs, inputs, 1, 1),
                    **_norm(f"{name}.downsample.1", outputs),
                }
            inputs = outputs
    return shapes


def conv_module(name):
    """open-mmlab's name for a tensor of a ResNet: convolution and norm are one module."""
    *block, layer, leaf = name.split(".")
    if block and block[-1] == "downsample":
        return ".".join([*block, "conv" if layer == "0" else "bn", leaf])
    kind, number = layer[:-1], layer[-1]
    return ".".join([*block, f"conv{number}", kind, leaf])


def videowalk_shapes(*, stages=4, head=((128, 512),), old=False):
    """The encoder, and the head that nodes go through; ``old`` names have convolutions that pad in a layer of its own."""
    shapes = {}
    for name, shape in image_resnet_shapes((2, 2, 2, 2), stages=stages).items():
        padded = old and len(shape) == 4 and shape[-1] > 1
        shapes["encoder.model." + (name.replace(".weight", ".1.weight") if padded else name)] = shape
    for i, (outputs, inputs) in enumerate(head):
        shapes |= _linear(f"selfsim_fc.{2 * i}", inputs, outputs)
    return shapes


def small_kenshohara_shapes():
    """A ResNet of one block a stage with the names of that repository."""
    shapes = {"conv1.weight": (4, 3, 7, 7, 7), **_norm("bn1", 4)}
    for stage, (inputs, width) in enumerate(((4, 4), (4, 6), (6, 8), (8, 10)), start=1):
        for number, channels in ((1, inputs), (2, width)):
            shapes |= _conv(f"layer{stage}.0", number, (width, channels, 3, 3, 3))
        if stage > 1:
            shapes |= {f"layer{stage}.0.downsample.0.weight": (width, inputs, 1, 1, 1)}
            shapes |= _norm(f"layer{stage}.0.downsample.1", width)
    return shapes | _linear("fc", 10, 5)


def timecycle_shapes():
    """An image ResNet-50 with kernels of one frame, stage 4 among them, and the layers that localise a patch."""
    shapes = {}
    for name, shape in image_resnet_shapes((3, 4, 6, 3), bottleneck=True).items():
        shapes[f"encoderVideo.{name}"] = (*shape[:2], 1, *shape[2:]) if len(shape) == 4 else shape
    shapes |= {"afterconv1.weight": (512, 1024, 1, 1, 1), "afterconv3_trans.weight": (128, 900, 4, 4)}
    return shapes | {"afterconv4_trans.weight": (64, 128, 4, 4)} | _linear("linear2", 1024, 3)


def _prefixed(prefix, shapes):
    return {prefix + name: shape for name, shape in shapes.items()}


def _families():
    resnet18, resnet50 = (2, 2, 2, 2), (3, 4, 6, 3)
    vfs = {conv_module(name): shape for name, shape in image_resnet_shapes(resnet18).items()}
    moco = image_resnet_shapes(resnet50, bottleneck=True) | _linear("fc.0", 2048, 2048) | _linear("fc.2", 2048, 128)
    queue = {"queue": (128, 65536), "queue_ptr": (1,)}
    return {
        "howto100m": ("howto100m", howto100m_shapes() | _linear("text_module.fc1", 300, 2048)),
        "kenshohara": ("kenshohara", kenshohara_shapes()),
        "r3d_18": ("torchvision_video", torchvision_video_shapes(["3d"] * 4, "plain")),
        "mc3_18": ("torchvision_video", torchvision_video_shapes(["3d", "2d", "2d", "2d"], "plain")),
        "r2plus1d_18": ("torchvision_video", torchvision_video_shapes(["2plus1d"] * 4, "separable")),
        "s3d kylemin": ("s3d", s3d_shapes("kylemin")),
        "s3d torchvision": ("s3d", s3d_shapes("torchvision")),
        "i3d": ("i3d", i3d_shapes()),
        "c3d davidea": ("c3d", c3d_shapes("davidea")),
        "c3d mmaction2": ("c3d", c3d_shapes("mmaction2")),
        "c3d mmaction2 trained": (
            "c3d",
            _prefixed("backbone.", c3d_shapes("mmaction2")) | _linear("cls_head.fc_cls", 4096, 101),
        ),
        "resnet18": ("image_resnet", image_resnet_shapes(resnet18) | _linear("fc", 512, 1000)),
        "resnet34": ("image_resnet", image_resnet_shapes(resnet50) | _linear("fc", 512, 1000)),
        "resnet50": ("image_resnet", image_resnet_shapes(resnet50, bottleneck=True) | _linear("fc", 2048, 1000)),
        "backbone.": (
            "image_resnet",
            _prefixed("backbone.", image_resnet_shapes(resnet18)) | _linear("head.fc", 512, 10),
        ),
        "vfs": ("image_resnet", _prefixed("backbone.", vfs) | _linear("img_head.projection_fcs.0.fc", 512, 512)),
        "moco": ("image_resnet", _prefixed("encoder_q.", moco) | _prefixed("encoder_k.", moco) | queue),
        "videowalk train": ("videowalk", videowalk_shapes()),
        "videowalk test": ("videowalk", videowalk_shapes(stages=3, head=())),
        "videowalk old": ("videowalk", videowalk_shapes(old=True)),
        "timecycle": ("timecycle", timecycle_shapes()),
    }


FAMILIES = _families()
"""Family: (its converter, {name: shape})."""


def blank(shapes):
    """Tensors of these shapes, all zero, that take no memory."""
    return {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}


def parameters(shapes):
    """How many numbers are learned."""
    learned = [shape for name, shape in shapes.items() if name.endswith(("weight", "bias"))]
    return sum(torch.Size(shape).numel() for shape in learned)
