"""Block-causal attention against the dense mask, by every kernel that runs here; rotary positions against complex powers."""

import pytest
import torch
from torch import Tensor

from model.attention import RotaryPositions, block_causal_attention, flex_block_causal, piecewise_block_causal

FRAMES, TOKENS = 5, 3


def operands() -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, 4, FRAMES * TOKENS, 16, generator=generator) for _ in range(3))


def dense(q: Tensor, k: Tensor, v: Tensor, block: int) -> Tensor:
    index = torch.arange(FRAMES).div(block, rounding_mode="floor").repeat_interleave(TOKENS)
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=index[None, :] <= index[:, None])


@pytest.mark.parametrize("block", [1, 2, 3, 5])
@pytest.mark.parametrize("attend", [block_causal_attention, piecewise_block_causal, flex_block_causal])
@pytest.mark.filterwarnings("ignore:.*flex_attention called without torch.compile")
def test_block_causal_attention_equals_the_dense_mask(attend, block: int):
    q, k, v = operands()
    torch.testing.assert_close(attend(q, k, v, FRAMES, block), dense(q, k, v, block), rtol=0, atol=2e-6)


@pytest.mark.parametrize("block", [1, 2, 3, 5])
def test_its_gradients_equal_the_dense_masks(block: int):
    """FlexAttention has no backward on CPU; what trains there is the piecewise form."""
    direction, gradients = operands()[0], []
    for attend in (lambda q, k, v: block_causal_attention(q, k, v, FRAMES, block), lambda q, k, v: dense(q, k, v, block)):
        q, k, v = (tensor.requires_grad_() for tensor in operands())
        gradients.append(torch.autograd.grad((attend(q, k, v) * direction).sum(), (q, k, v)))
    for mine, other in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=5e-6)


def test_rotary_positions_are_powers_per_axis():
    table = RotaryPositions(16)(3, 2, 4, torch.device("cpu"))  # 16 channels: 8 for time, 4 for rows, 4 for columns
    assert table.shape == (3, 8, 8)
    frame, row, column = 2, 1, 3
    angles = [frame * 10000 ** (-i / 8) for i in (0, 2, 4, 6)]
    angles += [place * 10000 ** (-i / 4) for place in (row, column) for i in (0, 2)]
    expected = torch.polar(torch.ones(8, dtype=torch.float64), torch.tensor(angles, dtype=torch.float64))
    torch.testing.assert_close(table[frame, row * 4 + column], expected.to(torch.complex64), rtol=0, atol=1e-7)
