"use strict";
// Scans, options and the queue; what is shown of a result: view.js.

function $(id) { return document.getElementById(id); }

const page = { scan: null, jobs: new Map(), open: null, asked: 0, choice: {}, wanted: new Set(), notes: new Set(), noUse: {}, sharp: false };
const viewer = new Viewer();

async function call(path, method = "GET", body = undefined) {
  const headers = method === "GET" ? {} : { "X-Kfine": "1" };
  const answer = await fetch(path, { method, headers, body });
  const text = await answer.text();
  let found = {};
  try { found = JSON.parse(text); } catch { found = { error: text }; }
  if (!answer.ok) throw new Error(found.error || `the server refused (${answer.status})`);
  return found;
}
const post = (path, value = {}) => call(path, "POST", JSON.stringify(value));

function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text; // as text: names and tags of files are not markup
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// --- scans -----------------------------------------------------------------------------------------------------

async function listScans(choose) {
  const scans = await call("/api/scans");
  $("scan").replaceChildren(element("option", scans.length ? "choose …" : "none yet", { value: "" }),
    ...scans.map((scan) => element("option", scan.name, { value: scan.id })));
  $("scan-label").hidden = scans.length === 0;
  if (choose) { $("scan").value = choose; await chooseScan(choose); }
}

async function chooseScan(id) {
  page.scan = id || null;
  document.body.classList.toggle("chosen", Boolean(id));
  page.choice = {};
  for (const name of ["series", "part"]) $(`${name}-label`).hidden = true;
  for (const name of ["period", "coil_axis", "plane_in"]) $(name).value = "";
  $("periodic").checked = false;
  await look();
}

/** Show what kfine sees in the scan, or what there is to choose. */
async function look() {
  const scan = page.scan, asked = ++page.asked;
  $("facts").replaceChildren();
  $("scan-error").textContent = "";
  $("options").hidden = true;
  if (!scan) return;
  $("facts").replaceChildren(element("dt", "reading …"));
  let seen;
  try {
    seen = await post(`/api/scans/${scan}/facts`, reading());
  } catch (error) {
    if (asked !== page.asked) return;
    $("facts").replaceChildren();
    refused(error.message);
    $("options").hidden = reading().coil_axis === null && !reading().period && !reading().plane;
    return;
  }
  if (asked !== page.asked) return;
  $("facts").replaceChildren();
  page.notes = new Set(seen.notes);
  if (seen.series) return offer("series", seen.series, "series");
  if (seen.images) return offer("part", seen.images, "part");
  for (const [name, value] of rows(seen)) $("facts").append(element("dt", name), element("dd", value));
  $("options").hidden = false;
  const through = seen.thick && seen.frames === 1;
  $("slices-label").hidden = !seen.thick;
  $("slices").value = through ? "isotropic" : "keep";
  $("scale").value = through ? "1" : "2";
  $("frames-label").hidden = seen.frames < 2;
  $("frames_scale").value = "1";
  await forecast();
}

/** A message without the name of the file, which is a number for uploads. */
function plain(message) { return message.replace(/^[\w-]+(\.\w+)+: /, ""); }

/** Show why a scan cannot be read, with a button for the option that the message proposes. */
function refused(message) {
  $("scan-error").textContent = plain(message).replaceAll("_", " ");
  const coils = message.match(/\bcoil_axis=(-?\d+)/);
  if (!coils) return;
  const combine = element("button", "They are coils: combine them", { type: "button" });
  combine.addEventListener("click", () => { $("coil_axis").value = coils[1]; look(); });
  $("scan-error").append(element("br"), combine);
}

