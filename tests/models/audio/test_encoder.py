"""Speech encoders: padding never reaches a result, features are right, folders come back, transformers' models are heard alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from counterpoint.errors import CounterpointError
from counterpoint.models.audio.classifier import SpeechClassifier
from counterpoint.models.audio.encoder import LogMel, SmallSpeech, mel_filters
from counterpoint.models.audio.prepare import rate_for, speech_classifier
from counterpoint.models.audio.pretrained import WaveSpeech, WhisperSpeech, load_speech_encoder

LENGTHS = torch.tensor([9000, 5001, 430])


@pytest.fixture
def waves() -> torch.Tensor:
    noise = 0.1 * torch.randn(3, 9000, generator=torch.Generator().manual_seed(0))
    return noise * (torch.arange(9000) < LENGTHS[:, None])


def tiny(kind: str, **options):
    transformers = pytest.importorskip("transformers")
    common = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    common |= {
        "conv_dim": (8, 8),
        "conv_kernel": (10, 3),
        "conv_stride": (5, 4),
        "num_feat_extract_layers": 2,
    }
    common |= {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "layerdrop": 0.0}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "whisper":
            config = transformers.WhisperConfig(
                d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
                encoder_ffn_dim=16, decoder_ffn_dim=16, vocab_size=64, bos_token_id=1, eos_token_id=1, pad_token_id=1,
                decoder_start_token_id=2, suppress_tokens=None, begin_suppress_tokens=None,
            )  # fmt: skip
            return transformers.WhisperModel(config)
        config = {
            "wav2vec2": transformers.Wav2Vec2Config,
            "hubert": transformers.HubertConfig,
            "wavlm": transformers.WavLMConfig,
        }[kind]
        model = {
            "wav2vec2": transformers.Wav2Vec2Model,
            "hubert": transformers.HubertModel,
            "wavlm": transformers.WavLMModel,
        }[kind]
        return model(config(**{**common, **options}))


ENCODERS = {
    "small": lambda folder: SmallSpeech(16_000),
    "wav2vec2": lambda folder: opened(folder, "wav2vec2", feat_extract_norm="layer"),
    "wav2vec2 of the group kind": lambda folder: opened(folder, "wav2vec2", feat_extract_norm="group"),
    "hubert": lambda folder: opened(folder, "hubert", feat_extract_norm="layer"),
    "wavlm": lambda folder: opened(folder, "wavlm", feat_extract_norm="layer"),
    "whisper": lambda folder: opened(folder, "whisper"),
}


def opened(folder, kind, **options):
    tiny(kind, **options).save_pretrained(folder)
    return load_speech_encoder(str(folder), 16_000, seconds=0.6).eval()


@pytest.mark.parametrize("name", ENCODERS)
def test_a_clip_is_the_same_alone_and_beside_longer_ones(tmp_path, waves, name):
    encoder = ENCODERS[name](tmp_path / "model").eval()
    states, mask = encoder.frames(waves, LENGTHS)
    together = encoder(waves, LENGTHS)
    assert together.shape == (3, encoder.num_features)
    for row, length in enumerate(LENGTHS.tolist()):
        alone, own = encoder.frames(waves[row : row + 1, :length], LENGTHS[row : row + 1])
        assert int(own.sum()) == int(mask[row].sum()) >= 1
        torch.testing.assert_close(states[row][mask[row]], alone[0][own[0]], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together[row], alone[0][own[0]].mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ENCODERS)
def test_folders_come_back(tmp_path, waves, name):
    encoder = ENCODERS[name](tmp_path / "model").eval()
    encoder.save_pretrained(tmp_path / "again")
    again = load_speech_encoder(str(tmp_path / "again"), 16_000).eval()
    torch.testing.assert_close(again(waves, LENGTHS), encoder(waves, LENGTHS), rtol=1e-5, atol=1e-6)
    assert (tmp_path / "again/model.safetensors").exists()


def test_log_mel_bands_are_the_naive_ones(waves):
    mel = LogMel(16_000, num_mels=6)
    found, mask = mel(waves[1:2, :5001], torch.tensor([5001]))
    filters, sound = mel_filters(6, 512, 16_000).double().numpy(), waves[1, :5001].double().numpy()
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    rows = []
    for start in range(0, 5001 - 400 + 1, 160):
        power = np.abs(np.fft.rfft(sound[start : start + 400] * window, 512)) ** 2
        rows.append(np.log(power @ filters + 1e-6))
    wanted = np.array(rows) - np.mean(rows, 0)
    assert mask.all()
    np.testing.assert_allclose(found[0].numpy(), wanted, atol=2e-3)
    assert (mel_filters(40, 256, 8000).sum(0) > 0).all()


def test_whisper_bands_are_those_of_its_feature_extractor(waves):
    transformers = pytest.importorskip("transformers")
    encoder = WhisperSpeech(tiny("whisper").get_encoder())
    extract = transformers.WhisperFeatureExtractor(chunk_length=30)
    wanted = extract(waves[0].numpy(), sampling_rate=16_000, return_tensors="pt").input_features
    padded = torch.nn.functional.pad(waves[:1], (0, encoder.longest - 9000))
    torch.testing.assert_close(encoder.bands(padded), wanted, rtol=1e-3, atol=1e-3)


def test_encoders_say_what_they_want(tmp_path, waves):
    with pytest.raises(CounterpointError, match=r"hears 16000 .*sample_rate=16000"):
        SmallSpeech(16_000).save_pretrained(tmp_path / "small")
        load_speech_encoder(str(tmp_path / "small"), 8000)
    with pytest.raises(CounterpointError, match="did you mean 'conv-speech'"):
        load_speech_encoder("conv-spech", 8000)
    encoder = opened(tmp_path / "whisper", "whisper")
    with pytest.raises(CounterpointError, match=r"load the data with --data-option seconds=0\.6"):
        encoder(torch.zeros(1, 16_000), torch.tensor([16_000]))
    transformers = pytest.importorskip("transformers")
    words = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    transformers.BertModel(words).save_pretrained(tmp_path / "bert")
    with pytest.raises(CounterpointError, match="bert, which hears no waveforms"):
        load_speech_encoder(str(tmp_path / "bert"), 16_000)
    with pytest.raises(CounterpointError, match="no speech encoder"):
        speech_classifier(torch.nn.Linear(2, 2), ["a", "b"], 0)


def test_freezing_and_rates(tmp_path):
    encoder = opened(tmp_path / "w", "wav2vec2", feat_extract_norm="layer")
    assert isinstance(encoder, WaveSpeech)
    net = speech_classifier(encoder, ["a", "b"], 0, "front")
    assert not any(p.requires_grad for p in encoder.net.feature_extractor.parameters())
    assert any(p.requires_grad for p in encoder.net.encoder.parameters())
    assert net.training
    net = speech_classifier(encoder, ["a", "b"], 0, "encoder", adapter=4)
    assert not any(p.requires_grad for p in net.encoder.parameters())
    assert not net.encoder.training
    assert net.num_features == 4
    assert (rate_for(encoder), rate_for(SmallSpeech())) == (3e-5, 1e-3)
    assert speech_classifier(net, ["a", "b"], 0) is net
    assert speech_classifier(net, ["a", "c"], 0).classes == ("a", "c")


def test_a_head_of_other_classes_is_refused(tmp_path):
    model = SpeechClassifier.fresh(SmallSpeech(8000), ["a", "b"], 0)
    model.save_pretrained(tmp_path)
    with pytest.raises(CounterpointError, match="tells apart a, b; the data has a, c"):
        SpeechClassifier.open(model.encoder, tmp_path / "head", ["a", "c"])
