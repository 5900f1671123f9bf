//! Bantam's core for firmware in C.
//!
//! As in Rust, nothing is allocated: [`bantam_memory`] says how much memory a model at work takes,
//! and [`bantam_open`] puts everything there. Everything that can go wrong is a [`Status`]; a
//! pointer must not be null unless its length is zero. A session belongs to one thread at a time.

#![no_std]
#![allow(clippy::missing_safety_doc)] // one contract for all, above each function in short

mod place;

#[cfg(feature = "schema")]
use bantam_core::Token;
use bantam_core::arena::{ALIGN, bytes_for};
use bantam_core::cache::CacheType;
use bantam_core::engine::{Engine, EngineError, EngineOptions, Step};
use bantam_core::gguf::Gguf;
#[cfg(feature = "schema")]
use bantam_core::gguf::keys;
use bantam_core::model::{MemoryPlan, Model, PlanOptions};
#[cfg(feature = "schema")]
use bantam_core::schema::{Schema, State};
use bantam_core::tokenizer::{EncodeOptions, Tokenizer, TokenizerError};
use core::slice;
use place::Place;

/// Changes whenever a function or a type here does so that callers must be compiled again.
pub const BANTAM_ABI: u32 = 1;

/// What a call came to.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It did what it says.
    Ok = 0,
    /// The file is no GGUF file, or a damaged one.
    File = 10,
    /// The file is no model that can be run.
    Model = 11,
    /// The engine refused: tokens are pending, or one is not of the vocabulary.
    Engine = 12,
    /// The model has no tokenizer that can be used, or the text cannot be encoded.
    Tokenizer = 13,
    /// The model has no schema for its answers, or none was begun.
    Schema = 14,
    /// A pointer is null, an option is out of range, or text is not UTF-8.
    Argument = 15,
    /// The memory lent, or the room for a result, is too small.
    Memory = 16,
    /// The context is full.
    ContextFull = 17,
}

/// What to plan for.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Tokens of context.
    pub n_ctx: u32,
    /// Tokens of a prompt that are worked on together; 1 takes the least memory.
    pub n_batch: u32,
    /// How keys and values are stored: 0 half floats, 1 single floats, 2 integers of 8 bits.
    pub cache: u32,
}

/// A model at work, in memory that the caller lent.
pub struct Session {
    engine: Engine<'static, 'static>,
    tokenizer: Tokenizer<'static, 'static>,
    #[cfg(feature = "schema")]
    answer: Answer,
}

/// The model's schema, and where an answer has got that was begun.
#[cfg(feature = "schema")]
struct Answer {
    schema: Option<Schema<'static>>,
    state: Option<State>,
}

/// Returns the interface's number; compare it with `BANTAM_ABI`.
#[unsafe(no_mangle)]
pub extern "C" fn bantam_abi() -> u32 {
    BANTAM_ABI
}

