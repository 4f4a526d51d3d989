"""Voice activity against silero-vad's own network, and whatever the blocks."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from parallel_ser.audio import vad
from parallel_ser.errors import UserError

needs_silero = pytest.mark.skipif(find_spec("silero_vad") is None, reason="the extra 'analyze' is not installed")


def sound(seconds: float = 3.0) -> np.ndarray:
    """A buzz that comes and goes, in noise."""
    time = np.arange(round(seconds * vad.RATE)) / vad.RATE
    rng = np.random.default_rng(0)
    buzz = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 20))
    return (0.1 * buzz * (np.sin(2 * np.pi * time) > 0) + 0.003 * rng.standard_normal(len(time))).astype(np.float32)


@needs_silero
def test_the_network_computes_what_silero_vad_computes() -> None:
    spec = find_spec("silero_vad")
    assert spec is not None
    assert spec.origin is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.load goes
        theirs = torch.jit.load(str(Path(spec.origin).parent / "data" / "silero_vad.jit")).eval()
    # the package's two files hold weights of two trainings: those of the first go into our network
    network = vad.Silero().eval()
    own = theirs.state_dict()
    names = {f"conv{k + 1}.{part}": f"encoder.{k}.reparam_conv.{part}" for k in range(4) for part in ("weight", "bias")}
    names |= {f"lstm.{part}_l0": f"decoder.rnn.{part}" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    names |= {f"final_conv.{part}": f"decoder.decoder.2.{part}" for part in ("weight", "bias")}
    names["stft_conv.weight"] = "stft.forward_basis_buffer"
    network.load_state_dict({name: own[f"_model.{other}"] for name, other in names.items()})

    signal = sound()[: 90 * vad.FRAME]
    theirs.reset_states()
    parts = torch.from_numpy(signal).split(vad.FRAME)
    with torch.inference_mode():
        expected = [theirs(part, vad.RATE).item() for part in parts]
        frames = torch.stack(parts)
        before = torch.cat([torch.zeros(1, 64), frames[:-1, -64:]])
        found, _ = network(torch.cat([before, frames], dim=1), None)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


@needs_silero
def test_blocks_change_nothing() -> None:
    signal = sound()
    whole = vad.SileroActivity()(signal, last=True)
    listener = vad.SileroActivity()
    parts = [listener(part, last=place == 2) for place, part in enumerate(np.split(signal, [1000, 30011]))]
    assert len(whole) == -(-len(signal) // vad.FRAME)
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


def test_energy_parts_sound_from_silence() -> None:
    signal = sound()
    found = vad.Energy()(signal, last=True)
    times = (np.arange(len(found)) + 0.5) * vad.FRAME / vad.RATE
    loud = np.sin(2 * np.pi * times) > 0
    assert (found.astype(bool) == loud).mean() > 0.95


def test_without_the_package_it_says_what_would_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vad, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"parallel-ser\[analyze\].*--vad energy"):
        vad.voice_activity("silero")