function rows(seen) {
  const facts = seen.facts, [frames, slices, height, width] = facts.shape, size = facts["voxel size mm"];
  const found = [["matrix", `${height} × ${width}${slices > 1 ? `, ${slices} slices` : ""}`]];
  if (frames > 1) found.push(["frames", String(frames) + (facts["period s"] ? `, heart beat ${facts["period s"]} s` : "")]);
  found.push(["pixel", `${size[1].toPrecision(3)} × ${size[2].toPrecision(3)} mm`]);
  const thick = facts["slice thickness mm"], even = Math.abs(thick - size[0]) < 0.02 * size[0];
  const apart = slices > 1 && !even ? `${size[0].toPrecision(3)} mm apart` : "";
  const slice = [thick ? `${thick} mm thick` : "", apart, facts["measured in"] ?? ""].filter(Boolean).join(", ");
  if (slice) found.push(["slice", slice]);
  const block = facts["measured block"];
  if (block && (block[0] !== height || block[1] !== width)) found.push(["measured", `${block[0]} × ${block[1]}, then zero-filled`]);
  found.push(["k-space", facts["k-space"] === "measured" ? "measured" : "of the magnitude image"]);
  if (facts.acquisition?.coils) found.push(["coils", String(facts.acquisition.coils)]);
  for (const note of seen.notes ?? []) found.push(["note", plain(note)]);
  return found;
}

function offer(name, choices, key) {
  $(name).replaceChildren(element("option", "choose …", { value: "" }), ...choices.map((choice) => element("option", choice.text, { value: choice[key] })));
  $(`${name}-label`).hidden = false;
  $(name).focus();
}

async function upload(files) {
  files = files.filter((file) => file.size && !file.name.startsWith("."));
  if (!files.length) return;
  const total = files.reduce((sum, file) => sum + file.size, 0);
  const name = files.length === 1 ? files[0].name : (files[0].webkitRelativePath.split("/")[0] || `${files.length} files`);
  $("upload").hidden = false;
  $("scan-error").textContent = "";
  let sent = 0, scan = null;
  try {
    scan = (await post("/api/scans", { name })).id;
    for (const file of files) {
      $("upload-text").textContent = `${(sent / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`;
      await call(`/api/scans/${scan}/files?name=${encodeURIComponent(file.name)}`, "PUT", file);
      sent += file.size;
      $("upload-bar").value = sent / total;
    }
    $("upload-text").textContent = "unpacking …";
    await post(`/api/scans/${scan}/ready`);
    $("upload").hidden = true;
    await listScans(scan);
  } catch (error) {
    $("upload").hidden = true;
    $("scan-error").textContent = error.message;
    if (scan) call(`/api/scans/${scan}`, "DELETE").catch(() => {});
  }
}

/** The files of a drop, those in folders too. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  const found = [];
  const walk = async (entry) => {
    if (entry.isFile) { found.push(await new Promise((done, fail) => entry.file(done, fail))); return; }
    const reader = entry.createReader();
    for (;;) {
      const part = await new Promise((done, fail) => reader.readEntries(done, fail));
      if (!part.length) return;
      for (const inner of part) await walk(inner);
    }
  };
  for (const entry of entries) await walk(entry);
  return found;
}

// --- options ---------------------------------------------------------------------------------------------------

function number(id) { return $(id).value === "" ? null : Number($(id).value); }

function reading() {
  return { ...page.choice, period: number("period"), periodic: $("periodic").checked || null, coil_axis: number("coil_axis"), plane: $("plane_in").value || null };
}

/** Whether the chosen method uses an option. */
function used(id) { return !(page.noUse[$("method").value] ?? []).includes(id); }

/** Why the chosen restoration has no sharp image; "" if it can have one. */
function sharpReason(cine, thick) {
  if (thick && $("slices").value !== "keep") return "not for finer slices";
  if (cine && $("frames_scale").value !== "1" && $("method").value === "core") return "of other frames only with method cine-core";
  if ($("method").value === "sharp") return "method sharp makes it the result";
  return used("sharp") ? "" : "only with methods core and cine-core";
}

function options() {
  const cine = !$("frames-label").hidden, thick = !$("slices-label").hidden, reason = sharpReason(cine, thick);
  for (const id of ["effort", "denoise", "samples"]) $(id).disabled = !used(id);
  $("sharp").disabled = reason !== "";
  $("sharp").checked = page.sharp && !reason; // the wish outlives an option that excludes it
  $("sharp-reason").textContent = reason && `Sharp image: ${reason}.`;
  $("sharp_amount").disabled = !$("sharp").checked && $("method").value !== "sharp";
  return {
    ...reading(), scale: Number($("scale").value), effort: used("effort") ? $("effort").value : "normal", denoise: used("denoise") && $("denoise").checked, confidence: number("confidence"), sharp: $("sharp").checked, sharp_amount: $("sharp_amount").disabled ? null : number("sharp_amount"), strict: $("strict").checked, method: $("method").value,
    samples: used("samples") ? number("samples") : null, slices: thick ? $("slices").value : "keep", slice_profile: thick ? $("slice_profile").value : null,
    frames_scale: cine ? Number($("frames_scale").value) : null, force: $("force").checked,
  };
}

