"""Reading and measuring a whole scene: time and peak memory of every step, beside rasterio and scipy in the same run.

    python benchmarks/rasters.py --size 10980
    python benchmarks/rasters.py --size 10980 --jp2      # JPEG 2000 too: minutes

Makes a scene of four bands (GeoTIFF, uint16, zstd, tiled, in UTM) in a temporary folder, opens it, reads whole bands
and windows of it (from the disk, and by HTTP from a small server of this script), and measures masks of its size. The
scene stays in its file, whatever its size. Every step runs in a process of its own. Needs Linux.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from alone import Cost, cpu_name, run_alone
from geometry import draw_masks, load_masks, small_masks
from numpy.typing import NDArray
from pycocotools import mask as coco
from pyproj import CRS
from rasterio.shutil import copy as copy_raster
from rasterio.windows import Window
from scipy import ndimage

from terrascope import masks, spatial
from terrascope.georeference import Georeference
from terrascope.rasters.read import read_observation
from terrascope.scene import Observation

BANDS = ("B02", "B03", "B04", "B08")
UTM, TRANSFORM = "EPSG:32633", Affine(10, 0, 780_000, 0, -10, 5_000_040)
EIGHT = np.ones((3, 3), bool)
Mask = NDArray[np.bool_]
Read = Callable[[slice, slice], Any]


def write_scene(path: Path, size: int, seed: int = 0) -> None:
    """Four bands uint16 of smooth land with sensor noise, as Sentinel-2 writes them: reflectance times 10 000."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(300, 4000, (len(BANDS), size // 64 + 2, size // 64 + 2)).astype(np.float32)
    profile = {"driver": "GTiff", "height": size, "width": size, "count": len(BANDS), "dtype": "uint16", "crs": UTM}
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "zstd", "predictor": 2}
    with rasterio.open(path, "w", transform=TRANSFORM, **profile, **layout) as file:
        for band, name in enumerate(BANDS):
            file.set_band_description(band + 1, name)
            smooth = ndimage.zoom(coarse[band], 64, order=1)[:size, :size]
            for top in range(0, size, 512):
                strip = smooth[top : top + 512]
                strip = strip + rng.normal(0, 30, strip.shape).astype(np.float32)
                where = Window(0, top, size, strip.shape[0])
                file.write(np.maximum(strip, 1).astype(np.uint16), band + 1, window=where)


