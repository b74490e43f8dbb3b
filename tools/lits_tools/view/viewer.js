"use strict";
// The page's data are described in page.py. Places are [slice, row, column] of the canonical volume.
const data = JSON.parse(document.getElementById("data").textContent);
const at = id => document.getElementById(id);
const [depth, height, width] = data.shape;
const ct = new Uint8Array(depth * height * width), codes = new Uint8Array(ct.length);
const strides = [height * width, width, 1];
const place = [...data.start];
const views = {
  contours: "contours", filled: "mask over CT",
  ...(data.has_reference && { reference: "reference over CT", difference: "difference of lesions" }), ct: "CT only",
};
const legends = {
  contours: data.has_reference
    ? { liver: "liver, predicted", liver_gt: "liver, reference", lesion: "lesion, predicted", lesion_gt: "lesion, reference" }
    : { liver: "liver", lesion: "lesion" },
  filled: { liver: "liver", lesion: "lesion" }, reference: { liver: "liver", lesion: "lesion" },
  difference: { predicted: "false positive", reference: "false negative", agreed: "both" }, ct: {},
};
const kinds = { lesion: "", found: "found", missed: "missed", "false positive": "false positive" };
let current = -1;

async function load() {
  const images = data.slices.map(slice => [slice.ct, slice.labels].map(source => Object.assign(new Image(), { src: source })));
  await new Promise(resolve => addEventListener("load", resolve));
  const scratch = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  const read = (image, into, offset, scale) => {
    scratch.drawImage(image, 0, 0);
    const rgba = scratch.getImageData(0, 0, width, height).data;
    for (let i = 0; i < height * width; i++) into[offset + i] = Math.round(rgba[4 * i] / scale);
  };
  for (const [index, [grey, labels]] of images.entries()) {
    read(grey, ct, index * strides[0], 1);
    read(labels, codes, index * strides[0], data.code_step);
    if (index % 10 == 0) {
      at("caption").textContent = `loading slice ${index + 1} of ${depth}`;
      await new Promise(resolve => setTimeout(resolve));
    }
  }
  at("caption").textContent = data.captions.join("; ");
}

