"""The commands of `jumok`: thin, each one call into the library."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from jumok.cli.data import Pairs, data_app

app = typer.Typer(
    name="jumok",
    help="Train, explain, evaluate and serve RNN encoder-decoder models with attention (주목).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data")

Model = Annotated[
    Path, typer.Argument(help="Model directory, or a run's directory.", show_default=False)
]
Ensemble = Annotated[
    Optional[list[Path]],  # noqa: UP045 - typer reads it
    typer.Option("--ensemble", help="Another model to decide together with; may be given again."),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="YAML file of settings to begin with.")
]
NewRun = Annotated[Path | None, typer.Option("--output", help="New directory for the run.")]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what it would take: sizes, time, memory; train nothing."),
]
Judge = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--language-model", help="It judges outputs too, by search.lm_weight."),
]
Presets = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--preset", help="Preset; may be given again (task and architecture combine)."),
]
Settings = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--set", metavar="KEY=VALUE", help="A setting, as in train.max_epochs=3."),
]
Beam = Annotated[Optional[int], typer.Option("--beam", min=1, help="Beam size; 1 is greedy.")]  # noqa: UP045
Device = Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:1.")]


class EngineChoice(StrEnum):
    """What computes: `jumok.engine.load_engine`."""

    auto = "auto"
    torch = "torch"
    onnx = "onnx"
    onnx_int8 = "onnx-int8"


Engine = Annotated[
    EngineChoice,
    typer.Option("--engine", help="auto: the graphs of jumok export in float32, if there are any."),
]


_SYSTEM = "Model directory, run directory, or file of outputs (one a line, for each source)."


class PredictFormat(StrEnum):
    """Output of `jumok predict`."""

    text = "text"
    tsv = "tsv"
    jsonl = "jsonl"


class AlignFormat(StrEnum):
    """Output of `jumok align`."""

    pharaoh = "pharaoh"
    jsonl = "jsonl"


class TextUnits(StrEnum):
    """`jumok.explain.Units`, which is not imported before it is needed."""

    token = "token"
    character = "character"
    word = "word"


class SymmetriseMethod(StrEnum):
    """`jumok.explain.Symmetrisation`, in the same way."""

    intersection = "intersection"
    union = "union"
    grow_diag = "grow-diag"
    grow_diag_final = "grow-diag-final"
    grow_diag_final_and = "grow-diag-final-and"


class EvaluateFormat(StrEnum):
    """Output of `jumok evaluate`, `compare` and `tune`."""

    table = "table"
    json = "json"


def _version(asked: bool) -> bool:
    if asked:
        from jumok import __version__

        print(f"jumok {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def train(
    data: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(
            metavar="DATA...",
            help="Files of pairs (.tsv .csv .jsonl .tmx, also .gz; .parquet), directories of data "
            "sets, or SOURCE,TARGET for two text files.",
        ),
    ] = None,
    dev: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--dev", help="File of validation pairs; else a part is held out."),
    ] = None,
    preset: Presets = None,
    config_file: ConfigFile = None,
    set_: Settings = None,
    output: NewRun = None,
    resume: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--resume", help="Go on with the run in this directory."),
    ] = None,
    skip_bad_lines: Annotated[
        bool, typer.Option("--skip-bad-lines", help="Count and report bad lines, and go on.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Train a model on files of pairs."""
    import jumok
    from jumok.config import parse_settings
    from jumok.errors import ConfigError

    settings = list(set_ or [])
    if skip_bad_lines:
        settings.append("data.skip_bad_lines=true")
    if resume is not None:
        if data or output or preset or dev or config_file or dry_run:
            raise ConfigError(
                "--resume goes on with a run as it was begun: give only --set train.*"
            )
        jumok.resume(resume, settings)
        return
    if not data and not config_file and "data.train" not in parse_settings(settings):
        raise ConfigError(
            "There is nothing to train on: give a file of pairs, jumok train FILE ..."
        )
    given: dict[str, Any] = {"dev": dev or (), "preset": preset or (), "settings": settings}
    given["config_file"] = config_file
    if dry_run:
        _say_forecast(data or (), **given)
        return
    if output is None:
        raise ConfigError("Say where the model should go: --output DIRECTORY")
    jumok.train(data or (), output=output, **given)


