// The photos found, in order. A photo that stays keeps its card, which moves to its new place.

import { picture } from "./api.js";

const SIDE = 384; // of the pictures asked for: sharp on a dense screen
const MOVE = { duration: 260, easing: "cubic-bezier(.2,.7,.2,1)" };
const still = matchMedia("(prefers-reduced-motion: reduce)");

// An id is a path, as a rule; its end is the name.
export function shortName(id) { return id.split("/").at(-1); }

export class Results {
  constructor(list, open) {
    this.list = list;
    this.open = open;
    this.cards = new Map(); // by id
    this.matches = [];
  }

  show(matches) {
    const places = new Map([...this.cards].map(([id, card]) => [id, card.getBoundingClientRect()]));
    const kept = new Map();
    for (const match of matches) {
      const card = this.cards.get(match.id) ?? this.#card(match.id);
      this.cards.delete(match.id);
      kept.set(match.id, card);
      card.querySelector(".rank").textContent = match.rank;
      card.querySelector(".distance").textContent = `distance ${match.distance.toFixed(3)}`;
      card.firstChild.setAttribute("aria-label", `Rank ${match.rank}: ${match.id}, distance ${match.distance.toFixed(3)}. Why?`);
    }
    for (const card of this.cards.values()) this.#drop(card);
    this.cards = kept;
    this.matches = matches;
    this.list.replaceChildren(...kept.values());
    for (const [id, card] of kept) this.#animate(card, places.get(id));
  }

  #animate(card, from) {
    if (still.matches || document.hidden) return;
    if (!from) {
      card.animate([{ opacity: 0 }, { opacity: 1 }], MOVE);
      return;
    }
    const to = card.getBoundingClientRect();
    const [dx, dy] = [from.left - to.left, from.top - to.top];
    if (dx || dy) card.animate([{ transform: `translate(${dx}px, ${dy}px)` }, { transform: "none" }], MOVE);
  }

  #card(id) {
    const card = document.createElement("li");
    card.innerHTML = '<button class="card"><span class="picture"><img alt=""><span class="rank"></span></span>'
      + '<span class="caption"><span class="name"></span><span class="distance" title="Lower is nearer"></span></span></button>';
    card.querySelector(".name").textContent = shortName(id);
    card.querySelector(".name").title = id;
    card.firstChild.addEventListener("click", () => this.open(this.matches.findIndex((match) => match.id === id)));
    card.stop = new AbortController();
    const image = card.querySelector("img");
    picture(id, SIDE, card.stop.signal).then((url) => {
      image.onload = () => URL.revokeObjectURL(url);
      image.src = url;
    }, (error) => {
      if (error.name !== "AbortError") image.parentNode.classList.add("missing");
    });
    return card;
  }

  #drop(card) { card.stop.abort(); }
}
