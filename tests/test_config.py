from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from parallel_ser.config import Config, dump, load
from parallel_ser.config_errors import names
from parallel_ser.errors import UserError

CONFIGS = Path(__file__).parents[1] / "configs"


def refusal(*overrides: str, config: Path | None = None) -> str:
    with pytest.raises(UserError) as caught:
        load(config, overrides)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith((".", "?", ")"))
    assert not re.search(r"pydantic|validation error|input_type", sentence, re.IGNORECASE)
    return sentence


def written(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_need_no_file() -> None:
    config = load(None, [])
    assert config == Config()
    assert (config.strategy.name, config.train.batch, config.corpus.name) == ("pipeline", 32, "synthetic")


def test_command_line_overrides_the_file_and_the_last_one_holds(tmp_path: Path) -> None:
    path = written(tmp_path, "train:\n  epochs: 7\n  batch: 8\nmodel: {size: m}\n")
    config = load(path, ["train.epochs=3", "train.epochs=5", "split.only=[0,2]", "corpus.synthetic.speakers=8"])
    assert (config.train.epochs, config.train.batch, config.model.size) == (5, 8, "m")
    assert config.split.only == (0, 2)
    assert config.corpus.synthetic.speakers == 8


def test_a_group_given_at_once_changes_what_it_names_alone(tmp_path: Path) -> None:
    path = written(tmp_path, "train:\n  epochs: 7\n  batch: 8\n")
    config = load(
        path, ["train={epochs: 3, keep: last}", "split={protocol: cross-corpus, test: {name: tess, root: b}}"]
    )
    assert (config.train.epochs, config.train.batch, config.train.keep) == (3, 8, "last")
    assert config.split.test is not None
    assert (config.split.test.name, config.split.test.root) == ("tess", Path("b"))
    assert "train.epoks (command line)" in refusal("train={epoks: 3}")


@pytest.mark.parametrize(
    ("override", "group", "key", "value"),
    [
        ("train.learning_rate=2e-3", "train", "learning_rate", 0.002),
        ("train.learning_rate=1", "train", "learning_rate", 1.0),
        ("audio.denoise=off", "audio", "denoise", "off"),
        ("audio.denoise=on", "audio", "denoise", "on"),
        ("train.spec_augment=false", "train", "spec_augment", False),
        ("features.streams=[logmel, pitch]", "features", "streams", ("logmel", "pitch")),
        ("run.folder=", "run", "folder", None),
        ("run.folder=null", "run", "folder", Path("null")),
        ("run.folder=12", "run", "folder", Path("12")),
        ("run.folder=1e3", "run", "folder", Path("1e3")),
        ("run.folder=true", "run", "folder", Path("true")),
        ("run.folder=~", "run", "folder", Path("~")),
        ("run.folder=/x/my run #1", "run", "folder", Path("/x/my run #1")),
        ("run.folder=/x/it's: [1", "run", "folder", Path("/x/it's: [1")),
        ("run.folder=@x", "run", "folder", Path("@x")),
        ('run.folder="x"', "run", "folder", Path('"x"')),
        ("run.cache=2026", "run", "cache", Path("2026")),
        ("train.freeze=[1e3, null]", "train", "freeze", ("1e3", "null")),
        ("run.folder=2026-01-02", "run", "folder", Path("2026-01-02")),
        ("run.folder=a=b c", "run", "folder", Path("a=b c")),
        ("run.folder=~/runs", "run", "folder", Path.home() / "runs"),
        ("train.rates={level1.conv: 0.1}", "train", "rates", {"level1.conv": 0.1}),
        ("train.seed=010", "train", "seed", 10),
    ],
)
def test_values_mean_what_they_look_like(override: str, group: str, key: str, value: object) -> None:
    found = getattr(getattr(load(None, [override]), group), key)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text", ["", "# nothing but a comment\n", "train:\n", "train:\n  # epochs: 3\nmodel:\n", "\ufefftrain:\n"]
)
def test_an_empty_file_or_group_means_defaults(tmp_path: Path, text: str) -> None:
    assert load(written(tmp_path, text), []) == Config()


