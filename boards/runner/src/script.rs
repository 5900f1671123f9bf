//! The other end of an emulated serial line: it says what a script has, and notes what comes back.
//!
//! A script is blocks of lines with empty lines between them; `#` begins a comment. A block is sent
//! at once when the board has answered the one before: with a hello, with the end of an answer, or
//! with an error, unless that is of a request which another one has ended.

use anyhow::{Context as _, Result, bail};
use bantam_protocol::{Event, Receiver, Side};
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Tells an emulated board that there is no more to come.
const END_OF_TRANSMISSION: u8 = 4;
/// Status of a request that another one has ended.
const GIVEN_UP: u8 = 16;
/// Longest that an emulator may take to connect its serial line.
const PATIENCE: Duration = Duration::from_secs(20);

/// A script at work.
pub(crate) struct Script {
    socket: PathBuf,
    work: JoinHandle<Result<String>>,
}

impl Script {
    /// Waits in the background for the board to say hello, and goes through the script.
    ///
    /// # Errors
    /// When the script cannot be read or nothing can be listened to.
    pub(crate) fn start(path: &Path) -> Result<Self> {
        let script = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let socket = std::env::temp_dir().join(format!("bantam-runner-{}", std::process::id()));
        let listener = UnixListener::bind(&socket).with_context(|| socket.display().to_string())?;
        listener.set_nonblocking(true)?;
        let work = std::thread::spawn(move || Session::accept(&listener)?.go_through(&script));
        Ok(Script { socket, work })
    }

    /// Returns where QEMU is to connect the serial line to.
    pub(crate) fn serial(&self) -> String {
        format!("unix:{}", self.socket.display())
    }

    /// Returns all that was said.
    ///
    /// # Errors
    /// When the emulator did not connect.
    pub(crate) fn end(self) -> Result<String> {
        let said = self.work.join().unwrap_or_else(|_| bail!("the script's thread panicked"));
        // Nobody else knows it.
        let _ = std::fs::remove_file(&self.socket);
        said
    }
}

/// A serial line that is connected.
struct Session {
    stream: UnixStream,
    said: String,
}

impl Session {
    fn accept(listener: &UnixListener) -> Result<Self> {
        let started = Instant::now();
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    return Ok(Session { stream, said: String::new() });
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if started.elapsed() > PATIENCE {
                        bail!("the emulator did not connect its serial line");
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns what was said, which is less than all if the board stops in between.
    fn go_through(mut self, script: &str) -> Result<String> {
        let lines: Vec<_> = script.lines().filter(|line| !line.starts_with('#')).collect();
        let mut goes_on = self.listen()?;
        for block in lines.split(|line| line.is_empty()).filter(|block| !block.is_empty()) {
            if !goes_on {
                break;
            }
            for line in block {
                writeln!(self.said, "host   {line}")?;
            }
            // A board that has stopped takes nothing in; what it said is worth telling all the same.
            let sent = self.stream.write_all(format!("{}\n", block.join("\n")).as_bytes());
            goes_on = sent.is_ok() && self.listen()?;
        }
        let _ = self.stream.write_all(&[END_OF_TRANSMISSION]);
        Ok(self.said)
    }

    /// Notes what the board says until it has answered; returns whether it has.
    fn listen(&mut self) -> Result<bool> {
        let mut receiver = Receiver::new(Side::Board);
        // How many tokens come of an answer that is given up is chance.
        let mut tokens = String::new();
        let mut byte = [0];
        while self.stream.read(&mut byte)? > 0 {
            let [came] = byte;
            let Some(line) = receiver.push(came) else { continue };
            let line = line?;
            let id = line.id;
            match Event::read(line)? {
                Event::Token { index, bytes } => {
                    writeln!(tokens, "board  {id} token {index}: {bytes:?}")?;
                }
                Event::Error { status: GIVEN_UP, text } => {
                    tokens.clear();
                    writeln!(self.said, "board  {id} error {GIVEN_UP}: {text:?}")?;
                }
                Event::Error { status, text } => {
                    writeln!(self.said, "{tokens}board  {id} error {status}: {text:?}")?;
                    return Ok(true);
                }
                Event::Hello(hello) => {
                    writeln!(
                        self.said,
                        "board  {id} hello: {:?}, kernels {:?}, {:?}, sentences of {} bytes",
                        hello.board, hello.kernels, hello.model, hello.max_sentence
                    )?;
                    return Ok(true);
                }
                Event::Done(done) => {
                    writeln!(
                        self.said,
                        "{tokens}board  {id} done: {} tokens, logits {:016x}, about {} instructions",
                        done.n_tokens, done.hash, done.instructions
                    )?;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}
