// The page reads whole without this. It sorts and filters tables, filters the runs and opens the run that a link leads to,
// shows what is behind a number, and lets figures be saved.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

// Tables: a click on a heading sorts by its column, up, then down, then as it was.

const isLabel = cell => !cell.classList.contains("number");

// A label that repeats the one above it is left out as long as the rows are all there, in their order.
function fill(rows, filled) {
  const above = [];
  for (const row of rows) {
    [...row.cells].forEach((cell, column) => {
      if (cell.dataset.own === undefined) cell.dataset.own = cell.textContent.trim() ? "yes" : "no";
      if (cell.dataset.own === "yes") above[column] = cell.textContent;
      else if (isLabel(cell)) cell.textContent = filled ? above[column] ?? "" : "";
    });
  }
}

// The number that a cell begins with, or its text; nothing comes last.
function valueOf(cell) {
  const text = cell.textContent.trim();
  if (!cell.classList.contains("number")) return text.toLowerCase();
  const found = text.replace(/,/g, "").replace("−", "-").match(/[-+]?\d+(\.\d+)?(e[-+]?\d+)?/i);
  return found ? parseFloat(found[0]) : "";
}

function compareCells(a, b) {
  const [x, y] = [valueOf(a), valueOf(b)];
  if (x === "" || y === "") return x === y ? 0 : null;
  return typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", {numeric: true});
}

function sortable(table) {
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  const state = {column: -1, down: false, words: []};
  function show() {
    fill(rows, state.column >= 0 || state.words.length > 0);
    const order = [...rows];
    if (state.column >= 0) {
      order.sort((a, b) => {
        const [x, y] = [a.cells[state.column], b.cells[state.column]], found = compareCells(x, y);
        if (found === null) return valueOf(x) === "" ? 1 : -1;
        return state.down ? -found : found;
      });
    }
    body.append(...order);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !state.words.every(word => text.includes(word));
    }
    heads.forEach((head, column) => head.setAttribute(
      "aria-sort", column !== state.column ? "none" : state.down ? "descending" : "ascending"));
    return rows.filter(row => !row.hidden).length;
  }
  heads.forEach((head, column) => {
    const button = make("button", {type: "button"}, ...head.childNodes);
    button.addEventListener("click", () => {
      if (state.column !== column) Object.assign(state, {column, down: false});
      else if (!state.down) state.down = true;
      else Object.assign(state, {column: -1, down: false});
      show();
    });
    head.append(button);
    head.setAttribute("aria-sort", "none");
  });
  if (table.classList.contains("linked")) tools(table, rows, heads, state, show);
}

// Above a table of scores: words that a row must have, and a box for each data set.
function tools(table, rows, heads, state, show) {
  const count = make("span", {role: "status"}), words = make("input", {type: "search", placeholder: "such as: wecolora"});
  words.addEventListener("input", () => {
    state.words = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    count.textContent = `${show()} of ${rows.length} rows`;
  });
  const boxes = heads.map((head, column) => {
    if (!head.classList.contains("number")) return "";
    const box = make("input", {type: "checkbox", checked: true});
    box.addEventListener("change", () => {
      for (const row of [table.tHead.rows[0], ...rows]) row.cells[column].hidden = !box.checked;
    });
    return make("label", {}, box, " ", head.textContent.replace(/\s+/g, " ").trim());
  });
  const line = make("div", {className: "tools"}, make("label", {}, "Rows with ", words), ...boxes, count);
  table.parentElement.before(line);
}

for (const table of all("main table")) {
  if (table.tHead && table.tBodies[0].rows.length > 1) sortable(table);
}

// What is behind a number, on hover and on focus.

const about = make("div", {id: "about", hidden: true});
about.setAttribute("role", "tooltip");
document.body.append(about);
for (const link of all("main a[title]")) {
  link.setAttribute("aria-description", link.title);
  link.dataset.about = link.title;
  link.removeAttribute("title");
  const show = () => {
    about.textContent = link.dataset.about;
    about.hidden = false;
    const place = link.getBoundingClientRect();
    about.style.left = `${Math.max(0, Math.min(place.left, innerWidth - about.offsetWidth - 8))}px`;
    const below = place.bottom + 6;
    about.style.top = `${below + about.offsetHeight > innerHeight ? place.top - about.offsetHeight - 6 : below}px`;
  };
  for (const event of ["pointerenter", "focus"]) link.addEventListener(event, show);
  for (const event of ["pointerleave", "blur"]) link.addEventListener(event, () => { about.hidden = true; });
}
addEventListener("keydown", event => { if (event.key === "Escape") about.hidden = true; });

// A figure's picture is in the page already.
for (const line of all(".downloads")) {
  const href = line.closest("figure").querySelector("img").src, other = line.querySelector("a");
  const download = other.download.replace(/\w+$/, "png");
  other.before(make("a", {href, download, textContent: "PNG"}), " ");
}

// Runs

const runs = all(".run"), box = document.getElementById("filter");
function filter() {
  const words = box.value.toLowerCase().split(/\s+/);
  for (const run of runs) {
    const text = run.querySelector("summary").textContent.toLowerCase();
    run.hidden = !words.every(word => text.includes(word));
  }
  document.getElementById("count").textContent = `${runs.filter(run => !run.hidden).length} of ${runs.length} runs`;
}
function reveal() {
  const run = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!run || !run.matches(".run")) return;
  if (run.hidden) { box.value = ""; filter(); }
  run.open = true;
  run.scrollIntoView();
  run.querySelector("summary").focus({preventScroll: true});
}
document.querySelector(".filter").hidden = false;
box.addEventListener("input", filter);
addEventListener("hashchange", reveal);
filter();
reveal();
