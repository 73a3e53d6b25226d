// The page: what is drawn is searched after every line; an answer older than what is shown is never shown.

import * as api from "./api.js";
import { strokes as example } from "./example.js";
import { explanation } from "./explain.js";
import { Filters } from "./filters.js";
import { pack, unpack } from "./link.js";
import { Results, shortName } from "./results.js";
import { Sketchpad, SIZE } from "./sketchpad.js";

const get = (id) => document.getElementById(id);
const pad = new Sketchpad(get("canvas"));
const filters = new Filters(get("filters"), get("filter-form"), get("filter-count"));
const results = new Results(get("results"), openWhy);

let running = null; // AbortController of the search in flight
let asked = 0, shown = 0; // numbers of searches
let limits = { body_bytes: Infinity };
const SPOKEN = 3; // photos named to a screen reader after each search

// ---- searching

function sketch() { return { strokes: pad.strokes, picture: pad.picture, size: SIZE }; }

async function search() {
  running?.abort();
  const number = ++asked;
  if (pad.isEmpty) {
    shown = number;
    show([], "");
    return;
  }
  running = new AbortController();
  tell("Searching…", true);
  get("results").classList.toggle("stale", false);
  try {
    const options = { top_k: Number(get("top-k").value), ...(filters.where && { where: filters.where }) };
    const answer = await api.search(sketch(), options, running.signal, () => tell("The service is busy; trying again…", true));
    if (number < shown) return;
    shown = number;
    trouble(null);
    show(answer.matches, summary(answer));
  } catch (error) {
    if (error.name === "AbortError" || number !== asked) return;
    tell("");
    get("results").classList.toggle("stale", true);
    trouble(error);
  }
}

function summary({ status, matches, photos }) {
  if (status === "too_little_ink") return pad.picture ? "This picture is blank." : "Go on drawing: a few more lines.";
  if (!matches.length) return filters.where ? "No photo passes these filters." : "The gallery holds no photos.";
  if (filters.where) return `The ${matches.length} nearest that pass the filters`;
  return `The ${matches.length} nearest of ${photos.toLocaleString("en")} photos`;
}

function show(matches, text) {
  results.show(matches);
  get("empty").hidden = !pad.isEmpty;
  tell(text, false, matches.length ? `. First: ${matches.slice(0, SPOKEN).map(({ id }) => shortName(id)).join(", ")}` : "");
}

// unseen: what is said to those who don't see the photos.
function tell(text, busy = false, unseen = "") {
  const rest = document.createElement("span");
  rest.className = "unseen";
  rest.textContent = unseen;
  get("status").replaceChildren(text, rest);
  get("status").classList.toggle("busy", busy);
  get("results").setAttribute("aria-busy", String(busy));
}

// again: whether the same may work in a moment.
function trouble(error, again = true) {
  const needsToken = error instanceof api.Trouble && error.kind === "token";
  get("token").hidden = !needsToken;
  get("trouble").hidden = !error || needsToken;
  get("trouble").lastChild.hidden = !again;
  if (needsToken) get("token-value").focus();
  else if (error) get("trouble").firstChild.textContent = error instanceof api.Trouble ? error.message : `Something went wrong: ${error.message}`;
}

get("trouble").lastChild.addEventListener("click", start);
get("token").addEventListener("submit", (event) => {
  event.preventDefault();
  api.useToken(get("token-value").value);
  trouble(null);
  start();
});

// ---- drawing

pad.addEventListener("begin", () => get("paper").classList.add("inked"));
pad.addEventListener("say", ({ detail }) => tell(detail));
pad.addEventListener("change", () => {
  get("paper").classList.toggle("inked", !pad.isEmpty);
  get("empty").hidden = !pad.isEmpty;
  get("undo").disabled = !pad.past.length;
  get("redo").disabled = !pad.future.length;
  get("clear").disabled = get("link").disabled = pad.isEmpty;
  get("picture-name").hidden = !pad.picture;
  get("picture-name").textContent = pad.picture?.name ?? "";
  pad.canvas.setAttribute("aria-label", pad.picture ? `Picture ${pad.picture.name}` : `Canvas to draw on, ${pad.strokes.length} lines`);
  search();
});
get("undo").addEventListener("click", () => pad.undo());
get("redo").addEventListener("click", () => pad.redo());
get("clear").addEventListener("click", () => { pad.set([]); pad.canvas.focus(); });
get("brush").addEventListener("input", ({ target }) => { pad.width = Number(target.value); });
get("top-k").addEventListener("change", search);
filters.addEventListener("change", search);
addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z" || event.target.matches("input:not([type=range], [type=checkbox])")) return;
  event.preventDefault();
  if (event.shiftKey) pad.redo();
  else pad.undo();
});

