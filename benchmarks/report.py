"""Write docs/results.md from the figures in benchmarks/results/, so that the two always agree.

python benchmarks/report.py
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from statistics import mean, stdev
from typing import Any

from cli_runs import RESULTS, ROOT

Stored = dict[str, Any]

# Gorman et al. 2020, table 3: LSTM baseline of the shared task, a grid of 36 settings a language
SIGMORPHON_LSTM = {"kor": 46.89, "fre": 6.22, "hun": 5.33, "ice": 10.00, "jpn": 7.56}


def date(stored: Stored) -> str:
    """The lecture's date task."""
    epochs = len(stored["rows"][0]["exact_match_by_epoch"])
    table = _table(
        ["model", *(f"epoch {e + 1}" for e in range(epochs)), "test"],
        (
            [
                row["model"],
                *(f"{v:.2f}" for v in row["exact_match_by_epoch"]),
                f"{row['test']['exact_match']:.2f}",
            ]
            for row in stored["rows"]
        ),
    )
    return (
        "Exact match (%) on the validation pairs of `dlfs2-date` by epoch, and on its test pairs; "
        f"preset `lecture`.\n\n{table}"
    )


def g2p(stored: Stored) -> str:
    """SIGMORPHON 2020."""
    lines = []
    for language, published in SIGMORPHON_LSTM.items():
        rows = [r for r in stored["rows"] if r["language"] == language]
        wers = [r["wer"] for r in rows]
        lines.append(
            [
                language,
                ", ".join(f"{w:.2f}" for w in wers),
                f"**{mean(wers):.2f}** ± {stdev(wers):.2f}",
                f"{mean(r['per'] for r in rows):.2f}",
                f"{mean(r['dev_wer_greedy'] for r in rows):.2f}",
                f"{published:.2f}",
                f"{mean(r['seconds'] for r in rows) / 60:.0f}",
            ]
        )
    whole = mean(r["wer"] for r in stored["rows"])  # every language has as many seeds
    published = mean(SIGMORPHON_LSTM.values())
    dev = mean(r["dev_wer_greedy"] for r in stored["rows"])
    lines.append(
        ["mean of the five", "", f"**{whole:.2f}**", "", f"{dev:.2f}", f"{published:.2f}", ""]
    )
    head = ["language", "WER by seed", "mean WER", "mean PER", "dev WER, greedy",
            "shared-task LSTM, WER", "minutes"]  # fmt: skip
    return (
        "Test WER and PER (%), preset `g2p` unchanged for every language, seeds 1 to 3, one core "
        "each. The preset was chosen by the mean on the dev sets, which without past weights was "
        "9.76 and 10.12 (at commits 73b8baad78d6 and f4c1d2ff220a). The shared task's LSTM "
        "baseline (Gorman et al. 2020) had a grid of 36 settings for each language and read Korean "
        f"in syllables.\n\n{_table(head, lines)}"
    )


def cmudict(stored: Stored) -> str:
    """English G2P."""
    [row] = stored["rows"]
    return (
        f"`cmudict-g2p`, {row['test']['sources']:,} test words, every pronunciation of a word "
        f"being right, one model: WER {row['test']['wer']:.2f}, PER {row['test']['per']:.2f}, "
        f"after {row['seconds'] / 60:.0f} minutes on a core that did other work as well."
    )


def ordering_g2p(stored: Stored) -> str:
    """Each axis alone, on G2P."""
    languages = list(dict.fromkeys(row["language"] for row in stored["rows"]))
    lines = []
    for variant in dict.fromkeys(row["variant"] for row in stored["rows"]):
        found = [
            [r["wer"] for r in stored["rows"] if (r["variant"], r["language"]) == (variant, x)]
            for x in languages
        ]
        lines.append([variant, *(_spread(wers) for wers in found)])
    return (
        "Test WER (%) of up to three seeds, ten epochs, the last checkpoint, one core; `general` "
        "is current timing, attentional context, input feeding, global scope and no past "
        "weights, and each other row changes what it names; with the context in the RNN there is "
        "no input feeding, so those rows stand beside `without input feeding`.\n\n"
        + _table(["attention", *languages], lines)
    )


