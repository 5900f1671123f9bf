//! `bantam serial`, with boards of every kind at the other end of a pseudo-terminal.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bantam_protocol::{Done, Event, Hello, MAX_LINE, Receiver, Request, Side, Text};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::tcgetattr;
use serde_json::Value;

use crate::common::{Ran, bantam, run};

const HASH: u64 = 0x0123_4567_89ab_cdef;

/// Returns a board's end of a line, and the name of the host's.
fn line() -> (File, String) {
    // No other test's program is to hold it open.
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let board = openpt(flags).expect("a pseudo-terminal");
    grantpt(&board).expect("granted");
    unlockpt(&board).expect("unlocked");
    let name = ptsname(&board, Vec::new()).expect("a name").into_bytes();
    let name = PathBuf::from(std::ffi::OsString::from_vec(name));
    (File::from(board), name.to_str().expect("text").to_owned())
}

/// Returns the port of a board that says what `reply` returns to each request: a sentence, or
/// `None` for a hello. It goes away when there is no reply.
fn board(mut reply: impl FnMut(u16, Option<&str>) -> Option<Vec<u8>> + Send + 'static) -> String {
    let (mut line, port) = line();
    thread::spawn(move || {
        let mut receiver = Receiver::new(Side::Host);
        let mut byte = [0];
        while line.read_exact(&mut byte).is_ok() {
            let Some(came) = receiver.push(byte[0]) else { continue };
            let came = came.expect("a whole line");
            let said = match Request::read(came).expect("a request") {
                Request::Hello => reply(came.id, None),
                Request::Ask(text) => {
                    let sentence = String::from_utf8(text.bytes().collect()).expect("UTF-8");
                    reply(came.id, Some(&sentence))
                }
            };
            let Some(said) = said else { return };
            if line.write_all(&said).is_err() {
                return;
            }
        }
    });
    port
}

fn written(id: u16, event: Event<'_>) -> Vec<u8> {
    event.write(id, &mut [0; MAX_LINE]).expect("it fits").to_vec()
}

fn hello(id: u16) -> Vec<u8> {
    let [board, kernels, model] = [&b"fake"[..], b"arm/dsp", b"model.gguf"].map(Text::new);
    written(id, Event::Hello(Hello { max_sentence: 95, board, kernels, model }))
}

fn error(id: u16, status: u8, text: &str) -> Vec<u8> {
    written(id, Event::Error { status, text: Text::new(text.as_bytes()) })
}

/// An answer of these tokens.
fn answer(id: u16, tokens: &[&[u8]]) -> Vec<u8> {
    let n_tokens = tokens.len().try_into().expect("few");
    let mut said = Vec::new();
    for (index, token) in (0..).zip(tokens) {
        said.extend(written(id, Event::Token { index, bytes: Text::new(token) }));
    }
    said.extend(written(id, Event::Done(Done { n_tokens, hash: HASH, instructions: 77 })));
    said
}

/// Returns the port of a board that says hello as it should, and then what `reply` returns.
fn answering(mut reply: impl FnMut(u16, &str) -> Option<Vec<u8>> + Send + 'static) -> String {
    board(move |id, sentence| match sentence {
        None => Some(hello(id)),
        Some(sentence) => reply(id, sentence),
    })
}

/// Waits long enough for a machine that has much else to do.
fn serial(port: &str, rest: &[&str]) -> Ran {
    run(&[&["serial", "--timeout", "6", port][..], rest].concat())
}

/// It failed with exit code 6 once the board was known; returns the one line that says why.
#[track_caller]
fn board_failed(ran: &Ran) -> &str {
    assert_eq!(ran.code, 6, "{ran:?}");
    let known = "board: fake, kernels arm/dsp, model model.gguf\n";
    let line = ran.stderr.strip_prefix(known).unwrap_or(&ran.stderr);
    assert!(line.starts_with("error: ") && line.matches('\n').count() == 1, "{ran:?}");
    line
}

#[test]
fn answers_are_streamed_and_the_line_is_left_as_it_was() {
    let port = answering(|id, sentence| {
        // A character in two tokens, a byte of none, an escape sequence.
        let last = format!("|{sentence}*");
        Some(answer(id, &[b"{\"caf", b"\xc3", b"\xa9 ", b"\xff\x1b[2J", last.as_bytes()]))
    });
    let terminal = File::open(&port).expect("the host's end");
    let before = tcgetattr(&terminal).expect("settings");
    let ran = serial(&port, &["  lights on é ", "off"]);
    assert_eq!((ran.code, &*ran.stderr), (0, "board: fake, kernels arm/dsp, model model.gguf\n"));
    let expected = "{\"café \u{fffd}\\u{1b}[2J|lights on é*\n{\"café \u{fffd}\\u{1b}[2J|off*\n";
    assert_eq!(ran.stdout, expected);
    let after = tcgetattr(&terminal).expect("settings");
    assert_eq!(after.local_modes, before.local_modes);
    assert_eq!(after.input_modes, before.input_modes);
    assert_eq!(after.output_speed(), before.output_speed());
}

