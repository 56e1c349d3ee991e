// The field of view as a deep-zoom picture whose layers are switched at once.
// Without this module, or without OpenSeadragon, the same controls switch plain pictures.

const root = document.querySelector("[data-viewer]");
const form = root.querySelector("[data-layers]");
const stage = root.querySelector("[data-stage]");
const pictures = root.querySelector("[data-pictures]");
const outlines = root.querySelector("[data-outlines]");
const heatClass = root.querySelector("[data-heat-class]");
const opacity = root.querySelector("[data-heat-opacity]");
const heatImage = root.querySelector("[data-heat-image]");

const size = { width: Number(root.dataset.width), height: Number(root.dataset.height) };

/** What the controls say should be seen. */
function wanted() {
  const option = heatClass.selectedOptions[0];
  const map = form.elements.namedItem("map").value;
  return {
    base: form.elements.namedItem("base").value,
    heat: form.elements.namedItem("heat").checked,
    cells: form.elements.namedItem("cells").checked,
    code: option.value,
    heatUrl: "empty" in option.dataset ? "" : option.dataset[map],
    opacity: Number(opacity.value),
  };
}

function baseUrl(name) {
  return form.querySelector(`input[name=base][value=${name}]`).dataset.url;
}

/** Pictures one over the other, drawn by the browser itself. */
class PlainPictures {
  show(now) {
    if (!heatImage) return;
    heatImage.hidden = !now.heatUrl;
    if (now.heatUrl && heatImage.getAttribute("src") !== now.heatUrl) heatImage.src = now.heatUrl;
    heatImage.style.opacity = now.opacity;
  }
}

/**
 * OpenSeadragon 6.1 writes a <style> into the page unless it finds its own there, and the content
 * security policy refuses that. A namesake from no real namespace is found and styles nothing;
 * the rule itself stands in viewer.css.
 */
function standInForStyle() {
  const marker = document.createElementNS("urn:marrow-find", "style");
  marker.setAttribute("data-openseadragon-mobile-css", "");
  document.head.append(marker);
}

/** The same layers in OpenSeadragon; each picture is fetched when it is first asked for. */
class DeepZoom {
  constructor(library) {
    stage.classList.add("stage--deep");
    stage.style.aspectRatio = `${size.width} / ${size.height}`;
    pictures.hidden = true;
    const frame = document.createElement("div");
    frame.className = "stage__frame";
    stage.prepend(frame);
    this.layers = new Map();
    standInForStyle();
    this.viewer = library({
      element: frame,
      // Pictures are single images, so that tiles and WebGL would buy nothing.
      drawer: "canvas",
      showNavigationControl: false,
      showNavigator: false,
      animationTime: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 0.4,
      visibilityRatio: 0.5,
      minZoomImageRatio: 0.9,
      maxZoomPixelRatio: 8,
      imageSmoothingEnabled: true,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
      // One finger scrolls the page past the picture, two move and zoom it; on a desk the wheel zooms.
      cooperativeGestures: matchMedia("(pointer: coarse)").matches,
      gestureSettingsTouch: { pinchRotate: false },
    });
    // The page's own keys stand for the library's letters; arrows move between fields.
    this.viewer.addHandler("canvas-key", (event) => {
      event.preventDefaultAction = true;
    });
    this.viewer.canvas.setAttribute("aria-label", "Field of view; drag to move, turn the wheel to zoom");
    this.viewer.canvas.setAttribute("role", "application");
    this.viewer.addHandler("canvas-click", (event) => {
      if (!event.quick) return;
      const point = this.viewer.viewport.pointFromPixel(event.position);
      press(point.x * size.width, point.y * size.width, event.originalTarget);
    });
    const { Rect } = library;
    // The overlay needs a picture to lie on: the first that arrives.
    this.viewer.world.addOnceHandler("add-item", () => {
      this.viewer.addOverlay({ element: outlines, location: new Rect(0, 0, 1, size.height / size.width) });
    });
  }