@pytest.mark.parametrize(
    ("override", "unknown", "near"),
    [
        ("train.epoch=3", "train.epoch", "train.epochs"),
        ("train.epochs-=3", "train.epochs-", None),
        ("train.learning-rate=1", "train.learning-rate", "train.learning_rate"),
        ("epochs=3", "epochs", "train.epochs"),
        ("train.dropout=0.1", "train.dropout", "model.dropout"),
        ("corpus.synthetic.speaker=9", "corpus.synthetic.speaker", "corpus.synthetic.speakers"),
        ("split.test.nane=tess", "split.test.nane", "split.test.name"),
        ("tarin.epochs=3", "tarin", "train"),
    ],
)
def test_unknown_key_is_named_with_the_nearest(override: str, unknown: str, near: str | None) -> None:
    sentence = refusal(override)
    assert unknown in sentence
    assert "command line" in sentence
    if near is not None:
        assert f"unknown setting {unknown} (command line); did you mean {near}?" in sentence


def test_unknown_key_like_no_other_lists_what_there_is() -> None:
    assert refusal("model.qqqq=1").endswith(
        "model has name, file, options, digest, weights, size, width, attention, recurrent, dropout."
    )


def test_unknown_key_in_a_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, "train:\n  epochs: 3\n  bach: 8\n")
    assert f"train.bach ({path}, line 3); did you mean train.batch?" in refusal(config=path)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.epochs=x", "train.epochs must be a whole number, not 'x'"),
        ('train.epochs="3"', "train.epochs must be a whole number, not '3'"),
        ("train.epochs=3.5", "train.epochs must be a whole number, not 3.5"),
        ("train.epochs=true", "train.epochs must be a whole number, not true"),
        ("train.epochs=", "train.epochs must be a whole number, not nothing"),
        ("train.epochs=0", "train.epochs must be at least 1, not 0"),
        ("train.epochs=[1]", "train.epochs must be a whole number, not [1]"),
        ("train.learning_rate=.nan", "train.learning_rate must be a number, not '.nan'"),
        ("train.learning_rate=1e999", "train.learning_rate must be a number, not '1e999'"),
        ("train.spec_augment=1", "train.spec_augment must be true or false, not 1"),
        ("train.spec_augment=yes", "train.spec_augment must be true or false, not 'yes'"),
        ("split.only=1,2", "split.only must be a list, such as [1, 2], not '1,2'"),
        ("split.only=[0,b]", "split.only.1 must be a whole number, not 'b'"),
        ("corpus.name=ravdes", "not 'ravdes' (command line); did you mean ravdess?"),
        ("train=3", "train must be a group of settings, not 3"),
        ("train.epochs.now=3", "train.epochs must be a whole number, not a group of settings"),
        ("model.dropout=1", "model.dropout must be below 1.0, not 1"),
        ("features.streams=[]", "features.streams must be a list of at least 1, not []"),
    ],
)
def test_wrong_value_is_named_with_what_was_given_and_expected(override: str, said: str) -> None:
    sentence = refusal(override)
    assert said in sentence
    assert "(command line)" in sentence


@pytest.mark.parametrize(
    "override",
    [
        "train.epochs",
        "=3",
        "train..epochs=3",
        "--train.epochs=3",
        ".=1",
        "",
        "split.only=[",
        "split.only=[@x]",
        "split.only=[*x]",
        "split.only=[!!python/name:os.system x]",
    ],
)
def test_bad_override_is_quoted(override: str) -> None:
    assert repr(override) in refusal(override)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["corpus.name=tess"], "corpus.name=tess needs corpus.root"),
        (["audio.sample_rate=8000"], "features.f_max=8000 lies above half of audio.sample_rate=8000; use 4000 or less"),
        (["audio.min_seconds=2", "audio.max_seconds=1"], "audio.min_seconds=2 must be below audio.max_seconds=1"),
        (["strategy.microbatches=8", "train.batch=4"], "strategy.microbatches=8 cannot exceed train.batch=4"),
        (
            ["strategy.name=single", "strategy.stages=[2]"],
            "or deepspeed; single does without it",
        ),
        (["model.width=0.25"], "model.size=s takes model.width=0.5 or more"),
        (["model.size=m", "model.width=0.2"], "model.size=m takes model.width=0.25 or more"),
        (["strategy.stages=[0]"], "strategy.stages=[0] must rise from 1"),
        (["strategy.stages=[3,3]"], "strategy.stages=[3, 3] must rise from 1"),
        (["strategy.stages=[1,2]", "strategy.microbatches=2"], "needs strategy.microbatches of 3 or more, not 2"),
        (["split.protocol=luna5"], "split.protocol=luna5"),
        (["split.protocol=cross-corpus"], "split.test"),
        (["split.folds=1"], "split.folds=1"),
        (["split.protocol=cross-corpus", "split.test.name=tess"], "split.test: corpus.name=tess needs corpus.root"),
    ],
)
def test_impossible_combination_is_refused(overrides: list[str], said: str) -> None:
    assert said in refusal(*overrides)


