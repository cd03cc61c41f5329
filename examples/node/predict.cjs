// A jumok model in Node.js: the graph of a whole search, and a vocabulary on either side.
//
//     npm install onnxruntime-node
//     node predict.cjs MODEL < sources.txt
//
// MODEL is a directory that `jumok export` wrote to, of a model that cuts texts into characters
// (char), at spaces (word) or at a separator (split). A line of output for each line of input.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const ort = require("onnxruntime-node");

const SPECIALS = ["<pad>", "<s>", "</s>"]; // ids 0, 1 and 2; then those of the tokenizer's own
const EOS = 2;
const UNK = 3;

class Vocabulary {
  constructor(file) {
    const told = JSON.parse(fs.readFileSync(file, "utf8"));
    if (!["char", "word", "split"].includes(told.kind)) {
      throw new Error(`${file} cuts texts by ${told.kind}, which takes more than a lookup`);
    }
    this.kind = told.kind;
    this.separator = told.separator;
    this.lowercase = told.lowercase;
    const pieces = Object.entries(told.tokenizer.model.vocab).sort((a, b) => a[1] - b[1]);
    this.tokens = [...SPECIALS, ...pieces.map(([piece]) => piece)];
    this.ids = new Map(this.tokens.map((token, id) => [token, id]));
    for (const special of SPECIALS) this.ids.delete(special); // no text can say them
  }

  encode(text) {
    const normal = (this.lowercase ? text.toLowerCase() : text).normalize("NFC");
    let pieces = [...normal];
    if (this.kind === "word") pieces = normal.split(/\s+/u).filter((word) => word);
    if (this.kind === "split") pieces = normal.split(this.separator).filter((piece) => piece);
    return pieces.map((piece) => this.ids.get(piece) ?? UNK);
  }

  decode(ids) {
    const pieces = ids.filter((id) => id !== EOS).map((id) => this.tokens[id]);
    return pieces.join({ char: "", word: " ", split: this.separator }[this.kind]);
  }
}

function integers(values, shape) {
  return new ort.Tensor("int64", BigInt64Array.from(values, BigInt), shape);
}

async function main(folder) {
  const config = JSON.parse(fs.readFileSync(path.join(folder, "config.json"), "utf8")).config;
  const { beam, max_length_ratio: ratio, max_length_offset: offset } = config.search;
  const source = new Vocabulary(path.join(folder, "source.tokenizer.json"));
  const target = new Vocabulary(path.join(folder, "target.tokenizer.json"));
  const graph = path.join(folder, "onnx", beam === 1 ? "greedy.onnx" : "beam.onnx");
  const session = await ort.InferenceSession.create(graph);
  const lines = fs.readFileSync(0, "utf8").split("\n");
  if (lines.at(-1) === "") lines.pop();
  for (const line of lines) {
    const ids = source.encode(line);
    if (ids.length === 0) {
      console.log("");
      continue;
    }
    if (config.data.reverse_source) ids.reverse();
    const made = await session.run({
      source: integers([...ids, EOS], [1, ids.length + 1]),
      lengths: integers([ids.length + 1], [1]),
      limits: integers([Math.trunc(ratio * ids.length) + offset], [1]),
    });
    const count = Number(made.counts.data[0]);
    console.log(target.decode([...made.tokens.data.slice(0, count)].map(Number)));
  }
}

main(process.argv[2]);