def _say_forecast(data: Sequence[str], **given: Any) -> None:
    from jumok.cli.output import render_forecast
    from jumok.training.run import forecast_training

    print(render_forecast(*forecast_training(data, **given)))


@app.command("train-lm")
def train_lm(
    texts: Annotated[
        list[str], typer.Argument(metavar="TEXT...", help="Files of texts, one a line (or .gz).")
    ],
    dev: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--dev", help="File of validation texts; else a part is held out."),
    ] = None,
    tokens_of: Annotated[
        Path | None,
        typer.Option("--tokens-of", help="Model whose target tokens it shares; else its own."),
    ] = None,
    preset: Presets = None,
    config_file: ConfigFile = None,
    set_: Settings = None,
    output: NewRun = None,
    dry_run: DryRun = False,
) -> None:
    """Train a language model on texts; go on with one by jumok train --resume."""
    import jumok
    from jumok.errors import ConfigError

    given: dict[str, Any] = {"dev": dev or (), "preset": preset or (), "settings": set_ or ()}
    given |= {"config_file": config_file, "tokens_of": tokens_of}
    if dry_run:
        _say_forecast(texts, language_model=True, **given)
        return
    if output is None:
        raise ConfigError("Say where the model should go: --output DIRECTORY")
    jumok.train_lm(texts, output=output, **given)


@app.command()
def generate(
    model: Model,
    prompt: Annotated[str, typer.Option("--prompt", help="What the texts begin with.")] = "",
    n: Annotated[int, typer.Option("--n", min=1, max=1000, help="How many texts.")] = 1,
    temperature: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option("--temperature", help="Under 1 more probable texts, above 1 bolder ones."),
    ] = None,
    top_k: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--top-k", help="Draw among so many most probable tokens."),
    ] = None,
    top_p: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option("--top-p", help="Draw among the fewest tokens with this probability."),
    ] = None,
    seed: Annotated[Optional[int], typer.Option("--seed", help="Of the draw.")] = None,  # noqa: UP045
    set_: Settings = None,
    device: Device = "cpu",
    engine: Engine = EngineChoice.auto,
) -> None:
    """Write texts with a language model, a line each, as they are drawn."""
    from jumok.cli.output import Telling
    from jumok.errors import InputError
    from jumok.predictor import LanguageModel, load

    drawing = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    search = _search(None, None, set_)
    search |= {key: value for key, value in drawing.items() if value is not None}
    predictor = load(model, device, engine=engine.value)
    if not isinstance(predictor, LanguageModel):
        raise InputError(
            f"{model} is no language model: it writes outputs for sources (jumok predict). Train "
            "one with jumok train-lm"
        )
    with Telling(n) as telling:
        telling.end(predictor.generate(prompt, n, telling, **search))


@app.command()
def predict(
    model: Model,
    file: Annotated[str, typer.Argument(help="Text file, one source a line; - is stdin.")] = "-",
    beam: Beam = None,
    n_best: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--n-best", min=1, help="Outputs per source (a beam as wide, at least)."),
    ] = None,
    prefix: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--prefix", help="What every output begins with."),
    ] = None,
    choices: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--choices", help="File of the only outputs there are, one a line."),
    ] = None,
    dictionary: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--dictionary",
            help="File of source token, tab, what stands for it if it is unknown "
            "(search.replace_unknown).",
        ),
    ] = None,
    format_: Annotated[
        PredictFormat, typer.Option("--format", help="Form of the output.")
    ] = PredictFormat.text,
    encoding: Annotated[
        str, typer.Option("--encoding", help="Text encoding of the input.")
    ] = "utf-8",
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", help="New file for the outputs, with progress on stderr."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the --output that a broken job left.")
    ] = False,
    ray: Annotated[
        bool, typer.Option("--ray", help="Spread the work with Ray (RAY_ADDRESS: over machines).")
    ] = False,
    ray_workers: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--ray-workers", min=1, help="Processes of Ray; else as many as fit."),
    ] = None,
    set_: Settings = None,
    ensemble: Ensemble = None,
    language_model: Judge = None,
    device: Device = "cpu",
    engine: Engine = EngineChoice.auto,
) -> None:
    """Write the model's outputs for a file or for stdin, line by line as they come."""
    from jumok.cli.bulk import Job, run
    from jumok.cli.streams import Source, read_dictionary, source_lines
    from jumok.errors import ConfigError

    if ray_workers and not ray:
        raise ConfigError("--ray-workers says how many workers Ray has. Ask for Ray: --ray")
    answers = None
    if choices is not None:  # a blank line is no answer
        answers = [line for line in source_lines(str(choices), encoding) if line]
    job = Job(
        models=[str(path) for path in (model, *(ensemble or ()))],
        language_model=None if language_model is None else str(language_model),
        device=device,
        search=_search(beam, n_best, set_),
        prefix=prefix,
        choices=answers,
        dictionary=None if dictionary is None else read_dictionary(dictionary, encoding),
        format=format_.value,
        engine=engine.value,
    )
    run(job, Source(file, encoding), output, resume, (ray_workers or 0) if ray else None)


