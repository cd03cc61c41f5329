"""Settings: what is possible, what is refused and with which words, how presets combine."""

from __future__ import annotations

import copy
import itertools

import pytest
import yaml

from jumok.config import Config, dotted_keys, load_preset, preset_names, read_tree, resolve
from jumok.errors import ConfigError

ARCHITECTURES = ["bahdanau2015", "cho2014", "lecture", "luong2015", "sutskever2014"]
TASKS = ["chat", "g2p", "language-model", "translation"]


def refused(*settings: str, presets: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(presets, settings)
    return str(caught.value)


def test_presets_are_of_two_kinds() -> None:
    kinds = {name: load_preset(name)["kind"] for name in preset_names()}
    assert sorted(k for k, v in kinds.items() if v == "architecture") == ARCHITECTURES
    assert sorted(k for k, v in kinds.items() if v == "task") == TASKS


@pytest.mark.parametrize("name", ARCHITECTURES + TASKS)
def test_every_preset_resolves_and_survives_yaml(name: str) -> None:
    config = resolve([name])
    assert config.presets == (name,)
    assert resolve(base=yaml.safe_load(config.to_yaml())) == config


OF_SOURCES = [task for task in TASKS if task != "language-model"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_language_model_has_none_of_the_architectures(architecture: str) -> None:
    with pytest.raises(ConfigError, match="goes by a source, but"):
        resolve(["language-model", architecture])


@pytest.mark.parametrize(
    ("task", "architecture"), list(itertools.product(OF_SOURCES, ARCHITECTURES))
)
def test_a_task_and_an_architecture_combine_in_any_order(task: str, architecture: str) -> None:
    config = resolve([task, architecture])
    other = resolve([architecture, task])
    assert config.model_copy(update={"presets": ()}) == other.model_copy(update={"presets": ()})
    assert config.model.attention == resolve([architecture]).model.attention
    base = yaml.safe_load(resolve([task]).to_yaml())
    onto_task = resolve([architecture], base=base)
    assert onto_task.model.attention == resolve([architecture]).model.attention
    assert config.data.reverse_source == resolve([architecture]).data.reverse_source
    for section in ("text", "search", "evaluation"):
        assert getattr(config, section) == getattr(resolve([task]), section)


def test_settings_win_over_presets() -> None:
    config = resolve(["g2p"], ["train.seed=7", "model.attention.score=dot"])
    assert config.train.seed == 7
    assert config.model.attention.score == "dot"
    assert resolve(["g2p"], {"train.seed": 7}).train.seed == 7


@pytest.mark.parametrize(
    ("text", "value"), [(" ", " "), ("|", "|"), ("_", "_"), ('"-"', "-"), ("#", "#")]
)
def test_a_separator_may_be_any_text(text: str, value: str) -> None:
    assert resolve(settings=[f"text.target.separator={text}"]).text.target.separator == value


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("train.max_epoch=3", "Did you mean 'train.max_epochs'?"),
        ("max_epochs=3", "Did you mean 'train.max_epochs'?"),
        ("attention.score=dot", "Did you mean 'model.attention.score'?"),
        ("model.attention.score=genral", "Did you mean 'general'?"),
        ("train.seed=one", "train.seed"),
        ("train.batch_size=0", "greater than or equal to 1, but 0 came"),
        ("train.batch_size", "as in train.max_epochs=3, but 'train.batch_size' came"),
        ("presets=x", "There is no setting 'presets'"),
    ],
)
def test_mistakes_are_answered(setting: str, words: str) -> None:
    assert words in refused(setting)


def test_an_unknown_preset_is_answered() -> None:
    assert "Did you mean 'bahdanau2015'?" in refused(presets=("bahdanau",))


