"use strict";
// The image of a case: zoom and position, and of a scan the slice and the window. At first it is
// what the model saw; with another slice or window, values of the scan are drawn here.

const viewer = {
  images: [], image: 0, zoom: 1, x: 0, y: 0, isWindowing: false, scan: null, slice: 0, range: null,
  isOwn: false, turn: 0, canvas: document.createElement("canvas"), table: new Uint32Array(65536),
};
const frame = document.getElementById("frame");
const tool = (id) => document.getElementById(id);
const MAX_SLICE_BYTES = 256 * 2 ** 20;
const HEADER_BYTES = 24;
const slices = new Map(); // path -> { slice: promise, bytes }

// the images of a case, which are asked for at once
function preparedImages(item, count) {
  return Array.from({ length: count }, (_, number) => {
    const picture = new Image();
    picture.alt = `Image ${number + 1} of ${count} of this case`;
    picture.draggable = false;
    picture.src = `/image/${item}/${number}`;
    const entry = { picture, path: `/image/${item}/${number}`, scan: null };
    entry.described = fetch(`/api/scan/${item}/${number}`)
      .then((response) => (response.ok ? response.json() : null))
      .then((scan) => {
        entry.scan = scan;
        if (scan) sliceOf(entry, scan.shown[0]).catch(() => {});
      })
      .catch(() => {});
    return entry;
  });
}

function sliceOf(entry, number) {
  const path = `${entry.path}/${number}`;
  const cached = slices.get(path) ?? { slice: fetch(path).then(decoded), bytes: 0 };
  if (!slices.has(path)) {
    cached.slice.then((slice) => { cached.bytes = slice.bytes; }, () => slices.delete(path));
  }
  slices.delete(path);
  slices.set(path, cached); // the newest is the last one
  let bytes = [...slices.values()].reduce((sum, one) => sum + one.bytes, 0);
  for (const [other, { bytes: freed }] of slices) {
    if (bytes <= MAX_SLICE_BYTES || other === path) break;
    slices.delete(other);
    bytes -= freed;
  }
  return cached.slice;
}

async function decoded(response) {
  if (!response.ok) throw new Error("The slice cannot be shown.");
  if (response.headers.get("content-type").startsWith("image/")) {
    const bitmap = await createImageBitmap(await response.blob());
    return { bitmap, width: bitmap.width, height: bitmap.height, bytes: 4 * bitmap.width * bitmap.height };
  }
  const content = await response.arrayBuffer();
  const header = new DataView(content);
  return {
    width: header.getUint32(0, true), height: header.getUint32(4, true),
    low: header.getFloat64(8, true), step: header.getFloat64(16, true),
    codes: new Uint16Array(content, HEADER_BYTES), bytes: content.byteLength,
  };
}

function draw(slice) {
  const { canvas, table, range } = viewer;
  canvas.width = slice.width;
  canvas.height = slice.height;
  const context = canvas.getContext("2d");
  if (slice.bitmap) { context.drawImage(slice.bitmap, 0, 0); return; }
  const width = range.high - range.low;
  table[0] = 0xff000000; // black with any window
  for (let code = 1; code < table.length; code += 1) {
    const value = slice.low + (code - 1) * slice.step;
    const share = width > 0 ? (value - range.low) / width : Number(value > range.low);
    const level = Math.round(255 * Math.min(Math.max(share, 0), 1));
    const shown = viewer.scan.is_inverted ? 255 - level : level;
    table[code] = 0xff000000 | (shown << 16) | (shown << 8) | shown;
  }
  const image = context.createImageData(slice.width, slice.height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let place = 0; place < pixels.length; place += 1) pixels[place] = table[slice.codes[place]];
  context.putImageData(image, 0, 0);
}

function showImages(images) {
  viewer.images = images;
  showImage(0);
}

function showImage(number) {
  const count = viewer.images.length;
  viewer.image = count ? (number + count) % count : 0;
  tool("number").textContent = `image ${viewer.image + 1} of ${count}`;
  tool("image-tools").hidden = count < 2;
  fit();
  showModelsView();
  const entry = viewer.images[viewer.image];
  entry?.described.then(() => { if (entry === viewer.images[viewer.image]) showModelsView(); });
}

// the image as the model saw it
function showModelsView() {
  const entry = viewer.images[viewer.image];
  const scan = entry?.scan ?? null;
  const picture = entry?.picture;
  viewer.turn += 1;
  Object.assign(viewer, { scan, isOwn: false, slice: scan ? scan.shown[0] : 0 });
  viewer.range = scan?.windows[0] ? { ...scan.windows[0] } : null;
  if (frame.firstChild !== picture || !picture) {
    frame.replaceChildren(picture ?? "This question has no image.");
  }
  if (picture) {
    picture.onerror = () => frame.replaceChildren("The image cannot be shown.");
    if (picture.complete && !picture.naturalWidth) picture.onerror();
  }
  tool("slice-tools").hidden = !scan || scan.total < 2;
  tool("window-tools").hidden = !viewer.range;
  tool("reset").hidden = !scan;
  tool("sliders").hidden = Boolean(viewer.range) || !picture;
  tool("slice").max = scan?.total ?? 1;
  showWindowNames();
  label();
  transform();
}

function showWindowNames() {
  const names = (viewer.range ? viewer.scan.windows : []).map((window) => window.name);
  tool("window").replaceChildren(...["as the model saw it", ...names, "changed"].map((name, place) => {
    const option = document.createElement("option");
    option.textContent = name;
    option.value = String(place - 1);
    option.hidden = name === "changed";
    return option;
  }));
}