def _spread(figures: Sequence[float]) -> str:
    """Mean and standard deviation."""
    if len(figures) < 2:
        return ", ".join(f"{figure:.2f}" for figure in figures)
    return f"{mean(figures):.2f} ± {stdev(figures):.2f}"


def ordering_multi30k(stored: Stored) -> str:
    """Each axis alone, on Multi30k."""
    lines = [
        [row["variant"], f"{row['bleu']:.2f}", f"{row['perplexity']:.1f}", f"{row['updates']:,}"]
        for row in stored["rows"]
    ]
    return (
        "German to English, two epochs, the last checkpoint, greedy BLEU on test_2016_flickr. "
        "`dot` wants encoder states as long as the decoder's, which is half of what others have; "
        "`general as dot` has it too. With the context in the RNN there is no input feeding.\n\n"
        + _table(["attention", "BLEU", "perplexity", "updates"], lines)
    )


def multi30k(stored: Stored) -> str:
    """BLEU on test_2016_flickr."""
    lines = [
        [
            row["model"],
            f"{row['greedy']['bleu']:.2f}",
            f"{row['beam5']['bleu']:.2f}",
            f"{row['beam5']['chrf']:.2f}",
            f"{row['seconds'] / 60:.0f}",
        ]
        for row in stored["rows"]
    ]
    signature = stored["rows"][0]["beam5"]["signatures"]["bleu"]
    table = _table(["model", "BLEU greedy", "BLEU beam 5", "chrF beam 5", "minutes"], lines)
    return f"BLEU `{signature}` on test_2016_flickr.\n\n{table}"


def korean(stored: Stored) -> str:
    """Korean to English."""
    [row] = stored["rows"]
    typed = _table(["typed", "answer"], ([k, v] for k, v in row["typed"].items()))
    return (
        f"`tatoeba-ko-en`, 4,520 training pairs: BLEU {row['test']['bleu']:.2f} "
        f"(`{row['test']['signatures']['bleu']}`), exact match {row['test']['exact_match']:.1f} %, "
        f"{row['seconds'] / 60:.0f} minutes. Typed at `jumok predict -`, unedited:\n\n{typed}\n\n"
        "![Attention of the Korean-English model](images/korean-english.svg)"
    )


def teacher_forcing(stored: Stored) -> str:
    """Given tokens and own tokens."""
    shown = {"g2p": ("Korean pronunciation, WER", "wer"), "chat": ("Korean chatbot, BLEU", "bleu")}
    parts = [
        "The last checkpoint after as many updates, greedy outputs for the test pairs; mean and "
        "deviation of the seeds. Tokens wrong: edit distance of the validation pairs' outputs in "
        "per cent of their tokens, where every token before is given and where the model reads its "
        "own; the gap is the difference."
    ]
    for data, (title, metric) in shown.items():
        rows = [row for row in stored["rows"] if row["data"] == data]
        lines = []
        for variant in dict.fromkeys(row["variant"] for row in rows):
            own = [row for row in rows if row["variant"] == variant]
            forced, free = (
                [row[key] for row in own] for key in ("forced_token_error", "token_error")
            )
            lines.append(
                [
                    variant,
                    f"{mean(row['given'] for row in own):.0%}",
                    _spread([row["scores"][metric] for row in own]),
                    _spread(forced),
                    _spread(free),
                    _spread([b - a for a, b in zip(forced, free, strict=True)]),
                ]
            )
        head = ["tokens", "given at the end", title, "wrong, given", "wrong, own", "gap"]
        if lines:
            parts.append(_table(head, lines))
    return "\n\n".join(parts)


