"""Generated scenes: land cover with plausible spectra and texture, SAR with speckle, clouds that only SAR sees through.

Two kinds of place are drawn. A *country* scene (10 to 30 m pixels) has lakes, rivers, forest, fields, settlements,
wetlands and sometimes snow; its second date may bring a flood. A *town* scene (0.5 to 2 m pixels) has roads and single
buildings; by its second date some of them may be destroyed. The spectra are medians of real surface reflectance per
class, varied by scene (season, light), by field and by pixel. The truth is exact by construction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from scipy import ndimage
from scipy.spatial import cKDTree

from terrascope.georeference import Georeference
from terrascope.landcover import TERRASCOPE
from terrascope.scene import LabelMap, Observation, Scene

Rng = np.random.Generator
Field = NDArray[np.float64]

BANDS = ("B02", "B03", "B04", "B8A", "B11", "B12")

# class: (blue, green, red, nir, swir1, swir2) reflectance, and (VV, VH) backscatter in dB
SURFACES: dict[str, tuple[tuple[float, ...], tuple[float, float]]] = {
    "water": ((0.050, 0.060, 0.045, 0.025, 0.012, 0.010), (-19.5, -27.0)),
    "tree": ((0.026, 0.048, 0.040, 0.250, 0.150, 0.075), (-9.5, -14.5)),
    "shrub": ((0.052, 0.084, 0.105, 0.280, 0.290, 0.200), (-11.5, -17.5)),
    "grass": ((0.045, 0.080, 0.075, 0.290, 0.230, 0.140), (-13.0, -20.0)),
    "crop": ((0.053, 0.089, 0.105, 0.250, 0.250, 0.175), (-11.0, -17.5)),
    "developed area": ((0.095, 0.110, 0.120, 0.210, 0.225, 0.190), (-5.0, -12.0)),
    "bare land": ((0.085, 0.135, 0.180, 0.260, 0.320, 0.270), (-14.5, -22.5)),
    "wetland": ((0.033, 0.055, 0.058, 0.150, 0.120, 0.065), (-8.5, -17.5)),
    "snow": ((0.780, 0.780, 0.760, 0.680, 0.120, 0.090), (-12.5, -19.0)),
    "flood": ((0.078, 0.100, 0.105, 0.060, 0.035, 0.025), (-18.0, -26.0)),
    "building": ((0.170, 0.165, 0.170, 0.230, 0.260, 0.240), (-1.5, -8.5)),
    "destroyed building": ((0.120, 0.125, 0.135, 0.180, 0.230, 0.210), (-7.0, -13.5)),
}
ROOFS = ((0.09, 0.10, 0.19), (0.24, 0.24, 0.25), (0.10, 0.11, 0.12), (0.16, 0.15, 0.15), (0.30, 0.29, 0.28))
ID = {name: TERRASCOPE.id_of(name) for name in TERRASCOPE.names}
LAND_CLASS_IDS = tuple(ID[name] for name in SURFACES)
DEMO_SEED = 2_000_007
TOWN_CLASSES = ("water", "tree", "grass", "crop", "developed area", "bare land", "building", "destroyed building")


@dataclass(frozen=True, kw_only=True, eq=False)
class SyntheticSample:
    """A generated scene with its truth: per date a label map, and where clouds hide the ground (bool `[H, W]`)."""

    scene: Scene
    labels: tuple[LabelMap, ...]
    clouds: tuple[NDArray[np.bool_], ...]


def fractal_noise(rng: Rng, size: int, exponent: float = 2.0) -> Field:
    """Smooth random field `[size, size]` with zero mean, unit variance and a power-law spectrum `f**-exponent`."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = 1.0
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) * frequency**-exponent
    spectrum[0, 0] = 0.0
    field = np.fft.irfft2(spectrum, s=(size, size))
    return (field - field.mean()) / (field.std() + 1e-12)


def _below(field: Field, share: float) -> NDArray[np.bool_]:
    return field < np.quantile(field, np.clip(share, 0.0, 1.0))


def _parcels(rng: Rng, size: int, num: int) -> NDArray[np.intp]:
    """Field parcels: Voronoi cells of random points under a random affine stretch, numbered from 0."""
    angle, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 2.5)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [stretch * np.sin(angle), stretch * np.cos(angle)]])
    points = rng.uniform(-0.2, 1.2, (num, 2)) * size
    grid = np.indices((size, size)).reshape(2, -1).T @ turn.T
    return np.asarray(cKDTree(points @ turn.T).query(grid)[1]).reshape(size, size)


