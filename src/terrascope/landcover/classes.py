"""The nomenclatures: TerraScope's own, and those of the data sets that it learns from, each in its own classes.

Names are short nouns; aliases are true of the whole class, what is not is `narrower`. Colours are those of the data
sets' own legends where they have one.
"""

from __future__ import annotations

from collections.abc import Mapping

from terrascope.landcover.nomenclature import LandClass, Nomenclature


def _class(name: str, plural: str, color: int, *aliases: str, narrower: tuple[str, ...] = ()) -> LandClass:
    """A class whose colour is written as 0xRRGGBB."""
    return LandClass(
        name=name, plural=plural, color=(color >> 16, color >> 8 & 255, color & 255), aliases=aliases, narrower=narrower
    )


TERRASCOPE = Nomenclature(
    name="terrascope",
    classes=(
        _class(
            "water",
            "water",
            0x0064C8,
            "water bodies",
            narrower=(
                "water body",
                "open water",
                "lake",
                "river",
                "sea",
            ),
        ),
        _class("tree", "trees", 0x006400, "forest", "tree cover", "woodland"),
        _class("shrub", "shrubs", 0xFFBB22, "shrubland"),
        _class(
            "grass",
            "grass",
            0xBEE64C,
            "grassland",
            narrower=(
                "meadow",
                "rangeland",
            ),
        ),
        _class("crop", "crops", 0xF096FF, "cropland", "farmland", "fields", narrower=("field",)),
        _class(
            "developed area",
            "developed areas",
            0xFA0000,
            "built-up areas",
            narrower=(
                "built-up",
                "built-up area",
                "urban",
                "urban area",
                "city",
                "road",
            ),
        ),
        _class(
            "bare land",
            "bare land",
            0xB4B4B4,
            "bare ground",
            "barren land",
            narrower=(
                "bare",
                "barren",
                "sand",
                "rock",
            ),
        ),
        _class(
            "wetland",
            "wetlands",
            0x0096A0,
            narrower=(
                "marsh",
                "mangrove",
                "flooded vegetation",
            ),
        ),
        _class(
            "snow",
            "snow",
            0xF0F0FF,
            narrower=(
                "ice",
                "snow and ice",
            ),
        ),
        _class("cloud", "clouds", 0xD2C8D7),
        _class(
            "flood",
            "flood water",
            0x00DCFF,
            "flooding",
            narrower=(
                "floods",
                "flooded area",
                "flooded areas",
                "new water",
            ),
        ),
        _class(
            "building",
            "buildings",
            0xA03C14,
            narrower=(
                "house",
                "houses",
            ),
        ),
        _class(
            "destroyed building",
            "destroyed buildings",
            0x5A145A,
            narrower=(
                "collapsed building",
                "collapsed buildings",
            ),
        ),
    ),
)
"""The classes that `nano` knows. The first seven carry the names of the paper's benchmark."""

CORINE_19 = Nomenclature(
    name="corine-19",
    classes=(
        _class(
            "urban fabric",
            "urban fabric",
            0xE6004D,
            narrower=(
                "residential area",
                "residential areas",
            ),
        ),
        _class(
            "industrial or commercial unit",
            "industrial or commercial units",
            0xCC4DF2,
            "industrial or commercial areas",
            narrower=("industrial or commercial area",),
        ),
        _class("arable land", "arable land", 0xFFFFA8, "arable fields", narrower=("arable field",)),
        _class("permanent crop", "permanent crops", 0xE68000, "perennial crops", narrower=("perennial crop",)),
        _class("pasture", "pastures", 0xE6E64D, narrower=("grazing land",)),
        _class(
            "complex cultivation pattern",
            "complex cultivation patterns",
            0xFFE64D,
            narrower=("mosaic of small fields",),
        ),
        _class("farmland with natural vegetation", "farmland with natural vegetation", 0xE6CC4D),
        _class("agro-forestry area", "agro-forestry areas", 0xF2CCA6, "agroforestry"),
        _class("broad-leaved forest", "broad-leaved forests", 0x80FF00, "broadleaf forest"),
        _class("coniferous forest", "coniferous forests", 0x00A600, "conifer forest"),
        _class("mixed forest", "mixed forests", 0x4DFF00),
        _class("natural grassland or sparse vegetation", "natural grassland or sparse vegetation", 0xCCF24D),
        _class("heathland or sclerophyllous vegetation", "heathland or sclerophyllous vegetation", 0xA6FF80),
        _class(
            "transitional woodland-shrub", "transitional woodland-shrub", 0xA6F200, narrower=("transitional woodland",)
        ),
        _class("beach, dune or sand", "beaches, dunes and sands", 0xE6E6E6, narrower=("sand",)),
        _class("inland wetland", "inland wetlands", 0xA6A6FF),
        _class("coastal wetland", "coastal wetlands", 0xCCCCFF),
        _class("inland water", "inland waters", 0x80F2E6, "inland water bodies", narrower=("inland water body",)),
        _class("marine water", "marine waters", 0xE6F2FF, narrower=("sea water",)),
    ),
)
"""The 19 classes of BigEarthNet, in its order. Several carry shorter names than there: `BIGEARTHNET_LABELS`."""

