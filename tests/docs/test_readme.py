"""README and guide do what they say: every block is run, and the languages have the same blocks."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAIRS = (
    ("README.md", "README.ko.md"),
    ("docs/guide.md", "docs/guide.ko.md"),
    ("docs/search.md", "docs/search.ko.md"),
    ("docs/export.md", "docs/export.ko.md"),
    ("docs/alignment.md", "docs/alignment.ko.md"),
    ("docs/training.md", "docs/training.ko.md"),
    ("docs/data.md", "docs/data.ko.md"),
    ("docs/serving.md", "docs/serving.ko.md"),
)
NOT_RUN = {
    "README.md": ["makes an environment of its own", "installs packages"],
    "docs/guide.md": [],
    "docs/search.md": [],
    "docs/export.md": ["installs packages"],
    "docs/alignment.md": [],
    "docs/training.md": ["needs two machines"],
    "docs/data.md": [],
    "docs/serving.md": [],
}
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]*) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block; ``reason`` says why it is not run, if it is not."""

    language: str
    code: str
    reason: str | None


def blocks(name: str) -> list[Block]:
    """The fenced blocks of a document, in order."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = [Block(m["language"], m["code"], m["reason"]) for m in BLOCK.finditer(text)]
    assert text.count("```") == 2 * len(found), f"{name} has a fence without a language or an end"
    return found


COMMENT = re.compile(r"(?:^|(?<=\s))#.*$", re.MULTILINE)


def without_comments(block: Block) -> Block:
    """The block as a shell or Python reads it."""
    if block.language not in ("bash", "python"):
        return block
    lines = [line.rstrip() for line in COMMENT.sub("", block.code).splitlines()]
    return replace(block, code="\n".join(line for line in lines if line))


def comments(name: str) -> list[str]:
    """The comments in a document's code, in order."""
    code = [b.code for b in blocks(name) if b.language in ("bash", "python")]
    return [comment for text in code for comment in COMMENT.findall(text)]


FIGURE = re.compile(r"-?\d+\.\d+")
TOLERANCE = {"perplexity": 0.5, "score": 0.5}
"""How far a figure may be from the one shown, by the first word of its line; else 5 points."""


def same_line(shown: str, printed: str) -> bool:
    """Whether a line says the same: figures nearly, all else (dates, counts, words) exactly."""
    if FIGURE.sub("0.0", shown).split() != FIGURE.sub("0.0", printed).split():
        return False
    tolerance = TOLERANCE.get(shown.split()[0], 5.0) if shown.split() else 0.0
    figures = zip(FIGURE.findall(shown), FIGURE.findall(printed), strict=True)
    return all(abs(float(one) - float(other)) <= tolerance for one, other in figures)


def run(block: Block, folder: Path) -> str:
    """Run one block as a reader would, and return all that it printed."""
    bin_ = Path(sys.executable).parent
    env = os.environ | {
        "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}",
        "PYTHONWARNINGS": "error",
        "PYTHONUTF8": "1",
        "COLUMNS": "100",
    }
    command = {
        "bash": ["bash", "-euo", "pipefail", "-c", block.code],
        "python": [sys.executable, "-c", block.code],
    }[block.language]
    done = subprocess.run(
        command,
        cwd=folder,
        env=env,
        text=True,
        encoding="utf-8",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, f"{block.code}\nended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def check_output(shown: Block, printed: str) -> None:
    """What the document shows was printed: its lines in their order, other lines between them."""
    if shown.language == "json":
        expected = json.loads(shown.code)
        came = json.loads(printed)
        assert list(came) == list(expected)
        assert [type(v) for v in came.values()] == [type(v) for v in expected.values()]
        strings = {key: value for key, value in expected.items() if isinstance(value, str)}
        assert {key: came[key] for key in strings} == strings
    else:
        lines = iter(printed.splitlines())
        for line in shown.code.splitlines():
            found = any(same_line(line, other) for other in lines)
            assert found, f"{line}\nis not in what came:\n{printed}"


def test_outputs_are_compared_as_a_reader_would() -> None:
    assert same_line("1996-03-05", "1996-03-05")
    assert not same_line("1996-03-05", "1996-03-06")
    assert not same_line("2,000 pairs in a.tsv", "2,001 pairs in a.tsv")
    assert same_line("wer    0.20 %", "wer   4.90 %")
    assert not same_line("wer    0.20 %", "wer   5.90 %")
    assert not same_line("score  -0.006", "score  -0.900")
    assert not same_line("bleu 99.94", "chrf 99.94")


def test_comments_are_told_from_code() -> None:
    block = Block("bash", "a # one\n# two\nb#c '#'x\n", None)
    assert without_comments(block).code == "a\nb#c '#'x"


@pytest.mark.parametrize("name", [english for english, _ in PAIRS])
def test_every_block_does_what_it_says(name: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    printed, ran = "", 0
    for block in blocks(name):
        if block.reason is not None:
            continue
        if block.language in ("bash", "python"):
            printed = run(block, tmp_path)
            ran += 1
        elif block.language in ("text", "json"):
            check_output(block, printed)
        else:
            pytest.fail(f"{name} has a block in {block.language}, which nothing checks")
    assert ran > 1


@pytest.mark.parametrize("name", NOT_RUN)
def test_only_known_blocks_are_not_run(name: str) -> None:
    assert [b.reason for b in blocks(name) if b.reason is not None] == NOT_RUN[name]


@pytest.mark.parametrize(("english", "korean"), PAIRS)
def test_korean_has_the_same_blocks(english: str, korean: str) -> None:
    ours = [without_comments(block) for block in blocks(korean)]
    assert ours == [without_comments(block) for block in blocks(english)]
    assert len(comments(korean)) == len(comments(english))
    assert [c for c in comments(korean) if not re.search("[가-힣]", c)] == []


@pytest.mark.parametrize("name", [name for pair in PAIRS for name in pair])
def test_links_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)\)", text)
    missing = [link for link in links if not (ROOT / name).parent.joinpath(link).exists()]
    assert links and not missing


@pytest.mark.parametrize("name", [name for pair in PAIRS[:2] for name in pair])
def test_every_preset_exit_code_and_tokenizer_is_told(name: str) -> None:
    from jumok import errors
    from jumok.config import TokenizerConfig, preset_names

    text = (ROOT / name).read_text(encoding="utf-8")
    missing = [preset for preset in preset_names() if f"`{preset}`" not in text]
    kinds = [
        error
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.JumokError)
    ]
    codes = {str(error.exit_code) for error in kinds}
    missing += sorted(codes - set(re.findall(r"^\| (\d+) \|", text, re.MULTILINE)))
    if "guide" in name:
        kind = TokenizerConfig.model_fields["kind"].annotation
        missing += [k for k in kind.__args__ if f"`{k}`" not in text]  # type: ignore[union-attr]
    assert not missing
