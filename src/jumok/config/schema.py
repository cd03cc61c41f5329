"""The sections of a configuration: every field typed and documented, impossible pairs refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, model_validator

Cell = Literal["lstm", "gru", "rnn"]
Score = Literal["none", "peek", "dot", "scaled_dot", "general", "concat", "additive", "location"]
Scope = Literal["global", "local_m", "local_p"]
Normaliser = Literal["softmax", "sparsemax", "entmax15"]
Metric = Literal["exact_match", "wer", "per", "cer", "bleu", "chrf", "ter", "perplexity"]

LOWER_IS_BETTER: frozenset[Metric] = frozenset({"wer", "per", "cer", "ter", "perplexity"})


_ALONE = BeforeValidator(lambda v: (v,) if isinstance(v, str | int | float) else v)
Strings = Annotated[tuple[str, ...], FailFast(), _ALONE]
"""Names of files, or phrases; one may stand by itself. The first mistake is told: a request to a
server may have a million."""
Sink = Literal["tensorboard", "wandb", "mlflow"]


class Section(BaseModel):
    """A frozen section that refuses keys it does not know."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        coerce_numbers_to_str=True,  # a column may be called 2
    )


class TokenizerConfig(Section):
    """How one side of a pair is cut into tokens."""

    kind: Literal["auto", "char", "jamo", "word", "bpe", "unigram", "split"] = "auto"
    """`auto` is `jamo` where most letters are Hangul syllables and `char` elsewhere. `char`: one
    token per character. `jamo`: Hangul syllables as their letters (NFD in, NFC out). `word`: split
    at white space. `bpe`, `unigram`: subwords. `split`: divided by `separator`, as phones are."""
    separator: str = Field(default=" ", min_length=1)
    """What divides the tokens of kind `split`."""
    vocab_size: int = Field(default=8000, ge=8)
    """The most tokens a vocabulary may hold, special tokens included."""
    min_count: int = Field(default=1, ge=1)
    """Rarer tokens become unknown (for `bpe` and `unigram`: are not made)."""
    lowercase: bool = False
    """Lower-case the text first. A lower-cased target is written, and judged, in lower case."""


class TextConfig(Section):
    """Tokenizers: source and target each have their own."""

    source: TokenizerConfig = TokenizerConfig()
    """The side that is read."""
    target: TokenizerConfig = TokenizerConfig()
    """The side that is written."""
    features: TokenizerConfig = TokenizerConfig(kind="split", separator=";")
    """The first word of a source, where `model.encoder.features` says that it is a list of
    features."""


