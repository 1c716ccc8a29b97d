// The page of lvray: a zip goes to /v1/estimate, its answer is shown. Nothing is kept but in this tab's memory.

const at = (id) => document.getElementById(id);
const DASH = "–";
const WHEEL_PIXELS = 40;  // of a trackpad, a slice
let key = "", study = null, answer = null, sending = null, slice = 0, turned = 0;

// Asking. `Refusal` holds what a problem document (RFC 9457) says.

class Refusal extends Error {
  constructor(status, title, detail) {
    super(detail || title);
    this.status = status;
  }
}

// A Blob. uploading: told the share that is sent, 1 once all is.
function ask(method, path, body, uploading) {
  return new Promise((resolve, reject) => {
    const request = sending = new XMLHttpRequest();
    request.open(method, path);
    request.responseType = "blob";
    if (key) request.setRequestHeader("Authorization", `Bearer ${key}`);
    if (body) request.setRequestHeader("Content-Type", "application/zip");
    if (uploading) {
      request.upload.onprogress = (event) => event.lengthComputable && uploading(event.loaded / event.total);
      request.upload.onload = () => uploading(1);
    }
    request.onload = async () => request.status < 400 ? resolve(request.response) : reject(await refusal(request));
    request.onerror = () => reject(new Refusal(0, "No answer", "the service is away, or the connection broke; try again"));
    request.onabort = () => reject(new Refusal(0, "Cancelled"));
    request.send(body);
  });
}

async function refusal(request) {
  try {
    const problem = JSON.parse(await request.response.text());
    const wait = request.getResponseHeader("Retry-After");
    const here = { not_a_zip: "this file is no zip", unauthorized: key ? "that key lets nobody in" : "a key is wanted" };
    const detail = here[problem.reason] || problem.detail;  // which else speaks of curl and headers
    return new Refusal(request.status, problem.title, detail + (wait ? ` (again in ${wait} s)` : ""));
  } catch {
    return new Refusal(request.status, `The service answered ${request.status}`, "");
  }
}

// One piece of work at a time: what it says while it runs, and what went wrong.
async function work(says, doing) {
  const buttons = document.querySelectorAll("#intake .drop :is(button, input), #downloads button, #key-form button");
  const before = document.activeElement;
  at("error").hidden = true;
  at("busy").hidden = false;
  buttons.forEach((one) => { one.disabled = true; });
  tell(says);
  try {
    tell(await doing());
  } catch (error) {
    tell("");
    at("error").textContent = error.message;
    at("error").hidden = false;
    if (error.status === 401) wantKey();
  } finally {
    at("busy").hidden = true;
    buttons.forEach((one) => { one.disabled = false; });
    if (document.activeElement === document.body) before.focus();
  }
}

function tell(text, share) {
  if (at("status").textContent !== text) at("status").textContent = text;  // else it is read out again
  if (share === undefined) at("progress").removeAttribute("value");
  else at("progress").value = share;
}

function wantKey() {
  at("key-form").hidden = false;
  at("key").focus();
}

const estimate = (zip, query, then) => ask("POST", `v1/estimate?${query}`, zip, (share) =>
  share < 1 ? tell("Uploading", share) : tell(then));

function read(says, fetched) {
  return work(says, async () => {
    at("result").hidden = true;
    const zip = await fetched();
    const found = JSON.parse(await (await estimate(zip, "view=true", "Reading the study and measuring")).text());
    [study, answer] = [zip, found];
    show();
    return "Done.";
  });
}

// Showing.

const number = (value, digits, unit) => value === null || value === undefined ? DASH : `${value.toFixed(digits)} ${unit}`;

