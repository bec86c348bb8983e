"use strict";
// Linked views of one restoration: NiiVue draws, this file links, measures and plays.

const COLOURS = { before: "#ffb454", after: "#7fd1ff", sharp: "#9fe08a" };
const DIFFERENCE = { R: [80, 60, 20, 150, 255], G: [190, 110, 20, 90, 200], B: [255, 190, 20, 20, 90], A: [255, 255, 255, 255, 255], I: [0, 90, 128, 166, 255] };
const HIDDEN = { R: [24, 24], G: [30, 30], B: [44, 44], A: [0, 255], I: [0, 255] }; // NiiVue draws what is below the window in the first colour
const PLANES = { sagittal: 0, coronal: 1, axial: 2 }; // the axis across, x, y or z
const POINTS = 320, COLUMNS = 720; // of a line, and of a line over time
const ENDS = [["R", "L"], ["A", "P"], ["I", "S"]]; // of lines along x, y and z, in the directions of the views
const SLICES = 3; // the axis of the files that counts slices

const WEBGL = (() => {
  try { return document.createElement("canvas").getContext("webgl2") !== null; } catch { return false; }
})();

/** Values of a volume at a point, by trilinear interpolation in its own grid. */
class Sampler {
  constructor(volume) {
    this.volume = volume;
    this.dims = volume.hdr.dims.slice(1, 4);
    this.frames = Math.max(1, volume.hdr.dims[4] || 1);
    this.slope = volume.hdr.scl_slope || 1;
    this.offset = volume.hdr.scl_inter || 0;
    this.inverse = Sampler.invert(volume.hdr.affine);
  }

  static invert(m) {
    const [a, b, c] = m[0], [d, e, f] = m[1], [g, h, i] = m[2];
    const det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
    const r = [
      [(e * i - f * h) / det, (c * h - b * i) / det, (b * f - c * e) / det],
      [(f * g - d * i) / det, (a * i - c * g) / det, (c * d - a * f) / det],
      [(d * h - e * g) / det, (b * g - a * h) / det, (a * e - b * d) / det],
    ];
    const t = [m[0][3], m[1][3], m[2][3]];
    return r.map((row) => [...row, -(row[0] * t[0] + row[1] * t[1] + row[2] * t[2])]);
  }

  at(mm, frame) {
    const [nx, ny, nz] = this.dims, image = this.volume.img, base = Math.min(frame, this.frames - 1) * nx * ny * nz;
    const at = this.inverse.map((row) => row[0] * mm[0] + row[1] * mm[1] + row[2] * mm[2] + row[3]);
    if (at.some((v, axis) => v < -0.5 || v > this.dims[axis] - 0.5)) return NaN;
    const low = at.map((v, axis) => Math.min(Math.max(Math.floor(v), 0), Math.max(0, this.dims[axis] - 2)));
    const part = at.map((v, axis) => Math.min(1, Math.max(0, v - low[axis])));
    let sum = 0;
    for (let corner = 0; corner < 8; corner++) {
      const step = [corner & 1, (corner >> 1) & 1, corner >> 2];
      const weight = step.reduce((product, s, axis) => product * (s ? part[axis] : 1 - part[axis]), 1);
      if (weight === 0) continue;
      const [x, y, z] = low.map((v, axis) => Math.min(v + step[axis], this.dims[axis] - 1));
      sum += weight * image[base + x + nx * (y + ny * z)];
    }
    return sum * this.slope + this.offset;
  }
}

class Viewer {
  constructor() {
    this.views = {}; // before, after, third: Niivue
    this.samplers = {};
    this.frame = 0;
    this.generation = 0;
    this.timer = null;
    this.library = null;
    this.covering = null; // the promise of the overlay
    this.bind();
  }

  /** Load NiiVue, which a page without a result does not need. */
  fetchLibrary() {
    this.library ??= new Promise((done, fail) => {
      const script = document.createElement("script");
      script.src = "/static/niivue.umd.js";
      script.onload = done;
      script.onerror = () => { this.library = null; fail(new Error("the viewer cannot be loaded; reload the page")); };
      document.head.append(script);
    });
    return this.library;
  }