class DataConfig(Section):
    """Where pairs are found in files, and what is kept of them."""

    train: Strings = ()
    """Files of training pairs."""
    dev: Strings = ()
    """Files of validation pairs."""
    weights: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = ()
    """How often the pairs of each training file come in an epoch: 2 is twice, 0.5 half of them,
    others each time. Empty: all once."""
    format: Literal["auto", "tsv", "csv", "jsonl", "tmx", "parquet", "dataset", "parallel"] = "auto"
    """`auto` goes by the file name (.tsv .txt .csv .jsonl .tmx, each also .gz, and .parquet); a
    directory is a Hugging Face `dataset`; two files given together as SOURCE,TARGET are `parallel`:
    plain text, line by line."""
    source_column: str = ""
    """The source's column: a number from 1 (TSV), a column name (CSV), a field or column name,
    dotted where nested (JSONL, Parquet, datasets), a language (TMX; `en` is also that of `en-US`).
    Empty: 1, or `source`, or what the TMX file says."""
    target_column: str = ""
    """The target's column, in the same way. Empty: 2, or `target`, or the other of two
    languages."""
    features_column: str = ""
    """A column of features (`V;PST`), put before the source with a space. Empty: none; a model with
    `model.encoder.features` then expects them as the source's first word."""
    encoding: str = "utf-8"
    """Text encoding of the files. A byte-order mark is dropped. A TMX file says its own, which
    counts unless this is set to another than UTF-8."""
    skip_bad_lines: bool = False
    """Count and report lines that cannot be read, instead of stopping at the first."""
    dev_fraction: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Hold out this share of the pairs for validation, where no dev file is given."""
    dev_seed: int = 1
    """Seed of that choice."""
    cache: str = "auto"
    """A directory where token ids are kept on the disk and found again, so that they need no
    memory; `none`: they stay in memory; `auto`: ~/.cache/jumok for files of 50 MB and more."""
    reverse_source: bool = False
    """Read the source backwards (Sutskever et al. 2014, section 3.3)."""
    max_source_length: int = Field(default=1000, ge=1)
    """Training pairs with more source tokens are left out and counted."""
    max_target_length: int = Field(default=1000, ge=1)
    """Training pairs with more target tokens are left out and counted."""


class EncoderConfig(Section):
    """The network that reads the source and keeps every hidden state."""

    cell: Cell = "lstm"
    """Kind of recurrent cell."""
    embedding: int = Field(default=256, ge=1, le=65536)
    """Size of a source token's vector."""
    hidden: int = Field(default=256, ge=1, le=65536)
    """Size of a hidden state, per direction. Where `bidirectional`, a layer that reads forwards
    alone has the size of both directions."""
    layers: int = Field(default=1, ge=1, le=64)
    """Number of stacked layers."""
    bidirectional: bool = True
    """Read the source in both directions and join the two states."""
    features: Literal["none", "tokens", "apart"] = "none"
    """Whether the first word of a source is a list of features, as in inflection: each of them a
    token beside those of the text (`tokens`), or all read by an encoder of their own and attended
    to separately (`apart`)."""
    bidirectional_layers: int | None = Field(default=None, ge=1)
    """Let only so many layers, from the bottom, read in both directions and those above forwards
    alone (1: Wu et al. 2016, section 3.2). Empty: all."""
    residual: bool = False
    """Add what a layer reads to its output, from the second layer on (Wu et al. 2016, eq. 6)."""
    layer_norm: bool = False
    """Normalise each layer's output (Ba et al. 2016, eq. 4)."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of values dropped from embeddings, between layers, and from the last layer."""
    token_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of source tokens whose whole embedding is dropped (Gal & Ghahramani 2016, 4.2)."""

    @property
    def memory(self) -> int:
        """Size of every layer's output, the top one's being what attention reads."""
        return self.hidden * (2 if self.bidirectional else 1)

    @model_validator(mode="after")
    def _possible(self) -> EncoderConfig:
        both = self.bidirectional_layers
        if both is not None and not self.bidirectional:
            raise ValueError(
                f"model.encoder.bidirectional_layers={both} says how many layers read in both "
                "directions, but with model.encoder.bidirectional=false none does. Set "
                "model.encoder.bidirectional=true, or leave bidirectional_layers out"
            )
        if both is not None and both > self.layers:
            raise ValueError(
                f"model.encoder.bidirectional_layers={both} is more than model.encoder.layers="
                f"{self.layers}. Set it to at most {self.layers}, or leave it out"
            )
        _check_stack("encoder", self, self.memory)
        return self


class DecoderConfig(Section):
    """The network that writes the target."""

    cell: Cell = "lstm"
    """Kind of recurrent cell."""
    embedding: int = Field(default=256, ge=1, le=65536)
    """Size of a target token's vector."""
    hidden: int = Field(default=512, ge=1, le=65536)
    """Size of a hidden state."""
    layers: int = Field(default=1, ge=1, le=64)
    """Number of stacked layers."""
    residual: bool = False
    """Add what a layer reads to its output, from the second layer on (Wu et al. 2016, eq. 6)."""
    layer_norm: bool = False
    """Normalise each layer's output (Ba et al. 2016, eq. 4)."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of values dropped from embeddings, between layers, and before the readout."""
    token_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of tokens fed to the decoder whose whole embedding is dropped."""
    bridge: Literal["zero", "last", "last_hidden", "mean", "learned"] = "learned"
    """First decoder state: zeros; the encoder's last state as it is (`last`, needs equal sizes), or
    of an LSTM's only the hidden half (`last_hidden`: the cell starts from zeros); or tanh of a
    learned projection of that state (`learned`, Bahdanau et al. 2015, A.2.2), or of the mean of the
    states of all source tokens (`mean`, Sennrich et al. 2017, section 2)."""
    readout: Literal["linear", "maxout"] = "linear"
    """From features to scores over the vocabulary: one linear map, or the deep output with a
    maxout layer of Cho et al. 2014 and Bahdanau et al. 2015."""
    tied: bool = False
    """Score a token by its own embedding: the readout's matrix is the table of target embeddings
    (Press & Wolf 2017)."""

    @model_validator(mode="after")
    def _possible(self) -> DecoderConfig:
        _check_stack("decoder", self, self.hidden)
        if self.readout == "maxout" and self.hidden < 2:
            raise ValueError(
                "model.decoder.readout=maxout takes the larger of every two values, but "
                "model.decoder.hidden is 1. Set model.decoder.hidden=2, or more"
            )
        return self


def _check_stack(name: str, config: EncoderConfig | DecoderConfig, size: int) -> None:
    """Refuse what a stack with outputs of ``size`` cannot do."""
    if config.residual and config.layers < 2:
        raise ValueError(
            f"model.{name}.residual=true adds to a layer's output what it read from the layer "
            f"below, but there is one layer. Set model.{name}.layers=2, or more, or "
            f"model.{name}.residual=false"
        )
    if config.layer_norm and size < 2:
        raise ValueError(
            f"model.{name}.layer_norm=true compares a layer's values with their mean, but "
            f"model.{name}.hidden is {config.hidden} and leaves only one. Set "
            f"model.{name}.hidden=2, or more, or model.{name}.layer_norm=false"
        )


class AttentionConfig(Section):
    """How the decoder looks back at the source. Every field is one independent axis."""

    score: Score = "general"
    """Score of a query against a key. `none`: no attention, the encoder's last state starts the
    decoder and that is all. `peek`: no attention, but that state is seen at every step.
    `location`: the query alone says where to look, whatever is there."""
    scope: Scope = "global"
    """Where it may look: at the whole source, or within `window` positions of a centre: the step's
    own number (`local_m`), or a place that the query predicts (`local_p`)."""
    window: int = Field(default=10, ge=1)
    """Positions on either side of a local scope's centre (D of Luong et al. 2015, 3.2)."""
    normaliser: Normaliser = "softmax"
    """From scores to weights. `sparsemax` and `entmax15` give most positions exactly zero."""
    heads: int = Field(default=1, ge=1)
    """Number of attentions side by side, each on its own share of the sizes."""
    coverage: bool = False
    """The score sees how much weight each position has had so far (See et al. 2017)."""
    location_width: int = Field(default=0, ge=0, le=65535)
    """The score sees the weights of the step before, at each position and its neighbours: so many
    positions, an odd number (Chorowski et al. 2015). With coverage, the sums so far there as well.
    0: no such thing."""
    copy_tokens: bool = False
    """The output may copy source tokens, also such as the target vocabulary lacks (the
    pointer-generator of See et al. 2017)."""
    timing: Literal["previous", "mid", "current"] = "current"
    """Ask with the state before (`previous`, Bahdanau) or after (`current`, Luong) the RNN step, or
    between its two halves (`mid`, the conditional GRU of Nematus)."""
    context: Literal["rnn_input", "concat", "attentional"] = "attentional"
    """Where the context goes: into the RNN's input; joined to the state before the readout; or
    into tanh(W_c[c;s]) (Luong et al. 2015, eq. 5)."""
    input_feeding: bool = True
    """Hand the last step's attentional state (or context) to the next step's RNN input."""
    hidden: int = Field(default=256, ge=1, le=65536)
    """Inner size of the `concat` and `additive` scores."""
    positions: int = Field(default=100, ge=1, le=65536)
    """Source positions that the `location` score knows; it sees none beyond them."""

    @property
    def attends(self) -> bool:
        """Whether there are attention weights at all."""
        return self.score not in ("none", "peek")

    @model_validator(mode="after")
    def _possible(self) -> AttentionConfig:
        if not self.attends:
            axes = ["scope", "normaliser", "heads", "coverage", "location_width", "copy_tokens"]
            self._need_idle(axes, "how to attend", "attends to nothing")
        if self.score == "location":
            axes = ["coverage", "location_width"]
            self._need_idle(axes, "what of the source the score sees", "sees nothing of it")
        if self.score == "location" and self.heads > 1:
            raise ValueError(
                f"model.attention.heads={self.heads} cuts queries and keys into shares, but score="
                "location has no keys. Set model.attention.heads=1, or use another score"
            )
        if self.location_width and self.location_width % 2 == 0:
            raise ValueError(
                f"model.attention.location_width={self.location_width} counts a position and as "
                "many on either side of it, so it is an odd number. Set it to "
                f"{self.location_width + 1}, or to 0 for none"
            )
        return self

    def _need_idle(self, fields: Sequence[str], tell: str, instead: str) -> None:
        """Refuse all ``fields`` that are not at their defaults, in one sentence."""
        idle = {field: type(self).model_fields[field].default for field in fields}
        busy = [field for field in fields if getattr(self, field) != idle[field]]
        if not busy:
            return
        given = [f"model.attention.{f}={str(getattr(self, f)).lower()}" for f in busy]
        mend = [f"model.attention.{f}={str(idle[f]).lower()}" for f in busy]
        raise ValueError(
            f"{' and '.join(given)} {'says' if len(busy) == 1 else 'say'} {tell}, but score="
            f"{self.score} {instead}. Set {' and '.join(mend)}, or use another score"
        )


