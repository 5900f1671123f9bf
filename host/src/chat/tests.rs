use super::*;

fn message(role: Role, content: &str) -> Message {
    Message { role, content: content.into() }
}

fn render(source: &str, messages: &[Message]) -> Result<String, TemplateError> {
    ChatTemplate::new(source, "<s>", "</s>")?.render(messages)
}

const CHATML: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != \
    'system' %}{{ '<|im_start|>system\nBe kind<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + \
    message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

#[test]
fn chatml() {
    let text = render(CHATML, &[message(Role::User, "Hi <b>&")]).unwrap();
    assert_eq!(
        text,
        "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\nHi <b>&<|im_end|>\n\
         <|im_start|>assistant\n"
    );
}

/// The shape of Gemma 3's: system text goes before the first user message, roles alternate.
const GEMMA: &str = "{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set prefix = messages[0]['content'] + '\n\n' -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set prefix = '' -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception('Conversation roles must alternate') }}
    {%- endif -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\n' + (prefix if loop.first else '') }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\n'}}
{%- endif -%}
";

#[test]
fn gemma() {
    let mut conversation = Conversation::new(Some("Short."));
    conversation.push(Role::User, " Hi ");
    conversation.push(Role::Assistant, "Hello");
    conversation.push(Role::User, "Bye");
    assert_eq!(
        render(GEMMA, conversation.messages()).unwrap(),
        "<s><start_of_turn>user\nShort.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello\
         <end_of_turn>\n<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n"
    );
    conversation.push(Role::User, "Still here?");
    let error = render(GEMMA, conversation.messages()).unwrap_err().to_string();
    assert_eq!(error, "the model's chat template refuses: Conversation roles must alternate");
}

#[test]
fn python_habits() {
    let cases = [
        ("{{ messages[0].content.strip().upper().split('|')[1] }}", "B"),
        ("{{ messages[0]['content'][::-1] }}", "b|a"),
        ("{% if tools is defined and tools %}x{% else %}y{% endif %}", "y"),
        (
            "{%- set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor \
          %}{{ ns.n }}",
            "1",
        ),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("{%- generation -%} a {%- endgeneration %}", "a"),
        ("{{ {'a': [1, 2.5, none, 'é<']} | tojson }}", "{\"a\": [1, 2.5, null, \"é<\"]}"),
        ("{{ {'a': [1]} | tojson(indent=2) }}", "{\n  \"a\": [\n    1\n  ]\n}"),
        ("{{ messages[0].get('nothing', 'dash') }}{{ eos_token }}", "dash</s>"),
        ("  {% if true %}\nx\n  {% endif %}\n", "x\n"),
        ("{{ strftime_now('%Y') | length }}", "4"),
    ];
    for (source, expected) in cases {
        let text = render(source, &[message(Role::User, "a|b")]);
        assert_eq!(text.as_deref(), Ok(expected), "{source}");
    }
}

#[test]
fn hostile_templates_end_with_one_line() {
    let cases = [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ raise_exception('a\nb\x1b[31m') }}",
        "{% if %}",
        "{{ 'x' * 100000000000 }}",
        "{% include '/etc/passwd' %}",
        "{{ messages.nothing.at.all }}",
        "{{ 1 // 0 }}",
        "{{ {}|tojson(indent=-1) }}",
        &"{% if 1 %}".repeat(100_000),
        &"(".repeat(100_000),
        &format!("{{{{ {} }}}}", "[".repeat(100_000)),
    ];
    for source in cases {
        if let Err(error) = render(source, &[message(Role::User, "x")]) {
            let text = error.to_string();
            assert!(!text.contains(char::is_control), "{text:?}");
        }
    }
}

#[test]
fn conversations() {
    let mut conversation = Conversation::new(None);
    conversation.push(Role::User, "a");
    conversation.set_system(Some("s"));
    assert_eq!(conversation.system(), Some("s"));
    assert_eq!(conversation.messages().len(), 2);
    assert_eq!(conversation.pop().unwrap().content, "a");
    conversation.push(Role::User, "b");
    conversation.reset();
    assert_eq!(conversation.messages(), [message(Role::System, "s")]);
    conversation.set_system(None);
    assert!(conversation.messages().is_empty());
}
