"""Our transformer against diffusers' on the same weights: largest difference and time of a forward with per-frame timesteps.

    python benchmarks/transformer.py

Both run in this process, in turn, on one thread; the ratio is what counts. CPU and a small width: nothing here speaks of GPUs.
"""

import time
import warnings
from collections.abc import Callable

import torch

from model.transformer import SkyReelsTransformer

_CONFIG = {
    "patch_size": (1, 2, 2), "num_attention_heads": 4, "attention_head_dim": 64, "in_channels": 16, "out_channels": 16,
    "text_dim": 64, "freq_dim": 256, "ffn_dim": 1024, "num_layers": 4,
}  # fmt: skip
_ROUNDS = 5


def main() -> None:
    """Print difference and ratios."""
    warnings.simplefilter("ignore")
    from diffusers.models.transformers.transformer_skyreels_v2 import SkyReelsV2Transformer3DModel

    torch.set_num_threads(1)
    torch.manual_seed(0)
    ours = SkyReelsTransformer.from_config(_CONFIG).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    theirs = SkyReelsV2Transformer3DModel(**_CONFIG).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    latents, text, time_BF = torch.randn(1, 16, 13, 32, 32), torch.randn(1, 512, 64), torch.arange(13)[None] * 70

    def run_ours() -> torch.Tensor:
        return ours(latents, time_BF, text)

    def run_theirs() -> torch.Tensor:
        return theirs(latents, time_BF, text, enable_diffusion_forcing=True, return_dict=False)[0]

    with torch.inference_mode():
        difference = (run_ours() - run_theirs()).abs().max().item()
        ours_s, theirs_s = _alternate(run_ours, run_theirs)
    print(f"largest difference {difference:g}; forward {ours_s:.3f} s against {theirs_s:.3f} s, ratio {ours_s / theirs_s:.2f}")


def _alternate(first: Callable[[], torch.Tensor], second: Callable[[], torch.Tensor]) -> tuple[float, float]:
    """Best time of each, measured in turn so that a busy moment hits both."""
    best = [float("inf"), float("inf")]
    for _ in range(_ROUNDS):
        for index, function in enumerate((first, second)):
            started = time.perf_counter()
            function()
            best[index] = min(best[index], time.perf_counter() - started)
    return best[0], best[1]


if __name__ == "__main__":
    main()
