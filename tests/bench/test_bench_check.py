"""The bench's comparison with one process: sound rows pass, and every planted defect is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from check_ranks import DEFECTS
from starting import run_cases

from parallel_ser.bench.analyse import AWAY

PIPELINE = {"name": "pipeline", "microbatches": 4}
SOUND = [PIPELINE, {"name": "tensor_split", "axis": "channel", "microbatches": 1}, {"name": "fsdp", "microbatches": 1}]
SOUND += [{"name": name, "microbatches": 2} for name in ("ddp", "zero1", "deepspeed")]
CASES = [json.dumps({"defect": "sound", **one}) for one in SOUND]
CASES += [json.dumps({"defect": name, **PIPELINE}) for name in DEFECTS if name != "sound"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("check")
    failed = run_cases(Path(__file__).parent / "check_ranks.py", 2, folder, CASES)
    assert not failed, next(iter(failed.values()))
    return {case: torch.load(folder / f"{case}.pt", weights_only=True) for case in CASES}


@pytest.mark.parametrize("case", CASES)
def test_a_row_is_no_result_where_it_trains_otherwise(results: dict[str, Any], case: str) -> None:
    found = {part for part, (away, _) in results[case].items() if away > AWAY}
    expected: dict[str, set[str]] = {
        "sound": set(),
        "no_clipping": {"optimizer"},
        "clipping_by_stage": {"optimizer"},
        "no_weight_decay": {"weights", "ema"},
        "other_predictions": {"predictions"},
        "half_rate": {"optimizer"},
        "stale_average": {"ema"},
    }
    due = expected[json.loads(case)["defect"]]
    assert found >= due, results[case]
    assert due or not found, results[case]
