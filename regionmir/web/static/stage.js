// One film in its frame: zoom, pan, window and level, drawing a box. All places are in pixels of the film as viewed.
const SVG = "http://www.w3.org/2000/svg";
const CLICK_PX = 4;
const MOST_ZOOM = 24;

export const WINDOW = { center: 0.5, width: 1, inverted: false };

// Shows every film through the window: values from center - width/2 to center + width/2 become black to white.
export function applyWindow() {
  const { center, width, inverted } = WINDOW;
  const plain = center === 0.5 && width === 1 && !inverted;
  const slope = (inverted ? -1 : 1) / width;
  const intercept = inverted ? 0.5 + center / width : 0.5 - center / width;
  for (const part of document.querySelectorAll("#window feFuncR, #window feFuncG, #window feFuncB")) {
    part.setAttribute("slope", slope);
    part.setAttribute("intercept", intercept);
  }
  for (const film of document.querySelectorAll("image.film")) {
    if (plain) film.removeAttribute("filter");
    else film.setAttribute("filter", "url(#window)");
  }
}

export function turnWindow(across, down) {
  WINDOW.width = Math.min(2, Math.max(0.02, WINDOW.width * Math.exp(across / 300)));
  WINDOW.center = Math.min(1.2, Math.max(-0.2, WINDOW.center + down / 600));
  applyWindow();
}

export class Stage {
  // `tool()` says what dragging does; `moved(stage, change)` is told of zoom and pan; `drawn(box)` of a finished box.
  constructor(svg, { tool, moved, drawn }) {
    Object.assign(this, { svg, tool, moved, drawn });
    this.size = [Number(svg.dataset.width), Number(svg.dataset.height)];
    const focus = svg.dataset.focus?.split(",").map(Number);
    this.focus = focus ?? [0, 0, ...this.size];
    this.pointers = new Map();
    this.begin();
    this.stop = new AbortController();
    const on = (name, act) => svg.addEventListener(name, act.bind(this), { signal: this.stop.signal, passive: false });
    on("pointerdown", this.down);
    on("pointermove", this.move);
    on("pointerup", this.up);
    on("pointercancel", this.up);
    on("wheel", this.wheel);
    on("keydown", this.key);
    on("contextmenu", (event) => event.preventDefault());
    on("click", (event) => { if (this.dragged) { event.preventDefault(); event.stopPropagation(); } });
    on("dragstart", (event) => event.preventDefault());
    this.watch = new ResizeObserver(() => this.show());
    this.watch.observe(svg);
  }

  // Starts where the server said that the film should be seen.
  begin() {
    const { x, y, width, height } = this.svg.viewBox.baseVal;
    const frame = this.svg.getBoundingClientRect();
    this.scale = Math.min(frame.width / width, frame.height / height);
    this.center = [x + width / 2, y + height / 2];
    this.first = { scale: this.scale, center: [...this.center] };
    this.show();
  }

  close() {
    this.stop.abort();
    this.watch.disconnect();
  }

  get unit() {
    const [x0, y0, x1, y1] = this.focus;
    return [x1 - x0, y1 - y0];
  }

  show() {
    const { width, height } = this.svg.getBoundingClientRect();
    if (!width || !height) return;
    const [w, h] = [width / this.scale, height / this.scale];
    this.svg.setAttribute("viewBox", `${this.center[0] - w / 2} ${this.center[1] - h / 2} ${w} ${h}`);
  }

  // The change of another stage, or our own: zoom by `factor`, move by parts of the region's size.
  change({ factor = 1, by = [0, 0] }) {
    const frame = this.svg.getBoundingClientRect();
    const least = 0.3 * Math.min(frame.width / this.size[0], frame.height / this.size[1]);
    this.scale = Math.min(MOST_ZOOM, Math.max(least, this.scale * factor));
    this.center = this.center.map((value, axis) => Math.min(this.size[axis], Math.max(0, value + by[axis] * this.unit[axis])));
    this.show();
  }

  fit([x0, y0, x1, y1], margin = 1) {
    const frame = this.svg.getBoundingClientRect();
    this.scale = Math.min(frame.width / (x1 - x0), frame.height / (y1 - y0)) / margin;
    this.center = [(x0 + x1) / 2, (y0 + y1) / 2];
    this.show();
  }

  fitFilm() { this.fit([0, 0, ...this.size]); }
  fitRegion() { this.fit(this.focus, 1.15); }
  reset() {
    this.scale = this.first.scale;
    this.center = [...this.first.center];
    this.show();
  }

  // Takes over how another stage is seen, in parts of the region's size.
  follow(other) {
    this.scale = other.scale * Math.min(other.unit[0] / this.unit[0], other.unit[1] / this.unit[1]);
    this.center = [0, 1].map((axis) => {
      const middle = (box) => (box[axis] + box[axis + 2]) / 2;
      return middle(this.focus) + ((other.center[axis] - middle(other.focus)) / other.unit[axis]) * this.unit[axis];
    });
    this.show();
  }

  at(event) {
    const frame = this.svg.getBoundingClientRect();
    return [0, 1].map((axis) => {
      const from = axis ? event.clientY - frame.top - frame.height / 2 : event.clientX - frame.left - frame.width / 2;
      return this.center[axis] + from / this.scale;
    });
  }

