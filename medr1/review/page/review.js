"use strict";
// The page of a review. Texts of the model are set with textContent only.

const element = (id) => document.getElementById(id);
const state = {
  reader: "", model: "", presentations: [], place: -1, history: [], ready: new Map(),
  active: 0, began: 0, id: "", busy: false,
};
const fieldsets = [...document.querySelectorAll("fieldset")];

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", body: JSON.stringify(body),
    headers: { "Content-Type": "application/json", "X-Medr1-Review": "1" },
  };
  const response = await fetch(path, options);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function say(text) { element("message").textContent = text; }

async function login() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  history.replaceState(null, "", location.pathname);
  await ask("/api/login", { token });
}

async function begin() {
  const session = await ask("/api/session", { reader: element("reader").value });
  Object.assign(state, session);
  // by the time of the judgements, for undo; presentations are in the order of the reader
  state.history = state.presentations.flatMap((p, place) => (p.action ? [place] : []))
    .sort((a, b) => state.presentations[a].order - state.presentations[b].order);
  sessionStorage.setItem("reader", state.reader);
  element("start").hidden = true;
  await show(nextPlace());
}

// the next presentation without a judgement, after the present one and then from the start
function nextPlace() {
  const open = state.presentations.flatMap((p, place) => (p.action ? [] : [place]));
  return open.find((place) => place > state.place) ?? open[0] ?? -1;
}

// a case and its images, which are asked for once and kept until it is shown
function prepared(place) {
  const { place: item, is_repeat: again } = state.presentations[place];
  const query = new URLSearchParams({ reader: state.reader, repeat: again ? "1" : "0" });
  const path = `/api/case/${item}?${query}`;
  if (!state.ready.has(path)) {
    state.ready.set(path, ask(path).then((data) => (
      { data, images: preparedImages(item, data.images) }
    )));
    state.ready.get(path).catch(() => state.ready.delete(path));
  }
  return state.ready.get(path);
}

async function show(place) {
  const isEnd = place < 0;
  element("review").hidden = isEnd;
  element("end").hidden = !isEnd;
  if (isEnd) { showEnd(); return; }
  state.place = place;
  const presentation = state.presentations[place];
  const { data, images } = await prepared(place);
  const done = state.presentations.filter((p) => p.action).length;
  element("progress").textContent = `Case ${place + 1} of ${state.presentations.length}`;
  element("bar").max = state.presentations.length;
  element("bar").value = done;
  element("about").textContent = [
    `${done} done`, state.reader, state.model, data.modality, data.question_type,
  ].filter(Boolean).join(" \u00b7 ");
  showTexts(data);
  showImages(images);
  showRubric(presentation);
  state.id = newId();
  state.began = performance.now();
  const following = nextPlace();
  if (following >= 0) prepared(following).catch(() => {});
  for (const item of state.ready.keys()) if (state.ready.size > 6) { state.ready.delete(item); }
}

function showTexts(data) {
  element("question").textContent = data.question;
  element("options").replaceChildren(...data.options.map((option) => {
    const line = document.createElement("li");
    const chance = option.probability;
    const share = typeof chance === "number" ? ` (${Math.round(100 * chance)} %)` : "";
    line.textContent = `${option.letter}. ${option.text}${data.second ? "" : share}`;
    if (!data.second && option.letter === data.answer) line.className = "chosen";
    return line;
  }));
  const named = (answer) => {
    const option = data.options.find((o) => o.letter === answer);
    return option ? `${option.letter}. ${option.text}` : answer;
  };
  showAnswer(data, "", named);
  if (data.second) {
    showAnswer(data.second, "second-", named);
    const titled = (answer, number) =>
      [`Answer ${number}`, answer.model].filter(Boolean).join(" \u00b7 ");
    element("answer-title").textContent = titled(data, 1);
    element("second-answer-title").textContent = titled(data.second, 2);
  }
  showEarlier(data.earlier);
  element("text").scrollTop = 0;
}

function showAnswer(data, prefix, named) {
  element(`${prefix}answer`).textContent = named(data.answer) || "(no answer)";
  element(`${prefix}verdict`).textContent = "verdict" in data
    ? `Automatic verdict: ${data.verdict}. Ground truth: ${named(data.ground_truth)}` : "";
  for (const name of ["reasoning", "completion"]) {
    const isNew = data[name] && data[name] !== data.answer;
    element(prefix + name).textContent = isNew ? data[name] : "";
    element(`${prefix}${name}-title`).hidden = !isNew;
  }
}