@app.command()
def serve(
    model: Model,
    host: Annotated[
        str, typer.Option("--host", help="Address; this machine alone, if not said otherwise.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port; 0 is any that is free.")
    ] = 8000,
    max_texts: Annotated[
        int, typer.Option("--max-texts", min=1, help="Texts of one request.")
    ] = 64,
    max_characters: Annotated[
        int, typer.Option("--max-characters", min=1, help="Characters of one text.")
    ] = 2_000,
    max_phrases: Annotated[
        int, typer.Option("--max-phrases", min=0, help="Choices, phrases, entries of a request.")
    ] = 1_000,
    max_beam: Annotated[
        int, typer.Option("--max-beam", min=1, help="Widest beam of a request, and most outputs.")
    ] = 20,
    max_attention: Annotated[
        int,
        typer.Option(
            "--max-attention",
            min=1,
            help="Numbers of attention of a request: beam x source tokens x longest output.",
        ),
    ] = 8_000_000,
    max_waiting: Annotated[
        int, typer.Option("--max-waiting", min=0, help="Texts that may wait for their turn.")
    ] = 256,
    timeout: Annotated[
        float,
        typer.Option("--timeout", min=0.1, max=86_400, help="Seconds that a request may take."),
    ] = 30.0,
    key_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--key-file", help="File of keys, one a line; a request must bring one."),
    ] = None,
    allow_host: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--allow-host", help="Name that it may be asked by; may be given again."),
    ] = None,
    beam: Beam = None,
    set_: Settings = None,
    ensemble: Ensemble = None,
    language_model: Judge = None,
    device: Device = "cpu",
    engine: Engine = EngineChoice.auto,
) -> None:
    """Answer over HTTP, with a page to try the model and see its attention."""
    from jumok.cli.served import Address, run_server
    from jumok.predictor import load

    limits = {"texts": max_texts, "characters": max_characters, "phrases": max_phrases}
    limits |= {"beam": max_beam, "attention": max_attention, "waiting": max_waiting}
    run_server(
        lambda: load([model, *(ensemble or ())], device, language_model, engine.value),
        model.resolve().name,
        _search(beam, None, set_),
        Address(host, port, allow_host or (), key_file),
        {**limits, "seconds": timeout},
    )


@app.command()
def align(
    model: Model,
    data: Pairs,
    units: Annotated[
        TextUnits, typer.Option("--units", help="Link the model's tokens, characters or words.")
    ] = TextUnits.word,
    format_: Annotated[
        AlignFormat, typer.Option("--format", help="Form of the output.")
    ] = AlignFormat.pharaoh,
    reverse_model: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(
            "--reverse-model",
            help="Model from target to source; may be given again, as an ensemble.",
        ),
    ] = None,
    symmetrise: Annotated[
        Optional[SymmetriseMethod],  # noqa: UP045
        typer.Option("--symmetrise", help="How links of two directions are joined."),
    ] = None,
    set_: Settings = None,
    ensemble: Ensemble = None,
    device: Device = "cpu",
    engine: Engine = EngineChoice.auto,
) -> None:
    """Link the words of given pairs by attention: i-j is source word i with target word j."""
    from jumok.alignment import Aligner
    from jumok.cli.output import render_alignment
    from jumok.cli.streams import answer_pairs, split_settings
    from jumok.config import resolve
    from jumok.data import BadLine, Pair
    from jumok.predictor import load

    reading, settings = split_settings(set_)
    config = resolve(settings=reading).data
    aligner = Aligner(
        load([model, *(ensemble or ())], device, engine=engine.value),
        load(reverse_model, device, engine=engine.value) if reverse_model else None,
        units.value,
        None if symmetrise is None else symmetrise.value,
        **_search(None, None, settings),
    )

    def answer(pairs: list[Pair], items: Sequence[Pair | BadLine]) -> None:
        found = iter(aligner.align(pairs))
        for item in items:
            alignment = next(found) if isinstance(item, Pair) else None
            sys.stdout.write(render_alignment(alignment, format_.value))
        sys.stdout.flush()

    answer_pairs(data, config, aligner.features, answer)