def language_model(stored: Stored) -> str:
    """Perplexity beside a Kneser-Ney 5-gram, and texts as they came."""
    lines = []
    for row in stored["rows"]:
        for part, shown in (("dev", "validation"), ("test", "test")):
            for name, model in (("Kneser-Ney 5-gram", "ngram"), ("LSTM", "network")):
                found = row[model][part]
                units = (f"{found[unit]:.2f}" for unit in ("token", "character", "word"))
                unknown = f"{found['unknown']:.2f}"
                lines.append([row["text"], shown, name, *units, unknown])
    head = ["text", "part", "model", "per token", "per character", "per word", "unknown, %"]
    sizes = "; ".join(
        f"{row['text']}, {row['training_texts']:,} training texts, {row['vocabulary']:,} "
        f"{row['tokens']} tokens, {row['seconds'] / 60:.0f} minutes"
        for row in stored["rows"]
    )
    drawn = [
        f"{row['text']}, temperature {one['temperature']}"
        + (f', beginning with "{one["prompt"]}"' if one["prompt"] else "")
        + "\n\n```text\n"
        + "\n".join(one["texts"])
        + "\n```"
        for row in stored["rows"]
        for one in row["samples"]
    ]
    return (
        "Perplexity. English is that side of `multi30k-en-de-tok`; Korean is the questions and "
        "answers of `chatbot-ko` and that side of `tatoeba-ko-en`, each text once and in one part. "
        "Both models read the same tokens, `<unk>` among them, and write the end of every text; "
        "where tokens are unknown, characters and words are counted as if `<unk>` had written "
        "them. The 5-gram is KenLM's interpolated modified Kneser-Ney (Heafield et al. 2013); its "
        "probabilities were summed, and are 1. The LSTM's updates stop with the minutes, on one "
        f"core ({sizes}).\n\n{_table(head, lines)}\n\nTexts of the LSTM, all that were drawn with "
        "seed 1, unedited:\n\n" + "\n\n".join(drawn)
    )


def additive(stored: Stored) -> str:
    """Tiles against the formula written out."""
    lines = [
        [
            str(row["length"]),
            f"{row['seconds']['naive']:.2f}" if "naive" in row["seconds"] else "",
            f"{row['seconds']['jumok']:.2f}",
            f"{row['times_faster']:.1f}" if row["times_faster"] else "",
            f"{row['extra_mib']['naive']:,.0f}" if "naive" in row["extra_mib"] else "",
            f"{row['extra_mib']['jumok']:.0f}",
        ]
        for row in stored["rows"]
    ]
    head = [
        "source = target",
        "formula, s",
        "jumok, s",
        "times faster",
        "formula, MiB",
        "jumok, MiB",
    ]
    return (
        f"The score v · tanh(q + k), batch {stored['batch']}, size {stored['size']}, forward and "
        "backward on one core: processor time and memory beside inputs and results. The formula "
        f"at length 800 would need {_at(stored, 800) / 1024:.0f} GiB.\n\n{_table(head, lines)}"
    )


def _at(stored: Stored, length: int) -> float:
    """MiB that the formula needs at ``length``: they grow with its square."""
    known = [row for row in stored["rows"] if "naive" in row["extra_mib"]][-1]
    return known["extra_mib"]["naive"] * (length / known["length"]) ** 2


def fast_roads(stored: Stored) -> str:
    """What `train.fast` brings a model, by the length of its texts."""
    cells = {
        (
            row["model"],
            row["precision"],
            row["length"],
        ): f"{row['fast_ms']:,.0f} ({row['times']:.2f})"
        for row in stored["rows"]
    }
    heap, lengths = stored["heap"], sorted({length for *_, length in cells})
    models = dict.fromkeys((model, precision) for model, precision, _ in cells)
    lines = [[*model, *(cells[*model, length] for length in lengths)] for model in models]
    head = ["model", "precision", *(f"{length} tokens" for length in lengths)]
    return (
        f"Forward, loss and backward of one batch of {stored['batch']} on one core, source and "
        f"target of one length: milliseconds of processor time, and in brackets how many times as "
        f"long the plain roads take (`train.fast=false`, but with the same products). LSTMs of "
        f"{stored['hidden']}, embeddings of {stored['embedding']}, {stored['vocabulary']} "
        f"characters.\n\n{_table(head, lines)}\n\nWhat an update frees stays with the process: an "
        f"update of a model of 8,000 words takes {heap['kept_ms']:,.0f} ms, and "
        f"{heap['times']:.2f} times as long where the C library gives it back to the system."
    )


