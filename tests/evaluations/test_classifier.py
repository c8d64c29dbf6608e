"""Which part of a classifier is trained, and how fast."""

import copy

import pytest
import torch

from ssv.backbones.resnet3d import ResNet3D
from ssv.backbones.s3dg import S3DG
from ssv.evaluations.classifier import Classifier, stage_of
from tests.evaluations.fakes import Tiny


def resnet():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ResNet3D(blocks=(1, 1, 1, 1), widths=(4, 4, 4, 4), stem_kernel=(1, 3, 3))


def step(classifier, lr=0.1, **values):
    optimizer = torch.optim.SGD(
        classifier.groups(lr, **{"backbone_lr_scale": 1.0, "layer_decay": 1.0, "weight_decay": 0.0, **values}), lr=lr
    )
    classifier.train()
    draw = torch.Generator().manual_seed(1)
    classifier(torch.randn(4, 3, 4, 16, 16, generator=draw)).square().sum().backward()
    optimizer.step()
    return optimizer


@pytest.mark.parametrize("train_from", [None, 1, 3, 5])
def test_stages_before_stay_bit_for_bit_and_the_others_learn(train_from):
    backbone = resnet()
    before = copy.deepcopy(backbone.state_dict())
    step(Classifier(backbone, 3, 0.0, train_from))
    changed = {name: not torch.equal(value, backbone.state_dict()[name]) for name, value in before.items()}
    frozen = {name for name in before if train_from is not None and stage_of(name) < train_from}
    assert not any(changed[name] for name in frozen)
    for name, parameter in backbone.named_parameters():
        assert parameter.requires_grad == (name not in frozen), name
    statistics = [name for name in before if name.endswith(("running_mean", "num_batches_tracked"))]
    assert all(changed[name] for name in statistics if name not in frozen) and len(statistics) > 10
    assert {stage_of(name) for name in frozen} == set(range(train_from or 0))


def test_what_is_frozen_is_in_eval_mode_again_after_every_switch():
    backbone = resnet()
    classifier = Classifier(backbone, 3, 0.0, 3).eval().train()
    norms = {n: m.training for n, m in backbone.named_modules() if isinstance(m, torch.nn.BatchNorm3d)}
    assert {stage_of(name) >= 3 for name, training in norms.items() if training} == {True}
    assert {stage_of(name) >= 3 for name, training in norms.items() if not training} == {False}
    assert not any(module.training for module in classifier.eval().modules())


def test_rates_fall_from_the_top_stage_by_stage():
    classifier = Classifier(resnet(), 3, 0.0)
    groups = classifier.groups(0.2, backbone_lr_scale=0.5, layer_decay=0.1, weight_decay=0.3)
    rate = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert len(rate) == len(list(classifier.parameters())) == sum(len(g["params"]) for g in groups)
    for name, parameter in classifier.backbone.named_parameters():
        lr, decay = rate[id(parameter)]
        assert lr == pytest.approx(0.2 * 0.5 * 0.1 ** (5 - stage_of(name))), name
        assert decay == (0.3 if parameter.ndim > 1 else 0.0)
    assert rate[id(classifier.head.weight)] == (0.2, 0.3) and rate[id(classifier.head.bias)] == (0.2, 0.0)


def test_frozen_stages_are_in_no_group():
    classifier = Classifier(resnet(), 3, 0.0, 4)
    listed = [id(p) for g in classifier.groups(0.1, 1.0, 0.5, 0.0) for p in g["params"]]
    assert sorted(listed) == sorted(id(p) for p in classifier.parameters() if p.requires_grad)


def test_the_classifier_alone_can_be_trained():
    classifier = Classifier(resnet(), 3, 0.0, 5)
    optimizer = step(classifier)
    assert {id(p) for g in optimizer.param_groups for p in g["params"]} == {id(p) for p in classifier.head.parameters()}


def test_stages_are_counted_as_last_stage_counts_them():
    for build in (
        lambda n: ResNet3D(blocks=(1, 1, 1, 1), widths=(4, 4, 4, 4), last_stage=n),
        lambda n: S3DG(width=0.1, last_stage=n),
    ):
        for last in (2, 3):
            assert max(stage_of(name) for name in build(last).state_dict()) == last


def test_stages_that_are_not_there_are_refused():
    for wrong in (0, 6):
        with pytest.raises(ValueError, match=f"evaluation.train_from must be 1 to 5 for this backbone, got {wrong}"):
            Classifier(resnet(), 3, 0.0, wrong)
    with pytest.raises(ValueError, match="evaluation.train_from counts the stages of a backbone, and Tiny has no"):
        Classifier(Tiny(), 3, 0.0, 1)
    with pytest.raises(ValueError, match=r"evaluation.layer_decay counts"):
        Classifier(Tiny(), 3, 0.0).groups(0.1, 1.0, 0.5, 0.0)
