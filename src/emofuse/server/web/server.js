// What the page asks of its server: tokens, uploads with their progress, jobs, and refusals in words for people.

const API = "v1/";
const POLL_MS = 400;
const PATIENCE_MS = 30_000; // how long a lost connection is tried again: the job goes on meanwhile

// What a storage gives; browsers that are told to keep nothing refuse even the question.
export function recall(ask) {
  try {
    return ask();
  } catch {
    return null;
  }
}

export class Problem extends Error {
  constructor(message, status = -1) {
    super(message);
    this.status = status; // of the answer; 0: there was none
  }
}

function problem(status, detail) {
  if (status === 0) return new Problem("The server cannot be reached. Is it still running?", 0);
  if (status === 404) return new Problem("The server has this result no longer. Predict again to have it.", 404);
  return new Problem(typeof detail === "string" && detail ? detail : `The server answered ${status}.`, status);
}

// ---- the token -----------------------------------------------------------------------------

const $ = (id) => document.getElementById(id);
let token = recall(() => sessionStorage.getItem("emofuse-token"));
let asking = null; // the answer to a question that is open: two requests ask once
const headers = () => (token ? { Authorization: `Bearer ${token}` } : {});

// Whether there is now another token than the one that was refused.
function askToken() {
  asking ??= new Promise((resolve) => {
    const dialog = $("token-dialog");
    $("token-refused").hidden = !token;
    $("token").value = "";
    dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      const given = dialog.returnValue === "ok";
      if (given) {
        token = $("token").value.trim();
        recall(() => sessionStorage.setItem("emofuse-token", token));
      }
      asking = null;
      resolve(given);
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}
$("token-cancel").addEventListener("click", () => $("token-dialog").close(""));

// ---- requests ------------------------------------------------------------------------------

const pause = (ms, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
});

async function get(path, signal) {
  for (;;) {
    let answer;
    try {
      answer = await fetch(API + path, { headers: headers(), signal });
    } catch (error) {
      throw signal?.aborted ? error : problem(0);
    }
    if (answer.ok) return answer;
    if (answer.status === 401 && (await askToken())) continue;
    throw problem(answer.status, (await answer.json().catch(() => ({}))).detail);
  }
}

export const models = async () => (await get("models")).json();
export const download = async (id, format) => (await get(`jobs/${id}/result?format=${format}`)).blob();

// One try at an upload. fetch cannot tell how far it is.
function post(form, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `${API}jobs`);
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.responseType = "json";
    request.upload.onprogress = (event) => { if (event.lengthComputable) onProgress(event.loaded / event.total); };
    request.onload = () => resolve(request);
    request.onerror = () => reject(problem(0));
    request.onabort = () => reject(signal.reason);
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(form);
  });
}

// Send a form as a job; returns the job's id. A server that is busy is asked again when it says so.
export async function send(form, tell, signal) {
  for (;;) {
    const request = await post(form, (share) => tell("Sending", share), signal);
    const { status, response } = request;
    if (status === 202) return response.id;
    if (status === 503) {
      for (let left = Number(request.getResponseHeader("Retry-After")) || 10; left > 0; left--) {
        tell("The server is busy", null, `It is asked again in ${left} s.`);
        await pause(1000, signal);
      }
    } else if (status !== 401 || !(await askToken())) throw problem(status, response?.detail);
  }
}

const DOING = { listening: "Listening", looking: "Looking for faces", recognising: "Recognising the words", predicting: "Predicting" };

// The result of a job, when it has one.
export async function finished(id, tell, signal) {
  let lost = 0;
  for (;;) {
    try {
      const answer = await (await get(`jobs/${id}`, signal)).json();
      lost = 0;
      if (answer.state === "done") return answer.result;
      if (answer.state === "failed") throw new Problem(answer.error);
      if (answer.state === "queued") tell("Waiting for its turn", null);
      else tell(DOING[answer.doing] ?? "Reading", answer.progress);
    } catch (error) {
      if (error.status !== 0) throw error;
      lost ||= Date.now();
      if (Date.now() - lost > PATIENCE_MS) throw error;
      tell("The connection is lost", null, "It is tried again.");
    }
    await pause(POLL_MS, signal);
  }
}

// `keepalive`: it reaches the server also when the page is left.
export function forget(id) {
  fetch(`${API}jobs/${id}`, { method: "DELETE", headers: headers(), keepalive: true }).catch(() => {});
}
