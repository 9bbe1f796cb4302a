"""Patches as a product: torch's convolution with the same parameters, its gradients, and the order of tokens."""

import pytest
import torch
from torch.nn import functional as F

from model.patches import PatchEmbedding


@pytest.mark.parametrize("size", [(1, 2, 2), (2, 1, 3)])
def test_equals_the_convolution(size: tuple[int, int, int]):
    module = PatchEmbedding(3, 8, size)
    latents = torch.randn(2, 3, 4, 6, 12, generator=torch.Generator().manual_seed(0))
    ours = latents.clone().requires_grad_(), *module.parameters()
    theirs = [leaf.detach().clone().requires_grad_() for leaf in ours]
    tokens = module(ours[0])
    expected = F.conv3d(*theirs, stride=size).flatten(3).permute(0, 2, 3, 1)
    torch.testing.assert_close(tokens, expected, rtol=0, atol=1e-5)
    direction = torch.randn(tokens.shape, generator=torch.Generator().manual_seed(1))
    gradients = (torch.autograd.grad((out * direction).sum(), leaves) for out, leaves in ((tokens, ours), (expected, theirs)))
    for mine, other in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-4)


def test_tokens_of_a_frame_lie_in_rows_and_channels_last():
    module = PatchEmbedding(1, 4, (1, 2, 2))
    assert module.bias is not None
    with torch.no_grad():
        module.weight.copy_(torch.eye(4).reshape(4, 1, 1, 2, 2))
        module.bias.zero_()
    pixels = torch.arange(16.0).reshape(1, 1, 1, 4, 4)
    tokens = module(pixels)
    assert tokens.is_contiguous()
    assert tokens.tolist() == [[[[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]]]
