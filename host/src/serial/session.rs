//! What is said with a board: a hello, then sentences and their answers, with patience for damage.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use bantam_protocol::{
    Done, Event, Hello, LineError, MAX_LINE, Receiver, Request, Side, Text, VERSION,
};

use super::Port;
use crate::error::{Error, OneLine};

/// Statuses of a board that lost a line of ours, and of one that has no room for a sentence.
const LINE_LOST: [u8; 2] = [17, 18];
const SENTENCE_TOO_LONG: u8 = 15;
/// Most damaged or lost lines of an answer.
const MAX_DAMAGED: usize = 5;
/// How long after a damaged line nothing more has to come until it is asked again.
const SETTLE: Duration = Duration::from_millis(300);

/// A board that has said hello.
pub struct Session {
    port: Port,
    timeout: Duration,
    receiver: Receiver,
    /// What has come, and is not looked at yet.
    came: VecDeque<u8>,
    /// Number of the last request.
    id: u16,
    /// Who the board is, once it has said so.
    board: Option<Board>,
}

/// Who a board is, in its own words.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Board {
    /// Its name.
    pub name: String,
    /// Its kernel set.
    pub kernels: String,
    /// Its model's name.
    pub model: String,
    /// Most bytes of a sentence.
    pub max_sentence: u16,
}

/// What came of a sentence.
#[derive(Debug)]
pub enum Answered {
    /// An answer.
    Whole(Answer),
    /// The board's reason for none.
    Refused {
        /// One of the statuses in `boards/README.md`.
        status: u8,
        /// Why.
        text: String,
    },
}

/// An answer, and what it took.
#[derive(Debug)]
pub struct Answer {
    /// The answer; bytes that are no UTF-8 are U+FFFD.
    pub text: String,
    /// Its tokens.
    pub n_tokens: u16,
    /// Hash of all logits that they were chosen by.
    pub hash: u64,
    /// Instructions that all of them but the last took; 0 if the board does not count.
    pub instructions: u64,
}

/// What was heard, as this side keeps it.
enum Heard {
    Line(u16, Said),
    Damaged,
    /// No line, in the time that there was.
    Nothing,
}

enum Said {
    Hello(Board),
    Token(u16, Vec<u8>),
    Done(Done),
    Error(u8, String),
}

impl Session {
    /// Opens a port and waits for the board there to answer, at most for `timeout`; as long is later
    /// waited for each token.
    ///
    /// # Errors
    /// As [`Port::open`]; [`Error::Board`] if no board answers, or one of another version.
    pub fn open(path: &Path, baud: u32, timeout: Duration) -> Result<Self, Error> {
        let mut session = Session {
            port: Port::open(path, baud)?,
            timeout,
            receiver: Receiver::new(Side::Board),
            came: VecDeque::new(),
            // Not that of a request which the board may still be at.
            id: u16::try_from(std::process::id() & 0x7FFF).unwrap_or_default(),
            board: None,
        };
        session.board = session.exchange(Request::Hello, |said| match said {
            Said::Hello(board) => Ok(Step::End(Some(board))),
            _ => Ok(Step::Old),
        })?;
        Ok(session)
    }

    /// Who the board is.
    pub fn board(&self) -> Board {
        self.board.clone().unwrap_or_default()
    }

    /// Has the board answer a sentence; `token` gets the bytes of each token when it comes.
    ///
    /// # Errors
    /// [`Error::Board`] if the board falls silent, too much is damaged, or it starts again; what
    /// `token` fails with; [`Error::Interrupted`], after which the board is told to stop.
    pub fn ask(
        &mut self,
        sentence: &str,
        mut token: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<Answered, Error> {
        let request = Request::Ask(Text::new(sentence.trim().as_bytes()));
        if request.write(u16::MAX, &mut [0; MAX_LINE]).is_err() {
            let text = format!("a sentence has at most {} bytes", self.board().max_sentence);
            return Ok(Answered::Refused { status: SENTENCE_TOO_LONG, text });
        }
        let (mut bytes, mut n_tokens) = (Vec::new(), 0u16);
        let answered = self.exchange(request, |said| match said {
            // After a gap, or from before it when it was asked again.
            Said::Token(index, _) if index != n_tokens || n_tokens == u16::MAX => Ok(Step::Old),
            Said::Token(_, piece) => {
                n_tokens += 1;
                bytes.extend(&piece);
                token(&piece)?;
                Ok(Step::New)
            }
            Said::Done(done) if done.n_tokens != n_tokens => Ok(Step::Again),
            Said::Done(Done { n_tokens, hash, instructions }) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                Ok(Step::End(Answered::Whole(Answer { text, n_tokens, hash, instructions })))
            }
            Said::Error(status, text) => Ok(Step::End(Answered::Refused { status, text })),
            Said::Hello(_) => Ok(Step::Old),
        });
        if matches!(answered, Err(Error::Interrupted)) {
            // Any other request ends the one it works on.
            crate::interrupt::clear();
            let _ = self.send(Request::Hello, self.id ^ 0x8000);
        }
        answered
    }