BIGEARTHNET_LABELS: Mapping[str, str] = {
    "Urban fabric": "urban fabric",
    "Industrial or commercial units": "industrial or commercial unit",
    "Arable land": "arable land",
    "Permanent crops": "permanent crop",
    "Pastures": "pasture",
    "Complex cultivation patterns": "complex cultivation pattern",
    "Land principally occupied by agriculture, with significant areas of natural vegetation":
        "farmland with natural vegetation",
    "Agro-forestry areas": "agro-forestry area",
    "Broad-leaved forest": "broad-leaved forest",
    "Coniferous forest": "coniferous forest",
    "Mixed forest": "mixed forest",
    "Natural grassland and sparsely vegetated areas": "natural grassland or sparse vegetation",
    "Moors, heathland and sclerophyllous vegetation": "heathland or sclerophyllous vegetation",
    "Transitional woodland, shrub": "transitional woodland-shrub",
    "Beaches, dunes, sands": "beach, dune or sand",
    "Inland wetlands": "inland wetland",
    "Coastal wetlands": "coastal wetland",
    "Inland waters": "inland water",
    "Marine waters": "marine water",
}  # fmt: skip
"""The labels as BigEarthNet's own table writes them -> our names of the classes."""

WORLDCOVER = Nomenclature(
    name="worldcover",
    classes=(
        _class("tree", "trees", 0x006400, "tree cover"),
        _class("shrub", "shrubs", 0xFFBB22, "shrubland"),
        _class("grass", "grass", 0xFFFF4C, "grassland"),
        _class("crop", "crops", 0xF096FF, "cropland"),
        _class("built-up area", "built-up areas", 0xFA0000, "built-up land"),
        _class("bare land", "bare land", 0xB4B4B4, "bare or sparsely vegetated land"),
        _class("snow", "snow", 0xF0F0F0, "snow or ice"),
        _class(
            "permanent water", "permanent water", 0x0064C8, "permanent water bodies", narrower=("permanent water body",)
        ),
        _class("herbaceous wetland", "herbaceous wetlands", 0x0096A0),
        _class("mangrove", "mangroves", 0x00CF75),
        _class("moss or lichen", "moss or lichen", 0xFAE6A0),
    ),
)
"""The eleven classes of ESA WorldCover."""

SATLAS = Nomenclature(
    name="satlas",
    classes=(
        _class("water", "water", 0x0000FF, "water bodies", narrower=("water body",)),
        _class("developed area", "developed areas", 0xFF0000, "built-up areas", narrower=("built-up area",)),
        _class("tree", "trees", 0x00C000, "tree cover"),
        _class("shrub", "shrubs", 0xC8AA78, "shrubland"),
        _class("grass", "grass", 0x00FF00, "grassland"),
        _class("crop", "crops", 0xFFFF00, "cropland"),
        _class("bare land", "bare land", 0x808080),
        _class("snow", "snow", 0xFFFFFF, "snow or ice"),
        _class("wetland", "wetlands", 0x00FFFF),
        _class("mangrove", "mangroves", 0xFF00FF),
        _class("moss", "moss", 0x800080),
    ),
)
"""The eleven classes of SatlasPretrain's land cover, which are those of ChatEarthNet."""

XBD_DAMAGE = Nomenclature(
    name="xbd-damage",
    classes=(
        _class(
            "building",
            "buildings",
            0xA03C14,
            narrower=(
                "house",
                "houses",
            ),
        ),
        _class(
            "undamaged building", "undamaged buildings", 0x00B050, "intact buildings", narrower=("intact building",)
        ),
        _class(
            "slightly damaged building",
            "slightly damaged buildings",
            0xFFD700,
            "buildings with minor damage",
            narrower=("building with minor damage",),
        ),
        _class(
            "severely damaged building",
            "severely damaged buildings",
            0xFF7F00,
            "buildings with major damage",
            narrower=("building with major damage",),
        ),
        _class(
            "destroyed building",
            "destroyed buildings",
            0xC00000,
            narrower=(
                "collapsed building",
                "collapsed buildings",
            ),
        ),
    ),
)
"""Buildings before a disaster (the first class), and by their damage after it, as xBD grades it."""

WHU_OPT_SAR = Nomenclature(
    name="whu-opt-sar",
    classes=(
        _class("farmland", "farmland", 0xCC6600, "cropland"),
        _class("city", "cities", 0xFF0000, "urban areas", narrower=("urban area",)),
        _class("village", "villages", 0xFFFF00, "rural settlements", narrower=("rural settlement",)),
        _class("water", "water", 0x0000FF, "water bodies", narrower=("water body",)),
        _class("forest", "forests", 0x00FF00, "woodland"),
        _class("road", "roads", 0x00FFFF),
    ),
)
"""The classes of WHU-OPT-SAR; what it calls `others` is `OTHER`."""

DFC2020 = Nomenclature(
    name="dfc2020",
    classes=(
        _class("forest", "forests", 0x009900, "woodland"),
        _class("shrubland", "shrubland", 0xC6B044),
        _class("savanna", "savanna", 0xFBFF13),
        _class("grassland", "grassland", 0xB6FF05),
        _class("wetland", "wetlands", 0x27FF87),
        _class("cropland", "cropland", 0xC24F44, "farmland"),
        _class("urban area", "urban areas", 0xA5A5A5, "built-up areas", narrower=("built-up area",)),
        _class("snow", "snow", 0x69FFF8, "snow or ice"),
        _class("barren land", "barren land", 0xF9FFA4),
        _class("water", "water", 0x1C0DFF, "water bodies", narrower=("water body",)),
    ),
)
"""The ten classes of the data fusion contest of 2020, to which the land cover of SEN12MS is commonly reduced."""

NOMENCLATURES: Mapping[str, Nomenclature] = {
    nomenclature.name: nomenclature
    for nomenclature in (TERRASCOPE, CORINE_19, WORLDCOVER, SATLAS, XBD_DAMAGE, WHU_OPT_SAR, DFC2020)
}
"""Every nomenclature by its name."""