#[test]
fn json_and_lines_of_standard_input() {
    let port = answering(|id, sentence| match sentence {
        "nonsense" => Some(error(id, 15, "a sentence has at most 95 bytes")),
        _ => Some(answer(id, &[b"{}"])),
    });
    let mut child = bantam()
        .args(["serial", &port, "--json", "--baud", "9600"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("standard input");
    stdin.write_all(b"lights on\r\nnonsense\nlights off").expect("written");
    drop(stdin);
    let ran = Ran::of(child.wait_with_output().expect("it ends"));
    assert_eq!(ran.code, 6);
    let lines: Vec<Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let [first, refused, last] = &lines[..] else { panic!("{ran:?}") };
    assert_eq!((&first["board"], &first["model"]), (&"fake".into(), &"model.gguf".into()));
    assert_eq!((&first["sentence"], &first["answer"]), (&"lights on".into(), &"{}".into()));
    assert_eq!((&first["tokens"], &first["instructions"]), (&1.into(), &77.into()));
    assert_eq!(first["logits"], "0123456789abcdef");
    assert!(first["seconds"].as_f64() > Some(0.0) && first.get("error").is_none());
    assert_eq!((&refused["answer"], &refused["error"]["status"]), (&Value::Null, &15.into()));
    assert_eq!(last["sentence"], "lights off");
    assert!(ran.stderr.contains("error: line 2: error 15: a sentence has at most 95 bytes\n"));
    assert!(ran.stderr.ends_with("1 of 3 sentences got no answer\n"), "{ran:?}");
}

#[test]
fn what_a_board_refuses() {
    let port = answering(|id, _| Some(error(id, 10, "the model in flash is damaged: \x1b[31m")));
    let ran = serial(&port, &["on", "off"]);
    assert!(board_failed(&ran).contains("error 10: the model in flash is damaged: \\u{1b}[31m"));
    assert_eq!(ran.stdout, "null\n", "the next sentence would get the same");
    // Too long for any line.
    let ran = serial(&answering(|_, _| None), &[&"é".repeat(300)]);
    assert!(board_failed(&ran).contains("error 15: a sentence has at most 95 bytes"));
}

#[test]
fn damaged_lines_are_asked_for_again() {
    let mut asked = 0;
    let port = answering(move |id, _| {
        asked += 1;
        let mut said = answer(id, &[b"a", b"b", b"c"]);
        match asked {
            // Of the request,
            1 => return Some(error(0, 17, "a damaged line")),
            // a token,
            2 => said[28] ^= 1,
            // the end,
            3 => said.truncate(said.len() - 4),
            // and noise, an echo, lines of no known kind and of another request.
            _ => {
                let noise = b"\0\xff>7|ask|x*aaaa\n<5|sing*88dc\n<9999|token|0|x*0000";
                let stale = answer(id.wrapping_sub(1), &[b"old"]);
                said = [noise, &stale[..], b"<", &said].concat();
            }
        }
        Some(said)
    });
    let ran = serial(&port, &["on"]);
    assert_eq!((ran.code, &*ran.stdout), (0, "abc\n"), "{ran:?}");
}

#[test]
fn boards_that_only_damage() {
    let damage = |mut said: Vec<u8>| {
        said[3] ^= 2;
        said
    };
    let ran = serial(&board(move |id, _| Some(damage(hello(id)))), &["on"]);
    assert!(board_failed(&ran).contains("6 lines came damaged"), "{ran:?}");
    let ran = serial(&board(|_, _| Some([b"<1|", &[b'a'; 10_000][..]].concat())), &["on"]);
    assert!(board_failed(&ran).contains("6 lines came damaged"), "{ran:?}");
    let ran = serial(&answering(move |id, _| Some(damage(answer(id, &[b"a"])).repeat(9))), &["on"]);
    assert!(board_failed(&ran).contains("6 lines came damaged; check --baud"), "{ran:?}");
    let ran = serial(&answering(|_, _| Some(error(0, 18, "too long"))), &["on"]);
    assert!(board_failed(&ran).contains("6 lines came damaged"), "{ran:?}");
    // An answer in which a token is always missing.
    let ran = serial(
        &answering(|id, _| {
            let said = answer(id, &[b"a", b"b"]);
            let at = said.iter().position(|&byte| byte == b'\n').expect("a line") + 1;
            Some(said[at..].to_vec())
        }),
        &["on"],
    );
    assert!(board_failed(&ran).contains("6 lines came damaged"), "{ran:?}");
    // One line, and no more.
    let mut first = true;
    let port = board(move |id, _| {
        let said = if first { damage(hello(id)) } else { Vec::new() };
        first = false;
        Some(said)
    });
    let ran = serial(&port, &["on"]);
    assert!(board_failed(&ran).contains("only damaged lines came within 6 s"), "{ran:?}");
}

/// However it is done, a board that does not answer takes no longer than the timeout.
#[test]
fn boards_that_do_not_answer() {
    /// Says something again and again, whether asked or not.
    fn endless(said: &'static [u8]) -> String {
        let (mut line, port) = line();
        thread::spawn(move || {
            let until = Instant::now() + Duration::from_secs(30);
            while line.write_all(said).is_ok() && Instant::now() < until {
                thread::sleep(Duration::from_millis(1));
            }
        });
        port
    }
    let half = |id| {
        let said = hello(id);
        said[..said.len() / 2].to_vec()
    };
    let (quiet, silent) = line();
    let ports = [
        silent,
        endless(b"\x00\xf0login: \n"),
        endless(b"\x7f\x80"),
        endless(b">1|hello*8502\n"),
        endless(b"<0|token|0|{\"*97f6\n"),
        board(move |id, _| Some(half(id))),
    ];
    for port in ports {
        let start = Instant::now();
        let ran = run(&["serial", "--timeout", "0.9", &port, "on"]);
        assert!(board_failed(&ran).contains("no answer within 0.9 s"), "{ran:?}");
        assert!(start.elapsed() < Duration::from_secs(20), "{ran:?}");
        assert_eq!(ran.stdout, "");
    }
    drop(quiet);
    // Silent in the middle of an answer.
    let token = |id| written(id, Event::Token { index: 0, bytes: Text::new(b"{") });
    let ran = serial(&answering(move |id, _| Some(token(id))), &["on", "off"]);
    assert!(board_failed(&ran).contains("no answer within"), "{ran:?}");
    assert_eq!(ran.stdout, "{\n");
}

#[test]
fn boards_that_start_again_go_away_or_are_of_another_version() {
    let ran = serial(&answering(|id, _| Some([&hello(id)[..], &hello(0)].concat())), &["on"]);
    assert!(board_failed(&ran).contains("the board started again"), "{ran:?}");
    let ran = serial(&answering(|_, _| None), &["on"]);
    assert!(board_failed(&ran).contains("the port has gone"), "{ran:?}");
    let ran = serial(&board(|_, _| Some(b"<5|hello|2|whatever*5bb9\n".to_vec())), &["on"]);
    assert!(board_failed(&ran).contains("version 2 of the protocol, this program 1"), "{ran:?}");
}

#[test]
fn ports_that_are_none() {
    let none = serial("/proc/nonexistent", &["on"]);
    assert!(none.failed(4).contains("/proc/nonexistent: no such port"), "{none:?}");
    for path in ["/dev/null", "/", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")] {
        let ran = serial(path, &["on"]);
        assert!(ran.failed(4).contains("not a serial port"), "{ran:?}");
    }
    for args in [["--baud", "fast"], ["--baud", "0"], ["--timeout", "0"], ["--timeout", "NaN"]] {
        assert_eq!(serial("/dev/null", &args).code, 2, "{args:?}");
    }
}

#[test]
fn a_port_that_one_may_not_open() {
    let (_board, port) = line();
    fs::set_permissions(&port, fs::Permissions::from_mode(0o000)).expect("one's own");
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = bantam();
    if File::open(&port).is_ok() {
        // Root opens everything, so somebody else tries, who must reach the program.
        let program = folder.path().join("bantam");
        fs::copy(bantam().get_program(), &program).expect("copied");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("set");
        command = Command::new(program);
        command.uid(65_534);
    }
    let ran = Ran::of(command.args(["serial", &port, "on"]).output().expect("it starts"));
    assert!(ran.failed(4).contains("permission denied; "), "{ran:?}");
}

#[test]
fn ctrl_c_ends_the_answer_on_the_board_too() {
    let (tell, told) = mpsc::channel();
    let port = board(move |id, sentence| {
        tell.send((id, sentence.is_some())).expect("the test waits");
        Some(if sentence.is_none() { hello(id) } else { Vec::new() })
    });
    let wait = || told.recv_timeout(Duration::from_secs(30)).expect("asked");
    let mut child = bantam()
        .args(["serial", &port, "on"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    assert!(!wait().1);
    let (id, is_sentence) = wait();
    assert!(is_sentence);
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.expect("a shell's kill").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    let (other, is_sentence) = wait();
    assert!(other != id && !is_sentence);
}
