"""Names and texts that try to act: as HTML, terminal codes, rich markup, LaTeX, mathematics."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from tests.faults.world import ITC, QBB, World, answer, cli, fails, read, refused, snapshot
from trustllm_repro.analysis.compare import compare
from trustllm_repro.display import show
from trustllm_repro.errors import SettingsError, SourceCorrupt
from trustllm_repro.escape import without_controls
from trustllm_repro.export import save
from trustllm_repro.plot import dots
from trustllm_repro.run_notebooks.stages import load_profile, read_notebook
from trustllm_repro.schema import Item
from trustllm_repro.scoring.ledger import Ledger, items_table
from trustllm_repro.scoring.results import FIELDS, Results, latex, latex_escape
from trustllm_repro.scoring.run import Run, trace_result

JAILBREAK = "safety/jailbreak"
TEXTS = {
    "HTML": "<script>alert(1)</script>",
    "attribute": '" onmouseover="alert(1)',
    "terminal": "\x1b[31mred\x1b]0;title\x07",
    "rich": "[red]red[/red][/b]",
    "LaTeX": r"\input{x}\write18{id}%$x_1^2$&#~",
    "jinja": "{{ 7 * 7 }}{% raw %}",
}
# The same as names of folders, which cannot hold a slash.
NAMES = {
    "HTML": "<script>alert(1)",
    "attribute": '" onmouseover="alert(1)',
    "terminal": "\x1b[31mred\x07",
    "rich": "[red]red",
    "LaTeX": r"\input{x}%$x_1^2$&#~",
    "jinja": "{{ 7 * 7 }}",
    "spaces": "  two words ",
    "bar": "a|b",
    "percent": "%s%d",
    "newline": "two\nlines",
    "formula": r"$\frac{$",
    "Chinese": "模型-7b",
    "option": "--help",
}


def line(**values: object) -> dict[str, object]:
    """One cell; absent fields are empty."""
    base = dict.fromkeys(FIELDS, "") | {
        "table": "safety_jailbreak", "model": "m", "column": "c", "value": 0.5, "rule": "authors",
        "n": 9, "n_unparsed": 0, "n_missing": 0, "difference": 0.0,
        "published": 0.5, "ci_low": 0.4, "ci_high": 0.6, "verdict": "reproduced",
    }  # fmt: skip
    return base | values


def cells(text: str) -> pd.DataFrame:
    """A table in which the text stands wherever a text can stand."""
    missing = {"value": math.nan, "ci_low": math.nan, "ci_high": math.nan, "reason": text}
    lines = [
        line(model=text, column=text, verdict=text),
        line(model="m", column=text, **missing),
        line(model=text, column=text, rule="corrected", value=0.9),
        line(model="absent " + text, column=text, **missing),
    ]
    return pd.DataFrame(lines, columns=FIELDS)


class Reader(HTMLParser):
    """Collects tags with attributes, and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def inert(page: str, text: str) -> None:
    """The text is text: no tag and no attribute came out of it."""
    seen = Reader(page)
    assert {t for t, _ in seen.tags} <= {
        "div", "p", "table", "thead", "tbody", "tr", "th", "td", "b", "span", "br", "ul", "li",
        "img", "style",
    }  # fmt: skip
    assert {a for _, attrs in seen.tags for a in attrs} <= {
        "class", "title", "style", "src", "alt", "id", "type", "rowspan", "colspan",
    }  # fmt: skip
    assert text in seen.text or any(text in (v or "") for _, a in seen.tags for v in a.values())


@pytest.mark.parametrize("kind", TEXTS)
def test_cells_in_html(kind):
    page = show(cells(TEXTS[kind]).set_index(["model", "column"])).to_html()
    inert(page, without_controls(TEXTS[kind]))
    assert "<script" not in page


COMMANDS = {
    "begin", "end", "toprule", "midrule", "bottomrule", "textbackslash", "textasciitilde",
    "textasciicircum", "space",
}  # fmt: skip


def harmless(source: str, allowed: set[str]) -> None:
    """Only known commands, and no sign that LaTeX would take for more than a sign."""
    assert set(re.findall(r"\\([A-Za-z]+)", source)) <= allowed
    for row in source.splitlines():
        bare = re.sub(r"\\([A-Za-z]+|.)", "", row)
        if not bare.startswith("%"):
            assert not set("%$#_^~") & set(bare)
            assert bare.count("{") == bare.count("}")


@pytest.mark.parametrize("kind", TEXTS)
def test_a_table_in_latex(kind):
    source = latex(cells(TEXTS[kind]))
    harmless(source, COMMANDS)
    assert source.count(r"\\") == 2
    assert source.count("&") - source.count(r"\&") == 2


@pytest.mark.parametrize("kind", TEXTS)
def test_a_result_in_latex(kind):
    harmless(latex_escape(TEXTS[kind]), COMMANDS | {"textless", "textgreater"})


