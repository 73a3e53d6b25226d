"""Drawing on the page: every line is searched, and what is shown belongs to what is drawn."""

from typing import Any

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import Shots, Visit, draw, draw_shoe, found, searches

pytestmark = pytest.mark.browser


def test_photos_appear_while_drawing_and_change_with_every_line(visit: Visit, shots: Shots) -> None:
    page = visit.page
    shots.take(page, "1-start")
    draw_shoe(page)
    expect(page.locator(".card")).to_have_count(12)
    first = found(page)
    draw(page, (0.4, 0.1), (0.6, 0.1), (0.6, 0.3), (0.4, 0.3), (0.4, 0.1))
    expect(page.locator(".results .distance").first).not_to_have_text(first[0][1])
    second = found(page)
    assert [float(distance.split()[1]) for _, distance in second] == sorted(float(d.split()[1]) for _, d in second)
    assert page.locator(".rank").all_inner_texts() == [str(rank) for rank in range(1, 13)]
    assert len(searches(visit)) == 3
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".results .distance").first).to_have_text(first[0][1])
    assert found(page) == first
    page.get_by_role("button", name="Redo").click()
    expect(page.locator(".results .distance").first).to_have_text(second[0][1])
    page.keyboard.press("Control+z")
    expect(page.locator(".results .distance").first).to_have_text(first[0][1])


def test_an_older_answer_is_never_shown_after_a_newer_one(visit: Visit) -> None:
    page, held = visit.page, list[Route]()

    def hold_the_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    page.route("**/v1/search", hold_the_first)
    draw(page, (0.1, 0.5), (0.9, 0.5))
    draw(page, (0.5, 0.1), (0.5, 0.9))
    expect(page.locator(".card")).to_have_count(12)
    shown = found(page)
    answer = {"status": "ok", "matches": [{"id": "old", "rank": 1, "distance": 0.0, "metadata": None}], "photos": 1}
    held[0].fulfill(json=answer)
    page.wait_for_timeout(200)
    assert found(page) == shown


def test_almost_nothing_on_the_canvas_gets_a_calm_word(visit: Visit, shots: Shots) -> None:
    page = visit.page
    draw(page, (0.5, 0.5), (0.52, 0.5))
    expect(page.locator("#status")).to_have_text("Go on drawing: a few more lines.")
    expect(page.locator(".card")).to_have_count(0)
    shots.take(page, "2-almost-nothing")


def test_clearing_empties_page_and_canvas_and_can_be_undone(visit: Visit) -> None:
    page = visit.page
    draw_shoe(page)
    expect(page.locator(".card")).to_have_count(12)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".card")).to_have_count(0)
    expect(page.locator("#empty")).to_be_visible()
    expect(page.get_by_role("button", name="Clear")).to_be_disabled()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".card")).to_have_count(12)


def test_the_brush_sets_the_width_of_the_next_line(visit: Visit) -> None:
    page = visit.page
    draw(page, (0.1, 0.5), (0.9, 0.5))
    page.get_by_label("Width of the pen").fill("12")
    draw(page, (0.5, 0.1), (0.5, 0.9))
    found(page)
    strokes: Any = searches(visit)[-1]["drawing"]
    assert [stroke["width"] for stroke in strokes["strokes"]] == [4, 12]


def test_a_pens_pressure_is_searched_with(visit: Visit) -> None:
    page = visit.page
    page.evaluate(
        """() => {
          const canvas = document.getElementById("canvas"), box = canvas.getBoundingClientRect();
          canvas.setPointerCapture = () => {};
          const send = (type, x, pressure) => canvas.dispatchEvent(new PointerEvent(type, {
            pointerType: "pen", pointerId: 7, button: type === "pointermove" ? -1 : 0, pressure,
            clientX: box.left + x * box.width, clientY: box.top + 0.5 * box.height }));
          send("pointerdown", 0.1, 0.25);
          send("pointermove", 0.5, 0.5);
          send("pointermove", 0.9, 1);
          send("pointerup", 0.9, 0);
        }"""
    )
    found(page)
    drawing: Any = searches(visit)[-1]["drawing"]
    assert [point[2] for point in drawing["strokes"][0]["points"]] == [0.25, 0.5, 1]


def test_the_keyboard_draws(visit: Visit, shots: Shots) -> None:
    page = visit.page
    page.keyboard.press("Tab")
    expect(page.locator("#canvas")).to_be_focused()
    page.keyboard.press("Space")
    for _ in range(15):
        page.keyboard.press("ArrowRight")
    shots.take(page, "3-keyboard")
    for _ in range(5):
        page.keyboard.press("ArrowUp")
    for _ in range(8):
        page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press("Space")
    expect(page.locator(".card")).to_have_count(12)
    drawing: Any = searches(visit)[-1]["drawing"]
    assert drawing["strokes"][0]["points"][-1] == [350, 134]


def test_the_example_draws_itself_and_finds_shoes(visit: Visit, shots: Shots) -> None:
    page = visit.page
    page.get_by_role("button", name="Draw one for me").click()
    expect(page.locator(".results .name").first).to_contain_text("sneaker")
    page.wait_for_timeout(3000)
    names = [name for name, _ in found(page)]
    assert sum(name.startswith("sneaker") for name in names[:3]) >= 2
    shots.take(page, "4-found")


@pytest.mark.parametrize("visit", ["phone"], indirect=True)
def test_on_a_phone_everything_fits_and_a_finger_draws(visit: Visit, shots: Shots) -> None:
    page = visit.page
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    touch = page.context.new_cdp_session(page)
    for line in (
        [(0.1, 0.7), (0.15, 0.45), (0.45, 0.4), (0.9, 0.65)],
        [(0.9, 0.65), (0.9, 0.75), (0.1, 0.75), (0.1, 0.7)],
    ):
        points = [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in line]
        touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": points[:1]})
        for point in points[1:]:
            touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(page.locator(".card")).to_have_count(12)
    found(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    shots.take(page, "5-phone", whole=True)
    page.locator(".card").first.click()
    expect(page.locator(".parts .fill")).to_have_count(9)
    shots.take(page, "6-phone-why")
    assert page.evaluate("document.getElementById('why').scrollWidth") <= 390


def test_everything_that_can_be_used_has_a_name(visit: Visit) -> None:
    page = visit.page
    draw_shoe(page)
    expect(page.locator(".card")).to_have_count(12)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, canvas, a")].filter((one) =>
          !(one.ariaLabel || one.textContent.trim() || one.labels?.length || one.title)).map((one) => one.outerHTML)"""
    )
    assert nameless == []
    assert page.locator("html").get_attribute("lang") == "en"
    expect(page.get_by_role("status")).to_contain_text("12 nearest")
    expect(page.get_by_role("button", name="Rank 1: ")).to_be_visible()