function label() {
  const { scan, slice, range, isOwn } = viewer;
  if (!scan) return;
  tool("slice").value = slice;
  const seen = scan.shown.includes(slice) ? "" : ", which the model was not shown";
  tool("slice-number").textContent = isOwn || scan.shown.length === 1
    ? `slice ${slice} of ${scan.total}${seen}`
    : `${scan.shown.length} of ${scan.total} slices, as the model saw them`;
  if (!range) return;
  const width = range.high - range.low;
  const digits = width < 10 ? 3 : 0;
  const center = (range.low + range.high + scan.unit) / 2;
  tool("levels").textContent = `center ${center.toFixed(digits)}, width ${(width + scan.unit).toFixed(digits)}`;
  const place = scan.windows.findIndex((w) => w.low === range.low && w.high === range.high);
  tool("window").value = String(isOwn ? (place < 0 ? scan.windows.length : place) : -1);
}

// values of the scan, with the present slice and window
async function showValues() {
  const entry = viewer.images[viewer.image];
  if (!viewer.scan) return;
  viewer.isOwn = true;
  viewer.turn += 1;
  const { turn, slice: number } = viewer;
  label();
  try {
    const slice = await sliceOf(entry, number);
    if (turn !== viewer.turn) return;
    draw(slice);
  } catch (error) {
    if (turn === viewer.turn) frame.replaceChildren(error.message);
    return;
  }
  viewer.canvas.setAttribute("role", "img");
  viewer.canvas.setAttribute("aria-label", `Slice ${number} of ${viewer.scan.total}`);
  viewer.canvas.dataset.slice = number;
  if (frame.firstChild !== viewer.canvas) frame.replaceChildren(viewer.canvas);
  transform();
  for (const ahead of [number + 1, number - 1, number + 2, number - 2]) {
    if (turn !== viewer.turn) return;
    if (ahead >= 1 && ahead <= viewer.scan.total) await sliceOf(entry, ahead).catch(() => {});
  }
}

function toSlice(number) {
  if (!viewer.scan || viewer.scan.total < 2) return;
  viewer.slice = Math.min(Math.max(number, 1), viewer.scan.total);
  showValues();
}

function toWindow(place) {
  if (!viewer.range) return;
  const window = viewer.scan.windows[place];
  if (!window) { showModelsView(); return; }
  viewer.range = { low: window.low, high: window.high };
  showValues();
}

const nextWindow = () => toWindow((Number(tool("window").value) + 1) % (viewer.scan?.windows.length ?? 1));

// shares of the first window's width
function changeWindow(level, width) {
  if (!viewer.range) return;
  const first = viewer.scan.windows[0];
  const unit = (first.high - first.low) || 1;
  const center = (viewer.range.low + viewer.range.high) / 2 + level * unit;
  const half = Math.max((viewer.range.high - viewer.range.low + width * unit) / 2, unit / 2000);
  viewer.range = { low: center - half, high: center + half };
  showValues();
}

function toggleWindowing() {
  viewer.isWindowing = !viewer.isWindowing;
  tool("drag").setAttribute("aria-pressed", viewer.isWindowing);
}

function fit() { Object.assign(viewer, { zoom: 1, x: 0, y: 0 }); transform(); }

function zoom(factor) {
  viewer.zoom = Math.min(Math.max(viewer.zoom * factor, 0.5), 20);
  transform();
}

function transform() {
  const shown = frame.firstElementChild;
  if (!shown) return;
  shown.style.transform = `translate(${viewer.x}px, ${viewer.y}px) scale(${viewer.zoom})`;
  shown.style.filter = viewer.range ? ""
    : `brightness(${tool("brightness").value}%) contrast(${tool("contrast").value}%)`;
}

const viewerKeys = {
  f: fit, "+": () => zoom(1.25), "-": () => zoom(0.8), w: nextWindow, d: toggleWindowing,
  r: showModelsView, "[": () => showImage(viewer.image - 1), "]": () => showImage(viewer.image + 1),
  PageUp: () => toSlice(viewer.slice - 1), PageDown: () => toSlice(viewer.slice + 1),
  "Shift ArrowUp": () => changeWindow(-0.05, 0), "Shift ArrowDown": () => changeWindow(0.05, 0),
  "Shift ArrowLeft": () => changeWindow(0, -0.1), "Shift ArrowRight": () => changeWindow(0, 0.1),
};
const viewerClicks = {
  fit, closer: () => zoom(1.25), wider: () => zoom(0.8), drag: toggleWindowing,
  reset: showModelsView, before: () => showImage(viewer.image - 1),
  after: () => showImage(viewer.image + 1),
};
for (const [id, work] of Object.entries(viewerClicks)) tool(id).addEventListener("click", work);
for (const id of ["brightness", "contrast"]) tool(id).addEventListener("input", transform);
tool("slice").addEventListener("input", () => toSlice(Number(tool("slice").value)));
tool("window").addEventListener("change", () => toWindow(Number(tool("window").value)));

frame.addEventListener("wheel", (event) => {
  event.preventDefault();
  const step = Math.sign(event.deltaY);
  if (!event.ctrlKey && viewer.scan?.total > 1) toSlice(viewer.slice + step);
  else if (!event.ctrlKey && viewer.images.length > 1) showImage(viewer.image + step);
  else zoom(step < 0 ? 1.1 : 1 / 1.1);
}, { passive: false });
frame.addEventListener("contextmenu", (event) => event.preventDefault());
frame.addEventListener("pointerdown", (event) => frame.setPointerCapture(event.pointerId));
frame.addEventListener("pointermove", (event) => {
  if (!event.buttons) return;
  if (viewer.range && (viewer.isWindowing || event.buttons === 2)) {
    changeWindow(event.movementY / 300, event.movementX / 300);
    return;
  }
  viewer.x += event.movementX;
  viewer.y += event.movementY;
  transform();
});