class ModelConfig(Section):
    """Sizes and mechanisms of one encoder-decoder, or of a decoder by itself."""

    kind: Literal["seq2seq", "language_model"] = "seq2seq"
    """`language_model` is the decoder alone: it reads no source, and is trained on texts
    (`jumok train-lm`)."""
    encoder: EncoderConfig = EncoderConfig()
    """The source side."""
    decoder: DecoderConfig = DecoderConfig()
    """The target side."""
    attention: AttentionConfig = AttentionConfig()
    """What joins them."""

    @property
    def reads(self) -> bool:
        """Whether there is a source."""
        return self.kind == "seq2seq"

    @property
    def reads_values(self) -> bool:
        """Whether what the encoder's top layer hands up is read, and not its last state alone."""
        return self.attention.attends or self.decoder.bridge == "mean"

    @property
    def context(self) -> int:
        """Size of a context: with features apart, theirs stands beside that of the text."""
        return self.encoder.memory * (2 if self.encoder.features == "apart" else 1)

    @property
    def combined(self) -> int:
        """Size of the decoder's state together with what `attention.context` adds to it."""
        att = self.attention
        if att.score == "peek":
            return self.decoder.hidden + self.encoder.memory
        joined = att.attends and att.context == "concat"
        return self.decoder.hidden + self.context * joined

    @model_validator(mode="after")
    def _possible(self) -> ModelConfig:
        enc, dec, att = self.encoder, self.decoder, self.attention
        if not self.reads:
            for name, value, idle in (
                ("model.attention.score", att.score, "none"),
                ("model.decoder.bridge", dec.bridge, "zero"),
            ):
                if value != idle:
                    raise ValueError(
                        f"{name}={value} goes by a source, but model.kind=language_model has none. "
                        f"Set {name}={idle}, or use the preset language-model"
                    )
        if att.score in ("dot", "scaled_dot") and dec.hidden != enc.memory:
            raise ValueError(
                f"model.attention.score={att.score} multiplies a decoder state with an encoder "
                f"state, so both need one size, but model.decoder.hidden is {dec.hidden} and the "
                f"encoder's states have {enc.memory}. Set model.decoder.hidden={enc.memory}, or "
                "use score general, concat or additive"
            )
        if att.attends and att.timing == "mid" and att.context != "rnn_input":
            raise ValueError(
                f"model.attention.timing=mid gives the context to the second half of the RNN step, "
                f"but model.attention.context is {att.context}. Set context=rnn_input, or use "
                "timing previous or current"
            )
        if att.attends and att.heads > 1:
            inner = att.hidden if att.score in ("concat", "additive") else dec.hidden
            name = "attention" if att.score in ("concat", "additive") else "decoder"
            for size, what in (
                (inner, f"model.{name}.hidden={inner}"),
                (enc.memory, f"the encoder's states of {enc.memory}"),
            ):
                if size % att.heads:
                    raise ValueError(
                        f"model.attention.heads={att.heads} divides {what} into equal shares, "
                        "which is not possible. Choose sizes that are multiples of the heads"
                    )
        if att.context == "rnn_input" and att.attends and att.timing == "current":
            raise ValueError(
                "model.attention.context=rnn_input needs the context before the RNN step, but "
                "model.attention.timing=current makes it after. Set timing=previous or mid, or "
                "use context concat or attentional"
            )
        if not att.attends and att.input_feeding:
            raise ValueError(
                f"model.attention.input_feeding=true hands on an attentional state, but "
                f"score={att.score} has none. Set model.attention.input_feeding=false"
            )
        if enc.features == "apart" and not att.attends:
            raise ValueError(
                "model.encoder.features=apart attends to the features, but model.attention.score="
                f"{att.score} attends to nothing. Set model.encoder.features=tokens, or use "
                "another score"
            )
        if self.reads and att.score == "none" and dec.bridge == "zero":
            raise ValueError(
                "model.attention.score=none leaves the encoder's last state alone to tell the "
                "decoder of the source, but model.decoder.bridge=zero passes none. Set "
                "model.decoder.bridge=learned, or use another score"
            )
        if self.reads and not self.reads_values:
            for name, set_, layers in (
                ("layer_norm", enc.layer_norm, 1),
                ("residual", enc.residual, 2),
            ):
                if set_ and enc.layers == layers:
                    raise ValueError(
                        f"model.encoder.{name}=true changes what layers hand up, but with "
                        f"model.attention.score={att.score} nobody reads what the top layer of "
                        f"model.encoder.layers={layers} hands up. Set model.encoder.{name}=false, "
                        "use more layers, or another score"
                    )
        copies = dec.bridge in ("last", "last_hidden")
        if copies and (dec.hidden, dec.layers) != (enc.memory, enc.layers):
            raise ValueError(
                f"model.decoder.bridge={dec.bridge} copies the encoder's last state, so sizes and "
                f"layers must agree, but the encoder ends with {enc.layers} x {enc.memory} and the "
                f"decoder starts with {dec.layers} x {dec.hidden}. Make them equal, or set "
                "model.decoder.bridge=learned"
            )
        read = dec.hidden // 2 if dec.readout == "maxout" else self.combined
        if dec.tied and dec.embedding != read:
            raise ValueError(
                f"model.decoder.tied=true makes the readout's matrix of the target embeddings, so "
                f"these need the size that the readout reads, but model.decoder.embedding is "
                f"{dec.embedding} and the readout reads {read}. Set model.decoder.embedding="
                f"{read}, or model.decoder.tied=false"
            )
        return self