@app.command()
def evaluate(
    model: Model,
    data: Annotated[list[str], typer.Argument(help="Files of pairs the model has not seen.")],
    format_: Annotated[
        EvaluateFormat, typer.Option("--format", help="Form of the output.")
    ] = EvaluateFormat.table,
    beam: Beam = None,
    set_: Settings = None,
    ensemble: Ensemble = None,
    language_model: Judge = None,
    device: Device = "cpu",
    engine: Engine = EngineChoice.auto,
) -> None:
    """Judge a model's outputs on pairs, with every metric; a language model on texts."""
    from jumok.cli.output import render_perplexities, render_scores
    from jumok.cli.streams import naming_pairs, say_skipped, split_settings
    from jumok.config import resolve
    from jumok.data import read_pairs, read_texts
    from jumok.errors import ConfigError
    from jumok.evaluation import evaluate_report
    from jumok.predictor import LanguageModel, load
    from jumok.progress import counted, telling

    predictor = load([model, *(ensemble or ())], device, language_model, engine.value)
    reading, settings = split_settings(set_, {"evaluation.bleu_tokenize"})
    config = resolve(settings=reading)
    own = "evaluation.bleu_tokenize" in reading
    tokenize = config.evaluation.bleu_tokenize if own else None
    search = _search(beam, None, settings)
    features = predictor.config.model.encoder.features != "none"
    of_texts = isinstance(predictor, LanguageModel)
    if of_texts:
        judged = "A language model is judged by the probability of texts, without any"
        if search:
            raise ConfigError(f"{judged} search: leave search.{next(iter(search))} out")
        if language_model is not None:
            raise ConfigError(f"{judged} outputs for another to judge: leave --language-model out")
        for key in reading:
            if key not in ("data.encoding", "data.skip_bad_lines"):
                raise ConfigError(f"{judged} pairs, and a text is a whole line: leave {key} out")
    read = read_texts(data, config.data) if of_texts else read_pairs(data, config.data, features)
    say_skipped(read.bad)
    if isinstance(predictor, LanguageModel):
        with telling("texts") as tell:
            told = counted(tell, "perplexity")
            found = predictor.perplexity([pair.target for pair in read.pairs], told)
        print(render_perplexities(found, len(read.pairs), format_.value))
        return
    with telling("texts") as tell, naming_pairs(data, read.numbers):
        report = evaluate_report(predictor, read.pairs, tokenize, tell, **search)
    print(render_scores(report, format_.value))


@app.command()
def tune(
    data: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="DATA...", help="Files of pairs, as jumok train has them."),
    ] = None,
    dev: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--dev", help="File of validation pairs; else a part is held out."),
    ] = None,
    preset: Presets = None,
    config_file: ConfigFile = None,
    set_: Settings = None,
    space: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--space",
            metavar="KEY=SPEC",
            help="What to try: KEY=LOW..HIGH, KEY=LOW..HIGH:log or KEY=A|B|C; may be given again.",
        ),
    ] = None,
    trials: Annotated[int, typer.Option("--trials", min=1, help="How many trainings in all.")] = 20,
    *,
    output: Annotated[Path, typer.Option("--output", help="New directory for the search.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the search in --output, if there is one.")
    ] = False,
    format_: Annotated[
        EvaluateFormat, typer.Option("--format", help="Form of the output.")
    ] = EvaluateFormat.table,
) -> None:
    """Train with several settings and find the best; Optuna chooses what to try next."""
    import jumok
    from jumok.cli.searched import render_search

    found = jumok.tune(
        data or (),
        dev=dev or (),
        preset=preset or (),
        config_file=config_file,
        settings=set_ or (),
        spaces=space or (),
        trials=trials,
        output=output,
        resume=resume,
    )
    print(render_search(found, format_.value))


