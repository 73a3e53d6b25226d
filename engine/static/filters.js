// Filters, made of what the gallery's metadata holds: chips for texts, from and to for numbers.

export class Filters extends EventTarget {
  constructor(details, form, count) {
    super();
    [this.details, this.form, this.count] = [details, form, count];
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", () => { this.#tell(); this.dispatchEvent(new Event("change")); });
  }

  // keys: as /v1/gallery gives them.
  offer(keys) {
    this.keys = keys.filter(({ values, lowest }) => values.length || lowest !== null);
    this.details.hidden = !this.keys.length;
    this.form.replaceChildren(...this.keys.map((key, number) => {
      const field = document.createElement("fieldset");
      const legend = document.createElement("legend");
      legend.textContent = key.key;
      field.append(legend);
      if (key.values.length) field.append(choices(key, number));
      if (key.lowest !== null) field.append(range(key, number));
      return field;
    }));
  }

  // The conditions chosen, as `where` of a search; undefined where there are none.
  get where() {
    const chosen = {};
    this.keys?.forEach(({ key, values }, number) => {
      const texts = [...this.form.querySelectorAll(`[name="value-${number}"]:checked`)].map((box) => values[box.value].value);
      const [low, high] = ["low", "high"].map((end) => this.form.elements[`${end}-${number}`]?.value ?? "");
      const conditions = { ...(texts.length && { in: texts }), ...(low && { ge: Number(low) }), ...(high && { le: Number(high) }) };
      if (Object.keys(conditions).length) chosen[key] = conditions;
    });
    return Object.keys(chosen).length ? chosen : undefined;
  }

  set where(conditions) {
    this.form.reset();
    this.keys?.forEach(({ key, values }, number) => {
      const { in: texts = [], ge, le } = conditions?.[key] ?? {};
      for (const box of this.form.querySelectorAll(`[name="value-${number}"]`)) box.checked = texts.includes(values[box.value].value);
      for (const [end, value] of [["low", ge], ["high", le]]) {
        if (value !== undefined && this.form.elements[`${end}-${number}`]) this.form.elements[`${end}-${number}`].value = value;
      }
    });
    this.#tell();
  }

  #tell() {
    const chosen = Object.keys(this.where ?? {}).length;
    this.count.textContent = chosen || "";
    this.count.setAttribute("aria-label", chosen ? `${chosen} in use` : "");
  }
}

function choices({ values, more_values: more }, number) {
  const box = document.createElement("div");
  box.className = "choices";
  values.forEach(({ value, photos }, index) => {
    const label = document.createElement("label");
    label.innerHTML = `<input type="checkbox" name="value-${number}" value="${index}"><span><b></b><small>${photos}</small></span>`;
    const name = label.querySelector("b");
    name.style.fontWeight = "inherit";
    name.textContent = value === true ? "yes" : value === false ? "no" : value;
    box.append(label);
  });
  if (more) box.append("… the most common");
  return box;
}

function range({ key, lowest, highest }, number) {
  const box = document.createElement("div");
  box.className = "range";
  for (const [end, word, value] of [["low", "from", lowest], ["high", "to", highest]]) {
    const field = document.createElement("input");
    Object.assign(field, { type: "number", name: `${end}-${number}`, step: "any", placeholder: value, inputMode: "decimal" });
    field.setAttribute("aria-label", `${key} ${word}`);
    box.append(word, field);
  }
  return box;
}
