//! A chat on a terminal, typed by a program.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use expectrl::process::unix::WaitStatus;
use expectrl::session::OsSession;
use expectrl::{ControlCode, Expect, Session};

use crate::common::{SMOLLM2, bantam, real_model, with_strings, with_template};
use crate::intent::{SCHEMA, random_model};

/// What the line editor sends before it reads.
const READY: &str = "\x1b[?2004h";
/// What the endless model says all the time.
const ANSWER: &str = "\u{fffd}\u{fffd}\u{fffd}";

/// A chat in a pseudo-terminal.
struct Terminal {
    session: OsSession,
    /// Where the line editor keeps its history.
    home: tempfile::TempDir,
}

impl Terminal {
    fn start(model: &Path, args: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        // Only the program and its own settings: `bantam()` redirects standard input.
        let mut command = Command::new(bantam().get_program());
        command
            .env_remove("BANTAM_MODEL")
            .env("TERM", "xterm")
            .env("XDG_STATE_HOME", home.path())
            .arg("run")
            .arg("-m")
            .arg(model)
            .args(args);
        let mut session = Session::spawn(command).expect("a pseudo-terminal");
        session.set_expect_timeout(Some(Duration::from_secs(60)));
        Self { session, home }
    }

    /// Waits for `text` and returns what came before it.
    #[track_caller]
    fn wait_for(&mut self, text: &str) -> String {
        match self.session.expect(text) {
            Ok(found) => String::from_utf8_lossy(found.before()).into_owned(),
            Err(error) => panic!("{text:?} did not come: {error}"),
        }
    }

    /// Waits until the program reads a line (it turns bracketed paste on), and types one.
    #[track_caller]
    fn say(&mut self, line: &str) {
        self.wait_for(READY);
        self.type_line(line);
    }

    fn type_line(&mut self, line: &str) {
        self.session.send(line).expect("a line is taken");
        self.session.send("\r").expect("a line is taken");
    }

    /// Waits until the program reads a line, and presses a key.
    #[track_caller]
    fn press_at_prompt(&mut self, key: ControlCode) {
        self.wait_for(READY);
        self.press(key);
    }

    fn press(&mut self, key: ControlCode) {
        self.session.send(key).expect("a key is taken");
    }

    /// The exit code after everything was said.
    #[track_caller]
    fn ends_with(mut self, code: i32) -> tempfile::TempDir {
        let _ = self.session.expect(expectrl::Eof);
        match self.session.get_process().wait() {
            Ok(WaitStatus::Exited(_, ended)) => assert_eq!(ended, code),
            other => panic!("{other:?}"),
        }
        self.home
    }
}

const TEMPLATE: &str = "{%- for message in messages -%}[{{ message.role }}:{{ message.content }}]\
    {%- endfor -%}{%- if messages[-1].content == 'refuse' -%}{{ raise_exception('not this') }}\
    {%- endif -%}";

#[test]
fn commands() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("tiny.gguf");
    fs::write(&model, with_template(&plain_model(), TEMPLATE)).unwrap();
    let saved = folder.path().join("saved.txt");

    let mut terminal = Terminal::start(&model, &["-n", "3", "--ctx", "512", "--temp", "0"]);
    terminal.wait_for("/help for help");
    terminal.say("/help");
    terminal.wait_for("forget the conversation");
    terminal.say("/frobnicate");
    terminal.wait_for("no command /frobnicate");
    terminal.say("/retry");
    terminal.wait_for("no answer to try again");
    terminal.say("hello");
    terminal.wait_for("(-n reached)");
    terminal.say("again");
    terminal.wait_for("(-n reached)");
    terminal.say("/stats");
    terminal.wait_for("of them new");
    terminal.wait_for("The context holds ");
    terminal.say("/retry");
    terminal.wait_for("(-n reached)");
    terminal.say("refuse");
    terminal.wait_for("refuses: not this");
    terminal.say(&format!("/save {}", saved.display()));
    terminal.wait_for("Saved to ");
    terminal.say(&format!("/save {}", saved.display()));
    terminal.wait_for("cannot be written");
    terminal.say("/system Be brief.");
    terminal.wait_for("starts over");
    terminal.say("/system");
    terminal.wait_for("Be brief.");
    terminal.say("two \\");
    terminal.say("lines");
    terminal.wait_for("(-n reached)");
    terminal.say("/reset");
    terminal.wait_for("forgotten");
    // Ctrl-C at the prompt leaves nothing but the line.
    terminal.press_at_prompt(ControlCode::EndOfText);
    terminal.wait_for("/exit leaves");
    terminal.say("/exit");
    let home = terminal.ends_with(0);

    let history = fs::read_to_string(home.path().join("bantam/history")).unwrap();
    assert!(history.contains("hello\nagain\n"), "{history}");
    let saved = fs::read_to_string(saved).unwrap();
    assert!(saved.starts_with("user: hello\n\nassistant: "), "{saved}");
    assert_eq!(saved.matches("user: ").count(), 2, "{saved}");
}