def test_several_problems_show_the_first_and_count_the_rest(tmp_path: Path) -> None:
    path = written(tmp_path, "train:\n  batch: q\n  epochs: 0\n  bogus_key: 3\n")
    sentence = refusal(config=path)
    assert sentence.startswith("unknown setting train.bogus_key")
    assert sentence.count("(and 2 more problems)") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- train\n", "must hold groups of settings"),
        ("just words\n", "must hold groups of settings"),
        ("train:\n  epochs: 3\n  epochs: 4\n", "line 3: train.epochs is given twice (first on line 2)"),
        ("train:\n  epochs: 3\nmodel:\ntrain:\n", "line 4: train is given twice (first on line 1)"),
        ('"a\\nb": 1\n', "unknown setting a\\nb"),
        ('"a\\nb": 1\n"a\\nb": 2\n', "line 2: a\\nb is given twice"),
        ("train: [1,\n", "line 2: "),
        ("train:\n\tepochs: 3\n", "line 2: "),
        ("train: 3\n", "train must be a group of settings, not 3"),
        ("1: 2\n", "line 1: the key 1 is not a name"),
        ("? [a]\n: 2\n", "line 1: the key ['a'] is not a name"),
        ("run: &a\n  jobs: 1\ntrain: *a\n", "line 3: aliases (*name) are not supported"),
        ("run:\n  folder: !!python/object/apply:os.getcwd []\n", "line 2: the tag"),
        ("train: !thing {}\n", "line 1: the tag !thing is not supported"),
        ("train:\n---\nmodel:\n", "line 2: "),
        ("train:\n  seed: \x07\n", "line 2: character #x0007 is not allowed"),
        ("[" * 3000, "nested too deeply"),
        ("train:\n  seed: " + "9" * 5000 + "\n", "train.seed must be a whole number"),
    ],
)
def test_bad_file_is_named_with_the_line(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    sentence = refusal(config=path)
    assert str(path) in sentence
    assert said in sentence
    assert len(sentence) < 300


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.yaml"
    assert f"cannot read the settings file {missing}" in refusal(config=missing)
    assert str(tmp_path) in refusal(config=tmp_path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("run:\n  folder: é\n".encode("latin-1"))
    assert f"{latin} is not a text in UTF-8" in refusal(config=latin)


def test_the_files_own_mistake_is_shown_although_an_override_touches_it(tmp_path: Path) -> None:
    path = written(tmp_path, "train: 3\n")
    assert f"train must be a group of settings, not 3 ({path}, line 1)" in refusal("train.epochs=3", config=path)


def test_a_config_is_frozen() -> None:
    with pytest.raises(ValidationError):
        load(None, []).train.epochs = 3  # type: ignore[misc]


any_path = st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])).map(Path)
anything = st.fixed_dictionaries(
    {},
    optional={
        "corpus": st.fixed_dictionaries(
            {
                "name": st.just("manifest"),
                "root": any_path.filter(lambda path: path is not None),
                "labels": st.sampled_from(["own", "seven"]),
            }
        ),
        "split": st.fixed_dictionaries({"only": st.lists(st.integers(0, 30)).map(tuple)}),
        "audio": st.fixed_dictionaries({"denoise": st.sampled_from(["off", "on", "auto"])}),
        "train": st.fixed_dictionaries(
            {
                "learning_rate": st.floats(0, 10, exclude_min=True),
                "ema": st.floats(0, 1, exclude_max=True),
                "spec_augment": st.booleans(),
                "seed": st.integers(0, 2**32 - 1),
            }
        ),
        "run": st.fixed_dictionaries({"folder": any_path, "cache": any_path}),
    },
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=anything)
def test_what_is_dumped_loads_as_an_equal_config(tmp_path: Path, data: dict[str, object]) -> None:
    config = Config.model_validate(data)
    assert load(written(tmp_path, dump(config)), []) == config


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text() | st.text("trainepochs:={}[],-#&*!|>'\"%@`.0123 \n\t"), name=st.sampled_from(["", *names(Config)])
)
def test_no_text_brings_more_than_a_user_error(tmp_path: Path, text: str, name: str) -> None:
    said = []
    for attempt in (
        lambda: load(None, [f"{name}={text}"]),
        lambda: load(written(tmp_path, text.encode("utf-8", "replace").decode()), []),
    ):
        try:
            attempt()
        except UserError as error:
            said.append(str(error))
    assert not any("\n" in sentence for sentence in said)


