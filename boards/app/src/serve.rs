//! Sentences in and tokens out over a serial line: `boards/PROTOCOL.md` is what is said.

use crate::commands::Listener;
use crate::{Commander, Failure, MAX_SENTENCE, Memory, ModelInFlash, Port};
use bantam_core::gguf::Gguf;
use bantam_core::kernels::KernelSet;
use bantam_core::model::Model;
use bantam_protocol::{Done, Event, Hello, LineError, MAX_LINE, Receiver, Request, Side, Text};
use core::convert::Infallible;
use core::fmt::Write as _;
use defmt::info;
use heapless::{Deque, String, Vec};

/// Bytes taken from the port at once: as many as a packet of USB has.
const CHUNK: usize = 64;

/// Answers the sentences that a host sends, for good. Whatever comes over the line, and whatever
/// is wrong with the model, is told over the line, and the next request is waited for.
pub fn serve(board: &mut dyn Port, model: &ModelInFlash, memory: &'static mut Memory) -> ! {
    info!("{=str}: {=str} over a serial line", board.name(), model.name);
    let mut line = SerialLine {
        port: board,
        model: model.name,
        receiver: Receiver::new(Side::Host),
        came: Deque::new(),
        buffer: [0; MAX_LINE],
        waiting: None,
    };
    let Err(failure) = answer_all(&mut line, model, memory);
    failure.report();
    line.hello(0);
    loop {
        let (id, _) = line.next_sentence();
        line.error(id, failure);
    }
}

/// Answers all sentences.
///
/// # Errors
/// When the model cannot be used.
fn answer_all(
    line: &mut SerialLine<'_>,
    model: &ModelInFlash,
    memory: &mut Memory,
) -> Result<Infallible, Failure> {
    let gguf = Gguf::parse(model.bytes)?;
    line.port.feed_watchdog();
    let parsed = Model::new(&gguf)?;
    line.port.feed_watchdog();
    let mut commander = Commander::new(&gguf, &parsed, memory)?;
    line.hello(0);
    loop {
        let (id, sentence) = line.next_sentence();
        match line.answer(&mut commander, id, &sentence) {
            Ok(done) => line.say(id, Event::Done(done)),
            Err(failure) => line.error(id, failure),
        }
    }
}

/// A sentence as it came: bytes that may be no UTF-8.
type Sentence = Vec<u8, MAX_LINE>;

/// What a host asks.
struct Asked {
    id: u16,
    /// Without one it asks who the board is.
    sentence: Option<Sentence>,
}

/// The line to the host.
struct SerialLine<'p> {
    port: &'p mut dyn Port,
    /// Name of the model.
    model: &'static str,
    receiver: Receiver,
    /// What has come, and is not looked at yet.
    came: Deque<u8, CHUNK>,
    /// For what is to be sent.
    buffer: [u8; MAX_LINE],
    /// A request that has ended the one before.
    waiting: Option<Asked>,
}

impl SerialLine<'_> {
    /// Waits for a sentence, and says hello meanwhile to who asks for it.
    fn next_sentence(&mut self) -> (u16, Sentence) {
        loop {
            self.port.feed_watchdog();
            let asked = match self.waiting.take() {
                Some(asked) => Some(Ok(asked)),
                None => self.poll(),
            };
            match asked {
                Some(Ok(Asked { id, sentence: Some(sentence) })) => return (id, sentence),
                Some(Ok(Asked { id, sentence: None })) => self.hello(id),
                Some(Err(LineError::Unknown { id })) => self.error(id, Failure::NoSuchRequest),
                Some(Err(LineError::TooLong)) => self.error(0, Failure::LineTooLong),
                Some(Err(_)) => self.error(0, Failure::DamagedLine),
                None => {}
            }
        }
    }

    /// Returns the next request, or what is wrong with the next line, if it has come.
    fn poll(&mut self) -> Option<Result<Asked, LineError>> {
        loop {
            if self.came.is_empty() {
                let mut chunk = [0; CHUNK];
                let n = self.port.receive(&mut chunk);
                for &byte in chunk.iter().take(n) {
                    // There is room for all of them.
                    let _ = self.came.push_back(byte);
                }
            }
            let byte = self.came.pop_front()?;
            let Some(result) = self.receiver.push(byte) else { continue };
            return Some(result.and_then(|line| {
                let sentence = match Request::read(line)? {
                    Request::Hello => None,
                    // It is shorter than its line.
                    Request::Ask(text) => Some(text.bytes().take(MAX_LINE).collect()),
                };
                Ok(Asked { id: line.id, sentence })
            }));
        }
    }

    /// Answers a sentence, but for the last line of the answer.
    fn answer(
        &mut self,
        commander: &mut Commander<'_, '_>,
        id: u16,
        sentence: &[u8],
    ) -> Result<Done, Failure> {
        let sentence = core::str::from_utf8(sentence).map_err(|_| Failure::NotUtf8)?;
        let answer =
            commander.answer_to(&mut Answering { line: self, id, n_tokens: 0 }, sentence)?;
        Ok(Done {
            // The last token is not taken in.
            n_tokens: u16::try_from(answer.n_tokens + 1).unwrap_or(u16::MAX),
            hash: answer.hash,
            instructions: answer.instructions,
        })
    }

    fn hello(&mut self, id: u16) {
        let (board, model) = (self.port.name(), self.model);
        self.say(
            id,
            Event::Hello(Hello {
                max_sentence: u16::try_from(MAX_SENTENCE - 1).unwrap_or(u16::MAX),
                board: Text::new(board.as_bytes()),
                kernels: Text::new(KernelSet::best().name().as_bytes()),
                model: Text::new(model.as_bytes()),
            }),
        );
    }

    fn error(&mut self, id: u16, failure: Failure) {
        let mut text = String::<MAX_LINE>::new();
        // What there is no room for is left out.
        let _ = write!(text, "{failure}");
        let text = Text::new(text.as_bytes());
        self.say(id, Event::Error { status: failure.status(), text });
    }

    fn say(&mut self, id: u16, event: Event<'_>) {
        match event.write(id, &mut self.buffer) {
            Ok(line) => self.port.send(line),
            // Longer than any token or name of a board is.
            Err(_) => self.error(id, Failure::LineTooLong),
        }
    }
}

/// The line while an answer is worked out.
struct Answering<'a, 'p> {
    line: &'a mut SerialLine<'p>,
    id: u16,
    n_tokens: u16,
}

impl Listener for Answering<'_, '_> {
    fn instructions(&mut self) -> u64 {
        self.line.port.instructions()
    }

    fn step(&mut self) -> Result<(), Failure> {
        self.line.port.feed_watchdog();
        match self.line.poll() {
            // The host has given up on this one.
            Some(Ok(asked)) if asked.id != self.id => {
                self.line.waiting = Some(asked);
                Err(Failure::GivenUp)
            }
            // The same again, or nothing that can be relied on while bytes may be lost.
            Some(_) | None => Ok(()),
        }
    }

    fn said(&mut self, bytes: &[u8]) {
        let token = Event::Token { index: self.n_tokens, bytes: Text::new(bytes) };
        self.line.say(self.id, token);
        self.n_tokens = self.n_tokens.saturating_add(1);
    }
}
