// Recording from microphone and camera; nothing of it leaves the page before it is sent.
import { Problem } from "./server.js";

const $ = (id) => document.getElementById(id);

// What makes a voice pleasant on the telephone takes away what it is judged by: its level and its sound.
const AS_IT_IS = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };

let recorder = null, discarded = false;

async function open(withCamera) {
  if (!navigator.mediaDevices || !window.MediaRecorder) {
    throw new Problem("This browser lets pages record only over https or from localhost. Choose a file instead.");
  }
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: AS_IT_IS, video: withCamera ? { width: 640, height: 480 } : false });
  } catch (error) {
    const device = withCamera ? "camera or microphone" : "microphone";
    throw new Problem(error.name === "NotAllowedError" ? `The ${device} may not be used: allow it in the browser, then try again.` :
      error.name === "NotFoundError" ? `No ${device} was found.` : `The ${device} cannot be used (${error.name}).`);
  }
}

// Record until `stop`; gives the file, or null when it was discarded.
export async function record(withCamera) {
  const stream = await open(withCamera), context = new AudioContext(), pieces = [];
  recorder = new MediaRecorder(stream);
  discarded = false;
  const ended = new Promise((resolve) => { recorder.onstop = resolve; }); // also when the microphone is unplugged
  recorder.ondataavailable = (event) => pieces.push(event.data);
  show(true);
  $("camera").hidden = !withCamera;
  $("camera").srcObject = withCamera ? stream : null;
  if (withCamera) $("camera").play().catch(() => {});
  recorder.start(1000);
  $("stop").focus();
  showLevel(context, stream);
  await ended;
  for (const track of stream.getTracks()) track.stop();
  context.close();
  $("camera").srcObject = null;
  show(false);
  return discarded ? null : named(pieces, recorder.mimeType || (withCamera ? "video/webm" : "audio/webm"));
}

export function stop(keep) {
  discarded = !keep;
  if (recorder?.state === "recording") recorder.stop();
}

function show(recording) {
  $("drop").hidden = recording;
  $("recorder").hidden = !recording;
}

function named(pieces, type) {
  const ending = type.includes("mp4") ? "mp4" : type.includes("ogg") ? "ogg" : "webm";
  const time = new Date().toTimeString().slice(0, 8).replaceAll(":", "-");
  return new File(pieces, `recording ${time}.${ending}`, { type });
}

function showLevel(context, stream) {
  const analyser = context.createAnalyser(), samples = new Float32Array(1024), began = performance.now();
  analyser.fftSize = samples.length;
  context.createMediaStreamSource(stream).connect(analyser);
  const draw = () => {
    if (recorder.state !== "recording") return;
    analyser.getFloatTimeDomainData(samples);
    const rms = Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / samples.length);
    const level = Math.round(Math.min(100, Math.max(0, 100 + 1.7 * 20 * Math.log10(rms + 1e-6)))); // -60 dB: empty
    $("level").firstChild.style.width = `${level}%`;
    $("level").setAttribute("aria-valuenow", String(level));
    const seconds = Math.floor((performance.now() - began) / 1000);
    $("timer").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    requestAnimationFrame(draw);
  };
  draw();
}
