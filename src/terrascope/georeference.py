"""Where a pixel grid lies on the Earth, and how large its pixels are on the ground."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from terrascope.errors import ScaleError

if TYPE_CHECKING:
    from affine import Affine
    from pyproj import CRS, Geod, Transformer

_MAX_SAMPLED_ROWS = 257
"""Rows whose ground size is computed; between them it is interpolated (1 degree of latitude costs below 0.01 %)."""


MIN_GSD_M, MAX_GSD_M = 1e-3, 1e6
"""Pixel sizes that may be stated: from a millimetre to a thousand kilometres."""


@dataclass(frozen=True, kw_only=True)
class PixelSize:
    """Ground size of the pixels of a grid, row by row.

    Attributes:
        width_m, height_m: float64 `[H]`, metres along a row and along a column.
        area_m2: float64 `[H]`, square metres of one pixel of the row.
        basis: one phrase that says where the numbers come from, e.g. `stated: 10 m`, `geodesic, EPSG:32633`.
    """

    width_m: NDArray[np.float64]
    height_m: NDArray[np.float64]
    area_m2: NDArray[np.float64]
    basis: str


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
        return replace(self, transform=self.transform * self.transform.translation(column, row))

    def scaled(self, row_factor: float, column_factor: float) -> Georeference:
        """The georeference of the grid resampled to pixels so many times as high and as wide.

        A stated pixel size stays square; the mean factor is taken, as the factors of an overview are almost equal.
        """
        gsd_m = None if self.gsd_m is None else self.gsd_m * (row_factor * column_factor) ** 0.5
        if self.transform is None:
            return replace(self, gsd_m=gsd_m)
        return replace(self, transform=self.transform * self.transform.scale(column_factor, row_factor), gsd_m=gsd_m)

    def to_lonlat(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Longitude and latitude (WGS 84, degrees) of pixel coordinates: columns `x`, rows `y`, of one shape.

        Raises:
            ScaleError: the place of the grid is unknown, or the points lie where its CRS has no longitude and latitude.
        """
        return _transformed(self._transformer("EPSG:4326"), self._located_transform(), x, y)

    def pixel_size(self, height: int, width: int) -> PixelSize:
        """Ground size of the pixels of a grid of `height` rows and `width` columns, row by row.

        A stated `gsd_m` wins. Otherwise sizes are geodesic, on the ellipsoid of the CRS, at the centre column: so a
        pixel in degrees shrinks with latitude, and a Web Mercator pixel is smaller on the ground than on the map.

        Raises:
            ScaleError: nothing is known of the scale.
        """
        if self.gsd_m is not None:
            side = np.full(height, float(self.gsd_m))
            return PixelSize(width_m=side, height_m=side, area_m2=side**2, basis=f"stated: {self.gsd_m:g} m")
        if self.crs is None or self.transform is None:
            raise ScaleError("the scene has no usable georeference and no stated pixel size; give --gsd METRES")
        sampled = np.unique(np.linspace(0, height - 1, min(height, _MAX_SAMPLED_ROWS)).round()).astype(np.float64)
        sizes = self._geodesic_sizes(sampled + 0.5, width / 2)
        rows = np.arange(height, dtype=np.float64)
        width_m, height_m, area_m2 = (np.interp(rows, sampled, size) for size in sizes)
        authority = self.crs.to_authority()
        name = ":".join(authority) if authority else self.crs.name
        return PixelSize(width_m=width_m, height_m=height_m, area_m2=area_m2, basis=f"geodesic, {name}")

    def _geodesic_sizes(
        self, rows: NDArray[np.float64], column: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Width, height and area of the pixels centred at (`column`, `rows`).

        The area is that of the parallelogram of the pixel's two mid-lines. The ellipsoidal polygon area that pyproj
        offers is absolutely, not relatively, exact: too coarse for pixels below a metre.
        """
        assert self.crs is not None
        geod = self._geod()
        # Distances on the CRS's own ellipsoid need its own longitudes and latitudes: no datum shift on the way.
        to_geodetic = self._transformer(self.crs.geodetic_crs or "EPSG:4326")
        transform = self._located_transform()
        columns = np.full_like(rows, column)

        def point(along_x: float, along_y: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            return _transformed(to_geodetic, transform, columns + along_x, rows + along_y)

        azimuth_x, _, width_m = geod.inv(*point(-0.5, 0.0), *point(0.5, 0.0))
        azimuth_y, _, height_m = geod.inv(*point(0.0, -0.5), *point(0.0, 0.5))
        area_m2 = width_m * height_m * np.abs(np.sin(np.radians(azimuth_y - azimuth_x)))
        return width_m, height_m, area_m2

    def _located_transform(self) -> Affine:
        if self.crs is None or self.transform is None:
            raise ScaleError("the scene has no CRS, so its pixels have no longitude and latitude")
        return self.transform

    def _transformer(self, target: CRS | str) -> Transformer:
        from pyproj import Transformer
        from pyproj.exceptions import ProjError

        self._located_transform()
        try:
            return Transformer.from_crs(self.crs, target, always_xy=True)
        except ProjError:
            raise ScaleError("the scene's CRS leads to no longitude and latitude; give --gsd METRES") from None

    def _geod(self) -> Geod:
        from pyproj import Geod

        assert self.crs is not None
        return self.crs.get_geod() or Geod(ellps="WGS84")


def _transformed(
    transformer: Transformer, transform: Affine, x: ArrayLike, y: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    a, b, c, d, e, f = tuple(transform)[:6]
    lon, lat = transformer.transform(a * xs + b * ys + c, d * xs + e * ys + f)
    lon, lat = np.asarray(lon, np.float64), np.asarray(lat, np.float64)
    if not (np.isfinite(lon).all() and np.isfinite(lat).all() and (np.abs(lat) <= 90).all()):
        raise ScaleError("the scene's transform leads outside of its CRS; give --gsd METRES if its pixel size is known")
    return lon, lat
