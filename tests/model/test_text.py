"""Text encoders: words are told apart, padding is zero, and umT5 at a tiny size through the same protocol."""

from pathlib import Path

import pytest
import torch

from model.text import HashTextEncoder, Umt5TextEncoder, build_text_encoder


def test_a_word_has_the_same_vector_everywhere():
    features = HashTextEncoder(32, 8).encode(["a red circle moves right", "the circle is red"])
    assert torch.equal(features[0, 0], features[1, 1])  # red
    assert torch.equal(features[0, 1], features[1, 0])  # circle
    assert not torch.equal(features[0, 0], features[0, 1])


def test_padding_is_zero_and_long_prompts_are_cut():
    features = HashTextEncoder(16, 4).encode(["", "red", "one two three four five six"])
    assert not features[0].any()
    assert not features[1, 1:].any()
    assert features[2].any(dim=1).all()


def test_features_do_not_depend_on_the_process():
    assert HashTextEncoder(4, 1).encode(["red"])[0, 0].tolist() == pytest.approx(
        HashTextEncoder(4, 1).encode(["RED"])[0, 0].tolist()
    )
    assert HashTextEncoder(4, 1).fingerprint != HashTextEncoder(4, 2).fingerprint


def test_unknown_backends_are_refused():
    with pytest.raises(ValueError, match="known: hash, umt5"):
        build_text_encoder("clip", dim=4, length=4)
    with pytest.raises(ValueError, match=r"needs text\.weights"):
        build_text_encoder("umt5", dim=4, length=4)


@pytest.mark.filterwarnings("ignore")
def test_umt5_runs_behind_the_same_protocol(tmp_path: Path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

    words = ["<pad>", "</s>", "<unk>", "a", "red", "circle"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>").save_pretrained(
        tmp_path / "tokenizer"
    )
    torch.manual_seed(0)
    config = UMT5Config(vocab_size=len(words), d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    UMT5EncoderModel(config).save_pretrained(tmp_path / "text_encoder")
    encoder = Umt5TextEncoder(str(tmp_path), 6)
    features = encoder.encode(["a red circle", "red"])
    assert features.shape == (2, 6, 8)
    assert features[0, :3].any(dim=1).all()
    assert not features[0, 3:].any()
    assert not features[1, 1:].any()
    with pytest.raises(ValueError, match=r"text\.dim is 16"):
        build_text_encoder("umt5", dim=16, length=6, weights=str(tmp_path))