@app.command()
def average(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL MODEL...", help="Models of one run.")
    ],
    output: Annotated[Path, typer.Option("--output", help="New directory for the model.")],
) -> None:
    """Make one model whose weights are the mean of several models' weights."""
    from jumok.averaging import average as mean_of

    print(f"the mean of {len(models)} models is in {mean_of(models, output)}")


@app.command()
def compare(
    model_a: Annotated[Path, typer.Argument(metavar="MODEL_A", help=_SYSTEM, show_default=False)],
    model_b: Annotated[Path, typer.Argument(metavar="MODEL_B", help=_SYSTEM, show_default=False)],
    data: Annotated[list[str], typer.Argument(help="Files of pairs the models have not seen.")],
    format_: Annotated[
        EvaluateFormat, typer.Option("--format", help="Form of the output.")
    ] = EvaluateFormat.table,
    plot: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--plot", help="Also draw to a file: .svg or .png."),
    ] = None,
    train_files: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--train", help="Training pairs, to group by how rare words are; may be given again."
        ),
    ] = None,
    resamples: Annotated[
        int, typer.Option("--resamples", min=100, help="Draws of the bootstrap.")
    ] = 1000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the draws.")] = 12345,
    examples: Annotated[
        int, typer.Option("--examples", min=0, help="Items to show, for each model.")
    ] = 3,
    beam: Beam = None,
    set_: Settings = None,
    device: Device = "cpu",
    engine: Engine = EngineChoice.auto,
) -> None:
    """Judge two models on the same pairs, and tell what is no chance (paired bootstrap)."""
    from jumok.cli.compared import render_comparison
    from jumok.cli.streams import naming_pairs, pairs_of, say_skipped, split_settings
    from jumok.comparison import check_plot, check_systems, write_plot
    from jumok.comparison import compare as compare_systems
    from jumok.config import resolve
    from jumok.data import Pair, read_pairs, read_sources
    from jumok.errors import BundleError
    from jumok.predictor import Predictor, load
    from jumok.progress import telling
    from jumok.storage import find_directory

    if plot is not None:
        check_plot(plot)
    reading, settings = split_settings(set_, {"evaluation.metric", "evaluation.bleu_tokenize"})
    config = resolve(settings=reading)
    judge = config.evaluation
    search = _search(beam, None, settings)
    names = (str(model_a), str(model_b))

    def system(path: Path) -> Predictor | list[str]:
        if find_directory(path).is_dir():
            return load(path, device, engine=engine.value)
        if not path.exists():
            raise BundleError(
                f"{path} is neither a model directory nor a file of outputs: there is nothing of "
                "that name. `jumok train` makes the one, `jumok predict` the other"
            )
        return list(read_sources(path, config.data))

    a, b = system(model_a), system(model_b)
    models = check_systems((a, b), names, search)
    features = any(model.config.model.encoder.features != "none" for model in models)
    read = read_pairs(data, config.data, features)
    skipped = read.bad

    def trained_on(files: Sequence[str]) -> Iterator[str]:
        for item in pairs_of(files, config.data, features):
            if isinstance(item, Pair):
                yield item.source
            else:
                skipped.append(item)

    with telling("texts") as tell, naming_pairs(data, read.numbers):
        compared = compare_systems(
            a,
            b,
            read.pairs,
            names=names,
            train=trained_on(train_files) if train_files else None,
            metric=judge.metric if "evaluation.metric" in reading else None,
            bleu_tokenize=judge.bleu_tokenize if "evaluation.bleu_tokenize" in reading else None,
            resamples=resamples,
            seed=seed,
            examples=examples,
            tell=tell,
            **search,
        )
    say_skipped(skipped)
    print(render_comparison(compared, format_.value))
    if plot is not None:
        write_plot(compared, plot)