class Picture {
  constructor(plane) {
    this.plane = plane;
    const { axis, rows, columns } = plane;
    this.height = data.shape[rows]; this.width = data.shape[columns];
    this.mm = [data.spacing_mm[rows], data.spacing_mm[columns]];
    this.first = axis == 0 ? data.first : 0;
    this.raw = new OffscreenCanvas(this.width, this.height);
    this.figure = document.createElement("figure");
    this.figure.style.gridArea = plane.name;
    this.figure.innerHTML = `<figcaption><output></output><input type="range" min="0" max="${data.shape[axis] - 1}"
      aria-label="${plane.name} slice"></figcaption><div class="picture"><canvas tabindex="0" role="img"></canvas>
      ${["left", "right", "top", "bottom"].map((s, i) => `<span class="${s}">${plane.letters[i]}</span>`).join("")}
      <span class="scale"></span></div>`;
    [this.slider, this.canvas, this.output, this.scale] =
      ["input", "canvas", "output", ".scale"].map(name => this.figure.querySelector(name));
    this.slider.addEventListener("input", () => { place[axis] = this.first + +this.slider.value; draw(); });
    this.canvas.addEventListener("wheel", event => { event.preventDefault(); this.move(-Math.sign(event.deltaY)); },
      { passive: false });
    this.canvas.addEventListener("click", event => this.point(event));
    this.canvas.addEventListener("keydown", event => {
      const steps = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 };
      if (event.key in steps) { event.preventDefault(); this.move(steps[event.key]); }
    });
  }

  get number() { return place[this.plane.axis] - this.first; }

  move(steps) {
    place[this.plane.axis] = this.first + Math.min(Math.max(this.number + steps, 0), data.shape[this.plane.axis] - 1);
    draw();
  }

  // Rows of the picture, from the top, to indices of the volume without its cut, and back.
  row(y) { return this.plane.flip_rows ? this.height - 1 - y : y; }
  offset(axis) { return axis == 0 ? data.first : 0; }

  point(event) {
    const { rows, columns } = this.plane, area = this.area();
    const x = Math.floor(area.left + event.offsetX / this.canvas.clientWidth * area.width);
    const y = Math.floor(area.top + event.offsetY / this.canvas.clientHeight * area.height);
    place[columns] = Math.min(Math.max(x, 0), this.width - 1) + this.offset(columns);
    place[rows] = this.row(Math.min(Math.max(y, 0), this.height - 1)) + this.offset(rows);
    draw();
  }

  // The part of the picture that is shown, in pixels.
  area() {
    if (!at("zoom").checked || !liverBox) return { left: 0, top: 0, width: this.width, height: this.height };
    const edges = (axis, size, mm) => {
      const [low, high] = liverBox[axis].map(n => n - this.offset(axis));
      return [Math.max(low - 15 / mm, 0), Math.min(high + 1 + 15 / mm, size)];
    };
    const [left, right] = edges(this.plane.columns, this.width, this.mm[1]);
    const [low, high] = edges(this.plane.rows, this.height, this.mm[0]);
    return { left, top: this.plane.flip_rows ? this.height - high : low, width: right - left, height: high - low };
  }

  draw(settings) {
    const { axis, rows, columns } = this.plane, pixels = this.width * this.height;
    const image = new ImageData(this.width, this.height), out = image.data;
    const code = new Uint8Array(pixels);
    for (let y = 0, i = 0; y < this.height; y++) {
      const start = this.number * strides[axis] + this.row(y) * strides[rows];
      for (let x = 0; x < this.width; x++, i++) {
        const from = start + x * strides[columns], grey = settings.grey[ct[from]];
        code[i] = codes[from];
        const over = settings.fill[code[i]];
        for (let c = 0; c < 3; c++)
          out[4 * i + c] = over ? grey * (1 - over[3]) + over[c] * over[3] : grey;
        out[4 * i + 3] = 255;
      }
    }
    this.raw.getContext("2d").putImageData(image, 0, 0);
    const area = this.area(), aspect = area.width * this.mm[1] / (area.height * this.mm[0]);
    const ratio = Math.min(devicePixelRatio || 1, 2);
    this.canvas.width = Math.round(this.canvas.clientWidth * ratio);
    this.canvas.height = Math.round(this.canvas.width / aspect);
    const context = this.canvas.getContext("2d");
    context.setTransform(this.canvas.width / area.width, 0, 0, this.canvas.height / area.height, 0, 0);
    context.translate(-area.left, -area.top);
    context.drawImage(this.raw, 0, 0);
    this.pixel = 1 / context.getTransform().a;
    if (settings.contours) for (const [mask, colour, weight, dashed] of settings.contours)
      this.outline(context, code, mask, colour, weight * ratio, dashed, settings.opacity);
    if (settings.marks) this.marks(context, ratio);
    this.cross(context, ratio);
    this.label(area);
  }

  stroke(context, colour, weight, path, dash = []) {
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.strokeStyle = colour; context.lineWidth = weight; context.setLineDash(dash);
    context.stroke(path);
    context.restore();
  }

  outline(context, code, mask, colour, weight, dashed, opacity) {
    const path = new Path2D(), edge = new Path2D();
    const inside = (x, y) => x >= 0 && y >= 0 && x < this.width && y < this.height && mask(code[y * this.width + x]);
    for (let y = 0; y < this.height; y++) for (let x = 0; x < this.width; x++) {
      if (!inside(x, y)) continue;
      if (!inside(x, y - 1)) { edge.moveTo(x, y); edge.lineTo(x + 1, y); }
      if (!inside(x, y + 1)) { edge.moveTo(x, y + 1); edge.lineTo(x + 1, y + 1); }
      if (!inside(x - 1, y)) { edge.moveTo(x, y); edge.lineTo(x, y + 1); }
      if (!inside(x + 1, y)) { edge.moveTo(x + 1, y); edge.lineTo(x + 1, y + 1); }
    }
    path.addPath(edge, context.getTransform());
    context.globalAlpha = opacity;
    // Each pixel's edge is a line of its own, so that the dash is half of an edge or all of it.
    this.stroke(context, colour, weight, path, dashed ? [0.5 / this.pixel, 0.5 / this.pixel] : []);
    context.globalAlpha = 1;
  }

  marks(context, ratio) {
    const { axis, rows, columns } = this.plane;
    for (const lesion of data.lesions) {
      const [first, last] = lesion.box[axis];
      if (!lesion.small || place[axis] < first || place[axis] > last) continue;
      const middle = a => (lesion.box[a][0] + lesion.box[a][1] + 1) / 2 - this.offset(a);
      const size = Math.max(...[rows, columns].map(a => (lesion.box[a][1] - lesion.box[a][0] + 1) * data.spacing_mm[a]));
      const y = this.plane.flip_rows ? this.height - middle(rows) : middle(rows);
      const ring = new Path2D(), path = new Path2D(), radius = size / 2 + 6;
      ring.ellipse(middle(columns), y, radius / this.mm[1], radius / this.mm[0], 0, 0, 2 * Math.PI);
      path.addPath(ring, context.getTransform());
      this.stroke(context, "#000", 4 * ratio, path);
      this.stroke(context, data.colours.marked, 2 * ratio, path);
    }
  }

  cross(context, ratio) {
    const { rows, columns } = this.plane;
    const x = place[columns] - this.offset(columns) + 0.5;
    const y = this.row(place[rows] - this.offset(rows)) + 0.5;
    const lines = new Path2D(), path = new Path2D(), gap = 12 / this.mm[1];
    lines.moveTo(0, y); lines.lineTo(x - gap, y); lines.moveTo(x + gap, y); lines.lineTo(this.width, y);
    const high = 12 / this.mm[0];
    lines.moveTo(x, 0); lines.lineTo(x, y - high); lines.moveTo(x, y + high); lines.lineTo(x, this.height);
    path.addPath(lines, context.getTransform());
    context.globalAlpha = 0.35;
    this.stroke(context, "#fff", ratio, path);
    context.globalAlpha = 1;
  }

  label(area) {
    const { name, axis } = this.plane, shown = place[axis] + 1;
    this.slider.value = this.number;
    this.output.textContent = `${name} ${shown} of ${data.total[axis]}`;
    this.canvas.setAttribute("aria-label", `${name} slice ${shown} of ${data.total[axis]}`);
    this.canvas.dataset.drawn = shown;
    this.scale.textContent = "50 mm";
    this.scale.style.width = `${100 * 50 / (area.width * this.mm[1])}%`;
  }
}

