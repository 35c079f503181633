// The server's page: takes a recording and words, sends them as a job, shows the result by the viewer of report.js.
// Every prediction is a job, also a short one: its result can then be fetched in each format without judging it again,
// and it shows how far it is. A job is deleted when the next one's result is there, or when the page is left.
import { record, stop } from "./record.js";
import { Problem, download, finished, forget, models, recall, send } from "./server.js";

const $ = (id) => document.getElementById(id);
const ENDINGS = { json: "json", csv: "csv", textgrid: "TextGrid", eaf: "eaf", srt: "srt", text: "txt", html: "html" };
const TIMED = ["textgrid", "eaf", "srt"]; // formats that words without a recording have no place in
const WORDS = /\.(srt|vtt|json|txt)$/i;
const viewer = window.emofuseViewer;

let media = null; // the recording that is chosen: a File
let recording = null; // while one is made: the promise of its end
let unsaved = false; // whether `media` was recorded here, and is nowhere else
let work = null; // aborts the prediction that is being made
let shown = null; // the result on the page: its timeline, its job, the recording that it is of and that one's address
let about = { model: "", model_card: "", emofuse: $("version").textContent };
const jobs = new Set(); // what the server keeps for this page

// ---- choosing and recording ----------------------------------------------------------------

const size = (bytes) => (bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

function choose(file, recorded = false) {
  [media, unsaved] = [file, recorded];
  $("chosen").hidden = !file;
  $("save").hidden = !recorded;
  $("file").value = "";
  showError(null);
  if (!file) return;
  $("chosen-name").textContent = file.name;
  $("chosen-size").textContent = size(file.size);
  $("announce").textContent = `${file.name} is chosen`;
}

async function recordWith(button, withCamera) {
  if (recording) return;
  showError(null);
  recording = record(withCamera);
  try {
    const file = await recording;
    if (file) choose(file, true);
    (file ? $("predict") : button).focus();
  } catch (error) {
    fail(error);
  } finally {
    recording = null;
  }
}

async function loadWords(file) {
  $("words").value = await file.text();
  $("announce").textContent = `The words of ${file.name} are there`;
}

function save(content, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// ---- predicting ----------------------------------------------------------------------------

// What the fields say; null where they say nothing.
function given() {
  const form = new FormData(), words = $("words").value.trim();
  if (!media && !words) return null;
  if (media) form.append("media", media, media.name);
  if ($("segments").files.length) form.append("segments", $("segments").files[0]);
  const kind = words.startsWith("WEBVTT") ? "vtt" : words.includes("-->") ? "srt" : /^[[{]/.test(words) ? "json" : null;
  if (kind) form.append("transcript", new File([words], `words.${kind}`), `words.${kind}`);
  else if (words) form.append("text", words);
  if ($("whole").checked) form.append("whole", "true");
  if ($("asr").checked) form.append("asr", "true");
  return form;
}

async function predict(form, of) {
  if (work) return;
  const limit = Number($("form").dataset.maxBytes);
  if (of && of.size > limit) {
    showError(`${of.name} has ${size(of.size)}, and this server takes up to ${size(limit)}.`);
    return;
  }
  const { signal } = (work = new AbortController());
  viewer.pause();
  showError(null);
  showWork("Sending");
  let id = null;
  try {
    id = await send(form, showWork, signal);
    jobs.add(id);
    const timeline = await finished(id, showWork, signal);
    const before = shown;
    showResult({ timeline, job: id, media: of, address: of && URL.createObjectURL(of) });
    if (of === media) unsaved = false;
    if (before) {
      drop(before.job);
      if (before.address) URL.revokeObjectURL(before.address);
    }
  } catch (error) {
    if (id) drop(id);
    if (!signal.aborted) fail(error);
  } finally {
    work = null;
    showWork(null);
  }
}

function drop(id) {
  jobs.delete(id);
  forget(id);
}

// ---- showing -------------------------------------------------------------------------------

function showWork(doing, share = null, more = "") {
  const began = $("working").hidden && doing;
  $("working").hidden = !doing;
  $("predict").setAttribute("aria-disabled", String(Boolean(doing)));
  if (!doing) return;
  if ($("doing").textContent !== doing) $("doing").textContent = doing;
  $("doing-more").textContent = more;
  if (share === null) $("progress").removeAttribute("value");
  else $("progress").value = share;
  if (began) $("working").scrollIntoView({ block: "nearest" });
}

function showError(text) {
  $("error").hidden = !text;
  $("error-text").textContent = text ?? "";
  if (text) $("error").focus();
}

function fail(error) {
  if (!(error instanceof Problem)) {
    showError(`The page failed at it: ${error.message}`);
    throw error;
  }
  // The server's lines begin with a small letter or with a file's name, which stays as it is.
  const line = media && error.message.startsWith(media.name) ? error.message : error.message.charAt(0).toUpperCase() + error.message.slice(1);
  showError(/[.!?)]$/.test(line) ? line : `${line}.`);
}

function playerOf({ media: file, address }) {
  if (!file) return null;
  const isVideo = file.type ? file.type.startsWith("video/") : /\.(mp4|mkv|mov|mpe?g|avi|m4v)$/i.test(file.name);
  return { kind: isVideo ? "video" : "audio", type: file.type, href: address, note: null };
}

function showResult(result) {
  const { timeline } = (shown = result);
  const isNew = $("result").hidden;
  $("result").hidden = false; // before it is drawn: what is hidden has no width
  viewer.show({ ...about, failures: [], recordings: [{ ...timeline, media: playerOf(result) }] });
  toggleEditor(false);
  $("edit").hidden = !result.media || !timeline.predictions.length;
  for (const format of TIMED) document.querySelector(`[data-format=${format}]`).hidden = timeline.duration_s === 0;
  const title = $("name");
  if (!result.media) title.textContent = "Your words";
  title.tabIndex = -1;
  title.focus({ preventScroll: true });
  const calm = !isNew || matchMedia("(prefers-reduced-motion: reduce)").matches;
  $("result").scrollIntoView({ behavior: calm ? "auto" : "smooth" });
  $("announce").textContent = `Done: ${$("headline").textContent}`;
}

async function saveAs(format) {
  showError(null);
  try {
    save(await download(shown.job, format), `${shown.timeline.source.replace(/\.[^.]*$/, "")}.${ENDINGS[format]}`);
  } catch (error) {
    fail(error);
  }
}

// ---- correcting the words ------------------------------------------------------------------

function toggleEditor(open) {
  $("editor").hidden = !open;
  $("edit").setAttribute("aria-expanded", String(open));
  if (!open) return;
  $("lines").replaceChildren(...shown.timeline.predictions.map((p, i) => {
    const item = document.createElement("li"), label = document.createElement("label"), input = document.createElement("input");
    label.htmlFor = input.id = `line-${i}`;
    label.textContent = `${p.start_s.toFixed(1)} – ${p.end_s.toFixed(1)} s${p.speaker === null ? "" : ` · ${p.speaker}`}`;
    input.type = "text";
    input.value = p.text ?? "";
    item.append(label, input);
    return item;
  }));
  $("line-0").focus();
}

// The utterances of the result as they are, with the words that now stand beside them.
function corrected() {
  const cell = (x) => `"${String(x ?? "").replaceAll('"', '""')}"`;
  const rows = shown.timeline.predictions.map((p, i) => [p.start_s, p.end_s, p.speaker, $(`line-${i}`).value.trim()].map(cell).join(","));
  const form = new FormData();
  form.append("media", shown.media, shown.media.name); // not what may have been chosen since
  form.append("segments", new File([["start_s,end_s,speaker,text", ...rows].join("\n")], "utterances.csv"), "utterances.csv");
  return form;
}

// ---- events --------------------------------------------------------------------------------

$("file").addEventListener("change", (event) => { if (event.target.files.length) choose(event.target.files[0]); });
$("clear").addEventListener("click", () => { choose(null); $("file").focus(); });
$("save").addEventListener("click", () => { save(media, media.name); unsaved = false; });
$("record-sound").addEventListener("click", (event) => recordWith(event.currentTarget, false));
$("record-video").addEventListener("click", (event) => recordWith(event.currentTarget, true));
$("stop").addEventListener("click", () => stop(true));
$("discard").addEventListener("click", () => stop(false));
$("words-file").addEventListener("change", (event) => {
  if (event.target.files.length) loadWords(event.target.files[0]);
  event.target.value = "";
});
// Anywhere: a file that misses the field would replace the page by itself.
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragenter" || name === "dragover");
    const file = name === "drop" && !recording ? event.dataTransfer.files[0] : null;
    if (file) (WORDS.test(file.name) ? loadWords : choose)(file);
  });
}
$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (recording) { // to predict is to have said all
    stop(true);
    await recording.catch(() => {});
  }
  const form = given();
  if (form) predict(form, media);
  else showError("There is nothing to judge yet: choose or record something, or write some words.");
});
$("editor").addEventListener("submit", (event) => { event.preventDefault(); predict(corrected(), shown.media); });
$("edit").addEventListener("click", () => toggleEditor($("editor").hidden));
$("cancel").addEventListener("click", () => { work?.abort(); $("predict").focus(); });
for (const button of document.querySelectorAll("[data-format]")) button.addEventListener("click", () => saveAs(button.dataset.format));
window.addEventListener("pagehide", () => jobs.forEach(drop));
window.addEventListener("beforeunload", (event) => { if (recording || unsaved) event.preventDefault(); });

viewer.setTheme(recall(() => localStorage.getItem("emofuse-theme")) ?? "auto");
$("theme").addEventListener("click", () => recall(() => localStorage.setItem("emofuse-theme", document.documentElement.dataset.theme ?? "auto")));

try {
  const [model] = await models();
  about = { ...about, model: model.name, model_card: model.card };
  $("asr-option").hidden = !model.recognises_words;
} catch {
  // What is wrong is said when something is asked for.
}