def test_all_mistakes_come_at_once() -> None:
    message = refused("train.batch_size=0", "model.encoder.cell=lstn", "search.beam=-1")
    assert len(message.splitlines()) == 3


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["model.attention.score=dot", "model.decoder.hidden=100"], "Set model.decoder.hidden=512"),
        (["model.attention.score=scaled_dot", "model.encoder.bidirectional=false"], "hidden=256"),
        (["model.attention.context=rnn_input"], "Set timing=previous"),
        (["model.attention.score=none"], "Set model.attention.input_feeding=false"),
        (
            ["model.decoder.bridge=last", "model.decoder.layers=2"],
            "set model.decoder.bridge=learned",
        ),
        (["model.encoder.residual=true"], "Set model.encoder.layers=2"),
        (["model.decoder.residual=true"], "Set model.decoder.layers=2"),
        (
            ["model.encoder.layer_norm=true", "model.encoder.hidden=1",
             "model.encoder.bidirectional=false"],
            "Set model.encoder.hidden=2",
        ),
        (["model.decoder.layer_norm=true", "model.decoder.hidden=1"], "Set model.decoder.hidden=2"),
        (
            ["model.encoder.bidirectional_layers=1", "model.encoder.bidirectional=false"],
            "Set model.encoder.bidirectional=true",
        ),
        (["model.encoder.bidirectional_layers=2"], "Set it to at most 1"),
        (["model.decoder.tied=true"], "Set model.decoder.embedding=512"),
        (
            ["model.decoder.tied=true", "model.attention.context=concat",
             "model.attention.input_feeding=false"],
            "Set model.decoder.embedding=1024",
        ),
        (
            ["model.decoder.tied=true", "model.decoder.readout=maxout",
             "model.decoder.hidden=100"],
            "Set model.decoder.embedding=50",
        ),
        (["model.attention.heads=3"], "multiples of the heads"),
        (["model.attention.score=location", "model.attention.heads=2"], "heads=1"),
        (["model.attention.score=location", "model.attention.coverage=true"], "coverage=false"),
        (["model.attention.score=location", "model.attention.location_width=3"],
         "Set model.attention.location_width=0"),
        (["model.attention.location_width=4"], "Set it to 5"),
        (["model.attention.timing=mid"], "Set context=rnn_input"),
        *(
            (["model.attention.score=peek", "model.attention.input_feeding=false",
              f"model.attention.{field}={value}"], f"Set model.attention.{field}={idle}")
            for field, value, idle in (("heads", 2, 1), ("coverage", "true", "false"),
                                       ("location_width", 3, 0),
                                       ("copy_tokens", "true", "false"),
                                       ("scope", "local_m", "global"),
                                       ("normaliser", "sparsemax", "softmax"))
        ),
        (["model.attention.score=none", "model.attention.input_feeding=false",
          "model.encoder.features=apart"], "Set model.encoder.features=tokens"),
        (["model.attention.score=none", "model.attention.input_feeding=false",
          "train.coverage_loss=1"], "Set train.coverage_loss=0"),
        (["model.attention.copy_tokens=true", "text.source.kind=jamo", "text.target.kind=char"],
         "text.source.kind is 'jamo' and text.target.kind is 'char'"),
        (["model.attention.copy_tokens=true", "text.source.kind=word", "text.target.kind=word",
          "text.target.lowercase=true"], "text.target.lowercase is 'true'"),
        *(
            ([f"model.attention.score={score}", "model.attention.input_feeding=false",
              f"model.encoder.layers={layers}", f"model.encoder.{field}=true"],
             f"model.encoder.{field}=true changes what layers hand up, but with "
             f"model.attention.score={score} nobody reads")
            for score, field, layers in (("none", "layer_norm", 1), ("peek", "residual", 2))
        ),
        (["model.attention.score=none", "model.attention.input_feeding=false",
          "model.decoder.bridge=zero"], "Set model.decoder.bridge=learned"),
        (["search.n_best=3"], "Set search.beam to at least 3"),
        (["search.beam=4", "search.groups=2"], "Set search.diversity=0.5"),
    ],
)  # fmt: skip
def test_impossible_combinations_say_what_to_do(settings: list[str], words: str) -> None:
    assert words in refused(*settings)


def test_every_setting_is_documented() -> None:
    def undocumented(schema: dict, path: str = "") -> list[str]:
        found = []
        for name, field in schema.get("properties", {}).items():
            if "description" not in field:
                found.append(f"{path}{name}")
        for name, section in schema.get("$defs", {}).items():
            found += undocumented(section, f"{name}.")
        return found

    assert undocumented(Config.model_json_schema()) == []
    assert "train.max_epochs" in set(dotted_keys())


def test_a_file_of_settings_is_read_back(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(resolve(["luong2015"], ["train.seed=5"]).to_yaml(), encoding="utf-8")
    config = resolve(settings=["train.batch_size=7"], base=read_tree(path))
    assert (config.train.seed, config.train.batch_size) == (5, 7)
    assert config.presets == ("luong2015",)
    path.write_text("train: {max_epoch: 3}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"Did you mean 'train\.max_epochs'"):
        resolve(base=read_tree(path))


@pytest.mark.parametrize("text", ["- a list", "", "{", "\udcff", "[" * 2_000])
def test_a_file_of_anything_else_is_refused(tmp_path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=r"mine\.yaml"):
        read_tree(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train:", "train: input should be a valid dictionary"),
        ("presets: 3", "presets"),
        ("presets:", "presets"),
        ("model: {attention: dot}", "model.attention"),
    ],
)
def test_sections_must_be_sections(tmp_path, text: str, words: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=words):
        resolve(settings=["train.seed=1", "model.attention.score=dot"], base=read_tree(path))


def test_a_value_of_thousands_of_brackets_is_answered() -> None:
    for key in ("search.required", "train.seed"):
        assert f"{key} takes a value" in refused(f"{key}={'[' * 200_000}")


def test_what_is_given_as_a_base_is_left_as_it_was() -> None:
    base = {"train": {"seed": 5}, "model": {"attention": {"score": "dot"}}}
    given = copy.deepcopy(base)
    config = resolve(settings=["train.seed=7", "model.attention.score=general"], base=base)
    assert (config.train.seed, config.model.attention.score) == (7, "general")
    assert base == given


@pytest.mark.parametrize(
    ("value", "phrases"),
    [
        ("2024", ("2024",)),
        ("1.50", ("1.50",)),
        ("true", ("true",)),
        ("null", ("null",)),
        ('"2024"', ("2024",)),
        ('["2024", "x"]', ("2024", "x")),
        ("[2024, 1.5]", ("2024", "1.5")),
        ("[x", ("[x",)),
    ],
)
def test_a_phrase_may_look_like_a_number(value: str, phrases: tuple[str, ...]) -> None:
    assert resolve(settings=[f"search.required={value}"]).search.required == phrases


def test_a_number_may_stand_by_itself_where_a_list_of_texts_may() -> None:
    assert resolve(settings={"search.required": 2024}).search.required == ("2024",)
    assert resolve(base={"data": {"train": 1.5}}).data.train == ("1.5",)
    with pytest.raises(ConfigError, match=r"search\.required.*string, but True came"):
        resolve(settings={"search.required": True})


def test_text_that_looks_like_a_number_stays_text(tmp_path) -> None:
    config = resolve(settings=["data.source_column=2024", "text.target.separator=true"])
    assert (config.data.source_column, config.text.target.separator) == ("2024", "true")
    path = tmp_path / "mine.yaml"
    path.write_text("data: {source_column: 2}", encoding="utf-8")
    assert resolve(base=read_tree(path)).data.source_column == "2"
