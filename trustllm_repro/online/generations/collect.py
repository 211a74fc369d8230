"""All that monitors may read of the answers to one task: made once, kept, and gone on with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trustllm_repro.models.base import Finish, Request, content_key, item_seed
from trustllm_repro.models.local import LocalModel
from trustllm_repro.online.generations import extras
from trustllm_repro.online.generations.cases import Case
from trustllm_repro.online.generations.generation import Generation
from trustllm_repro.online.generations.index import reply_rows
from trustllm_repro.online.generations.levels import STATES, Level
from trustllm_repro.online.generations.recorder import layer_numbers
from trustllm_repro.online.generations.store import TraceStore
from trustllm_repro.online.generations.tasks import OnlineTask
from trustllm_repro.online.generations.trace import Trace
from trustllm_repro.online.generations.traces import Given, generated, given
from trustllm_repro.online.monitors.base import Need
from trustllm_repro.store.append import JsonLines

BATCH = 64  # traces written together: most that a kill can lose
Say = Callable[[str, int, int], None]  # what, done, of how many


def _quiet(what: str, done: int, of: int) -> None:
    pass


@dataclass
class Collector:
    """Makes what is missing.

    Args:
        folder: of one model; may be shared by runs, of which the second makes no model call.
        layers: whose states are kept; see recorder.layer_numbers.
        samples: further answers per case, for monitors that need them.
    """

    model: LocalModel
    folder: Path
    layers: Sequence[int]
    samples: int = extras.SAMPLES
    say: Say = _quiet

    def __post_init__(self) -> None:
        self.layers = layer_numbers(self.model.model, self.layers)
        self.identity = {**self.model.identity, "layers": list(self.layers)}

    def collect(
        self, task: OnlineTask, cases: Sequence[Case], needs: frozenset[Need]
    ) -> list[Generation]:
        """What monitors with these needs may read, one Generation a case.

        Raises:
            SourceCorrupt: a damaged file of the folder. OutputError: it cannot be written.
        """
        asked = self._asked(task)
        if asked is not self:
            return asked.collect(replace(task, continues=False, top_p=1.0), cases, needs)
        traces = self._answers(task, cases)
        seen = [self._generation(task, t, c) for t, c in zip(traces, cases, strict=True)]
        if needs & {Need.SAMPLES, Need.REPLIES}:
            others = self._samples(task, cases)
            seen = [replace(s, samples=o) for s, o in zip(seen, others, strict=True)]
        if Need.BRANCHES in needs:
            found = self._extra("branches", task, seen, self._branches)
            seen = [replace(s, branches=f) for s, f in zip(seen, found, strict=True)]
        if Need.REPLIES in needs:
            found = self._extra("replies", task, seen, self._replies)
            seen = [
                replace(s, replies={n: reply_rows(r) for n, r in f.items()})
                for s, f in zip(seen, found, strict=True)
            ]
        return seen

    def _generation(self, task: OnlineTask, trace: Trace, case: Case) -> Generation:
        return Generation(
            trace, case.prompt, self.folder.name, task.id, case.number, case.group,
            author=case.author,
        )  # fmt: skip

    def _asked(self, task: OnlineTask) -> Collector:
        """With the model as the task asks it. An endpoint draws from all of its distribution."""
        model = self.model.plain() if task.continues else self.model
        if task.top_p < 1 and isinstance(model, LocalModel):
            model = model.narrowed(top_p=task.top_p)
        return self if model is self.model else replace(self, model=model)

    def _answers(self, task: OnlineTask, cases: Sequence[Case]) -> list[Trace]:
        """One trace a case: of the given answer, or of the model's own."""
        store = TraceStore(self.folder / task.id / "answers")
        keys = [self._key(c, task) for c in cases]
        return self._traced(
            store, keys, lambda at: self._new([cases[i] for i in at], task), "answers"
        )

    def _key(self, case: Case, task: OnlineTask) -> str:
        read = {} if case.answer is None else {"given": _digest(case.answer)}
        return content_key({**self.identity, **read}, _request(case, task))

    def _new(
        self, cases: Sequence[Case], task: OnlineTask
    ) -> Iterator[list[tuple[int, Trace | None]]]:
        own = [i for i, c in enumerate(cases) if c.answer is None]
        texts = [i for i, c in enumerate(cases) if c.answer is not None]
        requests = [_request(cases[i], task) for i in own]
        for batch in self._generated(requests, self.layers) if own else ():
            yield [(own[i], trace) for i, trace in batch]
        asked = [Given(cases[i].prompt, str(cases[i].answer), task.max_new_tokens) for i in texts]
        for batch in given(self.model, asked, self.layers) if texts else ():
            yield [(texts[i], trace) for i, trace in batch]

    def _generated(
        self, requests: Sequence[Request], layers: Sequence[int]
    ) -> Iterator[list[tuple[int, Trace | None]]]:
        """(index, trace) of the model's answers as they end; None: no finite logits."""
        for batch in generated(self.model, requests, layers):
            yield [(i, trace) for i, _, trace in batch]

    def _samples(self, task: OnlineTask, cases: Sequence[Case]) -> list[list[Trace]]:
        """Further answers; of given answers there are none, but the model's own to the prompt."""
        n, limit = self.samples, task.max_new_tokens
        asked = [r for c in cases for r in extras.sample_requests(c.prompt, c.number, limit, n)]
        keys = [content_key({**self.model.identity, "layers": []}, r) for r in asked]

        def new(at: Sequence[int]) -> Iterator[list[tuple[int, Trace | None]]]:
            yield from self._generated([asked[i] for i in at], ())

        store = TraceStore(self.folder / task.id / "samples")
        found = self._traced(store, keys, new, f"{task.id}: samples")
        return [found[i * n : (i + 1) * n] for i in range(len(cases))]

    def _traced(self, store, keys, new, what) -> list[Trace]:
        """Traces by key, in order; those not in the store are made and put there."""
        known = store.load(set(keys))
        missing = [i for i, k in enumerate(keys) if k not in known]
        waiting: list[tuple[str, Trace]] = []
        done = len(keys) - len(missing)
        for batch in new(missing) if missing else ():
            # No finite logits: an answer of no tokens, so that it is counted and not asked again.
            waiting += [
                (keys[missing[i]], _nothing(self.layers, self.model) if t is None else t)
                for i, t in batch
            ]
            done += len(batch)
            self.say(what, done, len(keys))
            if len(waiting) >= BATCH:
                store.add([w for w in waiting if answered(w[1])])
                known |= dict(waiting)
                waiting = []
        store.add([w for w in waiting if answered(w[1])])
        known |= dict(waiting)
        return [replace(known[k], key=k) for k in keys]

    def _extra(self, kind: str, task: OnlineTask, seen: Sequence[Generation], make) -> list[Any]:
        """One JSON value an answer, kept under the answer's key."""
        lines = JsonLines(self.folder / task.id / f"{kind}.jsonl")
        known = {r["key"]: r["value"] for r in lines.read() if r.get("kind") == kind}
        missing = [i for i, s in enumerate(seen) if s.trace.key not in known]
        done = len(seen) - len(missing)
        for start in range(0, len(missing), BATCH):
            at = missing[start : start + BATCH]
            values = make([seen[i] for i in at], task)
            rows = [(seen[i].trace.key, v) for i, v in zip(at, values, strict=True)]
            whole = [all(map(answered, (seen[i].trace, *seen[i].samples))) for i in at]
            lines.append(
                {"kind": kind, "key": k, "value": v}
                for (k, v), of_all in zip(rows, whole, strict=True)
                if of_all  # what rests on a call that failed is made again by the next run
            )
            known |= dict(rows)
            done += len(at)
            self.say(f"{task.id}: {kind}", done, len(seen))
        return [known[s.trace.key] for s in seen]

    def _branches(self, seen: Sequence[Generation], task: OnlineTask) -> list[Any]:
        prompts, traces = [s.prompt for s in seen], [s.trace for s in seen]
        found = dict(extras.branches(self.model, prompts, traces, task.max_new_tokens))
        return [found.get(i, {}) for i in range(len(seen))]

    def _replies(self, seen: Sequence[Generation], task: OnlineTask) -> list[Any]:
        traces, yes = [s.trace for s in seen], self._yes()
        found = {
            "harmful": extras.examine(yes, [s.prompt for s in seen], traces),
            "supported": extras.support(yes, traces, [s.samples for s in seen]),
        }
        return [
            {name: _numbers(by[i]) for name, by in found.items() if i in by}
            for i in range(len(seen))
        ]

    def _yes(self) -> extras.Yes:
        return extras.by_likelihood(self.model)

    def level(self, seen: Sequence[Generation]) -> Level:
        """What of the model is seen."""
        return STATES


def _request(case: Case, task: OnlineTask) -> Request:
    seed = item_seed(0, task.id, case.number, case.sample) if task.temperature else 0
    return Request(case.prompt, task.max_new_tokens, task.temperature, seed)


def answered(trace: Trace) -> bool:
    """Whether there is an answer; calls of an endpoint can fail, and the next run asks again."""
    return trace.finish != Finish.ERROR


def _numbers(rows: np.ndarray) -> list[list[float]]:
    """As JSON, without the rows for which the model gave no reply, or no finite logits."""
    return rows[np.isfinite(rows).all(axis=1)].tolist()


def _nothing(layers: Sequence[int], model: LocalModel) -> Trace:
    size = int(model.model.config.get_text_config().hidden_size)
    none, k = np.zeros(0, np.float32), np.zeros((0, 5))
    return Trace(
        "", np.zeros(0, np.int32), "", np.zeros(0, np.int32), none, none, k.astype(np.int32),
        k.astype(np.float32), hidden={n: np.zeros((0, size), np.float16) for n in layers},
        finish="nan",
    )  # fmt: skip


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
