"""The codes of foreign label maps, and what foreign classes are in TerraScope's.

`X_CODES` lead from the numbers in the files of a data set to its own nomenclature, unless they say otherwise;
`X_TO_TERRASCOPE` from the names of its classes to those of `TERRASCOPE`, so that one model with one closed vocabulary
can learn from all of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from terrascope.landcover.classes import CORINE_19, DFC2020, SATLAS, WHU_OPT_SAR, WORLDCOVER, XBD_DAMAGE

WORLDCOVER_CODES: Mapping[int, str] = {
    10: "tree", 20: "shrub", 30: "grass", 40: "crop", 50: "developed area", 60: "bare land",
    70: "snow", 80: "water", 90: "wetland", 95: "wetland", 100: "bare land",
}  # fmt: skip
"""ESA WorldCover codes in TERRASCOPE; mangroves (95) join the wetlands, moss and lichen (100) the bare land."""

WORLDCOVER_OWN_CODES: Mapping[int, str] = dict(zip(WORLDCOVER_CODES, WORLDCOVER.names, strict=True))
"""ESA WorldCover codes in its own eleven classes."""

WORLDCOVER_IGNORED = frozenset({0})
"""Codes of WorldCover that say nothing: nodata."""

WORLDCOVER_TO_TERRASCOPE: Mapping[str, str] = {
    name: WORLDCOVER_CODES[code] for code, name in WORLDCOVER_OWN_CODES.items()
}
"""As `WORLDCOVER_CODES`."""

TERRAMIND_CODES: Mapping[int, str] = {
    1: "water", 2: "tree", 3: "wetland", 4: "crop", 5: "developed area",
    6: "bare land", 7: "snow", 8: "cloud", 9: "grass",
}  # fmt: skip
"""The land-use codes of the TerraMind/TerraMesh examples in TERRASCOPE; rangeland (9) is grass."""

_CODES_OF_CORINE_CLASSES = (
    (111, 112), (121,), (211, 212, 213), (221, 222, 223, 241), (231,), (242,), (243,), (244,), (311,), (312,), (313,),
    (321, 333), (322, 323), (324,), (331,), (411, 412), (421, 422), (511, 512), (521, 522, 523),
)  # fmt: skip

CORINE_CODES: Mapping[int, str] = {
    code: name for name, codes in zip(CORINE_19.names, _CODES_OF_CORINE_CLASSES, strict=True) for code in codes
}
"""CORINE level-3 codes in the 19 classes of BigEarthNet."""

CORINE_IGNORED = frozenset({0, 122, 123, 124, 131, 132, 133, 141, 142, 332, 334, 335, 423, 999})
"""CORINE codes that belong to none of the 19 classes, and nodata: such pixels are unlabelled."""

CORINE_TERRASCOPE_CODES: Mapping[int, str] = {
    **dict.fromkeys((111, 112, 121, 122, 123, 124), "developed area"),
    **dict.fromkeys((211, 212, 213, 221, 222, 223, 241, 242, 243, 244), "crop"),
    **dict.fromkeys((231, 321), "grass"),
    **dict.fromkeys((311, 312, 313), "tree"),
    **dict.fromkeys((322, 323, 324), "shrub"),
    **dict.fromkeys((331, 332, 333), "bare land"),
    335: "snow",
    **dict.fromkeys((411, 412, 421, 422), "wetland"),
    **dict.fromkeys((511, 512, 521, 522, 523), "water"),
}
"""CORINE level-3 codes in TERRASCOPE.

All heterogeneous farmland (241-244), agro-forestry with it, is crop, as CORINE's own first level has it; sparsely
vegetated areas (333) are bare land, as WorldCover has them. Also roads, ports and airports (122-124), bare rock (332)
and glaciers (335) have a class here, which they lack among the 19.
"""

CORINE_TERRASCOPE_IGNORED = CORINE_IGNORED - CORINE_TERRASCOPE_CODES.keys()
"""Codes without a class of TERRASCOPE: mines, dumps, building sites, urban green, burnt land, tidal flats, nodata."""

CORINE_TO_TERRASCOPE: Mapping[str, str] = {
    name: CORINE_TERRASCOPE_CODES[codes[0]]
    for name, codes in zip(CORINE_19.names, _CODES_OF_CORINE_CLASSES, strict=True)
}
"""As `CORINE_TERRASCOPE_CODES`, but for sparse vegetation, which the 19 classes do not tell from natural grassland."""

SATLAS_CODES: Mapping[int, str] = {
    red << 16 | green << 8 | blue: land_class.name
    for land_class in SATLAS.classes
    for red, green, blue in (land_class.color,)
}
"""The colours (`color_codes`) of SatlasPretrain's land-cover pictures."""

