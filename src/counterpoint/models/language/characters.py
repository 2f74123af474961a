"""A small character-level Llama and its tokenizer, made from nothing: for tests and for evidence on a laptop.

One token is one character, so a prompt's length is its text's, and a model of a few hundred thousand weights learns
sums and sorting from scratch in a minute or two.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

import torch

from counterpoint.errors import MissingExtra
from counterpoint.models.language.language import Language

if TYPE_CHECKING:
    from counterpoint.models.language.encoder_decoder import EncoderDecoder

ALPHABET = string.digits + string.ascii_letters + " \n.,:;=+-*/()<>?!#|_'\"&%$@^~[]{}\\"
"""Characters with an id of their own; any other becomes the unknown token."""
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ '~' + message['content'] + '</s>' }}"
    "{% else %}{{ '<s>' + message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '~' }}{% endif %}"
)
"""Chat template: a start token, the user's text, a tilde, the answer, an end token."""


def tokenizer(alphabet: str = ALPHABET) -> Any:
    """Return a fast tokenizer with one token a character: ``<pad>``, ``<s>``, ``</s>``, ``<unk>``, then the alphabet.

    >>> tokenizer().decode(tokenizer()("3+4").input_ids)
    '3+4'
    """
    try:
        import tokenizers
        from transformers import PreTrainedTokenizerFast
    except ImportError:
        raise MissingExtra("transformers", "language") from None
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    vocabulary = {token: number for number, token in enumerate([*special, *dict.fromkeys(alphabet)])}
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
    raw.decoder = tokenizers.decoders.Fuse()
    raw.add_special_tokens(special)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    fast.chat_template = TEMPLATE
    return fast


def tiny(
    *,
    seed: int = 0,
    layers: int = 2,
    width: int = 32,
    heads: int = 2,
    length: int = 512,
    alphabet: str = ALPHABET,
) -> Language:
    """Return a randomly initialised character-level Llama; the seed alone decides its weights.

    Args:
        seed: of the weights.
        layers: blocks.
        width: of the hidden states; the gated feed-forward layer is twice as wide.
        heads: attention heads.
        length: longest sequence.
        alphabet: the characters it knows.
    """
    try:
        from transformers import LlamaConfig, LlamaForCausalLM
    except ImportError:
        raise MissingExtra("transformers", "language") from None
    names = tokenizer(alphabet)
    config = LlamaConfig(
        vocab_size=len(names),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=length,
        tie_word_embeddings=True,
        pad_token_id=names.pad_token_id,
        bos_token_id=names.bos_token_id,
        eos_token_id=names.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Language(LlamaForCausalLM(config), names)


def tiny_encoder_decoder(
    *,
    seed: int = 0,
    layers: int = 2,
    width: int = 32,
    heads: int = 2,
    dropout: float = 0.0,
    alphabet: str = ALPHABET,
) -> EncoderDecoder:
    """Return a randomly initialised character-level T5; the seed alone decides its weights.

    Args:
        seed: of the weights. layers: blocks of the encoder, and of the decoder.
        width: of the hidden states. heads: attention heads. dropout: in training.
        alphabet: the characters it knows.
    """
    from counterpoint.models.language.encoder_decoder import EncoderDecoder

    try:
        from transformers import T5Config, T5ForConditionalGeneration
    except ImportError:
        raise MissingExtra("transformers", "language") from None
    names = tokenizer(alphabet)
    special: dict[str, Any] = {"tie_word_embeddings": False, "decoder_start_token_id": names.pad_token_id}
    config = T5Config(
        **special,
        vocab_size=len(names),
        d_model=width,
        d_kv=width // heads,
        d_ff=2 * width,
        num_layers=layers,
        num_decoder_layers=layers,
        num_heads=heads,
        dropout_rate=dropout,
        feed_forward_proj="gated-gelu",
        pad_token_id=names.pad_token_id,
        eos_token_id=names.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EncoderDecoder(T5ForConditionalGeneration(config), names)
