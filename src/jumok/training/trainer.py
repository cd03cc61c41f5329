"""The training loop: teacher forcing, updates, validation on free-running outputs, checkpoints."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from jumok.bundle import write_bundle
from jumok.config import LOWER_IS_BETTER, Config, TrainConfig
from jumok.data import Batch, BucketSampler, Dataset, Pair, collate, find_places
from jumok.errors import DataError, Diverged, Interrupted
from jumok.evaluation import Validation
from jumok.metrics import token_error_rate
from jumok.nn import OwnTokens, Seq2Seq
from jumok.nn.arithmetic import gpu_arithmetic
from jumok.storage import find_directory, remove_directory, storage_errors, write_atomic
from jumok.text import UNK, Tokenizer
from jumok.training.graphs import Graphs, Tensors, to_device
from jumok.training.interrupt import StopRequest
from jumok.training.loss import coverage_loss, forced_tokens, sequence_loss
from jumok.training.optimizer import make_optimizer
from jumok.training.progress import Reporter
from jumok.training.ranks import Ranks
from jumok.training.schedule import given_share, learning_rate_factor
from jumok.training.state import TrainingState, load_state, random_numbers, save_state


class Trainer:
    """One run. ``fit`` trains to the end; ``best/`` and ``last/`` are kept in ``output``.

    Args:
        model: on its device, initialised.
        config: everything resolved.
        tokenizers: source and target, stored with every checkpoint.
        train, dev: encoded pairs.
        measure: judges a model on outputs that it writes by itself.
        output: the run directory.
        reporter: who hears of progress.
        stop: whether the user asked to stop.
        ranks: this process among those that train the model.
        hear: told of each validation (on rank 0), when its best model is kept and before the
            checkpoint is. What it raises ends the run.
    """

    def __init__(
        self,
        model: Seq2Seq,
        config: Config,
        tokenizers: tuple[Tokenizer, Tokenizer],
        train: Dataset,
        dev: Dataset,
        measure: Callable[[Seq2Seq], Validation],
        output: Path,
        reporter: Reporter,
        stop: StopRequest,
        ranks: Ranks,
        hear: Callable[[Mapping[str, Any]], None] = lambda record: None,
    ) -> None:
        self.model, self.config, self.tokenizers = model, config, tokenizers
        self.train, self.dev, self.measure = train, dev, measure
        self.output, self.reporter, self.stop = output, reporter, stop
        self.device = next(model.parameters()).device
        self.ranks, self.hear = ranks, hear
        self.forward: nn.Module = model if ranks.world == 1 else DistributedDataParallel(model)
        self.optimizer = make_optimizer(model, config.train)
        self.average = make_average(model, config.train)
        self.graphs = None
        if self.device.type == "cuda" and config.train.fast and ranks.world == 1:
            self.graphs = Graphs(model, config.train.batch_size, reporter.message)
        settings = config.train
        tokens = settings.batch_tokens
        size = settings.batch_size if tokens is None else f"{tokens} tokens"
        self.state = TrainingState(
            corpus=pairs_digest(train, dev), order=f"seed {settings.seed} batch {size}"
        )
        self.sampler = make_sampler(train, config)
        self._target_lengths = train.target_lengths
        self.total_steps = total_steps(config, self.sampler)
        self._since = _Since(self.state)
        self._begun = self._kept = time.monotonic()
        self._before: dict[str, Tensor] = {}
        """Random numbers before the update that is made."""
        self._order: tuple[int, list[np.ndarray]] = (-1, [])
        self._ahead: tuple[np.ndarray | None, Any] = (None, None)
        """The rows of the next batch, and what `_share` made of them."""

    @property
    def judged(self) -> Seq2Seq:
        """The model that is validated and kept: the averaged one, if there is an average."""
        return self.model if self.average is None else cast(Seq2Seq, self.average.module)

    def resume(self, folder: Path) -> None:
        """Go on from the state in ``folder``; the weights were loaded with the model."""
        begun = load_state(
            folder, self.model, self.optimizer, self.average, self.device, self.ranks.rank
        )
        if begun.corpus != self.state.corpus:
            raise DataError(
                "The pairs are not those that this run was begun with: a file, or the share that "
                "is held out, has changed. Put the old pairs back, or begin a new run"
            )
        if begun.order != self.state.order and begun.batch:  # `batch` counts other batches now
            self.reporter.message(
                f"Batches are others now: what was left of epoch {begun.epoch + 1} is left out"
            )
            begun.epoch, begun.batch = begun.epoch + 1, 0
        begun.order = self.state.order
        self.state, self._since = begun, _Since(begun)
        self.state.finished = self.limit() is not None
        if self.ranks.leads:
            self._forget_later()

    def fit(self) -> TrainingState:
        """Train until a limit is reached or patience ends; raise `Interrupted` if asked to stop."""
        self._begun = time.monotonic() - self.state.seconds
        if self.state.finished and self._since.tokens:  # by a limit that came with a resumption
            self._judge_and_keep()
        while not self.state.finished:
            for batches in self.updates_of_epoch():
                self.update(batches, time.monotonic() - self._begun)
                self._after_update(len(batches))
                if self.state.finished:
                    break
        return self.state

    def updates_of_epoch(self) -> Iterator[list[np.ndarray]]:
        """The pairs of each update that is left of this epoch, in batches."""
        order, size = self._epoch_order(), self.config.train.accumulate
        for start in range(self.state.batch, len(order), size):
            yield order[start : start + size]

    def _epoch_order(self) -> list[np.ndarray]:
        if self._order[0] != self.state.epoch:
            self._order = (self.state.epoch, self.sampler.batches(self.state.epoch))
        return self._order[1]

    def update(self, batches: Sequence[np.ndarray], seconds: float = 0.0) -> None:
        """One step of the optimizer on the mean loss per token of all ``batches``, after so many
        seconds of training."""
        config, state = self.config.train, self.state
        self._before = random_numbers(self.device)
        self.model.train()
        state.step += 1
        [state.seconds] = self.ranks.told([seconds], self.device)
        factor = learning_rate_factor(config, state.step, self.total_steps, state.seconds)
        if config.schedule == "plateau":
            factor *= state.rate_factor
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * factor
        tokens = sum(int(self._target_lengths[rows].sum()) for rows in batches)
        self.optimizer.zero_grad(set_to_none=self.graphs is None)
        given = given_share(config.teacher_forcing, state.step)
        parts: list[Tensor] = []
        for number, rows in enumerate(batches, start=1):
            part, share = self._share(rows)
            asked = share / tokens, None if given >= 1.0 else given
            with self._gradients_stay(number < len(batches)):
                if self.graphs is None:
                    parts.append(self._learn(to_device(part, self.device), *asked))
                else:
                    parts.append(self.graphs(self._learn, part, *asked))
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        self._make_next_batch(len(batches))
        *losses, length = torch.stack([*parts, norm]).tolist()  # one wait for a GPU
        [loss] = self.ranks.sums([sum(losses)], self.device)
        self._check_update(loss, length, tokens, batches)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        self._since.add(loss, tokens)

    def _share(self, rows: np.ndarray) -> tuple[Batch, int]:
        """This rank's rows of a batch, and how many target tokens they have.

        Where there are fewer rows than ranks, some read the first row, and it counts nothing.
        """
        if rows is self._ahead[0]:
            return self._ahead[1]
        own = rows[self.ranks.share(len(rows))]
        batch = collate(self.train, own if len(own) else rows[:1], self.config.data.reverse_source)
        return batch, int(batch.target_lengths.sum()) if len(own) else 0

    def _make_next_batch(self, batches: int) -> None:
        """While a GPU works on the update of so many."""
        place, order = self.state.batch + batches, self._epoch_order()
        if self.device.type == "cuda" and place < len(order):
            self._ahead = order[place], self._share(order[place])

    def _gradients_stay(self, stay: bool) -> AbstractContextManager[None]:
        """Let gradients add up on each rank, and not yet over all."""
        if stay and isinstance(self.forward, DistributedDataParallel):
            return self.forward.no_sync()
        return nullcontext()

    def _precision(self) -> torch.autocast:
        """bfloat16 products, where they are asked for. Validation is in float32, as models are
        used."""
        wanted = self.config.train.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=wanted)

    def _learn(
        self, batch: Tensors, weight: float | Tensor, given: float | Tensor | None
    ) -> Tensor:
        """Add the gradients of the loss times ``weight``, and give that product. ``given`` is the
        share of target tokens that are read; None where all are."""
        with gpu_arithmetic(self.device, rounded=self.config.train.precision != "fp32"):
            with self._precision():
                found = self._loss(batch, given) * weight
            # DistributedDataParallel takes the mean over the ranks
            (found * self.ranks.world).backward()  # type: ignore[no-untyped-call]
        return found.detach()

    def _loss(self, batch: Tensors, given: float | Tensor | None) -> Tensor:
        """What an update makes smaller."""
        config = self.config.train
        source, lengths, target_in, target_out, mask, copies = batch
        own = None if given is None else self._own_tokens(target_in, given)
        output = self.forward(source, lengths, target_in, copies, own)
        loss = sequence_loss(self.model, output, target_out, mask, config.label_smoothing, copies)
        if config.coverage_loss:
            assert output.weights is not None
            loss = loss + config.coverage_loss * coverage_loss(output.weights, mask)
        return loss

    def _own_tokens(self, target_in: Tensor, share: float | Tensor) -> OwnTokens:
        """Toss a coin for every token."""
        given = torch.rand(target_in.shape, device=self.device) < share
        given[:, 0] = True
        return OwnTokens(given, self.config.train.teacher_forcing.own == "sample", UNK)

    def _check_update(
        self, loss: float, norm: float, tokens: int, batches: Sequence[np.ndarray]
    ) -> None:
        """Stop before the weights are changed, where the loss or its gradient has run away.

        A mean over few tokens is high by chance sooner, so that of a small update counts less.
        ``stopped/`` keeps the state before this update, which can be made again from there, and its
        pairs. ``last/`` is left as it is: what spoilt the weights may have begun some updates ago.
        """
        state, most = self.state, self.config.train.max_loss_rise
        if state.step == 1:
            state.mean_loss, state.mean_tokens = loss, tokens
        rise = loss - state.mean_loss
        finite = math.isfinite(loss) and math.isfinite(norm)
        if finite and (most is None or rise * min(1.0, tokens / state.mean_tokens) <= most):
            state.mean_loss += (loss - state.mean_loss) / _MEAN_OF
            state.mean_tokens += (tokens - state.mean_tokens) / _MEAN_OF
            return
        advice = self._advice()
        if finite:
            advice += (
                "; or, where these pairs are as they should be, --set train.max_loss_rise=null"
            )
            what = (
                f"The loss shot up to {loss:.3f} at step {state.step}, {rise:.3f} above its mean "
                f"(train.max_loss_rise={most:g})"
            )
        else:
            what = f"The loss or its gradient is no longer a finite number at step {state.step}"
        pairs = [self.train.pairs[i] for rows in batches for i in rows.tolist()]
        path = self.output / "stopped"
        state.step -= 1
        self._keep_state(path, self._before, pairs)
        raise Diverged(f"{what}. Its {len(pairs)} pairs are in {path / BATCH}. {advice}")

    def _advice(self) -> str:
        lower = f"--set train.learning_rate={self.config.train.learning_rate / 10:g}"
        if find_directory(self.output / "last").exists():
            return f"Go on from the last checkpoint: jumok train --resume {self.output} {lower}"
        return f"Begin again, with another --output, and {lower}"

    def _after_update(self, batches: int) -> None:
        state, config = self.state, self.config.train
        state.batch += batches
        epoch_ended = state.batch == len(self._epoch_order())
        if epoch_ended:
            state.epoch, state.batch = state.epoch + 1, 0
        last = self.limit() is not None
        every = config.validate_every
        due = state.step % every == 0 if every else epoch_ended
        if state.step % 10 == 0 or due or last:
            self.reporter.update(state, self._since.loss, self._since.tokens_per_second)
        if due or last:
            self._judge_and_keep()
        # everybody comes to one decision: a signal or a clock is not everywhere the same
        late = time.monotonic() - self._kept > 60 * config.checkpoint_minutes
        asked, late_too = self.ranks.sums(
            [float(self.stop.asked), float(late and self.ranks.leads)], self.device
        )
        if asked and not state.finished:
            self.checkpoint()
            raise Interrupted(
                f"Stopped at step {state.step}; everything is kept in {self.output}. "
                f"Go on with: jumok train --resume {self.output}"
            )
        if late_too:
            self.checkpoint()

    def limit(self) -> str | None:
        """The setting that ends the run, as ``train.max_epochs=3``; None before the end."""
        state, config = self.state, self.config.train
        used = {
            "max_epochs": state.epoch,
            "max_steps": state.step,
            "max_minutes": state.seconds / 60,
            "patience": state.bad_validations,
        }
        for name, value in used.items():
            most = getattr(config, name)
            if most is not None and value >= most:
                return f"train.{name}={most:g}"
        return None

    def _judge_and_keep(self) -> None:
        self._validate()
        [self.state.seconds] = self.ranks.told([time.monotonic() - self._begun], self.device)
        self.state.finished = self.limit() is not None
        self.checkpoint()

    def _validate(self) -> None:
        state, metric = self.state, self.config.evaluation.metric
        speed = self._since.tokens_per_second
        started = time.monotonic()
        dev_loss, forced, value, alone = self._judge()
        self._check_finite(dev_loss, value)
        improved = is_better(metric, value, state.best) or (
            value == state.best and dev_loss < state.best_loss
        )
        if improved:
            state.best, state.best_loss = value, dev_loss
        state.bad_validations = 0 if improved else state.bad_validations + 1
        if not improved and self.config.train.schedule == "plateau":
            state.rate_factor *= self.config.train.plateau_factor
        record = {
            "step": state.step,
            "epoch": round(state.epoch + state.batch / len(self._epoch_order()), 3),
            "target_tokens": self._since.tokens,
            "train_loss": self._since.loss,
            "dev_loss": dev_loss,
            "dev_perplexity": math.exp(min(dev_loss, 700.0)),
            metric: value,
            "teacher_forcing": given_share(self.config.train.teacher_forcing, state.step),
            "forced_token_error": forced,
            "token_error": None if math.isnan(alone) else alone,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "tokens_per_second": round(speed, 1),
            "seconds": round(state.seconds, 1),
            "validation_seconds": round(time.monotonic() - started, 1),
            "best": improved,
        }
        self._since.begin()
        if not self.ranks.leads:
            return
        self._write(record)
        if improved:
            self._write_bundle(self.output / "best", self.judged, record)
        if self.config.train.keep_checkpoints:
            self._keep_judged(record)
        self.hear(record)

    def _judge(self) -> list[float]:
        """Rank 0's `Forced` and `Validation`, in a row; nan for what there is not."""
        found = [0.0] * 4
        if self.ranks.leads:
            self.judged.eval()
            value, alone = self.measure(self.judged)
            found = [*self.forced(), value, math.nan if alone is None else alone]
        return self.ranks.told(found, self.device)

    def _check_finite(self, *values: float) -> None:
        """Raise `Diverged` where a validation gave no number."""
        if not all(map(math.isfinite, values)):
            raise Diverged(
                f"The validation at step {self.state.step} gave no finite number. {self._advice()}"
            )

    @torch.inference_mode()
    def forced(self) -> Forced:
        """How well the dev pairs are foretold where every token before is given."""
        total, outputs, wanted = 0.0, list[list[int]](), list[list[int]]()
        size, model = self.config.train.batch_size, self.judged
        for start in range(0, len(self.dev), size):
            indices = range(start, min(start + size, len(self.dev)))
            batch = collate(self.dev, list(indices), self.config.data.reverse_source)
            source, lengths, target_in, target_out, mask, copies = to_device(batch, self.device)
            memory = model.encode(source, lengths, copies)
            output = model.decoder(target_in, memory)
            loss = sequence_loss(model, output, target_out, mask, copies=copies)
            total += float(loss) * int(mask.sum())
            chosen = forced_tokens(model, output, memory)
            for found, tokens in ((outputs, chosen), (wanted, target_out)):
                found += [row[real].tolist() for row, real in zip(tokens, mask, strict=True)]
        error = token_error_rate(outputs, [[one] for one in wanted])
        return Forced(total / sum(map(len, wanted)), error)

    def checkpoint(self) -> None:
        """Write ``last/``: the model as it now is and all that is needed to go on."""
        self._keep_state(self.output / "last", random_numbers(self.device))
        self._kept = time.monotonic()

    def _keep_state(
        self, path: Path, own: Mapping[str, Tensor], pairs: Sequence[Pair] = ()
    ) -> None:
        self._since.keep()
        state = replace(self.state)
        random = {kind: self.ranks.gathered(numbers) for kind, numbers in own.items()}

        def also(folder: Path) -> None:
            save_state(folder, state, self.model, self.optimizer, self.average, random)
            if pairs:
                (folder / BATCH).write_text(self._with_places(pairs), encoding="utf-8")

        record = {"step": state.step, "epoch": state.epoch}
        if self.ranks.leads:
            self._write_bundle(path, self.model, record, also, keep_old=not pairs)
        self.ranks.wait()  # whoever ends now, ends when all is there

    def _with_places(self, pairs: Sequence[Pair]) -> str:
        """The pairs as lines of JSON, each with where it stands in the files."""
        self.reporter.message("The run is stopped; its last pairs are looked for in the files")
        model = self.config.model
        features, alone = model.encoder.features != "none", not model.reads
        places = find_places({*pairs}, self.config.data, features, alone)
        lines = ({**pair._asdict(), "places": places[pair]} for pair in pairs)
        return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)

    def _write_bundle(
        self,
        path: Path,
        model: Seq2Seq,
        metrics: dict[str, Any],
        also: Callable[[Path], None] = lambda folder: None,
        keep_old: bool = False,
    ) -> None:
        arrays = {
            name: tensor.detach().cpu().contiguous().numpy()
            for name, tensor in model.state_dict().items()
        }
        write_bundle(path, self.config, *self.tokenizers, arrays, metrics, also, keep_old)

    def _keep_judged(self, record: dict[str, Any]) -> None:
        """Keep the model of this validation beside those of the last ones."""
        path = self.output / CHECKPOINTS / f"step-{self.state.step}"
        self._write_bundle(path, self.judged, record)
        for _, folder in self._kept_judged()[: -self.config.train.keep_checkpoints]:
            remove_directory(folder)

    def _kept_judged(self) -> list[tuple[int, Path]]:
        """The models of validations that are kept, by their steps."""
        found = (self.output / CHECKPOINTS).glob("step-*")
        steps = ((path.name.removeprefix("step-"), path) for path in found)
        return sorted((int(step), path) for step, path in steps if step.isdecimal())

    def _forget_later(self) -> None:
        """Drop what comes after the checkpoint that a kill left: it will be made again."""
        for step, folder in self._kept_judged():
            if step > self.state.step:
                remove_directory(folder)
        for left in (self.output / CHECKPOINTS).glob(".step-*"):  # by a kill
            shutil.rmtree(left, ignore_errors=True)
        path = self.output / "metrics.jsonl"
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("\n")]
            kept = [line for line in whole if json.loads(line)["step"] <= self.state.step]
            write_atomic(path, "".join(kept))

    def _write(self, record: dict[str, Any]) -> None:
        path = self.output / "metrics.jsonl"
        with storage_errors(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
        metric = self.config.evaluation.metric
        star = "  *" if record["best"] else ""
        wrong = f"tokens wrong: {record['forced_token_error']:.2f} % forced"
        if record["token_error"] is not None:
            gap = record["token_error"] - record["forced_token_error"]
            wrong += f", {record['token_error']:.2f} % alone (gap {gap:.2f})"
        if record["teacher_forcing"] < 1:
            wrong += f"  {record['teacher_forcing']:.0%} given"
        self.reporter.message(
            f"epoch {record['epoch']:g}  step {record['step']}  train loss "
            f"{record['train_loss']:.4f}  dev loss {record['dev_loss']:.4f}  "
            f"{metric} {record[metric]:.2f}  {wrong}  {record['tokens_per_second']:,.0f} tok/s  "
            f"{record['seconds']:.0f} s{star}"
        )


BATCH = "batch.jsonl"
CHECKPOINTS = "checkpoints"
_MEAN_OF = 100
"""Updates that the moving means of losses and tokens reach back, about."""


class Forced(NamedTuple):
    """How well tokens are foretold where those before are given."""

    loss: float
    """Cross-entropy per target token, in nats."""
    token_error: float
    """Edit distance of the most probable tokens from the targets, in per cent of these: what
    `Validation.token_error` is where the model goes on from its own tokens."""


class _Since:
    """Loss and speed since the last validation, kept in the state of the run."""

    def __init__(self, state: TrainingState) -> None:
        self._state = state
        self._started = time.monotonic() - state.since_seconds

    def begin(self) -> None:
        """A validation is done."""
        self._state.since_loss, self._state.since_tokens = 0.0, 0
        self._started = time.monotonic()

    def add(self, loss: float, tokens: int) -> None:
        """Count one update."""
        self._state.since_loss += loss * tokens
        self._state.since_tokens += tokens

    def keep(self) -> None:
        """Let the state know the time so far."""
        self._state.since_seconds = time.monotonic() - self._started

    @property
    def tokens(self) -> int:
        """Real target tokens, EOS counted."""
        return self._state.since_tokens

    @property
    def loss(self) -> float:
        """Mean loss per target token."""
        return self._state.since_loss / max(1, self.tokens)

    @property
    def tokens_per_second(self) -> float:
        """Of all time but that of validations."""
        return self.tokens / max(1e-9, time.monotonic() - self._started)


def make_average(model: Seq2Seq, config: TrainConfig) -> AveragedModel | None:
    """The moving average of the weights, if asked for."""
    if not config.average_decay:
        return None
    update = get_ema_multi_avg_fn(config.average_decay)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=update)


def pairs_digest(train: Dataset, dev: Dataset) -> str:
    """Of all pairs in their order."""
    return f"{train.counts.digest}-{dev.counts.digest}"


def make_sampler(data: Dataset, config: Config) -> BucketSampler:
    """The order of training batches."""
    return BucketSampler(
        data.source_lengths,
        data.target_lengths,
        config.train.batch_size,
        config.train.batch_tokens,
        config.train.seed,
        data.counts.ends,
        config.data.weights,
    )


def total_steps(config: Config, sampler: BucketSampler) -> int:
    """The most updates a run can take (with `batch_tokens`, where epochs differ, about)."""
    updates = math.ceil(sampler.steps / config.train.accumulate)
    most = config.train.max_epochs * updates
    return most if config.train.max_steps is None else min(most, config.train.max_steps)


def is_better(metric: str, value: float, best: float | None) -> bool:
    """Whether ``value`` beats ``best``."""
    if best is None:
        return not math.isnan(value)
    return value < best if metric in LOWER_IS_BETTER else value > best
