"use strict";
// The server's page: takes a recording and words, sends them as a job, shows the result by the viewer of report.js.
// Every prediction is a job, also a short one: its result can then be fetched in each format without judging it again,
// and it shows how far it is. The job is deleted when the next one begins or the page is left.
(() => {
  const $ = (id) => document.getElementById(id);
  const API = "v1/";
  const POLL_MS = 400;
  const ENDINGS = { json: "json", csv: "csv", textgrid: "TextGrid", eaf: "eaf", srt: "srt", text: "txt", html: "html" };
  const DOING = { listening: "Listening", looking: "Looking for faces", recognising: "Recognising the words", predicting: "Predicting" };

  let media = null; // the recording: a File or Blob with a name
  let address = null; // its object URL, for the player
  let job = null; // of the result that is shown, or of what is being done
  let request = null; // the upload that is under way
  let run = 0; // counts predictions: what belongs to an old one is dropped
  let about = { model: "", model_card: "", emofuse: $("version").textContent };
  let timeline = null;

  // ---- talking to the server ---------------------------------------------------------------

  let token = sessionStorage.getItem("emofuse-token");
  const headers = () => (token ? { Authorization: `Bearer ${token}` } : {});

  class Problem extends Error {}
  const problem = (status, detail, retry) => new Problem(
    status === 503 ? `The server is busy. Try again in ${retry || "a few"} seconds.` :
    status === 0 ? "The server cannot be reached. Is it still running?" : sentence(detail || `The server answered ${status}.`));
  function sentence(text) {
    const line = text.charAt(0).toUpperCase() + text.slice(1);
    return /[.!?)]$/.test(line) ? line : `${line}.`;
  }

  async function call(path, options = {}) {
    let answer;
    try {
      answer = await fetch(API + path, { ...options, headers: headers() });
    } catch {
      throw problem(0);
    }
    if (answer.status === 401 && (await askToken())) return call(path, options);
    if (!answer.ok) {
      const { detail } = await answer.json().catch(() => ({}));
      throw problem(answer.status, typeof detail === "string" ? detail : "", answer.headers.get("Retry-After"));
    }
    return answer;
  }

  // An upload with progress, which fetch cannot show.
  function send(form, onProgress) {
    return new Promise((resolve, reject) => {
      request = new XMLHttpRequest();
      request.open("POST", `${API}jobs`);
      for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
      request.responseType = "json";
      request.upload.onprogress = (event) => { if (event.lengthComputable) onProgress(event.loaded / event.total); };
      request.onload = async () => {
        const { status, response } = request;
        if (status === 202) resolve(response);
        else if (status === 401 && (await askToken())) resolve(send(form, onProgress));
        else reject(problem(status, response?.detail, request.getResponseHeader("Retry-After")));
      };
      request.onerror = () => reject(problem(0));
      request.onabort = () => reject(new Problem(""));
      request.send(form);
    });
  }

  function askToken() {
    const dialog = $("token-dialog");
    $("token").value = "";
    dialog.returnValue = "";
    dialog.showModal();
    return new Promise((resolve) => dialog.addEventListener("close", () => {
      if (dialog.returnValue === "ok") {
        token = $("token").value.trim();
        sessionStorage.setItem("emofuse-token", token);
      }
      resolve(dialog.returnValue === "ok");
    }, { once: true }));
  }

  function forget() {
    if (job) fetch(`${API}jobs/${job}`, { method: "DELETE", headers: headers(), keepalive: true }).catch(() => {});
    job = null;
  }

  // ---- choosing and recording --------------------------------------------------------------

  const size = (bytes) => (bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

  function choose(file) {
    media = file;
    if (address) URL.revokeObjectURL(address);
    address = file ? URL.createObjectURL(file) : null;
    $("chosen").hidden = !file;
    if (file) {
      $("chosen-name").textContent = file.name;
      $("chosen-size").textContent = size(file.size);
      $("announce").textContent = `${file.name} is chosen`;
    } else $("file").value = "";
    showError(null);
  }

  let recorder = null, stream = null, audio = null;

  async function record(withCamera) {
    showError(null);
    if (!navigator.mediaDevices || !window.MediaRecorder) {
      showError("This browser lets pages record only over https or from localhost. Choose a file instead.");
      return;
    }
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: withCamera ? { width: 640, height: 480 } : false });
    } catch (error) {
      const device = withCamera ? "camera or microphone" : "microphone";
      showError(error.name === "NotAllowedError" ? `The ${device} may not be used: allow it in the browser, then try again.` :
        error.name === "NotFoundError" ? `No ${device} was found.` : `The ${device} cannot be used (${error.name}).`);
      return;
    }
    const pieces = [], began = performance.now();
    recorder = new MediaRecorder(stream);
    recorder.ondataavailable = (event) => pieces.push(event.data);
    recorder.onstop = () => {
      const type = recorder.mimeType || (withCamera ? "video/webm" : "audio/webm");
      const ending = type.includes("mp4") ? "mp4" : type.includes("ogg") ? "ogg" : "webm";
      const stamp = new Date().toTimeString().slice(0, 8).replaceAll(":", "-");
      if (recorder.kept) choose(new File(pieces, `recording ${stamp}.${ending}`, { type }));
      endRecording();
      $(recorder.kept ? "predict" : withCamera ? "record-video" : "record-sound").focus();
    };
    $("drop").hidden = true;
    $("recorder").hidden = false;
    $("camera").hidden = !withCamera;
    if (withCamera) {
      $("camera").srcObject = stream;
      $("camera").play().catch(() => {});
    }
    recorder.start(1000);
    $("stop").focus();
    showLevel(began);
  }

  function showLevel(began) {
    audio = new AudioContext();
    const analyser = audio.createAnalyser(), samples = new Float32Array(1024);
    analyser.fftSize = 1024;
    audio.createMediaStreamSource(stream).connect(analyser);
    const draw = () => {
      if (!recorder || recorder.state !== "recording") return;
      analyser.getFloatTimeDomainData(samples);
      const rms = Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / samples.length);
      const level = Math.round(Math.min(100, Math.max(0, 100 + 1.7 * 20 * Math.log10(rms + 1e-6))));
      $("level").firstChild.style.width = `${level}%`;
      $("level").setAttribute("aria-valuenow", String(level));
      const seconds = Math.floor((performance.now() - began) / 1000);
      $("timer").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
      requestAnimationFrame(draw);
    };
    draw();
  }

  function stopRecording(kept) {
    if (!recorder || recorder.state !== "recording") return;
    recorder.kept = kept;
    recorder.stop();
  }

  function endRecording() {
    for (const track of stream?.getTracks() ?? []) track.stop();
    audio?.close();
    $("camera").srcObject = null;
    $("recorder").hidden = true;
    $("drop").hidden = false;
  }

  // ---- predicting --------------------------------------------------------------------------

  function formOf(extra) {
    const form = new FormData();
    const words = $("words").value.trim();
    if (media) form.append("media", media, media.name);
    if (extra.segments) form.append("segments", extra.segments, "utterances.csv");
    else if ($("segments").files.length) form.append("segments", $("segments").files[0]);
    if (!extra.segments && words.includes("-->")) {
      const name = words.startsWith("WEBVTT") ? "words.vtt" : "words.srt";
      form.append("transcript", new File([words], name), name);
    } else if (!extra.segments && /^[[{]/.test(words)) form.append("transcript", new File([words], "words.json"), "words.json");
    else if (!extra.segments && words) form.append("text", words);
    if ($("whole").checked && !extra.segments) form.append("whole", "true");
    if ($("asr").checked && !extra.segments) form.append("asr", "true");
    return form;
  }

  async function predict(extra = {}) {
    if (!media && !$("words").value.trim()) {
      showError("There is nothing to judge yet: choose or record something, or write some words.");
      return;
    }
    const mine = ++run;
    forget();
    window.emofuseViewer.pause();
    showError(null);
    showWork("Sending", null);
    try {
      const made = await send(formOf(extra), (share) => { if (mine === run) showWork("Sending", share); });
      job = made.id;
      const found = await finished(made.id, mine);
      if (mine === run) showResult(found);
    } catch (error) {
      if (mine !== run) return;
      if (!(error instanceof Problem)) throw error;
      if (error.message) showError(error.message);
    } finally {
      if (mine === run) showWork(null);
    }
  }

  async function finished(id, mine) {
    for (;;) {
      const answer = await (await call(`jobs/${id}`)).json();
      if (mine !== run) return null;
      if (answer.state === "done") return answer.result;
      if (answer.state === "failed") throw new Problem(sentence(answer.error));
      if (answer.state === "queued") showWork("Waiting for others", null);
      else showWork(DOING[answer.doing] ?? "Reading", answer.progress);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  function cancel() {
    run++;
    request?.abort();
    forget();
    showWork(null);
    $("predict").focus();
  }

  // ---- showing -----------------------------------------------------------------------------

  function showWork(doing, share = null) {
    $("working").hidden = !doing;
    $("predict").disabled = Boolean(doing);
    if (!doing) return;
    if ($("doing").textContent !== doing) $("doing").textContent = doing;
    if (share === null) $("progress").removeAttribute("value");
    else $("progress").value = share;
  }

  function showError(text) {
    $("error").hidden = !text;
    $("error-text").textContent = text ?? "";
    if (text) $("error").focus();
  }

  function showResult(found) {
    timeline = found;
    const isVideo = media && (media.type.startsWith("video/") || /\.(mp4|mkv|mov|mpe?g|avi|m4v)$/i.test(media.name));
    const player = media && { kind: isVideo && !media.type.startsWith("audio/") ? "video" : "audio", type: media.type, href: address, note: null };
    $("result").hidden = false; // before it is drawn: what is hidden has no width
    window.emofuseViewer.show({ ...about, failures: [], recordings: [{ ...found, media: player }] });
    toggleEditor(false);
    $("edit").hidden = !media || !found.predictions.length;
    const title = $("name");
    title.tabIndex = -1;
    title.focus({ preventScroll: true });
    $("result").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    $("announce").textContent = `Done: ${$("headline").textContent}`;
  }

  async function download(format) {
    try {
      const content = await (await call(`jobs/${job}/result?format=${format}`)).blob();
      const link = document.createElement("a");
      link.href = URL.createObjectURL(content);
      link.download = `${timeline.source.replace(/\.[^.]*$/, "")}.${ENDINGS[format]}`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      showError(error.message);
    }
  }

  // ---- correcting the words ----------------------------------------------------------------

  function toggleEditor(open) {
    $("editor").hidden = !open;
    $("edit").setAttribute("aria-expanded", String(open));
    if (!open) return;
    $("lines").replaceChildren(...timeline.predictions.map((p, i) => {
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

  // The utterances as they are, with the words that now stand beside them.
  function corrected() {
    const cell = (x) => `"${String(x ?? "").replaceAll('"', '""')}"`;
    const rows = timeline.predictions.map((p, i) => [p.start_s, p.end_s, p.speaker, $(`line-${i}`).value.trim()].map(cell).join(","));
    return new File([["start_s,end_s,speaker,text", ...rows].join("\n")], "utterances.csv");
  }

  // ---- events ------------------------------------------------------------------------------

  $("file").addEventListener("change", (event) => { if (event.target.files.length) choose(event.target.files[0]); });
  $("clear").addEventListener("click", () => { choose(null); $("file").focus(); });
  $("record-sound").addEventListener("click", () => record(false));
  $("record-video").addEventListener("click", () => record(true));
  $("stop").addEventListener("click", () => stopRecording(true));
  $("discard").addEventListener("click", () => stopRecording(false));
  $("words-file").addEventListener("change", async (event) => {
    if (event.target.files.length) $("words").value = await event.target.files[0].text();
    event.target.value = "";
  });
  for (const [name, over] of [["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]]) {
    $("drop").addEventListener(name, (event) => {
      event.preventDefault();
      $("drop").classList.toggle("over", over);
      if (name === "drop" && event.dataTransfer.files.length) choose(event.dataTransfer.files[0]);
    });
  }
  $("form").addEventListener("submit", (event) => { event.preventDefault(); predict(); });
  $("editor").addEventListener("submit", (event) => { event.preventDefault(); predict({ segments: corrected() }); });
  $("edit").addEventListener("click", () => toggleEditor($("editor").hidden));
  $("cancel").addEventListener("click", cancel);
  $("token-cancel").addEventListener("click", () => $("token-dialog").close(""));
  for (const button of document.querySelectorAll("[data-format]")) button.addEventListener("click", () => download(button.dataset.format));
  window.addEventListener("pagehide", forget);

  // The server without a token says at once what it can do; with one, it is asked for when it is first needed.
  fetch(`${API}models`, { headers: headers() }).then(async (answer) => {
    if (!answer.ok) return;
    const [model] = await answer.json();
    about = { model: model.name, model_card: model.card, emofuse: $("version").textContent };
    $("asr-option").hidden = !model.recognises_words;
  }).catch(() => {});
})();