  zoomAt([x, y], factor) {
    const before = this.scale;
    const wanted = { factor, by: [0, 0] };
    this.scale *= factor;
    const share = 1 - before / this.scale;
    this.scale = before;
    wanted.by = [(x - this.center[0]) * share / this.unit[0], (y - this.center[1]) * share / this.unit[1]];
    this.moved(this, wanted);
  }

  down(event) {
    this.pointers.set(event.pointerId, event);
    this.dragged = false;
    this.start = event;
    if (event.button === 2) this.act = "window";
    else this.act = this.tool() === "draw" && !this.svg.dataset.drawn ? "pan" : this.tool();
    if (this.act === "draw") {
      event.preventDefault();
      this.corner = this.at(event);
    }
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    if (!this.dragged && Math.hypot(event.clientX - this.start.clientX, event.clientY - this.start.clientY) < CLICK_PX) return;
    if (!this.dragged) {
      this.dragged = true;
      this.svg.setPointerCapture(event.pointerId);
      this.svg.classList.add("moving");
    }
    const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
    if (this.pointers.size === 2) this.pinch(event, before);
    else if (this.act === "draw") this.sketch([...this.corner, ...this.at(event)]);
    else if (this.act === "window") turnWindow(dx, dy);
    else this.moved(this, { by: [-dx / this.scale / this.unit[0], -dy / this.scale / this.unit[1]] });
    this.pointers.set(event.pointerId, event);
  }

  pinch(event, before) {
    const other = [...this.pointers.values()].find((one) => one.pointerId !== event.pointerId);
    const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    const middle = { clientX: (event.clientX + other.clientX) / 2, clientY: (event.clientY + other.clientY) / 2 };
    this.zoomAt(this.at(middle), apart(event) / Math.max(1, apart(before)));
    const by = [event.clientX - before.clientX, event.clientY - before.clientY];
    this.moved(this, { by: by.map((value, axis) => -value / 2 / this.scale / this.unit[axis]) });
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    this.svg.classList.remove("moving");
    if (this.act === "draw" && this.dragged && event.type === "pointerup") this.finish();
    if (!this.pointers.size) setTimeout(() => { this.dragged = false; });
  }

  wheel(event) {
    event.preventDefault();
    this.zoomAt(this.at(event), Math.exp(-event.deltaY / 400));
  }

  key(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const step = steps[event.key];
    if (step) {
      event.preventDefault();
      if (this.sketched) this.nudge(step, event.shiftKey);
      else this.moved(this, { by: step.map((part, axis) => (part * 40) / this.scale / this.unit[axis]) });
    } else if (event.key === "Enter" && this.sketched && event.target === this.svg) this.finish();
    else if (event.key === "Escape" && this.sketched) this.forget();
  }

  // A box to begin with where the keyboard draws: in the middle of what is seen.
  propose() {
    const half = [0.18 * this.size[0], 0.14 * this.size[1]];
    this.sketch([0, 1].map((a) => this.center[a] - half[a]).concat([0, 1].map((a) => this.center[a] + half[a])));
    this.svg.focus();
  }

  nudge([dx, dy], grows) {
    const step = 0.015 * this.size[0];
    const [x0, y0, x1, y1] = this.sketched;
    this.sketch(grows ? [x0, y0, x1 + dx * step, y1 + dy * step] : [x0 + dx * step, y0 + dy * step, x1 + dx * step, y1 + dy * step]);
  }

  sketch([ax, ay, bx, by]) {
    const clip = (value, axis) => Math.min(this.size[axis], Math.max(0, value));
    const [x0, x1] = [clip(Math.min(ax, bx), 0), clip(Math.max(ax, bx), 0)];
    const [y0, y1] = [clip(Math.min(ay, by), 1), clip(Math.max(ay, by), 1)];
    this.sketched = [x0, y0, x1, y1];
    this.rect ??= this.svg.appendChild(Object.assign(document.createElementNS(SVG, "rect")));
    this.rect.setAttribute("class", "drawn");
    for (const [name, value] of Object.entries({ x: x0, y: y0, width: x1 - x0, height: y1 - y0 })) this.rect.setAttribute(name, value);
  }

  forget() {
    this.rect?.remove();
    this.rect = this.sketched = undefined;
  }

  finish() {
    const box = this.sketched;
    if (!box) return;
    if (Math.min(box[2] - box[0], box[3] - box[1]) < 4) this.forget();
    else this.drawn(this, box);
  }

  // Lays a map over the region; without an address takes it away.
  overlay(href) {
    this.svg.querySelector(".map")?.remove();
    if (!href) return;
    const [x0, y0, x1, y1] = this.focus;
    const map = document.createElementNS(SVG, "image");
    const values = { class: "map", href, x: x0, y: y0, width: x1 - x0, height: y1 - y0, preserveAspectRatio: "none" };
    for (const [name, value] of Object.entries(values)) map.setAttribute(name, value);
    this.svg.insertBefore(map, this.svg.querySelector(".boxes"));
  }
}