    /// Makes a request, and again when it gets lost; `heard` gets what the board says of it.
    fn exchange<T>(
        &mut self,
        request: Request<'_>,
        mut heard: impl FnMut(Said) -> Result<Step<T>, Error>,
    ) -> Result<T, Error> {
        self.id = self.id.checked_add(1).unwrap_or(1);
        let patience = self.timeout / 3;
        let (mut n_damaged, mut is_damaged) = (0, false);
        let mut last_new = Instant::now();
        let mut again_at = last_new + patience;
        self.send(request, self.id)?;
        loop {
            let mut again = false;
            match self.listen(again_at.min(last_new + self.timeout))? {
                Heard::Line(0, Said::Hello(_)) if self.board.is_some() => {
                    return Err(self.port.board_error(
                        "the board started again before it had answered; a watchdog, or its power?",
                    ));
                }
                Heard::Line(0, Said::Error(status, _)) if LINE_LOST.contains(&status) => {
                    (is_damaged, again) = (true, true);
                    n_damaged += 1;
                }
                Heard::Line(id, said) if id == self.id => {
                    again_at = Instant::now() + patience;
                    match heard(said)? {
                        Step::New => last_new = Instant::now(),
                        // Else a board that begins again and again would be waited for for good.
                        Step::Old => {}
                        Step::End(end) => return Ok(end),
                        Step::Again => {
                            (is_damaged, again) = (true, true);
                            n_damaged += 1;
                        }
                    }
                }
                Heard::Line(..) => {}
                Heard::Damaged => {
                    is_damaged = true;
                    n_damaged += 1;
                    again_at = again_at.min(Instant::now() + SETTLE);
                }
                Heard::Nothing => again = true,
            }
            if n_damaged > MAX_DAMAGED {
                return Err(self.port.board_error(format!(
                    "{n_damaged} lines came damaged; check --baud, the cable and its ground"
                )));
            }
            if last_new.elapsed() >= self.timeout {
                let what = if n_damaged > 0 { "only damaged lines came" } else { "no answer" };
                let seconds = self.timeout.as_secs_f32();
                return Err(self.port.board_error(format!(
                    "{what} within {seconds} s; is the firmware one that serves, and --baud right?"
                )));
            }
            if again {
                if std::mem::take(&mut is_damaged) {
                    // All of it may be to be said again.
                    last_new = Instant::now();
                }
                again_at = Instant::now() + patience;
                self.send(request, self.id)?;
            }
        }
    }

    fn send(&self, request: Request<'_>, id: u16) -> Result<(), Error> {
        let mut buffer = [0; MAX_LINE];
        let line = request
            .write(id, &mut buffer)
            .map_err(|error| self.port.board_error(format!("cannot be asked: {error}")))?;
        self.port.write(line, Instant::now() + self.timeout)
    }

    /// Returns the next line, if one comes in time.
    fn listen(&mut self, until: Instant) -> Result<Heard, Error> {
        loop {
            while let Some(byte) = self.came.pop_front() {
                let Some(line) = self.receiver.push(byte) else { continue };
                match line.and_then(|line| Ok((line.id, Event::read(line)?))) {
                    Ok((id, event)) => return Ok(Heard::Line(id, Said::from(event))),
                    Err(LineError::Version { version }) => {
                        return Err(self.port.board_error(format!(
                            "the board speaks version {version} of the protocol, this program \
                             {VERSION}; flash firmware of the same release"
                        )));
                    }
                    Err(LineError::Unknown { .. }) => {}
                    Err(_) => return Ok(Heard::Damaged),
                }
            }
            if Instant::now() >= until {
                return Ok(Heard::Nothing);
            }
            let mut chunk = [0; 4096];
            let n = self.port.read(&mut chunk, until)?;
            self.came.extend(chunk.get(..n).unwrap_or_default());
        }
    }
}

/// How an exchange goes on.
enum Step<T> {
    New,
    /// Nothing that was not known.
    Old,
    /// Something is missing.
    Again,
    End(T),
}

impl From<Event<'_>> for Said {
    fn from(event: Event<'_>) -> Self {
        // A board's words are shown to people.
        let string = |text: Text<'_>| {
            let bytes: Vec<u8> = text.bytes().collect();
            OneLine(&String::from_utf8_lossy(&bytes)).to_string()
        };
        match event {
            Event::Hello(Hello { max_sentence, board, kernels, model }) => Self::Hello(Board {
                name: string(board),
                kernels: string(kernels),
                model: string(model),
                max_sentence,
            }),
            Event::Token { index, bytes } => Self::Token(index, bytes.bytes().collect()),
            Event::Done(done) => Self::Done(done),
            Event::Error { status, text } => Self::Error(status, string(text)),
        }
    }
}
