"use strict";
// Asks the recorder once a second, and shows what it says. What comes from it is only ever put in as text.
const POLL_MS = 1000, PICTURE_MS = 1500, PICTURE_LIMIT = 12, TOPIC_LIMIT = 500;
const at = (id) => document.getElementById(id);
let before = null;
let pictures = [];

async function ask(path, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, { cache: "no-store", ...options });
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.message);
  return value;
}

const count = (number) => Math.round(number).toLocaleString("en");
function bytes(number) {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (number < 1000) return `${number < 10 && unit !== "B" ? number.toFixed(1) : Math.round(number)} ${unit}`;
    number /= 1000;
  }
  return `${number.toFixed(1)} TB`;
}
function length(ns) {
  if (ns === null || ns === undefined) return "–";
  const s = Math.abs(ns) / 1e9;
  if (s < 1) return `${Math.round(ns / 1e6)} ms`;
  if (s < 120) return `${(ns / 1e9).toFixed(1)} s`;
  return s < 7200 ? `${(ns / 60e9).toFixed(1)} min` : `${(ns / 3600e9).toFixed(1)} h`;
}

function fill(id, rows) {
  at(id).replaceChildren(...rows.map((cells) => {
    const row = document.createElement("tr");
    row.append(...cells.map(([text, kind]) => {
      const cell = document.createElement("td");
      cell.textContent = text;
      if (kind) cell.className = kind;
      return cell;
    }));
    return row;
  }));
}

// Several publishers of a topic, and versions of its type, are one.
function merged(topics) {
  const all = new Map();
  for (const topic of topics) {
    const known = all.get(topic.topic);
    if (known) {
      known.messages += topic.messages;
      known.bytes += topic.bytes;
      known.last_ns = Math.max(known.last_ns, topic.last_ns) || null;
      known.longest_gap_ns = Math.max(known.longest_gap_ns, topic.longest_gap_ns) || null;
      known.recorded ||= topic.recorded;
    } else {
      all.set(topic.topic, { ...topic });
    }
  }
  return [...all.values()];
}

function showTopics(now) {
  now.topics = merged(now.topics);
  const known = new Map((before?.topics ?? []).map((topic) => [topic.topic, topic]));
  const seconds = before ? (now.monotonic_ns - before.monotonic_ns) / 1e9 : Infinity;
  const rows = now.topics.slice(0, TOPIC_LIMIT).map((topic) => {
    const earlier = known.get(topic.topic) ?? { messages: topic.messages, bytes: topic.bytes };
    const rate = Math.max(0, topic.messages - earlier.messages) / seconds;
    const volume = Math.max(0, topic.bytes - earlier.bytes) / seconds;
    // Log times of some programs are late; what came between the looks is not silent.
    const longest = rate > 0 ? seconds * 1e9 : Infinity;
    const silent = topic.last_ns === null ? null : Math.min(longest, Math.max(0, now.utc_ns - topic.last_ns));
    return [
      [topic.topic], [rate < 10 ? rate.toFixed(1) : count(rate), "number"], [bytes(volume), "number"], [count(topic.messages), "number"],
      [length(silent), "number"], [length(topic.longest_gap_ns), "number"], [topic.latency_ns === 0 ? "–" : length(topic.latency_ns), "number"],
      [topic.recorded ? topic.type : `${topic.type} (not recorded)`],
    ];
  });
  if (now.topics.length > TOPIC_LIMIT) rows.push([[`and ${count(now.topics.length - TOPIC_LIMIT)} more: tapeloop top shows them`]]);
  fill("topics", rows);
  before = now;
}

function showStatus(status) {
  at("device").textContent = `${status.device} on ${status.host}`;
  document.title = `Tapeloop: ${status.device}`;
  const violated = status.expectations.filter((expectation) => expectation.state === "violated").length;
  const trouble = [];
  if (status.lost_messages > 0) trouble.push(`${count(status.lost_messages)} messages lost`);
  if (status.last_error) trouble.push(status.last_error);
  if (violated > 0) trouble.push(`${violated} expectation${violated === 1 ? "" : "s"} violated`);
  const up = length(status.clock.utc_ns - status.since_ns);
  at("state").textContent = [`recording for ${up}`, `${count(status.channels)} topics`, `${bytes(status.disk.free_bytes)} free`, ...trouble].join(" · ");
  at("state").className = trouble.length > 0 ? "bad" : "";
  at("expected").hidden = status.expectations.length === 0;
  fill("expectations", status.expectations.map((expectation) => [
    [expectation.name], [expectation.expected],
    expectation.state === "violated"
      ? [expectation.violated.map((violated) => `${violated.topic}: ${violated.seen}`).join("; "), "bad"]
      : [expectation.state === "ok" ? "ok" : "never seen", expectation.state === "ok" ? "good" : ""],
    [count(expectation.violations), "number"],
  ]));
  fill("buffers", status.buffers.map((buffer) => [
    [buffer.name], [buffer.place], [length(buffer.depth_ns), "number"], [bytes(buffer.size_bytes), "number"], [count(buffer.messages), "number"],
    [count(buffer.lost_messages), buffer.lost_messages > 0 ? "number bad" : "number"],
  ]));
}

async function poll() {
  try {
    const [status, topics] = await Promise.all([ask("/status"), ask("/topics")]);
    showStatus(status);
    showTopics(topics);
  } catch (error) {
    at("state").textContent = `the recorder does not answer: ${error.message}`;
    at("state").className = "bad";
  }
  setTimeout(poll, POLL_MS);
}

async function look() {
  try {
    const topics = (await ask("/pictures")).slice(0, PICTURE_LIMIT);
    if (topics.join("\n") !== pictures.join("\n")) {
      pictures = topics;
      at("pictures").replaceChildren(...topics.map((topic) => {
        const figure = document.createElement("figure");
        const image = document.createElement("img");
        const caption = document.createElement("figcaption");
        image.alt = `the last picture of ${topic}`;
        image.dataset.topic = topic;
        caption.textContent = topic;
        figure.append(image, caption);
        return figure;
      }));
    }
    at("seen").hidden = topics.length === 0;
    for (const image of document.querySelectorAll("#pictures img")) {
      const answer = await fetch(`/picture?topic=${encodeURIComponent(image.dataset.topic)}`, { cache: "no-store" });
      if (!answer.ok) continue;
      const last = image.src;
      image.src = URL.createObjectURL(await answer.blob());
      if (last) URL.revokeObjectURL(last);
    }
  } catch {
    // The recorder is away, which the other poll says.
  }
  setTimeout(look, PICTURE_MS);
}

at("save").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.target.querySelector("button");
  button.disabled = true;
  try {
    const saved = await ask("/captures", { before: at("before").value, why: at("why").value || null, by: "page" });
    at("saved").textContent = `saved as ${saved.recording}`;
  } catch (error) {
    at("saved").textContent = `not saved: ${error.message}`;
  }
  button.disabled = false;
});

poll();
look();
