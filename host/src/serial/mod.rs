//! A board at the other end of a serial line: sentences go there, tokens come back.
//!
//! `boards/PROTOCOL.md` is what is said; its lines are read and written by `bantam-protocol`.

mod port;
mod session;

pub use port::Port;
pub use session::{Answer, Answered, Board, Session};
