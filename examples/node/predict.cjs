// A jumok model in Node.js: the graph of a whole search, and a vocabulary on either side.
//
//     npm install onnxruntime-node
//     node predict.cjs MODEL < sources.txt
//
// MODEL is a directory that `jumok export` wrote to, of a model that cuts texts into characters
// (char), at spaces (word) or at a separator (split). A line of output for each line of input, as
// `jumok predict MODEL` gives it; where that takes more than this, a sentence says so.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const ort = require("onnxruntime-node");

const EXPORT_VERSION = 2;
const WEIGHTS = "model.safetensors";
const SPECIALS = ["<pad>", "<s>", "</s>"]; // ids 0, 1 and 2; then those of the tokenizer's own
const EOS = 2;
const UNK = 3;

// Settings of the search that are done here, or in the graph, or that say nothing beside IDLE's.
const DONE = new Set([
  ...["beam", "length_penalty", "length_alpha", "max_length_ratio", "max_length_offset"],
  ...["max_source_length", "batch_size", "diversity", "temperature", "top_k", "top_p", "seed"],
]);
// All others, as they must be: a graph knows nothing else.
const IDLE = {
  n_best: 1,
  groups: 1,
  sample: false,
  shortlist: false,
  replace_unknown: false,
  coverage_penalty: 0,
  lm_weight: 0,
  min_length: 0,
  no_repeat_ngram: 0,
  repetition_penalty: 1,
  required: [],
  forbidden: [],
};

class Vocabulary {
  constructor(file) {
    const told = readJson(file);
    if (!["char", "word", "split"].includes(told.kind)) {
      throw new Error(
        `${file} should cut texts by char, word or split, but it does by ${told.kind}, which ` +
          "takes more than a lookup. Use jumok predict",
      );
    }
    if (told.features) {
      throw new Error(
        `${file} should cut texts alone, but it has features, which are the first word of a text ` +
          "(V;PST gehen) and have a tokenizer of their own. Use jumok predict",
      );
    }
    this.kind = told.kind;
    this.separator = told.separator;
    this.lowercase = told.lowercase;
    const vocab = Object.entries(told.tokenizer.model.vocab).sort((a, b) => a[1] - b[1]);
    const pieces = vocab.map(([piece]) => piece);
    this.tokens = [...SPECIALS, ...pieces];
    // of pieces alone: no text can say <s>, unless as a word like others
    this.ids = new Map(pieces.map((piece, place) => [piece, place + SPECIALS.length]));
  }

  encode(text) {
    let normal = text.normalize("NFC");
    if (this.lowercase) normal = normal.toLowerCase().normalize("NFC");
    let pieces = [...normal];
    if (this.kind === "word") pieces = normal.split(/[\p{White_Space}\x1c-\x1f]+/u);
    if (this.kind === "split") pieces = normal.split(this.separator);
    return pieces.filter((piece) => piece).map((piece) => this.ids.get(piece) ?? UNK);
  }

  decode(ids) {
    const pieces = ids.filter((id) => id !== EOS).map((id) => this.tokens[id]);
    if (this.kind === "char") return pieces.join("").normalize("NFC");
    return pieces.join(this.kind === "word" ? " " : this.separator);
  }
}

function readJson(file) {
  if (!fs.existsSync(file)) {
    throw new Error(
      `There should be a file ${file}, but there is none. Name a model directory (of a run its ` +
        "best/) that jumok export wrote to",
    );
  }
  return JSON.parse(fs.readFileSync(file, "utf8"));
}

// Stop where `jumok predict` would not take a whole graph, as other outputs would come of it.
function checkGraphsSuffice(config) {
  if (config.model.kind !== "seq2seq") {
    throw new Error(
      `A model that reads sources was expected, but model.kind=${config.model.kind} came. Use ` +
        "jumok generate",
    );
  }
  if (config.model.attention.copy_tokens) {
    throw new Error(
      "A model that writes tokens of its vocabulary was expected, but one came that copies " +
        "source tokens (model.attention.copy_tokens=true). Use jumok predict",
    );
  }
  const busy = Object.entries(config.search).filter(
    ([name, value]) => !DONE.has(name) && JSON.stringify(value) !== JSON.stringify(IDLE[name]),
  );
  if (busy.length) {
    const came = busy.map(([name, value]) => `search.${name}=${JSON.stringify(value)}`);
    throw new Error(
      "A search with nothing asked but a beam, a length penalty and limits was expected, but the " +
        `model's settings have ${came.join(" and ")}. Use jumok predict, or train the model ` +
        "without them",
    );
  }
}

// Lines end at LF or CRLF. Bytes that are no UTF-8 are refused.
function readLines(bytes) {
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Error("Sources should be text in UTF-8, but other bytes came. Convert the file");
  }
  const lines = text.split(/\r?\n/);
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

// A line is a line, whatever the model wrote.
function flat(text) {
  return text.replaceAll("\n", "\\n").replaceAll("\r", "\\r").replaceAll("\t", "\\t");
}

function integers(values, shape) {
  return new ort.Tensor("int64", BigInt64Array.from(values, BigInt), shape);
}

async function main(folder) {
  if (folder === undefined) {
    throw new Error(
      "A model directory was expected, but none came. Name it: node predict.cjs MODEL < FILE",
    );
  }
  const { config, sha256 } = readJson(path.join(folder, "config.json"));
  checkGraphsSuffice(config);
  const source = new Vocabulary(path.join(folder, "source.tokenizer.json"));
  const target = new Vocabulary(path.join(folder, "target.tokenizer.json"));
  const manifest = readJson(path.join(folder, "onnx", "manifest.json"));
  if (manifest.export_version !== EXPORT_VERSION || manifest.model !== sha256[WEIGHTS]) {
    throw new Error(
      `${folder} should have graphs of its own weights in version ${EXPORT_VERSION}, but others ` +
        `came. Export it again: jumok export ${folder}`,
    );
  }
  const { beam, max_length_ratio: ratio, max_length_offset: offset } = config.search;
  const graph = path.join(folder, "onnx", beam === 1 ? "greedy.onnx" : "beam.onnx");
  const session = await ort.InferenceSession.create(graph, { logSeverityLevel: 3 });
  for (const [place, line] of readLines(fs.readFileSync(0)).entries()) {
    if (/[\r\0]/.test(line)) {
      throw new Error(
        `Line ${place + 1} should be text, but has a carriage return or NUL inside. Remove it`,
      );
    }
    const ids = source.encode(line);
    if (ids.length === 0) {
      console.log("");
      continue;
    }
    if (ids.length > config.search.max_source_length) {
      throw new Error(
        `A line may have search.max_source_length=${config.search.max_source_length} tokens, but ` +
          `line ${place + 1} has ${ids.length}. Divide it`,
      );
    }
    if (config.data.reverse_source) ids.reverse();
    const made = await session.run({
      source: integers([...ids, EOS], [1, ids.length + 1]),
      lengths: integers([ids.length + 1], [1]),
      limits: integers([Math.trunc(ratio * ids.length) + offset], [1]),
    }); // the length penalty and the beam are in the graph, as the model's settings have them
    const count = Number(made.counts.data[0]);
    console.log(flat(target.decode([...made.tokens.data.slice(0, count)].map(Number))));
  }
}

main(process.argv[2]).catch((error) => {
  console.error(`predict: ${error.message}`);
  process.exitCode = 1;
});
