// A stack of frames to look at: the wheel and the keys go through it, dragging changes the window, a heat map fades in.
// The server renders; here pictures are only drawn, one asked for at a time, so that a drag sends no more requests than
// are answered meanwhile.
import { answered, told } from "./api.js";

const KEPT = 20; // pictures, some MB each; the browser's own cache has more of them, encoded
const AHEAD = 2;
const PAGE = 10;
const WHEEL_STEP_PX = 60;
const STRIP_PX = 18; // the words below a heat map's picture
const BUSY_MS = 150; // less is not seen
const SIDES_PX = [512, 1024, 2048];

class Viewer {
  constructor(figure) {
    this.words = figure.dataset;
    this.kept = new Map();
    this.stacks = new Map(); // of the series that were looked at
    this.part = (name) => figure.querySelector(`.viewer-${name}`);
    this.canvas = figure.querySelector("canvas");
    this.listen();
    this.look(figure.dataset, this.canvas.ariaLabel);
  }

  // A frame, with its heat map, and the series that it is of.
  look({ study, series, instance, frame, heat }, text) {
    const base = `/dicomweb/studies/${study}/series/${series}/instances`;
    // A window that was chosen holds for its series; where there is none each frame has its own.
    if (base !== this.base) this.window = null;
    this.base = base;
    this.own = { instance, frame: Number(frame) };
    this.heat = heat ? this.load(`/api/v1/heat-maps/${heat}.png`).catch(() => null) : null;
    this.canvas.ariaLabel = text;
    this.stack = [this.own];
    this.at = 0;
    const found = this.stacks.get(base) ?? this.list(base);
    this.stacks.set(base, found);
    found.then((stack) => base === this.base && this.place(stack), (error) => {
      this.stacks.delete(base);
      this.tell(error);
    });
    this.ask();
  }

  // Where the frame is among those of its series; what is no image stays alone.
  place(stack) {
    const at = stack.findIndex((one) => this.isOwn(one));
    if (at < 0) return;
    this.stack = stack;
    this.at = at;
    this.ask();
  }

  isOwn({ instance, frame }) {
    return instance === this.own.instance && frame === this.own.frame;
  }

  listen() {
    this.canvas.addEventListener("pointerdown", (event) => this.press(event));
    this.canvas.addEventListener("pointermove", (event) => this.drag(event));
    this.canvas.addEventListener("dblclick", () => this.reset());
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    // Only a picture that somebody clicked keeps the wheel; else the page scrolls under the pointer.
    this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.part("reset").addEventListener("click", () => this.reset());
    this.part("at").addEventListener("input", ({ target }) => this.go(Number(target.value) - 1));
    this.part("heat")?.addEventListener("change", () => this.shown && this.draw());
    this.part("fade")?.addEventListener("input", () => this.shown && this.draw());
  }

  async list(base) {
    let found = [];
    for (let more = true; more; ) {
      const answer = await answered(`${base}?offset=${found.length}`);
      found = found.concat(await answer.json());
      more = answer.headers.has("Warning");
    }
    const value = (one, tag) => one[tag]?.Value?.[0];
    const images = found.filter((one) => value(one, "00280010"));
    return images.flatMap((one) =>
      Array.from({ length: value(one, "00280008") }, (_, at) => ({ instance: value(one, "00080018"), frame: at + 1 })));
  }

  go(to) {
    const at = Math.min(this.stack.length - 1, Math.max(0, to));
    if (at === this.at) return;
    this.at = at;
    this.ask();
  }

  // Shows what is wanted when the answer to the last request has come, whatever was wanted in between.
  async ask() {
    this.isStale = true;
    if (this.isBusy) return;
    this.isBusy = true;
    while (this.isStale) {
      this.isStale = false;
      await this.show();
    }
    this.isBusy = false;
    for (let step = 1; step <= AHEAD; step++) {
      for (const at of [this.at + step, this.at - step]) if (this.stack[at]) this.load(this.url(this.stack[at])).catch(() => {});
    }
  }

  // What is shown is told by `shown`, not by `at`, which may be ahead of it.
  async show() {
    const at = this.at;
    const one = this.stack[at];
    const busy = setTimeout(() => this.tellBusy(true), BUSY_MS);
    try {
      this.shown = { at, one, ...(await this.load(this.url(one))) };
      this.tell(null);
    } catch (error) {
      this.shown = { at, one, picture: null, window: null };
      this.tell(error);
    }
    clearTimeout(busy);
    this.tellBusy(false);
    this.draw();
    this.label();
  }

  url({ instance, frame }) {
    const side = (px) => SIDES_PX.find((one) => one >= px * devicePixelRatio) ?? SIDES_PX.at(-1);
    const { clientWidth, clientHeight } = this.canvas;
    const window = this.window ? `&window=${this.window.center},${this.window.width},${this.window.shape}` : "";
    return `${this.base}/${instance}/frames/${frame}/rendered?viewport=${side(clientWidth)},${side(clientHeight)}${window}`;
  }