def gpu(stored: Stored) -> str:
    """Updates as CUDA graphs, a whole run, and the additive score's kernels."""
    roads = {"fast": "without graphs", "plain": "plain roads", "tutorial": "tutorial's loop"}
    lines = []
    for row in stored["rows"]:
        taken = row["milliseconds_an_update"]
        times = [f"{taken[road] / taken['graphs']:.1f}" if road in taken else "" for road in roads]
        speed = f"{row['tokens_per_second']['graphs']:,}"
        first = [row["model"], str(row["hidden"]), row["precision"]]
        lines.append([*first, f"{taken['graphs']:.1f}", speed, *times])
    head = [
        "model",
        "size",
        "precision",
        "ms",
        "tokens/s",
        *(f"{r}, times" for r in roads.values()),
    ]
    whole, last = stored["whole"], stored["whole"]["epochs"][-1]
    more = [row["recording_seconds"] for row in stored["rows"]]
    least, most = min(more), max(more)
    scores = [
        [
            str(row["length"]),
            f"{row['kernels_ms']:.2f}",
            f"{row['formula_ms']:.2f}" if "formula_ms" in row else "",
            f"{row['kernels_mib']:.1f}",
            f"{row['formula_mib']:,.0f}" if "formula_mib" in row else "",
        ]
        for row in stored["score"]
    ]
    score_head = ["source = target", "kernels, ms", "formula, ms", "kernels, MiB", "formula, MiB"]
    return (
        f"On one {stored['gpu']}: updates of models on Multi30k (words, batch {stored['batch']}) "
        "with all that belongs to them, medians of milliseconds, and how many times as long an "
        "update takes that is launched from Python kernel by kernel: on the same roads "
        "without graphs, with `train.fast=false`, and by `benchmarks/plain_loop.py`; these depend "
        "on the processor more than on the GPU. Shapes are recorded once: the pass over "
        f"{stored['updates']} batches that recorded most of theirs took {least:.1f} to "
        f"{most:.1f} s more.\n\n"
        f"{_table(head, lines)}\n\n"
        f"A whole run, the preset `translation` on words for {last['epoch']:g} epochs: "
        f"{last['seconds']:.0f} s, of which {whole['validation_seconds']:.0f} are validations, and "
        f"BLEU {whole['bleu']['greedy']:.2f} (greedy) and {whole['bleu']['beam5']:.2f} (beam 5) on "
        f"test_2016_flickr; {whole['reserved_mib'] / 1024:.1f} GiB of its memory.\n\n"
        "The additive score, batch 32, size 512, forward and backward, launched from Python: "
        "milliseconds, and memory beside inputs and "
        f"results.\n\n{_table(score_head, scores)}"
    )


