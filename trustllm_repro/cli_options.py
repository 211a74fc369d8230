"""Options of the commands that run a model, with their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Context, Option

from trustllm_repro.errors import SettingsError

MODEL_HELP = (
    "Folder with safetensors, .gguf file, hub id with revision (org/name@commit), "
    "endpoint (http://host:port/v1#model), or smollm2-135m, gemma3-270m."
)
Model = Annotated[str, Option(help=MODEL_HELP)]
ModelToAsk = Annotated[str, Option("--model", help=f"{MODEL_HELP} Or give --answers.")]
Answers = Annotated[
    Path | None,
    Option(
        help="Instead of a model: folder or ZIP of answers the official trustllm package has made, "
        "generation_results/<model>/<section>/<file>.json or run.json beside the files."
    ),
]
ModelName = Annotated[
    str,
    Option(help="With --answers: which model's, if the folder holds several; else its row's name."),
]
BenchmarkOrMiniature = Annotated[
    str,
    Option("--benchmark", help="ZIP or folder of the benchmark, or 'miniature' (a demonstration)."),
]
RunFolder = Annotated[Path, Option("--out", help="Run folder to write, or to go on with.")]
Dimensions = Annotated[
    list[str] | None, Option("--dimension", help="Only this dimension; may be given several times.")
]
Limit = Annotated[
    int | None, Option(min=1, help="About so many items a task, spread over its parts.")
]
Dtype = Annotated[
    str, Option(help="float32, bfloat16, float16, or auto: the faster of the first two.")
]
BatchSize = Annotated[int, Option(help="Answers at a time (0: what fits; an endpoint 8).")]
Device = Annotated[str, Option(help="auto, cpu, cuda ...")]
MaxNewTokens = Annotated[int, Option(min=1, help="Longest answer; the paper: 512.")]
Samples = Annotated[int, Option(min=1, help="Answers an item at temperature 1.")]
Seed = Annotated[int, Option(help="Base of all seeds.")]
Workers = Annotated[int, Option(help="Processes (0: what fits this machine).")]
Likelihood = Annotated[bool, Option(help="A second row: options read by their log-probability.")]
System = Annotated[
    str,
    Option(
        help="System message: blank, as the official toolkit asks, or default: the chat template's "
        "own. Not for endpoints, which are sent none."
    ),
]
Sampling = Annotated[
    str,
    Option(
        help="At temperature 1: model, by its generation config (top_k, top_p ...), as the official "
        "toolkit does, or plain: from the whole softmax. Not for endpoints."
    ),
]
Judges = Annotated[
    list[str] | None,
    Option(
        "--judge",
        help="judge=model: another judge, e.g. refusal=http://..#name or refusal=hub:FOLDER.",
    ),
]
Part = Annotated[str, Option(help="K/N: ask the K-th of N parts only (machines sharing a folder).")]
Unverified = Annotated[bool, Option("--unverified", help="Accept a benchmark with other rows.")]
# Options of `evaluate` that only one of its two sources knows what to do with: their parameters,
# and what to do instead.
ONLY_WITH = {
    "--model": (
        ("limit", "dtype", "batch_size", "device", "max_new_tokens", "samples", "seed", "workers",
         "likelihood", "system", "sampling", "part"),
        "answers that are there are taken as they are, and what was not answered counts as missing",
    ),
    "--answers": (("model_name",), "a model that is asked is named by its folder, hub id or file"),
}  # fmt: skip


def _set_by_user(context: Context, parameter: str) -> bool:
    # Typer brings a click of its own, whose enumeration it does not export.
    return getattr(context.get_parameter_source(parameter), "name", "") == "COMMANDLINE"


def refuse_idle(context: Context, source: str) -> None:
    """Refuse options the user set that would do nothing with this source of answers.

    Args:
        source: the key of `ONLY_WITH` that was given.

    Raises:
        SettingsError: names all of them.
    """
    for other, (names, instead) in ONLY_WITH.items():
        set_here = [
            "/".join([*p.opts, *p.secondary_opts])
            for p in context.command.params
            if p.name in names and _set_by_user(context, p.name)
        ]
        if other != source and set_here:
            raise SettingsError(
                f"{', '.join(set_here)}: only for {other}, and without effect on {source}",
                remedy=f"leave that out: {instead}",
            )


Tasks = Annotated[
    list[str] | None,
    Option("--task", help="Only this online task; may be given several times."),
]
CaseLimit = Annotated[
    int, Option(min=0, help="About so many cases a task; 0: all, of recorded answers 2,000.")
]
Quick = Annotated[bool, Option("--quick", help="Without monitors that need further generation.")]
RunCode = Annotated[
    bool,
    Option(
        "--run-code",
        help="Consent to run programs the model wrote (task code), each in a limited process: "
        "no protection against a program that means harm.",
    ),
]
Sheets = Annotated[
    Path | None,
    Option(
        help="Folder for the manual audit: a blank sheet a task is put there (it holds what the model "
        "wrote); filled copies NAME.<rater>.csv are read."
    ),
]
Prompts = Annotated[
    str,
    Option(
        help="For the task toxicity, instead of its own prompts: a file, a prompt a line or JSON lines "
        "with the field prompt; a hub data set with its revision (org/name@commit) that holds "
        "prompts.jsonl; or full: all 99,442 of RealToxicityPrompts, where the hub can be reached."
    ),
]
