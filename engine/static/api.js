// Calls of the service. Every failure becomes a Trouble, whose text is for people.

const TOKEN = "token";
const RETRIES = 4;

export class Trouble extends Error {
  // kind: "token" where one is needed, "busy", "offline", or "refused" with the service's own words.
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

export function useToken(token) { sessionStorage.setItem(TOKEN, token); }

// The nearest photos to a sketch, { strokes, picture }. options: { top_k, where, subset, explain }.
export async function search(sketch, options, signal, onBusy = () => {}) {
  let request;
  if (sketch.picture) {
    const form = new FormData();
    form.set("sketch", sketch.picture.blob, "sketch");
    for (const [name, value] of Object.entries(options)) form.set(name, typeof value === "object" ? JSON.stringify(value) : value);
    request = { body: form };
  } else {
    const drawing = { size: sketch.size, strokes: sketch.strokes };
    request = { body: JSON.stringify({ drawing, ...options }), headers: { "Content-Type": "application/json" } };
  }
  const response = await call("/v1/search", { method: "POST", ...request, signal }, onBusy);
  return response.json();
}

export async function gallery() { return (await call("/v1/gallery")).json(); }

// A photo's picture, as an address for <img>; whoever shows it gives it back with URL.revokeObjectURL.
export async function picture(id, side, signal) {
  const path = id.split("/").map(encodeURIComponent).join("/");
  const response = await call(`/v1/photos/${path}/image?side=${side}`, { signal });
  return URL.createObjectURL(await response.blob());
}

async function call(address, { headers = {}, signal, ...request } = {}, onBusy = () => {}) {
  const token = sessionStorage.getItem(TOKEN);
  for (let tries = 0; ; tries++) {
    let response;
    try {
      response = await fetch(address, { ...request, signal, headers: { ...headers, ...(token && { Authorization: `Bearer ${token}` }) } });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Trouble("offline", "The service can't be reached. Is it running?");
    }
    if (response.ok) return response;
    const busy = response.status === 429 || response.status === 503;
    if (busy && response.headers.has("Retry-After") && tries < RETRIES) {
      onBusy();
      await pause(1000 * Number(response.headers.get("Retry-After")), signal);
      continue;
    }
    const said = (await response.json().catch(() => ({}))).error;
    if (response.status === 401) throw new Trouble("token", said?.message ?? "A token is needed.");
    throw new Trouble(busy ? "busy" : "refused", said?.message ?? `The service answered ${response.status}.`);
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => { clearTimeout(timer); reject(new DOMException("Aborted", "AbortError")); });
  });
}