/// Writes to `bytes` how much memory the model in `file` takes, at any alignment.
///
/// `file` must hold `file_len` bytes; `options` and `bytes` must be valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bantam_memory(
    file: *const u8,
    file_len: usize,
    options: *const Options,
    bytes: *mut usize,
) -> Status {
    status(|| {
        // SAFETY: the caller's promise.
        let (file, options, bytes) =
            unsafe { (lent(file, file_len)?, options.as_ref(), bytes.as_mut()) };
        let (Some(options), Some(bytes)) = (options, bytes) else { return Err(Status::Argument) };
        let model = model(file)?;
        let plan = plan(&model, options)?;
        let index = Tokenizer::plan(model.gguf()).map_err(|_| Status::Tokenizer)?.bytes;
        *bytes = (ALIGN - 1)
            .saturating_add(bytes_for::<Model<'_>>(1))
            .saturating_add(bytes_for::<Session>(1))
            .saturating_add(plan.bytes())
            .saturating_add(index);
        Ok(())
    })
}

/// Opens the model in `file` in `memory`, and writes to `session` what the other functions take.
///
/// `file` must hold `file_len` bytes that stay as they are, and `memory` must be `memory_len`
/// bytes that nobody else uses, for as long as the session is used. There is nothing to close.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bantam_open(
    file: *const u8,
    file_len: usize,
    options: *const Options,
    memory: *mut u8,
    memory_len: usize,
    session: *mut *mut Session,
) -> Status {
    status(|| {
        // SAFETY: the caller's promise.
        let (file, options, memory, session) = unsafe {
            let memory = lent_mut(memory, memory_len)?;
            (lent(file, file_len)?, options.as_ref(), memory, session.as_mut())
        };
        let (Some(options), Some(session)) = (options, session) else {
            return Err(Status::Argument);
        };
        let mut place = Place::new(memory);
        let model = put_model(&mut place, file)?;
        let gguf = model.gguf();
        let plan = plan(model, options)?;
        let engine = place.bytes(plan.bytes()).ok_or(Status::Memory)?;
        let engine =
            Engine::new(model, &plan, engine, EngineOptions::default()).map_err(of_engine)?;
        let index = Tokenizer::plan(gguf).map_err(|_| Status::Tokenizer)?.bytes;
        // The session lies in front of the index, which may begin anywhere.
        let room = place.reserve::<Session>().ok_or(Status::Memory)?;
        let index = place.bytes(index).ok_or(Status::Memory)?;
        let tokenizer = Tokenizer::new_in(gguf, index).map_err(|_| Status::Tokenizer)?;
        *session = room.write(Session {
            engine,
            tokenizer,
            #[cfg(feature = "schema")]
            answer: Answer::of(gguf)?,
        });
        Ok(())
    })
}

/// Returns the bytes of scratch that encoding `text_len` bytes of text takes at most.
///
/// `session` must come from `bantam_open`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bantam_encode_scratch(session: *const Session, text_len: usize) -> usize {
    // SAFETY: the caller's promise.
    let session = unsafe { session.as_ref() };
    session.map_or(0, |session| session.tokenizer.encode_scratch(text_len))
}

/// Encodes `text`, which is UTF-8 and read as plain text, into `tokens`, `max_tokens` at most, and
/// writes their number to `n_tokens`.
///
/// `session` must come from `bantam_open`; `text`, `scratch` and `tokens` must be as long as said.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bantam_encode(
    session: *const Session,
    text: *const u8,
    text_len: usize,
    scratch: *mut u8,
    scratch_len: usize,
    tokens: *mut u32,
    max_tokens: usize,
    n_tokens: *mut usize,
) -> Status {
    status(|| {
        // SAFETY: the caller's promise.
        let (session, text, scratch, tokens, n_tokens) = unsafe {
            let scratch = lent_mut(scratch, scratch_len)?;
            let tokens = lent_mut(tokens, max_tokens)?;
            (session.as_ref(), lent(text, text_len)?, scratch, tokens, n_tokens.as_mut())
        };
        let (Some(session), Some(n_tokens)) = (session, n_tokens) else {
            return Err(Status::Argument);
        };
        let text = str::from_utf8(text).map_err(|_| Status::Argument)?;
        let encoded = session.tokenizer.encode(text, EncodeOptions::default(), scratch, tokens);
        *n_tokens = encoded.map_err(of_encoding)?;
        Ok(())
    })
}

/// Hands over tokens to be taken in by `bantam_step`.
///
/// `session` must come from `bantam_open`; `tokens` must be as long as said.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bantam_start(
    session: *mut Session,
    tokens: *const u32,
    n_tokens: usize,
) -> Status {
    status(|| {
        // SAFETY: the caller's promise.
        let (session, tokens) = unsafe { (session.as_mut(), lent(tokens, n_tokens)?) };
        session.ok_or(Status::Argument)?.engine.start(tokens).map_err(of_engine)
    })
}