def _line(rng: Rng, size: int, width: float, wiggle: float) -> NDArray[np.bool_]:
    """A road or river: all pixels within `width / 2` of a wiggling line through the scene."""
    along = np.arange(size)
    bends = ndimage.gaussian_filter1d(rng.standard_normal(size), size / 12, mode="reflect")
    bends = bends / (np.abs(bends).max() + 1e-9) * wiggle * size
    center = rng.uniform(0.1, 0.9) * size + bends + (along - size / 2) * rng.uniform(-0.6, 0.6)
    mask = np.abs(np.arange(size)[None, :] - center[:, None]) <= width / 2
    return mask if rng.random() < 0.5 else mask.T


def _country(rng: Rng, size: int) -> tuple[NDArray[np.uint8], NDArray[np.intp], Field]:
    """Class ids, parcel numbers and terrain height of a country scene."""
    height = fractal_noise(rng, size, rng.uniform(1.6, 2.4))
    moisture = fractal_noise(rng, size, rng.uniform(1.3, 2.2))
    parcels = _parcels(rng, size, int(rng.integers(25, 260)))
    # The natural cover: up to four classes in bands of moisture, some of them missing in most scenes.
    kinds = rng.permutation(["tree", "grass", "shrub", "bare land", "crop"])[: rng.integers(1, 5)]
    shares = np.cumsum(rng.dirichlet(np.full(len(kinds), 0.8)))[:-1]
    cover = np.digitize(moisture, np.quantile(moisture, shares) if len(shares) else [])
    ids = np.array([ID[kind] for kind in kinds], np.uint8)[cover]
    if rng.random() < 0.6:  # farmland, whole parcels at a time
        share = rng.uniform(0.1, 0.9)
        farmed = rng.random(parcels.max() + 1) < share
        ids = np.where(farmed[parcels] & _below(height, rng.uniform(0.4, 1.0)), ID["crop"], ids).astype(np.uint8)
    if rng.random() < 0.5:  # settlements and their roads
        town = _below(fractal_noise(rng, size, rng.uniform(1.2, 2.0)), rng.uniform(0.02, 0.3))
        for _ in range(rng.integers(0, 4)):
            town |= _line(rng, size, rng.uniform(1.5, 4), 0.05)
        ids[town] = ID["developed area"]
    wet = _below(height, rng.uniform(0.02, 0.6)) if rng.random() < 0.6 else np.zeros((size, size), bool)
    if rng.random() < 0.3:
        wet |= _line(rng, size, rng.uniform(2, 14), 0.25)
    if rng.random() < 0.25 and wet.any():
        ids[ndimage.binary_dilation(wet, iterations=int(rng.integers(3, 14)))] = ID["wetland"]
    ids[wet] = ID["water"]
    if rng.random() < 0.12:
        ids[_below(-height, rng.uniform(0.05, 0.5))] = ID["snow"]
    return ids, parcels, height


def _town(rng: Rng, size: int) -> tuple[NDArray[np.uint8], NDArray[np.intp], NDArray[np.int32]]:
    """Class ids, parcel numbers and building numbers (0: none) of a town scene."""
    parcels = _parcels(rng, size, int(rng.integers(6, 40)))
    kinds = np.array([ID[k] for k in ("grass", "bare land", "crop", "tree")], np.uint8)
    ids = kinds[rng.choice(4, parcels.max() + 1, p=[0.55, 0.2, 0.15, 0.1])][parcels]
    ids[_below(fractal_noise(rng, size, 1.4), rng.uniform(0.02, 0.25))] = ID["tree"]
    if rng.random() < 0.25:
        ids[_below(fractal_noise(rng, size, 2.2), rng.uniform(0.03, 0.15))] = ID["water"]
    for _ in range(rng.integers(1, 5)):
        ids[_line(rng, size, rng.uniform(6, 14), 0.04)] = ID["developed area"]
    blocked = np.isin(ids, [ID["developed area"], ID["water"]])
    objects = np.zeros((size, size), np.int32)
    rows, columns = np.mgrid[:size, :size]
    angle = rng.uniform(0, np.pi / 2)
    for number in range(1, int(rng.integers(3, 34)) + 1):
        center, half = rng.uniform(0, size, 2), rng.uniform(5, 16, 2) * size / 256
        turn = angle + rng.normal(0, 0.06)
        u = (rows - center[0]) * np.cos(turn) + (columns - center[1]) * np.sin(turn)
        v = (columns - center[1]) * np.cos(turn) - (rows - center[0]) * np.sin(turn)
        footprint = (np.abs(u) <= half[0]) & (np.abs(v) <= half[1])
        if footprint.sum() < 40 or (blocked & footprint).any():
            continue
        objects[footprint] = number
        # A gap of two pixels keeps the houses countable.
        blocked |= (np.abs(u) <= half[0] + 3) & (np.abs(v) <= half[1] + 3)
    ids[objects > 0] = ID["building"]
    return ids, parcels, objects


