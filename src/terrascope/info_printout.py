"""What was understood of images, on the terminal: one paragraph and one table of bands for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_info(described: Mapping[str, Any], console: Console | None = None) -> None:
    """Print for people what `SceneInfo.to_dict` says; on standard output if no console is given."""
    console = console or Console(highlight=False, markup=False)
    for image in described["images"]:
        console.print(Text(image["source"], style="bold"), soft_wrap=True)
        _print_lines(
            console,
            ("sensor", f"{image['sensor']['name']}: {image['sensor']['description']} ({image['modality']})"),
            ("date", image["date"] or "unknown"),
            *_grid_lines(image),
            ("valid", f"{100 * image['valid_share']:.1f} % of the pixels"),
            ("values", image["bands"][0]["unit"]),
            *(("evidence", phrase) for phrase in image["evidence"]),
            *(("assumed", sentence) for sentence in image["assumptions"]),
            *(("note", sentence) for sentence in image["notes"]),
        )
        console.print(_band_table(image["bands"]))
        console.print()
    if described["scene"] is not None:
        scene = described["scene"]
        dates = ", ".join(date or "unknown" for date in scene["dates"])
        console.print(Text("together", style="bold"))
        _print_lines(
            console,
            ("dates", f"{scene['num_dates']} ({dates})"),
            *_grid_lines(scene),
            ("valid", f"{100 * scene['valid_share']:.1f} % of the pixels at one date at least"),
            *(("note", sentence) for sentence in scene["notes"]),
        )


def _grid_lines(described: Mapping[str, Any]) -> list[tuple[str, str]]:
    size, centre = described["pixel_size"], described["centre_lonlat"]
    place = "unknown" if described["crs"] is None else described["crs"]
    if centre is not None:
        (lon, lat), east, north = centre, "W" if centre[0] < 0 else "E", "S" if centre[1] < 0 else "N"
        place += f", centre {abs(lon):.5f} {east} {abs(lat):.5f} {north}"
    pixel = "unknown; give --gsd METRES for areas and distances"
    if size is not None:
        pixel = f"{size['width_m']:.6g} x {size['height_m']:.6g} m, {size['area_m2']:.6g} m2 ({size['basis']})"
    return [("size", f"{described['width']} x {described['height']} pixels"), ("place", place), ("pixel", pixel)]


def _print_lines(console: Console, *lines: tuple[str, str]) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    before = ""
    for label, text in lines:
        table.add_row(label if label != before else "", Text(text))
        before = label
    console.print(table)


def _band_table(bands: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("band", "role", "wavelength", "pixels", "min", "mean", "max", box=None, padding=(0, 2, 0, 0))
    for band in bands:
        values = [f"{band[key]:.4g}" for key in ("min", "mean", "max")]
        resolution = "" if band["resolution_m"] is None else f"{band['resolution_m']:g} m"
        table.add_row(band["name"], band["role"] or "", _wavelength(band["wavelength_nm"]), resolution, *values)
    return table


def _wavelength(wavelength_nm: float | None) -> str:
    if wavelength_nm is None:
        return ""
    return f"{wavelength_nm:g} nm" if wavelength_nm < 1e6 else f"{wavelength_nm / 1e7:.2f} cm"