// The example draws itself, and is searched on the way; whoever begins to draw takes over.
get("example").addEventListener("click", async () => {
  let taken = false;
  pad.addEventListener("begin", () => { taken = true; }, { once: true });
  get("paper").classList.add("inked");
  const drawn = [];
  for (const [number, points] of example.entries()) {
    for (let end = 2; end < points.length; end += 3) {
      pad.draw([...drawn, { width: 4, points: points.slice(0, end) }]);
      await new Promise(requestAnimationFrame);
      if (taken) return;
    }
    drawn.push({ width: 4, points });
    if (number % 4 === 3 || number === example.length - 1) pad.set([...drawn]);
  }
});

// ---- pictures

async function take(file) {
  if (file.size > limits.body_bytes) {
    trouble(new api.Trouble("refused", `${file.name} has ${(file.size / 1e6).toFixed(1)} MB; the service takes ${(limits.body_bytes / 1e6).toFixed(0)}.`), false);
    return;
  }
  const name = file.name || "pasted picture";
  try {
    pad.set([], { blob: file, name, image: await createImageBitmap(file) });
  } catch {
    trouble(new api.Trouble("refused", `${name} can't be read as a picture. Save it as PNG or JPEG.`), false);
  }
}

get("upload").addEventListener("click", () => get("file").click());
get("file").addEventListener("change", ({ target }) => {
  if (target.files.length) take(target.files[0]);
  target.value = "";
});
addEventListener("paste", ({ clipboardData }) => {
  const file = [...clipboardData.files].find(({ type }) => type.startsWith("image/"));
  if (file) take(file);
});
for (const type of ["dragover", "dragleave", "drop"]) {
  addEventListener(type, (event) => {
    event.preventDefault();
    get("paper").classList.toggle("dropping", type === "dragover");
    if (type === "drop" && event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
}

// ---- why a photo is near

let looked = null; // { index, running }

async function openWhy(index) {
  const match = results.matches[index];
  looked?.running.abort();
  looked = { index, running: new AbortController() };
  const { signal } = looked.running;
  get("why-title").textContent = `${match.rank}. ${match.id}`;
  get("why-previous").disabled = index === 0;
  get("why-next").disabled = index === results.matches.length - 1;
  get("why-status").textContent = "";
  if (!get("why").open) get("why").showModal();
  try {
    const answer = await api.search(sketch(), { top_k: 1, subset: [match.id], explain: true }, signal);
    if (!answer.matches.length) throw new api.Trouble("refused", "This photo is no longer in the gallery.");
    const body = await explanation({ ...answer.matches[0], rank: match.rank }, answer, sketch(), signal);
    if (signal.aborted) return;
    get("why-body").replaceChildren(body);
    get("why-status").textContent = body.querySelector(".lead").textContent;
  } catch (error) {
    if (!signal.aborted) get("why-body").textContent = get("why-status").textContent = error.message;
  }
}

function turn(by) {
  const index = looked.index + by;
  if (index >= 0 && index < results.matches.length) openWhy(index);
}

get("why-previous").addEventListener("click", () => turn(-1));
get("why-next").addEventListener("click", () => turn(1));
get("why-close").addEventListener("click", () => get("why").close());
get("why").addEventListener("click", ({ target }) => { if (target === get("why")) get("why").close(); });
get("why").addEventListener("close", () => { looked?.running.abort(); get("why-body").replaceChildren(); });
get("why").addEventListener("keydown", ({ key }) => {
  if (key === "ArrowLeft") turn(-1);
  if (key === "ArrowRight") turn(1);
});

// ---- links

get("link").addEventListener("click", async () => {
  const hash = await pack({ ...sketch(), topK: get("top-k").value, where: filters.where });
  if (hash === null) {
    tell("This picture is too large for a link; a drawing always fits.");
    return;
  }
  history.replaceState(null, "", hash);
  try {
    await navigator.clipboard.writeText(location.href);
    tell("Link copied: it repeats this search.");
  } catch { // not allowed, or no secure context
    tell("The address above is the link now: it repeats this search.");
  }
});

async function follow() {
  const found = await unpack(location.hash);
  if (!found) return;
  get("top-k").value = found.topK;
  filters.where = found.where;
  if (found.where) get("filters").open = true;
  const picture = found.picture && { ...found.picture, image: await createImageBitmap(found.picture.blob) };
  pad.set(found.strokes, picture);
}

// ---- start

let followed = false;

async function start() {
  try {
    limits = await api.gallery();
  } catch (error) {
    trouble(error);
    return;
  }
  trouble(null);
  get("about").textContent = `${limits.photos.toLocaleString("en")} photos`;
  const chosen = filters.where;
  filters.offer(limits.metadata);
  get("filters").open ||= matchMedia("(min-width: 901px)").matches;
  filters.where = chosen;
  if (!followed) {
    followed = true;
    await follow();
  }
  if (!pad.isEmpty) search();
}

addEventListener("hashchange", follow);
start();
