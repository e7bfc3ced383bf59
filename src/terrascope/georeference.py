"""Where a pixel grid lies on the Earth, and how large its pixels are on the ground."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray

from terrascope.errors import ScaleError

if TYPE_CHECKING:
    from pyproj import CRS, Geod, Transformer

_MAX_SAMPLED_ROWS = 257
"""Rows whose ground size is computed; between them it is interpolated (1 degree of latitude costs below 0.01 %)."""

_NUM_SAMPLED_COLUMNS = 5
"""Columns at which a row's pixels are sized; between them the size is a polynomial (test_georeference measures it)."""

_EVEN = 1e-6
"""Relative change of the pixel area along a row up to which all pixels of the row count as equal."""

MIN_GSD_M, MAX_GSD_M = 1e-3, 1e6
"""Pixel sizes that may be stated: from a millimetre to a thousand kilometres."""


@dataclass(frozen=True, kw_only=True)
class PixelSize:
    """Ground size of the pixels of a grid, row by row.

    Attributes:
        width_m, height_m: float64 `[H]`, metres along a row and along a column: means over the row's pixels.
        area_m2: float64 `[H]`, square metres of one pixel: mean over the row's pixels.
        basis: one phrase that says where the numbers come from, e.g. `stated: 10 m`, `geodesic, EPSG:32633`.
        sampled_area_m2: float64 `[H, K]`, the area at K columns, where it changes along the row; else None.
        column_weights: float64 `[W, K]`: the area of the pixel (row, column) is
            `sampled_area_m2[row] @ column_weights[column]`.
        georeference: where the grid lies, if the sizes follow from that; None if they are stated.
    """

    width_m: NDArray[np.float64]
    height_m: NDArray[np.float64]
    area_m2: NDArray[np.float64]
    basis: str
    sampled_area_m2: NDArray[np.float64] | None = None
    column_weights: NDArray[np.float64] | None = None
    georeference: Georeference | None = None


