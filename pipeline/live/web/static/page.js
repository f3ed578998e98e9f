// Follows the stream, keeps the newest seconds, and draws them when the browser draws.
import { EegPlot, EventPlot, readTheme } from "./plots.js";
import { Signal } from "./signal.js";

const KEPT_SECONDS = 20;
const SCALES = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]; // µV per channel
const WELL_KNOWN = ["Fp1", "Fp2", "F3", "F4", "C3", "Cz", "C4", "Pz", "O1", "O2"];
const SILENT_SECONDS = 1.5;

const get = id => document.getElementById(id);
const view = { seconds: 10, microvolts: 50, automatic: true };
let signal = null, eeg = null, lanes = [], shown = [];
let newest = null, arrived = 0, asked = false, scaledAt = -Infinity, lastNote = 0, state = "waiting";

function say(kind, text) {
  state = kind;
  const status = get("status");
  if (status.textContent !== text) {
    status.className = kind;
    status.textContent = text;
  }
}

function element(tag, text, parent) {
  const made = document.createElement(tag);
  made.textContent = text;
  parent.append(made);
  return made;
}

// ---- a stream begins: everything is built anew

function someChannels(names) {
  const known = names.flatMap((name, i) => WELL_KNOWN.some(k => k.toLowerCase() === name.toLowerCase()) ? [i] : []);
  if (known.length >= 4) return known;
  const count = Math.min(10, names.length);
  return Array.from({ length: count }, (_, i) => Math.floor(i * names.length / count));
}

function begin(hello) {
  const same = signal && JSON.stringify(signal.hello.channels) === JSON.stringify(hello.channels);
  signal = new Signal(hello, KEPT_SECONDS);
  newest = null;
  lastNote = 0;
  arrived = performance.now();
  scaledAt = -Infinity;
  get("notes").replaceChildren();
  element("li", "none", get("notes")).className = "none";
  get("title").textContent = document.title = hello.title;
  get("filter").textContent = `High-passed at ${hello.high_pass} Hz, for this page only.`;
  get("legend").textContent = "▼ decided onset · shaded: true event, where known · the curves: probability of each event";
  if (!same) shown = someChannels(hello.channels);
  buildChannels();
  buildLanes();
  buildEeg();
  tellNotes(hello.notes);
  say("waiting", "waiting for samples");
  ask();
}

function buildEeg() {
  if (eeg) eeg.destroy();
  eeg = new EegPlot(get("eeg"), signal, shown, view);
}

function buildChannels() {
  const place = get("channels");
  place.replaceChildren();
  signal.hello.channels.forEach((name, i) => {
    const label = element("label", "", place);
    const box = element("input", "", label);
    box.type = "checkbox";
    box.checked = shown.includes(i);
    box.addEventListener("change", () => show(box.checked ? [...shown, i] : shown.filter(c => c !== i)));
    label.append(` ${name}`);
  });
}

function show(channels) {
  shown = [...new Set(channels)].sort((a, b) => a - b);
  get("channels").querySelectorAll("input").forEach((box, i) => { box.checked = shown.includes(i); });
  scaledAt = -Infinity;
  buildEeg();
  ask();
}

function buildLanes() {
  for (const { plot } of lanes) plot.destroy();
  get("lanes").replaceChildren();
  const { events } = signal.hello;
  lanes = events.map(({ name, color }, e) => {
    const row = element("div", "", get("lanes"));
    row.className = "row lane";
    row.style.setProperty("--event", color);
    const side = element("div", "", row);
    side.className = "side";
    element("b", name, side);
    const now = element("span", "–", side);
    element("br", "", side);
    const count = element("span", "0 onsets", side);
    count.className = "count";
    const place = element("div", "", row);
    place.className = "plot";
    return { now, count, plot: new EventPlot(place, signal, e, e === events.length - 1) };
  });
}

// ---- a frame arrives

function add(frame) {
  signal.add(frame);
  newest = frame;
  arrived = performance.now();
  tellNotes(frame.notes);
  ask();
}

