
// Point at an output token: the source is shaded by that token's weights. Point at a source
// token: the output is shaded by what each token took from it. A click keeps a token lit.
for (const root of document.querySelectorAll(".jumok:not([data-ready])")) {
  root.dataset.ready = "";
  const sources = [...root.querySelectorAll(".source .token")];
  const targets = [...root.querySelectorAll(".target .token")];
  const svg = root.querySelector("svg");
  const rows = [...svg.querySelectorAll(".row")];
  const weights = targets.map((t) => t.dataset.weights.split(" ").filter(Boolean).map(Number));
  const shows = new Map(); // what each token lights up
  let kept = null;

  const shade = (token, percent) => {
    token.className = "token l" + (percent >> 1);
  };
  const clear = () => {
    for (const token of [...sources, ...targets]) token.className = "token";
    for (const token of sources) delete token.dataset.share;
    for (const row of rows) row.classList.remove("on");
    svg.classList.remove("focus");
  };
  const showTarget = (i) => {
    clear();
    sources.forEach((token, j) => {
      shade(token, weights[i][j]);
      if (weights[i][j] >= 1) token.dataset.share = weights[i][j] + "%";
    });
    targets[i].classList.add("on");
    rows[i].classList.add("on");
    svg.classList.add("focus");
  };
  const showSource = (j) => {
    clear();
    targets.forEach((token, i) => shade(token, weights[i][j]));
    sources[j].classList.add("on");
  };
  const rest = () => (shows.get(root.querySelector(".token:focus-visible") ?? kept) ?? clear)();
  const answer = (element, show, enters, leaves) => {
    element.addEventListener(enters, show);
    element.addEventListener(leaves, rest);
  };
  // Tab goes from line to line, arrows from token to token
  const enter = (tokens, token) => tokens.forEach((t) => (t.tabIndex = t === token ? 0 : -1));

  // no focus: a browser would make each row a stop of the Tab key, beside its token's
  rows.forEach((row, i) => answer(row, () => showTarget(i), "pointerenter", "pointerleave"));
  for (const [tokens, showOne] of [[sources, showSource], [targets, showTarget]]) {
    enter(tokens, tokens[0]);
    tokens.forEach((token, i) => {
      const show = () => showOne(i);
      shows.set(token, show);
      answer(token, show, "pointerenter", "pointerleave");
      answer(token, show, "focus", "blur");
      token.addEventListener("focus", () => enter(tokens, token));
      token.addEventListener("keydown", (event) => {
        tokens[i + { ArrowLeft: -1, ArrowRight: 1 }[event.key]]?.focus();
      });
      token.addEventListener("click", () => {
        kept = kept === token ? null : token;
        for (const t of shows.keys()) t.setAttribute("aria-pressed", String(t === kept));
        show();
      });
    });
  }
}
