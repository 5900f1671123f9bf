//! What the fuzz target of the serial protocol does with its bytes: apart from the others, as core
//! knows nothing of the protocol. `boards/protocol/tests/lines.rs` runs it too.

use bantam_protocol::{Event, LineError, MAX_LINE, Receiver, Request, Side, Text};

/// Takes the bytes as what comes over a line, and as what is to be said over one.
pub fn protocol(data: &[u8]) {
    for side in [Side::Host, Side::Board] {
        receive(side, data);
        say(side, data);
    }
}

/// What is read is what was written: every line that a receiver takes has one spelling.
fn receive(side: Side, data: &[u8]) {
    let mut receiver = Receiver::new(side);
    // What came since a mark.
    let mut came = Vec::new();
    for &byte in data {
        match byte {
            b'<' | b'>' => came = vec![byte],
            b'\r' => {}
            _ => came.push(byte),
        }
        let Some(result) = receiver.push(byte) else { continue };
        assert_eq!(came.first(), Some(&side.mark()));
        match result {
            Ok(line) => {
                assert!(came.len() <= MAX_LINE && came.ends_with(b"\n"));
                let mut buffer = [0; MAX_LINE];
                let again = match side {
                    Side::Host => Request::read(line).map(|it| it.write(line.id, &mut buffer)),
                    Side::Board => Event::read(line).map(|it| it.write(line.id, &mut buffer)),
                };
                match again {
                    Ok(again) => assert_eq!(again, Ok(&came[..])),
                    Err(LineError::Unknown { id }) => assert_eq!(id, line.id),
                    Err(error) => assert!(matches!(error, LineError::Version { .. })),
                }
            }
            Err(LineError::TooLong) => assert_eq!(came.len(), MAX_LINE),
            Err(error) => assert!(!error.to_string().contains('\n')),
        }
    }
}

/// Any bytes at all arrive, or are refused because they are too many.
fn say(side: Side, data: &[u8]) {
    let (mut buffer, id) = ([0; MAX_LINE], data.len() as u16 | 1);
    let text = Text::new(data);
    let written = match side {
        Side::Host => Request::Ask(text).write(id, &mut buffer),
        Side::Board => Event::Token { index: id, bytes: text }.write(id, &mut buffer),
    };
    match written {
        Err(_) => assert!(data.len() * 3 > MAX_LINE - 32, "{} bytes fit", data.len()),
        Ok(line) => arrives(side, line, |line| match side {
            Side::Host => assert_eq!(Request::read(line), Ok(Request::Ask(text))),
            Side::Board => {
                assert_eq!(Event::read(line), Ok(Event::Token { index: id, bytes: text }));
            }
        }),
    }
    // Errors are told in any case.
    let error = Event::Error { status: 255, text };
    let line = error.write(u16::MAX, &mut buffer).expect("as much as fits");
    arrives(Side::Board, line, |line| {
        let Ok(Event::Error { status: 255, text }) = Event::read(line) else { panic!("{line:?}") };
        assert!(text.bytes().zip(data).all(|(a, b)| a == *b));
        assert!(text.bytes().count() == data.len() || text.bytes().count() > 160);
    });
}

/// Has a line received in the middle of things.
fn arrives(side: Side, line: &[u8], check: impl Fn(bantam_protocol::Line<'_>)) {
    assert!(line.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n')), "not printable");
    let mut receiver = Receiver::new(side);
    for &byte in b"\0noise >7|as".iter().chain(b"<7|tok") {
        assert!(receiver.push(byte).is_none());
    }
    let mut n_lines = 0;
    for &byte in line {
        if let Some(line) = receiver.push(byte) {
            check(line.expect("whole"));
            n_lines += 1;
        }
    }
    assert_eq!(n_lines, 1);
}
