"""``parallel-ser evaluate``: a run's models on their test sides, or on another corpus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parallel_ser.commands.changes import changed
from parallel_ser.commands.options import Wide
from parallel_ser.errors import UserError

if TYPE_CHECKING:
    from parallel_ser.config import Config
    from parallel_ser.training.inference import Run

_MAY_CHANGE = ("corpus.root", "corpus.also", "split.test.root", "split.file", "run.cache", "run.jobs")
_CHOOSE = tuple(f"corpus.{name}" for name in ("where", "merge", "emotions", "labels", "on_problem"))  # of --corpus


def evaluate(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Such as corpus.root=FOLDER, where the corpus has moved; with --corpus also what to take of that one, "
            "such as corpus.where.sex=female.",
        ),
    ] = None,
    corpus: Annotated[
        str | None, typer.Option("--corpus", help="Test on all of another corpus, such as tess, instead.")
    ] = None,
    root: Annotated[Path | None, typer.Option("--root", help="The other corpus's folder.")] = None,
    merge: Annotated[
        list[str] | None,
        typer.Option("--merge", help="Count emotions as another, such as neutral=calm or neutral=calm,bored."),
    ] = None,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Alter the sound: gain, cuts, filters, noise, a narrow band, MP3.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
    wide: Wide = False,
) -> None:
    """Test a run's models again: each fold's on the speakers that it was not trained on.

    With --corpus all folds' models together are tested on a corpus that none of them has seen, of which corpus.where,
    corpus.emotions, corpus.merge and corpus.labels choose. With --merge a model of more emotions is judged on fewer:
    what it gives those that count as one is summed. With --robustness the run's model card says what becomes of its
    answers when the sound is altered.
    """
    from parallel_ser.config import load
    from parallel_ser.corpora.choose import in_words_of, merge_note, merged_names
    from parallel_ser.report.tables import print_metrics
    from parallel_ser.report.terminal import screen
    from parallel_ser.system.files import require_writable, write_text
    from parallel_ser.system.lock import writing
    from parallel_ser.training import run_folder
    from parallel_ser.training.inference import Run

    if root is not None and corpus is None:
        raise UserError("--root is the folder of another corpus: say which with --corpus, such as --corpus tess.")
    trained = Run.open(run)
    chosen = [word for word in overrides or [] if corpus is not None and word.startswith(_CHOOSE)]
    changes = [word for word in overrides or [] if word not in chosen]
    config = changed(trained, run, changes, _MAY_CHANGE, "evaluate")
    if run_folder.without_folders(config).corpus != run_folder.without_folders(trained.config).corpus:
        raise UserError(f"corpus.also has other corpora than the training of {run}; its folders alone may change.")
    if robustness:
        if corpus is not None or merge:
            raise UserError("--robustness tests the run on its own test sides: leave --corpus and --merge out.")
        _altered(run, trained, config, json, wide)
        return
    merges: dict[str, list[str]] = {}
    for emotion, sources in map(_merge, merge or []):
        merges.setdefault(emotion, []).extend(sources)
    merges = in_words_of(trained.classes, merges, "--merge", f"the run {run}")
    names = merged_names(trained.classes, merges, "--merge", f"the run {run}")
    done = len(run_folder.tested_folds(run))
    if done < len(trained.folds) or not (run / "metrics.json").exists():
        typer.echo(f"note: this run is not finished; {len(trained.folds)} of its folds have a model so far.", err=True)
    if corpus is not None:
        require_writable(run / f"on-{corpus}")
    if corpus is None:
        parts, audits, notes = trained.test_own(config)
    else:
        # under its own labels: they are matched to the run's classes, whichever map these come from
        asked = [f"corpus.name={corpus}", *([f"corpus.root={root}"] if root else []), *chosen]
        parts, audits, notes = trained.test_other(config, load(None, asked).corpus)
    if merges:
        parts, notes = [part.merged(names) for part in parts], (*notes, merge_note(merges))
    predictions, metrics = run_folder.summarise(parts, audits, notes)
    if json:
        typer.echo(metrics.model_dump_json(indent=1))
        return
    console = screen(wide)
    print_metrics(console, metrics.model_dump(mode="json"))
    if corpus is not None:
        target = run / f"on-{corpus}"
        with writing(run):
            run_folder.write_results(target, predictions, metrics)
            write_text(target / "corpus.txt", " ".join([corpus, str(root or ""), *chosen]) + "\n")
        console.print(f"Results folder: {target}", highlight=False, soft_wrap=True)


def _altered(folder: Path, run: Run, config: Config, json: bool, wide: bool) -> None:
    """Test with the sound altered, keep what came of it and write the card anew."""
    from parallel_ser.report.tables import print_robustness
    from parallel_ser.report.terminal import rounds, screen
    from parallel_ser.system.digests import write_json
    from parallel_ser.system.lock import writing
    from parallel_ser.training import card, robustness

    with writing(folder):
        with rounds() as told:
            found = robustness.measure(run, config, told)
        write_json(folder / robustness.FILE, found)
        if (folder / "metrics.json").exists():
            card.write(folder, run.config)
    if json:
        typer.echo((folder / robustness.FILE).read_text(encoding="utf-8"))
        return
    print_robustness(screen(wide), found)
    typer.echo(f"Model card: {folder / card.FILE}")


def _merge(text: str) -> tuple[str, list[str]]:
    """An emotion and those that count as it, of ``neutral=calm,bored``."""
    target, _, sources = text.partition("=")
    words = [word.strip() for word in sources.split(",")]
    if not target.strip() or not all(words):
        raise UserError(f"cannot read --merge {text}; write the emotion and those that count as it: neutral=calm.")
    return target.strip(), words