class TeacherForcing(Section):
    """How often the decoder is given the target's token to read, and not its own: scheduled
    sampling (Bengio et al. 2015, section 2.4). With i the update, from 0, and eps the share of
    tokens that are given, by `decay`:

        constant          eps = rate
        linear            eps = max(least, rate - c i)
        exponential       eps = max(least, k^i)              k < 1
        inverse_sigmoid   eps = max(least, k / (k + exp(i / k)))   k >= 1
    """

    decay: Literal["constant", "linear", "exponential", "inverse_sigmoid"] = "constant"
    """How the share of given tokens falls."""
    rate: float = Field(default=1.0, ge=0.0, le=1.0)
    """The share, where it stays or where it begins to fall in a line. 1: teacher forcing."""
    c: float = Field(default=1e-4, gt=0.0)
    """By how much it falls with each update, in a line."""
    k: float | None = Field(default=None, gt=0.0)
    """How slowly it falls otherwise. Empty: 0.9999 for `exponential`, 1000 for the other."""
    least: float = Field(default=0.0, ge=0.0, le=1.0)
    """It falls no lower."""
    own: Literal["argmax", "sample"] = "argmax"
    """The model's own token is its most probable one, or drawn by its probability."""

    @property
    def slowness(self) -> float:
        """k."""
        return self.k or {"exponential": 0.9999}.get(self.decay, 1000.0)

    @model_validator(mode="after")
    def _possible(self) -> TeacherForcing:
        used = {"constant": {"rate"}, "linear": {"rate", "c", "least"}}
        for field in ("rate", "c", "k", "least"):
            default = type(self).model_fields[field].default
            if field in used.get(self.decay, {"k", "least"}) or getattr(self, field) == default:
                continue
            raise ValueError(
                f"train.teacher_forcing.{field}={getattr(self, field):g} does nothing where "
                f"train.teacher_forcing.decay={self.decay}. Leave it out, or change the decay"
            )
        if self.own != "argmax" and (self.decay, self.rate) == ("constant", 1.0):
            raise ValueError(
                f"train.teacher_forcing.own={self.own} does nothing where every token is given. "
                "Leave it out, or set train.teacher_forcing.rate or decay"
            )
        if self.decay == "exponential" and self.slowness >= 1:
            raise ValueError(
                f"train.teacher_forcing.decay=exponential falls as k^i, so k must be below 1, but "
                f"train.teacher_forcing.k={self.slowness:g}. Set it to 0.9999, or some such number"
            )
        if self.decay == "inverse_sigmoid" and self.slowness < 1:
            raise ValueError(
                "train.teacher_forcing.decay=inverse_sigmoid falls as k / (k + exp(i / k)), so k "
                f"must be at least 1, but train.teacher_forcing.k={self.slowness:g}. Set it to "
                "1000, or some such number"
            )
        return self


