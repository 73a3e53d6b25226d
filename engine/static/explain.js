// Why a photo is near: where the model looked in both pictures, and the nine parts of the distance.

import { picture } from "./api.js";
import { drawPicture, drawStrokes } from "./sketchpad.js";

const SIDE = 480;
const COLOURS = [1, 2, 3].map((n) => getComputedStyle(document.documentElement).getPropertyValue(`--region-${n}`).trim());
const LEVELS = ["level 1, fine", "level 2", "level 3, coarse"];
const OPAQUE_FROM = 0.5; // a region is its cells of 0.5 and above, as in engine/heatmap.py
const OPACITY = 0.55; // three regions may cover all of a picture, which is to be seen through them

// The body of the dialog for one match with its explanation. answer.sketch: where the model looked in the sketch.
export async function explanation(match, answer, sketch, signal) {
  const { contributions, photo } = match.explanation;
  const [address, sketchImage] = [await picture(match.id, SIDE, signal).catch(ignoreAll(signal)), sketchPicture(sketch, answer.sketch?.frame)];
  const photoImage = new Image();
  photoImage.alt = "";
  if (address) {
    photoImage.src = address;
    await photoImage.decode().catch(() => {});
    URL.revokeObjectURL(address);
  }
  const body = element("div", "why");
  const pair = element("div", "pair");
  const sides = [["Your sketch", sketchImage, answer.sketch], ["Photo", photoImage, photo]].map(([name, image, regions]) => {
    const figure = element("figure"), seen = element("div", "seen");
    image.classList.add("base");
    const heat = document.createElement("canvas");
    heat.className = "heat";
    heat.setAttribute("role", "img");
    seen.append(image, heat);
    figure.append(seen, element("figcaption", "", name));
    pair.append(figure);
    return { name, image, heat, regions };
  });
  const chips = element("div", "regions");
  const rows = [];
  const choose = (chosen) => {
    chips.querySelectorAll("button").forEach((chip, n) => chip.setAttribute("aria-pressed", String(n - 1 === (chosen ?? -1))));
    rows.forEach(([region, row]) => row.classList.toggle("faded", chosen !== null && region !== chosen));
    for (const { name, image, heat, regions } of sides) {
      paint(heat, image, regions?.maps ?? [], chosen);
      heat.setAttribute("aria-label", `${name}: where ${chosen === null ? "all regions look" : `region ${chosen + 1} looks`}`);
    }
  };
  chips.append(chip("All regions", null, () => choose(null)));
  contributions.forEach((_, region) => chips.append(chip(`Region ${region + 1}`, colour(region), () => choose(region))));
  pair.append(chips);
  body.append(pair, parts(match, contributions, rows), about(match));
  requestAnimationFrame(() => choose(null)); // once the pictures have their size
  return body;
}

function ignoreAll(signal) {
  return () => { if (signal.aborted) throw new DOMException("Aborted", "AbortError"); };
}

function colour(region) { return COLOURS[region % COLOURS.length]; }

function chip(name, tint, act) {
  const button = element("button", "", name);
  if (tint) button.style.setProperty("--colour", tint);
  button.addEventListener("click", act);
  return button;
}

// The sketch as the model saw it: a drawing is moved and scaled to fill its frame.
function sketchPicture({ strokes, picture }, frame) {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d");
  if (picture) {
    const scale = SIDE / Math.max(picture.image.width, picture.image.height);
    [canvas.width, canvas.height] = [picture.image.width * scale, picture.image.height * scale];
    context.drawImage(picture.image, 0, 0, canvas.width, canvas.height);
    return canvas;
  }
  canvas.width = canvas.height = SIDE;
  context.fillStyle = "#fff";
  context.fillRect(0, 0, SIDE, SIDE);
  const [left, top, side] = frame ?? [0, 0, SIDE];
  context.scale(SIDE / side, SIDE / side);
  context.translate(-left, -top);
  drawStrokes(context, strokes);
  return canvas;
}

// Regions as clouds of their colours over the picture; between the cells' centres they are interpolated.
function paint(heat, image, maps, chosen) {
  const width = image.naturalWidth || image.width, height = image.naturalHeight || image.height;
  [heat.width, heat.height] = [width, height];
  const context = heat.getContext("2d");
  context.imageSmoothingQuality = "high";
  maps.forEach((map, region) => {
    if (chosen !== null && chosen !== region) return;
    const cells = new ImageData(map[0].length, map.length);
    const [red, green, blue] = colour(region).match(/\w\w/g).map((hex) => parseInt(hex, 16));
    map.flat().forEach((value, n) => {
      const ramp = Math.min(value / OPAQUE_FROM, 1);
      cells.data.set([red, green, blue, 255 * OPACITY * ramp * ramp * (3 - 2 * ramp)], 4 * n);
    });
    const small = document.createElement("canvas");
    [small.width, small.height] = [cells.width, cells.height];
    small.getContext("2d").putImageData(cells, 0, 0);
    context.drawImage(small, 0, 0, width, height);
  });
}

function parts(match, contributions, rows) {
  const box = element("div", "parts");
  const sums = contributions.map((levels) => levels.reduce((sum, value) => sum + value, 0));
  const most = sums.indexOf(Math.max(...sums));
  const share = (value) => `${Math.round(100 * value / (match.distance || 1))} %`;
  box.append(
    element("h3", "", "What the distance is made of"),
    element("p", "lead", match.distance > 0
      ? `Lower is nearer. Region ${most + 1} differs most: ${share(sums[most])} of the distance.`
      : "The two are the same to the model."),
  );
  box.firstChild.id = "parts-title";
  const table = document.createElement("table"), largest = Math.max(...contributions.flat()) || 1;
  table.setAttribute("aria-labelledby", "parts-title");
  contributions.forEach((levels, region) => {
    const head = table.insertRow();
    head.innerHTML = `<th class="region" colspan="4" scope="rowgroup">Region ${region + 1}</th>`;
    rows.push([region, head]);
    levels.forEach((value, level) => {
      const row = table.insertRow();
      row.innerHTML = `<th scope="row">${LEVELS[level] ?? `level ${level + 1}`}</th><td><div class="track"><div class="fill"></div></div></td>`
        + `<td class="number">${value.toFixed(4)}</td><td class="share">${share(value)}</td>`;
      const fill = row.querySelector(".fill");
      fill.style.width = `${100 * value / largest}%`;
      fill.style.setProperty("--colour", colour(region));
      rows.push([region, row]);
    });
  });
  const foot = table.createTFoot().insertRow();
  foot.innerHTML = `<th scope="row">Distance</th><td></td><td class="number">${match.distance.toFixed(4)}</td><td class="share"></td>`;
  box.append(table);
  return box;
}

function about({ metadata }) {
  const box = element("div", "about-photo");
  for (const [key, value] of Object.entries(metadata ?? {})) {
    if (Array.isArray(value) && !value.length) continue;
    const entry = element("span", "", `${key} `);
    entry.append(element("b", "", Array.isArray(value) ? value.join(", ") : String(value)));
    box.append(entry);
  }
  box.hidden = !box.children.length;
  return box;
}

function element(tag, name = "", text = "") {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text) made.textContent = text;
  return made;
}
