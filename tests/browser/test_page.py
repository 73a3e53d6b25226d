"""Pictures, explanations, filters, links, and what the page says when something fails."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import Service, Shots, Visit, draw_shoe, found, searches

pytestmark = pytest.mark.browser


def a_sketch(service: Service, category: str) -> Path:
    return sorted((service.folder / "sketches").glob(f"{category}-*.png"))[0]


def photo_of(sketch: Path) -> str:
    return sketch.stem.rsplit("_", 1)[0] + ".jpg"


def test_a_photo_explains_itself(visit: Visit, shots: Shots) -> None:
    page = visit.page
    draw_shoe(page)
    expect(page.locator(".card")).to_have_count(12)
    names = [name for name, _ in found(page)]
    page.locator(".card").first.click()
    expect(page.locator(".parts .fill")).to_have_count(9)
    numbers = [float(text) for text in page.locator(".parts td.number").all_inner_texts()]
    assert sum(numbers[:9]) == pytest.approx(numbers[9], abs=6e-4)
    assert page.locator(".heat").count() == 2
    painted = "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(v => v > 0)"
    page.wait_for_timeout(300)
    assert [heat.evaluate(painted) for heat in page.locator(".heat").all()] == [True, True]
    shots.take(page, "7-why")
    page.get_by_role("button", name="Region 2").click()
    expect(page.locator(".parts tr.faded")).to_have_count(8)
    shots.take(page, "8-why-region")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#why-title")).to_have_text(f"2. {names[1]}")
    page.get_by_role("button", name="Previous photo").click()
    expect(page.locator("#why-title")).to_have_text(f"1. {names[0]}")
    page.keyboard.press("Escape")
    expect(page.locator("#why")).to_be_hidden()


def test_an_uploaded_sketch_finds_its_photo(visit: Visit, service: Service, shots: Shots) -> None:
    page, sketch = visit.page, a_sketch(service, "teapot")
    page.locator("#file").set_input_files(sketch)
    expect(page.locator(".card")).to_have_count(12)
    assert photo_of(sketch) in [name for name, _ in found(page)[:5]]
    expect(page.locator("#picture-name")).to_have_text(sketch.name)
    shots.take(page, "9-upload")
    page.locator(".card").first.click()
    expect(page.locator(".parts .fill")).to_have_count(9)


def test_a_pasted_picture_is_searched(visit: Visit, service: Service) -> None:
    page = visit.page
    content = list(a_sketch(service, "lamp").read_bytes())
    page.evaluate(
        """(content) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(content)], "pasted.png", { type: "image/png" }));
          document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
        }""",
        content,
    )
    expect(page.locator(".card")).to_have_count(12)
    expect(page.locator("#picture-name")).to_have_text("pasted.png")


def test_a_file_that_is_no_picture_is_refused_by_the_page(visit: Visit, tmp_path: Path, shots: Shots) -> None:
    (tmp_path / "text.png").write_text("no picture")
    visit.page.locator("#file").set_input_files(tmp_path / "text.png")
    expect(visit.page.get_by_role("alert")).to_contain_text("text.png can't be read as a picture")
    shots.take(visit.page, "10-no-picture")


def test_a_file_that_is_too_large_is_refused_unsent(visit: Visit, tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(b"x" * 10_000_001)
    visit.page.locator("#file").set_input_files(tmp_path / "large.png")
    expect(visit.page.get_by_role("alert")).to_contain_text("10.0 MB; the service takes 10")
    assert searches(visit) == []


def test_filters_of_the_metadata_choose_among_the_photos(visit: Visit, shots: Shots) -> None:
    page = visit.page
    draw_shoe(page)
    expect(page.locator(".card")).to_have_count(12)
    page.get_by_label(re.compile("^chairs")).check()
    expect(page.locator(".results .name").first).to_have_text(re.compile("chair|stool"))
    assert {name.rsplit("-", 1)[0] for name, _ in found(page)} <= {"chair", "stool"}
    expect(page.locator("#filter-count")).to_have_text("1")
    page.get_by_label("price to").fill("100")
    page.get_by_label("price to").blur()
    expect(page.locator("#filter-count")).to_have_text("2")
    few = found(page)
    assert 0 < len(few) < 6
    assert searches(visit)[-1]["where"] == {"group": {"in": ["chairs"]}, "price": {"le": 100}}
    shots.take(page, "11-filters")
    page.get_by_label("price to").fill("1")
    page.get_by_label("price to").blur()
    expect(page.locator("#status")).to_have_text("No photo passes these filters.")


@pytest.mark.parametrize("kind", ["drawing", "picture"])
def test_a_link_repeats_the_search(visit: Visit, service: Service, kind: str) -> None:
    page = visit.page
    if kind == "drawing":
        draw_shoe(page)
    else:
        page.locator("#file").set_input_files(a_sketch(service, "mug"))
    page.get_by_label("Show").select_option("24")
    page.get_by_label(re.compile("^new")).check()
    expect(page.locator("#filter-count")).to_have_text("1")
    expect(page.locator("#status")).to_contain_text("24 nearest that pass")
    first = found(page)
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator("#status")).to_contain_text("Link copied")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{service.url}/#")
    again = page.context.new_page()
    again.goto(link)
    expect(again.locator(".card")).to_have_count(24)
    assert found(again) == first
    expect(again.get_by_label("Show")).to_have_value("24")


def test_a_link_that_is_none_is_an_empty_page(visit: Visit, service: Service) -> None:
    visit.page.goto(f"{service.url}/#no-such-link")
    visit.page.reload()
    expect(visit.page.locator("#empty")).to_be_visible()


def test_a_refusal_is_shown_in_the_services_words(visit: Visit, shots: Shots) -> None:
    page = visit.page
    refusal = {"error": {"reason": "QueryError", "message": "expected another sketch"}}
    page.route("**/v1/search", lambda route: route.fulfill(status=422, json=refusal))
    draw_shoe(page)
    expect(page.get_by_role("alert")).to_contain_text("expected another sketch")
    shots.take(page, "12-refused")
    page.unroute("**/v1/search")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".card")).to_have_count(12)
    expect(page.locator("#trouble")).to_be_hidden()


def test_a_service_that_is_gone_says_so_and_can_be_tried_again(visit: Visit) -> None:
    page = visit.page
    page.route("**/v1/**", lambda route: route.abort())
    draw_shoe(page)
    expect(page.get_by_role("alert")).to_contain_text("can't be reached")
    page.unroute("**/v1/**")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".card")).to_have_count(12)


def test_a_busy_service_is_asked_again_by_itself(visit: Visit, service: Service) -> None:
    page, tries = visit.page, list[Any]()

    def busy_once(route: Route) -> None:
        tries.append(route)
        if len(tries) == 1:
            route.fulfill(status=429, headers={"Retry-After": "1"}, json={})
        else:
            route.continue_()

    page.route("**/v1/search", busy_once)
    page.locator("#file").set_input_files(a_sketch(service, "mug"))
    expect(page.locator("#status")).to_have_text("The service is busy; trying again…")
    expect(page.locator(".card")).to_have_count(12)


def test_a_token_is_asked_for_and_used(visit: Visit, shots: Shots) -> None:
    page = visit.page

    def guarded(route: Route) -> None:
        if route.request.headers.get("authorization") == "Bearer the right token":
            route.continue_()
        else:
            refusal = {"error": {"reason": "Unauthorized", "message": "a token is needed"}}
            route.fulfill(status=401, json=refusal)

    page.route("**/v1/**", guarded)
    page.reload()
    page.get_by_label("This service needs a token.").fill("the wrong token")
    shots.take(page, "13-token")
    page.get_by_role("button", name="Use it").click()
    expect(page.locator("#token")).to_be_visible()
    page.get_by_label("This service needs a token.").fill("the right token")
    page.keyboard.press("Enter")
    expect(page.locator("#token")).to_be_hidden()
    draw_shoe(page)
    expect(page.locator(".card img").first).to_have_attribute("src", re.compile("^blob:"))
