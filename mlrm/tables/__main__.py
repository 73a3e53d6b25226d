"""The command: every table in the texts, made anew."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mlrm.cli import errors_shown, run, say
from mlrm.errors import ConfigError
from mlrm.tables import accuracy, searches, studies, times

EXAMPLE = "Example: python -m mlrm.tables (in the repository, after its JSON files changed)"
TEXTS = (
    Path("README.md"),
    Path("mlrm/data/MODEL_CARD.md"),
    Path("docs/training.md"),
    Path("docs/service.md"),
    Path("docs/figures.md"),
    Path("docs/export.md"),
    Path("docs/certified-search.md"),
)
TABLES: dict[str, Callable[[Path], str]] = {
    "accuracy": partial(accuracy.accuracy_table, split="test"),
    "ink": partial(accuracy.ink_table, split="test"),
    "test runs": partial(accuracy.models_table, split="test"),
    "validation": partial(accuracy.accuracy_table, split="validation"),
    "validation ink": partial(accuracy.ink_table, split="validation"),
    "validation runs": partial(accuracy.models_table, split="validation"),
    "ablations": studies.ablation_table,
    "products": studies.products_table,
    "learning curve": studies.learning_table,
    "unfinished": searches.unfinished_table,
    "first lines": searches.first_lines_table,
    "certified": searches.certified_table,
    "certified sizes": searches.certified_sizes_table,
    "certified drawn": searches.certified_drawn_table,
    "certified times": times.certified_times_table,
    "certified together": times.certified_together_table,
    "certified disk": times.certified_disk_table,
    "certified memory": times.certified_memory_table,
    "parity": searches.parity_table,
    "float32 parts": searches.float32_parts_table,
    "attention": searches.attention_table,
}
MEASURED = {
    "certified times": times.CERTIFIED_TIMES,
    "certified together": times.CERTIFIED_TIMES,
    "certified disk": times.CERTIFIED_DISK,
    "certified memory": times.CERTIFIED_DISK,
}
"""Tables of times that no other step makes, and their files: until one is there, what the text says instead stays."""
BLOCK = re.compile(r"<!-- table (?P<name>.*?) -->\n(?P<body>.*?)<!-- end -->", re.DOTALL)


def with_tables(text: str, root: Path) -> str:
    """The text with every table in it made anew but those of `MEASURED` without a file.

    Raises `ConfigError` for an unknown or unfinished one.
    """

    def made(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in TABLES:
            raise ConfigError(f"there is no table {name!r}; expected one of {', '.join(TABLES)}")
        if name in MEASURED and not (root / MEASURED[name]).is_file():
            return match[0]
        return f"<!-- table {name} -->\n{TABLES[name](root)}<!-- end -->"

    if text.count("<!-- table ") != len(BLOCK.findall(text)):
        raise ConfigError("a line <!-- table NAME --> has no <!-- end --> after its table; add it")
    return BLOCK.sub(made, text)


@errors_shown
def main(
    root: Annotated[Path, typer.Option(help="The repository.", exists=True, file_okay=False)] = Path(),
) -> None:
    """Make the tables in the texts anew from the committed JSON files."""
    for path in (root / text for text in TEXTS):
        if not path.is_file():
            raise ConfigError(f"{path} isn't there; run this in the repository, or give its folder as --root")
        before = path.read_text(encoding="utf-8")
        after = with_tables(before, root)
        path.write_text(after, encoding="utf-8")
        say(f"{path}: {len(BLOCK.findall(after))} tables, {'changed' if after != before else 'as they were'}")


if __name__ == "__main__":
    run(main, EXAMPLE)
