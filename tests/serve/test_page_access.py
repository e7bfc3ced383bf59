"""The page for everyone, in a real browser: small screens, keys alone, screen readers, contrast, rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the server comes with the serve extra")
pytest.importorskip("playwright.sync_api", reason="a browser is driven by playwright, of the dev extra")
from tests.serve.visiting import Open, Teller, Visit, serving

pytest_plugins = ("tests.serve.page_fixtures",)


def overflow(one: Visit) -> list[str]:
    """Elements that reach beyond the right edge, and the page itself if it can be moved sideways."""
    return one.page.evaluate(
        "() => [...document.querySelectorAll('body *')].filter((e) => !e.closest('.unseen, .skip, svg')"
        " && e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 0.5)"
        ".map((e) => e.outerHTML.slice(0, 80))"
        ".concat(document.documentElement.scrollWidth > innerWidth ? ['the page'] : [])"
    )


def test_nothing_leaves_a_small_screen(visit: Open, place: Path, later: Path) -> None:
    one = visit(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    assert overflow(one) == []
    one.page.set_input_files("#files", [place, later])
    for part in ("#part-options", "#part-details"):
        one.page.click(f"{part} > summary")
    one.ask()
    one.page.check("#compare")
    for part in ("#scene-part", "#raw-part", ".keys"):
        one.page.click(f"{part} > summary")
    assert overflow(one) == []


def test_the_tab_key_passes_everything_in_order_and_shows_where_it_is(visit: Open) -> None:
    one = visit()
    passed = []
    for _ in range(16):
        one.page.keyboard.press("Tab")
        passed.append(
            one.page.evaluate(
                "() => { const e = document.activeElement; const s = e.id === 'files' ? e.previousElementSibling : e;"
                " return [e.id || e.className || e.tagName, getComputedStyle(s).outlineStyle !== 'none']; }"
            )
        )
    names = [name for name, _ in passed]
    assert names[:4] == ["skip", "files", "sample", "question"]
    assert names[4:10] == ["chip"] * 6
    assert names[10:] == ["SUMMARY", "SUMMARY", "ask", "SUMMARY", "BODY", "skip"]
    assert all(shown for name, shown in passed if name != "BODY")
    one.page.keyboard.press("Enter")
    assert one.page.evaluate("document.activeElement.id") == "result"


def test_no_control_of_the_answer_holds_the_focus(visit: Open, place: Path, later: Path) -> None:
    one = visit()
    one.page.set_input_files("#files", [place, later])
    one.ask()
    one.page.check("#compare")
    one.page.focus("#result")
    passed = []
    while len(passed) < 40 and (not passed or passed[-1] != "BODY"):
        one.page.keyboard.press("Tab")
        passed.append(
            one.page.evaluate(
                "document.activeElement.id || document.activeElement.className || document.activeElement.tagName"
            )
        )
    assert passed[:9] == ["canvas", "divider", "zoom-in", "zoom-out", "zoom-fit", "compare", "left", "right", "opacity"]
    assert passed[9:12] == ["all-masks", "head", "head"] and passed[-1] == "BODY"


def test_what_happens_is_said_to_those_who_do_not_see_it(visit: Open, place: Path) -> None:
    one = visit()
    one.page.evaluate(
        "() => { window.said = []; new MutationObserver(() => said.push(document.querySelector('#spoken').textContent))"
        ".observe(document.querySelector('#spoken'), { childList: true }); }"
    )
    one.page.set_input_files("#files", place)
    one.ask()
    assert one.page.evaluate("said") == [
        "The question was sent.",
        "Step 1: The water: covers 10.0 %, 2 ha.",
        "Step 2: The trees: covers 12.5 %, 2.5 ha.",
        "Answer: 10%.",
    ]
    assert one.page.locator("#spoken").get_attribute("aria-live") == "polite"


CONTRAST = """() => {
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (rgb) => rgb.reduce((sum, v, i) => sum + linear(v / 255) * [0.2126, 0.7152, 0.0722][i], 0);
  const parse = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return [...n.slice(0, 3), n[3] ?? 1]; };
  const over = (top, below) => top.slice(0, 3).map((v, i) => v * top[3] + below[i] * (1 - top[3]));
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); ) {
    const element = node.parentElement;
    if (!node.textContent.trim() || !element.checkVisibility()) continue;
    if (element.closest('svg, .unseen, .skip, .scale, :disabled')) continue;
    const chain = [];
    for (let e = element; e; e = e.parentElement) chain.unshift(parse(getComputedStyle(e).backgroundColor));
    const ground = chain.reduce((below, top) => over(top, below), [255, 255, 255]);
    const style = getComputedStyle(element);
    const ink = over(parse(style.color), ground);
    const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.push([node.textContent.trim().slice(0, 40), ratio.toFixed(2)]);
  }
  return poor;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(browser: Any, scheme: str, place: Path, later: Path) -> None:
    with serving(Teller(stated_percent=34)) as address:
        one = Visit(browser, address, color_scheme=scheme)
        ground = one.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, ground[4:-1].split(","))) < 120) == (scheme == "dark")
        assert one.page.evaluate(CONTRAST) == []
        one.page.set_input_files("#files", [place, later])
        one.ask()
        one.page.check("#compare")
        for part in ("#part-options", "#part-details", "#scene-part", "#raw-part", ".keys"):
            one.page.click(f"{part} > summary")
        assert one.page.evaluate(CONTRAST) == []
        one.page.fill("#question", "")
        one.page.click("#ask")
        assert one.page.evaluate(CONTRAST) == [], "errors"
        one.close()


def test_nothing_moves_for_those_who_want_rest(visit: Open, teller: Teller) -> None:
    teller.may_go_on.clear()
    try:
        one = visit()
        one.page.click("#sample")
        one.page.press("#question", "Enter")
        one.page.locator("#draft").wait_for()
        assert one.page.evaluate("document.getAnimations().length") == 0
    finally:
        teller.may_go_on.set()
    one.page.locator("#state", has_text="Answered").wait_for()


def test_every_control_has_a_name(visit: Open, place: Path, later: Path) -> None:
    one = visit()
    one.page.set_input_files("#files", [place, later])
    one.ask()
    one.page.check("#compare")
    for part in ("#part-options", "#part-details", "#scene-part", "#raw-part", ".keys"):
        one.page.click(f"{part} > summary")
    tree = one.context.new_cdp_session(one.page).send("Accessibility.getFullAXTree")["nodes"]
    told = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree
        if not node["ignored"]
        and {"name": "focusable", "value": {"type": "booleanOrUndefined", "value": True}} in node.get("properties", [])
    ]
    assert len(told) > 40 and {"slider", "button", "textbox", "combobox", "checkbox", "link"} <= {r for r, _ in told}
    # The page itself and what a link skips to are no controls.
    assert [role for role, name in told if not name and role not in ("RootWebArea", "main")] == []
