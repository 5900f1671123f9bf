//! Sentences in and tokens out over a serial line: the lines that host and board write.
//!
//! `boards/PROTOCOL.md` is the grammar, and says what a receiver does with whatever else comes. A
//! [`Receiver`] finds whole lines in a stream of bytes, [`Request`] and [`Event`] are what they
//! mean, and both write themselves into a buffer of [`MAX_LINE`] bytes. No byte that comes in is
//! trusted, and nothing panics or allocates.
//!
//! ```
//! use bantam_protocol::{Event, MAX_LINE, Receiver, Request, Side, Text};
//!
//! let mut buffer = [0; MAX_LINE];
//! let sentence = Text::new("oven to 180 °C".as_bytes());
//! let line = Request::Ask(sentence).write(7, &mut buffer)?;
//! assert_eq!(line, b">7|ask|oven to 180 %c2%b0C*2f8b\n");
//!
//! let mut receiver = Receiver::new(Side::Host);
//! let mut asked = false;
//! for &byte in line {
//!     if let Some(line) = receiver.push(byte) {
//!         let line = line?;
//!         assert_eq!((line.id, Request::read(line)?), (7, Request::Ask(sentence)));
//!         asked = true;
//!     }
//! }
//! assert!(asked);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![no_std]

mod line;
mod message;
mod text;

pub use line::{Line, LineError, Receiver, Side};
pub use message::{Done, Event, Hello, Request, TooLong};
pub use text::{Bytes, Text};

/// Version of the protocol, which a board says in its hello.
pub const VERSION: u16 = 1;

/// Most bytes of a line, from its mark to its line feed.
pub const MAX_LINE: usize = 512;