  async create() {
    await this.fetchLibrary();
    if (Object.keys(this.views).length) return;
    for (const name of ["before", "after", "third"]) {
      const view = new niivue.Niivue({
        isColorbar: false, backColor: [0, 0, 0, 1], crosshairColor: [0.5, 0.82, 1, 0.8], crosshairWidth: 1, crosshairWidthUnit: "mm",
        isRadiologicalConvention: true, sagittalNoseLeft: true, isResizeCanvas: true, logLevel: "silent",
        fontMinPx: 15, fontColor: [0.75, 0.78, 0.82, 1], multiplanarShowRender: niivue.SHOW_RENDER.NEVER, loadingText: "", dragAndDropEnabled: false,
      });
      view.addColormap("kfine-difference", DIFFERENCE);
      view.addColormap("kfine-hidden", HIDDEN);
      await view.attachToCanvas($(`canvas-${name}`));
      view.onLocationChange = (place) => this.moved(name, place.mm);
      this.views[name] = view;
    }
  }

  /** Show a restoration that is done. */
  async open(job) {
    const generation = ++this.generation;
    this.stop();
    this.job = job;
    this.about = job.result;
    this.samplers = {};
    this.images = {}; // voxels of "after" and "sharp", of which one is drawn
    $("nothing").hidden = true;
    $("viewer").hidden = false;
    document.body.dataset.shown = document.body.dataset.drawn = "";
    this.downloads();
    this.record();
    $("kspace").src = this.file("kspace");
    $("kspace-text").textContent = this.kspaceText();
    const flat = !WEBGL;
    for (const id of ["panes", "below"]) $(id).hidden = flat;
    for (const bar of document.querySelectorAll("#viewer > .bar:first-child, #panel-label, #direction-label")) bar.hidden = flat;
    $("flat").hidden = !flat;
    if (flat) {
      $("flat").src = this.file("page");
      $("view-text").textContent = `${job.name} ${job.label} · This browser has no WebGL: pictures of slices are shown.`;
      document.body.dataset.shown = job.id;
      return;
    }
    $("view-text").textContent = "Loading …";
    await this.create();
    const window_ = this.about.window;
    this.frame = 0;
    this.mm = null;
    this.pan = [0, 0, 0, 1]; // shift and zoom of the views
    await this.views.before.loadVolumes([this.volume("before", { colormap: "gray", cal_min: window_[0], cal_max: window_[1] })]);
    await this.views.after.loadVolumes([this.volume("after", { colormap: "gray", cal_min: window_[0], cal_max: window_[1] })]);
    if (generation !== this.generation) return;
    $("shown-label").hidden = !this.about.sharp;
    $("shown").value = "after";
    const pick = ({ img, hdr }) => ({ img, hdr });
    this.images.after = pick(this.views.after.volumes[0]);
    if (this.about.sharp) {
      this.images.sharp = pick(await niivue.NVImage.loadFromUrl(this.volume("sharp", {})));
      if (generation !== this.generation) return;
      this.samplers.sharp = new Sampler(this.images.sharp);
    }
    this.samplers.before = new Sampler(this.views.before.volumes[0]);
    this.samplers.after = new Sampler(this.images.after);
    $("third").querySelector("[value=std]").disabled = !this.about.std;
    if (!this.about.std && $("third").value === "std") $("third").value = "difference";
    for (const kind of ["lower", "upper"]) $("third").querySelector(`[value=${kind}]`).hidden = !this.about.confidence;
    if (!this.about.confidence && ["lower", "upper"].includes($("third").value)) $("third").value = this.about.std ? "std" : "difference";
    $("sure-label").hidden = !this.about.std;
    this.caution();
    for (const [id, value] of [["sure", 100], ["black", 0], ["white", 100], ["zoom", 1], ["frame", 0]]) $(id).value = value;
    this.times = this.about.times.after;
    $("frame").max = this.times.length - 1;
    $("cine").hidden = this.times.length < 2;
    $("panel").querySelector("[value=time]").disabled = this.times.length < 2;
    if (this.times.length < 2 && $("panel").value === "time") $("panel").value = "profile";
    this.measured = this.measuredPlane();
    const { oriented } = this.about, unknown = { axial: "slices", coronal: "across rows", sagittal: "across columns" };
    for (const option of $("plane").options) {
      const name = option.value === this.measured ? `${option.value} (slices)` : option.value;
      option.textContent = option.value === "three" ? "three planes" : oriented ? name : unknown[option.value];
    }
    const lines = oriented ? ["right–left", "front–back", "foot–head"] : ["along rows", "along columns", "along slices"];
    lines.forEach((text, axis) => { $("direction").options[axis].textContent = text; });
    for (const view of Object.values(this.views)) view.opts.isOrientationTextVisible = oriented;
    $("plane").value = this.about.through ? (this.measured === "coronal" ? "sagittal" : "coronal") : this.measured;
    $("direction").value = $("plane").value === "sagittal" ? "1" : "0";
    $("sure-text").textContent = "all";
    for (const volume of [...this.views.third.volumes]) this.views.third.removeVolume(volume); // of another restoration
    $("third-caption").textContent = "Loading …";
    this.layout();
    this.plane();
    this.setFrame(0);
    this.centre();
    this.caption("before", "Before");
    this.swap();
    document.body.dataset.drawn = job.id; // before and after; the third pane follows
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done))); // drawn before more is loaded
    await this.loadThird();
    if (this.about.std && !this.samplers.std) await this.overlay();
    if (generation !== this.generation) return;
    this.places();
    this.panel();
    document.body.dataset.shown = job.id;
  }

  /** Offer the files of the restoration on view, which are complete now. */
  finish(job) {
    if (this.job?.id !== job.id || !job.result) return;
    this.job = job;
    this.about = job.result;
    this.downloads();
    this.record();
    this.caution();
  }

  /** Write the caption of "before" or "after"; two views in one pane have no room for their voxels. */
  caption(name, words) {
    const mm = [...this.about.voxel_mm[name]].reverse().map((v) => v.toPrecision(3)).join(" × ");
    const caption = $(`pane-${name}`).querySelector("figcaption"), voxels = document.createElement("span");
    voxels.className = "voxels";
    voxels.textContent = ` · ${mm} mm`;
    caption.replaceChildren(words, voxels);
    caption.title = caption.textContent;
  }

  /** Draw the mean image or the sharp one as "after". */
  swap() {
    const kind = $("shown").value, view = this.views.after, sharp = this.about.sharp;
    this.caption("after", `After: ${this.about.method}${sharp ? kind === "sharp" ? ", sharp" : ", mean" : ""}`);
    document.body.dataset.after = kind;
    if (!sharp) return;
    Object.assign(view.volumes[0], this.images[kind]);
    view.updateGLVolume();
    this.panel();
  }

  /** What kfine warned of, such as an image unlike the training data. */
  caution() {
    const ordinary = this.about.reading_notes ?? []; // which the facts of the scan contain
    const notes = (this.job.notes ?? []).filter((note) => !ordinary.includes(note));
    $("caution").hidden = notes.length === 0;
    $("caution").textContent = notes.map(plain).join("\n");
  }

  file(kind) { return `/api/jobs/${this.job.id}/${kind}`; }
  volume(kind, options) { return { url: this.file(kind), name: `${kind}.nii`, ...options }; }

  async loadThird() {
    const kind = $("third").value, view = this.views.third;
    if (kind === "none" || !view) return;
    const span = kind === "std" ? this.about.spread : this.about.difference;
    const ends = kind === "lower" || kind === "upper";
    const options = {
      std: { colormap: "inferno", cal_min: 0, cal_max: span },
      difference: { colormap: "kfine-difference", cal_min: -span, cal_max: span },
    }[kind] ?? { colormap: "gray", cal_min: this.about.window[0], cal_max: this.about.window[1] };
    await view.loadVolumes([this.volume(kind, options)]);
    if (kind === "std" && !this.samplers.std) this.samplers.std = new Sampler(view.volumes[0]);
    const bar = document.createElement("i"), most = span.toPrecision(3);
    bar.className = kind === "std" ? "hot" : "signed";
    $("third-caption").replaceChildren(...{
      std: ["Standard deviation 0", bar, most],
      difference: [`${this.about.sharp ? "Mean" : "After"} − before −${most}`, bar, `+${most}`],
    }[kind] ?? [`${kind === "lower" ? "Lower" : "Upper"} end of the ${this.percent()} interval`]);
    if (ends) this.windows();
    if (this.mm) {
      view.scene.crosshairPos = view.mm2frac(this.mm, 0, true);
      this.align();
    }
    this.show(this.frame);
  }

  kspaceText() {
    const { block, simulated, through } = this.about, size = (matrix) => matrix.join(" × ");
    const plane = through ? "A plane through the slices; their direction runs down." : "The brightest slice.";
    const source = simulated ? "The scan is a magnitude image: its Fourier transform stands in for the measurement." : "The scan is measured k-space.";
    return `${plane} Orange: the measured block, ${size(block.measured)} of ${size(block.restored)}. ${source} Logarithmic scale, four decades.`;
  }

  percent() { return `${Number((100 * this.about.confidence).toPrecision(4))} %`; }

  /** Millimetres in a pixel of a view that shows all of its volume. */
  fit(view) {
    const volume = view.volumes[0], { width, height } = view.gl.canvas;
    const low = volume.extentsMinOrtho ?? volume.extentsMin, high = volume.extentsMaxOrtho ?? volume.extentsMax;
    const sizes = [0, 1, 2].map((axis) => high[axis] - low[axis]), [x, y, z] = sizes;
    const [across, down] = sizes.filter((_, axis) => axis !== this.across());
    const layouts = $("plane").value !== "three" ? [[across, down]] : [[Math.max(x, y), y + 2 * z], [2 * x + y, Math.max(y, z)], [x + y, y + z]];
    return Math.min(...layouts.map(([a, b]) => Math.max(a / width, b / height)));
  }

  /**
   * Show one section of the world in every view, with crosshairs of a pixel.
   *
   * NiiVue centres each volume and fits it to its pane; the centres of "before" and "after" are apart by half the
   * difference of their voxels.
   */
  align() {
    const after = this.views.after, middle = (view) => view.frac2mm([0.5, 0.5, 0.5]);
    const centre = middle(after), fit = this.fit(after);
    for (const view of Object.values(this.views)) {
      if (!view.volumes.length || !view.gl.canvas.width) continue;
      const own = middle(view), ratio = this.fit(view) / fit;
      view.scene.pan2Dxyzmm = [0, 1, 2].map((axis) => this.pan[axis] + own[axis] - centre[axis]).concat(this.pan[3] * ratio);
      view.setCrosshairWidth($("cross").checked ? 1.1 * fit / this.pan[3] : 0);
      view.drawScene();
    }
  }

  /** Take over the section of the world that one view shows after the mouse has moved or zoomed it. */
  follow(name) {
    const view = this.views[name], after = this.views.after, pan = view.scene.pan2Dxyzmm;
    const own = view.frac2mm([0.5, 0.5, 0.5]), centre = after.frac2mm([0.5, 0.5, 0.5]);
    this.pan = [0, 1, 2].map((axis) => pan[axis] - own[axis] + centre[axis]).concat(pan[3] * this.fit(after) / this.fit(view));
  }

  centre() {
    const view = this.views.after;
    view.scene.crosshairPos = [0.5, 0.5, 0.5];
    view.scene.pan2Dxyzmm = [0, 0, 0, 1];
    this.moved("after", this.place());
  }

  /** Place of the crosshair in the world, mm; oblique volumes are drawn along their own axes. */
  place() {
    const view = this.views.after;
    return Array.from(view.frac2mm(view.scene.crosshairPos, 0, true));
  }

  /** Take every view to the place of one, and its zoom. */
  moved(from, mm) {
    if (this.moving || !this.samplers.after) return;
    this.moving = true;
    this.mm = Array.from(mm).slice(0, 3);
    this.follow(from);
    for (const [name, view] of Object.entries(this.views))
      if (name !== from && view.volumes.length) view.scene.crosshairPos = view.mm2frac(this.mm, 0, true);
    this.align();
    this.moving = false;
    this.places();
    this.panel();
  }

  /** Name of the plane in which the slices lie.  NiiVue turns an oblique volume to the axes that fit all three best. */
  measuredPlane() {
    const across = this.views.after.volumes[0].permRAS.findIndex((axis) => Math.abs(axis) === SLICES);
    return Object.keys(PLANES).find((name) => PLANES[name] === across);
  }

  /** Axis across the plane, in the voxel order that NiiVue shows (x, y, z). */
  across() { return PLANES[$("plane").value] ?? PLANES[this.measured]; }

  places() {
    const view = this.views.after, axis = this.across(), count = view.volumes[0].dimsRAS[axis + 1];
    const index = Math.min(count - 1, Math.max(0, Math.floor(view.scene.crosshairPos[axis] * count)));
    $("slice").max = count - 1;
    $("slice").value = index;
    $("slice-text").textContent = `${index + 1}/${count}`;
    const value = (name) => this.samplers[name] ? this.samplers[name].at(this.mm, this.beforeFrame(name)).toPrecision(4) : "–";
    const std = this.spread(value);
    $("view-text").textContent =
      `${this.job.name} ${this.job.label} · ${this.mm.map((v) => v.toFixed(1)).join(", ")} mm · before ${value("before")} · after ${value("after")}${std}${this.about.sharp ? ` · sharp ${value("sharp")}` : ""}`;
  }

  /** Standard deviation or interval at the crosshair, as text. */
  spread(value) {
    if (!this.samplers.std) return "";
    if (!this.about.confidence) return ` ± ${value("std")}`;
    const half = this.about.multiplier * Number(value("std")), middle = Number(value("after"));
    return ` (${this.percent()} interval: ${Math.max(0, middle - half).toPrecision(4)} to ${(middle + half).toPrecision(4)})`;
  }

  beforeFrame(name) { return name === "before" ? this.nearest(this.frame) : this.frame; }

  /** The measured frame nearest in time to a restored one, round the heart beat. */
  nearest(frame) {
    const times = this.about.times.before, at = this.about.times.after[frame], period = this.about.period;
    const gap = (time) => {
      const d = Math.abs(time - at);
      return period ? Math.min(d % period, period - (d % period)) : d;
    };
    return times.reduce((best, time, index) => (gap(time) < gap(times[best]) ? index : best), 0);
  }

  plane() {
    const kind = { axial: niivue.SLICE_TYPE.AXIAL, coronal: niivue.SLICE_TYPE.CORONAL, sagittal: niivue.SLICE_TYPE.SAGITTAL, three: niivue.SLICE_TYPE.MULTIPLANAR }[$("plane").value];
    for (const view of Object.values(this.views)) view.setSliceType(kind);
    if (this.samplers.after) this.align();
    if (this.mm) this.places();
  }

  layout() {
    const panes = $("panes"), reveal = $("layout").value === "reveal", two = $("third").value === "none";
    panes.className = `${reveal ? "reveal" : "side"}${two ? " two" : ""}`;
    $("pane-third").hidden = two;
    $("divider").hidden = !reveal;
    $("reveal-label").hidden = !reveal;
    this.reveal();
    requestAnimationFrame(() => Object.values(this.views).forEach((view) => { view.resizeListener(); view.drawScene(); }));
    requestAnimationFrame(() => { if (this.samplers.after) this.align(); });
  }

  reveal() { $("pane-after").style.setProperty("--reveal", `${$("reveal").value}%`); }

  windows() {
    const top = this.about.window[1], black = $("black").value / 100 * top, white = Math.max($("white").value / 100 * top, black + top / 100);
    const ends = ["lower", "upper"].includes($("third").value);
    for (const name of ["before", "after", ...(ends ? ["third"] : [])]) {
      const volume = this.views[name].volumes[0];
      if (!volume) continue;
      volume.cal_min = black;
      volume.cal_max = white;
      this.views[name].updateGLVolume();
    }
    if ($("panel").value === "time") this.panel();
  }

  /** Load the standard deviation over "after", which only the threshold needs. */
  async overlay() {
    const view = this.views.after, options = { colormap: "kfine-hidden", cal_min: 1e30, cal_max: 2e30, opacity: 0 };
    if (view.volumes.length > 1) return;
    this.covering ??= view.addVolumeFromUrl(this.volume("std", options)).finally(() => { this.covering = null; });
    const generation = this.generation, volume = await this.covering;
    if (generation !== this.generation) { view.removeVolume(volume); return; }
    this.samplers.std ??= new Sampler(volume);
    this.show(this.frame);
  }

  /** Cover what is less sure than the slider's value. */
  async sure() {
    await this.overlay();
    const overlay = this.views.after.volumes[1];
    if (!overlay) return;
    const part = $("sure").value / 100, limit = part * this.about.spread, all = part >= 1;
    overlay.cal_min = all ? 1e30 : limit;
    overlay.cal_max = all ? 2e30 : limit * 1.0001 + 1e-9;
    overlay.opacity = all ? 0 : 1;
    this.views.after.updateGLVolume();
    $("sure-text").textContent = all ? "all" : `± ${limit.toPrecision(2)}`;
    document.body.dataset.sure = all ? "" : String(limit);
  }

  zoom() {
    const view = this.views.after, zoom = Number($("zoom").value); // NiiVue counts shifts along the axes of the volume
    const mm = view.frac2mm(view.scene.crosshairPos), middle = view.frac2mm([0.5, 0.5, 0.5]);
    this.pan = zoom > 1 ? [...[0, 1, 2].map((axis) => middle[axis] - mm[axis]), zoom] : [0, 0, 0, 1];
    this.align();
  }

  slice(index) {
    const view = this.views.after, axis = this.across(), count = view.volumes[0].dimsRAS[axis + 1];
    const at = Array.from(view.scene.crosshairPos);
    at[axis] = (Math.min(count - 1, Math.max(0, index)) + 0.5) / count;
    view.scene.crosshairPos = at;
    view.drawScene();
    this.moved("after", this.place());
  }

  show(frame) {
    this.moving = true; // NiiVue reports a new frame as a new place
    for (const [name, view] of Object.entries(this.views)) {
      const wanted = name === "before" ? this.nearest(frame) : frame;
      for (const volume of view.volumes) if (volume.nFrame4D > 1) view.setFrame4D(volume.id, wanted);
    }
    this.moving = false;
  }

  setFrame(frame) {
    this.frame = frame;
    if (this.times.length > 1) this.show(frame);
    $("frame").value = frame;
    const measured = this.about.times.before.some((time) => Math.abs(time - this.times[frame]) < 1e-4);
    $("frame-text").textContent = `${Math.round(1000 * this.times[frame])} ms, ${measured ? "measured" : "between"}`;
    $("frame-text").title = measured ? "a measured frame" : "a frame between measured ones: before shows the nearest";
    $("frame-text").classList.toggle("between", !measured);
    document.body.dataset.frame = frame;
    if (this.mm) this.places();
    if ($("panel").value === "time" || this.timer === null) this.panel();
  }

  /** Frames at their own times; where drawing is slow, frames are left out rather than time stretched. */
  play() {
    const end = this.about.period ?? this.times[this.times.length - 1] + (this.times[1] - this.times[0]);
    let began = performance.now() - 1000 * this.times[this.frame] / Number($("speed").value);
    let speed = Number($("speed").value);
    const tick = () => {
      if (Number($("speed").value) !== speed) {
        speed = Number($("speed").value);
        began = performance.now() - 1000 * this.times[this.frame] / speed;
      }
      const now = performance.now(), at = ((now - began) / 1000 * speed) % end;
      Object.assign(document.body.dataset, { clock: now / 1000, time: at });
      let frame = 0;
      while (frame + 1 < this.times.length && this.times[frame + 1] <= at) frame++;
      if (frame !== this.frame) this.setFrame(frame);
      this.timer = requestAnimationFrame(tick);
    };
    this.timer = requestAnimationFrame(tick);
    $("play").textContent = "Pause";
  }

  stop() {
    if (this.timer !== null) cancelAnimationFrame(this.timer);
    this.timer = null;
    $("play").textContent = "Play";
  }

  /** Points of the line through the crosshair, in mm, along an axis of the volume over the field of view; see ENDS. */
  line() {
    const view = this.views.after, axis = Number($("direction").value);
    return Array.from({ length: POINTS }, (_, k) => {
      const point = Array.from(view.scene.crosshairPos);
      point[axis] = axis === 2 ? k / (POINTS - 1) : 1 - k / (POINTS - 1);
      return Array.from(view.frac2mm(point, 0, true)).slice(0, 3);
    });
  }

  panel() {
    const kind = $("panel").value;
    $("plot").hidden = kind !== "profile" && kind !== "time";
    $("kspace-panel").hidden = kind !== "kspace";
    $("record").hidden = kind !== "record";
    $("below").hidden = kind === "none";
    $("below").classList.toggle("tall", kind === "kspace" || kind === "time");
    $("direction-label").hidden = $("plot").hidden;
    if (!this.samplers.after || !this.mm || $("plot").hidden) return;
    const canvas = $("plot");
    canvas.width = canvas.clientWidth * devicePixelRatio;
    canvas.height = canvas.clientHeight * devicePixelRatio;
    if (kind === "profile") this.profile(canvas); else this.overTime(canvas);
  }

  ends() { return this.about.oriented ? ENDS[Number($("direction").value)] : ["", ""]; }

  profile(canvas) {
    const context = canvas.getContext("2d"), points = this.line(), top = this.about.window[1] * 1.15;
    const values = (name) => points.map((point) => this.samplers[name].at(point, this.beforeFrame(name)));
    const x = (k) => k / (points.length - 1) * canvas.width, y = (v) => canvas.height - 4 - Math.max(0, Math.min(1, v / top)) * (canvas.height - 8);
    const after = values("after"), before = values("before");
    if (this.samplers.std) {
      const std = values("std").map((v) => v * (this.about.multiplier ?? 1));
      context.fillStyle = "rgba(127, 209, 255, 0.22)";
      context.beginPath();
      after.forEach((v, k) => { if (v === v) context.lineTo(x(k), y(v + std[k])); });
      for (let k = after.length - 1; k >= 0; k--) if (after[k] === after[k]) context.lineTo(x(k), y(after[k] - std[k]));
      context.fill();
    }
    const curves = [["before", before], ["after", after], ...(this.samplers.sharp ? [["sharp", values("sharp")]] : [])];
    for (const [name, curve] of curves) {
      context.strokeStyle = COLOURS[name];
      context.lineWidth = 1.5 * devicePixelRatio;
      context.beginPath();
      let pen = false;
      curve.forEach((v, k) => {
        if (v !== v) { pen = false; return; }
        if (pen) context.lineTo(x(k), y(v)); else context.moveTo(x(k), y(v));
        pen = true;
      });
      context.stroke();
    }
    const [first, last] = this.ends(), ratio = devicePixelRatio;
    context.font = `${12 * ratio}px system-ui, sans-serif`;
    context.fillStyle = "#b9bfc8";
    context.fillText(first, 8 * ratio, canvas.height - 8 * ratio);
    context.fillText(last, canvas.width - 16 * ratio, canvas.height - 8 * ratio);
    const band = this.about.confidence ? `band: ${this.percent()} interval` : "band: ± 1 standard deviation";
    this.legend(context, this.samplers.std ? band : "");
  }

  /** The line's grey values (down) over time (across), before left and after right; a mark at the frame that is shown. */
  overTime(canvas) {
    const after = $("shown").value, end = this.about.period ?? 2 * this.times.at(-1) - this.times.at(-2);
    const { cal_min: black, cal_max: white } = this.views.after.volumes[0];
    const key = JSON.stringify([this.job.id, this.mm, $("direction").value, after, black, white]);
    if (this.drawnTime?.key !== key) {
      const points = $("direction").value === "2" ? this.line().reverse() : this.line(); // the head is on top
      const pictures = [["before", this.about.times.before], [after, this.times]].map(([name, times]) => {
        const columns = times.map((_, frame) => points.map((point) => (this.samplers[name].at(point, frame) - black) / (white - black)));
        const picture = document.createElement("canvas"), context = picture.getContext("2d");
        [picture.width, picture.height] = [COLUMNS, POINTS];
        const image = context.createImageData(COLUMNS, POINTS);
        let frame = 0;
        for (let x = 0; x < COLUMNS; x++) {
          while (frame + 1 < times.length && times[frame + 1] <= x / COLUMNS * end) frame++;
          for (let y = 0; y < POINTS; y++) {
            const grey = 255 * (columns[frame][y] || 0);
            image.data.set([grey, grey, grey, 255], 4 * (y * COLUMNS + x));
          }
        }
        context.putImageData(image, 0, 0);
        return picture;
      });
      this.drawnTime = { key, pictures };
    }
    const context = canvas.getContext("2d"), ratio = devicePixelRatio, top = 20 * ratio, gap = 8 * ratio, half = (canvas.width - gap) / 2;
    context.font = `${12 * ratio}px system-ui, sans-serif`;
    this.drawnTime.pictures.forEach((picture, side) => {
      const left = side * (half + gap), x = left + this.times[this.frame] / end * half;
      context.drawImage(picture, left, top, half, canvas.height - top);
      context.fillStyle = "#ffffff";
      context.fillRect(x, top, ratio, canvas.height - top);
      context.fillStyle = side ? COLOURS[after] : COLOURS.before;
      context.fillText(side ? after : "before", left + gap, 14 * ratio);
      context.fillStyle = "#b9bfc8";
      const words = `0 to ${Math.round(1000 * end)} ms →`;
      context.fillText(words, left + half - context.measureText(words).width - gap, 14 * ratio);
      const ends = this.ends(), [first, last] = $("direction").value === "2" ? [...ends].reverse() : ends;
      context.fillText(first, left + 4 * ratio, top + 14 * ratio);
      context.fillText(last, left + 4 * ratio, canvas.height - 6 * ratio);
    });
  }

  legend(context, text) {
    context.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
    let x = 8 * devicePixelRatio;
    const sharp = this.samplers.sharp ? [["sharp", COLOURS.sharp]] : [];
    for (const [word, colour] of [["before", COLOURS.before], ["after", COLOURS.after], ...sharp, [text, "#b9bfc8"]]) {
      context.fillStyle = colour;
      context.fillText(word, x, 14 * devicePixelRatio);
      x += context.measureText(word).width + 12 * devicePixelRatio;
    }
  }

  downloads() {
    if (this.job.state !== "done") {
      $("downloads").textContent = this.job.state === "running" ? "writing the files …" : `no files: ${this.job.state}`;
      return;
    }
    const about = this.about, list = [["result", "NIfTI"]];
    if (about.sharp) list.push(["result-sharp", "Sharp"]);
    if (about.std) list.push(["result-std", "Uncertainty"]);
    if (about.confidence) list.push(["result-lower", "Lower"], ["result-upper", "Upper"]);
    if (about.dicom) list.push(["dicom", "DICOM"]);
    if (about.figure) list.push(["figure", "Figure"]);
    if (about.moving) list.push(["moving", "Moving figure"]);
    list.push(["record", "Record"], ["mail", "HTML page"]);
    $("downloads").replaceChildren(...list.map(([kind, text]) => {
      const link = document.createElement("a");
      link.href = this.file(kind);
      link.className = "button";
      link.textContent = text;
      link.setAttribute("download", "");
      link.setAttribute("aria-label", `Download: ${text}`);
      return link;
    }));
  }

  async record() {
    const job = this.job;
    $("record").textContent = "";
    if (job.state !== "done") return;
    const answer = await fetch(this.file("record"));
    const text = answer.ok ? JSON.stringify(await answer.json(), null, 1) : "";
    if (job === this.job) $("record").textContent = [...(job.notes ?? []).map((note) => `note: ${note}`), text].join("\n");
  }

  bind() {
    const on = (id, what, work) => $(id).addEventListener(what, () => { if (this.samplers.after) work(); });
    on("plane", "change", () => this.plane());
    on("layout", "change", () => this.layout());
    on("shown", "change", () => this.swap());
    on("third", "change", () => { this.loadThird(); this.layout(); });
    on("slice", "input", () => this.slice(Number($("slice").value)));
    on("reveal", "input", () => this.reveal());
    on("sure", "input", () => this.sure());
    on("black", "input", () => this.windows());
    on("white", "input", () => this.windows());
    on("zoom", "input", () => this.zoom());
    on("cross", "change", () => this.align());
    on("pixels", "change", () => Object.values(this.views).forEach((view) => view.setInterpolation($("pixels").checked)));
    on("frame", "input", () => { this.stop(); this.setFrame(Number($("frame").value)); });
    on("play", "click", () => { if (this.timer === null) this.play(); else this.stop(); });
    on("panel", "change", () => this.panel());
    on("direction", "change", () => this.panel());
    $("divider").addEventListener("pointerdown", (event) => $("divider").setPointerCapture(event.pointerId));
    $("divider").addEventListener("pointermove", (event) => {
      if (!event.buttons) return;
      const box = $("pane-after").getBoundingClientRect();
      $("reveal").value = Math.min(100, Math.max(0, (event.clientX - box.left) / box.width * 100));
      this.reveal();
    });
    for (const name of ["before", "after", "third"]) $(`canvas-${name}`).addEventListener("keydown", (event) => {
      if (!this.samplers.after) return;
      const frames = this.times.length, step = { ArrowUp: 1, ArrowDown: -1 }[event.key];
      if (step) this.slice(Number($("slice").value) + step);
      else if (event.key === "ArrowLeft" && frames > 1) this.setFrame((this.frame + frames - 1) % frames);
      else if (event.key === "ArrowRight" && frames > 1) this.setFrame((this.frame + 1) % frames);
      else if (event.key === " " && frames > 1) $("play").click();
      else return;
      event.preventDefault();
      event.stopPropagation();
    }, true);
    new ResizeObserver(() => { if (this.samplers.after) this.panel(); }).observe($("below"));
    new ResizeObserver(() => { if (this.samplers.after) requestAnimationFrame(() => this.align()); }).observe($("panes"));
  }
}