SATLAS_IGNORED = frozenset({0x000000})
"""Its background: nothing is known there."""

SATLAS_TO_TERRASCOPE: Mapping[str, str] = {
    **{name: name for name in SATLAS.names[:9]},
    "mangrove": "wetland",
    "moss": "bare land",
}
"""Classes of equal names are the same; mangroves and moss go where those of WorldCover go."""

XBD_SUBTYPES: Mapping[str, str] = dict(
    zip(("no-damage", "minor-damage", "major-damage", "destroyed"), XBD_DAMAGE.names[1:], strict=True)
)
"""The subtypes of xBD's polygons. `un-classified` is none of them: the building is there, its damage is unknown."""

XBD_CODES: Mapping[int, str] = dict(enumerate(XBD_DAMAGE.names[1:], 1))
"""The numbers in the target pictures after a disaster; before it, 1 is a building."""

XBD_TO_TERRASCOPE: Mapping[str, str] = {
    **dict.fromkeys(XBD_DAMAGE.names[:4], "building"),
    "destroyed building": "destroyed building",
}
"""A building that still stands is a building."""

WHU_OPT_SAR_CODES: Mapping[int, str] = dict(zip((10, 20, 30, 40, 50, 60), WHU_OPT_SAR.names, strict=True))
"""The numbers in the label maps of WHU-OPT-SAR."""

WHU_OPT_SAR_OTHER = 70
"""What WHU-OPT-SAR calls `others`: of none of its classes."""

WHU_OPT_SAR_IGNORED = frozenset({0})
"""Its background: nothing is known there."""

WHU_OPT_SAR_TO_TERRASCOPE: Mapping[str, str] = {
    "farmland": "crop",
    "city": "developed area",
    "village": "developed area",
    "water": "water",
    "forest": "tree",
    "road": "developed area",
}
"""Cities, villages and roads are developed."""

DFC2020_CODES: Mapping[int, str] = dict(enumerate(DFC2020.names, 1))
"""The numbers in the label maps of the data fusion contest of 2020."""

SEN12MS_CODES: Mapping[int, str] = {
    **dict.fromkeys((1, 2, 3, 4, 5), "forest"),
    **dict.fromkeys((6, 7), "shrubland"),
    **dict.fromkeys((8, 9), "savanna"),
    10: "grassland",
    11: "wetland",
    **dict.fromkeys((12, 14), "cropland"),
    13: "urban area",
    15: "snow",
    16: "barren land",
    17: "water",
}
"""The IGBP codes of SEN12MS in DFC2020, as the contest reduces them."""

DFC2020_TO_TERRASCOPE: Mapping[str, str] = {
    "forest": "tree",
    "shrubland": "shrub",
    "savanna": "grass",
    "grassland": "grass",
    "wetland": "wetland",
    "cropland": "crop",
    "urban area": "developed area",
    "snow": "snow",
    "barren land": "bare land",
    "water": "water",
}
"""A savanna is grassland with scattered trees: grass."""

TO_TERRASCOPE: Mapping[str, Mapping[str, str]] = {
    CORINE_19.name: CORINE_TO_TERRASCOPE,
    WORLDCOVER.name: WORLDCOVER_TO_TERRASCOPE,
    SATLAS.name: SATLAS_TO_TERRASCOPE,
    XBD_DAMAGE.name: XBD_TO_TERRASCOPE,
    WHU_OPT_SAR.name: WHU_OPT_SAR_TO_TERRASCOPE,
    DFC2020.name: DFC2020_TO_TERRASCOPE,
}
"""Name of a nomenclature -> its classes in TERRASCOPE."""