@app.command()
def explain(
    model: Model,
    text: Annotated[str, typer.Argument(help="A source text.")],
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", help="Draw to a file instead: .svg .html .png or .json."),
    ] = None,
    head: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--head", min=1, help="Show one head of several; without it, their mean."),
    ] = None,
    units: Annotated[
        TextUnits, typer.Option("--units", help="Show the model's tokens, characters or words.")
    ] = TextUnits.token,
    beam: Beam = None,
    set_: Settings = None,
    ensemble: Ensemble = None,
    language_model: Judge = None,
    device: Device = "cpu",
    engine: Engine = EngineChoice.auto,
) -> None:
    """Show where the model looked: source across, output down, weights as shades."""
    from jumok.cli.output import show_attention
    from jumok.explain import write
    from jumok.predictor import load

    predictor = load([model, *(ensemble or ())], device, language_model, engine.value)
    prediction = predictor.predict(text, **_search(beam, None, set_))
    if output is None:
        print(show_attention(prediction, head, units.value))
    else:
        write(prediction.attention_map(head, units.value), output)
        print(f"{prediction.text}\nwritten to {output}")


@app.command()
def shortlist(
    model: Model,
    data: Pairs,
    most: Annotated[
        int, typer.Option("--most", min=1, help="Target tokens of each source token.")
    ] = 50,
    frequent: Annotated[
        int, typer.Option("--frequent", min=0, help="Most frequent target tokens, for any source.")
    ] = 100,
    set_: Settings = None,
    device: Device = "cpu",
    engine: Engine = EngineChoice.auto,
) -> None:
    """List the target tokens that source tokens become in pairs, for search.shortlist=true."""
    from jumok.bundle import read_bundle, write_shortlist
    from jumok.cli.output import render_shortlist
    from jumok.cli.streams import answer_pairs, split_settings
    from jumok.config import resolve
    from jumok.data import BadLine, Pair
    from jumok.predictor import load
    from jumok.progress import Bar
    from jumok.shortlist import LinkCounts

    reading, settings = split_settings(set_)
    config = resolve(settings=reading).data
    bundle, predictor = read_bundle(model), load(model, device, engine=engine.value)
    counts = LinkCounts(predictor, **_search(None, None, settings))

    def answer(pairs: list[Pair], _: Sequence[Pair | BadLine]) -> None:
        counts.add(pairs)
        bar.show(None, f"{counts.pairs:,} pairs", "")

    with Bar() as bar:
        answer_pairs(data, config, predictor.config.model.encoder.features != "none", answer)
    found = counts.shortlist(most, frequent)
    print(render_shortlist(found, counts, write_shortlist(bundle, found)))


@app.command("export")
def export_(
    model: Model,
    int8: Annotated[
        bool, typer.Option("--int8/--no-int8", help="Also graphs with weights in 8 bits.")
    ] = True,
) -> None:
    """Write a model as ONNX graphs into its directory, to be run without torch."""
    from jumok.cli.output import render_export
    from jumok.errors import MissingExtra

    try:
        from jumok.export import export
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "entmax", "onnx", "onnxscript", "onnx_ir"):
            raise
        raise MissingExtra("export", error.name) from None
    print(render_export(export(model, int8)))


@app.command()
def config(
    print_: Annotated[
        bool, typer.Option("--print", help="Show every setting and its value.")
    ] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Show the JSON Schema.")] = False,
    preset: Presets = None,
    set_: Settings = None,
) -> None:
    """Show settings, with presets and --set applied."""
    import json

    from jumok.config import Config, preset_names, resolve

    resolved = resolve(preset or (), set_ or ())
    if schema:
        print(json.dumps(Config.model_json_schema(), ensure_ascii=False, indent=2))
    elif print_:
        print(resolved.to_yaml(), end="")
    else:
        print(f"Presets: {', '.join(preset_names())}")
        print(
            "jumok config --print --preset NAME shows what a preset sets; --schema, what may be set"
        )


def _search(
    beam: int | None,
    n_best: int | None = None,
    settings: Iterable[str] | Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Search settings of a command line."""
    from jumok.config import parse_settings, resolve
    from jumok.errors import ConfigError

    search: dict[str, Any] = {}
    for key, value in parse_settings(settings or ()).items():
        section, _, field = key.partition(".")
        if section != "search":
            resolve(settings={key: value})  # an unknown one has a sentence of its own
            raise ConfigError(f"A trained model's {key} is fixed; here only search.* can be set")
        search[field] = value
    if beam is not None:
        search["beam"] = beam
    if n_best is not None:
        search["n_best"] = n_best
    return search
