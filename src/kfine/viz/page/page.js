"use strict";
(async () => {
  const $ = (id) => document.getElementById(id);
  const state = { plane: 0, slice: 0, frame: 0, line: 0.5 };
  const decoded = new Map(); // address -> {width, height, grey}

  async function grey(address) {
    if (!decoded.has(address)) {
      decoded.set(address, (async () => {
        const image = new Image();
        image.src = address;
        await image.decode();
        const canvas = document.createElement("canvas");
        canvas.width = image.naturalWidth;
        canvas.height = image.naturalHeight;
        const context = canvas.getContext("2d", { willReadFrequently: true });
        context.drawImage(image, 0, 0);
        const rgba = context.getImageData(0, 0, canvas.width, canvas.height).data;
        const values = new Uint8Array(canvas.width * canvas.height);
        for (let i = 0; i < values.length; i++) values[i] = rgba[4 * i];
        return { width: canvas.width, height: canvas.height, values };
      })());
      if (decoded.size > 200) decoded.delete(decoded.keys().next().value);
    }
    return decoded.get(address);
  }

  // Black, violet, orange, yellow: brightness grows all along.
  const HOT = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];
  function hot(part) {
    const at = Math.min(0.9999, Math.max(0, part)) * (HOT.length - 1), k = Math.floor(at), f = at - k;
    return HOT[k].map((low, c) => low + f * (HOT[k + 1][c] - low));
  }
  const HOTS = Array.from({ length: 256 }, (_, i) => hot(i / 255));
  // Light blue, blue, nearly black, orange, yellow: dark where nothing differs, as on the page of kfine serve.
  const ENDS = [[80, 190, 255], [60, 110, 190], [20, 20, 20], [150, 90, 20], [255, 200, 90]], AT = [0, 90, 128, 166, 255];
  const SIGNED = Array.from({ length: 256 }, (_, i) => {
    const k = i < 90 ? 0 : i < 128 ? 1 : i < 166 ? 2 : 3, f = (i - AT[k]) / (AT[k + 1] - AT[k]);
    return ENDS[k].map((low, c) => low + f * (ENDS[k + 1][c] - low));
  });
  const GREYS = Array.from({ length: 256 }, (_, i) => [i, i, i]);

  function paint(canvas, plane, layer, table, gain) {
    canvas.width = layer.width;
    canvas.height = Math.max(1, Math.round(layer.height * plane.mm[0] / plane.mm[1]));
    const small = document.createElement("canvas");
    small.width = layer.width;
    small.height = layer.height;
    const context = small.getContext("2d"), image = context.createImageData(layer.width, layer.height);
    for (let i = 0; i < layer.values.length; i++) {
      const colour = table[Math.min(255, Math.round(layer.values[i] * gain))];
      image.data.set([colour[0], colour[1], colour[2], 255], 4 * i);
    }
    context.putImageData(image, 0, 0);
    const target = canvas.getContext("2d");
    target.drawImage(small, 0, 0, canvas.width, canvas.height);
    target.strokeStyle = "rgba(127, 184, 255, 0.55)";
    target.beginPath();
    target.moveTo(0, state.line * canvas.height);
    target.lineTo(canvas.width, state.line * canvas.height);
    target.stroke();
  }

  function profile(before, after, gain) {
    const canvas = $("profile"), context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    for (const [layer, colour] of [[before, "#ffb454"], [after, "#7fd1ff"]]) {
      const row = Math.min(layer.height - 1, Math.floor(state.line * layer.height)) * layer.width;
      context.strokeStyle = colour;
      context.lineWidth = 1.5;
      context.beginPath();
      for (let x = 0; x < layer.width; x++) {
        const level = Math.min(255, layer.values[row + x] * gain) / 255;
        context.lineTo(x / (layer.width - 1) * canvas.width, (1 - level) * (canvas.height - 8) + 4);
      }
      context.stroke();
    }
  }

  let drawing = Promise.resolve();
  function draw() { drawing = drawing.then(drawNow, drawNow); return drawing; }
  async function drawNow() {
    const plane = DATA.planes[state.plane], pictures = plane.pictures;
    const at = (name) => grey(pictures[name][state.slice][state.frame]);
    const [before, after, std] = await Promise.all([at("before"), at($("shown").value), DATA.spread ? at("std") : null]);
    const gain = 100 / $("white").value, reveal = $("reveal").value / 100, limit = $("sure").value / 100 * 255;
    const both = { width: after.width, height: after.height, values: new Uint8Array(after.values) };
    for (let y = 0; y < both.height; y++) for (let x = 0; x < both.width; x++) {
      const i = y * both.width + x;
      if (x < reveal * both.width) both.values[i] = before.values[i];
      else if (std && $("sure").value < 100 && std.values[i] > limit) both.values[i] = 0;
    }
    paint($("before"), plane, before, GREYS, gain);
    paint($("both"), plane, both, GREYS, gain);
    const third = $("third").value;
    paint($("other"), plane, third === "std" ? std : await at("change"), third === "std" ? HOTS : SIGNED, 1);
    const context = $("both").getContext("2d");
    context.fillStyle = "#7fb8ff";
    context.fillRect(reveal * $("both").width - 0.5, 0, Math.max(1, $("both").width / 256), $("both").height);
    profile(before, after, gain);
    const span = third === "std" ? DATA.windows.spread : DATA.windows.change;
    $("other-caption").textContent = third === "std"
      ? `Uncertainty: ${DATA.spreadName}, black 0, yellow ${span.toPrecision(3)} or more`
      : `Difference: ${DATA.sharp ? "mean" : "after"} minus before, orange +${span.toPrecision(3)}, blue −${span.toPrecision(3)}`;
    $("both-caption").textContent = `Before | after${DATA.sharp ? ` (${$("shown").value === "sharp" ? "sharp" : "mean"})` : ""}`;
    $("slice-text").textContent = `${plane.indices[state.slice] + 1} of ${plane.of}`;
    const frame = plane.frames[state.frame];
    $("frame-text").textContent = `${Math.round(1000 * DATA.times[frame])} ms`;
    $("sure-text").textContent = $("sure").value < 100
      ? `below ${(DATA.windows.spread * $("sure").value / 100).toPrecision(2)}` : "everything";
    document.body.dataset.drawn = `${state.plane}/${state.slice}/${state.frame}/${$("reveal").value}/${third}${DATA.sharp ? `/${$("shown").value}` : ""}`;
  }

  function choosePlane(number) {
    state.plane = number;
    const plane = DATA.planes[number];
    state.slice = plane.indices.length >> 1;
    $("slice").max = plane.indices.length - 1;
    $("slice").value = state.slice;
    $("slice").disabled = plane.indices.length < 2;
    $("frame").max = plane.frames.length - 1;
    $("cine").hidden = plane.frames.length < 2;
    draw();
  }

  let timer = null;
  function play() {
    const frames = DATA.planes[state.plane].frames, next = (state.frame + 1) % frames.length;
    const now = DATA.times[frames[state.frame]], then = DATA.times[frames[next]];
    const end = DATA.period ?? DATA.times[frames[frames.length - 1]] + 0.05;
    timer = setTimeout(() => {
      state.frame = next;
      $("frame").value = next;
      draw().then(() => { if (timer !== null) play(); });
    }, 1000 * (next ? then - now : Math.max(0.02, end - now)));
  }
  $("play").addEventListener("click", () => {
    if (timer === null) play(); else { clearTimeout(timer); timer = null; }
    $("play").textContent = timer === null ? "Play" : "Pause";
  });

  DATA.planes.forEach((plane, number) => $("plane").add(new Option(plane.name, number)));
  if (DATA.spread) $("third").add(new Option("uncertainty", "std"));
  $("third").add(new Option("difference", "change"));
  $("sure-label").hidden = !DATA.spread;
  $("shown-label").hidden = !DATA.sharp;
  $("plane").addEventListener("change", () => choosePlane(Number($("plane").value)));
  $("slice").addEventListener("input", () => { state.slice = Number($("slice").value); draw(); });
  $("frame").addEventListener("input", () => { state.frame = Number($("frame").value); draw(); });
  for (const id of ["reveal", "white", "sure", "third", "shown"]) $(id).addEventListener("input", draw);
  const step = (id, by) => { $(id).value = Number($(id).value) + by; $(id).dispatchEvent(new Event("input")); };
  for (const id of ["before", "both", "other"]) {
    $(id).addEventListener("click", (event) => {
      const box = $(id).getBoundingClientRect(), tall = Math.min(box.height, box.width * $(id).height / $(id).width);
      state.line = Math.min(0.999, Math.max(0, (event.clientY - box.top - (box.height - tall) / 2) / tall));
      draw();
    });
    $(id).addEventListener("keydown", (event) => {
      const move = { ArrowUp: ["slice", 1], ArrowDown: ["slice", -1], ArrowLeft: ["frame", -1], ArrowRight: ["frame", 1] };
      if (!(event.key in move)) return;
      event.preventDefault();
      step(...move[event.key]);
    });
  }
  choosePlane(0);
})();
