"use strict";
// The page of `emofuse predict --report`, which reads the JSON of #data, and what the server's page shows a result by
// (`emofuseViewer.show`). It requests nothing, and writes text only as text nodes: what was said or how a file is called
// can never become markup.
(() => {
  let data = { emofuse: "", model: "", model_card: "", failures: [], recordings: [] };
  const $ = (id) => document.getElementById(id);

  // ---- names, colours, numbers -------------------------------------------------------------

  // After Okabe & Ito and Tol: told apart with any colour vision; names stand beside them everywhere.
  const COLOURS = {
    angry: "#d55e00", happy: "#f0c808", neutral: "#a3a7b0", sad: "#0072b2", excited: "#e69f00", frustrated: "#882255",
    calm: "#44aa99", fearful: "#7d5fc2", disgusted: "#117733", surprised: "#56b4e9", bored: "#b8a47e", contempt: "#332288",
    other: "#d5d3cc", negative: "#d55e00", positive: "#0072b2",
  };
  const SPARE = ["#cc79a7", "#009e73", "#999933", "#aa4499", "#6699cc", "#661100", "#ddcc77", "#44aa99"];
  const MODALITIES = {
    speech: { name: "Voice", missing: "the voice" }, visual: { name: "Face", missing: "the face" }, text: { name: "Words", missing: "the words" },
  };
  const CHUNK_ROWS = 80; // rows of the table that are made at a time
  const BLOCK_PX = 46; // width that a block should have at first
  const MAX_BLOCKS = 400; // elements in the timeline at most

  let classes = [], unknown = []; // of the predictions that are shown
  const colour = (label) => (Object.hasOwn(COLOURS, label) ? COLOURS[label] : SPARE[Math.max(0, unknown.indexOf(label)) % SPARE.length]);
  const ink = (label) => {
    const [r, g, b] = [1, 3, 5].map((at) => (parseInt(colour(label).slice(at, at + 2), 16) / 255) ** 2.2);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.2 ? "#15161a" : "#ffffff";
  };
  const modality = (name) => name.split("+").map((part, i) => {
    const known = Object.hasOwn(MODALITIES, part) ? MODALITIES[part].name : part;
    return i ? known.toLowerCase() : known;
  }).join(" + ");
  const percent = (x) => (x > 0 && x < 0.005 ? "<1 %" : x < 1 && x >= 0.995 ? ">99 %" : `${Math.round(x * 100)} %`);
  const fine = (x) => (x > 0 && x < 0.0005 ? "<0.1 %" : `${(x * 100).toFixed(1)} %`);
  const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
  const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
  const listed = (items) => (items.length < 2 ? items.join("") : `${items.slice(0, -1).join(", ")} and ${items.at(-1)}`);
  const basename = (source) => source.split(/[\\/]/).at(-1) || source;
  function clock(seconds, digits = 1) {
    const unit = 10 ** digits;
    const total = Math.round(Math.max(0, seconds) * unit) / unit;
    const h = Math.floor(total / 3600), m = Math.floor((total % 3600) / 60);
    const s = (total % 60).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
    return h ? `${h}:${String(m).padStart(2, "0")}:${s}` : `${m}:${s}`;
  }
  const ranked = (p) => Object.entries(p.probabilities).sort((a, b) => b[1] - a[1]);
  const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

  // An element. `style` sets custom properties through the object model, which the policy allows.
  function h(tag, props = {}, ...children) {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(props)) {
      if (value === null || value === undefined || value === false) continue;
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else if (key === "style") for (const [name, v] of Object.entries(value)) element.style.setProperty(name, v);
      else element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null));
    return element;
  }
  const tint = (label, extra = {}) => ({ "--c": colour(label), "--ink": ink(label), ...extra });
  const meter = (label, p, text) => h("div", { class: "meter", style: tint(label, { "--p": p }) }, h("i"), h("span", {}, text));

  // ---- state -------------------------------------------------------------------------------

  let recording, predictions, media = null; // what is shown
  let selected = -1, cursor = 0, stopAt = null; // index of the utterance; seconds
  let view = { start: 0, end: 1 };
  let blocks = new Map(), rowOf = new Map(), pending = [];
  const sort = { key: "start_s", down: false };
  const filter = { text: "", label: "", speaker: "", unsure: false };

  const time = () => (media ? media.currentTime : cursor);
  const speakers = () => [...new Set(predictions.map((p) => p.speaker))];
  const speakerName = (speaker) => speaker ?? "Speaker not known";
  const spoken = (p) => p.end_s - p.start_s;
  function sentence(p) {
    return `${recording.timed ? `${clock(p.start_s)} to ${clock(p.end_s)}, ` : ""}${p.speaker === null ? "" : `${p.speaker}, `}` +
      `${p.unsure ? "unsure, perhaps " : ""}${p.label} ${percent(p.confidence)}${p.text ? `: ${p.text}` : ""}`;
  }

  // Speaking time by class: [label, share], most first; what the model is unsure of counts for no class.
  function mixture(list) {
    const total = list.reduce((sum, p) => sum + spoken(p), 0);
    const seconds = new Map();
    for (const p of list.filter((q) => !q.unsure)) seconds.set(p.label, (seconds.get(p.label) ?? 0) + spoken(p));
    return [...seconds].map(([label, s]) => [label, total > 0 ? s / total : 0]).sort((a, b) => b[1] - a[1]);
  }
  const unsureShare = (mix) => Math.max(0, 1 - mix.reduce((sum, [, share]) => sum + share, 0));
  function summary(mix) {
    if (!predictions.length) return "No speech was found in this recording, so there is nothing to predict.";
    if (!recording.timed) return predictions[0].unsure ? "The model is unsure how these words read." : `These words read as ${predictions[0].label}.`;
    const unsure = predictions.some((p) => p.unsure) ? unsureShare(mix) : 0;
    if (!mix.length) return "The model is unsure of every utterance.";
    const [label, share] = mix[0];
    if (unsure > share) return `The model is unsure for ${percent(unsure)} of the speaking time. Of the rest most is ${label}: ${percent(share)}.`;
    return `${share > 0.6 ? "Mostly" : "Most often"} ${label}: ${percent(share)} of the speaking time. ` +
      (unsure ? `For ${percent(unsure)} the model is unsure.` : "The model is unsure of no utterance.");
  }

  // ---- the head ----------------------------------------------------------------------------

  function renderHead() {
    $("name").textContent = basename(recording.source);
    $("name").title = recording.source;
    const known = speakers().filter((s) => s !== null).length;
    $("facts").replaceChildren(...[
      recording.timed ? clock(recording.duration_s, 0) + (recording.duration_s < 3600 ? " min" : " h") : "",
      plural(predictions.length, "utterance"), known ? plural(known, "speaker") : "", data.model && `Model: ${data.model}`,
      evidences().size === 1 && `From ${listed(predictions[0].modalities.map((name) => modality(name).toLowerCase()))}`,
    ].filter(Boolean).map((text) => h("li", {}, text)));
    const notes = recording.problems.map((problem) => capital(problem.replace(`${recording.source}: `, "")));
    $("problems").replaceChildren(...notes.map((note) => h("li", {}, note)));
    const mix = mixture(predictions);
    $("headline").textContent = summary(mix);
    $("mix").hidden = !recording.timed;
    const part = (name, share, props) => h("button", { type: "button", "aria-pressed": "false", ...props }, capital(name), h("span", {}, percent(share)));
    const parts = mix.map(([label, share]) => part(label, share, { "data-label": label, style: tint(label, { "--share": Math.max(share, 0.001) }),
      onclick: () => setFilter({ label: filter.label === label && !filter.unsure ? "" : label, unsure: false }) }));
    const unsure = unsureShare(mix);
    if (predictions.some((p) => p.unsure)) parts.push(part("unsure", unsure, { class: "unsure", style: { "--share": Math.max(unsure, 0.001), "--c": "#8a8d98" },
      onclick: () => setFilter({ label: "", unsure: !filter.unsure }) }));
    $("mix").replaceChildren(...parts);
  }

  function renderRecordings() {
    $("recordings").hidden = data.recordings.length < 2;
    $("recording-search").hidden = data.recordings.length < 12;
    $("recording-list").replaceChildren(...data.recordings.map((r, i) => {
      const mix = mixture(r.predictions);
      return h("li", {}, h("button", { type: "button", title: r.source, onclick: () => open(i) }, h("b", {}, basename(r.source)),
        h("span", {}, `${clock(r.duration_s, 0)} · ${plural(r.predictions.length, "utterance")}${mix.length ? ` · ${mix[0][0]}` : r.predictions.length ? " · unsure" : ""}`),
        h("div", { class: "strip", "aria-hidden": "true" }, ...[...mix, ["", unsureShare(mix)]].map(([label, share]) => h("i", { style: label ? tint(label, { "--share": share }) : { "--share": share } })))));
    }));
  }

  // ---- player ------------------------------------------------------------------------------

  let url = null;
  function mediaAddress(index) {
    const info = data.recordings[index].media;
    if (info.href !== null) return info.href;
    const text = $(`media-${index}`).textContent;
    const parts = [], step = 1 << 20; // divisible by 4: each part is Base64 of its own
    for (let at = 0; at < text.length; at += step) {
      const binary = atob(text.slice(at, at + step));
      const bytes = new Uint8Array(binary.length);
      for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
      parts.push(bytes);
    }
    url = URL.createObjectURL(new Blob(parts, { type: info.type }));
    return url;
  }

  function mountPlayer(index) {
    media?.pause();
    if (url) URL.revokeObjectURL(url);
    [media, url, stopAt] = [null, null, null];
    const info = recording.media, note = $("media-note");
    $("player").replaceChildren();
    note.textContent = info ? info.note ?? "" : "No recording comes with this page; its numbers do.";
    note.hidden = !note.textContent;
    $("follow").closest("label").hidden = !info;
    if (!info) return;
    const element = h(info.kind === "video" ? "video" : "audio", { controls: true, preload: "metadata", "aria-label": basename(recording.source) });
    if (info.kind === "video") element.setAttribute("playsinline", "");
    element.addEventListener("play", () => requestAnimationFrame(tick));
    for (const event of ["seeked", "timeupdate", "loadedmetadata"]) element.addEventListener(event, syncTime);
    // Browsers record without writing how long it is; when sent to the end they find out.
    let measuring = false;
    element.addEventListener("loadedmetadata", () => {
      measuring = element.duration === Infinity;
      if (measuring) element.currentTime = 1e6;
    });
    element.addEventListener("seeked", () => {
      if (measuring) element.currentTime = cursor;
      measuring = false;
    });
    element.addEventListener("seeking", () => { if (stopAt !== null && element.currentTime > stopAt) stopAt = null; });
    element.addEventListener("error", () => {
      if (media !== element) return; // another recording is shown by now
      const link = info.href === null || info.href.startsWith("blob:") ? "" : h("a", { href: info.href }, "Open the file");
      note.replaceChildren("This browser cannot play the recording; the numbers are there all the same. ", link);
      note.hidden = false;
      element.remove();
      media = null;
      if (selected >= 0) renderDetails(predictions[selected]); // without its button to play
      $("follow").closest("label").hidden = true;
      syncTime();
    });
    $("player").append(element);
    media = element;
    // The recordings follow this script in the page: they are there once it is parsed, after the first paint.
    const attach = () => setTimeout(() => {
      if (media !== element) return;
      element.src = mediaAddress(index);
      if (cursor > 0) element.currentTime = cursor;
    });
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", attach, { once: true });
    else attach();
  }

  function tick() {
    if (!media) return;
    if (stopAt !== null && media.currentTime >= stopAt) {
      media.pause();
      stopAt = null;
    }
    syncTime();
    if (!media.paused && !media.ended) requestAnimationFrame(tick);
  }

  function seek(seconds) {
    cursor = clamp(seconds, 0, recording.duration_s);
    stopAt = null;
    if (media) media.currentTime = cursor;
    syncTime();
  }

  function playUtterance(p) {
    seek(p.start_s);
    stopAt = p.end_s;
    media?.play().catch(() => {}); // the player itself shows what fails
  }

  function togglePlay() {
    if (!media) return;
    stopAt = null;
    if (media.paused) media.play().catch(() => {});
    else media.pause();
  }

  // The utterance that is spoken at a time: the one that began last.
  function indexAt(seconds) {
    const last = lastBefore(seconds);
    for (let i = last; i >= 0 && i > last - 50; i--) if (predictions[i].end_s > seconds) return i;
    return -1;
  }
  function lastBefore(seconds) {
    let low = 0, high = predictions.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (predictions[middle].start_s <= seconds + 0.005) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  function syncTime() {
    const now = time(), playing = media && !media.paused;
    if (playing && (now < view.start || now > view.end)) setView(now - 0.05 * (view.end - view.start));
    place($("playhead"), (now - view.start) / (view.end - view.start));
    place($("overview-playhead"), now / recording.duration_s);
    $("overview").setAttribute("aria-valuenow", now.toFixed(1));
    $("overview").setAttribute("aria-valuetext", clock(now));
    const current = indexAt(now), p = predictions[current];
    $("now").textContent = (media ? clock(now) : `${clock(now)} / ${clock(recording.duration_s)}`) + (p ? ` · ${p.speaker === null ? "" : `${p.speaker}: `}${p.unsure ? "unsure" : p.label}` : "");
    if (playing && stopAt === null && $("follow").checked && current >= 0 && current !== selected) select(current, { jump: false });
    const head = document.querySelector(".moments .playhead"), chosen = predictions[selected];
    if (head && chosen) place(head, (now - chosen.start_s) / spoken(chosen));
  }
  function place(element, share) {
    element.hidden = !(share >= 0 && share <= 1);
    element.style.left = `${share * 100}%`;
  }

  // ---- timeline ----------------------------------------------------------------------------

  const widest = () => (predictions.length <= MAX_BLOCKS ? recording.duration_s : (recording.duration_s * MAX_BLOCKS) / predictions.length);

  function setView(start, span = view.end - view.start) {
    const length = clamp(span, Math.min(2, recording.duration_s), widest());
    const from = clamp(start, 0, Math.max(0, recording.duration_s - length));
    view = { start: from, end: from + length };
    drawTimeline();
  }
  function zoom(factor, around = clamp(time(), view.start, view.end)) {
    const span = view.end - view.start, length = clamp(span * factor, Math.min(2, recording.duration_s), widest());
    setView(around - ((around - view.start) / span) * length, length);
  }
  function firstView() {
    const fitting = Math.max(4, $("timeline").clientWidth / BLOCK_PX);
    setView(0, (recording.duration_s * fitting) / Math.max(predictions.length, 1));
  }

  // Rows of one speaker, so that utterances which overlap do not cover each other.
  function rowsOf(list) {
    const ends = [];
    return list.map((p) => {
      let row = ends.findIndex((end) => end <= p.start_s + 0.001);
      if (row < 0) row = ends.length;
      ends[row] = p.end_s;
      return row;
    });
  }

  const onBlock = () => Boolean(document.activeElement?.closest(".block"));
  let lanes = [];
  function layLanes() {
    lanes = speakers().map((speaker) => {
      const members = predictions.map((p, i) => i).filter((i) => predictions[i].speaker === speaker);
      const list = members.map((i) => predictions[i]), rows = rowsOf(list);
      const elements = Array.from({ length: Math.max(0, ...rows) + 1 }, () => h("div", { class: "row" }));
      const seconds = list.reduce((sum, p) => sum + spoken(p), 0);
      const label = h("div", { class: "lane-label" }, h("b", {}, speakerName(speaker)), ` · ${plural(list.length, "utterance")} · ${seconds.toFixed(seconds < 100 ? 1 : 0)} s`);
      return { members, rows, elements, lane: h("div", { role: "group", "aria-label": speakerName(speaker) }, label, ...elements) };
    });
    $("lanes").classList.toggle("compact", lanes.length > 4);
    $("lanes").replaceChildren(...lanes.map((lane) => lane.lane));
  }

  function drawTimeline() {
    const width = $("timeline").clientWidth, scale = width / (view.end - view.start);
    drawAxis(scale);
    const focused = onBlock();
    blocks = new Map();
    for (const lane of lanes) {
      const content = lane.elements.map(() => []);
      lane.members.forEach((i, k) => {
        const p = predictions[i];
        if (p.end_s <= view.start || p.start_s >= view.end) return;
        const element = block(p, i, scale);
        blocks.set(i, element);
        content[lane.rows[k]].push(element);
      });
      lane.elements.forEach((row, r) => row.replaceChildren(...content[r]));
    }
    markBlock(focused);
    drawRibbon();
    const share = (x) => `${(x / recording.duration_s) * 100}%`;
    $("overview-window").style.left = share(view.start);
    $("overview-window").style.width = share(view.end - view.start);
    $("overview-window").hidden = view.end - view.start >= recording.duration_s - 0.01;
    const whole = view.end - view.start >= widest() - 0.01;
    $("zoom-out").disabled = $("zoom-fit").disabled = whole;
    place($("playhead"), (time() - view.start) / (view.end - view.start));
  }

  function block(p, i, scale) {
    const left = Math.max(p.start_s, view.start), width = (Math.min(p.end_s, view.end) - left) * scale;
    const full = p.unsure ? `${p.label}?` : p.label;
    const text = width > full.length * 8 + 14 ? full : width > 15 ? full.charAt(0) : "";
    const element = h("button", { type: "button", class: p.unsure ? "block unsure" : "block", "data-index": i, tabindex: "-1",
      "aria-label": sentence(p), style: tint(p.label) }, text);
    element.style.left = `${(100 * (left - view.start)) / (view.end - view.start)}%`; // shares: paper has another width
    element.style.width = `calc(${(100 * (Math.min(p.end_s, view.end) - left)) / (view.end - view.start)}% - 2px)`;
    return element;
  }

  function markBlock(focus) {
    for (const [i, element] of blocks) {
      const here = i === selected;
      element.classList.toggle("selected", here);
      element.tabIndex = here ? 0 : -1; // one stop for the Tab key; arrows go on from there
      if (here) element.setAttribute("aria-current", "true");
      else element.removeAttribute("aria-current");
    }
    if (!blocks.has(selected) && blocks.size) blocks.values().next().value.tabIndex = 0;
    if (focus) blocks.get(selected)?.focus({ preventScroll: true });
  }

  function drawAxis(scale) {
    const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
    const step = steps.find((s) => s * scale >= 70) ?? steps.at(-1);
    const marks = [];
    for (let k = Math.ceil(view.start / step); k * step < view.end; k++) {
      const left = (k * step - view.start) * scale;
      if (left > $("timeline").clientWidth - 40) break;
      const mark = h("span", {}, clock(k * step, step < 1 ? 1 : 0));
      mark.style.left = `${(100 * (k * step - view.start)) / (view.end - view.start)}%`;
      marks.push(mark);
    }
    $("axis").replaceChildren(...marks);
  }

  function context(canvas, width, height) {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.max(1, Math.round(width * ratio));
    canvas.height = Math.round(height * ratio);
    const c = canvas.getContext("2d");
    c.scale(ratio, ratio);
    return c;
  }

  // Mean probabilities of each pixel column, weighted by how long each utterance lasts in it.
  function columns(start, end, n) {
    const k = classes.length, sums = new Float64Array(n * k), weight = new Float64Array(n), scale = n / (end - start);
    for (const p of predictions) {
      const from = Math.max(0, (p.start_s - start) * scale), to = Math.min(n, (p.end_s - start) * scale);
      if (to <= from) continue;
      const values = classes.map((label) => p.probabilities[label] ?? 0);
      for (let c = Math.floor(from); c < to; c++) {
        const part = Math.min(to, c + 1) - Math.max(from, c);
        weight[c] += part;
        for (let j = 0; j < k; j++) sums[c * k + j] += values[j] * part;
      }
    }
    return { sums, weight };
  }

  function drawStack(c, start, end, width, height) {
    const n = Math.max(1, Math.round(width)), k = classes.length, { sums, weight } = columns(start, end, n);
    for (let x = 0; x < n; x++) {
      if (weight[x] < 0.02) continue;
      let y = height;
      for (let j = 0; j < k; j++) {
        const part = (sums[x * k + j] / weight[x]) * height;
        c.fillStyle = colour(classes[j]);
        c.fillRect(x, y - part, 1, part);
        y -= part;
      }
    }
  }

  function drawRibbon() {
    const width = $("timeline").clientWidth, height = 104, c = context($("ribbon"), width, height);
    drawStack(c, view.start, view.end, width, height);
    const scale = width / (view.end - view.start);
    c.font = "600 11px system-ui, sans-serif";
    c.textBaseline = "middle";
    c.textAlign = "center";
    for (const [i] of blocks) { // names within the areas: colour is never the only cue
      const p = predictions[i]; // where utterances overlap, a mean is shown: the name stands beside
      const from = Math.max(p.start_s, predictions[i - 1]?.end_s ?? 0), to = Math.min(p.end_s, predictions[i + 1]?.start_s ?? Infinity);
      const left = Math.max(0, (from - view.start) * scale), right = Math.min(width, (to - view.start) * scale);
      let y = height;
      for (const label of classes) {
        const part = (p.probabilities[label] ?? 0) * height;
        y -= part;
        if (part < 14) continue;
        const text = [label, label.slice(0, 3), label.charAt(0)].find((t) => c.measureText(t).width < right - left - 6);
        if (!text) continue;
        c.fillStyle = ink(label);
        c.fillText(text, (left + right) / 2, y + part / 2);
      }
    }
  }

  function drawOverview() {
    const width = $("overview").clientWidth;
    drawStack(context($("overview-canvas"), width, 30), 0, recording.duration_s, width, 30);
    $("overview").setAttribute("aria-valuemax", recording.duration_s.toFixed(1));
  }

  // ---- the selected utterance --------------------------------------------------------------

  function select(i, { jump = true, focus = false, announce = true } = {}) {
    if (!predictions.length) return;
    selected = clamp(i, 0, predictions.length - 1);
    const p = predictions[selected], span = view.end - view.start;
    if (jump) seek(p.start_s);
    if (p.start_s < view.start || Math.min(p.end_s, p.start_s + span) > view.end) setView(p.start_s - 0.15 * span);
    markBlock(focus);
    renderDetails(p);
    for (const [index, row] of rowOf) row.classList.toggle("selected", index === selected);
    if (announce && jump) $("announce").textContent = `Utterance ${selected + 1} of ${predictions.length}. ${sentence(p)}`;
  }

  function honest(p) {
    const order = ranked(p), second = order[1];
    const next = second ? `, ahead of ${second[0]} at ${percent(second[1])}` : "";
    if (p.unsure) return `Not sure enough to say. ${capital(p.label)} is only the likeliest guess, at ${percent(p.confidence)}${next}: take this as no clear answer.`;
    const right = clamp(Math.round(p.confidence * 100), 1, 99);
    return `${percent(p.confidence)} sure${next}. Where such figures hold, about ${right} of 100 answers like this one are right.`;
  }

  function renderDetails(p) {
    const title = h("div", { class: "verdict" },
      h("span", { class: p.unsure ? "mark unsure" : "mark", style: tint(p.label), "aria-hidden": "true" }, p.label.charAt(0)),
      h("div", {}, h("b", {}, p.label), p.unsure ? h("span", { class: "badge" }, "unsure") : null,
        recording.timed ? h("div", { class: "when" }, `${p.speaker === null ? "" : `${p.speaker} · `}${clock(p.start_s)} – ${clock(p.end_s)} · ${spoken(p).toFixed(1)} s`) : null));
    const play = h("button", { type: "button", class: "primary", onclick: () => playUtterance(p) }, "▶ Play this utterance");
    $("details").replaceChildren(...[
      h("div", { class: "title-row" }, h("h2", {}, "Selected utterance"), h("span", { class: "when" }, `${selected + 1} of ${predictions.length.toLocaleString("en")}`)),
      title, h("p", { class: "honest" }, honest(p)), p.text ? h("p", { class: "quote" }, p.text) : null,
      media ? h("div", { class: "actions" }, play) : null,
      h("h3", {}, "Probabilities"), probabilityTable(p), ...evidence(p), ...wordWeights(p), ...momentWeights(p),
    ].filter(Boolean));
    $("details").scrollTop = 0;
  }

  function probabilityTable(p) {
    const alone = Object.entries(p.by_modality);
    const head = h("tr", {}, h("th", { scope: "col" }, "Emotion"), h("th", { scope: "col" }, alone.length ? "Together" : "Probability"),
      ...alone.map(([name]) => h("th", { scope: "col" }, `${modality(name)} alone`)));
    const body = classes.filter((label) => label in p.probabilities).map((label) =>
      h("tr", { class: label === p.label ? "best" : null, style: tint(label) },
        h("th", { scope: "row" }, h("span", { class: "swatch" }), label),
        h("td", { class: "bar" }, meter(label, p.probabilities[label], fine(p.probabilities[label]))),
        ...alone.map(([, values]) => h("td", {}, label in values ? h("span", { class: "alone", style: { "--p": values[label] } }, fine(values[label])) : "–"))));
    return h("table", { class: "numbers" }, h("thead", {}, head), h("tbody", {}, ...body));
  }

  function evidence(p) {
    const weights = Object.entries(p.weights);
    const used = p.modalities.map((name) => modality(name).toLowerCase());
    const parts = [h("h3", {}, "What the answer rests on")];
    if (weights.length > 1) {
      parts.push(h("div", { class: "shares" }, ...weights.map(([name, share]) =>
        h("span", { style: { "--share": Math.max(share, 0.001) } }, modality(name), h("b", {}, percent(share))))));
    } else parts.push(h("p", { class: "honest" }, used.length ? `On the ${listed(used)} alone.` : "Not stated."));
    if (p.missing.length) {
      const names = p.missing.map((name) => (Object.hasOwn(MODALITIES, name) ? MODALITIES[name].missing : name));
      parts.push(h("p", { class: "missing" }, `Missing here: ${listed(names)}. The model can use ${names.length > 1 ? "them" : "it"}, but this utterance had none, so expect less of this answer.`));
    }
    return parts;
  }

  const WEIGHT = "The stronger the colour, the more the model's decision on the words rests on this one. It does not say that the decision is right.";
  function wordWeights(p) {
    if (!p.words.length) return [];
    const most = Math.max(...p.words.map((w) => w.weight)) || 1;
    const words = p.words.map((w) => h("button", { type: "button", style: { "--p": w.weight / most }, "aria-label": `${w.text}, ${fine(w.weight)} of the weight`,
      "data-tip": `${fine(w.weight)} of the weight of the words${w.start_s === null ? "" : `\n${clock(w.start_s, 2)} – ${clock(w.end_s, 2)}`}`,
      onclick: () => { if (w.start_s !== null) seek(w.start_s); } }, w.text, h("small", {}, fine(w.weight))));
    const list = h("div", { class: "words", role: "group", "aria-label": "Words and the weight of each" }, ...words);
    const numbers = h("input", { type: "checkbox", onchange: (event) => list.classList.toggle("numbered", event.target.checked) });
    return [h("div", { class: "title-row" }, h("h3", {}, "Weight of the words"), h("label", { class: "check" }, numbers, "Numbers")), list, h("p", { class: "hint" }, WEIGHT)];
  }

  function momentWeights(p) {
    if (!p.moments.length) return [];
    const most = Math.max(...p.moments.map((m) => m.weight)) || 1;
    const bars = p.moments.map((m) => {
      const bar = h("i", { style: { "--p": m.weight / most }, "data-tip": `${fine(m.weight)} of the weight of the voice\n${clock(m.start_s, 2)} – ${clock(m.end_s, 2)}` });
      bar.style.left = `${((m.start_s - p.start_s) / spoken(p)) * 100}%`;
      bar.style.width = `calc(${((m.end_s - m.start_s) / spoken(p)) * 100}% - 1px)`;
      bar.style.height = `${Math.max(4, (m.weight / most) * 100)}%`;
      return bar;
    });
    const top = [...p.moments].sort((a, b) => b.weight - a.weight)[0];
    const strip = h("div", { class: "moments", role: "img", "aria-label": `Weight over the utterance, most at ${clock(top.start_s, 2)} to ${clock(top.end_s, 2)}, ${fine(top.weight)}; numbers in the table below`,
      onclick: (event) => { const box = strip.getBoundingClientRect(); seek(p.start_s + ((event.clientX - box.left) / box.width) * spoken(p)); } },
    ...bars, h("div", { class: "playhead", hidden: true }));
    const more = h("details", { class: "more", ontoggle: () => { if (more.open && more.childElementCount === 1) more.append(momentTable(p)); } },
      h("summary", {}, `The ${plural(p.moments.length, "number")} behind it`));
    return [h("h3", {}, "Weight of the voice, moment by moment"), strip, h("div", { class: "ends" }, h("span", {}, clock(p.start_s)), h("span", {}, clock(p.end_s))), more];
  }
  function momentTable(p) {
    return h("table", { class: "numbers" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Time"), h("th", { scope: "col" }, "Weight"))),
      h("tbody", {}, ...p.moments.map((m) => h("tr", {}, h("th", { scope: "row" }, `${clock(m.start_s, 2)} – ${clock(m.end_s, 2)}`), h("td", {}, fine(m.weight))))));
  }

  // ---- table -------------------------------------------------------------------------------

  const COLUMNS = [["start_s", "Time"], ["speaker", "Speaker"], ["label", "Emotion"], ["confidence", "Sure"], ["text", "Words"], ["modalities", "From"]];
  // What is the same in every row stands in the head of the page and takes no column.
  const evidences = () => new Set(predictions.map((p) => p.modalities.map(modality).join(", ")));
  const shown = (key) => !(key === "modalities" && evidences().size < 2) && !(key === "speaker" && speakers().length < 2);

  function renderHeadRow() {
    $("table-head").replaceChildren(...COLUMNS.filter(([key]) => shown(key)).map(([key, name]) =>
      h("th", { scope: "col", "aria-sort": sort.key === key ? (sort.down ? "descending" : "ascending") : null },
        h("button", { type: "button", "data-key": key, onclick: () => { sort.down = sort.key === key && !sort.down; sort.key = key; renderTable(); $("table-head").querySelector(`[data-key="${key}"]`).focus(); } }, name))));
  }

  function compare(a, b) {
    const [x, y] = [predictions[a][sort.key], predictions[b][sort.key]];
    if (x === null || y === null) return (x === null) - (y === null) || a - b; // unknown last
    const order = typeof x === "number" ? x - y : String(x).localeCompare(String(y));
    return (sort.down ? -order : order) || a - b;
  }

  function renderTable() {
    renderHeadRow();
    const needle = filter.text.toLowerCase();
    const fits = predictions.map((p, i) => i).filter((i) => {
      const p = predictions[i];
      return (!filter.label || p.label === filter.label) && (!filter.speaker || JSON.stringify(p.speaker) === filter.speaker) &&
        (!filter.unsure || p.unsure) && (!needle || (p.text ?? "").toLowerCase().includes(needle));
    });
    pending = fits.sort(compare);
    $("count").textContent = fits.length === predictions.length ? plural(fits.length, "utterance") : `${fits.length} of ${plural(predictions.length, "utterance")}`;
    $("empty").hidden = fits.length > 0;
    $("empty").textContent = predictions.length ? "No utterance fits this filter." : "There is no utterance.";
    $("rows").replaceChildren();
    rowOf = new Map();
    $("table-scroll").scrollTop = 0;
    addRows(CHUNK_ROWS);
  }

  function addRows(n) {
    const [who, from] = [shown("speaker"), shown("modalities")];
    const batch = pending.splice(0, n).map((i) => {
      const p = predictions[i];
      const row = h("tr", { "data-index": i, class: i === selected ? "selected" : null },
        h("td", { class: "time" }, h("button", { type: "button", "aria-label": `Select ${sentence(p)}` }, `${clock(p.start_s)} – ${clock(p.end_s)}`)),
        who ? h("td", { class: "who" }, p.speaker ?? "–") : null,
        h("td", { class: "label", style: tint(p.label) }, h("span", { class: "swatch" }), p.label, p.unsure ? h("span", { class: "badge" }, "unsure") : null),
        h("td", { class: "sure" }, meter(p.label, p.confidence, percent(p.confidence))),
        h("td", { class: "text" }, p.text ?? "–"), from ? h("td", { class: "from" }, p.modalities.map(modality).join(", ")) : null);
      rowOf.set(i, row);
      return row;
    });
    $("rows").append(...batch);
  }

  function setFilter(change) {
    Object.assign(filter, change);
    $("filter-label").value = filter.label;
    $("filter-unsure").checked = filter.unsure;
    for (const button of $("mix").children) {
      const label = button.dataset.label;
      button.setAttribute("aria-pressed", String(label === undefined ? filter.unsure : label === filter.label));
    }
    renderTable();
  }

  function renderFilters() {
    Object.assign(filter, { text: "", label: "", speaker: "", unsure: false });
    $("filter-text").value = "";
    $("filter-unsure").checked = false;
    $("filter-label").replaceChildren(h("option", { value: "" }, "All emotions"), ...classes.map((label) => h("option", { value: label }, label)));
    $("filter-speaker").replaceChildren(h("option", { value: "" }, "All speakers"), ...speakers().map((s) => h("option", { value: JSON.stringify(s) }, speakerName(s))));
    $("filter-speaker").hidden = speakers().length < 2;
  }

  // ---- opening, events ---------------------------------------------------------------------

  function open(index) {
    recording = data.recordings[index];
    predictions = recording.predictions;
    // A length of nothing would divide by zero; utterances may reach a little beyond the stated end.
    // Words without a recording have no place in time: of them there is an answer, and no timeline.
    const timed = recording.duration_s > 0 || !predictions.length;
    recording = { ...recording, timed, duration_s: Math.max(recording.duration_s, 0.1, ...lastEnds()) };
    for (const part of document.querySelectorAll(".player, .times, .utterances")) part.hidden = !timed;
    document.querySelector(".columns").classList.toggle("untimed", !timed);
    [selected, cursor] = [-1, 0];
    [...$("recording-list").children].forEach((item, i) => item.firstChild.setAttribute("aria-current", String(i === index)));
    renderHead();
    mountPlayer(index);
    layLanes();
    firstView();
    drawOverview();
    renderFilters();
    renderTable();
    $("previous").disabled = $("next").disabled = !predictions.length;
    if (predictions.length) select(0, { jump: false });
    else $("details").replaceChildren(h("h2", {}, "Selected utterance"), h("p", { class: "notice" }, "There is none to select."));
    syncTime();
  }
  const lastEnds = () => predictions.slice(-50).map((p) => p.end_s);

  function step(by) {
    const reference = selected < 0 ? indexAt(time()) : selected;
    select(reference + by, { focus: onBlock() });
  }

  function onKey(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target;
    if (target.closest("input:not([type=checkbox]), textarea, select, audio, video, dialog, [role=slider], .typing")) return;
    if (event.key === " " && (onBlock() || !target.closest("button, a, input, summary"))) togglePlay();
    else if (event.key === "ArrowRight") step(1);
    else if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "Home" && onBlock()) select(0, { focus: true });
    else if (event.key === "End" && onBlock()) select(predictions.length - 1, { focus: true });
    else return;
    event.preventDefault();
  }

  function showTip(text, x, y) {
    const tip = $("tip");
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${clamp(x - width / 2, 8, document.documentElement.clientWidth - width - 8)}px`;
    tip.style.top = `${y - height - 12 < 4 ? y + 18 : y - height - 12}px`;
  }
  function tipFor(target) {
    const element = target.closest?.("[data-tip], .block");
    if (!element) return "";
    if (element.dataset.tip) return element.dataset.tip;
    const p = predictions[Number(element.dataset.index)];
    return `${p.unsure ? "Unsure, perhaps " : ""}${p.unsure ? p.label : capital(p.label)} ${percent(p.confidence)}\n${clock(p.start_s)} – ${clock(p.end_s)}${p.text ? `\n“${p.text.length > 140 ? `${p.text.slice(0, 140)}…` : p.text}”` : ""}`;
  }
  function ribbonTip(event) {
    const box = $("ribbon").getBoundingClientRect(), seconds = view.start + ((event.clientX - box.left) / box.width) * (view.end - view.start);
    const p = predictions[indexAt(seconds)];
    return p ? `${clock(seconds)}${p.speaker === null ? "" : ` · ${p.speaker}`}\n${ranked(p).map(([label, x]) => `${label} ${fine(x)}`).join("\n")}` : `${clock(seconds)} · nobody speaks`;
  }

  function setTheme(theme) {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    $("theme").textContent = `Theme: ${theme}`;
  }

  function download() {
    const content = { emofuse: data.emofuse, model: data.model, recordings: data.recordings.map(({ media: _, ...rest }) => rest) };
    const address = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1)], { type: "application/json" }));
    h("a", { href: address, download: data.recordings.length === 1 ? `${basename(recording.source)}.json` : "emofuse.json" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  function listenTimeline() {
    const timeline = $("timeline");
    const seconds = (event) => { const box = timeline.getBoundingClientRect(); return view.start + ((event.clientX - box.left) / box.width) * (view.end - view.start); };
    timeline.addEventListener("click", (event) => {
      const element = event.target.closest(".block");
      if (element) select(Number(element.dataset.index), { focus: true });
      else if (!event.target.closest(".lane-label")) seek(seconds(event));
    });
    timeline.addEventListener("wheel", (event) => {
      if (event.ctrlKey) zoom(event.deltaY > 0 ? 1.25 : 0.8, seconds(event));
      else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) setView(view.start + (event.deltaX / timeline.clientWidth) * (view.end - view.start));
      else return;
      event.preventDefault();
    }, { passive: false });
    $("zoom-in").addEventListener("click", () => zoom(0.5));
    $("zoom-out").addEventListener("click", () => zoom(2));
    $("zoom-fit").addEventListener("click", () => zoom(Infinity));

    const overview = $("overview");
    const scrub = (event) => {
      const box = overview.getBoundingClientRect(), at = clamp((event.clientX - box.left) / box.width, 0, 1) * recording.duration_s;
      setView(at - (view.end - view.start) / 2);
      seek(at);
    };
    overview.addEventListener("pointerdown", (event) => { overview.setPointerCapture(event.pointerId); scrub(event); });
    overview.addEventListener("pointermove", (event) => { if (event.buttons) scrub(event); });
    overview.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 5, ArrowUp: 5, ArrowLeft: -5, ArrowDown: -5, PageUp: 60, PageDown: -60, Home: -Infinity, End: Infinity }[event.key];
      if (by === undefined) return;
      event.preventDefault();
      seek(time() + by);
      if (time() < view.start || time() > view.end) setView(time() - (view.end - view.start) / 2);
    });
  }

  function listen() {
    document.addEventListener("keydown", onKey);
    document.addEventListener("pointermove", (event) => showTip(event.target.id === "ribbon" ? ribbonTip(event) : tipFor(event.target), event.clientX, event.clientY));
    document.addEventListener("focusin", (event) => {
      const box = event.target.getBoundingClientRect();
      showTip(event.target.matches("[data-tip]:focus-visible") ? tipFor(event.target) : "", box.left + box.width / 2, box.top);
    });
    for (const event of ["scroll", "focusout", "pointerdown"]) document.addEventListener(event, () => showTip(""), true);
    listenTimeline();
    $("previous").addEventListener("click", () => step(-1));
    $("next").addEventListener("click", () => step(1));
    $("download")?.addEventListener("click", download);
    $("rows").addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (row && !getSelection().toString()) select(Number(row.dataset.index));
    });
    $("table-scroll").addEventListener("scroll", (event) => {
      const box = event.currentTarget;
      if (box.scrollTop + box.clientHeight > box.scrollHeight - 600) addRows(CHUNK_ROWS);
    });
    $("filter-text").addEventListener("input", (event) => setFilter({ text: event.target.value }));
    $("filter-label").addEventListener("change", (event) => setFilter({ label: event.target.value }));
    $("filter-speaker").addEventListener("change", (event) => setFilter({ speaker: event.target.value }));
    $("filter-unsure").addEventListener("change", (event) => setFilter({ unsure: event.target.checked }));
    $("recording-search").addEventListener("input", (event) => {
      const needle = event.target.value.toLowerCase();
      [...$("recording-list").children].forEach((item, i) => { item.hidden = !data.recordings[i].source.toLowerCase().includes(needle); });
    });
    window.addEventListener("beforeprint", () => addRows(pending.length)); // paper cannot scroll
    new ResizeObserver(() => { drawTimeline(); drawOverview(); syncTime(); }).observe($("timeline"));
  }

  // ---- the model card ----------------------------------------------------------------------

  // What of Markdown cards use: headings, lists, tables, code, **strong**; a link is its text, as it may lead nowhere.
  function inline(text) {
    return text.split(/(\*\*[^*]+\*\*|`[^`]+`|\[[^\]]+\]\([^)]*\))/).filter(Boolean).map((part) => {
      if (/^\*\*.+\*\*$/.test(part)) return h("b", {}, part.slice(2, -2));
      if (/^`.+`$/.test(part)) return h("code", {}, part.slice(1, -1));
      const link = /^\[([^\]]+)\]\([^)]*\)$/.exec(part);
      return link ? link[1] : part;
    });
  }
  function cardTable(lines) {
    const cells = lines.map((line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim()));
    const body = cells.filter((row, i) => i > 0 && !row.every((cell) => /^:?-+:?$/.test(cell)));
    const line = (row, tag) => h("tr", {}, ...row.map((cell) => h(tag, {}, ...inline(cell))));
    return h("div", { class: "scroll" }, h("table", {}, h("thead", {}, line(cells[0], "th")), h("tbody", {}, ...body.map((row) => line(row, "td")))));
  }
  function cardBlocks(text) {
    const blocks = [], kinds = [[/^\s*\|/, "table"], [/^```/, "code"], [/^#+\s/, "heading"], [/^[-*]\s/, "item"], [/^\s*$/, "gap"]];
    for (const line of text.split("\n")) {
      const last = blocks.at(-1), inCode = last?.kind === "code" && !last.done;
      const kind = inCode ? "code" : kinds.find(([pattern]) => pattern.test(line))?.[1] ?? "text";
      if (inCode && line.startsWith("```")) last.done = true;
      else if (inCode || (kind === last?.kind && kind !== "heading" && kind !== "item") || (kind === "text" && last?.kind === "item")) last.lines.push(line);
      else blocks.push({ kind, lines: kind === "code" ? [] : [line] });
    }
    return blocks.filter(({ kind }) => kind !== "gap").map(({ kind, lines }) => {
      const text = lines.map((line) => line.trim()).join(" ");
      if (kind === "table") return cardTable(lines);
      if (kind === "code") return h("pre", {}, lines.join("\n"));
      if (kind === "heading") return h("h3", {}, ...inline(text.replace(/^#+\s+/, "")));
      return h("p", kind === "item" ? { class: "item" } : {}, ...inline(text.replace(/^[-*]\s+/, "")));
    });
  }
  function renderCard(text) {
    $("about").hidden = !text;
    const blocks = cardBlocks(text), more = blocks.findIndex((block, i) => i > 0 && block.tagName !== "P");
    const rest = more < 0 ? [] : blocks.splice(more);
    $("model-card").replaceChildren(...blocks, ...(rest.length ? [h("details", {}, h("summary", {}, "The whole model card"), ...rest)] : []));
  }

  function renderFailures() {
    $("failures").hidden = !data.failures.length;
    $("failures-title").textContent = `${plural(data.failures.length, "file")} could not be used`;
    $("failure-list").replaceChildren(...data.failures.map((failure) => h("li", {}, failure)));
  }

  // Show recordings with their predictions; what was shown before is gone.
  function show(given) {
    data = given;
    classes = [...new Set(data.recordings.flatMap((r) => r.predictions.flatMap((p) => Object.keys(p.probabilities))))];
    unknown = classes.filter((label) => !Object.hasOwn(COLOURS, label));
    $("version").textContent = data.emofuse;
    renderCard(data.model_card);
    renderFailures();
    renderRecordings();
    open(0);
  }

  $("theme").addEventListener("click", () => {
    const themes = ["auto", "light", "dark"];
    setTheme(themes[(themes.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % 3]);
  });
  let listening = false;
  const emofuseViewer = {
    show(given) {
      show(given);
      if (!listening) listen();
      listening = true;
    },
    pause: () => media?.pause(),
    setTheme,
  };
  const embedded = $("data");
  if (embedded) emofuseViewer.show(JSON.parse(embedded.textContent));
  else window.emofuseViewer = emofuseViewer;
})();