function show() {
  const { view, mass_g, interval_g, interval_level, centred_g, quality } = answer;
  const doubted = quality.includes("not_trustworthy") ? ", not trustworthy" : "";
  at("mass").textContent = `LV mass ${number(mass_g, 1, "g")}${doubted}`;
  at("interval").textContent = !interval_g ? "No interval: this network has not been calibrated." :
    `With ${Math.round(100 * interval_level)} % probability a manual reading lies between ${interval_g[0].toFixed(1)} and `
    + `${interval_g[1].toFixed(1)} g (centred estimate ${number(centred_g, 1, "g")}).`;
  const last = (flag) => flag.endsWith("_mended");  // what DICOM files need says least about grams
  const flags = [...quality].sort((a, b) => last(a) - last(b)).map((flag) => element("li", view.words[flag], flag));
  at("flags").replaceChildren(...(flags.length ? flags : [element("li", "Nothing unusual was noticed.", "none")]));
  at("details").replaceChildren(...details().flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
  const outlined = view.contours.some((one) => one.epi);
  for (const id of ["contours-label", "legend"]) at(id).hidden = !outlined;
  for (const form of ["seg", "nifti"]) document.querySelector(`[data-form=${form}]`).hidden = !outlined;
  at("slice").max = view.slices.length;
  at("result").hidden = false;
  const areas = answer.myocardium_mm2 || [];
  go(areas.length ? areas.indexOf(Math.max(...areas)) : Math.floor(view.slices.length / 2));
  at("mass").focus();
}

function details() {
  const { method, network, ed_phase, spacing_mm, slices, view } = answer;
  const [dz, dy, dx] = spacing_mm.map((mm) => mm.toFixed(2));
  return [["Index (LVMI)", number(answer.lvmi_g_m2, 1, "g/m²")], ["Cavity at ED", number(answer.edv_ml, 1, "mL")],
          ["End diastole", `phase ${ed_phase}`], ["Slices", `${view.slices.length}, of which ${slices} count`],
          ["Pitch, pixel", `${dz} mm, ${dy} × ${dx} mm`],
          ["Network", network ? `${method}, ${network.recipe}, weights ${network.weights}` : method],
          ["lvray", answer.versions.lvray]];
}

function element(name, text, of) {
  const made = document.createElement(name);
  made.textContent = text;
  if (of) made.className = of;
  return made;
}

function go(to) {
  const { slices, contours, spacing_mm: [dy, dx] } = answer.view;
  slice = Math.min(Math.max(to, 0), slices.length - 1);
  const image = new Image();
  const drawn = slice;
  image.onload = () => {
    if (drawn !== slice) return;
    const [width, height] = [image.naturalWidth, image.naturalHeight];
    at("picture").setAttribute("viewBox", `0 0 ${width * dx} ${height * dy}`);
    at("pixels").setAttribute("transform", `scale(${dx} ${dy}) translate(.5 .5)`);  // a pixel's centre is whole
    for (const [name, value] of Object.entries({ href: image.src, x: -0.5, y: -0.5, width, height }))
      at("image").setAttribute(name, value);
    at("epi").setAttribute("d", line(contours[slice].epi));
    at("endo").setAttribute("d", line(contours[slice].endo));
  };
  image.src = slices[slice];
  const area = (of) => answer[of] ? `${(answer[of][slice] / 100).toFixed(1)} cm²` : "";
  const areas = answer.myocardium_mm2 ? `; wall ${area("myocardium_mm2")}, cavity ${area("cavity_mm2")}` : "";
  const place = slice === 0 ? ", at the base" : slice === slices.length - 1 ? ", at the apex" : "";
  at("slice-name").textContent = `Slice ${slice + 1} of ${slices.length}${place}${areas}`;
  at("slice").value = slice + 1;
  at("slice").setAttribute("aria-valuetext", at("slice-name").textContent);
}

const line = (points) => points ? `M${points.map((point) => point.join(" ")).join("L")}Z` : "";

function download(button) {
  const { form, file } = button.dataset;
  return work(`Making ${button.textContent}`, async () => {
    save(form === "json" ? json() : await estimate(study, `form=${form}`, `Making ${button.textContent}`), file);
    return `${button.textContent}: saved as ${file}.`;
  });
}

function json() {
  const { view, ...told } = answer;
  return new Blob([JSON.stringify(told, null, 2)], { type: "application/json" });
}

function save(blob, file) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = file;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// What people do.

at("file").addEventListener("change", (event) => {
  const [zip] = event.target.files;
  event.target.value = "";  // so that the same file may be chosen again
  if (zip) read("Uploading", () => zip);
});
at("phantom").addEventListener("click", () => read("Making a phantom", () => ask("GET", "phantom.zip")));
at("cancel").addEventListener("click", () => sending?.abort());
at("downloads").addEventListener("click", (event) => event.target.matches("button") && download(event.target));
at("slice").addEventListener("input", (event) => go(event.target.value - 1));
at("contours").addEventListener("change", (event) => {
  for (const id of ["epi", "endo"]) at(id).toggleAttribute("hidden", !event.target.checked);
});
at("picture").addEventListener("wheel", (event) => {
  const to = slice + Math.sign(event.deltaY);
  if (event.ctrlKey || !answer.view.slices[to]) return;  // zooms, or scrolls on past the ends
  event.preventDefault();
  turned += event.deltaY;
  if (Math.abs(turned) < WHEEL_PIXELS && event.deltaMode === 0) return;
  turned = 0;
  go(to);
}, { passive: false });
document.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const modified = event.ctrlKey || event.metaKey || event.altKey || event.shiftKey;
  if (!step || modified || at("result").hidden || event.target.matches("#slice, #key")) return;
  event.preventDefault();
  go(slice + step);
});

for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.toggle("over", kind === "dragover");
  });
}
document.addEventListener("drop", (event) => {
  const [zip] = event.dataTransfer.files;
  if (zip && at("busy").hidden) read("Uploading", () => zip);
});

at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = at("key").value.trim();
  work("Looking at the key", async () => {
    await ask("GET", "v1/models");
    at("key-form").hidden = true;
    at("file").focus();
    return "The key is good.";
  });
});

ask("GET", "v1/models").catch((error) => error.status === 401 ? wantKey() : null);
