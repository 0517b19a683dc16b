// The console works without this script: it refreshes what moves, follows jobs, and adds keys.

const HELP = "help";
const GO_MILLISECONDS = 1500;
const MIN_REFRESH_MILLISECONDS = 500;

// Regions with data-live="SECONDS" are loaded anew, while the page is seen and nobody types in them.
function refresh(region) {
  if (!region.id || document.hidden || region.contains(document.activeElement?.closest("input, textarea, select"))) return;
  if (isCut || region.querySelector("dialog[open]")) return;
  const address = region.dataset.address || location.pathname + location.search;
  return window.htmx.ajax("GET", address, {
    source: region, target: region, select: `#${region.id}`, swap: "morph:outerHTML",
  });
}

// What was opened stays open.
if (window.Idiomorph) {
  window.Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) => !(name === "open" && node.matches("details"));
}

// While the stream of a page is cut, it says so and asks for nothing else; it catches up once the stream is back.
let isCut = false;
const CUT_MILLISECONDS = 3000;
function showCut(cut) {
  isCut = cut;
  const notice = document.getElementById("connection");
  if (notice) notice.hidden = !cut;
}

function liveRegions() {
  return document.querySelectorAll("[data-live]");
}

const dueAt = new Map();
setInterval(() => {
  const now = Date.now();
  for (const region of liveRegions()) {
    const period = Number(region.dataset.live) * 1000;
    if (!period) continue;
    const due = dueAt.get(region.id) ?? now + period;
    dueAt.set(region.id, due);
    if (now >= due && !document.hidden) {
      dueAt.set(region.id, now + period);
      refresh(region);
    }
  }
}, 250);

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  for (const region of liveRegions()) refresh(region);
});

// Text of workers is shown as the pages show it: without ANSI sequences and signs that turn the direction of writing.
const ANSI = /\x1b(?:\[[0-?]*[ -\/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])?/g;
const HIDDEN = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
function clean(text) {
  return text.replace(ANSI, "").replace(HIDDEN, "\ufffd");
}

function showBytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) { count /= 1024; unit += 1; }
  return `${count.toFixed(unit ? 1 : 0)} ${units[unit]}`;
}

// Move the bars of a transfer; false if the page does not have one for each layer yet.
function showTransfer(progress) {
  const items = new Map([...document.querySelectorAll("[data-layer]")].map((item) => [item.dataset.layer, item]));
  const layers = progress?.layers ?? [];
  if (!layers.length || !layers.every((layer) => items.has(layer.id))) return false;
  for (const layer of layers) {
    const isComplete = ["present", "done"].includes(layer.state);
    const bar = items.get(layer.id).querySelector("progress");
    const total = layer.totalBytes;
    if (total || isComplete) bar.value = bar.max = total || 1;
    if (total && !isComplete) bar.value = layer.currentBytes;
    const size = total ? `, ${showBytes(layer.currentBytes)} of ${showBytes(total)}` : "";
    items.get(layer.id).querySelector("small").textContent = clean(layer.state) + size;
  }
  const whole = document.querySelector("[data-whole] progress");
  if (whole && progress.totalBytes) {
    whole.max = progress.totalBytes;
    whole.value = progress.currentBytes;
  }
  showSpeed(progress);
  return true;
}

// How fast a transfer is now, how long it takes, and whether a layer stands still.
function showSpeed(progress) {
  const place = document.querySelector("[data-speed]");
  if (!place) return;
  const parts = [];
  if (progress.rate) parts.push(`${showBytes(progress.rate)}/s`);
  if (progress.secondsLeft) parts.push(`${progress.secondsLeft} s left`);
  if (progress.stalled) parts.push(`stalled: layer ${clean(progress.stalled.layer)} has not moved for ${progress.stalled.seconds} s`);
  place.textContent = parts.join(", ");
}

