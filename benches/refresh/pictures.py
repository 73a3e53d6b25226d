"""Steps that make pictures, of this project's own drawn products only."""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.torch import save_file

from benches.refresh.results import ROOT, TABLE2
from benches.refresh.stage import Stage, program
from benches.refresh.stamps import shipped, stamp_picture
from benches.service_load import service
from engine.retriever import Retriever
from mlrm.checkpoint import load_shipped
from mlrm.figures import trade
from mlrm.figures.style import save
from mlrm.procedural import write_pairs

TWINS: dict[str, dict[str, str]] = {"lama": {}, "cama": {"region_maps": "cama", "overlap_penalty": "cama"}}
TWINS_PRODUCTS, TWINS_SEED = 154, 30_000
TWINS_OPTIONS = (
    "--epochs", 3, "--evaluate-every", 3, "--lr", 5e-4, "--separate-steps", 50, "--validation", 14,
    "--cache-variants", 0,
)  # fmt: skip
"""LAMA and CAMA from the shipped trunk, the same drawn products and steps, and nothing else different."""
DEMO_PHOTOS, DEMO_SEED, DEMO_SKETCH, DEMO_FIRST = 300, 1, "chair-0045", 5
"""The products of `python -m engine demo`; one of its sketches."""
PAGE_PHOTOS, PAGE_SEED = 168, 5
WIDE = {"width": 1320, "height": 860}
GROUPS = {
    "shoes": ("sneaker", "boot", "heel"),
    "chairs": ("chair", "armchair", "stool"),
    "bags": ("backpack", "handbag"),
}
TAGS = (["new", "sale"], ["wood"], ["leather", "new"], ["wood", "new"])
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


def figures(stage: Stage) -> None:
    """Attention and nearest photos on drawn pairs."""
    stage.progress("figures", 0, 1)
    stage.command("mlrm.figures", "--out", stage.out)


def regions(stage: Stage) -> None:
    """LAMA beside CAMA on drawn pairs, both trained alike on other such pairs, from the shipped trunk."""
    with TemporaryDirectory() as folder:
        pairs, trunk = Path(folder, "products"), Path(folder, "trunk.safetensors")
        write_pairs(pairs, TWINS_PRODUCTS, TWINS_SEED, progress=lambda done, total: stage.progress("draw", done, total))
        state = load_shipped().network().trunk.state_dict()
        save_file({name: value.contiguous() for name, value in state.items()}, trunk)
        trained = []
        for number, (name, config) in enumerate(TWINS.items()):
            stage.progress(f"regions: train {name}", number, len(TWINS))
            trained.append(Path(folder, name, "trained alike", "best.pt"))
            start = ["--trunk-weights", trunk, "--config", json.dumps({"l2norm": True} | config), "--device", "cpu"]
            stage.command("mlrm.train", "--data", pairs, *start, *TWINS_OPTIONS, "--out", trained[-1].parent)
        stage.progress("regions: draw", 0, 1)
        lama, cama = trained
        stage.command("mlrm.figures", lama, "--against", cama, "--out", folder)
        shutil.copyfile(Path(folder, "attention-drawn.png"), stage.out / "lama-cama.png")
        stamp_picture(stage.out / "lama-cama.png", shipped())
        record = json.loads(Path(folder, "figures.json").read_text(encoding="utf-8")) | {"weights": shipped()}
        (stage.out / "lama-cama.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def accuracy_time(stage: Stage) -> None:
    """Accuracy against time of every way of comparing, from the retrieval comparison's committed results."""
    stage.progress("accuracy against time", 0, 1)
    comparison = trade.read(ROOT / trade.TIMES, TABLE2)
    save(trade.draw(comparison), stage.out / "accuracy-time.png", comparison.weights)


def demo(stage: Stage) -> None:
    """A search of the demo, its hits framed."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        write_pairs(place, DEMO_PHOTOS, DEMO_SEED, progress=lambda done, total: stage.progress("draw", done, total))
        retriever = Retriever(gallery=place / "gallery")
        retriever.add(place / "photos", progress=lambda done, total: stage.progress("index", done, total))
        result = retriever.search(place / "sketches" / f"{DEMO_SKETCH}_0.png", top_k=DEMO_FIRST)
        result.save(stage.out / "demo.png", truth=f"{DEMO_SKETCH}.jpg")


def page(stage: Stage) -> None:
    """The page after its own drawing, and why the first photo is near."""
    from playwright.sync_api import expect, sync_playwright

    from engine.server.status_routes import STATIC

    lines = (STATIC / "example.js").read_text(encoding="utf-8").count("\n  [[")
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        gallery = _shop(Path(folder), stage)
        browser = playwright.chromium.launch(executable_path=program("chromium"), args=list(FLAGS))
        with service(gallery, "16") as port:
            shown = browser.new_page(viewport=WIDE, reduced_motion="reduce")  # type: ignore[arg-type]
            shown.set_default_timeout(60_000)
            shown.goto(f"http://127.0.0.1:{port}")
            shown.get_by_role("button", name="Draw one for me").click()
            stage.progress("page: draw", 0, 2)
            drawn = f"Canvas to draw on, {lines} lines"  # the last of them is searched for last
            expect(shown.locator("#canvas")).to_have_attribute("aria-label", drawn, timeout=60_000)
            shown.locator("#status:not(.busy)").wait_for()
            expect(shown.locator(".card")).to_have_count(12, timeout=60_000)
            shown.wait_for_load_state("networkidle")
            shown.mouse.move(0, 0)
            shown.screenshot(path=stage.out / "page.png", animations="disabled")
            stage.progress("page: why", 1, 2)
            shown.locator(".card").first.click()
            expect(shown.locator(".parts .fill")).to_have_count(9, timeout=60_000)
            shown.wait_for_load_state("networkidle")
            shown.mouse.move(0, 0)
            shown.wait_for_timeout(1_000)  # the heat maps are painted after their pictures
            shown.screenshot(path=stage.out / "page-why.png", animations="disabled")
        browser.close()


def _shop(folder: Path, stage: Stage) -> Path:
    """A gallery of drawn products with metadata to filter by."""
    write_pairs(folder, PAGE_PHOTOS, PAGE_SEED, progress=lambda done, total: stage.progress("draw", done, total))
    metadata = {}
    for number, photo in enumerate(sorted((folder / "photos").iterdir())):
        category = photo.name.rsplit("-", 1)[0]
        metadata[photo.name] = {
            "category": category,
            "group": next((name for name, members in GROUPS.items() if category in members), "home"),
            "price": 15 + 37 * number % 220,
            "in stock": number % 5 != 0,
            "tags": TAGS[number % len(TAGS)],
        }
    retriever = Retriever(gallery=folder / "gallery")
    retriever.add(
        folder / "photos", metadata=metadata, progress=lambda done, total: stage.progress("index", done, total)
    )
    return folder / "gallery"
