
// Point at an output token: the source is shaded by that token's weights. Point at a source
// token: the output is shaded by what each token took from it. A click keeps an output token lit.
for (const root of document.querySelectorAll(".jumok:not([data-ready])")) {
  root.dataset.ready = "";
  const sources = [...root.querySelectorAll(".source .token")];
  const targets = [...root.querySelectorAll(".target .token")];
  const svg = root.querySelector("svg");
  const rows = [...svg.querySelectorAll(".row")];
  const weights = targets.map((t) => t.dataset.weights.split(" ").filter(Boolean).map(Number));
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
  const rest = () => (kept === null ? clear() : showTarget(kept));
  const answer = (element, show) => {
    element.addEventListener("pointerenter", show);
    element.addEventListener("focus", show);
    element.addEventListener("pointerleave", rest);
    element.addEventListener("blur", rest);
  };

  sources.forEach((token, j) => answer(token, () => showSource(j)));
  rows.forEach((row, i) => answer(row, () => showTarget(i)));
  targets.forEach((token, i) => {
    answer(token, () => showTarget(i));
    token.addEventListener("click", () => {
      kept = kept === i ? null : i;
      targets.forEach((t, k) => t.setAttribute("aria-pressed", String(k === kept)));
      showTarget(i);
    });
  });
}
