"""Tables of searches with the shipped model: unfinished drawings, certified search, exported files, regions."""

from pathlib import Path

from mlrm.first_lines import First
from mlrm.tables.markdown import percent, read, table

UNFINISHED = Path("docs/unfinished.json")
FIRST_LINES = Path("docs/first-lines.json")
CERTIFIED = Path("docs/certified.json")
CERTIFIED_DRAWN = Path("docs/certified-drawn.json")
PARITY = Path("docs/parity.json")
FLOAT32_PARTS = Path("docs/float32-parts.json")
FIGURES = (Path("docs/figures/figures.json"), Path("docs/figures/lama-cama.json"))
FRAMINGS = ("as drawn", "fitted")


def unfinished_table(root: Path) -> str:
    """acc@10 of the test sketches by the share of their ink that is drawn, as drawn and fitted."""
    results = read(root / UNFINISHED)["results"]
    found = {(one["data"], one["framing"], one["ink"]): one.get("acc10") for one in results}
    sets = list(dict.fromkeys(data for (data, _, _), share in found.items() if share is not None))
    inks = sorted({ink for _, _, ink in found})
    rows = [
        [f"{data}, acc@10 %", *(" / ".join(f"{100 * found[data, how, ink]:.1f}" for how in FRAMINGS) for ink in inks)]
        for data in sets
    ]
    return table([f"ink ({' / '.join(FRAMINGS)})", *(f"{100 * ink:.0f} %" for ink in inks)], rows)


def first_lines_table(root: Path) -> str:
    """acc@10 of the first lines of validation and test sketches, by their length, beside what luck could give."""
    found = {split: [First(**one) for one in part["results"]] for split, part in read(root / FIRST_LINES).items()}
    lengths = sorted({one.length for results in found.values() for one in results})
    rows = []
    for split, results in found.items():
        for data in dict.fromkeys(one.data for one in results):
            some = {one.length: one for one in results if one.data == data}
            any_length = some[lengths[0]]
            shares = [f"{100 * some[length].acc10:.1f}" for length in lengths]
            luck = f"above {100 * any_length.luck:.1f}"
            rows.append([f"{split}, {any_length.sketches} {data}", *shares, luck])
    return table(["length", *(f"{length:g}" for length in lengths), "more than chance"], rows)


def certified_table(root: Path) -> str:
    """Survivors of the screen in the whole real gallery, by the codes' size."""
    rows = read(root / CERTIFIED)
    whole = max(row["photos"] for row in rows)
    return table(
        ["coordinates", "bytes a photo", "survivors, mean", "most", "share", "fell through to the scan"],
        [
            [
                f"{row['coordinates']}",
                f"{row['code_bytes']:,}",
                f"{row['survivors']:.0f}",
                f"{row['most']}",
                f"{100 * row['survivors'] / whole:.1f} %",
                f"{row['scanned']} of {row['sketches']}",
            ]
            for row in sorted(rows, key=lambda row: row["coordinates"])
            if row["photos"] == whole
        ],
    )


def certified_sizes_table(root: Path) -> str:
    """Survivors in real galleries of several sizes, with the codes that were run on all of them."""
    rows = read(root / CERTIFIED)
    smallest = min(row["photos"] for row in rows)
    usual = {row["coordinates"] for row in rows if row["photos"] == smallest}
    some = sorted((row for row in rows if row["coordinates"] in usual), key=lambda row: row["photos"])
    return table(
        ["photos", *(f"{row['photos']:,}" for row in some)],
        [["survivors, mean", *(f"{row['survivors']:.0f}" for row in some)]],
    )


def certified_drawn_table(root: Path) -> str:
    """Survivors and times in drawn galleries."""
    header = ["photos", "values a photo", "code bytes", "survivors", "share", "one sketch", "scan of all features"]
    return table(
        [*header, "times"],
        [
            [
                f"{row['photos']:,}",
                f"{row['values']:,}",
                f"{row['code_bytes']}",
                f"{row['survivors']:,.0f}",
                f"{100 * row['survivors'] / row['photos']:.1f} %",
                f"{row['ms']:.1f} ms",
                f"{row['scan_ms']:.1f} ms",
                f"{row['scan_ms'] / row['ms']:.1f}",
            ]
            for row in read(root / CERTIFIED_DRAWN)
        ],
    )


def parity_table(root: Path) -> str:
    """What each type of exported file keeps of the original's features and rankings, by backend."""
    rows = [
        [
            f"{row['dtype']}, {row['bytes'] / 2**20:.1f} MiB",
            row["backend"],
            f"{row['worst_rms']:.1e}",
            f"{row['lowest_cosine']:.4f}",
            f"{row['top1']:.3f}",
            f"{row['top10']:.3f}",
            f"{row['correlation']:.4f}",
            *percent(row, "acc1"),
        ]
        for row in read(root / PARITY)["rows"]
    ]
    header = ["file", "backend", "worst RMS", "lowest cosine", "top-1 same", "top-10 overlap", "rank correlation"]
    original = {f"{100 * row['original_acc1']:.1f}" for row in read(root / PARITY)["rows"]}
    return table([*header, f"acc@1 % (PyTorch {', '.join(sorted(original))})"], rows)


def float32_parts_table(root: Path) -> str:
    """What parts of the model cost in half precision; the parts that the export puts into it in bold."""
    found: dict[str, dict[str, str]] = {}
    types = []
    for row in read(root / FLOAT32_PARTS)["rows"]:
        bold = "**" if row["exported"] else ""
        cells = found.setdefault(f"{bold}{row['half']}{bold}", {})
        errors = {"worst RMS": f"{row['worst_rms']:.1e}", "top-10": f"{row['top10']:.3f}"}
        cells |= {f"{row['dtype']} {name}": f"{bold}{text}{bold}" for name, text in errors.items()}
        types += [name for name in cells if name not in types]
    rows = [[half, *(cells[name] for name in types)] for half, cells in found.items()]
    return table(["in half precision", *types], rows)


def attention_table(root: Path) -> str:
    """How far the regions of the models in the attention figure overlap and reach."""
    rows = [
        [
            f"{model['regions'].upper()}, {model['name']}",
            side,
            f"{found['overlap']:.2f}",
            *percent(found, "cells", "object"),
        ]
        for file in FIGURES
        if (root / file).exists()
        for models in read(root / file)["data"].values()
        for model in models
        for side, found in ((side, model[side]) for side in ("sketches", "photos"))
    ]
    return table(["model", "of", "overlap of two regions", "cells taken %", "object in them %"], rows)
