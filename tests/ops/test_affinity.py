import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ssv.ops.affinity import attend


def some(frames=2, rows=4, columns=5, dims=3, kinds=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(2, dims, rows, columns, generator=generator, dtype=torch.float64)
    references = torch.randn(2, dims, frames, rows, columns, generator=generator, dtype=torch.float64)
    values = torch.randn(2, kinds, frames, rows, columns, generator=generator, dtype=torch.float64)
    return target, references, values


def by_loops(target, references, values, temperature, radius):
    batch, dims, frames, rows, columns = references.shape
    read, entropies = torch.zeros(batch, values.shape[1], rows, columns, dtype=torch.float64), []
    for b in range(batch):
        for y in range(rows):
            for x in range(columns):
                scores = {}
                for s in range(frames):
                    for v in range(rows):
                        for u in range(columns):
                            if radius is None or max(abs(v - y), abs(u - x)) <= radius:
                                dot = sum(target[b, d, y, x] * references[b, d, s, v, u] for d in range(dims))
                                scores[s, v, u] = math.exp(float(dot) / temperature)
                total = sum(scores.values())
                for (s, v, u), score in scores.items():
                    read[b, :, y, x] += score / total * values[b, :, s, v, u]
                entropies.append(-sum(p / total * math.log(p / total) for p in scores.values()))
    return read, sum(entropies) / len(entropies)


@pytest.mark.parametrize("radius", [None, 0, 1, 2])
def test_reads_what_loops_read(radius):
    found = attend(*some(), temperature=0.7, radius=radius)
    read, entropy = by_loops(*some(), 0.7, radius)
    torch.testing.assert_close(found.values, read)
    if radius is None:
        assert float(found.entropy) == pytest.approx(entropy / math.log(2 * 4 * 5))


def test_a_window_wider_than_the_frame_is_everywhere():
    target, references, values = (x.requires_grad_() for x in some())
    results = []
    for radius in (None, 5):
        read = attend(target, references, values, temperature=0.5, radius=radius).values
        results.append((read, *torch.autograd.grad(read.square().sum(), (target, references, values))))
    for whole, window in zip(*results, strict=True):
        torch.testing.assert_close(whole, window)


def test_the_softmax_is_over_all_references_together():
    target, references, values = some()
    one = torch.full_like(values, 1.0)
    torch.testing.assert_close(
        attend(target, references, one, temperature=1.0).values, torch.ones(2, 4, 4, 5, dtype=torch.float64)
    )
    # A reference that resembles nothing is ignored.
    target, references = target.abs() + 1, references.abs() + 1
    occluded = torch.cat([references, -100 * references[:, :, :1]], 2)
    more = torch.cat([values, 1e3 * values[:, :, :1]], 2)
    for radius in (None, 1):
        torch.testing.assert_close(
            attend(target, occluded, more, temperature=1.0, radius=radius).values,
            attend(target, references, values, temperature=1.0, radius=radius).values,
        )


def test_order_of_references_does_not_matter():
    target, references, values = some(frames=3)
    for radius in (None, 1):
        one = attend(target, references, values, temperature=1.0, radius=radius).values
        other = attend(target, references.flip(2), values.flip(2), temperature=1.0, radius=radius).values
        torch.testing.assert_close(one, other)


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation made."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


def test_a_window_never_forms_the_matrix_of_all_pairs():
    target, references, values = some(frames=2, rows=24, columns=24)
    sizes = {}
    for radius in (None, 2):
        with Largest() as largest:
            attend(target.requires_grad_(), references, values, temperature=1.0, radius=radius).values.sum().backward()
        sizes[radius] = largest.numel
    pairs, in_window = 2 * (24 * 24) * 2 * (24 * 24), 2 * 2 * 25 * 24 * 24
    assert sizes[None] >= pairs and sizes[2] <= in_window


def test_half_precision_is_raised():
    target, references, values = some()
    with torch.autocast("cpu", torch.bfloat16):
        found = attend(target.bfloat16(), references.bfloat16(), values.bfloat16(), temperature=1.0)
    assert found.values.dtype == torch.float32