function showRubric(presentation) {
  for (const input of document.querySelectorAll("fieldset input")) {
    input.checked = presentation.ratings[input.name] === input.value;
  }
  element("comment").value = presentation.comment;
  activate(0);
}

function activate(number) {
  state.active = Math.min(Math.max(number, 0), fieldsets.length - 1);
  fieldsets.forEach((f, place) => f.classList.toggle("active", place === state.active));
}

function showEnd() {
  const skipped = state.presentations.filter((p) => p.action === "skip").length;
  element("end-text").textContent =
    `${state.presentations.length - skipped} judged, ${skipped} skipped. Thank you, ${state.reader}.`;
  element("show-skipped").hidden = !skipped;
}

async function send(place, action, id, ratings, comment) {
  const presentation = state.presentations[place];
  try {
    await ask("/api/judgement", {
      id, reader: state.reader, place: presentation.place, is_repeat: presentation.is_repeat,
      action, ratings, comment, seconds: (performance.now() - state.began) / 1000,
    });
  } catch (error) {
    throw new Error(`Not stored: ${error.message}`);
  }
}

// one thing at a time: a second key press while the first is being stored does nothing
async function once(work) {
  if (state.busy) return;
  state.busy = true;
  say("");
  try {
    await work();
  } catch (error) {
    say(error.message);
  } finally {
    state.busy = false;
  }
}

const finish = (action) => once(async () => {
  const inputs = [...document.querySelectorAll("fieldset input:checked")];
  const ratings = Object.fromEntries(inputs.map((input) => [input.name, input.value]));
  const missing = fieldsets.findIndex((f) => !(f.dataset.key in ratings));
  if (action === "judge" && missing >= 0) {
    activate(missing);
    say("Answer every question, or skip the case.");
    return;
  }
  const comment = element("comment").value;
  const result = action === "judge" ? { ratings, comment } : { ratings: {}, comment };
  await send(state.place, action, state.id, result.ratings, comment);
  Object.assign(state.presentations[state.place], result, { action });
  state.history = [...state.history.filter((p) => p !== state.place), state.place];
  await show(nextPlace());
});

const undo = () => once(async () => {
  const place = state.history.at(-1);
  if (place === undefined) { say("There is nothing to undo."); return; }
  await send(place, "undo", newId(), {}, "");
  state.history.pop();
  state.presentations[place].action = null;
  await show(place);
});

element("start").addEventListener("submit", (event) => {
  event.preventDefault();
  once(() => ready.then(begin));
});
element("rubric").addEventListener("submit", (event) => { event.preventDefault(); finish("judge"); });
const clicks = {
  undo, "end-undo": undo, skip: () => finish("skip"),
  "show-skipped": () => {
    for (const p of state.presentations) if (p.action === "skip") p.action = null;
    once(() => show(nextPlace()));
  },
};
for (const [id, work] of Object.entries(clicks)) element(id).addEventListener("click", work);
fieldsets.forEach((f, place) => f.addEventListener("focusin", () => activate(place)));

document.addEventListener("keydown", (event) => {
  const target = event.target;
  if (element("review").hidden || event.altKey || event.metaKey) return;
  if (target.id === "comment") {
    if (event.key === "Escape") target.blur();
    if (event.key === "Enter" && event.ctrlKey) finish("judge");
    return;
  }
  if (event.ctrlKey || ["BUTTON", "SELECT"].includes(target.tagName) && event.key === "Enter") return;
  const isShifted = event.shiftKey && event.key.startsWith("Arrow");
  const isScrolled = target.id === "text" && !isShifted;
  const hasOwnKeys = target.tagName === "SELECT" || target.type === "range" || isScrolled;
  if (hasOwnKeys && /^(Arrow|Page)/.test(event.key)) return;
  const digit = Number(event.key);
  const keys = {
    ...viewerKeys, Enter: () => finish("judge"), u: undo, s: () => finish("skip"),
    c: () => element("comment").focus(),
  };
  if (target.type !== "radio") {
    keys.ArrowDown = () => activate(state.active + 1);
    keys.ArrowUp = () => activate(state.active - 1);
  }
  const work = keys[isShifted ? `Shift ${event.key}` : event.key];
  const input = fieldsets[state.active].querySelectorAll("input")[digit - 1];
  if (work) work();
  else if (input) { input.checked = true; activate(state.active + 1); }
  else return;
  event.preventDefault();
});

element("reader").value = sessionStorage.getItem("reader") ?? "";
element("reader").focus();
const ready = login();
ready.catch((error) => say(error.message));
