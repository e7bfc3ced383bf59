"""Every writer of masks and pictures by one name. A file appears whole or not at all."""

from terrascope.rasters.cog import NO_STEP, NODATA, write_masks_tif, write_steps_tif
from terrascope.rasters.named_mask import NamedMask
from terrascope.rasters.overlay import write_overlay
from terrascope.rasters.stac_item import write_item
from terrascope.rasters.vectors import write_masks_geojson, write_masks_parquet

__all__ = [
    "NODATA",
    "NO_STEP",
    "NamedMask",
    "write_item",
    "write_masks_geojson",
    "write_masks_parquet",
    "write_masks_tif",
    "write_overlay",
    "write_steps_tif",
]
