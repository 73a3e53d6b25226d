// A search as a link: the drawing or picture and the filters, packed behind the #, which browsers don't send anywhere.

const LARGEST = 24_000; // bytes of a picture that still make a link that can be pasted
const TENTHS = 10;

// Null for a picture that is too large.
export async function pack({ strokes, picture, topK, where }) {
  const state = { v: 1, k: topK, ...(where && { w: where }) };
  if (picture) {
    if (picture.blob.size > LARGEST) return null;
    state.n = picture.name;
    state.p = toText(new Uint8Array(await picture.blob.arrayBuffer()));
  } else {
    state.s = strokes.map(({ width, points }) => [width, ...differences(points)]);
  }
  const packed = new Blob([JSON.stringify(state)]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  return `#${toText(new Uint8Array(await new Response(packed).arrayBuffer()))}`;
}

// Null for what is no such link.
export async function unpack(hash) {
  if (hash.length < 2) return null;
  try {
    const stream = new Blob([fromText(hash.slice(1))]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    const state = JSON.parse(await new Response(stream).text());
    if (state.v !== 1) return null;
    return {
      topK: state.k,
      where: state.w,
      strokes: (state.s ?? []).map(([width, ...rest]) => ({ width, points: points(rest) })),
      picture: state.p ? { name: state.n, blob: new Blob([fromText(state.p)]) } : null,
    };
  } catch {
    return null;
  }
}

// Steps from point to point in tenths: small numbers, which compress well. The drawing comes back as it was.
function differences(all) {
  let [x, y] = [0, 0];
  return all.map((point) => {
    const [nextX, nextY] = [Math.round(point[0] * TENTHS), Math.round(point[1] * TENTHS)];
    const step = [nextX - x, nextY - y, ...point.slice(2)];
    [x, y] = [nextX, nextY];
    return step;
  });
}

function points(steps) {
  let [x, y] = [0, 0];
  return steps.map(([dx, dy, ...pressure]) => {
    [x, y] = [x + dx, y + dy];
    return [x / TENTHS, y / TENTHS, ...pressure];
  });
}

function toText(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function fromText(text) {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.charCodeAt(0));
}