const rgb = hex => [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));
const pred = code => code % 3, gt = code => code / 3 | 0;
const pictures = data.planes.map(plane => new Picture(plane));
let liverBox = null;

// What a code is filled with: red, green, blue, opacity.
function filled(view, opacity) {
  return [...Array(9).keys()].map(code => {
    const [p, g] = [pred(code), gt(code)], value = view == "filled" ? p : g;
    if ((view == "filled" || view == "reference") && value)
      return [...rgb(value == 2 ? data.colours.lesion : data.colours.liver), 0.45 * opacity];
    if (view == "difference" && (p == 2 || g == 2))
      return [...rgb(p == g ? data.colours.agreed : p == 2 ? data.colours.predicted : data.colours.reference),
        (p == g ? 0.3 : 0.9) * opacity];
    return null;
  });
}

function draw() {
  const low = +at("low").value, high = Math.max(+at("high").value, low + 1);
  const view = at("view").value, opacity = +at("opacity").value, colours = data.colours;
  const step = (data.hu[1] - data.hu[0]) / 255;
  const grey = Uint8Array.from({ length: 256 }, (_, v) =>
    Math.min(Math.max((data.hu[0] + v * step - low) / (high - low), 0), 1) * 255);
  const outlines = {
    contours: [
      ...(data.has_reference ? [[c => gt(c) > 0, colours.liver_gt, 1.2, true], [c => gt(c) == 2, colours.lesion_gt, 2, true]] : []),
      [c => pred(c) > 0, colours.liver, 1.2, false], [c => pred(c) == 2, colours.lesion, 2, false]],
    filled: [[c => pred(c) > 0, colours.liver, 1, false], [c => pred(c) == 2, colours.lesion, 1.5, false]],
    reference: [[c => gt(c) > 0, colours.liver, 1, false], [c => gt(c) == 2, colours.lesion, 1.5, false]],
  };
  const settings = { grey, opacity, fill: filled(view, opacity), contours: outlines[view], marks: view != "ct" };
  pictures.forEach(picture => picture.draw(settings));
  const small = data.lesions.some(lesion => lesion.small) && view != "ct";
  at("legend").innerHTML = Object.entries(legends[view]).map(
    ([key, text]) => `<span><i style="background:${colours[key]}"></i>${text}</span>`).join("")
    + (small ? `<span><i class="ring" style="border-color:${colours.marked}"></i>lesion under ${data.small_mm} mm</span>` : "");
}

