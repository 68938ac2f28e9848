"use strict";
// The page asks the server every two seconds for the list of runs, and for the new rows of those that are shown.

const PERIOD = 2000;
const COLOURS = 8;
/** Dashes tell runs apart when there are more runs than colours. */
const DASHES = ["", "7 4", "2 3", "9 3 2 3"];
/** Columns with an axis of their own kind, and what they measure; all others are losses. */
const UNITS = { lr: "learning rate", samples_per_second: "samples per second" };

const state = { runs: [], shown: new Set(), known: new Map(), current: 0, rows: new Map(), details: new Map(), pictured: null, followed: null, preview: null, page: 0 };
const $ = (id) => document.getElementById(id);

async function ask(path, parameters = {}) {
  const answer = await fetch(`/api/${path}?${new URLSearchParams(parameters)}`, { cache: "no-store" });
  if (!answer.ok) throw new Error(`${answer.status}: ${(await answer.text()).trim()}`);
  return answer.json();
}

const address = (path, parameters) => `/api/${path}?${new URLSearchParams(parameters)}`;

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function shape(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** A number with four significant digits. */
function short(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(2).replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}

// Data

/** Reads what is new of the rows of a run. Rows that were written again replace the known ones. */
async function readRows(name) {
  let known = state.rows.get(name);
  const from = known ? known.next : 0;
  const answer = await ask("rows", { run: name, from });
  // Another answer was faster.
  if (state.rows.get(name) !== known || (known && known.next !== from)) return;
  const columns = answer.header ? answer.header.split(",") : [];
  if (!known || answer.from !== from || columns.join() !== known.columns.join()) {
    known = { columns, points: new Map(columns.slice(1).map((column) => [column, []])), next: 0 };
    state.rows.set(name, known);
  }
  for (const line of answer.text.split("\n")) {
    const cells = line.split(",");
    if (cells.length !== columns.length) continue;
    columns.forEach((column, i) => {
      const value = cells[i] === "" ? NaN : Number(cells[i]);
      if (i > 0 && Number.isFinite(value)) known.points.get(column).push([Number(cells[0]), value]);
    });
  }
  known.next = answer.next;
}

async function update() {
  let answer;
  try {
    answer = await ask("runs");
  } catch (error) {
    $("status").textContent = `no answer from the server: ${error.message}`;
    $("status").className = "lost";
    return;
  }
  const training = answer.runs.filter((run) => run.state === "training").length;
  $("status").className = "";
  $("status").textContent = `${answer.runs.length} ${answer.runs.length === 1 ? "run" : "runs"}, ${training} in training`;
  $("folder").textContent = answer.folder;
  document.title = `${training ? `(${training}) ` : ""}langevin ${answer.folder}`;
  const before = new Map(state.runs.map((run) => [run.name, run]));
  state.runs = answer.runs;
  for (const run of answer.runs) {
    // A new run is shown, unless there are many.
    if (!state.known.has(run.name) && (state.shown.size < COLOURS || run.state === "training")) state.shown.add(run.name);
    // Its place among the colours, which it keeps when other runs appear.
    if (!state.known.has(run.name)) state.known.set(run.name, state.known.size);
    const old = before.get(run.name);
    if (!old || old.state !== run.state || old.previews !== run.previews || old.steps !== run.steps) state.details.delete(run.name);
  }
  state.current = Math.min(state.current, Math.max(0, state.runs.length - 1));
  drawRuns();
  await refresh();
}

const shownRuns = () => state.runs.filter((run) => state.shown.has(run.name));

/** Reads what is missing for the runs that are shown, and draws it. */
async function refresh() {
  const shown = shownRuns();
  await Promise.all(shown.map(async (run) => {
    try {
      await readRows(run.name);
      if (!state.details.has(run.name)) state.details.set(run.name, await ask("run", { run: run.name }));
    } catch (error) {
      state.details.set(run.name, { settings: [["error", error.message]], previews: [], pages: 0 });
    }
  }));
  drawCharts();
  drawPictures();
  drawSettings();
}

// Runs

const indexOf = (name) => state.runs.findIndex((run) => run.name === name);
const colour = (name) => `var(--c${state.known.get(name) % COLOURS})`;
const dash = (name) => DASHES[Math.floor(state.known.get(name) / COLOURS) % DASHES.length];

function swatch(name) {
  const svg = shape("svg", { class: "swatch", viewBox: "0 0 22 10", "aria-hidden": "true" });
  const line = shape("line", { x1: 0, x2: 22, y1: 5, y2: 5, "stroke-dasharray": dash(name) });
  line.style.stroke = colour(name);
  svg.append(line);
  return svg;
}

function drawRuns() {
  const list = $("runs");
  $("no-runs").hidden = state.runs.length > 0;
  const names = state.runs.map((run) => run.name);
  const drawn = [...list.children].map((item) => item.dataset.name);
  // The items are kept while the runs are the same, so that the focus stays.
  if (names.join("\n") !== drawn.join("\n")) {
    const focused = document.activeElement?.closest("#runs li")?.dataset.name;
    list.replaceChildren(...state.runs.map(runItem));
    [...list.children].find((item) => item.dataset.name === focused)?.querySelector("input").focus();
  }
  state.runs.forEach((run, i) => fillItem(list.children[i], run, i));
}

function runItem(run) {
  const box = element("input", { type: "checkbox" });
  box.addEventListener("change", () => show(run.name, box.checked));
  const name = element("span", { className: "name", textContent: run.name });
  const parts = [box, name, element("span"), element("progress"), element("span", { className: "detail" })];
  const item = element("li", {}, element("label", {}, ...parts));
  item.dataset.name = run.name;
  item.addEventListener("focusin", () => { state.current = indexOf(run.name); markCurrent(); });
  return item;
}

function fillItem(item, run, index) {
  const [box, , stateText, bar, detail] = item.firstChild.children;
  box.checked = state.shown.has(run.name);
  box.style.accentColor = colour(run.name);
  stateText.className = `state ${run.state}`;
  stateText.textContent = run.state;
  bar.hidden = !run.steps;
  bar.max = run.steps || 1;
  bar.value = run.step || 0;
  bar.setAttribute("aria-label", `steps of ${run.name}`);
  const validation = run.validation === null || run.validation === undefined ? "" : `, validation ${short(run.validation)}`;
  detail.textContent = run.error || `${run.model}, step ${run.step} of ${run.steps}, loss ${short(run.loss)}${validation}`;
  item.classList.toggle("current", index === state.current);
}

function markCurrent() {
  [...$("runs").children].forEach((item, i) => item.classList.toggle("current", i === state.current));
}

function show(name, on) {
  if (on) state.shown.add(name); else state.shown.delete(name);
  drawRuns();
  refresh();
}

// Curves

function drawCharts() {
  const shown = shownRuns().filter((run) => state.rows.has(run.name));
  $("legend").replaceChildren(...shown.map((run) => element("span", {}, swatch(run.name), run.name)));
  const columns = [];
  for (const run of shown) {
    for (const [column, points] of state.rows.get(run.name).points) {
      if (points.length && !columns.includes(column)) columns.push(column);
    }
  }
  // Losses first, then what describes the training.
  columns.sort((a, b) => (a in UNITS) - (b in UNITS));
  const charts = $("charts");
  const drawn = [...charts.children].map((chart) => chart.dataset.column);
  if (columns.join() !== drawn.join()) charts.replaceChildren(...columns.map(chartOf));
  if (columns.length) {
    [...charts.children].forEach((chart) => drawChart(chart, shown));
  } else if (state.runs.length) {
    charts.replaceChildren(element("p", { textContent: shown.length ? "No values have been written yet." : "Choose a run." }));
  }
}

function chartOf(column) {
  const chart = element("div", { className: "chart" }, element("h3", { textContent: column.replaceAll("_", " ") }));
  chart.dataset.column = column;
  const svg = shape("svg", { role: "img", "aria-label": `${column} over the steps` });
  chart.append(svg, element("p", { textContent: "" }));
  svg.addEventListener("pointermove", (event) => readOff(chart, event));
  svg.addEventListener("pointerleave", () => { chart.at = null; drawChart(chart, chart.shown); });
  new ResizeObserver(() => drawChart(chart, chart.shown)).observe(svg);
  return chart;
}

/** The mean over a window of a fortieth of the curve. */
function smoothed(points) {
  const half = Math.floor(points.length / 80);
  if (!half) return points;
  const sums = [0];
  for (const [, y] of points) sums.push(sums[sums.length - 1] + y);
  return points.map(([x], i) => {
    const from = Math.max(0, i - half), to = Math.min(points.length, i + half + 1);
    return [x, (sums[to] - sums[from]) / (to - from)];
  });
}

/** At most two points for each of `bins` parts of a curve, its extremes. */
function envelope(points, bins) {
  if (points.length <= 2 * bins) return points;
  const kept = [], size = Math.ceil(points.length / bins);
  for (let i = 0; i < points.length; i += size) {
    const part = points.slice(i, i + size);
    const ends = [part.reduce((a, b) => (b[1] < a[1] ? b : a)), part.reduce((a, b) => (b[1] > a[1] ? b : a))];
    kept.push(...ends.sort((a, b) => a[0] - b[0]));
  }
  return kept;
}

function roundTicks(low, high, most) {
  const rough = (high - low) / most || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const ticks = [];
  for (let i = Math.ceil(low / step); i <= Math.floor(high / step) && ticks.length < 20; i++) ticks.push(i * step);
  return ticks;
}

/** Ticks at round values of a logarithmic axis, in log10. */
function logTicks(low, high) {
  for (const digits of [[1], [1, 2, 5], [1, 1.5, 2, 3, 5, 7]]) {
    const ticks = [], every = Math.max(1, Math.ceil((high - low) / 7));
    for (let decade = Math.floor(low); decade <= Math.ceil(high); decade++) {
      if (decade % every) continue;
      for (const digit of digits) ticks.push(decade + Math.log10(digit));
    }
    const inside = ticks.filter((tick) => tick >= low && tick <= high);
    if (inside.length >= 3) return inside;
  }
  return roundTicks(10 ** low, 10 ** high, 5).filter((tick) => tick > 0).map(Math.log10);
}

function drawChart(chart, shown) {
  if (!shown) return;
  chart.shown = shown;
  const column = chart.dataset.column, svg = chart.querySelector("svg");
  const width = svg.clientWidth, height = svg.clientHeight;
  if (!width) return;
  const log = $("log").checked && column !== "samples_per_second";
  const scaled = log ? (y) => Math.log10(y) : (y) => y;
  const curves = shown.map((run) => {
    const all = state.rows.get(run.name)?.points.get(column) ?? [];
    const points = all.filter(([, y]) => !log || y > 0).map(([x, y]) => [x, scaled(y)]);
    return { run, points, mean: $("smooth").checked && !(column in UNITS) ? smoothed(points) : points };
  }).filter((curve) => curve.points.length);
  let [x0, x1, y0, y1] = [Infinity, 1, Infinity, -Infinity];
  for (const { points } of curves) {
    for (const [x, y] of points) { x0 = Math.min(x0, x); x1 = Math.max(x1, x); y0 = Math.min(y0, y); y1 = Math.max(y1, y); }
  }
  if (x0 >= x1) x0 = x1 - 1;
  const margin = (y1 - y0) * 0.05 || 0.05 * Math.abs(y1) || 0.5;
  y0 -= margin;
  y1 += margin;
  const frame = { left: 58, top: 8, right: width - 22, bottom: height - 36 };
  const px = (x) => frame.left + (x - x0) / (x1 - x0) * (frame.right - frame.left);
  const py = (y) => frame.bottom - (y - y0) / (y1 - y0) * (frame.bottom - frame.top);
  const parts = [];
  for (const tick of log ? logTicks(y0, y1) : roundTicks(y0, y1, 5)) {
    parts.push(shape("line", { class: "grid", x1: frame.left, x2: frame.right, y1: py(tick), y2: py(tick) }));
    parts.push(shape("text", { x: frame.left - 6, y: py(tick) + 4, "text-anchor": "end" }, short(log ? 10 ** tick : tick)));
  }
  for (const tick of roundTicks(x0, x1, Math.max(2, Math.min(7, width / 90)))) {
    parts.push(shape("line", { class: "grid", x1: px(tick), x2: px(tick), y1: frame.top, y2: frame.bottom }));
    const label = tick >= 1e6 ? `${short(tick / 1e6)}M` : tick >= 1e4 ? `${short(tick / 1e3)}k` : short(tick);
    parts.push(shape("text", { x: px(tick), y: frame.bottom + 15, "text-anchor": "middle" }, label));
  }
  parts.push(shape("text", { x: (frame.left + frame.right) / 2, y: height - 4, "text-anchor": "middle" }, "step"));
  const middle = (frame.top + frame.bottom) / 2;
  parts.push(shape("text", { x: 11, y: middle, "text-anchor": "middle", transform: `rotate(-90 11 ${middle})` }, UNITS[column] ?? "loss"));
  const path = (points) => envelope(points, width).map(([x, y]) => `${px(x).toFixed(1)},${py(y).toFixed(1)}`).join(" ");
  for (const { run, points, mean } of [...curves].reverse()) {
    const lines = mean === points ? [["mean", points]] : [["raw", points], ["mean", mean]];
    for (const [kind, of] of lines) {
      const line = shape("polyline", { class: kind, points: path(of), "stroke-dasharray": kind === "mean" ? dash(run.name) : "" });
      line.style.stroke = colour(run.name);
      parts.push(line);
    }
    const [x, y] = mean[mean.length - 1];
    const end = shape("circle", { cx: px(x), cy: py(y), r: 3 });
    end.style.fill = colour(run.name);
    parts.push(end);
  }
  const words = [];
  if (chart.at !== null && chart.at !== undefined) {
    const x = x0 + (Math.min(Math.max(chart.at, frame.left), frame.right) - frame.left) / (frame.right - frame.left) * (x1 - x0);
    parts.push(shape("line", { class: "cursor", x1: px(x), x2: px(x), y1: frame.top, y2: frame.bottom }));
    words.push(`step ${Math.round(x)}`);
    for (const { run, mean } of curves) {
      const near = mean.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
      words.push(`${run.name} ${short(log ? 10 ** near[1] : near[1])}`);
    }
  } else {
    for (const { run, points } of curves) words.push(`${run.name} ${short(log ? 10 ** points[points.length - 1][1] : points[points.length - 1][1])}`);
  }
  chart.querySelector("p").textContent = words.join("   ");
  svg.replaceChildren(...parts);
}

function readOff(chart, event) {
  chart.at = event.offsetX;
  drawChart(chart, chart.shown);
}

// Pictures

function drawPictures() {
  const shown = shownRuns();
  const select = $("shown-run");
  $("pictures").hidden = !shown.length;
  if (!shown.length) return;
  // The run that the user chose, or one that is trained, also after its end.
  const named = (name) => shown.find((run) => run.name === name);
  const trained = shown.find((run) => run.state === "training");
  const wanted = (named(state.pictured) ?? trained ?? named(state.followed) ?? shown[shown.length - 1]).name;
  state.followed = wanted;
  const names = shown.map((run) => run.name);
  if ([...select.options].map((option) => option.value).join("\n") !== names.join("\n")) {
    select.replaceChildren(...names.map((name) => element("option", { value: name, textContent: name })));
  }
  select.value = wanted;
  const details = state.details.get(wanted);
  if (!details) return;
  drawPreview(wanted, details);
  const pages = details.pages || 0;
  state.page = Math.min(state.page, Math.max(0, pages - 1));
  picture($("samples"), pages > 0 && address("samples", { run: wanted, page: state.page, of: details.written }));
  $("samples-page").textContent = `${state.page + 1} of ${pages}`;
  picture($("picture"), details.picture && address("picture", { run: wanted, of: details.picture }));
  $("no-pictures").hidden = details.previews.length > 0 || pages > 0 || details.picture;
}

function drawPreview(name, details) {
  const previews = details.previews, range = $("preview-range");
  range.max = Math.max(0, previews.length - 1);
  // The latest one, unless the user chose one.
  const at = state.preview === null ? previews.length - 1 : Math.min(state.preview, previews.length - 1);
  range.value = at;
  picture($("preview"), previews.length > 0 && address("preview", { run: name, step: previews[at], of: details.written }));
  $("preview-step").textContent = previews[at] ?? "";
  $("film").hidden = !details.film;
  $("film").href = address("film", { run: name });
}

/** Shows a picture, or hides its figure where there is none. */
function picture(figure, source) {
  figure.hidden = !source;
  const image = figure.querySelector("img");
  if (source && image.getAttribute("src") !== source) image.src = source;
}

function turnPreview(by) {
  const last = Number($("preview-range").max);
  const at = Math.min(last, Math.max(0, Number($("preview-range").value) + by));
  state.preview = at === last ? null : at;
  drawPictures();
}

function turnPage(by) {
  state.page = Math.max(0, state.page + by);
  drawPictures();
}

// Settings

function drawSettings() {
  const shown = shownRuns().filter((run) => state.details.has(run.name));
  const only = $("differences").checked && shown.length > 1;
  const values = shown.map((run) => new Map(state.details.get(run.name).settings));
  const names = [];
  for (const of of values) for (const name of of.keys()) if (!names.includes(name)) names.push(name);
  // Settings by name, then what is known of the data.
  const last = (name) => name.startsWith("data: ");
  names.sort((a, b) => last(a) - last(b) || (a < b ? -1 : a > b ? 1 : 0));
  const rows = [];
  for (const name of names) {
    const cells = values.map((of) => of.get(name) ?? "–");
    const differs = cells.some((cell) => cell !== cells[0]);
    if (only && !differs) continue;
    const row = element("tr", { className: differs ? "differs" : "" }, element("th", { scope: "row", textContent: name }));
    row.append(...cells.map((cell) => element("td", { textContent: cell })));
    rows.push(row);
  }
  const head = element("tr", {}, element("th", { textContent: "setting" }));
  head.append(...shown.map((run) => element("th", { scope: "col" }, swatch(run.name), ` ${run.name}`)));
  $("settings").replaceChildren(...(rows.length ? [head, ...rows] : []));
  const note = !shown.length ? "" : only && !rows.length ? "All settings of these runs are the same." : $("differences").checked && shown.length < 2 ? "Choose two runs to compare their settings." : "";
  $("no-settings").textContent = note;
  $("no-settings").hidden = !note;
}

// Controls

function moveTo(index) {
  if (!state.runs.length) return;
  state.current = Math.min(state.runs.length - 1, Math.max(0, index));
  $("runs").children[state.current].querySelector("input").focus();
  markCurrent();
}

function toggle(id) {
  $(id).click();
}

const KEYS = {
  j: () => moveTo(state.current + 1),
  k: () => moveTo(state.current - 1),
  " ": () => { const run = state.runs[state.current]; if (run) show(run.name, !state.shown.has(run.name)); },
  o: () => { const run = state.runs[state.current]; if (run) { state.shown = new Set([run.name]); show(run.name, true); } },
  a: () => {
    const all = state.runs.every((run) => state.shown.has(run.name));
    state.shown = new Set(all ? [] : state.runs.map((run) => run.name));
    drawRuns();
    refresh();
  },
  l: () => toggle("log"),
  s: () => toggle("smooth"),
  d: () => toggle("differences"),
  "[": () => turnPreview(-1),
  "]": () => turnPreview(1),
  "<": () => turnPage(-1),
  ">": () => turnPage(1),
  "?": () => $("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  const key = KEYS[event.key];
  if (!key || event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  const inside = event.target.closest("input, select, button, a");
  // Space works on what has the focus, and a list takes letters.
  if ((event.key === " " && inside) || event.target.closest("select")) return;
  event.preventDefault();
  key();
});

for (const id of ["log", "smooth"]) $(id).addEventListener("change", drawCharts);
$("differences").addEventListener("change", drawSettings);
$("shown-run").addEventListener("change", () => { state.pictured = $("shown-run").value; state.preview = null; state.page = 0; drawPictures(); });
$("preview-range").addEventListener("input", () => turnPreview(0));
$("preview-back").addEventListener("click", () => turnPreview(-1));
$("preview-next").addEventListener("click", () => turnPreview(1));
$("samples-back").addEventListener("click", () => turnPage(-1));
$("samples-next").addEventListener("click", () => turnPage(1));
$("help-button").addEventListener("click", () => $("help").showModal());

async function follow() {
  if (!document.hidden) await update();
  setTimeout(follow, PERIOD);
}
document.addEventListener("visibilitychange", () => { if (!document.hidden) update(); });
follow();