class TrainConfig(Section):
    """One training run."""

    max_epochs: int = Field(default=30, ge=1)
    """Stop after this many passes over the pairs."""
    max_steps: int | None = Field(default=None, ge=1)
    """Stop after this many updates."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Stop after this much time."""
    batch_size: int = Field(default=64, ge=1)
    """Pairs in a batch."""
    batch_tokens: int | None = Field(default=None, ge=1)
    """If set, fill batches up to this many tokens (longest side, padding counted) instead."""
    accumulate: int = Field(default=1, ge=1)
    """Batches in an update: their gradients are added up, as if they were one, which would need
    as many times the memory."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """`adamw` is Adam with decoupled weight decay."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Highest learning rate."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay."""
    schedule: Literal["constant", "linear", "cosine", "inverse_sqrt", "plateau"] = "constant"
    """What the learning rate does after `warmup_steps`: stays; falls to zero by the end (the last
    step, or the last minute) in a line or a cosine; falls with the root of the step; or is
    multiplied by `plateau_factor` at every validation that is not better."""
    warmup_steps: int = Field(default=0, ge=0)
    """Updates over which the learning rate rises from zero."""
    plateau_factor: float = Field(default=0.5, gt=0, lt=1)
    """See `schedule`."""
    clip_norm: float = Field(default=5.0, gt=0)
    """Gradients longer than this are shortened to it (Pascanu et al. 2013)."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the probability spread evenly over the vocabulary (Szegedy et al. 2016)."""
    teacher_forcing: TeacherForcing = TeacherForcing()
    """From the target's tokens to the model's own."""
    coverage_loss: float = Field(default=0.0, ge=0.0)
    """Weight of the coverage loss, which punishes looking twice at one place (See et al. 2017). It
    is part of the training loss, not of the validation loss."""
    average_decay: float = Field(default=0.0, ge=0.0, lt=1.0)
    """If above 0, validate and keep a moving average of the weights (Polyak & Juditsky 1992):
    ``average = decay * average + (1 - decay) * weights`` after every update."""
    validate_every: int | None = Field(default=None, ge=1)
    """Updates between validations. Empty: every epoch."""
    validate_pairs: int | None = Field(default=None, ge=1)
    """Validate on the first so many dev pairs. Empty: on all."""
    patience: int = Field(default=5, ge=1)
    """Stop after this many validations without a better one."""
    max_loss_rise: float | None = Field(default=3.0, gt=0)
    """Stop, with everything kept, where the loss of an update is higher by more than this (nats a
    token) than its moving mean; by as many times more, as the update has fewer tokens than others.
    Empty: stop only where it is no number any more."""
    checkpoint_minutes: float = Field(default=10.0, gt=0)
    """Keep the state of the run at least this often, between validations too: what a kill costs at
    most."""
    keep_checkpoints: int = Field(default=0, ge=0)
    """Keep the judged models of the last so many validations in `checkpoints/`; `jumok average`
    makes one model of them."""
    sinks: Annotated[tuple[Sink, ...], _ALONE] = ()
    """Who else is told of each validation, beside `metrics.jsonl`: TensorBoard (in the run's
    directory), Weights & Biases, MLflow."""
    seed: int = 1
    """Seed of weights, order and dropout."""
    device: str = "cpu"
    """`cpu`, `cuda` or `cuda:1`."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads. Empty: as many as there are cores."""
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """`bf16` multiplies in bfloat16 while training; weights, RNN cells, the loss, and RNNs that run
    over a whole sequence stay in float32. Faster where the processor has instructions for it. On a
    GPU `tf32` multiplies float32 rounded to 10 bits, and so does `bf16` what it leaves."""
    fast: bool = True
    """Take every faster way to the same numbers, up to rounding. `false`: compute as it is written
    in the papers, to rule a fast way out."""

    @model_validator(mode="after")
    def _possible(self) -> TrainConfig:
        if self.schedule == "inverse_sqrt" and not self.warmup_steps:
            raise ValueError(
                "train.schedule=inverse_sqrt falls from the end of the warm-up, but "
                "train.warmup_steps is 0. Set train.warmup_steps=1000, or some such number"
            )
        for sink in self.sinks:
            if self.sinks.count(sink) > 1:
                raise ValueError(f"train.sinks={shown(self.sinks)} has {sink} twice. Leave one out")
        known = {"fp32": None, "tf32": ("cuda",), "bf16": ("cpu", "cuda")}[self.precision]
        if known and self.device.split(":")[0] not in known:
            raise ValueError(
                f"train.precision={self.precision} is for train.device={' and '.join(known)}, but "
                f"that is {self.device}. Set train.precision=fp32"
            )
        return self