function jump(index) {
  current = (index + data.lesions.length) % data.lesions.length;
  data.lesions[current].centre.forEach((value, axis) => { place[axis] = value; });
  at("lesions").querySelectorAll("button").forEach((button, i) => {
    button.setAttribute("aria-current", i == current);
    if (i == current) button.scrollIntoView({ block: "nearest" });
  });
  draw();
}

function list() {
  const number = data.lesions.length + data.unlisted;
  at("lesions").querySelector("h2").textContent = number == 0 ? "No lesion" : number == 1 ? "1 lesion" : `${number} lesions`;
  data.lesions.forEach((lesion, index) => {
    const button = document.createElement("button"), kind = kinds[lesion.kind];
    button.type = "button";
    button.innerHTML = `${index + 1}: ${lesion.diameter_mm.toFixed(0)} mm, ${lesion.volume_ml.toFixed(lesion.volume_ml < 1 ? 2 : 1)} ml`
      + `<small>slice ${lesion.centre[0] + 1}${kind && `, ${kind}`}</small>`;
    button.addEventListener("click", () => jump(index));
    const item = document.createElement("li");
    item.append(button);
    at("lesions").querySelector("ol").append(item);
  });
  if (data.unlisted) at("lesions").append(`${data.unlisted} smaller ones are not listed.`);
}

function boxOfLabels() {
  const box = [[1 / 0, -1], [1 / 0, -1], [1 / 0, -1]];
  for (let z = 0, i = 0; z < depth; z++) for (let y = 0; y < height; y++) for (let x = 0; x < width; x++, i++)
    if (codes[i]) [z + data.first, y, x].forEach((n, a) => { box[a] = [Math.min(box[a][0], n), Math.max(box[a][1], n)]; });
  return box[0][1] < 0 ? null : box;
}

async function open() {
  at("name").textContent = document.title = data.name;
  at("range").textContent = data.hu.join(" to ");
  document.querySelector("main").append(...pictures.map(picture => picture.figure));
  const options = entries => entries.map(([value, text]) => `<option value="${value}">${text}</option>`).join("");
  at("view").innerHTML = options(Object.entries(views));
  at("preset").innerHTML = options(Object.entries({ initial: data.window, ...data.presets }).map(([n, hu]) => [hu, n]));
  [at("low").value, at("high").value] = data.window;
  list();
  await load();
  liverBox = boxOfLabels();
  for (const id of ["view", "opacity", "low", "high", "zoom"]) at(id).addEventListener("input", draw);
  at("preset").addEventListener("input", () => { [at("low").value, at("high").value] = at("preset").value.split(","); draw(); });
  addEventListener("resize", draw);
  addEventListener("keydown", event => {
    if (/^(INPUT|SELECT)$/.test(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (data.lesions.length && event.key == "n") jump(current + 1);
    if (data.lesions.length && event.key == "p") jump(current < 0 ? -1 : current - 1);
  });
  document.querySelector("form").addEventListener("submit", event => event.preventDefault());
  draw();
  document.body.dataset.ready = "true";
}
open();
