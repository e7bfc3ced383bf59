"""Augmented batches of single images with the masks of all classes, drawn from the pool."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from terrascope.landcover import TERRASCOPE, UNLABELLED
from terrascope.training.pool import SIZE, Pool

TARGET_SIZE = 128
CLOUD = TERRASCOPE.id_of("cloud")

# source: (share of the batches, {view: share}, share of second dates where there are two)
MIX: dict[str, tuple[float, dict[int, float], float]] = {
    "hls": (0.45, {0: 0.8, 1: 0.2}, 0.0),
    "synthetic": (0.35, {0: 0.45, 1: 0.15, 2: 0.4}, 0.5),
    "ombria": (0.20, {1: 0.5, 2: 0.5}, 0.85),
}


@dataclass(frozen=True, eq=False)
class DenseBatch:
    """Images `[B, 3, S, S]` in 0..1; targets `[B, C, T, T]` (0, 1); known bool `[B, C]`; weights `[B, C, T, T]` of each
    class at each pixel."""

    images: Tensor
    targets: Tensor
    known: Tensor
    weights: Tensor


class DenseSampler:
    """Draws batches of augmented frames: random crops, the eight symmetries of the square, brightness and colour."""

    def __init__(self, pool: Pool, seed: int) -> None:
        self.pool = pool
        self.rng = np.random.default_rng(seed)
        self.sources = [source for source in MIX if pool.select("train", source)]
        weights = np.array([MIX[source][0] for source in self.sources])
        self.shares = weights / weights.sum()
        self.indices = {
            source: (
                [i for i in pool.select("train", source) if pool.frames[i].date == 0],
                [i for i in pool.select("train", source) if pool.frames[i].date > 0],
            )
            for source in self.sources
        }

    def _pick(self) -> tuple[int, int]:
        source = str(self.rng.choice(self.sources, p=self.shares))
        _, views, second = MIX[source]
        first, later = self.indices[source]
        frame = int(self.rng.choice(later if later and self.rng.random() < second else first))
        view = int(self.rng.choice(list(views), p=list(views.values())))
        return frame, view

    def _crop(self, image: Tensor, ids: Tensor, cloud: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        edge = int(SIZE * self.rng.uniform(0.45, 1.0))
        top, left = self.rng.integers(0, SIZE - edge + 1, 2)
        window = np.s_[..., top : top + edge, left : left + edge]
        image = functional.interpolate(image[window][None], size=(SIZE, SIZE), mode="bilinear", align_corners=False)[0]
        small = [
            # The pixel taken lies half a pixel off the target's middle, and turns with the image: it averages out.
            functional.interpolate(layer[window][None, None].float(), size=(TARGET_SIZE, TARGET_SIZE), mode="nearest")[
                0, 0
            ]
            for layer in (ids, cloud)
        ]
        turns, flip = int(self.rng.integers(4)), bool(self.rng.random() < 0.5)
        turned = [torch.rot90(layer, turns, (-2, -1)) for layer in (image, *small)]
        turned = [layer.flip(-1) if flip else layer for layer in turned]
        return turned[0], turned[1].long(), turned[2] > 0.5

    def _tint(self, image: Tensor, view: int) -> Tensor:
        if view == 2:
            contrast = float(np.exp(self.rng.normal(0, 0.06)))
            return ((image - 0.5) * contrast + 0.5 + float(self.rng.normal(0, 0.04))).clamp(0, 1)
        gain = np.exp(self.rng.normal(0, 0.15) + self.rng.normal(0, 0.08, (3, 1, 1)))
        gamma = float(np.exp(self.rng.normal(0, 0.1)))
        tinted = image * torch.from_numpy(gain.astype(np.float32)) + float(self.rng.normal(0, 0.02))
        return tinted.clamp(0, 1) ** gamma

    def draw(self, batch_size: int) -> DenseBatch:
        """The next batch."""
        images, targets, known, weights = [], [], [], []
        classes = torch.arange(len(TERRASCOPE))[:, None, None]
        for _ in range(batch_size):
            index, view = self._pick()
            image, ids, cloud = self._crop(
                torch.from_numpy(self.pool.views[index, view].astype(np.float32) / 255),
                torch.from_numpy(np.array(self.pool.ids[index])),
                torch.from_numpy(np.array(self.pool.clouds[index])),
            )
            target = (ids[None] == classes).float()
            vouched = torch.zeros(len(TERRASCOPE), dtype=torch.bool)
            vouched[list(self.pool.frames[index].known)] = True
            weight = (ids != UNLABELLED).float().expand(len(TERRASCOPE), -1, -1)
            if view != 2 and self.pool.frames[index].source == "synthetic":
                target[CLOUD], vouched[CLOUD] = cloud.float(), True
                # The ground under a cloud can only be guessed: it counts, but little. The cloud itself is seen.
                weight = weight * torch.where(cloud, 0.3, 1.0)
                weight[CLOUD] = 1.0
            images.append(self._tint(image, view))
            targets.append(target)
            known.append(vouched)
            weights.append(weight)
        return DenseBatch(torch.stack(images), torch.stack(targets), torch.stack(known), torch.stack(weights))
