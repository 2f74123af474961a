"""Rows as ids with authors: whole texts, turns as the template writes them, nothing twice, nothing of others learnt."""

from __future__ import annotations

import pytest
import torch
from tokenizers import processors

from counterpoint.conversation import Conversation, Text
from counterpoint.errors import CounterpointError
from counterpoint.models.language import rendering, templates
from counterpoint.models.language.characters import TEMPLATE, tiny, tokenizer
from counterpoint.models.language.likelihood import completion_log_probs
from counterpoint.models.language.rendering import Rendered
from counterpoint.models.language.row_batches import batch


def turn(role: str, content: str | None, **more: object) -> dict:
    return {"role": role, "content": content, **more}


TALK = [turn("user", "1+1="), turn("assistant", "2"), turn("user", "+1?"), turn("assistant", "3")]
MARKED = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ '~' }}{% generation %}"
    "{{ message['content'] + '</s>' }}{% endgeneration %}{% else %}{{ '<s>' + message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '~' }}{% endif %}"
)


def own(names, row: rendering.Rendered) -> str:
    return names.decode([number for number, authored in zip(row.ids, row.authored) if authored])


@pytest.mark.parametrize("template", [TEMPLATE, MARKED])
def test_only_the_assistants_words_are_learnt(template: str) -> None:
    names = tokenizer()
    names.chat_template = template
    whole = rendering.conversation(names, TALK)
    assert names.decode(whole.ids) == "<s>1+1=~2</s><s>+1?~3</s>"
    assert own(names, whole) == "2</s>3</s>"
    [row] = rendering.render(names, [(TALK[:1], TALK[1:])])
    assert row.ids == whole.ids
    assert (names.decode(row.ids[: row.start]), own(names, row)) == ("<s>1+1=~", "2</s>3</s>")
    [last] = rendering.render(names, [(TALK[:3], TALK[3:])])
    assert own(names, last) == "3</s>"


def test_turns_that_change_once_others_follow() -> None:
    names = tokenizer()
    names.chat_template = TEMPLATE.replace(
        "'~' + message['content']", "'~' + ('<think>' if loop.last else '') + message['content']"
    )
    assert own(names, rendering.conversation(names, TALK)) == "2</s><think>3</s>"


def test_an_end_that_only_closes_the_whole_text_is_not_an_earlier_turns() -> None:
    names = tokenizer()
    names.chat_template = (
        TEMPLATE.replace("</s>", "|") + "{% if not add_generation_prompt %}{{ '</s>' }}{% endif %}"
    )
    assert own(names, rendering.conversation(names, TALK)) == "2|3|</s>"


def test_text_stays_text_and_nothing_comes_twice() -> None:
    names = tokenizer()
    rows = [(Text("1+1="), "2"), (Text("1+1="), "2</s>"), ("<s>1+1=~", "2"), ("1+1=", "2"), ("1+1=", "2</s>")]
    texts = [names.decode(row.ids) for row in rendering.render(names, rows)]
    assert texts == ["1+1=2</s>", "1+1=2</s>", *["<s>1+1=~2</s>"] * 3]
    assert rendering.prompt_ids(names, ["<s>1+1=~"]) == rendering.prompt_ids(names, ["1+1="])


def test_a_prompt_without_an_id_gives_its_first_to_what_is_read() -> None:
    [row] = rendering.render(tokenizer(), [(Text(""), "ab")])
    assert (row.start, row.authored) == (1, [False, True, True])


def test_the_end_of_a_turn_stops_sampling() -> None:
    model = tiny()
    assert model.stops == (model.tokenizer.eos_token_id,)
    model.tokenizer.add_special_tokens({"additional_special_tokens": ["<end>"]})
    model.tokenizer.chat_template = TEMPLATE.replace("</s>", "<end>")
    end = model.tokenizer.convert_tokens_to_ids("<end>")
    assert model.stops == (model.tokenizer.eos_token_id, end)
    assert model.end_id == end


def test_an_end_of_turn_that_the_tokenizer_does_not_call_special_stops_sampling_too() -> None:
    model = tiny()
    model.tokenizer.add_tokens(["<end>"])
    model.tokenizer.chat_template = TEMPLATE.replace("</s>", "<end>")
    end = model.tokenizer.convert_tokens_to_ids("<end>")
    assert end not in model.tokenizer.all_special_ids
    assert templates.stop_id(model.tokenizer) == end


