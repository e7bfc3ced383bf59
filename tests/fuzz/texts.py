"""Random texts for everything that reads text: traces, questions, run-length codes, products' metadata."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np

from terrascope import trace
from terrascope.errors import TerraScopeError
from terrascope.georeference import Georeference
from terrascope.masks import decode_rle, encode_rle
from terrascope.question import check_question
from terrascope.rasters.product_names import read_product_name
from terrascope.rasters.products import find_product
from terrascope.scene import Observation, Scene
from tests.fuzz.invariants import check_refusal, demand
from tests.fuzz.mutations import damage
from tests.fuzz.rasters import FILE_NAMES

_WORDS: tuple[str, ...] = (
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "[SEG]",
    "Image: 1",
    "Image: 99",
    "Image:",
    "So ",
    "Hence",
    "34%",
)
_WORDS += (
    "The water:",
    ".",
    "\n",
    " ",
    "1 km",
    "how far",
    "A.",
    "B)",
    "5",
    "²",
    "\x00",
    "\ud800",
    "٣%",
    "1e999 ha",
    "ü",
)

_MTL = 'GROUP = LANDSAT_METADATA_FILE\n  REFLECTANCE_MULT_BAND_1 = 2.75E-05\n  SPACECRAFT_ID = "LANDSAT_8"\nEND\n'
_SAFE = """<n1:Level-2A_User_Product xmlns:n1="x"><PROCESSING_BASELINE>05.09</PROCESSING_BASELINE>
<PRODUCT_START_TIME>2023-01-01T10:00:00Z</PRODUCT_START_TIME><BOA_QUANTIFICATION_VALUE>10000</BOA_QUANTIFICATION_VALUE>
<BOA_ADD_OFFSET band_id="1">-1000</BOA_ADD_OFFSET></n1:Level-2A_User_Product>"""
_BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">' + "".join(
    f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in zip("bcdefgh", "cdefghi", strict=True)
)
_BOMB += "]><x><PROCESSING_BASELINE>&i;</PROCESSING_BASELINE></x>"


def read_text(random: Random, folder: Path) -> str:
    """Give a random text to one of the readers: `read`, or `refused` in one sentence."""
    reader = random.choice(_READERS)
    try:
        reader(random, folder)
    except TerraScopeError as error:
        check_refusal(error)
        return "refused"
    return "read"


def _words(random: Random) -> str:
    return "".join(random.choice(_WORDS) + random.choice(("", " ")) for _ in range(random.randint(0, 30)))


def _trace(random: Random, folder: Path) -> None:
    text = _words(random)
    parsed = trace.parse(text)
    demand(len(parsed.grounded_steps) == text.count("[SEG]"), f"another number of steps: {text!r}")
    demand(trace.parse(trace.render(parsed)) == parsed, f"a parsed trace does not read back: {text!r}")
    images = trace.resolve_images(parsed, 2)
    demand(all(1 <= image <= 2 for image in images), f"a step on an image that is not there: {text!r}")


def _question(random: Random, folder: Path) -> None:
    scene = Scene.of(
        optical=[
            Observation(
                pixels=np.zeros((1, 2, 2), np.float32),
                bands=("red",),
                modality="optical",
                sensor="rgb",
                valid=np.ones((2, 2), bool),
                georeference=Georeference(gsd_m=random.choice((None, 10.0))),
            )
        ]
    )
    question, options = check_question(scene, _words(random), [_words(random) for _ in range(random.randint(0, 6))])
    demand(question == " ".join(question.split()) != "", f"a question that is not trimmed: {question!r}")
    demand(len(set(options)) == len(options) != 1, f"options that do not differ: {options!r}")


def _run_lengths(random: Random, folder: Path) -> None:
    size = [random.choice((0, 1, 2, 7, 40)) for _ in "hw"]
    mask = np.random.default_rng(random.getrandbits(32)).random(size) < random.random()
    code = encode_rle(mask)
    demand(np.array_equal(decode_rle(code), mask), "a mask does not read back")
    counts = damage(random, code["counts"].encode("ascii"))
    odd_sizes = (size, size[::-1], [-1, -1], [2**31, 2**31], ["x", 1], [1.5, 2], None, [1], [True, 2**70])
    claimed = size if random.random() < 0.5 else random.choice(odd_sizes)
    decoded = decode_rle({"size": claimed, "counts": random.choice((counts, counts.decode("latin-1")))})
    demand(decoded.dtype == np.bool_ and list(decoded.shape) == [int(side) for side in claimed], "another size")


def _product(random: Random, folder: Path) -> None:
    """A folder that looks like a product, with damaged metadata and no image that could be read."""
    name = random.choice(FILE_NAMES) + random.choice(("", ".SAFE"))
    mixed = "".join(random.choice((part, part, part[::-1], "")) + "_" for part in name.split("_"))
    for text in (name, mixed, _words(random)):
        read_product_name(text, is_folder=random.random() < 0.5)
    product = folder / name
    product.mkdir()
    for file in ("MTD_MSIL2A.xml", "MTD_MSIL1C.xml", f"{name}_MTL.txt", f"{name}_MTL.xml", "manifest.safe"):
        if random.random() < 0.6:
            content = random.choice((_SAFE, _SAFE, _MTL, _BOMB, "<a>" * 5000)).encode()
            (product / file).write_bytes(damage(random, content) if random.random() < 0.8 else content)
    find_product(product)


_READERS: tuple[Callable[[Random, Path], None], ...] = (_trace, _question, _run_lengths, _product)