def _reflectance(rng: Rng, ids: NDArray[np.uint8], parcels: NDArray[np.intp], objects: NDArray[np.int32]) -> Field:
    """Surface reflectance `[6, H, W]` of a label map: class, scene, parcel and pixel each add their variation."""
    size = ids.shape[0]
    table = np.zeros((len(TERRASCOPE), len(BANDS)))
    for name, (spectrum, _) in SURFACES.items():
        # Vegetation moves along a green-to-dry axis with the season; everything else in brightness.
        table[ID[name]] = np.array(spectrum) * np.exp(rng.normal(0, 0.18) + rng.normal(0, 0.07, len(BANDS)))
    dryness = rng.normal(0, 0.25)
    for name in ("grass", "crop", "shrub"):
        table[ID[name]] *= np.exp(dryness * np.array([0.5, 0.5, 1.0, -0.2, 0.5, 0.8]))
    image = table[ids].transpose(2, 0, 1)
    per_parcel = np.exp(
        rng.normal(0, 0.22, (parcels.max() + 1, 1)) + rng.normal(0, 0.12, (parcels.max() + 1, len(BANDS)))
    )
    crop = ids == ID["crop"]
    image[:, crop] *= per_parcel[parcels[crop]].T
    if objects.any():
        roofs = np.array([(*ROOFS[i], 0.25, 0.27, 0.25) for i in rng.choice(len(ROOFS), objects.max() + 1)])
        roofs *= np.exp(rng.normal(0, 0.2, (objects.max() + 1, 1)))
        standing = ids == ID["building"]
        image[:, standing] = roofs[objects[standing]].T
        rubble = ids == ID["destroyed building"]
        image[:, rubble] *= np.exp(rng.normal(0, 0.45, rubble.sum()))
        shadow = np.roll(standing, (3, 3), (0, 1)) & ~standing & ~rubble
        image[:, shadow] *= 0.55
    roughness = np.zeros(len(TERRASCOPE))
    for name, amount in (("tree", 0.16), ("developed area", 0.22), ("shrub", 0.12), ("wetland", 0.12), ("grass", 0.06)):
        roughness[ID[name]] = amount
    image *= np.exp(0.10 * fractal_noise(rng, size, 1.5))
    image *= np.exp(roughness[ids] * fractal_noise(rng, size, 0.6))
    image = ndimage.gaussian_filter(image, (0, 0.6, 0.6))
    image += rng.normal(0, 0.004, image.shape)
    # Haze adds light, most of all in the blue.
    return np.clip(image + rng.uniform(0, 0.03) * np.array([1.0, 0.7, 0.5, 0.2, 0.05, 0.02])[:, None, None], 0, 1.2)


def _backscatter(rng: Rng, ids: NDArray[np.uint8], parcels: NDArray[np.intp]) -> Field:
    """VV and VH backscatter `[2, H, W]` in dB with multiplicative gamma speckle of 4 to 10 looks."""
    size = ids.shape[0]
    table = np.full((len(TERRASCOPE), 2), -12.0)
    for name, (_, decibels) in SURFACES.items():
        table[ID[name]] = np.array(decibels) + rng.normal(0, 1.0)
    image = table[ids].transpose(2, 0, 1)
    crop = ids == ID["crop"]
    image[:, crop] += rng.normal(0, 1.6, parcels.max() + 1)[parcels[crop]]
    image += 0.8 * fractal_noise(rng, size, 1.5)
    bright = np.isin(ids, [ID["developed area"], ID["building"]])
    image[:, bright] += rng.normal(0, 2.5, bright.sum())
    looks = rng.uniform(4, 10)
    return image + 10 * np.log10(rng.gamma(looks, 1 / looks, image.shape))


def _next_date(rng: Rng, ids: NDArray[np.uint8], height: Field | None, objects: NDArray[np.int32]) -> NDArray[np.uint8]:
    """The place at a later date: a flood in the lowlands, or some buildings destroyed, or nothing new."""
    later = ids.copy()
    if height is not None and rng.random() < 0.75:
        dry = later != ID["water"]
        level = np.quantile(height, rng.uniform(0.05, 0.5)) + 0.15 * fractal_noise(rng, ids.shape[0], 1.5)
        later[(height < level) & dry & (later != ID["snow"])] = ID["flood"]
    numbers = np.unique(objects[objects > 0])
    if len(numbers) and rng.random() < 0.85:
        struck = rng.choice(numbers, int(rng.integers(1, len(numbers) + 1)), replace=False)
        ruined = np.isin(objects, struck)
        # Debris frays the outline.
        ruined &= ndimage.gaussian_filter(ruined + 0.35 * rng.standard_normal(ids.shape), 1.0) > 0.3
        later[ruined & (objects > 0)] = ID["destroyed building"]
    return later