def test_others_words_among_the_replies_count_for_nothing() -> None:
    model = tiny(seed=0).eval()
    prompts, replies = model.rows([TALK[:1]], [TALK[1:]])
    logp = completion_log_probs(model, prompts, replies)[0]
    ids = torch.cat([prompts.ids, replies.ids], 1)
    expected = model.causal(input_ids=ids).logits[0].log_softmax(-1)[prompts.width - 1 : -1]
    expected = expected.gather(1, replies.ids[0][:, None])[:, 0]
    own_T = replies.authored[0]
    assert model.tokenizer.decode(replies.ids[0][own_T]) == "2</s>3</s>"
    torch.testing.assert_close(logp[own_T], expected[own_T], rtol=1e-5, atol=1e-5)
    assert not logp[~own_T].any()


def test_messages_without_a_template_are_refused_and_one_can_be_named() -> None:
    names = tokenizer()
    names.chat_template = None
    with pytest.raises(CounterpointError, match="template=chatml"):
        rendering.prompt_ids(names, [TALK[:1]])
    assert names.decode(rendering.prompt_ids(names, ["1+1="])[0]) == "1+1="
    names.chat_template = templates.named("roles")
    [row] = rendering.render(names, [(TALK[:1], TALK[1:])])
    assert names.decode(row.ids) == "<s>User: 1+1=\nAssistant: 2</s>\nUser: +1?\nAssistant: 3</s>\n"
    assert own(names, row) == "2</s>3</s>"
    with pytest.raises(CounterpointError, match="did you mean 'chatml'"):
        templates.named("chatmll")


def test_a_call_without_content_is_not_the_word_none() -> None:
    names = tokenizer()
    call = turn(
        "assistant", None, tool_calls=[{"type": "function", "function": {"name": "w", "arguments": {}}}]
    )
    names.chat_template = TEMPLATE.replace(
        "message['content'] + '</s>'",
        "(message['content'] | string) + message['tool_calls'][0].function.name + '</s>'",
    )
    [row] = rendering.render(names, [(TALK[:1], [call])])
    assert own(names, row) == "w</s>"


def test_tools_and_arguments_reach_the_template() -> None:
    names = tokenizer()
    names.chat_template = "{% if tools %}{{ tools[0].name }}{% endif %}{{ mood | default('') }}" + TEMPLATE
    talk = Conversation([turn("user", "q")], tools=[{"name": "clock"}], options={"mood": "dry"})
    assert names.decode(rendering.prompt_ids(names, [talk])[0]) == "clockdry<s>q~"
    assert (
        names.decode(rendering.prompt_ids(names, [Conversation([turn("user", "q")], tools=[])])[0]) == "<s>q~"
    )


def test_a_conversation_that_ends_with_the_assistant_is_continued() -> None:
    names = tokenizer()
    assert names.decode(rendering.prompt_ids(names, [TALK[:2]])[0]) == "<s>1+1=~2"


def test_answers_to_one_prompt_begin_at_one_token() -> None:
    model = tiny()
    before, after = model.rows(["1+1="] * 2, ["2", "3</s>"], answers=2)
    assert before.rows() == model.prompts(["1+1="] * 2).rows()
    assert model.texts(after) == ["2", "3"]
    assert after.authored.sum(1).tolist() == [2, 2]


def test_what_stands_between_the_common_start_and_an_answers_own_is_learnt_in_every_answer() -> None:
    rows = [
        Rendered([5, 6, 7, 8], [False, False, True, True], 2),
        Rendered([5, 9, 8], [False, True, True], 1),
    ]
    before, after = batch(rows, answers=2, cut=None, fill=0)
    assert before.rows() == [[5], [5]]
    assert after.rows() == [[6, 7, 8], [9, 8]]
    assert after.authored.tolist() == [[True, True, True], [True, True, False]]


def test_what_quotes_a_template_does_not_carry_it() -> None:
    names = tokenizer()
    [quoted] = rendering.prompt_ids(names, ["which reply to <s>1+1=~ is better?"])
    assert names.decode(quoted) == "<s>which reply to <s>1+1=~ is better?~"
    with pytest.raises(CounterpointError, match="goes on after it.*give rows as messages"):
        rendering.prompt_ids(names, ["<s>1+1=~ For orientation: 2"])


def test_an_end_that_the_tokenizer_adds_to_text_is_not_a_prompts_nor_a_second_one() -> None:
    names = tokenizer()
    names.chat_template = None
    names.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    assert names.decode(names("1+1=")["input_ids"]) == "<s>1+1=</s>"
    assert names.decode(rendering.prompt_ids(names, ["1+1="])[0]) == "<s>1+1="
    [row] = rendering.render(names, [("<s>1+1=", "2")])
    assert (names.decode(row.ids), own(names, row)) == ("<s>1+1=2</s>", "2</s>")