#[test]
fn a_full_context() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("tiny.gguf");
    fs::write(&model, with_template(&plain_model(), TEMPLATE)).unwrap();
    let mut terminal = Terminal::start(&model, &["--ctx", "64", "--temp", "0", "-n", "8"]);
    terminal.say(&"long ".repeat(30));
    terminal.wait_for("does not fit into the context of 64 tokens");
    // What came before is still there, and so is the chat.
    terminal.say("a");
    terminal.wait_for("(-n reached)");
    terminal.press_at_prompt(ControlCode::EndOfTransmission);
    terminal.ends_with(0);
}

#[test]
fn ctrl_c_stops_the_answer_and_not_the_chat() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("tiny.gguf");
    fs::write(&model, with_template(&endless_model(), TEMPLATE)).unwrap();
    let mut terminal = Terminal::start(&model, &["--ctx", "500000", "-t", "1", "--temp", "0"]);
    for _ in 0..2 {
        terminal.say("go on and on");
        std::thread::sleep(Duration::from_millis(400));
        terminal.press(ControlCode::EndOfText);
        terminal.wait_for("(stopped)");
    }
    terminal.say("/exit");
    terminal.ends_with(0);
}

#[test]
fn ctrl_c_ends_a_single_answer() {
    let model = endless_model();
    let args = ["-p", "go on and on", "--ctx", "500000", "-t", "1", "--temp", "0", "-n", "400000"];
    let mut terminal = Terminal::start(&model, &args);
    terminal.wait_for("warning: --ctx 500000");
    terminal.wait_for(ANSWER);
    terminal.press(ControlCode::EndOfText);
    terminal.wait_for("[prompt: ");
    terminal.ends_with(130);
}

#[test]
fn without_a_template_lines_are_continued() {
    let mut terminal = Terminal::start(&plain_model(), &["-n", "2", "--temp", "0"]);
    terminal.wait_for("no chat template");
    terminal.say("a");
    terminal.wait_for("(-n reached)");
    terminal.press_at_prompt(ControlCode::EndOfTransmission);
    terminal.ends_with(0);
}

#[test]
fn a_model_of_commands_says_that_it_does_not_chat() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("commands.gguf");
    let entries = [("bantam.schema", SCHEMA), ("tokenizer.chat_template", TEMPLATE)];
    fs::write(&path, with_strings(&random_model(), &entries)).unwrap();
    let mut terminal = Terminal::start(&path, &[]);
    terminal.wait_for("does not chat");
    terminal.say("lights on");
    let answer = terminal.wait_for(READY);
    assert!(answer.contains("{\"intent\":\""), "{answer}");
    // The same again: what was said before does not count.
    terminal.type_line("lights on");
    let again = terminal.wait_for(READY);
    let json = |text: &str| text.split_once('{').map(|(_, json)| json.to_owned());
    assert_eq!(json(&again), json(&answer));
    terminal.type_line("/exit");
    terminal.ends_with(0);
}

/// A model without a chat template, and with every byte in its vocabulary.
fn plain_model() -> std::path::PathBuf {
    crate::common::fixtures("models").remove(0)
}

/// A model that repeats itself for ever when it always says what is most likely: with a long
/// context that takes minutes.
fn endless_model() -> std::path::PathBuf {
    crate::common::root().join("fixtures/models/gemma3.gguf")
}

#[test]
fn smollm2_remembers() {
    let Some(model) = real_model(SMOLLM2) else { return };
    let mut terminal = Terminal::start(&model, &["--temp", "0", "-n", "30"]);
    terminal.say("My name is Ada. Say hello.");
    let answer = terminal.wait_for(READY);
    assert!(answer.contains("Ada") || answer.contains("ello"), "{answer}");
    terminal.type_line("/stats");
    terminal.wait_for("The context holds ");
    terminal.say("/exit");
    terminal.ends_with(0);
}
