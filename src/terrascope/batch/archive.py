"""Scenes from an archive: the search of a STAC API, kept in the folder of the batch so that a batch asks one thing."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from terrascope.batch.folder import ABOUT
from terrascope.batch.plan import Plan, make_plan, number_questions
from terrascope.batch.stac_images import StacImages
from terrascope.errors import ArchiveError, ManifestError, OutputError, SceneError
from terrascope.output import check_folder, written_whole
from terrascope.rasters.grids import LonLatBox, check_box
from terrascope.rasters.paths import is_remote
from terrascope.rasters.sensors import sensor_named
from terrascope.rasters.time_order import check_days

if TYPE_CHECKING:
    import pystac
    from pystac_client import Client

SEARCH = "search.json"

_PAGE = 100
_MAX_RETRIES = 2
_NAMED_COLLECTIONS = 10
"""Collections that a sentence names where the one asked for is unknown."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is looked for.

    Attributes:
        address: of the STAC API.
        collection: its name there.
        bbox: in degrees; the scenes are cut to it.
        datetime: a day, or the first and the last day with a slash between them; None for all.
        max_cloud: percent of clouds, by the item, above which an image is left out; one that does not say stays.
        limit: images at most, those that the archive names first.
        group: a scene is an item, or all items of one day side by side.
        sensor, sar_sensor: what the images are, where the items do not tell.
    """

    address: str
    collection: str
    bbox: LonLatBox | None = None
    datetime: str | None = None
    max_cloud: float | None = None
    limit: int = 100
    group: Literal["item", "day"] = "item"
    sensor: str | None = None
    sar_sensor: str | None = None

    @classmethod
    def of(cls, *, address: str, collection: str | None, bbox: str | None, **more: Any) -> Search:
        """The search that options describe.

        Raises:
            ArchiveError: something is missing, or not of its form.
            SceneError: the box or a sensor is none.
        """
        if not is_remote(address):
            raise ArchiveError(f"--stac {address}: is no address; write it as https://host/stac")
        if not collection:
            raise ArchiveError(f"--stac {address}: give the collection to search with --collection")
        box = None if bbox is None else check_box(bbox.split(","))
        if more.get("group") == "day" and box is None:
            raise ArchiveError("--group day puts images side by side; say how far they shall reach with --bbox")
        if more.get("group") == "day" and box is not None and box[0] > box[2]:
            raise ArchiveError("--group day has no grid across the antimeridian; search either side of it")
        for name in (more.get("sensor"), more.get("sar_sensor")):
            if name is not None:
                sensor_named(name)
        search = cls(address=address, collection=collection, bbox=box, **more)
        _check_datetime(search.datetime)
        return search

    def describe(self) -> dict[str, Any]:
        """The same as JSON values."""
        described: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return described


def plan_of(search: Search, questions: Sequence[str], out: Path, *, timeout_s: float) -> Plan:
    """The same questions about everything that a search finds; the one that `out` holds is not searched again.

    Args:
        timeout_s: seconds that the archive may be silent.

    Raises:
        ArchiveError: the archive cannot be searched, or has nothing.
        ManifestError: no question is given.
        OutputError: `out` cannot be written, or holds a batch of another search.
    """
    asked = [" ".join(question.split()) for question in questions]
    if not asked or not all(asked):
        raise ManifestError("nothing is asked of the scenes; give --question TEXT")
    folder = check_folder(out)
    items = _kept(folder, search)
    if items is None:
        items = find_items(search, timeout_s=timeout_s)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made ({error.strerror}); give another --out") from None
        with written_whole(folder / SEARCH) as unfinished:
            found = {"search": search.describe(), "items": items}
            unfinished.write_text(json.dumps(found, ensure_ascii=False) + "\n", encoding="utf-8")
    scenes = []
    for name, together in _grouped(items, search):
        images = StacImages(
            items=tuple(together),
            bbox=search.bbox,
            fills_box=search.group == "day",
            sensor=search.sensor,
            sar_sensor=search.sar_sensor,
        )
        scenes.append((name, images, number_questions(name, asked)))
    return make_plan(f"{search.collection} of {search.address}", scenes)


def find_items(search: Search, *, timeout_s: float) -> list[dict[str, Any]]:
    """The items that a search finds, in order of time, as JSON values with whole addresses.

    Raises:
        ArchiveError: pystac-client is missing, the archive does not answer or refuses, has no such collection, or
            nothing that was looked for.
    """
    try:
        import requests
        from pystac import STACError, STACTypeError
        from pystac_client import Client
        from pystac_client.errors import ClientTypeError
        from pystac_client.exceptions import APIError
        from pystac_client.stac_api_io import StacApiIO
    except ImportError:
        raise ArchiveError(
            "--stac needs pystac-client and odc-stac; install them with: pip install 'terrascope-eo[stac]'"
        ) from None

    # Servers that announce themselves badly are warned of on standard error, in the words of the library.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            reader = StacApiIO(max_retries=_MAX_RETRIES)
            client = Client.open(search.address, stac_io=reader, timeout=timeout_s)
            _check_collection(client, search)
            found = list(_items(client, search))
        except (APIError, STACError, requests.RequestException, NotImplementedError) as error:
            raise ArchiveError(f"{search.address}: {_reason(error, timeout_s)}") from None
        except (STACTypeError, ClientTypeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArchiveError(
                f"{search.address}: does not answer as a STAC API does ({_short(error)}); give the address of one"
            ) from None
    if not found:
        raise ArchiveError(f"{search.address}: finds no image of {search.collection}{_where(search)}; look further")
    return sorted(found, key=lambda item: (item["properties"].get("datetime") or "", item["id"]))


def _items(client: Client, search: Search) -> Iterator[dict[str, Any]]:
    import pystac

    pages = client.search(
        collections=[search.collection],
        bbox=None if search.bbox is None else list(search.bbox),
        datetime=search.datetime,
        limit=min(_PAGE, search.limit),
        query={"eo:cloud_cover": {"lte": search.max_cloud}} if _asks_for_clouds(client, search) else None,
    ).pages_as_dicts()
    seen: set[str] = set()
    num_found = 0
    for page in pages:
        features = [feature for feature in page["features"] if feature["id"] not in seen]
        # A server may lead from page to page without end.
        if not features:
            return
        for feature in features:
            seen.add(feature["id"])
            item = pystac.Item.from_dict(feature)
            cloud = item.properties.get("eo:cloud_cover")
            if search.max_cloud is not None and cloud is not None and cloud > search.max_cloud:
                continue
            yield _as_json(item)
            num_found += 1
            if num_found == search.limit:
                return


def _asks_for_clouds(client: Client, search: Search) -> bool:
    from pystac_client import ConformanceClasses

    return search.max_cloud is not None and client.conforms_to(ConformanceClasses.QUERY)


def _as_json(item: pystac.Item) -> dict[str, Any]:
    item.make_asset_hrefs_absolute()
    told: dict[str, Any] = item.to_dict(include_self_link=False, transform_hrefs=False)
    # Links lead back into the archive; nothing here follows them.
    return {**told, "links": []}


def _check_collection(client: Client, search: Search) -> None:
    from pystac_client import ConformanceClasses

    if not client.conforms_to(ConformanceClasses.COLLECTIONS) or client.get_collection(search.collection) is not None:
        return
    names = sorted(collection.id for collection in client.get_collections())
    shown = ", ".join(names[:_NAMED_COLLECTIONS]) + (" ..." if len(names) > _NAMED_COLLECTIONS else "")
    raise ArchiveError(f"{search.address}: has no collection {search.collection!r}; it has {shown or 'none'}")


def _kept(folder: Path, search: Search) -> list[dict[str, Any]] | None:
    """What an earlier search has found for the batch in this folder; None where none has.

    Raises:
        OutputError: the batch there is of another search.
    """
    path = folder / SEARCH
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
        its_search, items = there["search"], list(there["items"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise OutputError(f"{path}: not readable as a search; remove it, or give another --out") from None
    if its_search == search.describe():
        return items
    if not (folder / ABOUT).exists():
        return None
    raise OutputError(f"{folder}: holds a batch of another search; give another --out, or remove that batch")


def _grouped(items: Sequence[dict[str, Any]], search: Search) -> list[tuple[str, list[dict[str, Any]]]]:
    """Scenes by name, in order of time."""
    if search.group == "item":
        return [(item["id"], [item]) for item in items]
    days: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        days.setdefault((item["properties"].get("datetime") or item["id"])[:10], []).append(item)
    return [(f"{search.collection}-{day}", together) for day, together in days.items()]


def _check_datetime(text: str | None) -> None:
    if text is None:
        return
    parts = text.split("/")
    days = [part for part in parts if part != ".."]
    try:
        known = check_days(days, len(days))
    except SceneError as error:
        raise ArchiveError(f"--datetime {text}: {error}") from None
    first_last = [day for day in known if day is not None]
    if len(parts) > 2 or not days or first_last != sorted(first_last):
        raise ArchiveError(f"--datetime {text}: write a day, or the first and the last day as 2024-05-01/2024-05-31")


def _where(search: Search) -> str:
    told = [
        f"in bbox {','.join(f'{side:g}' for side in search.bbox)}" if search.bbox else "",
        f"at {search.datetime}" if search.datetime else "",
        f"with at most {search.max_cloud:g} % of clouds" if search.max_cloud is not None else "",
    ]
    return "".join(f" {part}" for part in told if part)


def _reason(error: Exception, timeout_s: float) -> str:
    status = getattr(error, "status_code", None)
    said = _short(error)
    if status is not None:
        return f"the archive answers with error {status}; check the address and what is searched"
    if re.search(r"timed out|timeout", said, re.IGNORECASE):
        tried = f"{_MAX_RETRIES + 1} times tried"
        return f"the archive does not answer within {timeout_s:g} s, {tried}; give a larger --timeout, or try later"
    if re.search(r"refused|resolve|retries|unreachable|aborted|connection", said, re.IGNORECASE):
        return "the archive cannot be reached; check the address and the connection"
    return f"does not answer as a STAC API does ({said}); give the address of one"


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