@pytest.mark.parametrize("text", ["\x85", "a\x85b", "\u2028", "\u2029", "\ufeff", "a\nb", " a ", "é", "null", "1"])
def test_a_path_of_odd_letters_is_dumped_whole(tmp_path: Path, text: str) -> None:
    config = Config.model_validate({"run": {"folder": Path(text)}})
    assert load(written(tmp_path, dump(config)), []) == config


def test_dump_names_every_setting() -> None:
    listed = load(None, []).model_dump()
    leaves = [name for name in names(Config) if not name.startswith("split.test.")]
    for name in leaves:
        value: object = listed
        for part in name.split("."):
            assert isinstance(value, dict)
            value = value[part]
        assert f"{name.rpartition('.')[2]}:" in dump(Config())


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_file_loads(path: Path) -> None:
    load(path, [] if path.stem in ("default", "quick") else ["corpus.root=somewhere"])


def test_default_yaml_is_the_defaults_and_lists_them_all() -> None:
    text = (CONFIGS / "default.yaml").read_text(encoding="utf-8")
    assert load(CONFIGS / "default.yaml", []) == Config()
    for name in names(Config):
        if not name.startswith("split.test."):
            assert re.search(rf"^ *{name.rpartition('.')[2]}:", text, re.MULTILINE), name


def test_settings_are_read_without_any_heavy_library() -> None:
    code = "import sys, parallel_ser.config; print(sorted({'torch', 'numpy', 'scipy', 'librosa'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def ravdess(folder: Path) -> Path:
    """A folder with names of RAVDESS's."""
    for actor in (1, 2):
        file = folder / f"Actor_{actor:02d}" / f"03-01-03-01-01-01-{actor:02d}.wav"
        file.parent.mkdir(parents=True)
        file.touch()
    return folder


@pytest.mark.parametrize("where", ["corpus", "split.test"])
def test_a_corpus_without_a_name_gets_the_one_of_its_files(tmp_path: Path, where: str) -> None:
    overrides = [f"{where}.root={ravdess(tmp_path / 'speech')}"]
    config = load(None, [*overrides, *(["split.protocol=cross-corpus"] if where != "corpus" else [])])
    named = config.corpus if where == "corpus" else config.split.test
    assert named is not None
    assert named.name == "ravdess"


def test_a_name_that_is_no_utf8_is_refused_in_a_sentence() -> None:
    sentence = refusal("run.folder=/x/\udcff")
    assert sentence.isprintable()
    assert "it is no UTF-8" in sentence


def test_a_csv_file_is_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    table = written(tmp_path, "path,speaker,emotion\na.wav,s,joy\n").rename(tmp_path / "m.csv")
    assert load(None, [f"corpus.root={table}"]).corpus.name == "manifest"
    assert f"{table} would be read as one" in refusal(f"corpus.root={tmp_path}")


@pytest.mark.parametrize("name", [[], ["corpus.name=synthetic"]])
def test_nothing_is_written_into_a_folder_of_recordings(tmp_path: Path, name: list[str]) -> None:
    """The built-in corpus was rendered into a root that had no name."""
    (tmp_path / "interview.wav").touch()
    sentence = refusal(*name, f"corpus.root={tmp_path}")
    assert "corpus.name=synthetic is built in" in sentence if name else "say which with corpus.name" in sentence
    assert [one.name for one in tmp_path.iterdir()] == ["interview.wav"]
