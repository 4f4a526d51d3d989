"""A Markdown table of finished runs: ``python benchmarks/runs_table.py RUN…``."""

from __future__ import annotations

import sys
from pathlib import Path

from parallel_ser.training.run_folder import metrics_of, read_json, settings


def row(folder: Path) -> str:
    config, record, machine = (
        settings(folder),
        metrics_of(folder),
        read_json(folder / "environment.json"),
    )
    histories = [read_json(path) for path in sorted(folder.glob("fold-*/history.json"))]
    seconds = sum(epoch["seconds"] for history in histories for epoch in history)
    classical = any(folder.glob("fold-*/model.skops"))
    views = " + ".join(config.classical.views) if config.classical.system != "gmm" else "frames"
    what = f"{config.classical.system}: {views}" if classical else config.strategy.name
    low, high = record["uar"]["interval"] or (float("nan"), float("nan"))
    folds = " ".join(f"{fold['uar']:.3f}" for fold in record["per_fold"])
    cells = [
        f"{what}, {machine['processes']} × {machine['threads_per_process']}",
        config.classical.normalise if classical else config.train.normalise,
        f"**{record['fold_uar_mean']:.3f}** ± {record['fold_uar_std'] or 0:.3f}",
        folds,
        f"{record['uar']['value']:.3f} ({low:.3f} to {high:.3f})",
        f"{record['wa']['value']:.3f}",
        f"{record['macro_f1']:.3f}",
        f"{seconds / 60:.0f}" if histories else "",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    heads = ["system, processes × threads", "normalised by", "mean UAR ± std over folds", "UAR of each fold"]
    heads += ["pooled UAR (95% over speakers)", "WA", "macro F1", "minutes"]
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    for folder in sys.argv[1:]:
        print(row(Path(folder)))


if __name__ == "__main__":
    main()
