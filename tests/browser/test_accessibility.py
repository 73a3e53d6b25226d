"""What a screen reader gets: Chromium's own accessibility tree, and what the live regions say while one draws."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Visit, draw, draw_shoe, found

pytestmark = pytest.mark.browser


@dataclass(frozen=True)
class Node:
    """One node of the tree, as Chromium hands it to a screen reader."""

    role: str
    name: str
    properties: dict[str, Any]


def nodes(page: Page) -> list[Node]:
    """All that a screen reader can reach."""
    session = page.context.new_cdp_session(page)
    session.send("Accessibility.enable")
    tree = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    return [
        Node(
            one["role"]["value"],
            one.get("name", {}).get("value", ""),
            {item["name"]: item["value"].get("value") for item in one.get("properties", [])},
        )
        for one in tree
        if not one["ignored"]
    ]


def controls(page: Page) -> list[Node]:
    """What can have the focus."""
    return [one for one in nodes(page) if one.properties.get("focusable") and one.role != "RootWebArea"]


def listen(page: Page) -> None:
    """Write down what each live region says from now on, whenever it says something else."""
    page.evaluate(
        """() => {
          window.said = [];
          for (const region of document.querySelectorAll("[role=status], [role=alert]")) {
            let last = region.textContent;
            new MutationObserver(() => {
              if (region.textContent !== last && region.textContent) said.push(region.textContent);
              last = region.textContent;
            }).observe(region, { childList: true, subtree: true, characterData: true });
          }
        }"""
    )


def said(page: Page) -> list[str]:
    found: list[str] = page.evaluate("window.said")
    return found


def test_the_page_reads_as_a_sketch_and_the_photos_found(visit: Visit) -> None:
    expect(visit.page.locator("body")).to_match_aria_snapshot(
        """
        - banner:
          - heading "Draw to search" [level=1]
          - paragraph: 42 photos
        - main:
          - region "Sketch":
            - application "Canvas to draw on"
            - paragraph: /Arrow keys move the pen/
            - toolbar "Drawing tools":
              - button "Undo" [disabled]
              - button "Redo" [disabled]
              - button "Clear" [disabled]
              - slider "Width of the pen"
              - button "Upload"
            - group:
              - group "category"
              - group "group"
              - group "price"
              - group "tags"
          - region "Photos found":
            - status
            - combobox "Show"
            - button "Copy link" [disabled]
            - list "Photos, nearest first"
            - paragraph: /Photos that look like your drawing/
            - button "Draw one for me"
        """
    )


def test_every_control_has_a_role_and_a_name_of_its_own(visit: Visit) -> None:
    page = visit.page
    draw_shoe(page)
    expect(page.locator(".card")).to_have_count(12)
    known = controls(page)
    assert [one for one in known if not one.name] == []
    assert {one.role for one in known} <= {
        "application", "button", "slider", "combobox", "checkbox", "spinbutton", "option", "DisclosureTriangle",
    }  # fmt: skip
    names = [(one.role, one.name) for one in known if one.role == "button"]
    assert len(names) == len(set(names))
    assert ("button", "Undo") in names
    cards = [name for _, name in names if name.startswith("Rank ")]
    assert [int(name.split()[1].rstrip(":")) for name in cards] == list(range(1, 13))
    assert all(re.fullmatch(r"Rank \d+: \S+, distance \d\.\d{3}\. Why\?", name) for name in cards)
    (slider,) = [one for one in known if one.role == "slider"]
    assert (slider.properties["valuemin"], slider.properties["valuemax"]) == (2, 14)


def test_each_new_answer_is_said_once_and_names_the_first_photos(visit: Visit) -> None:
    page = visit.page
    (status,) = [one for one in nodes(page) if one.role == "status"]
    assert (status.properties["live"], status.properties["atomic"]) == ("polite", True)
    listen(page)
    draw_shoe(page)
    expect(page.locator(".card")).to_have_count(12)
    names = [name for name, _ in found(page)[:3]]
    assert said(page)[-1] == f"The 12 nearest of 42 photos. First: {', '.join(names)}"
    assert page.locator("#results").get_attribute("aria-busy") == "false"
    before = len(said(page))
    draw(page, (0.3, 0.1), (0.7, 0.1), (0.7, 0.3), (0.3, 0.3))
    found(page)
    assert said(page)[before:] == ["Searching…", said(page)[-1]]
    assert said(page)[-1].startswith("The 12 nearest of 42 photos. First: ")
    page.get_by_role("button", name="Clear").click()
    draw(page, (0.5, 0.5), (0.52, 0.5))
    expect(page.locator("#status")).to_have_text("Go on drawing: a few more lines.")
    assert said(page)[-1] == "Go on drawing: a few more lines."


def test_an_error_is_said_at_once(visit: Visit) -> None:
    page = visit.page
    listen(page)
    page.route("**/v1/search", lambda route: route.abort())
    draw_shoe(page)
    expect(page.get_by_role("alert")).to_contain_text("can't be reached")
    (alert,) = [one for one in nodes(page) if one.role == "alert"]
    assert alert.properties["live"] == "assertive"
    assert any("can't be reached" in text for text in said(page))


def focused(page: Page) -> Locator:
    return page.locator(":focus")


def test_an_explanation_takes_the_focus_says_its_point_and_gives_the_focus_back(visit: Visit) -> None:
    page = visit.page
    draw_shoe(page)
    expect(page.locator(".card")).to_have_count(12)
    found(page)
    listen(page)
    page.locator(".card").nth(1).focus()
    page.keyboard.press("Enter")
    expect(page.locator(".parts .fill")).to_have_count(9)
    assert re.fullmatch(r"Lower is nearer\. Region \d differs most: \d+ % of the distance\.", said(page)[-1])
    reachable = nodes(page)
    (dialog,) = [one for one in reachable if one.role == "dialog"]
    assert dialog.name.startswith("2. ")
    assert not [one for one in reachable if one.name in ("Undo", "Canvas to draw on")], (
        "the page behind is out of reach"
    )
    assert [one.name for one in reachable if one.role == "table"] == ["What the distance is made of"]
    assert sorted(one.name for one in reachable if one.role in ("image", "img") and "look" in one.name) == [
        "Photo: where all regions look",
        "Your sketch: where all regions look",
    ]
    page.get_by_role("button", name="Region 2").click()
    assert page.get_by_role("button", name="Region 2").get_attribute("aria-pressed") == "true"
    page.keyboard.press("Escape")
    expect(page.locator("#why")).to_be_hidden()
    expect(page.locator(".card").nth(1)).to_be_focused()


def test_by_tab_alone_everything_is_reached_in_the_order_it_is_seen(visit: Visit) -> None:
    page = visit.page
    draw_shoe(page)
    expect(page.locator(".card")).to_have_count(12)
    page.evaluate("document.activeElement.blur()")
    page.locator("h1").click()
    order = []
    for _ in range(100):
        page.keyboard.press("Tab")
        name = page.evaluate(
            "() => document.activeElement.id || document.activeElement.ariaLabel || document.activeElement.name || ''"
        )
        order.append(name)
        if name.startswith("Rank 12"):
            break
    assert order[:5] == ["canvas", "undo", "clear", "brush", "upload"]
    assert order.index("top-k") < order.index("link")
    assert [int(name.split()[1].rstrip(":")) for name in order if name.startswith("Rank ")] == list(range(1, 13))


def test_the_canvas_shows_all_of_its_focus_ring(visit: Visit) -> None:
    page = visit.page
    page.keyboard.press("Tab")
    room, ring = page.evaluate(
        """() => {
          const paper = document.getElementById("paper"), style = getComputedStyle(paper);
          const [inner, outer] = [paper, paper.closest(".left")].map((one) => one.getBoundingClientRect());
          return [
            [inner.left - outer.left, inner.top - outer.top, outer.right - inner.right],
            parseFloat(style.outlineWidth) + parseFloat(style.outlineOffset),
          ];
        }"""
    )
    assert ring == 4
    assert min(room) >= ring, "what scrolls cuts off what sticks out of it"
