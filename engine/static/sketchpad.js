// The canvas: strokes by mouse, touch, pen or keys, or one picture; every change can be taken back.

export const SIZE = 400; // side of the canvas in the unit of the strokes' points
const STEP = 10, SMALL_STEP = 2; // of the keyboard's pen
const LIGHTEST = 0.4; // as the server draws: width without pressure, as a share of the pen's

export class Sketchpad extends EventTarget {
  // Fires `change` when a stroke ends and whenever the drawing becomes another one, `say` with a text for screen readers.
  constructor(canvas) {
    super();
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.width = 4;
    this.strokes = [];
    this.picture = null; // { blob, name, image }
    this.past = [];
    this.future = [];
    this.stroke = null; // being drawn
    this.pen = null; // of the keyboard: { x, y, down }
    for (const [type, act] of Object.entries({
      pointerdown: this.#begin, pointermove: this.#move, pointerup: this.#end, pointercancel: this.#end,
      keydown: this.#key, focus: this.#focus, blur: this.#blur,
    })) canvas.addEventListener(type, act.bind(this));
    new ResizeObserver(() => this.#fit()).observe(canvas);
  }

  get isEmpty() { return !this.strokes.length && !this.picture; }

  // Replace everything, as one step that can be undone.
  set(strokes, picture = null) {
    this.past.push([this.strokes, this.picture]);
    this.future = [];
    [this.strokes, this.picture] = [strokes, picture];
    this.#changed();
  }

  undo() { this.#step(this.past, this.future); }
  redo() { this.#step(this.future, this.past); }

  #step(from, to) {
    if (!from.length || this.stroke) return;
    to.push([this.strokes, this.picture]);
    [this.strokes, this.picture] = from.pop();
    this.#changed();
  }

  #changed() {
    this.draw();
    this.dispatchEvent(new Event("change"));
  }

  #say(text) { this.dispatchEvent(new CustomEvent("say", { detail: text })); }

  #point(event) {
    const box = this.canvas.getBoundingClientRect();
    const round = (value) => Math.round(value * 10) / 10;
    const point = [round((event.clientX - box.left) / box.width * SIZE), round((event.clientY - box.top) / box.height * SIZE)];
    // A mouse has no pressure, and says 0.5.
    if (event.pointerType === "pen" && event.pressure > 0) point.push(Math.round(event.pressure * 100) / 100);
    return point;
  }

  #begin(event) {
    if (event.button !== 0 || this.stroke) return;
    if (this.picture) {
      this.#say("Clear the picture to draw.");
      return;
    }
    this.canvas.setPointerCapture(event.pointerId);
    this.pen = null;
    this.pointer = event.pointerId;
    this.stroke = { width: this.width, points: [this.#point(event)] };
    this.dispatchEvent(new Event("begin"));
    this.draw();
  }

  #move(event) {
    if (!this.stroke || event.pointerId !== this.pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const one of events.length ? events : [event]) this.#extend(this.#point(one));
    this.draw();
  }

  #extend(point) {
    const last = this.stroke.points.at(-1);
    if (Math.hypot(point[0] - last[0], point[1] - last[1]) >= 0.8) this.stroke.points.push(point);
  }

  #end(event) {
    if (this.stroke && event.pointerId === this.pointer) this.#finish();
  }

  #finish() {
    const stroke = this.stroke;
    this.stroke = null;
    this.set([...this.strokes, stroke]);
  }

  #key(event) {
    const step = event.shiftKey ? SMALL_STEP : STEP;
    const [dx, dy] = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key] ?? [0, 0];
    if ((dx || dy) && !this.picture) {
      event.preventDefault();
      this.pen ??= { x: SIZE / 2, y: SIZE / 2 };
      this.pen.x = Math.min(SIZE, Math.max(0, this.pen.x + dx));
      this.pen.y = Math.min(SIZE, Math.max(0, this.pen.y + dy));
      if (this.stroke) this.#extend([this.pen.x, this.pen.y]);
      this.draw();
    } else if (event.key === " " && !this.picture) {
      event.preventDefault();
      this.pen ??= { x: SIZE / 2, y: SIZE / 2 };
      if (this.stroke) {
        this.#finish();
        this.#say("Pen up.");
      } else {
        this.stroke = { width: this.width, points: [[this.pen.x, this.pen.y]] };
        this.dispatchEvent(new Event("begin"));
        this.#say(`Pen down at ${this.pen.x}, ${this.pen.y}.`);
        this.draw();
      }
    }
  }

  #focus() {
    if (this.canvas.matches(":focus-visible") && !this.picture) {
      this.pen ??= { x: SIZE / 2, y: SIZE / 2 };
      this.draw();
    }
  }

  #blur() {
    if (this.stroke && this.pen) this.#finish();
    this.pen = null;
    this.draw();
  }

  #fit() {
    const side = Math.round(this.canvas.clientWidth * devicePixelRatio);
    if (side && this.canvas.width !== side) {
      this.canvas.width = this.canvas.height = side;
      this.draw();
    }
  }

  draw(strokes = this.stroke ? [...this.strokes, this.stroke] : this.strokes) {
    const { context, canvas } = this;
    context.setTransform(canvas.width / SIZE, 0, 0, canvas.width / SIZE, 0, 0);
    context.fillStyle = "#fff";
    context.fillRect(0, 0, SIZE, SIZE);
    if (this.picture) drawPicture(context, this.picture.image, SIZE);
    drawStrokes(context, strokes);
    if (this.pen) {
      context.strokeStyle = this.stroke ? "#d9480f" : "#2f5d50";
      context.lineWidth = 1.5;
      context.beginPath();
      context.arc(this.pen.x, this.pen.y, 7, 0, 7);
      context.moveTo(this.pen.x - 12, this.pen.y);
      context.lineTo(this.pen.x + 12, this.pen.y);
      context.moveTo(this.pen.x, this.pen.y - 12);
      context.lineTo(this.pen.x, this.pen.y + 12);
      context.stroke();
    }
  }
}

export function drawPicture(context, image, side) {
  const scale = Math.min(side / image.width, side / image.height);
  const [width, height] = [image.width * scale, image.height * scale];
  context.drawImage(image, (side - width) / 2, (side - height) / 2, width, height);
}

export function drawStrokes(context, strokes) {
  context.strokeStyle = context.fillStyle = "#16181b";
  context.lineCap = context.lineJoin = "round";
  for (const { width, points } of strokes) {
    const thick = (point) => width * (LIGHTEST + (1 - LIGHTEST) * (point[2] ?? 1));
    context.beginPath();
    context.arc(points[0][0], points[0][1], thick(points[0]) / 2, 0, 7);
    context.fill();
    for (let i = 1; i < points.length; i++) {
      context.lineWidth = thick(points[i]);
      context.beginPath();
      context.moveTo(points[i - 1][0], points[i - 1][1]);
      context.lineTo(points[i][0], points[i][1]);
      context.stroke();
    }
  }
}
