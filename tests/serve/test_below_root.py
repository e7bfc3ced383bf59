"""Paths are followed to where they lead, by links in folders that are links themselves too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from product_trees import S2_L2A, safe_l2a
from serve.told import fields
from terrascope.serve import below_root
from terrascope.serve.below_root import resolve_path, state_of
from terrascope.serve.refusals import Refusal

FIELD = "optical_path"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """`scene` leads by a linked folder to `other`, all of it below the root; `secret` lies outside."""
    for name in ("root/scene", "root/other/deep", "secret"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "secret" / "a.tif").write_bytes(b"secret")
    (tmp_path / "root" / "scene" / "linked").symlink_to(tmp_path / "root" / "other")
    return tmp_path / "root"


def test_links_within_the_root_are_followed(root: Path) -> None:
    (root / "other" / "deep" / "back").symlink_to(root / "scene")
    (root / "other" / "deep" / "a.tif").symlink_to(root / "other")
    assert resolve_path("scene", root, FIELD) == str(root / "scene")


@pytest.mark.parametrize("place", ["other", "other/deep"])
@pytest.mark.parametrize("target", ["secret/a.tif", "secret", "."])
def test_a_folder_that_leads_out_by_a_linked_folder_is_refused(root: Path, place: str, target: str) -> None:
    (root / place / "x.tif").symlink_to(root.parent / target)
    with pytest.raises(Refusal) as refused:
        resolve_path("scene", root, FIELD)
    assert (refused.value.status, refused.value.code, refused.value.field) == (403, "outside", FIELD)


def test_a_product_whose_bands_lie_outside_behind_a_linked_folder_is_not_read(
    start: Callable[..., object], root: Path
) -> None:
    """Its granule is a link to a folder below the root, in which the bands are links to files outside."""
    outside = safe_l2a(root.parent / "secret")
    (granule,) = (outside / "GRANULE").iterdir()
    bands = root / "other" / "L2A" / "IMG_DATA" / "R10m"
    bands.mkdir(parents=True)
    for file in (granule / "IMG_DATA" / "R10m").iterdir():
        (bands / file.name).symlink_to(file)
    (root / S2_L2A).mkdir()
    (root / S2_L2A / "GRANULE").symlink_to(root / "other")
    client = start(root=root)
    reply = client.post("/v1/ask", files=fields(question="How much is water?", optical_path=S2_L2A))  # type: ignore[attr-defined]
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "outside")


def test_a_folder_of_too_much_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(below_root, "_MAX_ENTRIES", 5)
    for number in range(5):
        (root / "other" / "deep" / f"{number}.txt").touch()
    with pytest.raises(Refusal, match="holds too much to be one product"):
        resolve_path("scene", root, FIELD)


class TestStates:
    @pytest.fixture(autouse=True)
    def settled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(below_root, "_SETTLED_NS", 0)

    def test_files_that_reading_may_go_by_count_and_other_images_do_not(self, root: Path) -> None:
        image = root / "other" / "deep" / "a.tif"
        image.write_bytes(b"1")

        def state() -> object:
            return state_of(str(image), root)

        states = [state()]
        assert states[0] is not None and state() == states[0]
        (image.parent / "b.tif").touch()
        (root / "scene" / "a.xml").touch()
        assert state() == states[0]
        for name in ("other/deep/a.tfw", "other/deep/a.tif", "other/MTD_MSIL2A.xml", "about.txt", "other/deep/a.png"):
            (root / name).write_bytes(b"22")
            states.append(state())
        assert None not in states and len(set(states)) == 6

    def test_each_of_several_files_counts(self, root: Path) -> None:
        files = [str(root / "other" / name) for name in ("a.tif", "b.tif")]
        for file in files:
            Path(file).write_bytes(b"1")
        before = state_of(files, root)
        assert before is not None and before != state_of(files[::-1], root)
        Path(files[1]).write_bytes(b"2")
        assert state_of(files, root) not in (None, before)

    def test_nothing_above_the_root_counts(self, root: Path) -> None:
        states = []
        for given in (root, root / "other"):
            before = state_of(str(given), root)
            (root.parent / f"above {given.name}.txt").touch()
            states.append((before, state_of(str(given), root)))
        assert all(before == after is not None for before, after in states)

    def test_among_too_many_others_none_is_looked_for(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        image = root / "other" / "a.tif"
        image.touch()
        assert state_of(str(image), root) is not None
        monkeypatch.setattr(below_root, "_MAX_ENTRIES", 20)
        for number in range(20):
            (root / "other" / f"b{number}.tif").touch()
        assert state_of(str(image), root) is None

    def test_what_is_gone_or_has_metadata_elsewhere_has_none(self, root: Path) -> None:
        assert state_of(str(root / "other" / "gone" / "a.tif"), root) is None
        image = root / "scene" / "measurement" / "a.tiff"
        image.parent.mkdir()
        image.touch()
        assert state_of(str(image), root) is None