def _range(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The least and the greatest ratio of a turn."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return f" ({min(ratios):.2f}–{max(ratios):.2f})" if len(ratios) > 1 else ""


def rivals(stored: Stored) -> str:
    """Training speed beside other toolkits."""
    turns = {row["name"]: row["turns"] for row in stored["rows"]}
    lines = [
        [
            row["name"],
            row["attention"] + (", fed" if row["feeds"] else ""),
            f"{row['tokens_per_second']:,.0f}",
            f"{row['of_limit']:.0%}",
            ", ".join(
                f"{ratio:.2f} × {name}{_range(row['turns'], turns[name])}"
                for name, ratio in row["times"].items()
            ),
        ]
        for row in stored["rows"]
    ]
    versions = ", ".join(stored["rivals"].values())
    return (
        "Real target tokens per second of processor time while training, one core, batches of "
        f"{stored['batch']}, {stored['repeats']} turns; `plain` is the loop of "
        f"[plain_loop.py](../benchmarks/plain_loop.py), the others are {versions}. Ratios are "
        "between equal models: `general` is that of Luong et al. 2015, with input feeding where it "
        "is fed, and `bahdanau` that of Bahdanau et al. 2015; in brackets stand the least and the "
        "greatest of the turns, and where 1 lies between them nobody is faster. The limit is the "
        "time that the products with weights need alone, on this machine.\n\n"
        + _table(["model", "attention", "tokens/s", "of the limit", "times as fast as"], lines)
    )


def equal_updates(stored: Stored) -> str:
    """Quality beside OpenNMT-py."""
    beams, lines = list(stored["rows"][0]["bleu"]), []
    for name in dict.fromkeys(row["name"] for row in stored["rows"]):
        own = [row["bleu"] for row in stored["rows"] if row["name"] == name]
        lines.append([name, str(len(own)), *(_spread([b[beam] for b in own]) for beam in beams)])
    return (
        f"Multi30k English to German, words, after {stored['rows'][0]['updates']:,} updates of "
        f"{stored['rows'][0]['batch']} pairs; models and settings of `benchmarks/rivals.py`, the "
        "last checkpoint, test_2016_flickr, sacrebleu with tokenize none; mean and deviation "
        "of the seeds, where there are several. The loss of either is a mean over tokens; with "
        "its own, a sum over the tokens of a sentence, clipped the same, OpenNMT-py had 29.05 and "
        "29.82 (2026-11-26, results of commit 751ea07).\n\n"
        + _table(["model", "seeds", *(f"BLEU, beam {beam}" for beam in beams)], lines)
    )


def decoding(stored: Stored) -> str:
    """Decoding speed beside other toolkits."""
    text = (
        "Sentences or words per second of processor time on one core, start-up left out, median of "
        f"{len(stored['rows'][0]['turns'])} turns. Each toolkit decodes by its own command, with "
        "the model of `benchmarks/rivals.py` that it trained itself for the same updates "
        "(Yoyodyne on Multi30k for a quarter of them). An output has at most 50 tokens, "
        "without a penalty of length, and no unknown word but Yoyodyne's. Ratios are between "
        "equal models; a [shortlist](search.md#a-shortlist) has the words that attention links to "
        "those of a source in the training pairs."
    )
    for data, title in (("multi30k", "Multi30k English to German"), ("kor", "Korean G2P")):
        rows = [row for row in stored["rows"] if row["data"] == data]
        figure, name = ("bleu", "BLEU") if data == "multi30k" else ("wer", "WER")
        searches = dict.fromkeys((row["batch"], row["beam"]) for row in rows)
        whole = max(row["judged"] for row in rows)
        lines = [
            [
                f"{'beam ' + str(beam) if beam > 1 else 'greedy'}, batch {batch}",
                row["name"]
                + (f", {row['engine']}" if row["engine"] else "")
                + ", shortlist" * row["shortlist"],
                f"{row['sentences_per_second']:,.0f}"
                if row["sentences_per_second"] >= 10
                else f"{row['sentences_per_second']:.1f}",
                ", ".join(f"{ratio:.1f} × {rival}" for rival, ratio in row["times"].items()),
                f"{row[figure]:.2f}"
                + (f" (first {row['judged']})" if row["judged"] < whole else ""),
            ]
            for batch, beam in sorted(searches, reverse=True)
            for row in rows
            if (row["batch"], row["beam"]) == (batch, beam)
        ]
        head = ["search", "model", "per second", "times as fast as", name]
        text += f"\n\n{title}:\n\n{_table(head, lines)}"
    return text


def cold_start(stored: Stored) -> str:
    """Start-up and size."""
    lines = [
        [
            row["data"],
            row["toolkit"],
            f"{row['seconds']:.2f}",
            ", ".join(f"{ratio:.1f} × {rival}" for rival, ratio in row["times"].items()),
            f"{sum(row['imports'].values()) / 1000:.2f}",
            ", ".join(f"{name} {ms:.0f}" for name, ms in list(row["imports"].items())[:6]),
            f"{row['megabytes']:,.0f}",
            " / ".join(f"{size:.1f}" for size in row.get("megabytes_small", [])),
        ]
        for row in stored["rows"]
    ]
    head = ["data", "toolkit", "s", "as fast as", "imports, s", "of them, ms", "MB", "smallest MB"]
    return (
        "Seconds on the clock from the command to the answer for one sentence or word, one core, "
        f"median of {len(stored['rows'][0]['turns'])} turns; jumok is installed without torch and "
        "its model exported. Imports are of one run under `-X importtime`, which slows them. MB: "
        "all of site-packages without pip and setuptools; for the others what they have beside "
        "jumok's environment, and torch. The smallest is that of `constraints-small.txt`, as "
        "installed, and with the bytecode that Python keeps once it is used.\n\n"
        + _table(head, lines)
    )


def serving(stored: Stored) -> str:
    """A server under load."""
    lines = [
        [
            "greedy" if row["beam"] == 1 else f"beam {row['beam']}",
            f"{row['clients']}",
            f"{row['per_second']:,.0f}",
            f"{row['median_ms']:.1f}",
            f"{row['p95_ms']:.1f}",
            f"{row['together']:.1f}",
            f"{row['alone_per_second']:,.0f}",
            f"{row['bulk_per_second']:,.0f}",
        ]
        for row in stored["rows"]
    ]
    head = ["search", "ask at one time", "answers/s", "ms, median", "ms, 95 %", "in a batch"]
    return (
        "`jumok serve` on one core, an exported model of preset `g2p` (Korean words); each client "
        "asks for one word, with its attention, waits for the answer and asks for the next. Beside "
        "it the same words by `Predictor.predict` on the same core, one at a time and all at "
        "once.\n\n" + _table([*head, "without a server, one by one", "all at once"], lines)
    )


def shortlist(stored: Stored) -> str:
    """Time and BLEU with a list of target tokens, and without."""
    first = stored["rows"][0]
    lines = [
        [
            row["engine"],
            f"{'beam ' + str(row['beam']) if row['beam'] > 1 else 'greedy'}, batch {row['batch']}",
            f"{row['milliseconds']:.1f}",
            f"{row['milliseconds_shortlist']:.1f}",
            f"{row['times_faster']:.1f}",
            f"{row['bleu']:.2f}",
            f"{row['bleu_shortlist']:.2f}",
        ]
        for row in stored["rows"]
    ]
    head = ["engine", "search", "ms", "ms with it", "times as fast", "BLEU", "BLEU with it"]
    return (
        "A model of the tokenised Multi30k, processor milliseconds a sentence of "
        "test_2016_flickr on one core, median of turns, with all "
        f"{first['vocabulary']:,} target tokens and with a [shortlist](search.md#a-shortlist) of "
        f"{first['listed']:,} a sentence, made with the defaults of `jumok shortlist`.\n\n"
        + _table(head, lines)
    )


def alignment(stored: Stored) -> str:
    """AER."""
    sets = list(dict.fromkeys(row["set"] for row in stored["rows"]))
    found = {(r["attention"], r["links"], r["set"]): r for r in stored["rows"]}
    lines = [
        [attention, links]
        + [
            f"{found[attention, links, name][figure]:.1f}"
            for name in sets
            for figure in ("aer", "precision", "recall")
        ]
        for attention, links in dict.fromkeys((r["attention"], r["links"]) for r in stored["rows"])
    ]
    head = ["attention", "links"]
    head += [f"{name}, {figure}" for name in sets for figure in ("AER", "precision", "recall")]
    return (
        "Words of `en-ja.kftt` and `en-fr.hansards-test` linked by `jumok align` with models of "
        "`tanaka-en-ja` and `multi30k-en-fr`, some minutes of training each. Gold links are of "
        "other domains than the training pairs: compare the rows, not published figures. `forward` "
        "links each target word to a source word, `reverse` each source word to a target word by a "
        "model of the other direction, the others join the two; `diagonal` looks at no word.\n\n"
        + _table(head, lines)
    )


def data_check(stored: Stored) -> str:
    """Findings in the data sets."""
    lines = []
    for row in stored["rows"]:
        cells = []
        for grave in (True, False):
            told = [
                f"{name} {count:,}{' (test)' if part == 'test' else ''}"
                for part, found in row["findings"].items()
                for name, count in found.items()
                if (name not in row["notes"]) == grave
            ]
            cells.append(", ".join(told))
        sizes = " + ".join(f"{count:,}" for count in row["lines"].values())
        lines.append([row["set"], sizes, *cells])
    return (
        "The data sets of this page and some more, looked over by `jumok data check` before any "
        "training; lines of the training files, and of the evaluation files where there are some "
        "(`test`). What each finding means is told in [Data](data.md). Where the notes that come "
        "with the sets tell of repeats and overlap, `tests/doctor/test_shared_data.py` asks for "
        "their numbers.\n\n" + _table(["set", "lines", "errors and warnings", "notes"], lines)
    )


PARTS: list[tuple[str, str, Callable[[Stored], str]]] = [
    ("date", "Dates: attention against none", date),
    ("g2p", "Grapheme-to-phoneme: SIGMORPHON 2020", g2p),
    ("cmudict", "Grapheme-to-phoneme: CMUdict", cmudict),
    ("ordering-g2p", "Axes of attention, one by one: G2P", ordering_g2p),
    ("ordering-multi30k", "Axes of attention, one by one: Multi30k", ordering_multi30k),
    ("multi30k-tok", "Multi30k English to German, tokenised", multi30k),
    ("shortlist", "A shortlist of target tokens", shortlist),
    ("multi30k-raw", "Multi30k English to German, raw text with BPE", multi30k),
    ("multi30k-ladder", "Multi30k German to English: no attention, peek, attention", multi30k),
    ("korean", "Korean to English", korean),
    ("alignment", "Word alignment by attention: AER", alignment),
    ("teacher-forcing", "From given tokens to its own", teacher_forcing),
    ("language-model", "Language models beside a Kneser-Ney 5-gram", language_model),
    ("rivals", "Training speed beside other toolkits", rivals),
    ("rivals-256", "Training speed beside other toolkits: size 256 again", rivals),
    ("equal-updates", "Quality after the same number of updates", equal_updates),
    ("decoding", "Decoding speed beside other toolkits", decoding),
    ("cold-start", "From a command to its answer", cold_start),
    ("serving", "Answers over HTTP under load", serving),
    ("fast-roads", "Updates on the fast roads and on the plain ones", fast_roads),
    ("additive", "Additive attention without its inner tensor", additive),
    ("gpu", "On a GPU: CUDA graphs and kernels", gpu),
    ("data-check", "What is odd in the data sets", data_check),
]


def page() -> str:
    """The whole page in Markdown."""
    text = [
        "# Results\n",
        "Measured with the commands below (SEED stands for 1, 2 and so on); every figure with its "
        "date, commit, versions and hardware is in [benchmarks/results](../benchmarks/results). "
        "`make results` and `make bench` measure again (of the long series what is not in the "
        "files there), and this page is written by `benchmarks/report.py`.\n",
    ]
    for name, title, render in PARTS:
        path = RESULTS / f"{name}.json"
        if not path.exists():
            continue
        stored = json.loads(path.read_text(encoding="utf-8"))
        text.append(f"## {title}\n\n{render(stored)}\n")
        text.append(_origin(stored))
    return "\n".join(text)


def main() -> None:
    """Write the page."""
    (ROOT / "docs" / "results.md").write_text(page(), encoding="utf-8")


def _origin(stored: Stored) -> str:
    every = [row.get("command", stored["command"]) for row in stored["rows"]]
    commands = "\n".join(dict.fromkeys(_with_any_seed(command) for command in every))
    gpu = f"{stored['gpu']}, " if stored.get("gpu") else ""
    return (
        f"<details><summary>{stored['date'][:10]}, {stored['cpu']}, {stored['cores']} cores, {gpu}"
        f"torch {stored['versions']['torch']}</summary>\n\n```text\n{commands}\n```\n\n</details>\n"
    )


def _with_any_seed(command: str) -> str:
    """Runs that differ in their seed alone are one line; SEED stands for each."""
    return re.sub(r"(train\.seed)=(\d+)(.* --output \S+-)\2$", r"\1=SEED\3SEED", command)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


if __name__ == "__main__":
    main()
