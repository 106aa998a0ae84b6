// The pages with films: tools, keys, hits side by side, similarity map, opinions, sending.
import { Stage, WINDOW, applyWindow } from "./stage.js";

const body = document.body;
const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
const ON = { boxes: true, map: false, invert: false, link: true };
let tool = "pan";
let stages = {};
const LOADED = new Promise((done) => {
  if (document.readyState === "complete") done();
  else addEventListener("load", done);
});
let asking = 0;

function say(text) {
  const toast = $("#toast");
  toast.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { toast.textContent = ""; }, 5000);
}

// --- Films -----------------------------------------------------------------------------------------------------------
// Shows the whole film in place of the coarse one, once all that the page shows at first is there.
async function sharpen(svg) {
  const film = $("image.film", svg);
  if (!film) return;
  await LOADED;
  const whole = new Image();
  whole.src = film.dataset.whole;
  try {
    await whole.decode();
    film.setAttribute("href", whole.src);
  } catch {
    say("The whole film did not come: load the page again to see it sharp.");
  }
}

function attach(side) {
  stages[side]?.close();
  const svg = $(`.stage.${side}`);
  if (!svg) return delete stages[side];
  sharpen(svg);
  stages[side] = new Stage(svg, { tool: () => tool, moved, drawn });
  const name = $(".hovered", svg.parentElement);
  for (const link of $$("a", svg)) {
    const text = link.getAttribute("aria-label");
    const tell = (shown) => () => {
      name.textContent = shown ? text : "";
      for (const chip of $$(`.regions a[href="${CSS.escape(link.getAttribute("href"))}"]`)) chip.classList.toggle("hot", shown);
    };
    for (const event of ["pointerenter", "focus"]) link.addEventListener(event, tell(true));
    for (const event of ["pointerleave", "blur"]) link.addEventListener(event, tell(false));
  }
  svg.classList.add(`tool-${tool}`);
  svg.addEventListener("dblclick", (event) => event.target.closest("a") ?? stages[side].reset());
}

function moved(stage, change) {
  for (const one of ON.link ? Object.values(stages) : [stage]) one.change(change);
}

function drawn(stage, box) {
  const address = new URL(stage.svg.dataset.drawn, location);
  for (const [name, value] of new URLSearchParams(location.search)) if (!["box", "hit"].includes(name)) address.searchParams.set(name, value);
  address.searchParams.set("box", box.map((value) => value.toFixed(1)).join(","));
  say("Searching for what is in the box …");
  location.assign(address);
}

function choose(next) {
  tool = next;
  for (const button of $$("[data-tool]")) button.setAttribute("aria-pressed", button.dataset.tool === tool);
  for (const { svg } of Object.values(stages)) {
    svg.classList.remove("tool-pan", "tool-window", "tool-draw");
    svg.classList.add(`tool-${tool}`);
  }
  if (tool !== "draw") stages.query?.forget();
}

const TOGGLES = {
  boxes: () => body.classList.toggle("no-boxes", !ON.boxes),
  invert: () => { WINDOW.inverted = ON.invert; applyWindow(); },
  link: () => { if (ON.link && stages.query && stages.hit) stages.hit.follow(stages.query); },
  map: () => showMap(),
};

function toggle(name) {
  if (!$(`[data-toggle="${name}"]`)) return;
  ON[name] = !ON[name];
  $(`[data-toggle="${name}"]`).setAttribute("aria-pressed", ON[name]);
  TOGGLES[name]();
}

const ACTS = {
  in: () => moved(stages.query, { factor: 1.25 }),
  out: () => moved(stages.query, { factor: 0.8 }),
  film: () => Object.values(stages).forEach((stage) => stage.fitFilm()),
  region: () => Object.values(stages).forEach((stage) => stage.fitRegion()),
  reset: () => {
    Object.assign(WINDOW, { center: 0.5, width: 1 });
    applyWindow();
    Object.values(stages).forEach((stage) => stage.reset());
  },
  help: () => $("#help").showModal(),
  copy: async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      say("The link to what you see is copied.");
    } catch {
      say("The browser does not let pages copy here: copy the address bar.");
    }
  },
};

// --- Similarity map --------------------------------------------------------------------------------------------------
async function showMap() {
  const mine = ++asking;
  for (const stage of Object.values(stages)) stage.overlay("");
  $$(".legend").forEach((legend) => legend.remove());
  const figure = $("#hit");
  if (!ON.map || !figure) return;
  const box = figure.dataset.box ? `?box=${encodeURIComponent(figure.dataset.box)}` : "";
  say("Asking a worker which parts are alike …");
  try {
    const answer = await fetch(`${figure.dataset.map}${box}`);
    const found = answer.ok ? await answer.json() : { state: "failed", why: "These films may not be shown, so there is no map." };
    if (mine !== asking) return;
    if (found.state !== "made") return say(found.why);
    say("");
    for (const side of ["query", "hit"]) stages[side]?.overlay(`${figure.dataset.map}/${side}.png${box}`);
    figure.append(legend());
  } catch {
    say("The similarity map did not come: the server cannot be reached.");
  }
}