def test_escaped_text_of_latex_is_exact():
    assert latex_escape(r"\input{x}") == r"\textbackslash{}input\{x\}"
    assert latex_escape("50 % of $5 & #1_a^b~") == (
        r"50 \% of \$5 \& \#1\_a\textasciicircum{}b\textasciitilde{}"
    )


@pytest.mark.parametrize("kind", TEXTS)
def test_the_text_of_a_result_in_results_tex(kind, tmp_path):
    results = Results("cells")
    results.add("claim.X.verdict", TEXTS[kind])
    results.save(tmp_path)
    written = (tmp_path / "results.tex").read_text(encoding="utf-8")
    text = written.split(r"\defineresult{claim.X.verdict}{", 1)[1].removesuffix("}\n")
    harmless(text, COMMANDS | {"textless", "textgreater"})


# --- folders of models with such names ----------------------------------------------------------


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The small world with a further model of each of the names."""
    world = World(tmp_path_factory.mktemp("crowd"))
    for name in NAMES.values():
        for path, rows in world.answers(name).items():
            world.put(world.records / path, rows)
    return world


@pytest.fixture(scope="module")
def run(crowd: World, tmp_path_factory: pytest.TempPathFactory) -> Run:
    made, recorded = crowd.replay(tmp_path_factory.mktemp("run"))
    assert set(recorded.models) == {*World.models, *NAMES.values()}
    return made


@pytest.mark.parametrize("kind", NAMES)
def test_a_model_of_that_name_has_its_rows(run, kind):
    table = pd.read_csv(run.tables / "safety_jailbreak.csv")
    mine, newcomer = (
        table[table["model"] == name].drop(columns=["model", "ci_low", "ci_high"])
        for name in (NAMES[kind], "newcomer-1b")
    )
    assert len(mine)
    pd.testing.assert_frame_equal(mine.reset_index(drop=True), newcomer.reset_index(drop=True))


def test_such_models_change_nothing_for_others(run, earlier):
    assert (run.path / "verify.csv").read_bytes() == (earlier / "verify.csv").read_bytes()
    for path in sorted((earlier / "tables").glob("*.csv")):
        after, before = pd.read_csv(run.tables / path.name), pd.read_csv(path)
        known = after[~after["model"].isin(NAMES.values())].reset_index(drop=True)
        pd.testing.assert_frame_equal(known, before)


@pytest.mark.parametrize("kind", NAMES)
def test_such_a_name_in_html(run, kind):
    page = show(compare(run, "safety_jailbreak")).to_html()
    inert(page, without_controls(NAMES[kind]))


def test_such_names_in_latex(run):
    for path in run.tables.glob("*.tex"):
        harmless(path.read_text(encoding="utf-8"), COMMANDS)
    lines = (run.path / "results.tex").read_text(encoding="utf-8").splitlines()
    defined = [x for x in lines if x.startswith(r"\defineresult")]
    assert len(defined) > 100
    assert not [x for x in defined if r"\input{x}" in x]


def test_a_name_that_is_not_utf8(world, earlier):
    if os.name != "posix":
        pytest.skip("names of files are Unicode on this system")
    path = world.record(QBB).parent
    path.rename(path.with_name(os.fsdecode(b"model-\xff")))
    fails(world, earlier, SourceCorrupt, "udcff", "is not UTF-8", "rename")


@pytest.mark.parametrize("kind", ["rich", "LaTeX"])
def test_the_way_from_a_result_of_such_a_model_to_its_rows(run, kind):
    result = f"safety_jailbreak/{NAMES[kind]}/overall/authors"
    assert trace_result(run.path, result)[1]
    done = cli("trace", run.path, result)
    assert done.returncode == 0, done.stderr
    assert result in done.stdout


def replayed(world: World, out: Path) -> subprocess.CompletedProcess[str]:
    return cli("replay", "--unverified", "--records", world.records, "--benchmark",
               world.benchmark, "--out", out)  # fmt: skip


def test_such_names_on_the_command_line(crowd, tmp_path):
    done = replayed(crowd, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "not among the 16 models" in done.stderr
    for kind in ("HTML", "attribute", "rich", "LaTeX", "jinja", "bar", "percent", "Chinese"):
        assert NAMES[kind] in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_terminal_codes_in_an_error_on_the_command_line(world, tmp_path):
    path = world.record(QBB, "newcomer-1b")
    path.write_text("{", encoding="utf-8")
    path.parent.rename(path.parent.with_name(NAMES["terminal"]))
    message = refused(replayed(world, tmp_path / "out"))
    assert "jailbreak_QBB.json is not UTF-8 JSON" in message
    assert "\x1b" not in message


@pytest.mark.parametrize("folder", ["[red]run", "[/b]"])
def test_a_run_folder_of_such_a_name_on_the_command_line(earlier, tmp_path, folder):
    target = Path(f"{tmp_path}/{folder}")
    shutil.copytree(earlier, target)
    done = cli("verify", target)
    assert done.returncode == 0, done.stderr[-300:]
    assert folder in done.stdout


def test_such_names_in_a_figure(run):
    """No element comes out of a name, none is read as mathematics, and the file is XML."""
    names = {k: NAMES[k] for k in ("HTML", "attribute", "rich", "LaTeX", "formula", "jinja")}
    chosen = {*names.values(), NAMES["terminal"]} | set(World.models)
    board = compare(run, "leaderboard_safety", ["Jailbreak"])
    board = board[board.index.get_level_values("model").isin(chosen)]
    save(dots(board), run, "safety", data=board)
    picture = ElementTree.parse(run.figures / "safety.svg")
    assert not [e for e in picture.iter() if e.tag.endswith("script")]
    assert set(names.values()) <= {e.text for e in picture.iter()}
    assert chosen == set(pd.read_csv(run.figures / "safety.csv")["model"])


# --- texts ---------------------------------------------------------------------------------------


def test_no_answer_or_prompt_gets_into_a_result_and_facets_stay_text(world, tmp_path):
    texts = list(TEXTS.values())
    rows = [
        {**r, "prompt": f"prompt {t} {i}", "label": [f"attack {t}|x"]}
        for i, (r, t) in enumerate(zip(read(world.question(JAILBREAK)), texts * 2, strict=True))
    ]
    world.put(world.question(JAILBREAK), rows)
    for model in world.models:
        for form, source in ((ITC, "ITC"), (QBB, "QBB")):
            mine = [r for r in rows if r["source"] == source]
            told = [answer(r, f"said {t} {model}") for r, t in zip(mine, texts, strict=True)]
            world.put(world.record(form, model), told)
    run, recorded = world.replay(tmp_path / "out")
    assert not recorded.report.unmatched
    asked = run.ledger.asked(JAILBREAK)
    assert set(asked["source"]) == {"ITC", "QBB"}
    assert set(asked["attack"]) == {f"attack {t}|x".replace("|", "/") for t in texts}
    for name, data in snapshot(run.path).items():
        for t in texts:
            assert f"prompt {t}".encode() not in data, name
            assert f"said {t}".encode() not in data, name


def test_a_bar_in_a_facet_does_not_shift_the_others(earlier):
    """Facets of an item are stored in one column, with bars between them."""
    items = items_table(
        {"safety/jailbreak": [Item("safety/jailbreak", 0, "p", "", ("a|b", "cot"))]}
    )
    asked = Ledger(items, Ledger.load(earlier).verdicts).asked("safety/jailbreak")
    assert (asked["source"][0], asked["attack"][0]) == ("a/b", "cot")


# --- keys ----------------------------------------------------------------------------------------

# Put together here, so that no tool takes this file for a leak.
KEYS = [
    "sk" + "-" + "a1B2" * 6,
    "hf" + "_" + "a1B2" * 6,
    "ghp" + "_" + "a1B2" * 9,
    "github" + "_pat_" + "a1B2" * 9,
    "AK" + "IA" + "A1B2" * 4,
    "xoxb" + "-" + "1234-5678-abcd",
    "gsk" + "_" + "a1B2" * 6,
]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("form", ["{}", "  {}", "Bearer {}", "https://host/?token={}"])
def test_a_key_as_a_parameter_is_refused_and_not_repeated(key, form):
    with pytest.raises(
        SettingsError, match=r"00_provenance\.records looks like a secret"
    ) as caught:
        read_notebook("00_provenance").check({"run_dir": "runs/x", "records": form.format(key)})
    assert key not in str(caught.value)
    assert "environment" in caught.value.remedy


@pytest.mark.parametrize(
    "path", ["runs/task-with-a-rather-long-name", "disk_and_a_rather_long_name", "/data/records.zip",
             "risk-assessment-of-the-year", "../runs/embedded", "sk-7", "hf_home"]
)  # fmt: skip
def test_names_of_folders_are_no_keys(path):
    assert read_notebook("17_audit").check({"run_dir": path}) == {"run_dir": path}


def test_a_key_of_the_wrong_type_is_not_repeated(tmp_path):
    with pytest.raises(SettingsError) as caught:
        read_notebook("16_overview").check({"run_dir": "runs/x", "resamples": KEYS[0]})
    assert KEYS[0] not in str(caught.value)


def test_a_profile_with_such_a_name_on_the_command_line():
    message = refused(cli("reproduce", "--plan", "--profile", "[red]none"))
    assert "no profile '[red]none'" in message
    assert "embedded" in message


def test_profiles_outside_their_folder_are_not_found():
    with pytest.raises(SettingsError, match="no profile"):
        load_profile("../../pyproject")