class SearchConfig(Section):
    """How outputs are looked for."""

    beam: int = Field(default=1, ge=1, le=1000)
    """Hypotheses kept at each step; 1 is greedy search."""
    n_best: int = Field(default=1, ge=1, le=1000)
    """Outputs returned, no two of one text (at most `beam`); with `sample`, outputs drawn."""
    length_penalty: Literal["none", "average", "gnmt"] = "none"
    """Divide a hypothesis's log-probability by 1, by its length to the power `length_alpha`, or by
    ((5 + length) / 6) to that power (Wu et al. 2016, eq. 14)."""
    length_alpha: float = Field(default=1.0, ge=0)
    """See `length_penalty`."""
    coverage_penalty: float = Field(default=0.0, ge=0, le=1000)
    """Rank outputs lower that never looked at parts of the source: beta of Wu et al. 2016, eq. 14;
    0 is off."""
    lm_weight: float = Field(default=0.0, ge=0, le=1000)
    """How much a language model given beside has to say: its log-probabilities, times this, are
    added to the model's (Gulcehre et al. 2015); 0 is off."""
    min_length: int = Field(default=0, ge=0, le=10_000)
    """An output has at least so many tokens, whatever the limits below."""
    max_length_ratio: float = Field(default=2.0, ge=0, le=100)
    """An output has at most `max_length_ratio` x source tokens + `max_length_offset` tokens, beside
    those of a prefix."""
    max_length_offset: int = Field(default=10, ge=1, le=10_000)
    """See `max_length_ratio`."""
    no_repeat_ngram: int = Field(default=0, ge=0, le=100)
    """No sequence of so many tokens comes twice in an output (Paulus et al. 2018); 0 is off."""
    repetition_penalty: float = Field(default=1.0, ge=1, le=100)
    """The log-probability of a token that the output has already is multiplied by this (Keskar et
    al. 2019). Outputs are ranked by what comes of it; reported probabilities are the model's."""
    required: Strings = ()
    """Phrases that every output contains: whole tokens where the target is `word` or `split`, else
    letters anywhere in the text. Needs some breadth of `beam`."""
    forbidden: Strings = ()
    """Phrases that no output contains, in the same sense."""
    groups: int = Field(default=1, ge=1, le=1000)
    """Groups that the beam is divided into for outputs that differ (Vijayakumar et al. 2018)."""
    diversity: float = Field(default=0.0, ge=0, le=1000)
    """How much worse a group finds a token for each time that the groups before it chose it."""
    sample: bool = False
    """Draw outputs by chance instead of looking for the best; `beam` then says nothing."""
    temperature: float = Field(default=1.0, ge=0.01, le=100)
    """Under 1 the draw favours probable tokens more, above 1 less."""
    top_k: int | None = Field(default=None, ge=1)
    """Draw among so many most probable tokens only (Fan et al. 2018)."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Draw among the fewest tokens that together have this probability (Holtzman et al. 2020)."""
    seed: int = Field(default=1, ge=0)
    """Of the draw. The same seed draws the same outputs for a text, whatever stands beside it."""
    replace_unknown: bool = False
    """Let the model write `<unk>`, and put in its place the source token that it looked at most
    (Luong et al. 2015, section 4.1), or that token's entry in a dictionary."""
    shortlist: bool = False
    """Look only at the target tokens that the words of a source may become (Jean et al. 2015), by
    the list that `jumok shortlist` puts into the model directory."""
    max_source_length: int = Field(default=1000, ge=1)
    """A source of more tokens is refused: attention needs memory for every pair of tokens."""
    batch_size: int = Field(default=64, ge=1)
    """Sources searched together. Changes the speed, never the result."""

    @model_validator(mode="after")
    def _possible(self) -> SearchConfig:
        if self.replace_unknown and self.forbidden:
            raise ValueError(
                "search.replace_unknown=true puts source tokens into outputs that are finished, so "
                "search.forbidden could not be kept. Leave one of the two out"
            )
        if "" in (*self.required, *self.forbidden):
            raise ValueError(
                "A phrase in search.required or search.forbidden must have a letter, but an empty "
                "one came. Leave it out"
            )
        if self.sample:
            self._need_idle("sample=true", ("coverage_penalty", "required", "groups", "diversity"))
            return self
        self._need_idle("sample=false", ("temperature", "top_k", "top_p"))
        if self.n_best > self.beam:
            raise ValueError(
                f"search.n_best={self.n_best} asks for more hypotheses than search.beam="
                f"{self.beam} keeps. Set search.beam to at least {self.n_best}"
            )
        if self.beam % self.groups:
            raise ValueError(
                f"search.groups={self.groups} are to share the beam equally, but search.beam="
                f"{self.beam} cannot be divided by that. Set search.beam to a multiple of it"
            )
        if self.groups == 1:
            self._need_idle("groups=1", ("diversity",))
        elif not self.diversity:
            raise ValueError(
                f"search.groups={self.groups} all find the same where search.diversity=0. Set "
                "search.diversity=0.5, or some such number, or search.groups=1"
            )
        return self

    def _need_idle(self, because: str, fields: Sequence[str]) -> None:
        """Refuse ``fields`` that say something where nothing listens."""
        for field in fields:
            idle = type(self).model_fields[field].default
            if getattr(self, field) != idle:
                raise ValueError(
                    f"search.{field}={shown(getattr(self, field))} does nothing where search."
                    f"{because}. Set search.{field}={shown(idle)}, or change the other"
                )