function legend() {
  const made = document.createElement("p");
  made.className = "legend";
  for (const [kind, text] of [["warm", "raises the similarity"], ["cold", "lowers it"]]) {
    const part = document.createElement("span");
    const colour = document.createElement("i");
    colour.className = kind;
    part.append(colour, text);
    made.append(part);
  }
  return made;
}

// --- Hits ------------------------------------------------------------------------------------------------------------
async function look(card) {
  if (!card || card.getAttribute("aria-current")) return;
  for (const one of $$(".card")) one.removeAttribute("aria-current");
  card.setAttribute("aria-current", "true");
  card.scrollIntoView({ block: "nearest", inline: "nearest" });
  const mine = ++asking;
  try {
    const answer = await fetch(card.href);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (mine !== asking) return;
    const fresh = $("#hit", page);
    if (!answer.ok || !fresh) return location.assign(card.href);
    $("#hit").replaceWith(document.importNode(fresh, true));
    history.replaceState(null, "", card.href);
  } catch {
    return say("The hit did not come: the server cannot be reached.");
  }
  attach("hit");
  applyWindow();
  if (ON.link && stages.query) stages.hit?.follow(stages.query);
  if (ON.map) showMap();
}

function step(by) {
  const cards = $$(".card");
  const now = cards.findIndex((card) => card.getAttribute("aria-current"));
  look(cards[Math.min(cards.length - 1, Math.max(0, now + by))]);
}

async function post(form, submitter) {
  const fields = new URLSearchParams(new FormData(form, submitter));
  const headers = { Accept: "application/json", "X-CSRF-Token": $("meta[name=csrf]")?.content ?? "" };
  const answer = await fetch(form.getAttribute("action"), { method: "POST", body: fields, headers });
  if (answer.ok) return answer.json();
  if (answer.headers.get("content-type")?.includes("json")) throw new Error((await answer.json()).detail);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  throw new Error($(".message p", page)?.textContent ?? "That did not work. Load the page again.");
}

async function rate(form, button) {
  const { relevant } = await post(form, button);
  for (const one of $$(".opinion button", $("#hit"))) {
    const pressed = one.dataset.value === relevant;
    one.setAttribute("aria-pressed", pressed);
    one.value = pressed ? "" : one.dataset.value;
  }
  const mark = $(`.said[data-rank="${$("#hit").dataset.rank}"]`);
  mark.classList.remove("yes", "no");
  if (relevant) mark.classList.add(relevant);
  say(relevant ? "Kept. It will help to train the next model." : "Taken back.");
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  const act = form.matches(".opinion") ? rate : form.matches(".send") ? async (...sent) => say((await post(...sent)).said) : null;
  if (!act) return;
  event.preventDefault();
  try {
    await act(form, event.submitter);
    form.closest("details")?.removeAttribute("open");
  } catch (error) {
    say(error.message);
  }
});

// --- Buttons and keys ------------------------------------------------------------------------------------------------
document.addEventListener("click", (event) => {
  const card = event.target.closest(".card");
  if (card && !event.metaKey && !event.ctrlKey && !event.shiftKey) {
    event.preventDefault();
    look(card);
  }
  const button = event.target.closest("[data-tool], [data-toggle], [data-do]");
  if (button?.dataset.tool) choose(button.dataset.tool);
  else if (button?.dataset.toggle) toggle(button.dataset.toggle);
  else if (button) ACTS[button.dataset.do]();
  for (const menu of $$(".menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});

document.addEventListener("pointerover", (event) => {
  const film = event.target.closest?.(".card")?.dataset.film;
  if (film) new Image().src = `${film}/film.png`;
});

const KEYS = {
  v: () => choose("pan"), w: () => choose("window"), b: () => toggle("boxes"), i: () => toggle("invert"),
  d: () => { choose("draw"); if (stages.query?.svg.dataset.drawn) stages.query.propose(); },
  m: () => toggle("map"), l: () => toggle("link"), "+": ACTS.in, "=": ACTS.in, "-": ACTS.out, f: ACTS.film, 0: ACTS.reset,
  r: ACTS.region, j: () => step(1), k: () => step(-1), c: () => $('[data-do="copy"]') && ACTS.copy(), "?": ACTS.help,
  g: () => $('.opinion [data-value="yes"]')?.click(), x: () => $('.opinion [data-value="no"]')?.click(),
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, dialog")) return;
  if (event.key === "Escape") return $$(".menu[open]").forEach((menu) => { menu.open = false; });
  if (/^[1-9]$/.test(event.key)) return look($(`.card[data-rank="${event.key}"]`));
  const act = KEYS[event.key.toLowerCase()];
  if (act) {
    event.preventDefault();
    act();
  }
});

for (const part of $$(".until-script")) part.classList.remove("until-script");
attach("query");
attach("hit");
if ($("[data-again]")) setTimeout(() => location.reload(), 1500);
body.dataset.ready = "yes";
