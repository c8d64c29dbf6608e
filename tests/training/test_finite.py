import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ssv.backbones.resnet3d import ResNet3D
from ssv.training.checkpoints import Checkpoints
from ssv.training.export import ExportBackbone
from ssv.training.finite import Diverged, require_finite
from ssv.training.vital_signs import vital_signs
from ssv.training.weights import load_backbone, save_backbone

TINY = {"blocks": [1, 1, 1, 1], "bottleneck": False, "widths": [4, 4, 4, 4], "stem_kernel": [1, 3, 3]}


def setting():
    """A module, and a trainer whose optimizer has taken one step."""
    pretext = nn.Module()
    pretext.backbone, pretext.head = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), nn.Linear(3, 1)
    pretext.register_buffer("mask", torch.tensor([-math.inf, 0]))
    module = nn.Module()
    module.pretext, module.device = pretext, torch.device("cpu")
    optimizer = torch.optim.AdamW(module.parameters())
    module.pretext.head(module.pretext.backbone(torch.ones(4, 2))).sum().backward()
    optimizer.step()
    saved = []
    trainer = SimpleNamespace(
        optimizers=[optimizer], world_size=1, global_step=4, max_steps=8, accumulate_grad_batches=1,
        save_checkpoint=saved.append, is_global_zero=True,
    )  # fmt: skip
    return module, trainer, saved


SPOILT = {
    "a parameter": lambda module, trainer: module.pretext.head.weight.data.view(-1)[-1:].fill_(math.nan),
    "infinity": lambda module, trainer: module.pretext.backbone[0].bias.data[:1].fill_(math.inf),
    "the backbone's statistics": lambda module, trainer: module.pretext.backbone[1].running_var.fill_(math.nan),
    "the optimizer": lambda module, trainer: next(iter(trainer.optimizers[0].state.values()))["exp_avg"].fill_(
        math.nan
    ),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT.keys())
def test_what_is_not_finite_is_neither_saved_nor_exported(tmp_path, spoil):
    module, trainer, saved = setting()
    require_finite(trainer, module)  # a mask of the pretext's may be infinite
    checkpoints = Checkpoints(tmp_path, every=1)
    checkpoints.on_train_end(trainer, module)
    assert len(saved) == 1
    spoil(module, trainer)
    with pytest.raises(Diverged, match="not finite after step 4.*optimizer.lr"):
        checkpoints.on_train_end(trainer, module)
    with pytest.raises(Diverged):
        ExportBackbone(tmp_path, module.pretext.backbone, {}, None).on_train_end(trainer, module)
    assert len(saved) == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_no_vital_signs_of_features_that_are_not_finite(value):
    features = torch.randn(6, 4, 8)
    features[3, 0, 2] = value
    assert vital_signs(features) == {}


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    backbone = ResNet3D(**TINY)
    next(backbone.parameters()).data.view(-1)[0] = value
    save_backbone(tmp_path / "backbone.pt", backbone, {})
    with pytest.raises(ValueError, match="holds weights that are not finite"):
        load_backbone(tmp_path)
