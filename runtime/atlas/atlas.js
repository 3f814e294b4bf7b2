"use strict";
const find = (id) => document.getElementById(id);
const gallery = find("gallery");
const cards = [...gallery.querySelectorAll(".card")];
const tools = document.querySelector(".tools");
const numeric = (card, key) => Number(card.dataset[key]);

// Finding and sorting.
tools.hidden = false;
function arrange() {
  const words = find("find").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const layers = new Set(
    [...document.querySelectorAll("#layers input:checked")].map((box) => box.value));
  const key = find("sort").value;
  const order = [...cards].sort((a, b) => {
    if (key === "name") {
      return (a.dataset.name === "") - (b.dataset.name === "") ||
        a.dataset.name.localeCompare(b.dataset.name) || numeric(a, "rank") - numeric(b, "rank");
    }
    if (key === "rank" || key === "place") return numeric(a, key) - numeric(b, key);
    return numeric(b, key) - numeric(a, key);
  });
  let shown = 0;
  for (const card of order) {
    const text = card.dataset.text;
    const fits = words.every((word) => text.includes(word)) &&
      (layers.size === 0 || layers.has(card.dataset.layer)) &&
      (!find("named").checked || card.dataset.name !== "") &&
      (!find("leaders").checked || card.dataset.leads === "1") &&
      (!find("alive").checked || card.dataset.dead === "0");
    card.hidden = !fits;
    shown += fits;
    gallery.append(card);
  }
  find("count").textContent = `${shown} of ${cards.length}`;
}
tools.addEventListener("input", arrange);
tools.addEventListener("submit", (event) => event.preventDefault());
// A link to a card that is filtered out removes the filters.
window.addEventListener("hashchange", () => {
  const card = document.getElementById(location.hash.slice(1));
  if (card && card.hidden) { tools.reset(); arrange(); card.scrollIntoView(); }
});

// One slider, large.
const stage = find("stage");
const quoted = (text) =>
  /^[\w@%+=:,./-]+$/.test(text) && !text.startsWith("-") ? text
    : "'" + text.replaceAll("'", "'\"'\"'") + "'";
let open = null;
function show() {
  const steps = Number(open.dataset.steps), rows = Number(open.dataset.rows);
  const at = Number(find("stage-value").value);
  [...find("stage-images").children].forEach((cell, row) => {
    cell.style.backgroundPosition =
      `${100 * at / (steps - 1)}% ${rows > 1 ? 100 * row / (rows - 1) : 0}%`;
  });
  find("stage-now").textContent = open.dataset.values.split(" ")[at];
}
function compose() {
  const name = find("new-name").value.trim();
  const low = find("new-low").value.trim(), high = find("new-high").value.trim();
  const words = [open.dataset.namer, name === "" ? "NAME" : quoted(name)];
  if (low !== "" && high !== "") {
    const range = `${low},${high}`;
    words.push(`--range=${/^[-+.,\de]+$/.test(range) ? range : quoted(range)}`);
  }
  if (find("new-hide").checked) words.push("--hide");
  if (open.dataset.suffix) words.push(open.dataset.suffix);
  find("stage-name").textContent = words.join(" ");
}
gallery.addEventListener("click", (event) => {
  const strip = event.target.closest(".strip");
  if (!strip) return;
  open = strip.closest(".card");
  const steps = Number(open.dataset.steps), rows = Number(open.dataset.rows);
  const values = open.dataset.values.split(" ");
  const image = strip.querySelector("img");
  find("stage-title").textContent = open.querySelector("h3").textContent;
  const cells = Array.from({ length: rows }, () => {
    const cell = document.createElement("div");
    cell.style.backgroundImage = `url("${image.src}")`;
    cell.style.backgroundSize = `${100 * steps}% ${100 * rows}%`;
    return cell;
  });
  find("stage-images").replaceChildren(...cells);
  find("stage-images").setAttribute("aria-label", image.alt);
  find("stage-value").max = steps - 1;
  find("stage-value").value = Math.floor(steps / 2);
  find("stage-low").textContent = values[0];
  find("stage-high").textContent = values[steps - 1];
  find("stage-sweep").textContent = open.querySelector(".command code").textContent;
  find("new-name").value = open.dataset.name || open.dataset.proposed;
  find("new-low").value = values[0];
  find("new-high").value = values[steps - 1];
  find("new-hide").checked = open.dataset.hidden === "1";
  show();
  compose();
  stage.showModal();
  find("stage-value").focus();
});
stage.addEventListener("click", (event) => { if (event.target === stage) stage.close(); });
find("stage-value").addEventListener("input", show);
for (const id of ["new-name", "new-low", "new-high", "new-hide"]) {
  find(id).addEventListener("input", compose);
}
