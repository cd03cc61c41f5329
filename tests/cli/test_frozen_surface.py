"""Options and settings, listed: whoever adds one says so here, and in the documentation."""

import typer

from jumok.cli.app import app
from jumok.config import dotted_keys

OPTIONS = {
    "train": "data --dev --preset --config --set --output --resume --skip-bad-lines --dry-run",
    "predict": "model file --beam --n-best --prefix --choices --dictionary --format --encoding "
    "--output --resume --ray --ray-workers --set --ensemble --language-model --device --engine",
    "train-lm": "texts --dev --tokens-of --preset --config --set --output --dry-run",
    "generate": "model --prompt --n --temperature --top-k --top-p --seed --set --device --engine",
    "serve": "model --host --port --max-texts --max-characters --max-phrases --max-beam "
    "--max-attention --max-waiting --timeout --key-file --allow-host --beam --set --ensemble "
    "--language-model --device --engine",
    "align": "model data --units --format --reverse-model --symmetrise --set --ensemble --device "
    "--engine",
    "evaluate": "model data --format --beam --set --ensemble --language-model --device --engine",
    "tune": "data --dev --preset --config --set --space --trials --output --resume --format",
    "average": "models --output",
    "compare": "model_a model_b data --format --plot --train --resamples --seed --examples --beam "
    "--set --device --engine",
    "explain": "model text --output --head --units --beam --set --ensemble --language-model "
    "--device --engine",
    "shortlist": "model data --most --frequent --set --device --engine",
    "export": "model --int8",
    "config": "--print --schema --preset --set",
    "data check": "data --test --format --set",
    "data clean": "data --output --test --log --drop --keep --set",
}

KEYS = """
presets
text.source.kind text.source.separator text.source.vocab_size text.source.min_count
text.source.lowercase text.target.kind text.target.separator text.target.vocab_size
text.target.min_count text.target.lowercase text.features.kind text.features.separator
text.features.vocab_size text.features.min_count text.features.lowercase
data.train data.dev data.weights data.format data.source_column data.target_column
data.features_column data.encoding data.skip_bad_lines data.dev_fraction data.dev_seed data.cache
data.reverse_source data.max_source_length data.max_target_length
model.kind model.encoder.cell model.encoder.embedding model.encoder.hidden model.encoder.layers
model.encoder.bidirectional model.encoder.features model.encoder.bidirectional_layers
model.encoder.residual model.encoder.layer_norm model.encoder.dropout model.encoder.token_dropout
model.decoder.cell model.decoder.embedding model.decoder.hidden model.decoder.layers
model.decoder.residual model.decoder.layer_norm model.decoder.dropout model.decoder.token_dropout
model.decoder.bridge model.decoder.readout model.decoder.tied model.attention.score
model.attention.scope model.attention.window model.attention.normaliser model.attention.heads
model.attention.coverage model.attention.location_width model.attention.copy_tokens
model.attention.timing model.attention.context model.attention.input_feeding
model.attention.hidden model.attention.positions
train.max_epochs train.max_steps train.max_minutes train.batch_size train.batch_tokens
train.accumulate train.optimizer train.learning_rate train.weight_decay train.schedule
train.warmup_steps train.plateau_factor train.clip_norm train.label_smoothing
train.teacher_forcing.decay train.teacher_forcing.rate train.teacher_forcing.c
train.teacher_forcing.k train.teacher_forcing.least train.teacher_forcing.own train.coverage_loss
train.average_decay train.validate_every train.validate_pairs train.patience train.max_loss_rise
train.checkpoint_minutes train.keep_checkpoints train.sinks train.seed train.device train.threads
train.precision train.fast
search.beam search.n_best search.length_penalty search.length_alpha search.coverage_penalty
search.lm_weight search.min_length search.max_length_ratio search.max_length_offset
search.no_repeat_ngram search.repetition_penalty search.required search.forbidden search.groups
search.diversity search.sample search.temperature search.top_k search.top_p search.seed
search.replace_unknown search.shortlist search.max_source_length search.batch_size
evaluation.metric evaluation.bleu_tokenize
"""


def test_no_option_comes_or_goes_unnoticed():
    commands = dict(typer.main.get_command(app).commands)
    group = commands.pop("data")
    commands |= {f"data {name}": command for name, command in group.commands.items()}
    found = {
        name: " ".join(p.opts[0] for p in command.params if p.name != "help")
        for name, command in commands.items()
    }
    assert found == OPTIONS


def test_no_setting_comes_or_goes_unnoticed():
    assert list(dotted_keys()) == KEYS.split()