  // The picture and its window; the latest are kept, failures are not.
  load(url) {
    const found = this.kept.get(url) ?? this.fetched(url);
    this.kept.delete(url);
    this.kept.set(url, found);
    found.catch(() => this.kept.delete(url));
    for (const oldest of this.kept.keys()) {
      if (this.kept.size <= KEPT) break;
      this.kept.delete(oldest);
    }
    return found;
  }

  async fetched(url) {
    const answer = await answered(url);
    const [center, width, shape] = (answer.headers.get("Overread-Window") ?? "").split(",");
    const picture = await createImageBitmap(await answer.blob());
    return { picture, window: shape ? { center: Number(center), width: Number(width), shape } : null };
  }

  async draw() {
    const { shown, canvas } = this;
    const isMapped = this.heat !== null && this.isOwn(shown.one);
    for (const name of ["heat", "fade"]) if (this.part(name)) this.part(name).disabled = !isMapped;
    const heat = isMapped && this.part("heat").checked ? await this.heat : null;
    if (shown !== this.shown) return;
    const context = canvas.getContext("2d");
    if (!shown.picture) return context.clearRect(0, 0, canvas.width, canvas.height);
    canvas.width = shown.picture.width;
    canvas.height = shown.picture.height;
    context.drawImage(shown.picture, 0, 0);
    if (heat) this.drawHeat(context, heat.picture);
  }

  // The frame in the heat map's picture stands above its strip of words, on the left where it is narrower than these.
  drawHeat(context, heat) {
    const { width, height } = context.canvas;
    const rows = heat.height - STRIP_PX;
    const columns = Math.min(heat.width, Math.max(1, Math.round((rows * width) / height)));
    context.globalAlpha = Number(this.part("fade").value) / 100;
    context.drawImage(heat, 0, 0, columns, rows, 0, 0, width, height);
    context.globalAlpha = 1;
  }

  label() {
    const place = filled(this.words.place, { at: this.shown.at + 1, all: this.stack.length });
    this.part("place").textContent = place;
    Object.assign(this.part("at"), { max: this.stack.length, value: this.at + 1, hidden: this.stack.length < 2 });
    this.canvas.setAttribute("aria-valuemax", this.stack.length);
    this.canvas.setAttribute("aria-valuenow", this.shown.at + 1);
    this.canvas.setAttribute("aria-valuetext", place);
    const window = this.window ?? this.shown?.window;
    const rounded = (value) => Number(value.toPrecision(4));
    this.part("window").textContent =
      window ? filled(this.words.window, { center: rounded(window.center), width: rounded(window.width) }) : "";
    this.part("reset").disabled = !this.window;
  }

  // Black, or the picture before, is not yet what is asked for.
  tellBusy(isBusy) {
    this.part("busy").hidden = !isBusy;
    this.canvas.ariaBusy = isBusy;
  }

  tell(error) {
    this.part("fault").hidden = !error;
    if (error) this.part("fault").replaceChildren(`${this.words.fault} `, ...told(error));
  }

  press(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.from = { x: event.clientX, y: event.clientY, window: this.window ?? this.shown?.window };
  }

  // To the right is wider, up is a lower centre and so brighter; across the picture is twice its width.
  drag(event) {
    if (!this.from?.window || !this.canvas.hasPointerCapture(event.pointerId)) return;
    const { x, y, window } = this.from;
    if (event.clientX === x && event.clientY === y) return;
    const share = (pixels) => (2 * pixels) / this.canvas.clientWidth;
    this.choose(window, share(event.clientX - x), share(event.clientY - y));
  }

  choose(from, wider, higher) {
    const scale = Math.max(from.width, 1e-3);
    const least = from.shape === "LINEAR" ? 1 : scale / 1000;
    const [center, width] = [from.center + higher * scale, Math.max(least, from.width + wider * scale)];
    // Few digits, so that near windows are one picture.
    this.window = { center: Number(center.toPrecision(6)), width: Number(width.toPrecision(6)), shape: from.shape };
    this.label();
    this.ask();
  }

  reset() {
    this.window = null;
    this.from = null;
    this.ask();
  }

  wheel(event) {
    if (document.activeElement !== this.canvas || this.stack.length < 2 || event.ctrlKey) return;
    event.preventDefault();
    this.turned = (this.turned ?? 0) + event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 1 : WHEEL_STEP_PX);
    const steps = Math.trunc(this.turned / WHEEL_STEP_PX);
    this.turned -= steps * WHEEL_STEP_PX;
    if (steps) this.go(this.at + steps);
  }

  key(event) {
    const { key, shiftKey } = event;
    const steps = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -PAGE, PageDown: PAGE };
    const turns = { ArrowLeft: [-0.05, 0], ArrowRight: [0.05, 0], ArrowUp: [0, -0.05], ArrowDown: [0, 0.05] };
    const window = this.window ?? this.shown?.window;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (shiftKey && turns[key] && window) this.choose(window, ...turns[key]);
    else if (!shiftKey && steps[key]) this.go(this.at + steps[key]);
    else if (key === "Home") this.go(0);
    else if (key === "End") this.go(this.stack.length - 1);
    else if (key === "Escape" && this.window) this.reset();
    else return;
    event.preventDefault();
  }
}

function filled(text, values) {
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

export const viewers = [...document.querySelectorAll("figure.viewer")].map((figure) => new Viewer(figure));