/// Does a bounded piece of the pending work, and writes to `done` whether none is left.
///
/// `session` must come from `bantam_open`; `done` must be valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bantam_step(session: *mut Session, done: *mut bool) -> Status {
    status(|| {
        // SAFETY: the caller's promise.
        let (session, done) = unsafe { (session.as_mut(), done.as_mut()) };
        let (Some(session), Some(done)) = (session, done) else { return Err(Status::Argument) };
        *done = session.engine.step() == Step::Done;
        Ok(())
    })
}

/// Writes to `logits` where those behind the last token are, and their number to `n_logits`. They
/// stay until the next token is taken in.
///
/// `session` must come from `bantam_open`; `logits` and `n_logits` must be valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bantam_logits(
    session: *const Session,
    logits: *mut *const f32,
    n_logits: *mut usize,
) -> Status {
    status(|| {
        // SAFETY: the caller's promise.
        let (session, logits, n) =
            unsafe { (session.as_ref(), logits.as_mut(), n_logits.as_mut()) };
        let (Some(session), Some(logits), Some(n)) = (session, logits, n) else {
            return Err(Status::Argument);
        };
        (*logits, *n) = (session.engine.logits().as_ptr(), session.engine.logits().len());
        Ok(())
    })
}

/// Forgets every position from `pos` on.
///
/// `session` must come from `bantam_open`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bantam_truncate(session: *mut Session, pos: usize) -> Status {
    status(|| {
        // SAFETY: the caller's promise.
        let session = unsafe { session.as_mut() };
        session.ok_or(Status::Argument)?.engine.truncate(pos).map_err(of_engine)
    })
}

/// Begins an answer in the form of the model's schema.
///
/// `session` must come from `bantam_open`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bantam_answer_begin(session: *mut Session) -> Status {
    status(|| {
        // SAFETY: the caller's promise.
        let session = unsafe { session.as_mut() }.ok_or(Status::Argument)?;
        session.begin_answer()
    })
}

/// Chooses the answer's next token from the logits and writes it to `token`, and to `whole` whether
/// the answer is whole with it. If not, it is to be taken in before the next is chosen.
///
/// `session` must come from `bantam_open`; `token` and `whole` must be valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bantam_answer_next(
    session: *mut Session,
    token: *mut u32,
    whole: *mut bool,
) -> Status {
    status(|| {
        // SAFETY: the caller's promise.
        let (session, token, whole) = unsafe { (session.as_mut(), token.as_mut(), whole.as_mut()) };
        let (Some(session), Some(token), Some(whole)) = (session, token, whole) else {
            return Err(Status::Argument);
        };
        (*token, *whole) = session.next_of_answer()?;
        Ok(())
    })
}

/// Writes the bytes that a token adds to a text to `text`, `max_bytes` at most, and their number to
/// `n_bytes`. A token can end inside a character.
///
/// `session` must come from `bantam_open`; `text` must be as long as said, `n_bytes` valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bantam_token_text(
    session: *const Session,
    token: u32,
    text: *mut u8,
    max_bytes: usize,
    n_bytes: *mut usize,
) -> Status {
    status(|| {
        // SAFETY: the caller's promise.
        let (session, text, n_bytes) =
            unsafe { (session.as_ref(), lent_mut(text, max_bytes)?, n_bytes.as_mut()) };
        let (Some(session), Some(n_bytes)) = (session, n_bytes) else {
            return Err(Status::Argument);
        };
        let mut n = 0;
        for byte in session.tokenizer.bytes(token) {
            *text.get_mut(n).ok_or(Status::Memory)? = byte;
            n += 1;
        }
        *n_bytes = n;
        Ok(())
    })
}

#[cfg(feature = "schema")]
impl Answer {
    fn of(gguf: &Gguf<'static>) -> Result<Self, Status> {
        let schema = gguf.get(keys::BANTAM_SCHEMA).and_then(|value| value.as_str());
        let schema = schema.map(Schema::parse).transpose().map_err(|_| Status::Schema)?;
        Ok(Answer { schema, state: None })
    }
}

