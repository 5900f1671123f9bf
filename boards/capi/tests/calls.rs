//! The calls as a program in C makes them, on the bundled model.

use bantam_c::*;
use std::ptr::{null, null_mut};

const MODEL: &[u8] = include_bytes!("../../../fixtures/intent/bantam-intent.Q8_0.gguf");
const OPTIONS: Options = Options { n_ctx: 224, n_batch: 4, cache: 0 };

/// A session and the memory that it lies in.
struct Opened(*mut Session, #[expect(dead_code, reason = "kept for the session")] Vec<u8>);

fn memory(file: &[u8], options: &Options) -> Result<usize, Status> {
    let mut bytes = 0;
    // SAFETY: the file is as long as said, the others are valid.
    match unsafe { bantam_memory(file.as_ptr(), file.len(), options, &mut bytes) } {
        Status::Ok => Ok(bytes),
        status => Err(status),
    }
}

fn open(missing: usize) -> Result<Opened, Status> {
    let needed = memory(MODEL, &OPTIONS).unwrap() - missing;
    // At an odd address, which must do.
    let mut memory = vec![0xA5; needed + 1];
    let mut session = null_mut();
    // SAFETY: as above, and the memory is kept beside the session.
    let status = unsafe {
        let at = memory[1..].as_mut_ptr();
        bantam_open(MODEL.as_ptr(), MODEL.len(), &OPTIONS, at, needed, &mut session)
    };
    if status == Status::Ok { Ok(Opened(session, memory)) } else { Err(status) }
}

impl Opened {
    fn encode(&self, text: &str, scratch: usize) -> Result<Vec<u32>, Status> {
        let (mut scratch, mut tokens, mut n) = (vec![0; scratch], vec![0; 128], 0);
        // SAFETY: everything is as long as said.
        let status = unsafe {
            let (at, len) = (scratch.as_mut_ptr(), scratch.len());
            let to = tokens.as_mut_ptr();
            bantam_encode(self.0, text.as_ptr(), text.len(), at, len, to, tokens.len(), &mut n)
        };
        tokens.truncate(n);
        if status == Status::Ok { Ok(tokens) } else { Err(status) }
    }

    fn start(&self, tokens: &[u32]) -> Status {
        // SAFETY: as above.
        unsafe { bantam_start(self.0, tokens.as_ptr(), tokens.len()) }
    }

    /// Takes tokens in and returns how many steps that was.
    fn take_in(&self, tokens: &[u32]) -> usize {
        assert_eq!(self.start(tokens), Status::Ok);
        let (mut done, mut steps) = (false, 0);
        while !done {
            // SAFETY: as above.
            assert_eq!(unsafe { bantam_step(self.0, &mut done) }, Status::Ok);
            steps += 1;
        }
        steps
    }

    fn answer(&self) -> String {
        let (mut json, mut whole, mut token) = (Vec::new(), false, 0);
        // SAFETY: as above.
        unsafe {
            assert_eq!(bantam_answer_begin(self.0), Status::Ok);
            loop {
                assert_eq!(bantam_answer_next(self.0, &mut token, &mut whole), Status::Ok);
                let (mut bytes, mut n) = ([0; 64], 0);
                let status = bantam_token_text(self.0, token, bytes.as_mut_ptr(), 64, &mut n);
                assert_eq!(status, Status::Ok);
                json.extend_from_slice(&bytes[..n]);
                if whole {
                    return String::from_utf8(json).unwrap();
                }
                self.take_in(&[token]);
            }
        }
    }
}

#[test]
fn sentences_become_commands_one_after_the_other() {
    let session = open(0).unwrap();
    let answers = [
        (
            "dim the kitchen lights to forty percent\n",
            r#"{"intent":"set_brightness","room":"kitchen","value":40}"#,
        ),
        ("what is the meaning of life\n", r#"{"intent":"none"}"#),
    ];
    for (sentence, wanted) in answers {
        // SAFETY: the session is open.
        assert_eq!(unsafe { bantam_truncate(session.0, 0) }, Status::Ok);
        // SAFETY: as above.
        let scratch = unsafe { bantam_encode_scratch(session.0, sentence.len()) };
        let steps = session.take_in(&session.encode(sentence, scratch).unwrap());
        assert!(steps > 4, "{steps} steps");
        assert_eq!(session.answer(), wanted);
    }
}

#[test]
fn what_is_wrong_has_a_status() {
    assert_eq!(memory(b"no model", &OPTIONS), Err(Status::File));
    assert_eq!(memory(&MODEL[..1000], &OPTIONS), Err(Status::File));
    assert_eq!(memory(MODEL, &Options { n_ctx: 0, ..OPTIONS }), Err(Status::Argument));
    assert_eq!(memory(MODEL, &Options { cache: 7, ..OPTIONS }), Err(Status::Argument));
    // SAFETY: null is what is tried.
    unsafe {
        assert_eq!(bantam_memory(null(), 4, &OPTIONS, &mut 0), Status::Argument);
        assert_eq!(bantam_step(null_mut(), &mut false), Status::Argument);
    }
    assert_eq!(open(4096).err(), Some(Status::Memory));
    assert_eq!(bantam_abi(), BANTAM_ABI);

    let session = open(0).unwrap();
    assert_eq!(session.encode("lights on\n", 8), Err(Status::Memory));
    assert_eq!(session.start(&[u32::MAX]), Status::Engine);
    assert_eq!(session.start(&[]), Status::Engine);
    assert_eq!(session.start(&[1; 300]), Status::ContextFull);
    assert_eq!(session.start(&[1, 2]), Status::Ok);
    assert_eq!(session.start(&[1, 2]), Status::Engine, "while others are pending");
    let (mut token, mut whole) = (0, false);
    // SAFETY: the session is open, the others are valid.
    let next = unsafe { bantam_answer_next(session.0, &mut token, &mut whole) };
    assert_eq!(next, Status::Schema, "no answer was begun");
}