@dataclass(frozen=True, kw_only=True)
class Georeference:
    """CRS and affine transform of a pixel grid, or a stated ground sampling distance in metres, or nothing.

    Attributes:
        crs: coordinate reference system of `transform`.
        transform: pixel coordinates (column, row; 0, 0 is the outer corner of the first pixel) -> CRS coordinates.
        gsd_m: stated size of a square pixel in metres. It overrides what CRS and transform say of size, not of place.

    Raises:
        ScaleError: `gsd_m` is not a positive, finite number, or `transform` maps all pixels onto a line or point.
    """

    crs: CRS | None = None
    transform: Affine | None = None
    gsd_m: float | None = None

    def __post_init__(self) -> None:
        if self.gsd_m is not None and not (math.isfinite(self.gsd_m) and self.gsd_m > 0):
            raise ScaleError(f"a pixel size of {self.gsd_m} m is impossible; --gsd must be a positive number of metres")
        if self.gsd_m is not None and not MIN_GSD_M <= self.gsd_m <= MAX_GSD_M:
            raise ScaleError(
                f"a pixel size of {self.gsd_m:g} m is impossible; --gsd must lie from {MIN_GSD_M:g} to {MAX_GSD_M:g} m"
            )
        if self.transform is not None and self.transform.determinant == 0:
            raise ScaleError(f"the transform {tuple(self.transform)[:6]} gives pixels no area; give --gsd METRES")

    @property
    def is_located(self) -> bool:
        """True if the place on the Earth is known, not only the size of the pixels."""
        return self.crs is not None and self.transform is not None

    def window(self, row: int, column: int) -> Georeference:
        """The georeference of a part of the grid whose first pixel is the grid's pixel (`row`, `column`)."""
        if self.transform is None:
            return self
        a, b, c, d, e, f = tuple(self.transform)[:6]
        # As products of affine 2 and of affine 3 are written in different ways.
        return replace(self, transform=Affine(a, b, a * column + b * row + c, d, e, d * column + e * row + f))

    def scaled(self, row_factor: float, column_factor: float) -> Georeference:
        """The georeference of the grid resampled to pixels so many times as high and as wide.

        A stated pixel size stays square; the mean factor is taken, as the factors of an overview are almost equal.
        """
        gsd_m = None if self.gsd_m is None else self.gsd_m * (row_factor * column_factor) ** 0.5
        if self.transform is None:
            return replace(self, gsd_m=gsd_m)
        a, b, c, d, e, f = tuple(self.transform)[:6]
        transform = Affine(a * column_factor, b * row_factor, c, d * column_factor, e * row_factor, f)
        return replace(self, transform=transform, gsd_m=gsd_m)

    def to_lonlat(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Longitude and latitude (WGS 84, degrees) of pixel coordinates: columns `x`, rows `y`, of one shape.

        Raises:
            ScaleError: the place of the grid is unknown, or the points lie where its CRS has no longitude and latitude.
        """
        return _transformed(self._transformer("EPSG:4326"), self._located_transform(), x, y)

    def pixel_size(self, height: int, width: int) -> PixelSize:
        """Ground size of the pixels of a grid of `height` rows and `width` columns, row by row.

        A stated `gsd_m` wins. Otherwise sizes are those on the ellipsoid of the CRS: so a pixel in degrees shrinks with
        latitude, a Web Mercator pixel is smaller on the ground than on the map, and a UTM pixel shrinks towards the
        edges of its zone. Areas are right to 0.1 % for pixels up to 1 degree.

        Raises:
            ScaleError: nothing is known of the scale, or it is below a millimetre.
        """
        if self.gsd_m is not None:
            side = np.full(height, float(self.gsd_m))
            return PixelSize(width_m=side, height_m=side, area_m2=side**2, basis=f"stated: {self.gsd_m:g} m")
        if self.crs is None or self.transform is None:
            raise ScaleError("the scene has no usable georeference and no stated pixel size; give --gsd METRES")
        sampled = np.unique(np.linspace(0, height - 1, min(height, _MAX_SAMPLED_ROWS)).round()).astype(np.float64)
        columns, shares = _gauss_legendre(_NUM_SAMPLED_COLUMNS, width)
        authority = self.crs.to_authority()
        basis = f"geodesic, {':'.join(authority) if authority else self.crs.name}"
        try:
            sizes = self._sizes_at(sampled + 0.5, columns)
        except ScaleError:
            # The corners of a map of the whole Earth may lie beside it.
            columns, shares = _gauss_legendre(1, width)
            sizes = self._sizes_at(sampled + 0.5, columns)
            basis += ", at the centre column"
        rows = np.arange(height, dtype=np.float64)
        width_m, height_m, area_m2 = (np.interp(rows, sampled, size @ shares) for size in sizes)
        smallest = min(float(width_m.min()), float(height_m.min()))
        if not (smallest >= MIN_GSD_M and area_m2.min() > 0):
            raise ScaleError(
                f"by its CRS and transform the scene has pixels of {smallest:g} m, which is impossible; "
                "give --gsd METRES"
            )
        area = sizes[2]
        is_even = bool((np.ptp(area, axis=1) <= _EVEN * area.max(axis=1)).all())
        return PixelSize(
            width_m=width_m,
            height_m=height_m,
            area_m2=area_m2,
            basis=basis,
            sampled_area_m2=None if is_even else np.column_stack([np.interp(rows, sampled, at) for at in area.T]),
            column_weights=None if is_even else _polynomial_weights(columns, np.arange(width, dtype=np.float64) + 0.5),
            georeference=self,
        )

    def to_geocentric(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """Places in space, metres `[..., 3]` from the centre of the CRS's ellipsoid, of pixel coordinates.

        Raises:
            ScaleError: as `to_lonlat`.
        """
        lon, lat = np.radians(self._to_geodetic(x, y))
        geod = self._geod()
        normal = geod.a / np.sqrt(1 - geod.es * np.sin(lat) ** 2)
        from_axis = normal * np.cos(lat)
        return np.stack([from_axis * np.cos(lon), from_axis * np.sin(lon), normal * (1 - geod.es) * np.sin(lat)], -1)

    def geodesic_m(self, start: tuple[float, float], end: tuple[float, float]) -> float:
        """Length on the CRS's ellipsoid, in metres, of the shortest way between two pixel coordinates (x, y).

        Raises:
            ScaleError: as `to_lonlat`.
        """
        (lon_0, lon_1), (lat_0, lat_1) = self._to_geodetic([start[0], end[0]], [start[1], end[1]])
        return float(self._geod().inv(lon_0, lat_0, lon_1, lat_1)[2])

    def _sizes_at(
        self, rows: NDArray[np.float64], columns: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Width, height and area `[rows, columns]` of the pixels centred there.

        The area is that of the parallelogram of the pixel's two mid-lines. The ellipsoidal polygon area that pyproj
        offers is absolutely, not relatively, exact: too coarse for pixels below a metre.
        """
        x, y = np.meshgrid(columns, rows)
        along_row = self.to_geocentric(x + 0.5, y) - self.to_geocentric(x - 0.5, y)
        along_column = self.to_geocentric(x, y + 0.5) - self.to_geocentric(x, y - 0.5)
        area_m2 = np.linalg.norm(np.cross(along_row, along_column), axis=-1)
        return np.linalg.norm(along_row, axis=-1), np.linalg.norm(along_column, axis=-1), area_m2

    def _to_geodetic(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Longitude and latitude (degrees) of pixel coordinates on the CRS's own ellipsoid, without a datum shift."""
        transform = self._located_transform()
        assert self.crs is not None
        geodetic = self.crs.geodetic_crs
        if geodetic is None:
            return self.to_lonlat(x, y)
        # Old French maps count in grads.
        degrees_per_unit = math.degrees(geodetic.axis_info[0].unit_conversion_factor)
        return _transformed(self._transformer(geodetic), transform, x, y, degrees_per_unit)

    def _located_transform(self) -> Affine:
        if self.crs is None or self.transform is None:
            raise ScaleError("the scene has no CRS, so its pixels have no longitude and latitude")
        return self.transform

    def _transformer(self, target: CRS | str) -> Transformer:
        from pyproj.exceptions import ProjError

        self._located_transform()
        try:
            return _transformer_between(self.crs, target)
        except ProjError:
            raise ScaleError("the scene's CRS leads to no longitude and latitude; give --gsd METRES") from None

    def _geod(self) -> Geod:
        from pyproj import Geod

        assert self.crs is not None
        return self.crs.get_geod() or Geod(ellps="WGS84")


@lru_cache(maxsize=64)
def _transformer_between(source: CRS | None, target: CRS | str) -> Transformer:
    """Making one takes longer than using it on the corners of a scene, and thousands of scenes share a CRS."""
    from pyproj import Transformer

    return Transformer.from_crs(source, target, always_xy=True)


def _transformed(
    transformer: Transformer, transform: Affine, x: ArrayLike, y: ArrayLike, degrees_per_unit: float = 1.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    a, b, c, d, e, f = tuple(transform)[:6]
    lon, lat = transformer.transform(a * xs + b * ys + c, d * xs + e * ys + f)
    lon, lat = np.asarray(lon, np.float64) * degrees_per_unit, np.asarray(lat, np.float64) * degrees_per_unit
    if not (np.isfinite(lon).all() and np.isfinite(lat).all() and (np.abs(lat) <= 90).all()):
        raise ScaleError("the scene's transform leads outside of its CRS; give --gsd METRES if its pixel size is known")
    return lon, lat


def _gauss_legendre(num: int, width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places in a row of `width` pixels, and their shares in its mean: exact for polynomials up to degree 2 num - 1."""
    places, shares = np.polynomial.legendre.leggauss(num)
    return np.asarray((places + 1) * width / 2, np.float64), np.asarray(shares / 2, np.float64)


def _polynomial_weights(nodes: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights `[places, nodes]` of the values at the nodes in the polynomial through them, at the places (Lagrange)."""
    weights = np.ones((len(places), len(nodes)))
    for k, node in enumerate(nodes):
        for other in np.delete(nodes, k):
            weights[:, k] *= (places - other) / (node - other)
    return weights