def shown(value: object) -> str:
    """A value as it is given on the command line."""
    if isinstance(value, str):
        return value
    if isinstance(value, tuple | list):
        return str(list(value))
    return "null" if value is None else str(value).lower()


def flatten(tree: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Values by dotted key."""
    found: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= flatten(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


class EvaluationConfig(Section):
    """What an output is judged by."""

    metric: Metric = "exact_match"
    """The figure that selects the best model and stops the training. All but `perplexity` are
    measured on outputs that the model wrote by itself."""
    bleu_tokenize: Literal["13a", "none", "intl", "char", "zh", "ja-mecab", "ko-mecab"] = "13a"
    """sacrebleu's tokenizer for BLEU."""


_OF_PAIRS = (
    *("text.source", "model.encoder", "data.format", "data.source_column", "data.target_column"),
    *("data.features_column", "data.reverse_source", "data.max_source_length"),
)
"""Sections and settings that say nothing where there are texts and no sources."""


class Config(Section):
    """Everything that defines a run."""

    presets: tuple[str, ...] = ()
    """The presets this configuration was made from, in order."""
    text: TextConfig = TextConfig()
    """Tokenizers."""
    data: DataConfig = DataConfig()
    """Files of pairs."""
    model: ModelConfig = ModelConfig()
    """Network."""
    train: TrainConfig = TrainConfig()
    """Training."""
    search: SearchConfig = SearchConfig()
    """Decoding."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Metrics."""

    @model_validator(mode="after")
    def _possible(self) -> Config:
        if not self.model.reads:
            self._check_texts_alone()
        source, target = self.text.source, self.text.target
        settled = "auto" not in (source.kind, target.kind)
        if self.model.attention.copy_tokens and settled:
            for field in ("kind", "separator", "lowercase"):
                one, other = getattr(source, field), getattr(target, field)
                if one != other and (field != "separator" or source.kind == "split"):
                    raise ValueError(
                        "model.attention.copy_tokens=true copies source tokens as they are, so "
                        f"both sides must be cut in one way, but text.source.{field} is "
                        f"{str(one).lower()!r} and text.target.{field} is {str(other).lower()!r}. "
                        "Make them equal, or set copy_tokens=false"
                    )
        if self.train.coverage_loss and not self.model.attention.attends:
            raise ValueError(
                f"train.coverage_loss={self.train.coverage_loss:g} is a loss on attention weights, "
                f"but model.attention.score={self.model.attention.score} has none. Set "
                "train.coverage_loss=0, or use another score"
            )
        return self

    def _check_texts_alone(self) -> None:
        """Refuse what goes by sources."""
        if self.evaluation.metric != "perplexity":
            raise ValueError(
                f"evaluation.metric={self.evaluation.metric} judges outputs for sources, but "
                "model.kind=language_model has none. Set evaluation.metric=perplexity"
            )
        given, idle = flatten(self.model_dump()), flatten(Config().model_dump())
        for key, value in given.items():
            if key.startswith(_OF_PAIRS) and value != idle[key]:
                raise ValueError(
                    f"{key}={shown(value)} is for pairs, but model.kind=language_model is trained "
                    f"on texts, without any source. Set {key}={shown(idle[key])}, or leave it out"
                )

    def to_yaml(self) -> str:
        """The whole configuration as YAML text."""
        return yaml.safe_dump(
            self.model_dump(mode="json"), allow_unicode=True, sort_keys=False, width=100
        )