function duration(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round(seconds % 3600 / 60)} min`;
}

async function forecast() {
  const asked = ++page.asked;
  $("start").disabled = true;
  $("start-error").textContent = $("forecast-note").textContent = "";
  $("forecast").textContent = "estimating …";
  try {
    const path = `/api/scans/${page.scan}/forecast`, found = await post(path, options());
    if (asked !== page.asked) return;
    const what = `${found.from} → ${found.to} by ${found.method}`;
    $("forecast").textContent = `${what}; estimating the time …`;
    const notes = (found.notes ?? []).filter((note) => !page.notes.has(note)); // the others are among the facts
    $("forecast-note").textContent = notes.map(plain).join("\n");
    if (notes.length) $("forecast-note").scrollIntoView({ block: "nearest" });
    $("start").disabled = false;
    const { seconds } = await post(`${path}?timed=1`, options());
    if (asked === page.asked) $("forecast").textContent = `${what}; about ${duration(seconds)}`;
  } catch (error) {
    if (asked !== page.asked) return;
    $("forecast").textContent = "";
    startError(error);
  }
}

async function start() {
  $("start").disabled = true;
  try {
    const { id } = await post("/api/jobs", { scan: page.scan, ...options() });
    page.wanted.add(id);
    viewer.fetchLibrary().catch(() => {}); // opening the result tries again
  } catch (error) {
    startError(error);
  }
  setTimeout(() => { $("start").disabled = false; }, 800);
}

/** Show why a restoration cannot start, in view. */
function startError(error) {
  $("start-error").textContent = error.message;
  $("start-error").scrollIntoView({ block: "nearest" });
}

// --- queue -----------------------------------------------------------------------------------------------------

function line(job) {
  if (job.state === "running") {
    const left = job.seconds_left ? `, about ${duration(job.seconds_left)} left` : "";
    return job.cancelling ? "cancelling …" : `${job.text}${left}`;
  }
  if (job.state === "done") return `done in ${duration(job.result.seconds)} by ${job.result.method}`;
  if (job.state === "failed") return job.error;
  return job.state === "queued" ? "waiting" : "cancelled";
}

function button(text, work, label) {
  const made = element("button", text, { type: "button", "aria-label": label });
  made.addEventListener("click", async () => {
    try { await work(); } catch (error) { startError(error); }
  });
  return made;
}

/** Whether the result can be shown; the files for downloads may still be missing, pictures without WebGL are one of them. */
function visible(job) { return job.state === "done" || (job.state === "running" && job.result !== null && WEBGL); }

/** Show a restoration in the queue; its buttons stay the same elements while it runs, so that no click or focus is lost. */
function row(job) {
  const found = $(`job-${job.id}`), item = found ?? element("li", "", { id: `job-${job.id}` });
  const name = `${job.name} ${job.label}`, kind = `${job.state}${visible(job) ? " visible" : ""}`;
  if (item.dataset.kind !== kind) {
    const focused = item.contains(document.activeElement), buttons = element("div", "", { class: "row" });
    if (job.state === "running") buttons.append(element("progress", "", { "aria-label": `Progress of ${name}`, max: "1" }));
    if (visible(job)) buttons.append(button("Open", () => show(page.jobs.get(job.id)), `Open ${name}`));
    if (job.state === "queued" || job.state === "running") buttons.append(button("Cancel", () => post(`/api/jobs/${job.id}/cancel`), `Cancel ${name}`));
    else buttons.append(button("Remove", () => call(`/api/jobs/${job.id}`, "DELETE"), `Remove ${name}`));
    item.replaceChildren(element("div", name, { class: "name" }), element("div", "", { class: job.state === "failed" ? "error" : "state" }), buttons);
    Object.assign(item.dataset, { kind, state: job.state });
    if (focused) buttons.querySelector("button").focus();
  }
  item.children[1].textContent = line(job);
  const bar = item.querySelector("progress");
  if (bar && job.total) bar.value = job.done / job.total;
  item.classList.toggle("open", page.open === job.id);
  if (!found) $("queue").prepend(item);
}

async function show(job) {
  page.open = job.id;
  for (const item of $("queue").children) item.classList.toggle("open", item.id === `job-${job.id}`);
  try { await viewer.open(job); } catch (error) { $("view-text").textContent = `cannot be shown: ${error.message}`; }
}

/** Where no result is open yet: the progress of the restoration that this page waits for. */
function wait() {
  const waited = [...page.jobs.values()].filter((job) => page.wanted.has(job.id));
  const job = waited.find((one) => one.state === "running") ?? waited.find((one) => one.state === "queued");
  const ended = job ? null : waited.sort((a, b) => b.ended - a.ended).find((one) => one.state === "failed" || one.state === "cancelled");
  $("nothing-bar").hidden = !job;
  $("nothing-title").textContent = job ? `Restoring ${job.name}` : ended ? `${ended.name}: ${ended.state}` : "Before, after and uncertainty appear here.";
  $("nothing-text").textContent = job ? line(job) : ended?.error ?? "Drop a scan anywhere on this page, then press Start.";
  if (job?.total) $("nothing-bar").value = job.done / job.total; else $("nothing-bar").removeAttribute("value");
}

function listen() {
  const stream = new EventSource("/api/events");
  stream.onopen = () => { $("connection").textContent = ""; };
  stream.onerror = () => { $("connection").textContent = "no connection to kfine serve; trying again"; };
  stream.onmessage = (event) => {
    const { jobs, keys } = JSON.parse(event.data), known = new Set(keys);
    for (const job of jobs) {
      page.jobs.set(job.id, job);
      row(job);
      if (visible(job) && page.wanted.delete(job.id)) show(job);
      else if (job.state !== "running" && page.open === job.id) viewer.finish(job);
    }
    for (const id of [...page.jobs.keys()]) if (!known.has(id)) { page.jobs.delete(id); $(`job-${id}`)?.remove(); }
    $("queue-empty").hidden = page.jobs.size > 0;
    wait();
  };
}

// --- begin -----------------------------------------------------------------------------------------------------

$("choose-file").addEventListener("click", () => $("files").click());
$("choose-folder").addEventListener("click", () => $("folder").click());
for (const id of ["files", "folder"]) $(id).addEventListener("change", () => { upload([...$(id).files]); $(id).value = ""; });
for (const what of ["dragover", "drop"]) document.addEventListener(what, (event) => event.preventDefault());
document.addEventListener("dragover", () => $("drop").classList.add("over"));
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").classList.remove("over"); });
document.addEventListener("drop", async (event) => { $("drop").classList.remove("over"); upload(await dropped(event.dataTransfer)); });
$("scan").addEventListener("change", () => chooseScan($("scan").value));
$("series").addEventListener("change", () => { page.choice = { series: $("series").value || null }; look(); });
$("part").addEventListener("change", () => { page.choice = { ...page.choice, part: $("part").value || null }; look(); });
for (const id of ["scale", "slices", "frames_scale", "effort", "denoise", "method", "samples", "sharp_amount", "slice_profile", "force", "confidence", "strict"])
  $(id).addEventListener("change", forecast);
for (const id of ["period", "periodic", "coil_axis", "plane_in"]) $(id).addEventListener("change", look);
$("sharp").addEventListener("change", () => { page.sharp = $("sharp").checked; forecast(); });
$("start").addEventListener("click", start);
$("hide").addEventListener("click", () => {
  $("side").hidden = !$("side").hidden;
  $("hide").textContent = $("side").hidden ? "Show panel" : "Hide panel";
  $("hide").setAttribute("aria-expanded", String(!$("side").hidden));
});
listen();
call("/api/about").then((about) => { page.noUse = about.no_use; }).catch(() => {}); // errors then name such options
listScans().catch((error) => { $("scan-error").textContent = error.message; });
