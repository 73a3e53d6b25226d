"""The fingerprint of the weights in a committed file: a PNG's text, a JSON's key, a line of Markdown."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from mlrm.checkpoint import load_shipped
from mlrm.figures.style import WEIGHTS

OF_OTHERS = ("fingerprint", "runs", "other_models")
"""Keys of a JSON under which it names models that needn't be the shipped one; what stands under any other counts."""
LINE = "<!-- weights {} -->"
IN_TEXT = re.compile(r"(?:<!-- weights |[Ff]ingerprint `)([0-9a-f]{64})")
FINGERPRINT = re.compile(r"[0-9a-f]{64}")
PLACES = {
    ".png": f"text {WEIGHTS!r} of the PNG",
    ".json": f"all in it, but under {', '.join(map(repr, OF_OTHERS))}",
    ".md": f"the line {LINE.format('...')}",
}
"""By kind of file, where its fingerprint is."""


@cache
def shipped() -> str:
    """The fingerprint of the shipped weights."""
    return load_shipped().fingerprint()


def stored(file: Path) -> set[str]:
    """All fingerprints that a file carries; none where it doesn't exist or carries none."""
    if not file.is_file():
        return set()
    if file.suffix == ".png":
        with Image.open(file) as image:
            text = getattr(image, "text", {}).get(WEIGHTS)
        return set() if text is None else {text}
    text = file.read_text(encoding="utf-8")
    return set(_in_json(json.loads(text))) if file.suffix == ".json" else set(IN_TEXT.findall(text))


def _in_json(value: Any) -> Iterator[str]:
    if isinstance(value, str) and FINGERPRINT.fullmatch(value):
        yield value
    elif isinstance(value, dict):
        for key, held in value.items():
            if key not in OF_OTHERS:
                yield from _in_json(held)
    elif isinstance(value, list):
        for held in value:
            yield from _in_json(held)


def stamp_picture(file: Path, weights: str) -> None:
    """Write the fingerprint into a PNG, in place of all else that its text says: the same pixels, the same bytes."""
    with Image.open(file) as image:
        image.load()
        text = PngImagePlugin.PngInfo()
        text.add_text(WEIGHTS, weights)
        image.save(file, pnginfo=text, optimize=True)


def stamp_text(file: Path, weights: str) -> None:
    """Write the fingerprint as the last line of a Markdown file, or into the place it has there."""
    text = file.read_text(encoding="utf-8")
    if IN_TEXT.search(text):
        text = IN_TEXT.sub(lambda found: found[0].replace(found[1], weights), text)
    else:
        text = text.rstrip("\n") + f"\n\n{LINE.format(weights)}\n"
    file.write_text(text, encoding="utf-8")