def make_sample(
    seed: int, *, size: int = 256, kind: str | None = None, num_dates: int | None = None, cloudy: bool | None = None
) -> SyntheticSample:
    """Generate one scene with optical and SAR images and its exact truth; the same arguments give the same scene.

    Args:
        seed: of the random generator.
        size: edge of the square scene in pixels.
        kind: `country` or `town`; drawn (70:30) when None.
        num_dates: 1 or 2; drawn when None.
        cloudy: whether clouds hide part of each optical image; drawn (35 %) when None.
    """
    rng = np.random.default_rng(seed)
    kind = kind or ("country" if rng.random() < 0.7 else "town")
    num_dates = num_dates or int(rng.integers(1, 3))
    cloudy = bool(rng.random() < 0.35) if cloudy is None else cloudy
    height: Field | None
    if kind == "country":
        ids, parcels, height = _country(rng, size)
        objects = np.zeros((size, size), np.int32)
        gsd_m = float(rng.choice([10.0, 20.0, 30.0]))
    else:
        ids, parcels, objects = _town(rng, size)
        height = None
        gsd_m = float(rng.choice([0.5, 1.0, 2.0]))
    truth = [ids] + [_next_date(rng, ids, height, objects) for _ in range(num_dates - 1)]
    known = LAND_CLASS_IDS if kind == "country" else tuple(ID[name] for name in TOWN_CLASSES)
    known = tuple(i for i in known if kind == "town" or i not in (ID["building"], ID["destroyed building"]))
    georeference = Georeference(gsd_m=gsd_m)
    optical, sar, clouds, labels = [], [], [], []
    for t, ids_t in enumerate(truth):
        image = _reflectance(rng, ids_t, parcels, objects)
        cloud = np.zeros(ids.shape, bool)
        if cloudy:
            thickness = fractal_noise(rng, size, 1.9)
            cloud = _below(thickness, rng.uniform(0.05, 0.5))
            veil = np.clip(ndimage.gaussian_filter(cloud.astype(float), 2.0) * 1.3, 0, 1)
            white = rng.uniform(0.4, 0.8) + 0.06 * fractal_noise(rng, size, 1.2)
            image = image * (1 - veil) + veil * white * np.array([1, 0.98, 0.97, 1.0, 0.75, 0.6])[:, None, None]
        everywhere = np.ones(ids.shape, bool)
        optical.append(
            Observation(
                pixels=image.astype(np.float32), bands=BANDS, modality="optical", sensor="hls", valid=everywhere,
                georeference=georeference, source=f"synthetic {seed}, date {t + 1}, optical",
            )
        )  # fmt: skip
        sar.append(
            Observation(
                pixels=_backscatter(rng, ids_t, parcels).astype(np.float32), bands=("VV", "VH"), modality="sar",
                sensor="sentinel-1", valid=everywhere, georeference=georeference,
                source=f"synthetic {seed}, date {t + 1}, SAR",
            )
        )  # fmt: skip
        clouds.append(cloud)
        known_t = known if t else tuple(i for i in known if i not in (ID["flood"], ID["destroyed building"]))
        labels.append(
            LabelMap(
                ids=ids_t, nomenclature=TERRASCOPE, class_ids_known=known_t, objects=objects if objects.any() else None
            )
        )
    return SyntheticSample(scene=Scene.of(optical=optical, sar=sar), labels=tuple(labels), clouds=tuple(clouds))


def demo_scene() -> Scene:
    """The scene of `terrascope demo`: a lake half under clouds, optical and SAR, 10 m pixels in UTM zone 32N."""
    sample = make_sample(DEMO_SEED, kind="country", num_dates=1, cloudy=True)
    georeference = Georeference(crs=CRS.from_epsg(32632), transform=Affine(10, 0, 640_000, 0, -10, 5_320_000))
    pair = sample.scene.pairs[0]
    assert pair.optical is not None and pair.sar is not None
    return Scene.of(
        optical=[replace(pair.optical, georeference=georeference)], sar=[replace(pair.sar, georeference=georeference)]
    )
