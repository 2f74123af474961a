"""Opens speech encoders: the small reference one, folders written by counterpoint, and speech models of transformers.

Of transformers, models that hear waveforms (wav2vec 2.0, XLS-R, HuBERT, WavLM, ...) and Whisper's encoder. N clips,
S samples, T frames, D features, M mel bands.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from counterpoint import library_bars
from counterpoint.errors import CounterpointError, MissingExtra, nearest
from counterpoint.models.audio.encoder import SmallSpeech, SpeechEncoder, frame_mask

ENCODERS = ("conv-speech", "whisper-tiny-en")


class WaveSpeech(SpeechEncoder):
    """A transformers model that hears waveforms; its last layer's states.

    Where the model's front end averages over time (``feat_extract_norm="group"``), padding would change what it hears:
    such clips pass one by one.
    """

    sample_rate = 16_000

    def __init__(self, net: nn.Module, recipe: dict[str, Any]) -> None:
        super().__init__()
        self.net, self.recipe = net, recipe
        config: Any = net.config
        self.num_features = int(config.hidden_size)
        self.one_by_one = getattr(config, "feat_extract_norm", "layer") == "group"

    def frames(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See ``SpeechEncoder.frames``."""
        if not len(waves):  # a process without a row of a small last batch
            states, mask = self.frames(waves.new_zeros(1, 1600), lengths.new_full((1,), 1600))
            return states[:0], mask[:0]
        net: Any = self.net
        waves = _at_least(waves, 400)  # one frame of the usual front end
        lengths = lengths.clamp(min=400)
        if self.recipe.get("do_normalize", True):
            waves = _standardised(waves, lengths)
        counts = net._get_feat_extract_output_lengths(lengths)
        if self.one_by_one:
            rows = [
                net(waves[n : n + 1, :end]).last_hidden_state[0] for n, end in enumerate(lengths.tolist())
            ]
            states = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        else:
            inside = frame_mask(lengths, waves.shape[1]).long()
            states = net(waves, attention_mask=inside).last_hidden_state
        return states, frame_mask(counts, states.shape[1])

    def freeze_front(self) -> None:
        """Keep the convolutions over the waveform as they are."""
        self.net.feature_extractor.requires_grad_(False)  # type: ignore[union-attr]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the transformers folder, with the preprocessing it came with."""
        self.net.save_pretrained(folder)  # type: ignore[operator]
        _write_recipe(self.recipe, folder)


