"use strict";
// Ask, show the outputs, and draw the attention of the one that is pointed out. A language model's
// texts are shown while they are drawn. Everything comes from this server.
const WORDS = {
  en: {
    text: "Text", prompt: "What the text begins with", beam: "Beam", outputs: "Outputs", units: "Attention between",
    token: "tokens", character: "characters", word: "words", head: "Head", mean: "mean", temperature: "Temperature",
    seed: "Seed", key: "Key", send: "Ask", write: "Write", empty: "(empty)",
    lost: "The server does not answer. Is it running?", other: "한국어",
  },
  ko: {
    text: "글", prompt: "글의 첫머리", beam: "빔 크기", outputs: "출력 수", units: "어텐션 단위",
    token: "토큰", character: "글자", word: "낱말", head: "헤드", mean: "평균", temperature: "온도",
    seed: "시드", key: "키", send: "묻기", write: "쓰기", empty: "(빈 글)",
    lost: "서버가 답하지 않습니다. 켜져 있나요?", other: "English",
  },
};
const at = (id) => document.getElementById(id);
let model = null;
let asking = new AbortController(); // of the question on the page; a new one ends it
let looking = new AbortController(); // of the map on the page
let language = navigator.language.startsWith("ko") ? "ko" : "en";
const say = (word) => WORDS[language][word];
const writes = () => model !== null && model.kind === "language_model";

function speak() {
  document.documentElement.lang = language;
  for (const part of document.querySelectorAll("[data-say]")) part.textContent = say(part.dataset.say);
  for (const head of at("head").options) if (head.value) head.textContent = head.value;
  at("language").textContent = say("other");
  at("send").textContent = say(writes() ? "write" : "send");
  if (writes()) document.querySelector("label[for=text]").textContent = say("prompt");
}

async function ask(path, body, signal) {
  const headers = { "content-type": "application/json" };
  // a header has bytes, and a key may be any text
  const key = String.fromCharCode(...new TextEncoder().encode(at("key").value));
  if (key) headers.authorization = "Bearer " + key;
  const request = body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) };
  let answer;
  try {
    answer = await fetch(path, { ...request, signal });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error(say("lost"));
  }
  if (answer.ok) return answer;
  if (answer.status === 401) at("secret").hidden = false;
  let error;
  try {
    error = (await answer.json()).error.message;
  } catch {
    error = `HTTP ${answer.status}`; // the web server's own answer, when it has too many connections
  }
  throw new Error(error);
}

function showProblem(error) {
  if (error.name === "AbortError") return; // something else was asked meanwhile
  at("problem").hidden = false;
  at("problem").textContent = error.message;
}

function showMap(html) {
  at("map").innerHTML = html; // of this server, every text in it escaped; its script does not run so
  const script = document.createElement("script");
  script.src = "/assets/attention.js";
  at("map").append(script);
}

function row(text, score, choose) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text === "" ? say("empty") : text;
  if (choose) button.addEventListener("click", () => choose(item));
  const small = document.createElement("small");
  small.textContent = score === null ? "" : score.toFixed(3);
  item.append(button, small);
  at("texts").append(item);
  return item;
}

async function explain(item, body) {
  looking.abort();
  looking = new AbortController();
  const { signal } = looking;
  for (const other of at("texts").children) other.classList.toggle("shown", other === item);
  at("problem").hidden = true;
  try {
    const drawn = await (await ask("/explain", body, signal)).json();
    if (!signal.aborted) showMap(drawn.html);
  } catch (error) {
    if (!signal.aborted) at("map").textContent = "";
    showProblem(error);
  }
}

async function predict(signal) {
  const text = at("text").value;
  const search = { n_best: Number(at("outputs").value) };
  search.beam = Math.max(Number(at("beam").value), search.n_best);
  const found = (await (await ask("/predict", { texts: [text], search }, signal)).json()).predictions[0];
  signal.throwIfAborted();
  looking.abort();
  at("texts").textContent = at("map").textContent = "";
  const look = { text, units: at("units").value };
  if (at("head").value) look.head = Number(at("head").value);
  const seen = model.attention && found.tokens.length > 0;
  const show = (one) => (item) => explain(item, { ...look, target: one.text });
  const items = [found, ...found.alternatives].map((one) => row(one.text, one.score, seen ? show(one) : null));
  at("answer").hidden = false;
  if (seen) explain(items[0], { ...look, search });
}

async function generate(signal) {
  const n = Number(at("outputs").value);
  const search = { temperature: Number(at("temperature").value), seed: Number(at("seed").value) };
  const answer = await ask("/generate", { prompt: at("text").value, n, stream: true, search }, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  at("texts").textContent = "";
  const items = Array.from({ length: n }, () => row("…", null, null));
  at("answer").hidden = false;
  const put = (place, text, score) => {
    items[place].querySelector("button").textContent = text === "" ? say("empty") : text;
    if (score !== null) items[place].querySelector("small").textContent = score.toFixed(3);
  };
  let left = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (left + value).split("\n\n");
    left = events.pop();
    for (const event of events) {
      const [kind, data] = event.split("\n").map((line) => line.slice(line.indexOf(":") + 2));
      const told = JSON.parse(data);
      if (kind === "text") put(told.number, told.text, null);
      else if (kind === "done") told.predictions.forEach((one, place) => put(place, one.text, one.score));
      else throw new Error(told.message);
    }
  }
}

async function answer() {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  at("problem").hidden = true;
  at("send").classList.add("busy");
  try {
    if (model === null) await begin();
    signal.throwIfAborted();
    await (writes() ? generate(signal) : predict(signal));
  } catch (error) {
    showProblem(error);
  } finally {
    if (!signal.aborted) at("send").classList.remove("busy");
  }
}

async function begin() {
  at("ask").hidden = false;
  speak();
  const told = await (await ask("/model")).json();
  if (model !== null) return; // it was asked twice
  model = told;
  at("name").textContent = document.title = model.name;
  at("beam").value = model.search.sample ? 1 : model.search.beam;
  at("beam").max = Math.max(model.limits.beam, model.search.beam);
  at("outputs").max = Math.max(model.limits.beam, model.search.n_best); // as the server does
  at("outputs").value = model.search.n_best;
  at("temperature").value = model.search.temperature;
  at("text").maxLength = model.limits.characters;
  for (const part of document.querySelectorAll(writes() ? ".of-pairs" : ".of-texts")) part.hidden = true;
  at("texts").classList.toggle("of-a-language-model", writes());
  if (!writes() && model.heads > 1) {
    at("heads").hidden = false;
    for (let head = 1; head <= model.heads; head++) at("head").add(new Option(head, head));
  }
  speak();
}

at("language").addEventListener("click", () => {
  language = language === "ko" ? "en" : "ko";
  speak();
});
at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  answer();
});
at("text").addEventListener("keydown", (event) => {
  // Enter asks, Shift+Enter is a new line; the Enter that ends a Hangul syllable is the editor's own
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    at("ask").requestSubmit(); // so that the form looks at its numbers first
  }
});
begin().catch(showProblem);