#[cfg(feature = "schema")]
impl Session {
    fn begin_answer(&mut self) -> Result<(), Status> {
        self.answer.state = Some(self.answer.schema.as_ref().ok_or(Status::Schema)?.start());
        Ok(())
    }

    fn next_of_answer(&mut self) -> Result<(Token, bool), Status> {
        let Answer { schema: Some(schema), state: Some(state) } = &self.answer else {
            return Err(Status::Schema);
        };
        let chosen = schema.choose(*state, &self.tokenizer, self.engine.logits());
        let (token, next) = chosen.ok_or(Status::Schema)?;
        self.answer.state = Some(next).filter(|state| !state.is_whole());
        Ok((token, next.is_whole()))
    }
}

#[cfg(not(feature = "schema"))]
impl Session {
    const fn begin_answer(&mut self) -> Result<(), Status> {
        Err(Status::Schema)
    }

    const fn next_of_answer(&mut self) -> Result<(u32, bool), Status> {
        Err(Status::Schema)
    }
}

fn status(call: impl FnOnce() -> Result<(), Status>) -> Status {
    call().err().unwrap_or(Status::Ok)
}

/// The model in a file.
#[inline(never)]
fn model(file: &'static [u8]) -> Result<Model<'static>, Status> {
    let gguf = Gguf::well_formed(file).ok_or(Status::File)?;
    Model::new(&gguf).map_err(|_| Status::Model)
}

/// The model in a file, moved to where it stays.
// Not part of its caller, whose stack would hold the kilobytes that are moved to the end.
#[inline(never)]
fn put_model(place: &mut Place, file: &'static [u8]) -> Result<&'static Model<'static>, Status> {
    let model = place.put(model(file)?).ok_or(Status::Memory)?;
    Ok(model)
}

fn plan(model: &Model<'_>, options: &Options) -> Result<MemoryPlan, Status> {
    let cache = match options.cache {
        0 => CacheType::F16,
        1 => CacheType::F32,
        2 => CacheType::Q8_0,
        _ => return Err(Status::Argument),
    };
    let size = |n: u32| usize::try_from(n).map_err(|_| Status::Argument);
    let (n_ctx, n_batch) = (size(options.n_ctx)?, size(options.n_batch)?);
    let options = PlanOptions { n_batch, cache, ..PlanOptions::new(n_ctx) };
    model.plan(&options).map_err(|_| Status::Argument)
}

fn of_encoding(error: TokenizerError) -> Status {
    match error {
        TokenizerError::ScratchTooSmall { .. } | TokenizerError::OutputFull { .. } => {
            Status::Memory
        }
        _ => Status::Tokenizer,
    }
}

fn of_engine(error: EngineError) -> Status {
    match error {
        EngineError::ContextFull(..) => Status::ContextFull,
        EngineError::Memory(_) => Status::Memory,
        _ => Status::Engine,
    }
}

/// # Safety
/// `start` must be the first of `len` values that stay as they are, or `len` 0.
unsafe fn lent<T>(start: *const T, len: usize) -> Result<&'static [T], Status> {
    match (start.is_null(), len) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(Status::Argument),
        // SAFETY: the caller's promise.
        (false, _) => Ok(unsafe { slice::from_raw_parts(start, len) }),
    }
}

/// # Safety
/// `start` must be the first of `len` values that nobody else uses, or `len` 0.
unsafe fn lent_mut<T>(start: *mut T, len: usize) -> Result<&'static mut [T], Status> {
    match (start.is_null(), len) {
        (_, 0) => Ok(&mut []),
        (true, _) => Err(Status::Argument),
        // SAFETY: the caller's promise.
        (false, _) => Ok(unsafe { slice::from_raw_parts_mut(start, len) }),
    }
}

#[cfg(feature = "panic-handler")]
mod panicked {
    unsafe extern "C" {
        /// The firmware's own: logs, and parks or resets.
        safe fn bantam_panicked() -> !;
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        bantam_panicked()
    }
}
