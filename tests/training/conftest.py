"""A small pool of generated scenes and chips, and models of a few thousand parameters on its 256-pixel grid."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning
from transformers import Sam2Config, Sam2VisionConfig
from transformers.models.sam2.configuration_sam2 import (
    Sam2HieraDetConfig,
    Sam2MaskDecoderConfig,
    Sam2PromptEncoderConfig,
)

from terrascope.training import pool as pool_module
from terrascope.training.pool import Pool, build_pool

HLS_BANDS = ("B01", "B02", "B03", "B04", "B8A", "B11", "B12", "Fmask")
NUM_TRAIN, NUM_VAL = 8, 2


class SerialExecutor:
    """A process pool without processes: a fork of a test process that has used threads may hang."""

    def __init__(self, *settings: Any, **named: Any) -> None:
        self.settings = (settings, named)

    def __enter__(self) -> SerialExecutor:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def map(self, function: Callable[[Any], Any], items: Iterable[Any], chunksize: int = 1) -> Iterator[Any]:
        return map(function, items)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*arguments))
        return future


def write_hls(root: Path) -> None:
    """Three chips of 128 pixels: the western half crop, the eastern tree, a lake of the day in the north-east."""
    rng = np.random.default_rng(0)
    for chip in range(3):
        (root / "images").mkdir(parents=True, exist_ok=True)
        (root / "labels").mkdir(exist_ok=True)
        image = rng.integers(300, 2500, (8, 128, 128)).astype(np.int16)
        labels = np.zeros((2, 128, 128), np.uint8)
        labels[0, :, :64], labels[0, :, 64:] = 40, 10
        labels[1, :48, 80:] = 1
        labels[0, 120:] = 0
        for folder, layers in (("images", image), ("labels", labels)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                shape = {"count": len(layers), "height": 128, "width": 128, "dtype": layers.dtype}
                with rasterio.open(root / folder / f"{chip}.tif", "w", driver="GTiff", **shape) as target:
                    target.write(layers)
                    if folder == "images":
                        for number, name in enumerate(HLS_BANDS, 1):
                            target.set_band_description(number, name)
    (root / "split.csv").write_text("chip,group,split\n0,0,train\n1,1,val\n2,2,train\n")


def write_ombria(root: Path) -> None:
    """Two chips of 256 pixels whose south is flooded."""
    rng = np.random.default_rng(1)
    for chip in ("a.png", "b.png"):
        mask = np.zeros((256, 256), np.uint8)
        mask[180:] = 255
        layers = {"mask": mask}
        for when in ("before", "after"):
            layers[f"s1_{when}"] = rng.integers(0, 256, (256, 256)).astype(np.uint8)
            layers[f"s2_{when}"] = rng.integers(0, 256, (256, 256, 3)).astype(np.uint8)
        for folder, pixels in layers.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / folder / chip)
    (root / "split.csv").write_text("chip,scene,split\na.png,1,train\nb.png,2,val\n")


@pytest.fixture(scope="session")
def chips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with both kinds of chips in their exact layout."""
    root = tmp_path_factory.mktemp("data")
    write_hls(root / "hls-worldcover")
    write_ombria(root / "ombria")
    return root


@pytest.fixture(scope="session")
def pool_folder(chips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "pool"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool_module, "ProcessPoolExecutor", SerialExecutor)
        build_pool(folder, chips, num_train=NUM_TRAIN, num_val=NUM_VAL, num_workers=1)
    return folder


@pytest.fixture(scope="session")
def pool(pool_folder: Path) -> Pool:
    return Pool.open(pool_folder)


def tiny_sam_config() -> Sam2Config:
    """A SAM-2 on 256 pixels with `nano`'s feature sizes, width 32."""
    return Sam2Config(
        vision_config=Sam2VisionConfig(
            backbone_config=Sam2HieraDetConfig(
                hidden_size=8, image_size=[256, 256], blocks_per_stage=[1, 1, 2, 1],
                embed_dim_per_stage=[8, 16, 32, 64], num_attention_heads_per_stage=[1, 1, 2, 2],
                window_size_per_stage=[8, 8, 8, 8], global_attention_blocks=[3],
            ),
            backbone_channel_list=[64, 32, 16, 8], backbone_feature_sizes=[[64, 64], [32, 32], [16, 16]],
            fpn_hidden_size=32,
        ),
        prompt_encoder_config=Sam2PromptEncoderConfig(hidden_size=32, image_size=256),
        mask_decoder_config=Sam2MaskDecoderConfig(
            hidden_size=32, mlp_dim=32, iou_head_hidden_dim=16, num_attention_heads=2,
            dynamic_multimask_via_stability=False,
        ),
    )  # fmt: skip