  show(now) {
    this.layer("base:original", baseUrl("original"), now.base === "original" ? 1 : 0, 0);
    if (now.base === "clahe" || this.layers.has("base:clahe")) {
      this.layer("base:clahe", baseUrl("clahe"), now.base === "clahe" ? 1 : 0, 1);
    }
    for (const key of this.layers.keys()) {
      if (key.startsWith("heat:")) this.setOpacity(key, 0);
    }
    if (now.heat && now.heatUrl) this.layer(`heat:${now.heatUrl}`, now.heatUrl, now.opacity);
  }

  layer(key, url, value) {
    if (this.layers.has(key)) {
      this.setOpacity(key, value);
      return;
    }
    const entry = { item: null, value };
    this.layers.set(key, entry);
    this.viewer.addTiledImage({
      tileSource: { type: "image", url, buildPyramid: false },
      x: 0,
      y: 0,
      width: 1,
      opacity: value,
      success: ({ item }) => {
        entry.item = item;
        item.setOpacity(entry.value);
        this.order();
      },
    });
  }

  setOpacity(key, value) {
    const entry = this.layers.get(key);
    entry.value = value;
    entry.item?.setOpacity(value);
  }

  /** Answers come in any order: heat always lies over the bases. */
  order() {
    const top = this.viewer.world.getItemCount() - 1;
    for (const [key, { item }] of this.layers) {
      if (item && key.startsWith("heat:")) this.viewer.world.setItemIndex(item, top);
    }
  }

  zoomBy(factor) {
    this.viewer.viewport.zoomBy(factor);
    this.viewer.viewport.applyConstraints();
  }

  home() {
    this.viewer.viewport.goHome();
  }
}

function start() {
  for (const node of form.querySelectorAll("[data-fallback]")) node.hidden = true;
  for (const node of root.querySelectorAll("[data-opacity-field]")) node.hidden = false;
  const drawing = window.OpenSeadragon ? new DeepZoom(window.OpenSeadragon) : new PlainPictures();

  function draw() {
    const now = wanted();
    root.dataset.empty = now.heatUrl ? "no" : "yes";
    root.querySelector("[data-heat-opacity-shown]").value = now.opacity.toFixed(2);
    for (const line of root.querySelectorAll("[data-attention]")) {
      line.hidden = line.dataset.attention !== now.code;
    }
    drawing.show(now);
  }

  root.addEventListener("input", draw);
  root.addEventListener("change", draw);
  form.addEventListener("submit", (event) => event.preventDefault());
  // The browser puts a form back as it was left; the pictures follow it.
  window.addEventListener("pageshow", draw);
  draw();

  if (drawing.zoomBy) {
    const zoom = form.querySelector("[data-zoom]");
    zoom.hidden = false;
    for (const button of zoom.querySelectorAll("[data-zoom-by]")) {
      button.addEventListener("click", () => drawing.zoomBy(Number(button.dataset.zoomBy)));
    }
    zoom.querySelector("[data-zoom-home]").addEventListener("click", () => drawing.home());
  } else {
    pressPlain();
  }
  hover();
}

/** Tell the page that a place in the field was clicked, and which cell stands there. */
function press(x, y, target) {
  const cell = target instanceof Element ? target.closest("[data-cell]")?.dataset.cell : undefined;
  root.dispatchEvent(new CustomEvent("field:press", { detail: { x: x - 0.5, y: y - 0.5, cell } }));
}

/** Without the library the pictures themselves are clicked. */
function pressPlain() {
  pictures.addEventListener("click", (event) => {
    const frame = outlines.getBoundingClientRect();
    const across = ((event.clientX - frame.left) / frame.width) * size.width;
    press(across, ((event.clientY - frame.top) / frame.height) * size.height, event.target);
  });
}

/** Say which cell the pointer is on. */
function hover() {
  const shown = root.querySelector("[data-cell-shown]");
  outlines.addEventListener("pointerover", (event) => {
    const cell = event.target.closest("[data-cell]");
    if (!cell) return;
    const name = cell.querySelector("title")?.textContent ?? `Cell ${cell.dataset.cell}`;
    shown.textContent = `${name}.`;
  });
  outlines.addEventListener("pointerout", () => {
    shown.textContent = "";
  });
}

start();
