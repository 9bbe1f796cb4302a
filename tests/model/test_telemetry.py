"""Speed lines, TensorBoard's files, and operations counted by hand."""

from pathlib import Path

import pytest
import torch

from model.configs import TransformerConfig
from model.flops import device_peak, forward_flops
from model.journal import read_lines
from model.telemetry import BOARD, SPEED, Telemetry

CONFIG = TransformerConfig(num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=4, text_dim=8, ffn_dim=32, num_layers=3)


def test_operations_are_those_that_torch_counts() -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from model.transformer import SkyReelsTransformer

    config = TransformerConfig(num_attention_heads=4, attention_head_dim=32, text_dim=64, ffn_dim=512, num_layers=2, freq_dim=32)
    model = SkyReelsTransformer(config)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():  # counted as matrix products
        model(torch.randn(1, 16, 5, 16, 16), torch.rand(1, 5), torch.randn(1, 20, 64))
    assert forward_flops(config, (16, 5, 16, 16), 20) == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_steps_after_the_checkpoint_are_measured_anew(tmp_path: Path) -> None:
    for first, last in ((0, 5), (3, 6)):
        telemetry = Telemetry(tmp_path, first, CONFIG, ranks=2, text_tokens=5, device=torch.device("cpu"))
        for step in range(first, last):
            speed = telemetry.write(step, 4, (4, 3, 4, 6), loss=1.0)
        telemetry.close()
    lines = read_lines(tmp_path / SPEED)
    assert [line["step"] for line in lines] == list(range(6))
    assert speed["tokens_per_s"] == pytest.approx(18 * speed["clips_per_s"])
    assert "mfu" not in speed, "nobody knows this CPU's peak"
    assert len(list((tmp_path / BOARD).iterdir())) == 2


def test_an_unknown_device_has_no_peak() -> None:
    assert device_peak(torch.device("cpu")) is None