function tellNotes(notes) {
  for (const [number, time, text] of notes) {
    if (number <= lastNote) continue;
    lastNote = number;
    const place = get("notes");
    place.querySelector(".none")?.remove();
    const item = document.createElement("li");
    item.textContent = `${time.toFixed(1)} s  ${text}`;
    place.prepend(item);
    while (place.children.length > 50) place.lastChild.remove();
  }
}

function end({ lines }) {
  ask();
  say("ended", "ended");
  const place = get("notes");
  place.querySelector(".none")?.remove();
  for (const line of [...lines].reverse()) {
    const item = document.createElement("li");
    item.textContent = line;
    place.prepend(item);
  }
}

// ---- drawing, at most once for each picture of the browser, and only when there is something new

function ask() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; draw(); });
}

function draw() {
  if (!signal) return;
  const to = Math.max(signal.newest, view.seconds), from = to - view.seconds;
  if (view.automatic) chooseScale(from);
  eeg.redraw(from, to);
  lanes.forEach((lane, e) => {
    lane.plot.redraw(from, to);
    const values = signal.probabilities[e];
    if (values.length && values[values.length - 1] !== null) lane.now.textContent = `p = ${values[values.length - 1].toFixed(2)}`;
  });
  if (newest) tell(from);
  document.body.dataset.drawn = Number(document.body.dataset.drawn ?? 0) + 1;
}

// One lane holds what 95 % of the values shown reach, with some room; it changes at most once per second.
function chooseScale(from) {
  if (performance.now() - scaledAt < 1000 || !signal.pairTimes.length) return;
  scaledAt = performance.now();
  const first = signal.pairTimes.findIndex(time => time >= from);
  const sizes = shown.flatMap(c => signal.eeg[c].slice(first).filter((v, i) => v !== null && i % 7 === 0).map(Math.abs));
  if (!sizes.length) return;
  sizes.sort((a, b) => a - b);
  const wanted = 1.2 * sizes[Math.floor(0.95 * (sizes.length - 1))];
  const scale = SCALES.find(value => value >= wanted) ?? SCALES[SCALES.length - 1];
  if (scale > view.microvolts || wanted < 0.3 * view.microvolts) view.microvolts = scale;
}

function tell(from) {
  const milliseconds = value => value === null ? "–" : `${(1000 * value).toFixed(1)} ms`;
  const longest = Math.max(...signal.delays.filter(([time]) => time >= from).map(([, delay]) => delay));
  get("time").textContent = `${signal.newest.toFixed(1)} s`;
  get("delay").textContent = milliseconds(newest.delay);
  get("longest").textContent = milliseconds(Number.isFinite(longest) ? longest : null);
  get("load").textContent = newest.load === null ? "–" : `${(100 * newest.load).toFixed(0)} %`;
  newest.counts.forEach((count, e) => { lanes[e].count.textContent = count === 1 ? "1 onset" : `${count} onsets`; });
}

// ---- the controls, and the connection

for (const value of SCALES) element("option", `${value} µV`, get("scale")).value = value;
get("seconds").addEventListener("change", event => { view.seconds = Number(event.target.value); ask(); });
get("scale").addEventListener("change", event => {
  view.automatic = event.target.value === "0";
  if (!view.automatic) view.microvolts = Number(event.target.value);
  scaledAt = -Infinity;
  ask();
});
get("some").addEventListener("click", () => signal && show(someChannels(signal.hello.channels)));
get("all").addEventListener("click", () => signal && show(signal.hello.channels.map((_, i) => i)));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readTheme(); ask(); });
readTheme();

const stream = new EventSource("stream");
stream.addEventListener("hello", event => begin(JSON.parse(event.data)));
stream.addEventListener("frame", event => add(JSON.parse(event.data)));
stream.addEventListener("end", event => { stream.close(); end(JSON.parse(event.data)); });
stream.addEventListener("error", () => {
  if (state !== "ended") say("lost", stream.readyState === EventSource.CLOSED ? "not connected; load this page again" : "connection lost; trying again");
});
setInterval(() => {
  if (!newest || state === "ended" || state === "lost") return;
  const silent = (performance.now() - arrived) / 1000;
  if (silent < SILENT_SECONDS) say("live", "live");
  else say("waiting", `no samples for ${silent.toFixed(0)} s`);
}, 250);