class RangeHandler(SimpleHTTPRequestHandler):
    """Serves the files of a folder, whole or by the byte range that is asked for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, *arguments: object) -> None:
        """Be silent."""

    def _answer(self, *, with_body: bool) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        size = path.stat().st_size
        wanted = self.headers.get("Range")
        first, last = 0, size - 1
        if wanted:
            start, stop = wanted.removeprefix("bytes=").split("-")
            first, last = int(start), min(int(stop or last), last)
        self.send_response(206 if wanted else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last - first + 1))
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        if with_body:
            with path.open("rb") as file:
                file.seek(first)
                self.wfile.write(file.read(last - first + 1))


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Address under which the folder's files are served while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(RangeHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


# Reading


def opened(path: str) -> tuple[Observation]:
    return (read_observation(path, in_memory_pixels=0),)


def opened_by_rasterio(path: str) -> tuple[Any]:
    return (rasterio.open(path),)


def the_path(path: str) -> tuple[str]:
    return (path,)


def open_image(path: str) -> float:
    return float(read_observation(path, in_memory_pixels=0).valid.mean())


def read_bands(image: Observation) -> float:
    everything = slice(0, image.shape[0]), slice(0, image.shape[1])
    return float(np.mean([np.mean(image.window(*everything, [name]).pixels) for name in image.bands])) * 1e4


def read_bands_by_rasterio(file: Any) -> float:
    return float(np.mean([file.read(band).mean() for band in file.indexes]))


def go_through(image: Observation) -> float:
    num_values = len(image.bands) * image.valid.size
    return sum(float(pixels.sum(dtype=np.float64)) for _, pixels in image.parts()) / num_values * 1e4


def go_through_by_rasterio(file: Any) -> float:
    rows = file.block_shapes[0][0]
    strips = (Window(0, top, file.width, min(rows, file.height - top)) for top in range(0, file.height, rows))
    sums = (file.read(window=strip).astype(np.float32).sum(dtype=np.float64) for strip in strips)
    return float(sum(sums)) / (file.count * file.height * file.width)


@dataclass(frozen=True)
class Windows:
    """So many windows of one side, in row order or at random places."""

    side: int
    num: int
    in_order: bool

    def places(self, height: int, width: int) -> list[tuple[slice, slice]]:
        side = min(self.side, height, width)
        tops, lefts = range(0, height - side + 1, side), range(0, width - side + 1, side)
        corners = [(top, left) for top in tops for left in lefts][: self.num]
        if not self.in_order:
            rng = np.random.default_rng(1)
            corners = [tuple(rng.integers(0, (height - side + 1, width - side + 1))) for _ in range(self.num)]
        return [(slice(int(top), int(top) + side), slice(int(left), int(left) + side)) for top, left in corners]

    def per_second(self, image: Observation) -> float:
        return self._rate(image.shape, lambda rows, columns: image.window(rows, columns).pixels)

    def per_second_by_rasterio(self, file: Any) -> float:
        def read(rows: slice, columns: slice) -> Any:
            return file.read(window=Window.from_slices(rows, columns)).astype(np.float32)

        return self._rate((file.height, file.width), read)

    def _rate(self, shape: tuple[int, int], read: Read) -> float:
        places = self.places(*shape)
        start = time.perf_counter()
        for rows, columns in places:
            read(rows, columns)
        return len(places) / (time.perf_counter() - start)


# Measuring


def in_utm(shape: tuple[int, ...]) -> Any:
    return Georeference(crs=CRS(UTM), transform=TRANSFORM).pixel_size(*shape)


def load_ids(folder: Path) -> tuple[NDArray[np.uint8]]:
    return (np.load(folder / "ids.npy"),)


def load_code(folder: Path) -> tuple[dict[str, Any]]:
    return (masks.encode_rle(np.load(folder / "a.npy")),)


def count(a: Mask, b: Mask) -> int:
    return masks.count(a)


def count_numpy(a: Mask, b: Mask) -> int:
    return int(a.sum())


def area(a: Mask, b: Mask) -> float:
    return spatial.area_m2(a, Georeference(gsd_m=10).pixel_size(*a.shape))


def area_numpy(a: Mask, b: Mask) -> float:
    return float(a.sum(axis=1).sum()) * 100


def area_utm(a: Mask, b: Mask) -> float:
    return spatial.area_m2(a, in_utm(a.shape))


def area_utm_numpy(a: Mask, b: Mask) -> float:
    size = in_utm(a.shape)
    return float((a * (size.sampled_area_m2 @ size.column_weights.T)).sum())


def histogram(ids: NDArray[np.uint8]) -> list[int]:
    return masks.class_histogram(ids).tolist()


def histogram_numpy(ids: NDArray[np.uint8]) -> list[int]:
    return np.bincount(ids.ravel(), minlength=256).tolist()


def components(a: Mask, b: Mask) -> int:
    return masks.label_components(a)[1]


def components_scipy(a: Mask, b: Mask) -> int:
    return int(ndimage.label(a, EIGHT)[1])


def largest(a: Mask, b: Mask) -> int:
    return int(masks.component_sizes(a).max(initial=0))


def largest_scipy(a: Mask, b: Mask) -> int:
    return int(np.bincount(ndimage.label(a, EIGHT)[0].ravel())[1:].max(initial=0))


def distance(a: Mask, b: Mask) -> float:
    return spatial.distance_m(a, b, Georeference(gsd_m=10).pixel_size(*a.shape))


def distance_scipy(a: Mask, b: Mask) -> float:
    return float(ndimage.distance_transform_edt(~a)[b].min()) * 10


def distance_utm(a: Mask, b: Mask) -> float:
    return spatial.distance_m(a, b, in_utm(a.shape))


def dilation(a: Mask, b: Mask) -> int:
    return masks.count(masks.dilate(a))


def dilation_scipy(a: Mask, b: Mask) -> int:
    return int(ndimage.binary_dilation(a, EIGHT).sum())


def boundary(a: Mask, b: Mask) -> int:
    return masks.count(masks.boundary(a))


def boundary_scipy(a: Mask, b: Mask) -> int:
    return int((a & ~ndimage.binary_erosion(a, border_value=1)).sum())


def encoded(a: Mask, b: Mask) -> int:
    return len(masks.encode_rle(a)["counts"])


def encoded_coco(a: Mask, b: Mask) -> int:
    return len(coco.encode(np.asfortranarray(a.view(np.uint8)))["counts"])


def decoded(code: dict[str, Any]) -> int:
    return masks.count(masks.decode_rle(code))


def decoded_coco(code: dict[str, Any]) -> int:
    return int(np.ascontiguousarray(coco.decode(code)).sum())


def whole(a: Mask, b: Mask) -> int:
    valid = np.ones_like(a)
    return spatial.measure(a, valid=valid, georeference=Georeference(crs=CRS(UTM), transform=TRANSFORM)).num_objects


def small_ids() -> tuple[NDArray[np.uint8]]:
    return (np.zeros((8, 8), np.uint8),)


def small_code() -> tuple[dict[str, Any]]:
    return (masks.encode_rle(small_masks()[0]),)


# What is measured, ours, theirs (None: nothing to compare with), what it is done to, and a small piece of that.
MEASURES: list[tuple[str, Any, Any, Any, Any]] = [
    ("count", count, count_numpy, load_masks, small_masks),
    ("area, stated size", area, area_numpy, load_masks, small_masks),
    ("area, UTM", area_utm, area_utm_numpy, load_masks, small_masks),
    ("class histogram", histogram, histogram_numpy, load_ids, small_ids),
    ("components", components, components_scipy, load_masks, small_masks),
    ("component sizes", largest, largest_scipy, load_masks, small_masks),
    ("distance, stated size", distance, distance_scipy, load_masks, small_masks),
    ("distance, UTM", distance_utm, None, load_masks, small_masks),
    ("dilation", dilation, dilation_scipy, load_masks, small_masks),
    ("boundary", boundary, boundary_scipy, load_masks, small_masks),
    ("run-length encoding", encoded, encoded_coco, load_masks, small_masks),
    ("run-length decoding", decoded, decoded_coco, load_code, small_code),
    ("measure(), all of a step", whole, None, load_masks, small_masks),
]


def print_reading(label: str, path: str, windows: list[Windows]) -> None:
    """Open, bands and windows of one file. Each process reads the file anew; the system has it in memory."""
    print(f"\n{label:<36}{'terrascope':>24}{'rasterio':>24}")
    print_costs("open and find what is valid", run_alone(open_image, the_path, path), None)
    print_costs(
        f"read {len(BANDS)} whole bands, one by one",
        run_alone(read_bands, opened, path),
        run_alone(read_bands_by_rasterio, opened_by_rasterio, path),
    )
    print_costs(
        f"go through {len(BANDS)} bands together",
        run_alone(go_through, opened, path),
        run_alone(go_through_by_rasterio, opened_by_rasterio, path),
    )
    for some in windows:
        order = "row order" if some.in_order else "random"
        ours = run_alone(some.per_second, opened, path)
        theirs = run_alone(some.per_second_by_rasterio, opened_by_rasterio, path)
        rates = "".join(f"{cost.value:>10.1f} /s {cost.peak_mib:>6.0f} MiB" for cost in (ours, theirs))
        print(f"{f'windows of {some.side}, {order}':<36}{rates}", flush=True)


def print_costs(label: str, ours: Cost, theirs: Cost | None, verdict: str = "") -> None:
    texts = [f"{cost.seconds:>10.3f} s {cost.peak_mib:>7.0f} MiB" if cost else f"{'-':>24}" for cost in (ours, theirs)]
    print(f"{label:<36}{''.join(f'{text:>24}' for text in texts)}  {verdict}".rstrip(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=10_980, help="side of the scene in pixels")
    parser.add_argument(
        "--windows", type=int, default=200, help="windows of 256 that are read; a quarter of it of 1024"
    )
    parser.add_argument("--repeats", type=int, default=1, help="times that each measure is taken; the best counts")
    parser.add_argument("--jp2", action="store_true", help="also read the scene from JPEG 2000")
    arguments = parser.parse_args()
    size, num = arguments.size, arguments.windows
    packages = ", ".join(f"{name} {version(name)}" for name in ("terrascope-eo", "numpy", "scipy", "rasterio"))
    print(f"{cpu_name()}, {os.cpu_count()} cores; {packages}, GDAL {rasterio.__gdal_version__}; seed 0")
    with tempfile.TemporaryDirectory() as name, served(Path(name)) as address:
        folder = Path(name)
        start = time.perf_counter()
        write_scene(folder / "scene.tif", size)
        megabytes = (folder / "scene.tif").stat().st_size / 2**20
        print(f"scene {size} x {size} x {len(BANDS)}: {megabytes:.0f} MiB, made in {time.perf_counter() - start:.0f} s")
        sides = [
            Windows(side, count, order) for side, count in ((256, num), (1024, num // 4)) for order in (True, False)
        ]
        print_reading("GeoTIFF on the disk", str(folder / "scene.tif"), sides)
        print_reading("GeoTIFF over HTTP", f"{address}/scene.tif", [one for one in sides if not one.in_order])
        if arguments.jp2:
            options = {"QUALITY": "100", "REVERSIBLE": "YES", "BLOCKXSIZE": "1024", "BLOCKYSIZE": "1024"}
            copy_raster(folder / "scene.tif", folder / "scene.jp2", driver="JP2OpenJPEG", **options)
            few = [Windows(256, max(1, num // 10), False), Windows(1024, max(1, num // 40), False)]
            print_reading("JPEG 2000 on the disk", str(folder / "scene.jp2"), few)
        a, b = draw_masks(size)
        np.save(folder / "a.npy", a)
        np.save(folder / "b.npy", b)
        np.save(folder / "ids.npy", a + 2 * b.astype(np.uint8) + 4 * np.roll(a, 37, axis=0).astype(np.uint8))
        print(f"\nmasks covering {a.mean():.1%} and {b.mean():.1%}; best of {arguments.repeats}")
        print(f"{'measuring':<36}{'terrascope':>24}{'numpy, scipy, pycocotools':>27}")
        for label, ours, theirs, load, small in MEASURES:
            own = run_alone(ours, load, folder, rehearse=small, repeats=arguments.repeats)
            other = theirs and run_alone(theirs, load, folder, rehearse=small, repeats=arguments.repeats)
            agree = other is None or np.allclose(own.value, other.value, rtol=1e-9)
            value = "the same counts" if isinstance(own.value, list) else f"{own.value:.10g}"
            print_costs(label, own, other, value if agree else f"{own.value} but {other.value}")


if __name__ == "__main__":
    main()
