// One shot at a time: fetch it, flip through its pictures, send what was chosen.
"use strict";

const state = document.getElementById("state"), work = document.getElementById("work"), form = document.getElementById("fields");
const film = document.getElementById("film"), sheet = document.getElementById("sheet");
const fields = [...form.querySelectorAll("fieldset")];
const PAUSE_MS = 700;  // at the last picture
let shot = null, seen = [], marked = 0, timer = 0;

function say(text, isBad) {
  state.textContent = text;
  state.classList.toggle("bad", Boolean(isBad));
}

async function ask(path, options) {
  const answer = await fetch(path, options);
  const values = await answer.json();
  if (!answer.ok) throw new Error(values.error);
  return values;
}

function mark(place) {
  marked = (place + fields.length) % fields.length;
  fields.forEach((field, index) => field.classList.toggle("marked", index === marked));
  fields[marked].scrollIntoView({ block: "nearest" });
}

function flip(place) {
  clearTimeout(timer);
  const tiles = [...sheet.children];
  if (!tiles.length) return;
  film.src = tiles[place].src;
  const times = shot.times_s, isLast = place + 1 === tiles.length;
  timer = setTimeout(() => flip(isLast ? 0 : place + 1), isLast ? PAUSE_MS : 1000 * (times[place + 1] - times[place]));
}

function show(found) {
  shot = found;
  form.reset();
  sheet.replaceChildren(...shot.times_s.map((time, place) => {
    const tile = document.createElement("img");
    tile.src = `/shots/${encodeURIComponent(shot.shot_id)}/${place}.jpg`;
    tile.alt = "";
    return tile;
  }));
  for (const [name, value] of Object.entries(shot.labels)) {
    const said = value.split(", ");
    form.querySelectorAll(`[name="${name}"]`).forEach((input) => { input.checked = said.includes(input.value); });
  }
  work.hidden = false;
  mark(0);
  flip(0);
}

function follow(values) {
  if (values.shot) {
    say(`${values.left} of ${values.all} left`);
    show(values.shot);
  } else {
    work.hidden = true;
    say(values.all ? "All are labelled. Next round: skyreels run --select shot_expert" : "Nothing is picked: skyreels run --select shot_expert");
  }
}

async function save() {
  const labels = {};
  for (const field of fields) {
    const chosen = [...field.querySelectorAll("input:checked")].map((input) => input.value);
    if (chosen.length) labels[field.dataset.field] = chosen.join(", ");
  }
  const values = await ask("/labels", {
    method: "POST", headers: { "Content-Type": "application/json", "X-Form-Key": document.body.dataset.formKey },
    body: JSON.stringify({ shot_id: shot.shot_id, labels }),
  });
  seen.push(shot.shot_id);
  follow(values);
}

const attempt = (action) => action().catch((error) => say(error.message, true));
const skip = async () => follow(await ask(`/next?skip=${encodeURIComponent(shot.shot_id)}`));
const back = async () => { if (seen.length) show(await ask(`/shots/${encodeURIComponent(seen.pop())}`)); };

form.addEventListener("submit", (event) => { event.preventDefault(); attempt(save); });
form.addEventListener("focusin", (event) => {
  const place = fields.indexOf(event.target.closest("fieldset"));
  if (place >= 0) mark(place);
});
document.getElementById("skip").addEventListener("click", () => attempt(skip));
document.getElementById("back").addEventListener("click", () => attempt(back));
document.addEventListener("keydown", (event) => {
  if (work.hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  const option = [...fields[marked].querySelectorAll("label")].find((label) => label.querySelector("kbd").textContent === event.key);
  const isButton = event.target.tagName === "BUTTON";
  if (option) {
    const input = option.querySelector("input");
    input.checked = input.type === "radio" || !input.checked;
    if (input.type === "radio") mark(marked + 1);
  } else if (event.key === "ArrowDown") mark(marked + 1);
  else if (event.key === "ArrowUp") mark(marked - 1);
  else if (event.key === "Enter" && !isButton) attempt(save);
  else if (event.key === "Escape") attempt(skip);
  else if (event.key === "Backspace") attempt(back);
  else return;
  event.preventDefault();
});
attempt(async () => follow(await ask("/next")));