// An element with data-stream follows a job: its lines go to the log, every other event refreshes the live regions.
const followed = new WeakSet();
function follow(element) {
  if (followed.has(element)) return;
  followed.add(element);
  let source = null;
  let last = element.dataset.after || "";
  let timer = null;
  const log = document.getElementById(element.dataset.log);
  const soon = () => {
    timer ??= setTimeout(() => {
      timer = null;
      for (const region of liveRegions()) refresh(region);
    }, MIN_REFRESH_MILLISECONDS);
  };
  const seen = (event) => { if (event.lastEventId) last = event.lastEventId; };
  const append = (event) => {
    seen(event);
    const text = JSON.parse(event.data)?.data?.text;
    if (!log || typeof text !== "string") return;
    const isAtEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
    log.append(clean(text.endsWith("\n") ? text : `${text}\n`));
    if (isAtEnd) log.scrollTop = log.scrollHeight;
  };
  const stop = () => { source?.close(); source = null; showCut(false); };
  const start = () => {
    if (source || document.hidden || !element.isConnected) return;
    source = new EventSource(`${element.dataset.stream}?lastEventId=${encodeURIComponent(last || 0)}`);
    source.addEventListener("open", () => {
      if (isCut) soon();
      showCut(false);
    });
    source.addEventListener("error", () => {
      const isOver = source.readyState === EventSource.CLOSED;
      if (isOver) stop();
      showCut(true);
      if (isOver) setTimeout(start, CUT_MILLISECONDS);
    });
    source.addEventListener("log", append);
    source.addEventListener("snapshot", (event) => {
      if (!showTransfer(JSON.parse(event.data).progress)) soon();
    });
    source.addEventListener("state", (event) => {
      seen(event);
      soon();
      if (["succeeded", "failed", "cancelled", "expired"].includes(JSON.parse(event.data).state)) stop();
    });
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  start();
}
function followAll() {
  for (const element of document.querySelectorAll("[data-stream]")) follow(element);
}
followAll();
document.addEventListener("htmx:afterSettle", followAll);

// A form whose outcome has data-then is saved by that button once its test has passed, unless it was changed meanwhile.
const tested = new WeakMap();
const read = (form) => new URLSearchParams(new FormData(form)).toString();
document.addEventListener("htmx:configRequest", ({ detail }) => {
  if (detail.verb === "post" && detail.elt.form) tested.set(detail.elt.form, read(detail.elt.form));
});
document.addEventListener("htmx:afterSettle", () => {
  const outcome = document.querySelector("#outcome[data-then]:has([data-passed])");
  if (!outcome) return;
  const { then } = outcome.dataset;
  delete outcome.dataset.then;
  const form = outcome.closest("form");
  if (read(form) === tested.get(form)) {
    form.requestSubmit(form.querySelector(`[name=do][value="${then}"]`));
    return;
  }
  const notice = document.createElement("p");
  notice.textContent = "The form was changed during the test, so it is not saved. Test it again.";
  outcome.prepend(notice);
});

// A form whose button replaces only its outcome shows also a refusal there.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { status, responseText } = event.detail.xhr;
  if (event.target.id === "outcome" && status >= 400 && responseText.includes('id="outcome"')) {
    event.detail.shouldSwap = true;
    event.detail.isError = false;
  }
});

// Copy what stands in data-copy; without TLS browsers forbid that, so it is only selected.
document.addEventListener("click", async (event) => {
  const element = event.target.closest?.("[data-copy]");
  if (!element) return;
  if (!navigator.clipboard) {
    getSelection().selectAllChildren(element.parentElement.querySelector("pre") ?? element);
    return;
  }
  await navigator.clipboard.writeText(element.dataset.copy);
  const shown = element.matches("button") ? "textContent" : "title";
  const before = element[shown];
  element[shown] = "Copied";
  setTimeout(() => { element[shown] = before; }, 1500);
});

// A form with data-upload sends its file as the body, and shows the answer or the refusal.
async function upload(form) {
  const outcome = form.querySelector("[role=status]");
  const button = form.querySelector("button");
  button.disabled = true;
  outcome.textContent = "The file is being sent …";
  try {
    const answer = await fetch(form.dataset.upload, {
      method: "POST",
      headers: { "content-type": "application/octet-stream", "x-csrf-token": form.dataset.csrf },
      body: form.querySelector("input[type=file]").files[0],
    });
    const text = await answer.text();
    let shown = {};
    try { shown = JSON.parse(text); } catch { /* a page, not an answer */ }
    outcome.textContent = answer.ok
      ? `Stored: ${showBytes(shown.sizeBytes)}. The next build uses it.`
      : `It was refused: ${clean(shown.message ?? `status ${answer.status}`)}`;
  } catch {
    outcome.textContent = "The connection broke. Send it again.";
  } finally {
    button.disabled = false;
  }
}
document.addEventListener("submit", (event) => {
  if (!event.target.matches?.("form[data-upload]")) return;
  event.preventDefault();
  upload(event.target);
});

// A select or checkbox with data-submit sends its form at once.
document.addEventListener("change", (event) => {
  if (event.target.matches?.("[data-submit]")) event.target.form.requestSubmit();
});

// Keys: / filter, ? help, j and k rows, Enter opens, g and a letter goes to a page.
let goUntil = 0;
function rows() {
  return [...document.querySelectorAll("main tbody tr")].filter((row) => row.querySelector("a[href]"));
}
function choose(step) {
  const all = rows();
  if (!all.length) return;
  const before = all.findIndex((row) => row.classList.contains("chosen"));
  const next = before < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(before + step, 0), all.length - 1);
  all[before]?.classList.remove("chosen");
  all[next].classList.add("chosen");
  all[next].querySelector("a[href]").focus({ preventScroll: true });
  all[next].scrollIntoView({ block: "nearest" });
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select, dialog")) return;
  if (Date.now() < goUntil) {
    goUntil = 0;
    const link = document.querySelector(`[data-go="${CSS.escape(event.key)}"]`);
    if (link) { event.preventDefault(); link.click(); return; }
  }
  if (event.key === "/") {
    const field = document.querySelector("input[type=search]");
    if (field) { event.preventDefault(); field.focus(); }
  } else if (event.key === "?") {
    document.getElementById(HELP)?.showModal();
  } else if (event.key === "g") {
    goUntil = Date.now() + GO_MILLISECONDS;
  } else if (event.key === "j") {
    choose(1);
  } else if (event.key === "k") {
    choose(-1);
  }
});