class WhisperSpeech(SpeechEncoder):
    """Whisper's encoder, its positions cut to clips of at most ``seconds``.

    Its layers see no mask, so every clip is padded to that length (and a shorter batch gives the same states).
    """

    sample_rate = 16_000
    hop, window = 160, 400

    def __init__(self, net: nn.Module, seconds: float | None = None) -> None:
        super().__init__()
        self.net = net
        config: Any = net.config
        self.num_features = int(config.d_model)
        if seconds is not None and round(seconds * 50) < config.max_source_positions:
            config.max_source_positions = max(1, round(seconds * 50))
            positions = net.embed_positions.weight[: config.max_source_positions].detach().clone()  # type: ignore[union-attr, index]
            net.embed_positions = nn.Embedding.from_pretrained(positions, freeze=True)
        self.register_buffer("filters", _whisper_filters(int(config.num_mel_bins)), persistent=False)
        self.register_buffer("hann", torch.hann_window(self.window), persistent=False)

    @property
    def longest(self) -> int:
        """Samples of the longest clip it hears."""
        config: Any = self.net.config
        return 2 * self.hop * int(config.max_source_positions)

    def frames(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See ``SpeechEncoder.frames``."""
        if not len(waves):  # a process without a row of a small last batch
            states, mask = self.frames(waves.new_zeros(1, 1600), lengths.new_full((1,), 1600))
            return states[:0], mask[:0]
        if int(lengths.max()) > self.longest:
            raise CounterpointError(
                f"a clip of {int(lengths.max()) / self.sample_rate:.2f} seconds for an encoder that hears "
                f"{self.longest / self.sample_rate:.2f}; load the data with --data-option seconds={self.longest / self.sample_rate:g}"
            )
        waves = functional.pad(waves[:, : self.longest], (0, max(0, self.longest - waves.shape[1])))
        states = self.net(self.bands(waves)).last_hidden_state
        counts = torch.div(lengths + 2 * self.hop - 1, 2 * self.hop, rounding_mode="floor").clamp(min=1)
        return states, frame_mask(counts, states.shape[1])

    def bands(self, waves: Tensor) -> Tensor:
        """[N, S] -> [N, M, S / 160], the logarithmic mel bands that Whisper was trained on."""
        with torch.autocast(waves.device.type, enabled=False):  # energies span more than half precision holds
            spectrum = torch.stft(
                waves, self.window, self.hop, window=self.get_buffer("hann"), return_complex=True
            )[..., :-1]
            mel = (self.get_buffer("filters").T @ spectrum.abs().square()).clamp(min=1e-10).log10()
        return (torch.maximum(mel, mel.amax((1, 2), keepdim=True) - 8) + 4) / 4

    def freeze_front(self) -> None:
        """Keep the two convolutions as they are."""
        self.net.conv1.requires_grad_(False)  # type: ignore[union-attr]
        self.net.conv2.requires_grad_(False)  # type: ignore[union-attr]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the encoder as a transformers folder (architecture WhisperEncoder)."""
        self.net.save_pretrained(folder)  # type: ignore[operator]


def load_speech_encoder(
    spec: str, sample_rate: int, seed: int = 0, seconds: float | None = None
) -> SpeechEncoder:
    """Build or open a speech encoder.

    Args:
        spec: "conv-speech", "whisper-tiny-en", or a ``save_pretrained`` folder: one written by counterpoint, or any
            transformers speech encoder.
        sample_rate: of the clips it shall hear.
        seed: of the initial weights.
        seconds: longest clip; Whisper's encoder, which pads everything to 30 seconds, is cut to it.

    Raises:
        CounterpointError: nothing there, no speech encoder in it, or one for another sample rate.
        MissingExtra: transformers is needed and not installed.
    """
    if spec == "conv-speech":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return SmallSpeech(sample_rate)
    if spec == "whisper-tiny-en" and not Path(spec).exists():
        from counterpoint.bundled.convert import models as bundled

        spec = str(bundled.path(spec))
    folder = Path(spec)
    if not (folder / "config.json").exists():
        raise CounterpointError(
            f"model '{spec}': neither a known encoder ({nearest(spec, ENCODERS)}) nor a folder with config.json; give one of {', '.join(ENCODERS)} or a save_pretrained folder"
        )
    encoder = open_encoder(folder, seconds)
    check_rate(encoder, sample_rate, spec)
    return encoder


def open_encoder(folder: Path, seconds: float | None = None) -> SpeechEncoder:
    """Open the encoder of a ``save_pretrained`` folder, whatever else is beside it; ``seconds`` as in ``load_speech_encoder``.

    Raises:
        CounterpointError: config.json names no speech encoder.
    """
    described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if "model_type" in described:
        return _of_transformers(folder, described, seconds)
    if described.get("architecture") == "SmallSpeech":
        return SmallSpeech.from_pretrained(folder)
    raise CounterpointError(
        f"{folder}: config.json names no speech encoder; expected a folder written by save_pretrained"
    )


def check_rate(encoder: Any, sample_rate: int, spec: str) -> None:
    """Refuse an encoder for another sample rate than the clips'.

    Raises:
        CounterpointError: so, with the option that reads the clips at its rate.
    """
    if encoder.sample_rate != sample_rate:
        raise CounterpointError(
            f"{spec} hears {encoder.sample_rate} samples per second and the clips have {sample_rate}; load the data with "
            f"--data-option sample_rate={encoder.sample_rate}"
        )


def _of_transformers(folder: Path, described: dict[str, Any], seconds: float | None) -> SpeechEncoder:
    try:
        from transformers import AutoModel
    except ImportError:
        raise MissingExtra("transformers", "audio") from None
    library_bars.hide("transformers")
    if described["model_type"] == "whisper":
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        alone = described.get("architectures") == ["WhisperEncoder"]
        net = (
            WhisperEncoder.from_pretrained(folder)
            if alone
            else AutoModel.from_pretrained(folder).get_encoder()
        )
        return WhisperSpeech(net, seconds)
    net = AutoModel.from_pretrained(folder)
    if not hasattr(net, "_get_feat_extract_output_lengths"):
        raise CounterpointError(
            f"{folder} holds a {described['model_type']}, which hears no waveforms; expected wav2vec2, hubert, wavlm, unispeech or whisper"
        )
    if getattr(net.config, "apply_spec_augment", False) and not (
        net.config.mask_time_prob or net.config.mask_feature_prob
    ):
        net.config.apply_spec_augment = False
    recipe = folder / "preprocessor_config.json"
    return WaveSpeech(net, json.loads(recipe.read_text(encoding="utf-8")) if recipe.exists() else {})


def _standardised(waves: Tensor, lengths: Tensor) -> Tensor:
    """Mean 0 and deviation 1 over each clip's own samples."""
    inside = frame_mask(lengths, waves.shape[1])
    count = lengths[:, None].to(waves.dtype)
    waves = torch.where(inside, waves - torch.where(inside, waves, 0.0).sum(1, keepdim=True) / count, 0.0)
    return waves / (waves.square().sum(1, keepdim=True) / count + 1e-7).sqrt()


def _at_least(waves: Tensor, samples: int) -> Tensor:
    return functional.pad(waves, (0, max(0, samples - waves.shape[1])))


def _whisper_filters(num_mels: int) -> Tensor:
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(
        num_frequency_bins=201,
        num_mel_filters=num_mels,
        min_frequency=0.0,
        max_frequency=8000.0,
        sampling_rate=16_000,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(filters).float()


def _write_recipe(recipe: dict[str, Any], folder: str | Path) -> None:
    if recipe:
        (Path(folder) / "preprocessor_config.json").write_text(json.dumps(recipe, indent=2), encoding="utf-8")
