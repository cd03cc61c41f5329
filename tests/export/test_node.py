"""An exported search runs in Node.js with only a vocabulary lookup on top (examples/node)."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from exports import SOURCES, write_tiny

from jumok.bundle import read_bundle
from jumok.config import SearchConfig, TokenizerConfig
from jumok.predictor import Predictor, load
from jumok.text import train_tokenizer

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "node" / "predict.cjs"
NODE = shutil.which("node")
DONE = {
    *("beam", "length_penalty", "length_alpha", "max_length_ratio", "max_length_offset"),
    *("max_source_length", "batch_size"),
}
"""What the script or the graph does."""
NEVER_ALONE = {"diversity", "temperature", "top_k", "top_p", "seed"}
"""What says nothing without groups or sample."""


def has_runtime() -> bool:
    if NODE is None:
        return False
    asked = [NODE, "-e", "require('onnxruntime-node')"]
    return subprocess.run(asked, capture_output=True, cwd=SCRIPT.parent).returncode == 0


pytestmark = pytest.mark.skipif(
    not has_runtime(), reason="needs Node.js with the package onnxruntime-node"
)


def run(path: Path, text: str) -> subprocess.CompletedProcess[str]:
    assert NODE is not None
    done = subprocess.run(
        [NODE, str(SCRIPT), str(path)],
        input=text.encode("utf-8", "surrogateescape"),
        capture_output=True,
    )
    texts = done.stdout.decode(), done.stderr.decode()  # with the line ends that came
    return subprocess.CompletedProcess(done.args, done.returncode, *texts)


def refusal(path: Path, text: str = "abc\n") -> str:
    """The one line that says what cannot be done."""
    done = run(path, text)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    [line] = done.stderr.splitlines()
    return line


def expected(path: Path, sources: list[str]) -> str:
    found = load(path, engine="torch").predict(sources)
    return "".join(prediction.text + "\n" for prediction in found)


@pytest.mark.parametrize("name", ["luong2015", "g2p", "lecture"])
def test_node_gives_the_same(name: str, exported: Callable[[str], Path]) -> None:
    path, sources = exported(name), ["abc", "가각 d", "", "eeee dcba", "a"]
    done = run(path, "\n".join(sources) + "\n")
    assert (done.stdout, done.stderr) == (expected(path, sources), "")


def test_node_cuts_words_and_joins_characters_as_jumok_does(
    exported: Callable[[str], Path], tmp_path: Path
) -> None:
    """With other tokenizers than the model was made with, which its numbers do not care about."""
    path = shutil.copytree(exported("g2p"), tmp_path / "model")
    model = load(path, engine="torch")
    source = train_tokenizer(
        ["a b c </s> <s> \u00e9"], TokenizerConfig(kind="word", lowercase=True)
    )
    target = train_tokenizer(["aeuvx\u0301"], TokenizerConfig(kind="char"))
    source.save(path / "source.tokenizer.json")
    target.save(path / "target.tokenizer.json")
    sources = [
        *("A B", " a\u3000b\u0085c ", "E\u0301 A b", "\x1ca<s>", "a\ufeffb c", "   "),
        *("</s> <s>", "q q", "<s> <s> \u00c9 b a c", "<pad> <unk> a"),
    ]
    predictor = Predictor(model.engine, source, target, model.config)
    texts = [prediction.text for prediction in predictor.predict(sources)]
    assert any("\u00e9" in text for text in texts)  # of e and an accent
    assert texts[sources.index("</s> <s>")] != texts[sources.index("q q")]
    done = run(path, "\n".join(sources) + "\n")
    assert (done.stdout, done.stderr) == ("".join(text + "\n" for text in texts), "")


def test_node_gives_the_same_by_a_beam_and_a_length_penalty(exported_beam: Path) -> None:
    predictor = load(exported_beam, engine="torch")
    search = predictor.config.search
    assert (search.beam, search.length_penalty) == (4, "gnmt")
    own = [prediction.text for prediction in predictor.predict(SOURCES)]
    for other in ({"beam": 1}, {"length_penalty": "none"}):  # which would be noticed
        assert own != [prediction.text for prediction in predictor.predict(SOURCES, **other)]
    done = run(exported_beam, "\n".join(SOURCES) + "\n")
    assert (done.stdout, done.stderr) == ("".join(text + "\n" for text in own), "")


def test_lines_end_at_lf_or_crlf(exported_beam: Path) -> None:
    with_lf = run(exported_beam, "abc\n\ndab\n").stdout
    assert with_lf == expected(exported_beam, ["abc", "", "dab"])
    assert run(exported_beam, "abc\r\n\r\ndab\r\n").stdout == with_lf
    assert run(exported_beam, "\ufeffabc\r\n\r\ndab").stdout == with_lf
    done = run(exported_beam, "abc\nd\rab\n")
    assert (done.returncode, done.stdout) == (1, expected(exported_beam, ["abc"]))
    assert "Line 2 should be text" in done.stderr
    assert "Sources should be text in UTF-8" in refusal(exported_beam, "\udcff")


def test_features_are_refused(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "model", "g2p")
    features = train_tokenizer(["V;PST"], TokenizerConfig(kind="split", separator=";"))
    source = read_bundle(path).source_tokenizer.with_features(features)
    source.save(path / "source.tokenizer.json")
    assert "it has features" in refusal(path, "V;PST abc\n")


def edit(path: Path, section: str, values: dict[str, object]) -> None:
    file = path / "config.json"
    head = json.loads(file.read_text(encoding="utf-8"))
    head["config"][section].update(values)
    file.write_text(json.dumps(head), encoding="utf-8")


def test_a_search_that_is_not_plain_is_refused(tmp_path: Path) -> None:
    """Every setting but those that are done, new ones too."""
    path = write_tiny(tmp_path / "model", "g2p")
    others = SearchConfig.model_fields.keys() - DONE - NEVER_ALONE
    more: dict[str, object] = {"required": ["x"], "forbidden": ["y"]}
    for name in others - more.keys():
        default = SearchConfig.model_fields[name].default
        more[name] = (not default) if isinstance(default, bool) else default + 1
    edit(path, "search", {"no_repeat_ngram": 2})
    assert refusal(path).count("search.") == 1
    assert "search.no_repeat_ngram=2. Use jumok predict" in refusal(path)
    edit(path, "search", {**more, "of_a_later_jumok": 0})
    told = refusal(path)
    assert [name for name in others if f"search.{name}=" not in told] == []
    assert "search.of_a_later_jumok=0" in told


@pytest.mark.parametrize(
    ("section", "values", "told"),
    [
        ("model", {"kind": "language_model"}, "Use jumok generate"),
        ("model", {"attention": {"copy_tokens": True}}, "copies source tokens"),
    ],
)
def test_a_model_without_whole_graphs_is_refused(
    section: str, values: dict[str, object], told: str, tmp_path: Path
) -> None:
    path = write_tiny(tmp_path / "model", "g2p")
    edit(path, section, values)
    assert told in refusal(path)


def test_what_is_no_exported_model_is_refused(exported_beam: Path, tmp_path: Path) -> None:
    assert "config.json" in refusal(tmp_path)
    path = write_tiny(tmp_path / "model", "g2p")
    assert "Name a model directory" in refusal(path)
    shutil.copytree(exported_beam / "onnx", path / "onnx")
    assert "graphs of its own weights" in refusal(path)
    long = "a" * (load(exported_beam, engine="torch").config.search.max_source_length + 1)
    assert "search.max_source_length" in refusal(exported_beam, long)
